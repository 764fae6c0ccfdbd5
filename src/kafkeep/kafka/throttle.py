"""Keeping to the waiting times brokers ask for when a quota is exceeded (KIP-219)."""

from __future__ import annotations

import time
from typing import Final

from kafkeep.events import EventSink, Retried

LONGEST_SECONDS: Final = 60.0
"""A broker that asks for more gets no more; its quota windows are far shorter."""


class Throttle:
    """One connection's. Brokers answer first and mute the connection then, so the wait comes before the next send."""

    def __init__(self, what: str, sink: EventSink) -> None:
        self._what = what
        self._sink = sink
        self._until = 0.0

    def told(self, throttle_ms: int) -> None:
        """Notes the throttle time of an answer and reports it."""
        if throttle_ms <= 0:
            return
        seconds = min(throttle_ms / 1000, LONGEST_SECONDS)
        self._until = max(self._until, time.monotonic() + seconds)
        self._sink(Retried(self._what, "throttled", 1, seconds))

    def left(self) -> float:
        """Seconds still to wait."""
        return max(0.0, self._until - time.monotonic())

    def wait(self) -> None:
        """Waits until the next request may be sent."""
        seconds = self.left()
        if seconds > 0:
            time.sleep(seconds)

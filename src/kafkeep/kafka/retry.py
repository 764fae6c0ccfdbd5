"""How long one call keeps trying: growing delays without randomness, inside one budget of seconds."""

from __future__ import annotations

import time
from collections.abc import Callable

from kafkeep.events import EventSink, Retried

FIRST_DELAY_SECONDS = 0.025
LONGEST_DELAY_SECONDS = 1.0
LONGEST_DELAY_MOVING_SECONDS = 0.2


class Retry:
    """The patience of one call, shared by every request it takes.

    Delays double from 25 ms to 1 s, to 200 ms while a part of it succeeds each time, and end when `seconds` have passed
    since the first failure, so that time spent on work that succeeded does not count. Not for use by more than one thread.
    """

    def __init__(self, what: str, *, seconds: float, sink: EventSink, wait: Callable[[float], None]) -> None:
        self.what = what
        self.unanswered = 0
        """Requests that were put on the wire and whose answer never came: the broker may have acted on them."""
        self._seconds = seconds
        self._sink = sink
        self._wait = wait
        self._attempt = 0
        self._ends: float | None = None

    def again(self, reason: str, *, moving: bool = False) -> bool:
        """Waits before the next attempt and returns True, or returns False at once when the budget is used up. `moving`:
        this attempt had a part of what the last one lacked, so that the rest may be there soon.
        """
        now = time.monotonic()
        if self._ends is None:
            self._ends = now + self._seconds
        left = self._ends - now
        if left <= 0:
            return False
        self._attempt += 1
        # The exponent is held down so that a long budget does not overflow a float.
        longest = LONGEST_DELAY_MOVING_SECONDS if moving else LONGEST_DELAY_SECONDS
        delay = min(FIRST_DELAY_SECONDS * 2 ** min(self._attempt - 1, 16), longest, left)
        self._sink(Retried(self.what, reason, self._attempt, delay))
        self._wait(delay)
        return True

"""How many requests an object store is asked at once: fewer when it says "slow down", more again as it answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

SETTLE_SECONDS: Final = 1.0
"""Refusals of requests that were under way together count once: the limit falls at most this often."""


class Pace:
    """A limit on requests at once that halves when the store refuses and grows by one for each full round of answers."""

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        if most < 1:
            raise ValueError("at least one request at once is needed")
        self._most = most
        self._limit = float(most)
        self._clock = clock
        self._fell_at: float | None = None
        self._running = 0
        self._free = threading.Condition()

    @property
    def limit(self) -> int:
        """Requests that may be under way at once."""
        return int(self._limit)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until there is room, and hold it for one request. Not entered again from inside."""
        with self._free:
            while self._running >= self.limit:
                self._free.wait()
            self._running += 1
        try:
            yield
        finally:
            with self._free:
                self._running -= 1
                self._free.notify_all()

    def slower(self) -> None:
        """The store refused because it has too much to do."""
        with self._free:
            now = self._clock()
            if self._fell_at is None or now - self._fell_at >= SETTLE_SECONDS:
                self._fell_at = now
                self._limit = max(1.0, self._limit / 2)

    def faster(self) -> None:
        """The store answered."""
        with self._free:
            self._limit = min(float(self._most), self._limit + 1 / self._limit)
            self._free.notify_all()

"""Holding what is read from brokers to a number of bytes per second."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

from kafkeep.kafka.fetch import FetchedPartition, FetchPosition
from kafkeep.repository.stores.wrappers import Rate


class Fetcher(Protocol):
    """What a task reads a broker with: `kafka.fetch.BrokerFetcher`, or one that is held back."""

    def send(self, positions: Sequence[FetchPosition]) -> None: ...

    def align(self, place: int) -> None: ...

    def receive(self) -> tuple[FetchedPartition, ...]: ...

    def close(self) -> None: ...


class Pace:
    """A number of bytes per second, kept over all fetchers of a process; None is no limit."""

    def __init__(self, bytes_per_second: int | None) -> None:
        self._local = threading.local()
        self._rate = None if bytes_per_second is None else Rate(bytes_per_second, pause=self._pause)

    def hold(self, fetcher: Fetcher, stop: threading.Event) -> Fetcher:
        """The fetcher, held to the pace. Who waits for it goes on when `stop` is set."""
        return fetcher if self._rate is None else _PacedFetcher(fetcher, self, stop)

    def charge(self, size: int, stop: threading.Event) -> None:
        """Waits until so many more bytes fit."""
        self._local.stop = stop
        if self._rate is not None:
            self._rate.charge(size)

    def _pause(self, seconds: float) -> None:
        self._local.stop.wait(seconds)


class _PacedFetcher:
    """Waits behind each answer until its bytes fit; the broker waits too, once two answers are under way."""

    def __init__(self, inner: Fetcher, pace: Pace, stop: threading.Event) -> None:
        self._inner = inner
        self._pace = pace
        self._stop = stop

    def send(self, positions: Sequence[FetchPosition]) -> None:
        self._inner.send(positions)

    def align(self, place: int) -> None:
        self._inner.align(place)

    def receive(self) -> tuple[FetchedPartition, ...]:
        answers = self._inner.receive()
        self._pace.charge(sum(len(answer.records) for answer in answers), self._stop)
        return answers

    def close(self) -> None:
        self._inner.close()

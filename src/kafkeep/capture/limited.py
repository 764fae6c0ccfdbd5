"""A capturing task that ends at a number of bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from kafkeep.capture.joining import CONTINUES
from kafkeep.capture.partitions import INTERRUPTED, PartitionOutcome, capture_partitions
from kafkeep.capture.plan import CaptureTask
from kafkeep.events import Event, EventSink, Progress
from kafkeep.model import PackRef


class _Enough(threading.Event):
    """Set when another event is, or when so many bytes were read."""

    def __init__(self, stop: threading.Event, most_bytes: int, sink: EventSink) -> None:
        super().__init__()
        self._stop = stop
        self._left = most_bytes
        self._sink = sink

    @property
    def reached(self) -> bool:
        return self._left <= 0 and not self._stop.is_set()

    def is_set(self) -> bool:
        return self._left <= 0 or self._stop.is_set()

    def hear(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._left -= event.size_bytes
        self._sink(event)


def capture(
    task: CaptureTask,
    emit: Callable[[PackRef], None],
    cancelled: threading.Event,
    *,
    sink: EventSink,
    stop: threading.Event,
    **given: Any,
) -> tuple[PartitionOutcome, ...]:
    """`capture_partitions`. What is not read because of the task's `most_bytes` ends with `CONTINUES`."""
    if task.most_bytes is None:
        return capture_partitions(task, emit, cancelled, sink=sink, stop=stop, **given)
    enough = _Enough(stop, task.most_bytes, sink)
    outcomes = capture_partitions(task, emit, cancelled, sink=enough.hear, stop=enough, **given)
    return tuple(
        replace(outcome, status=CONTINUES) if outcome.status == INTERRUPTED and enough.reached else outcome
        for outcome in outcomes
    )

"""Takes brokers away while kafkeep works, at a moment the test chooses."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tests.support.live import Live

from kafkeep.events import Event, Progress, Retried
from kafkeep.lab import Node


class Disturbance:
    """A sink that slows the work down, and does something to the cluster once so many records are through."""

    def __init__(self, operation: str, records: int, act: Callable[[], None], *, pause_seconds: float = 0.002) -> None:
        self._operation = operation
        self._left = records
        self._act: Callable[[], None] | None = act
        self._pause_seconds = pause_seconds
        self._lock = threading.Lock()
        self.retries: list[Retried] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, Retried):
            self.retries.append(event)
        if not isinstance(event, Progress) or event.operation != self._operation:
            return
        time.sleep(self._pause_seconds)
        with self._lock:
            self._left -= event.records
            act, self._act = (self._act, None) if self._left <= 0 else (None, self._act)
            if act is not None:
                act()  # under the lock: nobody gets on, let alone to the end, while a broker takes its time to go

    @property
    def done(self) -> bool:
        return self._act is None


def leaders(live: Live, topic: str) -> set[int]:
    return {part.leader for part in live.cluster.topology([topic]).topics[topic].partitions}


def busy_node(live: Live, topic: str) -> Node:
    """A broker that leads partitions of the topic and is not the controller."""
    return live.kafka.lab.node(max(leaders(live, topic)))


def leave(live: Live, topic: str, how: str) -> None:
    """`kill`: found out by lost connections; `stop`: leaders move first."""
    node = busy_node(live, topic)
    if how == "kill":
        node.kill()
    else:
        node.stop()

"""Takes brokers away while kafkeep works, at a moment the test chooses."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from tests.support.live import Live

from kafkeep.events import Event, Progress, Retried
from kafkeep.kafka.cluster import LATEST
from kafkeep.lab import Node
from kafkeep.model import TopicPartition

CONTROLLER: Final = 1
"""The node that is both (kafkeep.lab.config)."""


EARLY: Final = 100
"""So many records in, a broker goes that leads some hundreds of the topic. Threads get on at very different paces, and one
may be done with all of its broker before another has begun: so early, every broker has work left.
"""


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


def written_node(live: Live, topic: str) -> Node:
    """The broker, not the controller, whose partitions hold the most so far."""
    topology = live.cluster.topology([topic])
    ends = live.cluster.offsets(topology.topic_partitions(), LATEST, topology=topology)
    written: Counter[int] = Counter()
    for part in topology.topics[topic].partitions:
        if part.leader != CONTROLLER:
            written[part.leader] += ends[TopicPartition(topic, part.partition)].offset
    return live.kafka.lab.node(max(written, key=lambda node: written[node]))


def leave(live: Live, topic: str, how: str) -> None:
    """`kill`: found out by lost connections; `stop`: leaders move first."""
    node = written_node(live, topic)
    if how == "kill":
        node.kill()
    else:
        node.stop()

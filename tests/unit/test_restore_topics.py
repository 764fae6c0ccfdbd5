"""Waiting for the leaders of new topics: for as long as brokers go on making them."""

from __future__ import annotations

from typing import Any, cast

import pytest

from kafkeep.errors import KafkaUnreachable
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.topology import NO_NODE, Broker, PartitionTopology, TopicTopology, Topology
from kafkeep.restore import topics
from kafkeep.restore.guard import Guard
from kafkeep.restore.plan import CREATE, TopicRestore

PARTITIONS = 4


class SlowBroker:
    """Makes one partition of all its topics every `seconds`, `most` of them at last; its clock is what sleeping passes."""

    def __init__(self, seconds: float, most: int) -> None:
        self.now = 0.0
        self._seconds = seconds
        self._most = most

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 5.0)

    def topology(self, names: list[str]) -> Topology:
        made = min(self._most, int(self.now / self._seconds))
        return Topology("id", 1, {1: Broker(1, "host", 9092, None)}, {name: self._topic(name, made) for name in names})

    def _topic(self, name: str, made: int) -> TopicTopology:
        first = int(name) * PARTITIONS
        parts = tuple(
            PartitionTopology(number, 1 if first + number < made else NO_NODE, 0, (1,), (1,), 0)
            for number in range(PARTITIONS)
        )
        return TopicTopology(name, f"id-{name}", False, parts, 0)


def restores(*names: str, partitions: int = PARTITIONS) -> list[TopicRestore]:
    return [
        TopicRestore(
            source=name,
            target=name,
            action=CREATE,
            partitions=partitions,
            replication_factor=1,
            configs=(),
            guard=Guard((), (), ()),
        )
        for name in names
    ]


def awaited(broker: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr(topics, "time", broker)
    return topics._await_leaders(cast(Cluster, broker), restores("0", "1"))


def test_a_broker_that_goes_on_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = SlowBroker(40.0, 2 * PARTITIONS)
    assert awaited(broker, monkeypatch) == {"0": "id-0", "1": "id-1"}
    assert broker.now >= 8 * 40.0


@pytest.mark.parametrize("most", [0, PARTITIONS, 2 * PARTITIONS - 1])
def test_a_broker_that_stands_still_is_given_up_after_a_minute(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    broker = SlowBroker(10.0, most)
    with pytest.raises(KafkaUnreachable, match=r"no leader for all partitions of .*1, and none got one for 60 s"):
        awaited(broker, monkeypatch)
    assert most * 10.0 + 60.0 <= broker.now <= most * 10.0 + 75.0


def test_thousands_of_partitions_take_longer_until_the_first_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = SlowBroker(1.0, 0)
    monkeypatch.setattr(topics, "time", broker)
    with pytest.raises(KafkaUnreachable, match="for 500 s"):
        topics._await_leaders(cast(Cluster, broker), restores("0", "1", partitions=5000))
    assert 500.0 <= broker.now <= 515.0

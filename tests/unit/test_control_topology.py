from __future__ import annotations

from kafkeep.kafka.topology import PartitionTopology, TopicTopology, Topology
from kafkeep.model import NO_TOPIC_ID, TopicPartition


def partition(index: int) -> PartitionTopology:
    return PartitionTopology(index, 1, 0, (1,), (1,), 0)


def topology(**topics: tuple[int, ...]) -> Topology:
    found = {
        name: TopicTopology(name, NO_TOPIC_ID, False, tuple(partition(index) for index in indexes), 0)
        for name, indexes in topics.items()
    }
    return Topology("id", 1, {}, found)


def test_partitions_are_found_by_number() -> None:
    known = topology(orders=(0, 1, 2))
    found = known.partition(TopicPartition("orders", 2))
    assert found is not None
    assert found.partition == 2


def test_a_partition_list_with_a_hole_is_still_found_by_number() -> None:
    known = topology(orders=(0, 2))
    found = known.partition(TopicPartition("orders", 2))
    assert found is not None
    assert found.partition == 2
    assert known.partition(TopicPartition("orders", 1)) is None


def test_absent_topics_and_partitions_are_none() -> None:
    known = topology(orders=(0,))
    assert known.partition(TopicPartition("orders", 1)) is None
    assert known.partition(TopicPartition("other", 0)) is None


def test_topic_partitions_come_in_order() -> None:
    known = topology(b=(0, 1), a=(0,))
    assert [str(tp) for tp in known.topic_partitions()] == ["b/0", "b/1", "a/0"]
    assert [str(tp) for tp in known.topic_partitions(["a"])] == ["a/0"]

"""What a cluster looks like at one moment: brokers, topics, partitions, leaders. Values only, no I/O.

Error fields hold Kafka's numbers (`kafkeep.kafka.codes.ErrorCode`); 0 means none. A topic or partition that carries an
error is still listed, so that nothing asked for disappears silently.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from kafkeep.model import TopicPartition
from kafkeep.records import dataclass

NO_NODE: Final = -1
"""Stands where a partition has no leader or a cluster has no known controller."""


@dataclass(frozen=True, slots=True)
class Broker:
    """A live broker and the address it advertises on the listener that was asked."""

    node_id: int
    host: str
    port: int
    rack: str | None

    def __str__(self) -> str:
        return f"broker {self.node_id} ({self.host}:{self.port})"


@dataclass(frozen=True, slots=True)
class PartitionTopology:
    """One partition; `leader` is `NO_NODE` when it has none, `leader_epoch` -1 where the broker does not tell.

    `isr` is what the controller believes: it is no proof that a replica holds all the data.
    """

    partition: int
    leader: int
    leader_epoch: int
    replicas: tuple[int, ...]
    isr: tuple[int, ...]
    error: int


@dataclass(frozen=True, slots=True)
class TopicTopology:
    """One topic with its partitions in partition order; `error` 3 says that the broker does not know it, 29 that this
    login may not see it."""

    name: str
    topic_id: str
    internal: bool
    partitions: tuple[PartitionTopology, ...]
    error: int


@dataclass(frozen=True, slots=True)
class Topology:
    """One Metadata answer. `brokers` holds live ones only; `controller` is the node that takes administrative
    requests."""

    cluster_id: str
    controller: int
    brokers: Mapping[int, Broker]
    topics: Mapping[str, TopicTopology]

    def partition(self, topic_partition: TopicPartition) -> PartitionTopology | None:
        """The named partition, or None when this answer does not hold it."""
        topic = self.topics.get(topic_partition.topic)
        if topic is None:
            return None
        index = topic_partition.partition
        if index < len(topic.partitions) and topic.partitions[index].partition == index:
            return topic.partitions[index]
        return next((found for found in topic.partitions if found.partition == index), None)

    def topic_partitions(self, topics: Iterable[str] | None = None) -> Iterator[TopicPartition]:
        """Every partition of the named topics (None: of all), in topic order as given and partition order."""
        for name in self.topics if topics is None else topics:
            for partition in self.topics[name].partitions:
                yield TopicPartition(name, partition.partition)

"""What a cluster says of the chosen topics at one moment: values only, `capture.inspect` asks for them."""

from __future__ import annotations

from kafkeep.kafka.topology import Broker, TopicTopology, Topology
from kafkeep.model import Failure, TopicPartition
from kafkeep.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionSurvey:
    """One readable partition. `high_watermark` and `last_stable_offset` were asked for after the group offsets."""

    topic_partition: TopicPartition
    topic_id: str
    leader: int
    leader_epoch: int
    log_start: int
    high_watermark: int
    last_stable_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    cluster_id: str
    brokers: tuple[Broker, ...]
    topics: tuple[TopicTopology, ...]
    """The chosen topics that exist and may be read, sorted by name."""
    partitions: tuple[PartitionSurvey, ...]
    absent: tuple[str, ...]
    """Topics of `known` that the cluster says do not exist."""
    failures: tuple[Failure, ...]

    def topology(self) -> Topology:
        """The chosen topics and the brokers, as they were then."""
        return Topology(
            cluster_id=self.cluster_id,
            controller=-1,
            brokers={broker.node_id: broker for broker in self.brokers},
            topics={topic.name: topic for topic in self.topics},
        )

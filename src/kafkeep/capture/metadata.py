"""What a recovery point holds besides records: topics with their settings, groups with their positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kafkeep.errors import KafkaAccessDenied, KafkaError, KafkaUnsupported
from kafkeep.kafka.admin import ConfigEntry
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.topology import TopicTopology
from kafkeep.model import Failure, Group, GroupOffset, TopicMetadata

_TOPIC_OVERRIDE = 1
"""DescribeConfigs' config source DYNAMIC_TOPIC_CONFIG: set on the topic itself (KIP-226)."""


@dataclass(frozen=True, slots=True)
class GroupCapture:
    groups: tuple[Group, ...]
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class TopicCapture:
    topics: tuple[TopicMetadata, ...]
    deletes_by_retention: dict[str, bool]
    """Whether a topic's effective settings delete old records by age or size."""
    failures: tuple[Failure, ...]


def capture_groups(cluster: Cluster) -> GroupCapture:
    """Every group of every type the brokers list, with its committed positions.

    To be called before the end offsets are asked for: a position committed before is never beyond the cut.
    """
    try:
        listings = cluster.admin.groups()
    except KafkaAccessDenied as error:
        return GroupCapture((), (Failure("groups", error.slug, str(error)),))
    offsets = cluster.admin.group_offsets([listing.group_id for listing in listings if listing.type != "share"])
    if shared := [listing.group_id for listing in listings if listing.type == "share"]:
        offsets |= _share_offsets(cluster, shared)
    groups: list[Group] = []
    failures: list[Failure] = []
    for listing in sorted(listings, key=lambda listing: listing.group_id):
        answer = offsets.get(listing.group_id, ())
        if isinstance(answer, KafkaError):
            failures.append(Failure(f"group {listing.group_id}", answer.slug, str(answer)))
            continue
        groups.append(
            Group(
                listing.group_id,
                listing.type,
                listing.state,
                listing.protocol_type,
                tuple(sorted(answer, key=lambda position: position.topic_partition)),
            )
        )
    return GroupCapture(tuple(groups), tuple(failures))


def _share_offsets(cluster: Cluster, groups: Sequence[str]) -> dict[str, tuple[GroupOffset, ...] | KafkaError]:
    """Start offsets of share groups; none from brokers that have the groups and cannot tell (Kafka 4.0)."""
    found = cluster.admin.share_group_offsets(groups)
    return {group: () if isinstance(answer, KafkaUnsupported) else answer for group, answer in found.items()}


def capture_topics(cluster: Cluster, topics: Sequence[TopicTopology]) -> TopicCapture:
    """Partitions, replicas and overrides of the chosen topics."""
    configs = cluster.admin.topic_configs([topic.name for topic in topics])
    found: list[TopicMetadata] = []
    by_retention: dict[str, bool] = {}
    failures: list[Failure] = []
    for topic in topics:
        answer = configs.get(topic.name, ())
        entries: tuple[ConfigEntry, ...] = ()
        if isinstance(answer, KafkaError):
            failures.append(Failure(f"configs of {topic.name}", answer.slug, str(answer)))
        else:
            entries = answer
            by_retention[topic.name] = deletes_by_retention(entries)
        found.append(
            TopicMetadata(
                topic.name,
                topic.topic_id,
                topic.internal,
                tuple(part.replicas for part in topic.partitions),
                tuple(sorted((entry.name, entry.value) for entry in entries if entry.source == _TOPIC_OVERRIDE)),
            )
        )
    return TopicCapture(tuple(found), by_retention, tuple(failures))


def deletes_by_retention(entries: Sequence[ConfigEntry]) -> bool:
    """True when the broker itself deletes old log segments of the topic (cleanup.policy with `delete`, a limit set)."""
    values = {entry.name: entry.value for entry in entries}
    policy = values.get("cleanup.policy") or "delete"
    limited = values.get("retention.ms") != "-1" or values.get("retention.bytes") not in (None, "-1")
    return "delete" in policy.split(",") and limited

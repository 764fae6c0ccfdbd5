"""Reading a cluster: its topics with their settings, its groups with their positions, the settings it takes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from kafkeep.errors import KafkaAccessDenied, KafkaError, KafkaRequestError, KafkaUnsupported
from kafkeep.inventory import ConfigValue, config_source
from kafkeep.kafka.admin import TOPIC_OVERRIDE, NewTopic
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.codes import ErrorCode
from kafkeep.kafka.groups import GroupListing
from kafkeep.kafka.topology import TopicTopology
from kafkeep.kafka.wire.describe_configs import ConfigEntry
from kafkeep.model import Failure, Group, GroupOffset, TopicMetadata
from kafkeep.records import dataclass

DEFAULT_DELETE_RETENTION_MS: Final = 24 * 3600 * 1000
"""Kafka's default of log.cleaner.delete.retention.ms."""
_TAKEN_FOR_COMPACTED = "whether it is compacted is not known, so it is treated as if it were"


@dataclass(frozen=True, slots=True)
class GroupReading:
    groups: tuple[Group, ...]
    listings: tuple[GroupListing, ...]
    """All groups as the brokers list them, those too whose positions could not be read."""
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class TopicReading:
    topics: tuple[TopicMetadata, ...]
    deletes_by_retention: dict[str, bool]
    """Whether a topic's effective settings delete old records by age or size."""
    delete_retention_ms: dict[str, int]
    """How long each compacted topic keeps its tombstones at least. A topic whose settings cannot be read is taken for a
    compacted one with Kafka's default.
    """
    effective: dict[str, tuple[ConfigValue, ...]]
    """All effective settings of each topic with their sources."""
    failures: tuple[Failure, ...]


def read_groups(cluster: Cluster) -> GroupReading:
    """Every group of every type the brokers list, with its committed positions.

    To be called before the end offsets are asked for: a position committed before is never beyond the cut.
    """
    try:
        listings = cluster.admin.groups()
    except KafkaAccessDenied as error:
        return GroupReading((), (), (Failure("groups", error.slug, str(error)),))
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
    return GroupReading(tuple(groups), listings, tuple(failures))


def _share_offsets(cluster: Cluster, groups: Sequence[str]) -> dict[str, tuple[GroupOffset, ...] | KafkaError]:
    """Start offsets of share groups; none from brokers that have the groups and cannot tell (Kafka 4.0)."""
    found = cluster.admin.share_group_offsets(groups)
    return {group: () if isinstance(answer, KafkaUnsupported) else answer for group, answer in found.items()}


def read_topics(cluster: Cluster, topics: Sequence[TopicTopology]) -> TopicReading:
    """Partitions, replicas and overrides of the chosen topics."""
    configs = cluster.admin.topic_configs([topic.name for topic in topics])
    found: list[TopicMetadata] = []
    by_retention: dict[str, bool] = {}
    tombstones: dict[str, int] = {}
    effective: dict[str, tuple[ConfigValue, ...]] = {}
    failures: list[Failure] = []
    # Of thousands of topics most have the same settings, which are then looked at and kept once.
    meanings: dict[tuple[ConfigEntry, ...], _Meaning] = {}
    for topic in topics:
        answer = configs.get(topic.name, ())
        entries: tuple[ConfigEntry, ...] = () if isinstance(answer, KafkaError) else answer
        meaning = meanings.get(entries)
        if meaning is None:
            meaning = meanings[entries] = _meaning(entries)
        if isinstance(answer, KafkaError):
            failures.append(Failure(f"configs of {topic.name}", answer.slug, f"{answer}; {_TAKEN_FOR_COMPACTED}"))
        else:
            by_retention[topic.name] = meaning.by_retention
            effective[topic.name] = meaning.effective
        if meaning.delete_retention_ms is not None:
            tombstones[topic.name] = meaning.delete_retention_ms
        replicas = tuple(part.replicas for part in topic.partitions)
        found.append(TopicMetadata(topic.name, topic.topic_id, topic.internal, replicas, meaning.overrides))
    return TopicReading(tuple(found), by_retention, tombstones, effective, tuple(failures))


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What settings mean for whoever has them."""

    by_retention: bool
    delete_retention_ms: int | None
    effective: tuple[ConfigValue, ...]
    overrides: tuple[tuple[str, str | None], ...]


def _meaning(entries: tuple[ConfigEntry, ...]) -> _Meaning:
    return _Meaning(
        by_retention=deletes_by_retention(entries),
        delete_retention_ms=delete_retention_ms(entries),
        effective=tuple(
            ConfigValue(entry.name, entry.value, config_source(entry.source), entry.sensitive, entry.read_only)
            for entry in entries
        ),
        overrides=tuple(sorted((entry.name, entry.value) for entry in entries if entry.source == TOPIC_OVERRIDE)),
    )


def deletes_by_retention(entries: Sequence[ConfigEntry]) -> bool:
    """True when the broker itself deletes old log segments of the topic (cleanup.policy with `delete`, a limit set)."""
    values = {entry.name: entry.value for entry in entries}
    policy = values.get("cleanup.policy") or "delete"
    limited = values.get("retention.ms") != "-1" or values.get("retention.bytes") not in (None, "-1")
    return "delete" in policy.split(",") and limited


def delete_retention_ms(entries: Sequence[ConfigEntry]) -> int | None:
    """How long the topic keeps tombstones, None when it is not compacted. What the settings do not tell is Kafka's
    default for the time and the careful answer for the policy: not to be told is not to be told no.
    """
    values = {entry.name: entry.value for entry in entries}
    policy, kept = values.get("cleanup.policy"), values.get("delete.retention.ms")
    if policy is not None and "compact" not in [word.strip() for word in policy.split(",")]:
        return None
    return DEFAULT_DELETE_RETENTION_MS if kept is None else int(kept)


def unsupported_topic_settings(cluster: Cluster, settings: Collection[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    """Of these topic settings (name, value) those that the brokers refuse: each is tried on a topic that is only
    validated, never made, which is exact on every Kafka version. None where the login may not try.
    """
    probes = {f"kafkeep-probe-{number}": setting for number, setting in enumerate(sorted(settings))}
    if not probes:
        return frozenset()
    answers = cluster.admin.create_topics(
        [
            NewTopic(name=name, partitions=1, replication_factor=1, configs=(setting,))
            for name, setting in probes.items()
        ],
        validate_only=True,
    )
    refused: set[tuple[str, str]] = set()
    for name, setting in probes.items():
        answer = answers.get(name)
        if isinstance(answer, KafkaAccessDenied):
            # The login may create the restored topics and not these names: what the target takes shows at creation.
            return frozenset()
        if isinstance(answer, KafkaRequestError) and answer.code == ErrorCode.INVALID_CONFIG:
            refused.add(setting)
    return frozenset(refused)

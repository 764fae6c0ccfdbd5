"""Asking the target of a restore what is there already and which settings it takes."""

from __future__ import annotations

from collections.abc import Sequence

from kafkeep.cluster_reading import unsupported_topic_settings
from kafkeep.errors import KafkaError
from kafkeep.kafka.admin import TOPIC_OVERRIDE
from kafkeep.kafka.cluster import EARLIEST, LATEST, Cluster
from kafkeep.kafka.codes import ErrorCode, request_error
from kafkeep.kafka.topology import TopicTopology, Topology
from kafkeep.kafka.wire.describe_configs import ConfigEntry
from kafkeep.model import ClusterMetadata, TopicPartition
from kafkeep.renaming import renamed
from kafkeep.restore.guard import PROBED
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.survey import TargetSurvey, TargetTopic

_IDLE_STATES = frozenset({"Empty", "Dead", ""})
"""States of a group without members (clients/common/GroupState.java)."""


def survey_target(cluster: Cluster, metadata: ClusterMetadata, options: RestoreOptions) -> TargetSurvey:
    """Looks at every topic and group that the restore may touch, and probes the settings it would set."""
    chosen = [topic for topic in metadata.topics if options.selection.chooses(topic.name)]
    names = sorted({renamed(topic.name, options.renames) for topic in chosen})
    topology = cluster.topology(names)
    there = [topic for topic in topology.topics.values() if topic.error != ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]
    settings = {(name, value) for topic in chosen for name, value in topic.configs if value is not None} | set(PROBED)
    sources = {topic.name for topic in chosen}
    groups = [
        group.group_id
        for group in metadata.groups
        if options.group_selection.chooses(group.group_id)
        and any(position.topic_partition.topic in sources for position in group.offsets)
    ]
    return TargetSurvey(
        cluster_id=topology.cluster_id,
        brokers=len(topology.brokers),
        topics=_target_topics(cluster, topology, there),
        active_groups=_active_groups(cluster, groups if options.groups else []),
        unsupported=unsupported_topic_settings(cluster, settings),
    )


def _target_topics(cluster: Cluster, topology: Topology, there: Sequence[TopicTopology]) -> dict[str, TargetTopic]:
    readable = [topic for topic in there if topic.error == ErrorCode.NONE]
    own_partitions = {
        topic.name: [TopicPartition(topic.name, part.partition) for part in topic.partitions] for topic in readable
    }
    partitions = [partition for own in own_partitions.values() for partition in own]
    start = cluster.offsets(partitions, EARLIEST, topology=topology)
    end = cluster.offsets(partitions, LATEST, topology=topology)
    configs = cluster.admin.topic_configs([topic.name for topic in readable])
    found: dict[str, TargetTopic] = {}
    for topic in there:
        own = own_partitions.get(topic.name, [])
        entries = configs.get(topic.name, ())
        errors = [code for p in own for code in (start[p].error, end[p].error) if code] + [topic.error] * bool(
            topic.error
        )
        problem = str(request_error(errors[0], f"look at topic {topic.name}")) if errors else ""
        if isinstance(entries, KafkaError):
            problem = problem or str(entries)
        found[topic.name] = TargetTopic(
            name=topic.name,
            topic_id=topic.topic_id,
            partitions=len(topic.partitions),
            empty=all(start[p].offset == end[p].offset for p in own),
            overrides=_overrides(entries),
            error=problem,
            ends=tuple(end[p].offset for p in own),
        )
    return found


def _overrides(entries: tuple[ConfigEntry, ...] | KafkaError) -> dict[str, str]:
    if isinstance(entries, KafkaError):
        return {}
    return {e.name: e.value for e in entries if e.source == TOPIC_OVERRIDE and e.value is not None}


def _active_groups(cluster: Cluster, groups: Sequence[str]) -> dict[str, str]:
    if not groups:
        return {}
    states = cluster.admin.group_state(groups)
    active: dict[str, str] = {}
    for group, state in states.items():
        if isinstance(state, KafkaError):
            raise state
        if state.state not in _IDLE_STATES:
            active[group] = state.state
    return active

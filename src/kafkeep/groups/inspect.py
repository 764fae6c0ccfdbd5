"""Asking the target about groups and partitions."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from kafkeep.errors import KafkaError
from kafkeep.groups.survey import (
    ABSENT,
    OFFSETS,
    SHARE,
    UNKNOWN_TYPE,
    GroupsSurvey,
    Problem,
    TargetGroup,
    TargetPartition,
    kind_of,
)
from kafkeep.kafka.admin import Admin
from kafkeep.kafka.cluster import EARLIEST, LATEST, Cluster, OffsetAnswer
from kafkeep.kafka.codes import ErrorCode, request_error
from kafkeep.kafka.groups import GroupListing
from kafkeep.kafka.topology import Topology
from kafkeep.model import NO_TOPIC_ID, GroupOffset, TopicPartition

Positions = dict[TopicPartition, GroupOffset]


def survey(
    cluster: Cluster, groups: Mapping[str, str], partitions: Collection[TopicPartition], cluster_id: str
) -> GroupsSurvey:
    """State and positions of `groups` (id to kind), ends of `partitions`. What cannot be read is a problem in its place.

    Raises what `Cluster` raises when no broker answers.
    """
    return GroupsSurvey(
        cluster_id=cluster_id,
        groups=survey_groups(cluster, groups),
        partitions=survey_partitions(cluster, partitions),
    )


def survey_groups(cluster: Cluster, groups: Mapping[str, str]) -> dict[str, TargetGroup]:
    """One look at each group, by the requests of the kind it is, or is to be when it does not exist."""
    states = cluster.admin.group_state(groups)
    listed = {group: state for group, state in states.items() if isinstance(state, GroupListing)}
    there = {group: kind_of(state.type) for group, state in listed.items() if state.state != ABSENT}
    # A share group that does not exist is asked for too: that is how a broker without share groups shows.
    absent = {group: kind for group, kind in groups.items() if group in listed and group not in there and kind == SHARE}
    offsets = positions_of(cluster.admin, {**there, **absent})
    found: dict[str, TargetGroup] = {}
    for group in groups:
        state, answer = states[group], offsets.get(group, {})
        error = next((item for item in (state, answer) if isinstance(item, KafkaError)), None)
        found[group] = TargetGroup(
            group_id=group,
            type=state.type if isinstance(state, GroupListing) else UNKNOWN_TYPE,
            state=state.state if isinstance(state, GroupListing) else "",
            positions={} if isinstance(answer, KafkaError) else answer,
            problem=None if error is None else Problem(error.slug, str(error)),
        )
    return found


def positions_of(admin: Admin, groups: Mapping[str, str]) -> dict[str, Positions | KafkaError]:
    """Positions of each group (id to kind)."""
    found: dict[str, tuple[GroupOffset, ...] | KafkaError] = {}
    if plain := [group for group, kind in groups.items() if kind == OFFSETS]:
        found |= admin.group_offsets(plain)
    if shared := [group for group, kind in groups.items() if kind == SHARE]:
        found |= admin.share_group_offsets(shared)
    return {
        group: answer if isinstance(answer, KafkaError) else {p.topic_partition: p for p in answer}
        for group, answer in found.items()
    }


def survey_partitions(
    cluster: Cluster, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, TargetPartition]:
    """Where each partition begins and ends; a problem says that it is missing or cannot be read."""
    if not partitions:
        return {}
    topology = cluster.topology(sorted({tp.topic for tp in partitions}))
    readable = [tp for tp in partitions if topology.partition(tp) is not None and not topology.topics[tp.topic].error]
    start = cluster.offsets(readable, EARLIEST, topology=topology)
    end = cluster.offsets(readable, LATEST, topology=topology)
    return {tp: _partition(tp, topology, start.get(tp), end.get(tp)) for tp in partitions}


def _partition(
    tp: TopicPartition, topology: Topology, start: OffsetAnswer | None, end: OffsetAnswer | None
) -> TargetPartition:
    topic = topology.topics.get(tp.topic)
    code = topic.error if topic is not None else int(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    if not code and (start is None or end is None):
        code = int(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    if start is not None and end is not None:
        code = code or start.error or end.error
    problem = None
    if code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
        problem = Problem("target-missing", f"{tp} does not exist on the target")
    elif code:
        error = request_error(code, f"look at {tp}")
        problem = Problem(error.slug, str(error))
    known = topology.partition(tp)
    return TargetPartition(
        topic_id=NO_TOPIC_ID if topic is None else topic.topic_id,
        log_start=-1 if start is None else start.offset,
        log_end=-1 if end is None else end.offset,
        leader_epoch=-1 if known is None else known.leader_epoch,
        problem=problem,
    )

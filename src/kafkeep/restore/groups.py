"""Committing group positions, translated to where their records went."""

from __future__ import annotations

from collections.abc import Mapping

from kafkeep.errors import KafkaError
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.codes import ErrorCode, code_name
from kafkeep.model import Failure, GroupOffset, TopicPartition
from kafkeep.offset_map import OffsetMap
from kafkeep.restore.plan import GroupRestore, RestorePlan
from kafkeep.restore.result import RestoredGroup

_NO_LEADER_EPOCH = -1
"""A commit with an epoch the target never had would silence Java consumers for good (clients/Metadata.java)."""


def restore_groups(
    cluster: Cluster, plan: RestorePlan, maps: Mapping[TopicPartition, OffsetMap]
) -> tuple[tuple[RestoredGroup, ...], list[Failure]]:
    """Commits every position of the plan whose partition was restored whole; the others are failures by name."""
    restored: list[RestoredGroup] = []
    failures: list[Failure] = []
    for group in plan.groups:
        done, failed = _restore_group(cluster, group, maps)
        failures += failed
        if done.positions:
            restored.append(done)
    return tuple(restored), failures


def _restore_group(
    cluster: Cluster, group: GroupRestore, maps: Mapping[TopicPartition, OffsetMap]
) -> tuple[RestoredGroup, list[Failure]]:
    subject = f"group {group.group_id}"
    whole = [position for position in group.positions if position.target in maps]
    failures = [
        Failure(
            subject, "PARTITION_INCOMPLETE", f"{subject}: {p.target} was not restored whole, its position is not set"
        )
        for p in group.positions
        if p.target not in maps
    ]
    offsets = [
        GroupOffset(p.target, maps[p.target].translate(p.committed), _NO_LEADER_EPOCH, p.metadata) for p in whole
    ]
    try:
        codes = cluster.admin.commit_group_offsets(group.group_id, offsets) if offsets else {}
    except KafkaError as error:
        return RestoredGroup(group_id=group.group_id, positions=()), [
            *failures,
            Failure(subject, error.slug, str(error)),
        ]
    done: list[tuple[TopicPartition, int, int]] = []
    for position, offset in zip(whole, offsets, strict=True):
        code = codes.get(position.target, ErrorCode.UNKNOWN_SERVER_ERROR)
        if code == ErrorCode.NONE:
            done.append((position.target, position.committed, offset.offset))
        else:
            name = code_name(code)
            failures.append(Failure(subject, name, f"{subject}: position of {position.target} was refused: {name}"))
    return RestoredGroup(group_id=group.group_id, positions=tuple(done)), failures

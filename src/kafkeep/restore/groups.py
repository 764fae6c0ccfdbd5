"""Committing group positions, translated to where their records went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kafkeep.errors import KafkaError
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.codes import ErrorCode, code_name
from kafkeep.model import Failure, GroupOffset, TopicPartition
from kafkeep.offset_map import OffsetMap
from kafkeep.restore.plan import GroupRestore, PartitionRestore, RestorePlan, examples
from kafkeep.restore.result import RestoredGroup

_NO_LEADER_EPOCH = -1
"""A commit with an epoch the target never had would silence Java consumers for good (clients/Metadata.java)."""


def restore_groups(
    cluster: Cluster, plan: RestorePlan, maps: Mapping[TopicPartition, OffsetMap]
) -> tuple[tuple[RestoredGroup, ...], list[Failure]]:
    """Commits every position of the plan whose partition was restored whole; the others are failures by name."""
    restored: list[RestoredGroup] = []
    failures: list[Failure] = []
    by_time = {part.target: part for part in plan.partitions if not part.window.is_open}
    for group in plan.groups:
        done, failed = _restore_group(cluster, group, maps, by_time)
        failures += failed
        if done.positions:
            restored.append(done)
    return tuple(restored), failures


def _restore_group(
    cluster: Cluster,
    group: GroupRestore,
    maps: Mapping[TopicPartition, OffsetMap],
    by_time: Mapping[TopicPartition, PartitionRestore],
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
    moved = sum(_is_moved(by_time.get(target), maps[target], committed) for target, committed, _ in done)
    found = RestoredGroup(group_id=group.group_id, positions=tuple(done), moved=moved, read_again=group.read_again)
    return found, failures


def _is_moved(part: PartitionRestore | None, offsets: OffsetMap, committed: int) -> bool:
    """True for a position inside a partition that is restored by time, on no record of it that is in the target."""
    return part is not None and committed < part.stop and offsets.target_of(committed) is None


def moved_warnings(groups: Sequence[RestoredGroup]) -> list[str]:
    """One for all groups, however many there are."""
    moved = [group for group in groups if group.moved]
    if not moved:
        return []
    named = examples(moved, lambda group: f"group {group.group_id} {group.moved}")
    return [
        (
            f"{sum(group.moved for group in moved)} position(s) of {len(moved)} group(s) were on no record of the chosen "
            f"time and are at the next restored one: {named}"
        )
    ]

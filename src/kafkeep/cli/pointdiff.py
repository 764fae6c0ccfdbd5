"""What differs between two recovery points, without reading a record. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from kafkeep.model import (
    ClusterMetadata,
    Generation,
    Group,
    OffsetRange,
    PartitionCut,
    RecoveryPoint,
    TopicMetadata,
    TopicPartition,
)
from kafkeep.records import dataclass


@dataclass(frozen=True, slots=True)
class PartitionDiff:
    """One partition that is not the same in both points."""

    topic_partition: TopicPartition
    change: str
    """`added`, `removed`, `recreated` (another generation), `grown`, `shrunk` (its end moved back), `trimmed` (only its
    start moved)."""
    before: OffsetRange | None
    after: OffsetRange | None


@dataclass(frozen=True, slots=True)
class ConfigDiff:
    """A setting of a topic that both points hold; None where it is not set on the topic."""

    topic: str
    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class PositionDiff:
    """A group's position that is not the same in both points; None where there is none."""

    group_id: str
    topic_partition: TopicPartition
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PointDiff:
    """From recovery point `before` to recovery point `after`."""

    before: int
    after: int
    topics_added: tuple[str, ...]
    topics_removed: tuple[str, ...]
    topics_recreated: tuple[str, ...]
    partitions: tuple[PartitionDiff, ...]
    configs: tuple[ConfigDiff, ...]
    groups_added: tuple[str, ...]
    groups_removed: tuple[str, ...]
    positions: tuple[PositionDiff, ...]

    @property
    def same(self) -> bool:
        return not (
            self.topics_added
            or self.topics_removed
            or self.topics_recreated
            or self.partitions
            or self.configs
            or self.groups_added
            or self.groups_removed
            or self.positions
        )


def diff_points(
    before: RecoveryPoint, before_metadata: ClusterMetadata, after: RecoveryPoint, after_metadata: ClusterMetadata
) -> PointDiff:
    """Topics, partitions, configs and groups, each in sorted order."""
    old_ids, new_ids = _topic_ids(before), _topic_ids(after)
    old_groups = {group.group_id: group for group in before_metadata.groups}
    new_groups = {group.group_id: group for group in after_metadata.groups}
    return PointDiff(
        before=before.number,
        after=after.number,
        topics_added=tuple(sorted(new_ids.keys() - old_ids.keys())),
        topics_removed=tuple(sorted(old_ids.keys() - new_ids.keys())),
        topics_recreated=tuple(
            sorted(name for name in old_ids.keys() & new_ids.keys() if old_ids[name] != new_ids[name])
        ),
        partitions=_partitions(_cuts(before), _cuts(after)),
        configs=_configs(before_metadata, after_metadata),
        groups_added=tuple(sorted(new_groups.keys() - old_groups.keys())),
        groups_removed=tuple(sorted(old_groups.keys() - new_groups.keys())),
        positions=_positions(old_groups, new_groups),
    )


def _topic_ids(point: RecoveryPoint) -> dict[str, str]:
    return {cut.generation.topic: cut.generation.topic_id for cut in point.cuts}


def _cuts(point: RecoveryPoint) -> dict[TopicPartition, PartitionCut]:
    return {cut.generation.topic_partition: cut for cut in point.cuts}


def _range(cut: PartitionCut | None) -> OffsetRange | None:
    return None if cut is None else OffsetRange(cut.start, max(cut.start, cut.stop))


def _partitions(
    old: Mapping[TopicPartition, PartitionCut], new: Mapping[TopicPartition, PartitionCut]
) -> tuple[PartitionDiff, ...]:
    found = []
    for partition in sorted(old.keys() | new.keys()):
        before, after = old.get(partition), new.get(partition)
        change = _change(before, after)
        if change is not None:
            found.append(PartitionDiff(partition, change, _range(before), _range(after)))
    return tuple(found)


def _change(before: PartitionCut | None, after: PartitionCut | None) -> str | None:
    if before is None:
        return "added"
    if after is None:
        return "removed"
    if _lineage(before.generation) != _lineage(after.generation):
        return "recreated"
    if before.stop != after.stop:
        return "grown" if after.stop > before.stop else "shrunk"
    return "trimmed" if before.start != after.start else None


def _lineage(generation: Generation) -> tuple[str, int]:
    return generation.topic_id, generation.lineage


def _configs(before: ClusterMetadata, after: ClusterMetadata) -> tuple[ConfigDiff, ...]:
    old = {topic.name: topic for topic in before.topics}
    new = {topic.name: topic for topic in after.topics}
    return tuple(diff for name in sorted(old.keys() & new.keys()) for diff in _topic_configs(old[name], new[name]))


def _topic_configs(before: TopicMetadata, after: TopicMetadata) -> tuple[ConfigDiff, ...]:
    old, new = dict(before.configs), dict(after.configs)
    return tuple(
        ConfigDiff(before.name, name, old.get(name), new.get(name))
        for name in sorted(old.keys() | new.keys())
        if (name in old, old.get(name)) != (name in new, new.get(name))
    )


def _positions(old: Mapping[str, Group], new: Mapping[str, Group]) -> tuple[PositionDiff, ...]:
    found = []
    for group_id in sorted(old.keys() & new.keys()):
        before = {position.topic_partition: position.offset for position in old[group_id].offsets}
        after = {position.topic_partition: position.offset for position in new[group_id].offsets}
        found += [
            PositionDiff(group_id, partition, before.get(partition), after.get(partition))
            for partition in sorted(before.keys() | after.keys())
            if before.get(partition) != after.get(partition)
        ]
    return tuple(found)

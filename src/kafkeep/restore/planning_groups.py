"""The group positions of a restore's plan: which are set, which belong to nothing that is restored. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from kafkeep.model import Gap, Group, GroupOffset, OffsetRange, TopicPartition
from kafkeep.records import dataclass
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.plan import (
    BEFORE_START,
    BEYOND,
    BY_KEY,
    GAP,
    GroupRestore,
    MissingPartition,
    PartitionRestore,
    PositionNotSet,
    PositionRestore,
    Refusal,
    SpreadPositions,
    examples,
)
from kafkeep.restore.survey import TargetSurvey

_WHY: Final = {
    BEFORE_START: "lie in front of what is chosen",
    BEYOND: "lie behind what is chosen, or behind a gap that ends the partition,",
    GAP: "stood in records that the backup lost",
}
_MOVED: Final = {
    BEFORE_START: "lie in front of what the source still had and go to the first restored record",
    BEYOND: "lie behind what was decided at the source and go to the end",
}
_WAY: Final = {
    BEFORE_START: "`kafkeep groups apply` sets them to the start",
    BEYOND: "`kafkeep groups apply` sets them to the end",
    GAP: "`kafkeep groups apply --in-gap next` sets them behind the gap",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Landings:
    """Where positions may go: the restored partitions by their source, every known gap of them, and what is missing."""

    partitions: Mapping[TopicPartition, PartitionRestore]
    held: Mapping[TopicPartition, OffsetRange]
    """What the point holds: the source itself had removed what lay in front, and had decided nothing of what lay behind."""
    gaps: Mapping[TopicPartition, Sequence[Gap]]
    missing: Mapping[TopicPartition, MissingPartition]


@dataclass(frozen=True, slots=True)
class PlannedGroups:
    groups: tuple[GroupRestore, ...]
    warnings: tuple[str, ...]


def plan_groups(groups: Sequence[Group], landings: Landings, options: RestoreOptions) -> PlannedGroups:
    """The chosen groups with a position on what is restored.

    A position in front of what the source still had goes to the first record: a consumer of the source could have read on
    from there at best. One behind the cut, of a group that reads uncommitted records, goes to the end. One in records that
    are lost, or left out by choice, is named and not set, so that the group's own `auto.offset.reset` decides; `kafkeep
    groups apply` has the choices.
    """
    found: list[GroupRestore] = []
    shared: list[str] = []
    for group in groups:
        if not options.groups or not options.group_selection.chooses(group.group_id):
            continue
        if group.type == "share":
            shared.append(group.group_id)
            continue
        planned = _group(group, landings)
        if planned.is_set or planned.not_set:
            found.append(planned)
    warnings = [
        *_share_warnings(shared),
        *_moved_warnings(found, landings),
        *_not_set_warnings(found),
        *_window_warnings(found, options),
        *_spread_warnings(found),
    ]
    return PlannedGroups(tuple(found), tuple(warnings))


def _group(group: Group, landings: Landings) -> GroupRestore:
    positions: list[PositionRestore] = []
    not_set: list[PositionNotSet] = []
    for position in group.offsets:
        place = _place(position, landings)
        target = _target(position.topic_partition, landings)
        if target is None or target.partition == BY_KEY:
            continue
        if place is not None:
            not_set.append(
                PositionNotSet(
                    group_id=group.group_id,
                    source=position.topic_partition,
                    target=target,
                    committed=position.offset,
                    place=place[0],
                    note=place[1],
                )
            )
            continue
        positions.append(
            PositionRestore(
                source=position.topic_partition, target=target, committed=position.offset, metadata=position.metadata
            )
        )
    spread = tuple(_spread(group, landings))
    return GroupRestore(group_id=group.group_id, positions=tuple(positions), not_set=tuple(not_set), spread=spread)


def _spread(group: Group, landings: Landings) -> Iterator[SpreadPositions]:
    """Positions on repartitioned topics. Each counts by its offset alone: what lies in front of it was consumed, wherever
    it stands. A partition without one counts as not consumed at all.
    """
    topics: dict[str, list[GroupOffset]] = {}
    for position in group.offsets:
        part = landings.partitions.get(position.topic_partition)
        if part is not None and part.target.partition == BY_KEY:
            topics.setdefault(position.topic_partition.topic, []).append(position)
    for topic, found in topics.items():
        kept = {position.metadata for position in found}
        yield SpreadPositions(
            source=topic,
            target=landings.partitions[found[0].topic_partition].target.topic,
            committed=tuple(sorted((position.topic_partition.partition, position.offset) for position in found)),
            metadata=kept.pop() if len(kept) == 1 else "",
        )


def _target(source: TopicPartition, landings: Landings) -> TopicPartition | None:
    found = landings.partitions.get(source, landings.missing.get(source))
    return None if found is None else found.target


def _place(position: GroupOffset, landings: Landings) -> tuple[str, str] | None:
    """Why a position belongs to nothing that is restored, with a note; None when it belongs somewhere: to a record, into
    a hole, or behind the last record.
    """
    source = position.topic_partition
    if source in landings.missing:
        return GAP, f"the point holds nothing of {source}"
    part = landings.partitions.get(source)
    if part is None:
        return None
    gap = next((gap for gap in landings.gaps.get(source, ()) if position.offset in gap.offsets), None)
    if gap is not None:
        return GAP, f"in the gap {gap.offsets} ({gap.reason})"
    if position.offset < part.start and landings.held[source].start < part.start:
        return BEFORE_START, f"the restored records begin at source offset {part.start}"
    if position.offset > part.stop and part.stop < landings.held[source].stop:
        return BEYOND, f"the restored records end at source offset {part.stop}"
    return None


def _share_warnings(groups: Sequence[str]) -> list[str]:
    if not groups:
        return []
    return [
        (
            f"{len(groups)} share group(s) are left out, `kafkeep groups apply` sets their start offsets once the topics "
            f"are there: {examples(groups, str)}"
        )
    ]


def _moved_warnings(groups: Sequence[GroupRestore], landings: Landings) -> list[str]:
    """Positions that are set, outside of what the point holds of their partitions: one warning for each end."""
    found: dict[str, list[tuple[str, PositionRestore]]] = {}
    for group in groups:
        for position in group.positions:
            part = landings.partitions[position.source]
            place = (
                BEFORE_START if position.committed < part.start else BEYOND if position.committed > part.stop else None
            )
            if place is not None:
                found.setdefault(place, []).append((group.group_id, position))
    return [
        f"{len(moved)} position(s) of {len({group_id for group_id, _ in moved})} group(s) {_MOVED[place]} ({place}): "
        + examples(moved, lambda each: f"group {each[0]} in {each[1].source} at {each[1].committed}")
        for place, moved in sorted(found.items())
    ]


def _not_set_warnings(groups: Sequence[GroupRestore]) -> list[str]:
    """One for each place, however many groups there are."""
    found: dict[str, list[PositionNotSet]] = {}
    for group in groups:
        for position in group.not_set:
            found.setdefault(position.place, []).append(position)
    return [
        f"{len(positions)} position(s) of {len({p.group_id for p in positions})} group(s) {_WHY[place]} and are not set "
        f"({place}); {_WAY[place]}: {examples(positions, _position_text)}"
        for place, positions in sorted(found.items())
    ]


def _position_text(position: PositionNotSet) -> str:
    return f"group {position.group_id} in {position.source} at {position.committed}: {position.note}"


def _window_warnings(groups: Sequence[GroupRestore], options: RestoreOptions) -> list[str]:
    count = sum(len(group.positions) for group in groups)
    if options.window.is_open or not count:
        return []
    return [
        (
            f"{count} position(s) of {sum(bool(group.positions) for group in groups)} group(s) are in partitions that are "
            "restored by time: one on a record that is left out goes to the next restored one"
        )
    ]


def _spread_warnings(groups: Sequence[GroupRestore]) -> list[str]:
    spread = [group for group in groups if group.spread]
    if not spread:
        return []
    return [
        (
            f"{len(spread)} group(s) begin, in every partition of a repartitioned topic, at the first record that they had "
            f"not consumed, and read consumed ones behind it again: {examples(spread, lambda group: group.group_id)}"
        )
    ]


def group_refusals(
    known: Sequence[Group], groups: Sequence[GroupRestore], target: TargetSurvey, options: RestoreOptions
) -> list[Refusal]:
    """Groups that the point does not hold, and those that would be set while they have members."""
    absent = options.group_selection.unmatched([group.group_id for group in known]) if options.groups else ()
    return [
        *(Refusal("plan-refused", name, f"the point holds no group {name}") for name in absent),
        *(
            Refusal("group-active", group.group_id, f"group {group.group_id} has members on the target (state {state})")
            for group in groups
            if group.is_set and (state := target.active_groups.get(group.group_id)) is not None
        ),
    ]

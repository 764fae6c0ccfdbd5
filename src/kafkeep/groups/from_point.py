"""From a recovery point to the positions its groups should have on a target: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from kafkeep.groups.landing import EXACT, Route, land
from kafkeep.groups.options import GroupOptions
from kafkeep.groups.plan import (
    GroupsPlan,
    PlannedGroup,
    PlannedPosition,
    Refusal,
    WantedGroup,
    WantedPosition,
    examples,
    plan_group,
    told,
)
from kafkeep.groups.survey import GroupsSurvey, TargetPartition
from kafkeep.model import ClusterMetadata, Gap, Group, GroupOffset, PartitionCut, RecoveryPoint, TopicPartition
from kafkeep.offset_map import MappedPartition, MappedPartitions
from kafkeep.records import dataclass
from kafkeep.renaming import renamed


@dataclass(frozen=True, slots=True)
class PartitionContent:
    """What the repository knows of one cut of the point."""

    cut: PartitionCut
    gaps: tuple[Gap, ...]
    """Of the whole generation, as far as the point knows them."""
    newest: bool
    """False when the source's log was cut back or recreated after the point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What of a point a plan is about."""

    groups: tuple[tuple[Group, tuple[GroupOffset, ...]], ...]
    """Groups with those of their positions that are on chosen topics of the point."""
    elsewhere: tuple[tuple[str, GroupOffset], ...]
    """(group, position) on chosen names whose topics the point does not hold."""
    targets: Mapping[TopicPartition, TopicPartition]
    """Target partition of every source partition that a chosen position is on."""
    refusals: tuple[Refusal, ...]

    def target_ids(self, options: GroupOptions) -> dict[str, str]:
        """Target group by source group."""
        return {group.group_id: renamed(group.group_id, options.group_renames) for group, _ in self.groups}


def choose(point: RecoveryPoint, metadata: ClusterMetadata, options: GroupOptions) -> Chosen:
    """The groups and positions that the options name."""
    held = {cut.generation.topic_partition for cut in point.cuts}
    groups: list[tuple[Group, tuple[GroupOffset, ...]]] = []
    elsewhere: list[tuple[str, GroupOffset]] = []
    for group in metadata.groups:
        if not options.group_selection.chooses(group.group_id):
            continue
        named = [p for p in group.offsets if options.selection.chooses(p.topic_partition.topic)]
        positions = tuple(p for p in named if p.topic_partition in held)
        elsewhere += [(group.group_id, p) for p in named if p.topic_partition not in held]
        if positions:
            groups.append((group, positions))
    sources = {position.topic_partition for _, positions in groups for position in positions}
    return Chosen(
        groups=tuple(groups),
        elsewhere=tuple(elsewhere),
        targets={tp: TopicPartition(renamed(tp.topic, options.renames), tp.partition) for tp in sources},
        refusals=_unknown_names(point, metadata, options),
    )


def _unknown_names(point: RecoveryPoint, metadata: ClusterMetadata, options: GroupOptions) -> tuple[Refusal, ...]:
    groups = options.group_selection.unmatched([group.group_id for group in metadata.groups])
    topics = options.selection.unmatched([cut.generation.topic for cut in point.cuts])
    return (
        *(Refusal("plan-refused", f"group {name}", f"the point holds no group {name}") for name in groups),
        *(Refusal("plan-refused", f"topic {name}", f"the point holds no topic {name}") for name in topics),
    )


def plan_point(
    point: RecoveryPoint,
    chosen: Chosen,
    contents: Mapping[TopicPartition, PartitionContent],
    maps: MappedPartitions,
    survey: GroupsSurvey,
    options: GroupOptions,
) -> GroupsPlan:
    """Every position of the point on the target. `contents` has every source partition of `chosen`."""
    same_cluster = survey.cluster_id == point.cluster_id
    routes: dict[TopicPartition, Route | Refusal] = {
        source: _route(contents[source], target, survey.partitions[target], maps, same_cluster=same_cluster)
        for source, target in chosen.targets.items()
    }
    names = chosen.target_ids(options)
    merged = Counter(names.values())
    merged_topics = _merged_topics(chosen.targets)
    groups: list[PlannedGroup] = []
    refusals: list[Refusal] = [*chosen.refusals, *_merged_refusals(merged_topics)]
    for group, positions in chosen.groups:
        name = names[group.group_id]
        wanted = WantedGroup(
            group_id=name,
            source=group.group_id,
            type=group.type,
            positions=tuple(
                _wanted(p, chosen.targets[p.topic_partition], routes, merged_topics, options) for p in positions
            ),
            refusal=_same_name(name, names) if merged[name] > 1 else None,
        )
        planned, against = plan_group(wanted, survey.groups[name], survey.partitions.get, backwards=options.backwards)
        groups.append(planned)
        refusals += against
    return GroupsPlan(
        operation="apply",
        origin=f"recovery point {point.number}",
        point=point.number,
        target_cluster=survey.cluster_id,
        groups=tuple(sorted(groups, key=lambda group: (group.group_id, group.source))),
        warnings=(*_elsewhere(chosen), *_changed_since(chosen, contents, routes), *told(groups)),
        refusals=(*refusals, *_route_refusals(routes), *_gap_refusals(groups)),
    )


def _route(
    content: PartitionContent,
    target: TopicPartition,
    there: TargetPartition,
    maps: MappedPartitions,
    *,
    same_cluster: bool,
) -> Route | Refusal:
    generation = content.cut.generation
    source = generation.topic_partition
    subject = f"topic {target.topic}"
    if there.problem is not None:
        return Refusal(there.problem.kind, subject, there.problem.message, "Restore the topic first, or --rename it.")
    if same_cluster and there.topic_id == generation.topic_id:
        return _as_route(source, target, there, None, content)
    found = maps.get((source, target))
    if found is None:
        message = f"no offset map of a restore of {source.topic} to {target.topic} on this cluster is known"
        hint = (
            "Restore the point first: its record in the repository holds the map. A restore recorded elsewhere: "
            "--map FILE, written by `restore --offset-map`. A restore under another name: --rename."
        )
        return Refusal("no-offset-map", subject, message, hint)
    problem = _unfit(found, content, there)
    if problem:
        hint = "Restore the topic again, or leave it out with --topics."
        return Refusal("offset-map-refused", subject, f"the offset map of {target} {problem}", hint)
    return _as_route(source, target, there, found, content)


def _unfit(found: MappedPartition, content: PartitionContent, there: TargetPartition) -> str:
    """Why an offset map does not say where the records of the point are now; empty when it does."""
    if found.source != content.cut.generation:
        return f"is of another history of {found.source.topic_partition} than the point's"
    if not found.complete:
        return "is of a restore that ended before all was restored"
    if found.target_topic_id not in (None, there.topic_id):
        return "is of an earlier topic of that name"
    if found.offsets.end > there.log_end:
        return f"reaches to {found.offsets.end}, and the log ends at {there.log_end}: it is another topic's, or was cut back"
    return ""


def _as_route(
    source: TopicPartition,
    target: TopicPartition,
    there: TargetPartition,
    found: MappedPartition | None,
    content: PartitionContent,
) -> Route:
    held = None if found is None else found.source_range
    return Route(
        source=source,
        target=target,
        offsets=None if found is None else found.offsets,
        start=content.cut.start if held is None else held.start,
        stop=content.cut.stop if held is None else held.stop,
        gaps=content.gaps,
        log_start=there.log_start,
        log_end=there.log_end,
    )


def _wanted(
    position: GroupOffset,
    target: TopicPartition,
    routes: Mapping[TopicPartition, Route | Refusal],
    merged_topics: Mapping[str, tuple[str, ...]],
    options: GroupOptions,
) -> WantedPosition:
    route = routes[position.topic_partition]
    if isinstance(route, Refusal) or target.topic in merged_topics:
        return WantedPosition(
            target=target,
            source=position.topic_partition,
            committed=position.offset,
            place=EXACT,
            offset=None,
            metadata=position.metadata,
            refusal=route.kind if isinstance(route, Refusal) else "plan-refused",
        )
    landing = land(route, position.offset, in_gap=options.in_gap)
    return WantedPosition(
        target=target,
        source=position.topic_partition,
        committed=position.offset,
        place=landing.place,
        note=landing.note,
        offset=landing.offset,
        metadata=position.metadata,
        refusal=landing.refusal,
    )


def _same_name(name: str, names: Mapping[str, str]) -> Refusal:
    sources = ", ".join(sorted(source for source, target in names.items() if target == name))
    return Refusal(
        "plan-refused", f"group {name}", f"{sources} would all become group {name}", "Correct --rename-group."
    )


def _merged_topics(targets: Mapping[TopicPartition, TopicPartition]) -> dict[str, tuple[str, ...]]:
    sources: dict[str, set[str]] = {}
    for source, target in targets.items():
        sources.setdefault(target.topic, set()).add(source.topic)
    return {name: tuple(sorted(found)) for name, found in sources.items() if len(found) > 1}


def _merged_refusals(merged: Mapping[str, tuple[str, ...]]) -> list[Refusal]:
    return [
        Refusal("plan-refused", f"topic {name}", f"{', '.join(sources)} would all be {name}", "Correct --rename.")
        for name, sources in sorted(merged.items())
    ]


def _route_refusals(routes: Mapping[TopicPartition, Route | Refusal]) -> list[Refusal]:
    """One for each topic and reason."""
    found = {(r.kind, r.subject): r for r in reversed(list(routes.values())) if isinstance(r, Refusal)}
    return [found[key] for key in sorted(found)]


def _gap_refusals(groups: Sequence[PlannedGroup]) -> list[Refusal]:
    found: list[Refusal] = []
    for group in groups:
        lost = [position for position in group.positions if position.refusal == "in-gap"]
        if lost:
            subject = f"group {group.group_id}"
            message = f"{subject} stood in records that the backup lost: {examples(lost, _gap_text)}"
            hint = "--in-gap next moves each to the first record behind its gap; else set it with --from-file."
            found.append(Refusal("in-gap", subject, message, hint))
    return found


def _gap_text(position: PlannedPosition) -> str:
    return f"{position.source} at {position.committed}, {position.note}"


def _elsewhere(chosen: Chosen) -> list[str]:
    if not chosen.elsewhere:
        return []
    topics = sorted({position.topic_partition.topic for _, position in chosen.elsewhere})
    groups = {group for group, _ in chosen.elsewhere}
    return [
        f"{len(chosen.elsewhere)} position(s) of {len(groups)} group(s) are left alone, the point holds no records of "
        + examples(topics, str)
    ]


def _changed_since(
    chosen: Chosen,
    contents: Mapping[TopicPartition, PartitionContent],
    routes: Mapping[TopicPartition, Route | Refusal],
) -> list[str]:
    """A log that was cut back and grew again holds other records at the same offsets (unclean leader election)."""
    found = [
        source
        for source in sorted(chosen.targets)
        if not contents[source].newest and isinstance(route := routes[source], Route) and route.offsets is None
    ]
    if not found:
        return []
    return [
        f"the log of {examples(found, str)} was cut back after the point was made: the same offsets may hold other records"
    ]

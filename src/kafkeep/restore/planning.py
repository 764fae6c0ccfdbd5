"""From a recovery point and a target cluster to what a restore will do: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from kafkeep.model import ClusterMetadata, Group, OffsetRange, RecoveryPoint, TopicMetadata, TopicPartition
from kafkeep.renaming import renamed
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.plan import (
    GroupRestore,
    PartitionContent,
    PartitionRestore,
    PositionRestore,
    Refusal,
    RestorePlan,
)
from kafkeep.restore.planning_topics import plan_topic, topic_refusals, topic_warnings
from kafkeep.restore.survey import TargetSurvey


def plan_restore(
    point: RecoveryPoint,
    metadata: ClusterMetadata,
    contents: Sequence[PartitionContent],
    target: TargetSurvey,
    options: RestoreOptions,
    *,
    now_ms: int,
) -> RestorePlan:
    """Decides what to create, what to read and where to put it; everything doubtful becomes a warning or a refusal."""
    chosen = [topic for topic in metadata.topics if options.selection.chooses(topic.name)]
    names = {topic.name: renamed(topic.name, options.renames) for topic in chosen}
    by_topic: dict[str, list[PartitionContent]] = {}
    for content in contents:
        by_topic.setdefault(content.cut.generation.topic, []).append(content)
    partitions = tuple(
        part
        for topic in chosen
        for content in by_topic.get(topic.name, ())
        if (part := _partition(content, names[topic.name], options)) is not None
    )
    topics = tuple(
        plan_topic(topic, names[topic.name], [p for p in partitions if p.source.topic == topic.name], target, options)
        for topic in chosen
    )
    groups, group_warnings = _groups(metadata.groups, partitions, options)
    return RestorePlan(
        point=point.number,
        source_cluster=point.cluster_id,
        target_cluster=target.cluster_id,
        route=options.route,
        topics=topics,
        partitions=partitions,
        groups=groups,
        warnings=(
            *topic_warnings(chosen, topics, target, options, now_ms=now_ms, partitions=partitions),
            *_loss_warnings(point, partitions),
            *group_warnings,
        ),
        refusals=(
            *_name_refusals(chosen, names, options),
            *topic_refusals(chosen, topics, target, options),
            *_group_refusals(metadata.groups, groups, target, options),
        ),
    )


def _partition(content: PartitionContent, target: str, options: RestoreOptions) -> PartitionRestore | None:
    cut = content.cut
    source = cut.generation.topic_partition
    chosen = options.partitions_of(source.topic)
    if chosen is not None and source.partition not in chosen:
        return None
    start = content.history_start if options.whole_history else max(cut.start, content.history_start)
    until = options.until_offset(source)
    stop = max(start, cut.stop if until is None else min(cut.stop, until))
    wanted = OffsetRange(start, stop)
    runs = tuple(run for run in content.runs if run.coverage.intersection(wanted) is not None)
    return PartitionRestore(
        source=cut.generation,
        target=TopicPartition(target, source.partition),
        start=start,
        stop=stop,
        runs=runs,
        held_back=cut.held_back,
        window=options.window,
        most_records=sum(run.facts.records for run in runs),
        raw_bytes=sum(run.facts.raw_bytes for run in runs),
        gaps=tuple(
            common for low, high in content.gaps if (common := OffsetRange(low, high).intersection(wanted)) is not None
        ),
    )


def _groups(
    groups: Sequence[Group], partitions: Sequence[PartitionRestore], options: RestoreOptions
) -> tuple[tuple[GroupRestore, ...], list[str]]:
    targets = {part.source.topic_partition: part for part in partitions}
    found: list[GroupRestore] = []
    warnings: list[str] = []
    for group in groups:
        if not options.groups or not options.group_selection.chooses(group.group_id):
            continue
        if group.type == "share":
            warnings.append(f"share group {group.group_id} is left out: its positions are not kept in group offsets")
            continue
        positions = tuple(
            PositionRestore(
                source=position.topic_partition,
                target=targets[position.topic_partition].target,
                committed=position.offset,
                metadata=position.metadata,
            )
            for position in group.offsets
            if position.topic_partition in targets
        )
        beyond = [p for p in positions if not targets[p.source].start <= p.committed <= targets[p.source].stop]
        warnings += [
            f"group {group.group_id}: position {p.committed} of {p.source} is outside of what is restored "
            f"[{targets[p.source].start}, {targets[p.source].stop}] and moves to its nearest end"
            for p in beyond
        ]
        if positions:
            found.append(GroupRestore(group_id=group.group_id, positions=positions))
    return tuple(found), warnings


def _loss_warnings(point: RecoveryPoint, partitions: Sequence[PartitionRestore]) -> list[str]:
    warnings = [
        f"{part.source}: {part.lost} offset(s) of the range are a declared gap" for part in partitions if part.lost
    ]
    if not point.complete:
        warnings.append(f"point #{point.number} is incomplete: {len(point.failures)} part(s) were not captured")
    return warnings


def _name_refusals(chosen: Sequence[TopicMetadata], names: Mapping[str, str], options: RestoreOptions) -> list[Refusal]:
    counted = Counter(names.values())
    refusals = [
        Refusal(
            "plan-refused",
            name,
            f"{', '.join(sorted(old for old, new in names.items() if new == name))} would all be restored into {name}",
        )
        for name, count in counted.items()
        if count > 1
    ]
    known = [topic.name for topic in chosen]
    refusals += [
        Refusal("plan-refused", name, f"the point holds no topic {name}") for name in options.selection.unmatched(known)
    ]
    refusals += [
        Refusal("plan-refused", topic.name, f"{topic.name} is internal to Kafka: a broker takes no records for it")
        for topic in chosen
        if topic.internal
    ]
    counts = {topic.name: len(topic.partitions) for topic in chosen}
    for name, wanted in options.partitions:
        refusals += [
            Refusal("plan-refused", name, f"{name} has no partition {number} in the point")
            for number in sorted(wanted)
            if number >= counts.get(name, 0)
        ]
    refusals += [
        Refusal("plan-refused", str(named), f"the point holds no partition {named}")
        for named, _ in options.until_offsets
        if named.partition >= counts.get(named.topic, 0)
    ]
    if options.route != "produce":
        refusals.append(Refusal("plan-refused", options.route, f"route {options.route} is not one of: produce"))
    return refusals


def _group_refusals(
    known: Sequence[Group], groups: Sequence[GroupRestore], target: TargetSurvey, options: RestoreOptions
) -> list[Refusal]:
    absent = options.group_selection.unmatched([group.group_id for group in known]) if options.groups else ()
    return [
        *(Refusal("plan-refused", name, f"the point holds no group {name}") for name in absent),
        *(
            Refusal("group-active", group.group_id, f"group {group.group_id} has members on the target (state {state})")
            for group in groups
            if (state := target.active_groups.get(group.group_id)) is not None
        ),
    ]

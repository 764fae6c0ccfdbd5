"""From a recovery point and a target cluster to what a restore will do: pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

from kafkeep.model import ClusterMetadata, Gap, OffsetRange, RecoveryPoint, RunRef, TopicMetadata, TopicPartition
from kafkeep.records import dataclass
from kafkeep.renaming import renamed
from kafkeep.restore.loss import loss_refusals, loss_warnings, needed, window_warnings, with_loss
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.plan import (
    BY_KEY,
    MissingPartition,
    PartitionContent,
    PartitionRestore,
    RestorePlan,
    carried_by,
    examples,
)
from kafkeep.restore.planning_groups import Landings, group_refusals, plan_groups
from kafkeep.restore.planning_names import name_refusals, offset_refusals, option_refusals, repartition_refusals
from kafkeep.restore.planning_topics import plan_topic, repartition_warnings, topic_refusals, topic_warnings
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
    found = _partitions(chosen, names, contents, options)
    by_topic: dict[str, list[PartitionRestore]] = {}
    for part in found.parts:
        by_topic.setdefault(part.source.topic, []).append(part)
    topics = tuple(
        plan_topic(topic, names[topic.name], by_topic.get(topic.name, []), target, options) for topic in chosen
    )
    missing = _missing(point, chosen, names, contents, options)
    groups = plan_groups(metadata.groups, _landings(found, missing), options)
    return RestorePlan(
        point=point.number,
        source_cluster=point.cluster_id,
        target_cluster=target.cluster_id,
        route=options.route,
        topics=topics,
        partitions=found.parts,
        groups=groups.groups,
        warnings=(
            *topic_warnings(chosen, topics, target, options, now_ms=now_ms, partitions=found.parts),
            *repartition_warnings(topics),
            *found.warnings,
            *_incomplete(point),
            *loss_warnings(found.parts, missing, options.allow_loss),
            *groups.warnings,
        ),
        refusals=(
            *option_refusals(options),
            *name_refusals(chosen, names, options),
            *offset_refusals(chosen, options),
            *repartition_refusals(chosen, options),
            *topic_refusals(chosen, topics, target, options),
            *loss_refusals(found.parts, missing, options.allow_loss),
            *group_refusals(metadata.groups, groups.groups, target, options),
        ),
        missing=missing,
        allow_loss=options.allow_loss,
    )


@dataclass(frozen=True, slots=True)
class _Partitions:
    parts: tuple[PartitionRestore, ...]
    held: Mapping[TopicPartition, OffsetRange]
    """What the point holds of each."""
    gaps: Mapping[TopicPartition, tuple[Gap, ...]]
    """Every known gap, also outside of what is restored."""
    warnings: tuple[str, ...]


def _partitions(
    chosen: Sequence[TopicMetadata],
    names: Mapping[str, str],
    contents: Sequence[PartitionContent],
    options: RestoreOptions,
) -> _Partitions:
    by_topic: dict[str, list[PartitionContent]] = {}
    for content in contents:
        by_topic.setdefault(content.cut.generation.topic, []).append(content)
    begins, ends = dict(options.from_offsets), dict(options.until_offsets)
    parts: list[PartitionRestore] = []
    held: dict[TopicPartition, OffsetRange] = {}
    gaps: dict[TopicPartition, tuple[Gap, ...]] = {}
    outside: list[str] = []
    left: list[tuple[str, Gap]] = []
    for topic in chosen:
        for content in by_topic.get(topic.name, ()):
            source = content.cut.generation.topic_partition
            numbers = options.partitions_of(source.topic)
            if numbers is not None and source.partition not in numbers:
                continue
            begin, end = begins.get(source), ends.get(source)
            outside += _outside(content, begin, end, options)
            part, beside = _partition(content, names[topic.name], _range(content, begin, end, options), options)
            parts.append(part)
            held[source] = _held(content, options)
            gaps[source] = content.gaps
            left += [(str(source), gap) for gap in beside]
    told = [f"{len(outside)} offset(s) lie outside of the point: {examples(outside, str)}"] if outside else []
    return _Partitions(tuple(parts), held, gaps, (*told, *window_warnings(left)))


def _held(content: PartitionContent, options: RestoreOptions) -> OffsetRange:
    """What of the partition may be restored: to the cut, from the log start of that time or all that is kept."""
    cut = content.cut
    start = content.history_start if options.whole_history else max(cut.start, content.history_start)
    return OffsetRange(min(start, cut.stop), cut.stop)


def _range(content: PartitionContent, begin: int | None, end: int | None, options: RestoreOptions) -> OffsetRange:
    """The offsets asked for; an empty range where nothing of them is held."""
    held = _held(content, options)
    start = held.start if begin is None else min(max(held.start, begin), held.stop)
    return OffsetRange(start, max(start, held.stop if end is None else min(held.stop, end)))


def _outside(content: PartitionContent, begin: int | None, end: int | None, options: RestoreOptions) -> list[str]:
    held = _held(content, options)
    source = content.cut.generation.topic_partition
    found = []
    if begin is not None and begin < held.start:
        kept = content.history_start
        way = f", --whole-history reaches back to {kept}" if kept < held.start else ""
        found.append(f"{source} begins at {held.start}, not at {begin}{way}")
    if begin is not None and begin > held.stop:
        found.append(f"{source} ends at {held.stop}, in front of {begin}")
    if end is not None and end > held.stop:
        found.append(f"{source} ends at {held.stop}, not at {end}")
    if end is not None and end < held.start:
        found.append(f"{source} begins at {held.start}, behind {end}")
    return found


def _partition(
    content: PartitionContent, target: str, wanted: OffsetRange, options: RestoreOptions
) -> tuple[PartitionRestore, list[Gap]]:
    """The partition, and those gaps of the range that its window leaves aside."""
    cut = content.cut
    inside = needed(_reached(content.runs, wanted), wanted, options.window, cut.held_back)
    carried = carried_by(inside.runs)
    part = PartitionRestore(
        source=cut.generation,
        target=_target(cut.generation.topic_partition, target, options),
        start=wanted.start,
        stop=wanted.stop,
        runs=inside.runs,
        held_back=cut.held_back,
        window=options.window,
        most_records=carried.records,
        raw_bytes=carried.raw_bytes,
        gaps=(),
        carried=carried,
    )
    beside = [
        gap
        for gap in content.gaps
        if gap.offsets.intersection(wanted) is not None and gap.offsets.intersection(inside.offsets) is None
    ]
    return with_loss(part, content.gaps, inside.offsets, options.allow_loss), beside


def _reached(runs: Sequence[RunRef], wanted: OffsetRange) -> Sequence[RunRef]:
    """Those of the runs, which lie in offset order, that have an offset in the range."""
    if not wanted or not runs:
        return ()
    if runs[0].coverage.stop > wanted.start and runs[-1].coverage.start < wanted.stop:
        return runs
    first = bisect_right(runs, wanted.start, key=lambda run: run.coverage.stop)
    return runs[first : bisect_left(runs, wanted.stop, first, key=lambda run: run.coverage.start)]


def _target(source: TopicPartition, name: str, options: RestoreOptions) -> TopicPartition:
    return TopicPartition(name, source.partition if options.repartitioned_to(source.topic) is None else BY_KEY)


def _missing(
    point: RecoveryPoint,
    chosen: Sequence[TopicMetadata],
    names: Mapping[str, str],
    contents: Sequence[PartitionContent],
    options: RestoreOptions,
) -> tuple[MissingPartition, ...]:
    """Partitions that were chosen and could not be captured. Restoring their topics without a word would hide it."""
    held = {content.cut.generation.topic_partition for content in contents}
    reasons = {failure.subject: f"{failure.message} ({failure.reason})" for failure in point.failures}
    found = []
    for topic in chosen:
        numbers = options.partitions_of(topic.name)
        for number in range(len(topic.partitions)):
            source = TopicPartition(topic.name, number)
            if source in held or (numbers is not None and number not in numbers):
                continue
            reason = reasons.get(str(source), reasons.get(topic.name, "it was not captured"))
            found.append(MissingPartition(source, _target(source, names[topic.name], options), reason))
    return tuple(found)


def _landings(found: _Partitions, missing: Sequence[MissingPartition]) -> Landings:
    return Landings(
        partitions={part.source.topic_partition: part for part in found.parts},
        held=found.held,
        gaps=found.gaps,
        missing={part.source: part for part in missing},
    )


def _incomplete(point: RecoveryPoint) -> list[str]:
    """What is in such a point is whole, and a restore may be about that alone: told, and refused only where a chosen
    partition is missing."""
    if point.complete:
        return []
    named = examples(point.failures, lambda failure: f"{failure.subject} ({failure.reason})")
    return [f"point #{point.number} is incomplete: {len(point.failures)} part(s) were not captured: {named}"]

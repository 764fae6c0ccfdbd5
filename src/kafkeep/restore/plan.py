"""From a recovery point and a target cluster to what a restore will do: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kafkeep.model import (
    ClusterMetadata,
    Generation,
    Group,
    OffsetRange,
    PartitionCut,
    RecoveryPoint,
    RunRef,
    TopicMetadata,
    TopicPartition,
)
from kafkeep.renaming import renamed
from kafkeep.restore.guard import Guard, final_configs, guard_for
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.survey import TargetSurvey, TargetTopic

_DEFAULT_RETENTION_MS = 7 * 24 * 3600 * 1000
"""Kafka's own default of log.retention.hours, for topics without an override."""

CREATE, FILL, APPEND = "create", "fill", "append"
"""The target topic is made; exists and is empty; exists and holds records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionRestore:
    """One partition's records: source offsets `[start, stop)` of a generation into a target partition."""

    source: Generation
    target: TopicPartition
    start: int
    stop: int
    runs: tuple[RunRef, ...]
    until_timestamp: int | None
    most_records: int
    """Upper bound: markers are not counted, records of aborted transactions are."""
    raw_bytes: int
    lost: int
    """Offsets of the range that lie in declared gaps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicRestore:
    source: str
    target: str
    action: str
    """`create`, `fill` or `append`."""
    partitions: int
    replication_factor: int
    configs: tuple[tuple[str, str], ...]
    """Overrides the topic has in the end."""
    guard: Guard


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionRestore:
    """A committed position to be translated once the offsets are known."""

    source: TopicPartition
    target: TopicPartition
    committed: int
    metadata: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRestore:
    group_id: str
    positions: tuple[PositionRestore, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the plan cannot be applied; `kind` is the slug of the error it raises."""

    kind: str
    subject: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePlan:
    point: int
    source_cluster: str
    target_cluster: str
    route: str
    topics: tuple[TopicRestore, ...]
    partitions: tuple[PartitionRestore, ...]
    groups: tuple[GroupRestore, ...]
    warnings: tuple[str, ...]
    refusals: tuple[Refusal, ...]

    @property
    def most_records(self) -> int:
        return sum(part.most_records for part in self.partitions)

    @property
    def raw_bytes(self) -> int:
        return sum(part.raw_bytes for part in self.partitions)


@dataclass(frozen=True, slots=True)
class PartitionContent:
    """What the repository holds of one cut of the point."""

    cut: PartitionCut
    history_start: int
    """First offset the generation covers."""
    runs: tuple[RunRef, ...]
    gaps: tuple[tuple[int, int], ...]


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
        _topic(topic, names[topic.name], [p for p in partitions if p.source.topic == topic.name], target, options)
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
            *_topic_warnings(chosen, topics, target, options, now_ms=now_ms, partitions=partitions),
            *_loss_warnings(point, partitions),
            *group_warnings,
        ),
        refusals=(
            *_name_refusals(chosen, names, options),
            *_topic_refusals(chosen, topics, target, options),
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
        until_timestamp=options.until_timestamp,
        most_records=sum(run.facts.records for run in runs),
        raw_bytes=sum(run.facts.raw_bytes for run in runs),
        lost=sum(max(0, min(stop, high) - max(start, low)) for low, high in content.gaps),
    )


def _topic(
    topic: TopicMetadata,
    name: str,
    partitions: Sequence[PartitionRestore],
    target: TargetSurvey,
    options: RestoreOptions,
) -> TopicRestore:
    there = target.topics.get(name)
    action = CREATE if there is None else (FILL if there.empty else APPEND)
    wanted = topic.replication_factor if options.replication_factor is None else options.replication_factor
    replication = max(1, min(wanted, target.brokers))
    configs = (
        final_configs(topic.configs, target.unsupported, replication_factor=replication, retention=options.retention)
        if there is None
        else tuple(sorted(there.overrides.items()))
    )
    return TopicRestore(
        source=topic.name,
        target=name,
        action=action,
        partitions=len(topic.partitions) if there is None else there.partitions,
        replication_factor=replication,
        configs=configs,
        guard=guard_for(configs, partitions_largest_batch(partitions), target.unsupported),
    )


def partitions_largest_batch(partitions: Iterable[PartitionRestore]) -> int:
    return max((run.facts.largest_batch for part in partitions for run in part.runs), default=0)


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


def _topic_warnings(
    chosen: Sequence[TopicMetadata],
    topics: Sequence[TopicRestore],
    target: TargetSurvey,
    options: RestoreOptions,
    *,
    now_ms: int,
    partitions: Sequence[PartitionRestore],
) -> list[str]:
    warnings: list[str] = []
    for source, topic in zip(chosen, topics, strict=True):
        wanted = source.replication_factor if options.replication_factor is None else options.replication_factor
        if topic.action == CREATE and topic.replication_factor < wanted:
            warnings.append(
                f"{topic.target}: replication factor {wanted} lowered to {topic.replication_factor}, "
                f"the target has {target.brokers} broker(s)"
            )
        if topic.action == CREATE:
            kept = dict(topic.configs)
            warnings += [
                f"{topic.target}: setting {name}={value} is not carried over, the target refuses it"
                for name, value in source.configs
                if value is not None and (name, value) in target.unsupported
            ]
            warnings += [
                f"{topic.target}: min.insync.replicas lowered from {value} to {kept[name]}"
                for name, value in source.configs
                if name == "min.insync.replicas" and kept.get(name, value) != value
            ]
            if dict(source.configs).get("message.timestamp.type") == "LogAppendTime":
                warnings.append(
                    f"{topic.target}: records keep the append times that consumers saw at the source, as create times"
                )
            warnings += [
                f"{topic.target}: the value of {name} was not readable and is not set"
                for name, value in source.configs
                if value is None
            ]
        else:
            warnings.append(f"{topic.target} exists on the target: its settings stay as they are")
        if options.retention == "restore":
            warnings += _retention_warnings(topic, partitions, now_ms)
    return warnings


def _retention_warnings(topic: TopicRestore, partitions: Sequence[PartitionRestore], now_ms: int) -> list[str]:
    configs = dict(topic.configs)
    age = configs.get("retention.ms")
    if "delete" not in configs.get("cleanup.policy", "delete").split(",") or age == "-1":
        return []
    limit = now_ms - (_DEFAULT_RETENTION_MS if age is None else int(age))
    old = [
        run for p in partitions if p.target.topic == topic.target for run in p.runs if run.facts.max_timestamp < limit
    ]
    if not old:
        return []
    size = sum(run.facts.raw_bytes for run in old)
    named = "the default retention (7 days unless the brokers say otherwise)" if age is None else f"retention.ms={age}"
    return [
        (
            f"{topic.target}: {size} bytes are older than {named} and will be deleted by the target once it is put back; "
            f"--retention hold keeps retention off"
        )
    ]


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


def _topic_refusals(
    chosen: Sequence[TopicMetadata], topics: Sequence[TopicRestore], target: TargetSurvey, options: RestoreOptions
) -> list[Refusal]:
    refusals: list[Refusal] = []
    for source, topic in zip(chosen, topics, strict=True):
        there: TargetTopic | None = target.topics.get(topic.target)
        if there is None:
            if options.replication_factor is not None and options.replication_factor > target.brokers:
                message = f"replication factor {options.replication_factor} needs more than {target.brokers} broker(s)"
                refusals.append(Refusal("plan-refused", topic.target, message))
            continue
        if there.error:
            refusals.append(Refusal("plan-refused", topic.target, there.error))
        elif there.partitions != len(source.partitions):
            message = f"{topic.target} has {there.partitions} partitions, the source had {len(source.partitions)}"
            refusals.append(Refusal("plan-refused", topic.target, message))
        elif topic.action == APPEND and options.existing != "append":
            refusals.append(Refusal("target-not-empty", topic.target, f"topic {topic.target} is not empty"))
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

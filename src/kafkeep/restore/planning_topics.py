"""The topics of a restore's plan: what is created, filled or appended to, with which settings, and what speaks against it.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kafkeep.model import TopicMetadata
from kafkeep.restore.guard import final_configs, guard_for
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.plan import APPEND, CREATE, FILL, PartitionRestore, Refusal, TopicRestore
from kafkeep.restore.survey import TargetSurvey, TargetTopic

_DEFAULT_RETENTION_MS = 7 * 24 * 3600 * 1000
"""Kafka's own default of log.retention.hours, for topics without an override."""


def plan_topic(
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
        partitions=wanted_partitions(topic, options) if there is None else there.partitions,
        replication_factor=replication,
        configs=configs,
        guard=guard_for(configs, partitions_largest_batch(partitions), target.unsupported),
        timestamps=timestamps_of(partitions),
        repartitioned_from=None if options.repartitioned_to(topic.name) is None else len(topic.partitions),
    )


def wanted_partitions(topic: TopicMetadata, options: RestoreOptions) -> int:
    """How many partitions the target topic has, or must have."""
    asked = options.repartitioned_to(topic.name)
    return len(topic.partitions) if asked is None else asked


def timestamps_of(partitions: Iterable[PartitionRestore]) -> str:
    """Which times the records carry: `create`, `append` or `both`; empty when there is no record."""
    create = append = False
    for part in partitions:
        create |= part.carried.create_time
        append |= part.carried.log_append_time
    return "both" if create and append else "create" if create else "append" if append else ""


def partitions_largest_batch(partitions: Iterable[PartitionRestore]) -> int:
    return max((part.carried.largest_batch for part in partitions), default=0)


def topic_warnings(
    chosen: Sequence[TopicMetadata],
    topics: Sequence[TopicRestore],
    target: TargetSurvey,
    options: RestoreOptions,
    *,
    now_ms: int,
    partitions: Sequence[PartitionRestore],
) -> list[str]:
    warnings: list[str] = []
    by_target: dict[str, list[PartitionRestore]] = {}
    for part in partitions:
        by_target.setdefault(part.target.topic, []).append(part)
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
            warnings += _retention_warnings(topic, by_target.get(topic.target, ()), now_ms)
    return warnings


def _retention_warnings(topic: TopicRestore, partitions: Sequence[PartitionRestore], now_ms: int) -> list[str]:
    configs = dict(topic.configs)
    age = configs.get("retention.ms")
    if "delete" not in configs.get("cleanup.policy", "delete").split(",") or age == "-1":
        return []
    limit = now_ms - (_DEFAULT_RETENTION_MS if age is None else int(age))
    old = [part for part in partitions if part.carried.oldest is not None and part.carried.oldest < limit]
    if not old:
        return []
    size = sum(run.facts.raw_bytes for part in old for run in part.runs if run.facts.max_timestamp < limit)
    named = "the default retention (7 days unless the brokers say otherwise)" if age is None else f"retention.ms={age}"
    return [
        (
            f"{topic.target}: {size} bytes are older than {named} and will be deleted by the target once it is put back; "
            f"--retention hold keeps retention off"
        )
    ]


def topic_refusals(
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
        elif there.partitions != wanted_partitions(source, options):
            refusals.append(_other_count(source, there, options))
        elif topic.action == APPEND and topic.repartitioned_from is not None:
            message = f"topic {topic.target} is not empty: records are repartitioned into an empty topic only"
            hint = "Restore under another name with --rename."
            refusals.append(Refusal("target-not-empty", topic.target, message, hint))
        elif topic.action == APPEND and options.existing != "append":
            refusals.append(Refusal("target-not-empty", topic.target, f"topic {topic.target} is not empty"))
    return refusals


def _other_count(source: TopicMetadata, there: TargetTopic, options: RestoreOptions) -> Refusal:
    asked, had = options.repartitioned_to(source.name), len(source.partitions)
    if asked is not None:
        message = f"{there.name} has {there.partitions} partitions, --repartition asks for {asked}"
        hint = f"Say --repartition {source.name}={there.partitions}, or choose another name with --rename."
        return Refusal("plan-refused", there.name, message, hint)
    message = f"{there.name} has {there.partitions} partitions, the source had {had}"
    hint = (
        f"Make the topic anew with {had} partitions, or choose another name with --rename. "
        f"--repartition {source.name}={there.partitions} spreads the records anew by key; offsets are then not mapped "
        "one to one."
    )
    return Refusal("plan-refused", there.name, message, hint)


def repartition_warnings(topics: Sequence[TopicRestore]) -> list[str]:
    """What is different by nature in a topic that is repartitioned, one line for each."""
    return [
        f"{topic.target}: records of {topic.repartitioned_from} partitions are spread by key over {topic.partitions}: "
        "offsets are not mapped one to one, order is kept for each key"
        for topic in topics
        if topic.repartitioned_from is not None
    ]

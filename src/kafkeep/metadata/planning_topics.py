"""The topics of a metadata plan: which are created, where their replicas go, and with which settings: pure."""

from __future__ import annotations

from collections.abc import Mapping

from kafkeep.metadata import options as areas
from kafkeep.metadata.image import ClusterImage
from kafkeep.metadata.options import ApplyOptions
from kafkeep.metadata.phrases import unread_topic_configs
from kafkeep.metadata.plan import CREATE, REMOVE, SET, Change, CreateTopic, RemoveTopic, SetTopicConfigs
from kafkeep.metadata.verdicts import Verdicts
from kafkeep.model import TopicMetadata
from kafkeep.passing import PASSING_TOPIC_SETTINGS

_MIN_INSYNC = "min.insync.replicas"


def plan_topics(
    source: ClusterImage,
    target: ClusterImage,
    options: ApplyOptions,
    unsupported: frozenset[tuple[str, str]],
    verdicts: Verdicts,
) -> None:
    """Topics of the source that the options choose, internal ones left out: brokers make these themselves."""
    there = {topic.name: topic for topic in target.topics}
    unread_here, unread_there = unread_topic_configs(source), unread_topic_configs(target)
    for topic in source.topics:
        now = there.get(topic.name)
        settings = f"configs of {topic.name}"
        if not options.selection.chooses(topic.name):
            continue
        if settings in unread_here:
            reason = f"{source.origin} does not hold them: they could not be read"
            verdicts.leave_out(areas.TOPIC_CONFIGS, topic.name, reason, missing=True)
        elif now is not None and settings in unread_there:
            verdicts.refuse(areas.TOPIC_CONFIGS, topic.name, f"its settings cannot be read on {target.origin}")
        if topic.internal:
            verdicts.leave_out(areas.TOPICS, topic.name, "brokers make their internal topics themselves")
        elif now is None and areas.TOPICS in options.only:
            _create(topic, target, options, unsupported, verdicts)
        elif now is None:
            verdicts.leave_out(areas.TOPIC_CONFIGS, topic.name, "the target has no such topic", missing=True)
        else:
            read = settings not in unread_here and settings not in unread_there
            _meet(topic, now, options, unsupported, verdicts, settings_known=read)
    if options.prune_extra and areas.TOPICS in options.only:
        known = {topic.name for topic in source.topics}
        verdicts.steps += [
            RemoveTopic(area=areas.TOPICS, action=REMOVE, subject=topic.name)
            for topic in target.topics
            if topic.name not in known and not topic.internal and options.selection.chooses(topic.name)
        ]


def _create(
    topic: TopicMetadata,
    target: ClusterImage,
    options: ApplyOptions,
    unsupported: frozenset[tuple[str, str]],
    verdicts: Verdicts,
) -> None:
    nodes = {broker.node_id for broker in target.standing.brokers}
    wanted = topic.replication_factor if options.replication_factor is None else options.replication_factor
    replication = max(1, min(wanted, len(nodes)))
    if replication < wanted:
        reason = f"replication factor {wanted} is lowered to {replication}, the target has {len(nodes)} broker(s)"
        verdicts.leave_out(areas.TOPICS, topic.name, reason)
    fits = options.replication_factor is None and all(set(replicas) <= nodes for replicas in topic.partitions)
    configs = _settings(topic, unsupported, verdicts)
    minimum = configs.get(_MIN_INSYNC)
    if minimum is not None and minimum.isdecimal() and int(minimum) > replication:
        configs[_MIN_INSYNC] = str(replication)
        reason = f"lowered from {minimum} to {replication}, as the replication factor is"
        verdicts.leave_out(areas.TOPIC_CONFIGS, f"{topic.name}: {_MIN_INSYNC}", reason)
    verdicts.steps.append(
        CreateTopic(
            area=areas.TOPICS,
            action=CREATE,
            subject=topic.name,
            changes=tuple(Change(name, None, value) for name, value in sorted(configs.items())),
            partitions=len(topic.partitions),
            replication_factor=replication,
            assignments=topic.partitions if fits else None,
        )
    )


def _meet(
    topic: TopicMetadata,
    now: TopicMetadata,
    options: ApplyOptions,
    unsupported: frozenset[tuple[str, str]],
    verdicts: Verdicts,
    *,
    settings_known: bool,
) -> None:
    """The topic exists: its partitions stay as they are, its settings go by the rule for what exists."""
    before, after = len(now.partitions), len(topic.partitions)
    if areas.TOPICS in options.only and before != after:
        reason = f"the target has {before} partitions, the point {after}"
        if options.existing == "fail":
            verdicts.refuse(areas.TOPICS, topic.name, reason)
        else:
            verdicts.leave_out(
                areas.TOPICS,
                topic.name,
                f"{reason}: another number would send keys elsewhere",
                missing=options.existing == "align",
            )
    elif areas.TOPICS in options.only:
        verdicts.unchanged[areas.TOPICS] += 1
    if areas.TOPIC_CONFIGS not in options.only or not settings_known:
        return
    there: Mapping[str, str | None] = dict(now.configs)
    wanted = _settings(topic, unsupported, verdicts)
    named = {name for name, _ in topic.configs}
    extra = [name for name in there if name not in named] if options.prune_extra else []
    changes = verdicts.changes(areas.TOPIC_CONFIGS, topic.name, wanted, there, extra)
    if changes:
        verdicts.steps.append(
            SetTopicConfigs(area=areas.TOPIC_CONFIGS, action=SET, subject=topic.name, changes=changes)
        )


def _settings(topic: TopicMetadata, unsupported: frozenset[tuple[str, str]], verdicts: Verdicts) -> dict[str, str]:
    """The overrides that can be carried over; the others are named with the reason."""
    kept: dict[str, str] = {}
    for name, value in topic.configs:
        subject = f"{topic.name}: {name}"
        if name in PASSING_TOPIC_SETTINGS:
            verdicts.leave_out(areas.TOPIC_CONFIGS, subject, "a throttle of a running reassignment")
        elif value is None:
            verdicts.leave_out(areas.TOPIC_CONFIGS, subject, "brokers do not show its value", missing=True)
        elif (name, value) in unsupported:
            verdicts.leave_out(areas.TOPIC_CONFIGS, subject, f"the target refuses the value {value}", missing=True)
        else:
            kept[name] = value
    return kept

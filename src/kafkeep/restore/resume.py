"""Planning the rest of an unfinished restore, and telling what unfinished restores left on a target: pure.

A job is planned again from the target as it was when the job began, so the plan is the job's own. What is there by now
comes on top: topics that the job opened are resumed, others are made as they would have been.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from kafkeep.model import TopicPartition
from kafkeep.restore.plan import APPEND, BY_KEY, CREATE, FILL, RESUME, Refusal, RestorePlan, TopicRestore
from kafkeep.restore.record import JobRecord, planned_ranges
from kafkeep.restore.survey import TargetSurvey, TargetTopic

_KIND: Final = "plan-refused"
_BEGIN_ANEW: Final = "This job cannot be continued: delete what it made and begin a restore without --resume."


def as_it_began(survey: TargetSurvey, record: JobRecord) -> TargetSurvey:
    """What the target looked like to the process that began the job."""
    topics = dict(survey.topics)
    for topic in record.beginning.topics:
        there = topics.pop(topic.target, None)
        if topic.action != CREATE:
            topics[topic.target] = TargetTopic(
                name=topic.target,
                topic_id="" if there is None else there.topic_id,
                partitions=topic.partitions,
                empty=topic.action == FILL,
                overrides=dict(topic.configs),
                error="" if there is None else there.error,
                ends=() if there is None else there.ends,
            )
    return replace(survey, topics=topics)


def resumed(plan: RestorePlan, record: JobRecord, survey: TargetSurvey) -> RestorePlan:
    """The job's plan, made again `as_it_began`, for what the target holds by now."""
    topics = tuple(
        replace(topic, action=RESUME) if topic.target in survey.topics else topic for topic in record.beginning.topics
    )
    refusals = [
        refusal for topic in record.beginning.topics if (refusal := _refusal(topic, record, survey)) is not None
    ]
    if planned_ranges(plan) != record.beginning.partitions:
        message = f"the repository and the target do not give the plan that {record.name} was begun with"
        refusals.append(Refusal(_KIND, record.name, message, _BEGIN_ANEW))
    return replace(
        plan,
        topics=topics,
        refusals=(*plan.refusals, *refusals),
        warnings=(*plan.warnings, *record.passed_over, *_unsigned(record)),
        job=record.name,
        present=tuple(_present(record, survey)),
    )


def _unsigned(record: JobRecord) -> Iterator[str]:
    """What is said where commits are signed and this job's reports are not."""
    if record.unsigned:
        yield (
            f"how far {record.name} came is believed from {len(record.unsigned)} report(s) that nobody trusted has signed:"
            f" {', '.join(record.unsigned[:3])}; compare the target with the point when it is done"
        )


def _refusal(topic: TopicRestore, record: JobRecord, survey: TargetSurvey) -> Refusal | None:
    """What speaks against going on with a topic."""
    name = topic.target
    there, opened = survey.topics.get(name), record.opened.get(name)
    if there is None:
        if opened is None and topic.action == CREATE:
            return None
        return Refusal(_KIND, name, f"topic {name} is gone since {record.name} began", _BEGIN_ANEW)
    if there.error:
        return Refusal(_KIND, name, there.error)
    if there.partitions != topic.partitions:
        message = f"{name} has {there.partitions} partitions, it had {topic.partitions} when {record.name} began"
        return Refusal(_KIND, name, message, _BEGIN_ANEW)
    if opened is not None and there.topic_id != opened.topic_id:
        return Refusal(
            _KIND, name, f"topic {name} is not the one that {record.name} opened, only named alike", _BEGIN_ANEW
        )
    if opened is None and topic.action != APPEND and not there.empty:
        message = f"topic {name} is not empty, and {record.name} had not come to writing into it"
        return Refusal(_KIND, name, message, _BEGIN_ANEW)
    return None


def _targets(record: JobRecord) -> Iterator[TopicPartition]:
    """The target partitions that get records."""
    yield from (part.target for part in record.beginning.partitions if part.target.partition != BY_KEY)
    for topic in record.beginning.topics:
        if topic.repartitioned_from is not None:
            yield from (TopicPartition(topic.target, number) for number in range(topic.partitions))


def _present(record: JobRecord, survey: TargetSurvey) -> Iterator[tuple[TopicPartition, int]]:
    for target in _targets(record):
        loaded = record.loaded.get(target)
        opened, there = record.opened.get(target.topic), survey.topics.get(target.topic)
        if loaded is not None:
            yield target, loaded.offset_map.records
        elif opened is not None and there is not None and target.partition < len(there.ends):
            yield target, max(0, there.ends[target.partition] - opened.ends[target.partition])


def with_unfinished(
    plan: RestorePlan, survey: TargetSurvey, jobs: Sequence[JobRecord], passed_over: Sequence[str] = ()
) -> RestorePlan:
    """The plan of a restore of its own, told which of its target topics are what an unfinished job left there, and what was
    `passed_over` in looking for such jobs.
    """
    left = {
        topic.target: record.name
        for record in jobs
        for topic in record.beginning.topics
        if (there := survey.topics.get(topic.target)) is not None and _left_by(record, topic, there)
    }
    known = {refusal.subject for refusal in plan.refusals}
    refusals = [
        replace(
            refusal, message=f"{refusal.message}: {left[refusal.subject]} left it unfinished", hint=_hint(left, refusal)
        )
        if refusal.kind == "target-not-empty" and refusal.subject in left
        else refusal
        for refusal in plan.refusals
    ]
    for topic in plan.topics:
        if topic.action == FILL and topic.target in left and topic.target not in known:
            message = f"topic {topic.target} still has the guard of {left[topic.target]}, which left it unfinished"
            refusal = Refusal(_KIND, topic.target, message)
            refusals.append(replace(refusal, hint=_hint(left, refusal)))
    return replace(plan, refusals=tuple(refusals), warnings=(*plan.warnings, *passed_over))


def _left_by(record: JobRecord, topic: TopicRestore, there: TargetTopic) -> bool:
    opened = record.opened.get(topic.target)
    if opened is not None:
        return there.topic_id == opened.topic_id
    return topic.action == CREATE and there.empty and dict(there.overrides) == dict(topic.guard.configs)


def _hint(left: dict[str, str], refusal: Refusal) -> str:
    return (
        f"--resume={left[refusal.subject]} continues that restore; to begin anew, delete the topic "
        "or restore under another name with --rename."
    )

"""The recipe of a restore."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from typing import Any

from kafkeep.elsewhere import HERE, Workforce
from kafkeep.errors import GroupActive, LossRefused, PlanRefused, TargetNotEmpty
from kafkeep.events import EventSink, Stage, Warned, WorkPlanned, ignore
from kafkeep.kafka.cluster import Cluster
from kafkeep.model import Failure, OffsetRange, RecoveryPoint
from kafkeep.point_documents import needed_metadata_of
from kafkeep.repository.repository import Repository
from kafkeep.repository.state import State
from kafkeep.restore.elsewhere import checker
from kafkeep.restore.ends import Outcome, check_ends
from kafkeep.restore.groups import moved_warnings, restore_groups
from kafkeep.restore.inspect import survey_target
from kafkeep.restore.job import RestoreJob
from kafkeep.restore.loading import Loading
from kafkeep.restore.loss import DECLARED_LOSS, LOSS_REPORT, loss_report
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.plan import (
    BY_KEY,
    CREATE,
    PartitionContent,
    ProducerIdentity,
    Refusal,
    RestorePlan,
    TopicRestore,
)
from kafkeep.restore.planning import plan_restore
from kafkeep.restore.preflight import CheckAll, check_everything_needed
from kafkeep.restore.record import JobRecord
from kafkeep.restore.result import RepartitionedTopic, RestoredGroup, RestoreResult
from kafkeep.restore.resume import as_it_began, resumed, with_unfinished
from kafkeep.restore.spreading import SpreadTopic, space_warnings, spread_topics, with_positions
from kafkeep.restore.topics import OpenedTopics, end_guard, open_topics
from kafkeep.restore.unfinished import unfinished_jobs
from kafkeep.times import milliseconds, rfc3339

_TOLD = 20
"""So many refusals are named in an error; the plan has all."""
_WORTH_REMEMBERING = 256 * 1024 * 1024
"""Bytes of batches: for less, what it takes to load the cipher is not won back."""


def prepare(
    cluster: Cluster,
    repository: Repository,
    point: RecoveryPoint,
    options: RestoreOptions,
    *,
    now: Callable[[], datetime],
    sink: EventSink = ignore,
    job: JobRecord | None = None,
) -> RestorePlan:
    """Looks at the repository and at the target and plans; changes nothing on either side.

    With an unfinished `job` of this point into this cluster the plan is to continue it; `options` are then the job's own,
    but for those that do not decide what is sent.
    """
    sink(Stage("plan", "looking at the recovery point and at the target"))
    if not point.cuts:
        raise PlanRefused(
            f"point #{point.number} holds no records",
            hint="Take another point, or `kafkeep metadata apply` for topics, settings and permissions alone.",
        )
    metadata = needed_metadata_of(repository, point)
    target = survey_target(cluster, metadata, options)
    began = target if job is None else as_it_began(target, job)
    contents = contents_of(repository.state, point, options)
    plan = plan_restore(point, metadata, contents, began, options, now_ms=milliseconds(now()))
    plan = replace(plan, warnings=(*plan.warnings, *space_warnings(plan, options)))
    if job is not None:
        return resumed(plan, job, target)
    if all(topic.action == CREATE for topic in plan.topics):
        return plan
    return with_unfinished(plan, target, *unfinished_jobs(repository, point.number, target.cluster_id))


def restore(
    cluster: Cluster,
    repository: Repository,
    plan: RestorePlan,
    options: RestoreOptions,
    *,
    now: Callable[[], datetime],
    workers: Workforce = HERE,
    sink: EventSink = ignore,
    stop: threading.Event | None = None,
    beside: Mapping[str, Any] | None = None,
) -> RestoreResult:
    """Applies a plan made by `prepare`. `beside` is kept in the job's record for the caller.

    Order: everything needed is checked; what is repartitioned is spread on local disk; a job record is written; topics are
    made with a guard that keeps brokers from deleting or changing what arrives; the record says where the first records go;
    records; the record says what is whole; the guard ends; group positions, translated through the offset map; the report
    with the map. The record lies in the repository's audit and is enough to continue from wherever this ends.

    Raises `PlanRefused`, `TargetNotEmpty`, `GroupActive` or `LossRefused` when the plan holds refusals, `CorruptionError`
    before the first record when anything needed is damaged, `StoreFull` before anything is touched when the temporary
    folder is too small for what is repartitioned, and what the rooms raise.
    """
    began = time.monotonic()
    stop = threading.Event() if stop is None else stop
    with ExitStack() as stack:
        if _reads_twice(plan, options, workers):
            stack.enter_context(repository.remembering_chunks())
        _check(repository, plan, options, sink, checker(workers, cluster, repository, sink=sink))
        spread = stack.enter_context(spread_topics(repository, plan, options, sink=sink, stop=stop))
        plan = with_positions(plan, spread)
        job = _job(cluster, repository, plan, options, now=now, beside=beside)
        lost = _put_loss_report(repository, plan, job, now=now)
        loading = Loading(
            cluster,
            repository,
            options,
            job.producer,
            topics=plan.topics,
            spread=spread,
            workers=workers,
            sink=sink,
            stop=stop,
        )
        result = _carry_out(cluster, plan, job, loading, spread, sink=sink, stop=stop)
    result = replace(result, loss_report=lost, seconds=time.monotonic() - began)
    job.finish(result)
    return result


def _carry_out(
    cluster: Cluster,
    plan: RestorePlan,
    job: RestoreJob,
    loading: Loading,
    spread: Mapping[str, SpreadTopic],
    *,
    sink: EventSink,
    stop: threading.Event,
) -> RestoreResult:
    """Topics, records, settings, positions."""
    sink(Stage("topics", f"{len(plan.topics)} topic(s)"))
    opened = open_topics(cluster, plan)
    job.open(opened.topics)
    parts = job.parts(opened.topic_ids, [part for topic in spread.values() for part in topic.parts()])
    sink(WorkPlanned("restore", len(parts), plan.most_records, plan.raw_bytes))
    sink(Stage("records", f"{len(parts)} partition(s)"))
    progress = loading.load(parts)
    outcome = check_ends(cluster, progress, appended=job.appended)
    groups: tuple[RestoredGroup, ...] = ()
    failures = [*opened.failures, *outcome.failures]
    if not stop.is_set():
        job.load(outcome.partitions, progress)
        groups, refused = _open_to_consumers(cluster, plan, job, opened, outcome, sink)
        failures += refused
    return replace(
        _result(plan, job, outcome, groups),
        size_bytes=sum(state.size_bytes for state in progress),
        failures=tuple(failures),
        interrupted=stop.is_set(),
        records_before=loading.records_before,
        bytes_before=loading.bytes_before,
    )


def _reads_twice(plan: RestorePlan, options: RestoreOptions, workers: Workforce) -> bool:
    """Whether this process reads what is needed twice, and so much of it that knowing it again saves something."""
    return options.preflight == "data" and not workers.elsewhere and plan.raw_bytes >= _WORTH_REMEMBERING


def _check(
    repository: Repository, plan: RestorePlan, options: RestoreOptions, sink: EventSink, check_all: CheckAll | None
) -> None:
    """All that can go wrong before anything is touched."""
    refuse_if_needed(plan)
    for warning in plan.warnings:
        sink(Warned(warning))
    sink(Stage("check", "checking everything that is needed"))
    check_everything_needed(repository, plan, options, sink=sink, check_all=check_all)


def _result(plan: RestorePlan, job: RestoreJob, outcome: Outcome, groups: tuple[RestoredGroup, ...]) -> RestoreResult:
    """What plan, job and target tell of the result; the course of this process comes on top."""
    return RestoreResult(
        point=plan.point,
        job=job.name,
        topics_created=job.created,
        partitions=tuple(part for part in outcome.partitions if part.source.partition != BY_KEY),
        repartitioned=tuple(_repartitioned(topic, outcome) for topic in plan.repartitioned),
        groups=groups,
        records=sum(part.offset_map.records for part in outcome.partitions),
        size_bytes=0,
        warnings=(*plan.warnings, *moved_warnings(groups)),
        failures=(),
        lost=plan.lost,
        interrupted=False,
        seconds=0.0,
        not_set=plan.not_set,
    )


def _repartitioned(topic: TopicRestore, outcome: Outcome) -> RepartitionedTopic:
    return RepartitionedTopic(
        source=topic.source,
        target=topic.target,
        source_partitions=topic.partitions if topic.repartitioned_from is None else topic.repartitioned_from,
        partitions=tuple(part for part in outcome.partitions if part.target.topic == topic.target),
    )


def _job(
    cluster: Cluster,
    repository: Repository,
    plan: RestorePlan,
    options: RestoreOptions,
    *,
    now: Callable[[], datetime],
    beside: Mapping[str, Any] | None,
) -> RestoreJob:
    """The record of the job. A login that may not produce gets no producer id: it is refused before any topic is made."""
    if plan.job is not None:
        return RestoreJob.resume(repository, plan, plan.job, now=now)
    producer = ProducerIdentity(*cluster.admin.init_producer_id())
    return RestoreJob.begin(repository, plan, options, producer, now=now, beside=beside)


def _open_to_consumers(
    cluster: Cluster, plan: RestorePlan, job: RestoreJob, opened: OpenedTopics, outcome: Outcome, sink: EventSink
) -> tuple[tuple[RestoredGroup, ...], list[Failure]]:
    """Ends the guard and sets the positions of groups."""
    sink(Stage("settings", "ending the guard"))
    failures = end_guard(cluster, plan, opened, incomplete=outcome.incomplete_topics())
    sink(Stage("positions", f"{len(plan.groups)} group(s)"))
    groups, refused = restore_groups(cluster, job.groups_left(), outcome.maps())
    return job.groups_set(groups), failures + refused


def refuse_if_needed(plan: RestorePlan) -> None:
    """Raises the error of the plan's refusals; one class per kind, so that scripts can tell them apart."""
    if not plan.refusals:
        return
    kinds = {refusal.kind for refusal in plan.refusals}
    text = "; ".join(refusal.message for refusal in plan.refusals[:_TOLD])
    if len(plan.refusals) > _TOLD:
        text += f"; and {len(plan.refusals) - _TOLD} more, which --dry-run prints"
    hint = _common_hint(plan.refusals)
    if kinds == {"target-not-empty"}:
        raise TargetNotEmpty(text, hint=hint)
    if kinds == {"group-active"}:
        raise GroupActive(text, hint=hint)
    if kinds == {DECLARED_LOSS}:
        raise LossRefused(text, hint=hint)
    raise PlanRefused(text, hint=hint)


def _common_hint(refusals: Sequence[Refusal]) -> str | None:
    """The hints of the refusals, each once; None leaves it to the error's own."""
    hints = dict.fromkeys(refusal.hint for refusal in refusals if refusal.hint)
    return " ".join(hints) if hints else None


def _put_loss_report(repository: Repository, plan: RestorePlan, job: RestoreJob, *, now: Callable[[], datetime]) -> str:
    """Names what is declared lost before the first record is produced; the report's object name, empty without loss."""
    if not plan.has_loss:
        return ""
    return repository.put_audit(LOSS_REPORT, loss_report(plan, started=job.name, time=rfc3339(now())))


def contents_of(state: State, point: RecoveryPoint, options: RestoreOptions) -> list[PartitionContent]:
    """Runs of every partition that the selection touches, and all gaps of its history up to the cut."""
    contents: list[PartitionContent] = []
    for cut in point.cuts:
        if not options.selection.chooses(cut.generation.topic):
            continue
        known = state.generations[cut.generation]
        start = min(known.start if options.whole_history else max(cut.start, known.start), cut.stop)
        offsets = OffsetRange(start, cut.stop)
        contents.append(
            PartitionContent(
                cut,
                known.start,
                known.runs_at(point.number, offsets),
                known.gaps_at(point.number, OffsetRange(known.start, cut.stop)),
            )
        )
    return contents

"""The recipe of a restore."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime

from kafkeep.errors import GroupActive, PlanRefused, TargetNotEmpty
from kafkeep.events import EventSink, Stage, Warned, WorkPlanned, ignore
from kafkeep.kafka.cluster import Cluster
from kafkeep.model import ClusterMetadata, OffsetRange, RecoveryPoint
from kafkeep.repository.documents import cluster_metadata_from_json
from kafkeep.repository.repository import Repository
from kafkeep.restore.ends import check_ends
from kafkeep.restore.groups import restore_groups
from kafkeep.restore.inspect import survey_target
from kafkeep.restore.job import RestoreJob
from kafkeep.restore.loading import Loading
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.plan import PartitionContent, RestorePlan
from kafkeep.restore.planning import plan_restore
from kafkeep.restore.preflight import check_everything_needed
from kafkeep.restore.result import RestoredGroup, RestoreResult
from kafkeep.restore.topics import end_guard, open_topics
from kafkeep.times import milliseconds

METADATA = "metadata"
"""Name of a recovery point's document with topics and groups."""


def prepare(
    cluster: Cluster,
    repository: Repository,
    point: RecoveryPoint,
    options: RestoreOptions,
    *,
    now: Callable[[], datetime],
    sink: EventSink = ignore,
) -> RestorePlan:
    """Looks at the repository and at the target and plans; changes nothing on either side."""
    sink(Stage("plan", "looking at the recovery point and at the target"))
    metadata = metadata_of(repository, point)
    target = survey_target(cluster, metadata, options)
    contents = contents_of(repository, point, options)
    return plan_restore(point, metadata, contents, target, options, now_ms=milliseconds(now()))


def restore(
    cluster: Cluster,
    repository: Repository,
    plan: RestorePlan,
    options: RestoreOptions,
    *,
    now: Callable[[], datetime],
    sink: EventSink = ignore,
    stop: threading.Event | None = None,
) -> RestoreResult:
    """Applies a plan made by `prepare`.

    Order: everything needed is checked; a job record is written; topics are made with a guard that keeps brokers from
    deleting or changing what arrives; records; the guard ends; group positions, translated through the offset map; the
    report with the map goes into the repository's audit.

    Raises `PlanRefused`, `TargetNotEmpty` or `GroupActive` when the plan holds refusals, `CorruptionError` before the
    first record when anything needed is damaged, and what the rooms raise.
    """
    began = time.monotonic()
    refuse_if_needed(plan)
    stop = threading.Event() if stop is None else stop
    for warning in plan.warnings:
        sink(Warned(warning))
    sink(Stage("check", "checking everything that is needed"))
    check_everything_needed(repository, plan, options, sink=sink)
    loading = Loading(cluster, repository, options, sink=sink, stop=stop)
    job = RestoreJob.begin(repository, plan, now=now)
    sink(Stage("topics", f"{len(plan.topics)} topic(s)"))
    opened = open_topics(cluster, plan)
    sink(WorkPlanned("restore", len(plan.partitions), plan.most_records, plan.raw_bytes))
    sink(Stage("records", f"{len(plan.partitions)} partition(s)"))
    progress = loading.load(plan.partitions, opened.topic_ids)
    outcome = check_ends(cluster, plan, progress)
    groups: tuple[RestoredGroup, ...] = ()
    failures = [*opened.failures, *outcome.failures]
    if not stop.is_set():
        sink(Stage("settings", "ending the guard"))
        failures += end_guard(cluster, plan, opened, incomplete=outcome.incomplete_topics())
        sink(Stage("positions", f"{len(plan.groups)} group(s)"))
        groups, refused = restore_groups(cluster, plan, outcome.maps())
        failures += refused
    result = RestoreResult(
        point=plan.point,
        job=job.name,
        topics_created=opened.created,
        partitions=outcome.partitions,
        groups=groups,
        records=sum(part.offset_map.records for part in outcome.partitions),
        size_bytes=sum(state.size_bytes for state in progress),
        warnings=plan.warnings,
        failures=tuple(failures),
        lost=sum(part.lost for part in plan.partitions),
        interrupted=stop.is_set(),
        seconds=time.monotonic() - began,
    )
    job.finish(result, opened.topic_ids)
    return result


def refuse_if_needed(plan: RestorePlan) -> None:
    """Raises the error of the plan's refusals; one class per kind, so that scripts can tell them apart."""
    if not plan.refusals:
        return
    kinds = {refusal.kind for refusal in plan.refusals}
    text = "; ".join(refusal.message for refusal in plan.refusals)
    if kinds == {"target-not-empty"}:
        raise TargetNotEmpty(text)
    if kinds == {"group-active"}:
        raise GroupActive(text)
    raise PlanRefused(text)


def metadata_of(repository: Repository, point: RecoveryPoint) -> ClusterMetadata:
    digest = dict(point.documents)[METADATA]
    return cluster_metadata_from_json(repository.document(METADATA, digest))


def contents_of(repository: Repository, point: RecoveryPoint, options: RestoreOptions) -> list[PartitionContent]:
    """Runs and gaps of every partition that the selection touches."""
    state = repository.state
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
                tuple((gap.offsets.start, gap.offsets.stop) for gap in known.gaps_at(point.number, offsets)),
            )
        )
    return contents

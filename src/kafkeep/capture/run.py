"""The recipe of a backup, and of a backup that goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from kafkeep.capture.inspect import survey_cluster
from kafkeep.capture.metadata import GroupCapture, TopicCapture, capture_groups, capture_topics
from kafkeep.capture.options import BackupOptions
from kafkeep.capture.plan import PartitionPlan, plan_capture
from kafkeep.capture.reading import Reading
from kafkeep.capture.result import BackupResult, FollowResult
from kafkeep.capture.survey import Survey
from kafkeep.errors import HeldByAnotherWriter, KafkeepError, NothingToDo, WrongCluster
from kafkeep.events import EventSink, Stage, Warned, WorkPlanned, ignore
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.topology import Topology
from kafkeep.model import ClusterMetadata, Failure, PartitionCut, RecoveryPoint
from kafkeep.repository.documents import cluster_metadata_to_json
from kafkeep.repository.drafts import PointDraft
from kafkeep.repository.repository import Repository
from kafkeep.repository.state import State
from kafkeep.times import rfc3339

METADATA = "metadata"
"""Name of a recovery point's document with topics and groups."""

_MOST_REBASES = 10


def backup(
    cluster: Cluster,
    repository: Repository,
    options: BackupOptions,
    *,
    now: Callable[[], datetime],
    sink: EventSink = ignore,
    stop: threading.Event | None = None,
) -> BackupResult:
    """Brings the repository up to the cluster's present state and names it by a recovery point.

    Order: group positions, then end offsets (so no position lies beyond the cut), records, and last the commit.
    When `stop` is set, what was read so far is committed and no point is made. Raises `WrongCluster`, `NothingToDo` (no topic
    matches) and what the rooms raise; whatever was committed before stays.
    """
    began = time.monotonic()
    stop = threading.Event() if stop is None else stop
    state = repository.refresh()
    sink(Stage("positions", "reading group offsets"))
    groups = capture_groups(cluster)
    sink(Stage("survey", "reading topics and end offsets"))
    survey = survey_cluster(cluster, options.selection, known=_open_topics(state))
    _check_cluster(state, survey, options)
    topics = capture_topics(cluster, survey.topics)
    plan = plan_capture(
        state, survey, cut=options.cut, deletes_by_retention=topics.deletes_by_retention, time=rfc3339(now())
    )
    sink(WorkPlanned("backup", len(plan.partitions), plan.offsets_to_read, None))
    sink(Stage("records", f"{plan.offsets_to_read} offsets in {len(plan.partitions)} partitions"))
    reading = Reading(
        cluster,
        repository,
        options,
        deletes_by_retention=topics.deletes_by_retention,
        now=now,
        sink=sink,
        stop=stop,
    )
    parts, lost = reading.bring_up_to_cut(plan, _topology(survey))
    failures = (*groups.failures, *topics.failures, *plan.failures, *lost)
    if stop.is_set():
        reading.flush()
        return _result(reading, len(parts), None, failures, interrupted=True, began=began)
    sink(Stage("commit", "naming the recovery point"))
    point = _commit_point(reading, repository, options, parts, groups, topics, survey, failures)
    return _result(reading, len(parts), point, failures, interrupted=False, began=began)


def follow(
    cluster: Cluster,
    repository: Repository,
    options: BackupOptions,
    *,
    interval_seconds: float,
    now: Callable[[], datetime],
    sink: EventSink = ignore,
    stop: threading.Event,
) -> FollowResult:
    """Backups in rounds until `stop` is set. A round with nothing new makes no object; a round that fails for a passing
    reason is told and tried again at the next interval; any other error ends the following.
    """
    began = time.monotonic()
    total = FollowResult(rounds=0, points=(), records=0, raw_bytes=0, gaps=(), failures=(), seconds=0.0)
    while not stop.is_set():
        round_began = time.monotonic()
        try:
            total = total.plus(backup(cluster, repository, options, now=now, sink=sink, stop=stop))
        except NothingToDo:
            sink(Warned("no topic matches the selection yet"))
        except KafkeepError as error:
            if not error.retryable:
                raise
            sink(Warned(f"round failed: {error}", "It is tried again at the next interval."))
        stop.wait(max(0.0, interval_seconds - (time.monotonic() - round_began)))
    return replace(total, seconds=time.monotonic() - began)


def _open_topics(state: State) -> frozenset[str]:
    return frozenset(generation.topic for generation, known in state.generations.items() if known.open)


def _check_cluster(state: State, survey: Survey, options: BackupOptions) -> None:
    if state.cluster_id is not None and state.cluster_id != survey.cluster_id:
        raise WrongCluster(f"the repository holds cluster {state.cluster_id}, but {survey.cluster_id} answered")
    if not survey.topics and not survey.absent and not survey.failures:
        raise NothingToDo(f"no topic matches {', '.join(options.topics)}")


def _topology(survey: Survey) -> Topology:
    return Topology(
        cluster_id=survey.cluster_id,
        controller=-1,
        brokers={broker.node_id: broker for broker in survey.brokers},
        topics={topic.name: topic for topic in survey.topics},
    )


def _commit_point(
    reading: Reading,
    repository: Repository,
    options: BackupOptions,
    parts: Sequence[PartitionPlan],
    groups: GroupCapture,
    topics: TopicCapture,
    survey: Survey,
    failures: tuple[Failure, ...],
) -> RecoveryPoint | None:
    """Commits the point, unless it would say nothing that the newest one does not say already."""
    there = tuple(topic for topic in topics.topics if topic.name not in reading.deleted)
    metadata = ClusterMetadata(survey.cluster_id, there, groups.groups)
    digest = repository.put_document(METADATA, cluster_metadata_to_json(metadata))
    for _ in range(_MOST_REBASES):
        covered = reading.covered()
        draft = PointDraft(
            name=options.name,
            tags=options.tags,
            cuts=tuple(_cut(part, covered(part)) for part in parts),
            selection=(*options.topics, *(f"!{pattern}" for pattern in options.exclude)),
            documents=((METADATA, digest),),
            consistency="partition",
            complete=not failures,
            failures=failures,
        )
        if not reading.pending and _says_the_same(repository, draft):
            return None
        outcome = reading.commit_point(draft)
        if outcome.point is not None:
            return outcome.point
        reading.catch_up(parts)
    raise HeldByAnotherWriter(f"other writers committed first {_MOST_REBASES} times in a row")


def _cut(part: PartitionPlan, covered_to: int) -> PartitionCut:
    stop = min(part.stop, covered_to)
    return PartitionCut(
        generation=part.generation,
        stop=stop,
        start=min(part.log_start, stop),
        high_watermark=part.high_watermark,
        last_stable_offset=part.last_stable_offset,
        leader_epoch=part.leader_epoch,
    )


def _says_the_same(repository: Repository, draft: PointDraft) -> bool:
    """True when the newest point of this selection has the same ends and documents, and any name or tags asked for."""
    before = next((point for point in reversed(repository.points()) if point.selection == draft.selection), None)
    if before is None or ((draft.name or draft.tags) and (before.name, before.tags) != (draft.name, draft.tags)):
        return False
    return (
        {(cut.generation, cut.start, cut.stop) for cut in before.cuts}
        == {(cut.generation, cut.start, cut.stop) for cut in draft.cuts}
        and before.documents == draft.documents
        and before.failures == draft.failures
    )


def _result(
    reading: Reading,
    parts: int,
    point: RecoveryPoint | None,
    failures: tuple[Failure, ...],
    *,
    interrupted: bool,
    began: float,
) -> BackupResult:
    tally = reading.tally
    return BackupResult(
        point=point,
        partitions=parts,
        records=sum(run.records for run in tally.runs),
        raw_bytes=sum(run.raw_bytes for run in tally.runs),
        stored_bytes=sum(run.stored_bytes for run in tally.runs),
        packs=tally.packs,
        gaps=tuple(tally.gaps),
        opened=tuple(tally.opened),
        closed=tuple(tally.closed),
        failures=failures,
        interrupted=interrupted,
        seconds=time.monotonic() - began,
    )

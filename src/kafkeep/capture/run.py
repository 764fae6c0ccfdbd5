"""The recipe of a backup, and of a backup that goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from kafkeep.capture.inspect import survey_cluster
from kafkeep.capture.options import BackupOptions
from kafkeep.capture.plan import CapturePlan, PartitionPlan, plan_capture
from kafkeep.capture.reading import Reading
from kafkeep.capture.result import BackupResult, FollowResult
from kafkeep.capture.survey import Survey
from kafkeep.capture.tombstones import UNSEEN, reaches_its_end, unproven
from kafkeep.capture.watching import Watched, watch_transactions
from kafkeep.capture.whole import NOT_CONSISTENT, make_whole
from kafkeep.cluster_reading import GroupReading, TopicReading, read_groups, read_topics
from kafkeep.errors import HeldByAnotherWriter, KafkeepError, NothingToDo, WrongCluster
from kafkeep.events import EventSink, Stage, Warned, WorkPlanned, ignore
from kafkeep.inventory_reading import InventoryReading, read_inventory
from kafkeep.kafka.cluster import Cluster
from kafkeep.model import ClusterMetadata, Failure, Generation, PartitionCut, RecoveryPoint
from kafkeep.point_documents import STANDING, put_point_documents
from kafkeep.repository.drafts import PointDraft
from kafkeep.repository.nouns import parse_time
from kafkeep.repository.repository import Repository
from kafkeep.repository.state import State

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
    # Before the cluster is asked anything: whatever lies behind a cut was written after this moment.
    started = now()
    stop = threading.Event() if stop is None else stop
    state = repository.refresh()
    seen = _look(cluster, state, options, stop, sink)
    plan = _plan(state, seen, now())
    _announce(plan, sink)
    reading = Reading(
        cluster,
        repository,
        seen.options,
        deletes_by_retention=seen.topics.deletes_by_retention,
        started=started,
        ledger=None if seen.watched is None else seen.watched.ledger,
        now=now,
        sink=sink,
        stop=stop,
    )
    parts, lost = reading.bring_up_to_cut(plan, seen.survey.topology())
    gathered = _gathered(seen, plan, started, lost, deleted=bool(reading.deleted))
    if stop.is_set():
        reading.flush()
        return _result(reading, len(parts), None, gathered.failures, interrupted=True, began=began)
    sink(Stage("commit", "naming the recovery point"))
    draft, point = _commit_point(reading, repository, seen.options, parts, gathered, now=now)
    return _result(reading, len(parts), point, draft.failures, interrupted=False, began=began)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """The cluster at the moment that the point is to hold."""

    options: BackupOptions
    """As asked for, with the cut that they lead to."""
    groups: GroupReading
    survey: Survey
    watched: Watched | None
    """Only where the point is to be consistent by transaction."""
    topics: TopicReading
    settings: InventoryReading | None
    """Only where the point is to hold settings and permissions."""


def _look(cluster: Cluster, state: State, options: BackupOptions, stop: threading.Event, sink: EventSink) -> _Seen:
    sink(Stage("positions", "reading group offsets"))
    groups = read_groups(cluster)
    sink(Stage("survey", "reading topics and end offsets"))
    survey = survey_cluster(cluster, options.selection, known=_open_topics(state))
    _check_cluster(state, survey, options)
    watched = _watch(cluster, state, survey, options, stop, sink)
    if watched is not None:
        survey, options = watched.survey, replace(options, cut="high-watermark")
    topics = read_topics(cluster, survey.topics)
    return _Seen(
        options=options,
        groups=groups,
        survey=survey,
        watched=watched,
        topics=topics,
        settings=_read_settings(cluster, groups, topics, options, sink),
    )


def _plan(state: State, seen: _Seen, now: datetime) -> CapturePlan:
    return plan_capture(
        state,
        seen.survey,
        cut=seen.options.cut,
        deletes_by_retention=seen.topics.deletes_by_retention,
        delete_retention_ms=seen.topics.delete_retention_ms,
        now=now,
    )


def _announce(plan: CapturePlan, sink: EventSink) -> None:
    _warn_of_reading_anew(plan, sink)
    sink(WorkPlanned("backup", len(plan.partitions), plan.offsets_to_read, None))
    sink(Stage("records", f"{plan.offsets_to_read} offsets in {len(plan.partitions)} partitions"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gathered:
    """What a backup learnt besides records."""

    groups: GroupReading
    topics: TopicReading
    settings: InventoryReading | None
    """Only where the point is to hold settings and permissions."""
    cluster_id: str
    plan: CapturePlan
    started: datetime
    watched: Watched | None
    """Only where the point is to be consistent by transaction."""
    lost_partitions: bool
    """Some chosen partition was not read to its cut, or not at all."""
    failures: tuple[Failure, ...]


def _gathered(
    seen: _Seen, plan: CapturePlan, started: datetime, lost: Sequence[Failure], *, deleted: bool
) -> _Gathered:
    return _Gathered(
        groups=seen.groups,
        topics=seen.topics,
        settings=seen.settings,
        cluster_id=seen.survey.cluster_id,
        plan=plan,
        started=started,
        watched=seen.watched,
        lost_partitions=bool(plan.failures or lost or deleted),
        failures=(
            *seen.groups.failures,
            *seen.topics.failures,
            *(() if seen.settings is None else seen.settings.failures),
            *plan.failures,
            *lost,
        ),
    )


def _read_settings(
    cluster: Cluster, groups: GroupReading, topics: TopicReading, options: BackupOptions, sink: EventSink
) -> InventoryReading | None:
    if not options.settings:
        return None
    sink(Stage("settings", "reading settings and permissions"))
    return read_inventory(cluster, groups.listings, topics.effective)


def _watch(
    cluster: Cluster, state: State, survey: Survey, options: BackupOptions, stop: threading.Event, sink: EventSink
) -> Watched | None:
    if options.consistent != "transactions":
        return None
    sink(Stage("transactions", "looking for moments between transactions"))
    return watch_transactions(
        cluster,
        survey,
        lambda: survey_cluster(cluster, options.selection, known=_open_topics(state)),
        seconds=options.consistent_wait_seconds,
        stop=stop,
    )


def _warn_of_reading_anew(plan: CapturePlan, sink: EventSink) -> None:
    anew = [part for part in plan.partitions if part.opened is not None and part.opened.why == UNSEEN]
    if anew:
        topics = sorted({part.generation.topic for part in anew})
        named = ", ".join(topics[:5]) + (f" and {len(topics) - 5} more" if len(topics) > 5 else "")
        sink(
            Warned(
                f"{len(anew)} partitions of compacted topics are read anew, because deletions may have been missed: "
                f"{named}",
                "Back up more often than delete.retention.ms, or raise it.",
            )
        )


def _commit_point(
    reading: Reading,
    repository: Repository,
    options: BackupOptions,
    parts: Sequence[PartitionPlan],
    gathered: _Gathered,
    *,
    now: Callable[[], datetime],
) -> tuple[PointDraft, RecoveryPoint | None]:
    """Commits the point, unless it would say nothing that the newest one does not say already."""
    there = tuple(topic for topic in gathered.topics.topics if topic.name not in reading.deleted)
    metadata = ClusterMetadata(gathered.cluster_id, there, gathered.groups.groups)
    settings = gathered.settings
    documents = put_point_documents(
        repository, metadata, None if settings is None else (settings.inventory, settings.standing)
    )
    for _ in range(_MOST_REBASES):
        covered = reading.covered()
        cuts = tuple(_cut(part, covered(part)) for part in parts)
        failures = (*gathered.failures, *_unproven(cuts, reading, repository.state, gathered))
        cuts, torn = _whole(cuts, gathered)
        failures = (*failures, *torn)
        draft = PointDraft(
            name=options.name,
            tags=options.tags,
            cuts=cuts,
            selection=(*options.topics, *(f"!{pattern}" for pattern in options.exclude)),
            documents=documents,
            consistency="partition" if gathered.watched is None or torn else "transaction",
            complete=not failures,
            failures=failures,
        )
        if not reading.pending and _says_the_same(repository, draft) and not _renews(draft, gathered, now()):
            return draft, None
        outcome = reading.commit_point(draft)
        if outcome.point is not None:
            return draft, outcome.point
        reading.catch_up(parts)
    raise HeldByAnotherWriter(f"other writers committed first {_MOST_REBASES} times in a row")


def _whole(cuts: tuple[PartitionCut, ...], gathered: _Gathered) -> tuple[tuple[PartitionCut, ...], tuple[Failure, ...]]:
    """The cuts with what they hold back; or as they are, with a failure, when transactions may be torn all the same."""
    watched = gathered.watched
    if watched is None:
        return cuts, ()
    doubts = watched.doubts
    if gathered.lost_partitions:
        doubts = (*doubts, "not every partition was read")
    if not doubts:
        whole = make_whole(cuts, watched.ledger, watched.moments.producers)
        if not whole.doubts:
            return whole.cuts, ()
        doubts = whole.doubts
    return cuts, (Failure("transactions", NOT_CONSISTENT, "; ".join(doubts)),)


def _unproven(cuts: Sequence[PartitionCut], reading: Reading, state: State, gathered: _Gathered) -> tuple[Failure, ...]:
    planned = {part.generation for part in gathered.plan.partitions}

    def since(generation: Generation) -> datetime:
        evidence = gathered.plan.evidence.get(generation)
        if evidence is not None:
            return evidence.since
        # One that history has opened meanwhile may be another writer's, who began earlier.
        known = None if generation in planned else state.generations.get(generation)
        return gathered.started if known is None else min(gathered.started, parse_time(known.opened_time))

    return unproven(
        cuts,
        since=since,
        read_at=reading.read_at,
        delete_retention_ms=gathered.topics.delete_retention_ms,
    )


def _renews(draft: PointDraft, gathered: _Gathered, now: datetime) -> bool:
    """True when the point would say nothing new of records, but that no deletion was missed until today: a compacted
    topic that rests would otherwise have to be read anew the next time something is written to it.
    """
    failed = {failure.subject for failure in draft.failures}
    limits = gathered.topics.delete_retention_ms
    return any(
        gathered.plan.evidence[cut.generation].is_ageing(now, limits[cut.generation.topic])
        for cut in draft.cuts
        if cut.generation in gathered.plan.evidence
        and reaches_its_end(cut)
        and str(cut.generation.topic_partition) not in failed
    )


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


def _lasting(documents: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """How the cluster stood changes with every look at it: sizes of log directories, members of groups."""
    return {name: digest for name, digest in documents if name != STANDING}


def _says_the_same(repository: Repository, draft: PointDraft) -> bool:
    """True when the newest point of this selection has the same ends and documents, and any name or tags asked for."""
    before = next((point for point in reversed(repository.points()) if point.selection == draft.selection), None)
    if before is None or ((draft.name or draft.tags) and (before.name, before.tags) != (draft.name, draft.tags)):
        return False
    return (
        {(cut.generation, cut.start, cut.stop, cut.held_back) for cut in before.cuts}
        == {(cut.generation, cut.start, cut.stop, cut.held_back) for cut in draft.cuts}
        and before.consistency == draft.consistency
        and _lasting(before.documents) == _lasting(draft.documents)
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

"""The recipe of a backup, and of a backup that goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from kafkeep.capture.borders import find_ranges
from kafkeep.capture.look import Seen, look
from kafkeep.capture.options import BackupOptions
from kafkeep.capture.plan import CapturePlan, plan_capture
from kafkeep.capture.point import commit_point, gather
from kafkeep.capture.reading import Reading
from kafkeep.capture.result import BackupPlan, BackupResult, FollowResult, PlannedPartition
from kafkeep.capture.rounds import RoundSink
from kafkeep.capture.tombstones import UNSEEN
from kafkeep.elsewhere import HERE, Workforce
from kafkeep.errors import KafkeepError, NothingToDo
from kafkeep.events import EventSink, PartFailed, Stage, Warned, WorkPlanned, ignore
from kafkeep.kafka.cluster import Cluster
from kafkeep.model import Failure, OffsetRange, RecoveryPoint
from kafkeep.repository.repository import Repository
from kafkeep.repository.state import State
from kafkeep.services import NO_SERVICES, Services


def backup(
    cluster: Cluster,
    repository: Repository,
    options: BackupOptions,
    *,
    now: Callable[[], datetime],
    services: Services = NO_SERVICES,
    workers: Workforce = HERE,
    sink: EventSink = ignore,
    stop: threading.Event | None = None,
) -> BackupResult:
    """Brings the repository up to the cluster's present state and names it by a recovery point.

    Order: group positions, then end offsets (so no position lies beyond the cut), settings, records, and last the commit.
    When `stop` is set, what was read so far is committed and no point is made. Raises `WrongCluster`, `NothingToDo` (no topic
    matches) and what the rooms raise; whatever was committed before stays.
    """
    began = time.monotonic()
    # Before the cluster is asked anything: whatever lies behind a cut was written after this moment.
    started = now()
    stop = threading.Event() if stop is None else stop
    state = repository.refresh()
    seen = look(cluster, state, options, stop, sink, services)
    plan = _plan(state, seen, now())
    _announce(plan, sink)
    reading = Reading(
        cluster,
        repository,
        seen.options,
        deletes_by_retention=seen.topics.deletes_by_retention,
        compacted=seen.topics.delete_retention_ms,
        started=started,
        ledger=None if seen.watched is None else seen.watched.ledger,
        workers=workers,
        now=now,
        sink=sink,
        stop=stop,
    )
    parts, lost = reading.bring_up_to_cut(plan, seen.survey.topology())
    gathered = gather(seen, plan, started, reading, lost)
    point, failures, interrupted = None, gathered.failures, stop.is_set()
    if interrupted:
        reading.flush()
    else:
        sink(Stage("commit", "naming the recovery point"))
        draft, point = commit_point(reading, repository, parts, gathered, now=now)
        failures = draft.failures
    for failure in failures:
        sink(PartFailed(failure.subject, failure.reason, failure.message))
    return _result(reading, len(parts), point, failures, interrupted=interrupted, began=began)


def prepare(
    cluster: Cluster,
    repository: Repository,
    options: BackupOptions,
    *,
    now: Callable[[], datetime],
    workers: Workforce = HERE,
    sink: EventSink = ignore,
    stop: threading.Event | None = None,
) -> BackupPlan:
    """What `backup` would read now; nothing is stored. Raises as `backup` does before it reads records."""
    state = repository.refresh()
    seen = look(cluster, state, options, threading.Event() if stop is None else stop, sink)
    plan = _plan(state, seen, now())
    _warn_of_reading_anew(plan, sink)
    todo = [part for part in plan.partitions if part.start < part.stop]
    found = find_ranges(
        cluster,
        seen.survey.topology(),
        todo,
        seen.options,
        workers=workers.executor.workers,
        compacted=seen.topics.delete_retention_ms,
    )
    ranges = {each.whole.generation: tuple(OffsetRange(part.start, part.stop) for part in each.parts) for each in found}
    closed = [part.closed for part in plan.partitions if part.closed is not None]
    return BackupPlan(
        partitions=len(plan.partitions),
        offsets=plan.offsets_to_read,
        reads=tuple(
            PlannedPartition(
                generation=part.generation,
                offsets=OffsetRange(part.start, part.stop),
                ranges=ranges.get(part.generation, ()),
            )
            for part in todo
        ),
        gaps=plan.gaps,
        opened=tuple(part.opened for part in plan.partitions if part.opened is not None),
        closed=(*closed, *plan.closed),
        failures=(*seen.failures, *plan.failures),
    )


def follow(
    cluster: Cluster,
    repository: Repository,
    options: BackupOptions,
    *,
    interval_seconds: float,
    now: Callable[[], datetime],
    services: Services = NO_SERVICES,
    workers: Workforce = HERE,
    sink: EventSink = ignore,
    stop: threading.Event,
) -> FollowResult:
    """Backups in rounds until `stop` is set. A round with nothing new makes no object; a round that fails for a passing
    reason is told and tried again at the next interval; any other error ends the following. A part that fails in round
    after round is told once.
    """
    began = time.monotonic()
    total = FollowResult(rounds=0, points=(), records=0, raw_bytes=0, gaps=(), failures=(), seconds=0.0)
    rounds = RoundSink(sink)
    while not stop.is_set():
        round_began = time.monotonic()
        try:
            made = backup(
                cluster, repository, options, now=now, services=services, workers=workers, sink=rounds, stop=stop
            )
            total = total.plus(made)
            rounds.end()
        except NothingToDo:
            sink(Warned("no topic matches the selection yet"))
        except KafkeepError as error:
            if not error.retryable:
                raise
            sink(Warned(f"round failed: {error}", "It is tried again at the next interval."))
        stop.wait(max(0.0, interval_seconds - (time.monotonic() - round_began)))
    return replace(total, seconds=time.monotonic() - began)


def _plan(state: State, seen: Seen, now: datetime) -> CapturePlan:
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
    offsets = plan.offsets_to_read
    sink(WorkPlanned("backup", len(plan.partitions), offsets, None))
    sink(Stage("records", f"{offsets} offsets in {len(plan.partitions)} partitions"))


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

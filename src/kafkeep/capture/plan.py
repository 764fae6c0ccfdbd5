"""From what the repository holds and what the cluster says to what must be read: pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import field, replace
from datetime import datetime
from types import MappingProxyType

from kafkeep.capture.survey import PartitionSurvey, Survey
from kafkeep.capture.tombstones import UNSEEN, Evidence, evidence_of
from kafkeep.model import (
    NO_TOPIC_ID,
    AbortedTransaction,
    Failure,
    Gap,
    Generation,
    GenerationClosed,
    GenerationOpened,
    OffsetRange,
)
from kafkeep.records import dataclass
from kafkeep.repository.state import GenerationState, State
from kafkeep.times import rfc3339


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionPlan:
    """One partition to bring up to its cut."""

    generation: Generation
    start: int
    """Next offset to read."""
    stop: int
    """The cut: frozen when the backup began."""
    leader: int
    leader_epoch: int
    last_fetched_epoch: int
    """Leader epoch of the last stored batch, -1 when nothing is stored: lets the broker show a truncation."""
    log_start: int
    high_watermark: int
    last_stable_offset: int
    opened: GenerationOpened | None = None
    closed: GenerationClosed | None = None
    """The generation that this one takes over from."""
    gap: Gap | None = None
    open_transactions: tuple[AbortedTransaction, ...] = ()
    """Transactions undecided where the stored batches end."""

    @property
    def to_read(self) -> bool:
        """True when there are offsets to read, or a new leader epoch makes it worth asking whether history changed."""
        return self.start < self.stop or (0 <= self.last_fetched_epoch < self.leader_epoch and self.start > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturePlan:
    partitions: tuple[PartitionPlan, ...]
    closed: tuple[GenerationClosed, ...]
    """Generations of topics or partitions that no longer exist."""
    failures: tuple[Failure, ...]
    evidence: Mapping[Generation, Evidence] = field(default_factory=lambda: MappingProxyType({}))
    """Of the partitions of compacted topics that are read on, not anew."""

    @property
    def gaps(self) -> tuple[Gap, ...]:
        return tuple(part.gap for part in self.partitions if part.gap is not None)

    @property
    def offsets_to_read(self) -> int:
        return sum([part.stop - part.start for part in self.partitions if part.stop > part.start])


def plan_capture(
    state: State,
    survey: Survey,
    *,
    cut: str,
    deletes_by_retention: Mapping[str, bool],
    delete_retention_ms: Mapping[str, int],
    now: datetime,
) -> CapturePlan:
    """Decides for every surveyed partition which generation it belongs to and which offsets are missing.

    `deletes_by_retention` says of a topic whether its own settings delete old records: the reason given to a gap
    that the log start has opened. `delete_retention_ms` names the compacted topics and how long they keep tombstones:
    where one may have been missed, the partition is read anew.
    """
    partitions: list[PartitionPlan] = []
    time = rfc3339(now)
    for part in survey.partitions:
        by_retention = deletes_by_retention.get(part.topic_partition.topic, True)
        partitions.append(plan_partition(state, part, cut=cut, by_retention=by_retention, time=time))
    evidence = evidence_of(
        state,
        [
            plan.generation
            for plan in partitions
            if plan.opened is None and plan.gap is None and plan.generation.topic in delete_retention_ms
        ],
    )
    for index, plan in enumerate(partitions):
        known = evidence.get(plan.generation)
        if known is not None and _may_lack_tombstones(plan, known, now, delete_retention_ms[plan.generation.topic]):
            partitions[index] = _reading_anew(plan, UNSEEN)
            del evidence[plan.generation]
    there = {topic.name: {part.partition for part in topic.partitions} for topic in survey.topics}
    absent = frozenset(survey.absent)
    return CapturePlan(
        partitions=tuple(partitions),
        closed=tuple(
            GenerationClosed(generation, "deleted")
            for generation, known in state.generations.items()
            if known.open and _is_gone(generation, there, absent)
        ),
        failures=survey.failures,
        evidence=MappingProxyType(evidence),
    )


def _may_lack_tombstones(plan: PartitionPlan, evidence: Evidence, now: datetime, delete_retention_ms: int) -> bool:
    """With nothing to read there is nothing to miss, unless what was read since the evidence came too late already."""
    if not evidence.sound:
        return True
    return not evidence.holds(now, delete_retention_ms) and (plan.start < plan.stop or plan.start > evidence.stop)


def _is_gone(generation: Generation, there: Mapping[str, Collection[int]], absent: Collection[str]) -> bool:
    """True when the topic does not exist any more, or was created again with fewer partitions."""
    if generation.topic in absent:
        return True
    partitions = there.get(generation.topic)
    return partitions is not None and generation.partition not in partitions


def plan_partition(state: State, part: PartitionSurvey, *, cut: str, by_retention: bool, time: str) -> PartitionPlan:
    stop = part.high_watermark if cut == "high-watermark" else part.last_stable_offset
    known = state.latest_generation(part.topic_partition)
    if known is None:
        return _opening(part, stop, Generation(*_identity(part)), "first-seen", closed=None)
    latest = known.generation
    if latest.topic_id != part.topic_id:
        closed = GenerationClosed(latest, "recreated") if known.open else None
        return _opening(part, stop, Generation(*_identity(part)), "recreated", closed=closed)
    if not known.open or known.next_offset > part.high_watermark:
        why = "truncated" if part.topic_id != NO_TOPIC_ID and known.open else "recreated"
        closed = GenerationClosed(latest, why) if known.open else None
        return _opening(part, stop, latest.successor, why, closed=closed)
    return _continuing(part, stop, latest, known, by_retention=by_retention, time=time)


def _identity(part: PartitionSurvey) -> tuple[str, str, int]:
    return part.topic_partition.topic, part.topic_id, part.topic_partition.partition


def _opening(
    part: PartitionSurvey, stop: int, generation: Generation, why: str, *, closed: GenerationClosed | None
) -> PartitionPlan:
    return PartitionPlan(
        generation=generation,
        start=part.log_start,
        stop=max(stop, part.log_start),
        leader=part.leader,
        leader_epoch=part.leader_epoch,
        last_fetched_epoch=-1,
        log_start=part.log_start,
        high_watermark=part.high_watermark,
        last_stable_offset=part.last_stable_offset,
        opened=GenerationOpened(generation, part.log_start, why),
        closed=closed,
    )


def _continuing(
    part: PartitionSurvey, stop: int, generation: Generation, known: GenerationState, *, by_retention: bool, time: str
) -> PartitionPlan:
    start = known.next_offset
    gap = None
    if start < part.log_start:
        gap = gap_before_log_start(generation, start, part.log_start, by_retention=by_retention, time=time)
        start = part.log_start
    return PartitionPlan(
        generation=generation,
        start=start,
        stop=max(stop, start),
        leader=part.leader,
        leader_epoch=part.leader_epoch,
        last_fetched_epoch=last_stored_epoch(known) if gap is None else -1,
        log_start=part.log_start,
        high_watermark=part.high_watermark,
        last_stable_offset=part.last_stable_offset,
        gap=gap,
        open_transactions=open_at_end(known) if gap is None else (),
    )


def plan_truncated(plan: PartitionPlan, part: PartitionSurvey, *, cut: str) -> PartitionPlan:
    """The broker's history is not the stored one any more: keep the old generation, read a new one from the start."""
    stop = part.high_watermark if cut == "high-watermark" else part.last_stable_offset
    successor = plan.generation.successor
    return _opening(part, stop, successor, "truncated", closed=GenerationClosed(plan.generation, "truncated"))


def _reading_anew(plan: PartitionPlan, why: str) -> PartitionPlan:
    """The same partition up to the same cut, whole, as a generation of its own."""
    successor = plan.generation.successor
    return replace(
        plan,
        generation=successor,
        start=plan.log_start,
        stop=max(plan.stop, plan.log_start),
        last_fetched_epoch=-1,
        opened=GenerationOpened(successor, plan.log_start, why),
        closed=GenerationClosed(plan.generation, why),
        open_transactions=(),
    )


def gap_before_log_start(generation: Generation, start: int, log_start: int, *, by_retention: bool, time: str) -> Gap:
    """The range that the log start has overtaken before it could be read."""
    reason = "retention" if by_retention else "delete-records"
    return Gap(
        generation, OffsetRange(start, log_start), reason, f"log start offset {log_start} passed position {start}", time
    )


def last_stored_epoch(known: GenerationState) -> int:
    """Leader epoch of the newest stored batch, -1 when no batch is stored."""
    for index in range(len(known.runs) - 1, -1, -1):
        epochs = known.runs[index].facts.leader_epochs
        if epochs:
            return epochs[-1][0]
    return -1


def open_at_end(known: GenerationState) -> tuple[AbortedTransaction, ...]:
    """Transactions that were undecided where the stored runs of a generation end."""
    return known.runs[-1].facts.open_transactions if len(known.runs) else ()


@dataclass(frozen=True, slots=True)
class CaptureTask:
    """Partitions to read over one connection to one broker."""

    broker: int
    partitions: tuple[PartitionPlan, ...]
    most_bytes: int | None = None
    """Where the task ends early, because others may have to wait for it or it for others; None to read to the end."""


def cut_into_tasks(partitions: Iterable[PartitionPlan], *, connections_per_broker: int) -> tuple[CaptureTask, ...]:
    """Partitions by leader, then spread over connections so that each has about the same number of offsets to read."""
    by_leader: dict[int, list[PartitionPlan]] = {}
    for part in partitions:
        by_leader.setdefault(part.leader, []).append(part)
    tasks: list[CaptureTask] = []
    for leader, parts in sorted(by_leader.items()):
        shares: list[list[PartitionPlan]] = [[] for _ in range(min(connections_per_broker, len(parts)))]
        loads = [0] * len(shares)
        for part in sorted(parts, key=lambda part: (part.start - part.stop, part.generation)):
            lightest = loads.index(min(loads))
            shares[lightest].append(part)
            loads[lightest] += part.stop - part.start + 1
        tasks += [CaptureTask(leader, tuple(share)) for share in shares]
    return tuple(tasks)

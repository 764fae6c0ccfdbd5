"""Which partition is held against which, from where to where. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from kafkeep.compare.align import NOWHERE, ExpectedOffset
from kafkeep.compare.report import BY_MAP, BY_OFFSET, BY_ORDER, NOTHING_EXCUSED, Excused
from kafkeep.model import Failure, Generation, OffsetRange, TopicPartition
from kafkeep.offset_map import MappedPartitions, OffsetMap
from kafkeep.records import dataclass
from kafkeep.repository.views import PartitionView


@dataclass(frozen=True, slots=True)
class LogEnds:
    """What a partition of the cluster has at the moment of planning."""

    start: int
    last_stable: int
    high_watermark: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparePlan:
    """One partition of the point and the partition of the cluster that must hold the same."""

    view: PartitionView
    target: TopicPartition
    pairing: str
    offsets: OffsetMap | None
    source: OffsetRange
    """Source offsets to compare."""
    target_range: OffsetRange
    """The offsets of the cluster that must hold them and nothing else."""
    beyond: int
    """Offsets of the cluster behind `target_range`: what came later is not compared."""
    target_end: int
    """Where the cluster's log must reach at least."""
    found_end: int
    """Where it ends."""
    compacts: bool = False
    """True when the source may have taken superseded records away."""
    excused: Excused = NOTHING_EXCUSED
    notes: tuple[str, ...] = ()

    def expected(self) -> ExpectedOffset:
        offsets = self.offsets
        if offsets is not None:
            return lambda source: NOWHERE if (target := offsets.target_of(source)) is None else target
        return (lambda source: source) if self.pairing == BY_OFFSET else (lambda source: None)

    def of_source(self, source: OffsetRange) -> OffsetRange:
        """The offsets of the cluster that must hold a part of `source`; neighbours on one side are neighbours here.

        Raises ValueError when only the order is known and the part is not the whole.
        """
        if source == self.source:
            return self.target_range
        if self.pairing == BY_ORDER:
            raise ValueError("without offsets a part cannot be found")
        low, high = self.target_range.start, self.target_range.stop
        start = low if source.start <= self.source.start else min(max(low, self._translate(source.start)), high)
        stop = high if source.stop >= self.source.stop else min(max(start, self._translate(source.stop)), high)
        return OffsetRange(start, stop)

    def _translate(self, offset: int) -> int:
        return offset if self.offsets is None else self.offsets.translate(offset)


def plan_partition(
    view: PartitionView, target: TopicPartition, ends: LogEnds, *, offsets: OffsetMap | None, same: bool, compacts: bool
) -> ComparePlan:
    """How one partition is compared.

    Args:
        offsets: Where a restore put it; None where that is not known.
        same: The cluster's partition is the very one the point was made of.
        compacts: Its topic is compacted.
    """
    cut = view.cut
    if same and offsets is None:
        return _plan_source(view, target, ends, compacts=compacts)
    low, high = ends.start, ends.last_stable
    if offsets is not None:
        begin, stop, end = max(low, offsets.translate(cut.start)), min(high, offsets.end), offsets.end
    else:
        begin, stop, end = low, high, low
    stop = max(begin, stop)
    return ComparePlan(
        view=view,
        target=target,
        pairing=BY_ORDER if offsets is None else BY_MAP,
        offsets=offsets,
        source=OffsetRange(cut.start, cut.stop),
        target_range=OffsetRange(begin, stop),
        beyond=max(0, high - stop),
        target_end=end,
        found_end=high,
    )


def _plan_source(view: PartitionView, target: TopicPartition, ends: LogEnds, *, compacts: bool) -> ComparePlan:
    """The source itself: from where both sides begin, up to where the source serves what is decided."""
    cut = view.cut
    stop = cut.stop
    if ends.last_stable < stop <= ends.high_watermark and stop > cut.last_stable_offset:
        # The point reaches behind the last stable offset of its time: what was undecided may still be.
        stop = max(ends.last_stable, cut.start)
    start = min(max(cut.start, ends.start), stop)
    reached = max(start, min(stop, ends.last_stable))
    notes: tuple[str, ...] = ()
    if ends.last_stable < stop:
        notes = (
            f"the source ends at {ends.last_stable}, before the end of the point at {stop}: its log was truncated",
        )
    return ComparePlan(
        view=view,
        target=target,
        pairing=BY_OFFSET,
        offsets=None,
        source=OffsetRange(start, stop),
        target_range=OffsetRange(start, reached),
        beyond=max(0, ends.last_stable - reached),
        target_end=stop,
        found_end=ends.last_stable,
        compacts=compacts,
        excused=Excused(removed=start - cut.start, undecided=cut.stop - stop),
        notes=notes,
    )


def map_of(mapped: MappedPartitions, source: Generation, target: TopicPartition, topic_id: str) -> OffsetMap | None:
    """The map of a whole restore of just this source into just this topic; not one that had the same names before."""
    found = mapped.get((source.topic_partition, target))
    if found is None or not found.complete or found.source != source:
        return None
    return found.offsets if found.target_topic_id in (None, topic_id) else None


def other_count(source: Generation, target: TopicPartition, found: int, had: int) -> Failure:
    """By order alone a partition is not held against one of a topic that was spread over another number of them."""
    message = (
        f"{target.topic} has {found} partitions, the point holds {had} of {source.topic}, and no record of a restore says "
        "which records went where"
    )
    return Failure(str(target), "partition-count", message)


@dataclass(frozen=True, slots=True)
class CompareTask:
    """What one thread does in one go: a partition, or a piece of a large one."""

    plan: ComparePlan
    source: OffsetRange


def cut_into_tasks(plan: ComparePlan, *, piece_bytes: int) -> list[CompareTask]:
    """One task, or several for a large partition: cut where runs meet, so that each is played back as in the whole.

    Not cut are partitions that are compared by order, and those that are compacted: records are proven by later ones.
    """
    runs = plan.view.runs
    if plan.pairing == BY_ORDER or plan.compacts or sum(run.facts.raw_bytes for run in runs) < 2 * piece_bytes:
        return [CompareTask(plan, plan.source)]
    borders, size = [plan.source.start], 0
    for run in runs:
        if size >= piece_bytes and borders[-1] < run.coverage.start < plan.source.stop:
            borders.append(run.coverage.start)
            size = 0
        size += run.facts.raw_bytes
    borders.append(plan.source.stop)
    return [CompareTask(plan, OffsetRange(low, high)) for low, high in pairwise(borders)]


def in_leader_order(plans: Sequence[ComparePlan], leaders: Mapping[TopicPartition, int]) -> list[ComparePlan]:
    """Broker by broker, so that few connections are open at a time."""
    return sorted(plans, key=lambda plan: (leaders.get(plan.target, -1), plan.target))

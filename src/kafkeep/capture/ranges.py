"""One large partition for several tasks: which partitions are divided, where, and into what. Pure.

A range begins where a batch begins, so ranges join in the commit log without a break or an overlap. Only what is read up to
the last stable offset is divided: beyond it transactions are found out from markers, in the order of the log.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

from kafkeep.capture.plan import CaptureTask, PartitionPlan, cut_into_tasks
from kafkeep.model import TopicPartition
from kafkeep.records import dataclass

SAMPLES: Final = 8
"""Places of a partition at which its broker is asked how many bytes an offset takes there."""
_ABOVE_ITS_SHARE: Final = 1.25
"""A partition is divided when it has so many times what each worker would have, if all had the same."""
_SMALLEST_OF_LARGEST: Final = 8
"""A range has at least this part of what one may have at most."""
_HELD: Final = 8
"""So many ranges of the largest size may wait for the first one: with more tasks ranges are smaller."""
_USUAL_MOST: Final = 1024 * 1024
"""Bytes of the largest batch that brokers take unless told otherwise (message.max.bytes)."""
_FAR_LARGER: Final = 8
"""How much larger than its beginning the rest of a partition may be without being overlooked."""
_TOO_MUCH: Final = 2
"""A task ends its range early at so many times what a range may have: then the sample was wrong."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a broker showed of a partition at one place: whole batches of `size_bytes` over `offsets` offsets."""

    offsets: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Where a partition is to be divided: each range then ends where the batch that holds the offset begins."""

    offsets: tuple[int, ...]
    to_the_cut: bool
    """False when the last of the offsets is where this round ends: what lies behind it is for the next one."""
    most_bytes: int
    """Where a task that waits for others gives up its range."""


@dataclass(frozen=True, slots=True)
class Ranges:
    """A partition, or the next stretch of it, in consecutive ranges."""

    whole: PartitionPlan
    parts: tuple[PartitionPlan, ...]
    """At least one; the first begins where `whole` does."""
    most_bytes: int

    @property
    def stop(self) -> int:
        return self.parts[-1].stop

    @property
    def to_the_cut(self) -> bool:
        return self.stop == self.whole.stop

    def number_of(self, offset: int) -> int:
        """Which of the ranges holds the offset."""
        return max(0, bisect_right([part.start for part in self.parts], offset) - 1)

    def tasks(self) -> tuple[CaptureTask, ...]:
        """One for each range. What waits for the first range must have an end; the first waits for nothing."""
        return tuple(
            CaptureTask(self.whole.leader, (part,), most_bytes=self.most_bytes if number else None)
            for number, part in enumerate(self.parts)
        )


def shares(
    parts: Sequence[PartitionPlan], *, workers: int, connections_per_broker: int, never: Collection[str] = ()
) -> dict[TopicPartition, int]:
    """Among how many tasks each of the partitions that are far larger than the others should be divided, by offsets.

    Topics of `never` are left as they are, and so is what has no known leader epoch: without it a broker does not tell that
    another one leads.
    """
    leaders = len({part.leader for part in parts})
    fair = sum(_offsets(part) for part in parts) / max(workers, connections_per_broker * leaders, 1)
    at_once = max(workers, connections_per_broker)
    return {
        part.generation.topic_partition: count
        for part in parts
        if part.generation.topic not in never
        and part.leader_epoch >= 0
        and _offsets(part) > _ABOVE_ITS_SHARE * fair
        and (count := min(at_once, -int(-_offsets(part) // fair))) > 1
    }


def _offsets(part: PartitionPlan) -> int:
    return max(part.stop - part.start, 0)


def may_be_large(part: PartitionPlan, range_bytes: int, sample: Sample | None = None) -> bool:
    """Whether it is worth asking about a partition: with no sample, whether so many offsets can hold two ranges; with the
    one of its beginning, whether they do if the rest is not far larger.
    """
    wide = 2 * (range_bytes // _SMALLEST_OF_LARGEST)
    if sample is None or sample.offsets <= 0:
        return _offsets(part) * _USUAL_MOST >= wide
    return _offsets(part) * sample.size_bytes * _FAR_LARGER >= wide * sample.offsets


def places(part: PartitionPlan) -> tuple[int, ...]:
    """Where to take samples of a partition: the beginnings of as many parts, equal in offsets."""
    step = _offsets(part) / SAMPLES
    return tuple(sorted({part.start + int(step * number) for number in range(SAMPLES)}))


def wanted(part: PartitionPlan, samples: Sequence[Sample | None], tasks: int, *, range_bytes: int) -> Wanted | None:
    """Divides a partition so that its ranges have about the same number of bytes, `range_bytes` at most; None for one that
    is too small for it, or of which nothing is known.

    Args:
        samples: One for each of `places`; None where the broker showed nothing.
        tasks: Most ranges there may be.
        range_bytes: Most bytes of a range. An eighth of it is the least.
    """
    spans = _spans(part, samples)
    total = sum(size for _, size in spans)
    least = max(1, range_bytes // _SMALLEST_OF_LARGEST)
    count = min(tasks, int(total // least))
    if count < 2:
        return None
    most = min(range_bytes, max(least, _HELD * range_bytes // count))
    stretch = min(total, float(most * count))
    to_the_cut = stretch >= total
    ends = [stretch * number / count for number in range(1, count if to_the_cut else count + 1)]
    offsets = sorted({_offset_at(part.start, spans, size) for size in ends})
    return Wanted(tuple(offset for offset in offsets if part.start < offset < part.stop), to_the_cut, _TOO_MUCH * most)


def _spans(part: PartitionPlan, samples: Sequence[Sample | None]) -> list[tuple[int, float]]:
    """Offsets and bytes from each place to the next. Where nothing was shown it is taken to be as in front of it."""
    starts = places(part)
    known = [sample for sample in samples if sample is not None and sample.offsets > 0]
    if not known:
        return []
    spans: list[tuple[int, float]] = []
    last = known[0]
    for (start, stop), sample in zip(pairwise([*starts, part.stop]), samples, strict=True):
        last = sample if sample is not None and sample.offsets > 0 else last
        spans.append((stop - start, (stop - start) * last.size_bytes / last.offsets))
    return spans


def _offset_at(start: int, spans: Sequence[tuple[int, float]], size: float) -> int:
    """The offset that has so many bytes between `start` and itself."""
    for offsets, here in spans:
        if size <= here:
            return start + (int(offsets * size / here) if here else 0)
        start, size = start + offsets, size - here
    return start


def divided(part: PartitionPlan, borders: Sequence[int | None], want: Wanted) -> Ranges | None:
    """The ranges between the borders that were found, one for each of `want.offsets`; None where there is nothing to
    divide. Where no border was found, a range goes on to the next one; without the last, the stretch ends earlier.
    """
    found = sorted({border for border in borders if border is not None and part.start < border < part.stop})
    edges = [part.start, *found, *([part.stop] if want.to_the_cut else [])]
    if len(edges) < 3:
        return None
    parts = [replace(part, start=start, stop=stop) for start, stop in pairwise(edges)]
    later = [
        replace(each, last_fetched_epoch=-1, opened=None, closed=None, gap=None, open_transactions=())
        for each in parts[1:]
    ]
    return Ranges(part, (parts[0], *later), want.most_bytes)


def tasks_of(
    parts: Sequence[PartitionPlan], ranges: Sequence[Ranges], *, connections_per_broker: int
) -> tuple[CaptureTask, ...]:
    """All tasks of a round in the order in which they are best begun: the ranges of divided partitions, each partition's
    in their order, and then the others with the largest first.
    """
    apart = {each.whole.generation for each in ranges}
    others = cut_into_tasks(
        [part for part in parts if part.generation not in apart], connections_per_broker=connections_per_broker
    )
    largest_first = sorted(others, key=lambda task: -sum(_offsets(part) for part in task.partitions))
    return (*(task for each in ranges for task in each.tasks()), *largest_first)

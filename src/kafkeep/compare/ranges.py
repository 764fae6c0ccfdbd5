"""Which parts of a partition are read: all of it, or a sample of its chunks."""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

from kafkeep.compare.options import SampleChoice
from kafkeep.compare.report import Share
from kafkeep.model import OffsetRange, RunRef
from kafkeep.records import dataclass
from kafkeep.repository.repository import Repository
from kafkeep.repository.views import PartitionView

_FIRST_AND_LAST = 2


@dataclass(frozen=True, slots=True)
class Stretch:
    """Source offsets to compare in one go, and about how many bytes of batches they are."""

    source: OffsetRange
    size_bytes: int


def whole(view: PartitionView, source: OffsetRange) -> Stretch:
    """All of a range; its bytes by the facts of the runs."""
    size = 0
    for run in view.runs:
        common = run.coverage.intersection(source)
        if common is not None:
            size += math.ceil(run.facts.raw_bytes * len(common) / len(run.coverage))
    return Stretch(source, size)


def sample(
    repository: Repository, view: PartitionView, source: OffsetRange, choice: SampleChoice
) -> tuple[tuple[Stretch, ...], Share]:
    """Chunks of the archive in offset order, neighbours joined: the first, the last, and others by chance until they
    are the share that is wanted.

    A chunk's chance goes by its size; footers of packs that hold none of the chosen are not read. Raises
    `CorruptObject`, `StoreError`.
    """
    runs = [run for run in view.runs if run.coverage.intersection(source) is not None and run.facts.raw_bytes]
    archive = _Archive(repository, runs)
    chosen: dict[OffsetRange, int] = {}
    size, wanted = 0, archive.size_bytes * choice.percent / 100
    places = _places(archive.size_bytes, random.Random(f"{choice.seed}/{view.generation}"))
    if choice.percent == 100:
        places = iter(())
        chosen = {offsets: raw for index in range(len(runs)) for offsets, raw in archive.chunks(index)}
    for count, place in enumerate(places):
        if count >= _FIRST_AND_LAST and size >= wanted:
            break
        offsets, raw = archive.chunk_at(place)
        size += 0 if offsets in chosen else raw
        chosen[offsets] = raw
    return _joined(chosen, source), Share(len(chosen), sum(chosen.values()), archive.size_bytes)


def _places(size: int, rng: random.Random) -> Iterator[int]:
    if size:
        yield from (0, size - 1)
    while size:
        yield rng.randrange(size)


class _Archive:
    """The chunks of runs by their place in the bytes of all of them."""

    def __init__(self, repository: Repository, runs: Sequence[RunRef]) -> None:
        self._repository = repository
        self._runs = runs
        self._ends = list(accumulate(run.facts.raw_bytes for run in runs))
        self._chunks: dict[int, tuple[tuple[OffsetRange, int], ...]] = {}
        self.size_bytes = self._ends[-1] if runs else 0

    def chunks(self, index: int) -> tuple[tuple[OffsetRange, int], ...]:
        if index not in self._chunks:
            self._chunks[index] = self._repository.chunk_ranges(self._runs[index])
        return self._chunks[index]

    def chunk_at(self, place: int) -> tuple[OffsetRange, int]:
        index = bisect_right(self._ends, place)
        end = self._ends[index] - self._runs[index].facts.raw_bytes
        chunks = self.chunks(index)
        for chunk in chunks:
            end += chunk[1]
            if place < end:
                return chunk
        return chunks[-1]


def _joined(chosen: dict[OffsetRange, int], source: OffsetRange) -> tuple[Stretch, ...]:
    """The ranges inside `source`; the first reaches to its start and the last to its end, where holes may lie."""
    if not chosen:
        return (Stretch(source, 0),)
    found: list[Stretch] = []
    ordered = sorted(chosen.items())
    for index, (offsets, raw) in enumerate(ordered):
        low = source.start if index == 0 else max(offsets.start, source.start)
        high = source.stop if index == len(ordered) - 1 else min(offsets.stop, source.stop)
        if found and low <= found[-1].source.stop:
            last = found.pop()
            low, raw = last.source.start, raw + last.size_bytes
            high = max(high, last.source.stop)
        if low < high:
            found.append(Stretch(OffsetRange(low, high), raw))
    return tuple(found)

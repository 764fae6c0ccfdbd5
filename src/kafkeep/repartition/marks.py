"""Where a consumer must begin in a repartitioned topic so that it misses nothing: counted while records are spread. Pure.

A record that a group had not consumed can be in any target partition, with consumed ones in front of it and behind it.
The position of a target partition is the offset of its first record that was not consumed: none is skipped, and those
behind it that were consumed are read again.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from kafkeep.records import dataclass

_NONE: Final = -1


class Marks:
    """For chosen source offsets: the first record at or behind each, in every target partition."""

    def __init__(self, positions: Mapping[int, Iterable[int]], targets: int) -> None:
        """`positions`: by source partition, the committed offsets to be looked for."""
        self._sources = {partition: SourceMarks(sorted(set(found)), targets) for partition, found in positions.items()}

    def of(self, partition: int) -> SourceMarks | None:
        return self._sources.get(partition)

    def bounds(self, committed: Mapping[int, int], counts: Sequence[int]) -> Bounds:
        """Where a group begins whose committed offsets these are. Every one of them was among the marks.

        Args:
            committed: By source partition.
            counts: Records of each target partition, in all.
        """
        lower = list(counts)
        unread = 0
        for partition, offset in committed.items():
            source = self._sources[partition]
            place = bisect_left(source.offsets, offset)
            unread += source.records - source.in_front_of(place)
            for target, first in enumerate(source.first[place]):
                if first != _NONE and first < lower[target]:
                    lower[target] = first
        reading = sum(count - start for count, start in zip(counts, lower, strict=True))
        return Bounds(tuple(lower), reading - unread)


@dataclass(frozen=True, slots=True)
class Bounds:
    """A group's beginning in each target partition."""

    lower: tuple[int, ...]
    """Counted from the first record that is restored; the number of records where all were consumed."""
    read_again: int
    """Records at or behind these positions that the group had consumed."""


class SourceMarks:
    """The marks of one source partition, whose records go by in offset order."""

    def __init__(self, offsets: list[int], targets: int) -> None:
        self.offsets = offsets
        self.first = [array("q", [_NONE]) * targets for _ in offsets]
        """By mark, then by target partition."""
        self._before = array("q", [0]) * len(offsets)
        self.records = 0
        self._counted = 0
        """So many marks are behind us."""
        self._open = [0] * targets
        """By target partition: the smallest mark that has no record yet."""

    def batch(self, offsets: Sequence[int]) -> None:
        """The records of the next batch of this source partition."""
        while self._counted < len(self.offsets) and self.offsets[self._counted] <= offsets[-1]:
            self._before[self._counted] = self.records + bisect_left(offsets, self.offsets[self._counted])
            self._counted += 1
        self.records += len(offsets)

    def in_front_of(self, mark: int) -> int:
        """Records of this source partition in front of mark number `mark`, once all have gone by."""
        return self._before[mark] if mark < self._counted else self.records

    def see(self, offset: int, target: int, index: int) -> None:
        """A record goes to `target`, as its record number `index`."""
        mark = self._open[target]
        while mark < len(self.offsets) and self.offsets[mark] <= offset:
            self.first[mark][target] = index
            mark += 1
        self._open[target] = mark

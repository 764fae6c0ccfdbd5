"""From offsets of a source partition to offsets of the partition its records were restored into. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from kafkeep.model import Generation, OffsetRange, TopicPartition
from kafkeep.records import dataclass


class MapRow(NamedTuple):
    """`records` records from source offset `source` on went to target offsets from `target` on, one for one."""

    source: int
    target: int
    records: int


@dataclass(frozen=True, slots=True)
class OffsetMap:
    """Run-length map of one partition: rows rise in source and in target and do not overlap."""

    rows: tuple[MapRow, ...]
    end: int
    """Target log end offset once everything was restored: where a position behind the last record belongs."""

    def target_of(self, source: int) -> int | None:
        """Target offset of the record at a source offset; None when no record from there was restored."""
        index = bisect_right(self.rows, source, key=lambda row: row.source) - 1
        if index < 0:
            return None
        row = self.rows[index]
        return row.target + source - row.source if source < row.source + row.records else None

    def translate(self, committed: int) -> int:
        """Target position for a committed source position: the first restored record at or after it, or `end`.

        A committed offset is the next one to read, so a position in a hole moves on to the record behind the hole.
        """
        index = bisect_right(self.rows, committed, key=lambda row: row.source) - 1
        if index >= 0:
            row = self.rows[index]
            if committed < row.source + row.records:
                return row.target + committed - row.source
        return self.rows[index + 1].target if index + 1 < len(self.rows) else self.end

    @property
    def records(self) -> int:
        return sum(row.records for row in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedPartition:
    """Where the records of one partition went in one restore."""

    source: Generation
    target: TopicPartition
    offsets: OffsetMap
    source_range: OffsetRange | None
    """The offsets that were asked for; None where the file does not say."""
    complete: bool
    """False when the restore ended before all of them were in the target."""
    target_topic_id: str | None = None
    """The topic that was restored into: the map holds for no other of its name. None where it is not told."""


Pair = tuple[TopicPartition, TopicPartition]
"""A source partition and a target partition."""
MappedPartitions = dict[Pair, MappedPartition]


class OffsetMapBuilder:
    """Collects rows in order; neighbours that continue each other on both sides become one row."""

    def __init__(self, rows: Iterable[MapRow] = ()) -> None:
        self._rows = list(rows)

    def add(self, source: int, target: int, count: int) -> None:
        """Raises ValueError when the row does not lie behind the last one on both sides."""
        if count <= 0:
            return
        if self._rows:
            last = self._rows[-1]
            source_end, target_end = last.source + last.records, last.target + last.records
            if source < source_end or target < target_end:
                raise ValueError(f"row {source}->{target} does not follow {last}")
            if source == source_end and target == target_end:
                self._rows[-1] = MapRow(last.source, last.target, last.records + count)
                return
        self._rows.append(MapRow(source, target, count))

    def rows(self) -> tuple[MapRow, ...]:
        return tuple(self._rows)

    def build(self, end: int) -> OffsetMap:
        return OffsetMap(tuple(self._rows), end)

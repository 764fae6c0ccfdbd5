"""Holding two streams of batches against each other, record by record. Pure but for the streams it is given.

Where both sides show a batch with equal facts and equal payload bytes, all its records are equal and none is decoded;
only where batch borders differ are records opened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kafkeep.kafka.wire.batch import HEADER_SIZE
from kafkeep.kafka.wire.records import Record, decode
from kafkeep.model import CODEC_MASK, BatchInfo

ExpectedOffset = Callable[[int], int | None]
"""Target offset at which the record of a source offset must be; None where only the order counts, `NOWHERE` when it was
not restored."""
NOWHERE = -1

_SHOWN_BYTES = 48


@dataclass(frozen=True, slots=True)
class Found:
    """A difference between two records, or a record that has no partner."""

    what: str
    source_offset: int | None
    target_offset: int | None
    expected: str
    found: str


class Side:
    """One stream: whole batches while nobody looked inside, records once a batch was opened."""

    def __init__(self, batches: Iterator[tuple[BatchInfo, memoryview]], start: int, stop: int) -> None:
        self._batches = batches
        self._start = start
        self._stop = stop
        self._batch: tuple[BatchInfo, memoryview] | None = None
        self._records: deque[Record] = deque()

    def batch(self) -> tuple[BatchInfo, memoryview] | None:
        """The next batch when it is unopened and lies inside the range as a whole."""
        self._advance()
        if self._records or self._batch is None:
            return None
        info, _ = self._batch
        return (
            self._batch
            if info.magic == 2 and self._start <= info.base_offset and info.last_offset < self._stop
            else None
        )

    def skip_batch(self) -> None:
        self._batch = None

    def record(self) -> Record | None:
        """The next record; None at the end."""
        while not self._records:
            self._advance()
            if self._batch is None:
                return None
            info, batch = self._batch
            self._batch = None
            self._records.extend(r for r in decode(batch, info) if self._start <= r.offset < self._stop)
        return self._records[0]

    def skip_record(self) -> None:
        self._records.popleft()

    def _advance(self) -> None:
        if not self._records and self._batch is None:
            self._batch = next(self._batches, None)


@dataclass(slots=True)
class Tally:
    records: int = 0
    size_bytes: int = 0


def align(source: Side, target: Side, expected: ExpectedOffset, tally: Tally) -> Iterator[Found]:
    """Yields every difference; counts what is equal in `tally`."""
    while True:
        if (size := _equal_batches(source, target, expected)) is not None:
            tally.records += size[0]
            tally.size_bytes += size[1]
            continue
        mine, theirs = source.record(), target.record()
        if mine is None and theirs is None:
            return
        found = list(_compare(mine, theirs, expected))
        yield from found
        if mine is not None and theirs is not None and not found:
            tally.records += 1
            tally.size_bytes += len(mine.key or b"") + len(mine.value or b"")
        gone = {difference.what for difference in found}
        if mine is not None and "extra" not in gone:
            source.skip_record()
        if theirs is not None and "missing" not in gone:
            target.skip_record()


def _equal_batches(source: Side, target: Side, expected: ExpectedOffset) -> tuple[int, int] | None:
    """(records, bytes) of a pair of batches that are equal as a whole, both taken; None when they must be opened."""
    mine, theirs = source.batch(), target.batch()
    if mine is None or theirs is None:
        return None
    (info, batch), (other, other_batch) = mine, theirs
    same = (
        info.batch_length == other.batch_length
        and info.record_count == other.record_count
        and info.last_offset_delta == other.last_offset_delta
        and not info.has_holes
        and info.attributes & CODEC_MASK == other.attributes & CODEC_MASK
        and not (info.is_log_append_time or other.is_log_append_time)
        and info.base_timestamp == other.base_timestamp
        and info.max_timestamp == other.max_timestamp
        and expected(info.base_offset) in (None, other.base_offset)
        and expected(info.last_offset) in (None, other.last_offset)
    )
    # Copies, because comparing memoryviews goes element by element; two copies and a memcmp run at memory speed.
    if not same or bytes(batch[HEADER_SIZE:]) != bytes(other_batch[HEADER_SIZE:]):
        return None
    source.skip_batch()
    target.skip_batch()
    return info.record_count, info.size


def _compare(mine: Record | None, theirs: Record | None, expected: ExpectedOffset) -> Iterator[Found]:
    place = None if mine is None else expected(mine.offset)
    if mine is None or theirs is None:
        if mine is not None:
            yield Found("missing", mine.offset, None if place == NOWHERE else place, _shown(mine), "no record")
        elif theirs is not None:
            yield Found("extra", None, theirs.offset, "no record", _shown(theirs))
        return
    if place == NOWHERE:
        yield Found("missing", mine.offset, None, _shown(mine), "it was not restored")
        return
    if place is not None and theirs.offset > place:
        yield Found("missing", mine.offset, place, _shown(mine), f"the next record is at {theirs.offset}")
        return
    if place is not None and theirs.offset < place:
        yield Found("extra", None, theirs.offset, f"the next record at {place}", _shown(theirs))
        return
    for what in ("timestamp", "key", "value", "headers"):
        wanted, found = getattr(mine, what), getattr(theirs, what)
        if wanted != found:
            yield Found(what, mine.offset, theirs.offset, _text(wanted), _text(found))


def _shown(record: Record) -> str:
    return f"key {_text(record.key)}, value {_text(record.value)}, timestamp {record.timestamp}"


def _text(value: object) -> str:
    """A short text for people; long bytes are cut and say how long they are."""
    if isinstance(value, bytes) and len(value) > _SHOWN_BYTES:
        return f"{value[:_SHOWN_BYTES]!r}… ({len(value)} bytes)"
    if isinstance(value, tuple):
        return "[" + ", ".join(f"{_text(name)}: {_text(content)}" for name, content in value) + "]"
    return "null" if value is None else repr(value)

"""Holding two streams of batches against each other, record by record. Pure but for the streams it is given.

Where both sides show a batch with equal facts and equal payload bytes, all its records are equal and none is decoded;
only where batch borders differ are records opened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from kafkeep.kafka.wire.batch import HEADER_SIZE
from kafkeep.kafka.wire.records import Record, decode
from kafkeep.model import CODEC_MASK, BatchInfo
from kafkeep.records import dataclass

ExpectedOffset = Callable[[int], int | None]
"""Target offset at which the record of a source offset must be; None where only the order counts, `NOWHERE` when it was
not restored."""
NOWHERE = -1

_SHOWN_BYTES = 48


class Piece(NamedTuple):
    """A whole batch, checked against its CRC, of which the records with offsets in `[start, stop)` count."""

    info: BatchInfo
    batch: memoryview
    start: int
    stop: int

    @property
    def whole(self) -> bool:
        """True when all its records count. A message of magic 0 or 1 does not tell where it begins."""
        info = self.info
        return info.magic == 2 and self.start <= info.base_offset and info.last_offset < self.stop


@dataclass(frozen=True, slots=True)
class Found:
    """A difference between two records, or a record that has no partner."""

    what: str
    source_offset: int | None
    target_offset: int | None
    expected: str
    found: str


class Excuses(Protocol):
    """What may explain that a record of the source side has no partner."""

    def missing(self, record: Record) -> bool:
        """True when the record is excused, which counts it."""

    def passed(self, record: Record) -> None:
        """A record that is not missing, of either side."""

    def passed_whole(self, piece: Piece) -> None:
        """A batch that is equal on both sides and was not opened."""


class Side:
    """One stream: whole batches while nobody looked inside, records once a batch was opened."""

    def __init__(self, pieces: Iterator[Piece]) -> None:
        self._pieces = pieces
        self._piece: Piece | None = None
        self.opened: deque[Record] = deque()
        """The records of an opened batch that are not settled yet."""

    def batch(self) -> Piece | None:
        """The next batch when it is unopened and counts as a whole."""
        self._advance()
        if self.opened or self._piece is None:
            return None
        return self._piece if self._piece.whole else None

    def skip_batch(self) -> None:
        self._piece = None

    def record(self) -> Record | None:
        """The next record; None at the end."""
        while not self.opened:
            self._advance()
            if self._piece is None:
                return None
            info, batch, start, stop = self._piece
            self._piece = None
            self.opened.extend(r for r in decode(batch, info) if start <= r.offset < stop)
        return self.opened[0]

    def skip_record(self) -> None:
        self.opened.popleft()

    def _advance(self) -> None:
        if not self.opened and self._piece is None:
            self._piece = next(self._pieces, None)


@dataclass(slots=True)
class Tally:
    records: int = 0
    size_bytes: int = 0


def align(
    source: Side,
    target: Side,
    expected: ExpectedOffset,
    tally: Tally,
    *,
    same_log: bool = False,
    excuses: Excuses | None = None,
) -> Iterator[Found]:
    """Yields every difference that is not excused; counts what is equal in `tally`.

    Args:
        same_log: Both sides show one and the same log at equal offsets: batches are then equal when base offset, length,
            count of records, last offset and CRC are, because the CRC covers all else that the two could differ in.
    """
    equal = _same_log_batches if same_log else _equal_batches
    while True:
        _settle_equal_records(source, target, expected, tally, excuses)
        mine_whole, their_whole = source.batch(), target.batch()
        if mine_whole is not None and their_whole is not None and equal(mine_whole, their_whole, expected):
            tally.records += mine_whole.info.record_count
            tally.size_bytes += mine_whole.info.size
            if excuses is not None:
                excuses.passed_whole(mine_whole)
            source.skip_batch()
            target.skip_batch()
            continue
        mine, theirs = source.record(), target.record()
        if mine is None and theirs is None:
            return
        yield from _pair(source, target, mine, theirs, expected, tally, excuses)


def _settle_equal_records(
    source: Side, target: Side, expected: ExpectedOffset, tally: Tally, excuses: Excuses | None
) -> None:
    """Takes equal records off both sides, as far as both are opened."""
    mine_all, their_all = source.opened, target.opened
    while mine_all and their_all:
        mine, theirs = mine_all[0], their_all[0]
        place = expected(mine.offset)
        if place not in (None, theirs.offset) or mine[1:] != theirs[1:]:
            return
        mine_all.popleft()
        their_all.popleft()
        tally.records += 1
        tally.size_bytes += len(mine.key or b"") + len(mine.value or b"")
        if excuses is not None:
            excuses.passed(theirs)


def _pair(
    source: Side,
    target: Side,
    mine: Record | None,
    theirs: Record | None,
    expected: ExpectedOffset,
    tally: Tally,
    excuses: Excuses | None,
) -> Iterator[Found]:
    """The differences of the two records at hand; takes those that are settled."""
    found = list(_compare(mine, theirs, expected))
    gone = {difference.what for difference in found}
    if mine is not None and "missing" in gone and excuses is not None and excuses.missing(mine):
        found = []
    yield from found
    if mine is not None and theirs is not None and not gone:
        tally.records += 1
        tally.size_bytes += len(mine.key or b"") + len(mine.value or b"")
    if mine is not None and "extra" not in gone:
        source.skip_record()
        if excuses is not None and "missing" not in gone:
            excuses.passed(mine)
    if theirs is not None and "missing" not in gone:
        target.skip_record()
        if excuses is not None:
            excuses.passed(theirs)


def _same_log_batches(mine: Piece, theirs: Piece, expected: ExpectedOffset) -> bool:
    """Both batches lie at one place of one log, and their CRCs, which have been verified, are equal.

    Outside the CRC are base offset, length, leader epoch and magic (clients/common/record/DefaultRecordBatch.java).
    """
    info, other = mine.info, theirs.info
    return (
        info.base_offset == other.base_offset
        and info.crc == other.crc
        and info.batch_length == other.batch_length
        and info.record_count == other.record_count
        and info.last_offset_delta == other.last_offset_delta
    )


def _equal_batches(mine: Piece, theirs: Piece, expected: ExpectedOffset) -> bool:
    """True for a pair of batches that hold equal records, whatever a restore has changed in the header."""
    (info, batch, _, _), (other, other_batch, _, _) = mine, theirs
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
    # A bytearray compares itself with any buffer by memcmp; memoryviews compare element by element.
    return same and bytearray(batch[HEADER_SIZE:]) == other_batch[HEADER_SIZE:]


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
            yield Found(what, mine.offset, theirs.offset, text(wanted), text(found))


def _shown(record: Record) -> str:
    return f"key {text(record.key)}, value {text(record.value)}, timestamp {record.timestamp}"


def text(value: object) -> str:
    """A short text for people; long bytes are cut and say how long they are."""
    if isinstance(value, bytes) and len(value) > _SHOWN_BYTES:
        return f"{value[:_SHOWN_BYTES]!r}… ({len(value)} bytes)"
    if isinstance(value, tuple):
        return "[" + ", ".join(f"{text(name)}: {text(content)}" for name, content in value) + "]"
    return "null" if value is None else repr(value)

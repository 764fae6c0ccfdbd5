"""What the source may rightly have done since the recovery point, and what of it shows. Pure.

A log keeps changing after a backup: transactions that were open are decided, retention moves the log start, compaction
removes records that later ones with the same key supersede. None of this is a difference, and none of it may hide one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field

from kafkeep.compare.align import Found, Piece, text
from kafkeep.kafka.wire.records import Record, decode
from kafkeep.model import BatchInfo, HeldBack, OffsetRange, RunRef
from kafkeep.records import dataclass

MOST_KEY_BYTES = 16 * 1024 * 1024
"""Memory for keys of removed records that wait for a later record to show them."""
MOST_OPENED_BYTES = 64 * 1024 * 1024
"""Bytes of batches that are opened for nothing but the search of these keys."""

_ENTRY_BYTES = 100
"""What an entry takes besides its key."""
_NO_EPOCH = -1


@dataclass(slots=True)
class LiveFilter:
    """Takes out of the source's batches what the point does not hold by its own word, and counts it."""

    gaps: Sequence[OffsetRange]
    """In offset order."""
    left_out: Sequence[HeldBack]
    """Transactions that were undecided at the point, or that it leaves out."""
    decided: int = 0
    in_gaps: int = 0

    def __call__(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        if not self.gaps and not self.left_out:
            return pieces
        return self._filtered(pieces)

    def _filtered(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        for piece in pieces:
            if self._is_left_out(piece.info):
                self.decided += count(piece)
            else:
                yield from self._around_gaps(piece)

    def _is_left_out(self, info: BatchInfo) -> bool:
        return info.is_transactional and any(
            entry.producer_id == info.producer_id and entry.start <= info.base_offset < entry.stop
            for entry in self.left_out
        )

    def _around_gaps(self, piece: Piece) -> Iterator[Piece]:
        """The parts of a batch that lie outside of the gaps."""
        position = piece.start
        first = (
            bisect_right(self.gaps, piece.info.base_offset, key=lambda gap: gap.stop) if piece.info.magic == 2 else 0
        )
        for gap in self.gaps[first:]:
            if gap.start > piece.info.last_offset:
                break
            if gap.stop <= position:
                continue
            if position < gap.start:
                yield piece._replace(start=position, stop=min(gap.start, piece.stop))
            self.in_gaps += count(piece._replace(start=max(position, gap.start), stop=min(gap.stop, piece.stop)))
            position = gap.stop
        if position < piece.stop and position <= piece.info.last_offset:
            yield piece._replace(start=position)


def count(piece: Piece) -> int:
    """Records of a batch that count; it is opened only when some do not."""
    if piece.whole:
        return piece.info.record_count
    return sum(piece.start <= record.offset < piece.stop for record in decode(piece.batch, piece.info))


def undecided_at(runs: Sequence[RunRef], stop: int) -> tuple[HeldBack, ...]:
    """Transactions open at the end of the runs: the point holds none of their data, and they may be committed since."""
    if not runs:
        return ()
    return tuple(HeldBack(entry.producer_id, entry.first_offset, stop) for entry in runs[-1].facts.open_transactions)


class Epochs:
    """Under which leader epochs the archive's batches were written, held against those of the source.

    A log that was truncated and written again holds other leader epochs at the same offsets (KIP-101, KIP-279).
    """

    def __init__(self, runs: Sequence[RunRef]) -> None:
        told = [(first, epoch) for run in runs for epoch, first in run.facts.leader_epochs]
        self._firsts = [first for first, _ in told]
        self._epochs = [epoch for _, epoch in told]
        self.diverging: tuple[int, int, int] | None = None
        """(offset, the point's epoch, the source's epoch) where they first differ."""

    def look(self, info: BatchInfo) -> None:
        """A batch of the source, in offset order."""
        at = bisect_right(self._firsts, info.base_offset) - 1
        if self.diverging is not None or at < 0 or info.magic != 2:
            return
        expected = self._epochs[at]
        if expected != info.leader_epoch and _NO_EPOCH not in (expected, info.leader_epoch):
            self.diverging = (info.base_offset, expected, info.leader_epoch)


@dataclass(slots=True)
class SinceCut:
    """Excuses records of the point that the source no longer has.

    With retention: those in front of its log start, which may move during the comparison. With compaction: those that
    a later record with the same key supersedes. The keys of removed records wait, up to a limit, until such a record
    passes; tombstones and records without a key go by rule (core/log/LogCleaner.scala), and need none.
    """

    log_start: Callable[[], int]
    compacts: Callable[[int], bool]
    """Whether compaction may have taken the record at an offset."""
    most_key_bytes: int = MOST_KEY_BYTES
    most_opened_bytes: int = MOST_OPENED_BYTES
    compacted: int = 0
    not_proven: int = 0
    _waiting: dict[bytes, int] = field(default_factory=dict)
    """The last offset at which a removed record of the key was."""
    _key_bytes: int = 0
    _opened_bytes: int = 0
    _overlooked: bool = False
    """True once a batch went by unopened while keys were waiting."""

    @property
    def is_waiting(self) -> bool:
        """True while removed records wait for a later one and the search has not come to its limit."""
        return bool(self._waiting) and self._opened_bytes < self.most_opened_bytes

    def missing(self, record: Record) -> bool:
        if record.offset < self.log_start():
            return True
        if not self.compacts(record.offset):
            return False
        self.compacted += 1
        self.passed(record)
        if record.key is None or record.value is None:
            return True
        cost = len(record.key) + _ENTRY_BYTES
        if self._key_bytes + cost > self.most_key_bytes:
            self.not_proven += 1
        else:
            self._waiting[record.key] = record.offset
            self._key_bytes += cost
        return True

    def passed(self, record: Record) -> None:
        if record.key is not None and self._waiting.pop(record.key, None) is not None:
            self._key_bytes -= len(record.key) + _ENTRY_BYTES

    def passed_whole(self, piece: Piece) -> None:
        if self.is_waiting:
            self._opened_bytes += piece.info.size
            for record in decode(piece.batch, piece.info):
                self.passed(record)
        elif self._waiting:
            self._overlooked = True

    def settle(self, *, all_seen: bool) -> Iterator[Found]:
        """What became of the keys that still wait.

        Args:
            all_seen: Every record that may ever have been written behind them was seen, so compaction took none of these.
        """
        waiting, self._waiting = self._waiting, {}
        if not all_seen or self._overlooked:
            self.not_proven += len(waiting)
            return
        self.compacted -= len(waiting)
        for key, offset in waiting.items():
            yield Found("missing", offset, offset, f"key {text(key)}, which no later record supersedes", "no record")

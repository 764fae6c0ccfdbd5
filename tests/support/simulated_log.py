"""A partition's log as a broker keeps it, with the truth beside it record by record.

Batches are bytes as on the wire; what each holds, and what became of its transaction, is kept apart, so that a test can
say what a consumer sees without asking kafkeep's own code.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fastcrc import crc32
from kafka.record.default_records import DefaultRecordBatchBuilder
from tests.support.batches import around, built, patched

from kafkeep.kafka.wire import codecs
from kafkeep.kafka.wire.batch import HEADER, HEADER_SIZE
from kafkeep.kafka.wire.records import Record
from kafkeep.model import CONTROL_BIT, TRANSACTIONAL_BIT, BatchInfo

ABORT, COMMIT = 0, 1
NO_PRODUCER = -1


@dataclass(slots=True, eq=False)
class Transaction:
    producer_id: int
    first_offset: int
    decision: int | None = None
    """None while it is open, else the marker's type."""


@dataclass(slots=True)
class Entry:
    """A batch of the log and what it holds."""

    base: int
    following: int
    data: bytes
    records: tuple[Record, ...]
    transaction: Transaction | None = None
    codec: int = 0

    @property
    def info(self) -> BatchInfo:
        return BatchInfo._make(HEADER.unpack_from(self.data))


class Aborted(NamedTuple):
    """A line of the broker's transaction index."""

    producer_id: int
    first: int
    last: int


@dataclass(slots=True)
class Sequence5:
    """What a broker remembers of an idempotent producer: epoch and its last five batches."""

    epoch: int
    batches: deque[tuple[int, int, int]] = field(default_factory=lambda: deque(maxlen=5))
    """(first sequence, last sequence, base offset)."""


def record(
    value: bytes | None,
    *,
    key: bytes | None = None,
    timestamp: int = 0,
    headers: Iterable[tuple[bytes, bytes | None]] = (),
) -> Record:
    """A record that has no offset yet."""
    return Record(-1, timestamp, key, value, tuple(headers))


class SimulatedLog:
    def __init__(self, *, start: int = 0) -> None:
        self.entries: list[Entry] = []
        self.start = start
        self.end = start
        self.leader_epoch = 0
        self.epochs: list[tuple[int, int]] = []
        """(leader epoch, its first offset)."""
        self.index: list[Aborted] = []
        self.ongoing: dict[int, Transaction] = {}
        self.producer_epochs: dict[int, int] = {}
        self.local_start = start
        """First offset on the leader's own disk; what lies before comes out of a remote tier."""
        self.borders: set[int] = set()
        """First offsets of log segments: an answer never crosses one."""
        self.producers: dict[int, Sequence5] = {}

    # --- writing

    def append(
        self, records: Sequence[Record], *, codec: int = 0, producer_id: int = NO_PRODUCER, transactional: bool = False
    ) -> Entry:
        """A batch of a producer the broker trusts."""
        transaction = None
        if transactional:
            transaction = self.ongoing.setdefault(producer_id, Transaction(producer_id, self.end))
        placed = tuple(r._replace(offset=self.end + at) for at, r in enumerate(records))
        return self._write(placed, self.end + len(records), codec, producer_id, transaction)

    def decide(self, producer_id: int, decision: int, *, raise_epoch: bool = False) -> Entry:
        """Ends the producer's transaction by a marker; with transaction.version 2 the marker's epoch is one higher."""
        if raise_epoch:
            self.producer_epochs[producer_id] = self.producer_epochs.get(producer_id, 0) + 1
        transaction = self.ongoing.pop(producer_id, None)
        if transaction is not None:
            transaction.decision = decision
            if decision == ABORT:
                self.index.append(Aborted(producer_id, transaction.first_offset, self.end))
        marker = built([Record(0, 0, struct.pack(">hh", 0, decision), struct.pack(">hi", 0, 0), ())])
        data = patched(
            marker,
            base_offset=self.end,
            leader_epoch=self.leader_epoch,
            attributes=TRANSACTIONAL_BIT | CONTROL_BIT,
            producer_id=producer_id,
            producer_epoch=self.producer_epochs.get(producer_id, 0),
        )
        return self._add(Entry(self.end, self.end + 1, data, ()))

    def _write(
        self, records: tuple[Record, ...], following: int, codec: int, producer_id: int, transaction: Transaction | None
    ) -> Entry:
        data = self._batch(self.end, following, records, codec, producer_id, transaction is not None, self.leader_epoch)
        return self._add(Entry(self.end, following, data, records, transaction, codec))

    def _batch(
        self,
        base: int,
        following: int,
        records: Sequence[Record],
        codec: int,
        producer_id: int,
        transactional: bool,
        leader_epoch: int,
    ) -> bytes:
        payload = _payload(base, records)
        stamps = [r.timestamp for r in records]
        return around(
            codecs.compress(codec, payload) if records else b"",
            base_offset=base,
            leader_epoch=leader_epoch,
            attributes=codec | (TRANSACTIONAL_BIT if transactional else 0),
            last_offset_delta=following - base - 1,
            base_timestamp=stamps[0] if stamps else -1,
            max_timestamp=max(stamps, default=-1),
            producer_id=producer_id,
            producer_epoch=self.producer_epochs.get(producer_id, 0) if producer_id >= 0 else -1,
            record_count=len(records),
        )

    def _add(self, entry: Entry) -> Entry:
        if not self.epochs or self.epochs[-1][0] != self.leader_epoch:
            self.epochs.append((self.leader_epoch, self.end))
        self.entries.append(entry)
        self.end = entry.following
        return entry

    def roll(self) -> None:
        """What comes next goes into a new log segment."""
        self.borders.add(self.end)

    def new_leader(self) -> None:
        self.leader_epoch += 1

    # --- losing

    def delete_records(self, offset: int) -> None:
        """The log starts at `offset`; a batch that it cuts through stays as bytes."""
        self.start = max(self.start, min(offset, self.end))
        self.entries = [entry for entry in self.entries if entry.following > self.start]

    def compact(self, keeps: Callable[[Record], bool], *, below: int) -> None:
        """Drops records from the batches that end at or below `below`; markers and decided order stay, batches that lose
        everything vanish, except those that the cleaner keeps as empty ones for their producer's sake.
        """
        kept: list[Entry] = []
        for entry in self.entries:
            aborted = entry.transaction is not None and entry.transaction.decision == ABORT
            undecided = entry.transaction is not None and entry.transaction.decision is None
            if entry.following > min(below, self.last_stable) or not entry.records or undecided:
                kept.append(entry)
                continue
            left = () if aborted else tuple(r for r in entry.records if keeps(r))
            info = entry.info
            if not left and (info.producer_id < 0 or entry.base % 2):
                continue
            data = self._batch(
                entry.base,
                entry.following,
                left,
                entry.codec,
                info.producer_id,
                info.is_transactional,
                info.leader_epoch,
            )
            kept.append(Entry(entry.base, entry.following, data, left, entry.transaction, entry.codec))
        self.entries = kept

    def truncate(self, offset: int) -> None:
        """Another history goes on from `offset` (or the batch border below it) under a new leader epoch."""
        self.entries = [entry for entry in self.entries if entry.following <= max(offset, self.start)]
        self.end = self.entries[-1].following if self.entries else self.start
        self.ongoing = {p: t for p, t in self.ongoing.items() if t.first_offset < self.end}
        self.index = [line for line in self.index if line.last < self.end]
        self.epochs = [(epoch, first) for epoch, first in self.epochs if first < self.end]
        self.borders = {border for border in self.borders if border <= self.end}
        self.leader_epoch += 1

    # --- reading

    @property
    def last_stable(self) -> int:
        return min((t.first_offset for t in self.ongoing.values()), default=self.end)

    def read(self, offset: int, *, most: int, upto: int, whole_first: bool) -> bytes:
        """From the batch that holds `offset` on to `upto`, inside one log segment, cut anywhere after `most` bytes."""
        chosen: list[Entry] = []
        for entry in self.entries:
            if entry.following <= offset or entry.base >= upto:
                continue
            if chosen and any(chosen[0].base < border <= entry.base for border in self.borders):
                break
            chosen.append(entry)
        data = b"".join(entry.data for entry in chosen)
        if not chosen or (not whole_first and most <= 0):
            return b""
        return data[: max(most, len(chosen[0].data))] if whole_first else data[:most]

    def aborted_from(self, offset: int, upper: int) -> list[Aborted]:
        """What the transaction index gives for a read from `offset` (core/log/LocalLog.scala)."""
        return [line for line in self.index if line.last >= offset and line.first < upper]

    def epoch_end(self, epoch: int) -> tuple[int, int] | None:
        """(largest known epoch at or below `epoch`, where its history ends)."""
        known = [at for at in self.epochs if at[0] <= epoch]
        if not known:
            return None
        later = [first for other, first in self.epochs if other > known[-1][0]]
        return known[-1][0], later[0] if later else self.end

    def visible(self, start: int, stop: int) -> list[Record]:
        """What a read_committed consumer sees of `[start, stop)` at this moment."""
        return [
            r
            for entry in self.entries
            if entry.transaction is None or entry.transaction.decision == COMMIT
            for r in entry.records
            if start <= r.offset < stop
        ]

    # --- what a leader does with a client's batch (storage/internals/log/ProducerAppendInfo.java, LogValidator.java)

    def produce(self, data: bytes) -> tuple[int, int]:
        """(error code, base offset) of a batch from a client."""
        info = BatchInfo._make(HEADER.unpack_from(data))
        if info.size != len(data) or info.magic != 2 or info.base_offset != 0 or info.attributes & ~7:
            return 87, -1
        if crc32.iscsi(data[21:]) != info.crc:
            return 2, -1
        if info.record_count < 1 or info.last_offset_delta + 1 != info.record_count:
            return 87, -1
        code, repeated = self._check_sequence(info)
        if code or repeated is not None:
            return code, -1 if repeated is None else repeated
        base = self.end
        placed = patched(data, base_offset=base, leader_epoch=self.leader_epoch)
        self._add(Entry(base, base + info.record_count, placed, ()))
        if info.producer_id >= 0:
            last = (info.base_sequence + info.record_count - 1) % 2**31
            self.producers[info.producer_id].batches.append((info.base_sequence, last, base))
        return 0, base

    def _check_sequence(self, info: BatchInfo) -> tuple[int, int | None]:
        if info.producer_id < 0:
            return 0, None
        if info.base_sequence < 0:
            return 87, None
        known = self.producers.setdefault(info.producer_id, Sequence5(info.producer_epoch))
        if info.producer_epoch < known.epoch:
            return 47, None
        last = (info.base_sequence + info.record_count - 1) % 2**31
        for first, end, base in known.batches:
            if (first, end) == (info.base_sequence, last):
                return 0, base
        if known.batches and info.base_sequence != (known.batches[-1][1] + 1) % 2**31:
            return 45, None
        return 0, None


def _payload(base: int, records: Sequence[Record]) -> bytes:
    if not records:
        return b""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 30,
    )
    for r in records:
        headers = [(key.decode(), value) for key, value in r.headers]
        assert builder.append(r.offset - base, r.timestamp, r.key, r.value, headers) is not None
    return bytes(builder.build())[HEADER_SIZE:]

"""What is known of a run or a chunk from its batch headers alone. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kafkeep.batch_rows import Summary, kinds_of, summary
from kafkeep.errors import CorruptBatch
from kafkeep.model import (
    CODEC_MASK,
    LOG_APPEND_TIME_BIT,
    AbortedTransaction,
    BatchInfo,
    Generation,
    OffsetRange,
    RunFacts,
)


class PieceFacts(NamedTuple):
    """Some batches in a row."""

    first: int
    """Base offset of the first."""
    stop: int
    """One past the last offset of the last."""
    max_timestamp: int | None
    """Of the data batches; None without any."""
    batches: int
    records: int
    plain: bool
    """No batch is compressed by its producer."""


class FactsBuilder:
    """Adds up a run, piece by piece, and refuses batches that do not follow one another."""

    def __init__(self, generation: Generation, start: int) -> None:
        self.generation = generation
        self.start = start
        self.stop = start
        """One past the last offset seen, `start` before any batch."""
        self.batches = 0
        self._records = 0
        self._control_batches = 0
        self._raw_bytes = 0
        self._largest = 0
        self._min_base_timestamp: int | None = None
        self._max_timestamp: int | None = None
        self._kinds = 0
        self._old_magic = False
        self._holes = False
        self._epochs: list[tuple[int, int]] = []

    def add(self, infos: Sequence[BatchInfo], known: Summary | None = None) -> PieceFacts:
        """Take the batches that come next, whose summary may be known. Raises `CorruptBatch` when one begins before the
        one before it ends.
        """
        told = summary(infos) if known is None else known
        # the first batch of a run may begin before it: the log start can lie inside a batch (DeleteRecords)
        in_place = infos[0].next_offset > self.start if self.batches == 0 else told.first >= self.stop
        if not in_place or not told.rises:
            raise CorruptBatch(
                f"batches of {self.generation} at offset {told.first} do not rise from offset {self.stop} on"
            )
        self._control_batches += told.batches - told.data_batches
        if told.data_batches:
            self._add_data(told)
        self.batches += told.batches
        self._raw_bytes += told.raw_bytes
        self._largest = max(self._largest, told.largest)
        self._add_epochs(told, infos)
        self.stop = told.stop
        newest = told.newest if told.data_batches else None
        return PieceFacts(told.first, told.stop, newest, told.batches, told.records, not told.attributes & CODEC_MASK)

    def _add_data(self, told: Summary) -> None:
        self._records += told.records
        if self._min_base_timestamp is None or told.oldest < self._min_base_timestamp:
            self._min_base_timestamp = told.oldest
        if self._max_timestamp is None or told.newest > self._max_timestamp:
            self._max_timestamp = told.newest
        self._holes = self._holes or told.holes
        self._kinds |= told.kinds
        self._old_magic = self._old_magic or told.old_magic

    def _add_epochs(self, told: Summary, infos: Sequence[BatchInfo]) -> None:
        last = self._epochs[-1][0] if self._epochs else None
        if told.one_epoch:
            if told.epoch != last:
                self._epochs.append((told.epoch, told.first))
            return
        for info in infos:
            if info.leader_epoch != last:
                last = info.leader_epoch
                self._epochs.append((last, info.base_offset))

    def facts(
        self,
        stop: int,
        *,
        stored_bytes: int,
        blake3: str,
        aborted: Iterable[AbortedTransaction] = (),
        open_transactions: Iterable[AbortedTransaction] = (),
    ) -> RunFacts:
        """The run with coverage `[start, stop)`."""
        kinds = kinds_of(self._kinds)
        return RunFacts(
            generation=self.generation,
            coverage=OffsetRange(self.start, stop),
            leader_epochs=tuple(self._epochs),
            batches=self.batches,
            records=self._records,
            control_batches=self._control_batches,
            raw_bytes=self._raw_bytes,
            stored_bytes=stored_bytes,
            min_base_timestamp=-1 if self._min_base_timestamp is None else self._min_base_timestamp,
            max_timestamp=-1 if self._max_timestamp is None else self._max_timestamp,
            log_append_time=any(kind & LOG_APPEND_TIME_BIT for kind in kinds),
            create_time=any(not kind & LOG_APPEND_TIME_BIT for kind in kinds),
            largest_batch=self._largest,
            codecs=tuple(sorted({kind & CODEC_MASK for kind in kinds})),
            aborted=tuple(sorted(set(aborted))),
            open_transactions=tuple(sorted(set(open_transactions))),
            holes=self._holes,
            old_magic=self._old_magic,
            blake3=blake3,
        )

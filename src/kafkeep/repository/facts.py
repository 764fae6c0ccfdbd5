"""What is known of a run or a chunk from its batch headers alone, at the cost of a few C calls per batch. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from operator import add, gt, sub
from typing import NamedTuple

from kafkeep.errors import CorruptBatch
from kafkeep.model import (
    CODEC_MASK,
    CONTROL_BIT,
    DELETE_HORIZON_BIT,
    LOG_APPEND_TIME_BIT,
    AbortedTransaction,
    BatchInfo,
    Generation,
    OffsetRange,
    RunFacts,
)

BATCH_OVERHEAD = 12
"""Bytes of a batch before the part that its length field counts."""


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
        self._attributes: set[int] = set()
        self._magics: set[int] = set()
        self._holes = False
        self._epochs: list[tuple[int, int]] = []

    def add(self, infos: Sequence[BatchInfo]) -> PieceFacts:
        """Take the batches that come next. Raises `CorruptBatch` when one begins before the one before it ends."""
        columns = tuple(zip(*infos, strict=True))
        bases, lengths, epochs, magics, _, attributes, deltas = columns[:7]
        stops = tuple(map(add, map(add, bases, deltas), repeat(1)))
        self._check_order(bases, deltas, stops)
        kinds = set(attributes)
        data = columns
        if any(kind & CONTROL_BIT for kind in kinds):
            chosen = [info for info in infos if not info.attributes & CONTROL_BIT]
            data = tuple(zip(*chosen, strict=True))
            self._control_batches += len(infos) - len(chosen)
        records, newest = self._add_data(data, magics) if data else (0, None)
        self.batches += len(bases)
        self._raw_bytes += sum(lengths) + BATCH_OVERHEAD * len(lengths)
        self._largest = max(self._largest, max(lengths) + BATCH_OVERHEAD)
        self._add_epochs(epochs, bases)
        self.stop = stops[-1]
        plain = not any(kind & CODEC_MASK for kind in kinds)
        return PieceFacts(bases[0], stops[-1], newest, len(bases), records, plain)

    def _check_order(self, bases: Sequence[int], deltas: Sequence[int], stops: Sequence[int]) -> None:
        # the first batch of a run may begin before it: the log start can lie inside a batch (DeleteRecords)
        in_place = stops[0] > self.start if self.batches == 0 else bases[0] >= self.stop
        if not in_place or bases[0] < 0 or min(deltas) < 0 or any(map(gt, stops, bases[1:])):
            raise CorruptBatch(
                f"batches of {self.generation} at offset {bases[0]} do not rise from offset {self.stop} on"
            )

    def _add_data(self, data: Sequence[Sequence[int]], magics: Iterable[int]) -> tuple[int, int]:
        kinds, deltas, counts = set(data[5]), data[6], data[12]
        oldest, newest = min(data[7]), max(data[8])
        records = sum(counts) if min(counts) >= 0 else sum(count for count in counts if count > 0)
        self._records += records
        if self._min_base_timestamp is None or oldest < self._min_base_timestamp:
            self._min_base_timestamp = oldest
        if self._max_timestamp is None or newest > self._max_timestamp:
            self._max_timestamp = newest
        if not self._holes:
            self._holes = set(map(sub, counts, deltas)) != {1} or any(kind & DELETE_HORIZON_BIT for kind in kinds)
        self._attributes |= kinds
        self._magics.update(magics)
        return records, newest

    def _add_epochs(self, epochs: Sequence[int], bases: Sequence[int]) -> None:
        last = self._epochs[-1][0] if self._epochs else None
        if epochs[0] == last and len(set(epochs)) == 1:
            return
        for epoch, base in zip(epochs, bases, strict=True):
            if epoch != last:
                self._epochs.append((epoch, base))
                last = epoch

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
            log_append_time=any(kind & LOG_APPEND_TIME_BIT for kind in self._attributes),
            create_time=any(not kind & LOG_APPEND_TIME_BIT for kind in self._attributes),
            largest_batch=self._largest,
            codecs=tuple(sorted({kind & CODEC_MASK for kind in self._attributes})),
            aborted=tuple(sorted(set(aborted))),
            open_transactions=tuple(sorted(set(open_transactions))),
            holes=self._holes,
            old_magic=bool(self._magics - {2}),
            blake3=blake3,
        )

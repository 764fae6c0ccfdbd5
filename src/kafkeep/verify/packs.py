"""Every byte of one pack, and what the bytes mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Final

from kafkeep.errors import CorruptBatch, CorruptionError, CorruptObject, KeyRefused, StoreError, UnknownFormat
from kafkeep.model import BatchInfo, ChunkRef, OffsetRange, RunFacts
from kafkeep.repository import layout
from kafkeep.repository.catalogue import PackEntry
from kafkeep.repository.facts import FactsBuilder, PieceFacts
from kafkeep.repository.layout import RunIndex
from kafkeep.repository.reader import check_chunk, chunk_coverage, key_of, open_chunk, read_footer
from kafkeep.repository.stores.base import Store
from kafkeep.verify.report import Finding, of_all_runs

if TYPE_CHECKING:
    from kafkeep.repository.keyring import Keyring

BLOCK_BYTES: Final = 8 * 1024 * 1024

CheckBatches = Callable[[memoryview], tuple[Sequence[BatchInfo], int]]
"""Whole batches from the start of a view and the bytes they take; raises `CorruptBatch`."""


class PackCheck:
    """Every byte of one pack, and with `data` what the bytes mean."""

    def __init__(
        self,
        store: Store,
        entry: PackEntry,
        repository_id: str,
        data: bool,
        check_batches: CheckBatches,
        keyring: Keyring | None = None,
    ) -> None:
        self._keyring = keyring
        self._seal = None if keyring is None else keyring.seal
        self._entry = entry
        self._store = store
        self._repository_id = repository_id
        self._data = data
        self._check_batches = check_batches
        self._blocks = _Blocks(store, entry.name)

    def run(self) -> list[Finding]:
        try:
            footer = read_footer(self._store, self._entry, self._repository_id, self._seal)
            found = self._missing_runs(footer.runs)
            named = {run.index for run in self._entry.runs}
            for index, run in enumerate(footer.runs):
                self._blocks.limit = footer.position
                if index in named:
                    found += self._check_run(index, run)
        except (CorruptObject, UnknownFormat) as error:
            return of_all_runs(self._entry, error.message)
        except StoreError as error:
            # a store that does not answer says nothing about the pack; an unreadable sector does
            if error.retryable or type(error) is not StoreError:
                raise
            return of_all_runs(self._entry, f"it cannot be read: {error.message}")
        return found

    def _missing_runs(self, runs: tuple[RunIndex, ...]) -> list[Finding]:
        """Committed runs that the footer tells otherwise. It may hold more: those that lost a race."""
        return [
            Finding(self._entry.name, f"run {run.index} is not as committed", run.generation, run.coverage)
            for run in self._entry.runs
            if run.index >= len(runs) or runs[run.index].facts != run.facts or key_of(runs[run.index]) != run.key
        ]

    def _check_run(self, index: int, run: RunIndex) -> list[Finding]:
        facts = run.facts
        found: list[Finding] = []
        header = layout.encode_run_header(index, facts.generation, facts.coverage.start, self._seal)
        if self._blocks.get(run.position, len(header)) != header:
            found.append(
                Finding(self._entry.name, f"header of run {index} is damaged", facts.generation, facts.coverage)
            )
        builder = FactsBuilder(facts.generation, facts.coverage.start) if self._data else None
        try:
            cipher = self._keyring.open_run(run) if builder is not None and self._keyring is not None else None
        except (KeyRefused, CorruptObject) as error:
            return [*found, Finding(self._entry.name, error.message, facts.generation, facts.coverage)]
        for place, chunk in enumerate(run.chunks):
            what = f"chunk {chunk.offsets} of run {index}"
            try:
                stored = self._blocks.get(chunk.position, chunk.stored_length)
                if builder is None:
                    check_chunk(stored, chunk, what)
                else:
                    sealed = None if cipher is None else (cipher, place)
                    self._check_chunk(open_chunk(stored, chunk, what, sealed=sealed), chunk, builder, what)
            except (CorruptionError, UnknownFormat) as error:
                start, stop = chunk_coverage(run, place)
                found.append(
                    Finding(self._entry.name, error.message, facts.generation, OffsetRange(start, max(start, stop)))
                )
        if builder is not None and not found:
            found += self._compare_facts(index, run, builder)
        return found

    def _check_chunk(self, raw: memoryview, chunk: ChunkRef, builder: FactsBuilder, what: str) -> None:
        infos, used = self._check_batches(raw)
        if used != len(raw) or not infos:
            raise CorruptBatch(f"{what} does not end with a whole batch")
        piece = builder.add(infos)
        newest = -1 if piece.max_timestamp is None else piece.max_timestamp
        told = (chunk.offsets.start, chunk.offsets.stop, chunk.max_timestamp, chunk.batches, chunk.records)
        if told != _index_of(piece, newest):
            raise CorruptObject(f"{what} is not what the chunk index says")

    def _compare_facts(self, index: int, run: RunIndex, builder: FactsBuilder) -> list[Finding]:
        facts = run.facts
        computed = builder.facts(
            facts.coverage.stop,
            stored_bytes=sum(chunk.stored_length for chunk in run.chunks),
            blake3=facts.blake3,
            aborted=facts.aborted,
            open_transactions=facts.open_transactions,
        )
        wrong = [
            field.name for field in fields(RunFacts) if getattr(computed, field.name) != getattr(facts, field.name)
        ]
        if builder.stop > facts.coverage.stop:
            wrong.append("coverage")
        if not wrong:
            return []
        what = f"facts of run {index} are not those of its batches: {', '.join(wrong)}"
        return [Finding(self._entry.name, what, facts.generation, facts.coverage)]


def _index_of(piece: PieceFacts, newest: int) -> tuple[int, int, int, int, int]:
    return piece.first, piece.stop, newest, piece.batches, piece.records


class _Blocks:
    """Reads an object forward in large blocks and hands out pieces of it."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name
        self._start = 0
        self._block = memoryview(b"")
        self.limit = 0
        """Nothing is read ahead from here on."""

    def get(self, position: int, length: int) -> memoryview:
        """Fewer bytes only where the object ends."""
        if position < self._start or position + length > self._start + len(self._block):
            ahead = max(length, min(BLOCK_BYTES, self.limit - position))
            self._start, self._block = position, memoryview(self._store.get(self._name, position, ahead))
        offset = position - self._start
        return self._block[offset : offset + length]

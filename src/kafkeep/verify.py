"""Is the repository whole? Reads the store itself, never a cache, and reports instead of raising.

Levels, each with all that the ones before it check:

* `chain`: repository document, every commit, its place in the chain, the rules of the fold;
* `exist`: every pack and document that a commit names is there, a pack with its size;
* `objects`: every byte of every pack, document and report;
* `data`: every chunk opened, every batch's CRC, order and place, chunk index and run facts computed anew.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from typing import Final, TypeVar

import structlog
from blake3 import blake3

from kafkeep.errors import CorruptBatch, CorruptionError, CorruptObject, ObjectNotFound, StoreError, UnknownFormat
from kafkeep.events import EventSink, Progress, Stage, WorkPlanned, ignore
from kafkeep.kafka.wire.batch import walk
from kafkeep.model import BatchInfo, ChunkRef, Generation, OffsetRange, RunFacts
from kafkeep.repository import chain, layout
from kafkeep.repository.envelope import DOCUMENT_KINDS, digest, unwrap
from kafkeep.repository.facts import FactsBuilder, PieceFacts
from kafkeep.repository.format import RepositoryDocument, read_slot
from kafkeep.repository.layout import RunIndex
from kafkeep.repository.names import HINT_HEAD, REPOSITORY, document_name, log_name, log_number
from kafkeep.repository.objects import read_audit, read_repository_document
from kafkeep.repository.reader import chunk_coverage, open_chunk, read_footer
from kafkeep.repository.repository import Repository
from kafkeep.repository.state import EMPTY, Alarm, PackEntry, State, apply
from kafkeep.repository.stores.base import Store

log = structlog.get_logger(__name__)

T = TypeVar("T")

LEVELS: Final = ("chain", "exist", "objects", "data")
BLOCK_BYTES: Final = 8 * 1024 * 1024

CheckBatches = Callable[[memoryview], tuple[list[BatchInfo], int]]
"""Whole batches from the start of a view and the bytes they take; raises `CorruptBatch`."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Damage that two independent reads showed."""

    object: str
    what: str
    generation: Generation | None = None
    coverage: OffsetRange | None = None
    """What of the generation cannot be relied on."""


@dataclass(frozen=True, slots=True)
class VerifyReport:
    level: str
    head: int
    """The newest commit that was read; -1 when there was none."""
    objects: int
    """Objects looked at."""
    bytes: int
    """Bytes read of them, sizes at level `exist` not counted."""
    findings: tuple[Finding, ...]
    alarms: tuple[Alarm, ...]
    """Commits that can be read and break a rule."""


def verify(
    repository: Repository | Store,
    *,
    level: str = "objects",
    sink: EventSink = ignore,
    check_batches: CheckBatches = walk,
    workers: int = 2,
) -> VerifyReport:
    """Check a repository, open or just its store: a store serves also when its commit log cannot be opened any more.

    Damage becomes findings. Raises `RepositoryNotFound`, `UnknownFormat` for a repository that this version must not
    judge, `StoreError` when the store does not answer, ValueError for an unknown level.
    """
    if level not in LEVELS:
        raise ValueError(f"unknown level {level!r}")
    known = repository.state if isinstance(repository, Repository) else EMPTY
    store = repository.store if isinstance(repository, Repository) else repository
    check = _Check(store, sink, check_batches)
    document = check.repository_document()
    state = check.chain(document, known)
    depth = LEVELS.index(level)
    if depth == 1:
        check.exist(state)
    elif depth > 1 and document is not None:
        check.objects(state, document, data=depth == 3, workers=workers)
    return VerifyReport(level, state.head, check.seen, check.read, tuple(check.findings), tuple(state.alarms))


class _Check:
    """One verification: what it saw, read and found."""

    def __init__(self, store: Store, sink: EventSink, check_batches: CheckBatches) -> None:
        self._store = store
        self._sink = sink
        self._check_batches = check_batches
        self.seen = 0
        self.read = 0
        self.findings: list[Finding] = []

    def _note(self, objects: int, size: int) -> None:
        self.seen += objects
        self.read += size

    # --- the chain ---------------------------------------------------------------------------------------------------

    def repository_document(self) -> RepositoryDocument | None:
        """The repository document, None (and a finding) when it is damaged."""
        self._note(1, 0)
        try:
            document = _twice(lambda: read_repository_document(self._store))
        except CorruptionError as error:
            self.findings.append(Finding(REPOSITORY, error.message))
            return None
        document.require("verify", self._store.url)
        return document

    def chain(self, document: RepositoryDocument | None, known: State) -> State:
        """The fold over all commits up to the first that is absent or damaged."""
        self._sink(Stage("chain"))
        state = EMPTY
        while True:
            try:
                following = _twice(partial(self._next_commit, state))
            except CorruptionError as error:
                self.findings.append(Finding(log_name(state.head + 1), error.message))
                return state
            if following is None:
                break
            state = following
        if document is not None and state.repository != document:
            self.findings.append(Finding(REPOSITORY, "it is not the repository document that commit 0 holds"))
        self._check_end(state, known)
        return state

    def _next_commit(self, state: State) -> State | None:
        number = state.head + 1
        data = chain.read_commit(self._store, number)
        if data is None:
            return None
        following = apply(state, read_slot(data, number, state.head_digest, log_name(number)))
        self._note(1, len(data))
        return following

    def _check_end(self, state: State, known: State) -> None:
        """Signs that the log once was longer: none of them is needed to read it, each shows that commits were lost."""
        following = log_name(state.head + 1)
        if known.head > state.head:
            self.findings.append(Finding(following, f"it is missing: the log was read up to {known.head} before"))
        hint = chain.read_hint(self._store)
        if hint is not None and hint > max(state.head, known.head):
            self.findings.append(Finding(following, f"it is missing: {HINT_HEAD} names commit {hint}"))
        numbers = [number for info in self._store.list("log/") if (number := log_number(info.name)) is not None]
        last = max(numbers, default=-1)
        # another writer may have gone on since the chain was read: what is there now counts only after a hole
        if last > state.head and chain.read_commit(self._store, state.head + 1) is None:
            self.findings.append(Finding(following, f"it is missing although commit {last} is there"))

    # --- existence ---------------------------------------------------------------------------------------------------

    def exist(self, state: State) -> None:
        self._sink(Stage("exist"))
        for entry in state.packs:
            self._note(1, 0)
            size = self._size(entry.name)
            if size is None:
                self._found_pack(entry, "it is missing")
            elif size != entry.size:
                self._found_pack(entry, f"it is {size} bytes long, commit {entry.number} says {entry.size}")
        for _, reference in _documents(state):
            self._note(1, 0)
            name = document_name(reference)
            if self._size(name) is None:
                self.findings.append(Finding(name, "it is missing"))

    def _size(self, name: str) -> int | None:
        """Its size, None when the store says twice that it is absent."""
        for _ in range(2):
            try:
                return self._store.head(name).size
            except ObjectNotFound:
                continue
        return None

    def _found_pack(self, entry: PackEntry, what: str) -> None:
        self.findings += _of_all_runs(entry, what)

    # --- objects and data ----------------------------------------------------------------------------------------------

    def objects(self, state: State, document: RepositoryDocument, *, data: bool, workers: int) -> None:
        packs = list(state.packs)
        total = sum(entry.size for entry in packs)
        self._sink(WorkPlanned("verify", len(state.generations), None, total))
        self._sink(Stage("packs"))

        def check(entry: PackEntry) -> list[Finding]:
            return self._settled(lambda: _PackCheck(self._store, entry, document.id, data, self._check_batches).run())

        with ThreadPoolExecutor(workers) as pool:
            for entry, found in zip(packs, pool.map(check, packs), strict=True):
                self.findings += found
                self._note(1, entry.size)
                records = sum(run.facts.records for run in entry.runs)
                self._sink(Progress("verify", records, entry.size))
        self._sink(Stage("documents"))
        kinds = {document_name(reference): kind for kind, reference in _documents(state)}
        listed = [info.name for info in self._store.list("doc/")]
        for name in sorted({*kinds, *listed}):
            self.findings += self._settled(partial(self._document, name, kinds.get(name)))
        for name in [info.name for info in self._store.list("audit/")]:
            self.findings += self._settled(partial(self._audit, name, document.id))

    def _settled(self, check: Callable[[], list[Finding]]) -> list[Finding]:
        """What two reads both show."""
        first = check()
        if not first:
            return []
        second = check()
        log.info("damage looked at twice", first=len(first), second=len(second))
        return [finding for finding in first if finding in second]

    def _document(self, name: str, kind: str | None) -> list[Finding]:
        try:
            data = self._store.get(name)
        except ObjectNotFound:
            return [Finding(name, "it is missing")]
        self._note(1, len(data))
        if document_name(digest(data)) != name:
            return [Finding(name, "it does not match the digest it is named by")]
        if kind in DOCUMENT_KINDS:
            try:
                unwrap(data, DOCUMENT_KINDS[kind], name)
            except (CorruptObject, UnknownFormat) as error:
                return [Finding(name, error.message)]
        return []

    def _audit(self, name: str, repository_id: str) -> list[Finding]:
        self._note(1, 0)
        try:
            read_audit(self._store, name, repository_id)
        except ObjectNotFound:
            return []
        except (CorruptObject, UnknownFormat) as error:
            return [Finding(name, error.message)]
        return []


def _twice(read: Callable[[], T]) -> T:
    """The answer of the first read, or of the second when the first showed damage."""
    try:
        return read()
    except CorruptionError as error:
        log.info("damage looked at twice", reason=error.message)
        return read()


def _documents(state: State) -> list[tuple[str, str]]:
    """(kind, digest) of all documents that recovery points name, each once."""
    return sorted({reference for point in state.points for reference in point.documents})


def _of_all_runs(entry: PackEntry, what: str) -> list[Finding]:
    return [Finding(entry.name, what, run.generation, run.coverage) for run in entry.runs]


class _PackCheck:
    """Every byte of one pack, and with `data` what the bytes mean."""

    def __init__(
        self, store: Store, entry: PackEntry, repository_id: str, data: bool, check_batches: CheckBatches
    ) -> None:
        self._entry = entry
        self._store = store
        self._repository_id = repository_id
        self._data = data
        self._check_batches = check_batches
        self._blocks = _Blocks(store, entry.name)

    def run(self) -> list[Finding]:
        try:
            footer = read_footer(self._store, self._entry, self._repository_id)
            found = self._missing_runs(footer.runs)
            for index, run in enumerate(footer.runs):
                self._blocks.limit = footer.position
                found += self._check_run(index, run)
        except (CorruptObject, UnknownFormat) as error:
            return _of_all_runs(self._entry, error.message)
        except StoreError as error:
            # a store that does not answer says nothing about the pack; an unreadable sector does
            if error.retryable or type(error) is not StoreError:
                raise
            return _of_all_runs(self._entry, f"it cannot be read: {error.message}")
        return found

    def _missing_runs(self, runs: tuple[RunIndex, ...]) -> list[Finding]:
        """Committed runs that the footer tells otherwise. It may hold more: those that lost a race."""
        return [
            Finding(self._entry.name, f"run {run.index} is not as committed", run.generation, run.coverage)
            for run in self._entry.runs
            if run.index >= len(runs) or runs[run.index].facts != run.facts
        ]

    def _check_run(self, index: int, run: RunIndex) -> list[Finding]:
        facts = run.facts
        found: list[Finding] = []
        header = layout.encode_run_header(index, facts.generation, facts.coverage.start)
        if self._blocks.get(run.position, len(header)) != header:
            found.append(
                Finding(self._entry.name, f"header of run {index} is damaged", facts.generation, facts.coverage)
            )
        builder = FactsBuilder(facts.generation, facts.coverage.start) if self._data else None
        for place, chunk in enumerate(run.chunks):
            what = f"chunk {chunk.offsets} of run {index}"
            try:
                stored = self._blocks.get(chunk.position, chunk.stored_length)
                if builder is None:
                    _check_digest(stored, chunk, what)
                else:
                    self._check_chunk(open_chunk(stored, chunk, what), chunk, builder, what)
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


def _check_digest(stored: memoryview, chunk: ChunkRef, what: str) -> None:
    if len(stored) != chunk.stored_length:
        raise CorruptObject(f"{what} is cut short")
    if blake3(stored).hexdigest() != chunk.blake3:
        raise CorruptObject(f"{what} does not match its digest")


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

"""Reading packs: the footer against the commit's root, then chunks by range, each checked before it is handed out."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from blake3 import blake3

from kafkeep.errors import CorruptionError, CorruptObject, ObjectNotFound, UnknownFormat
from kafkeep.logger import get_logger
from kafkeep.model import ChunkRef, RunRef
from kafkeep.repository import layout
from kafkeep.repository.catalogue import PackEntry
from kafkeep.repository.envelope import CODEC_NONE, CODEC_ZSTD, decompress
from kafkeep.repository.layout import HEADER_SIZE, TRAILER_SIZE, Footer, RunIndex
from kafkeep.repository.seen_chunks import KEY_BYTES, SeenChunks
from kafkeep.repository.stores.base import Store

if TYPE_CHECKING:
    from kafkeep.repository.packing import Randomness
    from kafkeep.repository.sealing import DocumentSeal, RunCipher

log = get_logger(__name__)

TAIL_BYTES: Final = 64 * 1024
"""Read from a pack's end in one go: trailer and, most times, the whole footer."""
READ_BYTES: Final = 1024 * 1024
"""Neighbouring chunks are fetched together up to this size."""
AHEAD: Final = 4
"""So many fetches of a run are under way or wait for their turn while one is worked on, where answers take their time."""
MOST_AHEAD: Final = 16
"""The same for all runs that a reader has open: this many times READ_BYTES of memory, or a chunk where that is larger."""

NumberedChunk = tuple[int, ChunkRef]


class RunOpener(Protocol):
    """What opens the records of an encrypted repository."""

    def open_run(self, run: RunIndex) -> RunCipher:
        """The cipher of a sealed run. Raises `KeyRefused`, `CorruptObject`, `StoreError`."""
        ...


def read_footer(store: Store, entry: PackEntry, repository_id: str, seal: DocumentSeal | None = None) -> Footer:
    """The footer of a pack, proved against the root in its commit. Raises `CorruptObject`, `StoreError`."""
    what = f"pack {entry.name}"
    try:
        header = store.get(entry.name, 0, HEADER_SIZE)
        start = max(0, entry.size - TAIL_BYTES)
        tail = store.get(entry.name, start, entry.size - start + 1)
        if len(tail) != entry.size - start:
            raise CorruptObject(f"{what} is not {entry.size} bytes long")
        position, length, root = layout.decode_trailer(tail[-TRAILER_SIZE:], entry.size, what)
        footer = tail[position - start : position - start + length] if position >= start else b""
        if not footer:
            footer = store.get(entry.name, position, length)
    except ObjectNotFound as error:
        raise CorruptObject(f"{what}, named by commit {entry.number}, is missing") from error
    layout.check_header(header, repository_id, entry.epoch, what, sealed=seal is not None)
    if root != entry.blake3 or layout.pack_root(header, footer).hex() != entry.blake3:
        raise CorruptObject(f"{what}: the footer is not the one that commit {entry.number} names")
    return layout.decode_footer(footer, position, f"{what}: the footer", seal)


def check_chunk(stored: bytes | memoryview, chunk: ChunkRef, what: str, *, digest: bool = True) -> None:
    """Raises `CorruptObject`, naming `what`, unless these are the stored bytes of the chunk; without `digest` only their
    number is looked at."""
    if len(stored) != chunk.stored_length:
        raise CorruptObject(f"{what} is cut short: {len(stored)} of {chunk.stored_length} bytes")
    if digest and blake3(stored).hexdigest() != chunk.blake3:
        raise CorruptObject(f"{what} does not match its digest")


def open_chunk(
    stored: bytes | memoryview,
    chunk: ChunkRef,
    what: str,
    *,
    verify: bool = True,
    sealed: tuple[RunCipher, int] | None = None,
) -> memoryview:
    """The raw batches of a chunk from its stored bytes; `sealed`: the cipher of its run, and its number in there.

    Raises `CorruptObject` naming `what`, `UnknownFormat`.
    """
    check_chunk(stored, chunk, what, digest=verify)
    if sealed is not None:
        cipher, number = sealed
        stored = cipher.open(number, stored, what)
    if chunk.codec == CODEC_NONE:
        if chunk.raw_length != len(stored):
            raise CorruptObject(f"{what} is stored as it is with two lengths")
        return memoryview(stored)
    if chunk.codec != CODEC_ZSTD:
        raise UnknownFormat(f"{what} is stored with codec {chunk.codec}, unknown here")
    return memoryview(decompress(stored, chunk.raw_length, what))


def chunk_coverage(run: RunIndex, index: int) -> tuple[int, int]:
    """The part of the run's coverage that the chunk at `index` answers for.

    It reaches back to where the chunk before it ends: offsets between them are holes. The last one reaches to the end.
    """
    start = run.chunks[index - 1].offsets.stop if index else run.facts.coverage.start
    last = index == len(run.chunks) - 1
    return start, run.facts.coverage.stop if last else run.chunks[index].offsets.stop


def key_of(run: RunIndex) -> str | None:
    """The topic key that the footer says opens the run; commits say the same, and go by it."""
    return None if run.seal is None else run.seal.topic_key


class PackReader:
    """Reads runs of live packs; keeps the footers it met last. May be used from many threads."""

    def __init__(
        self,
        store: Store,
        repository_id: str,
        *,
        seal: DocumentSeal | None = None,
        opener: RunOpener | None = None,
        footers: int = 64,
    ) -> None:
        self._store = store
        self._repository_id = repository_id
        self._seal = seal
        self._opener = opener
        self._most = footers
        self._footers: OrderedDict[str, Footer] = OrderedDict()
        self._lock = threading.Lock()
        self._places_ahead = threading.Semaphore(MOST_AHEAD)
        self._pool: ThreadPoolExecutor | None = None
        self._seen: SeenChunks | None = None

    @contextmanager
    def remembering(self, rng: Randomness) -> Iterator[None]:
        """What `read` holds against digests meanwhile is known again when it is read once more, and not hashed a second
        time: other bytes are found out as surely.
        """
        self._seen = SeenChunks(rng.randbytes(KEY_BYTES))
        try:
            yield
        finally:
            self._seen = None

    def footer(self, entry: PackEntry) -> Footer:
        """The footer of a pack, read twice before it is called damaged. Raises `CorruptObject`, `StoreError`."""
        with self._lock:
            known = self._footers.get(entry.name)
            if known is not None:
                self._footers.move_to_end(entry.name)
                return known
        try:
            found = read_footer(self._store, entry, self._repository_id, self._seal)
        except CorruptionError as error:
            log.warning("footer read again", pack=entry.name, reason=error.message)
            found = read_footer(self._store, entry, self._repository_id, self._seal)
        with self._lock:
            self._footers[entry.name] = found
            while len(self._footers) > self._most:
                self._footers.popitem(last=False)
        return found

    def run_index(self, entry: PackEntry, run: RunRef) -> RunIndex:
        """The run as its pack's footer has it. Raises `CorruptObject` when that is not what the commit says."""
        runs = self.footer(entry).runs
        if run.index >= len(runs) or runs[run.index].facts != run.facts or key_of(runs[run.index]) != run.key:
            raise CorruptObject(f"pack {entry.name}: run {run.index} is not {run.generation} {run.coverage}")
        return runs[run.index]

    def check_run_header(self, entry: PackEntry, run: RunRef) -> None:
        """Raises `CorruptObject` when the bytes in front of the run's chunks are not what the footer tells.

        No chunk needs them; a repository whose log is lost is rebuilt from them.
        """
        index = self.run_index(entry, run)
        expected = layout.encode_run_header(run.index, run.generation, run.coverage.start, self._seal)
        for _ in range(2):  # what was damaged on its way is whole the second time
            try:
                found = bytes(self._store.get(entry.name, index.position, len(expected)))
            except ObjectNotFound as error:
                raise CorruptObject(f"pack {entry.name}, named by commit {entry.number}, is missing") from error
            if found == expected:
                return
            log.warning("run header read again", pack=entry.name)
        raise CorruptObject(f"pack {entry.name}: {run.generation} {run.coverage}: the run header is damaged")

    def read(
        self,
        entry: PackEntry,
        run: RunRef,
        start: int | None,
        stop: int | None,
        *,
        verify: bool = True,
        skip: Callable[[ChunkRef], bool] | None = None,
    ) -> Iterator[memoryview]:
        """The raw batches of the chunks that overlap `[start, stop)`, chunk by chunk; those that `skip` is true for are
        never fetched. `skip` is asked once for each chunk, in order.
        """
        index = self.run_index(entry, run)
        low = run.coverage.start if start is None else start
        high = run.coverage.stop if stop is None else stop
        wanted = (
            (place, chunk)
            for place, chunk in enumerate(index.chunks)
            if chunk.offsets.stop > low and chunk_coverage(index, place)[0] < high and not (skip and skip(chunk))
        )
        if index.seal is not None and self._opener is None:
            raise ValueError("a reader that was given no keys reads no sealed run")
        cipher = None if index.seal is None or self._opener is None else self._opener.open_run(index)
        reads = self._store.capabilities.parallel_reads
        for group, stored in self._fetched_ahead(entry, wanted, reads) if reads > 1 else self._fetched(entry, wanted):
            yield from self._opened(entry, run, len(index.chunks), group, stored, verify, cipher)

    def _fetched(
        self, entry: PackEntry, chunks: Iterable[NumberedChunk]
    ) -> Iterator[tuple[list[NumberedChunk], memoryview]]:
        for group in neighbours(chunks):
            yield group, self._fetch(entry, group)

    def _fetched_ahead(
        self, entry: PackEntry, chunks: Iterable[NumberedChunk], reads: int
    ) -> Iterator[tuple[list[NumberedChunk], memoryview]]:
        """The same, with what comes next on its way already."""
        pool = self._readers(reads)
        waiting: deque[tuple[list[NumberedChunk], Future[memoryview] | None]] = deque()

        def following() -> tuple[list[NumberedChunk], memoryview]:
            group, future = waiting.popleft()
            if future is None:
                return group, self._fetch(entry, group)
            try:
                return group, future.result()
            finally:
                self._places_ahead.release()

        try:
            for group in neighbours(chunks):
                free = self._places_ahead.acquire(blocking=False)
                waiting.append((group, pool.submit(self._fetch, entry, group) if free else None))
                while waiting and (len(waiting) > AHEAD or not free):
                    yield following()
            while waiting:
                yield following()
        finally:
            for _, future in waiting:
                if future is not None:
                    future.cancel()
                    future.add_done_callback(lambda _: self._places_ahead.release())

    def close(self) -> None:
        """End the threads that read ahead. Nothing may be read any more."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=False)

    def _readers(self, reads: int) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(min(reads, MOST_AHEAD), thread_name_prefix="read-ahead")
            return self._pool

    def _opened(
        self,
        entry: PackEntry,
        run: RunRef,
        run_chunks: int,
        group: Sequence[NumberedChunk],
        stored: memoryview,
        verify: bool,
        cipher: RunCipher | None,
    ) -> Iterator[memoryview]:
        first = group[0][1].position
        seen = self._seen if verify else None
        place = (entry.name, run.index)
        where = f"pack {entry.name}: {run.generation} {run.coverage}"
        for number, chunk in group:
            what = f"{where}: chunk {chunk.offsets}"
            offset = chunk.position - first
            sealed = None if cipher is None else (cipher, number)
            try:
                found = stored[offset : offset + chunk.stored_length]
                known = seen is not None and seen.knows(place, number, found)
                opened = open_chunk(found, chunk, what, verify=verify and not known, sealed=sealed)
                if seen is not None and not known:
                    seen.note(place, run_chunks, number, found)
            except CorruptObject as error:
                # what was damaged on its way is whole the second time
                log.warning("chunk read again", pack=entry.name, reason=error.message)
                opened = open_chunk(self._fetch(entry, ((number, chunk),)), chunk, what, verify=verify, sealed=sealed)
            yield opened

    def _fetch(self, entry: PackEntry, group: Sequence[NumberedChunk]) -> memoryview:
        start, last = group[0][1].position, group[-1][1]
        try:
            return memoryview(self._store.get(entry.name, start, last.position + last.stored_length - start))
        except ObjectNotFound as error:
            raise CorruptObject(f"pack {entry.name}, named by commit {entry.number}, is missing") from error


def neighbours(chunks: Iterable[NumberedChunk]) -> Iterator[list[NumberedChunk]]:
    """Those that lie one behind the other together, up to READ_BYTES: numbered chunks in the order of the pack."""
    group: list[NumberedChunk] = []
    size = 0
    for number, chunk in chunks:
        if group and (size + chunk.stored_length > READ_BYTES or chunk.position != group[0][1].position + size):
            yield group
            group, size = [], 0
        group.append((number, chunk))
        size += chunk.stored_length
    if group:
        yield group

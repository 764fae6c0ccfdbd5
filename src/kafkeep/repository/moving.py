"""Moving runs: what is stored already, byte for byte as it lies in the store, composed into another pack.

Nothing is opened, decompressed or understood on its way. A chunk is known by its digest alone, so moving needs neither
the broker's bytes nor the key of a topic, and whoever has the footer of the new pack can see that its runs are those that
they were.

    with PackMover(store.open_new(), repository.about, epoch=state.epoch, now=now, rng=rng, seal=repository.seal) as mover:
        for run in runs:  # as the footer of its old pack has it: `PackReader.run_index`
            mover.add(run, stored_chunks(store, entry.name, run))
        pack = mover.finish()

A commit of kind `compact` (`changes.Compact`) then says that the runs lie in the new pack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self

import structlog
from blake3 import blake3

from kafkeep.errors import CorruptObject, ObjectExists, ObjectNotFound
from kafkeep.model import ChunkRef, PackRef
from kafkeep.repository import layout, names
from kafkeep.repository.format import RepositoryDocument
from kafkeep.repository.layout import RunIndex
from kafkeep.repository.pack import Randomness
from kafkeep.repository.reader import READ_BYTES
from kafkeep.repository.stores.base import Store, Upload

if TYPE_CHECKING:
    from kafkeep.repository.sealing import DocumentSeal

log = structlog.get_logger(__name__)


class PackMover:
    """Takes existing runs one after the other into a pack to be. One thread uses it; leave it without `finish` and nothing
    remains.

    Each run keeps its facts, its digest and the bytes of its chunks; it gets the next number in this pack, and its chunks
    get other positions. Whatever else a `RunIndex` or a `ChunkRef` holds goes along as it is. At most one chunk is in
    memory. The order of `add` is the order in the pack.
    """

    def __init__(
        self,
        upload: Upload,
        document: RepositoryDocument,
        *,
        epoch: int,
        now: Callable[[], datetime],
        rng: Randomness,
        seal: DocumentSeal | None = None,
    ) -> None:
        """`epoch` is that of the state at hand: a commit may name the pack while the epoch is this one or the next. `seal`
        closes run headers and footer where the repository is encrypted; chunks stay as they are sealed."""
        self.epoch = epoch
        self._upload = upload
        self._seal = seal
        self._header = layout.encode_header(document.id, epoch, sealed=seal is not None)
        self._now = now
        self._rng = rng
        self._position = 0
        self._runs: list[RunIndex] = []
        self._done = False

    @property
    def size(self) -> int:
        """Bytes written so far: header, run headers and chunks."""
        return self._position

    @property
    def runs(self) -> int:
        """Runs taken so far: the number in the pack that the next one gets."""
        return len(self._runs)

    def add(self, run: RunIndex, chunks: Iterable[bytes | memoryview]) -> int:
        """Take a run: `chunks` are the stored bytes of each of `run.chunks`, in order, from wherever they lie. Returns its
        number in this pack.

        Raises `CorruptObject` when a chunk does not match its digest, one is missing or there is one too many, or the
        index contradicts the run's facts; whatever `chunks` raises; `StoreError`. After an error the pack is spoiled, for a
        part of the run may be written: it can only be discarded. Who wants to leave damaged runs out looks at them first.
        """
        if self._done:
            raise ValueError("a pack that is finished, discarded or spoiled takes no more runs")
        self._done = True
        if layout.run_digest(run.chunks) != run.facts.blake3:
            raise CorruptObject(f"{_named(run)}: its chunks are not those that its facts tell of")
        number = len(self._runs)
        if not self._position:
            self._write(self._header)
        position = self._position
        self._write(layout.encode_run_header(number, run.facts.generation, run.facts.coverage.start, self._seal))
        self._runs.append(replace(run, position=position, chunks=self._copied(run, chunks)))
        self._done = False
        return number

    def _copied(self, run: RunIndex, chunks: Iterable[bytes | memoryview]) -> tuple[ChunkRef, ...]:
        """Writes the chunks; where they lie in this pack."""
        moved: list[ChunkRef] = []
        for stored in chunks:
            if len(moved) == len(run.chunks):
                raise CorruptObject(f"{_named(run)}: more chunks than its index tells of")
            chunk = run.chunks[len(moved)]
            check_chunk(stored, chunk, _named(run))
            moved.append(replace(chunk, position=self._position))
            self._write(stored)
        if len(moved) != len(run.chunks):
            raise CorruptObject(f"{_named(run)}: {len(moved)} of {len(run.chunks)} chunks")
        return tuple(moved)

    def finish(self) -> PackRef:
        """Make the pack durable. Raises ValueError without runs, when called twice or after an error, `StoreError`."""
        if self._done or not self._runs:
            raise ValueError("a pack is finished once, with runs, and not after an error")
        self._done = True
        try:
            return self._publish()
        finally:
            self._upload.discard()

    def _publish(self) -> PackRef:
        footer = layout.encode_footer(self._runs, self._seal)
        root = layout.pack_root(self._header, footer)
        position = self._position
        self._write(footer)
        self._write(layout.encode_trailer(position, len(footer), root))
        unique = names.ulid(self._now(), self._rng.randbytes(10))
        name = names.pack_name(self.epoch, unique, root.hex())
        try:
            self._upload.publish(name)
        except ObjectExists:
            # names hold 80 random bits and the content's digest: what is there is this pack, put by a try whose
            # answer was lost
            log.info("pack was there already", pack=name)
        keys = tuple(run.seal.topic_key for run in self._runs if run.seal is not None)
        return PackRef(name, self._position, root.hex(), self.epoch, tuple(run.facts for run in self._runs), keys)

    def discard(self) -> None:
        """Leave nothing behind; does nothing after `finish`."""
        self._done = True
        self._upload.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def _write(self, data: bytes | memoryview) -> None:
        self._upload.write(data)
        self._position += len(data)


def _named(run: RunIndex) -> str:
    return f"{run.facts.generation} {run.facts.coverage}"


def check_chunk(stored: bytes | memoryview, chunk: ChunkRef, what: str) -> None:
    """Raises `CorruptObject`, naming `what`, unless these are the stored bytes of the chunk."""
    if len(stored) != chunk.stored_length:
        raise CorruptObject(f"{what}: chunk {chunk.offsets} is cut short: {len(stored)} of {chunk.stored_length} bytes")
    if blake3(stored).hexdigest() != chunk.blake3:
        raise CorruptObject(f"{what}: chunk {chunk.offsets} does not match its digest")


def stored_chunks(store: Store, pack: str, run: RunIndex) -> Iterator[memoryview]:
    """The bytes of a run's chunks as they lie in `pack`, one by one, each checked; `run` is as that pack's footer has it.

    Neighbours are fetched together up to `READ_BYTES`. A chunk is read twice before it is called damaged: one that was
    damaged on its way is whole the second time. Raises `CorruptObject` (naming pack, run and chunk), `StoreError`.
    """
    what = f"pack {pack}: {_named(run)}"
    for group in _groups(run.chunks):
        start = group[0].position
        data = _fetch(store, pack, start, group[-1].position + group[-1].stored_length - start)
        for chunk in group:
            place = chunk.position - start
            stored = data[place : place + chunk.stored_length]
            try:
                check_chunk(stored, chunk, what)
            except CorruptObject as error:
                log.warning("chunk read again", pack=pack, reason=error.message)
                stored = _fetch(store, pack, chunk.position, chunk.stored_length)
                check_chunk(stored, chunk, what)
            yield stored


def _fetch(store: Store, pack: str, start: int, length: int) -> memoryview:
    try:
        return memoryview(store.get(pack, start, length))
    except ObjectNotFound as error:
        raise CorruptObject(f"pack {pack} is missing") from error


def _groups(chunks: Sequence[ChunkRef]) -> Iterator[list[ChunkRef]]:
    """Up to `READ_BYTES` together, or one: the chunks of a run lie one behind the other."""
    group: list[ChunkRef] = []
    size = 0
    for chunk in chunks:
        if group and size + chunk.stored_length > READ_BYTES:
            yield group
            group, size = [], 0
        group.append(chunk)
        size += chunk.stored_length
    if group:
        yield group

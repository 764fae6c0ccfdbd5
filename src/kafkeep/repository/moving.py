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

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self

from kafkeep.errors import CorruptObject, ObjectNotFound
from kafkeep.logger import get_logger
from kafkeep.model import ChunkRef, PackRef
from kafkeep.repository import layout
from kafkeep.repository.format import RepositoryDocument
from kafkeep.repository.layout import RunIndex
from kafkeep.repository.packing import PackOutput, Randomness
from kafkeep.repository.reader import check_chunk, neighbours
from kafkeep.repository.stores.base import Store, Upload

if TYPE_CHECKING:
    from kafkeep.repository.sealing import DocumentSeal

log = get_logger(__name__)


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
        self._output = PackOutput(upload, document, epoch=epoch, now=now, rng=rng, seal=seal)
        self._runs: list[RunIndex] = []
        self._done = False

    @property
    def size(self) -> int:
        """Bytes written so far: header, run headers and chunks."""
        return self._output.position

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
        position = self._output.begin_run(number, run.facts.generation, run.facts.coverage.start)
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
            check_chunk(stored, chunk, f"{_named(run)}: chunk {chunk.offsets}")
            moved.append(replace(chunk, position=self._output.position))
            self._output.write(stored)
        if len(moved) != len(run.chunks):
            raise CorruptObject(f"{_named(run)}: {len(moved)} of {len(run.chunks)} chunks")
        return tuple(moved)

    def finish(self) -> PackRef:
        """Make the pack durable. Raises ValueError without runs, when called twice or after an error, `StoreError`."""
        if self._done or not self._runs:
            raise ValueError("a pack is finished once, with runs, and not after an error")
        self._done = True
        try:
            return self._output.publish(self._runs)
        finally:
            self._output.discard()

    def discard(self) -> None:
        """Leave nothing behind; does nothing after `finish`."""
        self._done = True
        self._output.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


def _named(run: RunIndex) -> str:
    return f"{run.facts.generation} {run.facts.coverage}"


def stored_chunks(store: Store, pack: str, run: RunIndex) -> Iterator[memoryview]:
    """The bytes of a run's chunks as they lie in `pack`, one by one, each checked; `run` is as that pack's footer has it.

    Neighbours are fetched together up to `READ_BYTES`. A chunk is read twice before it is called damaged: one that was
    damaged on its way is whole the second time. Raises `CorruptObject` (naming pack, run and chunk), `StoreError`.
    """
    for group in neighbours(enumerate(run.chunks)):
        start, last = group[0][1].position, group[-1][1]
        data = _fetch(store, pack, start, last.position + last.stored_length - start)
        for _, chunk in group:
            what = f"pack {pack}: {_named(run)}: chunk {chunk.offsets}"
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

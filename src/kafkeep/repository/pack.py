"""Writing packs: whole batches in, one immutable object out, every byte hashed once on its way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self

import zstandard
from blake3 import blake3

from kafkeep.batch_check import check_again, hash_and_check
from kafkeep.batch_rows import Piece, pieces
from kafkeep.errors import CorruptionError
from kafkeep.logger import get_logger
from kafkeep.model import (
    CODEC_MASK,
    AbortedTransaction,
    BatchInfo,
    ChunkRef,
    Generation,
    OffsetRange,
    PackRef,
    RunFacts,
)
from kafkeep.native import Hasher
from kafkeep.repository import layout
from kafkeep.repository.envelope import CODEC_NONE, CODEC_ZSTD, decompress
from kafkeep.repository.facts import FactsBuilder, PieceFacts
from kafkeep.repository.format import RepositoryDocument
from kafkeep.repository.layout import RunIndex, RunSeal
from kafkeep.repository.nouns import Malformed, decode_generation, encode_generation
from kafkeep.repository.packing import PackOutput, Randomness
from kafkeep.repository.stores.base import Upload

if TYPE_CHECKING:
    from kafkeep.repository.sealing import ChunkSealer, DocumentSeal, RunCipher

log = get_logger(__name__)

ZSTD_LEVEL: Final = 1
RUN_OVERHEAD: Final = 4096
CHUNK_OVERHEAD: Final = 256
"""More than the bytes that a run, and each chunk of it, add besides the chunks themselves, in the pack and in the commit
that names it: a pack of very many small runs is full before its commit is."""
SMALLEST_BATCH: Final = 26
"""Bytes of an empty message of magic 0."""


class Sealer(Protocol):
    """What a pack of an encrypted repository is sealed with."""

    @property
    def seal(self) -> DocumentSeal: ...

    def seal_run(self, generation: Generation, start: int) -> tuple[RunCipher, RunSeal]:
        """A cipher for one run. Raises `KeyRefused`, `StoreError`."""
        ...


def place_of_run(position: int, number: int, generation: Generation, start: int) -> int:
    """Where the batches of run `number` begin in a pack without seals that has `position` bytes in front of the run."""
    header = layout.encode_run_header(number, generation, start)
    return (position if position else layout.HEADER_SIZE) + len(header)


class PackWriter:
    """Takes the runs of a pack one after the other. One thread uses it; leave it without `finish` and nothing remains.

    `append` wants batches whose CRCs the caller has just checked, in the buffer that was checked: chunks stored as they
    are come from that very buffer, compressed ones are opened again and compared before they are stored.
    """

    def __init__(
        self,
        upload: Upload,
        document: RepositoryDocument,
        *,
        epoch: int,
        now: Callable[[], datetime],
        rng: Randomness,
        sealer: Sealer | None = None,
    ) -> None:
        self.epoch = epoch
        self.limit = document.pack_bytes
        self._target = document.chunk_bytes
        self._compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL) if document.compression == "zstd" else None
        self._sealer = sealer
        self._chunk_sealer: ChunkSealer | None = None
        seal = None if sealer is None else sealer.seal
        self._output = PackOutput(upload, document, epoch=epoch, now=now, rng=rng, seal=seal)
        self._runs: list[RunIndex] = []
        self._chunks = 0
        self._run: _OpenRun | None = None
        self._done = False

    @property
    def size(self) -> int:
        """Bytes the pack would have if it were finished now: at most, as the chunk at hand may shrink."""
        chunks, waiting = (0, 0) if self._run is None else (len(self._run.chunks) + 1, self._run.waiting)
        return self._output.position + waiting + _overhead(len(self._runs), self._chunks + chunks)

    def place_in(self, generation: Generation, start: int) -> int:
        """Where in the pack batches of `generation` come to lie that are appended next, in the open run or in one that
        begins at `start`, if they are written as they are."""
        if self._run is not None and self._run.position and self._run.facts.generation == generation:
            return self._output.position
        return place_of_run(self._output.position, len(self._runs), generation, start)

    @property
    def runs(self) -> int:
        """Runs ended and kept so far."""
        return len(self._runs)

    def fits(self, size: int) -> bool:
        """Whether `size` more bytes of batches may go into this pack; an empty one takes a batch of any size."""
        if self._output.position == 0 and (self._run is None or self._run.waiting == 0):
            return True
        # any two neighbouring chunks are together larger than a chunk aims to be
        chunks = 2 + 2 * size // max(self._target, SMALLEST_BATCH)
        return self.size + size + _overhead(1, chunks) <= self.limit

    def begin_run(self, generation: Generation, start: int) -> None:
        """The batches that follow belong to `generation`; its coverage begins at offset `start`."""
        if self._done or self._run is not None:
            raise ValueError("a run begins only in an open pack and after the one before it has ended")
        try:
            decode_generation(encode_generation(generation))
        except Malformed as error:
            raise ValueError(f"not a generation that can be stored: {error}") from error
        self._run = run = _OpenRun(generation, start)
        if self._sealer is not None:
            run.cipher, run.seal = self._sealer.seal_run(generation, start)

    def append(self, batches: memoryview, infos: Sequence[BatchInfo], *, lent: bool = False) -> int:
        """Take whole batches, `infos` their headers in order; how many data records they hold, as far as headers tell.

        Nothing of `batches` is kept after the return, or with `lent` once `settle` has returned.

        Raises `CorruptBatch` when they do not follow one another, ValueError when `infos` does not describe `batches`
        or the pack is full (see `fits`), `StoreError`.
        """
        run = self._open_run()
        if not infos:
            return 0
        if not self.fits(len(batches)) or (len(batches) > self.limit and len(infos) > 1):
            raise ValueError(f"pack of {self.size} bytes has no room for {len(batches)} more")
        found = pieces(infos, self._target - run.raw_length, self._target)
        if found[-1].end != len(batches):
            raise ValueError(f"headers tell of {found[-1].end} bytes of batches, there are {len(batches)}")
        if self._goes_through(run, found):
            return self._write_through(run, batches, infos, found, lent=lent)
        position = index = records = 0
        for stop, end, told in found:
            piece, taken = batches[position:end], infos[index:stop]
            if run.raw_length and run.raw_length + len(piece) > self._target:
                self._end_chunk(run)
            facts = run.facts.add(taken, told)
            records += facts.records
            if run.cipher is not None and not run.raw_length and stop < len(infos):
                # a chunk by itself: nothing to gather
                self._end_sealed_chunk(run, run.cipher, run.alone(piece, taken, facts))
            else:
                self._add(run, piece, taken, facts)
            position, index = end, stop
        return records

    def _goes_through(self, run: _OpenRun, found: Sequence[Piece]) -> bool:
        """Whether no byte of these pieces waits for the end of its chunk."""
        if self._sealer is not None or run.gathering:
            return False
        return self._compressor is None or all(piece.told.attributes & CODEC_MASK for piece in found)

    def _write_through(
        self, run: _OpenRun, batches: memoryview, infos: Sequence[BatchInfo], found: Sequence[Piece], *, lent: bool
    ) -> int:
        """What `append` does with batches that are stored as they are.

        Step by step for all pieces instead of piece by piece: each step over megabytes leaves the processor's caches
        without the interpreter, which costs more than what the interpreter then does.
        """
        self._begin_output(run)
        index, facts = 0, list[PieceFacts]()
        for stop, _, told in found:
            facts.append(run.facts.add(infos[index:stop], told))
            index = stop
        begins = bool(run.raw_length) and run.raw_length + found[0].end > self._target
        hasher, digests = hash_and_check(run.hasher, batches, infos, found, begins=begins)
        ended = iter(digests)
        place, position = self._output.position, 0
        for piece, known in zip(found, facts, strict=True):
            if begins:
                run.end_chunk(place + position, CODEC_NONE, next(ended))
            if not run.raw_length:
                run.chunk_position = place + position
            run.count(piece.end - position, known)
            position, begins = piece.end, True
        run.hasher = hasher
        (self._output.lend if lent else self._output.write)(batches)
        return sum(known.records for known in facts)

    def settle(self) -> None:
        """Batches that were lent may be reused when this returns. May be called from another thread. Raises `StoreError`."""
        self._output.settle()

    def end_run(
        self,
        stop: int,
        *,
        aborted: Iterable[AbortedTransaction] = (),
        open_transactions: Iterable[AbortedTransaction] = (),
    ) -> RunFacts | None:
        """End the run with coverage up to `stop`. None, and no run, when the coverage is empty."""
        run = self._open_run()
        if stop < run.facts.stop:
            raise ValueError(f"run of {run.facts.generation} ends at {stop}, its batches reach {run.facts.stop}")
        self._run = None
        if stop == run.facts.start:
            return None
        if run.raw_length:
            self._end_chunk(run)
        self._begin_output(run)
        chunks = tuple(run.chunks)
        facts = run.facts.facts(
            stop,
            stored_bytes=sum(chunk.stored_length for chunk in chunks),
            blake3=layout.run_digest(chunks),
            aborted=aborted,
            open_transactions=open_transactions,
        )
        self._runs.append(RunIndex(facts, run.position, chunks, run.seal))
        self._chunks += len(chunks)
        return facts

    def finish(self) -> PackRef:
        """Make the pack durable. Raises ValueError with a run open or when called twice, `StoreError`.

        A pack without runs is not stored: its reference has neither runs nor a name.
        """
        if self._done or self._run is not None:
            raise ValueError("a pack is finished once, with no run open")
        self._done = True
        try:
            return self._output.publish(self._runs) if self._runs else PackRef("", 0, "", self.epoch, ())
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

    def _open_run(self) -> _OpenRun:
        if self._run is None:
            raise ValueError("no run is open")
        return self._run

    def _begin_output(self, run: _OpenRun) -> None:
        """Write the run header, now that the run is known to be kept."""
        if not run.position:
            run.position = self._output.begin_run(len(self._runs), run.facts.generation, run.facts.start)

    def _add(self, run: _OpenRun, piece: memoryview, infos: Sequence[BatchInfo], facts: PieceFacts) -> None:
        """Add a piece to the chunk at hand: gathered while the chunk may be compressed, written through otherwise."""
        if self._sealer is not None or (
            self._compressor is not None and facts.plain and (run.gathering or not run.raw_length)
        ):
            run.gather(piece, infos, facts)
            return
        self._begin_output(run)
        if run.gathering:
            self._spill(run)
        if not run.raw_length:
            run.chunk_position = self._output.position
        run.through(piece, facts)
        check_again(piece, infos)
        self._output.write(piece)

    def _spill(self, run: _OpenRun) -> None:
        """The chunk got a batch that its producer compressed: what was gathered is stored as it is."""
        run.chunk_position = self._output.position
        run.hasher.update(run.buffer)
        self._output.write(run.buffer)
        run.check_again(run.buffer)
        run.buffer = bytearray()
        run.gathering = False

    def _end_chunk(self, run: _OpenRun) -> None:
        if run.cipher is not None:
            self._end_sealed_chunk(run, run.cipher, run.buffer)
            return
        self._begin_output(run)
        codec = CODEC_NONE
        if run.gathering:
            packed = self._compressed(run.buffer)
            if packed is None:
                self._spill(run)
            else:
                codec = CODEC_ZSTD
                run.chunk_position = self._output.position
                run.hasher.update(packed)
                self._output.write(packed)
                _check_packed(packed, run.buffer)
                run.check_again(run.buffer)
        run.end_chunk(self._output.position, codec)

    def _end_sealed_chunk(self, run: _OpenRun, cipher: RunCipher, raw: bytearray | memoryview) -> None:
        self._begin_output(run)
        if self._chunk_sealer is None:
            from kafkeep.repository.sealing import ChunkSealer  # cryptography is loaded for encrypted repositories only

            self._chunk_sealer = ChunkSealer()
        packed = self._compressed(raw) if run.plain else None
        what = raw if packed is None else packed
        sealed = self._chunk_sealer.seal(cipher, len(run.chunks), what)
        run.chunk_position = self._output.position
        run.hasher.update(sealed)
        self._output.write(sealed)
        self._chunk_sealer.check(cipher, len(run.chunks), what)
        if packed is not None:
            _check_packed(packed, raw)
        run.check_again(raw)
        run.end_chunk(self._output.position, CODEC_NONE if packed is None else CODEC_ZSTD)

    def _compressed(self, raw: bytearray | memoryview) -> bytes | None:
        """The chunk as one zstd frame, None when that is no gain. It counts once `_check_packed` has opened it."""
        if self._compressor is None:
            return None
        packed = self._compressor.compress(raw)
        return None if len(packed) >= len(raw) else packed


def _check_packed(packed: bytes, raw: bytearray | memoryview) -> None:
    """Behind its hash, so that a bit that changes in front of it is found. Raises `CorruptionError`."""
    if not decompress(packed, len(raw), "a chunk just compressed").startswith(raw):
        raise CorruptionError("a chunk just compressed does not open to what went in; check this host's memory")


def _overhead(runs: int, chunks: int) -> int:
    return RUN_OVERHEAD * runs + CHUNK_OVERHEAD * chunks


class _OpenRun:
    """A run that takes batches: its facts, its finished chunks and the chunk at hand."""

    def __init__(self, generation: Generation, start: int) -> None:
        self.facts = FactsBuilder(generation, start)
        self.position = 0
        """Of the run header; 0 until it is written."""
        self.chunks: list[ChunkRef] = []
        self.cipher: RunCipher | None = None
        self.seal: RunSeal | None = None
        self._clear()

    def _clear(self) -> None:
        self.chunk_position = 0
        self.raw_length = 0
        self.gathering = False
        self.plain = True
        """Whether all batches gathered are uncompressed."""
        self.buffer = bytearray()
        self.gathered: list[tuple[int, Sequence[BatchInfo]]] = []
        """Of each piece that waits its bytes and its headers, for the second check."""
        self.hasher: Hasher = blake3()
        self._first = self._stop = self._batches = self._records = 0
        self._max_timestamp: int | None = None

    @property
    def waiting(self) -> int:
        """Bytes gathered and not yet written."""
        return len(self.buffer)

    def gather(self, piece: memoryview, infos: Sequence[BatchInfo], facts: PieceFacts) -> None:
        self.count(len(piece), facts)
        self.gathered.append((len(piece), infos))
        self.gathering = True
        self.plain = self.plain and facts.plain
        self.buffer += piece

    def alone(self, piece: memoryview, infos: Sequence[BatchInfo], facts: PieceFacts) -> memoryview:
        """The piece, which is a whole chunk."""
        self.count(len(piece), facts)
        self.gathered.append((len(piece), infos))
        self.plain = facts.plain
        return piece

    def check_again(self, raw: bytearray | memoryview) -> None:
        """After the last use of what was gathered: a bit that changed before it was hashed is found here. Raises
        `CorruptionError`."""
        position = 0
        with memoryview(raw) as view:
            for size, infos in self.gathered:
                with view[position : position + size] as piece:
                    check_again(piece, infos)
                position += size
        self.gathered = []

    def through(self, piece: memoryview, facts: PieceFacts) -> None:
        self.count(len(piece), facts)
        self.hasher.update(piece)

    def count(self, size: int, facts: PieceFacts) -> None:
        if not self.raw_length:
            self._first = facts.first
        self.raw_length += size
        self._stop = facts.stop
        if facts.max_timestamp is not None:
            known = self._max_timestamp
            self._max_timestamp = facts.max_timestamp if known is None else max(known, facts.max_timestamp)
        self._batches += facts.batches
        self._records += facts.records

    def end_chunk(self, position: int, codec: int, digest: str | None = None) -> None:
        """Whose bytes end at `position`; its digest, where that is not the hasher's."""
        self.chunks.append(
            ChunkRef(
                self.chunk_position,
                position - self.chunk_position,
                self.raw_length,
                codec,
                OffsetRange(self._first, self._stop),
                -1 if self._max_timestamp is None else self._max_timestamp,
                self._batches,
                self._records,
                self.hasher.hexdigest() if digest is None else digest,
            )
        )
        self._clear()

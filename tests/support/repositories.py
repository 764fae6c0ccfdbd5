"""Synthetic repositories: a writer with a clock and a dice of its own, and the plain facts of what it wrote."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tests.support import sealed
from tests.support.batches import around

from kafkeep.kafka.wire.batch import walk
from kafkeep.model import (
    AbortedTransaction,
    Gap,
    Generation,
    GenerationClosed,
    GenerationOpened,
    OffsetRange,
    PackRef,
    PartitionCut,
    RecoveryPoint,
    TopicPartition,
)
from kafkeep.repository.drafts import CommitOutcome, Draft, PointDraft
from kafkeep.repository.keyring import Access
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.base import Store

CLUSTER = "Q2x1c3RlciBvZiB0ZXN0cw"
TIME = "2026-11-20T10:00:00.000Z"
CODEC_LZ4 = 3


class Clock:
    """Each look at it is a second later."""

    def __init__(self) -> None:
        self._moment = datetime(2026, 11, 20, 10, tzinfo=UTC)

    def __call__(self) -> datetime:
        self._moment += timedelta(seconds=1)
        return self._moment

    def advance(self, **by: float) -> None:
        """Let time pass: keywords of `timedelta`."""
        self._moment += timedelta(**by)


def generation(topic: str = "orders", partition: int = 0, lineage: int = 0, topic_id: str = "A" * 22) -> Generation:
    return Generation(topic, topic_id, partition, lineage)


def batch(offset: int, records: int = 3, *, seed: int = 0, size: int = 100, **header: int) -> bytes:
    """A batch whose records are `size` bytes that compress, and that no other batch has."""
    word = b"%d/%d " % (seed, offset)
    payload = (word * (size // len(word) + 1))[:size]
    fields = {
        "base_offset": offset,
        "last_offset_delta": records - 1,
        "record_count": records,
        "leader_epoch": 1,
        "base_timestamp": 1_700_000_000_000 + offset,
        "max_timestamp": 1_700_000_000_000 + offset + records,
    }
    return around(payload, **(fields | header))


def noise(offset: int, size: int, *, seed: int = 0, **header: int) -> bytes:
    """A batch that does not compress."""
    payload = random.Random(f"{seed}/{offset}").randbytes(size)
    return around(payload, **({"base_offset": offset, "leader_epoch": 1, "attributes": 0} | header))


@dataclass(frozen=True)
class Piece:
    """A run to be written."""

    generation: Generation
    start: int
    stop: int
    batches: tuple[bytes, ...]
    aborted: tuple[AbortedTransaction, ...] = ()


def piece(
    of: Generation, start: int, batches: int, *, seed: int = 0, size: int = 100, records: int = 3, codec: int = 0
) -> Piece:
    """Batches in a row, the coverage ends with the last."""
    made = [batch(start + index * records, records, seed=seed, size=size, attributes=codec) for index in range(batches)]
    return Piece(of, start, start + batches * records, tuple(made))


def write_pack(repository: Repository, pieces: Sequence[Piece]) -> PackRef:
    """One pack of these runs, each appended in two portions."""
    with repository.pack_writer() as writer:
        for part in pieces:
            writer.begin_run(part.generation, part.start)
            half = len(part.batches) // 2
            for batches in (part.batches[:half], part.batches[half:]):
                data = memoryview(b"".join(batches))
                infos, used = walk(data)
                assert used == len(data)
                writer.append(data, infos)
            writer.end_run(part.stop, aborted=part.aborted)
        return writer.finish()


@dataclass
class Journal:
    """A writer that keeps by itself what it wrote: the model that repositories are compared with."""

    store: Store
    seed: int = 0
    compression: str = "zstd"
    chunk_bytes: int = 1000
    clock: Clock = field(default_factory=Clock)

    def create(self) -> Repository:
        made = Repository.init(
            self.store,
            now=self.clock,
            rng=random.Random(self.seed),
            compression=self.compression,
            chunk_bytes=self.chunk_bytes,
            encryption=sealed.new_encryption(),
        )
        return made if made.keyring is None else self.open()

    def open(self, store: Store | None = None) -> Repository:
        self.seed += 1
        return open_repository(self.store if store is None else store, seed=self.seed, clock=self.clock)


def open_repository(
    store: Store, *, seed: int = 1, clock: Clock | None = None, access: Access | None = None
) -> Repository:
    """`access` is what opens an encrypted one, unless that is `sealed.encrypted()`."""
    return Repository.open(
        store,
        now=Clock() if clock is None else clock,
        rng=random.Random(seed),
        pause=lambda seconds: None,
        access=access,
    )


def opened(*generations: Generation, start: int = 0) -> tuple[GenerationOpened, ...]:
    return tuple(GenerationOpened(item, start, "first-seen") for item in generations)


def closed(*generations: Generation) -> tuple[GenerationClosed, ...]:
    return tuple(GenerationClosed(item, "recreated") for item in generations)


def gap(of: Generation, start: int, stop: int, reason: str = "retention") -> Gap:
    return Gap(of, OffsetRange(start, stop), reason, "log start is behind the gap", TIME)


def cut(of: Generation, stop: int, start: int = 0) -> PartitionCut:
    return PartitionCut(of, stop, start, stop, stop, 1)


def draft(
    *,
    packs: Sequence[PackRef] = (),
    gaps: Sequence[Gap] = (),
    open_: Sequence[GenerationOpened] = (),
    close: Sequence[GenerationClosed] = (),
    cuts: Sequence[PartitionCut] | None = None,
    name: str | None = None,
    documents: Sequence[tuple[str, str]] = (),
    cluster_id: str = CLUSTER,
) -> Draft:
    """A draft; with `cuts` it brings a recovery point."""
    point = None
    if cuts is not None:
        point = PointDraft(name=name, cuts=tuple(cuts), selection=("*",), documents=tuple(documents))
    return Draft(
        kind="add" if point is None else "recovery-point",
        cluster_id=cluster_id,
        started=TIME,
        packs=tuple(packs),
        gaps=tuple(gaps),
        opened=tuple(open_),
        closed=tuple(close),
        point=point,
    )


def backup(repository: Repository, pieces: Sequence[Piece], *, name: str | None = None) -> CommitOutcome:
    """One synthetic backup: a pack of the pieces, a document, a recovery point over all that is open."""
    state = repository.refresh()
    new = [part.generation for part in pieces if part.generation not in state.generations]
    reference = repository.put_document("metadata", {"cluster_id": CLUSTER, "groups": [], "topics": []})
    pack = write_pack(repository, pieces)
    starts = {known.generation: known.start for known in state.generations.values()}
    reached = {known.generation: known.next_offset for known in state.generations.values() if known.open}
    reached |= {part.generation: part.stop for part in pieces}
    return repository.commit(
        draft(
            packs=[pack],
            open_=opened(*dict.fromkeys(new)),
            cuts=[cut(item, stop, starts.get(item, 0)) for item, stop in sorted(reached.items())],
            name=name,
            documents=[("metadata", reference)],
        )
    )


def contents(repository: Repository, point: RecoveryPoint) -> dict[TopicPartition, bytes]:
    """All batches of a point as stored, by partition."""
    view = repository.view(point)
    return {
        part.generation.topic_partition: b"".join(
            bytes(chunk) for run in part.slices for chunk in repository.read_run(run.run)
        )
        for part in view.partitions
    }

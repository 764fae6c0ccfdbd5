"""Repositories with many small packs, compactions of them, and packs of moved runs that are not named yet."""

from __future__ import annotations

import random

from tests.support.repositories import Clock, Journal, backup, contents, generation, piece

from kafkeep.compaction.plan import CompactOptions, CompactResult
from kafkeep.compaction.run import compact, prepare
from kafkeep.model import RunRef
from kafkeep.repository import layout
from kafkeep.repository.changes import CompactedPack, MovedRun
from kafkeep.repository.layout import RunIndex
from kafkeep.repository.moving import PackMover, stored_chunks
from kafkeep.repository.reader import PackReader
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore

ORDERS, PAYMENTS = generation("orders"), generation("payments")
SMALL = CompactOptions(target_bytes=64 * 1024)


def frequent(count: int = 4) -> tuple[MemoryStore, Repository]:
    """Commits 1 to `count`: each brings a pack with a run of both partitions, and a point."""
    store = MemoryStore()
    repository = Journal(store).create()
    for index in range(count):
        backup(repository, [piece(ORDERS, index * 6, 2, seed=index), piece(PAYMENTS, index * 3, 1, seed=index)])
    return store, repository


def gather(repository: Repository, options: CompactOptions = SMALL, clock: Clock | None = None) -> CompactResult:
    now = Clock() if clock is None else clock
    return compact(repository, prepare(repository, options), now=now, rng=random.Random(5))


def held(repository: Repository) -> list[object]:
    return [contents(repository, point) for point in repository.points()]


def live(repository: Repository) -> list[int]:
    """Runs of each pack, in the order of the log."""
    return [len(entry.runs) for entry in repository.state.packs]


def all_runs(repository: Repository) -> list[RunRef]:
    """In the order of the log."""
    return [run for entry in repository.state.packs for run in entry.runs]


def index_of(repository: Repository, run: RunRef) -> RunIndex:
    """The run as its pack's footer has it."""
    entry = repository.state.packs.get(run.pack)
    assert entry is not None
    return PackReader(repository.store, repository.id, seal=repository.seal).run_index(entry, run)


def mover(repository: Repository) -> PackMover:
    return PackMover(
        repository.store.open_new(),
        repository.about,
        epoch=repository.state.epoch,
        now=Clock(),
        rng=random.Random(repository.state.head),
        seal=repository.seal,
    )


def moved_pack(repository: Repository, runs: list[RunRef]) -> CompactedPack:
    """A pack with these runs, durable and not named yet."""
    with mover(repository) as writer:
        for run in runs:
            index = index_of(repository, run)
            writer.add(index, stored_chunks(repository.store, run.pack, index))
        made = writer.finish()
    rows = tuple(MovedRun(index, run.pack, run.index) for index, run in enumerate(runs))
    return CompactedPack(made.name, made.size, made.blake3, made.epoch, rows)


def flip(store: MemoryStore, name: str) -> None:
    """Damages the last byte of a pack's last chunk; a second time mends it."""
    data = bytearray(store.objects[name])
    position, _, _ = layout.decode_trailer(bytes(data[-layout.TRAILER_SIZE :]), len(data), name)
    data[position - 1] ^= 0x40
    store.objects[name] = bytes(data)

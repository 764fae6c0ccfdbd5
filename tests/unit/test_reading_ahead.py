"""Chunks of a store whose answers take their time are asked for ahead: in order, so many at once and no more."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.support.operations import new_repository
from tests.support.repositories import draft, generation, opened
from tests.support.simulated_log import SimulatedLog, record

from kafkeep.errors import CorruptObject, StoreError
from kafkeep.kafka.wire.batch import walk
from kafkeep.model import RunRef
from kafkeep.repository import reader
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.base import Capabilities
from kafkeep.repository.stores.memory import MemoryStore

ORDERS = generation()
CHUNKS = 24


class DistantStore(MemoryStore):
    """Packs are read over a long way; counts what is on it at once."""

    def __init__(self, reads: int) -> None:
        super().__init__()
        self._reads = reads
        self._lock = threading.Lock()
        self.under_way = 0
        self.most = 0
        self.asked: list[tuple[str, int]] = []
        self.fails_at: int | None = None
        self.damaged = 0
        """So many reads are to arrive damaged."""
        self.seconds = 0.0

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, parallel_reads=self._reads)

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        if not self.seconds or not name.startswith("pack"):
            return super().get(name, start, length)
        with self._lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            self.asked.append((name, start))
            count = len(self.asked)
        try:
            time.sleep(self.seconds)
            if count == self.fails_at:
                raise StoreError("the line is dead")
            data = super().get(name, start, length)
            return data[:-1] + bytes([data[-1] ^ 1]) if count <= self.damaged else data
        finally:
            with self._lock:
                self.under_way -= 1


@pytest.fixture(autouse=True)
def small_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "READ_BYTES", 1)


def stored(store: DistantStore) -> tuple[Repository, RunRef, bytes]:
    """One run of so many chunks, each read by itself; its bytes."""
    repository = new_repository(store, chunk_bytes=1, compression="none")
    log = SimulatedLog()
    for place in range(CHUNKS):
        log.append([record(b"v" * (place + 1))])
    data = b"".join(entry.data for entry in log.entries)
    infos, _ = walk(memoryview(data))
    with repository.pack_writer() as writer:
        writer.begin_run(ORDERS, 0)
        writer.append(memoryview(data), infos)
        writer.end_run(log.end)
        pack = writer.finish()
    repository.commit(draft(packs=[pack], open_=opened(ORDERS)))
    (run,) = repository.state.generations[ORDERS].runs
    list(repository.read_run(run, stop=1))  # the footer is known from here on
    store.seconds = 0.01
    return repository, run, data


def chunks(repository: Repository, run: RunRef) -> Iterator[memoryview]:
    return repository.read_run(run)


def settled(store: DistantStore) -> None:
    while store.under_way:
        time.sleep(0.01)


@pytest.mark.parametrize("reads", [1, 2, 64])
def test_chunks_come_in_order_however_many_are_asked_for(reads: int) -> None:
    store = DistantStore(reads)
    repository, run, data = stored(store)
    assert b"".join(chunks(repository, run)) == data
    assert len(store.asked) == len(set(store.asked)) == CHUNKS
    assert store.most == 1 if reads == 1 else 1 < store.most <= min(reads, reader.AHEAD + 1)


def test_all_runs_together_stay_within_their_places() -> None:
    store = DistantStore(64)
    repository, run, data = stored(store)
    found = [b""] * 9
    sides = [chunks(repository, run) for _ in found]
    for _ in range(CHUNKS):
        for number, side in enumerate(sides):
            found[number] += next(side)
            assert store.under_way <= reader.MOST_AHEAD
    assert found == [data] * len(found)


def test_what_is_given_up_gives_its_places_back() -> None:
    store = DistantStore(64)
    repository, run, data = stored(store)
    for _ in range(3 * reader.MOST_AHEAD):
        side = chunks(repository, run)
        next(side)
        side.close()  # type: ignore[attr-defined]
    settled(store)
    store.most = 0
    assert b"".join(chunks(repository, run)) == data
    assert 1 < store.most <= reader.AHEAD + 1


@pytest.mark.parametrize("fails_at", [1, 3, CHUNKS])
def test_an_error_comes_where_its_chunk_would(fails_at: int) -> None:
    store = DistantStore(64)
    repository, run, data = stored(store)
    for _ in range(reader.MOST_AHEAD):
        store.asked.clear()
        store.fails_at = fails_at
        found = []
        with pytest.raises(StoreError, match="line is dead"):
            found += list(chunks(repository, run))
        settled(store)
    store.fails_at = None
    assert b"".join(chunks(repository, run)) == data, "and no place is lost"


@pytest.mark.parametrize("damaged", [1, 10**6])
def test_what_arrives_damaged_is_read_again(damaged: int) -> None:
    store = DistantStore(64)
    repository, run, data = stored(store)
    store.damaged = damaged
    if damaged == 1:
        assert b"".join(chunks(repository, run)) == data
        assert len(store.asked) == CHUNKS + 1
    else:
        with pytest.raises(CorruptObject, match="chunk"):
            list(chunks(repository, run))

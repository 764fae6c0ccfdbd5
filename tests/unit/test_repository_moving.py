"""Moving runs into another pack: the same bytes, the same facts, another place; and nothing that is not theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from tests.support.compactions import ORDERS, all_runs, frequent, gather, index_of, moved_pack, mover
from tests.support.readers import reader_of, same_state
from tests.support.repositories import (
    Journal,
    Piece,
    backup,
    cut,
    draft,
    generation,
    open_repository,
    opened,
    piece,
    write_pack,
)
from tests.support.sealed import KINDS, encrypted

from kafkeep.errors import CorruptObject
from kafkeep.repository.changes import Compact
from kafkeep.repository.moving import stored_chunks
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import FaultyStore
from kafkeep.verify.run import verify

TIME = "2026-11-20T11:00:00.000Z"


@pytest.fixture(autouse=True, params=KINDS)
def kind(request: pytest.FixtureRequest) -> Iterator[None]:
    with encrypted(request.param == "encrypted"):
        yield


def test_a_moved_run_differs_in_its_place_only() -> None:
    store, repository = frequent(1)
    runs = all_runs(repository)[::-1]
    indexes = [index_of(repository, run) for run in runs]
    pack = moved_pack(repository, runs)
    assert len(store.objects[pack.name]) == pack.size
    written = [replace(run, pack=pack.name, index=place) for place, run in enumerate(runs)]
    repository.decide(Compact((pack,)), started=TIME)
    for was, run in zip(indexes, written, strict=True):
        found = index_of(repository, run)
        places = [chunk.position for chunk in found.chunks]
        assert places == sorted(places) and found.position < places[0]
        unmoved = [replace(chunk, position=0) for chunk in found.chunks]
        assert replace(found, position=0, chunks=()) == replace(was, position=0, chunks=())
        assert unmoved == [replace(chunk, position=0) for chunk in was.chunks]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda chunks: [bytes(chunks[0])[:-1], *chunks[1:]], "cut short"),
        (lambda chunks: [bytes(len(chunks[0])), *chunks[1:]], "does not match its digest"),
        (lambda chunks: chunks[:-1], "1 of 2 chunks"),
        (lambda chunks: [*chunks, chunks[0]], "more chunks"),
        (lambda chunks: chunks[::-1], "chunk"),
    ],
)
def test_chunks_that_are_not_those_of_the_run_spoil_the_pack(
    spoil: Callable[[list[memoryview]], list[bytes]], message: str
) -> None:
    store = MemoryStore()
    repository = Journal(store, chunk_bytes=200).create()
    backup(repository, [piece(ORDERS, 0, 2, size=150)])
    (run,) = all_runs(repository)
    index = index_of(repository, run)
    chunks = list(stored_chunks(store, run.pack, index))
    before = set(store.objects)
    with mover(repository) as writer:
        with pytest.raises(CorruptObject, match=message):
            writer.add(index, spoil(chunks))
        with pytest.raises(ValueError, match="spoiled"):
            writer.add(index, chunks)
        with pytest.raises(ValueError, match="not after an error"):
            writer.finish()
    assert set(store.objects) == before


def test_a_chunk_that_was_damaged_on_its_way_is_read_again() -> None:
    store, repository = frequent(1)
    run = all_runs(repository)[0]
    index = index_of(repository, run)
    whole = [bytes(chunk) for chunk in stored_chunks(store, run.pack, index)]
    reads = iter(range(100))

    def damage(name: str, data: bytes) -> bytes:
        return data if next(reads) else bytes(len(data))

    assert [bytes(chunk) for chunk in stored_chunks(FaultyStore(store, damage=damage), run.pack, index)] == whole
    del store.objects[run.pack]
    with pytest.raises(CorruptObject, match="is missing"):
        list(stored_chunks(store, run.pack, index))


def test_a_run_without_batches_can_be_moved() -> None:
    store = MemoryStore()
    repository = Journal(store).create()
    of = generation("quiet")
    for start in (0, 5):
        pack = write_pack(repository, [Piece(of, start, start + 5, ())])
        repository.commit(draft(packs=[pack], open_=opened(of) if not start else (), cuts=[cut(of, start + 5)]))
    assert gather(repository).runs == 2
    assert same_state(reader_of(store), repository)
    assert verify(open_repository(store), level="data").findings == ()

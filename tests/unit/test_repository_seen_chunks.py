"""Chunks that were held against their digests once and are read again: not hashed twice, and no damage gets through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.support.operations import back_up, new_repository, put_back, records_of
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import record

from kafkeep.errors import CorruptionError
from kafkeep.model import RecoveryPoint, RunRef, TopicPartition
from kafkeep.repository import reader, seen_chunks
from kafkeep.repository.repository import Repository
from kafkeep.repository.seen_chunks import KEY_BYTES, SeenChunks
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.restore import run as restore_run

ORDERS = TopicPartition("orders", 0)
RUN = ("pack/a", 0)

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def repository() -> Repository:
    cluster = SimulatedCluster("source")
    cluster.add_topic("orders")
    for number in range(20):
        cluster.log(ORDERS).append([record(b"%d" % number * 400)])
    found = new_repository()
    assert back_up(cluster, found).point is not None
    return found


@pytest.fixture
def run(repository: Repository) -> RunRef:
    (known,) = repository.state.generations.values()
    return next(iter(known.runs))


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of what the reader hashes."""
    sizes: list[int] = []
    blake3: Callable[[Any], Any] = reader.blake3

    def counted(data: bytes | memoryview) -> Any:
        sizes.append(len(data))
        return blake3(data)

    monkeypatch.setattr(reader, "blake3", counted)
    return sizes


def damage(repository: Repository) -> None:
    """One bit of the records in the only pack."""
    store = repository.store
    assert isinstance(store, MemoryStore)
    (name,) = [name for name in store.objects if name.startswith("pack/")]
    data = bytearray(store.objects[name])
    data[len(data) // 4] ^= 1
    store.objects[name] = bytes(data)


def read(repository: Repository, run: RunRef) -> list[bytes]:
    return [bytes(chunk) for chunk in repository.read_run(run)]


def test_what_was_hashed_is_not_hashed_again(repository: Repository, run: RunRef, hashed: list[int]) -> None:
    with repository.remembering_chunks():
        first = read(repository, run)
        assert hashed
        hashed.clear()
        assert read(repository, run) == first
        assert not hashed


def test_nothing_is_remembered_before_and_after(repository: Repository, run: RunRef, hashed: list[int]) -> None:
    read(repository, run)
    with repository.remembering_chunks():
        hashed.clear()
        read(repository, run)
        assert hashed
    hashed.clear()
    read(repository, run)
    assert hashed


def test_what_was_read_without_a_look_is_not_taken_for_seen(
    repository: Repository, run: RunRef, hashed: list[int]
) -> None:
    with repository.remembering_chunks():
        assert list(repository.read_run(run, verify=False))
        assert not hashed
        read(repository, run)
        assert hashed


def test_damage_between_two_reads_is_found(repository: Repository, run: RunRef) -> None:
    with repository.remembering_chunks():
        read(repository, run)
        damage(repository)
        with pytest.raises(CorruptionError, match="does not match its digest"):
            read(repository, run)


def test_more_chunks_than_are_remembered_are_hashed_again(
    repository: Repository, run: RunRef, hashed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen_chunks, "MOST_CHUNKS", 0)
    with repository.remembering_chunks():
        first = read(repository, run)
        hashed.clear()
        assert read(repository, run) == first
        assert hashed


def test_tags_belong_to_their_place_and_to_their_bytes() -> None:
    seen = SeenChunks(b"k" * KEY_BYTES)
    seen.note(RUN, 3, 1, b"some bytes")
    assert seen.knows(RUN, 1, memoryview(b"some bytes"))
    assert not seen.knows(RUN, 1, b"some bytes.")
    assert not seen.knows(RUN, 1, b"some byteS")
    assert not seen.knows(RUN, 0, b"some bytes")
    assert not seen.knows(RUN, 2, b"some bytes")
    assert not seen.knows(("pack/a", 1), 1, b"some bytes")
    assert not seen.knows(("pack/b", 0), 1, b"some bytes")


def test_every_bit_counts() -> None:
    seen = SeenChunks(b"k" * KEY_BYTES)
    data = bytes(range(64))
    seen.note(RUN, 1, 0, data)
    for place in range(8 * len(data)):
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        assert not seen.knows(RUN, 0, changed)


def test_a_restore_hashes_each_chunk_once(
    repository: Repository, hashed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    point = repository.point("latest")
    put_back(SimulatedCluster("small"), repository, point)
    twice = len(hashed)
    hashed.clear()
    monkeypatch.setattr(restore_run, "_WORTH_REMEMBERING", 0)
    put_back(SimulatedCluster("large"), repository, point)
    assert twice == 2 * len(hashed) > 0


def test_damage_behind_the_check_of_a_restore_is_not_produced(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore_run, "_WORTH_REMEMBERING", 0)
    target = SimulatedCluster("target")
    point: RecoveryPoint = repository.point("latest")
    check = restore_run._check

    def checked(*args: Any) -> None:
        check(*args)
        damage(repository)

    monkeypatch.setattr(restore_run, "_check", checked)
    with pytest.raises(CorruptionError, match="does not match its digest"):
        put_back(target, repository, point)
    assert records_of(target.log(ORDERS)) == []

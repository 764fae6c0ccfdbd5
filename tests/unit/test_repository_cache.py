"""The cache of commits: it saves reading, and no state of it can hurt."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest
from tests.support.repositories import Clock, Journal, backup, generation, piece

from kafkeep.errors import CorruptChain
from kafkeep.repository.cache import CommitCache
from kafkeep.repository.names import log_name
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import CountingStore

ORDERS = generation("orders")


def filled(commits: int = 6) -> tuple[MemoryStore, Repository]:
    store = MemoryStore()
    repository = Journal(store).create()
    for number in range(commits):
        backup(repository, [piece(ORDERS, number * 3, 1)])
    return store, repository


def open_cached(store: Store, folder: Path) -> Repository:
    return Repository.open(store, now=Clock(), rng=random.Random(3), cache_dir=folder)


def cache_file(folder: Path) -> Path:
    (path,) = folder.glob("*.sqlite")
    return path


def test_the_second_opening_reads_only_what_is_new(tmp_path: Path) -> None:
    store, repository = filled()
    open_cached(store, tmp_path).close()
    counting = CountingStore(store)
    found = open_cached(counting, tmp_path)
    assert found.state == repository.state
    assert counting.calls["get"] == 4, "repository document, cached head, hint, the commit that is not there"
    backup(repository, [piece(ORDERS, 18, 1)])
    counting = CountingStore(store)
    assert open_cached(counting, tmp_path).state == repository.state
    assert counting.calls["get"] == 5


def test_what_this_process_commits_is_cached_too(tmp_path: Path) -> None:
    store, _ = filled(0)
    with open_cached(store, tmp_path) as repository:
        backup(repository, [piece(ORDERS, 0, 1)])
    counting = CountingStore(store)
    assert open_cached(counting, tmp_path).state.head == 1
    assert counting.calls["get"] == 4


def test_any_damage_to_the_cache_costs_time_only(tmp_path: Path) -> None:
    store, repository = filled()
    open_cached(store, tmp_path / "first").close()
    whole = cache_file(tmp_path / "first").read_bytes()
    dice = random.Random(1)
    for number in range(60):
        folder = tmp_path / str(number)
        folder.mkdir()
        damaged = bytearray(whole)
        if number % 3 == 0:
            del damaged[dice.randrange(len(damaged)) :]
        for _ in range(1 + number % 5 * 20):
            if damaged:
                damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
        (folder / cache_file(tmp_path / "first").name).write_bytes(damaged)
        with open_cached(store, folder) as found:
            assert found.state == repository.state
        with open_cached(store, folder) as again:
            assert again.state == repository.state


@pytest.mark.parametrize(
    "statement",
    [
        "delete from commits where seq = 2",
        "delete from commits",
        "update commits set data = x'00' where seq = 3",
        "update commits set data = 'text' where seq = 3",
        "update commits set digest = '00' where seq = 1",
        "update commits set seq = 99 where seq = 6",
        "drop table commits",
        "pragma user_version = 7",
    ],
)
def test_a_cache_with_wrong_rows_costs_time_only(tmp_path: Path, statement: str) -> None:
    store, repository = filled()
    open_cached(store, tmp_path).close()
    with sqlite3.connect(cache_file(tmp_path)) as db:
        db.execute(statement)
    db.close()
    with open_cached(store, tmp_path) as found:
        assert found.state == repository.state
    counting = CountingStore(store)
    with open_cached(counting, tmp_path) as again:
        assert again.state == repository.state


def test_a_consistent_cache_of_other_commits_is_thrown_away(tmp_path: Path) -> None:
    """Rows whose digests fit and that do not form a chain."""
    from kafkeep.repository.envelope import digest

    store, repository = filled()
    open_cached(store, tmp_path).close()
    with sqlite3.connect(cache_file(tmp_path)) as db:
        first = db.execute("select data from commits where seq = 0").fetchone()[0]
        db.execute("update commits set data = ?, digest = ? where seq = 2", (first, digest(first)))
    db.close()
    with open_cached(store, tmp_path) as found:
        assert found.state == repository.state


def test_a_folder_that_cannot_be_used_means_no_cache(tmp_path: Path) -> None:
    store, repository = filled()
    (tmp_path / "file").write_bytes(b"in the way")
    with open_cached(store, tmp_path / "file") as found:
        assert found.state == repository.state
    folder = tmp_path / "folder"
    cache = CommitCache(folder, repository.id, repository.store.url)
    cache.close()
    cache.path.unlink()
    cache.path.mkdir()
    with open_cached(store, folder) as found:
        assert found.state == repository.state


def test_a_store_that_was_rolled_back_is_noticed(tmp_path: Path) -> None:
    store, _ = filled()
    open_cached(store, tmp_path).close()
    lost = store.objects.pop(log_name(6))
    with pytest.raises(CorruptChain, match="commit 6 in memory://memory is gone") as raised:
        open_cached(store, tmp_path)
    assert str(cache_file(tmp_path)) in raised.value.hint
    store.objects[log_name(6)] = lost[:-1] + bytes([lost[-1] ^ 1])
    with pytest.raises(CorruptChain, match="is another one"):
        open_cached(store, tmp_path)
    del store.objects[log_name(6)]
    cache_file(tmp_path).unlink()
    assert open_cached(store, tmp_path).state.head == 5


def test_repositories_do_not_share_a_cache(tmp_path: Path) -> None:
    first, _ = filled()
    second = MemoryStore()
    Journal(second, seed=77).create()
    open_cached(first, tmp_path).close()
    assert open_cached(second, tmp_path).state.head == 0
    assert len(list(tmp_path.glob("*.sqlite"))) == 2


def test_the_cache_is_for_its_owner_only(tmp_path: Path) -> None:
    store, _ = filled(1)
    open_cached(store, tmp_path / "cache").close()
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    assert cache_file(tmp_path / "cache").stat().st_mode & 0o777 == 0o600

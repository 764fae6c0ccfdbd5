"""Folded states in the local cache: what they save, what of them is in memory, and that no state of the cache can hurt."""

from __future__ import annotations

import gc
import random
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.facts import run_ref
from tests.support.repositories import CLUSTER, TIME, Clock, Journal, backup, cut, generation, piece

from kafkeep.errors import CorruptChain, StoreError
from kafkeep.model import AbortedTransaction, GenerationOpened, PartitionCut, RunRef
from kafkeep.repository import remembering
from kafkeep.repository.envelope import BODY_LIMITS, Kind
from kafkeep.repository.fold.settling import Layers, Limits, settled
from kafkeep.repository.folding import fold
from kafkeep.repository.format import Commit, CommittedPack, PointBody, RepositoryDocument, Slot
from kafkeep.repository.names import log_name, pack_name
from kafkeep.repository.page_store import PageStore
from kafkeep.repository.repository import Repository
from kafkeep.repository.state import EMPTY, State
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import CountingStore

ORDERS, PAYMENTS = generation("orders"), generation("payments")
SMALL = Limits(loose=3, page=2, fan_in=2, root=1)
COMMITS = 9


def filled(commits: int = COMMITS) -> tuple[MemoryStore, Repository]:
    store = MemoryStore()
    repository = Journal(store).create()
    for number in range(commits):
        backup(repository, [piece(ORDERS, number * 3, 1), piece(PAYMENTS, number * 3, 1)])
    return store, repository


def open_cached(store: Store, folder: Path | None, limits: Limits = SMALL) -> Repository:
    return Repository.open(
        store, now=Clock(), rng=random.Random(3), cache_dir=folder, limits=limits, pause=lambda seconds: None
    )


def cache_file(folder: Path) -> Path:
    (path,) = folder.glob("*.sqlite")
    return path


def asked(folder: Path, statement: str) -> int:
    """A number out of the cache, or how many rows a change met."""
    db = sqlite3.connect(cache_file(folder))
    try:
        with db:
            cursor = db.execute(statement)
            row = cursor.fetchone()
            return cursor.rowcount if row is None else int(row[0])
    finally:
        db.close()


def test_an_opening_reads_what_came_after_the_folded_state(tmp_path: Path) -> None:
    store, repository = filled()
    open_cached(store, tmp_path).close()
    assert asked(tmp_path, "select count(*) from commits") == 0, "what is folded is not needed any more"
    counting = CountingStore(store)
    with open_cached(counting, tmp_path, Limits(page=2)) as found:
        assert found.state == repository.state
    assert counting.calls["get"] == 4, "repository document, head, hint, the commit that is not there"
    backup(repository, [piece(ORDERS, COMMITS * 3, 1)])
    with open_cached(store, tmp_path, Limits(page=2)) as found:
        assert found.state == repository.state
    assert asked(tmp_path, "select count(*) from commits") == 1, "too little to write the state for"


def test_small_repositories_have_their_commits_in_the_cache_and_no_pages(tmp_path: Path) -> None:
    store, _ = filled()
    open_cached(store, tmp_path, Limits()).close()
    assert asked(tmp_path, "select count(*) from commits") == COMMITS + 1
    assert asked(tmp_path, "select count(*) from sqlite_master where name in ('pages', 'root')") == 0


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
        for _ in range(2):
            with open_cached(store, folder) as found:
                assert found.state == repository.state


@pytest.mark.parametrize(
    "statement",
    [
        "delete from pages where rowid = 2",
        "delete from pages",
        "delete from pages where rowid = (select max(rowid) from pages)",
        "update pages set data = x'00' where rowid = 3",
        "update pages set data = 'text' where rowid = 3",
        "update pages set data = (select data from pages where rowid = 2) where rowid = 3",
        "update pages set digest = x'00' where rowid = 1",
        "drop table pages",
        "delete from root",
        "update root set data = x'00'",
        "update root set data = 'text'",
        "update root set data = (select data from pages where rowid = 1)",
        "drop table root",
        "pragma user_version = 7",
    ],
)
def test_a_cache_with_wrong_rows_costs_time_only(tmp_path: Path, statement: str) -> None:
    store, repository = filled()
    open_cached(store, tmp_path).close()
    assert asked(tmp_path, statement) in (1, -1) or "delete from pages" in statement
    for _ in range(2):
        with open_cached(store, tmp_path) as found:
            assert found.state == repository.state


@pytest.mark.parametrize("what", ["tool", "form"])
def test_a_state_that_another_version_folded_is_folded_anew(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, repository = filled()
    open_cached(store, tmp_path).close()
    if what == "tool":
        monkeypatch.setattr(remembering, "TOOL", "kafkeep 0.0.9")
    else:
        monkeypatch.setattr("kafkeep.repository.cache.LOCAL_VERSION", 77)
    counting = CountingStore(store)
    with open_cached(counting, tmp_path) as found:
        assert found.state == repository.state
    assert counting.calls["get"] > COMMITS
    counting = CountingStore(store)
    open_cached(counting, tmp_path).close()
    assert counting.calls["get"] == 4


@pytest.mark.parametrize("defect", [None, "delete from pages", "another version"])
def test_a_store_that_was_rolled_back_is_noticed(
    defect: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where nothing but the root can be read."""
    store, _ = filled()
    open_cached(store, tmp_path).close()
    if defect == "another version":
        monkeypatch.setattr("kafkeep.repository.cache.LOCAL_VERSION", 77)
    elif defect is not None:
        asked(tmp_path, defect)
    lost = store.objects.pop(log_name(COMMITS))
    with pytest.raises(CorruptChain, match=f"commit {COMMITS} in memory://memory is gone") as raised:
        open_cached(store, tmp_path)
    assert str(cache_file(tmp_path)) in raised.value.hint
    store.objects[log_name(COMMITS)] = lost[:-1] + bytes([lost[-1] ^ 1])
    with pytest.raises(CorruptChain, match="is another one"):
        open_cached(store, tmp_path)


def test_the_document_of_another_repository_is_not_believed(tmp_path: Path) -> None:
    store, repository = filled()
    open_cached(store, tmp_path).close()
    name = "kafkeep.json"
    other = MemoryStore()
    Journal(other, seed=5).create()
    (path,) = tmp_path.glob("*.sqlite")
    store.objects[name] = other.objects[name]
    path.rename(path.with_name(path.name.replace(repository.id, open_cached(other, None).id)))
    with pytest.raises(CorruptChain, match="another repository"):
        open_cached(store, tmp_path)


def test_pages_stay_as_long_as_a_process_may_read_them(tmp_path: Path) -> None:
    store, repository = filled()
    first = open_cached(store, tmp_path)
    state, before = first.state, list(repository.state.generations[ORDERS].runs)
    for number in range(COMMITS, COMMITS + 30):
        backup(repository, [piece(ORDERS, number * 3, 1)])
        open_cached(store, tmp_path).close()
    first.close()
    most = asked(tmp_path, "select count(*) from pages")
    assert list(state.generations[ORDERS].runs) == before, (
        "an old state reads as it was, after its repository was closed"
    )
    del first, state
    gc.collect()
    with open_cached(store, tmp_path, Limits()) as found:
        assert found.state == repository.state
        assert asked(tmp_path, "select count(*) from pages") < most / 2, "nobody else was there"


def test_a_page_that_is_lost_while_it_is_needed_is_an_error_once(tmp_path: Path) -> None:
    store, repository = filled()
    with open_cached(store, tmp_path) as found:
        asked(tmp_path, "delete from pages")
        with pytest.raises(StoreError, match=r"a page in .* cannot be read") as raised:
            list(found.state.generations[ORDERS].runs)
        assert "Run the command again" in raised.value.hint
    with open_cached(store, tmp_path) as found:
        assert list(found.state.generations[ORDERS].runs) == list(repository.state.generations[ORDERS].runs)
        assert found.state == repository.state


def test_without_a_cache_pages_are_in_a_temporary_file_and_outlive_the_repository() -> None:
    store, repository = filled()
    with open_cached(store, None) as found:
        state = found.state
    assert state.layers.loose < SMALL.loose
    assert state == repository.state


# --- the fold alone ----------------------------------------------------------------------------------------------

INIT = Commit(
    seq=0,
    prev="0" * 64,
    kind="init",
    writer="0" * 32,
    epoch=0,
    started=TIME,
    finished=TIME,
    tool="test",
    repository=RepositoryDocument(id="0" * 32, created=TIME, compression="none"),
)
PARTITIONS = [generation("orders", partition) for partition in range(20)]
RUNS = 10
"""Of each partition and commit."""


def slots(commits: int, aborted: tuple[AbortedTransaction, ...] = ()) -> Iterator[Slot]:
    """Commits of one pack with `RUNS` runs of each partition, every one a recovery point."""
    yield Slot(0, "0" * 64, INIT)
    for number in range(1, commits + 1):
        root = f"{number:064x}"[::-1]
        name = pack_name(0, f"01m7w6c848yjf9ef3wbn{number:06d}", root)
        places = [(of, at) for of in PARTITIONS for at in range((number - 1) * RUNS, number * RUNS)]
        runs = tuple(
            run_ref(of, at, at + 1, pack=name, index=index, aborted=() if index else aborted)
            for index, (of, at) in enumerate(places)
        )
        yield Slot(number, root, _commit(number, CommittedPack(name, 100, root, 0, runs)))


def _commit(number: int, pack: CommittedPack) -> Commit:
    cuts = tuple(cut(of, number * RUNS) for of in PARTITIONS)
    point = PointBody(
        name=None,
        tags=(),
        cuts=cuts,
        selection=(),
        documents=(),
        consistency="partition",
        complete=True,
        failures=(),
    )
    return replace(
        INIT,
        seq=number,
        kind="recovery-point",
        repository=None,
        cluster_id=CLUSTER,
        packs=(pack,),
        opened=tuple(GenerationOpened(of, 0, "first-seen") for of in PARTITIONS) if number == 1 else (),
        point=point,
    )


def begun(limits: Limits, recent_items: int) -> State:
    return replace(EMPTY, layers=Layers(PageStore(None, None, recent_items=recent_items), limits))


def alive(kind: type) -> int:
    return sum(type(each) is kind for each in gc.get_objects())


def test_memory_holds_a_bounded_number_of_runs_and_cuts_however_many_there_are() -> None:
    """20 000 runs, 2000 cuts: while they are folded, and while they are read."""
    limits = Limits(loose=1000, page=32, fan_in=4, root=10**9)
    gc.collect()
    before = alive(RunRef), alive(PartitionCut)
    most = [0, 0]

    def look() -> None:
        most[0] = max(most[0], alive(RunRef) - before[0])
        most[1] = max(most[1], alive(PartitionCut) - before[1])

    def watched() -> Iterator[Slot]:
        for slot in slots(100):
            if slot.seq % 7 == 0:
                look()
            yield slot

    state = fold(begun(limits, recent_items=500), watched())
    assert state.runs == 100 * RUNS * len(PARTITIONS)
    found = 0
    for part in state.view(state.points[-1]).partitions:
        found += sum(1 for _ in part.runs)
    look()
    assert found == state.runs
    for entry in state.packs:
        assert sum(1 for _ in entry.runs) == len(entry.runs) == RUNS * len(PARTITIONS)
    look()
    # what is loose, the commits at hand, the pages asked for last and those at hand: not a fifth of what there is
    assert 0 < most[0] < 3500
    assert 0 < most[1] < 1000


def test_histories_are_a_few_stretches_and_their_pages_are_read_about_once() -> None:
    class Counting(PageStore):
        reads = 0

        def value(self, page: bytes) -> object:
            self.reads += 1
            return super().value(page)

    pages = Counting(None, None, recent_items=600)
    limits = Limits(loose=1000, page=32, fan_in=4, root=10**9)
    state = settled(fold(replace(EMPTY, layers=Layers(pages, limits)), slots(100)))
    for known in state.generations.values():
        assert sum(1 for _ in known.history.parts()) <= 3 * limits.fan_in
    pages.reads = 0
    for of in sorted(state.generations):
        assert len(state.view(state.points[-1]).partitions) == len(PARTITIONS)
        assert sum(1 for _ in state.generations[of].runs) == 100 * RUNS
    needed = state.runs / limits.page
    assert needed <= pages.reads < 1.3 * needed + len(PARTITIONS)


def test_a_state_with_a_run_too_large_for_a_page_stays_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have more aborted transactions than a page has room for: nothing is lost by that but memory."""
    monkeypatch.setitem(BODY_LIMITS, Kind.STATE, 4096)
    many = tuple(AbortedTransaction(number, number) for number in range(1000))
    plain = fold(EMPTY, slots(3, many))
    state = settled(fold(begun(Limits(loose=1, page=2), recent_items=10), slots(3, many)))
    assert state == plain
    assert state.generations[PARTITIONS[0]].history.loose == 3 * RUNS


def test_what_is_equal_does_not_depend_on_where_it_lies() -> None:
    plain = fold(EMPTY, slots(6))
    paged = fold(begun(Limits(loose=50, page=4, fan_in=2), recent_items=20), slots(6))
    assert plain == paged and paged == plain
    other = fold(paged, [Slot(7, "f" * 64, None, "no commit")])
    assert other != paged
    entry, same = next(iter(plain.packs)), next(iter(paged.packs))
    assert entry == same and replace(entry, runs=entry.runs[1:]) != same and hash(entry) == hash(same)
    assert paged.points[0] == plain.points[0] and hash(paged.points[0]) == hash(plain.points[0])

"""Creating a repository and opening it: interrupted, twice at once, with a strange log, by another version."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.support.repositories import (
    Clock,
    Journal,
    backup,
    draft,
    generation,
    open_repository,
    opened,
    piece,
)

from kafkeep.errors import (
    CorruptChain,
    ObjectExists,
    RepositoryExists,
    RepositoryNotFound,
    StoreError,
    StoreNotCreateOnly,
    UnknownFormat,
    UsageError,
)
from kafkeep.repository import chain
from kafkeep.repository.envelope import Kind, unwrap, wrap
from kafkeep.repository.names import HINT_HEAD, REPOSITORY, log_name
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import CountingStore, FaultyStore, RetryingStore, SimulatedCrash, WrappedStore

ORDERS, PAYMENTS = generation("orders"), generation("payments", 3)


@pytest.fixture
def journal() -> Journal:
    return Journal(MemoryStore())


def test_a_new_repository_is_empty_and_can_be_opened(journal: Journal) -> None:
    made = journal.create()
    found = journal.open()
    assert found.id == made.id
    assert found.about == made.about
    assert (found.state.head, found.points(), found.state.cluster_id) == (0, (), None)


def test_a_repository_is_created_once(journal: Journal) -> None:
    journal.create()
    before = dict(journal.store.objects)  # type: ignore[attr-defined]
    with pytest.raises(RepositoryExists):
        journal.create()
    assert journal.store.objects == before  # type: ignore[attr-defined]


def test_opening_nothing_finds_no_repository(tmp_path: Path) -> None:
    for store in (MemoryStore(), LocalStore(tmp_path / "absent"), LocalStore(tmp_path)):
        with pytest.raises(RepositoryNotFound) as raised:
            open_repository(store)
        assert raised.value.exit_code == 10


def test_an_unknown_compression_is_refused() -> None:
    with pytest.raises(UsageError, match="brotli"):
        Repository.init(MemoryStore(), now=Clock(), rng=random.Random(1), compression="brotli")


def test_a_creation_may_die_at_any_call_and_is_finished_by_the_next() -> None:
    for when in ("before", "after"):
        for at in range(20):
            inner = MemoryStore()
            store = FaultyStore.dying(inner, at=at, when=when)
            try:
                Journal(store).create()
            except SimulatedCrash:
                if REPOSITORY in inner.objects:
                    open_repository(inner)
                    continue
                with pytest.raises(RepositoryNotFound):
                    open_repository(inner)
                made = Journal(inner, seed=99).create()
                assert open_repository(inner).id == made.id
                with pytest.raises(RepositoryExists):
                    Journal(inner).create()
            else:
                assert at >= 5
                break
        else:
            pytest.fail("creation never ended")


def test_two_creations_at_once_become_one() -> None:
    inner = MemoryStore()
    others: list[Repository] = []

    def another(index: int, call: str, name: str) -> None:
        if name == log_name(0) and not others:
            others.append(Journal(inner, seed=7).create())

    with pytest.raises(RepositoryExists):
        Journal(FaultyStore(inner, before=another)).create()
    assert open_repository(inner).id == others[0].id


def test_a_lost_answer_does_not_make_a_creation_fail() -> None:
    inner = MemoryStore()
    for every in (1, 2, 3):
        store = RetryingStore(FaultyStore.failing(inner, every=every + 1, applied=True), pause=lambda seconds: None)
        inner.objects.clear()
        made = Journal(store).create()
        assert open_repository(inner).id == made.id


def test_a_lost_repository_document_is_written_again_by_init(journal: Journal) -> None:
    made = journal.create()
    backup(made, [piece(ORDERS, 0, 3)])
    document = journal.store.get(REPOSITORY)
    journal.store.delete(REPOSITORY)
    with pytest.raises(RepositoryNotFound):
        journal.open()
    assert journal.create().id == made.id
    assert journal.store.get(REPOSITORY) == document
    assert len(journal.open().points()) == 1


@pytest.mark.fault("S16")
def test_a_store_that_overwrites_is_refused() -> None:
    class Overwriting(WrappedStore):
        def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
            self.inner.objects[name] = bytes(data)  # type: ignore[attr-defined]

    class SaysSoButOverwrites(Overwriting):
        def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
            there = name in self.inner.objects  # type: ignore[attr-defined]
            super().put_new(name, data)
            if there:
                raise ObjectExists(name)

    for kind in (Overwriting, SaysSoButOverwrites):
        inner = MemoryStore()
        with pytest.raises(StoreNotCreateOnly):
            Journal(kind(inner)).create()
        assert inner.objects == {}


def test_could_not_read_is_never_does_not_exist() -> None:
    inner = MemoryStore()
    repository = Journal(inner).create()
    backup(repository, [piece(ORDERS, 0, 1)])

    def unreadable(index: int, call: str, name: str) -> None:
        if call in ("get", "head") and name == log_name(1):
            raise StoreError("input/output error")

    with pytest.raises(StoreError, match="input/output"):
        open_repository(FaultyStore(inner, before=unreadable))


@pytest.mark.parametrize(
    "hint", [None, b"", b"0\n", b"3", b"4\n", b"999999999999\n", b"-1", b"x" * 10**6, b"5\n5", b"1e3"]
)
def test_the_hint_is_advice_only(journal: Journal, hint: bytes | None) -> None:
    repository = journal.create()
    for number in range(5):
        backup(repository, [piece(ORDERS, number * 3, 1)])
    journal.store.delete(HINT_HEAD)
    if hint is not None:
        journal.store.put_hint(HINT_HEAD, hint)
    assert journal.open().state == repository.state
    assert chain.find_head(journal.store, -1) == 5


def test_the_head_is_found_in_few_questions() -> None:
    inner = MemoryStore()
    for number in range(3000):
        inner.put_new(log_name(number), b"")
    for hint, known, most in ((None, -1, 30), (b"2999\n", -1, 4), (b"2000\n", -1, 25), (None, 2990, 12)):
        store = CountingStore(inner)
        inner.delete(HINT_HEAD)
        if hint is not None:
            inner.put_hint(HINT_HEAD, hint)
        assert chain.find_head(store, known) == 2999
        assert store.calls["head"] <= most


def test_a_hole_in_the_log_stops_the_reader(journal: Journal) -> None:
    repository = journal.create()
    for number in range(5):
        backup(repository, [piece(ORDERS, number * 3, 1)])
    journal.store.delete(log_name(3))
    with pytest.raises(CorruptChain, match="commit 3 is missing although commit 5 is there") as raised:
        journal.open()
    assert raised.value.exit_code == 20


def test_commits_in_parallel_are_read_in_order(journal: Journal) -> None:
    class Far(WrappedStore):
        @property
        def capabilities(self):  # type: ignore[no-untyped-def]
            from kafkeep.repository.stores.base import Capabilities

            return Capabilities(durable=False, parallel_reads=4)

    repository = journal.create()
    for number in range(30):
        backup(repository, [piece(ORDERS, number * 3, 1)])
    assert open_repository(Far(journal.store)).state == repository.state
    journal.store.delete(log_name(17))
    with pytest.raises(CorruptChain, match="commit 17 is missing"):
        open_repository(Far(journal.store))


def test_required_features_that_are_unknown_stop_only_what_needs_them(journal: Journal) -> None:
    journal.create()
    for operation, read, append in (("read", False, False), ("append", True, False), ("prune", True, True)):
        store = MemoryStore()
        for name in (REPOSITORY, log_name(0)):
            kind = Kind.REPOSITORY if name == REPOSITORY else Kind.COMMIT
            value = unwrap(journal.store.get(name), kind, name)
            about = value if name == REPOSITORY else value["body"]["repository"]  # type: ignore[index]
            about["features_required"][operation] = ["sealed-packs"]  # type: ignore[index, call-overload]
            store.put_new(name, wrap(kind, value))
        if not read:
            with pytest.raises(UnknownFormat, match="sealed-packs") as raised:
                open_repository(store)
            assert raised.value.exit_code == 23
            continue
        repository = open_repository(store)
        if append:
            backup(repository, [piece(ORDERS, 0, 1)])
        else:
            with pytest.raises(UnknownFormat, match="append"):
                repository.pack_writer()
            with pytest.raises(UnknownFormat, match="append"):
                repository.commit(draft(open_=opened(ORDERS)))


def test_a_later_format_is_unknown_before_anything_else_is_looked_at(journal: Journal) -> None:
    store = MemoryStore()
    store.put_new(REPOSITORY, wrap(Kind.REPOSITORY, {"format": 2, "all else": "is new"}))
    with pytest.raises(UnknownFormat, match="format 2"):
        open_repository(store)


def test_unknown_optional_fields_are_left_alone(journal: Journal) -> None:
    journal.create()
    store = MemoryStore()
    for name in (REPOSITORY, log_name(0)):
        kind = Kind.REPOSITORY if name == REPOSITORY else Kind.COMMIT
        value = unwrap(journal.store.get(name), kind, name)
        value["note"] = {"of a later": ["version"]}  # type: ignore[index, call-overload]
        store.put_new(name, wrap(kind, value))
    repository = open_repository(store)
    backup(repository, [piece(ORDERS, 0, 1)])
    assert open_repository(store).state.head == 1


def test_the_document_of_another_repository_is_noticed(journal: Journal) -> None:
    journal.create()
    other = MemoryStore()
    Journal(other, seed=5).create()
    journal.store.delete(REPOSITORY)
    journal.store.put_new(REPOSITORY, other.get(REPOSITORY))
    with pytest.raises(CorruptChain, match="another repository"):
        journal.open()

"""Stores that replace what they should only create: what takes the place of the store's refusal, and the lease."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.overwriting import OverwritingStore
from tests.support.readers import reader_of, same_state
from tests.support.repositories import Journal, backup, contents, generation, open_repository, piece
from tests.support.sweep_command import Kafkeep

from kafkeep.copying.run import copy, prepare
from kafkeep.errors import HeldByAnotherWriter, ObjectExists, StoreNotCreateOnly, StoreUnavailable, UnknownFormat
from kafkeep.repository.format import MANY, SINGLE, decode_repository, encode_repository
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores import single
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.single import DEAD_SECONDS, FREE, HINT_WRITER, Lease, SingleWriterStore
from kafkeep.repository.stores.wrappers import FaultyStore
from kafkeep.verify.run import verify

NAME = "log/000000000000"
NEVER = 1e6


class Watch:
    """A clock that a pause moves on; `meanwhile` happens in every pause."""

    def __init__(self, meanwhile: Callable[[float], None] = lambda seconds: None) -> None:
        self.time = 0.0
        self.meanwhile = meanwhile

    def clock(self) -> float:
        return self.time

    def pause(self, seconds: float) -> None:
        self.time += seconds
        self.meanwhile(self.time)


def lease(store: MemoryStore, identity: str, watch: Watch | None = None) -> Lease:
    watch = Watch() if watch is None else watch
    return Lease(store, identity, clock=watch.clock, pause=watch.pause, renew_seconds=NEVER)


def guarded(store: MemoryStore, identity: str = "one", watch: Watch | None = None) -> SingleWriterStore:
    watch = Watch() if watch is None else watch
    return SingleWriterStore(store, identity, clock=watch.clock, pause=watch.pause, renew_seconds=NEVER)


# --- the lease -------------------------------------------------------------------------------------------------------


def test_the_second_of_two_is_refused_while_the_first_lives() -> None:
    store = MemoryStore()
    first = lease(store, "one")
    first.hold()

    def renewed(moment: float) -> None:
        store.put_hint(HINT_WRITER, b"one %d\n" % moment)

    watch = Watch(renewed)
    with pytest.raises(HeldByAnotherWriter, match="another one is at work"):
        lease(store, "two", watch).hold()
    assert watch.time < DEAD_SECONDS, "a change is a sign of life: nothing is left to wait for"


def test_what_does_not_change_was_left_by_a_dead_writer_by_the_watchers_own_clock() -> None:
    store = MemoryStore()
    store.put_hint(HINT_WRITER, b"one 4711\n")
    watch = Watch()
    second = lease(store, "two", watch)
    second.hold()
    assert watch.time >= DEAD_SECONDS
    assert store.get(HINT_WRITER).startswith(b"two ")
    second.check()


def test_a_lease_that_was_given_back_is_free_at_once() -> None:
    store = MemoryStore()
    first = lease(store, "one")
    first.hold()
    first.release()
    assert store.get(HINT_WRITER) == FREE
    watch = Watch()
    lease(store, "two", watch).hold()
    assert watch.time < DEAD_SECONDS / 10


def test_of_two_that_found_it_free_together_the_later_one_has_it() -> None:
    store = MemoryStore()
    watch = Watch(lambda moment: store.put_hint(HINT_WRITER, b"two 1\n"))
    with pytest.raises(HeldByAnotherWriter):
        lease(store, "one", watch).hold()
    assert store.get(HINT_WRITER) == b"two 1\n"


def test_a_writer_that_was_stopped_too_long_finds_out_and_gives_nothing_back() -> None:
    store = MemoryStore()
    first, second = lease(store, "one"), lease(store, "two")
    first.hold()
    second.hold()  # the first has been silent for longer than the second's patience
    for ask in (first.check, first.hold, first.check):
        with pytest.raises(HeldByAnotherWriter):
            ask()
    first.release()
    second.check()


def test_a_lease_is_renewed_while_it_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    held = Lease(store, "one", pause=lambda seconds: None, renew_seconds=0.01)
    held.hold()
    seen = {store.get(HINT_WRITER)}
    while len(seen) < 4:
        seen.add(store.get(HINT_WRITER))
    held.check()
    held.release()
    assert store.get(HINT_WRITER) == FREE


# --- creations -------------------------------------------------------------------------------------------------------


def test_a_name_is_looked_for_before_it_is_made() -> None:
    store = OverwritingStore()
    one = guarded(store)
    one.put_new(NAME, b"first")
    with pytest.raises(ObjectExists):
        one.put_new(NAME, b"second")
    with one.open_new() as upload:
        upload.write(b"third")
        with pytest.raises(ObjectExists):
            upload.publish(NAME)
    assert store.get(NAME) == b"first"


@pytest.mark.parametrize("size", [0, 1, single.BLOCK_BYTES, single.BLOCK_BYTES + 1])
def test_what_was_made_is_read_back_before_it_counts(size: int) -> None:
    """Whatever of it comes back otherwise, by another writer or by the store, the creation has not succeeded."""
    one = guarded(OverwritingStore())
    one.put_new(NAME, b"x" * size)
    assert one.get(NAME) == b"x" * size

    def replaced(index: int, call: str, name: str) -> None:
        if call in ("put_new", "publish") and name == NAME:
            store.objects[NAME] = b"y" * max(size, 1)

    store = OverwritingStore()
    disturbed = guarded(FaultyStore(store, after=replaced))  # type: ignore[arg-type]
    with pytest.raises(ObjectExists, match="another one than was made"):
        disturbed.put_new(NAME, b"x" * size)
    store.objects.pop(NAME)
    with disturbed.open_new() as upload, pytest.raises(ObjectExists, match="another one than was made"):
        upload.write(b"x" * size)
        upload.publish(NAME)


def test_an_object_that_does_not_show_leaves_the_outcome_open() -> None:
    store = OverwritingStore()

    def lost(index: int, call: str, name: str) -> None:
        if call == "put_new":
            store.objects.pop(name, None)

    with pytest.raises(StoreUnavailable, match="cannot be read back") as caught:
        guarded(FaultyStore(store, after=lost)).put_new(NAME, b"x")  # type: ignore[arg-type]
    assert caught.value.retryable


def test_a_second_writer_changes_nothing_but_may_leave_reports() -> None:
    store = OverwritingStore()
    one = guarded(store)
    one.put_new(NAME, b"x")
    alive = Watch(lambda moment: store.put_hint(HINT_WRITER, b"one %d\n" % moment))
    two = guarded(store, "two", alive)
    before = {name for name in store.objects if name != HINT_WRITER}
    for change in (
        lambda: two.put_new("log/000000000001", b"x"),
        two.open_new,
        lambda: two.put_hint("hint/head", b"0\n"),
        lambda: two.delete(NAME),
    ):
        with pytest.raises(HeldByAnotherWriter):
            change()
    assert {name for name in store.objects if name != HINT_WRITER} == before
    two.put_new("audit/2026-11-20/" + "0" * 26, b"a report")
    two.put_new("doc/ab/" + "ab" * 32, b"a document")


# --- repositories ----------------------------------------------------------------------------------------------------


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(single, "LOOK_SECONDS", 0.01)


def test_the_document_says_so_and_older_programs_only_read() -> None:
    repository = Repository.init(OverwritingStore(), now=Journal(MemoryStore()).clock, rng=_dice(), writers=SINGLE)
    about = repository.about
    assert about.writers == SINGLE
    assert decode_repository(encode_repository(about), "it") == about
    required = dict(about.features_required)
    assert required == {"append": ("single-writer",), "prune": ("single-writer",), "read": (), "verify": ()}
    plain = replace(about, writers=MANY, features_required=tuple((name, ()) for name in required))
    assert b"writers" not in encode_repository(plain)
    with pytest.raises(UnknownFormat):
        decode_repository(encode_repository(replace(about, writers="some")), "it")


def test_a_repository_lives_where_nothing_is_create_only(monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)
    store, journal = OverwritingStore(), Journal(MemoryStore())
    with pytest.raises(StoreNotCreateOnly):
        Repository.init(store, now=journal.clock, rng=_dice())
    Repository.init(store, now=journal.clock, rng=_dice(), writers=SINGLE).close()
    for number in range(3):
        with open_repository(store, seed=number) as repository:
            backup(repository, [piece(generation(), 3 * number, 1, seed=number)], name=f"point {number}")
    again = open_repository(store)
    assert [point.name for point in again.points()] == ["point 0", "point 1", "point 2"]
    assert verify(again, level="data").findings == ()
    assert same_state(reader_of(store), again)
    target = MemoryStore()
    copy(again, target, prepare(again, target), now=journal.clock, rng=_dice())
    assert contents(open_repository(target), again.points()[-1]) == contents(again, again.points()[-1])


def test_two_writers_at_once_one_is_refused_and_its_commit_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)
    monkeypatch.setattr(single, "RENEW_SECONDS", 0.001)
    store, journal = OverwritingStore(), Journal(MemoryStore())
    Repository.init(store, now=journal.clock, rng=_dice(), writers=SINGLE).close()
    first = open_repository(store, seed=1)
    backup(first, [piece(generation(), 0, 1)], name="first")
    head = first.state.head
    with pytest.raises(HeldByAnotherWriter), open_repository(store, seed=2) as second:
        backup(second, [piece(generation(), 3, 1)], name="second")
    assert open_repository(store, seed=3).state.head == head
    first.close()
    with open_repository(store, seed=4) as third:
        backup(third, [piece(generation(), 3, 1)], name="third")


def test_commands_take_it_only_when_asked_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder whose links replace, as some network file systems have them."""
    quick(monkeypatch)
    kafkeep, folder = Kafkeep(tmp_path / "home", inside=True), str(tmp_path / "repository")

    def replacing(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int, follow_symlinks: bool) -> None:
        with suppress(FileNotFoundError):
            os.unlink(target, dir_fd=dst_dir_fd)
        link(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks)

    link = os.link
    monkeypatch.setattr(os, "link", replacing)
    assert "--single-writer" in kafkeep("doctor", "store", "--repo", folder).refused(13, "store-not-create-only")
    kafkeep("init", "--repo", folder).refused(13, "store-not-create-only")
    assert kafkeep("init", "--repo", folder, "--single-writer").expect(0)["writers"] == SINGLE
    kafkeep("doctor", "store", "--repo", folder).expect(0)
    for verb in (("points",), ("verify",), ("doctor", "store")):
        said = kafkeep._inside(*verb, "--repo", folder)
        assert said.status == 0
        assert "one writer at a time" in said.out


def _dice() -> random.Random:
    return random.Random(5)

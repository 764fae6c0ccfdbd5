"""Saved states: what is read from one is what the commits say, and what does not count does not count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support import sealed
from tests.support.long_logs import ADMIN_KEY, ORDERS, STARTED, WRITER_KEY, LongLog
from tests.support.repositories import Journal, backup, contents, piece

from kafkeep.errors import CorruptChain, CorruptObject, KeyRefused, PlanRefused, StoreError
from kafkeep.model import Gap
from kafkeep.repository.changes import Pin, RaiseEpoch, Retag, Retire, SaveState, Sweep
from kafkeep.repository.envelope import Kind, canonical, unwrap, wrap
from kafkeep.repository.fold.settling import Layers, Limits
from kafkeep.repository.folding import fold
from kafkeep.repository.format import read_slot
from kafkeep.repository.names import document_name, log_name
from kafkeep.repository.page_store import PageLost, PageStore
from kafkeep.repository.repository import Repository
from kafkeep.repository.roots import NotARoot, checked_root, documents_of, publish_state
from kafkeep.repository.rules import validate
from kafkeep.repository.signing import SigningKey
from kafkeep.repository.state import RootRef, State
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import CountingStore, FaultyStore, WrappedStore
from kafkeep.repository.trust import ADMIN, Distrust, Trust, signed_text

SMALL = Limits(loose=3, page=2, fan_in=2, root=1)
ADMINS = frozenset([ADMIN_KEY.public])
OTHER_KEY = SigningKey(bytes(range(65, 97)))


@pytest.fixture(params=sealed.KINDS)
def log(request: pytest.FixtureRequest) -> Iterator[LongLog]:
    with sealed.encrypted(request.param == "encrypted"):
        found = LongLog(access=sealed.ACCESS if request.param == "encrypted" else LongLog().access)
        found.create(sealed.new_encryption())
        yield found


def lived(log: LongLog) -> Repository:
    """The admin's host, after some of everything that a state can hold."""
    for name in ("one", "two", "three", "four"):
        log.backup(name=name)
    admin = log.open(limits=SMALL)
    points = tuple(point.number for point in admin.points())
    admin.decide(Pin(points[2], "kept", until_tag="release"), started=STARTED)
    admin.decide(Retag(points[1], (("k", "v"),), ()), started=STARTED)
    admin.decide(RaiseEpoch(1), started=STARTED)
    retired = admin.decide(Retire(points[:1], (), "old"), started=STARTED)
    admin.decide(Retire(points[1:2], (), "kept for now"), started=STARTED)
    admin.decide(Sweep((retired,)), started=STARTED)
    admin.decide(Trust(OTHER_KEY.trusted(ADMIN, "second")), started=STARTED)
    return admin


def folded(log: LongLog, repository: Repository) -> State:
    """By nothing but the rules."""
    prev, state = "0" * 64, State()
    for number in range(repository.state.head + 1):
        slot = read_slot(log.store.get(log_name(number)), number, prev, "commit", repository.seal)
        prev, state = slot.digest, fold(state, [slot])
    return state


# --- the fold ----------------------------------------------------------------------------------------------------


def test_a_state_read_from_its_documents_is_the_one_that_was_folded(log: LongLog) -> None:
    admin = lived(log)
    saved = admin.save_state(started=STARTED)
    expected = folded(log, admin)
    assert expected.root == RootRef(saved.number, saved.document) and expected.alarms[:] == []
    found = checked_root(log.store, saved.number, admin.about, ADMINS, admin.seal)
    assert found == expected == admin.state
    assert [contents(admin, point) for point in found.points] == [contents(admin, point) for point in expected.points]
    assert {point.signer for point in found.points} == {WRITER_KEY.id}


def test_what_follows_a_saved_state_is_folded_on(log: LongLog) -> None:
    admin = lived(log)
    number = admin.save_state(started=STARTED).number
    log.backup(name="five")
    second = admin.save_state(started=STARTED)
    assert second.number == number + 2 and second.there > 0, "pages that did not change are written once"
    log.backup(name="six")
    assert log.open().state == folded(log, log.open())
    found = checked_root(log.store, second.number, admin.about, ADMINS, admin.seal)
    assert found.points[-1].name == "five"


def test_documents_of_a_saved_state_are_all_that_was_made_for_it(log: LongLog) -> None:
    admin = lived(log)
    before = set(log.store.objects)  # type: ignore[attr-defined]
    saved = admin.save_state(started=STARTED)
    made = {name for name in log.store.objects if name.startswith("doc/")} - before  # type: ignore[attr-defined]
    assert {document_name(each) for each in documents_of(log.store, saved_ref(admin), admin.seal)} == made
    assert saved.documents - saved.there <= len(made)


def saved_ref(repository: Repository) -> RootRef:
    assert repository.state.root is not None
    return repository.state.root


def test_every_commit_names_the_root_that_stands(log: LongLog) -> None:
    admin = lived(log)
    number = admin.save_state(started=STARTED).number
    writer = log.open(WRITER_KEY)
    outcome = backup(writer, [piece(ORDERS, writer.state.generations[ORDERS].next_offset, 1)])
    assert outcome.commit is not None and outcome.commit.root == number
    for wrong in (None, number - 1, number + 1):
        reason = validate(writer.state, replace(outcome.commit, seq=writer.state.head + 1, root=wrong))
        assert reason is not None and f"commit {number}" in reason


def test_where_commits_are_not_signed_there_are_no_roots() -> None:
    repository = Journal(MemoryStore()).create()
    backup(repository, [piece(ORDERS, 0, 1)])
    for act in (
        lambda: repository.save_state(started=STARTED),
        lambda: repository.decide(SaveState("ab" * 32), started=STARTED),
    ):
        with pytest.raises(PlanRefused, match="not signed"):
            act()
    commit = backup(repository, [piece(ORDERS, 3, 1)]).commit
    assert commit is not None
    reason = validate(repository.state, replace(commit, root=1))
    assert reason == "it names the state saved by commit 1, where no saved state stands"


def test_a_writer_saves_no_state(log: LongLog) -> None:
    log.backup()
    with pytest.raises(KeyRefused, match="may not sign"):
        log.open(WRITER_KEY).save_state(started=STARTED)


def test_a_state_that_differs_from_what_was_remembered_is_not_saved(log: LongLog) -> None:
    admin = lived(log)
    state = admin.state
    known = state.generations[ORDERS]
    gap = Gap(ORDERS, known.runs[0].coverage, "retention", "made up", STARTED)
    wrong = replace(known, gaps=known.gaps.extended([gap]), gap_numbers=known.gap_numbers.extended([1]))
    admin._log.state = replace(state, generations={**state.generations, ORDERS: wrong})
    with pytest.raises(CorruptChain, match="history orders"):
        admin.save_state(started=STARTED)


def test_a_race_that_is_lost_saves_the_newer_state(log: LongLog) -> None:
    admin = lived(log)
    raced: list[int] = []

    class Raced(WrappedStore):
        def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
            if name.startswith("log/") and len(raced) < 2:
                raced.append(log.backup())
            self.inner.put_new(name, data)

    saved = log.open(store=Raced(log.store)).save_state(started=STARTED)
    assert saved.number == admin.state.head + 3
    found = checked_root(log.store, saved.number, admin.about, ADMINS, admin.seal)
    assert found == folded(log, log.open()) and found.points[-1].number == raced[-1]


def test_who_is_always_too_late_is_told(log: LongLog) -> None:
    lived(log)

    class Raced(WrappedStore):
        def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
            if name.startswith("log/"):
                log.open().decide(Pin(log.open().points()[-1].number, "again"), started=STARTED)
            self.inner.put_new(name, data)

    with pytest.raises(PlanRefused, match="others committed 10 times"):
        log.open(store=Raced(log.store)).save_state(started=STARTED)


def test_a_document_that_does_not_read_back_is_not_committed(log: LongLog) -> None:
    admin = lived(log)
    head = admin.state.head

    class Torn(WrappedStore):
        def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
            data = self.inner.get(name, start, length)
            return data[:-1] if name.startswith("doc/") else data

    with pytest.raises(CorruptObject, match="does not read back"):
        log.open(store=Torn(log.store)).save_state(started=STARTED)
    assert log.open().state.head == head


def test_saving_may_die_at_any_call_and_is_done_by_the_next(log: LongLog) -> None:
    admin = lived(log)
    head, objects = admin.state.head, dict(log.store.objects)  # type: ignore[attr-defined]
    for at in range(0, 90, 7):
        inner = MemoryStore()
        inner.objects.update(objects)
        mine = LongLog(store=inner, access=log.access)
        try:
            mine.open(store=FaultyStore.dying(inner, at=at, when="after")).save_state(started=STARTED)
        except BaseException as error:
            if type(error).__name__ != "SimulatedCrash":
                raise
        found = mine.open()
        assert found.state == folded(mine, found)
        assert mine.open().save_state(started=STARTED).number in (head + 1, head + 2)


# --- what counts -------------------------------------------------------------------------------------------------


def reading(log: LongLog, admin: Repository, number: int, acceptable: frozenset[str] = ADMINS) -> State | None:
    """None where it does not count."""
    try:
        return checked_root(log.store, number, admin.about, acceptable, admin.seal)
    except NotARoot:
        return None


def resigned(log: LongLog, admin: Repository, number: int, key: SigningKey | None, **changes: object) -> None:
    """The commit of this number with other fields, signed by `key`."""
    name = log_name(number)
    value: Any = unwrap(log.store.get(name), Kind.COMMIT, name, admin.seal)
    value.update(changes)
    value.pop("signature")
    if key is not None:
        text = signed_text(admin.id, canonical(value))
        value["signature"] = {"key": key.id, "value": key.sign(text)}
    log.store.delete(name)
    log.store.put_new(name, wrap(Kind.COMMIT, value, admin.seal))


@pytest.mark.parametrize(
    "key", [WRITER_KEY, OTHER_KEY, SigningKey(bytes(32)), None], ids=["writer", "later", "any", "none"]
)
def test_a_root_of_whom_the_reader_does_not_know_as_an_admin_does_not_count(
    log: LongLog, key: SigningKey | None
) -> None:
    admin = lived(log)
    number = admin.save_state(started=STARTED).number
    assert reading(log, admin, number) is not None
    resigned(log, admin, number, key)
    assert reading(log, admin, number) is None
    if key is OTHER_KEY:
        assert reading(log, admin, number, frozenset([OTHER_KEY.public])) is not None, "whoever is named for it"


def test_a_signature_of_another_commit_does_not_count(log: LongLog) -> None:
    admin = lived(log)
    number = admin.save_state(started=STARTED).number
    name = log_name(number)
    value: Any = unwrap(log.store.get(name), Kind.COMMIT, name, admin.seal)
    value["tool"] = "another"
    log.store.delete(name)
    log.store.put_new(name, wrap(Kind.COMMIT, value, admin.seal))
    assert reading(log, admin, number) is None


def test_commits_of_other_kinds_are_no_roots(log: LongLog) -> None:
    admin = lived(log)
    assert [reading(log, admin, number) for number in (0, 1, admin.state.head, admin.state.head + 1)] == [None] * 4


Edit = Callable[[dict[str, Any]], None]


def root_edits() -> dict[str, Edit]:
    return {
        "head": lambda root: root.update(head=root["head"] - 1),
        "digest": lambda root: root.update(head_digest="ab" * 32),
        "version": lambda root: root.update(version=2),
        "no head table": lambda root: root["tables"].pop("head"),
        "two head tables": lambda root: root["tables"].update(head=root["tables"]["head"] * 2),
        "no segments": lambda root: root["tables"].pop("segments"),
        "other documents": lambda root: root["tables"].update(points=root["tables"]["packs"]),
        "unknown document": lambda root: root["tables"].update(points=["ab" * 32]),
        "no list": lambda root: root["tables"].update(points="ab" * 32),
        "no tables": lambda root: root.pop("tables"),
    }


@pytest.mark.parametrize("what", sorted(root_edits()))
def test_a_root_document_that_says_something_else_does_not_count(log: LongLog, what: str) -> None:
    admin = lived(log)
    number = admin.save_state(started=STARTED).number
    value: Any = unwrap(log.store.get(document_name(saved_ref(admin).document)), Kind.STATE, "root", admin.seal)
    root_edits()[what](value)
    document = put(log, admin, value)
    resigned(log, admin, number, ADMIN_KEY, body={"document": document})
    assert reading(log, admin, number) is None


def put(log: LongLog, admin: Repository, value: object) -> str:
    from blake3 import blake3

    data = wrap(Kind.STATE, value, admin.seal)
    found = blake3(data).hexdigest()
    if document_name(found) not in log.store.objects:  # type: ignore[attr-defined]
        log.store.put_new(document_name(found), data)
    return found


def head_edits() -> dict[str, Edit]:
    return {
        "of another repository": lambda head: head.update(about="ab" * 32),
        "without trust": lambda head: head.pop("trusted"),
        "with a root that is none": lambda head: head.update(root=[1]),
        "with other pins": lambda head: head.update(pins=[{"point": 1}]),
    }


@pytest.mark.parametrize("what", sorted(head_edits()))
def test_a_table_that_says_something_else_does_not_count(log: LongLog, what: str) -> None:
    admin = lived(log)
    number = admin.save_state(started=STARTED).number
    root: Any = unwrap(log.store.get(document_name(saved_ref(admin).document)), Kind.STATE, "root", admin.seal)
    head: Any = unwrap(log.store.get(document_name(root["tables"]["head"][0])), Kind.STATE, "head", admin.seal)
    head_edits()[what](head)
    root["tables"]["head"] = [put(log, admin, head)]
    resigned(log, admin, number, ADMIN_KEY, body={"document": put(log, admin, root)})
    assert reading(log, admin, number) is None


def test_documents_that_are_missing_or_damaged_do_not_count(log: LongLog) -> None:
    admin = lived(log)
    number = admin.save_state(started=STARTED).number
    document = saved_ref(admin).document
    root: Any = unwrap(log.store.get(document_name(document)), Kind.STATE, "root", admin.seal)
    for each in (document, root["tables"]["points"][0], root["tables"]["segments"][0]):
        name = document_name(each)
        data = log.store.get(name)
        log.store.delete(name)
        assert reading(log, admin, number) is None
        log.store.put_new(name, data[:-1] + bytes([data[-1] ^ 1]))
        assert reading(log, admin, number) is None
        log.store.delete(name)
        log.store.put_new(name, data)
    assert reading(log, admin, number) is not None


def test_what_cannot_be_read_is_not_what_does_not_count(log: LongLog) -> None:
    admin = lived(log)
    number = admin.save_state(started=STARTED).number

    class Down(WrappedStore):
        def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
            if name.startswith("doc/"):
                raise StoreError("the store does not answer", retryable=True)
            return self.inner.get(name, start, length)

    with pytest.raises(StoreError, match="does not answer"):
        checked_root(Down(log.store), number, admin.about, ADMINS, admin.seal)


# --- pages -------------------------------------------------------------------------------------------------------


def test_pages_are_fetched_when_they_are_asked_for_and_kept(log: LongLog, tmp_path: Path) -> None:
    admin = lived(log)
    number = admin.save_state(started=STARTED).number
    documents = len(documents_of(log.store, saved_ref(admin), admin.seal))
    counting = CountingStore(log.store)
    found = checked_root(counting, number, admin.about, ADMINS, admin.seal)
    tables = counting.calls["get"]
    assert [known.next_offset for known in found.generations.values()] and found.points[-1].number
    assert found.generations[ORDERS].runs[-1].coverage.stop and counting.calls["get"] == tables, (
        "the last run is a table's"
    )
    assert found == folded(log, admin)
    everything = counting.calls["get"]
    assert tables < documents + 1 <= everything
    assert found == folded(log, admin)
    assert counting.calls["get"] == everything, "what was fetched is kept"
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_is_nowhere_is_lost_and_whatever_refers_to_it_is_doubted(log: LongLog, tmp_path: Path) -> None:
    admin = lived(log)
    admin.save_state(started=STARTED)
    admin.close()
    with log.open(cache_dir=tmp_path) as known:
        page = next(each for each in pages_of(log, known) if document_name(each) in log.store.objects)  # type: ignore[attr-defined]
        kept = {name: log.store.get(document_name(name)) for name in pages_of(log, known)}
    for each in kept:
        log.store.delete(document_name(each))
    with log.open(cache_dir=tmp_path) as known:
        assert known.state.head == admin.state.head
        with pytest.raises(PageLost):
            list(known.state.generations[ORDERS].runs[:-1])
    for each, data in kept.items():
        log.store.put_new(document_name(each), data)
    with log.open(cache_dir=tmp_path) as known:
        assert known.state == folded(log, known)
    assert page in kept


def pages_of(log: LongLog, repository: Repository) -> list[str]:
    root: Any = unwrap(log.store.get(document_name(saved_ref(repository).document)), Kind.STATE, "", repository.seal)
    found: list[str] = []
    for each in root["tables"]["segments"]:
        table: Any = unwrap(log.store.get(document_name(each)), Kind.STATE, "", repository.seal)
        found += table["pages"]
    return found


class Noting(WrappedStore):
    """Knows what was read."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.read: list[str] = []

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        self.read.append(name)
        return self.inner.get(name, start, length)


def test_a_cache_that_began_at_a_saved_state_is_used_again(log: LongLog, tmp_path: Path) -> None:
    admin = lived(log)
    admin.save_state(started=STARTED)
    admin.close()
    with log.open(cache_dir=tmp_path) as first:
        expected = folded(log, first)
    log.backup(name="five")
    noting = Noting(log.store)
    with log.open(cache_dir=tmp_path, store=noting) as again:
        assert not any(name.startswith("doc/") for name in noting.read), "tables are in the cache"
        assert again.state.points[-1].name == "five"
        assert again.state.generations[ORDERS].runs[0] == expected.generations[ORDERS].runs[0]
        assert again.state == folded(log, again)


def test_a_publication_needs_pages(log: LongLog) -> None:
    admin = lived(log)
    admin._log.state = replace(folded(log, admin), layers=Layers())
    with pytest.raises(ValueError, match="pages"):
        publish_state(admin.store, admin.state, admin.seal)


def test_many_pages_are_fetched_side_by_side(log: LongLog) -> None:
    admin = lived(log)
    admin.save_state(started=STARTED)
    pages = [bytes.fromhex(each) for each in pages_of(log, admin)]
    fetched: list[bytes] = []

    def source(page: bytes) -> bytes | None:
        fetched.append(page)
        return log.store.get(document_name(page.hex()))

    store = PageStore(None, admin.seal, source=source)
    store.ahead(pages)
    assert sorted(fetched) == sorted(pages) and len(pages) > 4
    assert [store.data(page) for page in pages] and len(fetched) == len(pages)


def test_trust_that_is_taken_back_later_leaves_the_root(log: LongLog) -> None:
    admin = lived(log)
    other = log.open(OTHER_KEY)
    other.save_state(started=STARTED)
    log.open(ADMIN_KEY).decide(Distrust(OTHER_KEY.public), started=STARTED)
    found = log.open(ADMIN_KEY)
    assert found.state == folded(log, found)
    assert found.state.root == other.state.root
    assert admin.refresh() == found.state
    assert OTHER_KEY.public not in {key.public for key in found.state.trusted}

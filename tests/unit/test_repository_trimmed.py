"""Logs that were trimmed: finding the head, where reading begins, and that nobody writes into the past unnoticed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.long_logs import (
    ADMIN_KEY,
    ORDERS,
    STARTED,
    WRITER_KEY,
    LongLog,
    append_small,
    long_log,
    next_pieces,
)
from tests.support.repositories import backup, draft, piece, write_pack

from kafkeep.errors import CorruptChain, ObjectExists
from kafkeep.repository import chain, names
from kafkeep.repository.changes import Pin, RaiseEpoch
from kafkeep.repository.envelope import Kind, wrap
from kafkeep.repository.format import encode_commit, read_slot, unsigned_text
from kafkeep.repository.names import HINT_HEAD, log_name, next_milestone
from kafkeep.repository.page_store import PageLost
from kafkeep.repository.repository import Repository
from kafkeep.repository.roots import documents_of
from kafkeep.repository.signing import SigningKey
from kafkeep.repository.state import State
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import CountingStore, WrappedStore
from kafkeep.repository.trust import ADMIN, Distrust, Signature, Trust, signed_text

SECOND_KEY = SigningKey(bytes(range(65, 97)))
MILESTONE = 32
"""Instead of 4096: such logs are made quickly."""


@pytest.fixture(autouse=True)
def milestones(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (names, chain):
        monkeypatch.setattr(module, "MILESTONE", MILESTONE)


# --- beginning ---------------------------------------------------------------------------------------------------


def trim(log: LongLog, below: int) -> None:
    """As far as that is allowed below a root."""
    head = chain.find_head(log.store, 0)
    for number in range(1, below):
        if number % MILESTONE and next_milestone(number) <= head:
            log.store.delete(log_name(number))


def saved(log: LongLog | None = None) -> tuple[LongLog, State]:
    """A long log, its state saved at the end, and the state then."""
    found = long_log(40) if log is None else log
    with found.open() as admin:
        admin.save_state(started=STARTED)
        return found, admin.state


def test_a_trimmed_log_is_read_from_the_root_on() -> None:
    log, state = saved()
    trim(log, state.head)
    number = log.backup(name="later")
    for hint in (b"0\n", b"32\n", b"no number", b"%d\n" % state.head, None):
        log.store.delete(HINT_HEAD) if hint is None else log.store.put_hint(HINT_HEAD, hint)
        counting = CountingStore(log.store)
        with log.open(store=counting) as found:
            assert found.state.head == number
            assert [point.name for point in found.points()] == ["first", "later"]
            assert found.state.alarms[:] == []
        assert counting.calls["get"] < 40 and counting.calls["head"] <= 40


def test_an_idle_repository_whose_last_commit_saved_the_state_is_read() -> None:
    log, state = saved()
    trim(log, state.head)
    with log.open() as found:
        assert found.state == state
        assert found.refresh() == state


def test_a_log_with_a_root_and_nothing_trimmed_is_read_from_the_root_on() -> None:
    log, state = saved()
    counting = CountingStore(log.store)
    with log.open(store=counting) as found:
        assert found.state == state
    assert counting.calls["get"] < 40


def test_trimming_that_stopped_anywhere_leaves_what_can_be_read() -> None:
    log, state = saved()
    expected = None
    for upto in (1, 2, 3, 20, MILESTONE, MILESTONE + 1, state.head):
        trim(log, upto)
        with log.open() as found:
            expected = found.state if expected is None else expected
            assert found.state == expected == state


Lie = Callable[[LongLog, State], None]


def append(log: LongLog, state: State, key: SigningKey | None, root: int | None, signature: bool = True) -> None:
    """One more commit, right but for who signed it and the root that it names."""
    repository = log.open()
    known = repository.state
    prev = repository.state.head_digest
    commit = replace(
        read_commit_of(log, repository), seq=known.head + 1, prev=prev, root=root, change=RaiseEpoch(known.epoch + 1)
    )
    if key is not None:
        value = key.sign(signed_text(repository.id, unsigned_text(commit)))
        commit = replace(commit, signature=Signature(key.id, value if signature else "00" * 64))
    log.store.put_new(log_name(commit.seq), encode_commit(commit))


def read_commit_of(log: LongLog, repository: Repository) -> object:
    data = log.store.get(log_name(MILESTONE))
    commit = read_slot(data, MILESTONE, None, "", repository.seal).commit
    assert commit is not None
    return replace(commit, kind="epoch", signature=None)


STRANGER = SigningKey(bytes(range(129, 161)))
LIES: dict[str, tuple[SigningKey | None, int | None]] = {
    "names none": (STRANGER, None),
    "is not signed and names none": (None, None),
    "names one before": (STRANGER, 41),
    "names no root": (STRANGER, 36),
    "names what is gone": (STRANGER, 17),
    "names commit 0": (STRANGER, 0),
    "names itself": (STRANGER, 499),
    "by a writer names none": (WRITER_KEY, None),
}


@pytest.mark.parametrize("lie", sorted(LIES))
@pytest.mark.parametrize("trimmed", [True, False])
def test_a_head_that_lies_about_the_root_leads_nobody_astray(lie: str, trimmed: bool) -> None:
    log, _ = saved()
    log.grow_to(50)
    _, state = saved(log)
    if trimmed:
        trim(log, state.head)
    append_small(log.open(), ADMIN_KEY, 3)
    append(log, state, *LIES[lie])
    append(log, state, *LIES[lie])
    with log.open() as found:
        assert found.state.head == state.head + 5
        assert found.state.root == state.root and found.state.epoch == state.epoch + 3
        assert len(found.state.alarms) == 2
        assert found.points() == tuple(state.points)


def test_an_object_that_is_no_commit_ends_the_log_for_all_and_says_so() -> None:
    log, state = saved()
    trim(log, state.head)
    log.store.put_new(log_name(state.head + 1), b"no commit")
    with pytest.raises(CorruptChain, match=f"commit {state.head + 1} cannot be read"):
        log.open()


def test_a_root_by_an_admin_who_is_not_known_is_told_with_what_to_do() -> None:
    log = long_log(40)
    log.open().decide(Trust(SECOND_KEY.trusted(ADMIN, "second")), started=STARTED)
    with log.open(SECOND_KEY) as second:
        second.save_state(started=STARTED)
        state = second.state
    assert log.open().state == state, "what is there is folded"
    trim(log, state.head)
    with pytest.raises(CorruptChain, match=f"signed by {SECOND_KEY.id}, no admin that is known here") as raised:
        log.open()
    assert "`admins`" in raised.value.hint
    assert log.open(admins=frozenset([ADMIN_KEY.public, SECOND_KEY.public])).state == state


def test_only_the_admins_whom_the_settings_name_are_believed() -> None:
    log, state = saved()
    trim(log, state.head)
    with pytest.raises(CorruptChain, match="no admin that is known here"):
        log.open(admins=frozenset([SECOND_KEY.public]))


def test_an_admin_who_was_distrusted_saves_nothing_that_counts_for_who_folds() -> None:
    log = long_log(40)
    log.open().decide(Trust(SECOND_KEY.trusted(ADMIN, "second")), started=STARTED)
    thief = log.open(SECOND_KEY)
    log.open().decide(Distrust(SECOND_KEY.public), started=STARTED)
    thief._log.state = log.open().state
    commit = replace(thief._head_of_next(STARTED), kind="epoch", change=RaiseEpoch(thief.state.epoch + 1))
    value = SECOND_KEY.sign(signed_text(thief.id, unsigned_text(commit)))
    log.store.put_new(log_name(commit.seq), encode_commit(replace(commit, signature=Signature(SECOND_KEY.id, value))))
    assert log.open().state.alarms[-1].number == commit.seq


def test_documents_that_are_gone_leave_the_root_before() -> None:
    log, first = saved()
    log.grow_to(100)
    _, state = saved(log)
    assert state.root is not None
    for each in documents_of(log.store, state.root, None) - documents_of(log.store, first.root, None):  # type: ignore[arg-type]
        log.store.delete(f"doc/{each[:2]}/{each}")
    assert log.open().state == state
    trim(log, first.head)
    assert log.open().state == state
    trim(log, state.head)
    with pytest.raises(CorruptChain, match="does not count"):
        log.open()


# --- those who were away -----------------------------------------------------------------------------------------


@pytest.fixture
def away() -> tuple[LongLog, Repository, State]:
    """A writer that read up to 26 and slept, while the log was saved and trimmed."""
    log = long_log(26)
    sleeper = log.open(WRITER_KEY)
    log.backup(name="meanwhile")
    log.grow_to(40)
    _, state = saved(log)
    trim(log, state.head)
    return log, sleeper, state


def test_who_was_away_reads_on_from_the_root(away: tuple[LongLog, Repository, State]) -> None:
    log, sleeper, state = away
    assert sleeper.refresh() == state
    assert sleeper.refresh() == state
    assert log.open().state == state


def test_a_sleepers_commit_is_made_again_at_the_end(away: tuple[LongLog, Repository, State]) -> None:
    log, sleeper, state = away
    reached = sleeper.state.generations[ORDERS].next_offset
    pack = write_pack(sleeper, [piece(ORDERS, reached, 1)])
    outcome = sleeper.commit(draft(packs=[pack]))
    assert outcome.number is None and len(outcome.dropped_runs) == 1, "others covered it meanwhile"
    assert log.store.get(log_name(27)), "what was left in the trimmed part"
    outcome = backup(sleeper, next_pieces(sleeper), name="awake")
    assert outcome.number == state.head + 1
    with log.open() as found:
        assert [point.name for point in found.points()] == ["first", "meanwhile", "awake"]
        assert found.state.alarms[:] == []


def test_a_sleepers_point_that_still_fits_is_made_once(away: tuple[LongLog, Repository, State]) -> None:
    log, sleeper, state = away
    cuts = tuple(sleeper.points()[0].cuts)
    outcome = sleeper.commit(draft(cuts=cuts, name="late"))
    assert outcome.number == state.head + 1 and outcome.point is not None
    assert [point.name for point in log.open().points()] == ["first", "meanwhile", "late"]


def test_a_sleepers_decision_is_made_again_at_the_end() -> None:
    log = long_log(26)
    sleeper = log.open(ADMIN_KEY)
    log.grow_to(40)
    _, state = saved(log)
    trim(log, state.head)
    point = sleeper.points()[0].number
    assert sleeper.decide(Pin(point, "kept"), started=STARTED) == state.head + 1
    assert log.open().state.pins[point].reason == "kept"


def test_a_commit_behind_which_the_log_went_on_far_is_committed() -> None:
    log = long_log(26)
    others = log.open(ADMIN_KEY)

    class Slow(WrappedStore):
        def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
            self.inner.put_new(name, data)
            if name == log_name(27):
                others.refresh()
                append_small(others, ADMIN_KEY, 100)

    slow = log.open(WRITER_KEY, store=Slow(log.store))
    outcome = backup(slow, next_pieces(slow), name="slow")
    assert outcome.number == 27 and outcome.point is not None
    assert slow.state.head == 127
    assert [point.name for point in log.open().points()] == ["first", "slow"]


def test_a_commit_that_is_in_the_root_already_is_not_made_twice() -> None:
    log = long_log(26)

    class Asleep(WrappedStore):
        """Everything happens between the creation and the question that follows."""

        def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
            self.inner.put_new(name, data)
            if name == log_name(27):
                log.grow_to(40)
                _, state = saved(log)
                trim(log, state.head)

    for act in (lambda it: backup(it, next_pieces(it), name="asleep").number,):
        asleep = log.open(WRITER_KEY, store=Asleep(log.store))
        assert act(asleep) == 27
    assert [point.name for point in log.open().points()] == ["first", "asleep"]


def test_what_a_sleeper_left_is_no_reason_to_stop(away: tuple[LongLog, Repository, State], tmp_path: Path) -> None:
    log, sleeper, state = away
    other = log.open(WRITER_KEY)
    other._log.state = sleeper.state
    with pytest.raises(chain.Trimmed):
        commit = sleeper._signed(replace(sleeper._head_of_next(STARTED), kind="add", cluster_id=state.cluster_id))
        chain.put_commit(log.store, 27, encode_commit(commit), lambda seconds: None)
    assert other.refresh() == state, "it follows on what was known, and leads nowhere"
    assert log.open().state == state


def test_a_cached_host_behind_a_trimming_begins_at_the_root(tmp_path: Path) -> None:
    log = long_log(26)
    log.open(cache_dir=tmp_path).close()
    log.grow_to(40)
    _, state = saved(log)
    trim(log, state.head)
    counting = CountingStore(log.store)
    with log.open(cache_dir=tmp_path, store=counting) as found:
        assert found.state == state
    counting = CountingStore(log.store)
    with log.open(cache_dir=tmp_path, store=counting) as found:
        assert found.state == state
    assert counting.calls["get"] <= 4, "repository document, head, hint, the commit that is not there"


@pytest.mark.parametrize("slot", [26, 31])
def test_a_cached_host_finds_another_commit_in_its_slot_and_begins_at_the_root(slot: int, tmp_path: Path) -> None:
    log = long_log(slot)
    log.open(cache_dir=tmp_path).close()
    log.grow_to(40)
    _, state = saved(log)
    trim(log, state.head)
    log.store.put_new(log_name(slot), wrap(Kind.COMMIT, {"a": 1}))
    with log.open(cache_dir=tmp_path) as found:
        assert found.state == state


def test_a_cached_host_still_notices_a_store_that_was_rolled_back(tmp_path: Path) -> None:
    log = long_log(26)
    log.open(cache_dir=tmp_path).close()
    log.store.delete(log_name(26))
    with pytest.raises(CorruptChain, match="rolled back or replaced"):
        log.open(cache_dir=tmp_path)
    log, state = saved(long_log(31))
    log.grow_to(32)
    log.open(cache_dir=tmp_path / "other").close()
    log.grow_to(40)
    log.store.delete(log_name(state.head))
    log.store.put_new(log_name(state.head), wrap(Kind.COMMIT, {"a": 1}))
    with pytest.raises(CorruptChain, match="another one"):
        log.open(cache_dir=tmp_path / "other")


def test_the_admins_whom_a_host_remembers_are_known(tmp_path: Path) -> None:
    log = long_log(26)
    log.open().decide(Trust(SECOND_KEY.trusted(ADMIN, "second")), started=STARTED)
    log.open(cache_dir=tmp_path).close()
    log.grow_to(40)
    with log.open(SECOND_KEY) as second:
        second.save_state(started=STARTED)
        state = second.state
    trim(log, state.head)
    with pytest.raises(CorruptChain):
        log.open()
    with log.open(cache_dir=tmp_path) as found:
        assert found.state == state


def test_documents_of_an_older_root_may_go_under_a_host_that_has_not_read_them(tmp_path: Path) -> None:
    log, first = saved()
    assert first.root is not None
    host = log.open(cache_dir=tmp_path)
    log.backup(name="later")
    _, state = saved(log)
    assert state.root is not None
    for each in documents_of(log.store, first.root, None) - documents_of(log.store, state.root, None):
        log.store.delete(f"doc/{each[:2]}/{each}")
    assert host.refresh().head == state.head
    try:
        assert host.state == state
    except PageLost:
        host.close()
    with log.open(cache_dir=tmp_path) as again:
        assert again.state == state


def test_unsigned_repositories_are_asked_nothing_more() -> None:
    from tests.support.repositories import Journal

    journal = Journal(MemoryStore())
    repository = journal.create()
    counting = CountingStore(journal.store)
    with journal.open(counting) as found:
        calls = counting.calls["head"]
        found.refresh()
        backup(found, [piece(ORDERS, 0, 1)])
        assert counting.calls["head"] == calls
    assert repository.refresh().head == 1
    with pytest.raises(ObjectExists):
        journal.store.put_new(log_name(1), b"")

"""Trimming a log: what it deletes, what it believes before that, and that everybody reads on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.long_logs import ADMIN_KEY, STARTED, WRITER_KEY, LongLog, append_small, long_log, small_milestones
from tests.support.repositories import Journal
from tests.support.trimmings import UNDO_SECONDS, copied, held, numbers, planned, small_log, trimmed, two_states

from kafkeep.errors import CorruptChain, CorruptObject, KeyRefused, ObjectLocked, PlanRefused, UsageError
from kafkeep.repository.changes import SaveState
from kafkeep.repository.names import document_name, log_name
from kafkeep.repository.probing import Skew
from kafkeep.repository.roots import documents_of
from kafkeep.repository.signing import SigningKey
from kafkeep.repository.state import RootRef
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import FaultyStore
from kafkeep.repository.trust import ADMIN, WRITER, Distrust, Trust
from kafkeep.trimming.run import TRIMMED, prepare, trim
from kafkeep.verify.run import verify


def test_a_long_log() -> None:
    """The real distance of milestones."""
    log = long_log(4200)
    before = held(log)
    result = trimmed(log)
    assert (result.saved, result.deleted_commits) == (4201, 0) and result.saved_documents > 3
    log.clock.advance(days=13)
    assert planned(log, log.open()).nothing_to_do
    log.clock.advance(days=2)
    result = trimmed(log)
    assert (result.saved, result.deleted_commits, result.deleted_documents) == (None, 4095, 0)
    assert numbers(log.store) == [0, 4096, *range(4097, 4202)]
    assert held(log) == before
    assert log.backup(name="later") == 4202
    assert planned(log, log.open()).nothing_to_do


@pytest.fixture
def small() -> Iterator[LongLog]:
    with small_milestones(8):
        yield small_log()


def test_older_states_go_with_their_documents(small: LongLog) -> None:
    log = two_states(small)
    before = held(log)
    plan = planned(log, log.open(), wanted=False)
    assert (plan.bound, plan.commit_count, [each.number for each in plan.leaving]) == (41, 35, [21])
    assert [each.number for each in plan.standing] == [41]
    result = trim(log.open(), plan, now=log.clock)
    assert (result.deleted_commits, result.deleted_documents) == (35, plan.document_count)
    with log.open() as repository:
        root = repository.state.root
        assert root is not None and root.number == 41
        needed = {document_name(found) for found in documents_of(log.store, root, None)}
        needed |= {document_name(found) for point in repository.points() for _, found in point.documents}
    assert {info.name for info in log.store.list("doc/")} == needed
    assert held(log) == before
    assert planned(log, log.open(), wanted=False).nothing_to_do


def test_a_host_that_remembers_goes_on(small: LongLog, tmp_path: Path) -> None:
    log = two_states(small)
    with log.open(cache_dir=tmp_path):
        pass
    open_ones = [log.open(WRITER_KEY), log.open(WRITER_KEY, cache_dir=tmp_path)]
    trimmed(log, wanted=False)
    for repository in open_ones:
        log.backup(repository=repository)
        repository.close()
    with log.open(cache_dir=tmp_path) as repository:
        assert [point.number for point in repository.points()][-2:] == [51, 52]


def test_a_host_that_slept_through_it_writes_behind_it(small: LongLog) -> None:
    """Its slot is free again: the milestone above tells it that the log went on."""
    sleeper, third = small.open(), SigningKey(bytes(range(65, 97)))
    log = two_states(small)
    trimmed(log, wanted=False)
    assert 21 not in numbers(log.store)
    assert sleeper.decide(Trust(third.trusted(WRITER, "third")), started=STARTED) == 51
    assert 21 in numbers(log.store)
    assert third.public in {key.public for key in log.open().state.trusted}
    report = verify(log.store, level="data")
    assert (report.findings, report.begins, report.head) == ((), 41, 51)
    assert trimmed(log, wanted=False).deleted_commits == 1
    assert 21 not in numbers(log.store)


def test_what_a_sleeper_leaves_is_deleted_by_the_next_one(small: LongLog) -> None:
    log = two_states(small)
    first = small.open()
    trimmed(log, wanted=False)
    log.store.put_new(log_name(7), b"of somebody who died")
    log.store.put_new(log_name(30), b"of another")
    plan = planned(log, log.open(), wanted=False)
    assert plan.vouched and list(plan.numbers()) == [7, 30]
    assert verify(log.store).findings == ()
    assert trim(log.open(), plan, now=log.clock).deleted_commits == 2
    assert first.refresh().head == log.open().state.head


def test_unsigned_logs_are_never_trimmed() -> None:
    journal = Journal(MemoryStore())
    with pytest.raises(UsageError, match="not signed"):
        prepare(journal.create(), undo_seconds=UNDO_SECONDS, now=journal.clock)


@pytest.mark.parametrize("key", [WRITER_KEY, None, SigningKey(bytes(range(65, 97)))], ids=["writer", "none", "unknown"])
def test_only_admins_trim(small: LongLog, key: SigningKey | None) -> None:
    log = two_states(small)
    before = numbers(log.store)
    with pytest.raises(KeyRefused):
        trimmed(log, log.open(key), wanted=False)
    assert numbers(log.store) == before
    assert not planned(log, log.open(key)).nothing_to_do


def test_nothing_goes_by_a_wrong_clock(small: LongLog) -> None:
    log = two_states(small)
    plan = planned(log, log.open(), skew=Skew(301.0, True))
    with pytest.raises(PlanRefused, match="ahead of"):
        trim(log.open(), plan, now=log.clock)
    assert 21 in numbers(log.store)


def test_a_state_that_is_not_what_the_commits_say_lets_nothing_go(small: LongLog) -> None:
    """An admin's key was stolen, and a state was saved that another repository's commits would give."""
    other = small.copy()
    log = small
    append_small(other.open(), ADMIN_KEY, 10)
    with other.open() as ahead:
        lie = trimmed(other, ahead, wanted=True)
        assert lie.saved is not None
        root = ahead.state.root
        assert root is not None
        for found in documents_of(other.store, root, None):
            if document_name(found) not in {info.name for info in log.store.list("doc/")}:
                log.store.put_new(document_name(found), other.store.get(document_name(found)))
    with log.open() as repository:
        repository.decide(SaveState(root.document), started=STARTED)
    log.grow_to(30)
    log.clock.advance(days=15)
    before = numbers(log.store)
    with pytest.raises(CorruptChain, match="does not count"):
        trimmed(log, wanted=False)
    assert numbers(log.store) == before
    assert any("does not count" in finding.what for finding in verify(log.store, level="chain").findings)


@pytest.mark.parametrize("which", range(4))
def test_a_state_that_is_not_whole_lets_nothing_go(small: LongLog, which: int) -> None:
    log = two_states(small)
    with log.open() as repository:
        root = repository.state.root
    assert root is not None and isinstance(log.store, MemoryStore)
    doomed = sorted(documents_of(log.store, root, None))[which]
    log.store.objects[document_name(doomed)] = b"damaged"
    before = numbers(log.store)
    with pytest.raises((CorruptChain, CorruptObject)):
        trimmed(log, log.open(), wanted=False)
    assert numbers(log.store) == before


def test_a_report_vouches_only_when_an_admin_signed_it(small: LongLog) -> None:
    """After a trimming that was stopped nothing can be held against the state any more; a writer's word is not enough."""
    log = two_states(small)
    store = copied(log.store)
    for number in (5, 30):
        store.delete(log_name(number))
    stopped = LongLog(store=store, clock=log.clock)
    plan = planned(stopped, stopped.open(), wanted=False)
    assert not plan.deletes and len(plan.remarks) == 2
    told = {"commit": 41, "document": _document(stopped)}
    stopped.open(WRITER_KEY).put_audit(TRIMMED, told)
    stopped.open(None).put_audit(TRIMMED, told)
    stopped.open(WRITER_KEY).put_audit(TRIMMED, {"commit": [41], "document": {}})
    stopped.open().put_audit(TRIMMED, told | {"document": "0" * 64})
    assert not planned(stopped, stopped.open(), wanted=False).deletes
    stopped.open().put_audit(TRIMMED, told)
    assert trimmed(stopped, wanted=False).deleted_commits == 33
    assert held(stopped) == held(log)


def test_only_documents_that_were_written_are_counted(small: LongLog) -> None:
    """A second state shares pages with the first."""
    first = trimmed(small, wanted=True)
    second = trimmed(small, wanted=True)
    assert first.saved_documents > second.saved_documents > 0
    assert first.saved_bytes > second.saved_bytes > 0
    assert second.saved_documents < len(documents_of(small.store, _root(small), None))


def _root(log: LongLog) -> RootRef:
    root = log.open().state.root
    assert root is not None
    return root


def _document(log: LongLog) -> str:
    return _root(log).document


def test_a_signer_whom_no_newcomer_knows(small: LongLog) -> None:
    """Who opens the repository for the first time goes by the repository document, or by its settings."""
    second = SigningKey(bytes(range(65, 97)))
    log = small
    log.open().decide(Trust(second.trusted(ADMIN, "second")), started=STARTED)
    with log.open(second) as repository:
        trimmed(log, repository, wanted=True)
    log.grow_to(40)
    log.clock.advance(days=15)
    plan = planned(log, log.open(second), wanted=False)
    assert plan.commits and "neither" in plan.refusals[0]
    with pytest.raises(PlanRefused):
        trim(log.open(second), plan, now=log.clock)
    knowing = log.open(second, admins=frozenset({ADMIN_KEY.public, second.public}))
    plan = planned(log, knowing, wanted=False)
    assert plan.refusals == () and "every host needs it" in plan.remarks[0]
    assert trim(knowing, plan, now=log.clock).deleted_commits > 10
    assert log.open(None, admins=frozenset({ADMIN_KEY.public, second.public})).state.head == 40
    with pytest.raises(CorruptChain, match="no admin that is known here"):
        log.open(None)


def test_a_distrusted_admins_state_still_stands(small: LongLog) -> None:
    """What it signed before stays."""
    second = SigningKey(bytes(range(65, 97)))
    log = two_states(small)
    with log.open() as repository:
        repository.decide(Trust(second.trusted(ADMIN)), started=STARTED)
    with log.open(second) as repository:
        repository.decide(Distrust(ADMIN_KEY.public), started=STARTED)
        assert trimmed(log, repository, wanted=False).deleted_commits == 35
    assert log.open(None).state.head == 52


def test_what_the_store_has_locked_goes_later(small: LongLog) -> None:
    log = two_states(small)
    locked = {log_name(5), log_name(21)}

    def lock(index: int, call: str, name: str) -> None:
        if call == "delete" and name in locked:
            raise ObjectLocked(f"{name} is locked until tomorrow")

    store = FaultyStore(log.store, before=lock)
    result = trimmed(log, log.open(store=store), wanted=False)
    assert {failure.subject for failure in result.locked} == locked and result.failures == ()
    assert (result.deleted_commits, result.deleted_documents) == (33, 0)
    assert verify(log.store).findings == ()
    locked.clear()
    result = trimmed(log, log.open(store=store), wanted=False)
    assert result.deleted_commits == 2 and result.deleted_documents > 5
    assert verify(log.store).findings == ()


def test_documents_that_cannot_be_deleted_go_later(small: LongLog) -> None:
    log = two_states(small)
    plan = planned(log, log.open(), wanted=False)
    locked = {document_name(plan.leaving[0].documents[0])}

    def lock(index: int, call: str, name: str) -> None:
        if call == "delete" and name in locked:
            raise ObjectLocked(f"{name} is locked until tomorrow")

    store = FaultyStore(log.store, before=lock)
    result = trim(log.open(store=store), plan, now=log.clock)
    assert result.deleted_commits == 35 and len(result.locked) == 1
    locked.clear()
    again = planned(log, log.open(store=store), wanted=False)
    assert again.commits == () and again.document_count > 0 and again.vouched
    assert trim(log.open(store=store), again, now=log.clock).deleted_documents == again.document_count
    assert planned(log, log.open(), wanted=False).nothing_to_do

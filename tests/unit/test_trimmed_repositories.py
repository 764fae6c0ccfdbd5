"""What reads a whole log reads a trimmed one: verify, copy, repair, rebuild, locks, and who may open it since when."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from tests.support.long_logs import ADMIN_KEY, WRITER_KEY, LongLog, small_milestones
from tests.support.trimmings import copied, held, numbers, small_log, trimmed, two_states

from kafkeep.copying.run import copy
from kafkeep.copying.run import prepare as prepare_copy
from kafkeep.errors import ObjectNotFound, PlanRefused
from kafkeep.keys.recipients import listing
from kafkeep.mending.diagnosis import prepare as prepare_repair
from kafkeep.mending.plan import COPY
from kafkeep.mending.rebuilding import prepare as prepare_rebuild
from kafkeep.mending.rebuilding import rebuild
from kafkeep.mending.repairing import repair
from kafkeep.repository.identities import Identity
from kafkeep.repository.keyring import Access, NewEncryption
from kafkeep.repository.names import document_name, log_name
from kafkeep.repository.roots import documents_of
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.topic_keys import AddRecipient, RecipientEntry
from kafkeep.retention.locks import Needed
from kafkeep.retention.signers import find_signers
from kafkeep.state_reading import SavedDocuments
from kafkeep.verify.run import verify

STARTED = "2026-11-20T10:00:00Z"


@pytest.fixture(autouse=True, scope="module")
def milestones() -> Iterator[None]:
    with small_milestones(8):
        yield


@pytest.fixture
def whole() -> LongLog:
    """States saved by commits 21 and 41, nothing deleted, commit 50 the head."""
    return two_states(small_log())


@pytest.fixture
def log(whole: LongLog) -> LongLog:
    """The same, trimmed to the state of commit 41."""
    assert trimmed(whole, wanted=False).deleted_commits == 35
    return whole


def objects(log: LongLog) -> dict[str, bytes]:
    assert isinstance(log.store, MemoryStore)
    return log.store.objects


def documents(log: LongLog) -> list[str]:
    """Names of those of the newest saved state."""
    with log.open() as repository:
        root = repository.state.root
    assert root is not None
    return sorted(map(document_name, documents_of(log.store, root, None)))


def found_at(log: LongLog, level: str) -> set[str]:
    return {finding.object for finding in verify(log.store, level=level).findings}


# --- verify ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["chain", "exist", "objects", "data"])
def test_a_log_with_states_and_a_trimmed_one_are_whole(whole: LongLog, level: str) -> None:
    report = verify(whole.store, level=level)
    assert (report.findings, report.alarms, report.begins, report.head) == ((), (), None, 50)
    trimmed(whole, wanted=False)
    report = verify(whole.store, level=level)
    assert (report.findings, report.alarms, report.begins, report.head) == ((), (), 41, 50)
    assert verify(whole.open(None), level=level).findings == ()


def test_a_missing_milestone_is_damage(log: LongLog) -> None:
    del objects(log)[log_name(16)]
    assert found_at(log, "chain") == {log_name(16)}
    objects(log)[log_name(16)] = objects(log)[log_name(24)]
    assert found_at(log, "chain") == {log_name(16)}


@pytest.mark.parametrize("number", [42, 47, 48, 49])
def test_a_missing_commit_above_the_state_is_damage(log: LongLog, number: int) -> None:
    del objects(log)[log_name(number)]
    assert found_at(log, "chain") == {log_name(number)}


def test_a_log_that_is_cut_off_is_noticed(log: LongLog) -> None:
    with log.open() as repository:
        for number in (48, 49, 50):
            del objects(log)[log_name(number)]
        report = verify(repository, level="chain")
    assert {finding.object for finding in report.findings} == {log_name(48)}
    assert report.begins == 41


def test_every_document_of_a_state_is_looked_at(log: LongLog) -> None:
    for name in documents(log):
        for damage, level in ((None, "exist"), (b"other", "objects")):
            damaged = LongLog(store=copied(log.store), clock=log.clock)
            if damage is None:
                del objects(damaged)[name]
            else:
                objects(damaged)[name] = damage
            assert name in found_at(damaged, level), name


def test_a_damaged_commit_of_a_whole_log_is_damage(whole: LongLog) -> None:
    objects(whole)[log_name(30)] = b"damaged"
    assert found_at(whole, "chain") == {log_name(30)}
    objects(whole)[log_name(30)] = objects(whole)[log_name(31)]
    assert found_at(whole, "chain") == {log_name(30)}


def test_a_missing_commit_that_a_state_stands_for_is_none(whole: LongLog) -> None:
    del objects(whole)[log_name(30)]
    report = verify(whole.store)
    assert (report.findings, report.begins) == ((), 41)


# --- copy ------------------------------------------------------------------------------------------------------------


def copied_to(log: LongLog, target: Store) -> None:
    with log.open() as source:
        plan = prepare_copy(source, target)
        copy(source, target, plan, now=log.clock, rng=random.Random(5))
        assert prepare_copy(source, target).nothing_to_do


def seen(log: LongLog, store: Store) -> LongLog:
    return LongLog(store=store, clock=log.clock, seed=log.seed)


def test_a_copy_has_what_is_there(whole: LongLog) -> None:
    early, late = MemoryStore("early"), MemoryStore("late")
    copied_to(whole, early)
    assert numbers(early) == list(range(51))
    trimmed(whole, wanted=False)
    copied_to(whole, late)
    assert numbers(late) == numbers(whole.store)
    assert held(seen(whole, late)) == held(whole)
    assert verify(late, level="data").findings == ()
    whole.backup(name="more")
    for target in (early, late):
        copied_to(whole, target)
        assert held(seen(whole, target)) == held(whole)
        assert verify(target, level="data").findings == ()


def test_a_copy_far_behind_begins_at_the_state(whole: LongLog) -> None:
    """At no moment does whoever reads it find a hole."""
    target = MemoryStore("behind")
    early = MemoryStore("early")
    early.objects = {name: data for name, data in objects(whole).items() if not name.startswith("log/")}
    early.objects |= {log_name(number): objects(whole)[log_name(number)] for number in range(11)}
    target.objects = dict(early.objects)
    trimmed(whole, wanted=False)
    with whole.open() as source:
        plan = prepare_copy(source, target)
        assert (plan.target_head, plan.begins, plan.milestones, plan.commits) == (10, 41, (16, 24, 32, 40), 14)

    class Watched(MemoryStore):
        def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
            super().put_new(name, data)
            if name.startswith("log/"):
                heads.append(seen(whole, self).open(None).state.head)

    heads: list[int] = []
    watched = Watched("watched")
    watched.objects = dict(early.objects)
    copied_to(whole, watched)
    assert heads[0] == 10 and heads[-1] == 50 and heads == sorted(heads)
    assert held(seen(whole, watched)) == held(whole)
    assert verify(watched, level="data").findings == ()


def test_a_copy_stopped_anywhere_goes_on(log: LongLog) -> None:
    whole_copy = MemoryStore("whole")
    copied_to(log, whole_copy)
    names = [name for name in whole_copy.objects if name.startswith(("log/", "kafkeep"))]
    for count in range(len(names)):
        part = MemoryStore("part")
        part.objects = {name: data for name, data in whole_copy.objects.items() if name not in names[count:]}
        part.objects.pop("hint/head", None)
        copied_to(log, part)
        assert held(seen(log, part)) == held(log)
        assert numbers(part) == numbers(log.store)


def test_a_copy_of_damage_is_refused(log: LongLog) -> None:
    with log.open() as repository:
        root = repository.state.root
    assert root is not None
    page = next(SavedDocuments(log.store, root, None).pages())
    del objects(log)[document_name(page)]
    target = MemoryStore("target")
    with log.open() as source:
        plan = prepare_copy(source, target)
        with pytest.raises(ObjectNotFound):
            copy(source, target, plan, now=log.clock, rng=random.Random(5))
    assert not any(name.startswith(("log/", "kafkeep")) for name in target.objects)


def test_a_target_with_another_log_is_refused(log: LongLog) -> None:
    target = MemoryStore("target")
    copied_to(log, target)
    target.objects[log_name(50)] = target.objects[log_name(49)]
    with log.open() as source, pytest.raises(PlanRefused, match="commit 50"):
        prepare_copy(source, target)


# --- repair and rebuild ------------------------------------------------------------------------------------------------


def mended(log: LongLog, other: Store) -> tuple[str, ...]:
    """What was put again from the copy."""
    with seen(log, other).open() as from_:
        access = Access(signing_key=ADMIN_KEY)
        plan = prepare_repair(log.store, copy=from_, access=access)
        assert all(each.means == COPY for each in plan.damage)
        done = repair(log.store, plan, copy=from_, now=log.clock, rng=random.Random(9), access=access)
        assert done.left == ()
        return done.put


def test_repair_brings_back_what_is_needed_and_nothing_else(whole: LongLog) -> None:
    """The copy was made before the log was trimmed: it has everything."""
    other = MemoryStore("copy")
    copied_to(whole, other)
    trimmed(whole, wanted=False)
    gone = [log_name(24), log_name(44), documents(whole)[0], documents(whole)[-1]]
    before = set(objects(whole))
    for name in gone:
        del objects(whole)[name]
    assert sorted(mended(whole, other)) == sorted(gone)
    assert {name for name in objects(whole) if not name.startswith(("audit/", "hint/"))} == {
        name for name in before if not name.startswith(("audit/", "hint/"))
    }
    assert verify(whole.store, level="data").findings == ()
    assert mended(whole, other) == ()


def test_repair_from_a_copy_that_was_trimmed(whole: LongLog) -> None:
    other = copied(whole.store)
    trimmed(seen(whole, other), wanted=False)
    del objects(whole)[log_name(44)]
    assert mended(whole, other) == (log_name(44),)
    assert verify(whole.store).findings == ()


def test_the_log_of_a_trimmed_repository_is_built_anew(log: LongLog) -> None:
    """What the state says stays, what came after the hole comes out of packs."""
    log.backup(name="fourth")
    before = held(log)
    del objects(log)[log_name(47)]
    target = MemoryStore("target")
    access = Access(signing_key=ADMIN_KEY)
    plan = prepare_rebuild(log.store, target, now=log.clock, access=access)
    assert (plan.kept, plan.begins) == (46, 41)
    done = rebuild(log.store, target, plan, now=log.clock, rng=random.Random(3), access=access)
    assert numbers(target) == [0, 8, 16, 24, 32, 40, *range(41, done.head + 1)]
    after = held(seen(log, target))
    assert {number: before[number] for number in before if number < 47} == {
        number: after[number] for number in after if number < 47
    }
    assert after[done.point] == before[max(before)]
    assert prepare_rebuild(log.store, target, now=log.clock, access=access).done
    assert verify(target, level="data").findings == ()


# --- locks, signers, recipients ----------------------------------------------------------------------------------------


def test_locks_are_for_what_is_needed(whole: LongLog) -> None:
    with whole.open() as repository:
        early = set(Needed.of(repository, whole.clock()).names())
    assert log_name(30) not in early and log_name(24) in early and log_name(41) in early
    trimmed(whole, wanted=False)
    with whole.open() as repository:
        needed = Needed.of(repository, whole.clock())
        names = list(needed.names())
    assert len(names) == len(set(names))
    kept = {name for name in objects(whole) if not name.startswith(("hint/", "key/"))}
    assert set(names) == kept
    assert needed.may_be_gone(log_name(30)) and not needed.may_be_gone(log_name(24))
    assert not needed.may_be_gone(log_name(44)) and not needed.may_be_gone("kafkeep.json")


def test_states_that_are_young_keep_the_log_locked() -> None:
    log = small_log(20)
    trimmed(log)
    with log.open() as repository:
        names = set(Needed.of(repository, log.clock()).names())
    assert {log_name(number) for number in range(22)} <= names


def test_signers_are_known_without_their_commits(log: LongLog) -> None:
    with log.open() as repository:
        found = find_signers(repository)
    told = {number: (signer.key, signer.trusted) for number, signer in found.items()}
    assert told == dict.fromkeys(held(log), (WRITER_KEY.id, True))


def test_recipients_whose_commit_is_gone() -> None:
    first, second, third = (Identity.generate() for _ in range(3))
    log = LongLog(access=Access(identities=(first,)))
    opened = log.create(NewEncryption((first.recipient("first"),), None))
    log.backup(name="first")
    for identity, name, at in ((second, "second", 20), (third, "third", 50)):
        entry = RecipientEntry(identity.recipient().public, name)
        with log.open() as repository:
            repository.decide(AddRecipient(entry), started=STARTED)
        log.grow_to(at)
        if at == 20:
            trimmed(log)
            log.clock.advance(days=15)
    trimmed(log, wanted=False)
    before = held(log)
    with log.open() as repository:
        since = {line.name: line.since for line in listing(repository).recipients}
    assert since["second"] is None and since["third"] is not None
    assert since["first"] == opened.about.created
    assert held(log) == before and before

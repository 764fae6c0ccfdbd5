"""Logs of encrypted repositories built anew: which keys packs and key objects still tell of, and what is left to say."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from tests.support.encrypted import PASSPHRASE, access, keys_for, quick_slots, topic_keys
from tests.support.readers import reader_of, same_state
from tests.support.repositories import (
    CLUSTER,
    Clock,
    Journal,
    backup,
    contents,
    draft,
    generation,
    open_repository,
    opened,
    piece,
    write_pack,
)
from tests.support.sealed import ACCESS, IDENTITY, OTHER, encrypted

from kafkeep.errors import KeyRefused, PlanRefused
from kafkeep.keys.recipients import add_passphrase, add_recipient, prepare_removal, remove, rotate
from kafkeep.keys.shredding import prepare_shred, shred
from kafkeep.mending import rebuild_log
from kafkeep.mending.rebuild_plan import RebuildPlan
from kafkeep.mending.rebuilding import prepare, rebuild
from kafkeep.model import OffsetRange
from kafkeep.repository.keyring import Access
from kafkeep.repository.names import log_name
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import FaultyStore, SimulatedCrash
from kafkeep.verify.run import verify

ORDERS, PAYMENTS = generation("orders"), generation("payments", topic_id="B" * 22)


@pytest.fixture(autouse=True)
def sealed() -> Iterator[None]:
    with encrypted(), quick_slots():
        yield


def two_topics(store: MemoryStore) -> Repository:
    repository = Journal(store).create()
    backup(repository, [piece(ORDERS, 0, 3), piece(PAYMENTS, 0, 2)])
    rotate(repository, now=Clock())
    backup(repository, [piece(ORDERS, 9, 2), piece(PAYMENTS, 6, 1)])
    return repository


def shredded(repository: Repository, topic: str) -> None:
    shred(repository, prepare_shred(repository, (topic,), reason="gone", confirmed=True), now=Clock())


def without_log(store: MemoryStore, *, since: int = 0) -> MemoryStore:
    """What is left when the commits from `since` on are gone, and the hint."""
    found = MemoryStore("lost")
    found.objects = {
        name: data
        for name, data in store.objects.items()
        if not name.startswith("hint/") and not (name.startswith("log/") and name >= log_name(since))
    }
    if since:
        found.objects[log_name(since)] = b"damaged"
    return found


def planned(
    source: MemoryStore,
    target: MemoryStore | None,
    given: Access = ACCESS,
    *,
    without: frozenset[str] = frozenset(),
    leave_locked: bool = False,
) -> RebuildPlan:
    return prepare(
        source, target, cluster_id=CLUSTER, without=without, leave_locked=leave_locked, now=Clock(), access=given
    )


def built(source: MemoryStore, given: Access = ACCESS, *, leave_locked: bool = False) -> tuple[Repository, RebuildPlan]:
    target = MemoryStore("new")
    plan = planned(source, target, given, leave_locked=leave_locked)
    rebuild(source, target, plan, now=Clock(), rng=random.Random(7), access=given)
    return open_repository(target, access=given), plan


@pytest.mark.fault("I10")
def test_all_keys_come_back_and_none_is_gone_on_with() -> None:
    """Fault I10, where the repository is encrypted."""
    store = MemoryStore()
    repository = two_topics(store)
    again, plan = built(without_log(store))
    assert dict(again.state.keys.topic_keys) == dict(repository.state.keys.topic_keys)
    assert len(plan.keys.topic_keys) == 4 and dict(again.state.keys.current) == {}
    assert again.state.keys.recipients == repository.state.keys.recipients
    assert contents(again, again.points()[-1]) == contents(repository, repository.points()[-1])
    assert verify(again, level="data").findings == ()
    # what comes next lies under keys of its own
    backup(again, [piece(ORDERS, 15, 1)])
    assert len(topic_keys(again, "orders")) == 3
    assert verify(again, level="data").findings == ()
    assert same_state(reader_of(again.store), again)  # type: ignore[arg-type]


def test_a_shredded_topic_stays_unreadable_and_says_so() -> None:
    store = MemoryStore()
    repository = two_topics(store)
    shredded(repository, "orders")
    backup(repository, [piece(ORDERS, 15, 2), piece(PAYMENTS, 9, 1)])
    again, plan = built(without_log(store))
    found = again.state.generations[ORDERS]
    assert [(gap.offsets, gap.reason) for gap in found.gaps] == [
        (OffsetRange(0, 9), "unreadable"),
        (OffsetRange(9, 15), "unreadable"),
    ]
    assert "shredded, or the key was lost" in found.gaps[0].evidence
    assert [run.coverage for run in found.runs] == [OffsetRange(15, 21)]
    assert {topic for _, topic in plan.keys.gone} == {"orders"}
    assert list(again.state.generations[PAYMENTS].gaps) == []
    assert verify(again, level="data").findings == ()
    assert same_state(reader_of(again.store), again)  # type: ignore[arg-type]
    (point,) = again.points()
    assert not point.complete


def test_a_topic_of_which_nothing_opens_is_in_the_point_all_the_same() -> None:
    store = MemoryStore()
    repository = two_topics(store)
    shredded(repository, "payments")
    for place in ("elsewhere", "in place"):
        lost = without_log(store)
        target = MemoryStore("new") if place == "elsewhere" else None
        plan = planned(lost, target)
        rebuild(lost, target, plan, now=Clock(), rng=random.Random(7), access=ACCESS)
        again = open_repository(lost if target is None else target)
        found = again.state.generations[PAYMENTS]
        assert (found.start, found.next_offset, list(found.runs)) == (0, 9, [])
        assert {cut.generation for cut in again.points()[-1].cuts} == {ORDERS, PAYMENTS}
        assert verify(again, level="data").findings == ()
        assert again.points()[-1].cuts[-1].stop == 9


def test_what_the_log_tells_of_shredding_is_believed() -> None:
    """A pack that is under way while its topic is shredded counts for nothing, and is no gap of unknown reason."""
    store = MemoryStore()
    repository = two_topics(store)
    late = Journal(store, seed=50).open()
    pack = write_pack(late, [piece(ORDERS, 15, 2)])
    shredded(repository, "orders")
    backup(repository, [piece(PAYMENTS, 9, 1)])
    again, plan = built(without_log(store, since=repository.state.head))
    assert [(one.pack, one.why) for one in plan.over] == [(pack.name, "the topic was shredded")]
    (gap,) = [gap for gap in again.state.generations[ORDERS].gaps if gap.offsets.start == 15]
    assert (gap.offsets, gap.reason) == (OffsetRange(15, 21), "shredded")
    assert verify(again, level="data").findings == ()


def test_recipients_are_those_who_are_known_for_certain() -> None:
    store = MemoryStore()
    repository = two_topics(store)
    add_recipient(repository, OTHER.recipient("other"), now=Clock())
    add_passphrase(repository, PASSPHRASE, now=Clock())
    remove(repository, prepare_removal(repository, "tests"), now=Clock())
    assert keys_for(store, IDENTITY) == set()
    slot = next(entry.id for entry in repository.state.keys.recipients if entry.name == "passphrase")
    own = Access((OTHER,))
    again, plan = built(without_log(store), own)
    assert [entry.public for entry in again.state.keys.recipients] == [OTHER.recipient().public]
    assert ([entry.name for entry in plan.keys.removed], plan.keys.unknown) == (["tests"], (slot,))
    assert verify(again, level="data").findings == ()
    assert contents(again, again.points()[-1]) == contents(repository, repository.points()[-1])
    # whoever knows the passphrase is added without anything being wrapped again
    added = add_passphrase(again, PASSPHRASE, now=Clock())
    assert (added.wrapped, added.commit is not None) == (0, True)
    assert verify(again, level="objects").findings == ()
    # who opens with the passphrase is named anew, and the others are told
    by_word, plan = built(without_log(store), Access(passphrase=PASSPHRASE))
    assert [entry.id for entry in by_word.state.keys.recipients] == [slot]
    assert plan.keys.unknown == (OTHER.recipient().id,)


def test_nobody_becomes_a_recipient_by_putting_objects_there() -> None:
    store = MemoryStore()
    two_topics(store)
    encryption = open_repository(store).about.encryption
    assert encryption is not None
    lost = without_log(store)
    for key in keys_for(store, IDENTITY):
        lost.objects[f"key/{key}/{OTHER.recipient().id}"] = lost.objects[f"key/{key}/{IDENTITY.recipient().id}"]
    again, plan = built(lost)
    assert plan.keys.unknown == (OTHER.recipient().id,)
    assert [entry.public for entry in again.state.keys.recipients] == [IDENTITY.recipient().public]


def test_a_key_that_only_others_open_stops_the_rebuild_until_told_otherwise() -> None:
    store = MemoryStore()
    repository = two_topics(store)
    add_recipient(repository, OTHER.recipient("other"), now=Clock())
    lost = without_log(store)
    key = topic_keys(repository, "payments")[0].id
    del lost.objects[f"key/{key}/{IDENTITY.recipient().id}"]
    with pytest.raises(PlanRefused, match=OTHER.recipient().id):
        planned(lost, MemoryStore())
    again, plan = built(lost, leave_locked=True)
    assert [(each.key, each.others) for each in plan.keys.locked] == [(key, (OTHER.recipient().id,))]
    (gap,) = again.state.generations[PAYMENTS].gaps
    assert (gap.offsets, gap.reason) == (OffsetRange(0, 6), "unreadable")
    assert verify(again, level="data").findings == ()
    # and whoever has it gets everything
    everything, _ = built(lost, Access((OTHER,)))
    assert list(everything.state.generations[PAYMENTS].gaps) == []


def test_a_writer_key_rebuilds_what_the_log_still_tells_the_keys_of() -> None:
    store = MemoryStore()
    repository = Journal(store).create()
    backup(repository, [piece(ORDERS, 0, 3)])
    backup(repository, [piece(ORDERS, 9, 2)])
    writer = access(writer=repository)
    again, plan = built(without_log(store, since=2), writer)
    assert (plan.kept, plan.keys.topic_keys) == (1, ())
    assert [run.coverage for run in again.state.generations[ORDERS].runs] == [OffsetRange(0, 9), OffsetRange(9, 15)]
    assert dict(again.state.keys.current) == {}
    with pytest.raises(KeyRefused, match="public halves"):
        planned(without_log(store), MemoryStore(), writer)
    with pytest.raises(KeyRefused):
        planned(without_log(store), MemoryStore(), Access((OTHER,)))


def test_a_key_of_two_topics_is_refused_until_one_pack_is_left_out() -> None:
    store = MemoryStore()
    repository = two_topics(store)
    thief = Journal(store, seed=60).open()
    assert thief.keyring is not None
    key = topic_keys(repository, "orders")[-1]
    forged = generation("payments", partition=7, topic_id="B" * 22)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(thief.keyring), "_topic_key", lambda self, keys, topic: key)
        pack = write_pack(thief, [piece(forged, 0, 1)])
    lost = without_log(store)
    with pytest.raises(PlanRefused, match=pack.name):
        planned(lost, MemoryStore())
    plan = planned(lost, MemoryStore(), without=frozenset({pack.name}))
    assert [failure.subject for failure in plan.failures] == [pack.name]
    assert pack.name not in {each.name for each in plan.packs}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("place", ["elsewhere", "in place"])
def test_a_rebuild_of_keys_that_dies_at_any_call_is_finished_by_the_next(place: str, when: str) -> None:
    """With a recipient to be added, one to be removed, and a topic that was shredded."""
    store = MemoryStore()
    repository = two_topics(store)
    add_recipient(repository, OTHER.recipient("other"), now=Clock())
    shredded(repository, "payments")
    remove(repository, prepare_removal(repository, "tests"), now=Clock())
    again_created = generation("orders", topic_id="C" * 22, partition=1)
    backup(repository, [piece(again_created, 0, 2)])
    own = Access((OTHER,))
    expected, _ = built(without_log(store), own)
    at = 0
    while True:
        lost = without_log(store)
        target = MemoryStore("new") if place == "elsewhere" else lost
        dying = FaultyStore.dying(target, at=at, when=when)
        source, where = (lost, dying) if place == "elsewhere" else (dying, None)
        try:
            plan = prepare(source, where, cluster_id=CLUSTER, now=Clock(), access=own)
            rebuild(source, where, plan, now=Clock(), rng=random.Random(7), access=own)
        except SimulatedCrash:
            at += 1
        else:
            break
        to = None if target is lost else target
        plan = planned(lost, to, own)
        if not plan.done:
            rebuild(lost, to, plan, now=Clock(), rng=random.Random(8), access=own)
        again = open_repository(target, access=own)
        assert dict(again.state.keys.topic_keys) == dict(expected.state.keys.topic_keys)
        assert [entry.public for entry in again.state.keys.recipients] == [OTHER.recipient().public]
        assert dict(again.state.keys.current) == {}
        assert [(of, list(known.runs)) for of, known in again.state.generations.items()] == [
            (of, list(known.runs)) for of, known in expected.state.generations.items()
        ]
        assert [point.name for point in again.points()] == [rebuild_log.REBUILT]
        assert verify(again, level="data").findings == ()
    print(f"{at} store calls, dead {when} each")
    assert at >= 8


def test_a_copy_with_other_wraps_of_the_same_keys_is_gone_on_with() -> None:
    """Whoever wrapped a key again in the source does not stand in the way of a rebuild that had been stopped."""
    store = MemoryStore()
    two_topics(store)
    lost = without_log(store)
    target = MemoryStore("new")
    name = next(name for name in lost.objects if name.startswith("key/"))
    target.put_new(name, b"another wrap of the same key")
    plan = planned(lost, target)
    rebuild(lost, target, plan, now=Clock(), rng=random.Random(7), access=ACCESS)
    assert target.objects[name] == b"another wrap of the same key"


def test_a_damaged_key_object_is_left_behind_and_named() -> None:
    store = MemoryStore()
    repository = two_topics(store)
    add_recipient(repository, OTHER.recipient("other"), now=Clock())
    lost = without_log(store)
    name = next(name for name in lost.objects if name.endswith(OTHER.recipient().id))
    lost.objects[name] = lost.objects[name][:-1]
    target = MemoryStore("new")
    result = rebuild(lost, target, planned(lost, target), now=Clock(), rng=random.Random(7), access=ACCESS)
    assert [failure.subject for failure in result.failures] == [name]
    assert name not in target.objects


def test_runs_of_a_key_nobody_has_give_way_to_those_that_open() -> None:
    """The same offsets twice, once under a key that is gone: the copy that opens counts."""
    store = MemoryStore()
    repository = Journal(store).create()
    second = Journal(store, seed=70).open()
    one = write_pack(repository, [piece(ORDERS, 0, 4)])
    two = write_pack(second, [piece(ORDERS, 3, 1)])
    repository.commit(draft(packs=[one], open_=opened(ORDERS)))
    lost = without_log(store)
    for name in [name for name in lost.objects if name.startswith(f"key/{one.keys[0]}/")]:
        del lost.objects[name]
    again, _ = built(lost)
    found = again.state.generations[ORDERS]
    assert [(run.pack, run.coverage) for run in found.runs] == [(two.name, OffsetRange(3, 6))]
    assert [gap.offsets for gap in found.gaps] == [OffsetRange(0, 3), OffsetRange(6, 12)]
    assert {gap.reason for gap in found.gaps} == {"unreadable"}
    assert verify(again, level="data").findings == ()

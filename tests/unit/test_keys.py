"""Recipients and keys of an encrypted repository: what each of them can open, before and after a change."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.support.encrypted import (
    PASSPHRASE,
    fill,
    filled,
    keys_for,
    new_encrypted,
    opened_by,
    quick_slots,
    topic_keys,
)
from tests.support.operations import (
    back_up,
    contents,
    new_repository,
    now,
    put_back,
    records_of,
    values,
    without_pauses,
)
from tests.support.simulated_cluster import SimulatedCluster

from kafkeep.copying import run as copying
from kafkeep.errors import KeyRefused, LossRefused, PlanRefused, StoreAccessDenied, UsageError
from kafkeep.keys import recipients as keys
from kafkeep.keys.shredding import prepare_shred, shred
from kafkeep.model import RunRef
from kafkeep.repository.identities import Identity, Recipient
from kafkeep.repository.keyring import Access, unlock, wrap_name
from kafkeep.repository.reader import PackReader
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import FaultyStore
from kafkeep.secret import Secret
from kafkeep.verify.run import verify

ALICE, BOB = Identity.generate(), Identity.generate()


@pytest.fixture(autouse=True, scope="module")
def at_once() -> Iterator[None]:
    with without_pauses(), quick_slots():
        yield


def all_values(repository: Repository) -> dict[str, list[bytes | None]]:
    """Of the newest point, by topic."""
    point = repository.point("latest")
    return {topic: flat(values(repository, point, topic)) for topic in ("orders", "payments")}


def flat(parts: dict[int, list[bytes | None]]) -> list[bytes | None]:
    return [value for part in parts.values() for value in part]


def test_a_writer_key_writes_and_opens_nothing() -> None:
    store = MemoryStore()
    cluster, repository = filled(store, ALICE)
    target = SimulatedCluster("target")
    with pytest.raises(KeyRefused, match="writer key") as refused:
        put_back(target, repository, repository.point("latest"))
    assert "identity" in refused.value.hint
    assert not target.topics, "refused before anything was made"
    with pytest.raises(KeyRefused):
        put_back(target, repository, repository.point("latest"), preflight="exist")
    assert not target.topics
    assert verify(repository, level="objects").findings == ()
    with pytest.raises(KeyRefused):
        verify(repository, level="data")
    put_back(target, opened_by(store, ALICE), repository.point("latest"))
    for topic in cluster.topics.values():
        for source, restored in zip(topic.logs, target.topics[topic.name].logs, strict=True):
            assert contents(records_of(restored)) == contents(records_of(source))
    with pytest.raises(KeyRefused, match="not encrypted for this identity"):
        opened_by(store, BOB)
    with pytest.raises(KeyRefused, match="no key was given"):
        opened_by(store)


def test_one_topic_that_cannot_be_opened_is_named_before_anything_is_produced() -> None:
    store = MemoryStore()
    _, repository = filled(store, ALICE)
    (key,) = topic_keys(repository, "payments")
    del store.objects[wrap_name(key.id, ALICE.recipient().id)]
    alice, target = opened_by(store, ALICE), SimulatedCluster("target")
    with pytest.raises(KeyRefused, match="records of payments cannot be opened") as refused:
        put_back(target, alice, alice.point("latest"), preflight="exist")
    assert "keys check" in refused.value.hint
    assert not target.topics
    found = keys.check(alice)
    assert [(each.topic, each.key) for each in found.missing] == [("payments", key.id)]
    assert (found.opened, found.damaged) == (1, ())


def test_an_added_recipient_opens_what_was_and_what_is_to_come() -> None:
    store = MemoryStore()
    cluster, writer = filled(store, ALICE)
    done = keys.add_recipient(opened_by(store, ALICE), BOB.recipient("bob"), now=now)
    assert (done.wrapped, done.name) == (3, "bob")
    assert all_values(opened_by(store, BOB)) == all_values(opened_by(store, ALICE))
    fill(cluster, ("orders", "payments", "late"), start=3)
    back_up(cluster, writer)  # it learns of the recipient as it goes on
    bob = opened_by(store, BOB)
    assert keys.check(bob).missing == ()
    assert len(all_values(bob)["orders"]) == 12
    again = keys.add_recipient(opened_by(store, ALICE), BOB.recipient("other"), now=now)
    assert (again.wrapped, again.commit, again.name) == (0, None, "bob")


def test_a_topic_key_that_a_commit_brings_meanwhile_is_wrapped_too() -> None:
    """Between wrapping and committing, a writer commits a key of which the new recipient knows nothing."""
    store = MemoryStore()
    cluster, writer = filled(store, ALICE)

    def meanwhile(index: int, call: str, name: str) -> None:
        if call == "put_new" and name.startswith("log/") and "late" not in cluster.topics:
            fill(cluster, ("late",))
            back_up(cluster, writer)

    alice = opened_by(FaultyStore(store, before=meanwhile), ALICE)
    assert keys.add_recipient(alice, BOB.recipient(), now=now).wrapped == 4
    assert keys_for(store, BOB) == keys_for(store, ALICE)


def test_a_key_that_was_made_and_not_committed_does_not_outlive_an_addition() -> None:
    """A writer seals under a key that it made for fewer recipients, and commits behind the addition: it has to read again."""
    store = MemoryStore()
    cluster, writer = filled(store, ALICE)
    fill(cluster, ("late",))
    once = threading.Lock()

    def meanwhile(index: int, call: str, name: str) -> None:
        if call == "publish" and once.acquire(blocking=False):
            keys.add_recipient(opened_by(store, ALICE), BOB.recipient(), now=now)

    racing = opened_by(FaultyStore(store, after=meanwhile), writer=writer, seed=5)
    point = back_up(cluster, racing).point
    assert once.locked() and point is not None and point.complete
    bob = opened_by(store, BOB)
    assert keys.check(bob).missing == ()
    assert len(flat(values(bob, bob.point("latest"), "late"))) == 6


def test_a_passphrase_is_added_once() -> None:
    store = MemoryStore()
    filled(store, ALICE)
    alice = opened_by(store, ALICE)
    assert keys.add_passphrase(alice, PASSPHRASE, now=now).commit is not None
    assert keys.add_passphrase(alice, PASSPHRASE, now=now).commit is None
    assert sum(name.startswith("key/slot/") for name in store.objects) == 1
    opened = Repository.open(store, now=now, rng=random.Random(3), access=Access(passphrase=PASSPHRASE))
    assert all_values(opened) == all_values(alice)
    (line,) = [line for line in keys.listing(alice).recipients if line.passphrase]
    assert line.name == "passphrase"
    with pytest.raises(KeyRefused, match="less than 12"):
        keys.add_passphrase(alice, Secret("short"), now=now)


def test_a_removed_recipient_opens_nothing_and_the_next_keys_are_new() -> None:
    store = MemoryStore()
    cluster, writer = filled(store, ALICE, BOB)
    before = keys_for(store, ALICE)
    plan = keys.prepare_removal(writer, "r1")
    assert (len(plan.objects), plan.refusals, plan.own) == (3, (), False)
    done = keys.remove(writer, plan, now=now)
    assert done.commit is not None and done.failures == ()
    assert keys_for(store, BOB) == set()
    with pytest.raises(KeyRefused):
        opened_by(store, BOB)
    fill(cluster, start=3)
    back_up(cluster, writer)
    assert len(keys_for(store, ALICE) - before) == 2, "each topic has a new key"
    assert keys_for(store, BOB) == set()
    assert len(all_values(opened_by(store, ALICE))["orders"]) == 12
    with pytest.raises(PlanRefused, match="last recipient"):
        keys.remove(writer, keys.prepare_removal(writer, ALICE.recipient().id), now=now)
    with pytest.raises(UsageError, match="no recipient is known"):
        keys.prepare_removal(writer, str(BOB.recipient()))


def test_a_removal_that_may_not_delete_says_so_and_is_finished_by_id() -> None:
    store = MemoryStore()
    _, writer = filled(store, ALICE, BOB)

    def locked(index: int, call: str, name: str) -> None:
        if call == "delete":
            raise StoreAccessDenied(f"{name} is locked")

    limited = opened_by(FaultyStore(store, before=locked), writer=writer)
    done = keys.remove(limited, keys.prepare_removal(limited, "r1"), now=now)
    assert {failure.reason for failure in done.failures} == {"store-access-denied"} and len(done.failures) == 4
    assert len(keys.listing(writer).left_over) == 3
    again = keys.prepare_removal(writer, BOB.recipient().id)
    assert again.public is None
    assert keys.remove(writer, again, now=now).commit is None
    assert keys.listing(writer).left_over == ()


def test_rotation_makes_new_keys_and_the_old_ones_still_open() -> None:
    store = MemoryStore()
    cluster, writer = filled(store, ALICE)
    keys.rotate(writer, now=now)
    fill(cluster, start=3)
    back_up(cluster, writer)
    lines = keys.listing(writer).topic_keys
    assert [(line.topic, line.current) for line in lines] == [
        ("orders", True), ("orders", False), ("payments", True), ("payments", False)
    ]  # fmt: skip
    assert len(all_values(opened_by(store, ALICE))["payments"]) == 12


def test_a_damaged_or_foreign_wrapped_key_is_told_from_a_missing_one() -> None:
    store = MemoryStore()
    _, writer = filled(store, ALICE, BOB)
    (orders,), (payments,) = topic_keys(writer, "orders"), topic_keys(writer, "payments")
    own = ALICE.recipient().id
    name = wrap_name(orders.id, own)
    store.objects[name] = store.objects[name][:-40] + b"\0" * 40
    store.objects[wrap_name(payments.id, own)] = store.objects[wrap_name(payments.id, BOB.recipient().id)]
    del store.objects[wrap_name(orders.id, BOB.recipient().id)]
    found = keys.check(opened_by(store, ALICE))
    assert {each.topic for each in found.damaged} == {"orders", "payments"}
    assert (found.missing, found.opened) == ((), 0)
    assert [(name, count) for _, name, count in found.others] == [("r1", 1)]


@pytest.mark.fault("G7")
def test_a_shredded_topic_is_gone_and_the_others_are_not() -> None:
    store = MemoryStore()
    cluster, writer = filled(store, ALICE)
    alice = opened_by(store, ALICE)
    held = all_values(alice)
    plan = prepare_shred(writer, ["orders"], reason="request 17", confirmed=False)
    assert (plan.records, plan.points, plan.refusals) == (6, (1,), ())
    done = shred(writer, plan, now=now)
    assert (done.deleted, done.failures) == (1, ())
    after = opened_by(store, ALICE)
    point, target = after.point("latest"), SimulatedCluster("target")
    assert all_values(after) == {"orders": [], "payments": held["payments"]}
    with pytest.raises(LossRefused, match=r"orders/0.*shredded: request 17"):
        put_back(target, after, point)
    assert not target.topics
    put_back(target, after, point, allow_loss="skip")
    assert [contents(records_of(log)) for log in target.topics["payments"].logs] == [
        contents(records_of(log)) for log in cluster.topics["payments"].logs
    ]
    assert not any(log.entries for log in target.topics["orders"].logs)
    for level in ("exist", "objects", "data"):
        report = verify(after, level=level)
        assert (report.findings, report.shredded) == ((), ("orders",))
    run = next(
        run for known in alice.state.generations.values() for run in known.runs if run.generation.topic == "orders"
    )
    with pytest.raises(KeyRefused, match="shredded"):
        list(reading_anew(store, alice, run))
    assert prepare_shred(writer, ["orders"], reason="r", confirmed=False).nothing_to_do
    fill(cluster, start=3)
    back_up(cluster, writer)
    later = all_values(opened_by(store, ALICE))
    assert later["orders"] == [f"orders/{partition}/{number}".encode() for partition in (0, 1) for number in (3, 4, 5)]


def reading_anew(store: MemoryStore, old: Repository, run: RunRef) -> Iterator[memoryview]:
    """Reads a run as somebody does who read the log before it was shredded, and kept no key in memory."""
    entry = next(entry for entry in old.state.packs if entry.name == run.pack)
    keyring = unlock(store, old.about, Access(identities=(ALICE,)))
    reader = PackReader(store, old.id, seal=old.seal, opener=keyring)
    return reader.read(entry, run, None, None)


def test_shredding_is_guarded_and_names_what_it_does_not_know() -> None:
    store = MemoryStore()
    _, writer = filled(store, ALICE)
    everything = prepare_shred(writer, ["orders", "payments"], reason="r", confirmed=False)
    assert writer.id in everything.refusals[0]
    with pytest.raises(PlanRefused):
        shred(writer, everything, now=now)
    with pytest.raises(UsageError, match="no records of topic 'other'"):
        prepare_shred(writer, ["orders", "other"], reason="r", confirmed=False)
    with pytest.raises(UsageError, match="none of these topics has the id"):
        prepare_shred(writer, ["orders"], topic_ids=["B" * 22], reason="r", confirmed=False)
    shred(writer, prepare_shred(writer, ["orders", "payments"], reason="r", confirmed=True), now=now)
    assert all_values(opened_by(store, ALICE)) == {"orders": [], "payments": []}
    with pytest.raises(UsageError, match="not encrypted"):
        keys.listing(new_repository())


def test_only_one_of_several_topics_of_a_name_goes() -> None:
    store = MemoryStore()
    cluster, writer = filled(store, ALICE)
    first = cluster.topics["orders"].topic_id
    del cluster.topics["orders"]
    fill(cluster, ("orders",), start=3)
    back_up(cluster, writer)
    plan = prepare_shred(writer, ["orders"], topic_ids=[first], reason="r", confirmed=False)
    assert plan.topics == (("orders", first),)
    shred(writer, plan, now=now)
    assert len(all_values(opened_by(store, ALICE))["orders"]) == 6


def test_what_was_read_before_a_shredding_does_not_come_in_behind_it() -> None:
    store = MemoryStore()
    cluster, writer = filled(store, ALICE)
    fill(cluster, ("orders",), start=3)
    plan = prepare_shred(writer, ["orders"], reason="r", confirmed=False)
    once = threading.Lock()

    def meanwhile(index: int, call: str, name: str) -> None:
        if call == "publish" and once.acquire(blocking=False):
            shred(opened_by(store, ALICE), plan, now=now)

    racing = opened_by(FaultyStore(store, after=meanwhile), writer=writer, seed=5)
    back_up(cluster, racing)
    alice = opened_by(store, ALICE)
    assert alice.state.keys.shredded and not alice.state.alarms
    assert len(all_values(alice)["orders"]) == 6, "read again and sealed under a new key"
    assert verify(alice, level="data").findings == ()


def test_a_copy_takes_no_keys_of_those_who_are_gone_and_gives_up_what_it_had() -> None:
    store, target = MemoryStore(), MemoryStore("target")
    _, writer = filled(store, ALICE, BOB)
    plan = copying.prepare(writer, target)
    assert len(plan.keys) == 6
    copying.copy(writer, target, plan, now=now, rng=random.Random(1))
    shred(writer, prepare_shred(writer, ["orders"], reason="r", confirmed=False), now=now)
    keys.remove(writer, keys.prepare_removal(writer, "r1"), now=now)
    later = copying.prepare(writer, target)
    assert len(later.surplus) == 4 and later.keys == ()
    copying.copy(writer, target, later, delete_swept=True, now=now, rng=random.Random(1))
    assert {name for name in target.objects if name.startswith("key/")} == {
        name for name in store.objects if name.startswith("key/")
    }
    assert verify(opened_by(target, ALICE), level="data").findings == ()


def test_recipients_that_cannot_be_used() -> None:
    with pytest.raises(KeyRefused, match="zero"):
        Recipient.parse(str(replace(ALICE.recipient(), public="00" * 32)))
    with pytest.raises(KeyRefused, match="mistyped"):
        Recipient.parse(str(ALICE.recipient())[:-1])
    store = MemoryStore()
    assert new_encrypted(store, ALICE, ALICE).state.keys.recipients[1:] == ()

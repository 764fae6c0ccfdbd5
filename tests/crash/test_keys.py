"""Die at every mutating call while a repository is encrypted or its keys change: it is absent, old or new, always opens for
those who may open it, and the same call again ends where an uninterrupted one does."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from tests.support.encrypted import PASSPHRASE, filled, keys_for, opened_by, quick_slots
from tests.support.faults import Figures
from tests.support.operations import now, values, without_pauses

from kafkeep.errors import KeyRefused, RepositoryExists, RepositoryNotFound
from kafkeep.keys import recipients as keys
from kafkeep.keys.shredding import prepare_shred, shred
from kafkeep.repository.identities import Identity, WriterKey
from kafkeep.repository.keyring import Access, NewEncryption
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import FaultyStore, SimulatedCrash
from kafkeep.verify.run import verify

ALICE, BOB, CAROL = Identity.generate(), Identity.generate(), Identity.generate()


@pytest.fixture(autouse=True, scope="module")
def at_once() -> Iterator[None]:
    with without_pauses(), quick_slots():
        yield


def copy_of(store: MemoryStore) -> MemoryStore:
    other = MemoryStore()
    other.objects.update(store.objects)
    return other


def by_alice(store: Store) -> Repository:
    return opened_by(store, ALICE)


def add(store: Store) -> None:
    keys.add_recipient(by_alice(store), CAROL.recipient("carol"), now=now)


def add_passphrase(store: Store) -> None:
    keys.add_passphrase(by_alice(store), PASSPHRASE, now=now)


def remove(store: Store) -> None:
    repository = by_alice(store)
    keys.remove(repository, keys.prepare_removal(repository, BOB.recipient().id), now=now)


def rotate(store: Store) -> None:
    keys.rotate(by_alice(store), now=now)


def shred_orders(store: Store) -> None:
    repository = by_alice(store)
    shred(repository, prepare_shred(repository, ["orders"], reason="r", confirmed=False), now=now)


CHANGES = (add, add_passphrase, remove, rotate, shred_orders)


def facts(store: MemoryStore) -> object:
    """Who can open what, in words that do not depend on what is random."""
    found = by_alice(store)
    return (
        sorted(entry.name for entry in found.state.keys.recipients),
        [len(keys_for(store, each)) for each in (ALICE, BOB, CAROL)],
        sum(name.startswith("key/") for name in store.objects),
        bool(found.state.keys.current),
        len(found.state.keys.shredded),
        [values(found, found.point("latest"), topic) for topic in ("orders", "payments")],
    )


@pytest.mark.fault("C8")
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("when", ["before", "after"])
def test_death_while_keys_change(change: Callable[[Store], None], when: str, fault: Figures) -> None:
    old = MemoryStore()
    filled(old, ALICE, BOB)
    counting = FaultyStore(copy_of(old))
    change(counting)
    assert isinstance(counting.inner, MemoryStore)
    expected = facts(counting.inner)
    assert (expected != facts(old)) and counting.mutations
    for at in range(counting.mutations):
        store = copy_of(old)
        try:
            change(FaultyStore.dying(store, at=at, when=when))
        except SimulatedCrash:
            pass
        else:
            pytest.fail(f"call {at} was not reached")
        alice = by_alice(store)
        assert len(keys.check(alice).missing) == 0
        assert verify(alice, level="data").alarms == ()
        damage = [found for found in verify(alice, level="objects").findings if "was shredded" not in found.what]
        assert damage == []
        if not (change is rotate and alice.state.keys.rotated_at):  # a second rotation is another one
            finish(change, store)
        assert facts(store) == expected, at
        assert verify(by_alice(store), level="data").findings == ()
    fault.figures(places=counting.mutations)


def finish(change: Callable[[Store], None], store: MemoryStore) -> None:
    """The same call again. A removal that has nothing left to remove says so."""
    if change is remove and not keys_for(store, BOB):
        return
    change(store)


def create(store: Store, kept: list[WriterKey], access: Access | None = None) -> Repository:
    encryption = NewEncryption((ALICE.recipient("alice"),), PASSPHRASE, kept.append)
    return Repository.init(store, now=now, rng=random.SystemRandom(), encryption=encryption, access=access)


@pytest.mark.fault("C8")
@pytest.mark.parametrize("when", ["before", "after"])
def test_death_while_an_encrypted_repository_is_made(when: str, fault: Figures) -> None:
    """Whoever holds any of the keys finishes the creation, or makes the repository anew; the writer key that was kept last
    before commit 0 is the one that counts."""
    counting = FaultyStore(MemoryStore())
    create(counting, [])
    accesses = (Access(identities=(ALICE,)), Access(passphrase=PASSPHRASE))
    for at in range(counting.mutations):
        for access in accesses:
            store, kept = MemoryStore(), list[WriterKey]()
            with pytest.raises(SimulatedCrash):
                create(FaultyStore.dying(store, at=at, when=when), kept)
            opens = partial(Repository.open, store, now=now, rng=random.Random(9))
            if "kafkeep.json" not in store.objects:
                with pytest.raises(RepositoryNotFound):
                    opens(access=access)
                repository = create(store, kept, access)
            else:
                with pytest.raises(RepositoryExists):
                    create(store, kept, access)
                repository = opens(access=access)
            holder = [key for key in kept if key.repository_id == repository.id]
            assert holder, "who was to write has the key"
            for each in (*accesses, Access(writer_key=holder[0])):
                assert opens(access=each).id == repository.id
            with pytest.raises(KeyRefused):
                opens(access=Access(identities=(BOB,)))
            assert verify(repository, level="objects").findings == ()
    fault.figures(places=counting.mutations * len(accesses))

"""The keys of an open repository: who opens it, what two writers do at once, and what is forgotten."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.support.faults import Figures
from tests.support.operations import without_pauses
from tests.support.readers import reader_of, same_state
from tests.support.repositories import (
    TIME,
    Clock,
    Journal,
    backup,
    contents,
    cut,
    draft,
    generation,
    open_repository,
    opened,
    piece,
    write_pack,
)
from tests.support.sealed import ACCESS, IDENTITY, OTHER, encrypted

from kafkeep.errors import CorruptObject, KeyRefused, StoreUnavailable, UsageError
from kafkeep.repository import envelope, keyring, names
from kafkeep.repository.envelope import Kind, unwrap, wrap
from kafkeep.repository.identities import Identity, Recipient, WriterKey, encode_slot
from kafkeep.repository.keyring import (
    DATA_KEY_SECONDS,
    KEYS_KEPT,
    SLOTS_TRIED,
    Access,
    Keyring,
    NewEncryption,
    slot_name,
    unlock,
    wrap_name,
)
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import FaultyStore
from kafkeep.repository.topic_keys import AddRecipient, RecipientEntry, RemoveRecipient, RotateKeys, Shred, topic_of
from kafkeep.secret import Secret
from kafkeep.verify.run import verify

ORDERS, PAYMENTS = generation("orders"), generation("payments", 2)
ADDED = RecipientEntry(OTHER.recipient().public, "other")
PASSPHRASE = Secret("correct horse battery staple")


@pytest.fixture(autouse=True)
def for_the_test_identity(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    quick = lambda identity, passphrase, salt: encode_slot(identity, passphrase, salt, n=2**14)  # noqa: E731
    monkeypatch.setattr(keyring, "encode_slot", quick)
    with encrypted(), without_pauses():
        yield


def keys_of(repository: Repository) -> Keyring:
    assert repository.keyring is not None
    return repository.keyring


def begun(store: MemoryStore | None = None) -> Repository:
    repository = Journal(MemoryStore() if store is None else store).create()
    backup(repository, [piece(ORDERS, 0, 3), piece(PAYMENTS, 0, 2)])
    return repository


# --- who opens it ---------------------------------------------------------------------------------------------------------


@pytest.mark.fault("E2", cases=7)
def test_e2_keys_that_do_not_open_a_repository() -> None:
    store = MemoryStore()
    repository = begun(store)
    strange = WriterKey("99" * 16, keys_of(repository).writer_key.key)
    wrong = WriterKey(repository.id, bytes(32))
    for access in (
        Access(),
        Access((OTHER,)),
        Access((Identity.generate(), OTHER)),
        Access(passphrase=PASSPHRASE),
        Access(writer_key=strange),
        Access(writer_key=wrong),
        Access((IDENTITY,), writer_key=wrong),
    ):
        with pytest.raises(KeyRefused) as caught:
            open_repository(store, access=access)
        assert caught.value.exit_code == 12
    assert open_repository(store, access=Access((OTHER, IDENTITY))).state == repository.state


def test_keys_are_not_given_to_a_repository_without() -> None:
    store = MemoryStore()
    with encrypted(False):
        Journal(store).create()
        for access in (ACCESS, Access(passphrase=PASSPHRASE), Access(writer_key=WriterKey("00" * 16, bytes(32)))):
            with pytest.raises(UsageError, match="not encrypted"):
                open_repository(store, access=access)


@pytest.mark.fault("E2", cases=2)
def test_e2_a_removed_slot_and_a_revoked_recipient() -> None:
    store = MemoryStore()
    Repository.init(
        store,
        now=Clock(),
        rng=random.Random(1),
        encryption=NewEncryption((IDENTITY.recipient("team"),), PASSPHRASE),
    )
    (slot,) = [name for name in store.objects if name.startswith("key/slot/")]
    assert open_repository(store, access=Access(passphrase=PASSPHRASE)).state.head == 0
    whole = store.objects.pop(slot)
    with pytest.raises(KeyRefused):
        open_repository(store, access=Access(passphrase=PASSPHRASE))
    store.objects[slot] = whole
    metadata_key = open_repository(store).about.encryption
    assert metadata_key is not None
    del store.objects[wrap_name(metadata_key.metadata_key, slot.removeprefix("key/slot/"))]
    with pytest.raises(KeyRefused):
        open_repository(store, access=Access(passphrase=PASSPHRASE))


def test_damaged_strange_and_many_slots_hide_no_other() -> None:
    """And cost no more than so many derivations, whoever puts how many of them."""
    store = MemoryStore()
    repository = begun(store)
    about = repository.about.encryption
    assert about is not None
    secret = keys_of(repository)
    identities = [Identity(bytes([number]) * 32) for number in range(1, 6)]
    for identity in identities:
        secret.wrap_for_recipient(about.metadata_key, (), RecipientEntry(identity.recipient().public, "slot"))
    slots = sorted(slot_name(identity.recipient().id) for identity in identities)
    by_slot = {slot_name(identity.recipient().id): identity for identity in identities}
    garbage, foreign, swapped, malformed, mine = slots
    store.objects[garbage] = b"garbage"
    store.objects[foreign] = encode_slot(by_slot[foreign], Secret("another passphrase"), bytes(32), n=2**14)
    store.objects[swapped] = encode_slot(by_slot[mine], PASSPHRASE, bytes(32), n=2**14)
    store.objects[malformed] = wrap(Kind.KEY, {"kdf": 7})
    with pytest.raises((KeyRefused, CorruptObject)):
        open_repository(store, access=Access(passphrase=PASSPHRASE))
    store.objects[mine] = encode_slot(by_slot[mine], PASSPHRASE, bytes(32), n=2**14)
    assert keys_of(open_repository(store, access=Access(passphrase=PASSPHRASE))).identity is not None
    calls: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyring, "open_slot", lambda data, passphrase, what: _refuse(calls, what))
        for number in range(200):
            recipient = f"{number:016x}"
            store.objects[slot_name(recipient)] = b"more"
            store.objects[wrap_name(about.metadata_key, recipient)] = b"more"
        with pytest.raises(KeyRefused, match="more slots than"):
            open_repository(store, access=Access(passphrase=PASSPHRASE))
    assert len(calls) == SLOTS_TRIED


def _refuse(calls: list[str], what: str) -> Identity:
    calls.append(what)
    raise KeyRefused("the passphrase does not open it")


def test_a_changed_repository_document_is_refused_by_whoever_has_the_key() -> None:
    """Whoever may replace objects cannot add a recipient, nor change what the document says."""
    store = MemoryStore()
    begun(store)
    value: Any = unwrap(store.objects[names.REPOSITORY], Kind.REPOSITORY, "it")
    changes: list[dict[str, Any]] = [
        {"recipients": [*value["recipients"], {"name": "evil", "public": OTHER.recipient().public}]},
        {"recipients": [{"name": "evil", "public": OTHER.recipient().public}]},
        {"recipients": [value["recipients"][0] | {"name": "renamed"}]},
        {"compression": "none"},
        {"created": "2020-01-01T00:00:00Z"},
        {"limits": {"chunk_bytes": 1, "pack_bytes": 1}},
        {"encryption": value["encryption"] | {"check": "00" * 32}},
    ]
    whole = store.objects[names.REPOSITORY]
    for change in changes:
        store.objects[names.REPOSITORY] = wrap(Kind.REPOSITORY, value | change)
        with pytest.raises(KeyRefused, match="does not fit"):
            open_repository(store)
    plain = {name: one for name, one in value.items() if name != "encryption"} | {"recipients": []}
    plain["features_required"] = {operation: [] for operation in value["features_required"]}
    store.objects[names.REPOSITORY] = wrap(Kind.REPOSITORY, plain)
    with pytest.raises(UsageError, match="not encrypted"):
        open_repository(store, access=ACCESS)
    store.objects[names.REPOSITORY] = whole
    assert open_repository(store).state.head == 1


def test_a_wrapped_key_that_was_replaced_is_refused() -> None:
    store = MemoryStore()
    repository = begun(store)
    entry = next(iter(repository.state.packs))
    other_store = MemoryStore()
    begun(other_store)
    for run in entry.runs:
        assert run.key is not None
        name = wrap_name(run.key, IDENTITY.recipient().id)
        whole = store.objects[name]
        forged = [store.objects[each] for each in store.objects if each.startswith("key/") and each != name]
        forged += [b"", whole[:-1], next(data for each, data in other_store.objects.items() if each.startswith("key/"))]
        value: Any = unwrap(whole, Kind.KEY, name)
        forged.append(wrap(Kind.KEY, value | {"wrapped": "00" * 80}))
        forged.append(wrap(Kind.KEY, value | {"wrapped": _wrapped_anew(store, run.key)}))
        for data in forged:
            store.objects[name] = data
            fresh = open_repository(store)
            with pytest.raises((KeyRefused, CorruptObject)):
                list(fresh.read_run(run))
            assert verify(store, level="data", workers=1).findings
        del store.objects[name]
        with pytest.raises(KeyRefused, match="not there"):
            list(open_repository(store).read_run(run))
        assert {found.object for found in verify(store, level="exist").findings} == {name}
        store.objects[name] = whole
    assert verify(store, level="data").findings == ()


def _wrapped_anew(store: MemoryStore, key_id: str) -> str:
    """A private key of somebody else's, wrapped as it should be: the store knows whom to wrap it for."""
    about = open_repository(store)
    info = keyring.topic_key_info(about.id, key_id)
    return keyring.wrap_for(IDENTITY.recipient().public, OTHER.private_bytes(), info).hex()


# --- what is forgotten ---------------------------------------------------------------------------------------------------


@dataclass
class Time:
    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


def timed(repository: Repository) -> tuple[Keyring, Time]:
    clock = Time()
    found = Keyring(repository.store, repository.id, keys_of(repository).writer_key, IDENTITY, monotonic=clock)
    return found, clock


def in_memory(key: bytes) -> int:
    """How many objects that the collector knows of hold these bytes."""
    return sum(1 for each in gc.get_objects() if isinstance(each, keyring._DataKey) and each.key == key)


@pytest.mark.fault("E4")
def test_e4_data_keys_are_forgotten(fault: Figures) -> None:
    """After a day, after a rotation, a removal, a shredding, and when another writer's key became the current one."""
    repository = begun()
    secret, clock = timed(repository)

    def current(generation_: Any = ORDERS) -> bytes:
        secret.seal_run(repository.state.keys, generation_, 0)
        return secret._data_keys[topic_of(generation_)].key

    old = [current(), current(PAYMENTS)]
    assert [in_memory(key) for key in old] == [1, 1] and current() == old[0]
    clock.seconds += DATA_KEY_SECONDS - 1
    assert current() == old[0]
    clock.seconds += 2
    assert current() != old[0], "only one of two topics is written"
    assert [in_memory(key) for key in old] == [0, 0]
    forgotten = 2
    changes = [RotateKeys(), AddRecipient(ADDED), RemoveRecipient(ADDED.public), Shred((topic_of(ORDERS),), "why")]
    for change in changes:
        old = [current(), current(PAYMENTS)]
        repository.decide(change, started=TIME)
        secret.forget(repository.state.keys)
        left = [in_memory(key) for key in old]
        # of an addition the current key is left; the other's, that no commit told of, was not wrapped for who was added
        assert left == ([1, 0] if isinstance(change, AddRecipient) else [0, 0])
        forgotten += 2 - sum(left)
        backup(repository, [piece(ORDERS, repository.state.generations[ORDERS].next_offset, 1)])
    fault.figures(keys=forgotten)


@pytest.mark.fault("E4")
def test_e4_an_open_repository_forgets_when_it_hears_of_it(fault: Figures) -> None:
    """Whoever changes the keys, and whether or not this writer goes on writing."""
    store = MemoryStore()
    writer = begun(store)
    other = open_repository(store, seed=9)
    keys = [known.key for known in keys_of(writer)._data_keys.values()]
    assert [in_memory(key) for key in keys] == [1, 1]
    other.decide(RotateKeys(), started=TIME)
    assert [in_memory(key) for key in keys] == [1, 1]
    writer.refresh()
    assert [in_memory(key) for key in keys] == [0, 0]
    fault.figures(keys=2)


def test_what_opened_a_shredded_topic_is_forgotten_and_the_others_are_not() -> None:
    repository = begun()
    entry = next(iter(repository.state.packs))
    for run in entry.runs:
        assert list(repository.read_run(run))
    secret = keys_of(repository)
    assert len(secret._private) == len(secret._opened) == 2
    repository.decide(Shred((topic_of(ORDERS),), "why"), started=TIME)
    assert set(secret._private) == {run.key for run in entry.runs if run.generation == PAYMENTS}
    assert {place[0] for place in secret._opened} == set(secret._private)


def test_opened_keys_are_kept_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert KEYS_KEPT >= 64
    monkeypatch.setattr(keyring, "KEYS_KEPT", 3)
    repository = Journal(MemoryStore()).create()
    backup(repository, [piece(generation(f"t{number}"), 0, 1) for number in range(8)])
    for part in repository.view(repository.point("latest")).partitions:
        for run in part.runs:
            assert list(repository.read_run(run))
    assert len(keys_of(repository)._private) == len(keys_of(repository)._opened) == 3


# --- races ----------------------------------------------------------------------------------------------------------------


def test_two_writers_make_keys_for_the_same_topic() -> None:
    """Whoever is first brings its key; both then use the one that is current, and everything opens."""
    store = MemoryStore()
    one = Journal(store).create()
    other = open_repository(store, seed=7)
    mine, theirs = write_pack(one, [piece(ORDERS, 0, 1)]), write_pack(other, [piece(ORDERS, 0, 2)])
    more = write_pack(one, [piece(PAYMENTS, 0, 1)])
    assert mine.keys != theirs.keys
    assert other.commit(draft(packs=[theirs], open_=opened(ORDERS))).dropped_runs == ()
    outcome = one.commit(draft(packs=[mine, more], open_=opened(ORDERS, PAYMENTS)))
    assert [run.generation for run in outcome.dropped_runs] == [ORDERS]
    assert one.state.keys.current[topic_of(ORDERS)] == theirs.keys[0]
    backup(one, [piece(ORDERS, 6, 1)])
    backup(other, [piece(ORDERS, 9, 1), piece(PAYMENTS, 3, 1)])
    assert len(other.state.keys.topic_keys) == 2
    assert verify(store, level="data").findings == () and same_state(reader_of(store), other)
    one.refresh()
    assert contents(one, other.point("latest")) == contents(other, other.point("latest"))


@pytest.mark.parametrize(
    ("change", "dropped"),
    [
        (Shred((topic_of(ORDERS),), "why"), [ORDERS]),
        (RotateKeys(), []),
        (RemoveRecipient(ADDED.public), []),
        (AddRecipient(RecipientEntry(Identity(bytes([9]) * 32).recipient().public, "third")), []),
    ],
    ids=["shred", "rotate", "remove", "add"],
)
def test_a_decision_between_upload_and_commit(change: Any, dropped: list[Any]) -> None:
    """Runs under a key of the log stay but for a shredding: those are dropped, and read anew by the next backup."""
    store = MemoryStore()
    writer = begun(store)
    writer.decide(AddRecipient(ADDED), started=TIME)
    pack = write_pack(writer, [piece(ORDERS, 9, 1), piece(PAYMENTS, 6, 1)])
    open_repository(store, seed=3).decide(change, started=TIME)
    outcome = writer.commit(draft(packs=[pack], cuts=[cut(PAYMENTS, 9)]))
    assert [run.generation for run in outcome.dropped_runs] == dropped
    assert writer.state.generations[ORDERS].next_offset == (9 if dropped else 12)
    backup(writer, [piece(ORDERS, 9 if dropped else 12, 2)])
    assert not list(writer.state.alarms)
    assert writer.state.generations[ORDERS].next_offset == (15 if dropped else 18)
    assert same_state(reader_of(store), writer)


@pytest.mark.parametrize(
    "change",
    [
        RotateKeys(),
        AddRecipient(ADDED),
        RemoveRecipient(OTHER.recipient().public),
        Shred((topic_of(PAYMENTS),), "another topic"),
    ],
    ids=["rotate", "add", "remove", "shred"],
)
def test_a_key_that_no_commit_told_of_yet_outlives_no_decision(change: Any) -> None:
    store = MemoryStore()
    writer = Journal(store).create()
    backup(writer, [piece(PAYMENTS, 0, 1)])
    if isinstance(change, RemoveRecipient):
        writer.decide(AddRecipient(ADDED), started=TIME)
    pack = write_pack(writer, [piece(ORDERS, 0, 2)])
    open_repository(store, seed=3).decide(change, started=TIME)
    outcome = writer.commit(draft(packs=[pack], open_=opened(ORDERS)))
    assert [run.generation for run in outcome.dropped_runs] == [ORDERS]
    backup(writer, [piece(ORDERS, 0, 2)])
    key = writer.state.keys.current[topic_of(ORDERS)]
    assert key != pack.keys[0]
    for entry in writer.state.keys.recipients:
        assert wrap_name(key, recipient_of(entry)) in store.objects
    assert not [found for found in verify(store, level="data").findings if "orders" in found.what]


def recipient_of(entry: RecipientEntry) -> str:
    return Recipient(entry.public).id


def test_the_halves_of_a_large_draft_bring_each_key_once(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    repository = Journal(store).create()
    packs = [write_pack(repository, [piece(ORDERS, 3 * n, 1), piece(PAYMENTS, 3 * n, 1)]) for n in range(8)]
    monkeypatch.setitem(envelope.BODY_LIMITS, Kind.COMMIT, 4500)
    outcome = repository.commit(draft(packs=packs, open_=opened(ORDERS, PAYMENTS)))
    assert outcome.dropped_runs == () and repository.state.head >= 4
    monkeypatch.undo()
    again = open_repository(store)
    assert len(again.state.keys.topic_keys) == 2 and not list(again.state.alarms)
    assert again.state.generations[PAYMENTS].next_offset == 24
    assert verify(store, level="data").findings == () and same_state(reader_of(store), again)


def test_a_wrap_that_cannot_be_stored_leaves_no_key() -> None:
    store = MemoryStore()
    Journal(store).create()
    down = {"on": True}

    def refuse(index: int, call: str, name: str) -> None:
        if down["on"] and name.startswith("key/") and call.startswith("put"):
            raise StoreUnavailable("no answer")

    repository = open_repository(FaultyStore(store, before=refuse))
    with pytest.raises(Exception, match="no answer"):
        write_pack(repository, [piece(ORDERS, 0, 1)])
    assert keys_of(repository).made(repository.state.keys) == ()
    down["on"] = False
    backup(repository, [piece(ORDERS, 0, 1)])
    assert verify(store, level="data").findings == ()


def test_access_and_keyrings_do_not_show_their_keys() -> None:
    repository = begun()
    shown = repr([keys_of(repository), keys_of(repository).writer_key, keys_of(repository).seal, ACCESS])
    assert keys_of(repository).writer_key.key.hex() not in shown and "***" in shown
    assert unlock(repository.store, repository.about, ACCESS) is not None

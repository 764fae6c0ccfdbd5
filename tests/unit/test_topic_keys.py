"""What commits say about keys, and the rules they have to meet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.support.readers import reader_of, same_state
from tests.support.repositories import TIME, Journal, backup, cut, draft, gap, generation, piece, write_pack
from tests.support.sealed import IDENTITY, OTHER, encrypted

from kafkeep.errors import PlanRefused
from kafkeep.repository.changes import Retire, Sweep, Unretire
from kafkeep.repository.envelope import digest
from kafkeep.repository.format import Commit, encode_commit, read_slot
from kafkeep.repository.nouns import Malformed
from kafkeep.repository.repository import Repository
from kafkeep.repository.rules import validate
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.topic_keys import (
    DECODERS,
    SHREDDED,
    AddRecipient,
    RecipientEntry,
    RemoveRecipient,
    RotateKeys,
    Shred,
    TopicKey,
    decode_topic_key,
    encode_key_change,
    encode_topic_key,
    topic_of,
)

ORDERS, PAYMENTS = generation("orders"), generation("payments", 2)
ADDED = RecipientEntry(OTHER.recipient().public, "other")
FIRST = IDENTITY.recipient().public


@pytest.fixture(autouse=True)
def for_the_test_identity() -> Iterator[None]:
    with encrypted():
        yield


def begun(store: MemoryStore | None = None) -> Repository:
    repository = Journal(MemoryStore() if store is None else store).create()
    backup(repository, [piece(ORDERS, 0, 3), piece(PAYMENTS, 0, 2)])
    return repository


def plain() -> Repository:
    with encrypted(False):
        repository = Journal(MemoryStore()).create()
        backup(repository, [piece(ORDERS, 0, 3)])
        return repository


def last_commit(repository: Repository, number: int = 1) -> Commit:
    slot = read_slot(
        repository.store.get(f"log/{number:012d}"),
        number,
        _prev(repository, number),
        "it",
        repository.seal,
    )
    assert slot.commit is not None
    return slot.commit


def _prev(repository: Repository, number: int) -> str:
    return digest(repository.store.get(f"log/{number - 1:012d}"))


@pytest.mark.parametrize(
    "change",
    [RotateKeys(), AddRecipient(ADDED), RemoveRecipient(FIRST), Shred((("orders", "A" * 22), ("x", "B" * 22)), "why")],
)
def test_decisions_about_keys_come_back(change: Any) -> None:
    kinds = {RotateKeys: "rotate", AddRecipient: "recipient-add", RemoveRecipient: "recipient-remove", Shred: "shred"}
    assert DECODERS[kinds[type(change)]](_as_json(encode_key_change(change))) == change


def _as_json(value: object) -> Any:
    return json.loads(json.dumps(value))


@pytest.mark.parametrize(
    "row",
    [
        None,
        {},
        [],
        ["ab" * 16, "orders", "A" * 22],
        ["ab" * 15, "orders", "A" * 22, "cd" * 32],
        ["AB" * 16, "orders", "A" * 22, "cd" * 32],
        ["ab" * 16, "or/ders", "A" * 22, "cd" * 32],
        ["ab" * 16, "orders", "A", "cd" * 32],
        ["ab" * 16, "orders", "A" * 22, "cd" * 31],
        ["ab" * 16, "orders", "A" * 22, "cd" * 32, 1],
    ],
)
def test_malformed_topic_keys(row: Any) -> None:
    with pytest.raises(Malformed):
        decode_topic_key(row)
    good = TopicKey("ab" * 16, ("orders", "A" * 22), "cd" * 32)
    assert decode_topic_key(_as_json(encode_topic_key(good))) == good


@pytest.mark.parametrize(
    "change",
    [
        AddRecipient(RecipientEntry(FIRST, "again")),
        RemoveRecipient(FIRST),
        RemoveRecipient(ADDED.public),
        Shred((), "nothing"),
        Shred((topic_of(ORDERS), topic_of(ORDERS)), "twice"),
        Shred((topic_of(ORDERS), ("unknown", "A" * 22)), "unknown"),
        Shred((("orders", "B" * 22),), "another id"),
    ],
    ids=str,
)
def test_decisions_that_break_a_rule(change: Any) -> None:
    repository = begun()
    before = repository.state
    with pytest.raises(PlanRefused):
        repository.decide(change, started=TIME)
    assert repository.refresh() == before


@pytest.mark.parametrize(
    "change", [RotateKeys(), AddRecipient(ADDED), RemoveRecipient(FIRST), Shred((topic_of(ORDERS),), "")]
)
def test_there_are_no_keys_without_encryption(change: Any) -> None:
    with pytest.raises(PlanRefused, match="not encrypted"):
        plain().decide(change, started=TIME)


def test_runs_and_keys_of_a_commit_have_to_fit() -> None:
    repository = begun()
    commit = last_commit(repository)
    empty = Journal(MemoryStore()).create().state
    state = replace(empty, repository=repository.about, head_digest=commit.prev)
    assert validate(state, commit) is None
    one, other = commit.topic_keys
    pack = commit.packs[0]

    def broken(**changed: Any) -> str | None:
        return validate(state, replace(commit, **changed))

    def with_keys(*keys: str | None) -> str | None:
        runs = tuple(replace(run, key=key) for run, key in zip(pack.runs, keys, strict=True))
        return broken(packs=(replace(pack, runs=runs),))

    assert broken(topic_keys=()), "keys that no commit tells of"
    assert broken(topic_keys=(one,)), "one of them"
    assert broken(topic_keys=(one, other, one)), "a key twice"
    assert broken(topic_keys=(one, replace(other, topic=("else", "A" * 22)))), "a key of another topic"
    assert with_keys(other.id, one.id), "keys that changed places"
    assert with_keys(None, None) and with_keys(one.id, None), "runs that are not sealed"
    assert with_keys("00" * 16, other.id), "a key that nobody knows"
    keys = replace(state.keys, shredded=frozenset({one.id}))
    assert validate(replace(state, keys=keys), commit), "a key that was shredded"
    assert broken(topic_keys=(one, other, TopicKey("00" * 16, one.topic, FIRST))) is None, "one more than is used"
    bare = plain()
    theirs = replace(last_commit(bare), prev=state.head_digest)
    assert validate(state, theirs), "a plain commit in an encrypted repository"
    runs = tuple(replace(run, key=one.id) for run in theirs.packs[0].runs)
    unencrypted = replace(state, repository=bare.about)
    assert validate(unencrypted, theirs) is None
    assert validate(unencrypted, replace(theirs, packs=(replace(theirs.packs[0], runs=runs),))), "sealed in a plain one"
    assert validate(unencrypted, replace(theirs, topic_keys=(one,))), "keys of a plain one"


def test_what_is_optional_shows_only_where_it_is_needed() -> None:
    bare = plain()
    assert b'"key' not in encode_commit(last_commit(bare))
    repository = begun()
    backup(repository, [piece(ORDERS, 9, 1)])
    assert last_commit(repository, 2).topic_keys == ()


def test_a_rotation_and_a_removal_end_the_use_of_all_keys() -> None:
    repository = begun()
    old = dict(repository.state.keys.current)
    assert set(old) == {topic_of(ORDERS), topic_of(PAYMENTS)}
    number = repository.decide(RotateKeys(), started=TIME)
    assert (dict(repository.state.keys.current), repository.state.keys.rotated_at) == ({}, number)
    assert set(repository.state.keys.topic_keys) == set(old.values())
    repository.decide(AddRecipient(ADDED), started=TIME)
    backup(repository, [piece(ORDERS, 9, 1)])
    new = dict(repository.state.keys.current)
    assert set(new) == {topic_of(ORDERS)} and not set(new.values()) & set(old.values())
    number = repository.decide(RemoveRecipient(FIRST), started=TIME)
    assert repository.state.keys.recipients == (ADDED,)
    assert (dict(repository.state.keys.current), repository.state.keys.rotated_at) == ({}, number)


def test_shredding_makes_gaps_of_all_runs_also_of_retired_packs_and_points_show_them() -> None:
    store = MemoryStore()
    repository = begun(store)
    first = next(iter(repository.state.packs)).name
    pack = write_pack(repository, [piece(ORDERS, 9, 1), piece(PAYMENTS, 6, 1)])
    repository.commit(draft(packs=[pack], gaps=[gap(ORDERS, 12, 14)], cuts=[cut(ORDERS, 14, 9), cut(PAYMENTS, 9, 6)]))
    retired = repository.decide(Retire((1,), (first,), "old"), started=TIME)
    repository.decide(Shred((topic_of(ORDERS),), "a demand"), started=TIME)
    state = repository.state
    known = state.generations[ORDERS]
    assert [(found.offsets.start, found.offsets.stop, found.reason) for found in known.gaps] == [
        (0, 9, SHREDDED),
        (9, 12, SHREDDED),
        (12, 14, "retention"),
    ]
    assert {found.evidence for found in known.gaps if found.reason == SHREDDED} == {"a demand"}
    assert [list(each.runs) for each in state.generations.values() if each.generation == ORDERS] == [[]]
    assert all(run.generation == PAYMENTS for entry in state.packs for run in entry.runs)
    assert len(state.keys.shredded) == 1 and topic_of(ORDERS) not in state.keys.current
    view = repository.view(repository.point("2"))
    parts = {part.generation: [found.reason for found in part.gaps] for part in view.partitions}
    assert parts == {ORDERS: [SHREDDED, "retention"], PAYMENTS: []}
    assert same_state(reader_of(store), repository)
    repository.decide(Unretire((retired,)), started=TIME)
    back = repository.view(repository.point("1"))
    assert {part.generation: len(part.runs) for part in back.partitions} == {ORDERS: 0, PAYMENTS: 1}
    again = repository.decide(Retire((1,), (first,), "old"), started=TIME)
    repository.decide(Sweep((again,)), started=TIME)
    assert same_state(reader_of(store), repository)
    assert repository.state.generations[ORDERS].next_offset == 14


def test_a_topic_that_was_shredded_goes_on_with_another_key() -> None:
    store = MemoryStore()
    repository = begun(store)
    (old,) = [key.id for key in repository.state.keys.topic_keys.values() if key.topic == topic_of(ORDERS)]
    repository.decide(Shred((topic_of(ORDERS),), "a demand"), started=TIME)
    with pytest.raises(PlanRefused, match="without a key"):
        repository.decide(Shred((topic_of(ORDERS),), "again"), started=TIME)
    backup(repository, [piece(ORDERS, 9, 1)])
    new = repository.state.keys.current[topic_of(ORDERS)]
    assert new != old and [run.key for run in repository.state.generations[ORDERS].runs] == [new]
    assert same_state(reader_of(store), repository)

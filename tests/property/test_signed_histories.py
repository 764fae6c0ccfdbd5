"""Random logs of a signed repository, by admins, writers, strangers and forgers, against a model of who may do what."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.readers import reader_of
from tests.support.repositories import CLUSTER, TIME, Clock
from tests.support.second_reader import Reader, digest

from kafkeep.repository.envelope import Kind, canonical, unwrap, wrap
from kafkeep.repository.names import log_name
from kafkeep.repository.repository import Repository
from kafkeep.repository.signing import SigningKey
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.trust import signed_text
from kafkeep.verify.run import verify

KEYS = [SigningKey(bytes([number]) * 32) for number in range(1, 5)]
"""The first is the admin of the beginning; the others are strangers until somebody trusts them."""
ROLES = ("admin", "writer")
POINT = {
    "name": None,
    "tags": [],
    "cuts": [],
    "selection": [],
    "documents": [],
    "consistency": "partition",
    "complete": True,
    "failures": [],
}
FORGERIES = ("unsigned", "altered", "of another repository", "replayed", "in another's name", "of another kind")


@dataclass
class Model:
    """Who may do what, as the page tells it in two tables."""

    trusted: dict[str, tuple[str, str]] = field(default_factory=lambda: {KEYS[0].public: ("admin", "")})
    epoch: int = 0
    topics: list[str] = field(default_factory=list)
    points: list[int] = field(default_factory=list)
    alarms: list[int] = field(default_factory=list)

    def take(self, seq: int, kind: str, body: dict[str, Any], signer: SigningKey, genuine: bool) -> None:
        role, _ = self.trusted.get(signer.public, ("", ""))
        allowed = role == "admin" or (role == "writer" and kind in ("add", "recovery-point", "compact"))
        if not (genuine and allowed and self._do(seq, kind, body)):
            self.alarms.append(seq)

    def _do(self, seq: int, kind: str, body: dict[str, Any]) -> bool:
        if kind in ("add", "recovery-point"):
            self.topics += [each["generation"][0] for each in body["opened"]]
            self.points += [seq] if kind == "recovery-point" else []
        elif kind == "epoch":
            if body["epoch"] != self.epoch + 1:
                return False
            self.epoch += 1
        else:
            after = {public: told for public, told in self.trusted.items() if public != body["public"]}
            if kind == "trust":
                after[body["public"]] = (body["role"], body["name"])
            if list(after.items()) == list(self.trusted.items()) or self._trusted_so(kind, body):
                return False
            if not any(role == "admin" for role, _ in after.values()):
                return False
            self.trusted = after
        return True

    def _trusted_so(self, kind: str, body: dict[str, Any]) -> bool:
        return kind == "trust" and self.trusted.get(body["public"]) == (body["role"], body["name"])


class Log:
    """The store's side: whoever may create objects puts what they like at the next number."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.clock = Clock()
        self.id = Repository.init(
            self.store, now=self.clock, rng=random.Random(1), admins=(KEYS[0].trusted("admin"),)
        ).id

    def opened(self) -> Repository:
        return Repository.open(self.store, now=self.clock, rng=random.Random(2))

    def put(self, kind: str, body: dict[str, Any], signer: SigningKey, forgery: str | None) -> int:
        state = self.opened().state
        seq = state.head + 1
        value: dict[str, Any] = {
            "seq": seq,
            "prev": state.head_digest,
            "kind": kind,
            "writer": "ab" * 16,
            "epoch": state.epoch,
            "started": TIME,
            "finished": TIME,
            "tool": "t",
            "store_time": None,
            "body": body,
            "later": {"é": [seq, 2**64 - 1]},
        }
        value["signature"] = self._signature(value, signer, forgery)
        if forgery == "altered":
            value["later"] = 0
        elif forgery == "unsigned":
            del value["signature"]
        self.store.put_new(log_name(seq), wrap(Kind.COMMIT, value))
        return seq

    def _signature(self, value: dict[str, Any], signer: SigningKey, forgery: str | None) -> dict[str, str]:
        if forgery == "replayed":
            last: Any = unwrap(self.store.objects[log_name(value["seq"] - 1)], Kind.COMMIT, "the one before")
            old = {name: one for name, one in last.items() if name != "signature"}
            return {"key": signer.id, "value": signer.sign(signed_text(self.id, canonical(old)))}
        text = signed_text("ab" * 16 if forgery == "of another repository" else self.id, canonical(value))
        if forgery == "of another kind":
            text = b"kafkeep 1 report\0" + text.removeprefix(b"kafkeep 1 commit\0")
        by = KEYS[KEYS.index(signer) - 1] if forgery == "in another's name" else signer
        return {"key": signer.id, "value": by.sign(text)}


def body_of(kind: str, number: int, other: SigningKey, role: str, epoch: int) -> dict[str, Any]:
    if kind == "epoch":
        return {"epoch": epoch}
    if kind == "trust":
        return {"public": other.public, "role": role, "name": ""}
    if kind == "distrust":
        return {"public": other.public}
    opened = [{"generation": [f"t{number}", "A" * 22, 0, 0], "start": 0, "why": "first-seen"}]
    body: dict[str, Any] = {"cluster_id": CLUSTER, "packs": [], "gaps": [], "opened": opened, "closed": []}
    return body | ({"point": POINT} if kind == "recovery-point" else {})


KINDS = ("add", "recovery-point", "epoch", "trust", "trust", "distrust")
moves = st.tuples(
    st.sampled_from(KINDS),
    st.sampled_from([0, 0, 0, 1, 1, 2, 3]),
    st.integers(0, 3),
    st.sampled_from(ROLES),
    st.sampled_from([None, None, None, None, *FORGERIES]),
    st.integers(0, 3),
)


def agrees(model: Model, log: Log) -> None:
    repository, reader = log.opened(), reader_of(log.store)
    state = repository.state
    assert [alarm.number for alarm in state.alarms] == sorted(reader.alarms) == model.alarms
    assert state.epoch == reader.epoch == model.epoch
    assert [point.number for point in state.points] == list(reader.points) == model.points
    assert [of.topic for of in state.generations] == [of[0] for of in reader.histories] == model.topics
    expected = [(public, role, name) for public, (role, name) in model.trusted.items()]
    assert [(key.public, key.role, key.name) for key in state.trusted] == expected
    assert trusted_by(reader) == expected
    assert [alarm.number for alarm in verify(repository, level="chain").alarms] == model.alarms


def trusted_by(reader: Reader) -> list[tuple[str, str, str]]:
    return [(one["public"], one["role"], one["name"]) for one in reader.signed.trusted]


@pytest.mark.fault("I6")
@settings(max_examples=150, deadline=None)
@given(st.lists(moves, min_size=1, max_size=14))
def test_what_counts_is_what_somebody_signed_who_may(history: list[tuple[str, int, int, str, str | None, int]]) -> None:
    log, model = Log(), Model()
    for number, (kind, signer, other, role, forgery, epoch) in enumerate(history):
        body = body_of(kind, number, KEYS[other], role, epoch)
        seq = log.put(kind, body, KEYS[signer], forgery)
        model.take(seq, kind, body, KEYS[signer], forgery is None)
    agrees(model, log)


@pytest.mark.fault("I6")
@pytest.mark.parametrize("forgery", FORGERIES)
@pytest.mark.parametrize("kind", dict.fromkeys(KINDS))
def test_each_forgery_of_each_kind_counts_for_nothing(kind: str, forgery: str) -> None:
    """Even in the name of the admin, whose honest commit of the same content counts."""
    log, model = Log(), Model()
    body = body_of(kind, 1, KEYS[0] if kind == "distrust" else KEYS[1], "admin", 1)
    if kind == "distrust":
        second = body_of("trust", 0, KEYS[1], "admin", 0)
        model.take(log.put("trust", second, KEYS[0], None), "trust", second, KEYS[0], True)
    seq = log.put(kind, body, KEYS[0], forgery)
    model.take(seq, kind, body, KEYS[0], False)
    agrees(model, log)
    assert model.alarms == [seq]
    model.take(log.put(kind, body, KEYS[0], None), kind, body, KEYS[0], True)
    agrees(model, log)
    assert model.alarms == [seq]


@pytest.mark.fault("I6")
@pytest.mark.parametrize("kind", ["epoch", "trust", "distrust", "retire", "sweep", "lose", "pin", "tag", "shred"])
def test_a_stolen_writers_key_signs_nothing_that_is_an_admins(kind: str) -> None:
    log, model = Log(), Model()
    body = body_of("trust", 0, KEYS[1], "writer", 0)
    model.take(log.put("trust", body, KEYS[0], None), "trust", body, KEYS[0], True)
    bodies: dict[str, dict[str, Any]] = {
        "retire": {"points": [1], "packs": [], "reason": "mine"},
        "sweep": {"retirements": [1]},
        "lose": {"runs": [["pack/x", 0]], "reason": "mine"},
        "pin": {"point": 1, "reason": "mine", "until": None, "until_tag": None},
        "tag": {"point": 1, "set": [], "unset": []},
        "shred": {"topics": [["t", "A" * 22]], "reason": "mine"},
    }
    mine = bodies[kind] if kind in bodies else body_of(kind, 0, KEYS[1], "admin", 1)
    seq = log.put(kind, mine, KEYS[1], None)
    model.alarms.append(seq)
    agrees(model, log)
    assert "a writer, who may not" in log.opened().state.alarms[0].reason


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**400])
@pytest.mark.fault("I6")
def test_numbers_without_a_canonical_text_break_no_reader(number: int) -> None:
    """They stand in a field that nobody knows, so nothing but the signature looks at them."""
    log = Log()
    seq = log.put("epoch", {"epoch": 1}, KEYS[0], None)
    value: Any = unwrap(log.store.objects[log_name(seq)], Kind.COMMIT, "it")
    data = json.dumps(value | {"later": number}).encode()
    head = b"KKD1\x02\0\0" + len(data).to_bytes(4, "little") + data
    log.store.objects[log_name(seq)] = head + digest(head)
    agrees(Model(alarms=[seq]), log)

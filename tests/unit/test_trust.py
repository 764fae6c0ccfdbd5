"""Signed repositories: whose commits count, whose do not, and that everybody agrees about it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.support.repositories import Clock, backup, draft, generation, piece, write_pack

from kafkeep.errors import KeyRefused, UsageError
from kafkeep.repository.changes import Change, Pin, RaiseEpoch, Retire
from kafkeep.repository.envelope import Kind, unwrap, wrap
from kafkeep.repository.identities import Identity
from kafkeep.repository.keyring import Access, NewEncryption
from kafkeep.repository.names import log_name
from kafkeep.repository.repository import Repository
from kafkeep.repository.signing import SigningKey, parse_signer, signer_text
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.trust import ADMIN, WRITER, Distrust, Trust
from kafkeep.secret import Secret
from kafkeep.verify.run import verify

ORDERS = generation()


class Signed:
    """A signed repository, its admin's key and a writer's."""

    def __init__(self, encryption: NewEncryption | None = None, identity: Identity | None = None) -> None:
        self.admin, self.writer = SigningKey.generate(), SigningKey.generate()
        self.store = MemoryStore()
        self.clock = Clock()
        self.identities = () if identity is None else (identity,)
        first = Repository.init(
            self.store,
            now=self.clock,
            rng=random.Random(1),
            encryption=encryption,
            admins=(self.admin.trusted(ADMIN, "ops"),),
            access=Access(signing_key=self.admin),
        )
        first.decide(Trust(self.writer.trusted(WRITER, "backup host")), started=STARTED)

    def opened(self, key: SigningKey | None) -> Repository:
        access = Access(identities=self.identities, signing_key=key)
        return Repository.open(self.store, now=self.clock, rng=random.Random(2), access=access)


STARTED = "2026-01-01T00:00:00Z"


@pytest.fixture
def signed() -> Signed:
    return Signed()


def test_a_writer_backs_up_and_an_admin_decides(signed: Signed) -> None:
    writer = signed.opened(signed.writer)
    assert backup(writer, [piece(ORDERS, 0, 10)]).number == 2
    assert backup(signed.opened(signed.admin), [piece(ORDERS, 30, 10)]).number == 3
    admin = signed.opened(signed.admin)
    admin.decide(RaiseEpoch(1), started=STARTED)
    assert admin.refresh().epoch == 1
    report = verify(signed.opened(None), level="data")
    assert report.findings == () and report.alarms == ()


CHANGES: tuple[Change, ...] = (RaiseEpoch(1), Retire((2,), (), "gone"), Pin(2, "kept"), Distrust("ab" * 32))


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: type(change).__name__)
@pytest.mark.fault("I11")
def test_a_writer_decides_nothing(signed: Signed, change: Change) -> None:
    writer = signed.opened(signed.writer)
    backup(writer, [piece(ORDERS, 0, 10)])
    with pytest.raises(KeyRefused, match="may not sign"):
        writer.decide(change, started=STARTED)


def test_nobody_writes_without_a_key_that_is_trusted(signed: Signed) -> None:
    before = set(signed.store.objects)
    for key, words in ((None, "no signing key"), (SigningKey.generate(), "nobody trusts")):
        repository = signed.opened(key)
        with pytest.raises(KeyRefused, match=words):
            repository.pack_writer()
        with pytest.raises(KeyRefused, match=words):
            repository.decide(RaiseEpoch(1), started=STARTED)
    assert set(signed.store.objects) == before


def forged(signed: Signed, change: Callable[[dict[str, Any]], None], key: SigningKey | None) -> Repository:
    """The repository with the last commit altered, and signed again if there is a key."""
    backup(signed.opened(signed.writer), [piece(ORDERS, 0, 10)])
    name = log_name(2)
    value: Any = unwrap(signed.store.objects[name], Kind.COMMIT, name)
    change(value)
    if key is not None:
        value.pop("signature", None)
        from kafkeep.repository.envelope import canonical
        from kafkeep.repository.trust import signed_text

        text = signed_text(signed.opened(None).id, canonical(value))
        value["signature"] = {"key": key.id, "value": key.sign(text)}
    signed.store.objects[name] = wrap(Kind.COMMIT, value)
    return signed.opened(None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda value: value.pop("signature"), "not signed"),
        (lambda value: value.update(tool="another"), "not of this commit"),
        (lambda value: value.update(epoch=1), "not of this commit"),
        (lambda value: value["signature"].update(key="ab" * 8), "nobody trusts"),
        (lambda value: value["signature"].update(value="ab" * 64), "not of this commit"),
        (lambda value: value["signature"].update(value=7), "malformed"),
        (lambda value: value.update(more=1), "not of this commit"),
    ],
)
def test_what_was_altered_counts_for_nothing(
    signed: Signed, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    repository = forged(signed, change, None)
    assert [words in alarm.reason for alarm in repository.state.alarms] == [True]
    assert not repository.state.packs and repository.state.head == 2
    assert verify(repository, level="chain").alarms == tuple(repository.state.alarms)


def test_a_key_of_ones_own_counts_for_nothing_either(signed: Signed) -> None:
    repository = forged(signed, lambda value: value.update(tool="another"), SigningKey.generate())
    assert ["nobody trusts" in alarm.reason for alarm in repository.state.alarms] == [True]


def test_a_stolen_writer_cannot_sign_an_admins_commit(signed: Signed) -> None:
    def retire(value: dict[str, Any]) -> None:
        value.update(kind="retire", body={"points": [], "packs": [], "reason": "mine"})

    repository = forged(signed, retire, signed.writer)
    assert ["may not retire" in alarm.reason for alarm in repository.state.alarms] == [True]


def test_fields_of_later_versions_are_signed_too(signed: Signed) -> None:
    repository = forged(signed, lambda value: value.update(later=[1]), signed.writer)
    assert not repository.state.alarms and len(repository.state.packs) == 1


def test_a_commit_is_not_signed_for_another_place(signed: Signed) -> None:
    """A commit of the same kind from another repository with the same admin, or from another number."""
    other = Signed()
    backup(signed.opened(signed.writer), [piece(ORDERS, 0, 10)])
    value: Any = unwrap(signed.store.objects[log_name(2)], Kind.COMMIT, "it")
    prev: Any = unwrap(other.store.objects[log_name(1)], Kind.COMMIT, "it")
    del prev
    other.opened(other.admin).decide(Trust(signed.writer.trusted(WRITER)), started=STARTED)
    head = other.opened(None).state
    value.update(seq=head.head + 1, prev=head.head_digest)
    other.store.objects[log_name(head.head + 1)] = wrap(Kind.COMMIT, value)
    alarms = other.opened(None).state.alarms
    assert ["not of this commit" in alarm.reason for alarm in alarms] == [True]


def test_trust_ends_and_begins(signed: Signed) -> None:
    writer = signed.opened(signed.writer)
    backup(writer, [piece(ORDERS, 0, 10)])
    admin = signed.opened(signed.admin)
    admin.decide(Distrust(signed.writer.public), started=STARTED)
    with pytest.raises(KeyRefused, match="nobody trusts"):
        backup(signed.opened(signed.writer), [piece(ORDERS, 30, 10)])
    assert len(signed.opened(None).state.packs) == 1, "what it signed before stays"
    with pytest.raises(KeyRefused, match="nobody trusts"):
        # it does not know yet that it is not trusted: the commit is refused after the race was lost
        pack = write_pack(writer, [piece(ORDERS, 30, 10)])
        writer.commit(draft(packs=[pack]))
    second = SigningKey.generate()
    admin.decide(Trust(second.trusted(ADMIN)), started=STARTED)
    signed.opened(second).decide(Distrust(signed.admin.public), started=STARTED)
    with pytest.raises(Exception, match="nobody would be left"):
        signed.opened(second).decide(Distrust(second.public), started=STARTED)
    with pytest.raises(Exception, match="nobody would be left"):
        signed.opened(second).decide(Trust(replace(second.trusted(WRITER))), started=STARTED)


def test_reports_count_as_evidence_when_they_are_signed(signed: Signed) -> None:
    signed.opened(None).put_audit("verified", {"head": 1})
    signed.opened(SigningKey.generate()).put_audit("verified", {"head": 2})
    signed.opened(signed.writer).put_audit("verified", {"head": 3})
    reader = signed.opened(None)
    assert [value for _, value in reader.audits("verified", trusted=True)] == [{"head": 3}]
    assert len(list(reader.audits("verified"))) == 3


def test_signed_and_encrypted() -> None:
    identity = Identity.generate()
    both = Signed(NewEncryption((identity.recipient(),)), identity)
    writer = both.opened(both.writer)
    backup(writer, [piece(ORDERS, 0, 10)])
    assert verify(both.opened(None), level="data").findings == ()
    assert b"orders" not in b"".join(bytes(data) for data in both.store.objects.values())


def test_a_signing_key_for_a_repository_that_is_not_signed_is_refused() -> None:
    store = MemoryStore()
    Repository.init(store, now=Clock(), rng=random.Random(1))
    with pytest.raises(UsageError, match="not signed"):
        Repository.open(store, now=Clock(), rng=random.Random(1), access=Access(signing_key=SigningKey.generate()))


def test_text_forms() -> None:
    key = SigningKey.generate()
    assert SigningKey.parse(Secret(f"# the backup host\n\n{key.reveal()}\n")).public == key.public
    assert parse_signer(signer_text(key.public)) == key.public
    assert key.reveal() not in repr(key)
    for broken in (
        "",
        key.reveal()[:-1],
        key.reveal() + "A",
        signer_text(key.public),
        f"{key.reveal()}\n{key.reveal()}",
    ):
        with pytest.raises(KeyRefused):
            SigningKey.parse(Secret(broken))

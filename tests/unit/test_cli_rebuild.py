"""`kafkeep rebuild` where a repository is encrypted, and where its commits are signed."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.encrypted import quick_slots
from tests.support.operations import now, without_pauses
from tests.support.repositories import backup, generation, piece
from tests.support.sweep_command import Kafkeep

from kafkeep.repository.identities import Identity
from kafkeep.repository.keyring import Access, NewEncryption
from kafkeep.repository.repository import Repository
from kafkeep.repository.signing import SigningKey
from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.trust import ADMIN, WRITER, Trust

LOST = ("--repo", "./one")
ALICE, BOB = Identity.generate(), Identity.generate()
ADMINS, WRITERS = SigningKey.generate(), SigningKey.generate()


@pytest.fixture(autouse=True)
def at_once() -> Iterator[None]:
    with without_pauses(), quick_slots():
        yield


@pytest.fixture
def kafkeep(tmp_path: Path) -> Kafkeep:
    """With the key files `alice`, `bob`, `admin` and `writer`."""
    texts = {"alice": ALICE.reveal(), "bob": BOB.reveal(), "admin": ADMINS.reveal(), "writer": WRITERS.reveal()}
    for name, text in texts.items():
        path = tmp_path / f"{name}.key"
        path.touch(mode=0o600)
        path.write_text(text)
    return Kafkeep(tmp_path, inside=True)


def lose_the_log(folder: Path) -> None:
    for name in ("log", "hint"):
        shutil.rmtree(folder / "one" / name)


def test_an_encrypted_repository_comes_back_for_whoever_has_an_identity(kafkeep: Kafkeep, tmp_path: Path) -> None:
    new = NewEncryption((ALICE.recipient("alice"),))
    with Repository.init(LocalStore(tmp_path / "one"), now=now, rng=random.Random(1), encryption=new) as repository:
        backup(repository, [piece(generation(), 0, 3), piece(generation("payments"), 0, 2)])
    alice, writer = ("--identity-file", "./alice.key"), ("--writer-key-file", "./w.key")
    kafkeep("keys", "add", str(BOB.recipient()), "--name", "bob", *LOST, *alice).expect(0)
    kafkeep("keys", "export", *LOST, *alice, "--writer-key-out", "./w.key").expect(0)
    lose_the_log(tmp_path)
    rebuild = ("rebuild", *LOST, "--to", "./two")
    kafkeep(*rebuild).refused(12, "key-refused")
    assert "public halves" in kafkeep(*rebuild, *writer).refused(12, "key-refused")
    bob = BOB.recipient().id
    plan = kafkeep(*rebuild, *alice, "--dry-run").expect(0)
    assert (len(plan["keys"]["topic_keys"]), plan["keys"]["unknown"]) == (2, [bob])
    told = kafkeep.plain(*rebuild, *alice).out
    assert "2 topic keys opened" in told and f"recipient {bob} was one perhaps" in told
    kafkeep("verify", "--repo", "./two", "--level", "data", *alice).expect(0)
    kafkeep("keys", "add", str(BOB.recipient()), "--name", "bob", "--repo", "./two", *alice).expect(0)
    kafkeep("verify", "--repo", "./two", "--level", "data", "--identity-file", "./bob.key").expect(0)
    kafkeep("rebuild", *LOST, "--in-place", *alice).expect(0)


def test_a_lost_key_is_told_and_a_foreign_one_refused(kafkeep: Kafkeep, tmp_path: Path) -> None:
    new = NewEncryption((ALICE.recipient("alice"), BOB.recipient("bob")))
    with Repository.init(LocalStore(tmp_path / "one"), now=now, rng=random.Random(1), encryption=new) as repository:
        backup(repository, [piece(generation(), 0, 3), piece(generation("payments"), 0, 2)])
        first, second = (key.id for key in repository.state.keys.topic_keys.values())
    lose_the_log(tmp_path)
    alice = ("--identity-file", "./alice.key")
    shutil.rmtree(tmp_path / "one" / "key" / first)
    (tmp_path / "one" / "key" / second / ALICE.recipient().id).unlink()
    rebuild = ("rebuild", *LOST, "--to", "./two")
    assert BOB.recipient().id in kafkeep(*rebuild, *alice).refused(24, "plan-refused")
    told = kafkeep.plain(*rebuild, *alice, "--leave-locked").out
    assert "key that nobody has any more" in told and "key that does not open" in told
    kafkeep("verify", "--repo", "./two", "--level", "data", *alice).expect(0)


@pytest.mark.fault("I10")
def test_a_signed_log_is_built_by_an_admin(kafkeep: Kafkeep, tmp_path: Path) -> None:
    """Fault I10, where commits are signed."""
    access = Access(signing_key=ADMINS)
    with Repository.init(
        LocalStore(tmp_path / "one"),
        now=now,
        rng=random.Random(1),
        admins=(ADMINS.trusted(ADMIN, "ops"),),
        access=access,
    ) as repository:
        repository.decide(Trust(WRITERS.trusted(WRITER, "host")), started="2026-11-20T10:00:00.000Z")
        backup(repository, [piece(generation(), 0, 3)])
    lose_the_log(tmp_path)
    rebuild = ("rebuild", *LOST, "--to", "./two")
    kafkeep(*rebuild).refused(12, "key-refused")
    kafkeep(*rebuild, "--signing-key-file", "./writer.key").refused(12, "key-refused")
    assert not (tmp_path / "two" / "pack").exists(), "brought before it was known that somebody may sign"
    told = kafkeep.plain(*rebuild, "--signing-key-file", "./admin.key").out
    assert "trusted: the admins that kafkeep.json names" in told
    report = kafkeep("verify", "--repo", "./two", "--level", "data").expect(0)
    assert report["findings"] == []
    assert [key["id"] for key in kafkeep("trust", "list", "--repo", "./two").expect(0)["signers"]] == [ADMINS.id]

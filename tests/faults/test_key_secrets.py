"""E5: identities, passphrases and writer keys are in the files they were put into, and in nothing else."""

from __future__ import annotations

import base64
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

import pytest
from tests.support.encrypted import quick_slots
from tests.support.faults import Figures
from tests.support.operations import now
from tests.support.repositories import backup, generation, piece
from tests.support.sweep_command import Kafkeep

from kafkeep.keys import recipients
from kafkeep.repository.identities import Identity, WriterKey
from kafkeep.repository.keyring import Access
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.local import LocalStore
from kafkeep.secret import Secret

PASSPHRASE = "canary+passphrase/of é words"
SECOND = "canary+second/passphrase of words"
REPO = ("--repo", "./r")


class Kept:
    """Every secret there is in this folder, and each form that it could take in a text or a file."""

    def __init__(self, kafkeep: Kafkeep) -> None:
        self.kafkeep = kafkeep
        folder = kafkeep.folder
        for name, text in (("p", PASSPHRASE), ("q", SECOND)):
            (folder / name).touch(mode=0o600)
            (folder / name).write_text(text + "\n")
        self.said = 0
        self.secrets: list[bytes] = [PASSPHRASE.encode(), SECOND.encode()]
        self.run(0, "keys", "init", "--out", "./a.key")
        self.run(0, "keys", "init", "--out", "./b.key")
        self.recipient = (
            self.run(0, "--json", "keys", "init", "--out", "./c.key").split('"recipient":"')[1].split('"')[0]
        )
        for name in ("a", "b", "c"):
            identity = Identity.parse(Secret((folder / f"{name}.key").read_text()))
            self.secrets += [identity.reveal().encode(), identity.private_bytes()]
        given = ("--encrypt", "--identity-file", "./a.key", "--passphrase-file", "./p", "--writer-key-out", "./w.key")
        self.run(0, "init", *REPO, *given)
        key = WriterKey.parse(Secret((folder / "w.key").read_text()))
        self.secrets += [key.reveal().encode(), key.key]
        access = Access(writer_key=key)
        with Repository.open(LocalStore(folder / "r"), now=now, rng=random.Random(1), access=access) as repository:
            backup(repository, [piece(generation("orders"), 0, 2)])

    def forms(self) -> Iterator[bytes]:
        for raw in self.secrets:
            yield raw
            yield raw.hex().encode()
            yield repr(raw)[2:-1].encode()
            yield quote(raw, safe="").encode()
            # Keys as bytes have no prefix, and may hold its colon by chance.
            body = raw.rpartition(b":")[2] if raw.isascii() else raw
            for shift in range(3):
                yield base64.b64encode(b"\0" * shift + raw)[4:-4]
                yield base64.urlsafe_b64encode(b"\0" * shift + raw)[4:-4]
            yield body[:20]

    def search(self, data: bytes, where: str) -> None:
        for form in self.forms():
            assert len(form) >= 16, "one so short is found by chance"
            assert form not in data, f"a secret shows in {where}"

    def run(self, status: int, *arguments: str) -> str:
        """With the most talk. Checks what is printed, and the status."""
        ended = self.kafkeep._inside("-vv", *arguments)
        assert ended.status == status, (arguments, ended)
        for text in (ended.out, ended.err):
            self.search(text.encode(errors="surrogateescape"), " ".join(arguments))
        self.said += len(ended.out) + len(ended.err)
        return ended.out


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    with quick_slots():
        yield Kept(Kafkeep(tmp_path, inside=True))


@pytest.mark.fault("E5")
def test_e5_keys_show_nowhere(kept: Kept, fault: Figures) -> None:
    """Verbs that open, change and refuse, with each source of a key, right and wrong."""
    folder = kept.kafkeep.folder
    by_identity, by_passphrase = ("--identity-file", "./a.key"), ("--passphrase-file", "./p")
    by_writer, wrong = ("--writer-key-file", "./w.key"), ("--identity-file", "./b.key")
    runs: list[tuple[int, tuple[str, ...]]] = [
        *((0, ("points", *REPO, *key)) for key in (by_identity, by_passphrase, by_writer)),
        (0, ("verify", *REPO, *by_passphrase, "--level", "data", "--record")),
        (0, ("keys", "list", *REPO, *by_identity)),
        (0, ("keys", "check", *REPO, *by_passphrase)),
        (0, ("keys", "add", kept.recipient, "--name", "c", *REPO, *by_identity)),
        (0, ("keys", "add", "--passphrase", "--new-passphrase-file", "./q", *REPO, *by_identity)),
        (0, ("keys", "export", *REPO, *by_identity, "--writer-key-out", "./w2.key")),
        (0, ("keys", "remove", "c", *REPO, *by_writer, "--execute")),
        (0, ("keys", "rotate", *REPO, *by_writer)),
        (24, ("keys", "shred", "--topic", "orders", "--reason", "r", *REPO, *by_writer)),
        (12, ("points", *REPO, *wrong)),
        (12, ("points", *REPO, "--passphrase-file", "./w.key")),
        (12, ("points", *REPO, "--identity-file", "./p")),
        (12, ("points", *REPO, "--writer-key-file", "./a.key")),
        (12, ("keys", "check", *REPO, *by_writer)),
        (2, ("keys", "init", "--out", "./a.key")),
        (2, ("keys", "remove", (folder / "a.key").read_text().splitlines()[-1], *REPO, *by_writer)),
        (12, ("keys", "add", (folder / "a.key").read_text().splitlines()[-1], *REPO, *by_identity)),
        (12, ("init", "--repo", "./s", "--encrypt", "--recipient", (folder / "a.key").read_text().splitlines()[-1])),
        (0, ("copy", *REPO, *by_writer, "--to", "./copy")),
    ]  # fmt: skip
    for number, (status, arguments) in enumerate(runs):
        kept.run(status, *(("--json",) if number % 2 else ()), *arguments)
    command = [sys.executable, "-c", f"print(open({str(folder / 'a.key')!r}).read())"]
    kept.kafkeep.settings(
        f'[repository.prod]\nurl = "r"\nidentity = {{ command = {command!r} }}\nwriter_key = {{ file = "w.key" }}\n'
        '[repository.other]\nurl = "r"\npassphrase = { env = "P" }\n'
    )
    kept.kafkeep.variables = {"P": PASSPHRASE}
    for arguments in (
        ("config", "show"),
        ("config", "check"),
        ("points", "--repo", "prod"),
        ("points", "--repo", "other"),
    ):
        kept.run(0, *arguments)
        kept.run(0, "--json", *arguments)
    assert kept.said > 10_000
    places = [path for name in ("r", "copy", "cache") for path in (folder / name).rglob("*") if path.is_file()]
    assert len(places) > 12
    for path in places:
        kept.search(str(path).encode(), "a file's name")
        kept.search(path.read_bytes(), str(path))
    fault.figures(commands=len(runs) + 8, files=len(places))


@pytest.mark.fault("E5")
def test_e5_an_exception_that_holds_a_key_is_told_without_it(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(repository: Repository) -> NoReturn:
        keyring = repository.keyring
        assert keyring is not None and keyring.identity is not None
        kept.secrets += [keyring.identity.reveal().encode(), keyring.identity.private_bytes()]
        held = (keyring.identity.reveal(), keyring.identity.private_bytes().hex(), keyring.writer_key.reveal(), keyring)
        raise RuntimeError(f"what nobody thought of: {held}")

    monkeypatch.setattr(recipients, "listing", broken)
    for given in (("--identity-file", "./a.key", "--writer-key-file", "./w.key"), ("--passphrase-file", "./p")):
        out = kept.run(1, "--json", "keys", "list", *REPO, *given)
        assert "what nobody thought of" in out and "***" in out
        kept.run(1, "keys", "list", *REPO, *given)

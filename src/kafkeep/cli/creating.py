"""What `kafkeep init --encrypt` and `--signed` are given, who can open what comes of it, and what to keep safe."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kafkeep.cli.key_sources import (
    OPENING,
    ask_passphrase,
    check_absent,
    given_access,
    hide_writer_key,
    pinned_admins,
    write_key_file,
    writer_key_text,
)
from kafkeep.errors import KeyRefused, UsageError
from kafkeep.records import dataclass

if TYPE_CHECKING:
    from kafkeep.cli.common import Run
    from kafkeep.repository.format import RepositoryDocument
    from kafkeep.repository.identities import Recipient, WriterKey
    from kafkeep.repository.keyring import Access, NewEncryption
    from kafkeep.repository.repository import Repository
    from kafkeep.repository.stores.base import Store
    from kafkeep.repository.trust import TrustedKey

LONGEST_NAME: Final = 200
_OUT: Final = "--writer-key-out"


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """A recipient, by its public text form."""

    recipient: str
    name: str


@dataclass(slots=True)
class NewKeys:
    """The keys of a repository to be; nothing of it for one that is not encrypted."""

    encryption: NewEncryption | None = None
    access: Access | None = None
    """What else opens it, for a creation that was begun before; and what signs its commits."""
    out: Path | None = None
    written: str | None = None
    """The repository whose writer key was put into `out`."""

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Takes a file back whose key turns out to be of no repository."""
        try:
            yield
        except KeyRefused:
            if self.out is not None and self.written is not None:
                self.out.unlink()
            raise

    def settle(self, repository: Repository) -> None:
        """When another creation was faster, `out` gets the key of the repository that is there."""
        keyring = repository.keyring
        if keyring is None or self.out is None or self.written == repository.id:
            return
        if self.written is not None:
            self.out.unlink()
        write_key_file(self.out, writer_key_text(keyring.writer_key), _OUT)

    def holders(self, repository: Repository) -> tuple[KeyHolder, ...]:
        """For whom it is encrypted."""
        if repository.keyring is None:
            return ()
        from kafkeep.repository.identities import Recipient

        return tuple(KeyHolder(str(Recipient(entry.public)), entry.name) for entry in repository.state.keys.recipients)

    def advice(self, repository: Repository) -> tuple[str, ...]:
        """What to keep safe, and where."""
        holders = self.holders(repository)
        if not holders:
            return ()
        lines = ["it is encrypted, for:"]
        lines += [f"  {holder.recipient}" + (f" ({holder.name})" if holder.name else "") for holder in holders]
        if self.encryption is not None and self.encryption.passphrase is not None:
            others = ", or one of the other identities," if len(holders) > 1 else ""
            lines.append(f"the passphrase is in no place but yours: without it{others} nothing can be read")
        else:
            lines.append("without one of these identities nothing can be read: keep each in two places, away from here")
        if self.out is not None:
            lines.append(
                f"the writer key is in {self.out}: enough to back up and prune, for hosts that are not to read"
            )
        return tuple(lines)


def keys_of_new(
    run: Run, repo: str, store: Store, *, encrypt: bool, recipients: Sequence[str], out: Path | None
) -> NewKeys:
    """From the options of `init`. Raises `UsageError` for options without effect, or when nobody could write."""
    if not encrypt:
        _refuse_idle(run, repo, recipients, out)
        return NewKeys(access=given_access(run, repo, ("signing_key",)))
    from kafkeep.repository.keyring import Access, NewEncryption

    begun = _begun(store)
    if out is not None and begun is not None and _holds_key_of(run, out, begun):
        run.key_files["writer_key"], out = out, None
    if out is not None:
        check_absent(out, _OUT)
    if begun is None and "writer_key" in run.key_files:
        raise UsageError(
            "--writer-key-file is for a creation that was begun, and here is none",
            hint="A new repository gets a writer key of its own: --writer-key-out FILE.",
        )
    # a writer key in the settings is what --writer-key-out is going to write, so only the option is looked at
    kinds = OPENING if "writer_key" in run.key_files else OPENING[:2]
    given = given_access(run, repo, (*kinds, "signing_key"))
    access = Access() if given is None else given
    readers: dict[str, Recipient] = {}
    for found in (*(parse_recipient(text) for text in recipients), *(one.recipient() for one in access.identities)):
        readers.setdefault(found.public, found)
    passphrase = access.passphrase
    if not readers and passphrase is None:
        passphrase = ask_passphrase(run, "new passphrase", twice=True)
    elif access.empty and out is None:
        raise UsageError(
            "nobody could write: a recipient is a lock, and its key is elsewhere",
            hint="Give --writer-key-out FILE for the host that backs up, or --identity-file, or a passphrase.",
        )
    keys = NewKeys(access=replace(access, passphrase=passphrase), out=out)

    def keep(key: WriterKey) -> None:
        hide_writer_key(run, key)
        if out is not None:
            write_key_file(out, writer_key_text(key), _OUT)
            keys.written = key.repository_id

    keys.encryption = NewEncryption(tuple(readers.values()), passphrase, keep)
    return keys


def parse_recipient(text: str) -> Recipient:
    """`TEXT` or `TEXT=NAME`. Raises `KeyRefused`, `UsageError`."""
    from kafkeep.repository.identities import Recipient

    body, _, name = text.partition("=")
    return Recipient.parse(body, check_name(name))


def check_name(name: str, whose: str = "a recipient") -> str:
    """The name of a recipient itself, or of somebody who signs. Raises `UsageError`."""
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise UsageError(f"{whose}'s name is a line of at most {LONGEST_NAME} characters")
    return name


def first_admins(run: Run, repo: str, access: Access | None, *, signed: bool, name: str = "") -> tuple[TrustedKey, ...]:
    """Whose signatures count at the beginning: the owner's of the signing key; nobody's where commits are not signed.

    Raises `UsageError` for --signed without a key, for what has no effect without --signed, and for a key that the
    settings do not name.
    """
    key, pinned = None if access is None else access.signing_key, pinned_admins(run, repo)
    if not signed:
        if key is not None or name or pinned:
            raise UsageError(
                "an admin or a signing key is given for a repository whose commits are not to be signed",
                hint="Add --signed; or leave them out, in the settings too.",
            )
        return ()
    if key is None:
        raise UsageError(
            "--signed needs the signing key of the first admin",
            hint="`kafkeep trust init --out FILE` makes one; then add --signing-key-file FILE.",
        )
    if pinned and key.public not in pinned:
        raise UsageError(f"signing key {key.id} is none of the admins whom the settings name")
    from kafkeep.repository.trust import ADMIN

    return (key.trusted(ADMIN, check_name(name, "an admin")),)


def signers(about: RepositoryDocument) -> tuple[str, ...]:
    """Its first admins, as `kafkeep trust` shows them."""
    if not about.admins:
        return ()
    from kafkeep.repository.signing import signer_text

    return tuple(signer_text(key.public) for key in about.admins)


def _refuse_idle(run: Run, repo: str, recipients: Sequence[str], out: Path | None) -> None:
    settings = run.settings.settings.repository.get(repo)
    given = [kind for kind in OPENING if kind in run.key_files]
    given += [kind for kind in OPENING if settings is not None and getattr(settings, kind) is not None]
    if recipients or out is not None or given:
        raise UsageError(
            "keys are given for a repository that is not to be encrypted",
            hint="Add --encrypt; or leave the keys out, in the settings too.",
        )


def _begun(store: Store) -> str | None:
    """The id in commit 0, which comes before the repository itself; None when there is none that can be read."""
    from kafkeep.repository import chain
    from kafkeep.repository.format import NO_COMMIT, read_slot
    from kafkeep.repository.names import log_name

    data = chain.read_commit(store, 0)
    commit = None if data is None else read_slot(data, 0, NO_COMMIT, log_name(0)).commit
    return None if commit is None or commit.repository is None else commit.repository.id


def _holds_key_of(run: Run, file: Path, repository_id: str) -> bool:
    """Whether the file is what an interrupted creation of this repository wrote."""
    from kafkeep.cli.secrets import read_secret
    from kafkeep.repository.identities import WriterKey
    from kafkeep.settings import SecretSource

    if file.is_symlink() or not file.exists():
        return False
    try:
        found = WriterKey.parse(read_secret(SecretSource(file=str(file), env=None, command=None), _OUT, run.env))
    except (KeyRefused, UsageError):
        return False
    return found.repository_id == repository_id

"""From options and settings to what opens an encrypted repository; and files that new keys are put into."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from kafkeep.cli.secrets import read_secret
from kafkeep.errors import CorruptChain, CorruptionError, RepositoryNotFound, SettingsError, UnknownFormat, UsageError
from kafkeep.secret import Secret

if TYPE_CHECKING:
    from kafkeep.cli.common import Run
    from kafkeep.repository.format import RepositoryDocument
    from kafkeep.repository.identities import Identity, WriterKey
    from kafkeep.repository.keyring import Access
    from kafkeep.repository.repository import Repository
    from kafkeep.repository.signing import SigningKey
    from kafkeep.repository.stores.base import Store
    from kafkeep.settings import SecretSource

KINDS: Final = ("identity", "passphrase", "writer_key", "signing_key")
"""The keys of `[repository.NAME]`; the options are named alike."""
OPENING: Final = KINDS[:3]
"""Those that only an encrypted repository has."""


def access_for(run: Run, spec: str, store: Store) -> Access | None:
    """What opens the repository behind --repo, fetched once; None when there is nothing. Asks for the passphrase at a
    terminal when the repository is encrypted and nothing was given. Raises `SettingsError`, `KeyRefused`.
    """
    if spec not in run.accesses:
        access = given_access(run, spec)
        if access is None or access.empty:
            asked = _asked(run, store)
            if asked is not None:
                access = asked if access is None else replace(asked, signing_key=access.signing_key)
        run.accesses[spec] = access
    return run.accesses[spec]


def remember_opened(run: Run, spec: str, repository: Repository) -> None:
    """What it was opened with is never shown; the next opening need not derive the identity from the passphrase again."""
    access, keyring = run.accesses.get(spec), repository.keyring
    if keyring is None:
        return
    hide_writer_key(run, keyring.writer_key)
    if keyring.identity is not None:
        hide_identity(run, keyring.identity)
        if access is not None and access.passphrase is not None:
            run.accesses[spec] = replace(access, identities=(keyring.identity,), passphrase=None)


def given_access(run: Run, spec: str, kinds: tuple[str, ...] = KINDS) -> Access | None:
    """What options and settings give of these kinds; an option that opens goes before all settings that do. None for
    nothing."""
    by_option = any(kind in run.key_files for kind in OPENING)
    wanted = [kind for kind in kinds if kind in run.key_files or not (by_option and kind in OPENING)]
    found = {kind: given for kind in wanted if (given := _given(run, spec, kind)) is not None}
    if not found:
        return None
    from kafkeep.repository.identities import Identity, WriterKey  # loads cryptography
    from kafkeep.repository.keyring import Access

    return Access(
        identities=(hide_identity(run, Identity.parse(found["identity"])),) if "identity" in found else (),
        passphrase=found.get("passphrase"),
        writer_key=hide_writer_key(run, WriterKey.parse(found["writer_key"])) if "writer_key" in found else None,
        signing_key=_signing_key(run, found["signing_key"]) if "signing_key" in found else None,
    )


def _signing_key(run: Run, given: Secret) -> SigningKey:
    from kafkeep.repository.signing import SigningKey

    return hide_signing_key(run, SigningKey.parse(given))


def _given(run: Run, spec: str, kind: str) -> Secret | None:
    file = run.key_files.get(kind)
    if file is not None:
        from kafkeep.settings import SecretSource

        option = f"--{kind.replace('_', '-')}-file"
        return run.redact.add(read_secret(SecretSource(file=str(file), env=None, command=None), option, run.env))
    settings = run.settings.settings.repository.get(spec)
    source: SecretSource | None = None if settings is None else getattr(settings, kind)
    return None if source is None else run.redact.add(read_secret(source, f"repository.{spec}.{kind}", run.env))


def check_keys(run: Run, name: str) -> None:
    """Raises `SettingsError` or `KeyRefused` for keys of a configured repository that cannot be had."""
    given_access(run, name)
    pinned_admins(run, name)


def hide_identity(run: Run, identity: Identity) -> Identity:
    """Remembers the forms that it must not be shown in, and hands it back."""
    run.redact.add(Secret(identity.reveal()))
    run.redact.add(Secret(identity.private_bytes().hex()))
    return identity


def hide_writer_key(run: Run, key: WriterKey) -> WriterKey:
    """Remembers the forms that it must not be shown in, and hands it back."""
    run.redact.add(Secret(key.reveal()))
    run.redact.add(Secret(key.key.hex()))
    return key


def hide_signing_key(run: Run, key: SigningKey) -> SigningKey:
    """Remembers the form that it must not be shown in, and hands it back."""
    run.redact.add(Secret(key.reveal()))
    return key


def check_admins(run: Run, spec: str, about: RepositoryDocument) -> None:
    """Raises `CorruptChain` for a repository whose first admins are not all among those whom the settings name.

    All of them: nothing vouches for the first commit, and public keys are public, so whoever puts another repository in
    its place can name the true admin in it beside themselves.
    """
    wanted = pinned_admins(run, spec)
    if not wanted:
        return
    strangers = [key.id for key in about.admins if key.public not in wanted]
    if strangers or not about.admins:
        whom = f"by {', '.join(strangers)}, whom the settings do not name" if strangers else "with nobody's signature"
        raise CorruptChain(
            f"repository {about.id} was begun {whom} as an admin",
            hint="Somebody may have put another repository in its place. If it is the right one, correct `admins`.",
        )


def check_store_admins(run: Run, spec: str, store: Store) -> None:
    """`check_admins` for commands that do not open the repository; what cannot be read there is for them to say."""
    from kafkeep.repository.objects import read_repository_document

    if not pinned_admins(run, spec):
        return
    try:
        about = read_repository_document(store)
    except (RepositoryNotFound, CorruptionError, UnknownFormat):
        return
    check_admins(run, spec, about)


def pinned_admins(run: Run, spec: str) -> frozenset[str]:
    """Public keys of those whom the settings of a repository let begin it; none when they leave it open.

    Raises `KeyRefused` for a setting that is no signer.
    """
    settings = run.settings.settings.repository.get(spec)
    if settings is None or not settings.admins:
        return frozenset()
    from kafkeep.repository.signing import parse_signer

    return frozenset(parse_signer(line) for line in settings.admins)


def _asked(run: Run, store: Store) -> Access | None:
    from kafkeep.repository.objects import read_repository_document

    if not sys.stdin.isatty():
        return None
    try:
        if read_repository_document(store).encryption is None:
            return None
    except (RepositoryNotFound, CorruptionError, UnknownFormat):
        return None  # for whoever opens it to say
    from kafkeep.repository.keyring import Access

    return Access(passphrase=ask_passphrase(run, f"passphrase of {store.url}"))


def ask_passphrase(run: Run, what: str, *, twice: bool = False) -> Secret:
    """Asked at the terminal, unseen; `twice` for one that is to be. Raises `UsageError` without a terminal."""
    if not sys.stdin.isatty():
        raise UsageError(f"the {what} is asked for at a terminal, and there is none", hint="Give it in a file.")
    return run.redact.add(Secret(click.prompt(what, hide_input=True, confirmation_prompt=twice, err=True)))


def check_absent(path: Path, option: str) -> None:
    """Raises `UsageError` for a file that is there: a key is never written over anything."""
    if path.is_symlink() or path.exists():
        raise UsageError(
            f"{option}: {path} is there already",
            hint="A key in it would be lost: give another name, or move the file away.",
        )


def write_key_file(path: Path, text: str, option: str) -> None:
    """A new file that its owner alone may read, durable when the call returns. Raises `UsageError`, `SettingsError`."""
    check_absent(path, option)
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(number, "w", encoding="utf-8") as stream:
            os.fchmod(number, 0o600)
            stream.write(text)
            stream.flush()
            os.fsync(number)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise SettingsError(f"{option}: {path} cannot be written: {error.strerror}") from error


def identity_text(identity: Identity) -> str:
    """The content of an identity file."""
    return (
        "# kafkeep identity: whoever has this file can open the repositories that are encrypted for it\n"
        f"# recipient: {identity.recipient()}\n"
        f"{identity.reveal()}\n"
    )


def writer_key_text(key: WriterKey) -> str:
    """The content of a writer key file."""
    return (
        f"# kafkeep writer key of repository {key.repository_id}\n"
        "# it writes, prunes and copies; it shows names, counts and offsets, and opens no records\n"
        f"{key.reveal()}\n"
    )

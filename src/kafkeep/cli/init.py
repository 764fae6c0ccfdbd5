"""`kafkeep init`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kafkeep.cli.common import Run, opened_store, pass_run, repo_option
from kafkeep.cli.jsonable import to_json
from kafkeep.errors import StoreNotCreateOnly
from kafkeep.records import dataclass

if TYPE_CHECKING:
    from kafkeep.cli.creating import KeyHolder


@dataclass(frozen=True, slots=True)
class Created:
    """What `init` made."""

    id: str
    url: str
    compression: str
    writers: str
    recipients: tuple[KeyHolder, ...]
    """For whom it is encrypted; none when it is not."""
    writer_key_file: Path | None
    admins: tuple[str, ...]
    """Who signs its first commits, as signers; none when commits are not signed."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the new repository is to be."""

    compression: str
    single_writer: bool
    encrypt: bool
    recipients: tuple[str, ...]
    writer_key_out: Path | None
    signed: bool
    admin_name: str


@click.command()
@repo_option
@click.option(
    "--compression",
    type=click.Choice(["zstd", "none"]),
    help="For chunks of uncompressed batches.  [default: the setting of a named repository, else zstd]",
)
@click.option(
    "--single-writer",
    is_flag=True,
    help="For a store that replaces what it should only create. One program may write at a time, everything that is written"
    " is read back, and two that write at once can lose a commit.",
)
@click.option(
    "--encrypt",
    is_flag=True,
    help="Encrypt names and records, for the recipients and for the passphrase: of --passphrase-file, the settings, or asked"
    " for when there is neither it nor a recipient.",
)
@click.option(
    "--recipient",
    "recipients",
    multiple=True,
    metavar="TEXT[=NAME]",
    help="Whose identity opens it: what `kafkeep keys init` printed. The one of --identity-file is among them. Repeatable.",
)
@click.option(
    "--writer-key-out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="New file for the key of hosts that back up and are not to read.",
)
@click.option(
    "--signed",
    is_flag=True,
    help="Commits count only when somebody signed them who is trusted; the signing key that is given is the first admin's.",
)
@click.option("--admin-name", default="", help="Whose that key is, for people.")
@pass_run
def init(
    run: Run,
    repo: str,
    compression: str | None,
    single_writer: bool,
    encrypt: bool,
    recipients: tuple[str, ...],
    writer_key_out: Path | None,
    signed: bool,
    admin_name: str,
) -> int:
    """Create a repository.

    Before anything is written, the store must show that it never overwrites an object that exists: two writers at once
    are safe only then; with --single-writer it need not. A store in a bucket is tried as `kafkeep doctor store` does, and
    what it did is kept as a report. With --encrypt keys are there before the repository is; a creation that was stopped is
    finished by the same command. With --signed it takes the key of --signing-key-file, or of the settings, which
    `kafkeep trust init` makes.

    Exit status: 0 created, 2 there is a repository already, 12 the keys do not open one that was begun or another admin
    began it, 13 the store refused.
    """
    named = run.settings.settings.repository.get(repo)
    chosen = compression if compression is not None else named.compression if named is not None else "zstd"
    asked = _Asked(chosen, single_writer, encrypt, recipients, writer_key_out, signed, admin_name)
    created, advice = _create(run, repo, asked)
    run.output.show(f"repository {created.id} created at {created.url}")
    run.output.show(*advice)
    run.output.show(*(f"its commits are signed, and begun by the admin {each}" for each in created.admins))
    run.output.summary("init", created, 0)
    return 0


def _create(run: Run, repo: str, asked: _Asked) -> tuple[Created, tuple[str, ...]]:
    """The repository, made or finished, and what to tell of it. Keys that nobody else has yet are kept first."""
    from kafkeep.cli.creating import first_admins, keys_of_new, signers
    from kafkeep.cli.stores import ONE_WRITER
    from kafkeep.repository.format import MANY, SINGLE
    from kafkeep.repository.probing import probe_store
    from kafkeep.repository.repository import Repository

    with opened_store(run, repo) as store:
        report = probe_store(store, now=run.now, rng=run.rng) if asked.single_writer else None
        if report is not None and not report.fit_for_one:
            raise StoreNotCreateOnly(f"{store.url} is not fit for a repository: {report.failure}")
        out = asked.writer_key_out
        keys = keys_of_new(run, repo, store, encrypt=asked.encrypt, recipients=asked.recipients, out=out)
        admins = first_admins(run, repo, keys.access, signed=asked.signed, name=asked.admin_name)
        with keys.kept():
            repository = Repository.init(
                store,
                now=run.now,
                rng=run.rng,
                compression=asked.compression,
                writers=SINGLE if asked.single_writer else MANY,
                encryption=keys.encryption,
                access=keys.access,
                admins=admins,
            )
            keys.settle(repository)
        if store.capabilities.decided_elsewhere:
            report = probe_store(store, now=run.now, rng=run.rng) if report is None else report
            repository.put_audit("store-probe", to_json(report))
        created = Created(
            id=repository.id,
            url=store.url,
            compression=asked.compression,
            writers=repository.about.writers,
            recipients=keys.holders(repository),
            writer_key_file=out,
            admins=signers(repository.about),
        )
        advice = (f"it takes {ONE_WRITER}",) if created.writers == SINGLE else ()
        repository.close()
        return created, (*advice, *keys.advice(repository))

"""`kafkeep keys`: who may open an encrypted repository."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kafkeep.cli.common import Run, finish, opened_repository, pass_run, repo_option
from kafkeep.cli.key_sources import (
    ask_passphrase,
    check_absent,
    hide_identity,
    identity_text,
    write_key_file,
    writer_key_text,
)
from kafkeep.errors import UsageError
from kafkeep.records import dataclass

if TYPE_CHECKING:
    from kafkeep.keys.plan import KeyCheck, ShredPlan
    from kafkeep.secret import Secret

_FILE = click.Path(dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True)
class NewIdentity:
    """What `keys init` made; the identity itself is in the file alone."""

    recipient: str
    id: str
    file: Path


@dataclass(frozen=True, slots=True)
class Rotated:
    commit: int


@dataclass(frozen=True, slots=True)
class Exported:
    repository: str
    file: Path


@click.group()
def keys() -> None:
    """Say who may open an encrypted repository, and what nobody may open any more."""


@keys.command()
@click.option("--out", required=True, type=_FILE, metavar="FILE", help="New file for the identity.")
@pass_run
def init(run: Run, out: Path) -> int:
    """Make an identity, and print its recipient: the public half, for which repositories are encrypted.

    The file is never written over another, and only its owner may read it.

    Exit status: 0.
    """
    from kafkeep.repository.identities import Identity

    check_absent(out, "--out")
    identity = hide_identity(run, Identity.generate())
    write_key_file(out, identity_text(identity), "--out")
    recipient = identity.recipient()
    told = (str(recipient), f"the identity is in {out}: keep it in two places, away from what it opens")
    return finish(run, "keys init", NewIdentity(str(recipient), recipient.id, out), told, 0)


@keys.command("list")
@repo_option
@pass_run
def list_(run: Run, repo: str) -> int:
    """List recipients and the keys of topics.

    Exit status: 0.
    """
    from kafkeep.cli.keys_text import listing_parts
    from kafkeep.keys.recipients import listing

    with opened_repository(run, repo) as repository:
        found = listing(repository)
    return finish(run, "keys list", found, listing_parts(found), 0)


@keys.command()
@click.argument("recipient", required=False)
@repo_option
@click.option("--name", default="", metavar="NAME", help="Of the recipient, for people.")
@click.option(
    "--passphrase", "by_passphrase", is_flag=True, help="Instead of RECIPIENT: whoever knows a new passphrase."
)
@click.option(
    "--new-passphrase-file",
    type=_FILE,
    metavar="FILE",
    help="The new passphrase.  [default: asked for at the terminal, twice]",
)
@pass_run
def add(
    run: Run, recipient: str | None, repo: str, name: str, by_passphrase: bool, new_passphrase_file: Path | None
) -> int:
    """Let one more recipient open everything: what is stored, and what is to come.

    RECIPIENT is what `kafkeep keys init` printed. Takes an identity or a passphrase that opens the repository. Keys are
    wrapped first, then a commit says so; an addition that was stopped is finished by the same command, and for a recipient
    that is there already it wraps what that one lacks.

    Exit status: 0 done, 4 it lacked nothing, 12 this identity cannot open a key itself.
    """
    from kafkeep.cli.creating import check_name
    from kafkeep.cli.keys_text import added_parts
    from kafkeep.keys.recipients import add_passphrase, add_recipient, identity_of
    from kafkeep.repository.identities import Recipient

    if (recipient is None) != by_passphrase or (new_passphrase_file is not None and not by_passphrase):
        raise UsageError("keys add takes RECIPIENT, or --passphrase", hint="Give one of the two.")
    if by_passphrase and name:
        raise UsageError("--name is for RECIPIENT; a passphrase goes by the name passphrase")
    new = None if recipient is None else Recipient.parse(recipient, check_name(name))
    with opened_repository(run, repo) as repository:
        identity_of(repository)  # before anybody is asked for anything
        if new is None:
            passphrase = _new_passphrase(run, new_passphrase_file)
            done = add_passphrase(repository, passphrase, now=run.now, sink=run.output.event)
        else:
            done = add_recipient(repository, new, now=run.now, sink=run.output.event)
    idle = done.commit is None and not done.wrapped
    return finish(run, "keys add", done, added_parts(done), 4 if idle else 0)


def _new_passphrase(run: Run, file: Path | None) -> Secret:
    from kafkeep.cli.secrets import read_secret
    from kafkeep.settings import SecretSource

    if file is None:
        return ask_passphrase(run, "new passphrase", twice=True)
    source = SecretSource(file=str(file), env=None, command=None)
    return run.redact.add(read_secret(source, "--new-passphrase-file", run.env))


@keys.command()
@click.argument("recipient")
@repo_option
@click.option("--execute", is_flag=True, help="Do it. Without, what would be done is printed and nothing is changed.")
@pass_run
def remove(run: Run, recipient: str, repo: str, execute: bool) -> int:
    """Let a recipient open nothing that is written from here on, and delete what was wrapped for it.

    RECIPIENT is its text, its id or its name. What it could open before it may have kept. A dry run unless --execute is
    given; a removal that was stopped is finished by the same command with the id.

    Exit status: 0 done or planned, 3 some objects could not be deleted, 24 refused.
    """
    from kafkeep.cli.keys_text import removal_parts, removed_parts
    from kafkeep.keys import recipients as operation

    with opened_repository(run, repo) as repository:
        plan = operation.prepare_removal(repository, recipient)
        if not execute:
            return finish(run, "keys remove", plan, removal_parts(plan), 24 if plan.refusals else 0)
        done = operation.remove(repository, plan, now=run.now, sink=run.output.event)
    return finish(run, "keys remove", done, removed_parts(done), 3 if done.failures else 0)


@keys.command()
@repo_option
@pass_run
def rotate(run: Run, repo: str) -> int:
    """Seal what is written from here on under new topic keys. What is stored stays as it is.

    Exit status: 0.
    """
    from kafkeep.keys.recipients import rotate as operation

    with opened_repository(run, repo) as repository:
        number = operation(repository, now=run.now)
    told = f"rotated by commit {number}: the next backup makes new keys"
    return finish(run, "keys rotate", Rotated(number), (told,), 0)


@keys.command()
@repo_option
@click.option("--writer-key-out", "out", required=True, type=_FILE, metavar="FILE", help="New file for the writer key.")
@pass_run
def export(run: Run, repo: str, out: Path) -> int:
    """Write the key of hosts that back up, prune and copy, and are not to read records, into a new file.

    Takes an identity or a passphrase.

    Exit status: 0, 12 without either.
    """
    from kafkeep.keys.recipients import identity_of, keys_of

    check_absent(out, "--writer-key-out")
    with opened_repository(run, repo) as repository:
        identity_of(repository)
        write_key_file(out, writer_key_text(keys_of(repository)[1].writer_key), "--writer-key-out")
        done = Exported(repository.id, out)
    return finish(run, "keys export", done, (f"the writer key of repository {done.repository} is in {out}",), 0)


@keys.command()
@repo_option
@pass_run
def check(run: Run, repo: str) -> int:
    """Open every topic's key with the identity at hand: proof that its records could be restored with it.

    Exit status: 0 all open, 3 all open and another recipient lacks some, 12 some are not wrapped for this identity, 20 some
    are damaged.
    """
    from kafkeep.cli.keys_text import check_parts
    from kafkeep.keys.recipients import check as operation

    with opened_repository(run, repo) as repository:
        found = operation(repository, sink=run.output.event)
    return finish(run, "keys check", found, check_parts(found), check_status(found))


def check_status(found: KeyCheck) -> int:
    """The worst that was found."""
    if found.damaged:
        return 20
    return 12 if found.missing else 3 if found.others else 0


@keys.command()
@repo_option
@click.option("--topic", "topics", multiple=True, required=True, metavar="T", help="Topic, by its name. Repeatable.")
@click.option(
    "--topic-id",
    "topic_ids",
    multiple=True,
    metavar="ID",
    help="Only the topic with this id, of several that had the name one after the other. Repeatable.",
)
@click.option("--reason", required=True, help="Why, for those who come later.")
@click.option("--execute", is_flag=True, help="Do it. Without, what would be done is printed and nothing is changed.")
@click.option(
    "--i-mean-it",
    "confirmation",
    metavar="ID",
    help="The repository's id: confirms shredding all topics that there are.",
)
@pass_run
def shred(
    run: Run,
    repo: str,
    topics: tuple[str, ...],
    topic_ids: tuple[str, ...],
    reason: str,
    execute: bool,
    confirmation: str | None,
) -> int:
    """Delete the keys of topics, so that nobody can open what is stored of their records. It cannot be undone.

    Names, counts and offsets stay. Restores need --allow-loss for these topics; verify tells of them as shredded. A dry run
    unless --execute is given; a shredding that was stopped is finished by the same command.

    Exit status: 0 done or planned, 3 some keys could not be deleted, 4 nothing to do, 24 refused.
    """
    from kafkeep.cli.keys_text import shred_parts, shred_plan_parts
    from kafkeep.keys import shredding as operation

    with opened_repository(run, repo) as repository:
        if confirmation is not None and confirmation != repository.id:
            raise UsageError(
                "--i-mean-it is not the id of this repository", hint="`kafkeep keys list --json` tells it."
            )
        confirmed = confirmation is not None
        plan = operation.prepare_shred(repository, topics, topic_ids=topic_ids, reason=reason, confirmed=confirmed)
        if not execute:
            return finish(run, "keys shred", plan, shred_plan_parts(plan), _plan_status(plan))
        done = operation.shred(repository, plan, now=run.now, sink=run.output.event)
    status = 3 if done.failures else 4 if plan.nothing_to_do and not done.deleted else 0
    return finish(run, "keys shred", done, shred_parts(done), status)


def _plan_status(plan: ShredPlan) -> int:
    return 24 if plan.refusals else 4 if plan.nothing_to_do else 0

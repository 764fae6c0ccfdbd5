"""`kafkeep trust …`: keys that commits are signed with, and who is trusted with what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kafkeep.cli.common import Run, finish, opened_repository, pass_run, repo_option
from kafkeep.cli.key_sources import hide_signing_key, write_key_file
from kafkeep.cli.render import Grid
from kafkeep.errors import PlanRefused
from kafkeep.records import dataclass
from kafkeep.times import rfc3339

if TYPE_CHECKING:
    from kafkeep.repository.repository import Repository
    from kafkeep.repository.trust import TrustChange, TrustedKey


@dataclass(frozen=True, slots=True)
class MadeSigningKey:
    """What `trust init` made; the key itself is in the file alone."""

    file: str
    id: str
    signer: str
    """The public half, as `trust add` and the setting `admins` take it."""


@dataclass(frozen=True, slots=True)
class Signer:
    """Somebody whose signature counts."""

    id: str
    role: str
    name: str
    signer: str


@dataclass(frozen=True, slots=True)
class Trusted:
    """Whose signatures count in a repository."""

    signed: bool
    """Whether its commits are signed at all."""
    signers: tuple[Signer, ...]


@click.group()
def trust() -> None:
    """Keys that commits are signed with, and who is trusted with what.

    In a repository that was created with `init --signed` a commit counts only when somebody signed it who is trusted for it:
    writers add what was captured, admins decide everything else. Whoever takes over a backup host can then add to the
    repository and take nothing away.
    """


@trust.command("init")
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where the new key goes, for its owner alone to read. A file that is there is never overwritten.",
)
@pass_run
def init(run: Run, out: Path) -> int:
    """Make a signing key.

    The file is the key: whoever has it signs in this name. What is printed is its public half, to be handed to an admin.

    Exit status: 0 made, 2 the file is there already.
    """
    from kafkeep.repository.signing import SigningKey, signer_text

    run.start_logs()
    key = hide_signing_key(run, SigningKey.generate())
    signer = signer_text(key.public)
    text = f"# kafkeep signing key {key.id}: whoever has this file signs in its name\n# signer: {signer}\n"
    write_key_file(out, f"{text}{key.reveal()}\n", "--out")
    return finish(
        run, "trust init", MadeSigningKey(str(out), key.id, signer), (f"{out} holds signing key {key.id}", signer), 0
    )


@trust.command("list")
@repo_option
@pass_run
def list_(run: Run, repo: str) -> int:
    """List whose signatures count, and for what.

    Exit status: 0.
    """
    with opened_repository(run, repo) as repository:
        found = _trusted(repository)
    if not found.signed:
        return finish(run, "trust list", found, ("commits of this repository are not signed",), 0)
    rows = tuple((each.id, each.role, each.name, each.signer) for each in found.signers)
    return finish(run, "trust list", found, (Grid(("key", "role", "name", "signer"), rows),), 0)


@trust.command("add")
@click.argument("signer")
@repo_option
@click.option(
    "--role",
    required=True,
    type=click.Choice(["writer", "admin"]),
    help="What it is trusted with: writers add what was captured, admins decide everything else as well.",
)
@click.option("--name", default="", help="Whose it is, for people.")
@pass_run
def add(run: Run, signer: str, repo: str, role: str, name: str) -> int:
    """Trust a key from here on, or trust it in another role. SIGNER is what `trust init` printed.

    Exit status: 0 done, 12 without an admin's signing key, 24 when nothing would change.
    """
    from kafkeep.cli.creating import check_name
    from kafkeep.repository.signing import parse_signer
    from kafkeep.repository.trust import Trust, TrustedKey

    key = TrustedKey(parse_signer(signer), role, check_name(name, "a signer"))
    return _decide(run, "trust add", repo, lambda repository: Trust(key), f"{role} {key.id} is trusted from here on")


@trust.command("remove")
@click.argument("key")
@repo_option
@pass_run
def remove(run: Run, key: str, repo: str) -> int:
    """Trust a key no longer. KEY is its id in `trust list`, or the signer itself. What it signed before stays.

    Exit status: 0 done, 12 without an admin's signing key, 24 when nobody trusts it, or nobody would be left.
    """
    from kafkeep.repository.trust import Distrust

    return _decide(
        run,
        "trust remove",
        repo,
        lambda repository: Distrust(_known(repository, key).public),
        f"{key} is trusted no longer",
    )


def _trusted(repository: Repository) -> Trusted:
    from kafkeep.repository.signing import signer_text

    signers = tuple(Signer(key.id, key.role, key.name, signer_text(key.public)) for key in repository.state.trusted)
    return Trusted(bool(repository.about.admins), signers)


def _known(repository: Repository, key: str) -> TrustedKey:
    """A trusted key by its id or its text. Raises `PlanRefused`."""
    from kafkeep.repository.signing import signer_text

    for each in repository.state.trusted:
        if key in (each.id, signer_text(each.public)):
            return each
    raise PlanRefused(f"nobody trusts a key {key[:40]!r}", hint="`kafkeep trust list` tells who is trusted.")


def _decide(run: Run, verb: str, repo: str, change_of: Callable[[Repository], TrustChange], done: str) -> int:
    with opened_repository(run, repo) as repository:
        change = change_of(repository)
        repository.decide(change, started=rfc3339(run.now()))
    return finish(run, verb, change, (done,), 0)

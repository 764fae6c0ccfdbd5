"""`kafkeep copy`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kafkeep.cli.as_of import as_of_option
from kafkeep.cli.common import Run, finish, limit_options, opened_repository, opened_store, pass_run, repo_option
from kafkeep.cli.render import Part
from kafkeep.cli.text import plural, size_text
from kafkeep.errors import UsageError

if TYPE_CHECKING:
    from kafkeep.copying.plan import CopyPlan, CopyResult


@click.command()
@repo_option
@as_of_option()
@click.option(
    "--to",
    "target",
    required=True,
    metavar="R2",
    help="Where the copy lies: a name from the settings, a URL or a folder.",
)
@limit_options
@click.option(
    "--delete-swept",
    is_flag=True,
    help="Also delete what was given up at the source: packs by `prune`, keys by `keys`.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@pass_run
def copy(run: Run, repo: str, target: str, delete_swept: bool, dry_run: bool) -> int:
    """Keep a repository a second time, byte for byte: what the copy lacks is brought there.

    Every byte is checked against the log on its way, so damage is never copied. The copy is a repository of its own
    right, from which any verb reads; nobody should back up into it. A copy that was stopped goes on where it was.

    Exit status: 0 done, 4 nothing to do, 20 damage at the source, 24 the target holds something else.
    """
    from kafkeep.copying import run as operation

    with opened_repository(run, repo) as source, opened_store(run, target, today=True) as store:
        if store.url == source.store.url:
            raise UsageError("--to is the repository itself", hint="Name another place, which --repo does not lead to.")
        plan = operation.prepare(source, store)
        idle = plan.nothing_to_do and not (delete_swept and plan.surplus)
        if dry_run:
            return finish(run, "copy", plan, plan_parts(plan), 4 if idle else 0)
        result = operation.copy(
            source, store, plan, delete_swept=delete_swept, now=run.now, rng=run.rng, sink=run.output.event
        )
    return finish(run, "copy", result, result_parts(result), 4 if idle else 0)


def plan_parts(plan: CopyPlan) -> tuple[Part, ...]:
    """For people."""
    packs = f"{plural(len(plan.packs), 'pack')} ({size_text(plan.pack_bytes)})"
    others = f"{plural(len(plan.documents), 'document')} and {plural(len(plan.reports), 'report')}"
    parts: list[Part] = [
        f"{plan.source} -> {plan.target}",
        f"{plural(plan.commits, 'commit')}, {packs}, {others} to be copied",
    ]
    if plan.surplus:
        parts.append(f"{plural(len(plan.surplus), 'object')} of the copy were given up at the source: --delete-swept")
    return tuple(parts)


def result_parts(result: CopyResult) -> tuple[Part, ...]:
    """For people."""
    parts: list[Part] = [*plan_parts(result.plan)]
    parts.append(f"copied {plural(result.packs, 'pack')} ({size_text(result.bytes)}) up to commit {result.plan.head}")
    if result.deleted:
        parts.append(f"deleted {plural(result.deleted, 'object')} of the copy")
    return tuple(parts)

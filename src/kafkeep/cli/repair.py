"""`kafkeep repair`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click

from kafkeep.cli.common import (
    Run,
    finish,
    limit_options,
    opened_cluster,
    opened_repository,
    opened_store,
    pass_run,
    repo_option,
)
from kafkeep.cli.render import Grid, Part
from kafkeep.cli.text import plural
from kafkeep.errors import UsageError

if TYPE_CHECKING:
    from kafkeep.mending.plan import RepairPlan, RepairResult
    from kafkeep.repository.repository import Repository
    from kafkeep.repository.stores.base import Store

_MEANS = {
    "copy": "put again from the copy",
    "log": "written again",
    "move": "moved into another pack",
    "cluster": "read again from Kafka",
    "lose": "declared lost",
    "runs": "see its runs",
    "none": "nothing mends it",
}


@click.command()
@repo_option
@click.option(
    "--from",
    "copy",
    metavar="REPO2",
    help="A copy of the repository, as `kafkeep copy` makes it: what is damaged here is taken from there.",
)
@click.option(
    "--cluster",
    metavar="C",
    help="The source cluster: runs whose offsets it still has are read again, and count when the same digest comes out.",
)
@click.option("--pack", "packs", multiple=True, metavar="NAME", help="Look at the log and this pack only. Repeatable.")
@click.option(
    "--declare-lost",
    is_flag=True,
    help="Turn what nothing else mends into gaps, which a restore names and refuses unless loss is allowed.",
)
@click.option("--reason", help="Why, for those who come later. Only with --declare-lost.")
@limit_options
@click.option("--execute", is_flag=True, help="Do it. Without, the plan is printed and nothing is changed.")
@pass_run
def repair(
    run: Run,
    repo: str,
    copy: str | None,
    cluster: str | None,
    packs: tuple[str, ...],
    declare_lost: bool,
    reason: str | None,
    execute: bool,
) -> int:
    """Mend a repository that `verify` finds damaged, by adding to it; nothing is overwritten or deleted.

    A dry run unless --execute is given. The repository is verified first, every byte of it. What is missing is put again,
    byte for byte, from a copy; of packs that are damaged where they lie, the runs are written into another pack; what only
    Kafka still has is read again; what nobody has can be declared lost. Each finding is written down in a quarantine
    report, by which `verify` knows it again.

    Exit status: 0 mended, or planned so, 3 some damage is left, 4 nothing is damaged, 24 refused.
    """
    from kafkeep.cli.key_sources import access_for, check_store_admins, pinned_admins
    from kafkeep.mending.diagnosis import prepare
    from kafkeep.mending.repairing import repair as carry_out

    if declare_lost != (reason is not None):
        raise UsageError("--declare-lost and --reason go together", hint='For example --reason "disk 7 is gone".')
    with ExitStack() as stack:
        store = stack.enter_context(opened_store(run, repo))
        check_store_admins(run, repo, store)
        other = None if copy is None else stack.enter_context(_opened_copy(run, copy, store))
        kafka = None if cluster is None else stack.enter_context(opened_cluster(run, cluster))
        access, admins = access_for(run, repo, store), pinned_admins(run, repo)
        plan = prepare(
            store,
            copy=other,
            cluster=kafka,
            reason=reason,
            packs=packs,
            access=access,
            admins=admins,
            sink=run.output.event,
        )
        if not execute or plan.nothing_to_do:
            return finish(run, "repair", plan, plan_parts(plan), _planned_status(plan))
        result = carry_out(
            store,
            plan,
            copy=other,
            cluster=kafka,
            now=run.now,
            rng=run.rng,
            access=access,
            admins=admins,
            sink=run.output.event,
        )
    return finish(run, "repair", result, result_parts(result), 3 if result.left else 0)


@contextmanager
def _opened_copy(run: Run, copy: str, store: Store) -> Iterator[Repository]:
    with opened_repository(run, copy) as other:
        if other.store.url == store.url:
            raise UsageError("--from is the repository itself", hint="Name the copy, which lies elsewhere.")
        yield other


def _planned_status(plan: RepairPlan) -> int:
    if plan.nothing_to_do:
        return 4
    return 0 if all(each.mended for each in plan.damage) else 3


def plan_parts(plan: RepairPlan) -> tuple[Part, ...]:
    """What is damaged, and what would become of it."""
    if plan.nothing_to_do:
        return (f"nothing is damaged up to commit {plan.head}",)
    objects = tuple((each.object, "; ".join(each.what), _MEANS[each.means], each.why) for each in plan.damage)
    parts: list[Part] = [Grid(("object", "damage", "", "how"), objects)]
    runs = tuple(
        (run.pack, str(run.generation), str(run.coverage), _doubt(run.doubt), _MEANS[run.means], run.why)
        for each in plan.damage
        for run in each.runs
    )
    if runs:
        parts.append(Grid(("pack", "partition", "run", "in doubt", "", "how"), runs))
    unmended = sum(not each.mended for each in plan.damage)
    parts.append(f"{plural(len(plan.damage), 'object')} damaged, {unmended} of them not to be mended as a whole")
    return tuple(parts)


def _doubt(ranges: object) -> str:
    return ", ".join(map(str, ranges)) if isinstance(ranges, tuple) and ranges else "nothing"


def result_parts(result: RepairResult) -> tuple[Part, ...]:
    """The plan and what became of it."""
    parts: list[Part] = [*plan_parts(result.plan)]
    parts.append(
        f"put again: {plural(len(result.put), 'object')}; moved: {plural(len(result.moved), 'run')};"
        f" declared lost: {plural(len(result.lost), 'run')}"
    )
    if result.left:
        parts.append(Grid(("still damaged", "why"), tuple((each.object, each.why) for each in result.left)))
    return tuple(parts)

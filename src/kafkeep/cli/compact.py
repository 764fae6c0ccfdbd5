"""`kafkeep compact`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kafkeep.cli.common import (
    SIZE,
    Run,
    finish,
    limit_options,
    opened_repository,
    pass_run,
    repo_option,
    stop_on_signals,
)
from kafkeep.cli.render import Grid, Part
from kafkeep.cli.text import plural, size_text

if TYPE_CHECKING:
    from kafkeep.compaction.plan import CompactPlan, CompactResult


@click.command()
@repo_option
@limit_options
@click.option(
    "--target-size",
    "target_bytes",
    type=SIZE,
    help="What the large packs aim at.  [default: 128MiB, or what a pack of the repository may have if that is less]",
)
@click.option(
    "--smaller-than",
    type=SIZE,
    help="Gather packs with less than this.  [default: a quarter of --target-size, which is also the most]",
)
@click.option("--execute", is_flag=True, help="Do it. Without, the plan is printed and nothing is changed.")
@pass_run
def compact(run: Run, repo: str, target_bytes: int | None, smaller_than: int | None, execute: bool) -> int:
    """Gather many small packs in few large ones, byte for byte.

    For repositories that --follow or frequent backups fill. A dry run unless --execute is given. Every recovery point holds
    what it held; only where the data lies changes. Nothing is deleted: `prune` retires the packs that are left without data,
    and deletes them when its undo window is over. Backups and restores may go on meanwhile.

    Exit status: 0 done or planned, 4 nothing to do, 20 damaged data, which was left where it is.
    """
    from kafkeep.compaction import run as operation
    from kafkeep.compaction.plan import CompactOptions

    options = CompactOptions(target_bytes=target_bytes, smaller_than=smaller_than)
    with opened_repository(run, repo) as repository:
        plan = operation.prepare(repository, options)
        if not execute:
            return finish(run, "compact", plan, plan_parts(plan), 4 if plan.nothing_to_do else 0)
        with stop_on_signals(run.output.note) as stop:
            result = operation.compact(
                repository, plan, now=run.now, rng=run.rng, is_over=stop.event.is_set, sink=run.output.event
            )
    status = 20 if result.failures else 4 if plan.nothing_to_do else 0
    if stop.number is not None and result.stopped:
        status = 128 + stop.number
    return finish(run, "compact", result, result_parts(result), status)


def plan_parts(plan: CompactPlan) -> tuple[Part, ...]:
    """For people."""
    parts: list[Part] = [
        f"{plural(plan.live_packs, 'pack')}, {plan.small_packs} of them with less than {size_text(plan.smaller_than)}"
    ]
    if plan.nothing_to_do:
        return (*parts, "nothing to gather")
    made = plural(len(plan.gatherings), "pack")
    parts.append(
        f"{plural(plan.packs, 'pack')} with {plural(plan.runs, 'run')} ({size_text(plan.bytes)}) to be gathered in {made}:"
        f" {plural(plan.requests_saved, 'request')} fewer whenever all of it is read"
    )
    return tuple(parts)


def result_parts(result: CompactResult) -> tuple[Part, ...]:
    """For people."""
    parts: list[Part] = [*plan_parts(result.plan)]
    if result.commits:
        parts.append(
            f"gathered {plural(result.packs, 'pack')} with {plural(result.runs, 'run')} in"
            f" {plural(len(result.commits), 'pack')} ({size_text(result.bytes)}); `kafkeep prune` lets the emptied ones go"
        )
    if result.stopped:
        parts.append("ended early: the next compaction goes on")
    if result.failures:
        rows = tuple((failure.subject, failure.reason, failure.message) for failure in result.failures)
        parts.append(Grid(("not gathered", "reason", "message"), rows))
    return tuple(parts)

"""`kafkeep locks`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kafkeep.cli.clocks import measured_skew
from kafkeep.cli.common import DURATION, Run, finish, opened_repository, pass_run, repo_option
from kafkeep.cli.render import Grid, Part
from kafkeep.cli.text import plural
from kafkeep.errors import UsageError

if TYPE_CHECKING:
    from kafkeep.repository.stores.options import ObjectLock
    from kafkeep.retention.locks import LocksPlan, LocksResult


@click.group()
def locks() -> None:
    """Keep what recovery points need locked in its bucket."""


@locks.command()
@repo_option
@click.option(
    "--below",
    type=DURATION,
    help="Prolong locks that end sooner than this from now, for example 10d.  [default: half of the setting's days]",
)
@click.option("--execute", is_flag=True, help="Do it. Without, the plan is printed and nothing is changed.")
@pass_run
def extend(run: Run, repo: str, below: float | None, execute: bool) -> int:
    """Prolong the locks of all that recovery points need, to as many days from now as new objects are locked for.

    For buckets with object lock and `object_lock` in the settings. A dry run unless --execute is given. The repository
    document, the log, packs that are not retired, documents and reports; keys and hints are never locked. A lock is never
    made shorter, and keeps its mode. Run it more often than --below, for example daily.

    Exit status: 0 done or planned, 3 some locks could not be prolonged or some objects are not there, 4 nothing to do, 13
    the store locks nothing or refuses to tell, 24 this host's clock is wrong.
    """
    from kafkeep.retention import locks as operation

    lock = _setting(run, repo)
    seconds = lock.days * 24 * 3600.0 / 2 if below is None else below
    with opened_repository(run, repo) as repository:
        skew = measured_skew(run, repository.store, needed=execute)
        plan = operation.prepare(repository, lock, below_seconds=seconds, skew=skew, sink=run.output.event)
        left = bool(plan.missing)
        if not execute:
            status = 24 if plan.refusals else 3 if left else 0 if plan.due else 4
            return finish(run, "locks extend", plan, plan_parts(plan), status)
        result = operation.prolong(repository, plan, lock, sink=run.output.event)
    status = 3 if result.failures or left else 0 if plan.due else 4
    return finish(run, "locks extend", result, result_parts(result), status)


def _setting(run: Run, repo: str) -> ObjectLock:
    from kafkeep.repository.stores.options import ObjectLock

    settings = run.settings.settings.repository.get(repo)
    given = None if settings is None or settings.s3 is None else settings.s3.object_lock
    if given is None:
        raise UsageError(
            "the settings name no object_lock for this repository",
            hint="It says for how long: give the repository by its name, with [repository.NAME.s3] object_lock.",
        )
    return ObjectLock(mode=given.mode, days=given.days, now=run.now)


def plan_parts(plan: LocksPlan) -> tuple[Part, ...]:
    """For people."""
    rows = tuple((count.kind, count.found, str(count.objects)) for count in plan.counts)
    parts: list[Part] = [Grid(("objects", "lock", ">number"), rows)]
    parts.append(f"{plural(len(plan.due), 'lock')} that end before {plan.before} to be prolonged until {plan.until}")
    parts += [f"not there: {name}" for name in plan.missing[:20]]
    if plan.missing:
        parts.append(f"{plural(len(plan.missing), 'needed object')} not there: `kafkeep verify` tells what that means")
    parts += [f"refused: {refusal}" for refusal in plan.refusals]
    return tuple(parts)


def result_parts(result: LocksResult) -> tuple[Part, ...]:
    """The plan and what became of it."""
    parts: list[Part] = [*plan_parts(result.plan), f"prolonged {plural(result.prolonged, 'lock')}"]
    if result.failures:
        rows = tuple((failure.subject, failure.reason, failure.message) for failure in result.failures)
        parts.append(Grid(("not prolonged", "reason", "message"), rows))
    return tuple(parts)

"""`kafkeep trim`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kafkeep.cli.clocks import measured_skew
from kafkeep.cli.common import DURATION, Run, finish, opened_repository, pass_run, repo_option
from kafkeep.cli.render import Grid, Part
from kafkeep.cli.text import count_text, plural, size_text

if TYPE_CHECKING:
    from kafkeep.trimming.plan import Stretch, TrimPlan, TrimResult

_TWO_WEEKS = 14 * 24 * 3600
SHOWN_STRETCHES = 20


@click.command()
@repo_option
@click.option(
    "--undo-window",
    type=DURATION,
    default=f"{_TWO_WEEKS}s",
    show_default="14d",
    help="How long a saved state has to be there before the commits are deleted that it stands for.",
)
@click.option(
    "--save-state/--no-save-state",
    "wanted",
    default=None,
    help="Save a state even if little has come since the last one, or in no case.  [default: where commits came that could"
    " go some day, and at most once a day]",
)
@click.option("--execute", is_flag=True, help="Do it. Without, the plan is printed and nothing is changed.")
@pass_run
def trim(run: Run, repo: str, undo_window: float, wanted: bool | None, execute: bool) -> int:
    """Shorten the log of a repository whose commits are signed.

    A dry run unless --execute is given. Two phases: what all commits say together is saved as documents, and a commit by
    an admin says that whoever comes new may begin there; a later trimming deletes commits that such a state has stood for
    longer than the undo window. Before it deletes anything it folds these commits anew, compares, and reads every document
    of the state back. Every 4 096th commit stays. Recovery points and their data are not touched. Releases of kafkeep that
    know nothing of saved states take them for broken commits: update every host that uses the repository first.

    Hosts that do not remember the repository open it faster from a saved state, whether or not the log is shortened. What
    the store has locked is deleted by a later trim; that is no failure. Where this host's clock and the store's are more than
    five minutes apart, nothing is deleted.

    Exit status: 0 done or planned, 2 commits are not signed, 3 some objects could not be deleted, 4 nothing to do, 12 not
    an admin's signing key, 20 a saved state is not what the commits say or is damaged, and nothing was deleted, 24 refused.
    """
    from kafkeep.trimming import run as operation

    with opened_repository(run, repo) as repository:
        skew = measured_skew(run, repository.store, needed=execute)
        plan = operation.prepare(repository, undo_seconds=undo_window, wanted=wanted, now=run.now, skew=skew)
        if not execute:
            status = 24 if plan.refusals else 4 if plan.nothing_to_do else 0
            return finish(run, "trim", plan, plan_parts(plan), status)
        result = operation.trim(repository, plan, now=run.now, sink=run.output.event)
    status = 3 if result.failures else 4 if plan.nothing_to_do else 0
    return finish(run, "trim", result, result_parts(result), status)


def plan_parts(plan: TrimPlan) -> tuple[Part, ...]:
    """For people: the states that are saved, what would come, what would go."""
    rows = tuple(
        (str(state.number), state.since, "settled" if state.settled else f"settles {state.settles}")
        for state in plan.standing
    )
    parts: list[Part] = [Grid((">state", "saved", ""), rows)] if rows else []
    parts.append(f"{'a state is to be saved' if plan.save else 'no state to be saved'}: {plan.why}")
    parts += _doomed_parts(plan)
    parts += plan.remarks
    parts += [f"refused: {refusal}" for refusal in plan.refusals]
    return tuple(parts)


def _doomed_parts(plan: TrimPlan) -> list[Part]:
    if not plan.deletes:
        return ["nothing of the log to be deleted"]
    told = (
        f"to be deleted: {plural(plan.commit_count, 'commit')}, which the state saved by commit {plan.bound} stands for,"
        f" and {plural(plan.document_count, 'document')} of {plural(len(plan.leaving), 'older state')}"
    )
    parts: list[Part] = [told]
    rows = tuple(_row(stretch) for stretch in plan.commits[:SHOWN_STRETCHES])
    if rows:
        parts.append(Grid((">from", ">to", ">commits"), rows))
    if len(plan.commits) > SHOWN_STRETCHES:
        parts.append(f"and {len(plan.commits) - SHOWN_STRETCHES} more stretches; --json gives all of them")
    return parts


def _row(stretch: Stretch) -> tuple[str, str, str]:
    return str(stretch.first), str(stretch.last), count_text(stretch.commits)


def result_parts(result: TrimResult) -> tuple[Part, ...]:
    """The plan and what became of it."""
    parts: list[Part] = [*plan_parts(result.plan)]
    if result.saved is not None:
        parts.append(
            f"saved by commit {result.saved}: {plural(result.saved_documents, 'new document')}, the whole state has"
            f" {size_text(result.saved_bytes)}"
        )
    if result.plan.deletes:
        parts.append(
            f"deleted {plural(result.deleted_commits, 'commit')} and {plural(result.deleted_documents, 'document')}"
        )
    if result.locked:
        kept = tuple((failure.subject, failure.message) for failure in result.locked[:SHOWN_STRETCHES])
        parts.append(f"not yet deleted, because the store has locked them: {plural(len(result.locked), 'object')}")
        parts.append(Grid(("locked", "until"), kept))
    if result.failures:
        rows = tuple(
            (failure.subject, failure.reason, failure.message) for failure in result.failures[:SHOWN_STRETCHES]
        )
        parts.append(Grid(("not deleted", "reason", "message"), rows))
    return tuple(parts)

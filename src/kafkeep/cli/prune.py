"""`kafkeep prune`, `kafkeep pin`, `kafkeep unpin` and `kafkeep tag`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from kafkeep.cli.clocks import measured_skew
from kafkeep.cli.common import DURATION, MOMENT, TAG, WANTED_TAG, Run, finish, opened_repository, pass_run, repo_option
from kafkeep.cli.prune_text import plan_parts, result_parts
from kafkeep.errors import UsageError
from kafkeep.records import dataclass
from kafkeep.times import rfc3339

if TYPE_CHECKING:
    from kafkeep.repository.changes import Change
    from kafkeep.retention.rules import KeepRules

_WEEK = 7 * 24 * 3600.0
_COUNT = click.IntRange(0, 1_000_000)


@dataclass(frozen=True, slots=True)
class TakenBack:
    retirements: tuple[int, ...]
    points: tuple[int, ...]


@click.command()
@repo_option
@click.option(
    "--policy",
    type=click.Choice(["production", "staging", "development"]),
    help="Ready rules. production: 30 days, 13 weeks, 12 months. staging: 14 days. development: 7 days. Options below"
    " change single ones.",
)
@click.option("--keep-last", type=_COUNT, help="The newest N complete points.")
@click.option("--keep-hourly", type=_COUNT, help="The newest of each of the last N hours that have any.")
@click.option("--keep-daily", type=_COUNT, help="The newest of each of the last N days that have any.")
@click.option("--keep-weekly", type=_COUNT, help="The newest of each of the last N weeks that have any.")
@click.option("--keep-monthly", type=_COUNT, help="The newest of each of the last N months that have any.")
@click.option("--keep-yearly", type=_COUNT, help="The newest of each of the last N years that have any.")
@click.option("--keep-within", type=DURATION, help="All that are not older than this, for example 30d.")
@click.option("--keep-tag", "tags", multiple=True, type=WANTED_TAG, help="All with this tag. Repeatable.")
@click.option(
    "--min-points",
    type=click.IntRange(1, 1_000_000),
    default=3,
    show_default=True,
    help="Never fewer than N points of a series, whatever the rules say.",
)
@click.option(
    "--distrusted",
    type=click.Choice(["apart", "none", "together"]),
    default="apart",
    show_default=True,
    help="Points whose signer is trusted no more. apart: the same rules, counted for themselves. none: no rule keeps them,"
    " after a theft. together: counted with the others, after a usual change of keys.",
)
@click.option(
    "--undo-window",
    type=DURATION,
    default=f"{int(_WEEK)}s",
    show_default="7d",
    help="How long what is retired can be taken back before it is deleted.",
)
@click.option("--execute", is_flag=True, help="Do it. Without, the plan is printed and nothing is changed.")
@click.option(
    "--i-mean-it",
    "confirmation",
    metavar="ID",
    help="The repository's id: confirms retiring more than 30% of its bytes.",
)
@click.option(
    "--undo",
    is_flag=False,
    flag_value="all",
    metavar="[=COMMIT]",
    help="Take a retirement back that is not deleted yet: the one named, or all.",
)
@pass_run
def prune(
    run: Run, repo: str, execute: bool, undo: str | None, undo_window: float, confirmation: str | None, **given: Any
) -> int:
    """Let go of recovery points that no rule keeps, and of the data that only they needed.

    A dry run unless --execute is given. Two phases: points and packs are retired first, which --undo takes back; what
    has been retired for longer than the undo window is deleted by a later prune. Pinned points, the newest of each
    series and the newest verified one always stay. The log says what was done by whom.

    What the store has locked is deleted by a later prune, when its lock has ended; that is no failure. Where this host's
    clock and the store's are more than five minutes apart, nothing is let go.

    Exit status: 0 done or planned, 3 some objects could not be deleted, 4 nothing to do, 24 refused.
    """
    from kafkeep.retention import run as operation

    with opened_repository(run, repo) as repository:
        if undo is not None:
            back = TakenBack(*operation.take_back(repository, _number(undo), now=run.now))
            told = f"{len(back.points)} point(s) are back: {', '.join(map(str, back.points))}"
            return finish(run, "prune", back, (told,), 0)
        confirmed = confirmation is not None
        if confirmed and confirmation != repository.id:
            raise UsageError("--i-mean-it is not the id of this repository", hint="`kafkeep points --json` tells it.")
        rules = keep_rules(given)
        skew = measured_skew(run, repository.store, needed=execute)
        plan = operation.prepare(
            repository, rules, undo_seconds=undo_window, confirmed=confirmed, now=run.now, skew=skew
        )
        if not execute:
            status = 24 if plan.refusals else 4 if plan.nothing_to_do else 0
            return finish(run, "prune", plan, plan_parts(plan), status)
        result = operation.prune(repository, plan, now=run.now, sink=run.output.event)
    idle = plan.nothing_to_do and not result.deleted and not result.failures and not result.locked
    return finish(run, "prune", result, result_parts(result), 3 if result.failures else 4 if idle else 0)


def _number(undo: str) -> int | None:
    if undo == "all":
        return None
    if not (undo.isascii() and undo.isdigit() and len(undo) <= 12):
        raise UsageError(f"--undo={undo[:40]} is not the number of a commit", hint="`kafkeep prune` lists them.")
    return int(undo)


def keep_rules(given: dict[str, Any]) -> KeepRules:
    """The operation's rules from the command's options. `UsageError` when nothing would be kept by them."""
    from kafkeep.retention.rules import POLICIES, KeepRules

    base = KeepRules() if given["policy"] is None else POLICIES[given["policy"]]
    counts = {
        name: given[f"keep_{name}"]
        for name in ("last", "hourly", "daily", "weekly", "monthly", "yearly")
        if given[f"keep_{name}"] is not None
    }
    if given["keep_within"] is not None:
        counts["within_seconds"] = given["keep_within"]
    rules = replace(
        base,
        **counts,
        tags=(*base.tags, *given["tags"]),
        min_points=given["min_points"],
        distrusted=given["distrusted"],
    )
    if rules.empty:
        raise UsageError(
            "no rule says what to keep", hint="Give --policy, or --keep-last, --keep-daily, --keep-within and so on."
        )
    return rules


@click.command()
@click.argument("point")
@repo_option
@click.option("--reason", required=True, help="Why it is kept, for those who come later.")
@click.option("--until", type=MOMENT, help="The pin ends by itself at this time.")
@click.option(
    "--until-tag",
    type=WANTED_TAG,
    help="The pin ends by itself when a later complete point has this tag: for points made before an upgrade.",
)
@pass_run
def pin(run: Run, point: str, repo: str, reason: str, until: datetime | None, until_tag: str | None) -> int:
    """Keep a recovery point whatever the rules of retention say.

    Exit status: 0.
    """
    from kafkeep.repository.changes import Pin

    if until is not None and until_tag is not None:
        raise UsageError("a pin ends in one way only", hint="Give --until or --until-tag.")
    end = None if until is None else rfc3339(until)
    return _decide(run, "pin", repo, point, lambda number: Pin(number, reason, end, until_tag))


@click.command()
@click.argument("point")
@repo_option
@pass_run
def unpin(run: Run, point: str, repo: str) -> int:
    """Leave a recovery point to the rules of retention again.

    Exit status: 0, 24 when it is not pinned.
    """
    from kafkeep.repository.changes import Unpin

    return _decide(run, "unpin", repo, point, Unpin)


@click.command()
@click.argument("point")
@click.argument("tags", nargs=-1, type=TAG)
@repo_option
@click.option("--remove", "removed", multiple=True, metavar="KEY", help="Take this tag away. Repeatable.")
@pass_run
def tag(run: Run, point: str, tags: tuple[tuple[str, str], ...], repo: str, removed: tuple[str, ...]) -> int:
    """Set tags of a recovery point, KEY=VALUE, or remove them.

    Exit status: 0.
    """
    from kafkeep.repository.changes import Retag

    if not tags and not removed:
        raise UsageError("no tag to set or to remove", hint="Write it like `kafkeep tag latest upgrade=done --repo R`.")
    if len({key for key, _ in tags}) != len(tags):
        raise UsageError("a tag is set twice")
    return _decide(run, "tag", repo, point, lambda number: Retag(number, tags, removed))


def _decide(run: Run, verb: str, repo: str, point: str, change_of: Callable[[int], Change]) -> int:
    with opened_repository(run, repo) as repository:
        number = repository.point(point, with_records=False).number
        change = change_of(number)
        repository.decide(change, started=rfc3339(run.now()))
    return finish(run, verb, change, (f"recovery point {number}: done",), 0)

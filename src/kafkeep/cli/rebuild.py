"""`kafkeep rebuild`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from kafkeep.cli.common import Run, finish, limit_options, opened_store, pass_run, repo_option
from kafkeep.cli.render import Grid, Part
from kafkeep.cli.text import plural
from kafkeep.errors import UsageError

if TYPE_CHECKING:
    from kafkeep.mending.rebuild_plan import KeyPlan, RebuildPlan, RebuildResult

SHOWN = 50


@click.command()
@repo_option
@click.option(
    "--to",
    "target",
    metavar="R2",
    help="Where the repository with the new log is to lie: a name from the settings, a URL or a folder.",
)
@click.option("--in-place", is_flag=True, help="Build the log where it was. Only when all of it is gone.")
@click.option("--cluster-id", help="The source cluster's id, where no document of the repository tells it.")
@click.option(
    "--without", "without", multiple=True, metavar="PACK", help="Leave this pack out as if it were damaged. Repeatable."
)
@click.option(
    "--leave-locked",
    is_flag=True,
    help="Make gaps of runs whose key does not open with this identity, though others may open it.",
)
@limit_options
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@pass_run
def rebuild(
    run: Run,
    repo: str,
    target: str | None,
    in_place: bool,
    cluster_id: str | None,
    without: tuple[str, ...],
    leave_locked: bool,
    dry_run: bool,
) -> int:
    """Build the log of a repository anew from its packs, when commits are lost that no copy has.

    Commits in front of the first that cannot be read stay as they are. Of the rest, packs tell which records they hold;
    what else the log knew is lost: names and tags of points, decisions of `prune`, reasons of gaps. A recovery
    point named `rebuilt` holds everything. A rebuild that was stopped goes on where it was.

    Where the repository is encrypted this takes an identity or a passphrase. Recipients that the log had named and that
    nothing else names are told by their ids, to be added anew; the next backup makes new keys.

    Exit status: 0 done, 3 done without some objects that could not be read, 4 nothing to do, 24 refused.
    """
    from kafkeep.cli.key_sources import access_for, check_store_admins, pinned_admins
    from kafkeep.mending import rebuilding as operation

    if (target is None) == (not in_place):
        raise UsageError("a rebuild needs one place", hint="Give --to R2, or --in-place.")
    with ExitStack() as stack:
        source = stack.enter_context(opened_store(run, repo))
        check_store_admins(run, repo, source)
        other = None if target is None else stack.enter_context(opened_store(run, target))
        if other is not None and other.url == source.url:
            raise UsageError("--to is the repository itself", hint="Name another place, or give --in-place.")
        access, admins = access_for(run, repo, source), pinned_admins(run, repo)
        plan = operation.prepare(
            source,
            other,
            cluster_id=cluster_id,
            without=frozenset(without),
            leave_locked=leave_locked,
            now=run.now,
            access=access,
            admins=admins,
            sink=run.output.event,
        )
        if dry_run or plan.done:
            return finish(run, "rebuild", plan, plan_parts(plan), 4 if plan.done else 0)
        result = operation.rebuild(
            source, other, plan, now=run.now, rng=run.rng, access=access, admins=admins, sink=run.output.event
        )
    return finish(run, "rebuild", result, result_parts(result), 3 if result.failures else 0)


def plan_parts(plan: RebuildPlan) -> tuple[Part, ...]:
    """For people."""
    parts: list[Part] = [
        f"{plan.source} -> {plan.target}",
        f"the log: {plan.broken}; {plural(plan.kept + 1, 'commit')} stay(s) as it is",
        f"{plural(len(plan.packs), 'pack')} to be named in {plural(len(plan.steps), 'commit')}",
        f"topics and groups: {plan.metadata if plan.metadata is not None else 'none'} ({plan.metadata_why})",
    ]
    parts += _key_parts(plan.keys)
    if plan.signed:
        parts.append("trusted: the admins that kafkeep.json names, and whom the commits that stay name; nobody else")
    if plan.gaps:
        rows = tuple((str(gap.generation), str(gap.offsets), gap.reason) for gap in plan.gaps[:SHOWN])
        parts.append(Grid(("partition", "offsets in no pack", "reason"), rows))
    if plan.over:
        over = tuple((each.pack, str(each.generation), str(each.coverage), each.why) for each in plan.over[:SHOWN])
        parts.append(Grid(("left out of pack", "partition", "offsets", "why"), over))
    for what, count in (("gaps", len(plan.gaps)), ("runs left out", len(plan.over))):
        if count > SHOWN:
            parts.append(f"{count} {what} in all; --json gives all of them")
    if plan.failures:
        unread = tuple((failure.subject, failure.message) for failure in plan.failures[:SHOWN])
        parts.append(Grid(("cannot be read", "why"), unread))
    return tuple(parts)


def _key_parts(keys: KeyPlan) -> Iterator[Part]:
    """What becomes of keys and recipients; nothing where nothing is encrypted."""
    if keys.topic_keys:
        yield f"{plural(len(keys.topic_keys), 'topic key')} opened and told of anew; the next backup makes others"
    if keys.gone:
        yield Grid(("key that nobody has any more", "topic: shredded, or the key was lost"), keys.gone[:SHOWN])
    if keys.locked:
        locked = tuple((each.key, each.topic, ", ".join(each.others) or "nobody") for each in keys.locked[:SHOWN])
        yield Grid(("key that does not open", "topic", "others who have it"), locked)
    for entry in keys.added:
        yield f"recipient {entry.id}, whose identity was given, is named anew"
    for entry in keys.removed:
        yield f"recipient {entry.id} ({entry.name}) is none any more: the metadata key is not wrapped for it"
    for recipient in keys.unknown:
        yield f"recipient {recipient} was one perhaps: if it is yours, `kafkeep keys add` with its public key"


def result_parts(result: RebuildResult) -> tuple[Part, ...]:
    """For people."""
    parts: list[Part] = [*plan_parts(result.plan)]
    more = [failure for failure in result.failures if failure not in result.plan.failures]
    if more:
        parts.append(Grid(("left behind", "why"), tuple((each.subject, each.message) for each in more[:SHOWN])))
    parts.append(f"recovery point {result.point} (rebuilt) holds everything; `kafkeep verify --level data` checks it")
    return tuple(parts)

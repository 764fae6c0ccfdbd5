"""`kafkeep backup`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from kafkeep.cli.common import (
    DURATION,
    SIZE,
    TAG,
    Run,
    Stop,
    check_metadata_route,
    cluster_option,
    finish,
    flat,
    limit_options,
    metadata_route_options,
    opened_cluster,
    opened_repository,
    pass_run,
    repo_option,
    stop_on_signals,
    topics_options,
    warn_of_credentials,
)
from kafkeep.cli.render import Part
from kafkeep.cli.services import has_connect, opened_services
from kafkeep.cli.text import count_text, plural, size_text
from kafkeep.cli.working import opened_workers, worker_options
from kafkeep.errors import UsageError
from kafkeep.inventory import is_of_settings

if TYPE_CHECKING:
    from kafkeep.capture.options import BackupOptions
    from kafkeep.capture.result import BackupPlan, BackupResult, FollowResult
    from kafkeep.model import Failure, Gap

SHOWN: Final = 5
"""Parts of the settings that are named at the end; each is told as it fails, and `kafkeep show` lists them."""


@click.command()
@repo_option
@limit_options
@cluster_option
@topics_options
@click.option("--name", metavar="NAME", help="Name of the recovery point.")
@click.option("--tag", "tags", multiple=True, type=TAG, help="A note on the recovery point. Repeatable.")
@click.option("--follow", is_flag=True, help="Go on in rounds until SIGTERM or SIGINT.")
@click.option(
    "--interval", type=DURATION, default="30s", show_default=True, help="With --follow: time from round to round."
)
@click.option(
    "--cut",
    type=click.Choice(["last-stable-offset", "high-watermark"]),
    default="last-stable-offset",
    show_default=True,
    help="Where each partition ends: before the first undecided transaction, or at the last replicated record.",
)
@click.option(
    "--consistent",
    type=click.Choice(["partitions", "transactions"]),
    default="partitions",
    show_default=True,
    help="With transactions, no transaction is in the recovery point in part; each partition then ends at its high "
    "watermark, whatever --cut says.",
)
@click.option(
    "--consistent-wait",
    type=DURATION,
    default="30s",
    show_default=True,
    help="With --consistent transactions: how long to look for moments between transactions.",
)
@click.option(
    "--settings/--no-settings",
    default=True,
    show_default=True,
    help="Also the cluster's configs, ACLs, quotas and users, as `metadata backup` keeps them. Without them for a login "
    "that may only read records.",
)
@metadata_route_options
@click.option(
    "--connections", type=click.IntRange(1, 64), default=2, show_default=True, help="Connections to each broker."
)
@click.option(
    "--fetch-size",
    type=SIZE,
    default="8MiB",
    show_default=True,
    help="Most bytes of one answer of a broker; less where more than eight connections read at once.",
)
@click.option(
    "--max-rate",
    type=SIZE,
    help="Most to read from the brokers in a second, for example 50MiB, over all connections and workers.  [default: the "
    "setting, else no limit]",
)
@worker_options
@click.option("--pack-size", type=SIZE, default="64MiB", show_default=True, help="Size at which a pack is closed.")
@click.option("--dry-run", is_flag=True, help="Print what would be read and store nothing.")
@pass_run
def backup(run: Run, repo: str, cluster: str, follow: bool, interval: float, dry_run: bool, **given: Any) -> int:
    """Make a recovery point of a cluster, or many with --follow.

    Only what the repository does not hold yet is read. Topics whose names begin with two underscores are left out
    unless a pattern begins so too. A signal ends the backup after what is being written; what was read stays, and the
    next backup goes on from there.

    Exit status: 0 done, 3 done with gaps or failed parts, 4 nothing new, 128+N ended by signal N before the point was
    made. With --follow, SIGTERM and SIGINT are the regular end: 0 or 3. With --dry-run, 0 or 3.
    """
    from kafkeep.capture import run as capture

    if dry_run and follow:
        raise UsageError("--dry-run has no effect with --follow", hint="Give one of the two.")
    options = _options(run, cluster, given)
    sink = run.output.event
    with (
        stop_on_signals(run.output.note) as stop,
        opened_repository(run, repo) as repository,
        opened_cluster(run, cluster) as source,
        opened_services(run, cluster) as services,
        opened_workers(run, repo, given) as workers,
    ):
        if dry_run:
            plan = capture.prepare(
                source, repository, options, workers=workers, now=run.now, sink=sink, stop=stop.event
            )
            return finish(run, "backup", plan, plan_parts(plan), 3 if plan.gaps or plan.failures else 0)
        if follow:
            followed = capture.follow(
                source,
                repository,
                options,
                interval_seconds=interval,
                services=services,
                workers=workers,
                now=run.now,
                sink=sink,
                stop=stop.event,
            )
            return finish(run, "backup", followed, follow_parts(followed), follow_status(followed))
        result = capture.backup(
            source, repository, options, services=services, workers=workers, now=run.now, sink=sink, stop=stop.event
        )
        return finish(run, "backup", result, backup_parts(result), backup_status(result, stop))


def _options(run: Run, cluster: str, given: Mapping[str, Any]) -> BackupOptions:
    """What the command line asks for. Raises `UsageError` where that does not go together."""
    from kafkeep.capture.options import BackupOptions

    _check_sizes(given["fetch_size"], given["pack_size"])
    if given["max_rate"] == 0:
        raise UsageError("--max-rate is above zero", hint="Leave the option out to have no limit.")
    check_metadata_route(given["metadata_route"], given["include_credentials"] and not has_connect(run, cluster))
    warn_of_credentials(run, given["metadata_route"], given["include_credentials"])
    if given["metadata_route"] == "controller" and not given["settings"]:
        raise UsageError("--metadata-route controller has no effect with --no-settings", hint="Give one of the two.")
    return BackupOptions(
        topics=flat(given["topics"], ("*",)),
        exclude=flat(given["exclude"]),
        name=given["name"],
        tags=tuple(given["tags"]),
        cut=given["cut"],
        consistent=given["consistent"],
        consistent_wait_seconds=given["consistent_wait"],
        settings=given["settings"],
        credentials=given["include_credentials"],
        metadata_route=given["metadata_route"],
        connections_per_broker=given["connections"],
        fetch_bytes=given["fetch_size"],
        pack_bytes=given["pack_size"],
        max_bytes_per_second=_max_rate(run, cluster, given["max_rate"]),
    )


def _check_sizes(fetch_bytes: int, pack_bytes: int) -> None:
    for option, size, least, most in (
        ("--fetch-size", fetch_bytes, 64 * 1024, 256 * 1024**2),
        ("--pack-size", pack_bytes, 1024**2, 1024**3),
    ):
        if not least <= size <= most:
            raise UsageError(f"{option} is {size} bytes", hint=f"It may be {least} to {most} bytes.")


def _max_rate(run: Run, cluster: str, given: int | None) -> int | None:
    settings = run.settings.settings.cluster.get(cluster)
    return given if given is not None or settings is None else settings.read_bytes_per_second


def backup_status(result: BackupResult, stop: Stop) -> int:
    """The exit status of a backup."""
    if result.interrupted and stop.number is not None:
        return 128 + stop.number
    if result.gaps or result.failures:
        return 3
    return 4 if result.nothing_new else 0


def follow_status(result: FollowResult) -> int:
    """The exit status of a following backup that was asked to end."""
    return 3 if result.gaps or result.failures else 0


def plan_parts(plan: BackupPlan) -> tuple[Part, ...]:
    """What would be read, for people: the partitions with the most offsets, and those that are read in ranges."""
    lines = [
        f"{plural(plan.offsets, 'offset')} to be read, in {len(plan.reads)} of {plural(plan.partitions, 'partition')}"
    ]
    largest = sorted(plan.reads, key=lambda part: -len(part.offsets))
    shown = [part for number, part in enumerate(largest) if number < SHOWN or part.ranges]
    for part in shown:
        lines.append(f"  {part.generation} {part.offsets}")
        lines += [f"    side by side: {', '.join(map(str, part.ranges))}"] if part.ranges else []
    if len(shown) < len(largest):
        lines.append(f"  and {plural(len(largest) - len(shown), 'other partition')}")
    lines += [f"  {change.generation} begins at {change.start}: {change.why}" for change in plan.opened[:SHOWN]]
    lines += [f"  {change.generation} ends: {change.why}" for change in plan.closed[:SHOWN]]
    lines += [f"  {gap.generation} {gap.offsets} cannot be read: {gap.reason}" for gap in plan.gaps[:SHOWN]]
    return (*lines, *(f"  {failure.subject}: {failure.message}" for failure in plan.failures[:SHOWN]))


def backup_parts(result: BackupResult) -> tuple[Part, ...]:
    """The result for people."""
    if result.point is not None:
        name = f" '{result.point.name}'" if result.point.name is not None else ""
        whole = ", consistent by transaction" if result.point.consistency == "transaction" else ""
        head = f"recovery point {result.point.number}{name}: {plural(result.partitions, 'partition')}{whole}"
    elif result.interrupted:
        head = "ended before the recovery point was made"
    else:
        held = "tells the same" if result.failures else "holds all of it"
        head = f"nothing new: the newest recovery point {held}"
    lines = [head]
    if result.records or result.packs:
        rate = result.raw_bytes / result.seconds if result.seconds > 0 else 0.0
        lines.append(
            f"  {count_text(result.records)} new records, {size_text(result.raw_bytes)} read, "
            f"{size_text(result.stored_bytes)} stored in {plural(result.packs, 'pack')}, {size_text(rate)}/s"
        )
    return (*lines, *_shortfalls(result.gaps, result.failures))


def follow_parts(result: FollowResult) -> tuple[Part, ...]:
    """The sum of all rounds for people."""
    head = (
        f"{plural(result.rounds, 'round')}, {plural(len(result.points), 'recovery point')}, "
        f"{count_text(result.records)} records, {size_text(result.raw_bytes)}"
    )
    return (head, *_shortfalls(result.gaps, result.failures))


def _shortfalls(gaps: Sequence[Gap], failures: Sequence[Failure]) -> tuple[str, ...]:
    parts = [plural(len(gaps), "gap")] if gaps else []
    parts += [plural(len(failures), "failed part")] if failures else []
    lines = [f"  with {' and '.join(parts)}: `kafkeep show` lists them"] if parts else []
    unread = [failure.subject for failure in failures if is_of_settings(failure.subject)]
    if unread:
        more = f" and {len(unread) - SHOWN} more" if len(unread) > SHOWN else ""
        lines += [
            f"  settings and permissions that were not read: {', '.join(unread[:SHOWN])}{more}",
            "  a login that shall only read records takes --no-settings",
        ]
    return tuple(lines)

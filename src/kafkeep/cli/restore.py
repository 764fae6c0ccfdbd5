"""`kafkeep restore`."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kafkeep import native
from kafkeep.cli.as_of import as_of_option
from kafkeep.cli.common import (
    MOMENT,
    Parsed,
    Run,
    cluster_option,
    finish,
    flat,
    limit_options,
    opened_cluster,
    opened_repository,
    pass_run,
    repo_option,
    stop_on_signals,
    topics_options,
)
from kafkeep.cli.offsets_file import Offsets, merged_offsets, read_offsets
from kafkeep.cli.recovering import (
    Sides,
    check_offset_map,
    passwords_of,
    services_for,
    settings_due,
    settings_options,
    settings_wanted,
)
from kafkeep.cli.recovery_text import plan_parts, plan_status, result_parts, result_status, told
from kafkeep.cli.resuming import NEWEST, check_alone, job_options
from kafkeep.cli.selectors import (
    group_patterns,
    merge_partitions,
    parse_partitions,
    parse_repartition,
    parse_until_offset,
)
from kafkeep.cli.spooling import spool_folder, spool_option
from kafkeep.cli.users import read_passwords
from kafkeep.cli.working import opened_workers, worker_options
from kafkeep.errors import UsageError
from kafkeep.times import milliseconds

if TYPE_CHECKING:
    from kafkeep.restore.options import RestoreOptions
    from kafkeep.restore.result import RestoreResult


@click.command()
@click.argument("point")
@repo_option
@as_of_option(reports=True)
@limit_options
@cluster_option
@topics_options
@click.option(
    "--rename",
    "renames",
    multiple=True,
    metavar="RULE",
    help="s/PATTERN/REPLACEMENT/ or OLD=NEW. The first that fits. Repeatable.",
)
@click.option(
    "--partitions",
    multiple=True,
    type=Parsed("topic:numbers", parse_partitions),
    help="Records of these partitions only, for example orders:0,2,5-7. Repeatable.",
)
@click.option(
    "--repartition",
    multiple=True,
    type=Parsed("topic=number", parse_repartition),
    help="Spread the records of this topic (its name at the source) by key over so many partitions, for example orders=12: "
    "offsets are then not mapped one to one. Repeatable.",
)
@spool_option
@click.option("--until", type=MOMENT, help="Nothing with a later record timestamp; --until-rule says how.")
@click.option("--since", type=MOMENT, help="Nothing with an earlier record timestamp.")
@click.option(
    "--until-rule",
    type=click.Choice(["cut", "filter"]),
    default="cut",
    show_default=True,
    help="Times may run backwards: cut ends each partition before its first later record, filter keeps exactly the "
    "records within the time.",
)
@click.option(
    "--from-offset",
    "from_offsets",
    multiple=True,
    type=Parsed("partition=offset", parse_until_offset),
    help="This partition begins at this offset, for example orders/3=1000. Repeatable.",
)
@click.option(
    "--until-offset",
    "until_offsets",
    multiple=True,
    type=Parsed("partition=offset", parse_until_offset),
    help="This partition ends before this offset, for example orders/3=4711. Repeatable.",
)
@click.option(
    "--offsets",
    "offsets_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Begin and end of partitions: CSV lines `topic,partition,until` or `topic,partition,from,until`, or JSON.",
)
@click.option(
    "--allow-loss",
    type=click.Choice(["none", "prefix", "skip"]),
    default="none",
    show_default=True,
    help="Where the archive has a gap: refuse, end the partition in front of its first gap, or leave out the gaps alone.",
)
@click.option(
    "--whole-history", is_flag=True, help="Also what the source had removed before the point, as far as it is kept."
)
@click.option(
    "--route", type=click.Choice(["produce"]), default="produce", show_default=True, help="How records get in."
)
@click.option(
    "--groups", multiple=True, metavar="GLOB", help="Groups whose positions are set, or none. Repeatable.  [default: *]"
)
@click.option(
    "--existing",
    type=click.Choice(["fail", "append"]),
    default="fail",
    show_default=True,
    help="Where a target topic holds records: refuse, or add behind them.",
)
@click.option("--replication-factor", type=click.IntRange(1, 32767), help="Instead of the source's.")
@click.option(
    "--retention",
    type=click.Choice(["restore", "hold"]),
    default="restore",
    show_default=True,
    help="At the end: put the source's retention back, or leave it off.",
)
@click.option(
    "--preflight",
    type=click.Choice(["data", "exist"]),
    default="data",
    show_default=True,
    help="Checked before the first record is written: every byte that is needed, or only that every pack is there.",
)
@click.option(
    "--connections", type=click.IntRange(1, 64), default=2, show_default=True, help="Connections to each broker."
)
@click.option(
    "--repack-bytes",
    type=click.IntRange(0, 1_000_000),
    show_default="1000000; without the C helper 262144",
    help="Small neighbouring batches go out as one of up to this size; 0 sends each as it was.",
)
@click.option(
    "--offset-map",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write where every record went.",
)
@settings_options
@worker_options
@click.option(
    "--resume",
    is_flag=False,
    flag_value=NEWEST,
    metavar="[=JOB]",
    help="Continue a restore of POINT that was left unfinished, with its own options: the newest, or the one named.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@pass_run
def restore(
    run: Run,
    point: str,
    repo: str,
    cluster: str,
    resume: str | None,
    dry_run: bool,
    offset_map: Path | None,
    **given: Any,
) -> int:
    """Put a recovery point's records, topic settings and group positions into a cluster.

    POINT is a number, a name, `latest`, or `@2026-11-20T10:00:00Z`: the newest that was finished by then. Topics are
    created as they were at the source and are guarded (retention off) until their records are in. Only committed
    records are restored. Positions of groups are moved to the same records, wherever these now lie. --with all brings
    the settings, quotas, users and ACLs of the whole cluster as well, behind the records.

    Exit status: 0 done, 3 done with refused or failed parts, 4 --resume found all of it there, 20 damage found before
    anything was written, 21 done with declared loss that was allowed, 24 a guard refused, or loss is declared and not
    allowed. A dry run ends alike.
    """
    from kafkeep.restore.unfinished import find_job

    if resume is not None:
        check_alone(click.get_current_context())
    options, wanted = restore_options(given), settings_wanted(given, resumed=resume is not None)
    read_passwords(given["users_file"])
    if offset_map is not None:
        check_writable(offset_map, "--offset-map")
    with (
        stop_on_signals(run.output.note) as stop,
        opened_repository(run, repo) as repository,
        opened_cluster(run, cluster) as target,
    ):
        found = repository.point(point)
        job = None if resume is None else find_job(repository, resume, found.number, target.cluster_id())
        check_offset_map(job, offset_map)
        options, settings = options if job is None else job_options(job, given), settings_due(job, wanted)
        with services_for(run, cluster, settings) as services:
            passwords = passwords_of(given["users_file"], repository, found, settings)
            sides = Sides(run, target, repository, services, passwords)
            plan = sides.plan(found, options, settings, job)
            if dry_run:
                return finish(run, "restore", told(plan), plan_parts(plan), plan_status(plan))
            with opened_workers(run, repo, given) as workers:
                result = sides.recover(plan, options, settings, stop, workers)
        if offset_map is not None and result.records is not None:
            write_offset_map(offset_map, result.records)
        return finish(run, "restore", told(result), result_parts(result), result_status(result, stop))


def restore_options(given: dict[str, Any]) -> RestoreOptions:
    """The operation's options from the command's."""
    from kafkeep.renaming import Rename
    from kafkeep.restore.options import DEFAULT_REPACK, LARGEST_REPACK, SMALL_ONES, UP_TO_FULL, RestoreOptions

    until: datetime | None = given["until"]
    since: datetime | None = given["since"]
    check_window(since, until, given["until_rule"])
    file: Path | None = given["offsets_file"]
    offsets = merged_offsets(
        Offsets() if file is None else read_offsets(_text_of(file, "--offsets"), file.name),
        "" if file is None else file.name,
        given["from_offsets"],
        given["until_offsets"],
    )
    rule, own_default = (UP_TO_FULL, LARGEST_REPACK) if native.available() else (SMALL_ONES, DEFAULT_REPACK)
    return RestoreOptions(
        topics=flat(given["topics"], ("*",)),
        exclude=flat(given["exclude"]),
        renames=tuple(Rename.parse(rule) for rule in given["renames"]),
        partitions=merge_partitions(given["partitions"]),
        until_timestamp=milliseconds(until) if until is not None else None,
        since_timestamp=milliseconds(since) if since is not None else None,
        until_rule=given["until_rule"],
        until_offsets=tuple(offsets.ends.items()),
        from_offsets=tuple(offsets.begins.items()),
        repartition=given["repartition"],
        spool_dir=spool_folder(given["spool_dir"]) if given["repartition"] else None,
        allow_loss=given["allow_loss"],
        whole_history=given["whole_history"],
        route=given["route"],
        groups=group_patterns(given["groups"]),
        existing=given["existing"],
        replication_factor=given["replication_factor"],
        retention=given["retention"],
        preflight=given["preflight"],
        connections_per_broker=given["connections"],
        repack_bytes=own_default if given["repack_bytes"] is None else given["repack_bytes"],
        repack_rule=rule,
    )


def check_window(since: datetime | None, until: datetime | None, rule: str) -> None:
    """UsageError for times that leave nothing, and for a rule without a time that it could be about."""
    if since is not None and until is not None and since > until:
        raise UsageError(f"--since {since.isoformat()} is later than --until {until.isoformat()}")
    if rule != "cut" and since is None and until is None:
        raise UsageError(
            f"--until-rule {rule} says how times are meant, and none is given", hint="Add --until or --since."
        )


def _text_of(path: Path, option: str) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{option} {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{option} {path} is not UTF-8 at byte {error.start}") from error


def check_writable(path: Path, option: str) -> None:
    """UsageError unless the file can be made: found out before the work, not after it."""
    if path.exists():
        raise UsageError(f"{option} {path} exists", hint="Give the name of a file that does not exist yet.")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{option} {path} has no folder to lie in", hint="Create the folder first.")


def write_offset_map(path: Path, result: RestoreResult) -> None:
    """One JSON object: per partition the source offsets that were asked for, [start, stop), whether all of them were
    restored, the rows [source offset, target offset, count] and the target's end."""
    value = {
        "point": result.point,
        "partitions": [
            {
                "topic": part.source.topic,
                "topic_id": part.source.topic_id,
                "lineage": part.source.lineage,
                "partition": part.source.partition,
                "target_topic": part.target.topic,
                "target_partition": part.target.partition,
                "start": part.source_range.start,
                "stop": part.source_range.stop,
                "complete": part.complete,
                "rows": [list(row) for row in part.offset_map.rows],
                "end": part.offset_map.end,
            }
            for part in result.partitions
        ],
        # Their offsets have no map: who looks for one finds why.
        "repartitioned": [
            {"topic": topic.source, "target_topic": topic.target, "partitions": len(topic.partitions)}
            for topic in result.repartitioned
        ],
    }
    try:
        path.write_text(json.dumps(value, separators=(",", ":")) + "\n")
    except OSError as error:
        raise UsageError(
            f"the offset map cannot be written to {path}: {error.strerror}",
            hint=f"The restore is done and the same map lies in the repository: {result.job}.",
        ) from error

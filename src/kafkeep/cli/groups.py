"""`kafkeep groups`: positions of consumer groups alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from kafkeep.cli.as_of import as_of_option
from kafkeep.cli.common import (
    Run,
    Verb,
    cluster_option,
    flat,
    opened_cluster,
    opened_repository,
    pass_run,
    repo_option,
    stop_on_signals,
    topics_options,
)
from kafkeep.cli.group_text import (
    SHOWN,
    outcome_of,
    plan_parts,
    plan_status,
    position_lines,
    result_parts,
    result_status,
    summary_of,
)
from kafkeep.cli.resuming import restored_by_option
from kafkeep.cli.selectors import group_patterns
from kafkeep.errors import UsageError
from kafkeep.events import Warned

if TYPE_CHECKING:
    from kafkeep.groups.formats import Written
    from kafkeep.groups.options import GroupOptions
    from kafkeep.groups.plan import GroupsPlan
    from kafkeep.kafka.cluster import Cluster
    from kafkeep.repository.repository import Repository

FORMATS: Final = ("table", "json", "csv")
IN_GAP: Final = ("refuse", "next")
CONNECTIONS: Final = 8


@click.group()
def groups() -> None:
    """Set the positions of consumer groups as a recovery point or a file says, and take it back."""


def _translation(verb: Verb) -> Verb:
    """What `plan` and `apply` take alike."""
    for option in (
        click.option(
            "--in-gap",
            type=click.Choice(IN_GAP),
            default="refuse",
            show_default=True,
            help="A position in records that the backup lost: refuse it, or go on with the next record behind.",
        ),
        click.option("--backwards", is_flag=True, help="Also positions behind which a group has already read."),
        click.option(
            "--map",
            "map_file",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="Offset map written by restore --offset-map.  [default: the repository's record of the restore]",
        ),
        restored_by_option,
        click.option(
            "--rename-group",
            "group_renames",
            multiple=True,
            metavar="RULE",
            help="Other names for groups: s/PATTERN/REPLACEMENT/ or OLD=NEW. Repeatable.",
        ),
        click.option(
            "--rename",
            "renames",
            multiple=True,
            metavar="RULE",
            help="Names of topics as at the restore: s/PATTERN/REPLACEMENT/ or OLD=NEW. Repeatable.",
        ),
    ):
        verb = option(verb)
    return _groups_option(topics_options(verb))


def _translates(options: GroupOptions) -> bool:
    return bool(options.renames or options.group_renames or options.map_file or options.restored_by)


def _groups_option(verb: Verb) -> Verb:
    return click.option("--groups", multiple=True, metavar="GLOB", help="Groups. Repeatable.  [default: *]")(verb)


_connections_option = click.option(
    "--connections",
    type=click.IntRange(1, 64),
    default=CONNECTIONS,
    show_default=True,
    help="Groups are changed over so many connections side by side.",
)


@groups.command()
@click.argument("point")
@repo_option
@as_of_option(reports=True)
@cluster_option
@_translation
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="table for people; json for `groups apply --from-file`; csv also for Kafka's own tool.",
)
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write json or csv there."
)
@pass_run
def plan(run: Run, point: str, repo: str, cluster: str, form: str, output: Path | None, **given: Any) -> int:
    """Say where every position of a recovery point belongs on a cluster, and change nothing.

    POINT is a number, a name, `latest`, or `@2026-11-20T10:00:00Z`: the newest that was finished by then. Positions go
    to the same records: through the offset map of the restore, or to the same offsets where the cluster still has the
    very topics that were backed up. The CSV is what `kafka-consumer-groups --reset-offsets --from-file` takes.

    Exit status: 0, 3 some positions are refused, 4 every position is right already, 24 all are refused.
    """
    from kafkeep.groups import run as operation

    if form != "table" and output is None and run.output.json:
        raise UsageError(f"--json writes JSON lines, --format {form} needs --output FILE beside it")
    if form == "table" and output is not None:
        raise UsageError("--output takes json or csv", hint="Say which with --format.")
    if output is not None:
        _check_writable(output)
    options = group_options(given)
    with opened_repository(run, repo) as repository, opened_cluster(run, cluster) as target:
        found = operation.prepare(target, repository, repository.point(point), options, sink=run.output.event)
    if form != "table":
        _write(run, found, form, output)
    return _show_plan(run, "groups plan", found, table=form == "table" or output is not None)


@groups.command()
@click.argument("point", required=False)
@repo_option
@as_of_option(reports=True)
@cluster_option
@click.option(
    "--from-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Positions from a JSON or CSV file instead of POINT, as `groups plan` or Kafka's own tool writes them.",
)
@_translation
@_connections_option
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@pass_run
def apply(
    run: Run,
    point: str | None,
    repo: str,
    cluster: str,
    from_file: Path | None,
    connections: int,
    dry_run: bool,
    **given: Any,
) -> int:
    """Set positions of groups as a recovery point or a file says.

    POINT as for `groups plan`, which shows what would be done. What every position was is kept in the repository before
    the first is changed, for `groups rollback`. Groups with members are refused by name. All positions are read back.

    Exit status: 0 done, 3 some are refused or failed, 4 every position was right already, 22 a position reads back
    otherwise, 24 all are refused.
    """
    from kafkeep.groups import run as operation

    if (point is None) == (from_file is None):
        raise UsageError("groups apply takes a POINT, or --from-file FILE", hint="Give one of the two.")
    options = group_options(given)
    if from_file is not None and _translates(options):
        message = (
            "--from-file holds names and offsets of the target: --rename, --map and --restored-by do not go with it"
        )
        raise UsageError(message)

    def prepare(target: Cluster, repository: Repository) -> GroupsPlan:
        if from_file is None:
            return operation.prepare(target, repository, repository.point(point or ""), options, sink=run.output.event)
        positions = _read(from_file, options)
        return operation.prepare_file(target, from_file.name, positions, options, sink=run.output.event)

    return _carry_out(run, "groups apply", repo, cluster, prepare, dry_run=dry_run, connections=connections)


@groups.command()
@click.argument("job")
@repo_option
@as_of_option(reports=True)
@cluster_option
@_groups_option
@click.option("--force", is_flag=True, help="Also groups that were moved since.")
@_connections_option
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@pass_run
def rollback(
    run: Run,
    job: str,
    repo: str,
    cluster: str,
    groups: tuple[str, ...],
    force: bool,
    connections: int,
    dry_run: bool,
) -> int:
    """Give groups back exactly the positions they had before a `groups apply`.

    JOB is the name that `groups apply` told, or `latest`: the newest one on this cluster. A position that was not there
    goes away again, and so does a group. Groups with members, and groups that somebody moved since, are refused by name.

    Exit status: as for `groups apply`.
    """
    from kafkeep.groups import run as operation
    from kafkeep.selection import Selection

    chosen = Selection(group_patterns(groups), hides_internal=False)

    def prepare(target: Cluster, repository: Repository) -> GroupsPlan:
        return operation.prepare_rollback(
            target, repository, job, groups=chosen.chooses, force=force, sink=run.output.event
        )

    return _carry_out(run, "groups rollback", repo, cluster, prepare, dry_run=dry_run, connections=connections)


def group_options(given: dict[str, Any]) -> GroupOptions:
    """The operation's options from the command's."""
    from kafkeep.groups.options import GroupOptions
    from kafkeep.renaming import Rename

    return GroupOptions(
        groups=group_patterns(given["groups"]),
        topics=flat(given["topics"], ("*",)),
        exclude=flat(given["exclude"]),
        renames=tuple(Rename.parse(rule) for rule in given["renames"]),
        group_renames=tuple(Rename.parse(rule) for rule in given["group_renames"]),
        map_file=str(given["map_file"]) if given["map_file"] is not None else None,
        restored_by=given["restored_by"],
        backwards=given["backwards"],
        in_gap=given["in_gap"],
    )


def _carry_out(
    run: Run,
    verb: str,
    repo: str,
    cluster: str,
    prepare: Callable[[Cluster, Repository], GroupsPlan],
    *,
    dry_run: bool,
    connections: int,
) -> int:
    from kafkeep.groups import run as operation

    sink = run.output.event
    with (
        stop_on_signals(run.output.note) as stop,
        opened_repository(run, repo) as repository,
        opened_cluster(run, cluster) as target,
    ):
        planned = prepare(target, repository)
        if dry_run:
            return _show_plan(run, verb, planned, table=True)
        result = operation.carry_out_plan(
            target, repository, planned, connections=connections, now=run.now, sink=sink, stop=stop.event
        )
        status = result_status(planned, result, stop)
        run.output.close()
        for line in position_lines(planned, result):
            run.output.item("position", line)
        run.output.show(*result_parts(planned, result))
        run.output.summary(verb, outcome_of(planned, result), status)
        return status


def _show_plan(run: Run, verb: str, planned: GroupsPlan, *, table: bool) -> int:
    status = plan_status(planned)
    run.output.close()
    for line in position_lines(planned):
        run.output.item("position", line)
    if table:
        run.output.show(*plan_parts(planned))
    else:
        for warning in planned.warnings:
            run.output.event(Warned(warning))
        for refusal in planned.refusals[:SHOWN]:
            run.output.event(Warned(f"refused: {refusal.message}", refusal.hint))
    run.output.summary(verb, summary_of(planned), status)
    return status


def _write(run: Run, planned: GroupsPlan, form: str, output: Path | None) -> None:
    from kafkeep.groups.formats import positions_of_plan, write_csv, write_json

    written: Written = (write_csv if form == "csv" else write_json)(positions_of_plan(planned))
    if output is None:
        run.output.data(written.text)
    else:
        try:
            output.write_text(written.text, encoding="utf-8", newline="")
        except OSError as error:
            raise UsageError(f"the plan cannot be written to {output}: {error.strerror}") from error
    refused = planned.counted("refused")
    missing = (f"{refused} refused position(s) are not in it",) if refused else ()
    for warning in (*written.warnings, *missing):
        run.output.event(Warned(warning))


def _check_writable(path: Path) -> None:
    if path.exists():
        raise UsageError(f"--output {path} exists", hint="Give the name of a file that does not exist yet.")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--output {path} has no folder to lie in", hint="Create the folder first.")


def _read(path: Path, options: GroupOptions) -> Any:
    from kafkeep.groups.formats import read_positions

    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise UsageError(f"--from-file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--from-file {path} is not UTF-8 at byte {error.start}") from error
    exact = options.group_selection.exact_names()
    return read_positions(text, path.name, group=exact[0] if len(exact) == len(options.groups) == 1 else None)

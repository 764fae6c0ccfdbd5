"""`kafkeep restore --resume`: the options that go with it, and those that the job's record already holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from kafkeep.cli.key_sources import KINDS
from kafkeep.cli.spooling import spool_folder
from kafkeep.cli.working import OPTIONS
from kafkeep.errors import UsageError

if TYPE_CHECKING:
    from kafkeep.restore.options import RestoreOptions
    from kafkeep.restore.record import JobRecord

NEWEST: Final = "newest"
"""What --resume means without a value."""
restored_by_option: Final = click.option(
    "--restored-by",
    metavar="JOB",
    callback=lambda context, option, value: check_restored_by(value),
    help="Go by what this restore has reported, audit/…, whoever signed it; `none`: by no report."
    "  [default: restores of the point into this cluster; where commits are signed, as far as somebody trusted signed]",
)
"""For verbs that read where restores have put the records of a point."""
_BESIDE: Final = frozenset(
    {
        "point",
        "repo",
        "as_of",
        "cluster",
        "resume",
        "dry_run",
        "connections",
        "preflight",
        "offset_map",
        "users_file",
        "spool_dir",
        *OPTIONS,
        *(f"{kind}_file" for kind in KINDS),
    }
)
"""Parameters that decide nothing about what is sent."""


def check_alone(context: click.Context) -> None:
    """UsageError when the command line holds --resume beside an option that the job's record decides."""
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name is not None
        and parameter.name not in _BESIDE
        and context.get_parameter_source(parameter.name) in (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
    ]
    if given:
        raise UsageError(
            f"{', '.join(given)} beside --resume: a restore is continued with the options that it was begun with",
            hint="Beside --resume there may be --dry-run, --connections, --preflight, --offset-map, --users-file, "
            "--spool-dir, --as-of, files with keys, and --executor with its options.",
        )
    job = context.params["resume"]
    if job != NEWEST and not str(job).startswith("audit/"):
        raise UsageError(
            f"--resume {str(job)[:100]!r} is no name of a restore's record",
            hint="Write `kafkeep restore POINT --resume`, or --resume=audit/… to name one.",
        )


def check_restored_by(value: str | None) -> str | None:
    """UsageError for what is no name of a restore's record, nor `none`."""
    if value is not None and value != "none" and not value.startswith("audit/"):
        raise UsageError(
            f"--restored-by {value[:100]!r} is no name of a restore's record",
            hint="`kafkeep restore` tells it: audit/…; `none` goes by no report.",
        )
    return value


def job_options(record: JobRecord, given: Mapping[str, Any]) -> RestoreOptions:
    """The job's own, but for those that do not decide what is sent."""
    options = record.beginning.options
    return replace(
        options,
        connections_per_broker=given["connections"],
        preflight=given["preflight"],
        spool_dir=spool_folder(given["spool_dir"]) if options.repartition else None,
    )

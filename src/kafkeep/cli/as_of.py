"""--as-of: a repository in a versioned bucket as it was at a time, for verbs that read it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import click

from kafkeep.cli.common import MOMENT, Run, Verb
from kafkeep.errors import CorruptionError, KeyRefused, UnknownFormat, UsageError

if TYPE_CHECKING:
    from kafkeep.repository.repository import Repository
    from kafkeep.repository.stores.options import AsOf


def as_of_option(*, reports: bool = False) -> Callable[[Verb], Verb]:
    """The option for a verb. `reports`: one that does something to a cluster, and leaves word of it in the repository."""

    def remember(context: click.Context, option: click.Parameter, value: datetime | None) -> None:
        from kafkeep.repository.stores.options import AsOf

        run = context.find_object(Run)
        if value is None or run is None:
            return
        if value > run.now():
            raise UsageError("--as-of lies in the future", hint="Give a time before the damage was done.")
        run.as_of = AsOf(time=value, reports=reports)

    return click.option(
        "--as-of",
        type=MOMENT,
        metavar="TIME",
        expose_value=False,
        callback=remember,
        help="Read the repository as its bucket was at TIME, such as 2026-11-20T10:00:00Z, out of the versions that the "
        "bucket keeps: when objects were deleted or overwritten since. For s3:// alone.",
    )


def leave_out_garbage(run: Run, repository: Repository, as_of: AsOf) -> None:
    """Whoever destroyed a repository may have put anything among its reports since: what is no report must not stop those
    who look for the reports of their own. What was there at the time is left for them to judge."""
    for info in list(repository.store.list("audit/")):
        try:
            repository.audit(info.name)
        except (CorruptionError, UnknownFormat, KeyRefused):
            as_of.no_reports.add(info.name)
    if as_of.no_reports:
        run.output.note(f"{len(as_of.no_reports)} object(s) under audit/ that came since are no reports: not looked at")

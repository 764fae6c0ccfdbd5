"""`kafkeep verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kafkeep.cli.common import Run, limit_options, opened_repository, opened_store, pass_run, repo_option
from kafkeep.cli.render import Grid, Part
from kafkeep.cli.text import plural, size_text
from kafkeep.errors import UsageError

if TYPE_CHECKING:
    from kafkeep.verify import VerifyReport

SHOWN_FINDINGS = 50
RECORDED_LEVELS = ("objects", "data")


@click.command()
@repo_option
@limit_options
@click.option(
    "--level",
    type=click.Choice(["chain", "exist", "objects", "data"]),
    default="objects",
    show_default=True,
    help="chain: the commits alone. exist: every object is there, with its size. objects: every byte of every object."
    " data: every batch too.",
)
@click.option(
    "--record",
    is_flag=True,
    help="Leave word of a check without findings in the repository: `prune` keeps the newest point that was checked.",
)
@pass_run
def verify(run: Run, repo: str, level: str, record: bool) -> int:
    """Check that a repository is whole.

    Every finding was read twice. Nothing is changed, but for the word that --record leaves.

    Exit status: 0 no damage, 22 damage found.
    """
    from kafkeep.retention.run import VERIFIED
    from kafkeep.verify import verify as check

    if record and level not in RECORDED_LEVELS:
        raise UsageError(
            f"--record needs a check of every byte, not --level {level}", hint="Take --level objects or --level data."
        )
    with opened_store(run, repo) as store:  # a store, because a repository whose chain is broken cannot be opened
        report = check(store, level=level, sink=run.output.event)
    status = verify_status(report)
    if record and status == 0:
        with opened_repository(run, repo) as repository:
            repository.put_audit(VERIFIED, {"head": report.head, "level": level})
    run.output.close()
    run.output.show(*verify_parts(report))
    run.output.summary("verify", report, status)
    return status


def verify_status(report: VerifyReport) -> int:
    """22 when anything was found or the chain raised an alarm."""
    return 22 if report.findings or report.alarms else 0


def verify_parts(report: VerifyReport) -> tuple[Part, ...]:
    """The report for people, damage first."""
    parts: list[Part] = []
    if report.findings:
        rows = tuple(
            (
                finding.object,
                finding.what,
                str(finding.generation) if finding.generation is not None else "",
                str(finding.coverage) if finding.coverage is not None else "",
            )
            for finding in report.findings[:SHOWN_FINDINGS]
        )
        parts.append(Grid(("object", "damage", "partition", "offsets"), rows))
    if len(report.findings) > SHOWN_FINDINGS:
        parts.append(f"and {len(report.findings) - SHOWN_FINDINGS} more; --json gives all of them")
    parts += [f"alarm: commit {alarm.number} counts for nothing: {alarm.reason}" for alarm in report.alarms]
    verdict = "no damage" if not parts else plural(len(report.findings), "finding")
    parts.append(
        f"verified at level {report.level}: {plural(report.objects, 'object')}, {size_text(report.bytes)}, {verdict}"
    )
    return tuple(parts)

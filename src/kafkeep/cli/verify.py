"""`kafkeep verify`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from kafkeep.cli.as_of import as_of_option
from kafkeep.cli.common import DURATION, Run, limit_options, opened_repository, opened_store, pass_run, repo_option
from kafkeep.cli.render import Grid, Part
from kafkeep.cli.text import plural, size_text
from kafkeep.errors import CorruptionError, UsageError

if TYPE_CHECKING:
    from kafkeep.verify.report import VerifyReport
    from kafkeep.verify.rotation import Cursor

SHOWN_FINDINGS = 50
RECORDED_LEVELS = ("objects", "data")


@click.command()
@repo_option
@as_of_option()
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
@click.option(
    "--max-duration",
    "seconds",
    type=DURATION,
    help="End after this time, and go on from there the next time: packs take turns. With --level objects or data; leaves"
    " word of how far it came.",
)
@pass_run
def verify(run: Run, repo: str, level: str, record: bool, seconds: float | None) -> int:
    """Check that a repository is whole.

    Every finding was read twice. Nothing is changed, but for the word that --record and --max-duration leave.

    Exit status: 0 no damage, 22 damage found.
    """
    from kafkeep.cli.key_sources import access_for, check_store_admins, pinned_admins
    from kafkeep.cli.stores import ONE_WRITER, takes_one_writer
    from kafkeep.verify.run import verify as check

    if (record or seconds is not None) and level not in RECORDED_LEVELS:
        raise UsageError(
            f"--record and --max-duration are for checks of every byte, not for --level {level}",
            hint="Take --level objects or --level data.",
        )
    if (record or seconds is not None) and run.as_of is not None:
        raise UsageError(
            "--record and --max-duration leave word in the repository as it is, and --as-of reads what it was",
            hint="Leave them out beside --as-of.",
        )
    after = None if seconds is None else _last_part(run, repo, level)
    end = None if seconds is None else time.monotonic() + seconds
    with opened_store(run, repo) as store:  # a store, because a repository whose chain is broken cannot be opened
        check_store_admins(run, repo, store)
        report = check(
            store,
            access=access_for(run, repo, store),
            admins=pinned_admins(run, repo),
            level=level,
            sink=run.output.event,
            after=after,
            is_over=lambda: end is not None and time.monotonic() > end,
        )
        single = takes_one_writer(store)
    status = verify_status(report)
    if record or seconds is not None:
        _record(run, repo, report)
    run.output.close()
    run.output.show(*verify_parts(report), *([ONE_WRITER] if single else []))
    run.output.summary("verify", report, status)
    return status


def _last_part(run: Run, repo: str, level: str) -> Cursor | None:
    """Where the last verification of this level ended that had no time for everything."""
    from kafkeep.verify.rotation import PART, cursor_from_json

    try:
        with opened_repository(run, repo) as repository:
            told = [name for name, _ in repository.audits(PART)]
            trusted = list(repository.audits(PART, trusted=True))
            parts = [cursor_from_json(value) for _, value in trusted]
    except CorruptionError:
        return None  # what is wrong is for the verification to say
    found = [part for part in parts if part.level == level]
    if told[-1:] != [name for name, _ in trusted[-1:]]:
        run.output.note("how far an earlier part came counts only where somebody trusted signed it: give a signing key")
    return found[-1] if found and found[-1].pack else None


def _record(run: Run, repo: str, report: VerifyReport) -> None:
    """Leaves word of what was found whole, and of where the next part begins."""
    from kafkeep.retention.evidence import leave_hint
    from kafkeep.verify.rotation import PART, VERIFIED, Cursor, cursor_to_json

    behind = Cursor(report.level, report.head, 0, "") if report.cursor is None else report.cursor
    try:
        with opened_repository(run, repo) as repository:
            if report.whole_head is not None:
                name = repository.put_audit(VERIFIED, {"head": report.whole_head, "level": report.level})
                leave_hint(repository, name)
            repository.put_audit(PART, cursor_to_json(behind))
    except CorruptionError as error:
        run.output.note(f"how far this came is not recorded: {error}")


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
                finding.what if finding.known is None else f"{finding.what} (known since {finding.known})",
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
    if report.begins is not None:
        parts.append(f"the log was trimmed: it begins at the state that commit {report.begins} saved")
    if report.shredded:
        parts.append(f"shredded, and no damage: records of {', '.join(report.shredded)}")
    if report.left:
        parts.append(f"{plural(report.left, 'pack')} left for the next time: it goes on from here")
    return tuple(parts)

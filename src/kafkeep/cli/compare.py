"""`kafkeep compare`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kafkeep.cli.common import (
    Run,
    cluster_option,
    flat,
    opened_cluster,
    opened_repository,
    pass_run,
    repo_option,
    topics_options,
)
from kafkeep.cli.render import Grid, Part
from kafkeep.cli.text import count_text, plural, size_text

if TYPE_CHECKING:
    from kafkeep.compare.report import CompareReport, Difference
    from kafkeep.model import TopicPartition

SHOWN_DIFFERENCES = 20
SHOWN_OF_PARTITION = 5


@click.command()
@click.argument("point")
@repo_option
@cluster_option
@topics_options
@click.option(
    "--rename", "renames", multiple=True, metavar="RULE", help="As at the restore: s/PATTERN/REPLACEMENT/ or OLD=NEW."
)
@click.option(
    "--map",
    "map_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Offset map written by restore --offset-map.  [default: the repository's record of the restore]",
)
@click.option(
    "--differences",
    type=click.IntRange(0, 1_000_000),
    default=20,
    show_default=True,
    help="How many differences of each partition are told; all are counted.",
)
@pass_run
def compare(
    run: Run,
    point: str,
    repo: str,
    cluster: str,
    topics: tuple[tuple[str, ...], ...],
    exclude: tuple[tuple[str, ...], ...],
    renames: tuple[str, ...],
    map_file: Path | None,
    differences: int,
) -> int:
    """Prove that a cluster holds what a recovery point holds, record by record.

    POINT is a number, a name, `latest`, or `@2026-11-20T10:00:00Z`: the newest that was finished by then. Offset,
    timestamp, key, value and headers must be equal, in order, null told from empty. Records are found through the offset
    map of the restore, at the same offset when the cluster is the source itself, or else by order.

    Exit status: 0 identical, 4 nothing matches, 22 differences, or parts that could not be compared.
    """
    from kafkeep.compare.options import CompareOptions
    from kafkeep.compare.run import compare as operation
    from kafkeep.renaming import Rename

    options = CompareOptions(
        topics=flat(topics, ("*",)),
        exclude=flat(exclude),
        renames=tuple(Rename.parse(rule) for rule in renames),
        map_file=str(map_file) if map_file is not None else None,
        most_differences=differences,
    )
    with opened_repository(run, repo) as repository, opened_cluster(run, cluster) as target:
        report = operation(target, repository, repository.point(point), options, sink=run.output.event)
    status = compare_status(report)
    run.output.close()
    run.output.show(*compare_parts(report))
    run.output.summary("compare", report, status)
    return status


def compare_status(report: CompareReport) -> int:
    """The exit status of a comparison."""
    return 0 if report.identical else 22


def compare_parts(report: CompareReport) -> tuple[Part, ...]:
    """The report for people: partitions, the first differences, the verdict."""
    rows = tuple(
        (
            str(part.source),
            str(part.target),
            part.pairing,
            count_text(part.records),
            size_text(part.bytes_compared),
            count_text(part.differences) if part.differences else "",
        )
        for part in report.partitions
    )
    parts: list[Part] = [Grid(("partition", "target", "paired by", ">equal records", ">size", ">differences"), rows)]
    first = _first_differences(report)
    if first:
        found = tuple(
            (
                str(difference.target),
                difference.what,
                _offset(difference.source_offset),
                _offset(difference.target_offset),
                difference.expected,
                difference.found,
            )
            for difference in first
        )
        parts += ["", Grid(("target", "what", ">offset", ">target offset", "expected", "found"), found)]
    if report.different > len(first):
        parts.append(f"{count_text(report.different)} differences in all")
    if report.failures:
        failed = tuple((failure.subject, failure.reason, failure.message) for failure in report.failures)
        parts += ["", Grid(("not compared", "reason", "message"), failed)]
    verdict = "identical" if report.identical else "different"
    parts.append(
        f"{verdict}: recovery point {report.point} and cluster {report.target_cluster}, "
        f"{plural(report.records, 'equal record')} in {plural(len(report.partitions), 'partition')}"
    )
    return tuple(parts)


def _first_differences(report: CompareReport) -> list[Difference]:
    """A few of each partition, so that one bad partition does not hide the others."""
    shown: Counter[TopicPartition] = Counter()
    first: list[Difference] = []
    for difference in report.differences:
        shown[difference.target] += 1
        if shown[difference.target] <= SHOWN_OF_PARTITION and len(first) < SHOWN_DIFFERENCES:
            first.append(difference)
    return first


def _offset(offset: int | None) -> str:
    return "" if offset is None else str(offset)

"""`kafkeep compare`."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kafkeep.cli.as_of import as_of_option
from kafkeep.cli.common import (
    Run,
    cluster_option,
    flat,
    limit_options,
    opened_cluster,
    opened_repository,
    pass_run,
    repo_option,
    topics_options,
)
from kafkeep.cli.render import Grid, Part
from kafkeep.cli.resuming import restored_by_option
from kafkeep.cli.spooling import spool_folder, spool_option
from kafkeep.cli.text import count_text, plural, size_text
from kafkeep.errors import UsageError

if TYPE_CHECKING:
    from kafkeep.compare.options import SampleChoice
    from kafkeep.compare.report import CompareReport, Difference
    from kafkeep.model import TopicPartition

SHOWN_DIFFERENCES = 20
SHOWN_OF_PARTITION = 5

_SEEDS = 1_000_000
_STATUS = {"identical": 0, "sample-identical": 0, "nothing-compared": 4, "different": 22}


class Percent(click.ParamType[float]):
    """A share such as `5%` or `0.1%`: above 0 and up to 100."""

    name = "percent"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%", str(value))
        percent = float(match.group(1)) if match else 0.0
        if not 0 < percent <= 100:
            self.fail(f"{value!r} is not a share such as 5% or 0.1%, above 0% and up to 100%", param, ctx)
        return percent


@click.command()
@click.argument("point")
@repo_option
@as_of_option(reports=True)
@limit_options
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
@restored_by_option
@click.option(
    "--differences",
    type=click.IntRange(0, 1_000_000),
    default=20,
    show_default=True,
    help="How many differences of each partition are told; all are counted.",
)
@click.option(
    "--sample",
    type=Percent(),
    metavar="P%",
    help="Compare this share of each partition, chunk by chunk of the archive; always its first and its last.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    metavar="N",
    help="Chooses the sample: the same number, the same chunks.  [default: by chance; the report tells it]",
)
@spool_option
@click.option(
    "--threads", type=click.IntRange(1, 64), default=2, show_default=True, help="Partitions compared side by side."
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
    restored_by: str | None,
    differences: int,
    sample: float | None,
    seed: int | None,
    spool_dir: Path | None,
    threads: int,
) -> int:
    """Prove that a cluster holds what a recovery point holds, record by record.

    POINT is a number, a name, `latest`, or `@2026-11-20T10:00:00Z`: the newest that was finished by then. Offset,
    timestamp, key, value and headers must be equal, in order, null told from empty. Records are found through the offset
    map of the restore, at the same offset when the cluster is the source itself, or else by order. What retention and
    compaction have taken from the source since is no difference; it is counted apart.

    Exit status: 0 identical, or no difference in the sample; 4 nothing matches, or the source has removed all of it; 22
    differences, or parts that could not be compared.
    """
    from kafkeep.compare.options import CompareOptions
    from kafkeep.compare.run import compare as operation
    from kafkeep.renaming import Rename

    options = CompareOptions(
        topics=flat(topics, ("*",)),
        exclude=flat(exclude),
        renames=tuple(Rename.parse(rule) for rule in renames),
        map_file=str(map_file) if map_file is not None else None,
        restored_by=restored_by,
        most_differences=differences,
        sample=_sample(run, sample, seed),
        spool_dir=spool_folder(spool_dir),
        threads=threads,
    )
    with opened_repository(run, repo) as repository, opened_cluster(run, cluster) as target:
        report = operation(target, repository, repository.point(point), options, sink=run.output.event)
    status = compare_status(report)
    run.output.close()
    run.output.show(*compare_parts(report))
    run.output.summary("compare", summary_of(report), status)
    return status


def _sample(run: Run, percent: float | None, seed: int | None) -> SampleChoice | None:
    from kafkeep.compare.options import SampleChoice

    if percent is None:
        if seed is not None:
            raise UsageError("--seed chooses a sample: give --sample too")
        return None
    return SampleChoice(percent, run.rng.randrange(_SEEDS) if seed is None else seed)


def compare_status(report: CompareReport) -> int:
    """The exit status of a comparison."""
    return _STATUS[report.verdict]


def summary_of(report: CompareReport) -> dict[str, object]:
    """The report for machines: its fields, and the sums that are read off it."""
    fields = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
    return {
        **fields,
        "verdict": report.verdict,
        "records": report.records,
        "different": report.different,
        "excused": report.excused,
        "share": report.share,
    }


def compare_parts(report: CompareReport) -> tuple[Part, ...]:
    """The report for people: partitions, the first differences, the verdict."""
    rows = tuple(
        (
            f"{part.source.topic} by key" if part.pairing == "key" else str(part.source),
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
    parts += _explained(report)
    if report.failures:
        failed = tuple((failure.subject, failure.reason, failure.message) for failure in report.failures)
        parts += ["", Grid(("not compared", "reason", "message"), failed)]
    parts.append(_verdict(report))
    return tuple(parts)


def _verdict(report: CompareReport) -> str:
    sides = f"recovery point {report.point} and cluster {report.target_cluster}"
    equal = f"{plural(report.records, 'equal record')} in {plural(len(report.partitions), 'partition')}"
    if report.verdict == "nothing-compared":
        return f"nothing compared: the cluster has nothing left of recovery point {report.point} to hold against it"
    share = report.share
    if share is None or report.sample is None:
        return f"{report.verdict}: {sides}, {equal}"
    part = f"{size_text(share.size_bytes)} of {size_text(share.bytes_in_all)} in {plural(share.chunks, 'chunk')}"
    found = "no difference" if report.identical else "different"
    return f"{found} in a sample ({part}, --seed {report.sample.seed}): {sides}, {equal}"


def _explained(report: CompareReport) -> list[Part]:
    """What the source has done since the point, and what explains differences."""
    since = report.excused
    told = (
        (since.removed, "{} no longer comparable: retention or DeleteRecords took them from the source", "offset"),
        (since.compacted, "{} gone by compaction", "record"),
        (since.not_proven, "  of these {} not proven: no later record with the same key was met", "record"),
        (since.decided, "{} not in the point: their transactions were decided after it", "record"),
        (since.in_gaps, "{} in gaps that the point declares", "record"),
        (since.undecided, "{} behind a transaction that is still open", "offset"),
    )
    lines: list[Part] = [text.format(plural(count, noun)) for count, text, noun in told if count]
    empty = [str(part.source) for part in report.partitions if part.nothing_left]
    if empty:
        names = ", ".join(empty[:SHOWN_DIFFERENCES]) + (", …" if len(empty) > SHOWN_DIFFERENCES else "")
        lines.append(f"not compared, because nothing is left of {plural(len(empty), 'partition')}: {names}")
    notes = [f"{part.target}: {note}" for part in report.partitions for note in part.notes]
    return [*lines, *notes[:SHOWN_DIFFERENCES]]


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

"""What the samples come to: figures, ratios, targets; as a table, as JSON and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table

from bench.measure import Spread
from bench.rounds import (
    BACKUP,
    BACKUP_ZSTD,
    COPY,
    DROP,
    IDLE,
    PRODUCE,
    RESTORE,
    RESTORE_AS_IS,
    RESTORE_EXIST,
    TITLES,
    Sample,
)
from bench.workloads import Workload

MB: Final = 1e6
GB: Final = 1e9
LEAST_TO_JUDGE: Final = GB
"""Below this, starting a command is a large part of what it costs."""
RESTORES: Final = (RESTORE, RESTORE_EXIST, RESTORE_AS_IS)
BARE: Final = (COPY, DROP, PRODUCE)
"""Contestants that are no whole command: what a process of theirs takes in memory says nothing."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One contestant in one workload."""

    rate: Spread
    """MB of log segments per second, MB = 1e6."""
    cpu: Spread
    """CPU-seconds per GB of log segments, GB = 1e9."""
    rss: Spread
    """Peak, in MB."""
    output: float | None
    """Bytes written per byte of log segments."""


@dataclass(frozen=True, slots=True)
class Target:
    """A promise and what came of it."""

    text: str
    found: str
    met: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """A workload's contest."""

    workload: Workload
    size_bytes: int
    batch_bytes: float
    samples: tuple[Sample, ...]

    def of(self, contestant: str) -> list[Sample]:
        return [sample for sample in self.samples if sample.contestant == contestant]

    def figures(self, contestant: str) -> Figures:
        usages = [sample.usage for sample in self.of(contestant)]
        outputs = [sample.output_bytes for sample in self.of(contestant) if sample.output_bytes is not None]
        return Figures(
            Spread.of([self.size_bytes / MB / usage.seconds for usage in usages]),
            Spread.of([usage.cpu_seconds / (self.size_bytes / GB) for usage in usages]),
            Spread.of([usage.peak_rss_bytes / MB for usage in usages]),
            Spread.of(outputs).median / self.size_bytes if outputs else None,
        )

    def ratio(self, contestant: str, against: str) -> Spread:
        """Rate against rate, round by round, so that a slow minute of the machine hits both sides."""
        pairs = zip(self.of(contestant), self.of(against), strict=True)
        return Spread.of([other.usage.seconds / mine.usage.seconds for mine, other in pairs])

    def targets(self) -> list[Target]:
        """What the workload promises; nothing where no targets are set or the data is too little to judge by."""
        if not self.workload.has_targets or self.size_bytes < LEAST_TO_JUDGE:
            return []
        backup, restore = self.figures(BACKUP), self.figures(RESTORE)
        to_copy, to_produce = self.ratio(BACKUP, COPY).median, self.ratio(RESTORE, PRODUCE).median
        return [
            Target("backup at least 50 % of cp and sync", f"{to_copy:.0%}", to_copy >= 0.5),
            Target("backup at most 1.0 CPU-s/GB", f"{backup.cpu.median:.2f}", backup.cpu.median <= 1.0),
            Target("backup at most 200 MB of memory", f"{backup.rss.high:.0f} MB", backup.rss.high <= 200),
            Target("restore at least 50 % of bare raw produce", f"{to_produce:.0%}", to_produce >= 0.5),
            Target("restore at least 400 MB/s", f"{restore.rate.median:.0f} MB/s", restore.rate.median >= 400),
        ]


HEADS: Final = ("contestant", "MB/s", "CPU-s/GB", "peak memory, MB", "written", "of cp", "of raw produce")


def rows(outcome: Outcome) -> list[tuple[str, ...]]:
    """The table's rows as text."""
    found: list[tuple[str, ...]] = []
    for contestant, title in TITLES.items():
        if not outcome.of(contestant):
            continue
        figures = outcome.figures(contestant)
        found.append(
            (
                title,
                _spread(figures.rate, 0),
                _spread(figures.cpu, 2),
                "" if contestant in BARE else f"{figures.rss.high:.0f}",
                "" if figures.output is None else f"{figures.output:.0%}",
                _share(outcome, contestant, COPY) if contestant in (DROP, BACKUP, BACKUP_ZSTD) else "",
                _share(outcome, contestant, PRODUCE) if contestant in RESTORES else "",
            )
        )
    return found


def _spread(spread: Spread, digits: int) -> str:
    return f"{spread.median:.{digits}f} ({spread.low:.{digits}f}-{spread.high:.{digits}f})"


def _share(outcome: Outcome, contestant: str, against: str) -> str:
    return f"{outcome.ratio(contestant, against).median:.0%}"


def heading(outcome: Outcome) -> str:
    rounds = len(outcome.of(COPY))
    return (
        f"{outcome.workload.title}: {outcome.size_bytes / MB:.0f} MB of log segments in 8 partitions, batches of "
        f"{outcome.batch_bytes:.0f} bytes, {rounds} rounds"
    )


def idle(outcome: Outcome) -> str:
    """What a command costs before any data."""
    usages = [sample.usage for sample in outcome.of(IDLE)]
    seconds = Spread.of([usage.seconds for usage in usages])
    cpu = Spread.of([usage.cpu_seconds for usage in usages])
    return f"A backup that finds nothing new takes {_spread(seconds, 2)} s and {_spread(cpu, 2)} CPU-s, included above"


def show(outcome: Outcome, console: Console) -> None:
    """The table of one workload, and its targets below."""
    table = Table(*HEADS, title=heading(outcome), title_justify="left", box=box.SIMPLE)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows(outcome):
        table.add_row(*row)
    console.print(table)
    console.print(f"  {idle(outcome)}", highlight=False)
    for target in outcome.targets():
        console.print(f"  {'met   ' if target.met else 'MISSED'} {target.text}: {target.found}", highlight=False)


def to_json(outcomes: Sequence[Outcome], machine: Mapping[str, str]) -> dict[str, Any]:
    """All there is: samples as measured, and what was made of them."""
    return {
        "machine": dict(machine),
        "workloads": [
            {
                "name": outcome.workload.name,
                "title": outcome.workload.title,
                "size_bytes": outcome.size_bytes,
                "batch_bytes": outcome.batch_bytes,
                "samples": [
                    {
                        "contestant": sample.contestant,
                        "round": sample.number,
                        "output_bytes": sample.output_bytes,
                        **sample.usage.to_json(),
                    }
                    for sample in outcome.samples
                ],
                "targets": [
                    {"text": target.text, "found": target.found, "met": target.met} for target in outcome.targets()
                ],
            }
            for outcome in outcomes
        ],
    }


def to_markdown(outcomes: Sequence[Outcome], machine: Mapping[str, str]) -> str:
    """The part of docs/benchmarks.md that a run replaces."""
    lines = ["Machine: " + "; ".join(f"{name} {value}" for name, value in machine.items()) + ".", ""]
    for outcome in outcomes:
        lines += [f"### {outcome.workload.title}", "", heading(outcome) + ".", ""]
        lines += [_line(HEADS), _line(["---", *["--:"] * (len(HEADS) - 1)])]
        lines += [_line(row) for row in rows(outcome)]
        lines += ["", idle(outcome) + ".", ""]
        lines += [
            f"* {target.text}: {target.found}, {'met' if target.met else '**missed**'}" for target in outcome.targets()
        ]
        lines += [""] if outcome.targets() else []
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


BEGIN: Final = "<!-- measured: begin -->"
END: Final = "<!-- measured: end -->"


def replaced(document: str, table: str, *, begin: str = BEGIN, end: str = END) -> str:
    """The document with its measured part replaced. Raises ValueError when the marks of that part are not there."""
    head, found, rest = document.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"no {begin} ... {end} to replace")
    return f"{head}{begin}\n\n{table}\n{end}{tail}"

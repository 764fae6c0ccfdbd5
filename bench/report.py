"""What was found as a table and as Markdown; what a run replaces in a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

from bench import plots
from bench.contestants import BY_NAME, COPY, DROP, IDLE, Contestant
from bench.measure import BenchError, Spread
from bench.outcome import MB, Outcome, Target
from bench.window import WindowOutcome

HEADS: Final = (
    *("contestant", "MB/s", "CPU-s/GB", "broker's CPU-s/GB", "cores busy"),
    *("peak memory, MB", "written", "of cp", "of drop", "of raw produce"),
)


def rows(outcome: Outcome) -> list[tuple[str, ...]]:
    """The table's rows as text."""
    found: list[tuple[str, ...]] = []
    for contestant in outcome.took_part():
        figures = outcome.figures(contestant.name)
        found.append(
            (
                contestant.title,
                spread(figures.rate, 0),
                spread(figures.cpu, 2),
                "" if figures.broker is None else f"{figures.broker:.2f}",
                "" if figures.cores is None else f"{figures.cores:.2f}",
                f"{figures.rss.high:.0f}" if contestant.is_whole_command else "",
                "" if figures.output is None else f"{figures.output:.0%}",
                _share(outcome, contestant, "backup", COPY),
                _share(outcome, contestant, "backup", DROP),
                _share(outcome, contestant, "restore", outcome.bound),
            )
        )
    return found


def spread(found: Spread, digits: int) -> str:
    return f"{found.median:.{digits}f} ({found.low:.{digits}f}-{found.high:.{digits}f})"


def _share(outcome: Outcome, contestant: Contestant, side: str, against: str) -> str:
    if contestant.side != side or contestant.name == against or not outcome.of(against):
        return ""
    return f"{outcome.ratio(contestant.name, against).median:.0%}"


def heading(outcome: Outcome) -> str:
    workload = outcome.workload
    rounds = len({sample.number for sample in outcome.samples})
    topics = "one topic" if workload.topic_count == 1 else f"{workload.topic_count} topics"
    return (
        f"{workload.title}: {outcome.size_bytes / MB:.0f} MB of log segments in {workload.partition_count} partitions of "
        f"{topics}, batches of {outcome.batch_bytes:.0f} bytes, {rounds} {'round' if rounds == 1 else 'rounds'}"
    )


def remarks(outcome: Outcome) -> list[str]:
    """What a command costs before any data, and who did not do it."""
    found: list[str] = []
    if usages := [sample.usage for sample in outcome.of(IDLE)]:
        seconds = spread(Spread.of([usage.seconds for usage in usages]), 2)
        cpu = spread(Spread.of([usage.cpu_seconds for usage in usages]), 2)
        found.append(f"A backup that finds nothing new takes {seconds} s and {cpu} CPU-s, included above")
    if outcome.is_small:
        found.append("So little data tells what commands cost to start, not what bytes cost")
    found += [f"{BY_NAME[name].title} is missing: {why}" for name, why in outcome.failed.items()]
    return found


def show(outcome: Outcome, console: Console) -> None:
    """The table of one workload, and its targets below."""
    table = Table(*HEADS, title=heading(outcome), title_justify="left", box=box.SIMPLE)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows(outcome):
        table.add_row(*row)
    console.print(table)
    for remark in remarks(outcome):
        console.print(f"  {remark}", highlight=False, markup=False)
    _show_targets(outcome.targets(), console)


def _show_targets(targets: Iterable[Target], console: Console) -> None:
    for target in targets:
        console.print(f"  {'met   ' if target.met else 'MISSED'} {target.text}: {target.found}", highlight=False)


def show_window(outcome: WindowOutcome, console: Console) -> None:
    console.print(outcome.heading, highlight=False)
    for line in outcome.lines():
        console.print(f"  {line}", highlight=False)
    _show_targets(outcome.targets(), console)


def to_markdown(
    outcomes: Sequence[Outcome],
    window: WindowOutcome | None,
    machine: Mapping[str, str],
) -> str:
    """The part of docs/benchmarks.md that a run replaces; the plots lie beside that page."""
    lines = ["Machine: " + "; ".join(f"{name} {value}" for name, value in machine.items()) + ".", ""]
    for outcome in outcomes:
        lines += [f"### {outcome.workload.title}", "", heading(outcome) + ".", ""]
        lines += [_line(HEADS), _line(["---", *["--:"] * (len(HEADS) - 1)])]
        lines += [_line(row) for row in rows(outcome)]
        lines += ["", f"![{outcome.workload.title}]({plots.file_name(outcome)})", ""]
        for remark in remarks(outcome):
            lines += [f"{remark}.", ""]
        lines += [*_promises(outcome.targets()), ""]
    if window is not None:
        lines += ["### A window out of an archive", "", f"{window.heading}.", ""]
        lines += [f"* {line}" for line in window.lines()]
        lines += [*_promises(window.targets()), ""]
    return "\n".join(lines)


def _promises(targets: Iterable[Target]) -> list[str]:
    return [f"* {target.text}: {target.found}, {'met' if target.met else '**missed**'}" for target in targets]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def replace_in(page: str | Path, table: str, *, begin: str, end: str) -> None:
    """Replaces a measured part of a page. Raises BenchError when the page has no such part."""
    path = Path(page)
    try:
        made = replaced(path.read_text(encoding="utf-8"), table, begin=begin, end=end)
    except (OSError, ValueError) as error:
        raise BenchError(f"{path}: {error}") from error
    path.write_text(made, encoding="utf-8")


BEGIN: Final = "<!-- measured: begin -->"
END: Final = "<!-- measured: end -->"


def replaced(document: str, table: str, *, begin: str = BEGIN, end: str = END) -> str:
    """The document with its measured part replaced. Raises ValueError when the marks of that part are not there."""
    head, found, rest = document.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"no {begin} ... {end} to replace")
    return f"{head}{begin}\n\n{table}\n{end}{tail}"

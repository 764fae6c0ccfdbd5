"""`python -m bench.state_scale`: opening repositories whose log names very many runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from rich.console import Console

from bench import entry, machine, report
from bench.measure import BenchError, Usage, run
from bench.state_making import Log, Size, topic_of

FULL: Final = Size(partitions=10_000, runs=1000)
QUICK: Final = Size(partitions=500, runs=200)
MORE: Final = 10
"""Commits that come before the last opening."""
BEGIN: Final = "<!-- state: begin -->"
END: Final = "<!-- state: end -->"
HEADS: Final = ("opening", "s", "CPU-s", "peak memory, MB", "cache, MB")
MOST_MEMORY: Final = 512 * 1024 * 1024
_MB: Final = 1e6


@dataclass(frozen=True, slots=True)
class Measured:
    """One process and what it cost."""

    title: str
    usage: Usage
    cache_bytes: int | None

    def row(self) -> tuple[str, ...]:
        return (
            self.title,
            f"{self.usage.seconds:.1f}",
            f"{self.usage.cpu_seconds:.1f}",
            f"{self.usage.peak_rss_bytes / _MB:.0f}",
            "" if self.cache_bytes is None else f"{self.cache_bytes / _MB:.0f}",
        )


class Bench:
    """A repository, its cache, and what was measured so far."""

    def __init__(self, folder: Path, env: Mapping[str, str], console: Console) -> None:
        self.folder = folder
        self.env = env
        self.console = console
        self.found: list[Measured] = []

    def measure(self, title: str, what: str, *, cache: bool, head: int, host: str = "cache") -> None:
        """Raises BenchError when the process did not read the log to its end. `host` has a cache of its own."""
        self.console.print(title, style="dim", highlight=False)
        cached = self.folder / host
        command = [
            sys.executable,
            "-m",
            "bench.state_open",
            str(self.folder / "repository"),
            str(cached) if cache else "-",
        ]
        ran = run([*command, what], folder=self.folder, env=self.env)
        if ran.last_json()["head"] != head:
            raise BenchError(f"{title}: {ran.output}")
        size = sum(path.stat().st_size for path in cached.iterdir()) if cache else None
        self.found.append(Measured(title, ran.usage, size))


def contest(bench: Bench, size: Size, *, whole: bool) -> None:
    log = Log(bench.folder / "repository", size)
    log.begin()
    bench.console.print(f"writing {size}", style="dim", highlight=False)
    log.add(size.runs)
    head = size.runs
    if whole:
        bench.measure("without a cache folder", "open", cache=False, head=head)
    bench.measure("the first, which fills the cache", "open", cache=True, head=head)
    bench.measure("with the cache", "open", cache=True, head=head)
    bench.measure("the same again", "open", cache=True, head=head)
    bench.measure(
        "with the cache, and a topic of the newest point", topic_of(size.partitions // 2), cache=True, head=head
    )
    if whole:
        bench.measure("with the cache, and all runs of the newest point", "all", cache=True, head=head)
    log.add(MORE)
    head += MORE
    bench.measure(f"with the cache, after {MORE} more commits", "open", cache=True, head=head)
    head += 1
    bench.measure("with the cache, saving the state for others", "save", cache=True, head=head)
    log.go_on_behind(head)
    log.add(MORE)
    head += MORE
    saved = f"another host's first, from the saved state and {MORE} commits"
    bench.measure(saved, "open", cache=True, head=head, host="other")
    bench.measure("there, the same again", "open", cache=True, head=head, host="other")
    bench.measure(
        "there, and a topic of the newest point", topic_of(size.partitions // 2), cache=True, head=head, host="other"
    )


def markdown(size: Size, found: Sequence[Measured], facts: Mapping[str, str], told: str) -> str:
    lines = ["Machine: " + "; ".join(f"{name} {value}" for name, value in facts.items()) + ".", ""]
    lines += [f"{size}.", "", f"| {' | '.join(HEADS)} |", "| --- | --: | --: | --: | --: |"]
    lines += [f"| {' | '.join(one.row())} |" for one in found]
    return "\n".join([*lines, "", told, ""])


def arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.state_scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small log")
    parser.add_argument("--partitions", type=int, help="how many")
    parser.add_argument("--runs", type=int, help="how many of each partition")
    parser.add_argument(
        "--skip-whole", action="store_true", help="leave out the opening without a cache, and reading all runs"
    )
    parser.add_argument("--dir", type=Path, help="where repository and cache live (default: the temporary folder)")
    parser.add_argument("--docs", type=Path, help="a Markdown page whose part on openings is replaced")
    return parser.parse_args(given)


def measure(options: argparse.Namespace, console: Console) -> None:
    default = QUICK if options.quick else FULL
    size = Size(options.partitions or default.partitions, options.runs or default.runs)
    with entry.working_folder(options.dir) as folder:
        bench = Bench(folder, entry.as_installed(folder), console)
        contest(bench, size, whole=not options.skip_whole)
        facts = machine.facts(folder)
    peak = max(one.usage.peak_rss_bytes for one in bench.found)
    verdict = "met" if peak <= MOST_MEMORY else "**missed**"
    told = f"* at most {MOST_MEMORY / _MB:.0f} MB of memory: {peak / _MB:.0f} MB, {verdict}"
    entry.table(console, HEADS, (one.row() for one in bench.found), numbers=slice(1, None))
    console.print(told, highlight=False)
    if options.docs is not None:
        text = options.docs.read_text(encoding="utf-8")
        made = report.replaced(text, markdown(size, bench.found, facts, told), begin=BEGIN, end=END)
        options.docs.write_text(made, encoding="utf-8")


def main() -> int:
    return entry.run(partial(measure, arguments(sys.argv[1:])), width=120)


if __name__ == "__main__":
    sys.exit(main())

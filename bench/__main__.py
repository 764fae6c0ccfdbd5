"""`python -m bench`: the whole contest on a throw-away lab, or a profile of one backup and one restore."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from bench import contestants, entry, machine, outcome, peers, plots, profiles, report, window
from bench.contestants import PRODUCE_LARGE
from bench.field import Field, offered_executors
from bench.measure import BenchError, run
from bench.outcome import Outcome
from bench.rounds import cleared, prepare
from bench.window import WindowOutcome
from bench.workloads import WORKLOADS, by_name
from kafkeep.errors import KafkeepError
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.config import ClusterConfig
from kafkeep.lab import LabOptions, start

FULL_MB: Final = 1024
QUICK_MB: Final = 64
_ROOM: Final = 6
"""Free space needed, in sizes of the data: source, repacked source, copy, repositories, target, what is being deleted."""
_RESULTS: Final = Path(__file__).with_name("results")
_NARROW_MB: Final = 768
_WIDE_MB: Final = 2560
"""Java heap of the broker, the second for thousands of partitions."""
NAMES: Final = (*(workload.name for workload in WORKLOADS), window.NAME)


def arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--size", "--size-mb", type=int, help=f"MB of the largest workloads (default {FULL_MB})")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_MB} MB and one round, nothing warmed up")
    parser.add_argument("--rounds", type=int, help="measured rounds at most (default 3; some workloads take fewer)")
    parser.add_argument("--only", type=chosen_names, help=f"some workloads alone, of {','.join(NAMES)}")
    whom = f"contestants by name or kind, of {','.join((*contestants.KINDS, *contestants.NAMES))}"
    parser.add_argument("--contestants", type=words, help=f"these alone, and whom they need; {whom}")
    parser.add_argument(
        "--without", type=words, default=(), help="all but these contestants, such as peer or oso-backup"
    )
    parser.add_argument("--dir", type=Path, help="where brokers and repositories live (default: the temporary folder)")
    parser.add_argument("--profile", action="store_true", help="CPU by thread and function instead of a contest")
    parser.add_argument("--docs", type=Path, help="a Markdown page whose measured part is replaced, plots beside it")
    parser.add_argument(
        *("--from", "--from-results"),
        dest="results",
        type=Path,
        nargs="+",
        help="no contest: show these results, of a workload those of the last file that has it",
    )
    options = parser.parse_args(given)
    options.size = options.size if options.size is not None else QUICK_MB if options.quick else FULL_MB
    options.rounds = options.rounds if options.rounds is not None else 1 if options.quick else 3
    if options.rounds < 1 or options.size < 16:
        parser.error("at least 1 round and 16 MB")
    try:
        options.chosen = contestants.chosen(options.contestants, options.without)
    except ValueError as error:
        parser.error(str(error))
    return options


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def chosen_names(text: str) -> frozenset[str]:
    names = frozenset(text.split(","))
    if unknown := names - set(NAMES):
        raise argparse.ArgumentTypeError(f"no workload {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    return names


@contextmanager
def opened(folder: Path, console: Console, *, heap_mb: int = _NARROW_MB) -> Iterator[Field]:
    """A lab fit for measuring: both compilers, and deleted topics gone at once."""
    options = LabOptions(
        quick_start=False,
        heap_mb=heap_mb,
        properties={
            "log.segment.delete.delay.ms": "0",
            "log.initial.task.delay.ms": "500",
            "log.index.size.max.bytes": "1048576",
            "broker.session.timeout.ms": "60000",
        },
    )
    env = entry.as_installed(folder)
    console.print("starting a broker", style="dim")
    lab_folder = folder / "lab"
    with start(options, directory=lab_folder, env=env, now=datetime.now(UTC)) as lab:
        config = ClusterConfig(name="bench", bootstrap=tuple(lab.bootstrap.split(",")), request_timeout_seconds=120.0)
        with Cluster(config) as cluster:
            told = run([sys.executable, "-m", "kafkeep", "backup", "--help"], folder=folder, env=env).output
            yield Field(
                lab=lab,
                cluster=cluster,
                folder=folder,
                env=env,
                note=lambda text: console.print(text, style="dim", highlight=False, markup=False),
                oso=peers.find_oso(os.environ),
                executors=offered_executors(told),
            )


class Results:
    """What a run has found so far, on the screen and in a file that grows with every workload."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._path = _RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
        self.outcomes: list[Outcome] = []
        self.window: WindowOutcome | None = None
        self.facts: dict[str, str] = {}

    def add(self, found: Outcome | WindowOutcome) -> None:
        if isinstance(found, WindowOutcome):
            self.window = found
            report.show_window(found, self._console)
        else:
            self.outcomes.append(found)
            report.show(found, self._console)
        _RESULTS.mkdir(exist_ok=True)
        told: dict[str, Any] = {"machine": self.facts, "workloads": outcome.to_json(self.outcomes)}
        told |= {} if self.window is None else {"window": self.window.to_json()}
        self._path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")

    def end(self, docs: Path | None) -> None:
        told = "; ".join(f"{name} {value}" for name, value in self.facts.items())
        self._console.print(told, style="dim", highlight=False)
        self._console.print(f"samples in {self._path.relative_to(_RESULTS.parent.parent)}", style="dim")
        if docs is not None:
            write_docs(docs, self.outcomes, self.window, self.facts)


def write_docs(page: Path, outcomes: Sequence[Outcome], found: WindowOutcome | None, facts: dict[str, str]) -> None:
    """The page's measured part, and the plots beside it."""
    for each in outcomes:
        (page.parent / plots.file_name(each)).write_text(plots.draw(each), encoding="utf-8")
    report.replace_in(page, report.to_markdown(outcomes, found, facts), begin=report.BEGIN, end=report.END)


def contest(options: argparse.Namespace, console: Console) -> None:
    """A workload that cannot be played is told and the next one begins, with a broker of its own.

    Raises BenchError at the end when that happened.
    """
    results = Results(console)
    failed: list[str] = []
    with entry.working_folder(options.dir, _ROOM * options.size * 10**6) as parent:
        for is_wide in (False, True):
            waiting = deque(name for name in NAMES if is_chosen(name, options) and needs_wide(name) == is_wide)
            while waiting:
                folder = Path(tempfile.mkdtemp(dir=parent))
                failed += play_all(
                    waiting, folder, options, results, console, heap_mb=_WIDE_MB if is_wide else _NARROW_MB
                )
                shutil.rmtree(folder, ignore_errors=True)
    results.end(options.docs)
    if failed:
        raise BenchError(f"not played to their end: {', '.join(failed)}")


def is_chosen(name: str, options: argparse.Namespace) -> bool:
    return options.only is None or name in options.only


def needs_wide(name: str) -> bool:
    return name != window.NAME and by_name(name).is_wide


def play_all(
    waiting: deque[str],
    folder: Path,
    options: argparse.Namespace,
    results: Results,
    console: Console,
    *,
    heap_mb: int,
) -> list[str]:
    """Plays workloads on one broker until none is `waiting`, or one fails; the names of what failed."""
    with opened(folder, console, heap_mb=heap_mb) as field:
        results.facts = {**machine.facts(folder, field.lab), **peers.versions(field.oso)}
        warm_up = not options.quick
        while waiting:
            name = waiting.popleft()
            try:
                results.add(play_window(field, options) if name == window.NAME else play(field, name, options, warm_up))
            except (BenchError, KafkeepError) as error:
                field.note(f"{name} ends here: {error}")
                return [name]
            warm_up = False
    return []


def play(field: Field, name: str, options: argparse.Namespace, warm_up: bool) -> Outcome:
    began = time.monotonic()
    workload = by_name(name)
    found = prepare(field, workload, round(options.size * 1e6 * workload.share), chosen=options.chosen)
    samples = found.play(options.rounds, warm_up=warm_up)
    cleared(found)
    field.note(f"{name}: {time.monotonic() - began:.0f} s in all")
    return Outcome(workload, found.size_bytes, found.batch_bytes, tuple(samples), dict(found.failed))


def play_window(field: Field, options: argparse.Namespace) -> WindowOutcome:
    began = time.monotonic()
    found = prepare(field, by_name("64k"), options.size * 10**6, chosen=options.chosen - {PRODUCE_LARGE})
    told = window.play(found, options.rounds)
    cleared(found)
    field.note(f"{window.NAME}: {time.monotonic() - began:.0f} s in all")
    return told


def show_again(options: argparse.Namespace, console: Console) -> None:
    """Of results that were written before. Raises BenchError when a file cannot be read."""
    outcomes: dict[str, Outcome] = {}
    seen: WindowOutcome | None = None
    facts: dict[str, str] = {}
    for path in options.results:
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            outcomes |= {each.workload.name: each for each in outcome.from_json(told["workloads"])}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BenchError(f"{path} holds no results of this version: {error!r}") from error
        facts = told["machine"]
        seen = window.from_json(told["window"]) if "window" in told else seen
    ordered = [outcomes[workload.name] for workload in WORKLOADS if workload.name in outcomes]
    for each in ordered:
        report.show(each, console)
    if seen is not None:
        report.show_window(seen, console)
    if options.docs is not None:
        write_docs(options.docs, ordered, seen, facts)


def profile(options: argparse.Namespace, console: Console) -> None:
    """Of the first of the chosen workloads."""
    workload = next(each for each in WORKLOADS if is_chosen(each.name, options) or options.only == {window.NAME})
    heap_mb = _WIDE_MB if workload.is_wide else _NARROW_MB
    with (
        entry.working_folder(options.dir, _ROOM * options.size * 10**6) as folder,
        opened(folder, console, heap_mb=heap_mb) as field,
    ):
        size_bytes = round(options.size * 1e6 * workload.share)
        profiles.show(prepare(field, workload, size_bytes, chosen=options.chosen - {PRODUCE_LARGE}), console)


def main() -> int:
    options = arguments(sys.argv[1:])
    work = profile if options.profile else show_again if options.results else contest
    return entry.run(lambda console: work(options, console), width=170)


if __name__ == "__main__":
    sys.exit(main())

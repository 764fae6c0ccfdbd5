"""`python -m bench`: the whole contest on a throw-away lab, or a profile of one backup and one restore."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console

from bench import entry, machine, profiles, report
from bench.measure import BenchError
from bench.rounds import Field, prepare
from bench.workloads import WORKLOADS, Workload
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.config import ClusterConfig
from kafkeep.lab import LabOptions, start

FULL_MB: Final = 2048
QUICK_MB: Final = 256
_ROOM: Final = 5
"""Free space needed, in sizes of the data: source, copy, repository, target and what is being deleted."""
_RESULTS: Final = Path(__file__).with_name("results")


def arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--size-mb", type=int, help=f"data of the largest workload, in MB (default {FULL_MB})")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_MB} MB, warmed up only once")
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds (default 3)")
    parser.add_argument("--only", choices=[workload.name for workload in WORKLOADS], help="one workload alone")
    parser.add_argument("--dir", type=Path, help="where brokers and repositories live (default: the temporary folder)")
    parser.add_argument("--profile", action="store_true", help="CPU by thread and function instead of a contest")
    parser.add_argument("--docs", type=Path, help="a Markdown page whose measured part is replaced")
    options = parser.parse_args(given)
    if options.rounds < 1 or (options.size_mb is not None and options.size_mb < 16):
        parser.error("at least 1 round and 16 MB")
    return options


@contextmanager
def working_folder(parent: Path | None, needed: int) -> Iterator[Path]:
    """A folder of our own, removed at the end. Raises BenchError when the disk has not `needed` bytes free."""
    with tempfile.TemporaryDirectory(prefix="kafkeep-bench-", dir=parent) as name:
        free = shutil.disk_usage(name).free
        if free < needed:
            raise BenchError(f"{needed / 1e9:.1f} GB of disk are needed, {free / 1e9:.1f} GB are free (see --dir)")
        yield Path(name)


@contextmanager
def opened(folder: Path, console: Console) -> Iterator[Field]:
    """A lab fit for measuring: both compilers, and deleted topics gone at once."""
    options = LabOptions(
        quick_start=False,
        heap_mb=768,
        properties={"log.segment.delete.delay.ms": "0", "log.initial.task.delay.ms": "500"},
    )
    # As an installed program: modules are compiled once, in the warm-up, whatever this shell prefers.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
    console.print("starting a broker", style="dim")
    with start(options, directory=folder / "lab", env=env, now=datetime.now(UTC)) as lab:
        config = ClusterConfig(name="bench", bootstrap=tuple(lab.bootstrap.split(",")))
        with Cluster(config) as cluster:
            yield Field(lab, cluster, folder, env, lambda text: console.print(text, style="dim"))


def contest(options: argparse.Namespace, chosen: Sequence[Workload], size_mb: int, console: Console) -> None:
    outcomes: list[report.Outcome] = []
    with working_folder(options.dir, _ROOM * size_mb * 10**6) as folder, opened(folder, console) as field:
        facts = machine.facts(folder, field.lab)
        for workload in chosen:
            found = prepare(field, workload, round(size_mb * 1e6 * workload.share))
            samples = found.play(options.rounds, warm_up=not options.quick or not outcomes)
            field.delete_topic(workload.topic)
            outcome = report.Outcome(workload, found.size_bytes, found.batch_bytes, tuple(samples))
            outcomes.append(outcome)
            report.show(outcome, console)
    console.print("; ".join(f"{name} {value}" for name, value in facts.items()), style="dim", highlight=False)
    _RESULTS.mkdir(exist_ok=True)
    path = _RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(report.to_json(outcomes, facts), indent=1) + "\n", encoding="utf-8")
    console.print(f"samples in {path.relative_to(_RESULTS.parent.parent)}", style="dim")
    if options.docs is not None:
        text = options.docs.read_text(encoding="utf-8")
        options.docs.write_text(report.replaced(text, report.to_markdown(outcomes, facts)), encoding="utf-8")


def profile(options: argparse.Namespace, workload: Workload, size_mb: int, console: Console) -> None:
    with working_folder(options.dir, _ROOM * size_mb * 10**6) as folder, opened(folder, console) as field:
        found = prepare(field, workload, round(size_mb * 1e6 * workload.share))
        profiles.show(found, console)


def main() -> int:
    options = arguments(sys.argv[1:])
    size_mb = options.size_mb if options.size_mb is not None else QUICK_MB if options.quick else FULL_MB
    chosen = [workload for workload in WORKLOADS if options.only in (None, workload.name)]
    if options.profile:
        return entry.run(lambda console: profile(options, chosen[0], size_mb, console), width=150)
    return entry.run(lambda console: contest(options, chosen, size_mb, console), width=150)


if __name__ == "__main__":
    sys.exit(main())

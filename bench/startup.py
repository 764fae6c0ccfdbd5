"""`python -m bench.startup`: processor time that passes in commands that have next to nothing to do.

Each round runs every command once, one behind the other, and the interpreter alone beside them; of each the cheapest run
counts, which is the one that others on the machine disturbed least. The figure that can be held against another machine's is
the ratio to the interpreter alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console

from bench import entry
from bench.measure import BenchError
from kafkeep.kafka.admin import NewTopic
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.config import ClusterConfig
from kafkeep.lab import LabOptions, start

ALONE: Final = "python -c pass"
HEADS: Final = ("command", "CPU-s", "times the interpreter alone")
TOPIC: Final = "startup"
NOTHING_NEW: Final = 4
SETTINGS: Final = '[cluster.lab]\nbootstrap = "{bootstrap}"\n[repository.main]\nurl = "{folder}"\n'


@dataclass(frozen=True, slots=True)
class Command:
    """What is run, and the exit status that it ends with when all is well."""

    title: str
    arguments: tuple[str, ...]
    status: int = 0


def commands(folder: Path, bootstrap: str | None) -> list[Command]:
    """Those without a cluster, and those with one where there is one."""
    kafkeep = (sys.executable, "-m", "kafkeep")
    repo = ("--repo", str(folder / "repository"))
    found = [
        Command(ALONE, (sys.executable, "-c", "pass")),
        Command("kafkeep --version", (*kafkeep, "--version")),
        Command("kafkeep backup --help", (*kafkeep, "backup", "--help")),
        Command("kafkeep points", (*kafkeep, "points", *repo)),
    ]
    if bootstrap is None:
        return found
    there = (*repo, "--cluster", bootstrap)
    config = folder / "kafkeep.toml"
    config.write_text(SETTINGS.format(bootstrap=bootstrap, folder=folder / "repository"), encoding="utf-8")
    named = ("--repo", "main", "--cluster", "lab")
    rename = ("--rename", f"{TOPIC}={TOPIC}-again", "--dry-run")
    return [
        *found,
        Command("kafkeep backup, nothing new", (*kafkeep, "backup", *there), NOTHING_NEW),
        Command("the same without settings", (*kafkeep, "backup", *there, "--no-settings"), NOTHING_NEW),
        Command("the same with a settings file", (*kafkeep, "--config", str(config), "backup", *named), NOTHING_NEW),
        Command("kafkeep restore --dry-run", (*kafkeep, "restore", "latest", *there, *rename)),
    ]


def cpu_seconds(command: Command, folder: Path, env: Mapping[str, str]) -> float:
    """User and system time of one run, of all its threads and children. Raises `BenchError` for another exit status."""
    with (folder / "output").open("w+b") as output:
        process = subprocess.Popen(command.arguments, cwd=folder, env=env, stdout=output, stderr=output)
        _, waited, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(waited)
        if process.returncode != command.status:
            output.seek(0)
            told = output.read().decode(errors="replace")[-2000:]
            raise BenchError(f"{command.title} ended with status {process.returncode}: {told}")
    return usage.ru_utime + usage.ru_stime


def lowest(wanted: Sequence[Command], rounds: int, folder: Path, env: Mapping[str, str]) -> dict[str, float]:
    """CPU-seconds of the cheapest run of each, after one that does not count: it compiles what is imported."""
    found: dict[str, float] = {}
    for number in range(rounds + 1):
        for command in wanted:
            spent = cpu_seconds(command, folder, env)
            if number:
                found[command.title] = min(spent, found.get(command.title, spent))
    return found


def rows(found: Mapping[str, float]) -> list[tuple[str, str, str]]:
    """A line for each command, with its ratio to the interpreter alone."""
    alone = found[ALONE]
    return [(title, f"{spent:.3f}", f"{spent / alone:.1f}") for title, spent in found.items()]


def markdown(found: Mapping[str, float]) -> str:
    """The same as a table for a page."""
    lines = [HEADS, ("---",) * len(HEADS), *rows(found)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@contextmanager
def broker(folder: Path, env: Mapping[str, str]) -> Iterator[str]:
    """A cluster of one broker with one empty topic; what `--cluster` takes."""
    with start(LabOptions(), directory=folder / "lab", env=env, now=datetime.now(UTC)) as lab:
        config = ClusterConfig(name="bench", bootstrap=tuple(lab.bootstrap.split(",")))
        with Cluster(config) as cluster:
            cluster.admin.create_topics([NewTopic(TOPIC, 1, 1)])
        yield lab.bootstrap


def contest(console: Console, options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="kafkeep-bench-") as name:
        folder = Path(name)
        env = entry.as_installed(folder) | {"KAFKEEP_CACHE": str(folder / "cache"), "HOME": name}
        env = {key: value for key, value in env.items() if not key.startswith("KAFKEEP_") or key == "KAFKEEP_CACHE"}
        repo = ("--repo", str(folder / "repository"))
        kafkeep = (sys.executable, "-m", "kafkeep")
        cpu_seconds(Command("init", (*kafkeep, "init", *repo)), folder, env)
        if options.no_broker:
            found = lowest(commands(folder, None), options.rounds, folder, env)
        else:
            with broker(folder, os.environ) as bootstrap:
                cpu_seconds(Command("backup", (*kafkeep, "backup", *repo, "--cluster", bootstrap)), folder, env)
                found = lowest(commands(folder, bootstrap), options.rounds, folder, env)
    entry.table(console, HEADS, rows(found), numbers=slice(1, None))
    if options.markdown:
        print(markdown(found))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.startup", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=9, help="runs of each command that count (default 9)")
    parser.add_argument("--no-broker", action="store_true", help="only commands that need no cluster")
    parser.add_argument("--markdown", action="store_true", help="also as a table for a page")
    options = parser.parse_args()
    return entry.run(lambda console: contest(console, options), width=120)


if __name__ == "__main__":
    sys.exit(main())

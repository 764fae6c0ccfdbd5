"""`python -m bench.metadata_scale`: `kafkeep metadata` on a cluster with thousands of topics and groups."""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from rich.console import Console

from bench import entry, machine, report
from bench.measure import Usage, run
from bench.metadata_making import Size, await_settled, fill, write_passwords
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.config import ClusterConfig
from kafkeep.lab import Lab, LabOptions, start

QUICK: Final = Size(topics=50, partitions=4, groups=100, acls=50, quotas=20, users=5, group_configs=10)
BEGIN: Final = "<!-- metadata: begin -->"
END: Final = "<!-- metadata: end -->"
HEADS: Final = ("command", "s", "CPU-s", "peak memory, MB", "requests", "of which")
_MB: Final = 1e6
REQUEST: Final = re.compile(r" request  api=(\w+) ")
_NOTHING_NEW: Final = 4
_MOST_NAMED: Final = 6


@dataclass(frozen=True, slots=True)
class Measured:
    """One command and what it cost."""

    title: str
    usage: Usage
    requests: Counter[str]
    """Of the control path, by name: Fetch and Produce are not among them."""

    def row(self) -> tuple[str, ...]:
        named = self.requests.most_common(_MOST_NAMED)
        rest = sum(self.requests.values()) - sum(count for _, count in named)
        told = [f"{count} {name}" for name, count in named] + ([f"{rest} others"] if rest else [])
        return (
            self.title,
            f"{self.usage.seconds:.1f}",
            f"{self.usage.cpu_seconds:.1f}",
            f"{self.usage.peak_rss_bytes / _MB:.0f}",
            str(sum(self.requests.values())),
            ", ".join(told),
        )


class Bench:
    """A broker, the folder everything lies in, and what was measured so far."""

    def __init__(self, folder: Path, env: Mapping[str, str], console: Console) -> None:
        self.folder = folder
        self.env = env
        self.console = console
        self.repository = folder / "repository"
        self.found: list[Measured] = []

    def note(self, text: str) -> None:
        self.console.print(text, style="dim", highlight=False)

    def measure(self, title: str, *arguments: str, good: int = 0) -> None:
        """Runs the real command. Its requests are counted in its own log."""
        self.note(title)
        command = [sys.executable, "-m", "kafkeep", "-vv", "--json", *arguments]
        ran = run(command, folder=self.folder, env=self.env, good=good)
        log = (self.folder / "stderr").read_text(encoding="utf-8", errors="replace")
        self.found.append(Measured(title, ran.usage, Counter(REQUEST.findall(log))))

    def kafkeep(self, *arguments: str) -> None:
        run([sys.executable, "-m", "kafkeep", "--json", *arguments], folder=self.folder, env=self.env)

    @contextmanager
    def lab(self, name: str) -> Iterator[Lab]:
        """A broker with an authorizer that can carry ten thousand partitions."""
        options = LabOptions(
            quick_start=False,
            heap_mb=2048,
            properties={
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": "User:ANONYMOUS",
                "log.index.size.max.bytes": "4096",
            },
        )
        self.note(f"starting the {name}")
        with start(options, directory=self.folder / name, env=self.env, now=datetime.now(UTC)) as lab:
            yield lab


def connected(lab: Lab) -> Cluster:
    bootstrap = tuple(lab.bootstrap.split(","))
    return Cluster(ClusterConfig(name="bench", bootstrap=bootstrap, request_timeout_seconds=120.0))


def source_side(bench: Bench, size: Size) -> dict[str, str]:
    """Everything that is asked of the large cluster; the machine's facts."""
    repo = ("--repo", str(bench.repository))
    bench.kafkeep("init", *repo)
    with bench.lab("source") as lab:
        fill(partial(connected, lab), size, bench.note)
        live = ("--cluster", lab.bootstrap)
        bench.measure("metadata backup", "metadata", "backup", *repo, *live, "--name", "point")
        bench.measure("metadata diff, point and cluster", "metadata", "diff", "point", *repo, *live)
        bench.measure("metadata diff, two points", "metadata", "diff", "point", "latest", *repo)
        for layout in ("plain", "j0"):
            folder = str(bench.folder / layout)
            bench.measure(
                f"metadata export --layout {layout}",
                *("metadata", "export", "point", *repo, "--dir", folder, "--layout", layout),
            )
        bench.measure("metadata apply --dry-run onto itself", *applied(bench, lab), "--dry-run", good=_NOTHING_NEW)
        for words, first in (("--no-settings", "the first"), ("--settings", "the first with settings")):
            bench.measure(f"backup {words}, {first}", "backup", *repo, *live, words)
            bench.measure(f"backup {words}, nothing new", "backup", *repo, *live, words, good=_NOTHING_NEW)
        return machine.facts(bench.folder, lab)


def target_side(bench: Bench, size: Size) -> None:
    """The same onto an empty cluster."""
    with bench.lab("target") as lab:
        bench.measure("metadata apply --dry-run, empty cluster", *applied(bench, lab), "--dry-run")
        bench.measure("metadata apply, empty cluster", *applied(bench, lab))
        with connected(lab) as cluster:
            await_settled(cluster, size)
        bench.measure("metadata apply again", *applied(bench, lab), good=_NOTHING_NEW)


def applied(bench: Bench, lab: Lab) -> tuple[str, ...]:
    passwords = bench.folder / "passwords"
    users = ("--users-file", str(passwords))
    return ("metadata", "apply", "point", "--repo", str(bench.repository), "--cluster", lab.bootstrap, *users)


def sizes(bench: Bench) -> str:
    """What the documents and files take."""
    stored = sum(path.stat().st_size for path in bench.repository.rglob("*") if path.is_file())
    files = [path for path in (bench.folder / "plain").iterdir() if path.is_file()]
    parts = [f"{path.name} {path.stat().st_size / _MB:.2f} MB" for path in files if path.name.startswith("metadata.")]
    exported = sum(path.stat().st_size for path in files)
    return (
        f"The repository takes {stored / _MB:.2f} MB with all points of this run; an export is {len(files)} files with "
        f"{exported / _MB:.2f} MB, of which {', '.join(sorted(parts))}"
    )


def markdown(size: Size, found: Sequence[Measured], facts: Mapping[str, str], told: str) -> str:
    lines = ["Machine: " + "; ".join(f"{name} {value}" for name, value in facts.items()) + ".", ""]
    lines += [f"The cluster has {size}.", "", f"| {' | '.join(HEADS)} |", "| --- | --: | --: | --: | --: | --- |"]
    lines += [f"| {' | '.join(one.row())} |" for one in found]
    return "\n".join([*lines, "", f"{told}.", ""])


def arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.metadata_scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small cluster")
    parser.add_argument("--dir", type=Path, help="where brokers and repositories live (default: the temporary folder)")
    parser.add_argument("--docs", type=Path, help="a Markdown page whose part on metadata is replaced")
    return parser.parse_args(given)


def measure(options: argparse.Namespace, console: Console) -> None:
    size = QUICK if options.quick else Size()
    with entry.working_folder(options.dir) as folder:
        env = entry.as_installed(folder)
        write_passwords(folder / "passwords", size)
        bench = Bench(folder, env, console)
        facts = source_side(bench, size)
        target_side(bench, size)
        told = sizes(bench)
    console.print(f"{size}", highlight=False)
    entry.table(console, HEADS, (one.row() for one in bench.found), numbers=slice(1, -1))
    console.print(told, highlight=False)
    if options.docs is not None:
        text = options.docs.read_text(encoding="utf-8")
        made = report.replaced(text, markdown(size, bench.found, facts, told), begin=BEGIN, end=END)
        options.docs.write_text(made, encoding="utf-8")


def main() -> int:
    return entry.run(partial(measure, arguments(sys.argv[1:])), width=190)


if __name__ == "__main__":
    sys.exit(main())

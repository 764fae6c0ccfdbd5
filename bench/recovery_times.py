"""`python -m bench.recovery_times`: how long it takes until an empty cluster is what the lost one was, part by part."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from confluent_kafka import Producer
from rich.console import Console

from bench import entry, machine, report
from bench.measure import BenchError, Usage
from bench.metadata_making import Size, fill, write_passwords
from bench.metadata_scale import Bench, connected
from kafkeep.lab import Lab

FULL: Final = Size(topics=200, partitions=3, groups=500, positions=3, acls=200, quotas=50, users=20, group_configs=20)
QUICK: Final = Size(topics=20, partitions=3, groups=50, positions=3, acls=20, quotas=5, users=5, group_configs=5)
RECORDS: Final = 40
"""In each partition."""
RECORD_BYTES: Final = 1000
BEGIN: Final = "<!-- recovery: begin -->"
END: Final = "<!-- recovery: end -->"
HEADS: Final = ("what comes back", "command", "wanted within", "s", "CPU-s", "peak memory, MB")
_MB: Final = 1e6


@dataclass(frozen=True, slots=True)
class Task:
    """One part of a recovery, and how long it may take."""

    what: str
    command: str
    target: str

    def row(self, usage: Usage) -> tuple[str, ...]:
        figures = (f"{usage.seconds:.1f}", f"{usage.cpu_seconds:.1f}", f"{usage.peak_rss_bytes / _MB:.0f}")
        return (self.what, self.command, self.target, *figures)


METADATA: Final = Task("topics, configs, quotas, users, ACLs", "metadata apply", "10 min")
RECORDS_ALONE: Final = Task("records, into the topics that are there", "restore --groups none", "")
POSITIONS: Final = Task("positions of all groups", "groups apply", "20 min")
WHOLE: Final = Task("all of it, into an empty cluster", "restore --with all", "4 h")
ORDER: Final = (METADATA, RECORDS_ALONE, POSITIONS, WHOLE)


def produce(lab: Lab, size: Size) -> None:
    """The same few records into every partition. Raises BenchError when some are refused."""
    refused: list[object] = []
    producer = Producer({"bootstrap.servers": lab.bootstrap, "linger.ms": 50})
    for topic in size.topic_names:
        for number in range(size.partitions * RECORDS):
            producer.produce(
                topic,
                key=b"%d" % number,
                value=os.urandom(RECORD_BYTES),
                partition=number % size.partitions,
                on_delivery=lambda error, _: refused.append(error) if error is not None else None,
            )
        producer.poll(0)
        producer.flush(60)
    if refused:
        raise BenchError(f"{len(refused)} records were refused: {refused[0]}")


def measure(bench: Bench, size: Size) -> tuple[dict[Task, Usage], dict[str, str]]:
    """The parts one after the other on one target, the whole on another; and the machine's facts."""
    repo = ("--repo", str(bench.repository))
    users = ("--users-file", str(bench.folder / "passwords"))
    bench.kafkeep("init", *repo)
    with bench.lab("source") as lab:
        fill(partial(connected, lab), size, bench.note)
        bench.note("writing records")
        produce(lab, size)
        bench.kafkeep("backup", *repo, "--cluster", lab.bootstrap, "--name", "whole")
        facts = machine.facts(bench.folder, lab)
    with bench.lab("target") as lab:
        onto = ("whole", *repo, "--cluster", lab.bootstrap)
        bench.measure(METADATA.command, "metadata", "apply", *onto, *users)
        bench.measure(RECORDS_ALONE.command, "restore", *onto, "--groups", "none")
        bench.measure(POSITIONS.command, "groups", "apply", *onto)
    with bench.lab("other target") as lab:
        onto = ("whole", *repo, "--cluster", lab.bootstrap)
        bench.measure(WHOLE.command, "restore", *onto, "--with", "all", *users)
    return {task: found.usage for task, found in zip(ORDER, bench.found, strict=True)}, facts


def told(size: Size) -> str:
    records = size.topics * size.partitions * RECORDS
    return f"The cluster has {size}, and {records * RECORD_BYTES / _MB:.0f} MB of records."


def markdown(size: Size, found: Mapping[Task, Usage], facts: Mapping[str, str]) -> str:
    lines = ["Machine: " + "; ".join(f"{name} {value}" for name, value in facts.items()) + ".", "", told(size), ""]
    lines += [f"| {' | '.join(HEADS)} |", "| --- | --- | --- | --: | --: | --: |"]
    lines += [f"| {' | '.join(task.row(usage))} |" for task, usage in found.items()]
    return "\n".join([*lines, ""])


def arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.recovery_times", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the cluster")
    parser.add_argument("--dir", type=Path, help="where brokers and repositories live (default: the temporary folder)")
    parser.add_argument("--docs", type=Path, help="a Markdown page whose part on recovery is replaced")
    return parser.parse_args(given)


def contest(options: argparse.Namespace, console: Console) -> None:
    size = QUICK if options.quick else FULL
    with entry.working_folder(options.dir) as folder:
        env = entry.as_installed(folder)
        write_passwords(folder / "passwords", size)
        found, facts = measure(Bench(folder, env, console), size)
    console.print(told(size), highlight=False)
    rows = (task.row(usage) for task, usage in found.items())
    entry.table(console, HEADS, rows, numbers=slice(3, None))
    if options.docs is not None:
        text = options.docs.read_text(encoding="utf-8")
        made = report.replaced(text, markdown(size, found, facts), begin=BEGIN, end=END)
        options.docs.write_text(made, encoding="utf-8")


def main() -> int:
    return entry.run(partial(contest, arguments(sys.argv[1:])), width=150)


if __name__ == "__main__":
    sys.exit(main())

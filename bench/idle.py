"""`python -m bench.idle`: what a following backup costs for partitions to which nothing is written."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Producer
from rich.console import Console

from bench import entry, machine, report
from bench.measure import BenchError, Spread
from bench.metadata_making import Size, fill
from bench.metadata_scale import Bench, connected
from kafkeep.lab import Lab

FULL: Final = Size(topics=1000, partitions=10, groups=200, positions=5, acls=50, quotas=10, users=5, group_configs=5)
QUICK: Final = Size(topics=100, partitions=10, groups=20, positions=5, acls=5, quotas=2, users=2, group_configs=2)
ACTIVE: Final = 0.01
"""Of the partitions get records before an active round."""
RECORDS: Final = 20
"""In each of them."""
RECORD_BYTES: Final = 1000
MOST_CPU: Final = 2.0
MOST_MEMORY: Final = 512 * 2**20
BEGIN: Final = "<!-- idle: begin -->"
END: Final = "<!-- idle: end -->"
HEADS: Final = ("round", "s", "CPU-s", "peak memory, MiB", "objects", "bytes stored", "requests", "of which")
_FIRST: Final = "the first"
_NOTHING: Final = "nothing new"
_ACTIVE: Final = "1 % of partitions active"
_MOST_NAMED: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round, and what it left in the repository."""

    title: str
    seconds: float
    cpu_seconds: float
    peak_rss_bytes: int
    """Of the process so far."""
    requests: Mapping[str, int]
    records: int
    objects: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class Verdict:
    text: str
    found: str
    met: bool


def row(title: str, rounds: Sequence[Round]) -> tuple[str, ...]:
    """Medians of the rounds of one kind, with lowest and highest where there are several."""
    requests = rounds[-1].requests
    named = sorted(requests.items(), key=lambda each: -each[1])
    told = [f"{count} {name}" for name, count in named[:_MOST_NAMED]]
    rest = sum(count for _, count in named[_MOST_NAMED:])
    return (
        title,
        _text([each.seconds for each in rounds], 2),
        _text([each.cpu_seconds for each in rounds], 2),
        f"{max(each.peak_rss_bytes for each in rounds) / 2**20:.0f}",
        _text([each.objects for each in rounds], 0),
        _text([each.stored_bytes for each in rounds], 0),
        str(sum(requests.values())),
        ", ".join([*told, *([f"{rest} others"] if rest else [])]),
    )


def _text(values: Sequence[float], digits: int) -> str:
    found = Spread.of(values)
    if found.low == found.high:
        return f"{found.median:.{digits}f}"
    return report.spread(found, digits)


def verdicts(rounds: Sequence[Round]) -> list[Verdict]:
    """What is promised of rounds behind the first, whatever the number of partitions."""
    idle = [each for each in rounds if each.title == _NOTHING]
    active = [each for each in rounds if each.title == _ACTIVE]
    cpu = Spread.of([each.cpu_seconds for each in (*idle, *active)])
    memory = max(each.peak_rss_bytes for each in rounds)
    made, most = max(each.objects for each in idle), max(each.objects for each in active)
    return [
        Verdict(
            f"a round takes less than {MOST_CPU:g} CPU-s",
            f"{cpu.median:.2f}, at most {cpu.high:.2f}",
            cpu.high < MOST_CPU,
        ),
        Verdict("a round with nothing new makes no object", str(made), made == 0),
        Verdict("an active round makes at most 10 objects", str(most), most <= 10),
        Verdict(f"at most {MOST_MEMORY / 2**20:.0f} MiB of memory", f"{memory / 2**20:.0f} MiB", memory <= MOST_MEMORY),
    ]


def kinds(rounds: Sequence[Round]) -> dict[str, list[Round]]:
    found: dict[str, list[Round]] = {}
    for each in rounds:
        found.setdefault(each.title, []).append(each)
    return found


def markdown(size: Size, rounds: Sequence[Round], facts: Mapping[str, str]) -> str:
    lines = ["Machine: " + "; ".join(f"{name} {value}" for name, value in facts.items()) + ".", ""]
    lines += [f"The cluster has {size}.", "", f"| {' | '.join(HEADS)} |", "| --- |" + " --: |" * 6 + " --- |"]
    lines += [f"| {' | '.join(row(title, mine))} |" for title, mine in kinds(rounds).items()]
    lines += ["", *(f"* {each.text}: {each.found}, {'met' if each.met else '**missed**'}" for each in verdicts(rounds))]
    return "\n".join([*lines, ""])


class Follower:
    """`bench.idle_rounds` and the repository it fills."""

    def __init__(self, process: subprocess.Popen[str], repository: Path) -> None:
        self._process = process
        self._repository = repository
        self.rounds: list[Round] = []

    def round(self, title: str) -> None:
        """Makes one and measures it. Raises BenchError when the process ends instead."""
        before = self._objects()
        if self._process.stdin is None or self._process.stdout is None:
            raise BenchError("the rounds cannot be asked for")
        self._process.stdin.write("round\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise BenchError("the process that makes the rounds ended")
        told: dict[str, Any] = json.loads(line)
        made = {path: size for path, size in self._objects().items() if path not in before}
        self.rounds.append(
            Round(
                title=title,
                seconds=told["seconds"],
                cpu_seconds=told["cpu_seconds"],
                peak_rss_bytes=told["peak_rss_bytes"],
                requests=told["requests"],
                records=told["records"],
                objects=len(made),
                stored_bytes=sum(made.values()),
            )
        )

    def _objects(self) -> dict[Path, int]:
        return {path: path.stat().st_size for path in self._repository.rglob("*") if path.is_file()}


@contextmanager
def following(bench: Bench, lab: Lab, profile: Path | None) -> Iterator[Follower]:
    """The process ends with the block."""
    command = [sys.executable, "-m", "bench.idle_rounds", lab.bootstrap, str(bench.repository)]
    command += [] if profile is None else [str(profile.absolute())]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=dict(bench.env)) as process:
        yield Follower(process, bench.repository)


def write_some(lab: Lab, size: Size, turn: int) -> int:
    """Records into a hundredth of the partitions, others in every turn; how many. Raises BenchError when some are
    refused.
    """
    total = size.topics * size.partitions
    count = max(1, round(total * ACTIVE))
    refused: list[object] = []
    producer = Producer({"bootstrap.servers": lab.bootstrap, "linger.ms": 5})
    names = size.topic_names
    for number in range(count):
        topic, partition = divmod((turn + number * (total // count)) % total, size.partitions)
        for _ in range(RECORDS):
            producer.produce(
                names[topic],
                key=b"%d" % number,
                value=b"x" * RECORD_BYTES,
                partition=partition,
                on_delivery=lambda error, _: refused.append(error) if error is not None else None,
            )
    if producer.flush(120) or refused:
        raise BenchError(f"records were refused: {refused[:1]}")
    return count * RECORDS


def play(bench: Bench, size: Size, options: argparse.Namespace) -> tuple[list[Round], dict[str, str]]:
    bench.kafkeep("init", "--repo", str(bench.repository))
    with bench.lab("source") as lab:
        fill(partial(connected, lab), size, bench.note)
        facts = machine.facts(bench.folder, lab)
        with following(bench, lab, options.profile) as follower:
            bench.note("the first round")
            follower.round(_FIRST)
            for turn in range(options.rounds):
                bench.note(f"rounds {turn + 1} of {options.rounds}: with nothing new, and with records")
                follower.round(_NOTHING)
                written = write_some(lab, size, turn)
                follower.round(_ACTIVE)
                if follower.rounds[-1].records != written:
                    raise BenchError(f"a round read {follower.rounds[-1].records} records of {written}")
    return follower.rounds, facts


def arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.idle", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the partitions")
    parser.add_argument("--rounds", type=int, default=5, help="of each kind (default 5)")
    parser.add_argument("--profile", type=Path, help="write a profile of all rounds but the first into this file")
    parser.add_argument("--dir", type=Path, help="where broker and repository live (default: the temporary folder)")
    parser.add_argument("--docs", type=Path, help="a Markdown page whose part on idle partitions is replaced")
    return parser.parse_args(given)


def contest(options: argparse.Namespace, console: Console) -> None:
    size = QUICK if options.quick else FULL
    with entry.working_folder(options.dir) as folder:
        rounds, facts = play(Bench(folder, entry.as_installed(folder), console), size, options)
    console.print(f"{size}; {datetime.now(UTC):%Y-%m-%d}", highlight=False)
    entry.table(console, HEADS, (row(title, mine) for title, mine in kinds(rounds).items()), numbers=slice(1, -1))
    for each in verdicts(rounds):
        console.print(f"  {'met   ' if each.met else 'MISSED'} {each.text}: {each.found}", highlight=False)
    if options.docs is not None:
        report.replace_in(options.docs, markdown(size, rounds, facts), begin=BEGIN, end=END)


def main() -> int:
    return entry.run(partial(contest, arguments(sys.argv[1:])), width=190)


if __name__ == "__main__":
    sys.exit(main())

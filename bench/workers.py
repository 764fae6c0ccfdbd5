"""What a second worker brings: `make bench-workers`.

One large partition, from a broker that answers out of memory (`bench.replay_broker`), into a repository in memory: neither
the broker nor a disk is the limit. Each worker has one connection, and all contestants take turns in every round.

Two things are the limit in turn. **The processor**: digests, checksums, compression, as on a host that reads faster than one
core works. **The connection**: the broker gives each a fixed rate, as one does that is far away. Contests of the first kind
need as many idle cores as there are workers and one for the broker; on fewer, two workers share theirs with the broker, and
what they could be at most is told beside what they were.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from bench import entry
from bench.machine import facts
from bench.measure import cpu_seconds_of
from bench.replay_broker import MIB, Case, replaying, timed
from kafkeep import logger
from kafkeep.work.dask import DaskExecutor
from kafkeep.work.executor import Executor
from kafkeep.work.processes import ProcessExecutor

WANTED: Final = 1.5
"""What two workers should be times one."""


@dataclass(frozen=True, slots=True)
class Contestant:
    name: str
    connections: int
    executor: Executor | None
    pids: tuple[int, ...]
    """Of its processes."""
    one: str
    """The contestant that it is held against."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What is the limit of a contest."""

    name: str
    case: Case
    rate: int | None = None
    """Bytes per second of each connection."""


@dataclass(slots=True)
class Figures:
    """Of one contestant, a value for each round."""

    seconds: list[float] = field(default_factory=list)
    gigabytes: float = 0.0
    cpu: list[float] = field(default_factory=list)
    """Seconds of the processor: of coordinator and workers."""
    broker: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Gigabytes per second, of the middle round."""
        return self.gigabytes / statistics.median(self.seconds)

    def per_gigabyte(self, values: Sequence[float]) -> float:
        return statistics.median(values) / self.gigabytes


LIMITS: Final = (
    Limit("the processor, compressing as repositories do by default", Case(compression="zstd")),
    Limit("the processor, without compression", Case(compression="none")),
    Limit("the connection, 60 MB/s each", Case(compression="none"), rate=60_000_000),
)


def contestants(stack: ExitStack, *, dask: bool) -> tuple[Contestant, ...]:
    """All that compete; their workers are there until the stack is closed."""
    found = [Contestant(f"threads, {count}", count, None, (), "threads, 1") for count in (1, 2)]
    for count in (1, 2):
        processes = stack.enter_context(ProcessExecutor(count))
        found.append(Contestant(f"processes, {count}", 1, processes, processes.pids, "processes, 1"))
    for count in (1, 2) if dask else ():
        workers = stack.enter_context(DaskExecutor(None, count))
        pids = tuple(workers.client.run(os.getpid).values())
        found.append(Contestant(f"Dask workers, {count}", 1, workers, pids, "Dask workers, 1"))
    return tuple(found)


def contest(
    folder: Path, limit: Limit, fields: Sequence[Contestant], *, size: int, rounds: int, dice: random.Random
) -> dict[str, Figures]:
    """Every contestant once in each round, in another order each time, behind one that is not counted."""
    figures = {each.name: Figures() for each in fields}
    with replaying(folder, size, limit.rate) as (log, port, broker):
        for number in range(rounds + 1):
            for each in dice.sample(list(fields), len(fields)):
                own = (os.getpid(), *each.pids)
                before, broker_before = cpu_seconds_of(*own), cpu_seconds_of(broker)
                case = replace(limit.case, connections=each.connections)
                seconds, read = timed(folder, log, port, case, each.executor)
                if number:
                    figures[each.name].seconds.append(seconds)
                    figures[each.name].cpu.append(cpu_seconds_of(*own) - before)
                    figures[each.name].broker.append(cpu_seconds_of(broker) - broker_before)
                figures[each.name].gigabytes = read / 1e9
    return figures


def rows(fields: Sequence[Contestant], figures: dict[str, Figures]) -> list[str]:
    """A table: rates, ratios, and what a gigabyte costs."""
    lines = [f"  {'':<16}{'s':>7}{'GB/s':>7}{'times one':>11}{'CPU-s/GB':>10}{'broker':>8}"]
    for each in fields:
        found = figures[each.name]
        times = ratio(figures, each)
        lines.append(
            f"  {each.name:<16}{statistics.median(found.seconds):7.2f}{found.rate:7.2f}{times:11.2f}"
            f"{found.per_gigabyte(found.cpu):10.2f}{found.per_gigabyte(found.broker):8.2f}"
        )
    return lines


def ratio(figures: dict[str, Figures], contestant: Contestant) -> float:
    """How many times as fast as one worker of its kind."""
    return figures[contestant.name].rate / figures[contestant.one].rate


def verdict(fields: Sequence[Contestant], contests: Sequence[tuple[Limit, dict[str, Figures]]]) -> list[str]:
    """For two processes and two Dask workers: whether they reach what is wanted, and where."""
    lines = []
    for each in fields:
        if each.executor is not None and each.name != each.one:
            found = [(ratio(figures, each), limit.name) for limit, figures in contests]
            told = "; ".join(f"{times:.2f} times one where the limit is {name}" for times, name in found)
            reached = all(times >= WANTED for times, _ in found)
            lines.append(f"{each.name}: {told} ({WANTED} is {'' if reached else 'not always '}reached)")
    return lines


def possible(found: Figures, cores: int) -> float:
    """How many times one worker two could be on so many cores, by what a gigabyte costs the worker and the broker."""
    work, broker = found.per_gigabyte(found.cpu), found.per_gigabyte(found.broker)
    return min(2.0, cores * work / (work + broker)) if work else 2.0


def main() -> None:
    entry.clear_up_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024, help="of the partition; with a fixed rate a sixth of it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-dask", action="store_true")
    parser.add_argument("--folder", default="/dev/shm", help="where log and repositories lie for the time")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kafkeep-workers-", dir=given.folder))
    cores = len(os.sched_getaffinity(0))
    began = time.monotonic()
    contests: list[tuple[Limit, dict[str, Figures]]] = []
    logger.send_nowhere()
    try:
        print(", ".join(f"{name} {value}" for name, value in facts(folder).items()), flush=True)
        with ExitStack() as stack:
            fields = contestants(stack, dask=not given.no_dask)
            for limit in LIMITS:
                size = given.mib * MIB // (1 if limit.rate is None else 6)
                print(f"the limit is {limit.name}; one partition of {size // MIB} MiB, {given.rounds} rounds:")
                figures = contest(folder, limit, fields, size=size, rounds=given.rounds, dice=random.Random(1))
                contests.append((limit, figures))
                print("\n".join(rows(fields, figures)), flush=True)
                if limit.rate is None:
                    most = possible(figures["processes, 1"], cores)
                    print(f"  on {cores} cores that the broker shares, two workers can be {most:.2f} times one")
            print("\n".join(verdict(fields, contests)), flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f}", file=sys.stderr)


if __name__ == "__main__":
    main()

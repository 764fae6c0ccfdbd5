"""`python -m bench.model`: what a large cluster costs to back up, to follow and to restore, reckoned from measured rates.

docs/scale.md explains every formula. Pure, but for reading arguments and printing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass, fields
from math import ceil
from typing import Any, Final

from rich.console import Console

from bench import entry, report

GB: Final = 1e9
MIB: Final = 2**20
MONTH_SECONDS: Final = 30 * 86_400
BEGIN: Final = "<!-- model: begin -->"
END: Final = "<!-- model: end -->"
HEADS: Final = ("what", "first backup", "one round", "a month of rounds", "restore of all")


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What is known or assumed. GB is 1e9 bytes."""

    stored_tb: float = 1000.0
    """Log segments of all leaders, once, without replicas, in TB."""
    brokers: int = 100
    partitions: int = 200_000
    change_per_day: float = 0.02
    """Part of the data written anew each day."""
    active: float = 0.05
    """Part of the partitions with records in one round."""
    interval_seconds: float = 300.0
    """From round to round."""
    retention_days: float = 30.0
    """How long the repository keeps what is written."""
    groups: int = 20_000

    workers: int = 50
    cores: int = 4
    """Of each worker."""
    backup_cpu: float = 1.3
    """Core-seconds per GB."""
    restore_cpu: float = 2.8
    """Core-seconds per GB."""
    ratio: float = 1.0
    """Stored bytes per byte of log segments: 1 where producers compress."""
    broker_mb: float = 100.0
    """MB/s that a broker may give to, or take from, the backup."""
    worker_mb: float = 1000.0
    """MB/s of a worker's network."""

    pack_mib: float = 64.0
    runs_per_round: float = 1.0
    """Of each active partition in a round: one, unless it fills a pack."""
    run_bytes: float = 66.0
    """That a run takes in a commit."""
    run_mib: float = 16.0
    """Most of one partition that a first backup stores in a run."""
    cut_bytes: float = 4.2
    """That a partition takes in a recovery point."""
    document_bytes: float = 5.0
    """That a partition or group takes in the documents of a point, where these change."""
    commit_runs: float = 5000.0
    """Runs that wait for one commit at most."""
    commit_seconds: float = 10.0
    """Between commits while a backup runs."""
    run_cpu: float = 160e-6
    """Core-seconds of the coordinator per run committed: encoded, read back, folded."""
    cut_cpu: float = 26e-6
    """The same per partition of a recovery point."""
    look_cpu: float = 90e-6
    """Core-seconds of the coordinator per partition and round: three offsets, its plan and its cut."""
    group_cpu: float = 100e-6
    """Core-seconds per group and round."""
    state_base_mb: float = 150.0
    """Memory of the coordinator whatever the cluster: program, pages at hand, runs that are not on pages yet."""
    state_run_bytes: float = 0.4
    """Memory of a run in the coordinator's state, where it is on pages of the local cache."""
    state_cut_bytes: float = 0.4
    """The same of a partition of each recovery point that is kept."""
    state_partition_bytes: float = 5000.0
    """Memory of a partition in the coordinator besides: generation, survey, plan, the point that is being made."""
    points: float = 100.0
    """Recovery points that retention leaves."""

    put_seconds: float = 0.1
    get_seconds: float = 0.03
    puts_at_once: int = 2
    """Of each worker: one pack is sent while the next one fills."""
    price_put: float = 5e-6
    price_get: float = 0.4e-6
    price_gb_month: float = 0.023
    price_out_gb: float = 0.0
    """Of a GB read from the store: 0 in its own region."""
    price_core_hour: float = 0.04


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One piece of work, reckoned."""

    read_gb: float
    stored_gb: float
    objects: float
    puts: float
    gets: float
    seconds: float
    bound: str
    """What the time comes from."""
    commits: float
    commit_mb: float
    """Of all commits together."""
    coordinator_cpu: float
    worker_cpu: float
    dollars: float
    """Requests, transfer and cores: what is stored costs by the month."""


def slowest(*ways: tuple[str, float]) -> tuple[str, float]:
    """What takes longest decides: all of it goes on at the same time."""
    return max(ways, key=lambda way: way[1])


def _transfer(given: Given, gb: float, cpu_per_gb: float, requests: float, latency: float) -> list[tuple[str, float]]:
    return [
        ("brokers", gb * 1000 / (given.brokers * given.broker_mb)),
        ("network of workers", gb * 1000 / (given.workers * given.worker_mb)),
        ("cores of workers", gb * cpu_per_gb / (given.workers * given.cores)),
        ("latency of the store", requests * latency / (given.workers * given.puts_at_once)),
    ]


def _dollars(given: Given, puts: float, gets: float, out_gb: float, core_seconds: float) -> float:
    cores = core_seconds / 3600 * given.price_core_hour
    return puts * given.price_put + gets * given.price_get + out_gb * given.price_out_gb + cores


def first_backup(given: Given) -> Work:
    """Everything, into an empty repository."""
    gb = given.stored_tb * 1000
    stored = gb * given.ratio
    packs = max(ceil(stored * GB / (given.pack_mib * MIB)), given.workers)
    runs = max(ceil(gb * GB / (given.run_mib * MIB)), given.partitions)
    coordinator = runs * given.run_cpu + given.partitions * (given.look_cpu + given.cut_cpu)
    ways = _transfer(given, gb, given.backup_cpu, packs, given.put_seconds)
    bound, seconds = slowest(*ways, ("commits of the coordinator", coordinator))
    commits = max(seconds / given.commit_seconds, runs / given.commit_runs) + 1
    documents = 3.0
    return Work(
        read_gb=gb,
        stored_gb=stored,
        objects=packs + commits + documents,
        puts=packs + 2 * commits + documents,
        gets=commits,
        seconds=seconds,
        bound=bound,
        commits=commits,
        commit_mb=(runs * given.run_bytes + given.partitions * (given.cut_bytes + given.document_bytes)) / 1e6,
        coordinator_cpu=coordinator + given.groups * given.group_cpu,
        worker_cpu=gb * given.backup_cpu,
        dollars=_dollars(given, packs + 2 * commits, commits, 0.0, gb * given.backup_cpu + coordinator),
    )


def one_round(given: Given) -> Work:
    """One round of following, with what was written since the one before."""
    gb = given.stored_tb * 1000 * given.change_per_day * given.interval_seconds / 86_400
    stored = gb * given.ratio
    active = given.partitions * given.active
    runs = max(active * given.runs_per_round, stored * GB / (given.pack_mib * MIB))
    packs = max(ceil(stored * GB / (given.pack_mib * MIB)), min(given.workers, ceil(active)))
    look = given.partitions * given.look_cpu + given.groups * given.group_cpu
    committing = runs * given.run_cpu + given.partitions * given.cut_cpu
    ways = _transfer(given, gb, given.backup_cpu, packs, given.put_seconds)
    bound, reading = slowest(*ways, ("commits of the coordinator", committing))
    commits = max(1.0, ceil(runs / given.commit_runs))
    documents = 2.0
    return Work(
        read_gb=gb,
        stored_gb=stored,
        objects=packs + commits + documents,
        puts=packs + 2 * commits + documents,
        gets=commits,
        # The look comes before the reading; what is read is committed while the rest is read, the point behind it.
        seconds=look + reading + given.partitions * given.cut_cpu,
        bound=bound if reading > look else "look of the coordinator",
        commits=commits,
        commit_mb=(runs * given.run_bytes + given.partitions * given.cut_bytes) / 1e6,
        coordinator_cpu=look + committing,
        worker_cpu=gb * given.backup_cpu,
        dollars=_dollars(
            given, packs + 2 * commits + documents, commits, 0.0, gb * given.backup_cpu + look + committing
        ),
    )


def month(given: Given) -> Work:
    """All rounds of thirty days."""
    rounds = MONTH_SECONDS / given.interval_seconds
    one = one_round(given)
    return Work(
        read_gb=one.read_gb * rounds,
        stored_gb=one.stored_gb * rounds,
        objects=one.objects * rounds,
        puts=one.puts * rounds,
        gets=one.gets * rounds,
        seconds=one.seconds * rounds,
        bound=one.bound,
        commits=one.commits * rounds,
        commit_mb=one.commit_mb * rounds,
        coordinator_cpu=one.coordinator_cpu * rounds,
        worker_cpu=one.worker_cpu * rounds,
        dollars=one.dollars * rounds,
    )


def restore(given: Given) -> Work:
    """Everything that one recovery point holds, read once and produced."""
    gb = given.stored_tb * 1000
    stored = gb * given.ratio
    gets = ceil(stored * GB / (given.run_mib * MIB)) + given.partitions
    ways = _transfer(given, gb, given.restore_cpu, gets, given.get_seconds)
    bound, seconds = slowest(*ways)
    return Work(
        read_gb=stored,
        stored_gb=0.0,
        objects=0.0,
        puts=0.0,
        gets=gets,
        seconds=seconds,
        bound=bound,
        commits=0.0,
        commit_mb=0.0,
        coordinator_cpu=given.partitions * given.look_cpu,
        worker_cpu=gb * given.restore_cpu,
        dollars=_dollars(given, 0.0, gets, stored, gb * given.restore_cpu),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is there after `retention_days` of following."""

    stored_tb: float
    runs: float
    objects: float
    dollars_a_month: float
    """Of storage, rounds, requests and cores."""
    memory_gib: float
    """Of the coordinator."""
    commits_per_second: float
    """While a first backup runs."""
    commit_mb_per_second: float
    coordinator_load: float
    """Part of one core that rounds take, one after the other; above 1 they fall behind."""
    keeps_up: bool
    """Whether a round ends before the next one begins."""


def standing(given: Given) -> Standing:
    first, one = first_backup(given), one_round(given)
    rounds = given.retention_days * 86_400 / given.interval_seconds
    first_runs = max(ceil(given.stored_tb * 1e12 / (given.run_mib * MIB)), given.partitions)
    runs = first_runs + rounds * given.partitions * given.active * given.runs_per_round
    stored = first.stored_gb + rounds * one.stored_gb
    per_partition = given.points * given.state_cut_bytes + given.state_partition_bytes
    memory = given.state_base_mb * 1e6 + runs * given.state_run_bytes + given.partitions * per_partition
    return Standing(
        stored_tb=stored / 1000,
        runs=runs,
        objects=first.objects + rounds * one.objects,
        dollars_a_month=stored * given.price_gb_month + month(given).dollars,
        memory_gib=memory / 2**30,
        commits_per_second=first.commits / first.seconds,
        commit_mb_per_second=first.commit_mb / first.seconds,
        coordinator_load=one.coordinator_cpu / given.interval_seconds,
        keeps_up=one.seconds <= given.interval_seconds,
    )


def duration(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def count(number: float) -> str:
    return f"{number:,.0f}".replace(",", " ")


def rows(given: Given) -> Iterator[tuple[str, ...]]:
    """The table: one column for each piece of work."""
    works = (first_backup(given), one_round(given), month(given), restore(given))
    figures: tuple[tuple[str, list[str]], ...] = (
        ("time", [duration(work.seconds) for work in works]),
        ("comes from", [work.bound for work in works]),
        ("GB read", [count(work.read_gb) for work in works]),
        ("GB stored", [count(work.stored_gb) for work in works]),
        ("objects made", [count(work.objects) for work in works]),
        ("puts", [count(work.puts) for work in works]),
        ("gets", [count(work.gets) for work in works]),
        ("commits", [count(work.commits) for work in works]),
        ("MB of commits and points", [count(work.commit_mb) for work in works]),
        ("CPU of the coordinator", [duration(work.coordinator_cpu) for work in works]),
        ("CPU of all workers", [duration(work.worker_cpu) for work in works]),
        ("$ of requests, transfer, cores", [f"{work.dollars:,.2f}".replace(",", " ") for work in works]),
    )
    for what, told in figures:
        yield what, *told


def remarks(given: Given) -> Iterator[str]:
    found = standing(given)
    yield (
        f"after {given.retention_days:g} days the repository holds {count(found.stored_tb)} TB in {count(found.objects)} "
        f"objects, {count(found.runs)} runs"
    )
    yield f"it costs {count(found.dollars_a_month)} $ a month: storage, rounds, requests, cores"
    yield f"the coordinator holds {found.memory_gib:.1f} GiB of state then"
    yield (
        f"during a first backup {found.commits_per_second:.2f} commits/s with {found.commit_mb_per_second:.2f} MB/s are made"
    )
    keeps = "rounds end in time" if found.keeps_up else "**rounds take longer than the interval**"
    yield f"following takes {found.coordinator_load:.0%} of the coordinator's core; {keeps}"


def assumptions(given: Given) -> str:
    """All that the figures hang on, in the order of the options."""
    return ", ".join(f"{_option(field.name)} {getattr(given, field.name):g}" for field in fields(Given))


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def arguments(given: Sequence[str]) -> tuple[Given, str | None]:
    """What is given instead of the defaults, and the page whose part is replaced."""
    parser = argparse.ArgumentParser(prog="python -m bench.model", description=__doc__)
    for field in fields(Given):
        if field.default is MISSING:
            raise ValueError(f"{field.name} has no default")
        kind: Any = int if isinstance(field.default, int) else float
        parser.add_argument(_option(field.name), type=kind, default=field.default, help=f"(default {field.default:g})")
    parser.add_argument("--docs", help="a Markdown page whose part with figures is replaced")
    options = vars(parser.parse_args(given))
    page: str | None = options.pop("docs")
    if any(value < 0 for value in options.values()):
        parser.error("nothing may be negative")
    if not all(options[name] > 0 for name in _POSITIVE):
        parser.error(f"{', '.join(map(_option, _POSITIVE))} must be above 0")
    return Given(**options), page


_POSITIVE: Final = (
    "stored_tb",
    "brokers",
    "partitions",
    "interval_seconds",
    "workers",
    "cores",
    "broker_mb",
    "worker_mb",
    "pack_mib",
    "run_mib",
    "commit_runs",
    "commit_seconds",
    "puts_at_once",
)


def markdown(given: Given) -> str:
    lines = [f"| {' | '.join(HEADS)} |", "| --- |" + " --: |" * (len(HEADS) - 1)]
    lines += [f"| {' | '.join(row)} |" for row in rows(given)]
    lines += ["", *(f"* {remark}" for remark in remarks(given)), "", f"Reckoned with {assumptions(given)}.", ""]
    return "\n".join(lines)


def show(given: Given, page: str | None, console: Console) -> None:
    entry.table(console, HEADS, rows(given), numbers=slice(1, None))
    for remark in remarks(given):
        console.print(f"  {remark}", highlight=False)
    console.print(f"reckoned with {assumptions(given)}", style="dim", highlight=False)
    if page is not None:
        report.replace_in(page, markdown(given), begin=BEGIN, end=END)


def main() -> int:
    given, page = arguments(sys.argv[1:])
    return entry.run(lambda console: show(given, page, console), width=150)


if __name__ == "__main__":
    sys.exit(main())

"""A point-in-time restore out of a large archive: how long until its first record is there, and what opening costs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench import peers
from bench.contestants import OSO_RESTORE
from bench.field import Field, records_in, renamed
from bench.measure import BenchError, Spread, Usage
from bench.outcome import Target
from bench.rounds import Contest, glob
from bench.workloads import FIRST_MS, STEP_MS
from kafkeep.errors import KafkaError

NAME: Final = "window"
PART: Final = 0.01
"""Of the time the archive covers, in its last tenth."""
BEGIN_AT: Final = 0.9
_PAUSE_SECONDS: Final = 0.02
_OPEN: Final = "kafkeep points"
_SHOW: Final = "kafkeep show latest"
_RESTORE: Final = "kafkeep restore --since --until"
_RESTORE_EXIST: Final = "kafkeep restore --since --until --preflight exist"
_OSO: Final = "osodevops/kafka-backup restore with a time window"
MOST_READ: Final = 3 * PART
"""Of the archive's bytes, that a restore of the window may read: chunks are read whole, and footers come on top."""
_PACK: Final = "pack"


@dataclass(frozen=True, slots=True)
class WindowSample:
    """One run of one command."""

    title: str
    usage: Usage
    first_seconds: float | None
    """From the start of the command until the target held a record; None where nothing is restored."""

    def to_json(self) -> dict[str, Any]:
        return {"title": self.title, "first_seconds": self.first_seconds, **self.usage.to_json()}


@dataclass(frozen=True, slots=True)
class Reads:
    """What one command read of the repository."""

    title: str
    packs: tuple[int, int]
    """Reads of packs, and their bytes."""
    others: tuple[int, int]
    """The same of everything else: commits, documents, hints."""


@dataclass(frozen=True, slots=True)
class WindowOutcome:
    size_bytes: int
    records: int
    """In the window."""
    samples: tuple[WindowSample, ...]
    reads: tuple[Reads, ...] = ()

    @property
    def heading(self) -> str:
        return (
            f"{PART:.0%} of the time of an archive of {self.size_bytes / 1e6:.0f} MB (1 KB records, 64 KB batches), "
            f"{self.records} records"
        )

    def lines(self) -> Iterator[str]:
        for title in dict.fromkeys(sample.title for sample in self.samples):
            mine = [sample for sample in self.samples if sample.title == title]
            whole = _text([sample.usage.seconds for sample in mine])
            cpu = _text([sample.usage.cpu_seconds for sample in mine])
            firsts = [sample.first_seconds for sample in mine if sample.first_seconds is not None]
            first = f"first record after {_text(firsts)} s, all " if firsts else ""
            yield f"{title}: {first}after {whole} s, {cpu} CPU-s"
        for each in self.reads:
            (packs, size), (others, more) = each.packs, each.others
            share = size / self.size_bytes
            told = f"{size / 1e6:.1f} MB of packs in {packs} reads ({share:.1%} of the archive)"
            yield f"{each.title} reads {told}, {more / 1e6:.2f} MB of commits and documents in {others}"

    def targets(self) -> Iterator[Target]:
        """What is promised: the reading is as large as the window, and the first record comes sooner than the other's."""
        for share in (each.packs[1] / self.size_bytes for each in self.reads if each.title == _RESTORE_EXIST):
            text = f"a restore of {PART:.0%} of the time reads at most {MOST_READ:.0%} of the archive"
            yield Target(text, f"{share:.1%}", share <= MOST_READ)
        ours, theirs = self._firsts(_RESTORE), self._firsts(_OSO)
        if ours and theirs:
            found = f"{ours[0]:.2f} to {theirs[0]:.2f}"
            yield Target(f"first record ahead of {_OSO}, s", found, ours[0] < theirs[0])

    def _firsts(self, title: str) -> list[float]:
        """The middle of the seconds until a first record; empty where the command did not run."""
        found = [each.first_seconds for each in self.samples if each.title == title and each.first_seconds is not None]
        return [Spread.of(found).median] if found else []

    def to_json(self) -> dict[str, Any]:
        return {
            "size_bytes": self.size_bytes,
            "records": self.records,
            "samples": [sample.to_json() for sample in self.samples],
            "reads": [asdict(each) for each in self.reads],
        }


def from_json(found: Mapping[str, Any]) -> WindowOutcome:
    def sample(told: dict[str, Any]) -> WindowSample:
        title, first = told.pop("title"), told.pop("first_seconds")
        return WindowSample(title, Usage(**told), first)

    reads = tuple(
        Reads(each["title"], (each["packs"][0], each["packs"][1]), (each["others"][0], each["others"][1]))
        for each in found.get("reads", ())
    )
    samples = tuple(sample(dict(each)) for each in found["samples"])
    return WindowOutcome(found["size_bytes"], found["records"], samples, reads)


def _text(values: list[float]) -> str:
    found = Spread.of(values)
    return f"{found.median:.2f} ({found.low:.2f}-{found.high:.2f})"


def bounds(contest: Contest) -> tuple[int, int]:
    """First and last millisecond of the window: whole batches of every partition, which are a step apart."""
    per_partition = round(contest.size_bytes / contest.batch_bytes) // contest.workload.partition_count
    first = round(per_partition * BEGIN_AT)
    steps = max(1, round(per_partition * PART))
    return FIRST_MS + first * STEP_MS, FIRST_MS + (first + steps) * STEP_MS - 1


def play(contest: Contest, rounds: int) -> WindowOutcome:
    """Raises BenchError when what came out of the window is not the same for all."""
    field = contest.field
    window = bounds(contest)
    since, until = (datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds") for at in window)
    samples: list[WindowSample] = []
    counts: set[int] = set()
    with field.scratch("repository") as path, field.scratch("oso") as storage:
        repo = ("--repo", f"file://{path}")
        field.kafkeep("init", *repo, "--compression", "none")
        field.kafkeep("backup", *repo, "--cluster", field.lab.bootstrap, "--topics", glob(contest.workload))
        asked = ("restore", "latest", *repo, "--cluster", field.lab.bootstrap, "--rename", "s/^bench-/copy-/")
        times = ("--since", since, "--until", until)
        oso = field.oso is not None and OSO_RESTORE in contest.chosen and _oso_backed_up(contest, storage)
        for _ in range(rounds):
            samples.append(WindowSample(_OPEN, field.kafkeep("points", *repo).usage, None))
            samples.append(WindowSample(_SHOW, field.kafkeep("show", "latest", *repo).usage, None))
            for title, more in ((_RESTORE, ()), (_RESTORE_EXIST, ("--preflight", "exist"))):
                sample, count = _timed(contest, title, "copy", partial(_kafkeep, contest, (*asked, *times, *more)))
                samples.append(sample)
                counts.add(count)
            if oso:
                samples += _oso_sample(contest, storage, window, counts)
        reads = [
            _counted(contest, title, (*asked, *times, *more))
            for title, more in ((_RESTORE, ()), (_RESTORE_EXIST, ("--preflight", "exist")))
        ]
    if len(counts) != 1:
        raise BenchError(f"the window holds {' or '.join(map(str, sorted(counts)))} records")
    return WindowOutcome(contest.size_bytes, counts.pop(), tuple(samples), tuple(reads))


def _counted(contest: Contest, title: str, arguments: tuple[str, ...]) -> Reads:
    """One more run, whose reads are counted."""
    field = contest.field
    with field.target(list(renamed(contest.workload, "copy").values()), partitions=None):
        found = field.counted(*arguments)
    packs = found.pop(_PACK, (0, 0))
    return Reads(title, packs, (sum(count for count, _ in found.values()), sum(size for _, size in found.values())))


def _kafkeep(contest: Contest, arguments: tuple[str, ...]) -> Usage:
    return contest.field.kafkeep(*arguments).usage


def _oso_backed_up(contest: Contest, storage: Path) -> bool:
    """True when its archive is there."""
    storage.mkdir()
    try:
        contest.field.run_oso(peers.oso_backup(contest.field.lab.bootstrap, contest.workload.topics, storage, "zstd"))
    except BenchError as error:
        contest.field.note(f"{_OSO} is missing: {error}")
        return False
    return True


def _oso_sample(contest: Contest, storage: Path, window: tuple[int, int], counts: set[int]) -> list[WindowSample]:
    """Its sample; none, and a note, when it fails or other records come out."""
    names = renamed(contest.workload, "oso")
    settings = peers.oso_restore(
        contest.field.lab.bootstrap, names, storage, record_bytes=contest.workload.record_bytes, window=window
    )
    try:
        sample, count = _timed(contest, _OSO, "oso", lambda: contest.field.run_oso(settings).usage)
    except BenchError as error:
        contest.field.note(f"{_OSO} failed: {error}")
        return []
    if count not in counts:
        contest.field.note(f"{_OSO} brought {count} records")
        return []
    return [sample]


def _timed(contest: Contest, title: str, prefix: str, work: Callable[[], Usage]) -> tuple[WindowSample, int]:
    topics = list(renamed(contest.workload, prefix).values())
    with contest.field.target(topics, partitions=None):
        with Watcher(contest.field, topics, contest.workload.partitions) as watcher:
            usage = work()
        count = contest.field.records_in(topics, contest.workload.partitions)
        return WindowSample(title, usage, min(watcher.seconds, usage.seconds)), count


class Watcher:
    """Asks a broker, again and again, whether topics hold a record."""

    def __init__(self, field: Field, topics: list[str], partitions: int) -> None:
        self._field = field
        self._topics = topics
        self._partitions = partitions
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._began = 0.0
        self.seconds = float("inf")
        """Until a record was seen."""

    def __enter__(self) -> Watcher:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        with self._field.cluster.another() as cluster:
            while not self._ended.wait(_PAUSE_SECONDS):
                try:
                    found = cluster.topology(self._topics).topics
                    if any(found[name].error for name in self._topics):
                        continue
                    if records_in(cluster, self._topics, self._partitions):
                        self.seconds = time.monotonic() - self._began
                        return
                except KafkaError:
                    continue

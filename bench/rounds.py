"""The contest: every contestant once per round, in turns, and nothing left behind between them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench import peers, segments
from bench.contestants import (
    BACKUP,
    BACKUP_DASK,
    BACKUP_PROCESSES,
    BACKUP_ZSTD,
    BY_NAME,
    CONSUMER_PERF,
    COPY,
    DROP,
    DUMP,
    EXECUTORS,
    IDLE,
    NAMES,
    OSO_BACKUP,
    OSO_BACKUP_LZ4,
    OSO_RESTORE,
    OSO_RESTORE_LZ4,
    PRODUCE,
    PRODUCE_LARGE,
    PRODUCER_PERF,
    RESTORE,
    RESTORE_AS_IS,
    RESTORE_DASK,
    RESTORE_EXIST,
    RESTORE_PROCESSES,
    VARIANTS,
)
from bench.field import Field, renamed
from bench.measure import BenchError, Usage, run
from bench.workloads import Workload, values

_NOTHING_NEW: Final = 4
"""Exit status of a backup that makes no recovery point."""
_COPY_AND_SYNC: Final = 'cp -r "$0" "$1" && find "$1" -type f -exec sync -- {} +'
_OSO: Final = ((OSO_BACKUP, OSO_RESTORE, "zstd"), (OSO_BACKUP_LZ4, OSO_RESTORE_LZ4, "lz4"))
_MESSAGES: Final = 4
"""Column of the number of records in what ConsumerPerformance prints."""
_MOST_TOLD: Final = 300


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one contestant."""

    contestant: str
    number: int
    """Of the round."""
    usage: Usage
    output_bytes: int | None = None
    """What was written, where that is not the same for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """One workload, filled and checked."""

    field: Field
    workload: Workload
    size_bytes: int
    """Of the log segments."""
    batch_bytes: float
    """Mean size of a batch on the disk."""
    records: int
    chosen: frozenset[str] = frozenset(NAMES)
    """Contestants that take part."""
    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    """Who did not do it, and why: not asked again."""

    def play(self, rounds: int, *, warm_up: bool) -> list[Sample]:
        """`rounds` measured rounds at most, behind one that is not when `warm_up` is set. A vast workload has one: its
        topics make room for those that are restored.
        """
        samples: list[Sample] = []
        vast = self.workload.is_vast
        for number in range(
            0 if warm_up and not vast else 1, (1 if vast else min(rounds, self.workload.most_rounds)) + 1
        ):
            for sample in self._round(number):
                rate = self.size_bytes / sample.usage.seconds / 1e6
                told = BY_NAME[sample.contestant].title if sample.contestant in BY_NAME else sample.contestant
                self.field.note(f"{self.workload.name}, round {number or 'to warm up'}: {told} {rate:.0f} MB/s")
                samples += [sample] if number else []
        return samples

    def _round(self, number: int) -> Iterator[Sample]:
        with ExitStack() as stack:
            repository = stack.enter_context(self.field.scratch("repository"))
            stores = {name: stack.enter_context(self.field.scratch(name)) for name, _, _ in _OSO}
            if COPY in self.chosen:
                yield self._copy(number)
            if DROP in self.chosen:
                yield Sample(DROP, number, self._ceiling(self.size_bytes, "drop", self.workload.name))
            yield from self._peer(CONSUMER_PERF, number, self._consumer_perf)
            yield from self._peer(DUMP, number, self._dump)
            for name, _, compression in _OSO:
                yield from self._oso_backup(name, number, stores[name], compression)
            if BACKUP in self.chosen:
                yield self._backup(number, repository, BACKUP, "none")
            if IDLE in self.chosen:
                ran = self.field.kafkeep(*self._backup_command(repository), good=_NOTHING_NEW)
                yield Sample(IDLE, number, ran.usage)
            yield from self._other_backups(number)
            if self.workload.is_vast:
                self.field.delete_topics(self.workload.topics)
            yield from self._bounds_of_restore(number)
            yield from self._peer(PRODUCER_PERF, number, self._producer_perf)
            for name, restore, _ in _OSO:
                if stores[name].exists() and name not in self.failed:
                    yield from self._oso_restore(restore, number, stores[name])
            yield from self._restores(number, repository)

    def _bounds_of_restore(self, number: int) -> Iterator[Sample]:
        if PRODUCE in self.chosen and not self.workload.is_vast:
            yield self._produce(number, PRODUCE, "manifest.json", self.size_bytes)
        if PRODUCE_LARGE in self.chosen and not self.workload.is_large:
            large = self.field.folder / "repacked" / "manifest.json"
            entries = json.loads(large.read_text(encoding="utf-8"))
            size = segments.size_of(Path(file) for entry in entries for file in entry["files"])
            yield self._produce(number, PRODUCE_LARGE, "repacked/manifest.json", size)

    def _other_backups(self, number: int) -> Iterator[Sample]:
        if BACKUP_ZSTD in self.chosen:
            with self.field.scratch("repository-other") as path:
                yield self._backup(number, path, BACKUP_ZSTD, "zstd")
        for name in self._over_executors(BACKUP_PROCESSES, BACKUP_DASK):
            with self.field.scratch("repository-other") as path:
                work = partial(self._backup, number, path, name, "none", *_executor(name))
                yield from self._peer(name, number, partial(_cost, work))

    def _restores(self, number: int, path: Path) -> Iterator[Sample]:
        if RESTORE in self.chosen:
            yield self._restore(number, path, RESTORE, "data")
        if RESTORE_EXIST in self.chosen:
            yield self._restore(number, path, RESTORE_EXIST, "exist")
        if RESTORE_AS_IS in self.chosen and self.workload.small_batches:
            yield self._restore(number, path, RESTORE_AS_IS, "exist", "--repack-bytes", "0")
        for name in self._over_executors(RESTORE_PROCESSES, RESTORE_DASK):
            work = partial(self._restore, number, path, name, "data", *_executor(name))
            yield from self._peer(name, number, partial(_cost, work))

    def _over_executors(self, *names: str) -> list[str]:
        return [name for name in names if self.workload.on_executors and EXECUTORS[name] in self.field.executors]

    def _peer(self, name: str, number: int, work: Callable[[], tuple[Usage, int | None]]) -> Iterator[Sample]:
        """A sample of what may be missing: another program, or libraries behind an executor; none, and never again, once
        it fails. Nor in the round that warms up, which is for the broker and for kafkeep.
        """
        if name in self.failed or name not in self.chosen or not number:
            return
        try:
            usage, output = work()
        except BenchError as error:
            self.failed[name] = reason(str(error))
            self.field.note(f"{BY_NAME[name].title} failed: {self.failed[name]}")
            return
        yield Sample(name, number, usage, output)

    def _copy(self, number: int) -> Sample:
        with self.field.scratch("gathered") as source, self.field.scratch("copied") as target:
            segments.gather(segments.log_files(self.field.log_dirs, self.workload.topics), source)
            command = ["sh", "-c", _COPY_AND_SYNC, str(source), str(target)]
            ran = run(command, folder=self.field.folder, env=self.field.env)
            return Sample(COPY, number, ran.usage, segments.size_of(target.rglob("*.log")))

    def _ceiling(self, expected: int, *arguments: str) -> Usage:
        ran = self.field.child(*arguments)
        told = ran.last_json()
        _check(told.pop("bytes"), expected, "bytes", arguments[0])
        return Usage(**told | {"broker_cpu_seconds": ran.usage.broker_cpu_seconds})

    def _consumer_perf(self) -> tuple[Usage, None]:
        ran = self.field.java(
            "ConsumerPerformance", *peers.consumer_perf(self.field.lab.bootstrap, self.workload, self.records)
        )
        lines = [line.split(",") for line in ran.output.splitlines() if line.count(",") > _MESSAGES]
        if not lines or int(lines[-1][_MESSAGES]) < self.records:
            raise BenchError(f"ConsumerPerformance did not read {self.records} records: {ran.output[-500:]}")
        return ran.usage, None

    def _dump(self) -> tuple[Usage, int]:
        with self.field.scratch("dump") as path:
            ran = self.field.peer(
                peers.dump(self.field.lab.bootstrap, path, self.workload.topics),
            )
            _check(ran.last_json()["records"], self.records, "records", DUMP)
            return ran.usage, path.stat().st_size

    def _producer_perf(self) -> tuple[Usage, None]:
        if self.workload.topic_count > 1:
            raise BenchError("it knows one topic only")
        target = renamed(self.workload, "perf")[self.workload.topic]
        with self.field.target([target], partitions=self.workload.partitions), self.field.scratch("payloads") as path:
            path.write_bytes(b"\n".join(values(self.workload)))
            ran = self.field.java(
                "ProducerPerformance",
                *peers.producer_perf(self.field.lab.bootstrap, target, self.workload, self.records, path),
            )
            self._check_target([target], PRODUCER_PERF)
            return ran.usage, None

    def _oso_backup(self, name: str, number: int, storage: Path, compression: str) -> Iterator[Sample]:
        def work() -> tuple[Usage, int]:
            storage.mkdir()
            settings = peers.oso_backup(self.field.lab.bootstrap, self.workload.topics, storage, compression)
            usage = self.field.run_oso(settings).usage
            return usage, segments.size_of(path for path in storage.rglob("*") if path.is_file())

        if self.field.oso is not None:
            yield from self._peer(name, number, work)

    def _oso_restore(self, name: str, number: int, storage: Path) -> Iterator[Sample]:
        names = renamed(self.workload, "oso")

        def work() -> tuple[Usage, None]:
            with self.field.target(list(names.values()), partitions=None):
                size = self.workload.record_bytes
                ran = self.field.run_oso(peers.oso_restore(self.field.lab.bootstrap, names, storage, record_bytes=size))
                self._check_target(list(names.values()), name)
                return ran.usage, None

        yield from self._peer(name, number, work)

    def _backup(self, number: int, path: Path, contestant: str, compression: str, *more: str) -> Sample:
        self.field.kafkeep("init", "--repo", f"file://{path}", "--compression", compression)
        ran = self.field.kafkeep(*self._backup_command(path), *more, sampled=contestant in EXECUTORS)
        told = ran.last_json()
        _check(told["raw_bytes"], self.size_bytes, "bytes", contestant)
        return Sample(contestant, number, ran.usage, told["stored_bytes"])

    def _backup_command(self, path: Path) -> tuple[str, ...]:
        where = ("--repo", f"file://{path}", "--cluster", self.field.lab.bootstrap)
        return ("backup", *where, "--topics", glob(self.workload))

    def _produce(self, number: int, contestant: str, manifest: str, size_bytes: int) -> Sample:
        """Into topics that are there, as with any bound; thousands of partitions take a broker so long to make that a
        restore, which makes them, is held against making them, too.
        """
        workload = self.workload
        topics = list(renamed(workload, "raw").values())
        with self.field.target(topics, partitions=None if workload.is_wide else workload.partitions):
            making = (workload.name,) if workload.is_wide else ()
            command = ("produce", str(self.field.folder / manifest), *making)
            return Sample(contestant, number, self._ceiling(size_bytes, *command))

    def _restore(self, number: int, path: Path, contestant: str, preflight: str, *more: str) -> Sample:
        targets = list(renamed(self.workload, "copy").values())
        with self.field.target(targets, partitions=None):
            ran = self.field.kafkeep(
                *("restore", "latest", "--repo", f"file://{path}", "--cluster", self.field.lab.bootstrap),
                *("--rename", "s/^bench-/copy-/", "--preflight", preflight, *more),
                sampled=contestant in EXECUTORS,
            )
            _check(ran.last_json()["records"], self.records, "records", contestant)
            self._check_target(targets, contestant)
        return Sample(contestant, number, ran.usage)

    def _check_target(self, topics: list[str], who: str) -> None:
        """What the broker holds is as many records as the source."""
        _check(self.field.records_in(topics, self.workload.partitions), self.records, "records", who)


def _cost(work: Callable[[], Sample]) -> tuple[Usage, int | None]:
    sample = work()
    return sample.usage, sample.output_bytes


def reason(talk: str) -> str:
    """What a program's talk says went wrong, on one line: the first line with the word, or its end."""
    lines = [" ".join(line.split()) for line in talk.splitlines() if line.strip()]
    told = next((line for line in lines if line.lower().startswith("error") or " ERROR " in line), lines[-1])
    return told[:_MOST_TOLD]


def glob(workload: Workload) -> str:
    return workload.topic if workload.topic_count == 1 else f"{workload.topic}.*"


def _executor(contestant: str) -> tuple[str, ...]:
    return ("--executor", EXECUTORS[contestant], "--workers", "2")


def _check(found: Any, expected: int, what: str, who: str) -> None:
    if found != expected:
        raise BenchError(f"{who} handled {found} {what} of {expected}")


def prepare(field: Field, workload: Workload, size_bytes: int, *, chosen: frozenset[str] = frozenset(NAMES)) -> Contest:
    """Fills the workload's topics, checks on the disk that the data is what it should be, and lays out what the bounds
    of a restore produce: `manifest.json`, and `repacked/manifest.json` with the same records in large batches.
    """
    field.note(f"{workload.title}: filling {glob(workload)}")
    field.create_topics(workload.topics, workload.partitions)
    field.child("fill", workload.name, str(size_bytes))
    files = segments.log_files(field.log_dirs, workload.topics)
    batch_bytes = segments.check_batches(files, workload)
    raw = renamed(workload, "raw")
    entries = [
        {"topic": raw[partition.topic], "partition": partition.partition, "files": found}
        for partition, folder in segments.partition_folders(field.log_dirs, workload.topics).items()
        if (found := [str(path) for path in sorted(folder.glob("*.log")) if path.stat().st_size])
    ]
    manifest = field.folder / "manifest.json"
    manifest.write_text(json.dumps(entries), encoding="utf-8")
    if PRODUCE_LARGE in chosen and not workload.is_large:
        field.note(f"{workload.title}: repacking")
        large = field.folder / "repacked"
        large.mkdir(exist_ok=True)
        field.child("repack", str(manifest), str(large))
    return Contest(
        field=field,
        workload=workload,
        size_bytes=segments.size_of(files),
        batch_bytes=batch_bytes,
        records=field.records_in(workload.topics, workload.partitions),
        chosen=chosen - VARIANTS if workload.is_vast else chosen,
    )


def cleared(contest: Contest) -> None:
    """Removes what `prepare` made."""
    contest.field.delete_topics(contest.workload.topics)
    shutil.rmtree(contest.field.folder / "repacked", ignore_errors=True)

"""The contest: every contestant once per round, in turns, and nothing left behind between them."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import segments
from bench.measure import BenchError, Ran, Usage, run
from bench.workloads import PARTITIONS, Workload
from kafkeep.errors import KafkaError
from kafkeep.kafka.admin import NewTopic
from kafkeep.kafka.cluster import LATEST, Cluster
from kafkeep.lab import Lab
from kafkeep.model import TopicPartition

COPY: Final = "cp"
DROP: Final = "drop"
BACKUP: Final = "backup"
BACKUP_ZSTD: Final = "backup-zstd"
PRODUCE: Final = "produce"
RESTORE: Final = "restore"
RESTORE_EXIST: Final = "restore-exist"
RESTORE_AS_IS: Final = "restore-as-is"
"""Only where batches are small: every batch as it was."""
IDLE: Final = "idle"
"""A backup that finds nothing new: what starting the command and asking the cluster costs, part of every backup."""

TITLES: Final[Mapping[str, str]] = {
    COPY: "cp -r and sync of the log segments",
    DROP: "fetch that only drops",
    BACKUP: "kafkeep backup",
    BACKUP_ZSTD: "kafkeep backup, zstd",
    PRODUCE: "bare raw produce",
    RESTORE: "kafkeep restore",
    RESTORE_EXIST: "kafkeep restore --preflight exist",
    RESTORE_AS_IS: "kafkeep restore --preflight exist --repack-bytes 0",
}
"""The contestants with figures per byte, in the order of a round."""

_NOTHING_NEW: Final = 4
"""Exit status of a backup that makes no recovery point."""
_COPY_AND_SYNC: Final = 'cp -r "$0" "$1" && find "$1" -type f -exec sync -- {} +'
_READY_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one contestant."""

    contestant: str
    number: int
    """Of the round."""
    usage: Usage
    output_bytes: int | None = None
    """What was written, where that is not the same for all."""


@dataclass(frozen=True, slots=True)
class Field:
    """Where a contest takes place."""

    lab: Lab
    cluster: Cluster
    folder: Path
    env: Mapping[str, str]
    note: Callable[[str], None]

    @property
    def log_dirs(self) -> tuple[Path, ...]:
        return self.lab.node(1).log_dirs

    def child(self, *arguments: str) -> Ran:
        """A verb of `bench.children`."""
        verb, *rest = arguments
        command = [sys.executable, "-m", "bench.children", verb, self.lab.bootstrap, *rest]
        return run(command, folder=self.folder, env=self.env)

    def kafkeep(self, *arguments: str, good: int = 0) -> Ran:
        """The real command."""
        command = [sys.executable, "-m", "kafkeep", "--json", *arguments]
        return run(command, folder=self.folder, env=self.env, good=good)

    def create_topic(self, name: str) -> None:
        topic = NewTopic(name=name, partitions=PARTITIONS, replication_factor=1, configs=(("retention.ms", "-1"),))
        answer = self.cluster.admin.create_topics([topic])[name]
        if isinstance(answer, KafkaError):
            raise answer
        self.cluster.await_topics([name], seconds=_READY_SECONDS)

    def delete_topic(self, name: str) -> None:
        answer = self.cluster.admin.delete_topics([name])[name]
        if answer is not None:
            raise answer
        segments.await_deleted(self.log_dirs, name)

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """A path that does not exist yet; what is there at the end is removed. Disks are quiet before and after."""
        path = self.folder / name
        os.sync()
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            os.sync()

    @contextmanager
    def target(self, name: str, *, create: bool) -> Iterator[None]:
        """A topic that takes records and is gone afterwards, files and all."""
        if create:
            self.create_topic(name)
        os.sync()
        try:
            yield
        finally:
            self.delete_topic(name)
            os.sync()


@dataclass(frozen=True, slots=True)
class Contest:
    """One workload, filled and checked."""

    field: Field
    workload: Workload
    size_bytes: int
    """Of the log segments."""
    batch_bytes: float
    """Mean size of a batch on the disk."""

    def play(self, rounds: int, *, warm_up: bool) -> list[Sample]:
        """`rounds` measured rounds, behind one that is not when `warm_up` is set."""
        samples: list[Sample] = []
        for number in range(0 if warm_up else 1, rounds + 1):
            self.field.note(f"{self.workload.title}: " + (f"round {number}" if number else "warm-up"))
            samples += [sample for sample in self._round(number) if number]
        return samples

    def _round(self, number: int) -> Iterator[Sample]:
        yield self._copy(number)
        yield Sample(DROP, number, self._ceiling("drop", self.workload.topic))
        with self.field.scratch("repository") as path:
            yield self._backup(number, path, BACKUP, "none")
            yield Sample(IDLE, number, self.field.kafkeep(*self._backup_command(path), good=_NOTHING_NEW).usage)
            with self.field.scratch("repository-zstd") as packed:
                yield self._backup(number, packed, BACKUP_ZSTD, "zstd")
            yield self._produce(number)
            yield self._restore(number, path, RESTORE, "data")
            yield self._restore(number, path, RESTORE_EXIST, "exist")
            if self.workload.is_repacked:
                yield self._restore(number, path, RESTORE_AS_IS, "exist", "--repack-bytes", "0")

    def _copy(self, number: int) -> Sample:
        with self.field.scratch("gathered") as source, self.field.scratch("copied") as target:
            segments.gather(segments.log_files(self.field.log_dirs, self.workload.topic), source)
            ran = run(
                ["sh", "-c", _COPY_AND_SYNC, str(source), str(target)], folder=self.field.folder, env=self.field.env
            )
            return Sample(COPY, number, ran.usage, segments.size_of(target.rglob("*.log")))

    def _ceiling(self, *arguments: str) -> Usage:
        told = self.field.child(*arguments).last_json()
        self._check_size(told.pop("bytes"), arguments[0])
        return Usage(**told)

    def _backup(self, number: int, path: Path, contestant: str, compression: str) -> Sample:
        self.field.kafkeep("init", "--repo", f"file://{path}", "--compression", compression)
        ran = self.field.kafkeep(*self._backup_command(path))
        told = ran.last_json()
        self._check_size(told["raw_bytes"], contestant)
        return Sample(contestant, number, ran.usage, told["stored_bytes"])

    def _backup_command(self, path: Path) -> tuple[str, ...]:
        where = ("--repo", f"file://{path}", "--cluster", self.field.lab.bootstrap)
        return ("backup", *where, "--topics", self.workload.topic)

    def _produce(self, number: int) -> Sample:
        folders = [str(path) for path in segments.partition_folders(self.field.log_dirs, self.workload.topic)]
        topic = f"raw-{self.workload.name}"
        with self.field.target(topic, create=True):
            return Sample(PRODUCE, number, self._ceiling("produce", topic, *folders))

    def _restore(self, number: int, path: Path, contestant: str, preflight: str, *more: str) -> Sample:
        source, target = self.workload.topic, f"copy-{self.workload.name}"
        with self.field.target(target, create=False):
            ran = self.field.kafkeep(
                *("restore", "latest", "--repo", f"file://{path}", "--cluster", self.field.lab.bootstrap),
                *("--rename", f"{source}={target}", "--preflight", preflight, *more),
            )
            told = ran.last_json()
            if self.workload.is_repacked and not more:
                self._check_records(told["records"], contestant)
            else:
                self._check_size(told["size_bytes"], contestant)
                self._check_target(target)
        return Sample(contestant, number, ran.usage)

    def _check_target(self, target: str) -> None:
        """What the broker holds is as large as the source, to the byte: nothing was lost or merged."""
        self._check_size(segments.size_of(segments.log_files(self.field.log_dirs, target)), target)

    def _check_records(self, found: Any, who: str) -> None:
        """Where batches were put together only their records are as many as before."""
        ends = self.field.cluster.offsets([TopicPartition(self.workload.topic, n) for n in range(PARTITIONS)], LATEST)
        expected = sum(end.offset for end in ends.values())
        if found != expected:
            raise BenchError(f"{who} handled {found} records of {expected}")

    def _check_size(self, found: Any, who: str) -> None:
        if found != self.size_bytes:
            raise BenchError(f"{who} handled {found} bytes of {self.size_bytes}")


def prepare(field: Field, workload: Workload, size_bytes: int) -> Contest:
    """Fills the workload's topic and checks on the disk that the data is what it should be."""
    field.note(f"{workload.title}: filling {workload.topic}")
    field.create_topic(workload.topic)
    field.child("fill", workload.topic, workload.name, str(size_bytes))
    files = segments.log_files(field.log_dirs, workload.topic)
    return Contest(field, workload, segments.size_of(files), segments.check_batches(files, workload))

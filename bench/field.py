"""Where a contest takes place: a broker, a folder, and what is run on them."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from bench import peers, segments
from bench.measure import Ran, cpu_seconds_of, run
from bench.workloads import PARTITIONS, Workload
from kafkeep.errors import KafkaError
from kafkeep.kafka.admin import NewTopic
from kafkeep.kafka.cluster import LATEST, Cluster
from kafkeep.kafka.codes import ErrorCode
from kafkeep.lab import Lab
from kafkeep.model import TopicPartition

_READY_SECONDS: Final = 300.0
_MOST_AT_ONCE: Final = 1000
"""Partitions in one request to create or delete topics: a controller that is busy for long misses heartbeats."""
PEER_SECONDS: Final = 300.0
"""After so long a peer is taken for stuck."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A lab with one broker, and what lies beside it."""

    lab: Lab
    cluster: Cluster
    folder: Path
    env: Mapping[str, str]
    note: Callable[[str], None]
    oso: str | None = None
    """The binary of osodevops/kafka-backup, where there is one."""
    executors: frozenset[str] = frozenset()
    """Those that kafkeep offers besides its own threads."""

    @property
    def log_dirs(self) -> tuple[Path, ...]:
        return self.lab.node(1).log_dirs

    def run(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        good: int = 0,
        sampled: bool = False,
        seconds: float | None = None,
    ) -> Ran:
        """As `measure.run`, with what the broker took meanwhile; in the field's environment where none is given."""
        before = self._broker_cpu_seconds()
        env = self.env if env is None else env
        ran = run(command, folder=self.folder, env=env, good=good, sampled=sampled, seconds=seconds)
        after = self._broker_cpu_seconds()
        if before is None or after is None:
            return ran
        return replace(ran, usage=replace(ran.usage, broker_cpu_seconds=after - before))

    def _broker_cpu_seconds(self) -> float | None:
        """So far; None where the system does not tell."""
        pid = self.lab.node(1).pid
        try:
            return None if pid is None else cpu_seconds_of(pid)
        except OSError:
            return None

    def child(self, *arguments: str) -> Ran:
        """A verb of `bench.children`."""
        verb, *rest = arguments
        return self.run([sys.executable, "-m", "bench.children", verb, self.lab.bootstrap, *rest])

    def kafkeep(self, *arguments: str, good: int = 0, sampled: bool = False) -> Ran:
        """The real command."""
        command = [sys.executable, "-m", "kafkeep", "--json", *arguments]
        return self.run(command, good=good, sampled=sampled)

    def counted(self, *arguments: str) -> dict[str, tuple[int, int]]:
        """The command in a process that counts what it reads of the repository: reads and bytes by first part of names."""
        result = self.folder / "reads.json"
        run(
            [sys.executable, "-m", "bench.counted", str(result), "--json", *arguments], folder=self.folder, env=self.env
        )
        told: dict[str, list[int]] = json.loads(result.read_text(encoding="utf-8"))
        return {name: (count, size) for name, (count, size) in told.items()}

    def peer(self, command: Sequence[str]) -> Ran:
        """Another program. Raises BenchError when it fails or hangs, with its own words and no list of functions."""
        env = {**self.env, "RUST_BACKTRACE": "0"}
        return self.run(command, env=env, seconds=PEER_SECONDS)

    def java(self, tool: str, *arguments: str) -> Ran:
        """One of Kafka's own tools, with both of Java's compilers."""
        return self.peer(peers.java_command(self.lab.state.java, self.lab.state.class_path, tool, *arguments))

    def run_oso(self, settings: Mapping[str, object]) -> Ran:
        """One command of osodevops/kafka-backup. JSON is YAML, too."""
        path = self.folder / "oso.yaml"
        path.write_text(json.dumps(settings), encoding="utf-8")
        return self.peer([self.oso or peers.OSO_PROGRAM, str(settings["mode"]), "--config", str(path)])

    def create_topics(self, names: Sequence[str], partitions: int = PARTITIONS) -> None:
        create_topics(self.cluster, names, partitions)

    def delete_topics(self, names: Sequence[str]) -> None:
        """Those that are there; returns when their files are gone. A broker that is still making topics lists them later
        than the controller does: what turns up meanwhile is deleted, too.
        """
        segments.await_deleted(self.log_dirs, names, delete=partial(self._delete, frozenset(names)))

    def _delete(self, names: Collection[str]) -> None:
        there = self.cluster.topology().topics
        chunk: list[str] = []
        size = 0
        for name in sorted(names & there.keys()):
            chunk.append(name)
            size += len(there[name].partitions)
            if size >= _MOST_AT_ONCE:
                self._delete_some(chunk)
                chunk, size = [], 0
        self._delete_some(chunk)

    def _delete_some(self, names: Sequence[str]) -> None:
        for answer in self.cluster.admin.delete_topics(names).values() if names else ():
            if answer is not None and getattr(answer, "code", None) != ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
                raise answer

    def records_in(self, topics: Sequence[str], partitions: int) -> int:
        """How many the topics hold, from offset 0 to their ends."""
        return records_in(self.cluster, topics, partitions)

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """A path that does not exist yet; what is there at the end is removed. Disks are quiet before and after."""
        path = self.folder / name
        os.sync()
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            path.unlink(missing_ok=True)
            os.sync()

    @contextmanager
    def target(self, names: Sequence[str], *, partitions: int | None) -> Iterator[None]:
        """Topics that take records and are gone afterwards, files and all; made beforehand with so many partitions each,
        or by what runs meanwhile.
        """
        if partitions is not None:
            self.create_topics(names, partitions)
        os.sync()
        try:
            yield
        finally:
            self.delete_topics(names)
            os.sync()


def create_topics(cluster: Cluster, names: Sequence[str], partitions: int) -> None:
    """Returns when their leaders take records."""
    at_once = max(1, _MOST_AT_ONCE // partitions)
    for first in range(0, len(names), at_once):
        some = [
            NewTopic(name=name, partitions=partitions, replication_factor=1, configs=(("retention.ms", "-1"),))
            for name in names[first : first + at_once]
        ]
        for answer in cluster.admin.create_topics(some).values():
            if isinstance(answer, KafkaError):
                raise answer
    topology = cluster.await_topics(names, seconds=_READY_SECONDS)
    # A leader may be named before it knows that it is one; this is asked again until it does.
    everything = [TopicPartition(name, number) for name in names for number in range(partitions)]
    cluster.offsets(everything, LATEST, topology=topology, retry_seconds=_READY_SECONDS)


def records_in(cluster: Cluster, topics: Sequence[str], partitions: int) -> int:
    everything = [TopicPartition(topic, number) for topic in topics for number in range(partitions)]
    return sum(end.offset for end in cluster.offsets(everything, LATEST).values())


def offered_executors(help_text: str) -> frozenset[str]:
    """What the help of a command offers behind `--executor`, as far as its libraries are installed."""
    if "--executor" not in help_text:
        return frozenset()
    needed = {"processes": None, "dask": "distributed"}
    behind = help_text.partition("--executor")[2][:200]
    return frozenset(
        name
        for name, library in needed.items()
        if name in behind and (library is None or importlib.util.find_spec(library) is not None)
    )


def renamed(workload: Workload, prefix: str) -> dict[str, str]:
    """From each of the workload's topics to the same under another prefix."""
    return {topic: prefix + topic.removeprefix("bench") for topic in workload.topics}

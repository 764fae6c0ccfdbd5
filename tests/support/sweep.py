"""A small real cluster's content, backed up once, grown, and backed up again while something fails at every step.

`Scene` holds the repository with its old recovery points and what an undisturbed second backup makes of it. `judge`
says whether a repository that went through a disturbed second backup is as good: nothing old is lost, the next backup
goes on from there, and the result is the same.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from tests.support.kafka import (
    KafkaCluster,
    Position,
    commit_positions,
    create_topic,
    produce,
    produce_transaction,
    unique,
)
from tests.support.oracle import Content, assert_whole, content, contents, differing
from tests.support.oracle_load import samples

from kafkeep.capture.options import BackupOptions
from kafkeep.capture.result import BackupResult
from kafkeep.capture.run import backup
from kafkeep.events import EventSink, ignore
from kafkeep.kafka.cluster import Cluster
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import SimulatedCrash


def now() -> datetime:
    return datetime.now(UTC)


def no_pause(seconds: float) -> None:
    """Retries at once."""


def open_repository(store: Store) -> Repository:
    return Repository.open(store, now=now, rng=random.SystemRandom(), pause=no_pause)


def copy_of(store: MemoryStore) -> MemoryStore:
    """A store of its own with the same objects."""
    copy = MemoryStore()
    copy.objects = dict(store.objects)
    return copy


@dataclass(frozen=True)
class Scene:
    """See the module's text. The cluster does not change any more."""

    cluster: Cluster
    kafka: KafkaCluster
    prefix: str
    """How the names of its topics and groups begin; the cluster may hold others."""
    topics: tuple[str, ...]
    options: BackupOptions
    old: MemoryStore
    """The repository with the old points, before the second backup."""
    old_points: dict[int, Content]
    expected: Content
    """The newest point of an undisturbed second backup."""

    def backup(self, store: Store, *, sink: EventSink = ignore, **options: Any) -> BackupResult:
        """The second backup into a repository."""
        return self.backup_with(open_repository(store), sink=sink, **options)

    def backup_with(self, repository: Repository, *, sink: EventSink = ignore, **options: Any) -> BackupResult:
        return backup(self.cluster, repository, replace(self.options, **options), now=now, sink=sink)

    def judge(self, store: Store) -> None:
        """AssertionError unless the repository holds all it held, and becomes what the undisturbed one is."""
        self.judge_old(store)
        result = self.backup(store)
        assert result.failures == ()
        assert result.gaps == ()
        found = self.judge_old(store)
        assert max(found) not in self.old_points
        self.expect(found[max(found)])
        assert self.backup(store).nothing_new

    def newest(self, store: Store) -> Content:
        repository = open_repository(store)
        return content(repository, repository.point("latest"), groups=self.prefix)

    def judge_old(self, store: Store) -> dict[int, Content]:
        """Every old point holds what it held, and whatever is there is whole; all points."""
        repository = open_repository(store)
        assert_whole(repository)
        found = contents(repository, groups=self.prefix)
        assert {number: found[number] for number in self.old_points} == self.old_points
        for number, point in found.items():
            if number not in self.old_points:
                self.expect(point)
        return found

    def expect(self, point: Content) -> None:
        """AssertionError that names the parts in which the point is not what an undisturbed backup makes."""
        assert point == self.expected, differing(point, self.expected)


@contextmanager
def make_scene(kafka: KafkaCluster, *, scale: int = 1) -> Iterator[Scene]:
    """Several partitions, codecs, committed and aborted transactions and groups, in many small packs."""
    prefix = unique("scene")
    topics = (f"{prefix}.plain", f"{prefix}.lz4", f"{prefix}.tx")
    settings = kafka.client_properties
    for name, partitions in zip(topics, (3, 2, 2), strict=True):
        create_topic(settings, name, partitions=partitions)
    options = BackupOptions(
        topics=(f"{prefix}.*",), connections_per_broker=1, pack_bytes=2500, commit_interval_seconds=0.0
    )
    old = MemoryStore()
    repository = Repository.init(old, now=now, rng=random.SystemRandom(), chunk_bytes=2500)
    with Cluster(kafka.cluster_config()) as cluster:
        for seed in (1, 2):
            _grow(kafka, topics, seed=seed, scale=scale)
            result = backup(cluster, repository, options, now=now)
            assert result.point is not None and result.failures == ()
        _grow(kafka, topics, seed=3, scale=scale)
        undisturbed = copy_of(old)
        points = contents(open_repository(old), groups=prefix)
        scene = Scene(cluster, kafka, prefix, topics, options, old, points, Content({}, None, True))
        result = scene.backup(undisturbed)
        assert result.packs > 2 and result.point is not None and result.point.complete
        expected = scene.newest(undisturbed)
        assert {group["group_id"] for group in expected.metadata["groups"]} == set(_groups(topics))
        yield replace(scene, expected=expected)


def _grow(kafka: KafkaCluster, topics: tuple[str, ...], *, seed: int, scale: int) -> None:
    plain, lz4, transactional = topics
    settings = kafka.client_properties
    produce(settings, plain, samples(150 * scale, partitions=3, seed=seed), batch_num_messages=10)
    produce(settings, lz4, samples(200 * scale, partitions=2, seed=seed), codec="lz4", batch_num_messages=25)
    for number in range(3):
        records = samples(12, partitions=2, seed=100 * seed + number)
        identity = f"{transactional}-{number}"
        produce_transaction(settings, transactional, records, transactional_id=identity, commit=number != 1)
    positions = [Position(plain, 0, 10 * seed), Position(transactional, 1, 3 * seed)]
    one, other = _groups(topics)
    commit_positions(settings, one, positions, metadata="half way")
    commit_positions(settings, other, [Position(lz4, 1, 7 * seed)])


def _groups(topics: tuple[str, ...]) -> tuple[str, str]:
    return f"{topics[0]}-group", f"{topics[1]}-group"


CHANGING: Final = frozenset({"open", "writev", "fsync", "link", "rename", "unlink", "mkdir"})
"""What `stores.local` uses to change a file system; `open` counts when it creates."""


class FailingSystem:
    """Stands in for `os` in `stores.local`: the system's calls that change something are counted from 0, and `fault` is
    asked before and after each. After a SimulatedCrash nothing is changed any more.
    """

    def __init__(self, fault: Callable[[int, str, str], None]) -> None:
        """`fault(number, call, when)` raises what shall happen; `when` is `before` or `after`."""
        self._fault = fault
        self.calls = 0
        self.dead = False

    @classmethod
    def dying(cls, at: int, when: str) -> FailingSystem:
        def fault(number: int, call: str, moment: str) -> None:
            if (number, moment) == (at, when):
                raise SimulatedCrash(f"{when} {call}")

        return cls(fault)

    @classmethod
    def failing(cls, at: int, number: int) -> FailingSystem:
        """Call `at` and every one after it that needs space fails with this errno."""

        def fault(index: int, call: str, moment: str) -> None:
            if moment == "before" and index >= at and call != "unlink":
                raise OSError(number, os.strerror(number))

        return cls(fault)

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._counted(name, real) if name in CHANGING else real

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if name == "open" and not arguments[1] & os.O_CREAT:
                return real(*arguments, **options)
            if self.dead:
                raise SimulatedCrash(f"{name} after death")
            number, self.calls = self.calls, self.calls + 1
            try:
                self._fault(number, name, "before")
                result = real(*arguments, **options)
                self._fault(number, name, "after")
            except SimulatedCrash:
                self.dead = True
                raise
            return result

        return call

"""Processes that die at a chosen call: a simulated cluster and a store in memory, as one process sees them.

Whatever changes something is counted. At the chosen call the process dies before it, after it, or in the middle of it, and
from then on nothing answers any more: what is left is what the next process finds.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from tests.support.repositories import Clock
from tests.support.simulated_cluster import SimulatedCluster, SimulatedProducer

from kafkeep.errors import UsageError
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.produce import ProduceBatch, ProducedBatch
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.result import RestoreResult
from kafkeep.restore.run import prepare, restore
from kafkeep.restore.unfinished import NEWEST, find_job

T = TypeVar("T")

DEATHS = ("before", "half", "after", "late")
"""`half`: a request for several things does the first half of them. `late`: as `after`, and what was under way to brokers
arrives while the next process is at work."""


class Killed(BaseException):
    """No handler of errors may see it."""


class Life:
    """Counts what changes something, and ends at call number `at` (None: never)."""

    def __init__(self, at: int | None = None, death: str = "before") -> None:
        self.at = at
        self.death = death
        self.calls = 0
        self.over = False
        self._lock = threading.RLock()

    def alive(self) -> None:
        if self.over:
            raise Killed

    def step(self, whole: Callable[[], T], half: Callable[[], object] | None = None) -> T:
        with self._lock:
            self.alive()
            self.calls += 1
            if self.calls != self.at:
                return whole()
            self.over = True
            if self.death == "half" and half is not None:
                half()
            elif self.death in ("after", "late"):
                whole()
            raise Killed


class MortalStore(MemoryStore):
    def __init__(self, objects: dict[str, bytes], life: Life) -> None:
        super().__init__()
        self.objects = objects
        self._life = life

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        self._life.step(lambda: super(MortalStore, self).put_new(name, data))


class MortalCluster:
    """One process's view of a cluster that outlives it."""

    def __init__(self, cluster: SimulatedCluster, life: Life) -> None:
        self._cluster = cluster
        self._life = life
        self.admin = _MortalAdmin(cluster.admin, life)
        self.settings = _MortalSettings(cluster.settings, life)

    def __getattr__(self, name: str) -> Any:
        self._life.alive()
        return getattr(self._cluster, name)

    def producer(self, broker: Any, **_: Any) -> SimulatedProducer:
        self._life.alive()
        return _MortalProducer(self._cluster, broker.node_id, self._life)


class _MortalAdmin:
    def __init__(self, admin: Any, life: Life) -> None:
        self._admin = admin
        self._life = life

    def __getattr__(self, name: str) -> Any:
        self._life.alive()
        return getattr(self._admin, name)

    def init_producer_id(self) -> Any:
        return self._life.step(self._admin.init_producer_id)

    def create_topics(self, topics: Sequence[Any], *, validate_only: bool = False) -> Any:
        if validate_only:
            return self._admin.create_topics(topics, validate_only=True)
        return self._life.step(
            lambda: self._admin.create_topics(topics), lambda: self._admin.create_topics(topics[: len(topics) // 2])
        )

    def commit_group_offsets(self, group: str, offsets: Sequence[Any]) -> Any:
        return self._life.step(
            lambda: self._admin.commit_group_offsets(group, offsets),
            lambda: self._admin.commit_group_offsets(group, offsets[: len(offsets) // 2]),
        )


class _MortalSettings:
    def __init__(self, settings: Any, life: Life) -> None:
        self._settings = settings
        self._life = life

    def __getattr__(self, name: str) -> Any:
        self._life.alive()
        return getattr(self._settings, name)

    def alter_configs(self, changes: Sequence[Any]) -> Any:
        return self._life.step(
            lambda: self._settings.alter_configs(changes),
            lambda: self._settings.alter_configs(changes[: len(changes) // 2]),
        )


class _MortalProducer(SimulatedProducer):
    def __init__(self, cluster: SimulatedCluster, node: int, life: Life) -> None:
        super().__init__(cluster, node)
        self._life = life

    def send(self, batches: Sequence[ProduceBatch]) -> None:
        self._life.alive()
        super().send(batches)

    def receive(self) -> tuple[ProducedBatch, ...]:
        try:
            return self._life.step(super().receive, self._first_half)
        except Killed:
            if self._life.death == "late":
                self._cluster.late.extend((index // 2, batches) for index, batches in enumerate(self._sent))
                self._sent = deque()
            raise

    def _first_half(self) -> None:
        batches = self._sent[0]
        self._cluster.carry_out(self._node, batches[: (len(batches) + 1) // 2])


class Processes:
    """One process after the other over the same repository and the same target."""

    def __init__(self, objects: Mapping[str, bytes], target: SimulatedCluster) -> None:
        self.objects = dict(objects)
        self.target = target
        self.clock = Clock()
        self._seeds = iter(range(100, 1_000_000))

    def next(self, life: Life) -> tuple[MortalCluster, Repository]:
        store = MortalStore(self.objects, life)
        repository = Repository.open(
            store, now=self.clock, rng=random.Random(next(self._seeds)), pause=lambda seconds: None
        )
        return MortalCluster(self.target, life), repository


def process(processes: Processes, life: Life, options: RestoreOptions) -> RestoreResult:
    """One process's restore of the newest point: it begins, or continues what another left unfinished."""
    cluster, repository = processes.next(life)
    point = repository.point("latest")
    try:
        job = find_job(repository, NEWEST, point.number, "target")
    except UsageError:
        job = None
    chosen = options if job is None else job.beginning.options
    plan = prepare(cast(Cluster, cluster), repository, point, chosen, now=processes.clock, job=job)
    return restore(cast(Cluster, cluster), repository, plan, chosen, now=processes.clock)

"""Workers that are lost at any moment of their tasks, over simulated clusters: what is stored and what is restored is what it
would be without, nothing twice.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.support.operations import (
    ORDERS,
    Heard,
    as_cluster,
    contents,
    new_repository,
    now,
    records_of,
    stored,
    without_pauses,
)
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import record

from kafkeep.capture.options import BackupOptions
from kafkeep.capture.run import backup
from kafkeep.elsewhere import StorePlace, Workforce
from kafkeep.errors import WorkerError
from kafkeep.events import Retried
from kafkeep.model import RecoveryPoint, TopicPartition
from kafkeep.repository.repository import Repository
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.plan import PartitionRestore
from kafkeep.restore.result import RestoreResult
from kafkeep.restore.run import prepare, restore
from kafkeep.work.executor import Job, ThreadExecutor
from kafkeep.work.messages import Emitted, Finished, Lost, Message

PARTITIONS = 3
SEEDS = range(40)


class Dying(threading.Event):
    """Not set until it was asked so many times: a task that looks at it ends in the middle."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._looks = looks

    def is_set(self) -> bool:
        self._looks -= 1
        return self._looks < 0 or super().is_set()


class Losing(ThreadExecutor):
    """Loses some tasks: each ends early or not, and only the first of what it emitted is told."""

    def __init__(self, seed: int, *, chance: float = 0.5, most: int = 6) -> None:
        self._dice = random.Random(seed)
        self._chance = chance
        self._left = most
        self.lost = 0

    def run(self, job: Job[Any, Any, Any], *, tick_seconds: float = 1.0) -> Iterator[Message[Any, Any, Any]]:
        for task in job.tasks:
            dies = self._left > 0 and self._dice.random() < self._chance
            here = self._dying(job.here) if dies else job.here
            messages = list(super().run(replace(job, tasks=[task], here=here), tick_seconds=tick_seconds))
            if not dies:
                yield from messages
                continue
            self._left -= 1
            self.lost += 1
            told = [message for message in messages if isinstance(message, Emitted)]
            yield from told[: self._dice.randint(0, len(told))]
            yield Lost(task, "a worker process ended with -9")

    def _dying(self, here: Callable[..., Any]) -> Callable[..., Any]:
        looks = self._dice.randint(0, 12)
        return lambda task, emit, cancelled: here(task, emit, Dying(looks))


def workers(executor: ThreadExecutor) -> Workforce:
    return Workforce(executor=executor, place=StorePlace(url="/nowhere"))


def a_cluster(seed: int) -> SimulatedCluster:
    dice = random.Random(seed)
    cluster = SimulatedCluster("source", nodes=2)
    cluster.add_topic("orders", PARTITIONS)
    for partition in range(PARTITIONS):
        for number in range(dice.randint(5, 30)):
            value = b"%d/%d " % (partition, number) * dice.randint(1, 8)
            cluster.log(TopicPartition("orders", partition)).append([record(value)])
    return cluster


def back_up(
    cluster: SimulatedCluster, repository: Repository, executor: ThreadExecutor, sink: Heard | None = None
) -> RecoveryPoint:
    options = BackupOptions(pack_bytes=1500, fetch_bytes=900)
    heard = Heard() if sink is None else sink
    made = backup(as_cluster(cluster), repository, options, now=now, workers=workers(executor), sink=heard)
    assert made.point is not None
    assert (made.failures, made.gaps) == ((), ())
    return made.point


def put_back(
    cluster: SimulatedCluster, repository: Repository, point: RecoveryPoint, executor: ThreadExecutor
) -> RestoreResult:
    # `exist`: what is checked is not what is tried here, and a check that ends early is lost like any other task
    options = RestoreOptions(preflight="exist", request_bytes=400, repack_bytes=0)
    plan = prepare(as_cluster(cluster), repository, point, options, now=now)
    return restore(as_cluster(cluster), repository, plan, options, now=now, workers=workers(executor))


@pytest.fixture(autouse=True)
def quickly() -> Iterator[None]:
    with without_pauses():
        yield


def test_backups_lose_and_double_nothing() -> None:
    lost = 0
    for seed in SEEDS:
        cluster, executor, heard = a_cluster(seed), Losing(seed), Heard()
        plain, tried = new_repository(), new_repository()
        point = back_up(cluster, tried, executor, heard)
        without = back_up(cluster, plain, ThreadExecutor())
        assert point.cuts == without.cuts
        assert stored(tried, point) == stored(plain, without), seed
        for view in tried.view(point).partitions:
            joined = [run.coverage for run in view.runs]
            assert all(a.stop == b.start for a, b in itertools.pairwise(joined)), seed
        assert {event.reason for event in heard.of(Retried)} <= {WorkerError.slug}
        lost += executor.lost
    assert lost > len(SEEDS), "workers were hardly ever lost"


def test_restores_lose_and_double_nothing() -> None:
    lost = 0
    for seed in SEEDS:
        source, repository = a_cluster(seed), new_repository()
        point = back_up(source, repository, ThreadExecutor())
        target, executor = SimulatedCluster("target", nodes=2), Losing(seed)
        result = put_back(target, repository, point, executor)
        assert result.failures == ()
        for partition in range(PARTITIONS):
            place = TopicPartition("orders", partition)
            assert contents(records_of(target.log(place))) == contents(records_of(source.log(place))), seed
        maps = {part.target: part.offset_map for part in result.partitions}
        assert maps[ORDERS].records == len(records_of(source.log(ORDERS)))
        lost += executor.lost
    assert lost > len(SEEDS), "workers were hardly ever lost"


def test_workers_that_are_lost_for_ever_end_the_backup_with_failures() -> None:
    cluster, repository = a_cluster(1), new_repository()
    options = BackupOptions(attempts=3)

    class Never(Losing):
        def run(self, job: Job[Any, Any, Any], *, tick_seconds: float = 1.0) -> Iterator[Message[Any, Any, Any]]:
            yield from (Lost(task, "a worker process ended with -9") for task in job.tasks)

    made = backup(as_cluster(cluster), repository, options, now=now, workers=workers(Never(1)))
    assert {failure.reason for failure in made.failures} == {WorkerError.slug}
    assert len(made.failures) == PARTITIONS


def test_checks_whose_worker_is_lost_are_made_again() -> None:
    source, repository = a_cluster(2), new_repository()
    point = back_up(source, repository, ThreadExecutor())
    checked: list[Any] = []

    class Once(ThreadExecutor):
        """Loses each check the first time."""

        def run(self, job: Job[Any, Any, Any], *, tick_seconds: float = 1.0) -> Iterator[Message[Any, Any, Any]]:
            for message in super().run(job, tick_seconds=tick_seconds):
                if isinstance(message, Finished) and isinstance(message.task, PartitionRestore):
                    checked.append(message.task)
                    if checked.count(message.task) == 1:
                        yield Lost(message.task, "a worker process ended with -9")
                        continue
                yield message

    options = RestoreOptions()
    target = SimulatedCluster("target")
    plan = prepare(as_cluster(target), repository, point, options, now=now)
    restore(as_cluster(target), repository, plan, options, now=now, workers=workers(Once()))
    assert len(checked) == 2 * PARTITIONS

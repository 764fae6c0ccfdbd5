"""One large partition read in ranges side by side, over simulated clusters: whatever order the ranges come in, whatever fails
or changes meanwhile, what is stored is one history of the partition, every offset once.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.support.operations import ORDERS, Heard, as_cluster, contents, new_repository, now, stored, without_pauses
from tests.support.simulated_cluster import SimulatedCluster, SimulatedFetcher
from tests.support.simulated_log import ABORT, COMMIT, SimulatedLog, record

from kafkeep.capture.options import BackupOptions
from kafkeep.capture.result import BackupResult
from kafkeep.capture.run import backup
from kafkeep.elsewhere import StorePlace, Workforce
from kafkeep.errors import WorkerError
from kafkeep.events import PartitionDone
from kafkeep.kafka.fetch import FetchedPartition, FetchPosition
from kafkeep.kafka.wire.records import Record
from kafkeep.model import RecoveryPoint
from kafkeep.repository.repository import Repository
from kafkeep.verify.run import verify
from kafkeep.work.executor import Job, ThreadExecutor
from kafkeep.work.messages import Emitted, Finished, Lost, Message

SEEDS = range(25)
PRODUCERS = (11, 12)


class Dying(threading.Event):
    """Not set until it was asked so many times: a task that looks at it ends in the middle."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._looks = looks

    def is_set(self) -> bool:
        self._looks -= 1
        return self._looks < 0 or super().is_set()


class InAnyOrder(ThreadExecutor):
    """Runs tasks one by one in any order and mixes what they say. Between two of them something may happen to the cluster;
    some are lost, and only the first of what they emitted is told; at a task with a given number it all ends.
    """

    workers = 4

    def __init__(
        self,
        seed: int,
        *,
        between: Callable[[random.Random], None] = lambda dice: None,
        lost: float = 0.0,
        ends_at: int | None = None,
    ) -> None:
        self._dice = random.Random(seed)
        self._between = between
        self._lost = lost
        self._left = 5
        self._ends_at = ends_at
        self.tasks = 0
        self.most_at_once = 0

    def run(self, job: Job[Any, Any, Any], *, tick_seconds: float = 1.0) -> Iterator[Message[Any, Any, Any]]:
        self.most_at_once = max(self.most_at_once, len(job.tasks))
        told: list[list[Message[Any, Any, Any]]] = []
        for task in self._dice.sample(list(job.tasks), len(job.tasks)):
            self.tasks += 1
            told.append(self._told(job, task))
            self._between(self._dice)
            if self.tasks == self._ends_at:
                yield from self._mixed(told)
                raise WorkerError("all workers are gone")
        yield from self._mixed(told)

    def _told(self, job: Job[Any, Any, Any], task: Any) -> list[Message[Any, Any, Any]]:
        dies = self._left > 0 and self._dice.random() < self._lost
        looks = self._dice.randint(0, 8)
        here = (lambda task, emit, cancelled: job.here(task, emit, Dying(looks))) if dies else job.here
        messages = list(super().run(replace(job, tasks=[task], here=here)))
        if not dies:
            return messages
        self._left -= 1
        emitted: list[Message[Any, Any, Any]] = [each for each in messages if isinstance(each, Emitted)]
        return [*emitted[: self._dice.randint(0, len(emitted))], Lost(task, "a worker process ended with -9")]

    def _mixed(self, told: list[list[Message[Any, Any, Any]]]) -> Iterator[Message[Any, Any, Any]]:
        queues = [queue for queue in told if queue]
        while queues:
            queue = self._dice.choice(queues)
            yield queue.pop(0)
            queues = [each for each in queues if each]


def fill(log: SimulatedLog, dice: random.Random, count: int, *, transactions: bool = True) -> None:
    """Plain batches and transactions across range borders, in several segments and epochs."""
    for number in range(count):
        items = [record(b"%d " % number * dice.randint(1, 12)) for _ in range(dice.randint(1, 4))]
        match dice.randint(0 if transactions else 4, 9):
            case 0 | 1 | 2:
                log.append(items, producer_id=dice.choice(PRODUCERS), transactional=True)
            case 3:
                producer = dice.choice(PRODUCERS)
                if producer in log.ongoing:
                    log.decide(producer, dice.choice([COMMIT, ABORT]))
            case 4:
                log.roll()
            case 5 if dice.random() < 0.3:
                log.new_leader()
            case _:
                log.append(items, codec=dice.choice([0, 0, 3]))


def a_cluster(seed: int, *, partitions: int = 1, transactions: bool = True) -> SimulatedCluster:
    dice = random.Random(seed)
    cluster = SimulatedCluster("source", nodes=2)
    for log in cluster.add_topic("orders", partitions).logs:
        fill(log, dice, dice.randint(30, 80), transactions=transactions)
        for producer in list(log.ongoing):
            log.decide(producer, dice.choice([COMMIT, ABORT]))
    return cluster


def back_up(
    cluster: SimulatedCluster,
    repository: Repository,
    executor: ThreadExecutor,
    *,
    sink: Heard | None = None,
    range_bytes: int | None = 1600,
    **given: Any,
) -> BackupResult:
    options = BackupOptions(pack_bytes=500, fetch_bytes=300, range_bytes=range_bytes, **given)
    workforce = Workforce(executor=executor, place=StorePlace(url="/nowhere"))
    heard = Heard() if sink is None else sink
    return backup(as_cluster(cluster), repository, options, now=now, workers=workforce, sink=heard)


def assert_sound(repository: Repository, point: RecoveryPoint | None) -> None:
    """Coverage joins, and the independent checks of packs and batches find nothing."""
    assert point is not None
    for view in repository.view(point).partitions:
        runs = [run.coverage for run in view.runs]
        assert all(a.stop == b.start for a, b in itertools.pairwise(runs))
    # What was read in vain is there, and nobody names it.
    assert {finding.kind for finding in verify(repository, level="data").findings} <= {"orphan"}


def of_orders(repository: Repository, point: RecoveryPoint | None) -> list[Record]:
    (found,) = [records for generation, records in stored(repository, point).items() if generation.partition == 0]
    return found


@pytest.fixture(autouse=True)
def quickly() -> Iterator[None]:
    with without_pauses():
        yield


def test_ranges_in_any_order_hold_what_one_reader_would() -> None:
    divided = 0
    for seed in SEEDS:
        cluster, executor, heard = a_cluster(seed), InAnyOrder(seed), Heard()
        tried, plain = new_repository(), new_repository()
        result = back_up(cluster, tried, executor, sink=heard)
        whole = back_up(cluster, plain, ThreadExecutor(), range_bytes=None)
        assert (result.failures, result.gaps) == ((), ())
        assert result.point is not None and whole.point is not None
        assert result.point.cuts == whole.point.cuts
        assert (result.records, result.raw_bytes) == (whole.records, whole.raw_bytes)
        assert stored(tried, result.point) == stored(plain, whole.point)
        assert of_orders(tried, result.point) == cluster.log(ORDERS).visible(0, cluster.log(ORDERS).last_stable)
        assert_sound(tried, result.point)
        assert len(heard.of(PartitionDone)) == 1, "once, not for each range"
        assert back_up(cluster, tried, executor).nothing_new
        divided += executor.most_at_once > 1
    assert divided == len(SEEDS), "not every partition was divided"


def test_a_large_partition_beside_others() -> None:
    for seed in SEEDS[:5]:
        cluster = a_cluster(seed, partitions=4)
        fill(cluster.log(ORDERS), random.Random(seed), 200)
        for producer in list(cluster.log(ORDERS).ongoing):
            cluster.log(ORDERS).decide(producer, COMMIT)
        executor, tried, plain = InAnyOrder(seed), new_repository(), new_repository()
        result = back_up(cluster, tried, executor)
        assert stored(tried, result.point) == stored(
            plain, back_up(cluster, plain, ThreadExecutor(), range_bytes=None).point
        )
        assert_sound(tried, result.point)
        assert executor.most_at_once > 4


def test_lost_workers_cost_time_alone() -> None:
    for seed in SEEDS:
        cluster, executor, tried = a_cluster(seed), InAnyOrder(seed, lost=0.4), new_repository()
        result = back_up(cluster, tried, executor)
        assert (result.failures, result.gaps) == ((), ())
        assert of_orders(tried, result.point) == cluster.log(ORDERS).visible(0, cluster.log(ORDERS).last_stable)
        assert_sound(tried, result.point)


def test_a_backup_that_ends_anywhere_leaves_a_log_that_the_next_one_completes() -> None:
    interrupted = 0
    for seed, ends_at in itertools.product(SEEDS[:15], (1, 2, 3, 5)):
        cluster, tried = a_cluster(seed), new_repository()
        try:
            back_up(cluster, tried, InAnyOrder(seed, ends_at=ends_at))
        except WorkerError:
            interrupted += 1
        known = [state.runs for state in tried.refresh().generations.values()]
        for runs in known:
            edges = [run.coverage for run in runs]
            assert all(a.stop == b.start for a, b in itertools.pairwise(edges))
            assert not edges or edges[0].start == 0
        back_up(cluster, tried, InAnyOrder(seed + 1))
        point = tried.point("latest")
        assert of_orders(tried, point) == cluster.log(ORDERS).visible(0, cluster.log(ORDERS).last_stable)
        assert_sound(tried, point)
    assert interrupted > 40


def test_brokers_that_fail_and_leaders_that_move() -> None:
    kinds = ("ok", "throttled", "tail", "lost before", "lost after", "moved", "fenced", "refused once", "ok")
    for seed in SEEDS:
        cluster, tried, dice = a_cluster(seed), new_repository(), random.Random(seed)
        cluster.fetch_faults.extend(dice.choices(kinds, k=12))
        result = back_up(cluster, tried, InAnyOrder(seed))
        assert (result.failures, result.gaps) == ((), ())
        assert of_orders(tried, result.point) == cluster.log(ORDERS).visible(0, cluster.log(ORDERS).last_stable)
        assert_sound(tried, result.point)


def test_what_retention_takes_meanwhile_is_a_gap_and_the_rest_is_there() -> None:
    gaps = 0
    for seed in SEEDS:
        cluster, tried = a_cluster(seed), new_repository()
        log = cluster.log(ORDERS)
        whole = log.visible(0, log.last_stable)

        def retention(dice: random.Random, log: SimulatedLog = log) -> None:
            if dice.random() < 0.2:
                log.delete_records(dice.randint(log.start, log.end))

        result = back_up(cluster, tried, InAnyOrder(seed, between=retention))
        assert result.failures == ()
        found = of_orders(tried, result.point)
        assert found == [item for item in whole if item.offset in {each.offset for each in found}]
        lost = {item.offset for item in whole} - {each.offset for each in found}
        covered = [(gap.offsets.start, gap.offsets.stop) for gap in result.gaps]
        cut = result.point.cuts[0] if result.point is not None else None
        assert cut is not None
        assert all(offset < cut.start or any(a <= offset < b for a, b in covered) for offset in lost)
        gaps += len(result.gaps)
    assert gaps > 5


class Unfenced(SimulatedFetcher):
    """Of a broker that does not look at the leader epoch of requests: then the borders alone tell of another history."""

    def _answer(self, position: FetchPosition, left: int, *, nothing_yet: bool, fault: str) -> FetchedPartition:
        epoch = self._cluster.log(position.topic_partition).leader_epoch
        return super()._answer(replace(position, leader_epoch=epoch), left, nothing_yet=nothing_yet, fault=fault)


@pytest.mark.parametrize("fenced", [True, False])
def test_a_log_that_is_truncated_between_ranges_is_never_stored_as_a_mixture(
    fenced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unclean election while some ranges are read and others are not: what a generation holds is one of the histories that
    there were."""
    if not fenced:
        monkeypatch.setattr("tests.support.simulated_cluster.SimulatedFetcher", Unfenced)
    changed = 0
    for seed in SEEDS:
        # The simulated log forgets no decision when it is truncated: transactions are for the other tests.
        cluster, tried = a_cluster(seed, transactions=False), new_repository()
        log = cluster.log(ORDERS)
        histories = [log.visible(0, log.end)]

        def election(
            dice: random.Random, log: SimulatedLog = log, histories: list[list[Record]] = histories, seed: int = seed
        ) -> None:
            if dice.random() < 0.3 and len(histories) < 4:
                log.truncate(dice.randint(0, log.end))
                while log.end < 200:
                    log.append([record(b"history %d of %d " % (len(histories), seed)) for _ in range(3)])
                histories.append(log.visible(0, log.end))

        result = back_up(cluster, tried, InAnyOrder(seed, between=election))
        assert result.point is not None
        assert_sound(tried, result.point)
        found = of_orders(tried, result.point)
        assert any(found == [r for r in each if r.offset < result.point.cuts[0].stop] for each in histories), seed
        changed += len(histories) > 1
        again = back_up(cluster, tried, InAnyOrder(seed))
        point = tried.point("latest") if again.point is None else again.point
        assert of_orders(tried, point) == log.visible(0, log.last_stable)
    assert changed > len(SEEDS) // 2


def test_what_cannot_be_divided_is_read_as_a_whole() -> None:
    """Up to the high watermark transactions are found out from markers; deletions in compacted topics are dated."""
    for options, configs in (({"cut": "high-watermark"}, {}), ({}, {"cleanup.policy": "compact"})):
        cluster = a_cluster(1)
        cluster.topics["orders"].configs.update(configs)
        executor, repository = InAnyOrder(1), new_repository()
        result = back_up(cluster, repository, executor, **options)  # type: ignore[arg-type]
        assert executor.most_at_once == 1
        assert contents(of_orders(repository, result.point)) == contents(
            cluster.log(ORDERS).visible(0, cluster.log(ORDERS).end)
        )


def test_a_range_that_is_larger_than_it_seemed_ends_early() -> None:
    """The first batches are tiny: what waits for them has a limit all the same, and everything is read in the end."""
    cluster = SimulatedCluster("source", nodes=1)
    log = cluster.add_topic("orders").logs[0]
    for number in range(400):
        log.append([record(b"%d" % number * (200 if number % 50 > 5 else 1))])
    executor, repository, heard = InAnyOrder(3), new_repository(), Heard()
    result = back_up(cluster, repository, executor, sink=heard, range_bytes=8000)
    assert of_orders(repository, result.point) == log.visible(0, log.end)
    assert executor.most_at_once > 1
    assert len(heard.of(PartitionDone)) == 1
    assert result.failures == ()


def test_messages_are_those_of_executors() -> None:
    """The executor of this file says what others do."""
    cluster, executor = a_cluster(3), InAnyOrder(3)
    kinds: set[type[Any]] = set()
    inner = executor.run

    def run(job: Job[Any, Any, Any], *, tick_seconds: float = 1.0) -> Iterator[Message[Any, Any, Any]]:
        for message in inner(job, tick_seconds=tick_seconds):
            kinds.add(type(message))
            yield message

    executor.run = run  # type: ignore[method-assign]
    back_up(cluster, new_repository(), executor)
    assert kinds == {Emitted, Finished}

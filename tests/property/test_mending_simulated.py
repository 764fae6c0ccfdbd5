"""Damage and lost logs against simulated brokers: what the cluster still has, and what a restore then brings."""

from __future__ import annotations

import random
from collections.abc import Collection

import pytest
from tests.support.operations import as_cluster, back_up, contents, new_repository, now, put_back, records_of, stored
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import ABORT, COMMIT, record

from kafkeep.compare.options import CompareOptions
from kafkeep.compare.run import compare
from kafkeep.errors import LossRefused
from kafkeep.mending import rebuilding
from kafkeep.mending.diagnosis import prepare
from kafkeep.mending.plan import CLUSTER, LOSE, NONE, RepairPlan, RepairResult
from kafkeep.mending.repairing import repair
from kafkeep.model import TopicPartition
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.verify.run import verify

pytestmark = pytest.mark.usefixtures("quick")


def filled(seed: int = 0) -> tuple[SimulatedCluster, Repository, MemoryStore]:
    """Three backups of a topic with batches of every codec and transactions."""
    cluster, store = SimulatedCluster("source"), MemoryStore()
    cluster.add_topic("orders", 2)
    repository = new_repository(store)
    dice = random.Random(seed)
    for turn in range(3):
        for partition in (0, 1):
            log = cluster.log(TopicPartition("orders", partition))
            for number in range(6):
                items = [record(b"%d.%d.%d" % (turn, number, n) * 9, key=b"k%d" % n) for n in range(4)]
                log.append(items, codec=dice.choice([0, 0, 1, 3, 4]))
            for decision in (COMMIT, ABORT):
                log.append([record(b"t%d" % turn)], producer_id=7)
                log.decide(7, decision)
        assert back_up(cluster, repository, topics=("orders",)).failures == ()
    return cluster, repository, store


def opened(store: MemoryStore) -> Repository:
    return Repository.open(store, now=now, rng=random.Random(3), pause=lambda seconds: None)


def drop(store: MemoryStore, names: Collection[str]) -> None:
    for name in names:
        del store.objects[name]


def mended(cluster: SimulatedCluster, store: MemoryStore, reason: str | None = None) -> tuple[RepairPlan, RepairResult]:
    plan = prepare(store, cluster=as_cluster(cluster), reason=reason)
    return plan, repair(store, plan, cluster=as_cluster(cluster), now=now, rng=random.Random(8))


@pytest.mark.parametrize("seed", range(5))
def test_what_the_cluster_still_has_comes_back_byte_for_byte(seed: int) -> None:
    cluster, repository, store = filled(seed)
    before = stored(repository, repository.point("latest"))
    drop(store, [entry.name for entry in repository.state.packs])
    plan, result = mended(cluster, store)
    assert {run.means for each in plan.damage for run in each.runs} == {CLUSTER}
    assert result.left == ()
    again = opened(store)
    assert verify(again, level="data").findings == ()
    assert stored(again, again.point("latest")) == before


def test_what_the_cluster_has_no_more_is_told_and_only_that_is_lost() -> None:
    cluster, repository, store = filled()
    drop(store, [entry.name for entry in repository.state.packs])
    partition = TopicPartition("orders", 0)
    runs = repository.state.generations[repository.point("latest").cuts[0].generation].runs
    cluster.log(partition).delete_records(runs[1].coverage.start)
    plan, result = mended(cluster, store)
    told = {(run.generation.partition, run.coverage): run.means for each in plan.damage for run in each.runs}
    assert {place for place, means in told.items() if means == NONE} == {(0, runs[0].coverage)}
    assert len(result.left) == 1
    _, result = mended(cluster, store, "nobody has it")
    assert [(run.generation.partition, run.coverage, run.means) for run in result.lost] == [(0, runs[0].coverage, LOSE)]
    again = opened(store)
    assert verify(again, level="data").findings == ()


def test_other_bytes_at_the_same_offsets_are_not_taken() -> None:
    cluster, repository, store = filled()
    drop(store, [entry.name for entry in repository.state.packs])
    for partition in (0, 1):
        log = cluster.log(TopicPartition("orders", partition))
        log.compact(lambda item: item.key != b"k1", below=log.end)
    plan, result = mended(cluster, store)
    assert {run.means for each in plan.damage for run in each.runs} == {CLUSTER}
    assert result.moved == ()
    assert "not the same bytes" in result.left[0].why
    assert opened(store).state.head == repository.state.head
    # what does not come out may be declared lost in the same go
    _, result = mended(cluster, store, "compacted away")
    assert len(result.lost) == 6
    assert verify(opened(store), level="data").findings == ()


def test_declared_loss_is_refused_and_reported_by_a_restore_exactly() -> None:
    source, repository, store = filled()
    known = repository.state.generations[next(iter(repository.state.generations))]
    middle = known.runs[1]
    before = stored(repository, repository.point("latest"))
    drop(store, [middle.pack])
    entry = repository.state.packs.get(middle.pack)
    assert entry is not None
    others = entry.runs
    plan = prepare(store, reason="gone")
    repair(store, plan, now=now, rng=random.Random(8))
    again = opened(store)
    point = again.point("latest")
    report = compare(as_cluster(source), again, point, CompareOptions())
    assert report.differences == () and sum(part.excused.in_gaps for part in report.partitions) > 0
    target = SimulatedCluster("target")
    with pytest.raises(LossRefused, match="are lost"):
        put_back(target, again, point)
    assert "orders" not in target.topics
    put_back(target, again, point, allow_loss="skip")
    (loss,) = [value for _, value in again.audits("loss-report")]
    assert isinstance(loss, dict)
    told = {(part["source"][2], gap["from"], gap["to"]) for part in loss["partitions"] for gap in part["gaps"]}
    assert told == {(run.generation.partition, run.coverage.start, run.coverage.stop) for run in others}
    for of, records in before.items():
        lost = [run.coverage for run in others if run.generation == of]
        kept = [item for item in records if not any(item.offset in coverage for coverage in lost)]
        log = target.log(of.topic_partition)
        assert contents(records_of(log)) == contents(kept)


@pytest.mark.parametrize("broken", ["all of the log", "its end"])
def test_a_restore_out_of_a_rebuilt_log_equals_the_source(broken: str) -> None:
    cluster, repository, store = filled()
    lost = MemoryStore("lost")
    gone = range(2 if broken == "its end" else 0, repository.state.head + 1)
    names = {f"log/{number:012d}" for number in gone} | {"hint/head"}
    lost.objects = {name: data for name, data in store.objects.items() if name not in names}
    if broken == "its end":
        lost.objects["log/000000000002"] = b"unreadable"
    target = MemoryStore("new")
    plan = rebuilding.prepare(lost, target, now=now)
    result = rebuilding.rebuild(lost, target, plan, now=now, rng=random.Random(4))
    assert result.failures == ()
    again = opened(target)
    assert verify(again, level="data").findings == ()
    assert stored(again, again.point("rebuilt")) == stored(repository, repository.point("latest"))
    restored = SimulatedCluster("target")
    put_back(restored, again, again.point("rebuilt"))
    for of, records in stored(repository, repository.point("latest")).items():
        assert contents(records_of(restored.log(of.topic_partition))) == contents(records)
    assert plan.metadata is not None and "1 of 1 topics" in plan.metadata_why
    # backups go on where the packs end
    assert back_up(cluster, again, topics=("orders",)).failures == ()
    assert stored(again, again.point("latest")) == stored(repository, repository.point("latest"))

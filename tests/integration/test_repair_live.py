"""Runs that only Kafka still has, read again from a real broker."""

from __future__ import annotations

import random

import pytest
from tests.support.kafka import unique
from tests.support.live import Filling, Live, new_repository, now

from kafkeep.mending.diagnosis import prepare
from kafkeep.mending.plan import CLUSTER, NONE, RepairPlan, RepairResult
from kafkeep.mending.repairing import repair
from kafkeep.model import TopicPartition
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.verify.run import verify

pytestmark = pytest.mark.integration


def mended(live: Live, store: MemoryStore) -> tuple[RepairPlan, RepairResult]:
    plan = prepare(store, cluster=live.cluster)
    return plan, repair(store, plan, cluster=live.cluster, now=now, rng=random.SystemRandom())


def batches(repository: Repository) -> dict[TopicPartition, bytes]:
    view = repository.view(repository.point("latest"))
    return {
        part.generation.topic_partition: b"".join(
            bytes(chunk) for run in part.runs for chunk in repository.read_run(run)
        )
        for part in view.partitions
    }


def test_what_the_broker_still_has_comes_back_with_the_same_digest(live_4: Live) -> None:
    topic, repository = unique("mended"), new_repository()
    store = repository.store
    assert isinstance(store, MemoryStore)
    filling = Filling(live_4.kafka, topic).create(partitions=2)
    for codec in ("none", "zstd"):
        filling.produce(3000, partitions=2, compression_type=codec)
        assert live_4.back_up(repository, topic).failures == ()
    before = batches(repository)
    for entry in repository.state.packs:
        del store.objects[entry.name]
    plan, result = mended(live_4, store)
    assert {run.means for each in plan.damage for run in each.runs} == {CLUSTER}
    assert (result.left, result.lost, len(result.moved)) == ((), (), 4)
    again = Repository.open(store, now=now, rng=random.SystemRandom())
    assert verify(again, level="data").findings == ()
    assert batches(again) == before
    assert live_4.compare(again, again.point("latest")).differences == ()
    # of a topic made anew under the name nothing is taken
    live_4.cluster.admin.delete_topics([topic])
    del store.objects[next(entry.name for entry in again.state.packs if entry.runs)]
    plan, result = mended(live_4, store)
    assert {run.means for each in plan.damage for run in each.runs} == {NONE}
    assert result.moved == () and result.left

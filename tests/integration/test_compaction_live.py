"""A history that a following backup writes from a real broker, gathered while it goes on: every point holds what it held."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

import pytest
from tests.support.kafka import KafkaCluster, unique
from tests.support.live import RENAME, Filling, Live, beside, new_repository, now, until
from tests.support.repositories import contents

from kafkeep.capture.options import BackupOptions
from kafkeep.capture.run import follow
from kafkeep.compaction.plan import CompactOptions, CompactResult
from kafkeep.compaction.run import compact, prepare
from kafkeep.kafka.cluster import Cluster
from kafkeep.repository.repository import Repository
from kafkeep.verify.run import verify

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def live(kafka_431: KafkaCluster) -> Iterator[Live]:
    with Cluster(kafka_431.cluster_config()) as cluster:
        yield Live(kafka_431, cluster)


def gather(repository: Repository) -> CompactResult:
    return compact(repository, prepare(repository, CompactOptions()), now=now, rng=random.Random(3))


def test_a_history_is_gathered_while_a_backup_follows(live: Live) -> None:
    repository, topic, stop = new_repository(), unique("gathered"), threading.Event()
    other = Repository.open(repository.store, now=now, rng=random.Random(4))
    filling = Filling(live.kafka, topic).create(partitions=2)
    thread = beside(
        lambda: follow(
            live.cluster, repository, BackupOptions(topics=(topic,)), interval_seconds=0.1, now=now, stop=stop
        )
    )
    moved = []
    try:
        for number in range(1, 9):
            filling.produce(10)
            until(lambda number=number: len(repository.points()) >= number, what="a point")  # type: ignore[misc]
            if number % 4 == 0:
                moved.append(gather(other).runs)
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()
    assert min(moved) > 0
    before = [contents(repository, point) for point in repository.points()]
    gather(other)
    repository.refresh()
    assert [contents(repository, point) for point in repository.points()] == before
    live_packs = sum(bool(entry.runs) for entry in repository.state.packs)
    assert live_packs < len(repository.points()) / 2
    assert verify(repository, level="data").findings == ()
    last = repository.points()[-1]
    compared = live.compare(repository, last)
    assert compared.identical and compared.records == 80
    assert live.put_back(repository, last, renames=RENAME).records == 80

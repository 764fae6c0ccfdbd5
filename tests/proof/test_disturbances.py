"""Processes and brokers that die in the middle of the work."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.disturbance import EARLY, Disturbance, leave
from tests.support.faults import Figures
from tests.support.kafka import KafkaCluster, create_topic, unique
from tests.support.live import (
    RENAME,
    RESTORED,
    Filling,
    Live,
    await_overrides,
    contents,
    new_repository,
    offsets_of,
    until,
)
from tests.support.oracle import check_log, orphans
from tests.support.oracle_load import Load
from tests.support.proof import Proof
from tests.support.proof_command import prove
from tests.support.sweep_command import Kafkeep

from kafkeep.compare.report import BY_MAP
from kafkeep.kafka.cluster import Cluster
from kafkeep.repository.stores.local import LocalStore

pytestmark = pytest.mark.integration

PARTITIONS = 6


@pytest.mark.exact("killed-while-following")
@pytest.mark.fault("C1")
def test_kills_of_a_following_backup_under_load(
    kafka_431: KafkaCluster, tmp_path: Path, proof: Proof, fault: Figures
) -> None:
    """Whatever happens to it, every acknowledged record comes back once and in order, and no aborted one."""
    kills = max(proof.count(quick=10, full=30), fault.count(quick=10, full=30))
    kafkeep = Kafkeep(tmp_path / "home", inside=True)
    plain, transactional = {unique("kill.plain"): 4}, {unique("kill.tx"): 2}
    for topic, partitions in (plain | transactional).items():
        create_topic(kafka_431.client_properties, topic, partitions=partitions)
    repository = tmp_path / "repository"
    kafkeep("init", "--repo", str(repository)).expect(0)
    follow = ["backup", "--repo", str(repository), "--cluster", kafka_431.bootstrap, "--follow", "--interval", "20ms"]
    follow += ["--topics", ",".join(plain | transactional), "--pack-size", "1MiB"]
    dice = random.Random()
    heads = []
    with Load(kafka_431.bootstrap, plain=plain, transactional=transactional, records_per_second=3000) as load:
        for number in range(kills):
            with kafkeep.started(*follow) as running:
                # Every fifth dies at some moment of its start, every fifth at its first work, the others after commits.
                if number % 5 > 1:
                    running.until("committed", dice.randint(2, 4))
                elif number % 5:
                    running.until("stage")
                time.sleep(dice.uniform(0, 0.3 if number % 5 > 1 else 0.7))
                assert running.process.poll() is None, running.end()
                running.process.kill()
            store = LocalStore(repository)
            heads.append(check_log(store))
            store.close()
    left = len(orphans(LocalStore(repository))) + len(list((repository / "tmp").iterdir()))
    assert heads[-1] > kills, "most of the killed backups must have got as far as a commit"
    assert left > 0, "some must have been killed while they were writing"
    kafkeep(*follow[:5], "--topics", ",".join(plain | transactional)).expect(0)
    found = prove(kafkeep, kafka_431, repository, plain | transactional)
    assert load.ledger.aborted
    proof.on(kafka_431.version)
    proof.same(load.ledger.committed(), found, aborted=load.ledger.aborted)
    fault.figures(kills=kills)
    proof.figures(kills=kills, commits=heads[-1], objects_left_behind=left)


@pytest.fixture
def live(kafka_431_three: KafkaCluster) -> Iterator[Live]:
    """Whoever stops a node gets it started again."""
    with Cluster(kafka_431_three.cluster_config()) as cluster:
        yield Live(kafka_431_three, cluster)
        for node in kafka_431_three.lab.nodes:
            node.start()
        until(lambda: len(cluster.topology([]).brokers) == 3, what="all brokers being back")


@pytest.mark.parametrize("how", ["kill", "stop"])
@pytest.mark.exact("broker-lost-in-restore")
def test_a_broker_goes_while_it_is_written_to(live: Live, how: str, proof: Proof) -> None:
    filling = Filling(live.kafka, unique("lost")).create(partitions=PARTITIONS, replication=3, min_insync_replicas="2")
    for codec in ("none", "lz4"):
        filling.produce(900, partitions=PARTITIONS, compression_type=codec, batch_num_messages=5)
    repository = new_repository()
    point = live.back_up(repository, filling.topic).point
    target = RESTORED + filling.topic
    sink = Disturbance("restore", EARLY, lambda: leave(live, target, how))
    options = {"request_bytes": 1000, "repack_bytes": 0}
    result = live.put_back(repository, point, renames=RENAME, groups=(), sink=sink, **options)
    assert result.failures == () and result.records == 1800
    assert sink.retries, "the broker was lost in the middle"
    restored = live.seen(target)
    proof.on(live.kafka.version)
    proof.same(contents(live.seen(filling.topic)), contents(restored))
    assert all(offsets == list(range(len(offsets))) for offsets in offsets_of(restored).values())
    report = live.compare(repository, point, renames=RENAME)
    assert report.identical and {part.pairing for part in report.partitions} == {BY_MAP}
    await_overrides(live, target, {"min.insync.replicas": "2", "retention.ms": "-1"})
    proof.figures(requests_sent_again=len(sink.retries))

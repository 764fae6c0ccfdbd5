"""Three brokers, of which one dies while kafkeep reads or writes: nothing is lost and nothing comes twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import count

import pytest
from confluent_kafka import Producer
from tests.support.disturbance import EARLY, Disturbance, busy_node
from tests.support.kafka import KafkaCluster, unique
from tests.support.live import RENAME, RESTORED, Filling, Live, beside, contents, new_repository, now, until

from kafkeep.capture.options import BackupOptions
from kafkeep.capture.run import follow
from kafkeep.compare.report import BY_OFFSET
from kafkeep.kafka.cluster import Cluster
from kafkeep.verify.run import verify

pytestmark = pytest.mark.integration

PARTITIONS = 6
SAFE = {"min_insync_replicas": "2"}


@pytest.fixture
def live(kafka_431_three: KafkaCluster) -> Iterator[Live]:
    """Whoever stops a node gets it started again."""
    with Cluster(kafka_431_three.cluster_config()) as cluster:
        yield Live(kafka_431_three, cluster)
        for node in kafka_431_three.lab.nodes:
            node.start()
        until(lambda: len(cluster.topology([]).brokers) == 3, what="all brokers being back")


@pytest.fixture
def filled(live: Live) -> Filling:
    filling = Filling(live.kafka, unique("failover")).create(partitions=PARTITIONS, replication=3, **SAFE)
    for codec in ("none", "lz4"):
        filling.produce(900, partitions=PARTITIONS, compression_type=codec, batch_num_messages=5)
    return filling


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_broker_goes_while_it_is_read(live: Live, filled: Filling, how: str) -> None:
    """Killed: found out by lost connections; stopped in an orderly way: leaders move first."""
    node = busy_node(live, filled.topic)
    assert node.node_id != 1
    repository = new_repository()
    sink = Disturbance("backup", EARLY, node.kill if how == "kill" else lambda: node.stop())
    result = live.back_up(repository, filled.topic, sink=sink, fetch_bytes=2000)
    assert result.failures == () and result.gaps == () and result.records == 1800
    assert sink.retries, "the broker was lost in the middle"
    assert {change.why for change in result.opened} == {"first-seen"}
    assert verify(repository, level="data").findings == ()
    report = live.compare(repository, result.point)
    assert report.identical and report.records == 1800
    assert {part.pairing for part in report.partitions} == {BY_OFFSET}
    node.start()
    again = live.back_up(repository, filled.topic)
    assert again.records == 0 and again.opened == (), "new leader epochs are no new history"


def test_rounds_under_load_while_brokers_come_and_go(live: Live) -> None:
    """A producer that wants all replicas writes on and on; one broker after the other is killed and started again."""
    topic = unique("load")
    Filling(live.kafka, topic).create(partitions=PARTITIONS, replication=3, **SAFE)
    repository = new_repository()
    stop_load, stop_follow = threading.Event(), threading.Event()
    acknowledged: list[bytes] = []

    def write() -> None:
        producer = Producer({**live.kafka.client_properties, "acks": "all", "enable.idempotence": True, "linger.ms": 5})
        for number in count():
            if stop_load.is_set():
                break
            value = b"%d" % number
            producer.produce(
                topic,
                value=value,
                partition=number % PARTITIONS,
                on_delivery=lambda error, message: acknowledged.append(message.value()) if error is None else None,
            )
            producer.poll(0.001)
        assert producer.flush(60) == 0

    def read() -> None:
        options = BackupOptions(topics=(topic,))
        follow(live.cluster, repository, options, interval_seconds=0.2, now=now, stop=stop_follow)

    writing, reading = beside(write), beside(read)
    try:
        for node_id in (2, 3):
            time.sleep(1.5)
            live.kafka.lab.node(node_id).kill()
            time.sleep(1.5)
            live.kafka.lab.node(node_id).start()
        until(lambda: len(acknowledged) > 500, what="a load that is worth its name")
    finally:
        stop_load.set()
        writing.join(90)
        stop_follow.set()
        reading.join(60)
    assert not writing.is_alive() and not reading.is_alive()
    result = live.back_up(repository, topic)
    assert result.failures == ()
    assert {known.generation.lineage for known in repository.state.generations.values()} == {0}
    assert all(known.gaps[:] == [] for known in repository.state.generations.values())
    restored = live.put_back(repository, repository.points()[-1], renames=RENAME, groups=())
    assert restored.failures == ()
    source, there = contents(live.seen(topic)), contents(live.seen(RESTORED + topic))
    # Against the source and not against what was sent: a producer may itself write twice when its broker is killed.
    assert there == source
    values = [content.value for records in there.values() for content in records]
    assert len(values) > 500
    assert set(values) >= set(acknowledged)
    assert live.compare(repository, repository.points()[-1]).identical

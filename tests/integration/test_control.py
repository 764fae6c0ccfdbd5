"""The control path on real brokers: who is where, offsets, and what happens when brokers come and go."""

from __future__ import annotations

import base64
import logging
import threading
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer
from tests.support.configs import alter_topic
from tests.support.kafka import KafkaCluster, unique
from tests.support.live import until

from kafkeep.errors import KafkaAccessDenied, KafkaLoginError
from kafkeep.events import Event, Retried
from kafkeep.kafka.admin import NewTopic
from kafkeep.kafka.cluster import EARLIEST, LATEST, Cluster
from kafkeep.kafka.codes import ErrorCode
from kafkeep.kafka.config import ClusterConfig, SaslConfig
from kafkeep.model import NO_TOPIC_ID, GroupOffset, TopicPartition, topic_id_bytes
from kafkeep.secret import Secret

pytestmark = pytest.mark.integration


@pytest.fixture
def cluster(kafka: KafkaCluster) -> Iterator[Cluster]:
    with Cluster(kafka.cluster_config()) as cluster:
        yield cluster


@pytest.fixture
def topic(cluster: Cluster) -> str:
    """A fresh topic of three partitions."""
    return make_topic(cluster, partitions=3)


def make_topic(cluster: Cluster, *, partitions: int = 1, replication_factor: int = 1, **configs: str) -> str:
    name = unique("control")
    settings = tuple((key.replace("_", "."), value) for key, value in configs.items())
    created = cluster.admin.create_topics([NewTopic(name, partitions, replication_factor, settings)])[name]
    assert isinstance(created, str), created
    cluster.await_topics([name], seconds=60)
    return name


def fill(bootstrap: str, topic: str, *timestamps: int, partition: int = 0) -> None:
    """One batch per record, so that timestamp look-ups answer to the record."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
    for timestamp in timestamps:
        producer.produce(topic, value=b"x", partition=partition, timestamp=timestamp)
        assert producer.flush(20) == 0


def test_topology_names_brokers_topics_and_leaders(cluster: Cluster, topic: str) -> None:
    everything = cluster.topology()
    assert everything.cluster_id == cluster.cluster_id() != ""
    assert everything.controller in everything.brokers
    found = everything.topics[topic]
    assert (found.error, found.internal, len(topic_id_bytes(found.topic_id))) == (0, False, 16)
    assert found.topic_id != NO_TOPIC_ID
    assert [p.partition for p in found.partitions] == [0, 1, 2]
    for partition in found.partitions:
        assert partition.leader in everything.brokers
        assert partition.leader_epoch >= 0
        assert partition.replicas == partition.isr == (partition.leader,)


def test_asking_for_an_absent_topic_says_so_and_creates_nothing(cluster: Cluster) -> None:
    absent = unique("absent")
    assert cluster.topology([absent]).topics[absent].error == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    time.sleep(0.5)
    assert absent not in cluster.topology().topics
    assert cluster.topology([]).topics == {}


def test_a_topic_created_again_has_another_id(cluster: Cluster, topic: str) -> None:
    before = cluster.topology([topic]).topics[topic].topic_id
    assert cluster.admin.delete_topics([topic]) == {topic: None}
    deadline = time.monotonic() + 60
    while isinstance(created := cluster.admin.create_topics([NewTopic(topic, 1, 1)])[topic], Exception):
        assert time.monotonic() < deadline, created
        time.sleep(0.2)
    until(lambda: cluster.topology([topic]).topics[topic].topic_id == created, what="the broker knowing the second one")
    after = cluster.await_topics([topic], seconds=60).topics[topic]
    assert after.topic_id == created != before
    assert len(after.partitions) == 1


def test_offsets_at_the_ends_and_at_a_time(cluster: Cluster, kafka: KafkaCluster) -> None:
    topic = make_topic(cluster, partitions=3, retention_ms="-1")  # its records are of 1970
    fill(kafka.bootstrap, topic, 1000, 2000, 3000, partition=1)
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    earliest = cluster.offsets([first, second], EARLIEST)
    latest = cluster.offsets([first, second], LATEST)
    assert [(earliest[tp].offset, latest[tp].offset) for tp in (first, second)] == [(0, 0), (0, 3)]
    assert all(answer.error == 0 for answer in [*earliest.values(), *latest.values()])
    assert latest[second].leader_epoch == cluster.topology([topic]).topics[topic].partitions[1].leader_epoch
    at = cluster.offsets([first, second], 1500)
    assert (at[second].offset, at[second].timestamp) == (1, 2000)
    assert (at[first].offset, at[first].timestamp, at[first].error) == (-1, -1, 0)
    assert cluster.offsets([second], 3001)[second].offset == -1
    assert cluster.offsets([second], 2000)[second].offset == 1


def test_an_open_transaction_holds_the_last_stable_offset_back(
    cluster: Cluster, topic: str, kafka: KafkaCluster
) -> None:
    where = TopicPartition(topic, 0)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": topic, "linger.ms": 0})
    producer.init_transactions(30)
    producer.begin_transaction()
    for _ in range(3):
        producer.produce(topic, value=b"x", partition=0)
    producer.flush(20)
    assert cluster.offsets([where], LATEST)[where].offset == 3
    assert cluster.offsets([where], LATEST, read_committed=True)[where].offset == 0
    producer.abort_transaction(30)
    # The answer to the abort may come before its marker is written.
    until(lambda: cluster.offsets([where], LATEST, read_committed=True)[where].offset == 4, what="the abort's marker")
    assert cluster.offsets([where], LATEST)[where].offset == 4


def test_offsets_of_what_does_not_exist_are_codes(cluster: Cluster, topic: str) -> None:
    partitions = [TopicPartition(topic, 0), TopicPartition(topic, 99), TopicPartition("no-such-topic", 0)]
    found = cluster.offsets(partitions, LATEST)
    assert [found[tp].error for tp in partitions] == [0, 3, 3]


def test_a_producer_id_is_new_every_time(cluster: Cluster) -> None:
    first, second = cluster.admin.init_producer_id(), cluster.admin.init_producer_id()
    assert first[0] >= 0
    assert first != second


def test_versions_offered_are_told(cluster: Cluster) -> None:
    lowest, highest = cluster.broker_api(1)
    assert lowest <= 12 <= highest


def test_leaders_of_three_brokers_are_each_asked(kafka_431_three: KafkaCluster) -> None:
    with Cluster(kafka_431_three.cluster_config()) as cluster:
        name = make_topic(cluster, partitions=12, replication_factor=3)
        topology = cluster.topology([name])
        assert {p.leader for p in topology.topics[name].partitions} == set(topology.brokers)
        assert len(topology.brokers) == 3
        for partition in range(12):
            fill(kafka_431_three.bootstrap, name, *([1000] * (partition % 3)), partition=partition)
        found = cluster.offsets(topology.topic_partitions(), LATEST, topology=topology)
        assert {tp.partition: answer.offset for tp, answer in found.items()} == {p: p % 3 for p in range(12)}
        assert {answer.error for answer in found.values()} == {0}
        emptied = cluster.admin.delete_records(dict.fromkeys(topology.topic_partitions(), -1))
        assert {tp.partition: low for tp, (low, error) in emptied.items() if not error} == {p: p % 3 for p in range(12)}


def test_a_broker_that_restarts_is_waited_for(kafka: KafkaCluster) -> None:
    events: list[Event] = []
    with Cluster(kafka.cluster_config(), sink=events.append) as cluster:
        name = make_topic(cluster)
        where = TopicPartition(name, 0)
        fill(kafka.bootstrap, name, 1000)
        assert cluster.offsets([where], LATEST)[where].offset == 1
        kafka.lab.node(1).stop()
        back = threading.Thread(target=kafka.lab.node(1).start)
        back.start()
        try:
            assert cluster.offsets([where], LATEST)[where].offset == 1
            assert cluster.admin.group_offsets([f"group-of-{name}"]) == {f"group-of-{name}": ()}
            assert cluster.admin.init_producer_id()[0] >= 0
        finally:
            back.join()
    assert any(isinstance(event, Retried) for event in events)


def test_a_leader_that_dies_is_replaced_and_the_rest_goes_on(kafka_431_three: KafkaCluster) -> None:
    with Cluster(kafka_431_three.cluster_config()) as cluster:
        name = make_topic(cluster, partitions=6, replication_factor=3)
        topology = cluster.topology([name])
        victim = next(p.leader for p in topology.topics[name].partitions if p.leader != 1)
        cluster.admin.commit_group_offsets(name, [GroupOffset(TopicPartition(name, 0), 4, -1, "")])
        kafka_431_three.lab.node(victim).kill()
        try:
            found = cluster.offsets(topology.topic_partitions(), LATEST, topology=topology)
            assert {answer.error for answer in found.values()} == {0}
            moved = cluster.topology([name])
            assert victim not in {p.leader for p in moved.topics[name].partitions}
            positions = cluster.admin.group_offsets([name])[name]
            assert isinstance(positions, tuple)
            assert [position.offset for position in positions] == [4]
            assert name in [group.group_id for group in cluster.admin.groups()]
        finally:
            kafka_431_three.lab.node(victim).start()


def test_a_partition_whose_only_replica_is_away_keeps_its_code(kafka_431_three: KafkaCluster) -> None:
    with Cluster(kafka_431_three.cluster_config()) as cluster:
        name = unique("control")
        cluster.admin.create_topics([NewTopic(name, 2, 1, (), ((1,), (3,)))])
        cluster.await_topics([name], seconds=60)
        kafka_431_three.lab.node(3).stop()
        try:
            found = cluster.offsets([TopicPartition(name, 0), TopicPartition(name, 1)], LATEST, retry_seconds=1)
            assert found[TopicPartition(name, 0)].error == 0
            assert found[TopicPartition(name, 1)].error == ErrorCode.LEADER_NOT_AVAILABLE
        finally:
            kafka_431_three.lab.node(3).start()


def test_a_broker_that_hangs_is_passed_over(kafka_431_three: KafkaCluster) -> None:
    hung = kafka_431_three.lab.node(2)
    first_of_all = (hung.address(), kafka_431_three.lab.node(1).address(), kafka_431_three.lab.node(3).address())
    with Cluster(ClusterConfig(name="three", bootstrap=first_of_all, request_timeout_seconds=8.0)) as cluster:
        until(lambda: len(cluster.topology([]).brokers) == 3, what="all brokers")
        hung.pause()
        try:
            assert cluster.cluster_id() == kafka_431_three.lab.cluster_id
            started = time.monotonic()
            assert cluster.cluster_id() == kafka_431_three.lab.cluster_id
            assert time.monotonic() - started < 7, "it is not asked a second time"
        finally:
            hung.resume()
            # The controller may have given it up meanwhile.
            kafka_431_three.lab.wait_ready()


@pytest.fixture(params=["431", "392"])
def secured(request: pytest.FixtureRequest) -> KafkaCluster:
    """A cluster with logins and ACLs, of each pinned version in turn."""
    found: KafkaCluster = request.getfixturevalue(f"kafka_{request.param}_scram")
    return found


def test_a_login_without_rights_is_told_per_item_what_it_lacks(secured: KafkaCluster) -> None:
    group, name = unique("private"), unique("private")
    with Cluster(secured.cluster_config()) as admin:
        admin.admin.create_topics([NewTopic(name, 1, 1)])
        admin.await_topics([name], seconds=60)
        assert admin.admin.commit_group_offsets(group, [GroupOffset(TopicPartition(name, 0), 1, -1, "")])
    with Cluster(secured.cluster_config(user="alice")) as cluster:
        where = TopicPartition(name, 0)
        assert cluster.topology([name]).topics[name].error == ErrorCode.TOPIC_AUTHORIZATION_FAILED
        assert name not in cluster.topology().topics
        assert cluster.offsets([where], LATEST)[where].error == ErrorCode.TOPIC_AUTHORIZATION_FAILED
        answers = [
            cluster.admin.topic_configs([name])[name],
            cluster.admin.create_topics([NewTopic("mine", 1, 1)])["mine"],
            cluster.admin.delete_topics([name])[name],
            cluster.admin.group_offsets([group])[group],
            cluster.admin.group_state([group])[group],
        ]
        assert [type(answer) for answer in answers] == [KafkaAccessDenied] * 5
        assert all("this login lacks" in str(answer) for answer in answers)
        assert cluster.admin.groups() == ()
        with pytest.raises(KafkaAccessDenied, match="ALTER_CONFIGS"):
            alter_topic(cluster, name, values={"retention.ms": "1"})
        with pytest.raises(KafkaAccessDenied):
            cluster.admin.init_producer_id()
        with pytest.raises(KafkaAccessDenied):
            cluster.admin.commit_group_offsets(group, [GroupOffset(where, 1, -1, "")])


def test_a_wrong_password_is_a_login_error_and_no_password_reaches_a_log(
    kafka_431_scram: KafkaCluster, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        for name in ("kafka", "kafka.protocol.parser", "kafka.net"):
            logging.getLogger(name).setLevel(logging.DEBUG)
        for mechanism in ("PLAIN", "SCRAM-SHA-512"):
            with Cluster(kafka_431_scram.cluster_config(mechanism=mechanism)) as cluster:
                cluster.topology()
            sasl = SaslConfig(mechanism=mechanism, username="admin", password=Secret("canary-password"))
            wrong = kafka_431_scram.cluster_config(sasl=sasl)
            with Cluster(wrong) as cluster, pytest.raises(KafkaLoginError) as caught:
                cluster.topology()
            assert "canary-password" not in f"{caught.value} {caught.value.hint} {wrong}"
    seen = caplog.text + "".join(capfd.readouterr())
    assert "login" in seen or "logged in" in seen
    for secret in ("canary-password", kafka_431_scram.lab.logins.password("admin").reveal()):
        assert secret not in seen
        assert base64.b64encode(f"\0admin\0{secret}".encode()).decode() not in seen

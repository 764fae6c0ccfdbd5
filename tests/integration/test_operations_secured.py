"""The same over TLS with SCRAM, as a user who may only do what a backup and a restore need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from tests.support.kafka import (
    KafkaCluster,
    Position,
    Sample,
    commit_positions,
    committed_positions,
    produce_transaction,
    unique,
)
from tests.support.live import RENAME, RESTORED, Filling, Live, contents, java_sees, new_repository, total

from kafkeep.kafka.cluster import Cluster

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Login:
    fixture: str
    user: str
    mechanism: str


LOGINS = [
    Login("kafka_431_scram", "admin", "SCRAM-SHA-256"),
    Login("kafka_431_scram", "comma,equals=name", "SCRAM-SHA-512"),
    Login("kafka_392_scram", "admin", "SCRAM-SHA-512"),
]


@pytest.mark.parametrize("login", LOGINS, ids=lambda login: f"{login.fixture}-{login.mechanism}-{login.user[:5]}")
def test_a_round_trip_over_tls_and_scram(login: Login, request: pytest.FixtureRequest) -> None:
    kafka: KafkaCluster = request.getfixturevalue(login.fixture)
    topic = unique("secured")
    filling = Filling(kafka, topic).create(partitions=2)
    for codec in ("none", "snappy"):
        filling.produce(60, partitions=2, compression_type=codec)
    produce_transaction(
        kafka.client_properties,
        topic,
        [Sample(value=b"void", headers=(("topic", topic.encode()),))],
        transactional_id=topic,
        commit=False,
    )
    commit_positions(kafka.client_properties, topic, [Position(topic, 1, 7)])
    rights = nullcontext() if login.user == "admin" else allowed(kafka, login.user, topic)
    with rights, Cluster(kafka.cluster_config(user=login.user, mechanism=login.mechanism)) as cluster:
        live = Live(kafka, cluster)
        repository = new_repository()
        # The others may read records alone.
        result = live.back_up(repository, topic, settings=login.user == "admin")
        assert result.failures == () and result.point is not None and result.point.complete
        restored = live.put_back(repository, result.point, renames=RENAME, groups=(topic,))
        assert restored.failures == ()
        report = live.compare(repository, result.point, renames=RENAME)
        assert report.identical and report.records == restored.records == 120
    assert contents(live.seen(RESTORED + topic)) == contents(live.seen(topic))
    assert committed_positions(kafka.client_properties, topic, RESTORED + topic) == {1: 7}


@contextmanager
def allowed(kafka: KafkaCluster, user: str, topic: str) -> Iterator[None]:
    """The rights that docs/operations.md asks for without settings, and no other."""
    rights = {
        (ResourceType.TOPIC, topic): "READ DESCRIBE DESCRIBE_CONFIGS",
        (ResourceType.TOPIC, RESTORED + topic): "CREATE WRITE READ DESCRIBE DESCRIBE_CONFIGS ALTER_CONFIGS",
        (ResourceType.GROUP, topic): "DESCRIBE READ",
    }
    given = [
        (kind, name, ResourcePatternType.LITERAL, f"User:{user}", "*", AclOperation[right], AclPermissionType.ALLOW)
        for (kind, name), granted in rights.items()
        for right in granted.split()
    ]
    admin = AdminClient(kafka.client_properties)
    for future in admin.create_acls([AclBinding(*fields) for fields in given]).values():
        future.result(30)
    yield
    for removed in admin.delete_acls([AclBindingFilter(*fields) for fields in given]).values():
        removed.result(30)


def test_a_round_trip_over_tls(kafka_431_tls: KafkaCluster) -> None:
    topic = unique("tls")
    filling = Filling(kafka_431_tls, topic).create(partitions=2)
    filling.produce(150, partitions=2, compression_type="lz4").produce(50, partitions=2)
    for listener in (None, "MTLS"):
        with Cluster(kafka_431_tls.cluster_config(listener=listener)) as cluster:
            live = Live(kafka_431_tls, cluster)
            repository = new_repository()
            result = live.back_up(repository, topic)
            assert result.failures == () and result.records == 200
    with Cluster(kafka_431_tls.cluster_config()) as cluster:
        live = Live(kafka_431_tls, cluster)
        assert live.put_back(repository, result.point, renames=RENAME, groups=()).failures == ()
        assert live.compare(repository, result.point, renames=RENAME).identical
        before, after = live.seen(topic), live.seen(RESTORED + topic)
        assert contents(after) == contents(before)
        assert java_sees(kafka_431_tls, RESTORED + topic, total([after])) == java_sees(
            kafka_431_tls, topic, total([before])
        )


def test_a_topic_one_may_not_read_is_a_failure_by_name(kafka_431_scram: KafkaCluster) -> None:
    mine, other = unique("mine"), unique("other")
    for topic in (mine, other):
        Filling(kafka_431_scram, topic).create().produce(10)
    config = kafka_431_scram.cluster_config(user="alice")
    with allowed(kafka_431_scram, "alice", mine), Cluster(config) as cluster:
        live = Live(kafka_431_scram, cluster)
        repository = new_repository()
        result = live.back_up(repository, mine, other, settings=False)
        assert [failure.subject for failure in result.failures] == [other]
        assert "TOPIC_AUTHORIZATION_FAILED" in result.failures[0].reason
        assert result.point is not None and not result.point.complete
        assert {cut.generation.topic for cut in result.point.cuts} == {mine}
        assert result.records == 10

"""Topics, configs, groups and their positions on real brokers; confluent-kafka is the independent client beside us."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as Position
from tests.support.configs import alter_topic
from tests.support.kafka import KafkaCluster, commit, unique
from tests.support.live import until

from kafkeep.errors import KafkaRequestError
from kafkeep.kafka.admin import TOPIC_OVERRIDE, GroupListing, NewTopic
from kafkeep.kafka.cluster import EARLIEST, Cluster
from kafkeep.kafka.codes import ErrorCode
from kafkeep.kafka.connection import Connection, FrameBuffer
from kafkeep.kafka.wire.describe_configs import ConfigEntry
from kafkeep.model import NO_TOPIC_ID, GroupOffset, TopicPartition

pytestmark = pytest.mark.integration


@pytest.fixture
def cluster(kafka: KafkaCluster) -> Iterator[Cluster]:
    with Cluster(kafka.cluster_config()) as cluster:
        yield cluster


@pytest.fixture
def bootstrap(kafka: KafkaCluster) -> str:
    return kafka.bootstrap


@pytest.fixture
def topic(cluster: Cluster) -> str:
    """A fresh topic of three partitions."""
    name = unique("admin")
    created = cluster.admin.create_topics([NewTopic(name, 3, 1)])[name]
    assert isinstance(created, str), created
    cluster.await_topics([name], seconds=60)
    return name


def code_of(answer: object) -> int:
    assert isinstance(answer, KafkaRequestError), answer
    return answer.code


def overrides(cluster: Cluster, topic: str) -> dict[str, str | None]:
    found = cluster.admin.topic_configs([topic])[topic]
    assert isinstance(found, tuple), found
    return {entry.name: entry.value for entry in found if entry.source == TOPIC_OVERRIDE}


def test_topics_are_created_as_asked(cluster: Cluster) -> None:
    plain, assigned = unique("plain"), unique("assigned")
    node = next(iter(cluster.topology([]).brokers))
    created = cluster.admin.create_topics(
        [
            NewTopic(plain, 5, 1, (("retention.ms", "-1"), ("cleanup.policy", "compact"))),
            NewTopic(assigned, 2, 1, (), ((node,), (node,))),
        ]
    )
    found = cluster.await_topics([plain, assigned], seconds=60).topics
    assert {name: topic.topic_id for name, topic in found.items()} == created
    assert (len(found[plain].partitions), len(found[assigned].partitions)) == (5, 2)
    assert [p.replicas for p in found[assigned].partitions] == [(node,), (node,)]
    assert overrides(cluster, plain) == {"retention.ms": "-1", "cleanup.policy": "compact"}


def test_what_cannot_be_created_says_why_and_stops_nothing_else(cluster: Cluster, topic: str) -> None:
    good, wide, odd = unique("good"), unique("wide"), unique("odd")
    created = cluster.admin.create_topics(
        [
            NewTopic(topic, 1, 1),
            NewTopic("bad name", 1, 1),
            NewTopic(wide, 1, 99),
            NewTopic(odd, 1, 1, (("no.such.config", "1"),)),
            NewTopic(good, 1, 1),
        ]
    )
    assert isinstance(created[good], str)
    codes = [code_of(created[name]) for name in (topic, "bad name", wide, odd)]
    assert codes == [
        ErrorCode.TOPIC_ALREADY_EXISTS,
        ErrorCode.INVALID_TOPIC_EXCEPTION,
        ErrorCode.INVALID_REPLICATION_FACTOR,
        ErrorCode.INVALID_CONFIG,
    ]
    assert "no.such.config" in str(created[odd])


def test_validating_creates_nothing(cluster: Cluster) -> None:
    name = unique("draft")
    assert cluster.admin.create_topics([NewTopic(name, 1, 1)], validate_only=True) == {name: NO_TOPIC_ID}
    assert cluster.topology([name]).topics[name].error == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def test_deleting_answers_per_topic(cluster: Cluster, topic: str) -> None:
    absent = unique("absent")
    gone = cluster.admin.delete_topics([topic, absent])
    assert gone[topic] is None
    assert code_of(gone[absent]) == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def test_configs_tell_overrides_from_defaults(cluster: Cluster, topic: str) -> None:
    assert overrides(cluster, topic) == {}
    alter_topic(cluster, topic, values={"retention.ms": "12345", "cleanup.policy": "compact"})
    alter_topic(cluster, topic, values={"max.message.bytes": "2000"}, delete=["retention.ms"])
    wanted = {"cleanup.policy": "compact", "max.message.bytes": "2000"}
    until(lambda: overrides(cluster, topic) == wanted, what="the broker knowing what the controller took")
    found = cluster.admin.topic_configs([topic])[topic]
    assert isinstance(found, tuple)
    by_name = {entry.name: entry for entry in found}
    assert by_name["cleanup.policy"] == ConfigEntry("cleanup.policy", "compact", TOPIC_OVERRIDE, False, False)
    assert by_name["compression.type"].source == 5
    assert list(by_name) == sorted(by_name)


def test_configs_of_an_absent_topic_are_an_error_in_its_place(cluster: Cluster, topic: str) -> None:
    absent = unique("absent")
    found = cluster.admin.topic_configs([absent, topic])
    assert isinstance(found[topic], tuple)
    assert code_of(found[absent]) == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def test_a_refused_config_changes_nothing(cluster: Cluster, topic: str) -> None:
    with pytest.raises(KafkaRequestError, match=r"no\.such\.config"):
        alter_topic(cluster, topic, values={"retention.ms": "1", "no.such.config": "1"})
    assert overrides(cluster, topic) == {}


def test_records_are_deleted_up_to_an_offset(cluster: Cluster, topic: str, bootstrap: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap})
    for _ in range(5):
        producer.produce(topic, value=b"x", partition=0)
    producer.flush(20)
    here, empty, absent = TopicPartition(topic, 0), TopicPartition(topic, 1), TopicPartition(topic, 9)
    found = cluster.admin.delete_records({here: 3, empty: 7, absent: 1})
    assert found[here] == (3, 0)
    assert found[empty] == (-1, ErrorCode.OFFSET_OUT_OF_RANGE)
    assert found[absent] == (-1, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    assert cluster.offsets([here], EARLIEST)[here].offset == 3


def committed(bootstrap: str, group: str, topic: str, partitions: int) -> list[tuple[int, str | None]]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    found = consumer.committed([Position(topic, partition) for partition in range(partitions)], timeout=60)
    consumer.close()
    return [(position.offset, position.metadata) for position in found]


def test_positions_of_another_client_are_read_exactly(cluster: Cluster, topic: str, bootstrap: str) -> None:
    group = unique("reader")
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False})
    commit(consumer, [Position(topic, 0, 0, "née, = ok", 0), Position(topic, 2, 41, "", 3)])
    consumer.close()
    found = cluster.admin.group_offsets([group, unique("absent")])
    # The Python binding of librdkafka commits its string's terminating NUL with it.
    assert found.pop(group) == (
        GroupOffset(TopicPartition(topic, 0), 0, 0, "née, = ok\0"),
        GroupOffset(TopicPartition(topic, 2), 41, 3, "\0"),
    )
    assert list(found.values()) == [()]


def test_positions_are_set_for_an_absent_and_an_empty_group(cluster: Cluster, topic: str, bootstrap: str) -> None:
    group = unique("setter")
    first = [GroupOffset(TopicPartition(topic, p), 10 + p, -1, f"meta {p}") for p in range(3)]
    assert cluster.admin.commit_group_offsets(group, first) == {offset.topic_partition: 0 for offset in first}
    assert committed(bootstrap, group, topic, 3) == [(10, "meta 0"), (11, "meta 1"), (12, "meta 2")]
    assert cluster.admin.group_offsets([group]) == {group: tuple(first)}
    second = [GroupOffset(TopicPartition(topic, 1), 5, -1, "")]
    assert cluster.admin.commit_group_offsets(group, second) == {TopicPartition(topic, 1): 0}
    assert [offset for offset, _ in committed(bootstrap, group, topic, 3)] == [10, 5, 12]
    unknown = TopicPartition(unique("absent"), 0)
    assert cluster.admin.commit_group_offsets(group, [GroupOffset(unknown, 1, -1, "")]) == {unknown: 3}
    too_long = [GroupOffset(TopicPartition(topic, 0), 1, -1, "m" * 4097)]
    assert list(cluster.admin.commit_group_offsets(group, too_long).values()) == [12]


def joined(bootstrap: str, group: str, topic: str, protocol: str) -> Consumer:
    """A consumer that is a member of the group, with partitions assigned."""
    settings = {"bootstrap.servers": bootstrap, "group.id": group, "group.protocol": protocol}
    consumer = Consumer({**settings, "enable.auto.commit": False, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    until(lambda: (consumer.poll(0.2) or True) and consumer.assignment() != [], seconds=60, what="an assignment")
    return consumer


def listed(cluster: Cluster, group: str) -> GroupListing | None:
    return next((found for found in cluster.admin.groups() if found.group_id == group), None)


def await_state(cluster: Cluster, group: str, state: str) -> None:
    """Members tell the coordinator what they have taken over, and that they leave, a moment later."""

    def there() -> bool:
        found = cluster.admin.group_state([group])[group]
        return isinstance(found, GroupListing) and found.state == state

    until(there, what=f"the group being {state}")


def check_group_life(cluster: Cluster, topic: str, bootstrap: str, kind: str) -> None:
    group = unique(kind)
    absent = cluster.admin.group_state([group])[group]
    assert absent == GroupListing(group, "unknown", "Dead", "")
    assert listed(cluster, group) is None
    consumer = joined(bootstrap, group, topic, kind)
    try:
        commit(consumer, [Position(topic, 0, 7, "by a member")])
        await_state(cluster, group, "Stable")
        state = cluster.admin.group_state([group])[group]
        assert isinstance(state, GroupListing)
        assert (state.type, state.state, state.has_members) == (kind, "Stable", True)
        found = listed(cluster, group)
        assert found is not None
        assert (found.type, found.state, found.protocol_type) == (kind, "Stable", "consumer")
        refused = cluster.admin.commit_group_offsets(group, [GroupOffset(TopicPartition(topic, 0), 1, -1, "")])
        assert refused == {TopicPartition(topic, 0): ErrorCode.UNKNOWN_MEMBER_ID}
        offsets = cluster.admin.group_offsets([group])[group]
        assert isinstance(offsets, tuple)
        assert [(o.offset, o.metadata) for o in offsets] == [(7, "by a member\0")]
    finally:
        consumer.close()
    await_state(cluster, group, "Empty")
    empty = cluster.admin.group_state([group])[group]
    assert isinstance(empty, GroupListing)
    assert (empty.type, empty.state, empty.has_members) == (kind, "Empty", False)
    accepted = cluster.admin.commit_group_offsets(group, [GroupOffset(TopicPartition(topic, 0), 1, -1, "outside")])
    assert accepted == {TopicPartition(topic, 0): 0}


def test_a_classic_group_through_its_life(cluster: Cluster, topic: str, bootstrap: str) -> None:
    check_group_life(cluster, topic, bootstrap, "classic")


def test_a_consumer_protocol_group_through_its_life(kafka_431: KafkaCluster) -> None:
    """librdkafka speaks KIP-848 as released in 4.0, not the early access of 3.9."""
    with Cluster(kafka_431.cluster_config()) as cluster:
        name = unique("admin")
        cluster.admin.create_topics([NewTopic(name, 3, 1)])
        cluster.await_topics([name], seconds=60)
        check_group_life(cluster, name, kafka_431.bootstrap, "consumer")


def compact(text: str) -> bytes:
    return bytes([len(text) + 1]) + text.encode()


def test_a_share_group_is_listed_and_never_taken_for_absent(kafka_431: KafkaCluster) -> None:
    config = kafka_431.cluster_config()
    group, name = unique("share"), unique("admin")
    with Cluster(config) as cluster:
        cluster.admin.create_topics([NewTopic(name, 1, 1)])
        cluster.await_topics([name], seconds=60)
        cluster.admin.group_offsets([group])
        partition = b"\2" + struct.pack(">iq", 0, 0) + b"\0"
        body = compact(group) + b"\2" + compact(name) + partition + b"\0" + b"\0"
        host, port = config.addresses[0]
        deadline = time.monotonic() + 60
        while listed(cluster, group) is None:
            with Connection.open(config, host, port) as connection:
                # AlterShareGroupOffsets (KIP-932) makes an empty share group; not ready at once on a new cluster.
                connection.send(91, 0, [body])
                connection.receive(FrameBuffer())
            assert time.monotonic() < deadline
        assert listed(cluster, group) == GroupListing(group, "share", "Empty", "share")
        state = cluster.admin.group_state([group])[group]
        assert isinstance(state, GroupListing)
        assert (state.type, state.state) == ("share", "Empty")


def test_an_undecided_transactional_commit_is_waited_for(cluster: Cluster, topic: str, bootstrap: str) -> None:
    group = unique("undecided")
    before = [GroupOffset(TopicPartition(topic, 0), 1, -1, "")]
    cluster.admin.commit_group_offsets(group, before)
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": group})
    producer.init_transactions(90)
    producer.begin_transaction()
    producer.send_offsets_to_transaction([Position(topic, 0, 9)], consumer.consumer_group_metadata(), 90)
    assert cluster.admin.group_offsets([group], stable_wait_seconds=0.5) == {group: tuple(before)}
    producer.commit_transaction(90)
    found = cluster.admin.group_offsets([group])[group]
    assert isinstance(found, tuple)
    assert [offset.offset for offset in found] == [9]
    consumer.close()


def test_many_groups_are_read_in_few_requests(cluster: Cluster, topic: str) -> None:
    groups = [unique("many") for _ in range(130)]
    for index, group in enumerate(groups[:5]):
        cluster.admin.commit_group_offsets(group, [GroupOffset(TopicPartition(topic, 0), index, -1, "")])
    found = cluster.admin.group_offsets(groups)
    assert list(found) == groups
    assert [len(offsets) for offsets in found.values() if isinstance(offsets, tuple)] == [1] * 5 + [0] * 125

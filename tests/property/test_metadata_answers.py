"""Metadata by hand says, byte for byte, what kafka-python's generated codec says, and reads what that one writes."""

from __future__ import annotations

import base64
import struct
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import codec

from kafkeep.errors import KafkaProtocolError
from kafkeep.kafka.topology import Broker, PartitionTopology, TopicTopology, Topology
from kafkeep.kafka.wire.metadata import API_KEY, HIGHEST, LOWEST, Metadata, decode_metadata, encode_metadata
from kafkeep.kafka.wire.primitives import Reader
from kafkeep.model import NO_TOPIC_ID, topic_id_bytes

RESPONSE = codec.METADATA.response
VERSIONS = st.integers(LOWEST, HIGHEST)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=249)
I32 = st.integers(-(1 << 31), (1 << 31) - 1)
I16 = st.integers(-1, 200)
NODES = st.lists(I32, max_size=4).map(tuple) | st.integers(0, 130).map(lambda count: tuple(range(count)))
PARTITIONS = st.builds(
    PartitionTopology, partition=I32, leader=I32, leader_epoch=I32, replicas=NODES, isr=NODES, error=I16
)
IDS = st.just(NO_TOPIC_ID) | st.binary(min_size=16, max_size=16).map(
    lambda raw: base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
)
TOPICS = st.lists(
    st.builds(TopicTopology, NAMES, IDS, st.booleans(), st.lists(PARTITIONS, max_size=6).map(tuple), I16),
    max_size=4,
    unique_by=lambda topic: topic.name,
)
BROKERS = st.lists(st.builds(Broker, I32, NAMES, I32, st.none() | NAMES), max_size=3, unique_by=lambda b: b.node_id)


def answer(
    version: int,
    brokers: Sequence[Broker],
    topics: Sequence[TopicTopology],
    *,
    cluster_id: str | None = "cluster",
    throttle: int = 0,
    error: int = 0,
    offline: Sequence[int] = (),
) -> bytes:
    """As a broker writes it."""

    def since(first: int, **fields: object) -> dict[str, Any]:
        return fields if version >= first else {}

    def partition(told: PartitionTopology) -> Any:
        return RESPONSE.MetadataResponseTopic.MetadataResponsePartition(
            version=version,
            error_code=told.error,
            partition_index=told.partition,
            leader_id=told.leader,
            replica_nodes=list(told.replicas),
            isr_nodes=list(told.isr),
            **since(7, leader_epoch=told.leader_epoch),
            **since(5, offline_replicas=list(offline)),
        )

    def topic(told: TopicTopology) -> Any:
        return RESPONSE.MetadataResponseTopic(
            version=version,
            error_code=told.error,
            name=told.name,
            is_internal=told.internal,
            partitions=[partition(each) for each in told.partitions],
            **since(10, topic_id=uuid.UUID(bytes=topic_id_bytes(told.topic_id))),
        )

    whole = RESPONSE(
        version=version,
        throttle_time_ms=throttle,
        brokers=[
            RESPONSE.MetadataResponseBroker(
                version=version, node_id=each.node_id, host=each.host, port=each.port, rack=each.rack
            )
            for each in brokers
        ],
        cluster_id=cluster_id,
        controller_id=7,
        topics=[topic(each) for each in topics],
        **since(13, error_code=error),
    )
    return bytes(whole.encode(version=version))


def read(version: int, data: bytes) -> Metadata:
    return decode_metadata(version, Reader(memoryview(data), "answer"))


def as_told(version: int, topic: TopicTopology) -> TopicTopology:
    """What `version` can tell of a topic, partitions in their order."""
    partitions = [
        each
        if version >= 7
        else PartitionTopology(each.partition, each.leader, -1, each.replicas, each.isr, each.error)
        for each in sorted(topic.partitions, key=lambda each: each.partition)
    ]
    topic_id = topic.topic_id if version >= 10 else NO_TOPIC_ID
    return TopicTopology(topic.name, topic_id, topic.internal, tuple(partitions), topic.error)


def test_it_covers_the_versions_that_callers_can_handle() -> None:
    assert (codec.METADATA.key, codec.METADATA.lowest, codec.METADATA.highest) == (API_KEY, LOWEST, HIGHEST)


@given(VERSIONS, st.none() | st.lists(NAMES, max_size=5))
def test_requests_are_the_same_bytes(version: int, names: list[str] | None) -> None:
    wanted = None if names is None else [{"name": name} for name in names]
    fields = {"topics": wanted, "allow_auto_topic_creation": False}
    assert encode_metadata(version, names) == codec.METADATA.encode(version, fields)


def test_no_topic_is_ever_created_by_asking_for_it() -> None:
    assert encode_metadata(4, ["orders"]) == b"\0\0\0\1" + b"\0\6orders" + b"\0"
    assert encode_metadata(12, None) == b"\0" + b"\0\0" + b"\0", "and all topics are a null list"


@given(VERSIONS, BROKERS, TOPICS, st.none() | NAMES, st.integers(0, (1 << 31) - 1), I16, NODES)
def test_answers_are_read_as_they_were_written(
    version: int,
    brokers: list[Broker],
    topics: list[TopicTopology],
    cluster_id: str | None,
    throttle: int,
    error: int,
    offline: tuple[int, ...],
) -> None:
    data = answer(version, brokers, topics, cluster_id=cluster_id, throttle=throttle, error=error, offline=offline)
    assert read(version, data) == Metadata(
        throttle,
        error if version >= 13 else 0,
        Topology(
            "" if cluster_id is None else cluster_id,
            7,
            {each.node_id: each for each in brokers},
            {each.name: as_told(version, each) for each in topics},
        ),
    )


def test_tagged_fields_are_stepped_over() -> None:
    parts = tuple(PartitionTopology(number, 1, 5, (1, 2), (1,), 0) for number in range(3))
    topic = TopicTopology("orders", NO_TOPIC_ID, False, parts, 0)
    data = answer(12, [], [topic])
    # Behind the last partition: its tags, four bytes of operations, the tags of the topic and of the answer.
    assert data.endswith(b"\0" + b"\x80\0\0\0" + b"\0\0")
    tagged = data[:-7] + b"\x02\x00\x01x\x07\x02yz" + data[-6:-2] + b"\x01\x03\x00" + b"\x01\x09\x01t"
    assert read(12, tagged) == read(12, data)
    size = struct.calcsize(">hiiiBiiBiBx")
    first = len(data) - 7 - 2 * size
    assert data[first - size + 1 : first] == struct.pack(">hiiiBiiBiB", 0, 0, 1, 5, 3, 1, 2, 2, 1, 1)
    of_the_first = data[:first] + b"\x01\x00\x01x" + data[first + 1 :]
    assert read(12, of_the_first) == read(12, data)


def test_a_topic_that_has_no_name_is_left_out() -> None:
    nameless = RESPONSE(
        version=12,
        brokers=[],
        topics=[RESPONSE.MetadataResponseTopic(version=12, error_code=100, name=None, topic_id=uuid.UUID(int=5))],
    )
    assert read(12, bytes(nameless.encode(version=12))).topology.topics == {}


@given(VERSIONS, st.data())
def test_damaged_answers_are_refused(version: int, data: st.DataObject) -> None:
    parts = tuple(PartitionTopology(number, 1, 5, (1, 2), (1,), 0) for number in range(2))
    whole = answer(version, [Broker(1, "here", 9092, None)], [TopicTopology("t", NO_TOPIC_ID, False, parts, 0)])
    cut = data.draw(st.integers(0, len(whole) - 1))
    for damaged in (whole[:cut], whole + b"\0"):
        with pytest.raises(KafkaProtocolError, match="malformed answer"):
            read(version, damaged)


@pytest.mark.parametrize("version", [8, 12])
def test_a_null_is_not_taken_for_no_brokers(version: int) -> None:
    null = b"\0" if version == 12 else b"\xff\xff\xff\xff"
    with pytest.raises(KafkaProtocolError, match="a null where an array must be"):
        read(version, b"\0\0\0\0" + null + bytes(20))

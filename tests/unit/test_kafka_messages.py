"""Fetch and Produce messages of every version against kafka-python's codec, and answers no broker would send."""

from __future__ import annotations

import importlib
import pkgutil
import struct
import uuid
from typing import Any

import pytest
from kafka.protocol.consumer import FetchRequest, FetchResponse
from kafka.protocol.producer import ProduceRequest, ProduceResponse
from tests.support.messages import body, request

from kafkeep.errors import KafkaProtocolError
from kafkeep.kafka.wire import fetch, headers, produce
from kafkeep.kafka.wire.fetch import FetchPosition, decode_fetch, encode_fetch
from kafkeep.kafka.wire.primitives import Reader, compact_string, string, uvarint
from kafkeep.kafka.wire.produce import ProduceBatch, decode_produce, encode_produce
from kafkeep.model import AbortedTransaction, TopicPartition, topic_id_text

FETCH_VERSIONS = range(fetch.LOWEST, fetch.HIGHEST + 1)
PRODUCE_VERSIONS = range(produce.LOWEST, produce.HIGHEST + 1)
A, B = uuid.UUID(int=7), uuid.UUID(int=2**127 + 9)
POSITIONS = [
    FetchPosition(TopicPartition("ä", 3), topic_id_text(A.bytes), 10**12, 5, 4),
    FetchPosition(TopicPartition("ä", 0), topic_id_text(A.bytes), 0, -1),
    FetchPosition(TopicPartition("b" * 200, 1), topic_id_text(B.bytes), 1, 2, 2),
    FetchPosition(TopicPartition("ä", 2), topic_id_text(A.bytes), 7, 1),
]


def reader(data: bytes) -> Reader:
    return Reader(memoryview(data).toreadonly(), "answer")


def fetch_keys(version: int, positions: list[FetchPosition]) -> dict[tuple[fetch.TopicKey, int], TopicPartition]:
    return {
        (fetch.topic_key(version, position), position.topic_partition.partition): position.topic_partition
        for position in positions
    }


@pytest.mark.parametrize("version", FETCH_VERSIONS)
def test_fetch_requests(version: int) -> None:
    data = encode_fetch(
        version, POSITIONS, max_wait_ms=123, response_bytes=8 << 20, partition_bytes=1 << 20, read_committed=True
    )
    asked = request(FetchRequest, version, data)
    assert (asked.max_wait_ms, asked.min_bytes, asked.max_bytes, asked.isolation_level) == (123, 1, 8 << 20, 1)
    assert asked.replica_id == -1
    if version >= 7:
        assert (asked.session_id, asked.session_epoch, asked.forgotten_topics_data) == (0, -1, [])
    if version >= 11:
        assert asked.rack_id == ""
    flat = [
        (
            topic.topic if version < 13 else topic.topic_id,
            part.partition,
            part.fetch_offset,
            part.partition_max_bytes,
            part.current_leader_epoch if version >= 9 else None,
            part.last_fetched_epoch if version >= 12 else None,
        )
        for topic in asked.topics
        for part in topic.partitions
    ]
    assert flat == [
        (
            position.topic_partition.topic if version < 13 else (A if "ä" in position.topic_partition.topic else B),
            position.topic_partition.partition,
            position.offset,
            1 << 20,
            position.leader_epoch if version >= 9 else None,
            position.last_fetched_epoch if version >= 12 else None,
        )
        for position in POSITIONS
    ]


def fetch_answer(version: int, **partition: Any) -> bytes:
    common: dict[str, Any] = {"high_watermark": 90, "last_stable_offset": 80, "aborted_transactions": None}
    if version >= 5:
        common["log_start_offset"] = 3
    if version >= 11:
        common["preferred_read_replica"] = -1
    full = {"partition_index": 3, "error_code": 0, "records": b"some bytes"} | common | partition
    topics = [
        {"topic": "ä", "partitions": [full]} if version < 13 else {"topic_id": A, "partitions": [full]},
        {"topic": "b" * 200, "partitions": []} if version < 13 else {"topic_id": B, "partitions": []},
    ]
    extra = {"error_code": 0, "session_id": 0} if version >= 7 else {}
    if version >= 16:
        extra["node_endpoints"] = [{"node_id": 2, "host": "h", "port": 1, "rack": None}]
    return body(FetchResponse, version, throttle_time_ms=17, responses=topics, **extra)


@pytest.mark.parametrize("version", FETCH_VERSIONS)
def test_fetch_answers(version: int) -> None:
    aborted = [{"producer_id": 5, "first_offset": 6}, {"producer_id": 2**62, "first_offset": 0}]
    data = fetch_answer(version, aborted_transactions=aborted, error_code=0)
    throttle, error, (got,) = decode_fetch(version, reader(data), fetch_keys(version, POSITIONS))
    assert (throttle, error) == (17, 0)
    assert got.topic_partition == TopicPartition("ä", 3)
    assert (got.error, got.high_watermark, got.last_stable_offset) == (0, 90, 80)
    assert got.log_start_offset == (3 if version >= 5 else -1)
    assert got.aborted == (AbortedTransaction(5, 6), AbortedTransaction(2**62, 0))
    assert bytes(got.records) == b"some bytes"
    assert got.records.readonly
    assert (got.diverging, got.current_leader) == (None, None)


@pytest.mark.parametrize("version", [12, 13, 16, 18])
def test_fetch_answers_with_tags(version: int) -> None:
    data = fetch_answer(
        version,
        error_code=74,
        records=None,
        diverging_epoch={"epoch": 4, "end_offset": 77},
        current_leader={"leader_id": 2, "leader_epoch": 9},
        snapshot_id={"end_offset": 1, "epoch": 1},
    )
    _, _, (got,) = decode_fetch(version, reader(data), fetch_keys(version, POSITIONS))
    assert (got.error, got.diverging, got.current_leader, bytes(got.records)) == (74, (4, 77), (2, 9), b"")


@pytest.mark.parametrize("version", FETCH_VERSIONS)
def test_cut_fetch_answers(version: int) -> None:
    data = fetch_answer(version, aborted_transactions=[{"producer_id": 5, "first_offset": 6}])
    for cut in range(len(data)):
        with pytest.raises(KafkaProtocolError, match="malformed answer"):
            decode_fetch(version, reader(data[:cut]), fetch_keys(version, POSITIONS))
    with pytest.raises(KafkaProtocolError, match="1 bytes too many"):
        decode_fetch(version, reader(data + b"\0"), fetch_keys(version, POSITIONS))


@pytest.mark.parametrize("version", FETCH_VERSIONS)
def test_fetch_answers_to_other_questions(version: int) -> None:
    data = fetch_answer(version)
    others = [position for position in POSITIONS if position.topic_partition.partition != 3]
    with pytest.raises(KafkaProtocolError, match="not asked for"):
        decode_fetch(version, reader(data), fetch_keys(version, others))


def produce_batches(version: int) -> list[ProduceBatch]:
    return [
        ProduceBatch(TopicPartition("a", 1), topic_id_text(A.bytes), (b"head", memoryview(b"payload"))),
        ProduceBatch(TopicPartition("b", 0), topic_id_text(B.bytes), (b"x" * 300,)),
        ProduceBatch(TopicPartition("a", 0), topic_id_text(A.bytes), (b"", b"y")),
    ]


def produce_keys(version: int) -> dict[tuple[produce.TopicKey, int], TopicPartition]:
    return {
        (produce.topic_key(version, batch), batch.topic_partition.partition): batch.topic_partition
        for batch in produce_batches(version)
    }


@pytest.mark.parametrize("version", PRODUCE_VERSIONS)
def test_produce_requests(version: int) -> None:
    parts = encode_produce(version, produce_batches(version), acks=-1, timeout_ms=1234)
    asked = request(ProduceRequest, version, b"".join(parts))
    assert (asked.transactional_id, asked.acks, asked.timeout_ms) == (None, -1, 1234)
    assert [
        (
            topic.name if version < 13 else topic.topic_id,
            [(part.index, bytes(part.records)) for part in topic.partition_data],
        )
        for topic in asked.topic_data
    ] == [
        ("a" if version < 13 else A, [(1, b"headpayload"), (0, b"y")]),
        ("b" if version < 13 else B, [(0, b"x" * 300)]),
    ]


def produce_answer(version: int, *answers: tuple[str, int, dict[str, Any]]) -> bytes:
    topics = []
    for topic, index, extra in answers:
        common: dict[str, Any] = {"index": index, "error_code": 0, "base_offset": 50 + index, "log_append_time_ms": -1}
        if version >= 5:
            common["log_start_offset"] = 2
        name = {"name": topic} if version < 13 else {"topic_id": A if topic == "a" else B}
        topics.append(name | {"partition_responses": [common | extra]})
    return body(ProduceResponse, version, responses=topics, throttle_time_ms=9)


@pytest.mark.parametrize("version", PRODUCE_VERSIONS)
def test_produce_answers_come_in_the_order_asked(version: int) -> None:
    data = produce_answer(version, ("a", 0, {}), ("b", 0, {"error_code": 6}), ("a", 1, {"log_append_time_ms": 77}))
    throttle, answers = decode_produce(version, reader(data), produce_keys(version))
    assert throttle == 9
    assert [(str(got.topic_partition), got.error, got.base_offset, got.log_append_time) for got in answers] == [
        ("a/1", 0, 51, 77),
        ("b/0", 6, 50, -1),
        ("a/0", 0, 50, -1),
    ]
    assert {got.log_start_offset for got in answers} == {2 if version >= 5 else -1}


@pytest.mark.parametrize("version", range(8, 14))
def test_what_brokers_say_about_refused_records(version: int) -> None:
    errors = [
        {"batch_index": 4, "batch_index_error_message": None},
        {"batch_index": 5, "batch_index_error_message": "no key"},
    ]
    extra: dict[str, Any] = {"error_code": 87, "record_errors": errors, "error_message": None}
    whole = {"error_code": 10, "error_message": "too large"}
    if version >= 10:
        whole["current_leader"] = {"leader_id": 3, "leader_epoch": 8}
    data = produce_answer(version, ("a", 1, extra), ("b", 0, whole), ("a", 0, {}))
    _, answers = decode_produce(version, reader(data), produce_keys(version))
    assert [got.message for got in answers] == ["record 5: no key", "too large", None]
    assert answers[1].current_leader == ((3, 8) if version >= 10 else None)


@pytest.mark.parametrize("version", PRODUCE_VERSIONS)
def test_wrong_produce_answers(version: int) -> None:
    keys = produce_keys(version)
    full = [("a", 0, {}), ("b", 0, {}), ("a", 1, {})]
    data = produce_answer(version, *full)
    for cut in range(len(data)):
        with pytest.raises(KafkaProtocolError):
            decode_produce(version, reader(data[:cut]), keys)
    with pytest.raises(KafkaProtocolError, match="1 partitions are not answered"):
        decode_produce(version, reader(produce_answer(version, *full[:2])), keys)
    with pytest.raises(KafkaProtocolError, match="answered twice"):
        decode_produce(version, reader(produce_answer(version, *full, full[0])), keys)
    with pytest.raises(KafkaProtocolError, match="not asked for"):
        decode_produce(version, reader(produce_answer(version, *full, ("b", 4, {}))), keys)


def test_headers_of_every_call_kafka_python_knows() -> None:
    import kafka.protocol
    from kafka.protocol.api_header import ResponseClassRegistry

    for module in pkgutil.walk_packages(kafka.protocol.__path__, "kafka.protocol."):
        importlib.import_module(module.name)
    checked = 0
    for key, kind in ResponseClassRegistry._response_class_registry.items():
        for version in range(kind.max_version + 1):
            assert headers.flexible(key, version) == kind.flexible_version_q(version), (key, version)
            checked += 1
    assert checked > 150
    assert headers.flexible(18, 3)
    assert not headers.flexible_answer_header(18, 3)
    assert headers.flexible(75, 0)
    assert headers.flexible(5000, 0)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xff\xff\xff\xff\x01", b"\xff\xff\xff\xff\xff\xff", b"\x80"],
    ids=["nothing", "six bytes", "endless", "cut"],
)
def test_bad_varints(data: bytes) -> None:
    with pytest.raises(KafkaProtocolError, match="a bad varint"):
        reader(data).uvarint()


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**31 - 1, 2**32 - 1])
def test_varints(value: int) -> None:
    assert reader(uvarint(value)).uvarint() == value


@pytest.mark.parametrize("text", ["", "a", "ä" * 100, None])
def test_strings(text: str | None) -> None:
    assert reader(string(text)).nullable_string(compact=False) == text
    assert reader(compact_string(text)).nullable_string(compact=True) == text


@pytest.mark.parametrize(
    "data",
    [struct.pack(">h", -2), struct.pack(">h", 5) + b"abc", struct.pack(">h", 2) + b"\xff\xfe", struct.pack(">h", -1)],
)
def test_bad_strings(data: bytes) -> None:
    with pytest.raises(KafkaProtocolError):
        reader(data).string(compact=False)


@pytest.mark.parametrize("count", [-2, 2**31 - 1, -(2**31), 5])
def test_bad_counts(count: int) -> None:
    with pytest.raises(KafkaProtocolError, match=f"an array of {count} elements"):
        reader(struct.pack(">i", count) + b"four").count(compact=False)
    assert reader(struct.pack(">i", -1)).count(compact=False) == 0

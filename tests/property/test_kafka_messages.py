"""Answers made of any bytes, and of any change to an honest one: read, or refused in the one way (row P2)."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st
from kafka.protocol.consumer import FetchResponse
from kafka.protocol.producer import ProduceResponse
from tests.support.examples import examples
from tests.support.messages import body

from kafkeep.errors import KafkaProtocolError
from kafkeep.kafka.wire import fetch, produce
from kafkeep.kafka.wire.primitives import Reader
from kafkeep.model import TopicPartition

TOPIC = uuid.UUID(int=11)
WANTED = [TopicPartition("t", 0), TopicPartition("t", 1)]
FETCH_VERSIONS = st.integers(fetch.LOWEST, fetch.HIGHEST)
PRODUCE_VERSIONS = st.integers(produce.LOWEST, produce.HIGHEST)


def expected(version: int) -> dict[tuple[str | bytes, int], TopicPartition]:
    return {(TOPIC.bytes if version >= 13 else "t", wanted.partition): wanted for wanted in WANTED}


def read_fetch(version: int, data: bytes) -> None:
    reader = Reader(memoryview(data), "answer")
    try:
        _, _, partitions = fetch.decode_fetch(version, reader, expected(version))
    except KafkaProtocolError:
        return
    assert len({got.topic_partition for got in partitions}) == len(partitions) <= len(WANTED)
    assert sum(len(got.records) for got in partitions) <= len(data)
    assert reader.remaining == 0


def read_produce(version: int, data: bytes) -> None:
    try:
        _, answers = produce.decode_produce(version, Reader(memoryview(data), "answer"), expected(version))
    except KafkaProtocolError:
        return
    assert [got.topic_partition for got in answers] == WANTED


def fetch_answer(version: int) -> bytes:
    partitions = []
    for index in range(2):
        aborted = [{"producer_id": 1, "first_offset": 2}]
        partition = {"partition_index": index, "error_code": 0, "high_watermark": 1, "last_stable_offset": 1}
        partition |= {"records": bytes(20), "aborted_transactions": aborted}
        partition |= {"log_start_offset": 0} if version >= 5 else {}
        partition |= {"preferred_read_replica": -1} if version >= 11 else {}
        partition |= {"current_leader": {"leader_id": 1, "leader_epoch": 2}} if version >= 12 else {}
        partitions.append(partition)
    name = {"topic": "t"} if version < 13 else {"topic_id": TOPIC}
    extra = {"error_code": 0, "session_id": 0} if version >= 7 else {}
    return body(FetchResponse, version, throttle_time_ms=0, responses=[name | {"partitions": partitions}], **extra)


def produce_answer(version: int) -> bytes:
    answers = []
    for index in range(2):
        answer = {"index": index, "error_code": 0, "base_offset": 1, "log_append_time_ms": -1}
        answer |= {"log_start_offset": 0} if version >= 5 else {}
        answer |= {"record_errors": [{"batch_index": 1, "batch_index_error_message": "x"}]} if version >= 8 else {}
        answers.append(answer)
    name = {"name": "t"} if version < 13 else {"topic_id": TOPIC}
    return body(ProduceResponse, version, responses=[name | {"partition_responses": answers}], throttle_time_ms=0)


@examples(300)
@given(FETCH_VERSIONS, st.binary(max_size=200))
def test_any_bytes_as_a_fetch_answer(version: int, data: bytes) -> None:
    read_fetch(version, data)


@examples(300)
@given(PRODUCE_VERSIONS, st.binary(max_size=200))
def test_any_bytes_as_a_produce_answer(version: int, data: bytes) -> None:
    read_produce(version, data)


def changed(data: bytes, position: int, insert: bytes, drop: int) -> bytes:
    position %= len(data) + 1
    return data[:position] + insert + data[position + drop :]


EDITS = st.tuples(st.integers(0, 10_000), st.binary(max_size=5), st.integers(0, 5))


@examples(400)
@given(FETCH_VERSIONS, st.lists(EDITS, min_size=1, max_size=3))
def test_a_changed_fetch_answer(version: int, edits: list[tuple[int, bytes, int]]) -> None:
    data = fetch_answer(version)
    for edit in edits:
        data = changed(data, *edit)
    read_fetch(version, data)


@examples(400)
@given(PRODUCE_VERSIONS, st.lists(EDITS, min_size=1, max_size=3))
def test_a_changed_produce_answer(version: int, edits: list[tuple[int, bytes, int]]) -> None:
    data = produce_answer(version)
    for edit in edits:
        data = changed(data, *edit)
    read_produce(version, data)

"""ListOffsets by hand says, byte for byte, what kafka-python's generated codec says, and reads what that one writes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.protocol.consumer import ListOffsetsResponse
from tests.support import codec

from kafkeep.errors import KafkaProtocolError
from kafkeep.kafka.wire.list_offsets import (
    HIGHEST,
    LOWEST,
    ListedOffset,
    ListedOffsets,
    decode_list_offsets,
    encode_list_offsets,
)
from kafkeep.kafka.wire.primitives import Reader

VERSIONS = st.integers(LOWEST, HIGHEST)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=300)
I32 = st.integers(-(1 << 31), (1 << 31) - 1)
I64 = st.integers(-(1 << 63), (1 << 63) - 1)
ASKED = st.dictionaries(NAMES, st.lists(st.tuples(I32, I32), max_size=4), max_size=4)
TOLD = st.dictionaries(NAMES, st.lists(st.tuples(I32, st.integers(-1, 200), I64, I64, I32), max_size=4), max_size=4)


def answer(version: int, told: dict[str, list[tuple[int, int, int, int, int]]], throttle: int) -> bytes:
    """As a broker writes it."""

    def partition(number: int, error: int, timestamp: int, offset: int, epoch: int) -> Any:
        fields = {"partition_index": number, "error_code": error, "timestamp": timestamp, "offset": offset}
        kind = ListOffsetsResponse.ListOffsetsTopicResponse.ListOffsetsPartitionResponse
        return kind(version=version, **fields, **({"leader_epoch": epoch} if version >= 4 else {}))

    topics = [
        ListOffsetsResponse.ListOffsetsTopicResponse(
            version=version, name=name, partitions=[partition(*fields) for fields in partitions]
        )
        for name, partitions in told.items()
    ]
    whole = ListOffsetsResponse(version=version, throttle_time_ms=throttle, topics=topics)
    return bytes(whole.encode(version=version))


def test_it_covers_the_versions_that_callers_can_handle() -> None:
    assert (codec.LIST_OFFSETS.lowest, codec.LIST_OFFSETS.highest) == (LOWEST, HIGHEST)


@given(VERSIONS, ASKED, I64, st.booleans(), st.integers(0, (1 << 31) - 1))
def test_requests_are_the_same_bytes(
    version: int, asked: dict[str, list[tuple[int, int]]], at: int, read_committed: bool, timeout_ms: int
) -> None:
    fields = {
        "replica_id": -1,
        "isolation_level": int(read_committed),
        "topics": [
            {
                "name": name,
                "partitions": [
                    {"partition_index": number, "current_leader_epoch": epoch, "timestamp": at}
                    for number, epoch in partitions
                ],
            }
            for name, partitions in asked.items()
        ],
        "timeout_ms": timeout_ms,
    }
    made = encode_list_offsets(version, asked, at, read_committed=read_committed, timeout_ms=timeout_ms)
    assert made == codec.LIST_OFFSETS.encode(version, fields)


@given(VERSIONS, TOLD, st.integers(0, (1 << 31) - 1))
def test_answers_are_read_as_they_were_written(
    version: int, told: dict[str, list[tuple[int, int, int, int, int]]], throttle: int
) -> None:
    found = decode_list_offsets(version, Reader(memoryview(answer(version, told, throttle)), "answer"))
    assert found == ListedOffsets(
        throttle,
        {
            name: [
                ListedOffset(number, error, timestamp, offset, epoch if version >= 4 else -1)
                for number, error, timestamp, offset, epoch in partitions
            ]
            for name, partitions in told.items()
        },
    )


def test_tagged_fields_are_stepped_over() -> None:
    data = answer(7, {"orders": [(3, 0, -1, 42, 5), (4, 0, -1, 43, 5)]}, 0)
    # The last three bytes: no tagged fields of the second partition, of the topic, of the answer.
    assert data.endswith(b"\0\0\0")
    first, tags = data[: -3 - 26], b"\x02\x00\x01x\x07\x02yz"
    told = {"orders": [ListedOffset(3, 0, -1, 42, 5), ListedOffset(4, 0, -1, 43, 5)]}
    for of_first, of_second in ((b"\0", tags), (tags, b"\0"), (tags, tags)):
        assert first.endswith(b"\0")
        tagged = first[:-1] + of_first + data[-3 - 26 : -3] + of_second + b"\x01\x03\x00" + b"\x01\x09\x01t"
        assert decode_list_offsets(7, Reader(memoryview(tagged), "answer")).topics == told


@given(VERSIONS, st.data())
def test_damaged_answers_are_refused(version: int, data: st.DataObject) -> None:
    whole = answer(version, {"orders": [(0, 0, -1, 42, 5), (1, 0, -1, 43, 5)]}, 0)
    cut = data.draw(st.integers(0, len(whole) - 1))
    for damaged in (whole[:cut], whole + b"\0"):
        with pytest.raises(KafkaProtocolError, match="malformed answer"):
            decode_list_offsets(version, Reader(memoryview(damaged), "answer"))

"""Produce requests and answers, versions 3 to 13. Pure; batches are not copied.

Schema: clients/src/main/resources/common/message/ProduceRequest.json and ProduceResponse.json. Version 9 is flexible,
10 names new leaders (KIP-951), 13 uses topic ids (KIP-516).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from kafkeep.kafka.wire.primitives import NO_TAGS, Reader, compact_string, string, uvarint
from kafkeep.model import TopicPartition, topic_id_bytes

API_KEY: Final = 0
LOWEST: Final = 3
HIGHEST: Final = 13
FLEXIBLE: Final = 9
TOPIC_IDS: Final = 13

_TAG_CURRENT_LEADER: Final = 0
_NUMBER: Final = struct.Struct(">i")
_LEADER: Final = struct.Struct(">ii")
_NOTHING_TO_SAY: Final = b"\x01\x00\x00"
"""No errors of records, no message, no tagged fields: how a flexible answer ends as a rule."""
_PARTITION_V3: Final = struct.Struct(">ihqq")
_PARTITION_V5: Final = struct.Struct(">ihqqq")

TopicKey = str | bytes


class ProduceBatch(NamedTuple):
    """One batch for one partition; a broker takes exactly one per partition and request."""

    topic_partition: TopicPartition
    topic_id: str
    """Kafka's text form; `NO_TOPIC_ID` where unknown, which keeps the request below version 13."""
    parts: tuple[bytes | memoryview, ...]
    """The batch's bytes in pieces, for example a rewritten header and the payload it belongs to."""

    @property
    def size(self) -> int:
        """Bytes of the batch."""
        return sum(map(len, self.parts))


class ProducedBatch(NamedTuple):
    """The broker's answer for one batch."""

    topic_partition: TopicPartition
    error: int
    """Kafka's error code, 0 when the batch is written (or was before: an idempotent repeat)."""
    base_offset: int
    log_append_time: int
    """-1 where the topic keeps the producer's times."""
    log_start_offset: int
    """-1 from brokers below Produce version 5."""
    message: str | None
    """What the broker says about the error, where it says more than the code."""
    current_leader: tuple[int, int] | None
    """(node id, leader epoch), when the broker says that another one leads."""


def encode_produce(
    version: int, batches: Sequence[ProduceBatch], *, acks: int, timeout_ms: int
) -> list[bytes | bytearray | memoryview]:
    """The body of a request as pieces to be sent one behind the other; each topic is listed once."""
    compact = version >= FLEXIBLE
    topics: dict[TopicKey, list[ProduceBatch]] = {}
    for batch in batches:
        topics.setdefault(topic_key(version, batch), []).append(batch)
    head = bytearray(compact_string(None) if compact else string(None))
    head += struct.pack(">hi", acks, timeout_ms) + _count(len(topics), compact=compact)
    parts: list[bytes | bytearray | memoryview] = []
    for key, group in topics.items():
        head += _topic_key_bytes(key, compact=compact) + _count(len(group), compact=compact)
        for batch in group:
            size = sum(map(len, batch.parts))
            head += _NUMBER.pack(batch.topic_partition.partition) + (
                uvarint(size + 1) if compact else _NUMBER.pack(size)
            )
            parts.append(head)
            parts += batch.parts
            head = bytearray(NO_TAGS if compact else b"")
        head += NO_TAGS if compact else b""
    parts.append(bytes(head + (NO_TAGS if compact else b"")))
    return parts


def topic_key(version: int, batch: ProduceBatch) -> TopicKey:
    """What names the batch's topic at this version."""
    return topic_id_bytes(batch.topic_id) if version >= TOPIC_IDS else batch.topic_partition.topic


def _topic_key_bytes(key: TopicKey, *, compact: bool) -> bytes:
    if isinstance(key, bytes):
        return key
    return compact_string(key) if compact else string(key)


def _count(count: int, *, compact: bool) -> bytes:
    return uvarint(count + 1) if compact else struct.pack(">i", count)


def decode_produce(
    version: int, reader: Reader, expected: Mapping[tuple[TopicKey, int], TopicPartition]
) -> tuple[int, tuple[ProducedBatch, ...]]:
    """Throttle time in ms and the answers, in the order of `expected`.

    Raises:
        KafkaProtocolError: when the answer is malformed, or does not answer every expected partition exactly once.
    """
    compact = version >= FLEXIBLE
    answers: dict[tuple[TopicKey, int], ProducedBatch] = {}
    for _ in range(reader.count(compact=compact)):
        key: TopicKey = bytes(reader.raw(16)) if version >= TOPIC_IDS else reader.string(compact=compact)
        for _ in range(reader.count(compact=compact)):
            index, answer = _answer(version, reader, key, expected)
            if (key, index) in answers:
                raise reader.fail(f"partition {index} of a topic is answered twice,")
            answers[key, index] = answer
        if compact:
            reader.tags()
    throttle = reader.i32()
    if compact:
        reader.tags()
    reader.end()
    if len(answers) != len(expected):
        raise reader.fail(f"{len(expected) - len(answers)} partitions are not answered,")
    return throttle, tuple(answers[wanted] for wanted in expected)


def _answer(
    version: int, reader: Reader, key: TopicKey, expected: Mapping[tuple[TopicKey, int], TopicPartition]
) -> tuple[int, ProducedBatch]:
    compact = version >= FLEXIBLE
    if version >= 5:
        index, error, base_offset, append_time, log_start = reader.fields(_PARTITION_V5)
    else:
        index, error, base_offset, append_time = reader.fields(_PARTITION_V3)
        log_start = -1
    topic_partition = expected.get((key, index))
    if topic_partition is None:
        raise reader.fail(f"partition {index} of a topic was not asked for,")
    if compact and reader.skip(_NOTHING_TO_SAY):
        return index, ProducedBatch(topic_partition, error, base_offset, append_time, log_start, None, None)
    message = _message(reader, compact=compact) if version >= 8 else None
    leader = _LeaderTag()
    if compact:
        reader.tags(leader if version >= 10 else None)
    return index, ProducedBatch(
        topic_partition=topic_partition,
        error=error,
        base_offset=base_offset,
        log_append_time=append_time,
        log_start_offset=log_start,
        message=message,
        current_leader=leader.value,
    )


def _message(reader: Reader, *, compact: bool) -> str | None:
    """The message about the batch, or else the first one about a record of it (KIP-467)."""
    first: str | None = None
    for _ in range(reader.count(compact=compact)):
        record = reader.i32()
        text = reader.nullable_string(compact=compact)
        if text is not None and first is None:
            first = f"record {record}: {text}"
        if compact:
            reader.tags()
    about_batch = reader.nullable_string(compact=compact)
    return first if about_batch is None else about_batch


class _LeaderTag:
    def __init__(self) -> None:
        self.value: tuple[int, int] | None = None

    def __call__(self, tag: int, reader: Reader) -> None:
        if tag == _TAG_CURRENT_LEADER:
            leader, epoch = reader.fields(_LEADER)
            self.value = (leader, epoch)

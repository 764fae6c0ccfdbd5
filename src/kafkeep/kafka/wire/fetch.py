"""Fetch requests and answers, versions 4 to 18, without fetch sessions. Pure; records are not copied.

Schema: clients/src/main/resources/common/message/FetchRequest.json and FetchResponse.json. Version 9 brought the
current leader epoch (KIP-320), 12 the last fetched epoch (KIP-595), 13 topic ids (KIP-516).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Final

from kafkeep.kafka.wire.primitives import NO_TAGS, Reader, compact_string, one_tag, string, uvarint
from kafkeep.model import AbortedTransaction, TopicPartition, topic_id_bytes
from kafkeep.records import dataclass

API_KEY: Final = 1
LOWEST: Final = 4
HIGHEST: Final = 18
FLEXIBLE: Final = 12
TOPIC_IDS: Final = 13

_NOT_A_REPLICA: Final = -1
_NO_SESSION: Final = struct.pack(">ii", 0, -1)
_NO_LOG_START: Final = -1
_TAG_CLUSTER_ID: Final = 0
_TAG_DIVERGING: Final = 0
_TAG_CURRENT_LEADER: Final = 1
_TAG_SNAPSHOT: Final = 2
_DIVERGING: Final = struct.Struct(">iq")
_SNAPSHOT: Final = struct.Struct(">qi")
_LEADER: Final = struct.Struct(">ii")
_ABORTED: Final = struct.Struct(">qq")
_PARTITION_V4: Final = struct.Struct(">ihqq")
_PARTITION_V5: Final = struct.Struct(">ihqqq")

TopicKey = str | bytes
"""What names a topic on the wire: its name, or from version 13 on the 16 bytes of its id."""


@dataclass(frozen=True, slots=True)
class FetchPosition:
    """What to read next of one partition."""

    topic_partition: TopicPartition
    topic_id: str
    """Kafka's text form; `NO_TOPIC_ID` where unknown, which keeps the request below version 13."""
    offset: int
    leader_epoch: int
    """The leader epoch the metadata gave, -1 for no check: the broker fences what is stale."""
    last_fetched_epoch: int = -1
    """Leader epoch of the last batch already held, -1 for none: the broker reports where its history differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedPartition:
    """One partition of an answer."""

    topic_partition: TopicPartition
    error: int
    """Kafka's error code, 0 for none; the other fields mean something only without an error."""
    high_watermark: int
    last_stable_offset: int
    log_start_offset: int
    """-1 from brokers below Fetch version 5."""
    aborted: tuple[AbortedTransaction, ...]
    """Aborted transactions overlapping `records` (the broker may name later ones too); only with read_committed."""
    diverging: tuple[int, int] | None
    """(epoch, end offset) of the last common history, when the broker's differs from `last_fetched_epoch`."""
    current_leader: tuple[int, int] | None
    """(node id, leader epoch), when the broker says that another one leads."""
    records: memoryview
    """Batches as the broker sent them; the first may begin before the asked offset, the last may be cut."""
    snapshot: tuple[int, int] | None = None
    """(end offset, epoch) of the snapshot to read first: only controllers say so, of a log that starts later."""


def encode_fetch(
    version: int,
    positions: Sequence[FetchPosition],
    *,
    max_wait_ms: int,
    response_bytes: int,
    partition_bytes: int,
    read_committed: bool,
    cluster_id: str | None = None,
) -> bytes:
    """The body of a request; partitions are served in the order given.

    With `cluster_id` (version 12 on) a controller of another cluster refuses; brokers do not look at it.
    """
    compact = version >= FLEXIBLE
    out = bytearray()
    if version < 15:
        out += struct.pack(">i", _NOT_A_REPLICA)
    out += struct.pack(">iiib", max_wait_ms, 1, response_bytes, 1 if read_committed else 0)
    if version >= 7:
        out += _NO_SESSION
    topics = [(key, list(group)) for key, group in groupby(positions, lambda position: topic_key(version, position))]
    out += _count(len(topics), compact=compact)
    for key, group in topics:
        out += _topic_key_bytes(key, compact=compact)
        out += _count(len(group), compact=compact)
        for position in group:
            _put_position(out, version, position, partition_bytes)
        out += NO_TAGS if compact else b""
    if version >= 7:
        out += _count(0, compact=compact)
    if version >= 11:
        out += compact_string("") if compact else string("")
    if compact:
        out += NO_TAGS if cluster_id is None else one_tag(_TAG_CLUSTER_ID, compact_string(cluster_id))
    return bytes(out)


def _put_position(out: bytearray, version: int, position: FetchPosition, partition_bytes: int) -> None:
    out += struct.pack(">i", position.topic_partition.partition)
    if version >= 9:
        out += struct.pack(">i", position.leader_epoch)
    out += struct.pack(">q", position.offset)
    if version >= 12:
        out += struct.pack(">i", position.last_fetched_epoch)
    if version >= 5:
        out += struct.pack(">q", _NO_LOG_START)
    out += struct.pack(">i", partition_bytes)
    if version >= FLEXIBLE:
        out += NO_TAGS


def topic_key(version: int, position: FetchPosition) -> TopicKey:
    """What names the position's topic at this version."""
    return topic_id_bytes(position.topic_id) if version >= TOPIC_IDS else position.topic_partition.topic


def _topic_key_bytes(key: TopicKey, *, compact: bool) -> bytes:
    if isinstance(key, bytes):
        return key
    return compact_string(key) if compact else string(key)


def _count(count: int, *, compact: bool) -> bytes:
    return uvarint(count + 1) if compact else struct.pack(">i", count)


def decode_fetch(
    version: int, reader: Reader, expected: Mapping[tuple[TopicKey, int], TopicPartition]
) -> tuple[int, int, tuple[FetchedPartition, ...]]:
    """Throttle time in ms, top-level error and partitions of an answer to a request for the `expected` partitions.

    A throttled answer holds no partitions at all: that is not the end of the data.

    Raises:
        KafkaProtocolError: when the answer is malformed, or names a partition not asked for or twice.
    """
    compact = version >= FLEXIBLE
    throttle = reader.i32()
    error = 0
    if version >= 7:
        error = reader.i16()
        reader.i32()
    wanted = dict(expected)
    partitions: list[FetchedPartition] = []
    for _ in range(reader.count(compact=compact)):
        key: TopicKey = bytes(reader.raw(16)) if version >= TOPIC_IDS else reader.string(compact=compact)
        partitions += [_partition(version, reader, key, wanted) for _ in range(reader.count(compact=compact))]
        if compact:
            reader.tags()
    if compact:
        reader.tags()
    reader.end()
    return throttle, error, tuple(partitions)


def _partition(
    version: int, reader: Reader, key: TopicKey, wanted: dict[tuple[TopicKey, int], TopicPartition]
) -> FetchedPartition:
    compact = version >= FLEXIBLE
    if version >= 5:
        index, error, high_watermark, last_stable, log_start = reader.fields(_PARTITION_V5)
    else:
        index, error, high_watermark, last_stable = reader.fields(_PARTITION_V4)
        log_start = -1
    topic_partition = wanted.pop((key, index), None)
    if topic_partition is None:
        raise reader.fail(f"partition {index} of a topic was not asked for, or is answered twice,")
    aborted = _aborted(reader, compact=compact)
    if version >= 11:
        reader.i32()
    records = reader.nullable_bytes(compact=compact)
    tags = _PartitionTags()
    if compact:
        reader.tags(tags)
    return FetchedPartition(
        topic_partition=topic_partition,
        error=error,
        high_watermark=high_watermark,
        last_stable_offset=last_stable,
        log_start_offset=log_start,
        aborted=aborted,
        diverging=tags.diverging,
        current_leader=tags.current_leader,
        records=memoryview(b"") if records is None else records,
        snapshot=tags.snapshot,
    )


def _aborted(reader: Reader, *, compact: bool) -> tuple[AbortedTransaction, ...]:
    def entry() -> AbortedTransaction:
        fields = reader.fields(_ABORTED)
        if compact:
            reader.tags()
        return AbortedTransaction._make(fields)

    return tuple(entry() for _ in range(reader.count(compact=compact)))


class _PartitionTags:
    """The tagged fields of a partition that a backup has a use for."""

    def __init__(self) -> None:
        self.diverging: tuple[int, int] | None = None
        self.current_leader: tuple[int, int] | None = None
        self.snapshot: tuple[int, int] | None = None

    def __call__(self, tag: int, reader: Reader) -> None:
        if tag == _TAG_DIVERGING:
            epoch, end_offset = reader.fields(_DIVERGING)
            self.diverging = (epoch, end_offset)
        elif tag == _TAG_CURRENT_LEADER:
            leader, epoch = reader.fields(_LEADER)
            self.current_leader = (leader, epoch)
        elif tag == _TAG_SNAPSHOT:
            end_offset, epoch = reader.fields(_SNAPSHOT)
            self.snapshot = (end_offset, epoch)

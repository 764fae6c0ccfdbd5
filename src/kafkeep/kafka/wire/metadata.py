"""Metadata requests and answers, versions 4 to 13. Pure.

A large cluster has hundreds of thousands of partitions, nearly all of which have as many replicas as the one before. Schema:
clients/src/main/resources/common/message/MetadataRequest.json and MetadataResponse.json.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from functools import lru_cache
from typing import Final, NamedTuple

from kafkeep.kafka.topology import Broker, PartitionTopology, TopicTopology, Topology
from kafkeep.kafka.wire.primitives import NO_TAGS, Reader, compact_string, string, uvarint
from kafkeep.model import NO_TOPIC_ID, topic_id_text

API_KEY: Final = 3
LOWEST: Final = 4
"""From this version on a request says whether the topics it names may be created (KIP-204)."""
HIGHEST: Final = 13

_OFFLINE_REPLICAS: Final = 5
_LEADER_EPOCHS: Final = 7
_AUTHORIZED_OPERATIONS: Final = 8
_FLEXIBLE: Final = 9
_TOPIC_IDS: Final = 10
_NO_CLUSTER_OPERATIONS: Final = 11
_ERROR_CODE: Final = 13

_ZERO_ID: Final = bytes(16)
_NO_EPOCH: Final = -1
_I32: Final = struct.Struct(">i")
_BOOL: Final = struct.Struct(">?")
_PARTITION: Final = struct.Struct(">hii")
_MOST_COUNTED_IN_A_BYTE: Final = 126


class Metadata(NamedTuple):
    """An answer."""

    throttle_time_ms: int
    error_code: int
    topology: Topology
    """Without topics that the answer does not name."""


def encode_metadata(version: int, topics: Collection[str] | None) -> bytes:
    """The body of a request about the named topics, or about all; none is ever created."""
    flexible = version >= _FLEXIBLE
    tags = NO_TAGS if flexible else b""
    out = bytearray()
    if topics is None:
        out += uvarint(0) if flexible else _I32.pack(-1)
    else:
        out += uvarint(len(topics) + 1) if flexible else _I32.pack(len(topics))
        for name in topics:
            out += _ZERO_ID if version >= _TOPIC_IDS else b""
            out += compact_string(name) if flexible else string(name)
            out += tags
    flags = 1 + (_AUTHORIZED_OPERATIONS <= version < _NO_CLUSTER_OPERATIONS) + (version >= _AUTHORIZED_OPERATIONS)
    return bytes(out + bytes(flags) + tags)


def decode_metadata(version: int, reader: Reader) -> Metadata:
    """Raises KafkaProtocolError when the bytes are not such an answer."""
    flexible = version >= _FLEXIBLE
    throttle_time_ms = reader.i32()
    brokers = [_broker(reader, flexible=flexible) for _ in range(reader.count(compact=flexible, nullable=False))]
    cluster_id = reader.nullable_string(compact=flexible)
    controller = reader.i32()
    partitions = _Partitions(version, reader)
    topics: dict[str, TopicTopology] = {}
    for _ in range(reader.count(compact=flexible, nullable=False)):
        topic = _topic(version, reader, partitions)
        if topic is not None:
            topics[topic.name] = topic
    if _AUTHORIZED_OPERATIONS <= version < _NO_CLUSTER_OPERATIONS:
        reader.i32()
    error_code = reader.i16() if version >= _ERROR_CODE else 0
    if flexible:
        reader.tags()
    reader.end()
    known = {broker.node_id: broker for broker in brokers}
    topology = Topology("" if cluster_id is None else cluster_id, controller, known, topics)
    return Metadata(throttle_time_ms, error_code, topology)


def _broker(reader: Reader, *, flexible: bool) -> Broker:
    node_id, host = reader.i32(), reader.string(compact=flexible)
    port, rack = reader.i32(), reader.nullable_string(compact=flexible)
    if flexible:
        reader.tags()
    return Broker(node_id, host, port, rack)


def _topic(version: int, reader: Reader, partitions: _Partitions) -> TopicTopology | None:
    """None for one without a name, of which only the id is known."""
    flexible = version >= _FLEXIBLE
    error, name = reader.i16(), reader.nullable_string(compact=flexible)
    raw_id = bytes(reader.raw(len(_ZERO_ID))) if version >= _TOPIC_IDS else _ZERO_ID
    (internal,) = reader.fields(_BOOL)
    found = [partitions.next() for _ in range(reader.count(compact=flexible, nullable=False))]
    if version >= _AUTHORIZED_OPERATIONS:
        reader.i32()
    if flexible:
        reader.tags()
    if name is None:
        return None
    found.sort(key=_number)
    topic_id = NO_TOPIC_ID if raw_id == _ZERO_ID else topic_id_text(raw_id)
    return TopicTopology(name, topic_id, bool(internal), tuple(found), error)


def _number(partition: PartitionTopology) -> int:
    return partition.partition


class _Layout(NamedTuple):
    """Partitions with so many replicas in flexible versions; the numbers that stand in front of each list, and behind all."""

    fields: struct.Struct
    isr: int
    """Where the number of these stands; that of the replicas is the fifth field."""
    offline: int
    counts: tuple[int, int, int]


@lru_cache(256)
def _layout(replicas: int, isr: int, offline: int) -> _Layout:
    fields = struct.Struct(f">hiiiB{replicas}iB{isr}iB{offline}iB")
    return _Layout(fields, 5 + replicas, 6 + replicas + isr, (replicas + 1, isr + 1, offline + 1))


class _Partitions:
    """Reads partitions, each at first as if it had as many replicas as the one before."""

    def __init__(self, version: int, reader: Reader) -> None:
        self._version = version
        self._reader = reader
        self._likely = _layout(1, 1, 0)
        self._nodes: dict[tuple[int, ...], tuple[int, ...]] = {}

    def next(self) -> PartitionTopology:
        """The partition that the reader stands before."""
        if self._version >= _FLEXIBLE:
            found = self._as_before()
            if found is not None:
                return found
        return self._in_full()

    def _as_before(self) -> PartitionTopology | None:
        reader, (layout, isr, offline, counts) = self._reader, self._likely
        if layout.size > reader.remaining:
            return None
        row = layout.unpack_from(reader.view, reader.position)
        # Where all three counts are these and no tagged fields follow, everything is where the layout has it.
        if (row[4], row[isr], row[offline]) != counts or row[-1]:
            return None
        reader.position += layout.size
        error, index, leader, epoch = row[:4]
        return PartitionTopology(
            index, leader, epoch, self._same(row[5:isr]), self._same(row[isr + 1 : offline]), error
        )

    def _in_full(self) -> PartitionTopology:
        version, reader = self._version, self._reader
        flexible = version >= _FLEXIBLE
        error, index, leader = reader.fields(_PARTITION)
        epoch = reader.i32() if version >= _LEADER_EPOCHS else _NO_EPOCH
        replicas, isr = _node_ids(reader, flexible=flexible), _node_ids(reader, flexible=flexible)
        offline = _node_ids(reader, flexible=flexible) if version >= _OFFLINE_REPLICAS else ()
        if flexible:
            reader.tags()
        if max(len(replicas), len(isr), len(offline)) <= _MOST_COUNTED_IN_A_BYTE:
            self._likely = _layout(len(replicas), len(isr), len(offline))
        return PartitionTopology(index, leader, epoch, self._same(replicas), self._same(isr), error)

    def _same(self, nodes: tuple[int, ...]) -> tuple[int, ...]:
        """One object for all that are equal: tens of thousands of partitions have the same few."""
        return self._nodes.setdefault(nodes, nodes)


def _node_ids(reader: Reader, *, flexible: bool) -> tuple[int, ...]:
    count = reader.count(compact=flexible, nullable=False)
    return struct.unpack(f">{count}i", reader.raw(4 * count))

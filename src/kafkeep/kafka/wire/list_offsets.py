"""ListOffsets requests and answers, versions 2 to 11. Pure.

A backup asks for three offsets of every partition of a cluster in every round, which the generated codec makes into objects
one by one; here a partition is one step. Schema: clients/src/main/resources/common/message/ListOffsetsRequest.json and
ListOffsetsResponse.json.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from itertools import starmap
from typing import Final, NamedTuple

from kafkeep.kafka.wire.primitives import NO_TAGS, Reader, compact_string, string, uvarint

API_KEY: Final = 2
LOWEST: Final = 2
HIGHEST: Final = 11

_LEADER_EPOCHS: Final = 4
_FLEXIBLE: Final = 6
_TIMEOUT: Final = 10

_NOT_A_REPLICA: Final = -1
_I32: Final = struct.Struct(">i")
_HEAD: Final = struct.Struct(">ib")
_ASKED: Final = struct.Struct(">iq")
_ASKED_WITH_EPOCH: Final = struct.Struct(">iiq")
_ASKED_FLEXIBLE: Final = struct.Struct(">iiqx")
"""The pad byte is that of no tagged fields."""
_TOLD: Final = struct.Struct(">ihqq")
_TOLD_WITH_EPOCH: Final = struct.Struct(">ihqqi")
_TOLD_FLEXIBLE: Final = struct.Struct(">ihqqix")
"""The pad byte is that of no tagged fields, which is looked at apart."""
_NO_EPOCH: Final = -1


class ListedOffset(NamedTuple):
    """What a leader says of one partition; `leader_epoch` is -1 where the version does not tell."""

    partition: int
    error: int
    timestamp: int
    offset: int
    leader_epoch: int = _NO_EPOCH


class ListedOffsets(NamedTuple):
    """An answer."""

    throttle_time_ms: int
    topics: dict[str, list[ListedOffset]]


def encode_list_offsets(
    version: int,
    topics: Mapping[str, Sequence[tuple[int, int]]],
    at: int,
    *,
    read_committed: bool,
    timeout_ms: int,
) -> bytes:
    """The body of a request for the offset `at` a timestamp, or a special one, of partitions as (number, leader epoch)."""
    flexible = version >= _FLEXIBLE
    tags = NO_TAGS if flexible else b""
    out = bytearray(_HEAD.pack(_NOT_A_REPLICA, int(read_committed)))
    out += _count(len(topics), flexible=flexible)
    for topic, partitions in topics.items():
        out += compact_string(topic) if flexible else string(topic)
        out += _count(len(partitions), flexible=flexible)
        if version < _LEADER_EPOCHS:
            out += b"".join(_ASKED.pack(number, at) for number, _ in partitions)
        else:
            pack = (_ASKED_FLEXIBLE if flexible else _ASKED_WITH_EPOCH).pack
            out += b"".join(pack(number, epoch, at) for number, epoch in partitions)
        out += tags
    if version >= _TIMEOUT:
        out += _I32.pack(timeout_ms)
    return bytes(out + tags)


def _count(number: int, *, flexible: bool) -> bytes:
    return uvarint(number + 1) if flexible else _I32.pack(number)


def decode_list_offsets(version: int, reader: Reader) -> ListedOffsets:
    """Raises KafkaProtocolError when the bytes are not such an answer."""
    flexible = version >= _FLEXIBLE
    throttle_time_ms = reader.i32()
    topics: dict[str, list[ListedOffset]] = {}
    for _ in range(reader.count(compact=flexible, nullable=False)):
        told = topics.setdefault(reader.string(compact=flexible), [])
        told += _partitions(version, reader.count(compact=flexible, nullable=False), reader)
        if flexible:
            reader.tags()
    if flexible:
        reader.tags()
    reader.end()
    return ListedOffsets(throttle_time_ms, topics)


def _partitions(version: int, count: int, reader: Reader) -> Iterable[ListedOffset]:
    if version < _FLEXIBLE:
        layout = _TOLD if version < _LEADER_EPOCHS else _TOLD_WITH_EPOCH
        return starmap(ListedOffset, layout.iter_unpack(reader.raw(count * layout.size)))
    size = _TOLD_FLEXIBLE.size
    if count * size <= reader.remaining:
        position = reader.position
        rows = reader.raw(count * size)
        # Tagged fields would shift all that follows; where there are none, every last byte of a partition says so.
        if not any(rows[size - 1 :: size]):
            return starmap(ListedOffset, _TOLD_FLEXIBLE.iter_unpack(rows))
        reader.position = position
    return [_tagged(reader) for _ in range(count)]


def _tagged(reader: Reader) -> ListedOffset:
    told = ListedOffset(*reader.fields(_TOLD_WITH_EPOCH))
    reader.tags()
    return told

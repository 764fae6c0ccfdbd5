"""Which partition a key belongs to: what Java's producer does where nothing else is set. Pure.

`BuiltInPartitioner.partitionForKey` (clients/producer/internals/BuiltInPartitioner.java) is `Utils.toPositive(
Utils.murmur2(key)) % partitions`; murmur2 with Kafka's seed is in clients/common/utils/Utils.java. librdkafka's
`murmur2_random` and the other clients' "Java compatible" partitioners are the same function.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final

from kafkeep.errors import CorruptBatch
from kafkeep.kafka.wire.records import read_varint

_SEED: Final = 0x9747B28C
_M: Final = 0x5BD1E995
_U32: Final = 0xFFFFFFFF
_POSITIVE: Final = 0x7FFFFFFF
_REMEMBERED: Final = 1 << 16
"""Keys come again: so many hashes are kept."""
_LONGEST_REMEMBERED: Final = 256
"""Longer keys are hashed every time: their bytes would be kept."""


def murmur2(data: bytes) -> int:
    """Kafka's murmur2 as an unsigned number of 32 bits; Java shows the same bits as a signed one."""
    size = len(data)
    h = _SEED ^ size
    whole = size >> 2
    for k in _words(whole).unpack_from(data):
        k = k * _M & _U32
        k = (k ^ k >> 24) * _M & _U32
        h = h * _M & _U32 ^ k
    if size & 3:
        h = (h ^ int.from_bytes(data[whole << 2 :], "little")) * _M & _U32
    h = (h ^ h >> 13) * _M & _U32
    return h ^ h >> 15


@lru_cache(maxsize=1024)
def _words(count: int) -> struct.Struct:
    return struct.Struct(f"<{count}I")


@lru_cache(maxsize=_REMEMBERED)
def _positive(key: bytes) -> int:
    return murmur2(key) & _POSITIVE


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a topic with so many of them where Java's default partitioner puts the key."""
    hashed = _positive(key) if len(key) <= _LONGEST_REMEMBERED else murmur2(key) & _POSITIVE
    return hashed % partitions


def key_of(body: bytes) -> bytes | None:
    """The key at the beginning of a record's body; None where it has none.

    Raises `CorruptBatch` when the key is longer than the body.
    """
    try:
        size = body[0]
        if size < 0x80:
            size, start = (size >> 1) ^ -(size & 1), 1
        else:
            size, start = read_varint(body, 0)
    except IndexError as error:
        raise CorruptBatch("a record ends in front of its key") from error
    if size < 0:
        return None
    if start + size > len(body):
        raise CorruptBatch(f"a key of {size} bytes in a record with {len(body) - start} left")
    return body[start : start + size]

"""Messages of magic 0 and 1, alone or in a compressed set: what logs written before Kafka 0.11 may still hold. Pure.

Layout and offset rules: clients/common/record/LegacyRecord.java and AbstractLegacyRecordBatch.java. In a compressed
set of magic 1 the inner offsets count from 0 and the wrapper carries the last one; in magic 0 they are absolute.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from kafkeep.errors import CorruptBatch
from kafkeep.kafka.wire import codecs
from kafkeep.model import CODEC_MASK, LOG_APPEND_TIME_BIT, BatchInfo

Fields = tuple[int, int, bytes | None, bytes | None]
"""Offset, timestamp, key, value."""

_ENTRY: Final = struct.Struct(">qi")
_CRC_AND_MAGIC: Final = 5
_I32: Final = struct.Struct(">i")
_I64: Final = struct.Struct(">q")
_NO_TIMESTAMP: Final = -1


def messages(batch: memoryview, info: BatchInfo, max_bytes: int) -> list[Fields]:
    """The messages of one entry of the log, unpacked when it is a compressed set.

    Raises:
        CorruptBatch: when it is malformed, nested deeper than Kafka writes, or unpacks to more than `max_bytes`.
    """
    attributes, outer = _message(batch[: info.size], info.base_offset)
    if info.codec == codecs.NONE:
        return [outer]
    offset, timestamp, _, value = outer
    if value is None:
        raise CorruptBatch("a compressed message set without content")
    inner = list(_entries(memoryview(codecs.decompress(info.codec, memoryview(value), max_bytes)), info.magic))
    if not inner:
        raise CorruptBatch("a compressed message set that is empty")
    shift = offset - inner[-1][0] if info.magic == 1 else 0
    append_time = bool(attributes & LOG_APPEND_TIME_BIT)
    return [(at + shift, timestamp if append_time else when, key, data) for at, when, key, data in inner]


def _entries(view: memoryview, magic: int) -> Iterator[Fields]:
    position = 0
    while position < len(view):
        if position + _ENTRY.size > len(view):
            raise CorruptBatch("a message set ends early")
        offset, size = _ENTRY.unpack_from(view, position)
        stop = position + _ENTRY.size + size
        if size < 0 or stop > len(view):
            raise CorruptBatch(f"a message of {size} bytes with {len(view) - position} left in its set")
        entry = view[position:stop]
        attributes, message = _message(entry, offset)
        if attributes & CODEC_MASK or entry[_ENTRY.size + 4] != magic:
            raise CorruptBatch("a message set inside a message set, or of mixed magic")
        yield message
        position = stop


def _message(entry: memoryview, offset: int) -> tuple[int, Fields]:
    """Attributes and fields of one entry: offset, size, CRC, magic, attributes, timestamp (magic 1), key, value."""
    position = _ENTRY.size + _CRC_AND_MAGIC
    try:
        attributes = entry[position]
        position += 1
        timestamp = _NO_TIMESTAMP
        if entry[position - 2] == 1:
            timestamp = _I64.unpack_from(entry, position)[0]
            position += _I64.size
        key, position = _nullable(entry, position)
        value, position = _nullable(entry, position)
    except (struct.error, IndexError) as error:
        raise CorruptBatch("a message ends early") from error
    if position != len(entry):
        raise CorruptBatch(f"a message is {len(entry) - position} bytes longer than its fields")
    return attributes, (offset, timestamp, key, value)


def _nullable(view: memoryview, position: int) -> tuple[bytes | None, int]:
    size = _I32.unpack_from(view, position)[0]
    position += _I32.size
    if size < 0:
        return None, position
    if size > len(view) - position:
        raise CorruptBatch(f"a field of {size} bytes with {len(view) - position} left in its message")
    return bytes(view[position : position + size]), position + size

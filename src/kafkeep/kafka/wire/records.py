"""Records: out of batches of every magic and codec, and into a batch a client may produce. Pure.

Record layout: clients/common/record/DefaultRecord.java (magic 2); `legacy.py` reads magic 0 and 1. What `decode`
returns is what a Java consumer would be shown: the append time where the topic keeps append times, null told apart from
empty, headers in their order with repeats.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from kafkeep.errors import CorruptBatch
from kafkeep.kafka.wire import codecs, legacy
from kafkeep.kafka.wire.batch import CRC_START, HEADER, HEADER_SIZE, LENGTH_END, crc32c
from kafkeep.model import BatchInfo

DEFAULT_BUDGET: Final = 256 * 1024 * 1024
"""Bytes one batch may unpack to."""

_MIN_I64: Final = -(1 << 63)
_MAX_I64: Final = (1 << 63) - 1
_U32: Final = (1 << 32) - 1
_U64: Final = (1 << 64) - 1
_CRC: Final = struct.Struct(">I")
_ONE_BYTE: Final = tuple(bytes((value,)) for value in range(128))


class Record(NamedTuple):
    """A record as a consumer sees it; `timestamp` in milliseconds, -1 for none."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[bytes, bytes | None], ...]


def decode(batch: memoryview, info: BatchInfo, *, max_bytes: int = DEFAULT_BUDGET) -> list[Record]:
    """All records of one whole batch (`walk` gives batch and info), control records too.

    Raises:
        CorruptBatch: when the payload does not hold exactly the records the header tells of, a record is malformed, or
            more than `max_bytes` would be unpacked.
    """
    try:
        if info.magic != 2:
            return [Record(*fields, ()) for fields in legacy.messages(batch, info, max_bytes)]
        payload = codecs.decompress(info.codec, batch[HEADER_SIZE : info.size], max_bytes)
        return _decode_records(payload, info)
    except CorruptBatch as error:
        raise CorruptBatch(f"batch at offset {info.base_offset}: {error.message}") from error
    except IndexError as error:
        raise CorruptBatch(f"batch at offset {info.base_offset}: its records end early") from error


def _decode_records(data: bytes, info: BatchInfo) -> list[Record]:
    records: list[Record] = []
    append = records.append
    base_offset, base_timestamp = info.base_offset, info.base_timestamp
    append_time = info.max_timestamp if info.is_log_append_time else None
    position, end = 0, len(data)
    for _ in range(info.record_count):
        size, position = _varint(data, position)
        stop = position + size
        if size <= 0 or stop > end:
            raise CorruptBatch(f"a record of {size} bytes with {end - position} left")
        delta, position = _varlong(data, position + 1)
        timestamp = base_timestamp + delta
        if not _MIN_I64 <= timestamp <= _MAX_I64:
            timestamp = _signed(timestamp)
        offset_delta, position = _varint(data, position)
        key, position = _nullable(data, position, stop)
        value, position = _nullable(data, position, stop)
        if data[position] == 0:
            headers: tuple[tuple[bytes, bytes | None], ...] = ()
            position += 1
        else:
            headers, position = _headers(data, position, stop)
        if position != stop:
            raise CorruptBatch(f"a record is {stop - position} bytes longer than its fields")
        shown = timestamp if append_time is None else append_time
        append(Record(base_offset + offset_delta, shown, key, value, headers))
    if position != end:
        raise CorruptBatch(f"{end - position} bytes behind the last of {info.record_count} records")
    return records


def _headers(data: bytes, position: int, stop: int) -> tuple[tuple[tuple[bytes, bytes | None], ...], int]:
    count, position = _varint(data, position)
    if not 0 <= count <= stop - position:
        raise CorruptBatch(f"{count} record headers with {stop - position} bytes left")
    headers = []
    for _ in range(count):
        key, position = _nullable(data, position, stop)
        if key is None:
            raise CorruptBatch("a record header without a key")
        value, position = _nullable(data, position, stop)
        headers.append((key, value))
    return tuple(headers), position


def _nullable(data: bytes, position: int, stop: int) -> tuple[bytes | None, int]:
    """Bytes behind their length; a negative length is null."""
    size = data[position]
    if size < 0x80:
        size = (size >> 1) ^ -(size & 1)
        position += 1
    else:
        size, position = _varint(data, position)
    if size < 0:
        return None, position
    end = position + size
    if end > stop:
        raise CorruptBatch(f"a field of {size} bytes with {stop - position} left in its record")
    return data[position:end], end


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A zigzag varint of 32 bits: value and where the next field begins."""
    byte = data[position]
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), position + 1
    value, position = _groups(data, position, 5)
    value &= _U32
    return (value >> 1) ^ -(value & 1), position


def _varlong(data: bytes, position: int) -> tuple[int, int]:
    """A zigzag varint of 64 bits."""
    byte = data[position]
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), position + 1
    value, position = _groups(data, position, 10)
    value &= _U64
    return (value >> 1) ^ -(value & 1), position


def _groups(data: bytes, position: int, most: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 7 * most, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise CorruptBatch(f"a varint longer than {most} bytes")


def _signed(value: int) -> int:
    """Wrapped to 64 bits, as Java's arithmetic does."""
    value &= _U64
    return value - (1 << 64) if value > _MAX_I64 else value


def encode(
    records: Sequence[Record],
    *,
    codec: int = codecs.NONE,
    producer_id: int = -1,
    producer_epoch: int = -1,
    base_sequence: int = -1,
) -> bytes:
    """A plain batch a client may produce: base offset 0, offset deltas 0, 1, 2 … in the order given, CreateTime.

    Raises:
        ValueError: without records, and for an unknown codec.
    """
    if not records:
        raise ValueError("a batch needs at least one record")
    base_timestamp = records[0].timestamp
    body = bytearray()
    for delta, record in enumerate(records):
        _put_record(body, record, delta, record.timestamp - base_timestamp)
    payload = codecs.compress(codec, bytes(body))
    header = bytearray(
        HEADER.pack(
            0,
            HEADER_SIZE - LENGTH_END + len(payload),
            -1,
            2,
            0,
            codec,
            len(records) - 1,
            base_timestamp,
            max(record.timestamp for record in records),
            producer_id,
            producer_epoch,
            base_sequence,
            len(records),
        )
    )
    _CRC.pack_into(header, CRC_START - _CRC.size, crc32c(payload, crc32c(bytes(header[CRC_START:]))))
    return bytes(header) + payload


def _put_record(out: bytearray, record: Record, offset_delta: int, timestamp_delta: int) -> None:
    body = [b"\x00", _zigzag(timestamp_delta), _zigzag(offset_delta)]
    for field in (record.key, record.value):
        if field is None:
            body.append(b"\x01")
        else:
            body += (_zigzag(len(field)), field)
    body.append(_zigzag(len(record.headers)))
    for key, value in record.headers:
        body += (_zigzag(len(key)), key)
        if value is None:
            body.append(b"\x01")
        else:
            body += (_zigzag(len(value)), value)
    joined = b"".join(body)
    out += _zigzag(len(joined))
    out += joined


def _zigzag(value: int) -> bytes:
    """A zigzag varint; a value beyond 64 bits wraps as Java's subtraction does."""
    if 0 <= value < 64:
        return _ONE_BYTE[value << 1]
    if not _MIN_I64 <= value <= _MAX_I64:
        value = _signed(value)
    value = (value << 1) if value >= 0 else (~value << 1) | 1
    out = bytearray()
    while value > 0x7F:
        out.append(0x80 | (value & 0x7F))
        value >>= 7
    out.append(value)
    return bytes(out)


def rebuild(
    batch: memoryview,
    info: BatchInfo,
    *,
    producer_id: int = -1,
    producer_epoch: int = -1,
    base_sequence: int = -1,
    max_bytes: int = DEFAULT_BUDGET,
) -> bytes:
    """The batch's records as a batch a client may produce, with the batch's own codec: holes close up.

    Raises:
        CorruptBatch: as `decode`.
        ValueError: for a batch without records.
    """
    return encode(
        decode(batch, info, max_bytes=max_bytes),
        codec=info.codec,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=base_sequence,
    )

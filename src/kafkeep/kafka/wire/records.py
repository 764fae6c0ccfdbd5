"""Records: out of batches of every magic and codec, and into a batch a client may produce. Pure.

Record layout: clients/common/record/DefaultRecord.java (magic 2); `legacy.py` reads magic 0 and 1. What `decode`
returns is what a Java consumer would be shown: the append time where the topic keeps append times, null told apart from
empty, headers in their order with repeats.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from kafkeep.errors import CorruptBatch
from kafkeep.kafka.wire import codecs, legacy
from kafkeep.kafka.wire.batch import CHECKED, HEADER_SIZE, LENGTH_END, NO_LEADER_EPOCH, UNCHECKED, crc32c
from kafkeep.model import BatchInfo

DEFAULT_BUDGET: Final = 256 * 1024 * 1024
"""Bytes one batch may unpack to."""

_MIN_I64: Final = -(1 << 63)
_MAX_I64: Final = (1 << 63) - 1
_U32: Final = (1 << 32) - 1
_U64: Final = (1 << 64) - 1
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
        size, position = read_varint(data, position)
        stop = position + size
        if size <= 0 or stop > end:
            raise CorruptBatch(f"a record of {size} bytes with {end - position} left")
        delta, position = read_varlong(data, position + 1)
        timestamp = base_timestamp + delta
        if not _MIN_I64 <= timestamp <= _MAX_I64:
            timestamp = signed(timestamp)
        offset_delta, position = read_varint(data, position)
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
    count, position = read_varint(data, position)
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
        size, position = read_varint(data, position)
    if size < 0:
        return None, position
    end = position + size
    if end > stop:
        raise CorruptBatch(f"a field of {size} bytes with {stop - position} left in its record")
    return data[position:end], end


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """A zigzag varint of 32 bits: value and where the next field begins."""
    byte = data[position]
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), position + 1
    value, position = _groups(data, position, 5)
    value &= _U32
    return (value >> 1) ^ -(value & 1), position


def read_varlong(data: bytes, position: int) -> tuple[int, int]:
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


def signed(value: int) -> int:
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
    return seal(
        bytes(body),
        codec=codec,
        records=len(records),
        base_timestamp=base_timestamp,
        max_timestamp=max(record.timestamp for record in records),
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=base_sequence,
    )


def seal(
    body: bytes,
    *,
    codec: int,
    records: int,
    base_timestamp: int,
    max_timestamp: int,
    producer_id: int,
    producer_epoch: int,
    base_sequence: int,
) -> bytes:
    """The batch around records that are written already, with offset deltas 0, 1, 2 …; the codec is applied here."""
    payload = codecs.compress(codec, body)
    checked = CHECKED.pack(
        codec, records - 1, base_timestamp, max_timestamp, producer_id, producer_epoch, base_sequence, records
    )
    crc = crc32c(payload, crc32c(checked))
    return UNCHECKED.pack(0, HEADER_SIZE - LENGTH_END + len(payload), NO_LEADER_EPOCH, 2, crc) + checked + payload


def _put_record(out: bytearray, record: Record, offset_delta: int, timestamp_delta: int) -> None:
    head = b"\x00" + zigzag(timestamp_delta) + zigzag(offset_delta)
    body = body_of(record.key, record.value, record.headers)
    out += zigzag(len(head) + len(body))
    out += head
    out += body


def body_of(key: bytes | None, value: bytes | None, headers: Sequence[tuple[bytes, bytes | None]] = ()) -> bytes:
    """What follows a record's head: key, value and headers as on the wire."""
    body: list[bytes] = []
    for field in (key, value):
        if field is None:
            body.append(b"\x01")
        else:
            body += (zigzag(len(field)), field)
    body.append(zigzag(len(headers)))
    for name, content in headers:
        body += (zigzag(len(name)), name)
        if content is None:
            body.append(b"\x01")
        else:
            body += (zigzag(len(content)), content)
    return b"".join(body)


def zigzag(value: int) -> bytes:
    """A zigzag varint; a value beyond 64 bits wraps as Java's subtraction does."""
    if 0 <= value < 64:
        return _ONE_BYTE[value << 1]
    if not _MIN_I64 <= value <= _MAX_I64:
        value = signed(value)
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

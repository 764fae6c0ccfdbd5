"""Record batches with any header: what real logs hold and what they never should."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any

from fastcrc import crc32
from kafka.record.default_records import DefaultRecordBatchBuilder

from kafkeep.kafka.wire.batch import HEADER
from kafkeep.kafka.wire.records import Record
from kafkeep.model import BatchInfo


def built(records: Sequence[Record], *, codec: int = 0) -> bytes:
    """A batch made by kafka-python; it knows codecs 0 and 1 without other packages."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=codec,
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 30,
    )
    for delta, record in enumerate(records):
        headers = [(key.decode(), value) for key, value in record.headers]
        assert builder.append(delta, record.timestamp, record.key, record.value, headers) is not None
    return bytes(builder.build())


def patched(batch: bytes, **fields: int) -> bytes:
    """The batch with other header fields and a CRC that fits, unless `crc` is given."""
    info = BatchInfo._make(HEADER.unpack_from(batch))._replace(**fields)
    data = bytearray(HEADER.pack(*info) + batch[61:])
    if "crc" not in fields:
        struct.pack_into(">I", data, 17, crc32.iscsi(bytes(data[21:])))
    return bytes(data)


def around(payload: bytes, **fields: Any) -> bytes:
    """A batch around any bytes as its records."""
    header = {
        "base_offset": 0,
        "batch_length": 49 + len(payload),
        "leader_epoch": 0,
        "magic": 2,
        "crc": 0,
        "attributes": 0,
        "last_offset_delta": 0,
        "base_timestamp": 0,
        "max_timestamp": 0,
        "producer_id": -1,
        "producer_epoch": -1,
        "base_sequence": -1,
        "record_count": 1,
    }
    info = BatchInfo(**(header | fields))
    return patched(HEADER.pack(*info) + payload)


def log_of(*batches: bytes, start: int = 0) -> bytes:
    """The batches one behind the other with rising offsets."""
    out, offset = bytearray(), start
    for batch in batches:
        out += struct.pack(">q", offset) + batch[8:]
        offset += struct.unpack_from(">i", batch, 23)[0] + 1
    return bytes(out)


def old_message(
    offset: int, key: bytes | None, value: bytes | None, *, magic: int = 1, attributes: int = 0, timestamp: int = 0
) -> bytes:
    """A message of magic 0 or 1 as it lies in a log."""
    content = struct.pack(">bb", magic, attributes) + (struct.pack(">q", timestamp) if magic == 1 else b"")
    for field in (key, value):
        content += struct.pack(">i", -1) if field is None else struct.pack(">i", len(field)) + field
    data = struct.pack(">I", zlib.crc32(content)) + content
    return struct.pack(">qi", offset, len(data)) + data

"""A second, plain reading and writing of record batches, made from Kafka's description alone and slow on purpose.

Nothing here calls kafkeep: varints by arithmetic, CRCs bit by bit, codecs through the standard formats of other libraries.
Layouts: clients/common/record/DefaultRecordBatch.java, DefaultRecord.java, LegacyRecord.java.
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache

import cramjam
import zstandard

Headers = tuple[tuple[bytes, bytes | None], ...]
Shown = tuple[int, int, bytes | None, bytes | None, Headers]
"""Offset, timestamp, key, value and headers, as a consumer is shown them."""


@dataclass(frozen=True)
class PlainRecord:
    """A record before it is written; everything a writer may choose freely is a field."""

    offset_delta: int
    timestamp_delta: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    attributes: int = 0
    null: int = -1
    """What stands for null: any negative length does."""
    padding: int = 0
    """Groups of zeros behind each varint that has room for them: legal, and never written by Kafka."""


@dataclass(frozen=True)
class PlainBatch:
    records: tuple[PlainRecord, ...]
    base_offset: int = 0
    last_offset_delta: int | None = None
    base_timestamp: int = 0
    max_timestamp: int = 0
    attributes: int = 0
    leader_epoch: int = -1
    producer: tuple[int, int, int] = (-1, -1, -1)

    @property
    def codec(self) -> int:
        return self.attributes % 8

    @property
    def last(self) -> int:
        """Delta of the last offset."""
        if self.last_offset_delta is not None:
            return self.last_offset_delta
        return self.records[-1].offset_delta if self.records else 0

    def shown(self) -> list[Shown]:
        append_time = self.attributes // 8 % 2 == 1
        return [
            (
                self.base_offset + record.offset_delta,
                self.max_timestamp if append_time else _wrapped(self.base_timestamp + record.timestamp_delta),
                record.key,
                record.value,
                record.headers,
            )
            for record in self.records
        ]


def _wrapped(number: int) -> int:
    """As a Java long wraps."""
    return (number + 2**63) % 2**64 - 2**63


def write(batch: PlainBatch) -> bytes:
    """The bytes of a batch of magic 2."""
    body = b"".join(_record(record) for record in batch.records)
    payload = pack(batch.codec, body)
    checked = struct.pack(">hiqq", batch.attributes, batch.last, batch.base_timestamp, batch.max_timestamp)
    checked += struct.pack(">qhi", *batch.producer) + struct.pack(">i", len(batch.records)) + payload
    crc = crc32c(checked)
    return struct.pack(">qiibI", batch.base_offset, 9 + len(checked), batch.leader_epoch, 2, crc) + checked


def _record(record: PlainRecord) -> bytes:
    pad = record.padding
    body = struct.pack(">b", record.attributes) + varint(record.timestamp_delta, pad, most=10)
    body += varint(record.offset_delta, pad)
    for piece in (record.key, record.value):
        body += varint(record.null, pad) if piece is None else varint(len(piece), pad) + piece
    body += varint(len(record.headers), pad)
    for key, value in record.headers:
        body += varint(len(key), pad) + key
        body += varint(record.null, pad) if value is None else varint(len(value), pad) + value
    return varint(len(body), pad) + body


def varint(number: int, padding: int = 0, *, most: int = 5) -> bytes:
    """Zigzag: 0, -1, 1, -2 … as 0, 1, 2, 3 …, seven bits a byte, the lowest first."""
    folded = number * 2 if number >= 0 else -number * 2 - 1
    groups = [folded % 128]
    while folded := folded // 128:
        groups.append(folded % 128)
    groups += [0] * min(padding, most - len(groups))
    return bytes([128 + group for group in groups[:-1]] + groups[-1:])


def read_header(data: bytes) -> dict[str, int]:
    """The header fields of one batch of magic 2 whose CRC fits."""
    names = "base_offset length leader_epoch magic crc attributes last_offset_delta base_timestamp max_timestamp"
    names += " producer_id producer_epoch base_sequence record_count"
    fields = dict(zip(names.split(), struct.unpack(">qiibIhiqqqhii", data[:61]), strict=True))
    assert fields["length"] == len(data) - 12
    assert fields["crc"] == crc32c(data[21:])
    return fields


def read(data: bytes) -> tuple[dict[str, int], list[Shown]]:
    """The header fields and the records of one batch of magic 2 whose CRC fits."""
    fields = read_header(data)
    source = io.BytesIO(unpack(fields["attributes"] % 8, data[61:]))
    found = []
    for _ in range(fields["record_count"]):
        size = _read_varint(source)
        end = source.tell() + size
        source.read(1)
        timestamp = _wrapped(fields["base_timestamp"] + _read_varint(source))
        if fields["attributes"] // 8 % 2:
            timestamp = fields["max_timestamp"]
        offset = fields["base_offset"] + _read_varint(source)
        key, value = _read_bytes(source), _read_bytes(source)
        headers = tuple((_read_bytes(source) or b"", _read_bytes(source)) for _ in range(_read_varint(source)))
        assert source.tell() == end
        found.append((offset, timestamp, key, value, headers))
    assert not source.read()
    return fields, found


def _read_varint(source: io.BytesIO) -> int:
    folded, weight = 0, 1
    while True:
        group = source.read(1)[0]
        folded += group % 128 * weight
        weight *= 128
        if group < 128:
            return folded // 2 if folded % 2 == 0 else -(folded + 1) // 2


def _read_bytes(source: io.BytesIO) -> bytes | None:
    size = _read_varint(source)
    return None if size < 0 else source.read(size)


def message(
    offset: int, key: bytes | None, value: bytes | None, *, magic: int, attributes: int, timestamp: int
) -> bytes:
    """One message of magic 0 or 1."""
    body = struct.pack(">bb", magic, attributes) + (struct.pack(">q", timestamp) if magic == 1 else b"")
    for piece in (key, value):
        body += struct.pack(">i", -1) if piece is None else struct.pack(">i", len(piece)) + piece
    return struct.pack(">qiI", offset, 4 + len(body), zlib.crc32(body)) + body


def pack(codec: int, data: bytes) -> bytes:
    """As other programs write it: not with kafkeep's choice of frames and blocks."""
    match codec:
        case 0:
            return data
        case 1:
            return gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :])
        case 2:
            return bytes(cramjam.snappy.compress_raw(data))
        case 3:
            return _pack_lz4(data)
        case _:
            half = zstandard.ZstdCompressor(level=1, write_content_size=False)
            return half.compress(data[:5]) + half.compress(data[5:])


def _pack_lz4(data: bytes) -> bytes:
    """A frame with everything that is optional: content size, sums behind blocks and content (kept empty, as readers may
    pass over them), small blocks, each other one stored as it is.
    """
    out = b"\x04\x22\x4d\x18" + bytes([0x7C, 0x40]) + struct.pack("<Q", len(data)) + b"\x00"
    for number, start in enumerate(range(0, len(data), 50)):
        block = data[start : start + 50]
        if number % 2:
            out += struct.pack("<I", len(block) | 1 << 31) + block + bytes(4)
        else:
            packed = bytes(cramjam.lz4.compress_block(block, store_size=False))
            out += struct.pack("<I", len(packed)) + packed + bytes(4)
    return out + bytes(8)


def unpack(codec: int, data: bytes) -> bytes:
    """With whole-frame functions of other libraries."""
    match codec:
        case 0:
            return data
        case 1:
            return gzip.decompress(data)
        case 2:
            return _unpack_xerial(data)
        case 3:
            return bytes(cramjam.lz4.decompress(data))
        case _:
            return bytes(cramjam.zstd.decompress(data))


def _unpack_xerial(data: bytes) -> bytes:
    assert data[:8] == b"\x82SNAPPY\x00"
    source, out = io.BytesIO(data[16:]), b""
    while size := source.read(4):
        out += bytes(cramjam.snappy.decompress_raw(source.read(int.from_bytes(size, "big"))))
    return out


def crc32c(data: bytes) -> int:
    """Castagnoli's polynomial, a table made bit by bit."""
    crc = 0xFFFFFFFF
    table = _crc_table()
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


@lru_cache(maxsize=1)
def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table

"""Records out of batches and into batches; kafka-python's decoder is the second opinion."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import cramjam
import pytest
from kafka.record.default_records import DefaultRecordBatch
from tests.support.batches import around, built, old_message, patched

from kafkeep.errors import CorruptBatch
from kafkeep.kafka.wire.batch import needs_rebuild, walk
from kafkeep.kafka.wire.records import Record, decode, encode, rebuild
from kafkeep.model import BatchInfo

I64 = (-(2**63), 2**63 - 1)
RECORDS = [
    Record(0, 1_700_000_000_000, b"key", b"value", ()),
    Record(1, 1_699_999_999_999, None, b"", ((b"h", b"1"), (b"h", None), (b"", b""), (b"a", b"x" * 300))),
    Record(2, 0, b"", None, ()),
    Record(3, -1, b"k" * 200, b"v" * 70_000, ()),
    Record(4, 253_402_300_799_999, None, None, ((b"\xc3\xa4", b"\x00"),)),
]


def info_of(batch: bytes) -> BatchInfo:
    infos, taken = walk(memoryview(batch))
    assert taken == len(batch)
    return infos[0]


def read(batch: bytes, **options: Any) -> list[Record]:
    return decode(memoryview(batch), info_of(batch), **options)


def test_kafka_pythons_batches_are_read() -> None:
    for codec in (0, 1):
        assert read(built(RECORDS, codec=codec)) == RECORDS


def test_kafka_python_reads_our_batches() -> None:
    batch = DefaultRecordBatch(encode(RECORDS))
    assert batch.validate_crc()
    assert [
        (entry.offset, entry.timestamp, entry.key, entry.value, tuple((k.encode(), v) for k, v in entry.headers))
        for entry in batch
    ] == [tuple(record) for record in RECORDS]


def test_uncompressed_batches_equal_kafka_pythons() -> None:
    assert encode(RECORDS)[21:] == built(RECORDS)[21:]


@pytest.mark.parametrize("codec", range(5))
def test_every_codec_there_and_back(codec: int) -> None:
    batch = encode(RECORDS * 20, codec=codec, producer_id=7, producer_epoch=2, base_sequence=40)
    info = info_of(batch)
    assert (info.codec, info.record_count, info.last_offset_delta, info.base_offset) == (codec, 100, 99, 0)
    assert (info.producer_id, info.producer_epoch, info.base_sequence, info.leader_epoch) == (7, 2, 40, -1)
    assert (info.base_timestamp, info.max_timestamp) == (1_700_000_000_000, 253_402_300_799_999)
    assert not needs_rebuild(info)
    assert [entry._replace(offset=entry.offset % 5) for entry in read(batch)] == RECORDS * 20


@pytest.mark.parametrize("timestamps", [I64, I64[::-1], (0, I64[0]), (-1, I64[1]), (I64[1], 0, I64[0], -1)])
def test_timestamps_wrap_as_javas_do(timestamps: tuple[int, ...]) -> None:
    batch = encode([Record(0, timestamp, None, None, ()) for timestamp in timestamps])
    assert [entry.timestamp for entry in read(batch)] == list(timestamps)


def test_nothing_makes_no_batch() -> None:
    with pytest.raises(ValueError, match="at least one record"):
        encode([])
    with pytest.raises(ValueError, match="unknown codec 5"):
        encode(RECORDS, codec=5)


def test_an_unknown_codec_is_corrupt() -> None:
    with pytest.raises(CorruptBatch, match="batch at offset 0: unknown codec 7"):
        read(patched(encode(RECORDS), attributes=7))


@pytest.mark.parametrize("attributes", [0x08, 0x48])
def test_append_time_is_what_consumers_see(attributes: int) -> None:
    batch = patched(built(RECORDS), attributes=attributes, max_timestamp=42)
    assert {entry.timestamp for entry in read(batch)} == {42}


def test_a_delete_horizon_leaves_timestamps_alone() -> None:
    # The horizon takes the base timestamp's place and the deltas are made relative to it (KIP-534).
    batch = patched(encode([Record(0, 100, b"k", None, ())]), attributes=0x40, base_timestamp=5000, max_timestamp=100)
    assert read(batch)[0].timestamp == 5000
    assert needs_rebuild(info_of(batch)) is False


@pytest.mark.parametrize("codec", range(5))
def test_a_rebuilt_batch_closes_its_holes(codec: int) -> None:
    payload = b"".join(
        struct.pack("b", 2 * (6 + len(delta))) + b"\x00\x00" + delta + b"\x01\x02v\x00"
        for delta in (b"\x04", b"\xc6\x01")
    )
    sparse = around(payload, base_offset=1000, last_offset_delta=199, record_count=2, base_timestamp=5, max_timestamp=5)
    records = read(sparse)
    assert [entry.offset for entry in records] == [1002, 1099]
    compressed = patched(encode(records, codec=codec), base_offset=1000, last_offset_delta=199)
    info = info_of(compressed)
    assert needs_rebuild(info)
    made = rebuild(memoryview(compressed), info, producer_id=1, producer_epoch=0, base_sequence=9)
    after = info_of(made)
    assert not needs_rebuild(after)
    assert (after.codec, after.record_count, after.base_sequence) == (codec, 2, 9)
    assert [entry[1:] for entry in read(made)] == [entry[1:] for entry in records]


def test_rebuilding_append_time_keeps_what_was_shown() -> None:
    batch = patched(built(RECORDS), attributes=0x08, max_timestamp=42)
    made = rebuild(memoryview(batch), info_of(batch))
    assert {entry.timestamp for entry in read(made)} == {42}
    assert not info_of(made).is_log_append_time


def one(body: bytes, *, size: int | None = None) -> bytes:
    """A batch of one record with this body behind its length."""
    length = len(body) if size is None else size
    return around(zigzag(length) + body)


def zigzag(value: int) -> bytes:
    value = (value << 1) ^ (value >> 63) if value < 0 else value << 1
    out = bytearray()
    while value > 0x7F:
        out.append(0x80 | value & 0x7F)
        value >>= 7
    return bytes((*out, value))


HEAD = b"\x00\x00\x00"
"""Attributes, timestamp delta 0, offset delta 0."""
MALFORMED = {
    "header count too high": one(HEAD + b"\x02k\x02v" + zigzag(2) + zigzag(1) + b"h" + zigzag(1) + b"v"),
    "header count too low": one(HEAD + b"\x02k\x02v" + zigzag(1) + (zigzag(1) + b"h" + zigzag(1) + b"v") * 2),
    "key larger than the record": one(HEAD + zigzag(105) + b"k" * 10),
    "key length cut off": one(HEAD + b"\xff"),
    "value larger than the record": one(HEAD + b"\x02k" + zigzag(105) + b"v" * 10),
    "value length cut off": one(HEAD + b"\x02k\xff"),
    "negative header count": one(HEAD + b"\x02k\x02v" + zigzag(-1)),
    "header count beyond the record": one(HEAD + b"\x02k\x02v" + zigzag(2**31 - 1)),
    "header count cut off": one(HEAD + b"\x02k\x02v\xff"),
    "header key larger than the record": one(HEAD + b"\x02k\x02v" + zigzag(1) + zigzag(105) + b"h"),
    "header key cut off": one(HEAD + b"\x02k\x02v" + zigzag(1) + b"\xff"),
    "null header key": one(HEAD + b"\x02k\x02v" + zigzag(1) + zigzag(-1) + zigzag(1) + b"v"),
    "header value larger than the record": one(HEAD + b"\x02k\x02v" + zigzag(1) + b"\x02h" + zigzag(105) + b"v"),
    "header value cut off": one(HEAD + b"\x02k\x02v" + zigzag(1) + b"\x02h\xff"),
    "timestamp cut off": one(b"\x00\xff\xff"),
    "timestamp varlong too long": one(b"\x00" + b"\xff" * 10 + b"\x01" + b"\x00\x01\x01\x00"),
    "offset varint too long": one(b"\x00\x00" + b"\xff" * 5 + b"\x01\x01\x01\x00"),
    "record length varint too long": around(b"\xff" * 6),
    "record shorter than its length": one(HEAD + b"\x01\x01\x00", size=10),
    "record longer than its length": one(HEAD + b"\x01\x01\x00", size=5),
    "empty record": one(b""),
    "negative record length": one(b"", size=-5),
    "huge record length": one(HEAD, size=2**31 - 1),
    "nothing at all": around(b""),
    "fewer records than told": patched(built(RECORDS), record_count=6),
    "more records than told": patched(built(RECORDS), record_count=4),
    "records where there are none": patched(built(RECORDS), record_count=0),
    "two thousand million records": patched(built(RECORDS), record_count=2**31 - 1),
}


@pytest.mark.parametrize("batch", MALFORMED.values(), ids=MALFORMED.keys())
@pytest.mark.parametrize("codec", range(5))
@pytest.mark.fault("P3")
def test_malformed_records(batch: bytes, codec: int) -> None:
    """Row P3: the cases of Kafka's DefaultRecordTest and more; their CRC is right, so they can be stored, not opened."""
    if codec:
        from kafkeep.kafka.wire.codecs import compress

        payload = compress(codec, batch[61:])
        batch = patched(batch[:61] + payload, attributes=codec, batch_length=49 + len(payload))
    with pytest.raises(CorruptBatch, match="batch at offset 0: "):
        read(batch)


OLD = [(b"k", b"v", 5), (None, b"", 6), (b"", None, 7)]


@pytest.mark.parametrize("magic", [0, 1])
def test_old_messages(magic: int) -> None:
    for key, value, timestamp in OLD:
        batch = old_message(9, key, value, magic=magic, timestamp=timestamp)
        assert read(batch) == [Record(9, timestamp if magic else -1, key, value, ())]


def packed(codec: int, data: bytes) -> bytes:
    if codec == 1:
        return zlib.compress(data, wbits=31)
    if codec == 2:
        return bytes(cramjam.snappy.compress_raw(data))
    return bytes(cramjam.lz4.compress(data)) if codec == 3 else data


@pytest.mark.parametrize("codec", [1, 2])
@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("append_time", [False, True])
def test_old_compressed_sets(codec: int, magic: int, append_time: bool) -> None:
    if append_time and magic == 0:
        offsets, attributes = [100, 101, 105], codec
    else:
        offsets, attributes = ([100, 101, 105] if magic == 0 else [0, 1, 5]), codec | (8 if append_time else 0)
    inner = b"".join(
        old_message(offset, key, value, magic=magic, timestamp=timestamp)
        for offset, (key, value, timestamp) in zip(offsets, OLD, strict=True)
    )
    batch = old_message(105, None, packed(codec, inner), magic=magic, attributes=attributes, timestamp=99)
    shown = [-1, -1, -1] if magic == 0 else [99, 99, 99] if append_time else [5, 6, 7]
    assert read(batch) == [
        Record(offset, timestamp, key, value, ())
        for offset, timestamp, (key, value, _) in zip([100, 101, 105], shown, OLD, strict=True)
    ]
    made = rebuild(memoryview(batch), info_of(batch))
    assert info_of(made).codec == codec
    assert [entry[1:] for entry in read(made)] == [entry[1:] for entry in read(batch)]


def test_offsets_in_a_set_of_magic_0_are_absolute() -> None:
    inner = old_message(7, None, b"a", magic=0) + old_message(9, None, b"b", magic=0)
    batch = old_message(12, None, zlib.compress(inner, wbits=31), magic=0, attributes=1)
    assert [record.offset for record in read(batch)] == [7, 9]


@pytest.mark.parametrize(
    "inner",
    [
        b"",
        b"\x00" * 5,
        struct.pack(">qi", 0, -1),
        struct.pack(">qi", 0, 2**31 - 1),
        old_message(0, b"k", b"v")[:-1],
        old_message(0, b"k", b"v", attributes=1),
        old_message(0, b"k", b"v", magic=0),
        struct.pack(">qi", 0, 6) + b"\x00" * 6,
        struct.pack(">qiIbbqii", 0, 22, 0, 1, 0, 0, 2**31 - 1, -1),
        struct.pack(">qiIbbqiib", 0, 23, 0, 1, 0, 0, -1, -1, 0),
    ],
    ids=["nothing", "short", "negative", "huge", "cut", "nested", "mixed", "no magic", "huge key", "too long"],
)
@pytest.mark.fault("P3")
def test_malformed_old_sets(inner: bytes) -> None:
    with pytest.raises(CorruptBatch, match="batch at offset 3: "):
        read(old_message(3, None, zlib.compress(inner, wbits=31), attributes=1))


def test_an_old_set_without_content() -> None:
    with pytest.raises(CorruptBatch, match="without content"):
        read(old_message(3, None, None, attributes=1))

"""Batch headers: walking, checking, rewriting."""

from __future__ import annotations

import os
import struct
import zlib

import pytest
from kafka.record.default_records import DefaultRecordBatch
from tests.support.batches import around, built, log_of, old_message, patched

from kafkeep.errors import CorruptBatch
from kafkeep.kafka.wire.batch import control_type, crc32c, needs_rebuild, rewrite, walk
from kafkeep.kafka.wire.records import Record, decode, encode
from kafkeep.model import BatchInfo

pytestmark = pytest.mark.usefixtures("either_way")

CONTROL, TRANSACTIONAL, APPEND_TIME, HORIZON = 0x20, 0x10, 0x08, 0x40


def record(value: bytes = b"v", *, timestamp: int = 1_700_000_000_000) -> Record:
    return Record(0, timestamp, b"k", value, ())


def three() -> bytes:
    return log_of(*(built([record(os.urandom(20))] * count) for count in (1, 5, 2)), start=100)


def first(batch: bytes) -> BatchInfo:
    return walk(memoryview(batch))[0][0]


def marker(kind: int, *, count: int = 1, attributes: int = CONTROL | TRANSACTIONAL) -> bytes:
    key, value = struct.pack(">hh", 0, kind), struct.pack(">hi", 0, 7)
    return patched(encode([Record(0, 5, key, value, ())]), attributes=attributes, record_count=count)


def test_the_crc_is_kafkas() -> None:
    assert crc32c(b"123456789") == 0xE3069283


def test_all_whole_batches_are_found() -> None:
    log = three()
    infos, taken = walk(memoryview(log))
    assert taken == len(log)
    assert [(info.base_offset, info.last_offset, info.record_count) for info in infos] == [
        (100, 100, 1),
        (101, 105, 5),
        (106, 107, 2),
    ]
    assert sum(info.size for info in infos) == len(log)


def test_a_log_cut_anywhere_gives_its_whole_batches() -> None:
    log = three()
    ends = [0]
    for info in walk(memoryview(log))[0]:
        ends.append(ends[-1] + info.size)
    for cut in range(len(log)):
        infos, taken = walk(memoryview(log)[:cut])
        assert taken == max(end for end in ends if end <= cut)
        assert len(infos) == ends.index(taken)


def test_every_flipped_bit_behind_the_crc_is_found() -> None:
    log = bytearray(built([record(b"some value")]))
    for position in range(17, len(log)):
        for bit in range(8):
            log[position] ^= 1 << bit
            with pytest.raises(CorruptBatch):
                walk(memoryview(log))
            log[position] ^= 1 << bit
    assert walk(memoryview(log))[1] == len(log)


def test_without_verifying_the_crc_is_not_looked_at() -> None:
    log = bytearray(three())
    log[-1] ^= 1
    assert walk(memoryview(log), verify=False)[1] == len(log)
    with pytest.raises(CorruptBatch, match=r"batch at offset 106 \(byte \d+, \d+ bytes\) fails its CRC"):
        walk(memoryview(log))


@pytest.mark.parametrize(
    "fields",
    [
        {"batch_length": 48},
        {"batch_length": 0},
        {"batch_length": -1},
        {"batch_length": -(2**31)},
        {"magic": 3},
        {"magic": -1},
        {"base_offset": -1},
        {"last_offset_delta": -1},
        {"record_count": -1},
        {"record_count": -(2**31)},
    ],
    ids=str,
)
def test_impossible_headers(fields: dict[str, int]) -> None:
    with pytest.raises(CorruptBatch):
        walk(memoryview(patched(built([record()]), **fields)))


def test_a_huge_length_is_a_partial_batch() -> None:
    data = patched(built([record()]), batch_length=2**31 - 1)
    assert walk(memoryview(data)) == ([], 0)


@pytest.mark.parametrize("second", [0, 3, 4])
def test_offsets_must_rise(second: int) -> None:
    log = log_of(built([record()] * 5)) + patched(built([record()]), base_offset=second)
    with pytest.raises(CorruptBatch, match="after offset 4"):
        walk(memoryview(log))


def test_offsets_may_jump() -> None:
    log = log_of(built([record()])) + patched(built([record()]), base_offset=10**12)
    assert [info.base_offset for info in walk(memoryview(log))[0]] == [0, 10**12]


def test_empty_and_sparse_batches_of_a_compacted_log() -> None:
    empty = around(b"", record_count=0, last_offset_delta=9, base_offset=10)
    sparse = patched(built([record()] * 2), base_offset=20, last_offset_delta=99)
    infos, taken = walk(memoryview(empty + sparse))
    assert taken == len(empty) + len(sparse)
    assert [(info.next_offset, info.has_holes, needs_rebuild(info)) for info in infos] == [
        (20, True, True),
        (120, True, True),
    ]
    assert decode(memoryview(empty), infos[0]) == []


def test_old_and_new_batches_in_one_log() -> None:
    log = old_message(0, b"k", b"v", magic=0) + old_message(1, None, None, timestamp=7)
    log += (
        patched(built([record()]), base_offset=2)
        + old_message(3, None, b"v")
        + patched(built([record()]), base_offset=4)
    )
    infos, taken = walk(memoryview(log))
    assert taken == len(log)
    assert [info.magic for info in infos] == [0, 1, 2, 1, 2]
    assert [info.base_offset for info in infos] == [0, 1, 2, 3, 4]
    assert [info.record_count for info in infos] == [1] * 5
    assert infos[1].max_timestamp == 7
    assert infos[0].max_timestamp == -1
    assert [needs_rebuild(info) for info in infos] == [True, True, False, True, False]


def test_an_old_compressed_set_does_not_tell_its_count() -> None:
    inner = b"".join(old_message(offset, None, b"v") for offset in range(3))
    info = first(old_message(12, None, zlib.compress(inner, wbits=31), attributes=1))
    assert (info.base_offset, info.next_offset, info.record_count, info.codec) == (12, 13, -1, 1)
    assert needs_rebuild(info)


@pytest.mark.parametrize("magic", [0, 1])
def test_old_messages_are_checked_too(magic: int) -> None:
    data = bytearray(old_message(5, b"key", b"value", magic=magic))
    for position in range(12, len(data)):
        data[position] ^= 1
        with pytest.raises(CorruptBatch):
            walk(memoryview(data))
        data[position] ^= 1
    for cut in range(len(data)):
        assert walk(memoryview(data)[:cut]) == ([], 0)
    assert walk(memoryview(data), verify=False)[1] == len(data)


def test_an_old_message_too_short_for_its_fields() -> None:
    content = struct.pack(">bb", 1, 0) + bytes(8)
    data = struct.pack(">I", zlib.crc32(content)) + content
    with pytest.raises(CorruptBatch, match="impossible"):
        walk(memoryview(struct.pack(">qi", 0, len(data)) + data + bytes(64)))


def test_alternating_formats_do_not_pile_up() -> None:
    pair = [old_message(0, None, b""), built([record()])]
    log = log_of_mixed(pair * 5000)
    infos, taken = walk(memoryview(log))
    assert (len(infos), taken) == (10_000, len(log))


def log_of_mixed(batches: list[bytes]) -> bytes:
    return b"".join(struct.pack(">q", offset) + batch[8:] for offset, batch in enumerate(batches))


@pytest.mark.parametrize("kind", [0, 1, 2, 5])
def test_control_types(kind: int) -> None:
    batch = marker(kind)
    assert first(batch).is_control
    assert control_type(memoryview(batch)) == kind


def test_a_control_batch_emptied_by_compaction() -> None:
    batch = around(b"", attributes=CONTROL | TRANSACTIONAL, record_count=0)
    assert control_type(memoryview(batch)) is None


@pytest.mark.parametrize(
    "batch",
    [
        b"",
        built([record()]),
        around(b"\x02\x00", attributes=CONTROL),
        around(b"\xff" * 30, attributes=CONTROL),
        marker(0, attributes=CONTROL | 1),
        marker(0)[:65],
    ],
    ids=["nothing", "data", "short", "endless varint", "compressed", "cut"],
)
def test_what_is_no_control_batch(batch: bytes) -> None:
    with pytest.raises(CorruptBatch):
        control_type(memoryview(batch))


@pytest.mark.parametrize("attributes", [0, TRANSACTIONAL, HORIZON, TRANSACTIONAL | HORIZON, 0x80, 0x4000])
@pytest.mark.parametrize("producer", [(-1, -1, -1), (4711, 3, 2**31 - 1)])
def test_a_rewritten_header_makes_a_plain_batch(attributes: int, producer: tuple[int, int, int]) -> None:
    source = patched(
        built([record(), record(b"w", timestamp=1_700_000_000_500)]),
        base_offset=10**12,
        leader_epoch=57,
        attributes=attributes,
        producer_id=99,
        producer_epoch=9,
        base_sequence=999,
    )
    view = memoryview(source)
    header = rewrite(
        view, first(source), producer_id=producer[0], producer_epoch=producer[1], base_sequence=producer[2]
    )
    made = header + view[61:]
    assert len(header) == 61
    assert DefaultRecordBatch(made).validate_crc()
    info = first(made)
    assert info == first(source)._replace(
        base_offset=0,
        leader_epoch=-1,
        crc=info.crc,
        attributes=0,
        producer_id=producer[0],
        producer_epoch=producer[1],
        base_sequence=producer[2],
    )
    assert [entry._replace(offset=0) for entry in decode(memoryview(made), info)] == [
        entry._replace(offset=0) for entry in decode(view, first(source))
    ]


def test_a_rewritten_header_may_keep_an_offset() -> None:
    source = built([record()])
    assert first(rewrite(memoryview(source), first(source), base_offset=77) + source[61:]).base_offset == 77


def test_append_time_of_a_single_record_survives_the_rewrite() -> None:
    source = patched(built([record(timestamp=1)]), attributes=APPEND_TIME, max_timestamp=5000)
    header = rewrite(memoryview(source), first(source))
    made = header + source[61:]
    assert (
        decode(memoryview(made), first(made))[0].timestamp
        == 5000
        == decode(memoryview(source), first(source))[0].timestamp
    )


@pytest.mark.parametrize("batch", [marker(1), old_message(0, b"k", b"v")], ids=["control", "old"])
def test_what_no_header_makes_producible(batch: bytes) -> None:
    with pytest.raises(ValueError, match="cannot be produced"):
        rewrite(memoryview(batch), first(batch))


def test_append_time_needs_a_rebuild() -> None:
    assert needs_rebuild(first(patched(built([record()] * 2), attributes=APPEND_TIME)))
    assert not needs_rebuild(first(patched(built([record()] * 2), attributes=HORIZON | TRANSACTIONAL)))

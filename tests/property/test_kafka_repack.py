"""Records moved between batches by their slices, held against the decoder that opens every field."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.batches import around, old_message, patched

from kafkeep.errors import CorruptBatch
from kafkeep.kafka.wire.batch import HEADER_SIZE, needs_rebuild, walk
from kafkeep.kafka.wire.codecs import compress
from kafkeep.kafka.wire.records import Record, decode, encode, read_varint, zigzag
from kafkeep.kafka.wire.repack import LARGEST_HEAD, Slices, cut_out, put_together
from kafkeep.model import BatchInfo

I64 = st.integers(-(2**63), 2**63 - 1)
TIMES = st.one_of(st.integers(1_767_225_600_000, 1_767_225_700_000), st.sampled_from([-1, 0, -(2**63), 2**63 - 1]), I64)
NULLABLE = st.none() | st.binary(max_size=40) | st.sampled_from([b"", b"x" * 70, b"y" * 9000])
HEADERS = st.lists(st.tuples(st.binary(max_size=8), NULLABLE), max_size=3).map(tuple)
RECORDS = st.lists(st.builds(Record, st.just(0), TIMES, NULLABLE, NULLABLE, HEADERS), min_size=1, max_size=9)
CODECS = st.integers(0, 4)


def opened(batch: bytes) -> tuple[BatchInfo, list[Record]]:
    (info,), used = walk(memoryview(batch))
    assert used == len(batch)
    return info, decode(memoryview(batch), info)


def slices_of(batch: bytes) -> Slices:
    (info,), _ = walk(memoryview(batch))
    return cut_out(memoryview(batch), info)


def together(*parts: Slices, codec: int = 0) -> bytes:
    return put_together(parts, codec=codec, producer_id=7, producer_epoch=1, base_sequence=5)


@given(st.lists(RECORDS, min_size=1, max_size=4), CODECS, CODECS)
def test_records_are_the_same_in_another_batch(batches: list[list[Record]], was: int, becomes: int) -> None:
    parts = [slices_of(patched(encode(records, codec=was), base_offset=100)) for records in batches]
    made = together(*parts, codec=becomes)
    info, found = opened(made)
    expected = [record for records in batches for record in records]
    assert found == [record._replace(offset=place) for place, record in enumerate(expected)]
    assert (info.base_offset, info.codec, info.max_timestamp) == (0, becomes, max(r.timestamp for r in expected))
    assert (info.producer_id, info.producer_epoch, info.base_sequence) == (7, 1, 5)
    assert not needs_rebuild(info) and info.attributes == becomes
    if becomes == 0:
        bodies = sum(part.size for part in parts)
        assert len(made) <= HEADER_SIZE + bodies + LARGEST_HEAD * len(expected)
        assert all(body in made for part in parts for body in part.bodies)


@given(RECORDS, st.lists(st.integers(1, 100_000), min_size=9, max_size=9), st.booleans(), CODECS)
def test_holes_and_append_times(records: list[Record], steps: list[int], append_time: bool, codec: int) -> None:
    body = bytearray()
    offset = 0
    for record, step in zip(records, steps, strict=False):
        offset += step
        one = encode([record])[HEADER_SIZE:]
        _, position = read_varint(one, 0)
        tail = one[position + 3 :]  # attributes, timestamp delta 0, offset delta 0
        head = b"\x00" + zigzag(record.timestamp - records[0].timestamp) + zigzag(offset)
        body += zigzag(len(head) + len(tail)) + head + tail
    batch = around(
        compress(codec, bytes(body)),
        base_offset=1000,
        last_offset_delta=offset + 3,
        record_count=len(records),
        base_timestamp=records[0].timestamp,
        max_timestamp=max(record.timestamp for record in records),
        attributes=codec | (0x08 if append_time else 0),
    )
    info, seen = opened(batch)
    slices = cut_out(memoryview(batch), info)
    assert list(slices.offsets) == [record.offset for record in seen]
    assert list(slices.timestamps) == [record.timestamp for record in seen]
    assert [record[1:] for record in opened(together(slices))[1]] == [record[1:] for record in seen]


@given(st.lists(RECORDS.map(lambda records: records[:1]), min_size=1, max_size=4), st.integers(0, 1), st.integers(0, 3))
def test_messages_of_old(batches: list[list[Record]], magic: int, codec: int) -> None:
    inner = [
        old_message(place, r.key, r.value, magic=magic, timestamp=r.timestamp) for place, (r,) in enumerate(batches)
    ]
    last = len(inner) - 1
    batch = (
        inner[0]
        if not codec
        else old_message(last, None, compress(codec, b"".join(inner)), magic=magic, attributes=codec)
    )
    (info,), _ = walk(memoryview(batch))
    seen = decode(memoryview(batch), info)
    slices = cut_out(memoryview(batch), info)
    assert [record[1:] for record in opened(together(slices))[1]] == [record[1:] for record in seen]
    assert list(slices.offsets) == [record.offset for record in seen]


@given(RECORDS, st.data())
def test_payloads_with_a_changed_byte_are_read_alike_or_refused(records: list[Record], data: st.DataObject) -> None:
    """What is handed on has rising offsets and all bytes of the payload in it."""
    batch = bytearray(encode(records))
    place = data.draw(st.integers(HEADER_SIZE, min(len(batch) - 1, HEADER_SIZE + 200)))
    batch[place] ^= data.draw(st.integers(1, 255))
    view = memoryview(bytes(batch))
    (info,), _ = walk(view, verify=False)
    try:
        slices = cut_out(view, info)
    except CorruptBatch as error:
        assert "batch at offset 0: " in str(error)
        return
    offsets = list(slices.offsets)
    assert len(offsets) == len(slices.timestamps) == len(slices.bodies) == len(records)
    assert offsets == sorted(set(offsets))
    assert slices.size + 4 * len(records) <= info.size - HEADER_SIZE


@given(st.binary(max_size=200), st.integers(0, 2**31 - 1), CODECS, st.booleans())
def test_any_payload_is_cut_out_or_refused(data: bytes, count: int, codec: int, packed: bool) -> None:
    batch = around(compress(codec, data) if packed else data, attributes=codec, record_count=count)
    info = walk(memoryview(batch))[0][0]._replace(last_offset_delta=max(0, count - 1))
    try:
        assert len(cut_out(memoryview(batch), info, max_bytes=2**20).bodies) == count
    except CorruptBatch as error:
        assert "batch at offset 0: " in str(error)


def test_wrong_counts_lengths_and_leftovers_are_refused() -> None:
    one = encode([Record(0, 5, b"k", b"v", ())])[HEADER_SIZE:]
    for payload, count in ((one, 2), (one + b"\x00", 1), (one * 2, 1), (b"\x01" + one[1:], 1), (one[:-1], 1), (b"", 1)):
        batch = around(payload, record_count=count, last_offset_delta=count - 1)
        with pytest.raises(CorruptBatch):
            slices_of(batch)
    with pytest.raises(CorruptBatch, match="does not rise"):
        slices_of(around(one * 2, record_count=2, last_offset_delta=1))
    with pytest.raises(ValueError, match="at least one record"):
        together(Slices((), (), ()))


def test_sums_of_time_wrap_as_in_java() -> None:
    first = encode([Record(0, 2**63 - 1, None, b"late", ()), Record(0, -(2**63), None, b"early", ())])
    info, found = opened(together(slices_of(encode([Record(0, -5, None, b"a", ())])), slices_of(first)))
    assert [record.timestamp for record in found] == [-5, 2**63 - 1, -(2**63)]
    assert (info.base_timestamp, info.max_timestamp) == (-5, 2**63 - 1)


@pytest.mark.parametrize("size", [55, 56, 57, 8180, 8190, 70_000, 1_048_570, 2_200_000])
def test_lengths_of_every_width(size: int) -> None:
    records = [Record(place, 5, None, b"v" * size, ()) for place in range(3)]
    slices = slices_of(encode(records))
    assert list(slices.offsets) == [0, 1, 2]
    assert opened(together(slices))[1] == records

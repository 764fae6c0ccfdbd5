"""Batches against a plain second implementation (tests/support/plain_batches.py) that shares no code with kafkeep.

`test_kafka_records.py` holds kafkeep's own encoder against its own decoder, and kafka-python's where it has the codec.
Here every field is one that a writer may choose: holes, padded varints, other nulls, append times, wrapped times, foreign
frames of every codec, logs of all three formats; and what kafkeep writes is read by somebody else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import plain_batches as plain
from tests.support.plain_batches import PlainBatch, PlainRecord, Shown

from kafkeep.kafka.wire.batch import needs_rebuild, rewrite, walk
from kafkeep.kafka.wire.records import Record, decode, encode, rebuild
from kafkeep.model import BatchInfo

pytestmark = pytest.mark.usefixtures("either_way")

I64 = st.integers(-(2**63), 2**63 - 1)
TIMES = st.integers(0, 2**42) | I64
BYTES = st.binary(max_size=20) | st.sampled_from([b"", b"x" * 200, bytes(range(256))])
NULLABLE = st.none() | BYTES
HEADERS = st.lists(st.tuples(st.binary(max_size=5), NULLABLE), max_size=3).map(tuple)
CODECS = st.integers(0, 4)
PRODUCERS = st.tuples(st.integers(-1, 2**63 - 1), st.integers(-1, 2**15 - 1), st.integers(-1, 2**31 - 1))


@st.composite
def batches(draw: st.DrawFn) -> PlainBatch:
    """A data batch as a log may hold it, compacted or not."""
    records, delta = [], -1
    null, padding = draw(st.sampled_from([-1, -1, -2, -(2**31)])), draw(st.integers(0, 3))
    for _ in range(draw(st.integers(0, 6))):
        delta += draw(st.sampled_from([1, 1, 1, 2, 70, 40_000]))
        made = PlainRecord(
            delta,
            draw(st.sampled_from([0, 1, -1, 2**31, 2**40, -(2**40)]) | st.integers(-(2**62), 2**62)),
            draw(NULLABLE),
            draw(NULLABLE),
            draw(HEADERS),
            attributes=draw(st.sampled_from([0, 0, 0, 127, -128])),
            null=null,
            padding=padding,
        )
        records.append(made)
    bits = draw(st.sampled_from([0, 0x08, 0x10, 0x40, 0x58]))
    return PlainBatch(
        tuple(records),
        base_offset=draw(st.integers(0, 2**62)),
        last_offset_delta=draw(st.sampled_from([None, max(delta, 0) + 3])),
        base_timestamp=draw(TIMES),
        max_timestamp=draw(TIMES),
        attributes=draw(CODECS) | bits,
        leader_epoch=draw(st.integers(-1, 2**31 - 1)),
        producer=draw(PRODUCERS),
    )


def only(data: bytes) -> tuple[memoryview, BatchInfo]:
    view = memoryview(data)
    (info,), taken = walk(view)
    assert taken == len(data)
    return view, info


@given(batches())
def test_what_others_write_is_read_as_they_meant_it(batch: PlainBatch) -> None:
    view, info = only(plain.write(batch))
    assert (info.base_offset, info.last_offset_delta, info.record_count) == (
        batch.base_offset,
        batch.last,
        len(batch.records),
    )
    assert (info.producer_id, info.producer_epoch, info.base_sequence) == batch.producer
    assert info.is_log_append_time == bool(batch.attributes & 8)
    assert [tuple(record) for record in decode(view, info)] == batch.shown()


def records_of(shown: list[Shown]) -> list[Record]:
    return [Record(offset, *rest) for offset, (_, *rest) in enumerate(shown)]


@given(batches().filter(lambda batch: batch.records), CODECS, PRODUCERS)
def test_what_is_encoded_is_read_by_others(batch: PlainBatch, codec: int, producer: tuple[int, int, int]) -> None:
    shown = batch.shown()
    made = encode(
        records_of(shown), codec=codec, producer_id=producer[0], producer_epoch=producer[1], base_sequence=producer[2]
    )
    fields, found = plain.read(made)
    assert found == [(offset, *rest) for offset, (_, *rest) in enumerate(shown)]
    assert (fields["producer_id"], fields["producer_epoch"], fields["base_sequence"]) == producer
    assert (fields["base_offset"], fields["leader_epoch"], fields["magic"]) == (0, -1, 2)
    assert (fields["attributes"], fields["last_offset_delta"]) == (codec, len(shown) - 1)
    assert fields["max_timestamp"] == max(record[1] for record in shown)


@given(batches().filter(lambda batch: batch.records), PRODUCERS, st.integers(0, 2**40))
def test_a_new_header_is_read_by_others(batch: PlainBatch, producer: tuple[int, int, int], base: int) -> None:
    whole = plain.write(batch)
    view, info = only(whole)
    header = rewrite(
        view, info, base_offset=base, producer_id=producer[0], producer_epoch=producer[1], base_sequence=producer[2]
    )
    assert len(header) == 61
    fields = plain.read_header(header + whole[61:])
    assert (fields["base_offset"], fields["attributes"]) == (base, batch.codec)
    assert (fields["producer_id"], fields["producer_epoch"], fields["base_sequence"]) == producer
    dense = [record.offset_delta for record in batch.records] == list(range(batch.last + 1))
    assert needs_rebuild(info) == (not dense or bool(batch.attributes & 8))
    if not needs_rebuild(info):
        found = decode(memoryview(header + whole[61:]), only(header + whole[61:])[1])
        assert [record[1:] for record in found] == [record[1:] for record in batch.shown()]


@given(batches().filter(lambda batch: batch.records))
def test_a_rebuilt_batch_shows_others_the_same_records(batch: PlainBatch) -> None:
    fields, found = plain.read(rebuild(*only(plain.write(batch))))
    assert [record[1:] for record in found] == [record[1:] for record in batch.shown()]
    assert [record[0] for record in found] == list(range(len(found)))
    assert fields["attributes"] == batch.codec


@st.composite
def mixed_logs(draw: st.DrawFn) -> tuple[list[tuple[bytes, int, list[Shown]]], int]:
    """Entries (bytes, last offset, records) of a log that lived through upgrades, and its first offset."""
    offset = first = draw(st.integers(0, 2**40))
    entries: list[tuple[bytes, int, list[Shown]]] = []
    for magic in draw(st.lists(st.sampled_from([0, 1, 2]), max_size=6)):
        offset += draw(st.integers(0, 3))
        if magic == 2:
            batch = replace(draw(batches()), base_offset=offset)
            entries.append((plain.write(batch), offset + batch.last, batch.shown()))
        else:
            entries.append(draw(old_entries(magic, offset)))
        offset = entries[-1][1] + 1
    return entries, first


@st.composite
def old_entries(draw: st.DrawFn, magic: int, offset: int) -> tuple[bytes, int, list[Shown]]:
    """A message of magic 0 or 1, or a compressed set of some, with holes as compaction leaves them."""
    codec = draw(st.sampled_from([0, 0, 1, 2, 3]))
    append_time = 8 if magic and draw(st.booleans()) else 0
    stamp = draw(st.integers(0, 2**42))
    shown, inner, place = [], b"", 0
    for _ in range(draw(st.integers(1, 4)) if codec else 1):
        key, value, when = draw(NULLABLE), draw(NULLABLE), draw(st.integers(-1, 2**42)) if codec else stamp
        told = -1 if magic == 0 else stamp if append_time else when
        shown.append((offset + place, told, key, value, ()))
        at = (place if magic else offset + place) if codec else offset
        inner += plain.message(at, key, value, magic=magic, attributes=append_time, timestamp=when)
        place += draw(st.integers(1, 3))
    if not codec:
        return inner, offset, shown
    last = shown[-1][0]
    wrapper = plain.message(
        last, None, plain.pack(codec, inner), magic=magic, attributes=codec | append_time, timestamp=stamp
    )
    return wrapper, last, shown


def entries_of(log: bytes) -> Iterator[tuple[BatchInfo, memoryview]]:
    view = memoryview(log)
    infos, taken = walk(view)
    assert taken == len(log)
    position = 0
    for info in infos:
        yield info, view[position : position + info.size]
        position += info.size


@given(mixed_logs(), st.data())
def test_logs_of_all_formats_are_walked_and_read(
    made: tuple[list[tuple[bytes, int, list[Shown]]], int], data: st.DataObject
) -> None:
    entries, _ = made
    log = b"".join(entry for entry, _, _ in entries)
    found = list(entries_of(log))
    assert [(len(whole), info.last_offset) for info, whole in found] == [
        (len(entry), last) for entry, last, _ in entries
    ]
    assert [[tuple(record) for record in decode(whole, info)] for info, whole in found] == [
        shown for *_, shown in entries
    ]
    cut = data.draw(st.integers(0, len(log)))
    infos, taken = walk(memoryview(log)[:cut])
    whole_ones = 0
    while whole_ones < len(entries) and sum(len(entry) for entry, *_ in entries[: whole_ones + 1]) <= cut:
        whole_ones += 1
    assert len(infos) == whole_ones
    assert taken == sum(len(entry) for entry, *_ in entries[:whole_ones])


@given(mixed_logs())
def test_entries_of_all_formats_are_rebuilt_for_others(made: tuple[list[tuple[bytes, int, list[Shown]]], int]) -> None:
    for entry, _, shown in made[0]:
        view, info = only(entry)
        if shown:
            _, found = plain.read(rebuild(view, info))
            assert [record[1:] for record in found] == [record[1:] for record in shown]

"""Records of every kind through every codec, with kafka-python's decoder as a judge where it has the codec."""

from __future__ import annotations

import gzip
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatch
from tests.support.batches import around, built, log_of, old_message, patched
from tests.support.examples import examples

from kafkeep.errors import CorruptBatch
from kafkeep.kafka.wire.batch import control_type, needs_rebuild, rewrite, walk
from kafkeep.kafka.wire.codecs import compress, decompress
from kafkeep.kafka.wire.records import Record, decode, encode, rebuild

I64 = st.integers(-(2**63), 2**63 - 1)
TIMES = st.one_of(st.integers(0, 2**42), st.sampled_from([0, -1, 1, 253_402_300_799_999, -(2**63), 2**63 - 1]), I64)
BYTES = st.one_of(st.binary(max_size=40), st.sampled_from([b"", b"\x00", b"x" * 100_000, bytes(range(256)) * 40]))
NULLABLE = st.none() | BYTES
HEADERS = st.lists(
    st.tuples(st.sampled_from([b"", b"h", b"h2", b"\xff\xfe"]) | st.binary(max_size=8), NULLABLE), max_size=5
)
RECORDS = st.lists(
    st.builds(Record, st.just(0), TIMES, NULLABLE, NULLABLE, HEADERS.map(tuple)), min_size=1, max_size=12
).map(lambda records: [record._replace(offset=offset) for offset, record in enumerate(records)])
CODECS = st.integers(0, 4)


def read(batch: bytes, **options: Any) -> list[Record]:
    view = memoryview(batch)
    infos, taken = walk(view)
    assert taken == len(batch)
    return decode(view, infos[0], **options)


@given(RECORDS, CODECS, st.integers(-1, 2**62), st.integers(-1, 2**15 - 1), st.integers(-1, 2**31 - 1))
def test_what_is_encoded_is_decoded(
    records: list[Record], codec: int, producer_id: int, producer_epoch: int, base_sequence: int
) -> None:
    batch = encode(
        records, codec=codec, producer_id=producer_id, producer_epoch=producer_epoch, base_sequence=base_sequence
    )
    assert read(batch) == records
    info = walk(memoryview(batch))[0][0]
    assert (info.producer_id, info.producer_epoch, info.base_sequence) == (producer_id, producer_epoch, base_sequence)
    assert info.max_timestamp == max(record.timestamp for record in records)
    assert not needs_rebuild(info)


def fits_kafka_python(record: Record) -> bool:
    """It decodes header keys to text."""
    return all(key.decode(errors="ignore").encode() == key for key, _ in record.headers)


@given(RECORDS.filter(lambda records: all(map(fits_kafka_python, records))), st.sampled_from([0, 1]))
def test_kafka_python_decodes_the_same(records: list[Record], codec: int) -> None:
    records = [record._replace(timestamp=record.timestamp % 2**62) for record in records]
    batch = DefaultRecordBatch(encode(records, codec=codec))
    assert batch.validate_crc()
    judged = [
        Record(entry.offset, entry.timestamp, entry.key, entry.value, tuple((k.encode(), v) for k, v in entry.headers))
        for entry in batch
    ]
    assert judged == records
    assert read(built(records, codec=codec)) == records


@given(RECORDS, CODECS, st.integers(0, 2**40), st.integers(0, 127), st.integers(0, 2**31))
def test_a_rewritten_header_keeps_every_record(
    records: list[Record], codec: int, base: int, epoch: int, sequence: int
) -> None:
    bits = 0x10 | 0x40
    source = patched(encode(records, codec=codec), base_offset=base, leader_epoch=epoch, attributes=codec | bits)
    info = walk(memoryview(source))[0][0]
    made = (
        rewrite(memoryview(source), info, producer_id=1, producer_epoch=0, base_sequence=sequence % 2**31) + source[61:]
    )
    assert read(made) == records
    assert [record.offset - base for record in read(source)] == [record.offset for record in records]


@given(RECORDS, CODECS, st.lists(st.integers(1, 1000), min_size=12, max_size=12), st.booleans())
def test_a_rebuilt_batch_keeps_what_consumers_saw(
    records: list[Record], codec: int, gaps: list[int], append_time: bool
) -> None:
    dense = patched(
        encode(records, codec=codec),
        base_offset=gaps[0],
        last_offset_delta=len(records) - 1 + gaps[1],
        attributes=codec | (0x08 if append_time else 0),
    )
    info = walk(memoryview(dense))[0][0]
    seen = decode(memoryview(dense), info)
    made = rebuild(memoryview(dense), info)
    after = walk(memoryview(made))[0][0]
    assert not needs_rebuild(after)
    assert after.codec == codec
    assert [record[1:] for record in read(made)] == [record[1:] for record in seen]


@given(st.lists(RECORDS, min_size=1, max_size=6), st.data())
def test_any_cut_of_a_log_is_walked_to_its_last_whole_batch(logs: list[list[Record]], data: st.DataObject) -> None:
    log = log_of(*(encode(records) for records in logs), start=7)
    cut = data.draw(st.integers(0, len(log)))
    infos, taken = walk(memoryview(log)[:cut])
    assert sum(info.size for info in infos) == taken <= cut
    whole, _ = walk(memoryview(log))
    assert infos == whole[: len(infos)]
    assert len(infos) == len(whole) or taken + whole[len(infos)].size > cut


@given(CODECS, BYTES)
def test_codecs_there_and_back(codec: int, data: bytes) -> None:
    assert decompress(codec, memoryview(compress(codec, data)), len(data)) == data


@given(st.binary(max_size=500))
def test_any_bytes_are_walked_or_refused(data: bytes) -> None:
    """Row P1: no other exception, and never more taken than there is."""
    for verify in (True, False):
        try:
            infos, taken = walk(memoryview(data), verify=verify)
        except CorruptBatch:
            continue
        assert 0 <= taken <= len(data)
        assert sum(info.size for info in infos) == taken


@given(st.binary(max_size=300), CODECS, st.integers(-1, 4), st.booleans(), st.booleans())
def test_any_payload_is_opened_or_refused(data: bytes, codec: int, count: int, packed: bool, control: bool) -> None:
    payload = compress(codec, data) if packed else data
    batch = around(payload, attributes=codec | (0x20 if control else 0), record_count=max(count, 0))
    info = walk(memoryview(batch))[0][0]._replace(record_count=count)
    try:
        assert len(decode(memoryview(batch), info, max_bytes=2**20)) == max(count, 0)
    except CorruptBatch as error:
        assert "batch at offset 0: " in str(error)
    try:
        control_type(memoryview(batch))
    except CorruptBatch as error:
        assert "control batch" in str(error)


@given(st.binary(max_size=200), st.integers(0, 1), st.booleans())
def test_any_old_set_is_opened_or_refused(data: bytes, magic: int, packed: bool) -> None:
    batch = old_message(5, None, gzip.compress(data) if packed else data, magic=magic, attributes=1)
    info = walk(memoryview(batch))[0][0]
    try:
        decode(memoryview(batch), info, max_bytes=2**20)
    except CorruptBatch as error:
        assert "batch at offset 5: " in str(error)


@examples(200)
@given(RECORDS, CODECS, st.data())
def test_a_changed_byte_never_goes_unnoticed(records: list[Record], codec: int, data: st.DataObject) -> None:
    batch = bytearray(encode(records, codec=codec))
    position = data.draw(st.integers(16, len(batch) - 1))
    batch[position] ^= data.draw(st.integers(1, 255))
    try:
        infos, taken = walk(memoryview(batch))
    except CorruptBatch:
        return
    # Only the magic is outside the CRC here: as another magic the bytes must not pass for a batch.
    assert position == 16
    assert (infos, taken) == ([], 0)

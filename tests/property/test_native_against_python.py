"""The C helper against the Python that does without it: the same values, the same errors, for whatever comes."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from blake3 import blake3
from fastcrc import crc32
from hypothesis import given
from hypothesis import strategies as st
from tests.property.test_batches_against_plain import mixed_logs
from tests.support.batches import around, built, log_of, old_message
from tests.support.examples import examples
from tests.support.native import in_way, without_helper
from tests.support.repositories import Clock, generation

from kafkeep import native
from kafkeep.batch_check import check_again, hash_and_check
from kafkeep.batch_rows import ROW, BatchRows, ends, pieces, summary
from kafkeep.errors import CorruptBatch, CorruptionError
from kafkeep.kafka.wire.batch import walk
from kafkeep.kafka.wire.records import Record
from kafkeep.model import BatchInfo, PackRef
from kafkeep.repository.facts import FactsBuilder
from kafkeep.repository.format import RepositoryDocument
from kafkeep.repository.pack import PackWriter
from kafkeep.repository.stores.memory import MemoryStore

I16, I32, I64 = (st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (16, 32, 64))
CRC_WAYS = (native.crc32c, native.crc32c_by_instruction, native.crc32c_by_table)
MARKER = around(bytes(4) + b"\x00\x01", attributes=0x30, record_count=1)


@st.composite
def infos(draw: st.DrawFn, *, wild: bool) -> BatchInfo:
    """A header as a log may hold it, or with any value at all in every field."""
    return BatchInfo(
        base_offset=draw(I64 if wild else st.integers(0, 2**62)),
        batch_length=draw(I32 if wild else st.integers(49, 200)),
        leader_epoch=draw(I32 if wild else st.integers(-1, 3)),
        magic=draw(st.integers(-128, 127) if wild else st.sampled_from([0, 1, 2, 2, 2, 2])),
        crc=draw(st.integers(0, 2**32 - 1)),
        attributes=draw(I16 if wild else st.integers(0, 0x7F)),
        last_offset_delta=draw(I32 if wild else st.integers(0, 5)),
        base_timestamp=draw(I64),
        max_timestamp=draw(I64),
        producer_id=draw(I64),
        producer_epoch=draw(I16),
        base_sequence=draw(I32),
        record_count=draw(I32 if wild else st.integers(-1, 6)),
    )


@st.composite
def logs(draw: st.DrawFn, most: int = 12) -> bytes:
    """Whole batches in a row: control batches, old magic, empty batches, holes, changing leader epochs."""
    parts, offset, epoch = [], draw(st.integers(0, 2**40)), 0
    for _ in range(draw(st.integers(0, most))):
        offset += draw(st.sampled_from([0, 0, 0, 1, 9]))
        epoch += draw(st.sampled_from([0, 0, 1]))
        kind = draw(st.integers(0, 9))
        if kind == 0:
            made = old_message(offset, b"k", draw(st.binary(max_size=9)), magic=draw(st.integers(0, 1)))
        elif kind == 1:
            made = around(MARKER[61:], base_offset=offset, leader_epoch=epoch, attributes=0x30)
        else:
            count = draw(st.integers(0, 4))
            made = around(
                draw(st.binary(max_size=900)),
                base_offset=offset,
                leader_epoch=epoch,
                record_count=count,
                last_offset_delta=max(0, count - 1 + draw(st.sampled_from([0, 0, 2]))),
                attributes=draw(st.sampled_from([0, 0, 0, 3, 4, 8, 0x10, 0x40])),
                base_timestamp=draw(I64),
                max_timestamp=draw(I64),
            )
        parts.append(made)
        offset += 1 if kind == 0 else int.from_bytes(made[23:27], "big") + 1
    return b"".join(parts)


def outcome(work: Callable[[], Any]) -> Any:
    """What came of it, errors and all."""
    try:
        return work()
    except (CorruptBatch, ValueError) as error:
        return type(error), str(error)


def walked(data: bytes, *, verify: bool) -> Any:
    def both() -> tuple[list[BatchInfo], int]:
        found, taken = walk(memoryview(data), verify=verify)
        return list(found), taken

    return outcome(both)


def assert_walked_alike(data: bytes) -> None:
    for verify in (True, False):
        found = walked(data, verify=verify)
        with without_helper():
            assert walked(data, verify=verify) == found


def test_the_helper_is_in_use_where_it_can_be_built() -> None:
    from tools import build_native

    assert native.available() == (build_native._obstacle() is None)


@given(st.binary(max_size=2000), st.integers(0, 2**32 - 1), st.data())
def test_crcs_are_those_of_another_library(data: bytes, before: int, more: st.DataObject) -> None:
    for function in CRC_WAYS:
        if function is not None:
            cut = more.draw(st.integers(0, len(data)))
            assert function(data, before) == crc32.iscsi(data, before)
            assert function(data[cut:], function(data[:cut], before)) == crc32.iscsi(data, before)


@pytest.mark.parametrize("part", [8, 64, 171, 256, 8192])
def test_crcs_at_the_lengths_where_the_way_changes(part: int) -> None:
    data = os.urandom(7 * part + 9)
    for size in [*range(3 * part - 9, 3 * part + 9), *range(6 * part - 9, 6 * part + 9), len(data)]:
        for start in (0, 1, 7):
            piece = memoryview(data)[start : start + max(0, size)]
            for function in CRC_WAYS:
                assert function is None or function(piece, 0) == crc32.iscsi(piece)


@given(mixed_logs().map(lambda made: b"".join(entry for entry, *_ in made[0])) | logs(), st.data())
def test_logs_are_walked_alike_whole_cut_and_damaged(log: bytes, data: st.DataObject) -> None:
    assert_walked_alike(log)
    assert_walked_alike(log[: data.draw(st.integers(0, len(log)))])
    if log:
        damaged = bytearray(log)
        damaged[data.draw(st.integers(0, len(log) - 1))] ^= data.draw(st.integers(1, 255))
        assert_walked_alike(bytes(damaged))


@given(st.binary(max_size=200))
def test_any_bytes_are_walked_alike(data: bytes) -> None:
    assert_walked_alike(data)


def test_damage_at_every_byte_is_told_alike() -> None:
    plain = built([Record(0, 5, b"k", b"v", ())] * 2)
    log = log_of(plain, MARKER, plain, start=7)
    log += old_message(20, b"k", b"v", magic=1) + log_of(plain, start=21)
    for place in range(len(log)):
        for bits in (0x01, 0x80, 0xFF):
            damaged = bytearray(log)
            damaged[place] ^= bits
            assert_walked_alike(bytes(damaged))
        assert_walked_alike(log[:place])


@pytest.mark.parametrize("offset", [2**63 - 3, 2**63 - 2, 2**63 - 1, -1, -(2**63)])
def test_offsets_at_the_end_of_their_range_are_walked_alike(offset: int) -> None:
    for delta in (0, 1, 2, 2**31 - 1, -1):
        one = around(b"", base_offset=offset, last_offset_delta=delta, record_count=0)
        assert_walked_alike(one)
        assert_walked_alike(one + one)
        assert_walked_alike(around(b"") + one + around(b"", base_offset=offset))


@given(st.lists(infos(wild=False) | infos(wild=True), min_size=1, max_size=9))
def test_headers_are_summed_up_alike(given_infos: list[BatchInfo]) -> None:
    for some in (given_infos, sorted(given_infos)):
        rows = BatchRows.of(some)
        assert summary(rows) == summary(some)
        assert list(ends(rows)) == ends(some)
        with without_helper():
            assert summary(rows) == summary(some)
            assert list(ends(rows)) == ends(some)


@given(
    st.lists(infos(wild=False) | infos(wild=True), min_size=1, max_size=30), st.integers(-50, 900), st.integers(1, 900)
)
def test_pieces_are_cut_alike(some: list[BatchInfo], room: int, target: int) -> None:
    some = [info._replace(batch_length=abs(info.batch_length) % 300 + 14) for info in some]
    rows = BatchRows.of(some)
    found = pieces(rows, min(room, target), target)
    assert found == pieces(some, min(room, target), target)
    with without_helper():
        assert found == pieces(rows, min(room, target), target)
    first = 0
    for number, piece in enumerate(found):
        size = piece.end - (found[number - 1].end if number else 0)
        assert piece.told == summary(some[first : piece.stop]) and size == piece.told.raw_bytes
        assert size <= target or piece.stop == first + 1
        first = piece.stop
    assert first == len(some)


def looked_at(raw: bytes, rows: BatchRows) -> str:
    try:
        check_again(memoryview(raw), rows)
    except CorruptionError as error:
        return error.message
    return ""


@given(logs(), st.data())
def test_a_second_look_finds_alike(log: bytes, data: st.DataObject) -> None:
    with without_helper():
        rows = BatchRows.of(walk(memoryview(log))[0])

    def looked(raw: bytes) -> str:
        found = looked_at(raw, rows)
        with without_helper():
            assert found == looked_at(raw, rows)
        return found

    assert looked(log) == ""
    if log:
        changed = bytearray(log)
        changed[data.draw(st.integers(0, len(log) - 1))] ^= data.draw(st.integers(1, 255))
        assert "changed in memory" in looked(bytes(changed))


@given(logs(), st.integers(1, 900), st.booleans(), st.data())
def test_pieces_are_hashed_and_looked_at_alike(log: bytes, target: int, begins: bool, data: st.DataObject) -> None:
    with without_helper():
        rows = BatchRows.of(walk(memoryview(log))[0])
    found = pieces(rows, data.draw(st.integers(0, target)), target)

    def hashed(raw: bytes) -> Any:
        try:
            hasher, digests = hash_and_check(blake3(b"before"), memoryview(raw), rows, found, begins=begins)
        except CorruptionError as error:
            return error.message
        return hasher.hexdigest(), digests

    def either(raw: bytes) -> Any:
        told = hashed(raw)
        with without_helper():
            assert told == hashed(raw)
        return told

    ends_at = [0, *(piece.end for piece in found)]
    parts = [log[start:stop] for start, stop in pairwise(ends_at)]
    chunks = [b"before", *parts] if begins or not parts else [b"before" + parts[0], *parts[1:]]
    assert either(log) == (blake3(chunks[-1]).hexdigest(), [blake3(chunk).hexdigest() for chunk in chunks[:-1]])
    if log:
        changed = bytearray(log)
        changed[data.draw(st.integers(0, len(log) - 1))] ^= data.draw(st.integers(1, 255))
        assert "changed in memory" in str(either(bytes(changed)))


def test_pieces_of_other_batches_are_refused() -> None:
    if native.hashed is None:
        return
    log = around(b"payload")
    rows = BatchRows.of(walk(memoryview(log))[0]).rows
    for stops in ([0], [2], [-1], [1, 1], [2**70], ["1"]):
        with pytest.raises((ValueError, OverflowError, TypeError)):
            native.hashed(blake3(), blake3, log, rows, stops, False)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not those"):
        native.hashed(blake3(), blake3, log[:-1], rows, [1], False)


@given(st.lists(infos(wild=True), max_size=6), st.data())
def test_rows_are_a_sequence_of_infos(some: list[BatchInfo], data: st.DataObject) -> None:
    rows = BatchRows.of(some)
    assert len(rows) == len(some)
    assert list(rows) == some and rows == some and some == rows and rows == BatchRows.of(some)
    assert rows != [*some, None] and rows != BatchRows.of(some * 2 + [BatchInfo._make(range(13))])
    assert list(reversed(rows)) == some[::-1]
    place = data.draw(st.slices(len(some)))
    assert list(rows[place]) == some[place]
    for index in range(-len(some), len(some)):
        assert rows[index] == some[index] and type(rows[index]) is BatchInfo
    for index in (len(some), -len(some) - 1):
        with pytest.raises(IndexError):
            rows[index]


def written(log: bytes, cuts: Sequence[int], start: int, compression: str, way: str) -> Any:
    """What becomes of a pack that is given the log in pieces, its bytes with it."""
    document = RepositoryDocument(
        id="ab" * 16, created="2026-11-20T10:00:00.000Z", compression=compression, chunk_bytes=1000, pack_bytes=50_000
    )

    def work() -> tuple[PackRef, bytes, int]:
        store = MemoryStore()
        with PackWriter(store.open_new(), document, epoch=3, now=Clock(), rng=random.Random(1)) as target:
            target.begin_run(generation("orders"), start)
            found, taken = walk(memoryview(log))
            position = first = records = 0
            for cut in [*cuts, len(found)]:
                piece = found[first:cut]
                size = sum(info.size for info in piece)
                records += target.append(memoryview(log)[position : position + size], piece)
                position, first = position + size, max(first, cut)
            assert position == taken
            target.end_run(found[-1].next_offset if found else start + 5)
            pack = target.finish()
            return pack, bytes(store.get(pack.name)), records

    with in_way(way):
        return outcome(work)


@examples(50)
@given(logs(40), st.data(), st.sampled_from(["none", "zstd"]))
def test_packs_are_the_same_to_the_byte(log: bytes, data: st.DataObject, compression: str) -> None:
    with without_helper():
        found = walk(memoryview(log))[0]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(found)), max_size=3)))
    start = (found[0].base_offset if found else 0) + data.draw(st.sampled_from([0, 0, 0, 1]))
    made = written(log, cuts, start, compression, "helper")
    assert made == written(log, cuts, start, compression, "python")
    if isinstance(made[0], PackRef):
        counted = [info.record_count for info in found if not info.is_control and info.record_count > 0]
        assert made[2] == sum(counted) == sum(run.records for run in made[0].runs)


@given(st.lists(st.lists(infos(wild=False) | infos(wild=True), min_size=1, max_size=4), min_size=1, max_size=4))
def test_facts_are_the_same(pieces: list[list[BatchInfo]]) -> None:
    if len(pieces) % 2:
        pieces = [sorted(piece) for piece in sorted(pieces)]

    def told(rows: bool) -> list[Any]:
        builder = FactsBuilder(generation("orders"), 0)
        found = [outcome(lambda piece=piece: builder.add(BatchRows.of(piece) if rows else piece)) for piece in pieces]
        return [*found, outcome(lambda: builder.facts(2**63, stored_bytes=1, blake3=""))]

    assert told(rows=True) == told(rows=False)


def test_half_a_row_is_refused() -> None:
    for function in (native.ends, native.summary):
        if function is not None:
            assert function(b"") in (b"", None)
            with pytest.raises(ValueError, match="whole rows"):
                function(bytes(ROW.size + 1))
    if native.pieces is not None and native.same is not None:
        assert native.pieces(b"", 1, 1) == [] and native.same(b"", b"") and not native.same(b"x", b"")
        for call in (lambda rows: native.pieces(rows, 1, 1), lambda rows: native.same(b"", rows)):
            with pytest.raises(ValueError, match="whole rows"):
                call(bytes(ROW.size - 1))
    if native.walk is not None:
        for position in (-1, 3):
            with pytest.raises(ValueError, match="outside"):
                native.walk(b"ab", True, position, 0)

"""Records moved by the C helper, held against Python's own way: the same bytes, and the same batches left alone, whatever
the input.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate, pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support.batches import around, log_of, patched

from kafkeep import native
from kafkeep.errors import CorruptBatch
from kafkeep.kafka.wire.batch import HEADER_SIZE, crc32c, needs_rebuild, walk
from kafkeep.kafka.wire.growing import HEAD_GROWTH, Growing
from kafkeep.kafka.wire.records import Record, encode, zigzag
from kafkeep.kafka.wire.repack import cut_out, put_together
from kafkeep.playback import PlayedBatch, Stretch
from kafkeep.restore.repack import Stored, StoredStretch, Together, gathered_up_to_full

I64 = st.integers(-(2**63), 2**63 - 1)
TIMES = st.one_of(st.integers(1_767_225_600_000, 1_767_225_700_000), st.sampled_from([-1, 0, -(2**63), 2**63 - 1]), I64)
VALUES = st.none() | st.binary(max_size=40) | st.sampled_from([b"", b"x" * 70, b"y" * 9000])
RECORDS = st.lists(st.builds(Record, st.just(0), TIMES, VALUES, VALUES, st.just(())), min_size=1, max_size=70)
SMALL = st.lists(st.builds(Record, st.just(0), TIMES, VALUES, st.just(b"v"), st.just(())), min_size=1, max_size=4)
ROOM = 1_000_000
IDS = {"producer_id": 7, "producer_epoch": 1, "base_sequence": 5}


@contextmanager
def without_helper() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("walk", "append_records", "append_batches", "uninitialised"):
            patch.setattr(native, name, None)
        yield


def test_the_helper_is_there() -> None:
    """Where it is not, the rest of this file compares Python with itself."""
    assert native.available() == (native.append_records is not None) == (native.append_batches is not None)


@given(st.lists(RECORDS, min_size=1, max_size=4), st.integers(0, 4))
def test_whole_payloads_come_out_as_put_together(batches: list[list[Record]], codec: int) -> None:
    growing = Growing(ROOM)
    parts = []
    for records in batches:
        data = memoryview(encode(records))
        (info,), _ = walk(data)
        slices = cut_out(data, info)
        if not growing.add_payload(data[HEADER_SIZE:], info.record_count, info.base_timestamp):
            assert not native.available()
            growing.add(slices)
        parts.append(slices)
    assert growing.seal(codec, **IDS) == put_together(parts, codec=codec, **IDS)


def record_of(length: int | None, delta: bytes, offset: bytes, body: bytes) -> bytes:
    inner = b"\x00" + delta + offset + body
    return zigzag(len(inner) if length is None else length) + inner


ODD = st.builds(
    record_of,
    st.none() | st.none() | st.integers(-3, 30),
    st.binary(max_size=11) | st.sampled_from([b"\x00", b"\x80\x00", b"\xff" * 9 + b"\x01", b"\xff" * 9 + b"\x7f"]),
    st.sampled_from(
        [b"\x00", b"\x02", b"\x04", b"\x80\x00", b"\x82\x80\x80\x80\x00", b"\x82\x80\x80\x80\x70", b"\x01"]
    ),
    st.binary(max_size=6),
)


@settings(max_examples=400)
@given(st.lists(ODD, min_size=1, max_size=3).map(b"".join) | st.binary(max_size=60), st.integers(0, 4), TIMES, SMALL)
@example(record_of(None, b"\x00", b"\x80\x00", b"body"), 1, 0, [])
@example(record_of(None, b"\x00", b"\x00", b"x"), 1, 0, [])
def test_odd_payloads_are_moved_alike_or_left(data: bytes, count: int, base: int, before: list[Record]) -> None:
    """What the helper takes, Python takes as well, and makes the same of it; what it does not take leaves no trace."""
    batch = memoryview(around(data, record_count=count, last_offset_delta=max(0, count - 1), base_timestamp=base))
    (info,), _ = walk(batch)
    growing, expected = Growing(ROOM), Growing(ROOM)
    if before:
        head = memoryview(encode(before))
        slices = cut_out(head, walk(head)[0][0])
        growing.add(slices)
        expected.add(slices)
    taken = growing.add_payload(batch[HEADER_SIZE:], count, base)
    if taken:
        found = cut_out(batch, info)
        assert list(found.offsets) == list(range(count))
        expected.add(found)
    if expected.records:
        assert growing.seal(0, **IDS) == expected.seal(0, **IDS)


@given(SMALL, st.integers(0, 60))
def test_no_room_is_overrun(records: list[Record], missing: int) -> None:
    batch = memoryview(encode(records))
    (info,), _ = walk(batch)
    room = max(0, len(batch) - HEADER_SIZE + HEAD_GROWTH * len(records) - missing)
    growing = Growing(room)
    taken = growing.add_payload(batch[HEADER_SIZE:], len(records), info.base_timestamp)
    if native.available():
        assert taken or missing
    if taken:
        assert len(growing.seal(0, **IDS)) <= HEADER_SIZE + room


BATCH = st.builds(
    lambda records, codec, fields: patched(encode(records, codec=codec), **fields),
    SMALL,
    st.sampled_from([0, 0, 0, 0, 3]),
    st.sampled_from(
        [
            {},
            {},
            {},
            {},
            {"attributes": 0x10, "producer_id": 9},
            {"attributes": 0x40},
            {"attributes": 0x20},
            {"attributes": 0x08, "max_timestamp": 5},
            {"last_offset_delta": 9},
            {"record_count": 0},
        ]
    ),
)


def stretches(chunk: bytes, start: int, stop: int) -> Iterator[Stored | StoredStretch]:
    stretch = Stretch(memoryview(chunk), start, stop, "a chunk")

    def take() -> Stored | None:
        played: PlayedBatch | None = stretch.take()
        if played is None:
            return None
        info = played.info
        records = cut_out(played.batch, info) if needs_rebuild(info) or not played.whole else None
        return Stored(info, played.batch, info.next_offset, records)

    yield StoredStretch(stretch, take)


def outcome(chunk: bytes, start: int, stop: int, most: int, *more: bytes) -> tuple[list[object], str]:
    """All batches that come out of the chunk, and of `more` behind it, up to the error that ends them."""
    found: list[object] = []
    try:
        # None of those that join no others is taken ahead: then they come one by one.
        chunks = (part for each in (chunk, *more) for part in stretches(each, start, stop))
        made = gathered_up_to_full(chunks, most)
        found.extend(seen(together) for together in made if together.alone is None)
    except CorruptBatch as error:
        return found, error.message
    return found, ""


def seen(together: Together) -> object:
    if together.growing is not None:
        made = bytes(together.growing.seal(together.codec, **IDS))
        return made, list(together.pieces), together.next_source
    if together.only is not None:
        return bytes(together.only.batch), together.next_source
    return list(together.records), together.next_source


@settings(max_examples=300)
@given(
    st.lists(BATCH, min_size=1, max_size=12).map(lambda batches: log_of(*batches)),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), max_size=2),
    st.integers(0, 3),
    st.integers(2, 60),
    st.sampled_from([100, 400, 3000, ROOM]),
)
def test_any_chunk_gives_the_same_batches(
    chunk: bytes, changed: list[tuple[int, int]], start: int, stop: int, most: int
) -> None:
    """Also with bytes that were changed, checksums aside: those were looked at before."""
    data = bytearray(chunk)
    for place, bits in changed:
        data[place % len(data)] ^= bits
    with_helper = outcome(bytes(data), start, stop, most)
    with without_helper():
        assert outcome(bytes(data), start, stop, most) == with_helper


@settings(max_examples=300)
@given(
    st.lists(BATCH, min_size=2, max_size=30),
    st.sets(st.integers(1, 29), max_size=4),
    st.integers(0, 3),
    st.integers(2, 120),
    st.sampled_from([100, 200, 400, 1000, 3000]),
)
def test_any_chunks_give_the_same_batches(
    batches: list[bytes], borders: set[int], start: int, stop: int, most: int
) -> None:
    """What is joined goes from chunk to chunk, and the next that is joined may begin anywhere in one."""
    log = memoryview(log_of(*batches))
    ends = list(accumulate(map(len, batches)))
    cuts = [0, *(ends[border - 1] for border in sorted(borders) if border < len(batches)), len(log)]
    chunks = [bytes(log[first:last]) for first, last in pairwise(cuts)]
    with_helper = outcome(chunks[0], start, stop, most, *chunks[1:])
    with without_helper():
        assert outcome(chunks[0], start, stop, most, *chunks[1:]) == with_helper


def test_full_batches_follow_one_another_in_a_chunk() -> None:
    """Whole batches of several stored ones, of which none has to be looked at by itself, and one alone at the end."""
    one = encode([Record(0, 5, None, b"v" * 50, ())])
    chunk = b"".join(patched(one, base_offset=offset) for offset in range(7))
    records = len(one) - HEADER_SIZE + HEAD_GROWTH
    found, error = outcome(chunk, 0, 100, HEADER_SIZE + 3 * records)
    assert not error
    assert [each[1] for each in found[:2] if isinstance(each, tuple)] == [[(0, 3)], [(3, 3)]]
    assert found[2] == (patched(one, base_offset=6), 7)
    with without_helper():
        assert outcome(chunk, 0, 100, HEADER_SIZE + 3 * records) == (found, "")


def test_gaps_between_batches_are_kept_apart() -> None:
    one = encode([Record(0, 5, None, b"v", ())])
    chunk = b"".join(patched(one, base_offset=offset) for offset in (0, 1, 5, 6, 9))
    (made,), error = outcome(chunk, 0, 100, ROOM)
    assert not error and isinstance(made, tuple)
    assert made[1:] == ([(0, 2), (5, 2), (9, 1)], 10)
    with without_helper():
        assert outcome(chunk, 0, 100, ROOM) == ([made], "")


def test_offsets_that_do_not_rise_end_it() -> None:
    one = encode([Record(0, 5, None, b"v", ())])
    for offsets in ((0, 1, 1, 2), (3, 4, 0), (0, 0)):
        chunk = b"".join(patched(one, base_offset=offset) for offset in offsets)
        found = outcome(chunk, 0, 100, ROOM)
        assert "after offset" in found[1]
        with without_helper():
            assert outcome(chunk, 0, 100, ROOM) == found


def test_a_sealed_batch_has_its_checksum() -> None:
    growing = Growing(1000)
    data = memoryview(encode([Record(0, 5, b"k", b"v", ())]))
    growing.add(cut_out(data, walk(data)[0][0]))
    batch = growing.seal(0, **IDS)
    (info,), used = walk(batch)
    assert used == len(batch) and info.crc == crc32c(bytes(batch[21:]))

"""Which stored batches become one."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from tests.support.batches import around, log_of, old_message, patched

from kafkeep.kafka.wire.batch import needs_rebuild, walk
from kafkeep.kafka.wire.records import Record, encode
from kafkeep.kafka.wire.repack import cut_out, put_together
from kafkeep.restore.options import LARGEST_REPACK, SMALL_ONES, UP_TO_FULL
from kafkeep.restore.repack import MOST_BYTES, MOST_RECORDS, Stored, Together, gathered, repack_limit

ROOM = 256 * 1024


def batch(count: int = 1, *, size: int = 10, codec: int = 0) -> bytes:
    return encode([Record(0, 5, None, b"v" * size, ()) for _ in range(count)], codec=codec)


def stored(*batches: bytes) -> list[Stored]:
    """As a restore hands them over: opened where a new header is not enough."""
    data = memoryview(log_of(*batches))
    infos, _ = walk(data)
    found, position = [], 0
    for info in infos:
        view = data[position : position + info.size]
        records = cut_out(view, info) if needs_rebuild(info) else None
        found.append(Stored(info, view, info.next_offset, records))
        position += info.size
    return found


def counts(found: Sequence[Together]) -> list[int]:
    """Records of each; negative for a batch that goes out as it is."""
    return [
        sum(len(part.bodies) for part in each.records) if each.only is None else -each.only.info.record_count
        for each in found
    ]


def together(*batches: bytes, most: int = ROOM) -> list[int]:
    return counts(list(gathered(stored(*batches), most)))


def test_small_neighbours_become_one() -> None:
    assert together(batch(), batch(3), batch()) == [5]
    assert together(batch(), batch(), most=0) == [-1, -1]
    assert together(batch()) == [-1]
    assert together() == []


def test_a_large_batch_stands_alone() -> None:
    for large in (batch(MOST_RECORDS + 1), batch(size=MOST_BYTES)):
        count = walk(memoryview(large))[0][0].record_count
        assert together(batch(), batch(), large, batch(), batch()) == [2, -count, 2]
        assert together(large, large) == [-count, -count]
    assert together(batch(MOST_RECORDS), batch(MOST_RECORDS)) == [2 * MOST_RECORDS]


def test_two_codecs_never_go_together() -> None:
    for codec in range(1, 5):
        other = batch(codec=codec % 4 + 1)
        assert together(batch(codec=codec), batch(codec=codec), other, batch(codec=codec)) == [2, -1, -1]


def test_uncompressed_ones_join_any_codec() -> None:
    for codec in range(1, 5):
        for shape in ((codec, 0, codec), (0, 0, codec, 0), (codec, 0)):
            (found,) = gathered(stored(*(batch(codec=each) for each in shape)), ROOM)
            assert (found.codec, counts([found])) == (codec, [len(shape)])
        shape = (0, codec, 0, codec % 4 + 1, 0)
        first, second = gathered(stored(*(batch(codec=each) for each in shape)), ROOM)
        assert (first.codec, second.codec) == (codec, codec % 4 + 1)
        assert counts([first, second]) == [3, 2]


def test_what_must_be_built_anew_joins() -> None:
    holes = patched(batch(2), last_offset_delta=5)
    append_time = patched(batch(2), attributes=0x08, max_timestamp=77)
    old = old_message(0, b"k", b"v")
    first = list(gathered(stored(batch(), holes, append_time, batch()), ROOM))
    assert counts(first) == [6]
    assert [list(part.offsets) for part in first[0].records] == [[0], [1, 2], [7, 8], [9]]
    assert [list(part.timestamps) for part in first[0].records] == [[5], [5, 5], [77, 77], [5]]
    assert together(holes) == [2] and together(holes, holes) == [4]
    (info,), _ = walk(memoryview(old))
    message = Stored(info, memoryview(old), 1, cut_out(memoryview(old), info))
    assert counts(list(gathered([message, message], ROOM))) == [2]


def test_a_batch_whose_records_do_not_add_up_goes_out_as_it_is() -> None:
    odd = around(b"no records at all", record_count=1)
    damaged = around(b"\xff" * 40, record_count=1, attributes=3)
    assert together(batch(), odd, batch(), batch()) == [-1, -1, 2]
    assert together(odd, batch(), batch()) == [-1, 2]
    assert together(batch(codec=3), damaged, batch(codec=3)) == [-1, -1, -1]


def test_what_unpacks_to_too_much_goes_out_as_it_is() -> None:
    huge = batch(size=3 * ROOM, codec=4)
    assert len(huge) < MOST_BYTES
    small = batch(codec=4)
    assert together(small, small, huge, small, small) == [2, -1, 2]
    assert together(huge, huge) == [-1, -1]


@pytest.mark.parametrize("codec", range(5))
def test_room_is_kept_whatever_a_codec_makes_of_it(codec: int) -> None:
    """Bytes that do not pack, in records whose heads grow to their largest, and every size around what just fits."""
    dice = random.Random(codec)
    far = 2**62
    batches = [encode([Record(0, (-far, far)[n % 2], None, dice.randbytes(300), ())], codec=codec) for n in range(6)]
    for most in range(690, 760):
        for each in gathered(stored(*batches), most):
            if each.only is None:
                made = put_together(each.records, codec=each.codec, producer_id=1, producer_epoch=0, base_sequence=0)
                assert len(made) <= most


def test_next_source_is_behind_the_last_one() -> None:
    found = list(gathered(stored(batch(), batch(3), batch(MOST_RECORDS + 1)), ROOM))
    assert [each.next_source for each in found] == [4, 5 + MOST_RECORDS]


@pytest.mark.parametrize(
    ("asked", "own", "limit"),
    [
        (ROOM, None, ROOM),
        (ROOM, "2000", 2000),
        (ROOM, "5000000", ROOM),
        (5_000_000, "5000000", LARGEST_REPACK),
        (5_000_000, None, LARGEST_REPACK),
        (0, "2000", 0),
    ],
)
def test_no_more_than_the_topic_allows(asked: int, own: str | None, limit: int) -> None:
    configs = (("cleanup.policy", "compact"),) if own is None else (("max.message.bytes", own),)
    assert repack_limit(asked, configs, SMALL_ONES) == repack_limit(asked, configs, UP_TO_FULL) == limit


def test_no_more_than_a_segment_takes() -> None:
    configs = (("segment.bytes", "100000"), ("max.message.bytes", "200000"))
    assert repack_limit(LARGEST_REPACK, configs, UP_TO_FULL) == 100_000
    assert repack_limit(LARGEST_REPACK, configs, SMALL_ONES) == 200_000, "as jobs had it whose records tell no rule"

"""Batches that go out by themselves: new headers by the C helper, held against Python's own way, whatever the input."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.batches import log_of, patched
from tests.support.native import without_helper
from tests.support.operations import new_repository
from tests.support.repositories import draft, generation, opened
from tests.support.restore_plans import part_of

from kafkeep import native
from kafkeep.errors import CorruptBatch
from kafkeep.kafka.wire.batch import HEADER_SIZE, needs_rebuild, rewrite, walk
from kafkeep.kafka.wire.codecs import GZIP, LZ4, NONE, SNAPPY, ZSTD
from kafkeep.kafka.wire.records import Record, encode
from kafkeep.playback import Stretch
from kafkeep.restore.batches import ReadyBatch, ready_batches
from kafkeep.restore.options import LARGEST_REPACK, UP_TO_FULL
from kafkeep.restore.plan import ProducerIdentity
from kafkeep.restore.repack import LARGEST_JOINING
from kafkeep.restore.window import Window

OURS = ProducerIdentity(4711, 3)
ORDERS = generation()
LIMITS = (70, 90, 90, 100, 80)
SEQUENCES = 2**31
FIELDS = st.sampled_from(
    [
        {},
        {},
        {},
        {"attributes": 0x10, "producer_id": 9, "producer_epoch": 4, "base_sequence": 17, "leader_epoch": 6},
        {"attributes": 0x40},
        {"attributes": 0x20},
        {"attributes": 0x08, "max_timestamp": 5},
        {"attributes": 0x07},
        {"last_offset_delta": 9},
        {"record_count": 0},
        {"magic": 1},
    ]
)
BATCH = st.builds(
    lambda size, count, codec, fields: patched(
        encode([Record(n, 5 + n, None, random.Random(size).randbytes(size), ()) for n in range(count)], codec=codec),
        **fields,
    ),
    st.integers(0, 60),
    st.integers(1, 3),
    st.sampled_from([NONE, NONE, GZIP, SNAPPY, LZ4, ZSTD]),
    FIELDS,
)
Made = list[tuple[bytes, int, int, int, int]]


def by_helper(chunk: bytes, start: int, stop: int, sequence: int) -> tuple[Made, int, int]:
    if native.stamped is None:  # Python is compared with itself then
        return by_python(chunk, start, stop, sequence)
    return native.stamped(chunk, 0, 0, start, stop, LIMITS, OURS.producer_id, OURS.epoch, sequence)


def by_python(chunk: bytes, start: int, stop: int, sequence: int) -> tuple[Made, int, int]:
    """As long as the next batch is wanted as a whole, needs a new header only, and is too large to join."""
    stretch = Stretch(memoryview(chunk), start, stop, "a chunk")
    made: Made = []
    while not stretch.is_over:
        position, behind = stretch.position, stretch.next_offset
        try:
            played = stretch.take()
        except CorruptBatch:
            return made, position, behind
        if (
            played is None
            or needs_rebuild(played.info)
            or not played.whole
            or played.info.codec > ZSTD
            or played.info.size <= LIMITS[played.info.codec]
        ):
            return made, position, behind
        info = played.info
        header = rewrite(
            played.batch, info, producer_id=OURS.producer_id, producer_epoch=OURS.epoch, base_sequence=sequence
        )
        made.append((header, position + HEADER_SIZE, stretch.position, info.base_offset, info.record_count))
        sequence = (sequence + info.record_count) % SEQUENCES
    return made, stretch.position, stretch.next_offset


@settings(max_examples=300)
@given(
    st.lists(BATCH, min_size=1, max_size=8).map(lambda batches: log_of(*batches)),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), max_size=2),
    st.integers(0, 3),
    st.integers(2, 60),
    st.sampled_from([0, 7, SEQUENCES - 2, SEQUENCES - 1]),
)
def test_any_chunk_gives_the_same_headers(
    chunk: bytes, changed: list[tuple[int, int]], start: int, stop: int, sequence: int
) -> None:
    data = bytearray(chunk)
    for place, bits in changed:
        data[place % len(data)] ^= bits
    made, position, behind = by_helper(bytes(data), start, stop, sequence)
    expected = by_python(bytes(data), start, stop, sequence)
    assert (made, position) == expected[:2]
    assert behind == expected[2] or not made


def ready(data: bytes, source_start: int = 0, sequence: int = 0) -> list[ReadyBatch]:
    """Of a repository that holds these batches as one run."""
    repository = new_repository()
    infos, _ = walk(memoryview(data))
    end = infos[-1].next_offset
    with repository.pack_writer() as writer:
        writer.begin_run(ORDERS, 0)
        writer.append(memoryview(data), infos)
        writer.end_run(end)
        pack = writer.finish()
    repository.commit(draft(packs=[pack], open_=opened(ORDERS)))
    made = ready_batches(
        repository,
        part_of(repository, 0, end, Window()),
        source_start=source_start,
        sequence=sequence,
        identity=OURS,
        repack_bytes=LARGEST_REPACK,
        repack_rule=UP_TO_FULL,
    )
    return [batch._replace(parts=(b"".join(batch.parts),)) for batch in made]


def large_and_small() -> bytes:
    """Large ones that go out by themselves between small ones that join, of every codec, some of them unusual."""
    dice = random.Random(3)
    batches = []
    for number in range(120):
        codec = dice.choice([NONE, GZIP, SNAPPY, LZ4, LZ4, ZSTD])
        large = dice.random() < 0.6
        size = LARGEST_JOINING[codec] // 3 + 500 if large else dice.randrange(200)
        records = [Record(n, number, b"k", dice.randbytes(size), ()) for n in range(3)]
        unusual: Sequence[dict[str, int]] = [{}] * 8 + [{"last_offset_delta": 5}, {"attributes": codec | 0x08}]
        batches.append(patched(encode(records, codec=codec), **dice.choice(unusual)))
    return log_of(*batches)


def test_large_batches_between_small_ones_come_out_the_same_without_the_helper() -> None:
    data = large_and_small()
    made = ready(data)
    with without_helper():
        assert ready(data) == made
    assert len({batch.records for batch in made}) > 2
    assert [batch.sequence for batch in made[1:]] == [batch.sequence + batch.records for batch in made[:-1]]


def test_from_every_border_on_the_rest_comes_out_again() -> None:
    data = large_and_small()
    made = ready(data)
    for place in range(0, len(made), 7):
        batch = made[place]
        assert ready(data, batch.next_source, batch.sequence + batch.records) == made[place + 1 :]

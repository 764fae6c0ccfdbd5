"""From stored batches to those a broker takes from a client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.batches import around, log_of, old_message, patched
from tests.support.operations import new_repository
from tests.support.repositories import draft, generation, opened
from tests.support.simulated_log import SimulatedLog, record

from kafkeep.errors import CorruptBatch
from kafkeep.kafka.wire import codecs
from kafkeep.kafka.wire.batch import HEADER_SIZE, walk
from kafkeep.kafka.wire.records import Record, decode, encode
from kafkeep.model import (
    CONTROL_BIT,
    LOG_APPEND_TIME_BIT,
    TRANSACTIONAL_BIT,
    AbortedTransaction,
    BatchInfo,
    TopicPartition,
)
from kafkeep.repository.repository import Repository
from kafkeep.restore.batches import ReadyBatch, ready_batches
from kafkeep.restore.plan import PartitionRestore, ProducerIdentity
from kafkeep.restore.window import Window

OURS = ProducerIdentity(4711, 3)
ORDERS = generation()


def stored(data: bytes, start: int = 0, aborted: Sequence[AbortedTransaction] = ()) -> tuple[Repository, int]:
    """A repository with these batches as one run, and where the run stops."""
    repository = new_repository()
    infos, used = walk(memoryview(data))
    assert used == len(data)
    with repository.pack_writer() as writer:
        writer.begin_run(ORDERS, start)
        writer.append(memoryview(data), infos)
        writer.end_run(infos[-1].next_offset, aborted=aborted)
        pack = writer.finish()
    repository.commit(draft(packs=[pack], open_=opened(ORDERS, start=start)))
    return repository, infos[-1].next_offset


def ready(
    data: bytes,
    *,
    start: int = 0,
    stop: int | None = None,
    until: int | None = None,
    source_start: int | None = None,
    sequence: int = 0,
    run_start: int = 0,
    aborted: Sequence[AbortedTransaction] = (),
    repack: int = 0,
) -> list[ReadyBatch]:
    repository, end = stored(data, run_start, aborted)
    part = PartitionRestore(
        source=ORDERS,
        target=TopicPartition("orders", 0),
        start=start,
        stop=end if stop is None else stop,
        runs=tuple(repository.state.generations[ORDERS].runs),
        held_back=(),
        window=Window(until=until),
        most_records=0,
        raw_bytes=0,
        gaps=(),
    )
    first = start if source_start is None else source_start
    return list(
        ready_batches(repository, part, source_start=first, sequence=sequence, identity=OURS, repack_bytes=repack)
    )


def opened_batch(batch: ReadyBatch) -> tuple[BatchInfo, list[Record]]:
    """Header and records; AssertionError when a broker would not take the batch from a client."""
    data = memoryview(b"".join(bytes(part) for part in batch.parts))
    assert len(data) == batch.size
    (info,), used = walk(data)
    assert used == len(data)
    assert info.base_offset == 0 and info.record_count == info.last_offset_delta + 1 == batch.records > 0
    assert info.attributes & ~7 == 0
    assert (info.producer_id, info.producer_epoch, info.base_sequence) == (OURS.producer_id, OURS.epoch, batch.sequence)
    found = decode(data, info)
    assert [item.offset for item in found] == list(range(batch.records))
    assert sum(count for _, count in batch.pieces) == batch.records
    return info, found


def plain(items: Sequence[Record]) -> list[tuple[Any, ...]]:
    return [tuple(item)[1:] for item in items]


def log(*batches: Sequence[int]) -> SimulatedLog:
    """Batches of records with these timestamps."""
    made = SimulatedLog()
    for stamps in batches:
        made.append([record(b"%d" % stamp, key=b"k", timestamp=stamp) for stamp in stamps])
    return made


def raw(made: SimulatedLog) -> bytes:
    return b"".join(entry.data for entry in made.entries)


def test_a_dense_batch_gets_a_new_header_and_keeps_its_payload() -> None:
    made = SimulatedLog()
    made.producer_epochs[9] = 5
    entry = made.append(
        [record(b"a", timestamp=5), record(b"b", timestamp=3)], codec=3, producer_id=9, transactional=True
    )
    made.decide(9, 1)
    (batch,) = ready(raw(made))
    info, found = opened_batch(batch)
    assert bytes(batch.parts[1]) == entry.data[HEADER_SIZE:]
    assert plain(found) == plain(entry.records)
    assert (info.codec, info.max_timestamp) == (3, 5)
    assert (batch.pieces, batch.next_source) == (((0, 2),), 2)


def test_sequences_run_on_and_begin_again_behind_the_largest() -> None:
    batches = ready(raw(log((1, 1, 1), (2, 2), (3,))), sequence=2**31 - 4)
    assert [batch.sequence for batch in batches] == [2**31 - 4, 2**31 - 1, 1]
    batches = ready(raw(log((1, 1, 1), (2,))), sequence=2**31 - 3)
    assert [batch.sequence for batch in batches] == [2**31 - 3, 0]


@pytest.mark.parametrize("codec", range(5))
def test_a_batch_with_holes_is_built_anew(codec: int) -> None:
    made = SimulatedLog()
    made.append([record(b"%d" % n, timestamp=n, headers=[(b"h", None), (b"h", b"")]) for n in range(6)], codec=codec)
    made.compact(lambda item: item.offset in (1, 2, 5), below=6)
    (batch,) = ready(raw(made))
    info, found = opened_batch(batch)
    assert info.codec == codec
    assert [(item.value, item.timestamp, item.headers) for item in found] == [
        (b"%d" % n, n, ((b"h", None), (b"h", b""))) for n in (1, 2, 5)
    ]
    assert (batch.pieces, batch.next_source) == (((1, 2), (5, 1)), 6)


@pytest.mark.parametrize(("start", "stop", "left"), [(1, 4, (1, 2, 3)), (0, 2, (0, 1)), (3, 9, (3, 4)), (2, 3, (2,))])
def test_a_range_cuts_through_a_batch(start: int, stop: int, left: tuple[int, ...]) -> None:
    (batch,) = ready(raw(log((0, 1, 2, 3, 4))), start=start, stop=stop)
    _, found = opened_batch(batch)
    assert [item.timestamp for item in found] == list(left)
    assert batch.pieces == ((left[0], len(left)),)


def test_what_deleted_records_left_in_front_is_dropped() -> None:
    (batch,) = ready(raw(log((0, 1, 2, 3))), run_start=2, start=0)
    assert batch.pieces == ((2, 2),)


def test_append_times_become_create_times() -> None:
    many = patched(
        encode([Record(0, 5, None, b"a", ()), Record(0, 6, None, b"b", ())]),
        attributes=LOG_APPEND_TIME_BIT,
        max_timestamp=99,
    )
    one = patched(encode([Record(0, 5, None, b"c", ())]), attributes=LOG_APPEND_TIME_BIT, max_timestamp=98)
    first, second = ready(log_of(many, one))
    assert [item.timestamp for item in opened_batch(first)[1]] == [99, 99]
    assert [item.timestamp for item in opened_batch(second)[1]] == [98]


def test_messages_of_old_are_built_anew() -> None:
    inner = b"".join(old_message(at, b"k", b"m%d" % at, timestamp=70 + at) for at in range(2))
    packed = old_message(3, None, codecs.compress(1, inner), attributes=1, timestamp=71)
    batches = ready(old_message(0, None, b"zero", magic=0) + old_message(1, None, b"one", timestamp=7) + packed)
    found = [item for batch in batches for item in opened_batch(batch)[1]]
    assert [(item.key, item.value, item.timestamp) for item in found] == [
        (None, b"zero", -1),
        (None, b"one", 7),
        (b"k", b"m0", 70),
        (b"k", b"m1", 71),
    ]
    assert [batch.pieces for batch in batches] == [((0, 1),), ((1, 1),), ((2, 2),)]


def test_markers_void_and_empty_batches_are_left_out() -> None:
    void = patched(
        encode([Record(0, 1, None, b"v", ())]), attributes=TRANSACTIONAL_BIT, producer_id=7, producer_epoch=0
    )
    marker = patched(
        encode([Record(0, 1, b"\0\0\0\0", b"\0\0\0\0\0\0", ())]),
        attributes=TRANSACTIONAL_BIT | CONTROL_BIT,
        producer_id=7,
    )
    empty = around(b"", record_count=0, last_offset_delta=2)
    good = encode([Record(0, 1, None, b"good", ())])
    (batch,) = ready(log_of(void, marker, empty, good), aborted=[AbortedTransaction(7, 0)])
    assert batch.pieces == ((5, 1),)


@pytest.mark.parametrize(
    ("until", "values"),
    [
        (0, []),
        (1, [1]),
        (2, [1, 2]),
        (3, [1, 2, 3, 2]),
        (4, [1, 2, 3, 2]),
        (5, [1, 2, 3, 2, 5, 1]),
        (8, [1, 2, 3, 2, 5, 1]),
        (9, [1, 2, 3, 2, 5, 1, 9, 4]),
    ],
)
def test_a_partition_ends_before_its_first_later_record(until: int, values: list[int]) -> None:
    batches = ready(raw(log((1, 2), (3, 2), (5, 1), (9, 4))), until=until)
    assert [item.timestamp for batch in batches for item in opened_batch(batch)[1]] == values


def test_negative_times_are_times() -> None:
    batches = ready(raw(log((-5, -3, -1, 0))), until=-2)
    assert [item.timestamp for batch in batches for item in opened_batch(batch)[1]] == [-5, -3]


def test_a_header_that_names_a_later_time_than_its_records_does_not_end_the_partition() -> None:
    data = bytearray(raw(log((1, 2), (3, 4))))
    first = len(raw(log((1, 2))))
    data[:first] = patched(bytes(data[:first]), max_timestamp=1000)
    batches = ready(bytes(data), until=10)
    assert [item.timestamp for batch in batches for item in opened_batch(batch)[1]] == [1, 2, 3, 4]


def test_nothing_follows_the_end_by_time_however_often_one_asks() -> None:
    made = raw(log((1, 20, 2), (3,)))
    (batch,) = ready(made, until=10)
    assert ready(made, until=10, source_start=batch.next_source) == []


def test_offsets_that_do_not_rise_inside_a_batch_are_damage() -> None:
    payload = memoryview(raw(log((1, 2))))[HEADER_SIZE:]
    twice = bytes(payload[: len(payload) // 2]) * 2
    data = around(twice, last_offset_delta=2, record_count=2)
    with pytest.raises(CorruptBatch, match="does not rise"):
        ready(data)


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 4), st.booleans()), min_size=1, max_size=8),
    st.integers(0, 30),
    st.sampled_from([0, 5, 2**31 - 7]),
)
def test_going_on_after_any_batch_gives_the_rest_again(
    shape: list[tuple[int, int, bool]], pick: int, sequence: int
) -> None:
    made = SimulatedLog()
    for count, codec, sparse in shape:
        entry = made.append([record(b"%d" % n, timestamp=n) for n in range(count)], codec=codec)
        if sparse and count > 1:
            made.compact(lambda item, base=entry.base: item.offset != base, below=made.end)
    whole = ready(raw(made), sequence=sequence)
    at = pick % len(whole)
    again = ready(
        raw(made), source_start=whole[at].next_source, sequence=(whole[at].sequence + whole[at].records) % 2**31
    )
    assert [opened_batch(batch) for batch in again] == [opened_batch(batch) for batch in whole[at + 1 :]]
    assert [batch.pieces for batch in again] == [batch.pieces for batch in whole[at + 1 :]]

"""The batches a restore produces, held against a list of records: any log, any window, any size of batches, and from any
border on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.batches import patched
from tests.support.operations import new_repository, without_pauses
from tests.support.repositories import draft, generation, opened
from tests.support.restore_plans import part_of
from tests.support.simulated_log import ABORT, COMMIT, Entry, SimulatedLog, record

from kafkeep import native
from kafkeep.kafka.wire.batch import walk
from kafkeep.kafka.wire.records import Record, decode
from kafkeep.model import LOG_APPEND_TIME_BIT, AbortedTransaction
from kafkeep.playback import check
from kafkeep.repository.repository import Repository
from kafkeep.restore.batches import ReadyBatch, ready_batches
from kafkeep.restore.options import SMALL_ONES, UP_TO_FULL
from kafkeep.restore.passage import Passage
from kafkeep.restore.plan import PartitionRestore, ProducerIdentity
from kafkeep.restore.repack import MOST_BYTES, MOST_JOINING
from kafkeep.restore.window import CUT, FILTER, Window

OURS = ProducerIdentity(4711, 3)
ORDERS = generation()
TIMES = st.one_of(st.integers(0, 12), st.sampled_from([-(2**61), 2**61, -1]))
CODECS = st.sampled_from([0, 0, 0, 1, 2, 3, 4])


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    with without_pauses():
        yield


@dataclass(frozen=True)
class Written:
    """One batch of the log to be made."""

    stamps: list[int]
    codec: int
    size: int
    producer: int
    """-1: none; else a transactional one."""
    append_time: bool
    decides: int | None
    """What its producer decides behind it."""


WRITTEN = st.builds(
    Written,
    stamps=st.lists(TIMES, min_size=1, max_size=4),
    codec=CODECS,
    size=st.sampled_from([0, 3, 3, 3, 90, 1200, 35_000]),
    producer=st.sampled_from([-1, -1, 7, 8]),
    append_time=st.sampled_from([False, False, False, True]),
    decides=st.sampled_from([None, COMMIT, ABORT]),
)
WINDOWS = st.builds(
    Window,
    since=st.none() | st.integers(-2, 12),
    until=st.none() | st.integers(-2, 12),
    rule=st.sampled_from([CUT, FILTER]),
)
REPACK = st.sampled_from([0, 100, 250, 700, 4000, 256 * 1024])


def log_of(batches: Sequence[Written], compacted: set[int]) -> SimulatedLog:
    log = SimulatedLog()
    for written in batches:
        transactional = written.producer >= 0
        entry = log.append(
            [
                record(b"%d" % log.end * written.size, key=b"k", timestamp=at, headers=[(b"h", None)])
                for at in written.stamps
            ],
            codec=written.codec,
            producer_id=written.producer,
            transactional=transactional,
        )
        if written.append_time:
            shown = max(written.stamps)
            entry.data = patched(entry.data, attributes=entry.info.attributes | LOG_APPEND_TIME_BIT)
            entry.records = tuple(item._replace(timestamp=shown) for item in entry.records)
        if transactional and written.decides is not None:
            log.decide(written.producer, written.decides)
    for producer in list(log.ongoing):
        log.decide(producer, COMMIT)
    log.compact(lambda item: item.offset not in compacted or item.timestamp < 0, below=log.end // 2)
    return log


def stored(log: SimulatedLog, borders: set[int]) -> Repository:
    """The log as runs that end at these batches, each with the aborted transactions a broker lists for it."""
    repository = new_repository()
    start = at = 0
    first = True
    while at < len(log.entries):
        stop = next((n for n in range(at + 1, len(log.entries)) if n in borders), len(log.entries))
        data = b"".join(entry.data for entry in log.entries[at:stop])
        infos, _ = walk(memoryview(data))
        end = infos[-1].next_offset
        with repository.pack_writer() as writer:
            writer.begin_run(ORDERS, start)
            writer.append(memoryview(data), infos)
            aborted = [AbortedTransaction(line.producer_id, line.first) for line in log.aborted_from(start, end)]
            writer.end_run(end, aborted=aborted)
            pack = writer.finish()
        repository.commit(draft(packs=[pack], open_=opened(ORDERS, start=0) if first else ()))
        start, at, first = end, stop, False
    return repository


def modelled(records: Sequence[Record], window: Window) -> list[Record]:
    """What the words of restore.window say."""
    early = [window.since is not None and item.timestamp < window.since for item in records]
    late = [window.until is not None and item.timestamp > window.until for item in records]
    if window.rule == FILTER:
        return [item for item, no, nor in zip(records, early, late, strict=True) if not no and not nor]
    begin = early.index(False) if False in early else len(records)
    end = late.index(True) if True in late else len(records)
    return list(records[begin:end])


def stream(
    repository: Repository,
    part: PartitionRestore,
    repack: int,
    start: int,
    sequence: int = 0,
    rule: int = SMALL_ONES,
) -> list[ReadyBatch]:
    return list(
        ready_batches(
            repository,
            part,
            source_start=start,
            sequence=sequence,
            identity=OURS,
            repack_bytes=repack,
            repack_rule=rule,
        )
    )


@contextmanager
def without_helper() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("walk", "append_records", "append_batches"):
            patch.setattr(native, name, None)
        yield


def read(batch: ReadyBatch) -> list[Record]:
    """The batch's records with their source offsets; AssertionError when a broker would not take it from a client."""
    data = memoryview(b"".join(bytes(part) for part in batch.parts))
    (info,), used = walk(data)
    assert used == len(data) == batch.size
    assert info.base_offset == 0 and info.record_count == info.last_offset_delta + 1 == batch.records > 0
    assert info.attributes & ~7 == 0 and info.base_sequence == batch.sequence
    found = decode(data, info)
    assert [item.offset for item in found] == list(range(batch.records))
    assert info.max_timestamp == max(item.timestamp for item in found)
    sources = [first + n for first, count in batch.pieces for n in range(count)]
    assert all(a + n < b for (a, n), (b, _) in pairwise(batch.pieces))
    return [item._replace(offset=source) for item, source in zip(found, sources, strict=True)]


@settings(max_examples=200)
@given(
    st.lists(WRITTEN, min_size=1, max_size=12),
    st.sets(st.integers(0, 30)),
    st.sets(st.integers(1, 12), max_size=2),
    st.just(Window()) | WINDOWS,
    REPACK,
    st.sampled_from([SMALL_ONES, UP_TO_FULL, UP_TO_FULL]),
    st.data(),
)
def test_any_log_through_any_window(
    batches: list[Written],
    compacted: set[int],
    borders: set[int],
    window: Window,
    repack: int,
    rule: int,
    data: st.DataObject,
) -> None:
    log = log_of(batches, compacted)
    if not log.entries:
        return
    repository = stored(log, borders)
    start = data.draw(st.sampled_from([0, 0, 1, 3]))
    stop = max(start, log.end - data.draw(st.sampled_from([0, 0, 1, 3])))
    part = part_of(repository, start, stop, window)
    whole = stream(repository, part, repack, start, rule=rule)
    with without_helper():
        alone = stream(repository, part, repack, start, rule=rule)
    assert list(map(_comparable, alone)) == list(map(_comparable, whole)), "a job goes on wherever it is continued"
    assert [item for batch in whole for item in read(batch)] == modelled(log.visible(start, stop), window)
    for batch in whole:
        if len({entry.base for entry in log.entries if _overlaps(entry.base, entry.following, batch)}) > 1:
            assert batch.size <= repack
    for at, after in enumerate(whole):
        again = stream(repository, part, repack, after.next_source, after.sequence + after.records, rule)
        assert list(map(_comparable, again)) == list(map(_comparable, whole[at + 1 :]))
    checked = check(
        repository,
        part.runs,
        start=start,
        stop=stop,
        too_early=Passage(window, begun=False).too_early,
        is_last=Passage(window, begun=False).ends_in if window.may_end else None,
    )
    assert sum(records for records, _ in checked) >= sum(batch.records for batch in whole)


def _overlaps(base: int, following: int, batch: ReadyBatch) -> bool:
    return any(first < following and base < first + count for first, count in batch.pieces)


def _comparable(batch: ReadyBatch) -> tuple[object, ...]:
    return (b"".join(bytes(part) for part in batch.parts), *batch[1:])


def test_a_cut_that_has_begun_goes_on_with_records_however_early() -> None:
    log = SimulatedLog()
    for at in (1, 9, 3, 9, 2, 30, 9):
        log.append([record(b"v" * (MOST_BYTES + 1), timestamp=at)])
    repository = stored(log, {3})
    part = part_of(repository, 0, log.end, Window(since=8, until=20))
    whole = stream(repository, part, 256 * 1024, 0)
    assert [batch.pieces for batch in whole] == [((1, 1),), ((2, 1),), ((3, 1),), ((4, 1),)]
    for at, after in enumerate(whole):
        again = stream(repository, part, 256 * 1024, after.next_source, after.sequence + after.records)
        assert list(map(_comparable, again)) == list(map(_comparable, whole[at + 1 :]))


@settings(max_examples=60)
@given(st.lists(st.integers(1, 3), min_size=2, max_size=60), st.integers(200, 3000), CODECS)
def test_small_neighbours_fill_batches(counts: list[int], repack: int, codec: int) -> None:
    """No two that come out one behind the other would have fitted into one."""
    log = SimulatedLog()
    for count in counts:
        log.append([record(b"v" * 20, timestamp=log.end) for _ in range(count)], codec=codec)
    repository = stored(log, set())
    part = part_of(repository, 0, log.end, Window())
    sizes = [batch.records for batch in stream(repository, part, repack, 0)]
    assert sum(sizes) == sum(counts)
    worst = 22 + 21  # a body of 20 bytes, its lengths and the largest head
    room = (repack - 61 - 256) * 6 // 7 if codec else repack - 61
    assert all(a + b > room // worst - 3 for a, b in pairwise(sizes))


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.integers(1, 90), st.sampled_from([0, 20, 1000])), min_size=2, max_size=40),
    st.sampled_from([300, 3000, 70_000, 1_000_000]),
    CODECS,
    st.sets(st.integers(1, 40), max_size=3),
)
def test_all_that_fit_fill_batches(shapes: list[tuple[int, int]], repack: int, codec: int, borders: set[int]) -> None:
    """No two that come out one behind the other would have fitted into one, and both ways give the same bytes."""
    log = SimulatedLog()
    for count, size in shapes:
        log.append([record(b"v" * size, timestamp=log.end * 7 % 1000) for _ in range(count)], codec=codec)
    repository = stored(log, borders)
    part = part_of(repository, 0, log.end, Window())
    whole = stream(repository, part, repack, 0, rule=UP_TO_FULL)
    with without_helper():
        assert list(map(_comparable, stream(repository, part, repack, 0, rule=UP_TO_FULL))) == list(
            map(_comparable, whole)
        )
    assert [item for batch in whole for item in read(batch)] == log.visible(0, log.end)
    if not codec:
        bounds = [
            sum(len(entry.data) + 17 * len(entry.records) for entry in log.entries if _inside(entry, batch))
            for batch in whole
        ]
        assert all(a + b > repack - 61 for a, b in pairwise(bounds))


def _inside(entry: Entry, batch: ReadyBatch) -> bool:
    return _overlaps(entry.base, entry.following, batch)


def test_what_is_larger_than_joining_pays_goes_out_as_it_is() -> None:
    log = SimulatedLog()
    for size in (10, MOST_JOINING, 10, 10, MOST_JOINING - 100, MOST_JOINING):
        log.append([record(b"v" * size)])
    log.append([record(b"many") for _ in range(1000)])
    log.append([record(b"v")], codec=4)
    repository = stored(log, set())
    whole = stream(repository, part_of(repository, 0, log.end, Window()), 1_000_000, 0, rule=UP_TO_FULL)
    assert [batch.records for batch in whole] == [1, 1, 3, 1, 1001]
    assert [len(batch.parts) for batch in whole] == [2, 2, 1, 2, 1], "those of two parts keep their payload"


def test_a_batch_that_a_window_leaves_whole_keeps_its_payload() -> None:
    log = SimulatedLog()
    log.append([record(b"v" * (MOST_BYTES + 1), timestamp=at) for at in (5, 4, 7)], codec=4)
    repository = stored(log, set())
    for rule in (CUT, FILTER):
        part = part_of(repository, 0, log.end, Window(since=4, until=9, rule=rule))
        (batch,) = stream(repository, part, 256 * 1024, 0)
        assert bytes(batch.parts[1]) == log.entries[0].data[61:]
        part = part_of(repository, 0, log.end, Window(since=5, until=9, rule=rule))
        (batch,) = stream(repository, part, 256 * 1024, 0)
        assert [item.timestamp for item in read(batch)] == ([5, 7] if rule == FILTER else [5, 4, 7])


def test_what_is_not_small_goes_out_as_it_is() -> None:
    log = SimulatedLog()
    for size in (10, MOST_BYTES + 1, 10, 10, MOST_BYTES + 1):
        log.append([record(b"v" * size)])
    log.append([record(b"many") for _ in range(1000)])
    log.append([record(b"v")])
    repository = stored(log, set())
    whole = stream(repository, part_of(repository, 0, log.end, Window()), 256 * 1024, 0)
    assert [batch.records for batch in whole] == [1, 1, 2, 1, 1000, 1]
    assert [len(batch.parts) for batch in whole] == [2, 2, 1, 2, 2, 2], "those of two parts keep their payload"

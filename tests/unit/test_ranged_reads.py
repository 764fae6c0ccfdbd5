"""A restore of a part fetches that part: seen from the store, which counts every byte it hands out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import pytest
from tests.support.operations import back_up, new_repository, put_back, records_of, without_pauses
from tests.support.repositories import draft, generation, opened
from tests.support.restore_plans import part_of
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import ABORT, COMMIT, SimulatedLog, record

from kafkeep.errors import CorruptObject
from kafkeep.kafka.wire.batch import walk
from kafkeep.kafka.wire.records import decode
from kafkeep.model import AbortedTransaction, RunRef, TopicPartition
from kafkeep.playback import check, needed_runs
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.restore.batches import ready_batches
from kafkeep.restore.passage import Passage
from kafkeep.restore.plan import PartitionRestore, ProducerIdentity
from kafkeep.restore.window import CUT, FILTER, Window

ORDERS = generation()
VALUE = 1000
CHUNK = 2_000
"""About two batches of one record."""
BATCHES = 2000
RUNS = 4


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    with without_pauses():
        yield


class CountingStore(MemoryStore):
    """Counts what is read out of packs, less their footers and headers, which have no records in them."""

    def __init__(self) -> None:
        super().__init__()
        self.record_bytes = 0
        self.packs: set[str] = set()

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        data = super().get(name, start, length)
        if name.startswith("pack"):
            self.packs.add(name)
            of_the_end = length is None or start + length > self.head(name).size
            if b"v" * 100 in data and not of_the_end:
                self.record_bytes += len(data)
        return data

    def forget(self) -> None:
        self.record_bytes = 0
        self.packs.clear()


@cache
def filled(aborted_at: int | None = None) -> tuple[CountingStore, Repository]:
    """Runs, each in a pack of its own, of batches of one record whose time is its place in the log."""
    store = CountingStore()
    repository = new_repository(store, chunk_bytes=CHUNK, compression="none")
    log = SimulatedLog()
    for place in range(BATCHES):
        if place == aborted_at:
            log.append([record(b"v" * VALUE, timestamp=place)], producer_id=7, transactional=True)
            log.decide(7, ABORT)
        log.append([record(b"v" * VALUE, timestamp=place)])
    each = len(log.entries) // RUNS
    start = 0
    for number in range(RUNS):
        entries = log.entries[number * each : None if number == RUNS - 1 else (number + 1) * each]
        data = memoryview(b"".join(entry.data for entry in entries))
        infos, _ = walk(data)
        with repository.pack_writer() as writer:
            writer.begin_run(ORDERS, start)
            writer.append(data, infos)
            end = infos[-1].next_offset
            lines = log.aborted_from(start, end)
            writer.end_run(end, aborted=[AbortedTransaction(line.producer_id, line.first) for line in lines])
            pack = writer.finish()
        repository.commit(draft(packs=[pack], open_=() if start else opened(ORDERS)))
        start = end
    store.forget()
    return store, repository


def restored(store: CountingStore, repository: Repository, part: PartitionRestore) -> tuple[list[int], int]:
    """Times of the restored records, and the bytes that were read for them."""
    store.forget()
    batches = ready_batches(
        repository,
        part,
        source_start=part.start,
        sequence=0,
        identity=ProducerIdentity(1, 0),
        repack_bytes=256 * 1024,
    )
    times: list[int] = []
    for batch in batches:
        data = memoryview(b"".join(bytes(piece) for piece in batch.parts))
        times += [item.timestamp for item in decode(data, walk(data)[0][0])]
    return times, store.record_bytes


def checked(store: CountingStore, repository: Repository, part: PartitionRestore) -> int:
    store.forget()
    passage = Passage(part.window, begun=False)
    for _ in check(
        repository,
        part.runs,
        start=part.start,
        stop=part.stop,
        too_early=passage.too_early,
        is_last=passage.ends_in if part.window.may_end else None,
    ):
        pass
    return store.record_bytes


@pytest.mark.parametrize(
    ("window", "start", "stop", "expected"),
    [
        (Window(since=1980), 0, BATCHES, range(1980, 2000)),
        (Window(since=1980, rule=FILTER), 0, BATCHES, range(1980, 2000)),
        (Window(since=1980, until=1985, rule=FILTER), 0, BATCHES, range(1980, 1986)),
        (Window(), 700, 720, range(700, 720)),
        (Window(since=700), 690, 720, range(700, 720)),
        (Window(until=19), 0, BATCHES, range(20)),
        (Window(since=1000, until=1019), 0, BATCHES, range(1000, 1020)),
    ],
)
def test_only_the_chunks_of_the_part_are_fetched(window: Window, start: int, stop: int, expected: range) -> None:
    store, repository = filled()
    part = part_of(repository, start, stop, window)
    times, size = restored(store, repository, part)
    assert times == list(expected)
    needed = (len(expected) if window.rule == CUT else BATCHES - expected.start) * VALUE
    # A chunk at either side; where the end is only known from a record, one read of neighbours.
    most = needed + 3 * CHUNK + ((1 << 20) if window.may_end else 0)
    assert needed <= size <= most
    assert len(store.packs) == 1, "and the other runs' footers are not read"
    assert checked(store, repository, part) == size, "what is checked before is what is read"


def test_all_is_read_where_times_say_nothing() -> None:
    store, repository = filled()
    for window in (Window(), Window(until=5000), Window(since=0), Window(until=1000, rule=FILTER)):
        part = part_of(repository, 0, BATCHES, window)
        size = restored(store, repository, part)[1]
        assert size > BATCHES * VALUE
        assert checked(store, repository, part) == size


def test_a_run_with_an_aborted_transaction_is_walked() -> None:
    """In the last run: its marker must be met, so the run is read whole, and no other one is."""
    store, repository = filled(aborted_at=1510)
    last = repository.state.generations[ORDERS].runs[-1]
    assert last.facts.aborted
    part = part_of(repository, 0, last.coverage.stop, Window(since=1980))
    times, size = restored(store, repository, part)
    assert times == list(range(1980, 2000))
    assert 450 * VALUE < size < 550 * VALUE
    assert len(store.packs) == 1
    assert checked(store, repository, part) == size


def test_a_range_in_front_of_an_aborted_transaction_is_not_walked_from_the_beginning() -> None:
    store, repository = filled(aborted_at=1950)
    last = repository.state.generations[ORDERS].runs[-1]
    before, behind = part_of(repository, 1900, 1920, Window()), part_of(repository, 1990, 2000, Window())
    assert last.coverage.start < 1900
    times, size = restored(store, repository, before)
    assert times == list(range(1900, 1920)) and size <= 26 * VALUE
    times, size = restored(store, repository, behind)
    assert times == list(range(1988, 1998)) and size <= 60 * VALUE


def test_a_cut_reads_early_chunks_behind_its_beginning() -> None:
    """Times that run backwards: what follows the first wanted record belongs to the piece, however early it is."""
    store = CountingStore()
    repository = new_repository(store, chunk_bytes=1, compression="none")
    log = SimulatedLog()
    stamps = [1, 2, 9, 3, 4, 9, 1]
    for at in stamps:
        log.append([record(b"v" * 200, timestamp=at)])
    data = memoryview(b"".join(entry.data for entry in log.entries))
    with repository.pack_writer() as writer:
        writer.begin_run(ORDERS, 0)
        writer.append(data, walk(data)[0])
        writer.end_run(len(stamps))
        pack = writer.finish()
    repository.commit(draft(packs=[pack], open_=opened(ORDERS)))
    cut = part_of(repository, 0, len(stamps), Window(since=8))
    assert restored(store, repository, cut)[0] == [9, 3, 4, 9, 1]
    by_filter = part_of(repository, 0, len(stamps), Window(since=8, rule=FILTER))
    times, size = restored(store, repository, by_filter)
    assert times == [9, 9]
    assert size == 2 * len(log.entries[0].data), "and not what lies between the two"


def test_markers_are_met_whatever_chunk_they_lie_in() -> None:
    repository = new_repository(chunk_bytes=1)
    log = SimulatedLog()
    for decision in (ABORT, COMMIT):
        log.append([record(b"%d" % decision, timestamp=9 + decision)], producer_id=7, transactional=True)
        log.decide(7, decision)
    data = memoryview(b"".join(entry.data for entry in log.entries))
    with repository.pack_writer() as writer:
        writer.begin_run(ORDERS, 0)
        writer.append(data, walk(data)[0])
        writer.end_run(4, aborted=[AbortedTransaction(7, 0)])
        pack = writer.finish()
    repository.commit(draft(packs=[pack], open_=opened(ORDERS)))
    for rule in (CUT, FILTER):
        part = part_of(repository, 0, 4, Window(since=8, rule=rule))
        assert restored(CountingStore(), repository, part)[0] == [9 + COMMIT]


def test_a_cut_that_begins_in_a_run_that_is_walked_takes_the_early_runs_behind_it() -> None:
    repository = new_repository(chunk_bytes=1)
    log = SimulatedLog()
    log.append([record(b"void", timestamp=9)], producer_id=7, transactional=True)
    log.decide(7, ABORT)
    for at in (1, 9, 3, 4):
        log.append([record(b"v", timestamp=at)])
    for first, last in ((0, 4), (4, 6)):
        data = memoryview(b"".join(entry.data for entry in log.entries[first:last]))
        with repository.pack_writer() as writer:
            writer.begin_run(ORDERS, first)
            writer.append(data, walk(data)[0])
            writer.end_run(last, aborted=[] if first else [AbortedTransaction(7, 0)])
            pack = writer.finish()
        repository.commit(draft(packs=[pack], open_=() if first else opened(ORDERS)))
    part = part_of(repository, 0, 6, Window(since=8))
    assert restored(CountingStore(), repository, part)[0] == [9, 3, 4]


@pytest.mark.parametrize(
    "options",
    [
        {"since_timestamp": 1980},
        {"since_timestamp": 1980, "until_rule": FILTER},
        {"from_offsets": ((TopicPartition("orders", 0), 1980),)},
    ],
)
def test_a_whole_restore_reads_its_part_twice(options: dict[str, Any]) -> None:
    """Once to check it and once to send it; what is damaged elsewhere does not matter to it."""
    source = SimulatedCluster("source")
    topic = source.add_topic("orders", 1)
    for place in range(BATCHES):
        topic.logs[0].append([record(b"v" * VALUE, timestamp=place)])
    store = CountingStore()
    repository = new_repository(store, chunk_bytes=CHUNK, compression="none")
    point = back_up(source, repository, topics=("orders",)).point
    (run,) = next(iter(repository.state.generations.values())).runs
    data = bytearray(store.objects[run.pack])
    data[len(data) // 2] ^= 1
    store.objects[run.pack] = bytes(data)
    store.forget()
    target = SimulatedCluster("target")
    result = put_back(target, repository, point, **options)
    assert (result.failures, result.records) == ((), 20)
    assert [item.timestamp for item in records_of(target.topics["orders"].logs[0])] == list(range(1980, 2000))
    assert store.record_bytes <= 2 * (20 * VALUE + 3 * CHUNK)
    with pytest.raises(CorruptObject):
        put_back(SimulatedCluster("another"), repository, point)


def test_needed_runs() -> None:
    _, repository = filled()
    runs = tuple(repository.state.generations[ORDERS].runs)

    def numbers(found: Sequence[RunRef]) -> list[int]:
        return [runs.index(run) for run in found]

    each = BATCHES // RUNS
    assert numbers(needed_runs(runs, start=0, stop=BATCHES)) == [0, 1, 2, 3]
    assert numbers(needed_runs(runs, start=each, stop=2 * each)) == [1]
    late = Passage(Window(since=3 * each - 1), begun=False).too_early
    assert numbers(needed_runs(runs, start=0, stop=BATCHES, too_early=late)) == [2, 3]
    assert Passage(Window(since=3), begun=True).too_early is None
    assert Passage(Window(since=3, rule=FILTER), begun=True).too_early is not None

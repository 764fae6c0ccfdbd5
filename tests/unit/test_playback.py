"""Playing stored runs back: what counts, from where, and what was never readable."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.support.batches import old_message
from tests.support.operations import new_repository
from tests.support.repositories import draft, generation, opened
from tests.support.simulated_log import ABORT, COMMIT, SimulatedLog, record

from kafkeep.errors import CorruptBatch
from kafkeep.kafka.wire import codecs
from kafkeep.kafka.wire.batch import walk
from kafkeep.kafka.wire.records import decode
from kafkeep.model import AbortedTransaction, RunRef
from kafkeep.playback import play, voided
from kafkeep.repository.repository import Repository

ORDERS = generation()


class Store:
    """Runs of one generation, each with the lists its reader had."""

    def __init__(self) -> None:
        self.repository: Repository = new_repository(chunk_bytes=1)  # each batch is a chunk
        self.stop = -1

    def run(
        self,
        data: bytes,
        start: int,
        stop: int,
        *,
        aborted: Sequence[tuple[int, int]] = (),
        open_transactions: Sequence[tuple[int, int]] = (),
    ) -> None:
        with self.repository.pack_writer() as writer:
            writer.begin_run(ORDERS, start)
            infos, used = walk(memoryview(data))
            writer.append(memoryview(data)[:used], infos)
            writer.end_run(
                stop,
                aborted=[AbortedTransaction(*entry) for entry in aborted],
                open_transactions=[AbortedTransaction(*entry) for entry in open_transactions],
            )
            pack = writer.finish()
        new = opened(ORDERS, start=start) if self.stop < 0 else ()
        outcome = self.repository.commit(draft(packs=[pack], open_=new))
        assert len(outcome.accepted_runs) == 1
        self.stop = stop

    @property
    def runs(self) -> list[RunRef]:
        return list(self.repository.state.generations[ORDERS].runs)

    def offsets(self, start: int = 0, stop: int = 1 << 40) -> list[int]:
        return [
            item.offset
            for played in play(self.repository, self.runs, start=start, stop=stop)
            for item in decode(played.batch, played.info)
            if played.start <= item.offset < played.stop
        ]


def raw(log: SimulatedLog, start: int, stop: int) -> bytes:
    return b"".join(entry.data for entry in log.entries if entry.base >= start and entry.following <= stop)


def transactional_log() -> SimulatedLog:
    """0 void, 1 abort of 7, 2 plain, 3 data of 7, 4 commit of 7, 5 plain."""
    log = SimulatedLog()
    log.append([record(b"void")], producer_id=7, transactional=True)
    log.decide(7, ABORT)
    log.append([record(b"plain")])
    log.append([record(b"good")], producer_id=7, transactional=True)
    log.decide(7, COMMIT)
    log.append([record(b"plain")])
    return log


def test_one_run_plays_what_a_consumer_sees() -> None:
    store, log = Store(), transactional_log()
    store.run(raw(log, 0, 6), 0, 6, aborted=[(7, 0)])
    assert store.offsets() == [2, 3, 5]


@pytest.mark.parametrize("start", range(7))
@pytest.mark.parametrize("stop", range(7))
@pytest.mark.parametrize("border", [3, 6])
def test_any_part_of_it_plays_the_same(start: int, stop: int, border: int) -> None:
    store, log = Store(), transactional_log()
    store.run(raw(log, 0, border), 0, border, aborted=[(7, 0)])
    if border < 6:
        store.run(raw(log, border, 6), border, 6)
    assert store.offsets(start, stop) == [offset for offset in (2, 3, 5) if start <= offset < stop]


def test_a_list_from_an_earlier_run_is_not_taken_into_a_later_one() -> None:
    """The first run lists a transaction whose marker lies behind it. By the time the second run was read, compaction had
    taken the void data and the marker: what the same producer committed later must not fall to the old entry.
    """
    store, log = Store(), transactional_log()
    store.run(raw(log, 0, 1), 0, 1, aborted=[(7, 0)])
    store.run(raw(log, 2, 6), 1, 6)
    assert store.offsets() == [2, 3, 5]


def test_an_abort_seen_later_is_carried_back() -> None:
    """Read up to the high watermark: the first run cannot know what became of its transaction."""
    store, log = Store(), SimulatedLog()
    log.append([record(b"void")], producer_id=7, transactional=True)
    log.append([record(b"plain")])
    log.append([record(b"more void")], producer_id=7, transactional=True)
    log.decide(7, ABORT)
    log.append([record(b"good")], producer_id=7, transactional=True)
    log.decide(7, COMMIT)
    store.run(raw(log, 0, 2), 0, 2, open_transactions=[(7, 0)])
    assert store.offsets() == [1], "undecided at the end"
    store.run(raw(log, 2, 3), 2, 3, open_transactions=[(7, 0)])
    assert store.offsets() == [1]
    store.run(raw(log, 3, 6), 3, 6, aborted=[(7, 0)])
    assert store.offsets() == [1, 4]
    assert store.offsets(0, 3) == [1], "undecided again where the range ends before the marker"


def test_a_commit_seen_later_makes_earlier_records_count() -> None:
    store, log = Store(), SimulatedLog()
    log.append([record(b"good")], producer_id=7, transactional=True)
    log.append([record(b"plain")])
    log.decide(7, COMMIT)
    store.run(raw(log, 0, 2), 0, 2, open_transactions=[(7, 0)])
    store.run(raw(log, 2, 3), 2, 3)
    assert store.offsets() == [0, 1]


def test_lists_by_run() -> None:
    store, log = Store(), SimulatedLog()
    for _ in range(6):
        log.append([record(b"x")])
    store.run(raw(log, 0, 2), 0, 2, aborted=[(1, 0), (2, 1)])
    store.run(raw(log, 2, 4), 2, 4, aborted=[(3, 1), (4, 3)])
    store.run(raw(log, 4, 6), 4, 6, aborted=[(5, 5)], open_transactions=[(6, 0)])
    entry = AbortedTransaction
    assert voided(store.runs) == [
        (entry(1, 0), entry(2, 1), entry(3, 1), entry(6, 0)),
        (entry(3, 1), entry(4, 3), entry(6, 0)),
        (entry(5, 5), entry(6, 0)),
    ]
    assert voided([]) == []


def test_records_that_were_deleted_in_the_middle_of_a_batch_stay_deleted() -> None:
    """DeleteRecords to offset 6: the batch from 4 to 7 is stored whole, its first two records are not there any more."""
    store, log = Store(), SimulatedLog()
    log.append([record(b"a") for _ in range(4)])
    log.append([record(b"b") for _ in range(4)])
    store.run(raw(log, 4, 8), 6, 8)
    assert store.offsets(0) == [6, 7]
    (played,) = play(store.repository, store.runs, start=0, stop=8)
    assert not played.whole


def test_a_batch_is_whole_only_inside_the_range() -> None:
    store, log = Store(), SimulatedLog()
    log.append([record(b"a") for _ in range(4)])
    store.run(raw(log, 0, 4), 0, 4)
    for start, stop, whole in ((0, 4, True), (1, 4, False), (0, 3, False), (0, 9, True)):
        assert [played.whole for played in play(store.repository, store.runs, start=start, stop=stop)] == [whole]


def test_a_compressed_message_set_of_old_counts_for_a_range_that_ends_inside_it() -> None:
    inner = b"".join(old_message(at, None, b"m%d" % at) for at in range(4))
    packed = old_message(3, None, codecs.compress(1, inner), attributes=1)
    store = Store()
    store.run(packed, 0, 4)
    assert store.offsets(0, 2) == [0, 1]
    assert store.offsets(2, 4) == [2, 3]


def test_an_emptied_batch_is_not_played() -> None:
    store, log = Store(), SimulatedLog()
    log.append([record(b"a"), record(b"b")], producer_id=4)
    log.append([record(b"c")])
    log.compact(lambda item: item.offset > 1, below=2)
    assert log.entries[0].records == ()
    store.run(raw(log, 0, 3), 0, 3)
    assert store.offsets() == [2]


def test_bytes_that_are_no_whole_batches_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    store, log = Store(), SimulatedLog()
    log.append([record(b"a")])
    store.run(raw(log, 0, 1), 0, 1)
    read = store.repository.read_run

    def cut(*args: object, **options: object) -> object:
        return (chunk[:-1] for chunk in read(*args, **options))  # type: ignore[arg-type]

    monkeypatch.setattr(store.repository, "read_run", cut)
    with pytest.raises(CorruptBatch, match="whole batch"):
        list(play(store.repository, store.runs, start=0, stop=1))

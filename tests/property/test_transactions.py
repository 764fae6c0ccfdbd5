"""What a read_committed consumer sees, decided batch by batch, against the truth of a simulated log."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from tests.support.simulated_log import ABORT, COMMIT, SimulatedLog, record

from kafkeep.kafka.wire.batch import walk
from kafkeep.kafka.wire.transactions import CommittedFilter, TransactionTracker
from kafkeep.model import AbortedTransaction, BatchInfo

PRODUCERS = (1, 2, 3)
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(
            ["plain", "idempotent", "transaction", "transaction", "commit", "abort", "lone abort", "compact"]
        ),
        st.sampled_from(PRODUCERS),
        st.integers(1, 3),
        st.booleans(),
    ),
    max_size=40,
)


def log_of(events: list[tuple[str, int, int, bool]]) -> SimulatedLog:
    log = SimulatedLog()
    for kind, producer, count, raise_epoch in events:
        items = [record(b"v", key=b"k") for _ in range(count)]
        if kind == "plain":
            log.append(items)
        elif kind == "idempotent":
            log.append(items, producer_id=producer + 100)
        elif kind == "transaction":
            log.append(items, producer_id=producer, transactional=True)
        elif kind in ("commit", "abort") and producer in log.ongoing:
            log.decide(producer, COMMIT if kind == "commit" else ABORT, raise_epoch=raise_epoch)
        elif kind == "lone abort" and producer not in log.ongoing:
            log.decide(producer, ABORT, raise_epoch=True)
        elif kind == "compact":
            log.compact(lambda item, count=count: item.offset % 3 != count % 3, below=log.end)
    return log


def batches(log: SimulatedLog, start: int, stop: int) -> Iterator[tuple[BatchInfo, memoryview]]:
    view = memoryview(b"".join(entry.data for entry in log.entries if entry.base >= start and entry.following <= stop))
    position = 0
    for info in walk(view)[0]:
        yield info, view[position : position + info.size]
        position += info.size


def kept(log: SimulatedLog, start: int, stop: int, aborted: list[AbortedTransaction]) -> list[int]:
    keep = CommittedFilter(aborted)
    return [info.base_offset for info, batch in batches(log, start, stop) if keep.counts(info, batch)]


def seen(log: SimulatedLog, start: int, stop: int) -> list[int]:
    """Base offsets of the batches in which a consumer sees something."""
    visible = {item.offset for item in log.visible(start, stop)}
    return [
        entry.base
        for entry in log.entries
        if start <= entry.base < stop and {item.offset for item in entry.records} & visible
    ]


@given(EVENTS, st.lists(st.integers(0, 60), max_size=6), st.integers(0, 30))
def test_every_answer_is_decided_by_its_own_list(
    events: list[tuple[str, int, int, bool]], borders: list[int], estimate: int
) -> None:
    """The broker's list covers what began before the answer, and may name what comes behind it."""
    log = log_of(events)
    bases = [entry.base for entry in log.entries] + [log.end]
    cuts = sorted({0, log.last_stable, *(min(bases, key=lambda base, at=at: abs(base - at)) for at in borders)})
    cuts = [at for at in cuts if at <= log.last_stable]
    for start, stop in pairwise(cuts):
        lines = log.aborted_from(start, stop + estimate)
        entries = [AbortedTransaction(line.producer_id, line.first) for line in lines]
        assert kept(log, start, stop, entries) == seen(log, start, stop)


@given(EVENTS, st.integers(0, 60))
def test_markers_alone_decide_as_well(events: list[tuple[str, int, int, bool]], near: int) -> None:
    """A reader up to the high watermark, in two sittings: the second goes on from what the first left open."""
    log = log_of(events)
    middle = min([entry.base for entry in log.entries] + [log.end], key=lambda base: abs(base - near))
    first = TransactionTracker()
    aborted = [found for info, batch in batches(log, 0, middle) if (found := first.take(info, batch)) is not None]
    second = TransactionTracker(first.open_transactions)
    aborted += [
        found for info, batch in batches(log, middle, log.end) if (found := second.take(info, batch)) is not None
    ]
    undecided = {(t.producer_id, t.first_offset) for t in log.ongoing.values()}
    assert set(second.open_transactions) == undecided
    assert kept(log, 0, log.end, [*aborted, *second.open_transactions]) == seen(log, 0, log.end)


def test_a_marker_with_a_raised_epoch_ends_the_transaction() -> None:
    log = SimulatedLog()
    log.append([record(b"void")], producer_id=5, transactional=True)
    log.decide(5, ABORT, raise_epoch=True)
    log.append([record(b"good")], producer_id=5, transactional=True)
    log.decide(5, COMMIT, raise_epoch=True)
    infos = [info for info, _ in batches(log, 0, log.end)]
    assert [info.producer_epoch for info in infos] == [0, 1, 1, 2]
    assert kept(log, 0, log.end, [AbortedTransaction(5, 0)]) == [2]

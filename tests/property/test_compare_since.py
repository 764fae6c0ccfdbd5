"""A log that goes on after a backup: whatever retention, compaction, transactions and writers rightly do is excused,
and a change that none of them makes is always found.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import assume, given, note
from hypothesis import strategies as st
from tests.support.operations import as_cluster, back_up, new_repository
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import ABORT, COMMIT, Entry, SimulatedLog, record

from kafkeep.compare.options import CompareOptions, SampleChoice
from kafkeep.compare.report import CompareReport
from kafkeep.compare.run import compare
from kafkeep.kafka.wire.records import Record

KEYS = st.one_of(st.none(), st.sampled_from([b"a", b"b", b"c", b"d"]))
VALUES = st.one_of(st.none(), st.sampled_from([b"", b"1", b"22", b"x" * 60]))
RECORDS = st.lists(
    st.builds(lambda key, value, stamp: record(value, key=key, timestamp=stamp), KEYS, VALUES, st.integers(0, 9)),
    min_size=1,
    max_size=5,
)
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), RECORDS, st.sampled_from([0, 0, 3])),
        st.tuples(st.just("transaction"), RECORDS, st.sampled_from([ABORT, COMMIT])),
        st.tuples(st.just("new leader"), st.just([]), st.just(0)),
    ),
    min_size=1,
    max_size=8,
)


pytestmark = pytest.mark.usefixtures("quick")


class Source:
    """A log with a backup of it, and the truth about both."""

    def __init__(
        self, events: Sequence[tuple[str, list[Record], int]], *, policy: str, cut: str = "last-stable-offset"
    ):
        self.cluster = SimulatedCluster("source")
        self.log = self.cluster.add_topic("orders", configs={"cleanup.policy": policy}).logs[0]
        self.write(events)
        self.repository = new_repository()
        back_up(self.cluster, self.repository, cut=cut)
        self.point = self.repository.point("latest")
        self.stop = self.point.cuts[0].stop
        self.archived = self.log.visible(0, self.stop)

    def write(self, events: Sequence[tuple[str, list[Record], int]]) -> None:
        for kind, records, choice in events:
            if kind == "append":
                self.log.append(records, codec=choice)
            elif kind == "transaction":
                self.log.append(records, producer_id=7, transactional=True)
                self.log.decide(7, choice)
            else:
                self.log.new_leader()

    def compact(self, picked: Sequence[bool]) -> None:
        """Removes some of what a later record with the same key supersedes, and what has no key."""
        seen = self.log.visible(0, self.log.end)
        last = {item.key: item.offset for item in seen}
        free = [item.offset for item in seen if item.key is None or last[item.key] != item.offset]
        gone = {offset for at, offset in enumerate(free) if picked[at % len(picked)]}
        self.log.compact(lambda item: item.offset not in gone, below=self.log.last_stable)

    def compared(self, sample: SampleChoice | None = None) -> CompareReport:
        options = CompareOptions(sample=sample, threads=1)
        return compare(as_cluster(self.cluster), self.repository, self.point, options)

    def comparable(self) -> list[Record]:
        return self.log.visible(self.log.start, self.stop)


@given(EVENTS, EVENTS, st.lists(st.booleans(), min_size=1, max_size=9), st.integers(0, 60), st.booleans())
def test_what_a_log_rightly_does_is_no_difference(
    before: list[tuple[str, list[Record], int]],
    after: list[tuple[str, list[Record], int]],
    picked: list[bool],
    log_start: int,
    goes_on: bool,
) -> None:
    source = Source(before, policy="compact,delete")
    if goes_on:
        source.write(after)
    source.compact(picked)
    source.log.delete_records(log_start)
    report = source.compared()
    note(str(report))
    left = source.comparable()
    assert report.different == 0 and report.failures == ()
    assert report.records == len(left)
    removed = min(source.log.start, source.stop)
    assert report.excused.removed == removed
    assert report.excused.compacted == sum(item.offset >= removed for item in source.archived) - len(left)
    assert report.excused.not_proven == 0
    assert (report.verdict == "identical") == (bool(left) or (not source.archived and not removed))
    assert source.compared(SampleChoice(10.0, 1)).different == 0


CHANGES = ("value", "key", "timestamp", "moved", "gone", "added")


def tampered(log: SimulatedLog, offset: int, what: str) -> bool:
    """Makes one change at a record; False where it cannot be made there."""
    for place, entry in enumerate(log.entries):
        at = next((index for index, item in enumerate(entry.records) if item.offset == offset), None)
        if at is None:
            continue
        items = list(entry.records)
        item = items[at]
        if what in ("moved", "added"):
            if any(other.offset == offset + 1 for other in items) or offset + 1 >= entry.following:
                return False
            items[at : at + 1] = [item._replace(offset=offset + 1)] if what == "moved" else [item, moved(item)]
        elif what == "gone":
            del items[at]
        else:
            changes: dict[str, object] = {"value": b"other", "key": b"other", "timestamp": item.timestamp + 1}
            items[at] = item._replace(**{what: changes[what]})
        log.entries[place] = rewritten(log, entry, tuple(items))
        return True
    return False


def moved(item: Record) -> Record:
    return item._replace(offset=item.offset + 1)


def rewritten(log: SimulatedLog, entry: Entry, items: tuple[Record, ...]) -> Entry:
    info = entry.info
    data = log._batch(
        entry.base,
        entry.following,
        items,
        entry.codec,
        info.producer_id,
        info.is_transactional,
        info.leader_epoch,
    )
    return Entry(entry.base, entry.following, data, items, entry.transaction, entry.codec)


@given(
    EVENTS,
    EVENTS,
    st.lists(st.booleans(), min_size=1, max_size=9),
    st.integers(0, 20),
    st.booleans(),
    st.integers(0, 100),
    st.sampled_from(CHANGES),
)
def test_no_excuse_hides_a_change(
    before: list[tuple[str, list[Record], int]],
    after: list[tuple[str, list[Record], int]],
    picked: list[bool],
    log_start: int,
    goes_on: bool,
    pick: int,
    what: str,
) -> None:
    """Of a record that is gone it may stay open whether compaction took it, when something was written behind the point:
    then it is told as not proven.
    """
    source = Source(before, policy="compact,delete")
    if goes_on:
        source.write(after)
    source.compact(picked)
    source.log.delete_records(log_start)
    left = source.comparable()
    assume(left)
    victim = left[pick % len(left)]
    behind = [item for item in source.log.visible(victim.offset + 1, source.log.end) if item.key == victim.key]
    archived_behind = [item for item in source.archived if item.offset > victim.offset and item.key == victim.key]
    superseded = victim.key is None or victim.value is None or bool(behind or archived_behind)
    assume(what != "gone" or not superseded)
    # Of two equal records in a row nobody can tell which one compaction has taken.
    assume(what not in ("moved", "added") or moved(victim) not in source.archived)
    assume(tampered(source.log, victim.offset, what))
    report = source.compared()
    note(str(report))
    if what == "gone" and source.log.end > source.stop:
        assert report.different or report.excused.not_proven == 1
    elif what == "gone":
        assert "missing" in {found.what for found in report.differences}
    elif what in ("key", "value", "timestamp"):
        assert [(found.what, found.source_offset) for found in report.differences] == [(what, victim.offset)]
    else:
        assert report.different
    assert not (report.verdict == "identical" and report.excused.not_proven == 0)


@given(EVENTS, st.lists(st.booleans(), min_size=1, max_size=9), st.integers(0, 100))
def test_without_compaction_nothing_may_be_gone(
    before: list[tuple[str, list[Record], int]], picked: list[bool], pick: int
) -> None:
    source = Source(before, policy="delete")
    assume(source.archived)
    victim = source.archived[pick % len(source.archived)]
    assert tampered(source.log, victim.offset, "gone")
    source.compact(picked)
    report = source.compared()
    missing = {item.offset for item in source.archived} - {item.offset for item in source.comparable()}
    assert {found.source_offset for found in report.differences} <= missing and report.different == len(missing) > 0


@given(EVENTS, RECORDS, RECORDS, st.sampled_from([ABORT, COMMIT, None]), EVENTS)
def test_transactions_open_at_the_point_may_end_in_any_way(
    before: list[tuple[str, list[Record], int]],
    open_records: list[Record],
    beside: list[Record],
    decision: int | None,
    after: list[tuple[str, list[Record], int]],
) -> None:
    source = Source([], policy="delete")
    source.write(before)
    source.log.append(open_records, producer_id=9, transactional=True)
    source.log.append(beside)
    back_up(source.cluster, source.repository, cut="high-watermark")
    source.point = source.repository.point("latest")
    stop = source.point.cuts[0].stop
    undecided = stop - source.log.last_stable
    held = len(source.log.visible(0, stop))
    if decision is not None:
        source.log.decide(9, decision)
        source.write(after)
    report = source.compared()
    note(str(report))
    assert report.different == 0 and report.failures == ()
    if decision is None:
        assert (report.excused.undecided, report.records) == (undecided, held - len(beside))
    else:
        assert report.records == held
        assert report.excused.decided == (len(open_records) if decision == COMMIT else 0)

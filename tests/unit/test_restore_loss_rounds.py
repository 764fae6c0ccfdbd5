"""Whole restores over declared gaps into simulated clusters: refused, up to the first gap, or without the gaps alone; and
restores of chosen offsets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.operations import (
    ORDERS,
    as_cluster,
    back_up,
    new_repository,
    now,
    put_back,
    records_of,
)
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import ABORT, record

from kafkeep.cli.points import PointLine, lost_offsets
from kafkeep.errors import LossRefused
from kafkeep.model import GroupOffset, OffsetRange, RecoveryPoint, TopicPartition
from kafkeep.repository.repository import Repository
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.run import prepare, restore

OTHER = TopicPartition("orders", 1)


pytestmark = pytest.mark.usefixtures("quick")


def write(source: SimulatedCluster, count: int, partition: TopicPartition = ORDERS) -> None:
    log = source.log(partition)
    for _ in range(count):
        log.append([record(b"%d" % log.end, timestamp=1000 + log.end)])


def values(target: SimulatedCluster, partition: TopicPartition = ORDERS) -> list[int]:
    """The source offsets of what is there: every record's value is its own."""
    return [int(item.value or b"-1") for item in records_of(target.log(partition))]


@pytest.fixture
def source() -> SimulatedCluster:
    """orders/0 holds 0-9 and 14-19, and 22-29; orders/1 holds 0-4 without a gap."""
    cluster = SimulatedCluster("source")
    cluster.add_topic("orders", 2)
    return cluster


@pytest.fixture
def repository(source: SimulatedCluster) -> Repository:
    found = new_repository()
    write(source, 10)
    write(source, 5, OTHER)
    back_up(source, found)
    for lost, kept in ((4, 6), (2, 8)):
        write(source, lost + kept)
        source.log(ORDERS).delete_records(source.log(ORDERS).end - kept)
        source.groups = {
            f"g{at}": [GroupOffset(ORDERS, at, 1, ""), GroupOffset(OTHER, 3, 1, "")]
            for at in (0, 9, 10, 13, 14, 21, 30)
        }
        back_up(source, found)
    return found


@pytest.fixture
def point(repository: Repository) -> RecoveryPoint:
    return repository.point("latest")


@pytest.fixture
def target() -> SimulatedCluster:
    return SimulatedCluster("target", nodes=2)


def positions(target: SimulatedCluster, partition: TopicPartition = ORDERS) -> dict[str, int]:
    return {
        group: offset.offset
        for group, offsets in target.groups.items()
        for offset in offsets
        if offset.topic_partition == partition
    }


def reports(repository: Repository) -> list[Any]:
    return [value for _, value in repository.audits("loss-report")]


def test_gaps_in_front_of_the_log_start_are_none_of_a_plain_restores_business(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint
) -> None:
    result = put_back(target, repository, point)
    assert (result.failures, result.lost, result.loss_report) == ((), 0, "")
    assert values(target) == list(range(22, 30))
    assert positions(target) == {"g0": 0, "g9": 0, "g14": 0, "g30": 8}
    assert {p.committed: p.place for p in result.not_set} == {10: "gap", 13: "gap", 21: "gap"}
    assert positions(target, OTHER) == dict.fromkeys(("g0", "g9", "g10", "g13", "g14", "g21", "g30"), 3)
    assert reports(repository) == []


def test_refused_before_anything_is_touched(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint
) -> None:
    with pytest.raises(LossRefused, match=r"orders/0: 6 offset\(s\) are lost: \[10, 14\)") as raised:
        put_back(target, repository, point, whole_history=True)
    assert "--allow-loss prefix" in raised.value.hint
    assert target.topics == {} and list(repository.audits()) == []


def test_without_the_gaps(target: SimulatedCluster, repository: Repository, point: RecoveryPoint) -> None:
    result = put_back(target, repository, point, whole_history=True, allow_loss="skip")
    assert (result.failures, result.lost) == ((), 6)
    assert values(target) == [*range(10), *range(14, 20), *range(22, 30)]
    assert values(target, OTHER) == list(range(5))
    assert positions(target) == {"g0": 0, "g9": 9, "g14": 10, "g30": 24}
    assert {p.committed: p.place for p in result.not_set} == {10: "gap", 13: "gap", 21: "gap"}
    assert set(positions(target, OTHER)) == {"g0", "g9", "g10", "g13", "g14", "g21", "g30"}


def test_in_front_of_the_first_gap(target: SimulatedCluster, repository: Repository, point: RecoveryPoint) -> None:
    result = put_back(target, repository, point, whole_history=True, allow_loss="prefix")
    assert (result.failures, result.lost) == ((), 20)
    assert values(target) == list(range(10))
    assert values(target, OTHER) == list(range(5))
    assert positions(target) == {"g0": 0, "g9": 9}
    assert {p.committed: p.place for p in result.not_set} == {
        10: "gap",
        13: "gap",
        14: "beyond",
        21: "gap",
        30: "beyond",
    }
    assert [part.source_range for part in result.partitions] == [OffsetRange(0, 10), OffsetRange(0, 5)]


@pytest.mark.parametrize("allow_loss", ["prefix", "skip"])
def test_the_loss_report_is_there_before_the_first_record(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint, allow_loss: str
) -> None:
    seen: list[list[Any]] = []
    carry_out = target.carry_out

    def watched(*args: Any, **options: Any) -> Any:
        seen.append(reports(repository))
        return carry_out(*args, **options)

    target.carry_out = watched  # type: ignore[method-assign]
    result = put_back(target, repository, point, whole_history=True, allow_loss=allow_loss)
    ((name, report),) = repository.audits("loss-report")
    assert seen[0] == [report] and result.loss_report == name
    assert isinstance(report, dict)
    ((finished_name, finished),) = repository.audits("restore-finished")
    assert isinstance(finished, dict) and finished["loss_report"] == name and finished_name != name
    assert finished["positions_not_set"] == len(report["positions"]) == len(result.not_set)
    ((started, _),) = repository.audits("restore-started")
    assert report["started"] == started
    assert [(gap["from"], gap["to"]) for part in report["partitions"] for gap in part["gaps"]] == [(10, 14), (20, 22)]
    assert all(
        gap["reason"] and gap["evidence"] and gap["time"] for part in report["partitions"] for gap in part["gaps"]
    )
    assert [part["cut_off"] for part in report["partitions"]] == [[10, 30] if allow_loss == "prefix" else None]


def test_offsets_between_the_gaps_need_no_allowance(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint
) -> None:
    result = put_back(
        target,
        repository,
        point,
        whole_history=True,
        from_offsets=((ORDERS, 14),),
        until_offsets=((ORDERS, 18),),
    )
    assert (result.failures, result.lost) == ((), 0)
    assert values(target) == list(range(14, 18))
    assert positions(target) == {"g14": 0}
    assert values(target, OTHER) == list(range(5)), "what is not named is whole"


def test_a_time_in_front_of_a_gap_needs_no_allowance(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint
) -> None:
    result = put_back(target, repository, point, whole_history=True, until_timestamp=1004)
    assert (result.failures, result.lost) == ((), 0)
    assert values(target) == list(range(5))
    assert positions(target) == {"g0": 0, "g9": 5, "g14": 5, "g30": 5}
    assert [warning for warning in result.warnings if warning.startswith("2 gap(s) lie outside of the chosen time")]
    assert [
        warning for warning in result.warnings if warning.startswith("2 position(s) of 2 group(s) were on no record")
    ]


def test_positions_that_a_filter_leaves_out_go_to_the_next_record(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint
) -> None:
    options: dict[str, Any] = {"since_timestamp": 1005, "until_timestamp": 1016, "until_rule": "filter"}
    result = put_back(target, repository, point, whole_history=True, allow_loss="skip", **options)
    assert values(target) == [*range(5, 10), *range(14, 17)]
    assert positions(target) == {"g0": 0, "g9": 4, "g14": 5, "g30": 8}
    assert sum(group.moved for group in result.groups) == 8, "g0 here, and seven in orders/1 where nothing is left"


def test_points_count_what_show_lists(repository: Repository) -> None:
    state = repository.state
    assert [PointLine.of(p, lost=lost_offsets(state, p)).lost for p in repository.points()] == [0, 4, 6]


@settings(deadline=None, max_examples=60)
@given(
    rounds=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 5)), min_size=1, max_size=5),
    begin=st.none() | st.integers(0, 30),
    end=st.none() | st.integers(0, 30),
    whole=st.booleans(),
    since=st.none() | st.integers(995, 1030),
    until=st.none() | st.integers(995, 1030),
    rule=st.sampled_from(["cut", "filter"]),
    jumps=st.integers(1, 7),
    allow_loss=st.sampled_from(["none", "prefix", "skip"]),
)
def test_against_a_list_of_offsets(
    rounds: list[tuple[int, int]],
    begin: int | None,
    end: int | None,
    whole: bool,
    since: int | None,
    until: int | None,
    rule: str,
    jumps: int,
    allow_loss: str,
) -> None:
    """Each round loses some records in front of those that it keeps; times run forwards and backwards."""
    source = SimulatedCluster("source")
    log = source.add_topic("orders").logs[0]
    repository = new_repository()
    stamps: list[int] = []
    lost: set[int] = set()
    for number, (missed, kept) in enumerate(rounds):
        missed = missed if number else 0
        lost |= set(range(log.end, log.end + missed))
        for _ in range(missed + kept):
            stamps.append(1000 + log.end // jumps * jumps - (log.end % jumps) * 2)
            log.append([record(b"%d" % log.end, timestamp=stamps[-1])])
        log.delete_records(log.end - kept)
        back_up(source, repository)
    if since is not None and until is not None and since > until:
        since, until = until, since
    if begin is not None and end is not None and begin > end:
        begin, end = end, begin
    held = list(range(0 if whole else log.start, log.end))
    asked = [at for at in held if (begin is None or at >= begin) and (end is None or at < end)]
    options = RestoreOptions(
        from_offsets=() if begin is None else ((ORDERS, begin),),
        until_offsets=() if end is None else ((ORDERS, end),),
        whole_history=whole,
        since_timestamp=since,
        until_timestamp=until,
        until_rule=rule,
        allow_loss=allow_loss,
    )
    target = SimulatedCluster("target", nodes=1)
    plan = prepare(as_cluster(target), repository, repository.point("latest"), options, now=now)
    if since is None and until is None:
        assert plan.has_loss == bool(lost & set(asked))
        assert plan.lost == (
            len(lost & set(asked))
            if allow_loss != "prefix" or not plan.has_loss
            else asked[-1] + 1 - min(lost & set(asked))
        )
    else:
        assert not plan.has_loss or lost & set(asked)
    if plan.refusals:
        assert allow_loss == "none" and {refusal.kind for refusal in plan.refusals} == {"declared-loss"}
        return
    restore(as_cluster(target), repository, plan, options, now=now)
    known = {
        gap for part in plan.partitions for each in part.gaps for gap in range(each.offsets.start, each.offsets.stop)
    }
    if allow_loss == "prefix" and known:
        asked = [at for at in asked if at < min(known)]
    kept_offsets = chosen([at for at in asked if at not in lost], stamps, since, until, rule)
    assert values(target) == kept_offsets


def chosen(offsets: list[int], stamps: list[int], since: int | None, until: int | None, rule: str) -> list[int]:
    """Naively: `filter` asks each record, `cut` is one piece from the first that is in time to the first that is late."""
    if rule == "filter":
        return [
            at for at in offsets if (since is None or stamps[at] >= since) and (until is None or stamps[at] <= until)
        ]
    found: list[int] = []
    for at in offsets:
        if not found and since is not None and stamps[at] < since:
            continue
        if until is not None and stamps[at] > until:
            break
        found.append(at)
    return found


def test_a_gap_that_opens_while_a_backup_reads_lies_in_front_of_the_point(target: SimulatedCluster) -> None:
    """DeleteRecords, or retention, is faster than the backup: the log start of the survey is gone when it is read."""
    source, repository = SimulatedCluster("source"), new_repository()
    source.add_topic("orders")
    write(source, 10)
    source.log(ORDERS).delete_records(2)
    connect = source.fetcher

    def overtaken(*args: Any, **options: Any) -> Any:
        source.log(ORDERS).delete_records(6)
        return connect(*args, **options)

    source.fetcher = overtaken  # type: ignore[method-assign]
    result = back_up(source, repository)
    assert [gap.offsets for gap in result.gaps] == [OffsetRange(2, 6)]
    with pytest.raises(LossRefused, match=r"orders/0: 4 offset\(s\) are lost: \[2, 6\)"):
        put_back(target, repository, result.point, whole_history=True)
    restored = put_back(target, repository, result.point)
    assert values(target) == [6, 7, 8, 9] and restored.lost == 0


@pytest.mark.parametrize(("allow_loss", "restored"), [("skip", [0, 1, 2, 3, 6]), ("prefix", [0, 1])])
def test_a_transaction_that_was_open_in_front_of_a_gap(
    target: SimulatedCluster, allow_loss: str, restored: list[int]
) -> None:
    """Only a point at the high watermark has one. What became of it, nobody knows: its marker lies in the gap."""
    source = SimulatedCluster("source")
    source.add_topic("orders")
    log, repository = source.log(ORDERS), new_repository()
    write(source, 2)
    log.append([record(b"2"), record(b"3")], producer_id=7, transactional=True)
    back_up(source, repository, cut="high-watermark")
    log.decide(7, ABORT)
    write(source, 2)
    log.delete_records(6)
    point = back_up(source, repository, cut="high-watermark").point
    result = put_back(target, repository, point, whole_history=True, allow_loss=allow_loss)
    assert values(target) == restored
    (told,) = [warning for warning in result.warnings if "transaction(s) were open where a gap begins" in warning]
    assert ("as if it had been committed" in told) == (allow_loss == "skip")

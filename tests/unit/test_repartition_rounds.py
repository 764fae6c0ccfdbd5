"""Repartitioned restores against simulated clusters: comparisons, ends before the end, full disks."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.support.operations import (
    Heard,
    another,
    as_cluster,
    back_up,
    new_repository,
    now,
    put_back,
    records_of,
    stored,
)
from tests.support.repartitioned import check_spread, content, lowest
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import SimulatedLog, record
from tests.support.sweep_places import small_file_system

from kafkeep.cli.restore import write_offset_map
from kafkeep.cli.restore_text import result_parts
from kafkeep.compare.options import CompareOptions, SampleChoice
from kafkeep.compare.report import CompareReport
from kafkeep.compare.run import compare
from kafkeep.errors import StoreError, StoreFull, UsageError
from kafkeep.events import Stage
from kafkeep.groups.options import GroupOptions
from kafkeep.groups.run import prepare as prepare_groups
from kafkeep.kafka.wire.records import Record
from kafkeep.model import GroupOffset, RecoveryPoint, TopicPartition
from kafkeep.renaming import Rename
from kafkeep.repository.repository import Repository
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.result import RestoreResult
from kafkeep.restore.run import prepare, restore
from kafkeep.restore.unfinished import NEWEST, find_job

TARGETS = 5
COMMITTED = {0: 11, 1: 0, 2: 40}


pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def source() -> SimulatedCluster:
    cluster = SimulatedCluster("source")
    cluster.add_topic("orders", 3)
    for partition in range(3):
        for batch in range(8):
            cluster.log(TopicPartition("orders", partition)).append(
                [
                    record(
                        b"%d.%d.%d" % (partition, batch, n),
                        key=None if n == 0 else b"key-%d" % (n * 7 + batch),
                        timestamp=1000 * batch + partition,
                    )
                    for n in range(5)
                ],
                codec=batch % 5,
            )
    cluster.groups["readers"] = [
        GroupOffset(TopicPartition("orders", number), at, -1, "m") for number, at in COMMITTED.items()
    ]
    return cluster


@pytest.fixture
def repository() -> Repository:
    return new_repository()


@pytest.fixture
def point(source: SimulatedCluster, repository: Repository) -> RecoveryPoint:
    made = back_up(source, repository).point
    assert made is not None
    return made


@pytest.fixture
def target() -> SimulatedCluster:
    return SimulatedCluster("target", nodes=2)


@pytest.fixture
def chosen(tmp_path: Path) -> dict[str, Any]:
    folder = tmp_path / "spool"
    folder.mkdir()
    # Several batches for each partition of the target.
    return {"repartition": (("orders", TARGETS),), "spool_dir": str(folder), "repack_bytes": 700}


def records(repository: Repository, point: RecoveryPoint) -> dict[int, list[Record]]:
    return {generation.partition: found for generation, found in stored(repository, point).items()}


def logs(target: SimulatedCluster, topic: str = "orders") -> list[list[Record]]:
    return [records_of(log) for log in target.topics[topic].logs]


def compared(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint, chosen: dict[str, Any], **options: Any
) -> CompareReport:
    wanted = CompareOptions(**({"spool_dir": chosen["spool_dir"]} | options))
    return compare(as_cluster(target), repository, point, wanted)


def refused(report: CompareReport) -> str:
    (failure,) = report.failures
    assert report.verdict == "different"
    assert report.partitions == () and report.differences == ()
    assert (failure.subject, failure.reason) == ("orders", "repartitioned")
    return failure.message


def test_a_plain_round(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint, chosen: dict[str, Any], tmp_path: Path
) -> None:
    result = put_back(target, repository, point, **chosen)
    assert (result.failures, result.records, result.partitions) == ((), 120, ())
    source, found = records(repository, point), logs(target)
    check_spread(source, found)
    (topic,) = result.repartitioned
    assert (topic.source, topic.target, topic.source_partitions) == ("orders", "orders", 3)
    assert [part.offset_map.records for part in topic.partitions] == [len(each) for each in found]
    starts, again = lowest(source, found, COMMITTED)
    assert [p.offset for p in target.groups["readers"]] == starts and again > 0
    assert {(p.leader_epoch, p.metadata) for p in target.groups["readers"]} == {(-1, "m")}
    (group,) = result.groups
    assert group.read_again == again
    told = str(result_parts(result))
    assert "orders by key" in told and "of 3 partitions" in told and "consumed records read again" in told
    write_offset_map(tmp_path / "map", result)
    assert json.loads((tmp_path / "map").read_text()) == {
        "point": point.number,
        "partitions": [],
        "repartitioned": [{"topic": "orders", "target_topic": "orders", "partitions": TARGETS}],
    }


def test_records_of_one_time_do_not_lie_behind_those_of_much_later(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint, chosen: dict[str, Any]
) -> None:
    put_back(target, repository, point, **chosen)
    for found in logs(target):
        times = [item.timestamp for item in found]
        assert times == sorted(times)


def test_a_group_without_a_position_on_a_partition_has_consumed_nothing_of_it(
    source: SimulatedCluster, target: SimulatedCluster, repository: Repository, chosen: dict[str, Any]
) -> None:
    source.groups["readers"] = source.groups["readers"][2:]
    point = back_up(source, repository).point
    assert point is not None
    put_back(target, repository, point, **chosen)
    starts, _ = lowest(records(repository, point), logs(target), {2: 40})
    assert [p.offset for p in target.groups["readers"]] == starts


def test_an_empty_topic_that_begins_later_is_filled(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint, chosen: dict[str, Any]
) -> None:
    target.add_topic("orders", TARGETS, start=70)
    put_back(target, repository, point, **chosen)
    found = logs(target)
    check_spread(records(repository, point), found)
    assert {part[0].offset for part in found} == {70}
    starts, _ = lowest(records(repository, point), found, COMMITTED)
    assert [p.offset for p in target.groups["readers"]] == [70 + start for start in starts]
    assert compared(target, repository, point, chosen).verdict == "identical"


class TestCompare:
    @pytest.fixture(autouse=True)
    def restored(
        self, target: SimulatedCluster, repository: Repository, point: RecoveryPoint, chosen: dict[str, Any]
    ) -> RestoreResult:
        return put_back(target, repository, point, **chosen)

    def test_a_proof(
        self, target: SimulatedCluster, repository: Repository, point: RecoveryPoint, chosen: dict[str, Any]
    ) -> None:
        report = compared(target, repository, point, chosen)
        assert (report.verdict, report.records) == ("identical", 120)
        assert [(part.source.partition, part.pairing) for part in report.partitions] == [(-1, "key")] * TARGETS

    @pytest.mark.parametrize("what", ["timestamp", "key", "value", "headers", "missing", "extra", "swapped"])
    def test_every_difference_is_found(
        self,
        target: SimulatedCluster,
        repository: Repository,
        point: RecoveryPoint,
        chosen: dict[str, Any],
        what: str,
    ) -> None:
        log = next(log for log in target.topics["orders"].logs if log.end > 4)
        kept = records_of(log)
        changed = {
            "timestamp": [kept[0]._replace(timestamp=7), *kept[1:]],
            "key": [kept[0]._replace(key=b"other"), *kept[1:]],
            "value": [kept[0]._replace(value=None), *kept[1:]],
            "headers": [kept[0]._replace(headers=((b"a", None),)), *kept[1:]],
            "missing": kept[:-1],
            "extra": [kept[0], *kept],
            "swapped": [kept[1], kept[0], *kept[2:]],
        }[what]
        rewrite(log, changed)
        report = compared(target, repository, point, chosen)
        assert report.verdict == "different" and report.different >= 1
        assert {found.target.topic for found in report.differences} == {"orders"}
        if what in ("timestamp", "key", "value", "headers", "missing"):
            assert report.different == 1 and report.differences[0].what == what

    def test_what_came_later_is_not_compared(
        self, target: SimulatedCluster, repository: Repository, point: RecoveryPoint, chosen: dict[str, Any]
    ) -> None:
        target.log(TopicPartition("orders", 2)).append([record(b"later"), record(b"later")])
        report = compared(target, repository, point, chosen)
        assert report.verdict == "identical"
        assert [part.beyond for part in report.partitions] == [0, 0, 2, 0, 0]

    def test_what_cannot_be_compared_is_named(
        self, target: SimulatedCluster, repository: Repository, point: RecoveryPoint, chosen: dict[str, Any]
    ) -> None:
        assert "no sample" in refused(compared(target, repository, point, chosen, sample=SampleChoice(5, 1)))
        assert "no folder" in refused(compared(target, repository, point, chosen, spool_dir=None))
        del target.topics["orders"].logs[-1], target.topics["orders"].leaders[-1]
        assert "it has 4 partitions, 5 were" in refused(compared(target, repository, point, chosen))

    def test_a_topic_that_was_made_again_is_not_that_of_the_restore(
        self, target: SimulatedCluster, repository: Repository, point: RecoveryPoint, chosen: dict[str, Any]
    ) -> None:
        del target.topics["orders"]
        target.add_topic("orders", TARGETS)
        report = compared(target, repository, point, chosen)
        assert report.verdict == "different" and report.differences == ()
        assert {failure.reason for failure in report.failures} == {"partition-count"}

    def test_positions_of_such_a_topic_are_not_guessed_afterwards(
        self, target: SimulatedCluster, repository: Repository, point: RecoveryPoint
    ) -> None:
        plan = prepare_groups(as_cluster(target), repository, point, GroupOptions())
        assert {refusal.kind for refusal in plan.refusals} == {"no-offset-map"}


def rewrite(log: SimulatedLog, items: list[Record]) -> None:
    """The log with other records from offset 0 on, as somebody else may have left it."""
    log.entries, log.end, log.epochs = [], 0, []
    for item in items:
        log.append([item])


@pytest.mark.parametrize(
    "options",
    [
        {"since_timestamp": 3000},
        {"from_offsets": ((TopicPartition("orders", 1), 10),)},
        {"until_offsets": ((TopicPartition("orders", 1), 10),)},
    ],
)
def test_a_restore_of_a_part_is_exact_and_not_compared(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint, chosen: dict[str, Any], options: Any
) -> None:
    put_back(target, repository, point, **chosen, **options)
    source = records(repository, point)
    if "since_timestamp" in options:
        source = {n: [item for item in own if item.timestamp >= 3000] for n, own in source.items()}
    elif "from_offsets" in options:
        source[1] = source[1][10:]
    else:
        source[1] = source[1][:10]
    found = logs(target)
    check_spread(source, found)
    starts, _ = lowest(source, found, COMMITTED)
    assert [p.offset for p in target.groups["readers"]] == starts
    assert "other records than all of the point's" in refused(compared(target, repository, point, chosen))


def carried_out(
    target: SimulatedCluster,
    repository: Repository,
    point: RecoveryPoint,
    chosen: dict[str, Any],
    stop: threading.Event,
    sink: Any,
) -> RestoreResult:
    options = RestoreOptions(**chosen)
    try:
        job = find_job(repository, NEWEST, point.number, "target")
    except UsageError:
        job = None
    plan = prepare(as_cluster(target), repository, point, options, now=now, job=job)
    return restore(as_cluster(target), repository, plan, options, now=now, stop=stop, sink=sink)


@pytest.mark.parametrize(("at", "there"), [("spread", 0), ("records", 0), ("settings", 120)])
def test_stopped_and_continued(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint, chosen: dict[str, Any], at: str, there: int
) -> None:
    stop = threading.Event()

    def sink(event: object) -> None:
        if isinstance(event, Stage) and event.name == at:
            stop.set()

    result = carried_out(target, repository, point, chosen, stop, sink)
    assert result.interrupted and result.records == there
    assert bool(result.repartitioned[0].partitions) == (at != "spread")
    if at == "settings":
        assert compared(target, repository, point, chosen).verdict == "identical"
    else:
        assert "did not bring all of it" in refused(compared(target, repository, point, chosen))
    job = find_job(repository, NEWEST, point.number, "target")
    plan = prepare(as_cluster(target), repository, point, RestoreOptions(**chosen), now=now, job=job)
    assert dict(plan.present).keys() == {TopicPartition("orders", number) for number in range(TARGETS)}
    assert sum(dict(plan.present).values()) == there
    heard = Heard()
    result = carried_out(target, another(repository), point, chosen, threading.Event(), heard)
    assert (result.interrupted, result.failures, result.records) == (False, (), 120)
    check_spread(records(repository, point), logs(target))
    assert compared(target, repository, point, chosen).verdict == "identical"
    assert [event.detail for event in heard.of(Stage) if event.name == "spread"] == ["1 topic(s) by key"]


def test_a_log_that_begins_inside_a_batch_and_a_gap(
    source: SimulatedCluster,
    target: SimulatedCluster,
    repository: Repository,
    point: RecoveryPoint,
    chosen: dict[str, Any],
) -> None:
    log = source.log(TopicPartition("orders", 0))
    log.append([record(b"lost.%d" % n, key=b"k", timestamp=9000) for n in range(5)])
    log.append([record(b"kept.%d" % n, key=b"k", timestamp=9001) for n in range(5)])
    log.delete_records(47)
    later = back_up(source, repository).point
    assert later is not None
    put_back(target, repository, later, **chosen)
    wanted = records(repository, later)
    assert [item.offset for item in wanted[0]] == [47, 48, 49]
    check_spread(wanted, logs(target))
    assert compared(target, repository, later, chosen).verdict == "identical"
    more = {"whole_history": True, "allow_loss": "skip", "renames": (Rename.parse("orders=whole"),)}
    result = put_back(target, repository, later, **chosen, **more)
    assert result.lost == 7
    check_spread(wanted | {0: [*records(repository, point)[0], *wanted[0]]}, logs(target, "whole"))
    report = compared(target, repository, later, chosen, renames=more["renames"])
    assert [failure.reason for failure in report.failures] == ["repartitioned"]


def test_under_another_name_beside_other_topics(
    source: SimulatedCluster, target: SimulatedCluster, repository: Repository, chosen: dict[str, Any]
) -> None:
    source.add_topic("bills", 2).logs[1].append([record(b"bill")])
    point = back_up(source, repository).point
    assert point is not None
    renames = (Rename.parse("s/^/restored-/"),)
    put_back(target, repository, point, **chosen, renames=renames)
    assert [content(item) for item in logs(target, "restored-bills")[1]] == [(0, None, b"bill", ())]
    orders = {g.partition: own for g, own in stored(repository, point).items() if g.topic == "orders"}
    check_spread(orders, logs(target, "restored-orders"))
    report = compared(target, repository, point, chosen, renames=renames)
    assert report.verdict == "identical"
    assert {part.pairing for part in report.partitions} == {"key", "offset-map"}


def test_a_full_folder_ends_it_before_anything_is_touched(
    target: SimulatedCluster, repository: Repository, source: SimulatedCluster, tmp_path: Path
) -> None:
    source.log(TopicPartition("orders", 0)).append([record(random.Random(1).randbytes(300_000), key=b"large")])
    point = back_up(source, repository).point
    with small_file_system(tmp_path / "mount", 65536) as folder:
        with pytest.raises(StoreFull, match="temporary folder"):
            put_back(target, repository, point, repartition=(("orders", TARGETS),), spool_dir=str(folder))
        assert list(folder.iterdir()) == []
        options = RestoreOptions(repartition=(("orders", TARGETS),), spool_dir=str(folder))
        assert point is not None
        plan = prepare(as_cluster(target), repository, point, options, now=now)
        assert any("repartitioning needs about" in warning for warning in plan.warnings)
    assert target.topics == {} and list(repository.audits()) == []


def test_a_folder_that_is_none_is_named(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint, tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match="none cannot be used"):
        put_back(target, repository, point, repartition=(("orders", 2),), spool_dir=str(tmp_path / "none"))
    assert target.topics == {}

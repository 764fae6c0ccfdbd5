"""Whole comparisons of a point with simulated clusters: how records are paired, and what is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.operations import (
    ORDERS,
    Heard,
    as_cluster,
    back_up,
    new_repository,
    put_back,
    records_of,
)
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import ABORT, COMMIT, SimulatedLog, record

from kafkeep.compare.options import CompareOptions
from kafkeep.compare.report import BY_MAP, BY_OFFSET, BY_ORDER, CompareReport
from kafkeep.compare.run import compare
from kafkeep.errors import CorruptionError, KafkaUnreachable, NothingToDo, UsageError
from kafkeep.events import PartitionDone, Progress
from kafkeep.kafka.wire.records import Record
from kafkeep.model import RecoveryPoint
from kafkeep.renaming import Rename
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.restore.result import RestoreResult

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def source() -> SimulatedCluster:
    cluster = SimulatedCluster("source")
    for log in cluster.add_topic("orders", 2).logs:
        log.append([record(b"%d" % at, key=b"k", timestamp=at) for at in range(3)])
        log.append([record(b"void")], producer_id=5, transactional=True)
        log.decide(5, ABORT)
        log.append([record(b"kept")], producer_id=5, transactional=True)
        log.decide(5, COMMIT)
        log.append([record(b"x%d" % at, key=b"k") for at in range(4)], codec=3)
        log.compact(lambda item: item.value != b"1", below=3)
    return cluster


@pytest.fixture
def repository(source: SimulatedCluster) -> Repository:
    found = new_repository()
    back_up(source, found)
    return found


@pytest.fixture
def point(repository: Repository) -> RecoveryPoint:
    return repository.point("latest")


@pytest.fixture
def target() -> SimulatedCluster:
    return SimulatedCluster("target", nodes=2)


def compared(
    cluster: SimulatedCluster, repository: Repository, point: RecoveryPoint, heard: Heard | None = None, **options: Any
) -> CompareReport:
    sink = Heard() if heard is None else heard
    return compare(as_cluster(cluster), repository, point, CompareOptions(**options), sink=sink)


def test_a_restored_cluster_is_identical_by_its_map(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint
) -> None:
    restored = put_back(target, repository, point)
    heard = Heard()
    report = compared(target, repository, point, heard)
    assert report.identical and report.records == restored.records == 14
    assert {part.pairing for part in report.partitions} == {BY_MAP}
    assert sum(event.records for event in heard.of(Progress)) == 14
    assert sum(event.records for event in heard.of(PartitionDone)) == 14


def test_under_other_names_too(target: SimulatedCluster, repository: Repository, point: RecoveryPoint) -> None:
    renames = (Rename.parse("s/^/new-/"),)
    put_back(target, repository, point, renames=renames)
    report = compared(target, repository, point, renames=renames)
    assert report.identical and report.records == 14
    assert {str(part.target) for part in report.partitions} == {"new-orders/0", "new-orders/1"}


def test_the_source_is_compared_at_the_same_offsets(
    source: SimulatedCluster, repository: Repository, point: RecoveryPoint
) -> None:
    source.log(ORDERS).append([record(b"later"), record(b"later")])
    report = compared(source, repository, point)
    assert report.identical and report.records == 14
    assert {part.pairing for part in report.partitions} == {BY_OFFSET}
    assert [part.beyond for part in report.partitions] == [2, 0]


def test_without_a_map_only_the_order_counts(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint
) -> None:
    put_back(target, repository, point)
    store = repository.store
    assert isinstance(store, MemoryStore)
    for name in [name for name in store.objects if name.startswith("audit/")]:
        del store.objects[name]
    report = compared(target, repository, point)
    assert report.identical and report.records == 14
    assert {part.pairing for part in report.partitions} == {BY_ORDER}


def test_a_map_from_a_file(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint, tmp_path: Path
) -> None:
    path = tmp_path / "map.json"
    path.write_text(json.dumps(map_file(put_back(target, repository, point))))
    report = compared(target, repository, point, map_file=str(path))
    assert report.identical and {part.pairing for part in report.partitions} == {BY_MAP}


def map_file(result: RestoreResult) -> dict[str, Any]:
    return {
        "point": result.point,
        "partitions": [
            {
                "topic": part.source.topic,
                "topic_id": part.source.topic_id,
                "lineage": part.source.lineage,
                "partition": part.source.partition,
                "target_topic": part.target.topic,
                "target_partition": part.target.partition,
                "rows": [list(row) for row in part.offset_map.rows],
                "end": part.offset_map.end,
            }
            for part in result.partitions
        ],
    }


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"partitions": [{}]}', '{"partitions": 3}'])
def test_a_file_that_is_no_map_is_refused(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "map.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="map"):
        compared(target, repository, point, map_file=str(path))
    with pytest.raises(UsageError, match="cannot be read"):
        compared(target, repository, point, map_file=str(tmp_path / "none"))


def rewritten(log: SimulatedLog, change: Callable[[list[Record]], list[Record]]) -> None:
    """The log with other records from offset 0 on, as somebody else may have left it."""
    items = change(records_of(log))
    log.entries, log.end, log.epochs = [], 0, []
    for item in items:
        log.append([item])


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        (lambda items: [items[0]._replace(value=b""), *items[1:]], {"value"}),
        (lambda items: [items[0]._replace(key=None), *items[1:]], {"key"}),
        (lambda items: [items[0]._replace(timestamp=77), *items[1:]], {"timestamp"}),
        (lambda items: [items[0]._replace(headers=((b"h", None),)), *items[1:]], {"headers"}),
        (lambda items: items[:-1], {"missing"}),
        (lambda items: items[:-2] + items[-1:], {"value", "missing"}),
        (lambda items: [items[1], items[0], *items[2:]], {"value", "timestamp"}),
    ],
)
def test_planted_differences_are_found(
    target: SimulatedCluster,
    repository: Repository,
    point: RecoveryPoint,
    change: Callable[[list[Record]], list[Record]],
    kinds: set[str],
) -> None:
    put_back(target, repository, point)
    rewritten(target.log(ORDERS), change)
    report = compared(target, repository, point)
    assert not report.identical
    assert kinds <= {difference.what for difference in report.differences}
    assert {str(difference.target) for difference in report.differences} == {"orders/0"}
    assert report.different == len(report.differences)


def test_records_that_came_in_between_are_extra_and_later_ones_are_counted_as_beyond(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint
) -> None:
    """One lies inside of what the restore covered, one came afterwards."""
    carry_out = target.carry_out

    def disturbed(*args: Any, **options: Any) -> Any:
        answers = carry_out(*args, **options)
        if len(target.log(ORDERS).entries) == 1:
            target.log(ORDERS).append([record(b"foreign")])
        return answers

    target.carry_out = disturbed  # type: ignore[method-assign]
    target.add_topic("orders", 2).logs[1].append([record(b"there before")])
    result = put_back(target, repository, point, existing="append")
    assert result.failures == ()
    target.log(ORDERS).append([record(b"later")])
    report = compared(target, repository, point)
    assert [(difference.what, difference.found) for difference in report.differences] == [
        ("extra", "key null, value b'foreign', timestamp 0")
    ]
    assert [part.beyond for part in report.partitions] == [1, 0]


def test_what_a_partial_restore_left_out_is_missing(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint
) -> None:
    put_back(target, repository, point, until_timestamp=1)
    report = compared(target, repository, point)
    assert {difference.what for difference in report.differences} == {"missing"}
    assert report.records + report.different == 14


def test_only_the_first_differences_are_told_and_all_are_counted(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint
) -> None:
    put_back(target, repository, point)
    for log in target.topics["orders"].logs:
        rewritten(log, lambda items: [item._replace(value=b"wrong") for item in items])
    report = compared(target, repository, point, most_differences=2)
    assert (len(report.differences), report.different) == (4, 14)
    assert [part.differences for part in report.partitions] == [7, 7]


def test_a_partition_that_is_not_there_is_a_failure(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint
) -> None:
    target.add_topic("orders", 1)
    report = compared(target, repository, point)
    assert ("orders/1", "missing") in [(failure.subject, failure.reason) for failure in report.failures]
    assert not report.identical
    report = compared(SimulatedCluster("empty"), repository, point)
    assert len(report.failures) == 2 and not report.identical


def test_a_recreated_source_topic_is_not_taken_for_the_old_one(
    source: SimulatedCluster, repository: Repository, point: RecoveryPoint
) -> None:
    del source.topics["orders"]
    for log in source.add_topic("orders", 2).logs:
        log.append([record(b"%d" % at, key=b"k", timestamp=at) for at in range(11)])
    report = compared(source, repository, point)
    assert {part.pairing for part in report.partitions} == {BY_ORDER}
    assert not report.identical


def test_a_restore_into_a_topic_that_was_made_anew_since_is_not_trusted(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint
) -> None:
    put_back(target, repository, point)
    del target.topics["orders"]
    target.add_topic("orders", 2)
    report = compared(target, repository, point)
    assert {part.pairing for part in report.partitions} == {BY_ORDER}
    assert {difference.what for difference in report.differences} == {"missing"}


def test_what_retention_took_from_the_target_is_missing(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint
) -> None:
    put_back(target, repository, point)
    target.log(ORDERS).delete_records(3)
    report = compared(target, repository, point)
    assert [difference.what for difference in report.differences] == ["missing"] * 3


def test_a_moved_leader_and_lost_connections_do_not_matter(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafkeep.compare.target._LONGEST_PAUSE_SECONDS", 0.0)
    put_back(target, repository, point)
    target.fetch_faults.extend(["lost after", "moved", "throttled", "fenced", "tail"])
    report = compared(target, repository, point, fetch_bytes=100)
    assert report.identical and report.records == 14


def test_a_partition_that_cannot_be_read_is_a_failure(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafkeep.compare.target._LONGEST_PAUSE_SECONDS", 0.0)
    put_back(target, repository, point)

    def fetcher(*_: Any, **__: Any) -> Any:
        raise KafkaUnreachable("nobody there")

    target.fetcher = fetcher  # type: ignore[method-assign]
    report = compared(target, repository, point)
    assert {(failure.subject, failure.message) for failure in report.failures} == {
        ("orders/0", "nobody there"),
        ("orders/1", "nobody there"),
    }
    assert not report.identical


def test_damage_in_the_repository_is_no_difference_but_an_error(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint
) -> None:
    put_back(target, repository, point)
    store = repository.store
    assert isinstance(store, MemoryStore)
    (name, *_) = [name for name in store.objects if name.startswith("pack/")]
    data = bytearray(store.objects[name])
    data[len(data) // 4] ^= 1
    store.objects[name] = bytes(data)
    with pytest.raises(CorruptionError):
        compared(target, repository, point)


def test_nothing_chosen_is_nothing_to_do(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint
) -> None:
    with pytest.raises(NothingToDo, match="bills"):
        compared(target, repository, point, topics=("bills*",))

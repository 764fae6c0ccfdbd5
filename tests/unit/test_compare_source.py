"""The archive against the live source: what the source has rightly done since is excused, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.support.operations import as_cluster, back_up, new_repository
from tests.support.repositories import Piece, cut, draft, gap, opened, write_pack
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import ABORT, COMMIT, SimulatedLog, record

from kafkeep.compare.options import CompareOptions, SampleChoice
from kafkeep.compare.report import BY_OFFSET, ComparedPartition, CompareReport, Excused
from kafkeep.compare.run import compare
from kafkeep.errors import KafkaAccessDenied
from kafkeep.kafka.wire.records import Record
from kafkeep.model import Generation, HeldBack, RunRef
from kafkeep.repository.repository import Repository

NO_METADATA = {"cluster_id": "source", "groups": [], "topics": []}


pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def source() -> SimulatedCluster:
    return SimulatedCluster("source")


@pytest.fixture
def repository() -> Repository:
    return new_repository()


def filled(cluster: SimulatedCluster, batches: int = 6, *, keys: int = 0, **configs: str) -> SimulatedLog:
    """Batches of four records; `keys` in turn, or none."""
    named = {name.replace("_", "."): value for name, value in configs.items()}
    log = cluster.add_topic("orders", configs=named).logs[0]
    for batch in range(batches):
        log.append([keyed(4 * batch + at, keys) for at in range(4)])
    return log


def keyed(number: int, keys: int) -> Record:
    return record(b"value %d" % number, key=b"k%d" % (number % keys) if keys else None, timestamp=number)


def compared(cluster: SimulatedCluster, repository: Repository, **options: Any) -> CompareReport:
    return compare(as_cluster(cluster), repository, repository.point("latest"), CompareOptions(**options))


def only(report: CompareReport) -> ComparedPartition:
    (part,) = report.partitions
    assert part.pairing == BY_OFFSET
    return part


def test_what_retention_took_is_no_longer_comparable(
    source: SimulatedCluster, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log start lies inside of a batch, whose first records nobody can read any more. Neither side is read before."""
    log = filled(source)
    back_up(source, repository)
    log.delete_records(10)
    starts: list[int | None] = []
    read_run = repository.read_run

    def noted(run: RunRef, *, start: int | None = None, **options: Any) -> Iterator[memoryview]:
        starts.append(start)
        return read_run(run, start=start, **options)

    monkeypatch.setattr(repository, "read_run", noted)
    report = compared(source, repository)
    assert starts == [10]
    assert (report.verdict, report.records) == ("identical", 14)
    assert only(report).excused == Excused(removed=10)


def test_a_difference_behind_the_log_start_is_still_found(source: SimulatedCluster, repository: Repository) -> None:
    log = filled(source)
    back_up(source, repository)
    log.delete_records(10)
    del log.entries[1]
    report = compared(source, repository)
    assert [(found.what, found.source_offset) for found in report.differences] == [
        ("missing", offset) for offset in range(12, 16)
    ]


def test_the_log_start_may_move_while_it_is_compared(source: SimulatedCluster, repository: Repository) -> None:
    log = filled(source)
    back_up(source, repository)
    answer = source.offsets

    def then_delete(*args: Any, **options: Any) -> Any:
        found = answer(*args, **options)
        log.delete_records(14)
        return found

    source.offsets = then_delete  # type: ignore[method-assign]
    report = compared(source, repository)
    assert (report.verdict, report.records) == ("identical", 10)
    assert only(report).excused == Excused(removed=14)


def test_when_everything_is_gone_nothing_is_called_identical(source: SimulatedCluster, repository: Repository) -> None:
    log = filled(source)
    back_up(source, repository)
    log.delete_records(24)
    log.append([record(b"later")])
    log.delete_records(25)
    report = compared(source, repository)
    assert report.verdict == "nothing-compared" and not report.identical
    assert only(report).nothing_left and only(report).excused == Excused(removed=24)


def test_one_partition_that_is_gone_is_named_beside_others(source: SimulatedCluster, repository: Repository) -> None:
    filled(source)
    bills = source.add_topic("bills").logs[0]
    bills.append([record(b"gone")])
    back_up(source, repository)
    bills.delete_records(1)
    report = compared(source, repository)
    assert report.verdict == "identical"
    assert [part.source.topic for part in report.partitions if part.nothing_left] == ["bills"]


def test_an_empty_topic_is_identical(source: SimulatedCluster, repository: Repository) -> None:
    source.add_topic("orders")
    back_up(source, repository)
    report = compared(source, repository)
    assert (report.verdict, report.records) == ("identical", 0)


def newest(log: SimulatedLog) -> dict[bytes | None, int]:
    return {item.key: item.offset for entry in log.entries for item in entry.records}


def test_superseded_records_may_be_gone_where_the_topic_is_compacted(
    source: SimulatedCluster, repository: Repository
) -> None:
    log = filled(source, keys=5, cleanup_policy="compact,delete")
    back_up(source, repository)
    last = newest(log)
    log.compact(lambda item: last[item.key] == item.offset, below=20)
    report = compared(source, repository)
    assert (report.verdict, report.records) == ("identical", 5)
    assert only(report).excused == Excused(compacted=19)


def test_they_may_not_where_it_is_not(source: SimulatedCluster, repository: Repository) -> None:
    log = filled(source, keys=5, cleanup_policy="delete")
    back_up(source, repository)
    log.compact(lambda item: item.offset != 3, below=20)
    report = compared(source, repository)
    assert [(found.what, found.source_offset) for found in report.differences] == [("missing", 3)]
    assert report.excused == Excused()


def test_a_policy_that_cannot_be_read_is_taken_as_not_compacted(
    source: SimulatedCluster, repository: Repository
) -> None:
    log = filled(source, keys=5, cleanup_policy="compact")
    back_up(source, repository)
    log.compact(lambda item: item.offset != 3, below=20)
    source.admin.topic_configs = lambda topics: {  # type: ignore[method-assign]
        name: KafkaAccessDenied(f"describe configs of {name}") for name in topics
    }
    report = compared(source, repository)
    assert report.different == 1
    assert only(report).notes == (
        "taken as not compacted, because its cleanup.policy cannot be read: describe configs of orders",
    )


@pytest.mark.parametrize("gone", range(19, 24))
def test_the_last_record_of_a_key_is_never_superseded(
    source: SimulatedCluster, repository: Repository, gone: int
) -> None:
    log = filled(source, keys=5, cleanup_policy="compact")
    back_up(source, repository)
    log.compact(lambda item: item.offset not in (1, gone), below=24)
    report = compared(source, repository)
    assert [(found.what, found.source_offset) for found in report.differences] == [("missing", gone)]
    assert report.excused == Excused(compacted=1)


def test_a_record_written_after_the_point_proves_it(source: SimulatedCluster, repository: Repository) -> None:
    log = filled(source, keys=5, cleanup_policy="compact")
    back_up(source, repository)
    log.append([keyed(23, 5), keyed(22, 5)])
    log.compact(lambda item: item.offset != 23, below=24)
    report = compared(source, repository)
    assert (report.verdict, only(report).excused) == ("identical", Excused(compacted=1))


def test_what_only_a_vanished_tombstone_explains_is_not_proven(
    source: SimulatedCluster, repository: Repository
) -> None:
    log = filled(source, keys=5, cleanup_policy="compact")
    back_up(source, repository)
    log.append([record(None, key=b"k3"), keyed(20, 5)])
    log.compact(lambda item: item.offset not in (23, 24), below=26)
    report = compared(source, repository)
    assert (report.verdict, only(report).excused) == ("identical", Excused(compacted=1, not_proven=1))


def test_tombstones_and_records_without_a_key_go_by_rule(source: SimulatedCluster, repository: Repository) -> None:
    log = filled(source, keys=5, cleanup_policy="compact")
    log.append([record(None, key=b"k1"), record(b"no key")])
    back_up(source, repository)
    log.compact(lambda item: item.offset not in (24, 25), below=26)
    report = compared(source, repository)
    assert (report.verdict, only(report).excused) == ("identical", Excused(compacted=2))


def test_an_archived_tombstone_proves_what_it_deleted(source: SimulatedCluster, repository: Repository) -> None:
    log = filled(source, keys=5, cleanup_policy="compact")
    log.append([record(None, key=b"k1"), keyed(0, 5)])
    back_up(source, repository)
    log.compact(lambda item: item.offset not in (21, 24), below=26)
    report = compared(source, repository)
    assert (report.verdict, only(report).excused) == ("identical", Excused(compacted=2))


def test_a_compacted_topic_may_lose_nothing_at_its_end(source: SimulatedCluster, repository: Repository) -> None:
    """Compaction takes superseded records, a truncation takes the last ones."""
    log = filled(source, keys=1, cleanup_policy="compact")
    log.append([record(None, key=b"k0")])
    back_up(source, repository)
    log.truncate(20)
    report = compared(source, repository)
    assert [found.source_offset for found in report.differences] == [20, 21, 22, 23, 24]
    assert only(report).notes == ("the source ends at 20, before the end of the point at 25: its log was truncated",)


def test_a_log_that_was_written_again_is_explained_by_its_leader_epochs(
    source: SimulatedCluster, repository: Repository
) -> None:
    log = filled(source, keys=2, cleanup_policy="compact")
    back_up(source, repository)
    log.truncate(16)
    log.append([keyed(at, 2)._replace(value=b"other") for at in range(16, 26)])
    report = compared(source, repository)
    assert {found.what for found in report.differences} == {"value"} and report.different == 8
    assert only(report).notes == (
        "from offset 16 on the source's log is of leader epoch 1 where the point has 0: it was truncated and written again",
    )


def test_compaction_excuses_nothing_of_what_was_written_again(source: SimulatedCluster, repository: Repository) -> None:
    log = filled(source, keys=2, cleanup_policy="compact")
    back_up(source, repository)
    log.truncate(16)
    log.append([keyed(at, 2) for at in range(16, 24)])
    log.compact(lambda item: item.offset not in (3, 17), below=24)
    report = compared(source, repository)
    assert [(found.what, found.source_offset) for found in report.differences] == [("missing", 17)]
    assert report.excused == Excused(compacted=1)


def test_a_log_that_lost_only_markers_ends_too_early(source: SimulatedCluster, repository: Repository) -> None:
    log = filled(source)
    log.append([record(b"void")], producer_id=5, transactional=True)
    log.decide(5, ABORT)
    back_up(source, repository)
    log.truncate(24)
    report = compared(source, repository)
    assert [(found.what, found.target_offset, found.found) for found in report.differences] == [
        ("log-end", 26, "up to 24")
    ]


def test_transactions_that_were_open_at_the_high_watermark_may_be_committed(
    source: SimulatedCluster, repository: Repository
) -> None:
    log = filled(source)
    log.append([record(b"open")] * 3, producer_id=5, transactional=True)
    log.append([record(b"beside")])
    back_up(source, repository, cut="high-watermark")
    report = compared(source, repository)
    assert (report.verdict, report.records) == ("identical", 24)
    assert only(report).excused == Excused(undecided=4)
    log.decide(5, COMMIT)
    report = compared(source, repository)
    assert (report.verdict, report.records) == ("identical", 25)
    assert only(report).excused == Excused(decided=3)


def test_what_the_point_holds_back_may_be_there(
    source: SimulatedCluster, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = filled(source)
    log.append([record(b"held")] * 2, producer_id=5, transactional=True)
    log.decide(5, COMMIT)
    log.append([record(b"later")], producer_id=5, transactional=True)
    log.decide(5, COMMIT)
    back_up(source, repository)
    whole = repository.view

    def holding_back(point: Any) -> Any:
        view = whole(point)
        (part,) = view.partitions
        cut = replace(part.cut, held_back=(HeldBack(5, 24, 26),))
        return replace(view, partitions=(replace(part, cut=cut),))

    monkeypatch.setattr(repository, "view", holding_back)
    report = compared(source, repository)
    assert (report.verdict, report.records) == ("identical", 25)
    assert only(report).excused == Excused(decided=2)


@pytest.mark.parametrize(("low", "high"), [(8, 12), (8, 14), (4, 18)])
def test_records_in_declared_gaps_are_counted_apart(
    source: SimulatedCluster, repository: Repository, low: int, high: int
) -> None:
    """A gap may begin and end inside of a batch of the source."""
    log = filled(source)
    generation = Generation("orders", source.topics["orders"].topic_id, 0)
    before = tuple(entry.data for entry in log.entries if entry.base < low)
    behind = tuple(entry.data for entry in log.entries if entry.following > high)
    pack = write_pack(repository, [Piece(generation, 0, low, before), Piece(generation, high, 24, behind)])
    repository.commit(
        draft(
            packs=[pack],
            gaps=[gap(generation, low, high, "unreadable")],
            open_=opened(generation),
            cuts=[cut(generation, 24)],
            documents=[("metadata", repository.put_document("metadata", NO_METADATA))],
            cluster_id="source",
        )
    )
    report = compared(source, repository)
    assert (report.verdict, report.records) == ("identical", 24 - (high - low))
    assert only(report).excused == Excused(in_gaps=high - low)


def test_equal_batches_of_the_source_are_neither_opened_nor_read_twice(
    source: SimulatedCluster, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Iterator[Record]:
        raise AssertionError("a batch was opened")

    filled(source, 20)
    back_up(source, repository)
    monkeypatch.setattr("kafkeep.compare.align.decode", refuse)
    monkeypatch.setattr("kafkeep.compare.align.bytearray", refuse, raising=False)
    report = compared(source, repository)
    assert (report.verdict, report.records) == ("identical", 80)


def test_a_sample_of_a_compacted_topic_excuses_without_proof(source: SimulatedCluster, repository: Repository) -> None:
    log = filled(source, 30, keys=5, cleanup_policy="compact")
    back_up(source, repository)
    log.compact(lambda item: item.offset != 119, below=120)
    report = compared(source, repository, sample=SampleChoice(1.0, 7))
    assert report.verdict == "sample-identical"
    assert only(report).excused == Excused(compacted=1, not_proven=1)

"""Comparing parts: samples by chunks of the archive, pieces of large partitions side by side, many partitions."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from tests.support.operations import ORDERS, as_cluster, back_up, new_repository, put_back
from tests.support.simulated_cluster import SimulatedCluster, SimulatedFetcher
from tests.support.simulated_log import ABORT, COMMIT, SimulatedLog, record

from kafkeep.compare.options import CompareOptions, SampleChoice
from kafkeep.compare.report import BY_MAP, BY_OFFSET, CompareReport
from kafkeep.compare.run import compare
from kafkeep.model import TopicPartition
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore

BATCHES = 240


pytestmark = pytest.mark.usefixtures("quick")


class CountingStore(MemoryStore):
    """A store that tells what was read of packs."""

    def __init__(self) -> None:
        super().__init__()
        self.read_bytes = 0

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        data = super().get(name, start, length)
        if name.startswith("pack/"):
            self.read_bytes += len(data)
        return data


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


@pytest.fixture
def repository(store: CountingStore) -> Repository:
    return new_repository(store, chunk_bytes=4096, compression="none")


@pytest.fixture
def source() -> SimulatedCluster:
    cluster = SimulatedCluster("source")
    fill(cluster.add_topic("orders").logs[0])
    return cluster


def fill(log: SimulatedLog, batches: int = BATCHES) -> None:
    for batch in range(batches):
        log.append([record(b"value %d " % (2 * batch + at) * 100, timestamp=at) for at in range(2)])


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of each answer of a broker."""
    sizes: list[int] = []
    receive = SimulatedFetcher.receive

    def counted(self: SimulatedFetcher) -> Any:
        answers = receive(self)
        sizes.append(sum(len(answer.records) for answer in answers))
        return answers

    monkeypatch.setattr(SimulatedFetcher, "receive", counted)
    monkeypatch.setattr("kafkeep.compare.target._LEAST_ASKED_BYTES", 1024)
    return sizes


def compared(cluster: SimulatedCluster, repository: Repository, **options: Any) -> CompareReport:
    return compare(as_cluster(cluster), repository, repository.point("latest"), CompareOptions(**options))


def sampled(cluster: SimulatedCluster, repository: Repository, percent: float, seed: int = 1) -> CompareReport:
    return compared(cluster, repository, sample=SampleChoice(percent, seed))


def test_a_sample_reads_little_of_either_side(
    source: SimulatedCluster, repository: Repository, store: CountingStore, served: list[int]
) -> None:
    back_up(source, repository)
    log_bytes = sum(len(entry.data) for entry in source.log(ORDERS).entries)
    served.clear()
    compared(source, repository)
    assert log_bytes <= sum(served) < 1.1 * log_bytes and store.read_bytes >= log_bytes
    store.read_bytes = 0
    served.clear()
    report = sampled(source, repository, 5)
    assert (report.verdict, report.identical) == ("sample-identical", True)
    share = report.share
    assert share is not None and share.bytes_in_all == log_bytes
    assert 0.04 * log_bytes < share.size_bytes < 0.08 * log_bytes
    assert share.size_bytes <= sum(served) < 1.5 * share.size_bytes
    footer = 64 * 1024
    assert share.size_bytes <= store.read_bytes < share.size_bytes + 2 * footer
    assert 0 < report.records < 0.1 * 2 * BATCHES


def test_the_same_seed_chooses_the_same_and_another_one_others(
    source: SimulatedCluster, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(source, repository)
    read: list[tuple[int | None, int | None]] = []
    read_run = repository.read_run

    def noted(run: Any, *, start: int | None = None, stop: int | None = None, **options: Any) -> Any:
        read.append((start, stop))
        return read_run(run, start=start, stop=stop, **options)

    monkeypatch.setattr(repository, "read_run", noted)

    def chosen(seed: int) -> list[tuple[int | None, int | None]]:
        read.clear()
        sampled(source, repository, 5, seed)
        return list(read)

    assert chosen(1) == chosen(1) != chosen(2)
    assert all(ranges[0][0] == 0 and ranges[-1][1] == 2 * BATCHES for ranges in (chosen(1), chosen(2)))


@pytest.mark.parametrize("place", [0, -1])
def test_the_first_and_the_last_batch_are_always_compared(
    source: SimulatedCluster, repository: Repository, place: int
) -> None:
    log = source.log(ORDERS)
    back_up(source, repository)
    log.entries[place] = dataclasses.replace(log.entries[place], data=changed(log, place))
    for seed in range(5):
        report = sampled(source, repository, 0.1, seed)
        assert report.verdict == "different" and {found.what for found in report.differences} == {"value"}


def changed(log: SimulatedLog, place: int) -> bytes:
    other = SimulatedLog(start=log.entries[place].base)
    return other.append([item._replace(value=b"wrong") for item in log.entries[place].records]).data


def test_a_log_that_ends_too_early_is_found_in_every_sample(source: SimulatedCluster, repository: Repository) -> None:
    log = source.log(ORDERS)
    log.append([record(b"void")], producer_id=5, transactional=True)
    log.decide(5, ABORT)
    back_up(source, repository)
    log.truncate(2 * BATCHES)
    report = sampled(source, repository, 1)
    assert [found.what for found in report.differences] == ["log-end"]


def test_a_sample_of_everything_finds_everything(source: SimulatedCluster, repository: Repository) -> None:
    log = source.log(ORDERS)
    back_up(source, repository)
    for place in (7, 200, 201):
        log.entries[place] = dataclasses.replace(log.entries[place], data=changed(log, place))
    report = sampled(source, repository, 100)
    assert (report.different, report.records) == (6, 2 * BATCHES - 6)
    assert report.share is not None and report.share.size_bytes == report.share.bytes_in_all


def test_a_sample_of_a_restore_goes_by_its_offset_map(source: SimulatedCluster, repository: Repository) -> None:
    """Other offsets, and a transaction that was aborted: its run is walked from where that began."""
    log = source.log(ORDERS)
    log.append([record(b"void")], producer_id=5, transactional=True)
    log.decide(5, ABORT)
    log.append([record(b"kept")], producer_id=5, transactional=True)
    log.decide(5, COMMIT)
    fill(log, 50)
    log.compact(lambda item: item.offset % 3 != 0, below=100)
    target = SimulatedCluster("target")
    target.add_topic("orders").logs[0].append([record(b"there before")] * 3)
    point = back_up(source, repository).point
    put_back(target, repository, point, existing="append")
    report = sampled(target, repository, 5)
    assert report.verdict == "sample-identical" and {part.pairing for part in report.partitions} == {BY_MAP}
    assert 0 < report.records < 200
    whole = compared(target, repository)
    assert (whole.verdict, sampled(target, repository, 100).records) == ("identical", whole.records)


def test_a_sample_with_transactions_that_later_runs_decide(source: SimulatedCluster, repository: Repository) -> None:
    log = source.log(ORDERS)
    log.append([record(b"a")], producer_id=5, transactional=True)
    log.append([record(b"b")], producer_id=6, transactional=True)
    back_up(source, repository, cut="high-watermark")
    log.decide(5, COMMIT)
    log.decide(6, ABORT)
    fill(log, 20)
    back_up(source, repository, cut="high-watermark")
    whole = compared(source, repository)
    assert (whole.verdict, whole.records) == ("identical", 2 * BATCHES + 41)
    pieces = compared(source, repository, threads=3, piece_bytes=50_000)
    assert (pieces.verdict, pieces.records) == ("identical", whole.records)
    for seed in range(20):
        assert sampled(source, repository, 60, seed).verdict == "sample-identical"
    assert sampled(source, repository, 100).records == whole.records


def test_by_order_no_sample_can_be_placed(source: SimulatedCluster, repository: Repository) -> None:
    back_up(source, repository)
    other = SimulatedCluster("other")
    other.add_topic("orders")
    report = sampled(other, repository, 10)
    assert [(failure.subject, failure.reason) for failure in report.failures] == [("orders/0", "no-offset-map")]
    assert report.verdict == "different"


def test_what_lies_behind_the_point_is_hardly_read(
    source: SimulatedCluster, repository: Repository, served: list[int]
) -> None:
    back_up(source, repository)
    log = source.log(ORDERS)
    mine = sum(len(entry.data) for entry in log.entries)
    served.clear()
    fill(log, 4 * BATCHES)
    report = compared(source, repository)
    assert report.verdict == "identical" and sum(served) < 1.1 * mine


@pytest.mark.parametrize("threads", [1, 4])
def test_pieces_of_one_partition_add_up(
    source: SimulatedCluster, repository: Repository, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """Differences inside of pieces, at their borders and behind the end: the same report with and without pieces."""
    back_up(source, repository, pack_bytes=64 * 1024, fetch_bytes=32 * 1024)
    log = source.log(ORDERS)
    (view,) = repository.view(repository.point("latest")).partitions
    assert len(view.runs) > 6
    border = view.runs[3].coverage.start // 2
    for place in (3, border - 1, border, 210):
        log.entries[place] = dataclasses.replace(log.entries[place], data=changed(log, place))
    del log.entries[100]
    log.truncate(2 * BATCHES - 6)
    whole = compared(source, repository, threads=threads, most_differences=9)
    cut = compared(source, repository, threads=threads, most_differences=9, piece_bytes=100_000)
    assert whole.different == 2 * 4 + 2 + 6
    assert dataclasses.replace(cut, seconds=0.0) == dataclasses.replace(whole, seconds=0.0)


def test_pieces_of_a_restored_partition_leave_no_offset_out(source: SimulatedCluster, repository: Repository) -> None:
    log = source.log(ORDERS)
    for producer in range(20):
        log.append([record(b"void " * 300)], producer_id=producer, transactional=True)
        fill(log, 10)
        log.decide(producer, ABORT if producer % 2 else COMMIT)
    log.compact(lambda item: item.offset % 3 != 0, below=500)
    point = back_up(source, repository, pack_bytes=64 * 1024, fetch_bytes=32 * 1024).point
    target = SimulatedCluster("target")
    put_back(target, repository, point)
    whole = compared(target, repository, threads=3)
    cut = compared(target, repository, threads=3, piece_bytes=70_000)
    assert whole.verdict == "identical"
    assert dataclasses.replace(cut, seconds=0.0) == dataclasses.replace(whole, seconds=0.0)
    entries = target.log(ORDERS).entries
    del entries[len(entries) // 2]
    assert compared(target, repository, threads=3, piece_bytes=70_000).different == whole_differences(
        target, repository
    )


def whole_differences(target: SimulatedCluster, repository: Repository) -> int:
    found = compared(target, repository, threads=1).different
    assert found > 0
    return found


def test_two_thousand_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over few connections, of which few are open at a time."""
    cluster = SimulatedCluster("source", nodes=5)
    for log in cluster.add_topic("orders", 2000).logs:
        log.append([record(b"value")])
    repository = new_repository(chunk_bytes=1 << 20)
    back_up(cluster, repository)
    cluster.log(TopicPartition("orders", 1234)).truncate(0)
    open_now: set[int] = set()
    most = 0
    opened, close = cluster.fetcher, SimulatedFetcher.close

    def noted(*args: Any, **options: Any) -> SimulatedFetcher:
        nonlocal most
        fetcher = opened(*args, **options)
        open_now.add(id(fetcher))
        kept.append(fetcher)
        most = max(most, len(open_now))
        return fetcher

    def gone(self: SimulatedFetcher) -> None:
        open_now.discard(id(self))
        close(self)

    kept: list[SimulatedFetcher] = []
    monkeypatch.setattr(cluster, "fetcher", noted)
    monkeypatch.setattr(SimulatedFetcher, "close", gone)
    report = compared(cluster, repository)
    assert [(str(found.target), found.what) for found in report.differences] == [("orders/1234", "missing")]
    assert len(report.partitions) == 2000 and report.records == 1999
    assert {part.pairing for part in report.partitions} == {BY_OFFSET}
    assert most <= 2 * 2 + 1 and len(kept) < 20 and not open_now

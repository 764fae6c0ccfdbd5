"""--max-rate: what is read from brokers is held to a number of bytes per second, over all connections."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest
from tests.support.operations import back_up, new_repository, values
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import record

from kafkeep.capture.options import MIB, BackupOptions
from kafkeep.capture.pacing import Pace
from kafkeep.kafka.fetch import FetchedPartition, FetchPosition
from kafkeep.model import TopicPartition


class Fetcher:
    """Answers with so many bytes at once."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.closed = False

    def send(self, positions: Sequence[FetchPosition]) -> None: ...

    def align(self, place: int) -> None:
        """Answers lie where they lie."""

    def receive(self) -> tuple[FetchedPartition, ...]:
        answer = FetchedPartition(
            topic_partition=TopicPartition("t", 0),
            error=0,
            high_watermark=0,
            last_stable_offset=0,
            log_start_offset=0,
            aborted=(),
            diverging=None,
            current_leader=None,
            records=memoryview(bytes(self._size)),
        )
        return (answer, answer)

    def close(self) -> None:
        self.closed = True


def test_without_a_limit_the_fetcher_is_the_same() -> None:
    fetcher = Fetcher(1)
    assert Pace(None).hold(fetcher, threading.Event()) is fetcher


def test_all_fetchers_share_the_rate() -> None:
    pace, began = Pace(100_000), time.monotonic()
    held = [pace.hold(Fetcher(2_500), threading.Event()) for _ in range(2)]
    for _ in range(2):
        for each in held:
            each.receive()
    assert 0.19 <= time.monotonic() - began < 20, "20 000 bytes at 100 000 in a second"


def test_who_waits_goes_on_when_asked_to_stop() -> None:
    stop, pace = threading.Event(), Pace(1)
    threading.Timer(0.1, stop.set).start()
    began = time.monotonic()
    assert len(pace.hold(Fetcher(50), stop).receive()) == 2
    assert time.monotonic() - began < 40, "at its rate it would take a hundred seconds"


def test_closing_reaches_the_fetcher() -> None:
    fetcher = Fetcher(1)
    Pace(1).hold(fetcher, threading.Event()).close()
    assert fetcher.closed


def test_a_backup_keeps_to_its_rate_and_loses_nothing() -> None:
    source, repository = SimulatedCluster("source"), new_repository()
    source.add_topic("orders")
    log = source.log(TopicPartition("orders", 0))
    for number in range(20):
        log.append([record(b"%d" % number * 100)])
    began = time.monotonic()
    result = back_up(source, repository, max_bytes_per_second=10_000)
    assert time.monotonic() - began >= 0.9 * result.raw_bytes / 10_000
    assert values(repository, result.point) == {0: [b"%d" % number * 100 for number in range(20)]}


@pytest.mark.parametrize(
    ("connections", "most"),
    [(0, 8 * MIB), (1, 8 * MIB), (8, 8 * MIB), (16, 4 * MIB), (64, MIB), (65, MIB), (5000, MIB)],
)
def test_many_connections_share_what_their_answers_may_take(connections: int, most: int) -> None:
    assert BackupOptions().answer_bytes(connections) == most
    assert BackupOptions(fetch_bytes=MIB // 2).answer_bytes(connections) == MIB // 2

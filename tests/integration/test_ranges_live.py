"""One partition of 300 MB on a real broker, read in ranges by two threads, processes and Dask workers: the same bytes as by
one thread, also when a worker is killed in the middle. Both repositories are judged by the second reader, and the records
by confluent-kafka.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer
from confluent_kafka import TopicPartition as Position
from tests.support import second_reader
from tests.support.kafka import KafkaCluster, await_markers, create_topic, unique
from tests.support.live import Live, now

from kafkeep.capture.options import BackupOptions
from kafkeep.capture.result import BackupResult
from kafkeep.capture.run import backup, prepare
from kafkeep.elsewhere import HERE, StorePlace, Workforce
from kafkeep.events import Event, PackStored
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.wire.records import decode
from kafkeep.playback import play
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.local import LocalStore
from kafkeep.verify.run import verify
from kafkeep.work.dask import DaskExecutor
from kafkeep.work.processes import ProcessExecutor

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

MIB = 1024 * 1024
VALUE_BYTES = 20_000
PART = 5_000
"""Records of each of three transactions, 100 MB: the second one, aborted, has the middle of the partition in it."""


@dataclass(frozen=True)
class Plain:
    """The partition as one thread reads it, and what a consumer says of it."""

    topic: str
    result: BackupResult
    batches: str
    """SHA-256 of all batches, as the second reader has them."""
    records: str
    """SHA-256 of offsets and values of what counts, as confluent-kafka reads it."""


def fill(kafka: KafkaCluster, topic: str) -> None:
    dice = random.Random(3)
    pool = dice.randbytes(4 * MIB)
    for number, commits in enumerate((True, False, True)):
        settings = {"linger.ms": 5, "batch.size": 200_000, "queue.buffering.max.kbytes": 200_000}
        name = f"{topic}-{number}"
        producer = Producer({**kafka.client_properties, **settings, "transactional.id": name})
        producer.init_transactions(60)
        producer.begin_transaction()
        for record in range(PART):
            at = dice.randrange(len(pool) - VALUE_BYTES)
            producer.produce(topic, value=b"%d.%d " % (number, record) + pool[at : at + VALUE_BYTES], partition=0)
            while len(producer) > 5_000:
                producer.poll(0.05)
        producer.flush(60)
        producer.commit_transaction(60) if commits else producer.abort_transaction(60)
        await_markers(kafka.client_properties, name)


def new_repository(folder: Path) -> Repository:
    return Repository.init(LocalStore(str(folder)), now=now, rng=random.SystemRandom(), compression="none")


def back_up(
    live: Live, repository: Repository, topic: str, workers: Workforce, sink: Any = None, **options: Any
) -> BackupResult:
    chosen = BackupOptions(topics=(topic,), settings=False, **options)
    heard = (lambda event: None) if sink is None else sink
    return backup(live.cluster, repository, chosen, now=now, workers=workers, sink=heard)


def batches_of(folder: Path, result: BackupResult, output: Path) -> str:
    """What a program that shares no code with kafkeep gets out of a repository."""
    assert result.point is not None
    output.mkdir(exist_ok=True)
    second_reader.main(str(folder), str(result.point.number), str(output))
    files = sorted(path for path in output.rglob("*") if path.is_file() and path.name.endswith("-0"))
    assert len(files) == 1, files
    digest = hashlib.sha256(files[0].read_bytes()).hexdigest()
    files[0].unlink()
    return digest


def records_of(repository: Repository, result: BackupResult) -> str:
    assert result.point is not None
    digest = hashlib.sha256()
    (view,) = repository.view(result.point).partitions
    for played in play(repository, view.runs, start=view.cut.start, stop=view.cut.stop):
        for item in decode(played.batch, played.info):
            digest.update(b"%d " % item.offset + (item.value or b""))
    return digest.hexdigest()


def consumed(kafka: KafkaCluster, topic: str, count: int) -> str:
    consumer = Consumer({**kafka.client_properties, "group.id": unique("judge"), "isolation.level": "read_committed"})
    consumer.assign([Position(topic, 0, OFFSET_BEGINNING)])
    digest, left = hashlib.sha256(), count
    try:
        while left:
            messages = consumer.consume(min(left, 500), timeout=90)
            assert messages, f"{left} records are missing"
            for message in messages:
                assert message.error() is None
                digest.update(b"%d " % message.offset() + message.value())
            left -= len(messages)
    finally:
        consumer.close()
    return digest.hexdigest()


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessExecutor]:
    with ProcessExecutor(2) as executor:
        yield executor


@pytest.fixture(scope="module")
def dask() -> Iterator[DaskExecutor]:
    with DaskExecutor(None, 2) as executor:
        yield executor


@pytest.fixture(scope="module")
def topic(kafka_431: KafkaCluster) -> str:
    name = unique("ranges")
    create_topic(kafka_431.client_properties, name, partitions=1, config={"segment.bytes": str(64 * MIB)})
    fill(kafka_431, name)
    return name


@pytest.fixture(scope="module")
def plain(kafka_431: KafkaCluster, topic: str, tmp_path_factory: pytest.TempPathFactory) -> Plain:
    folder = tmp_path_factory.mktemp("plain")
    repository = new_repository(folder / "repository")
    with Cluster(kafka_431.cluster_config()) as cluster:
        one = Live(kafka_431, cluster)
        result = back_up(one, repository, topic, HERE, connections_per_broker=1, range_bytes=None)
    assert result.raw_bytes > 290 * 1_000_000
    judged = consumed(kafka_431, topic, 2 * PART)
    assert records_of(repository, result) == judged
    return Plain(topic, result, batches_of(folder / "repository", result, folder / "batches"), judged)


def assert_the_same(folder: Path, repository: Repository, result: BackupResult, plain: Plain) -> None:
    assert result.point is not None and plain.result.point is not None
    assert (result.failures, result.gaps) == ((), ())
    assert (result.records, result.raw_bytes) == (plain.result.records, plain.result.raw_bytes)
    assert [(cut.start, cut.stop) for cut in result.point.cuts] == [
        (cut.start, cut.stop) for cut in plain.result.point.cuts
    ]
    assert batches_of(folder, result, folder.parent / "batches") == plain.batches
    assert records_of(repository, result) == plain.records
    (view,) = repository.view(result.point).partitions
    assert all(a.coverage.stop == b.coverage.start for a, b in itertools.pairwise(view.runs))


def starts(repository: Repository, result: BackupResult) -> list[tuple[str, int]]:
    assert result.point is not None
    (view,) = repository.view(result.point).partitions
    return [(run.pack, run.coverage.start) for run in view.runs]


@pytest.mark.parametrize("kind", ["threads", "processes", "dask"])
def test_two_workers_hold_what_one_thread_holds(
    live_4: Live, plain: Plain, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = tmp_path / "ranges"
    repository = new_repository(folder)
    stored: list[str] = []

    def hear(event: Event) -> None:
        if isinstance(event, PackStored):
            stored.append(event.name)

    connections = 2 if kind == "threads" else 1
    force = HERE
    if kind != "threads":
        force = Workforce(executor=request.getfixturevalue(kind), place=StorePlace(url=str(folder)))
    options = BackupOptions(topics=(plain.topic,), settings=False, connections_per_broker=connections)
    (planned,) = prepare(live_4.cluster, repository, options, now=now, workers=force).reads
    result = back_up(live_4, repository, plain.topic, force, hear, connections_per_broker=connections)
    assert_the_same(folder, repository, result, plain)
    first, second = planned.ranges
    assert abs(len(first) - len(second)) < 0.1 * len(planned.offsets)
    begun = starts(repository, result)
    assert sorted(stored) == sorted(name for name, _ in begun), "nothing was read in vain"
    assert {first.start, second.start} < {offset for _, offset in begun}, "the ranges are those of the plan"
    assert verify(repository, level="data").findings == ()
    assert back_up(live_4, repository, plain.topic, force).nothing_new


@pytest.mark.parametrize("victim", [0, 1])
def test_a_worker_killed_in_its_range_changes_nothing(
    live_4: Live, plain: Plain, processes: ProcessExecutor, tmp_path: Path, victim: int
) -> None:
    """The one that reads the first range, or the one whose packs wait for it."""
    folder = tmp_path / "ranges"
    repository = new_repository(folder)
    stored, lost = 0, []

    def hear(event: Event) -> None:
        nonlocal stored
        if isinstance(event, PackStored):
            stored += 1
            if stored == 2:
                os.kill(processes.pids[victim], signal.SIGKILL)
        if event.type == "retry":
            lost.append(event)

    force = Workforce(executor=processes, place=StorePlace(url=str(folder)))
    result = back_up(live_4, repository, plain.topic, force, hear, pack_bytes=16 * MIB, connections_per_broker=1)
    assert lost and "worker" in str(lost[0]), "the worker ended before it was killed: nothing was tried"
    assert_the_same(folder, repository, result, plain)
    assert {finding.kind for finding in verify(repository, level="data").findings} <= {"orphan"}

"""Consistent points of real brokers while transactions go on, judged by confluent-kafka on what was restored."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import KafkaException, Producer
from tests.support.kafka import KafkaCluster, create_topic, delete_topics, read_positions, unique
from tests.support.live import Live, new_repository

from kafkeep.capture.result import BackupResult
from kafkeep.kafka.cluster import Cluster
from kafkeep.model import RecoveryPoint
from kafkeep.renaming import Rename
from kafkeep.repository.repository import Repository

pytestmark = pytest.mark.integration

PARTITIONS = 3
PRODUCERS = 4
MOST_POINTS = 15
"""Points are made until transactions reached over the moment of one."""
REQUIRED = {"acks": "all", "linger.ms": 0}


@pytest.fixture
def live_three(kafka_431_three: KafkaCluster) -> Iterator[Live]:
    with Cluster(kafka_431_three.cluster_config()) as cluster:
        yield Live(kafka_431_three, cluster)


@pytest.fixture
def live_3(kafka_392: KafkaCluster) -> Iterator[Live]:
    with Cluster(kafka_392.cluster_config()) as cluster:
        yield Live(kafka_392, cluster)


class Writers:
    """Producers that write one sequence number to all partitions in each transaction, as fast as they can."""

    def __init__(self, kafka: KafkaCluster, topic: str) -> None:
        self.committed: Counter[str] = Counter()
        self.failures: list[BaseException] = []
        self._kafka = kafka
        self._topic = topic
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(n,), daemon=True) for n in range(PRODUCERS)]

    @contextmanager
    def at_work(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(60)
        assert self.failures == []

    def _write(self, number: int) -> None:
        name = f"{self._topic}-{number}"
        sequence = 0
        try:
            while not self._stop.is_set():
                sequence = self._write_on(name, sequence)
        except BaseException as error:  # noqa: BLE001 - told by the thread that waits
            self.failures.append(error)

    def _write_on(self, name: str, sequence: int) -> int:
        """Until it shall stop, or until librdkafka gives its producer up: the next one goes on behind it."""
        producer = Producer({**self._kafka.client_properties, **REQUIRED, "transactional.id": name})
        producer.init_transactions(30)
        try:
            while not self._stop.is_set():
                sequence += 1
                producer.begin_transaction()
                for partition in range(PARTITIONS):
                    producer.produce(self._topic, key=name, value=str(sequence), partition=partition)
                if sequence % 7 == 0:
                    producer.abort_transaction(30)
                else:
                    producer.commit_transaction(30)
                    self.committed[name] += 1
        except KafkaException as error:
            if not error.args[0].fatal():
                raise
        return sequence


def torn(kafka: KafkaCluster, topic: str) -> tuple[list[tuple[bytes, bytes]], int]:
    """Transactions of which not all partitions hold their record, and how many transactions there are."""
    seen: dict[tuple[bytes, bytes], list[int]] = defaultdict(list)
    for partition, records in read_positions(kafka.client_properties, topic).items():
        for _, content in records:
            assert content.key is not None and content.value is not None
            seen[content.key, content.value].append(partition)
    whole = list(range(PARTITIONS))
    return [name for name, partitions in seen.items() if sorted(partitions) != whole], len(seen)


def restored(live: Live, repository: Repository, point: RecoveryPoint | None, topic: str) -> str:
    name = unique("restored")
    live.put_back(repository, point, renames=(Rename.parse(f"s/^{topic}$/{name}/"),))
    return name


def held_back(result: BackupResult) -> bool:
    """Whether transactions reached over the point's moment."""
    return result.point is not None and any(cut.held_back for cut in result.point.cuts)


def check_points(live: Live, *, replication: int, points: int) -> None:
    """Consistent points between plain ones, all while transactions go on."""
    topic, repository = unique("whole"), new_repository()
    create_topic(live.kafka.client_properties, topic, partitions=PARTITIONS, replication=replication, config={})
    writers = Writers(live.kafka, topic)
    results = []
    with writers.at_work():
        while sum(writers.committed.values()) < 50:
            assert not writers.failures
            threading.Event().wait(0.05)
        for number in range(MOST_POINTS):
            results.append(live.back_up(repository, topic, consistent="transactions"))
            assert live.back_up(repository, topic).failures == ()
            if number + 1 >= points and any(held_back(result) for result in results):
                break
    sizes = []
    for result in results:
        assert result.failures == ()
        assert result.point is not None and result.point.consistency == "transaction"
        target = restored(live, repository, result.point, topic)
        broken, count = torn(live.kafka, target)
        assert broken == [], f"{len(broken)} of {count} transactions are torn in point {result.point.number}"
        sizes.append(count)
        delete_topics(live.kafka.client_properties, [target])
    assert sizes == sorted(sizes) and sizes[0] > 40
    assert any(held_back(result) for result in results)
    last = live.back_up(repository, topic, consistent="transactions")
    assert last.point is not None and not held_back(last)
    assert torn(live.kafka, restored(live, repository, last.point, topic)) == ([], sum(writers.committed.values()))


def test_no_transaction_is_torn_on_three_brokers(live_three: Live) -> None:
    check_points(live_three, replication=3, points=5)


def test_no_transaction_is_torn_on_kafka_3(live_3: Live) -> None:
    check_points(live_3, replication=1, points=3)

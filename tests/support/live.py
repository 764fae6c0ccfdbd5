"""Operations on real clusters, and the two judges that know nothing of kafkeep: confluent-kafka and Kafka's own Java
console consumer.

Every record that `Filling` writes carries its topic in a header, so that one Java consumer can read many topics and its
lines can still be told apart.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import Producer
from confluent_kafka import TopicPartition as Position
from confluent_kafka.admin import AdminClient
from tests.support.kafka import Content, KafkaCluster, create_topic, read_positions

from kafkeep.capture.options import BackupOptions
from kafkeep.capture.result import BackupResult
from kafkeep.capture.run import backup
from kafkeep.compare.options import CompareOptions
from kafkeep.compare.report import CompareReport
from kafkeep.compare.run import compare
from kafkeep.events import EventSink, ignore
from kafkeep.kafka.cluster import LATEST, Cluster
from kafkeep.kafka.codes import ErrorCode
from kafkeep.kafka.produce import BrokerProducer, ProduceBatch
from kafkeep.kafka.wire.records import Record, encode
from kafkeep.model import RecoveryPoint, TopicPartition
from kafkeep.renaming import Rename
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.plan import RestorePlan
from kafkeep.restore.result import RestoreResult
from kafkeep.restore.run import prepare, restore

RESTORED = "restored-"
RENAME = (Rename.parse(f"s/^/{RESTORED}/"),)
Seen = dict[int, list[tuple[int, Content]]]
"""By partition: offset and content of every committed record."""


def now() -> datetime:
    return datetime.now(UTC)


def new_repository() -> Repository:
    return Repository.init(MemoryStore(), now=now, rng=random.SystemRandom())


def objects(repository: Repository) -> dict[str, bytes]:
    store = repository.store
    assert isinstance(store, MemoryStore)
    return dict(store.objects)


@dataclass
class Live:
    """A real cluster and short ways to run operations on it."""

    kafka: KafkaCluster
    cluster: Cluster

    def back_up(self, repository: Repository, *topics: str, sink: EventSink = ignore, **options: Any) -> BackupResult:
        return backup(self.cluster, repository, BackupOptions(topics=topics, **options), now=now, sink=sink)

    def plan(self, repository: Repository, point: RecoveryPoint | None, **options: Any) -> RestorePlan:
        assert point is not None
        return prepare(self.cluster, repository, point, RestoreOptions(**options), now=now)

    def put_back(
        self, repository: Repository, point: RecoveryPoint | None, *, sink: EventSink = ignore, **options: Any
    ) -> RestoreResult:
        chosen = RestoreOptions(**options)
        return restore(self.cluster, repository, self.plan(repository, point, **options), chosen, now=now, sink=sink)

    def compare(self, repository: Repository, point: RecoveryPoint | None, **options: Any) -> CompareReport:
        assert point is not None
        return compare(self.cluster, repository, point, CompareOptions(**options))

    def seen(self, topic: str) -> Seen:
        """What confluent-kafka sees."""
        return read_positions(self.kafka.client_properties, topic)

    def all_seen(self, topics: Iterable[str]) -> dict[str, Seen]:
        """The same of several topics, side by side: most of the time a consumer waits."""
        names = list(topics)
        with ThreadPoolExecutor(8) as pool:
            return dict(zip(names, pool.map(self.seen, names), strict=True))

    def decided(self, topic: str) -> None:
        """Waits for the end of all transactions: a commit or abort returns before its markers are in every partition."""
        partitions = list(self.cluster.topology([topic]).topic_partitions())

        def settled() -> bool:
            stable, end = (self.cluster.offsets(partitions, LATEST, read_committed=flag) for flag in (True, False))
            return stable == end

        until(settled, what="the end of all transactions")

    def overrides(self, topic: str) -> dict[str, str | None]:
        entries = self.cluster.admin.topic_configs([topic])[topic]
        assert isinstance(entries, tuple)
        return {entry.name: entry.value for entry in entries if entry.source == 1}


def contents(seen: Seen, *, with_type: bool = True) -> dict[int, list[Content]]:
    """Without offsets; optionally without the kind of timestamp."""
    return {
        partition: [content if with_type else content._replace(timestamp_type=0) for _, content in records]
        for partition, records in seen.items()
    }


# --- the Java judge

_LINE = re.compile(
    r"^(CreateTime|LogAppendTime|NO_TIMESTAMP)(?::(-?\d+))?\tPartition:(\d+)\tOffset:(\d+)\t(.*)\t(.*)\t(.*)$", re.S
)


def java_sees(kafka: KafkaCluster, pattern: str, count: int) -> dict[str, dict[int, list[tuple[str, ...]]]]:
    """What Kafka's console consumer prints (read_committed): by the topic named in each record's header and by
    partition, lines of timestamp, headers, key and value in the order they came.
    """
    properties = {
        "print.timestamp": "true",
        "print.partition": "true",
        "print.offset": "true",
        "print.headers": "true",
        "print.key": "true",
        "print.value": "true",
        "key.separator": "\t",
        "headers.separator": ",",
        "null.literal": "<null>",
    }
    option, config = ("--formatter-property", "--command-config")
    if kafka.version.startswith("3."):
        option, config = ("--property", "--consumer.config")
    told = kafka.lab.tool(
        "console-consumer",
        *("--bootstrap-server", kafka.bootstrap, "--include", pattern, "--from-beginning"),
        *("--isolation-level", "read_committed", "--max-messages", str(count), "--timeout-ms", "20000"),
        *(config, str(kafka.lab.client_properties_file)),
        *(part for name, value in properties.items() for part in (option, f"{name}={value}")),
    ).stdout
    found: dict[str, dict[int, list[tuple[str, ...]]]] = defaultdict(lambda: defaultdict(list))
    lines = [line for line in told.split("\n") if "\tPartition:" in line]
    for line in lines:
        match = _LINE.match(line)
        assert match is not None, line
        kind, stamp, partition, _, headers, key, value = match.groups()
        topic = headers.removeprefix("topic:").split(",")[0]
        found[topic][int(partition)].append((kind, stamp or "", headers, key, value))
    assert len(lines) == count, f"{len(lines)} of {count} records"
    return {topic: dict(partitions) for topic, partitions in found.items()}


# --- filling


@dataclass
class Filling:
    """Writes records whose content covers what clients can send."""

    kafka: KafkaCluster
    topic: str
    written: int = 0
    rng: random.Random = field(default_factory=lambda: random.Random(7))

    def create(self, *, partitions: int = 1, replication: int = 1, **config: str) -> Filling:
        """Without retention, because many records are older than any."""
        named = {"retention.ms": "-1"} | {name.replace("_", "."): value for name, value in config.items()}
        create_topic(
            self.kafka.client_properties, self.topic, partitions=partitions, replication=replication, config=named
        )
        return self

    def content(self, *, keyed: bool = False) -> dict[str, Any]:
        """Key, value and headers of the next record: null, empty and present in turn, headers repeated."""
        number = self.written = self.written + 1
        key = f"k{number % 10}".encode() if keyed or number % 3 else (None if number % 2 else b"")
        value = (None, b"", f"value {number} ".encode() * (number % 20 + 1))[min(number % 5, 2)]
        headers: list[tuple[str, bytes | None]] = [("topic", self.topic.encode())]
        if number % 4 == 1:
            headers += [("h", b"1"), ("h", None), ("e", b""), ("h", b"2")]
        return {"key": key, "value": value, "headers": headers}

    def produce(
        self, count: int, *, partitions: int = 1, keyed: bool = False, stamped: bool = True, **settings: Any
    ) -> Filling:
        """`settings`: librdkafka's, with _ for dots."""
        named = {name.replace("_", "."): value for name, value in settings.items()}
        producer = Producer({**self.kafka.client_properties, "linger.ms": 20, "acks": "all", **named})
        self.send(producer, count, partitions=partitions, keyed=keyed, stamped=stamped)
        assert producer.flush(30) == 0
        return self

    def send(
        self, producer: Producer, count: int, *, partitions: int = 1, keyed: bool = False, stamped: bool = True
    ) -> None:
        failures: list[object] = []
        for number in range(count):
            content = self.content(keyed=keyed)
            if stamped:
                content["timestamp"] = 1_600_000_000_000 + self.rng.randrange(10**9)
            producer.produce(
                self.topic,
                partition=number % partitions,
                on_delivery=lambda error, _: failures.append(error) if error is not None else None,
                **content,
            )
            producer.poll(0)
        producer.flush(30)
        assert failures == []

    def raw(self, cluster: Cluster, records: Sequence[tuple[int, bytes | None]], *, codec: int = 0) -> None:
        """One batch of (timestamp, value) in partition 0, past what client libraries let through."""
        headers = ((b"topic", self.topic.encode()),)
        body = encode([Record(0, stamp, None, value, headers) for stamp, value in records], codec=codec)

        def sent() -> bool:
            topology = cluster.topology([self.topic])
            topic = topology.topics[self.topic]
            with producer_to(cluster, topic.partitions[0].leader) as producer:
                producer.send([ProduceBatch(TopicPartition(self.topic, 0), topic.topic_id, (body,))])
                (answer,) = producer.receive()
            assert answer.error in (0, ErrorCode.NOT_LEADER_OR_FOLLOWER), answer
            return answer.error == 0

        until(sent, what="the leader of a topic that was just made")


def producer_to(cluster: Cluster, node: int) -> BrokerProducer:
    return cluster.producer(cluster.topology([]).brokers[node])


def delete_records(kafka: KafkaCluster, topic: str, partition: int, offset: int) -> None:
    admin = AdminClient(kafka.client_properties)
    for future in admin.delete_records([Position(topic, partition, offset)]).values():
        future.result(30)


def until(condition: Callable[[], bool], *, seconds: float = 120.0, what: str = "it") -> None:
    """Waits for something that a broker does in its own time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.1)


def await_overrides(live: Live, topic: str, wanted: dict[str, str | None]) -> None:
    """The settings a topic has: a broker knows them a moment after the controller took them."""
    until(lambda: live.overrides(topic) == wanted, what=f"{topic} having {wanted}")


def offsets_of(seen: Seen) -> dict[int, list[int]]:
    return {partition: [offset for offset, _ in records] for partition, records in seen.items()}


def total(seen: Iterable[Seen]) -> int:
    return sum(len(records) for each in seen for records in each.values())


def beside(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread

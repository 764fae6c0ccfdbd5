"""A long run on three brokers where everything dies and moves: what writes, and what is true.

Truth is what an independent consumer reads at the source: offset to record, taken before anything is deleted there and
once more at the end. What the brokers acknowledged and aborted is known from the producers beside it.
"""

from __future__ import annotations

import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaException, Message, Producer, TopicCollection
from confluent_kafka.admin import AdminClient
from tests.support.kafka import Content, DeliveryError, KafkaCluster, read_positions
from tests.support.live import until

PATIENCE_SECONDS = 120.0

Part = tuple[str, int]
"""(topic id, partition)."""


@dataclass
class Truth:
    """What was at the source, by incarnation of a topic."""

    records: dict[Part, dict[int, Content]] = field(default_factory=lambda: defaultdict(dict))
    acknowledged: dict[Part, dict[int, bytes]] = field(default_factory=lambda: defaultdict(dict))
    """Of transactions only those that were committed for certain."""
    aborted: set[bytes] = field(default_factory=set)
    topic_ids: set[str] = field(default_factory=set)
    deleted_to: dict[Part, int] = field(default_factory=lambda: defaultdict(int))
    counts: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str, number: int = 1) -> None:
        with self.lock:
            self.counts[what] += number

    def acknowledge(self, topic_id: str, message: Message) -> None:
        with self.lock:
            known = self.acknowledged[topic_id, message.partition()]
            assert message.offset() not in known, f"two records at {message.topic()} {message.offset()}"
            known[message.offset()] = message.value()

    def take(self, kafka: KafkaCluster, topic: str, topic_id: str) -> None:
        """Reads a topic until everything is seen that was acknowledged before."""
        with self.lock:
            wanted = {part: max(known) for (owner, part), known in self.acknowledged.items() if owner == topic_id}

        def read() -> bool:
            try:
                seen = read_positions(kafka.client_properties, topic)
            except (KafkaException, DeliveryError):
                return False
            for part, records in seen.items():
                self.records[topic_id, part].update(records)
            return all(self.records[topic_id, part].get(last) is not None for part, last in wanted.items())

        until(read, seconds=PATIENCE_SECONDS, what=f"reading all of {topic}")

    def check_source(self) -> None:
        """Kafka itself kept what it acknowledged, where it was acknowledged."""
        for part, known in self.acknowledged.items():
            found = {at: record.value for at, record in self.records[part].items() if at in known}
            assert found == known, f"{part}: the source does not hold what it acknowledged"

    def expected(self, part: Part, stop: int, gaps: list[tuple[int, int]]) -> list[Content]:
        """The committed records below `stop`, those in gaps left out."""
        held = self.records[part]
        return [held[at] for at in sorted(held) if at < stop and not any(start <= at < end for start, end in gaps)]


def new_topic_id(kafka: KafkaCluster, truth: Truth, topic: str) -> str:
    """As kafkeep writes it: URL-safe base64. A broker that is behind may still tell that of an earlier incarnation."""
    found: list[str] = []

    def told() -> bool:
        admin = AdminClient(kafka.client_properties)
        try:
            described = admin.describe_topics(TopicCollection([topic]))[topic].result(10)
        except KafkaException:
            return False
        found[:] = [str(described.topic_id).replace("+", "-").replace("/", "_")]
        return found[0] not in truth.topic_ids

    until(told, seconds=PATIENCE_SECONDS, what=f"the id of {topic}")
    truth.topic_ids.add(found[0])
    return found[0]


class Writer(threading.Thread):
    """Writes numbered records into one topic until it is told to stop, then waits for every acknowledgement."""

    def __init__(self, kafka: KafkaCluster, truth: Truth, topic: str, partitions: int, *, per_second: int) -> None:
        super().__init__(name=f"writer of {topic}", daemon=True)
        self.kafka, self.truth, self.topic, self.partitions = kafka, truth, topic, partitions
        self.topic_id = new_topic_id(kafka, truth, topic)
        self.error: BaseException | None = None
        self._pause = 20 / per_second
        self._ending = threading.Event()
        self._dice = random.Random(topic)
        self._numbers: Counter[int] = Counter()

    def run(self) -> None:
        try:
            self.write()
        except BaseException as error:  # noqa: BLE001 - told by `end`
            self.error = error

    def end(self) -> None:
        self._ending.set()
        self.join(PATIENCE_SECONDS)
        assert not self.is_alive(), f"{self.name} does not end"
        if self.error is not None:
            raise self.error

    def pause(self) -> bool:
        """False when it is time to end."""
        return not self._ending.wait(self._pause * self._dice.uniform(0.2, 1.8))

    def producer(self, **more: Any) -> Producer:
        patient = {"message.timeout.ms": 0, "retry.backoff.max.ms": 200, "linger.ms": 5, "enable.idempotence": True}
        return Producer({**self.kafka.client_properties, **patient, **more})

    def send(self, producer: Producer, count: int, answered: Callable[[Any, Message], None]) -> list[bytes]:
        """Values hold topic, partition and number, so that order and completeness can be told from them alone."""
        values, name = [], self.topic.rpartition(".")[2].encode()
        for _ in range(count):
            part = self._dice.randrange(self.partitions)
            value = b"%s %d %d " % (name, part, self._numbers[part]) + self._dice.randbytes(
                self._dice.choice((0, 40, 400))
            )
            self._numbers[part] += 1
            values.append(value)
            headers = [("n", b"%d" % count), ("n", None)] if count % 3 == 0 else []
            key = None if count % 5 == 0 else b"key %d" % (len(value) % 97)
            producer.produce(self.topic, value, key, part, headers=headers, on_delivery=answered)
            producer.poll(0)
        return values

    def write(self) -> None:
        producer = self.producer(**{"compression.type": self._dice.choice(("none", "lz4", "zstd"))})

        def answered(error: Any, message: Message) -> None:
            if error is not None:
                raise KafkaException(error)
            self.truth.acknowledge(self.topic_id, message)

        while self.pause():
            self.truth.count("written", len(self.send(producer, 20, answered)))
        assert producer.flush(PATIENCE_SECONDS) == 0


class TransactionalWriter(Writer):
    """Commits and aborts in turn by chance; starts again with a new producer when one is lost to a dead coordinator."""

    def write(self) -> None:
        while not self._ending.is_set():
            producer = self.producer(**{"transactional.id": self.name, "transaction.timeout.ms": 20_000})
            if _patiently(lambda p=producer: p.init_transactions(20)) is not None:
                self.truth.count("transactional producers lost")
                continue
            while self.pause():
                if not self.one(producer):
                    self.truth.count("transactional producers lost")
                    break

    def one(self, producer: Producer) -> bool:
        """One transaction; False when the producer is of no more use."""
        acknowledged: list[Message] = []
        producer.begin_transaction()
        values = self.send(
            producer, self._dice.randint(1, 40), lambda error, m: acknowledged.append(m) if error is None else None
        )
        self._ending.wait(self._dice.random() * 0.2)
        if self._dice.random() < 0.4 or producer.flush(30):
            return self._abort(producer, values)
        error = _patiently(lambda: producer.commit_transaction(20))
        if error is None:
            for message in acknowledged:
                self.truth.acknowledge(self.topic_id, message)
            self.truth.count("written", len(values))
            return True
        return self._abort(producer, values) if error.txn_requires_abort() else False

    def _abort(self, producer: Producer, values: list[bytes]) -> bool:
        if _patiently(lambda: producer.abort_transaction(20)) is not None:
            return False
        with self.truth.lock:
            self.truth.aborted.update(values)
        self.truth.count("aborted", len(values))
        return True


def _patiently(act: Callable[[], None]) -> Any:
    """None when it came about, else the error that ended it; what may be tried again is."""
    for _ in range(20):
        try:
            act()
        except KafkaException as error:
            if not error.args[0].retriable():
                return error.args[0]
        else:
            return None
    raise TimeoutError("a transaction could not be ended")

"""Producers that work while kafkeep does, and the ledger of what the brokers acknowledged."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from confluent_kafka import KafkaException, Message, Producer
from tests.support.kafka import Sample, await_markers

from kafkeep.model import TopicPartition


class Ledger:
    """Records by partition as they were acknowledged; those of a transaction count once it is committed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: dict[TopicPartition, dict[int, bytes]] = defaultdict(dict)
        self.aborted: set[bytes] = set()

    def add(self, partition: TopicPartition, offset: int, value: bytes) -> None:
        with self._lock:
            assert offset not in self._records[partition], f"{partition}: two records at offset {offset}"
            self._records[partition][offset] = value

    def committed(self) -> dict[TopicPartition, list[bytes]]:
        """Values in the order of their offsets."""
        with self._lock:
            return {part: [records[at] for at in sorted(records)] for part, records in self._records.items()}

    @property
    def count(self) -> int:
        with self._lock:
            return sum(map(len, self._records.values()))


class Load:
    """As a context manager: producers that write numbered records until the end of the block, then wait for every
    acknowledgement. An error of a producer is raised at the end.
    """

    def __init__(
        self, bootstrap: str, *, plain: Mapping[str, int], transactional: Mapping[str, int], records_per_second: int
    ) -> None:
        self.ledger = Ledger()
        self._bootstrap = bootstrap
        self._plain = plain
        self._transactional = transactional
        self._pause = 50 / records_per_second
        self._stop = threading.Event()
        self._errors: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(self._write_plain,), name="plain"),
            threading.Thread(target=self._run, args=(self._write_transactions,), name="transactions"),
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._errors and error is None:
            raise self._errors[0]

    def _run(self, write: Callable[[], None]) -> None:
        try:
            write()
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            self._errors.append(error)

    def _producer(self, **config: Any) -> Producer:
        return Producer({"bootstrap.servers": self._bootstrap, "linger.ms": 5, "enable.idempotence": True} | config)

    def _write_plain(self) -> None:
        producer = self._producer(**{"compression.type": "lz4"})

        def acknowledged(error: Any, message: Message) -> None:
            if error is not None:
                raise KafkaException(error)
            self.ledger.add(TopicPartition(message.topic(), message.partition()), message.offset(), message.value())

        targets = itertools.cycle(_partitions(self._plain))
        for number in itertools.count():
            if self._stop.is_set():
                break
            target = next(targets)
            value = b"plain %d " % number + random.randbytes(150)
            producer.produce(
                target.topic, value, key=b"k%d" % (number % 97), partition=target.partition, on_delivery=acknowledged
            )
            if number % 50 == 0:
                producer.poll(0)
                self._stop.wait(self._pause)
        assert producer.flush(30) == 0

    def _write_transactions(self) -> None:
        """Commits and aborts in turn by chance; each stays open for a while, so that cuts fall into it."""
        name = f"load-{time.monotonic_ns()}"
        producer = self._producer(**{"transactional.id": name})
        producer.init_transactions(30)
        dice = random.Random(7)
        targets = itertools.cycle(_partitions(self._transactional))
        for number in itertools.count():
            if self._stop.is_set():
                break
            producer.begin_transaction()
            acknowledged = _send(producer, targets, number, dice.randint(1, 40))
            self._stop.wait(dice.random() * 0.1)
            keep = dice.random() < 0.6
            (producer.commit_transaction if keep else producer.abort_transaction)(30)
            for message in acknowledged:
                if keep:
                    where = TopicPartition(message.topic(), message.partition())
                    self.ledger.add(where, message.offset(), message.value())
                else:
                    self.ledger.aborted.add(message.value())
        await_markers({"bootstrap.servers": self._bootstrap}, name)


def _send(producer: Producer, targets: Iterator[TopicPartition], number: int, count: int) -> list[Message]:
    """The records of one transaction, all of them acknowledged."""
    acknowledged: list[Message] = []

    def answered(error: Any, message: Message) -> None:
        if error is not None:
            raise KafkaException(error)
        acknowledged.append(message)

    for index in range(count):
        target = next(targets)
        value = b"transaction %d.%d" % (number, index)
        producer.produce(target.topic, value, partition=target.partition, on_delivery=answered)
        if index % 10 == 9:
            producer.poll(0)
    assert producer.flush(30) == 0
    assert len(acknowledged) == count
    return acknowledged


def _partitions(topics: Mapping[str, int]) -> Iterator[TopicPartition]:
    for topic, count in topics.items():
        yield from (TopicPartition(topic, number) for number in range(count))


def samples(count: int, *, partitions: int, size: int = 100, seed: int = 0) -> Iterator[Sample]:
    """Records that no other seed gives, over the partitions in turn: null keys, null and empty values, headers that
    repeat a key and hold null.
    """
    dice = random.Random(seed)
    for number in range(count):
        word = b"%d.%d " % (seed, number) + dice.randbytes(4).hex().encode()
        value = None if number % 31 == 0 else b"" if number % 37 == 0 else (word * (size // len(word) + 1))[:size]
        yield Sample(
            key=None if number % 7 == 0 else b"key-%d" % (number % 50),
            value=value,
            headers=(("h", b"1"), ("h", None), ("x", b"")) if number % 5 == 0 else (),
            partition=number % partitions,
        )

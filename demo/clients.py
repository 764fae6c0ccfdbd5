"""The demo's independent judge: what confluent-kafka, a client kafkeep does not use, reads and writes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

Settings = Mapping[str, Any]
"""librdkafka settings that reach a cluster: at least `bootstrap.servers`."""

_WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.1
_COORDINATOR_NOT_READY = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
)


class Content(NamedTuple):
    """What a consumer sees of a record, its offset left out: offsets may move in a restore."""

    timestamp_type: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


class Sample(NamedTuple):
    """A record to produce. `timestamp` in ms, 0 takes the clock's."""

    key: bytes | None = None
    value: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp: int = 0
    partition: int = -1


@dataclass(frozen=True, slots=True)
class Position:
    """A partition and an offset in it."""

    topic: str
    partition: int
    offset: int


class DeliveryError(Exception):
    """A record could not be produced, or a partition could not be read to its end in time."""


def create_topic(
    settings: Settings,
    name: str,
    *,
    partitions: int = 1,
    replication: int = 1,
    config: Mapping[str, str] | None = None,
) -> None:
    """Creates a topic and waits until every partition has a leader."""
    admin = AdminClient(dict(settings))
    admin.create_topics([NewTopic(name, partitions, replication, config=dict(config or {}))])[name].result(30)
    _until(lambda: _has_leaders(admin, name, partitions), f"topic {name} has no leaders")


def delete_topics(settings: Settings, names: Sequence[str]) -> None:
    """Deletes topics and waits until the brokers no longer list them."""
    admin = AdminClient(dict(settings))
    for future in admin.delete_topics(list(names)).values():
        future.result(30)
    _until(lambda: not set(names) & admin.list_topics(timeout=10).topics.keys(), "deleted topics are still listed")


def partitions_of(settings: Settings, topic: str) -> int:
    """How many partitions a topic has; 0 when there is no such topic."""
    topics = AdminClient(dict(settings)).list_topics(timeout=10).topics
    return len(topics[topic].partitions) if topic in topics else 0


def produce(settings: Settings, topic: str, samples: Iterable[Sample], *, codec: str = "none", **more: Any) -> None:
    """Produces records in order and waits until all are acknowledged. `more`: librdkafka settings with _ for dots."""
    producer = Producer(
        {**settings, "compression.type": codec, "linger.ms": 20, "acks": "all", "enable.idempotence": True}
        | _dots(more)
    )
    failures: list[KafkaError] = []
    _send(producer, topic, samples, failures)
    _flush(producer, failures)


def produce_transaction(
    settings: Settings,
    topic: str,
    samples: Iterable[Sample],
    *,
    transactional_id: str,
    commit: bool,
    codec: str = "none",
) -> None:
    """One transaction, committed or aborted. Aborted records do reach the log: they are flushed before the abort."""
    producer = Producer({**settings, "compression.type": codec, "transactional.id": transactional_id})
    producer.init_transactions(30)
    producer.begin_transaction()
    failures: list[KafkaError] = []
    _send(producer, topic, samples, failures)
    _flush(producer, failures)
    if commit:
        producer.commit_transaction(30)
    else:
        producer.abort_transaction(30)


def read_committed(settings: Settings, topic: str) -> dict[int, list[Content]]:
    """Every committed record of a topic by partition, in log order, from the log's start to its end."""
    return {
        partition: [content for _, content in records] for partition, records in read_positions(settings, topic).items()
    }


def read_positions(
    settings: Settings, topic: str, *, start: Mapping[int, int] | None = None, limit: int | None = None
) -> dict[int, list[tuple[int, Content]]]:
    """The same with offsets; `start` begins partitions elsewhere (default: the log's start), `limit` ends each early."""
    found: dict[int, list[tuple[int, Content]]] = {number: [] for number in range(partitions_of(settings, topic))}
    consumer = _consumer(settings, group="kafkeep-judge")
    begin = dict.fromkeys(found, -2) | dict(start or {})  # -2: the log's start
    consumer.assign([TopicPartition(topic, number, offset) for number, offset in begin.items() if number in found])
    open_ends = set(found)
    deadline = time.monotonic() + _WAIT_SECONDS
    try:
        while open_ends:
            if time.monotonic() > deadline:
                raise DeliveryError(f"{topic} could not be read to its end in {_WAIT_SECONDS:.0f} s")
            for message in consumer.consume(1000, timeout=_POLL_SECONDS):
                partition = message.partition()
                if message.error() is not None:
                    _only_end(message.error())
                    open_ends.discard(partition)
                elif limit is None or len(found[partition]) < limit:
                    found[partition].append((message.offset(), content_of(message)))
                    if limit is not None and len(found[partition]) >= limit:
                        open_ends.discard(partition)
    finally:
        consumer.close()
    return found


def read_some(settings: Settings, topic: str, *, group: str, count: int) -> None:
    """A member of `group` reads `count` records of every partition of a topic, commits where it is, and leaves."""
    consumer = _consumer(settings, group=group)
    consumer.subscribe([topic])
    seen = dict.fromkeys(range(partitions_of(settings, topic)), 0)
    following = dict[int, int]()
    deadline = time.monotonic() + _WAIT_SECONDS
    try:
        while min(seen.values()) < count:
            if time.monotonic() > deadline:
                raise DeliveryError(f"group {group} got {seen} records of {topic}, {count} of each were expected")
            for message in consumer.consume(1000, timeout=_POLL_SECONDS):
                if message.error() is None and seen[message.partition()] < count:
                    seen[message.partition()] += 1
                    following[message.partition()] = message.offset() + 1
        offsets = [TopicPartition(topic, partition, offset) for partition, offset in following.items()]
        consumer.commit(offsets=offsets, asynchronous=False)
    finally:
        consumer.close()


def commit_positions(settings: Settings, group: str, positions: Iterable[Position], *, metadata: str = "") -> None:
    """Commits offsets for a group without members."""
    consumer = _consumer(settings, group=group)
    try:
        commit(consumer, [TopicPartition(p.topic, p.partition, p.offset, metadata) for p in positions])
    finally:
        consumer.close()


def commit(consumer: Consumer, offsets: Sequence[TopicPartition] | None) -> None:
    """Commits offsets, None for where the consumer stands. A coordinator that is still reading its log is waited for."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            consumer.commit(offsets=None if offsets is None else list(offsets), asynchronous=False)
            return
        except KafkaException as error:
            if error.args[0].code() not in _COORDINATOR_NOT_READY or time.monotonic() > deadline:
                raise
            time.sleep(_POLL_SECONDS)


def committed_positions(settings: Settings, group: str, topic: str) -> dict[int, int]:
    """Committed offset by partition; partitions without one are left out."""
    consumer = _consumer(settings, group=group)
    try:
        asked = [TopicPartition(topic, number) for number in range(partitions_of(settings, topic))]
        answers = consumer.committed(asked, timeout=30)
        return {answer.partition: answer.offset for answer in answers if answer.offset >= 0}
    finally:
        consumer.close()


def read_on(settings: Settings, topic: str, *, group: str, partitions: Iterable[int]) -> dict[int, Content]:
    """What a member of `group` is given first in each of `partitions`; it commits nothing. Waits for all of them."""
    consumer = _consumer(settings, group=group)
    consumer.subscribe([topic])
    wanted, found = set(partitions), dict[int, Content]()
    deadline = time.monotonic() + _WAIT_SECONDS
    try:
        while not wanted <= found.keys():
            if time.monotonic() > deadline:
                raise DeliveryError(f"group {group} is given nothing in {topic} {sorted(wanted - found.keys())}")
            for message in consumer.consume(1000, timeout=_POLL_SECONDS):
                if message.error() is None and message.partition() not in found:
                    found[message.partition()] = content_of(message)
    finally:
        consumer.close()
    return found


def content_of(message: Message) -> Content:
    kind, timestamp = message.timestamp()
    headers = tuple((name, value) for name, value in (message.headers() or []))
    return Content(kind, timestamp, message.key(), message.value(), headers)


def _consumer(settings: Settings, *, group: str) -> Consumer:
    return Consumer(
        {
            **settings,
            "group.id": group,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "check.crcs": True,
            "fetch.wait.max.ms": 50,
        }
    )


def _send(producer: Producer, topic: str, samples: Iterable[Sample], failures: list[KafkaError]) -> None:
    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(error)

    for sample in samples:
        while True:
            try:
                producer.produce(
                    topic,
                    key=sample.key,
                    value=sample.value,
                    headers=list(sample.headers),
                    timestamp=sample.timestamp,
                    partition=sample.partition,
                    on_delivery=delivered,
                )
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)


def _flush(producer: Producer, failures: list[KafkaError]) -> None:
    left = producer.flush(_WAIT_SECONDS)
    if left or failures:
        raise DeliveryError(f"{left} records not acknowledged, {len(failures)} refused: {failures[:1]}")


def _only_end(error: KafkaError | None) -> None:
    if error is not None and error.code() != KafkaError._PARTITION_EOF:
        raise KafkaException(error)


def _has_leaders(admin: AdminClient, name: str, partitions: int) -> bool:
    topic = admin.list_topics(timeout=10).topics.get(name)
    return (
        topic is not None
        and len(topic.partitions) == partitions
        and all(partition.leader >= 0 for partition in topic.partitions.values())
    )


def _until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise DeliveryError(otherwise)
        time.sleep(0.05)


def _dots(more: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace("_", "."): value for name, value in more.items()}

"""Fetch and Produce against real brokers of both releases; confluent-kafka is the judge of what came and went."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import TopicCollection
from confluent_kafka.admin import AdminClient
from tests.support.kafka import (
    CODECS,
    KafkaCluster,
    NewKafka,
    Sample,
    create_topic,
    delete_topics,
    produce,
    produce_transaction,
    read_committed,
    read_positions,
    unique,
)

from kafkeep.errors import KafkaUnreachable
from kafkeep.events import Event, Retried
from kafkeep.kafka.fetch import BrokerFetcher, FetchedPartition, FetchPosition
from kafkeep.kafka.produce import BrokerProducer, ProduceBatch, ProducedBatch
from kafkeep.kafka.wire.batch import control_type, needs_rebuild, rewrite, walk
from kafkeep.kafka.wire.records import Record, decode, encode, rebuild
from kafkeep.model import NO_TOPIC_ID, AbortedTransaction, BatchInfo, TopicPartition

pytestmark = pytest.mark.integration

NOW = 1_760_000_000_000
SAMPLES = [
    Sample(b"key", b"value", (("h", b"1"), ("h", None), ("other", b"")), NOW, 0),
    Sample(None, b"", (), NOW - 5, 0),
    Sample(b"", None, (("ä", b"\xff\xfe"),), NOW + 7, 0),
    Sample(b"k" * 300, b"some text " * 5000, (), NOW + 9, 0),
    Sample(None, None, (), NOW + 9, 0),
]
RECORDS = [
    Record(0, sample.timestamp, sample.key, sample.value, tuple((k.encode(), v) for k, v in sample.headers))
    for sample in SAMPLES
]

Raw = tuple[BatchInfo, memoryview]


class Place:
    """A topic and its leader."""

    def __init__(self, cluster: KafkaCluster, topic: str) -> None:
        admin = AdminClient(dict(cluster.client_properties))
        described = admin.describe_topics(TopicCollection([topic]))[topic].result()
        self.cluster = cluster
        self.topic = topic
        self.topic_id = str(described.topic_id).replace("+", "-").replace("/", "_")
        leader = described.partitions[0].leader
        self.leader_id, self.address = leader.id, (leader.host, leader.port)
        self.aborted: set[AbortedTransaction] = set()
        """What the answers to `read` told."""
        self.others = [node for node in described.partitions[0].replicas if node.id != leader.id]

    def fetcher(self, **options: Any) -> BrokerFetcher:
        return BrokerFetcher(self.cluster.cluster_config(), *self.address, **options)

    def position(self, offset: int = 0, *, partition: int = 0, **more: Any) -> FetchPosition:
        more = {"topic_id": self.topic_id, "leader_epoch": -1} | more
        return FetchPosition(TopicPartition(self.topic, partition), offset=offset, **more)

    def read(self, start: int = 0, **options: Any) -> list[Raw]:
        """All batches up to the end the isolation allows, copied."""
        found: list[Raw] = []
        with self.fetcher(**options) as hot:
            while True:
                (answer,) = hot.fetch([self.position(start)])
                assert answer.error == 0
                self.aborted.update(answer.aborted)
                infos, taken = walk(answer.records)
                records = memoryview(bytes(answer.records[:taken]))
                for info in infos:
                    found.append((info, records[: info.size]))
                    records = records[info.size :]
                if not infos:
                    return found
                start = infos[-1].next_offset

    def write(self, *batches: bytes, topic_id: str | None = None) -> list[ProducedBatch]:
        """The batches one after the other into partition 0."""
        answers: list[ProducedBatch] = []
        with BrokerProducer(self.cluster.cluster_config(), *self.address) as hot:
            for batch in batches:
                target = TopicPartition(self.topic, 0)
                parts = (batch[:61], memoryview(batch)[61:])
                hot.send([ProduceBatch(target, self.topic_id if topic_id is None else topic_id, parts)])
                answers += hot.receive()
        return answers


def place(cluster: KafkaCluster, prefix: str, *, config: dict[str, str] | None = None, **options: Any) -> Place:
    """A new topic that keeps old records."""
    name = unique(prefix)
    create_topic(cluster.client_properties, name, config={"retention.ms": "-1", **(config or {})}, **options)
    spot = Place(cluster, name)
    with spot.fetcher(max_wait_ms=0) as hot:
        # A fresh topic's leader may still say 6 (NOT_LEADER_OR_FOLLOWER) after the metadata names it.
        wanted = [spot.position(partition=index) for index in range(options.get("partitions", 1))]
        eventually(lambda: {answer.error for answer in hot.fetch(wanted)} == {0})
    return spot


def decoded(batches: list[Raw]) -> list[Record]:
    return [record for info, batch in batches if not info.is_control for record in decode(batch, info)]


def judged(spot: Place) -> list[tuple[int, bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]]:
    """What confluent-kafka reads of partition 0."""
    contents = read_committed(spot.cluster.client_properties, spot.topic)[0]
    return [(content.timestamp, content.key, content.value, content.headers) for content in contents]


def shown(records: list[Record]) -> list[tuple[int, bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]]:
    return [
        (record.timestamp, record.key, record.value, tuple((key.decode(), value) for key, value in record.headers))
        for record in records
    ]


def eventually(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.2)


@pytest.mark.parametrize("codec", range(5), ids=CODECS)
def test_our_batches_are_taken_and_read_by_others(kafka: KafkaCluster, codec: int) -> None:
    spot = place(kafka, "ours")
    batch = encode(RECORDS * 20, codec=codec)
    answers = spot.write(batch, batch, topic_id=None if codec % 2 else NO_TOPIC_ID)
    assert [(answer.error, answer.base_offset) for answer in answers] == [(0, 0), (0, 100)]
    assert judged(spot) == shown(RECORDS * 40)
    stored = spot.read()
    assert [bytes(kept[61:]) for _, kept in stored] == [batch[61:]] * 2
    assert [info.base_offset for info, _ in stored] == [0, 100]
    assert decoded(stored) == [record._replace(offset=offset) for offset, record in enumerate(RECORDS * 40)]


@pytest.mark.parametrize("codec", CODECS)
def test_others_batches_are_read_and_produced_again(kafka: KafkaCluster, codec: str) -> None:
    source, target = place(kafka, "theirs"), place(kafka, "again")
    produce(kafka.client_properties, source.topic, SAMPLES * 30, codec=codec)
    batches = source.read()
    assert shown(decoded(batches)) == judged(source) == shown(RECORDS * 30)
    assert {info.codec for info, _ in batches} == {CODECS.index(codec)}
    assert not any(needs_rebuild(info) for info, _ in batches)
    for answer in target.write(*(rewrite(batch, info) + bytes(batch[61:]) for info, batch in batches)):
        assert (answer.error, answer.message) == (0, None)
    assert judged(target) == judged(source)
    assert [bytes(batch[61:]) for _, batch in target.read()] == [bytes(batch[61:]) for _, batch in batches]


def test_transactions_are_told_and_their_data_produced_plain(kafka: KafkaCluster) -> None:
    source, target = place(kafka, "transactions"), place(kafka, "plain")
    settings = kafka.client_properties
    for commit in (True, False, True):
        produce_transaction(settings, source.topic, SAMPLES, transactional_id=unique("tx"), commit=commit)
    batches = source.read()
    kinds = [control_type(batch) for info, batch in batches if info.is_control]
    assert kinds == [1, 0, 1]
    (aborted,) = source.aborted
    first = next(info.base_offset for info, _ in batches if info.producer_id == aborted.producer_id)
    assert aborted.first_offset == first
    source.aborted.clear()
    assert source.read(read_committed=False) == batches
    assert source.aborted == set()
    kept = [(i, b) for i, b in batches if not i.is_control and i.producer_id != aborted.producer_id]
    for sequence, (info, batch) in enumerate(kept):
        header = rewrite(batch, info, producer_id=815, producer_epoch=0, base_sequence=len(RECORDS) * sequence)
        (written,) = target.write(header + bytes(batch[61:]))
        assert written.error == 0
    assert judged(target) == judged(source) == shown(RECORDS * 2)


def test_a_repeated_idempotent_batch_is_not_written_twice(kafka: KafkaCluster) -> None:
    spot = place(kafka, "idempotent")
    first, second = (
        encode(RECORDS, producer_id=99_001, producer_epoch=0, base_sequence=sequence) for sequence in (0, 5)
    )
    answers = spot.write(first, second, first, second)
    assert [(answer.error, answer.base_offset) for answer in answers] == [(0, 0), (0, 5), (0, 0), (0, 5)]
    assert judged(spot) == shown(RECORDS * 2)


def test_what_brokers_refuse(kafka: KafkaCluster) -> None:
    spot = place(kafka, "refused", config={"max.message.bytes": "100000", "cleanup.policy": "compact"})
    good = encode([Record(0, NOW, b"k", b"v", ())])
    flipped = good[:-1] + bytes((good[-1] ^ 1,))
    answers = spot.write(
        flipped, encode(RECORDS), encode([Record(0, NOW, b"k", bytes(200_000), ())]), good, topic_id=NO_TOPIC_ID
    )
    assert [answer.error for answer in answers] == [2, 87, 10, 0]
    assert "Compacted topic cannot accept message without key" in str(answers[1].message)


def test_append_times_are_what_consumers_see(kafka: KafkaCluster) -> None:
    source = place(kafka, "append", config={"message.timestamp.type": "LogAppendTime"})
    target = place(kafka, "appended")
    produce(kafka.client_properties, source.topic, SAMPLES)
    batches = source.read()
    assert shown(decoded(batches)) == judged(source)
    assert all(needs_rebuild(info) for info, _ in batches)
    (answer,) = target.write(rebuild(batches[0][1], batches[0][0]))
    assert answer.error == 0
    count = batches[0][0].record_count
    assert judged(target) == judged(source)[:count]


@pytest.mark.parametrize("codec", CODECS)
def test_batches_with_holes_are_rebuilt(kafka: KafkaCluster, codec: str) -> None:
    config = {
        "cleanup.policy": "compact",
        "segment.ms": "300",
        "min.cleanable.dirty.ratio": "0.01",
        "min.compaction.lag.ms": "0",
        "max.compaction.lag.ms": "300",
    }
    source, target = place(kafka, "holes", config=config), place(kafka, "dense")
    now = int(time.time() * 1000)
    keyed = [Sample(b"%d" % (number % 7), b"value %d" % number, (("n", None),), now, 0) for number in range(100)]
    keyed += [Sample(b"keep %d" % number, b"%d" % number, (), now, 0) for number in range(20)]
    produce(kafka.client_properties, source.topic, keyed, codec=codec, linger_ms=100)
    # A segment ends when a record's time is later than its first one's by segment.ms; the active one is not compacted.
    produce(kafka.client_properties, source.topic, [Sample(b"last", b"", (), now + 10_000, 0)])
    eventually(lambda: any(info.has_holes for info, _ in source.read()))
    batches = source.read()
    sparse = [(info, batch) for info, batch in batches if info.has_holes and info.record_count]
    for info, batch in sparse:
        (refused,) = target.write(rewrite(batch, info) + bytes(batch[61:]))
        assert refused.error == 87
        (taken,) = target.write(rebuild(batch, info))
        assert taken.error == 0
    positions = [offset for offset, _ in read_positions(kafka.client_properties, source.topic)[0]]
    assert [record.offset for record in decoded(source.read())][: len(positions)] == positions
    assert judged(target) == shown(decoded(sparse))


def test_many_partitions_in_one_request(kafka: KafkaCluster) -> None:
    first, second = place(kafka, "many", partitions=5), place(kafka, "more", partitions=3)
    spots = [(first, index) for index in (3, 0, 4)] + [(second, 2), (first, 1), (second, 0)]
    with BrokerProducer(kafka.cluster_config(), *first.address) as out:
        for base in range(3):
            batches = [
                ProduceBatch(TopicPartition(spot.topic, index), spot.topic_id, (encode(RECORDS),))
                for spot, index in spots
            ]
            out.send(batches)
            answers = out.receive()
            assert [answer.topic_partition for answer in answers] == [batch.topic_partition for batch in batches]
            assert {(answer.error, answer.base_offset) for answer in answers} == {(0, base * 5)}
    with first.fetcher(response_bytes=400_000, partition_bytes=120_000) as hot:
        offsets = dict.fromkeys(spots, 0)
        while any(offset < 15 for offset in offsets.values()):
            wanted = [spot for spot in spots if offsets[spot] < 15]
            fetched = hot.fetch([spot.position(offsets[spot, index], partition=index) for spot, index in wanted])
            assert [answer.topic_partition for answer in fetched] == [
                TopicPartition(spot.topic, index) for spot, index in wanted
            ]
            for (spot, index), answer in zip(wanted, fetched, strict=True):
                infos, _ = walk(answer.records)
                offsets[spot, index] = infos[-1].next_offset if infos else offsets[spot, index]
            spots.append(spots.pop(0))


def test_fetches_overlap(kafka: KafkaCluster) -> None:
    spot = place(kafka, "overlap")
    spot.write(*(encode(RECORDS) for _ in range(10)))
    with spot.fetcher() as hot:
        got = []
        hot.send([spot.position(0)])
        for offset in range(5, 50, 5):
            hot.send([spot.position(offset)])
            got.append(next_offsets(hot.receive()))
        got.append(next_offsets(hot.receive()))
    assert got == [50] * 10


def next_offsets(answers: tuple[FetchedPartition, ...]) -> int:
    return walk(answers[0].records)[0][-1].next_offset


def test_a_batch_larger_than_the_answer_asked_for(kafka: KafkaCluster) -> None:
    spot = place(kafka, "large", config={"max.message.bytes": "20000000"})
    large = encode([Record(0, NOW, b"k", bytes(9_000_000), ())])
    assert [answer.error for answer in spot.write(large, encode(RECORDS))] == [0, 0]
    with spot.fetcher(response_bytes=1000) as hot:
        (answer,) = hot.fetch([spot.position()])
        infos, taken = walk(answer.records)
        assert (len(infos), taken) == (1, len(large))
        (answer,) = hot.fetch([spot.position(1)])
        assert walk(answer.records)[0][0].base_offset == 1


def test_positions_no_log_has(kafka: KafkaCluster) -> None:
    spot = place(kafka, "nowhere")
    spot.write(encode(RECORDS))
    with spot.fetcher(max_wait_ms=0) as hot:
        answers = [
            hot.fetch([spot.position(offset, **more)])[0]
            for offset, more in [
                (5, {}),
                (6, {}),
                (0, {"leader_epoch": 7}),
                (9, {"last_fetched_epoch": 0}),
                (0, {"last_fetched_epoch": 7}),
                (0, {"topic_id": "B" * 22}),
            ]
        ]
        absent = FetchPosition(TopicPartition("no-such-topic", 0), NO_TOPIC_ID, 0, -1)
        (unknown,) = hot.fetch([absent])
    assert [answer.error for answer in answers] == [0, 1, 75, 0, 1, 100]
    assert answers[3].diverging == (0, 5)
    assert all(answer.diverging is None for answer in answers[:3])
    assert unknown.error == 3


def test_a_recreated_topic_is_not_taken_for_the_old_one(kafka: KafkaCluster) -> None:
    spot = place(kafka, "recreated")
    spot.write(encode(RECORDS))
    delete_topics(kafka.client_properties, [spot.topic])
    create_topic(kafka.client_properties, spot.topic)
    again = Place(kafka, spot.topic)
    assert again.topic_id != spot.topic_id
    with spot.fetcher(max_wait_ms=0) as hot:
        assert hot.fetch([spot.position()])[0].error == 100
        assert hot.fetch([again.position()])[0].error == 0


@pytest.fixture
def slow_client(kafka_431: KafkaCluster) -> Iterator[str]:
    """A client id whose fetches the broker throttles."""
    name = unique("slow")
    address = ("--bootstrap-server", kafka_431.bootstrap, "--alter", "--entity-type", "clients", "--entity-name", name)
    kafka_431.lab.tool("configs", *address, "--add-config", "consumer_byte_rate=200000")
    yield name
    kafka_431.lab.tool("configs", *address, "--delete-config", "consumer_byte_rate")


def test_throttling_by_a_quota(kafka_431: KafkaCluster, slow_client: str) -> None:
    spot = place(kafka_431, "throttled")
    batch = encode([Record(0, NOW, None, bytes(200_000), ())])
    assert {answer.error for answer in spot.write(*[batch] * 14)} == {0}
    events: list[Event] = []
    config = kafka_431.cluster_config(client_id=slow_client)
    offset, empty = 0, 0
    with BrokerFetcher(config, *spot.address, sink=events.append, response_bytes=1_000_000) as hot:
        while offset < 14:
            answers = hot.fetch([spot.position(offset)])
            infos = walk(answers[0].records)[0] if answers else []
            empty += not infos
            offset = infos[-1].next_offset if infos else offset
    throttled = [event for event in events if isinstance(event, Retried)]
    assert throttled
    assert {event.reason for event in throttled} == {"throttled"}
    assert len(throttled) >= empty


def test_leaders_move(kafka_431_three: KafkaCluster) -> None:
    cluster = kafka_431_three
    spot = place(cluster, "moves", replication=3)
    assert spot.write(encode(RECORDS))[0].error == 0
    follower = spot.others[0]
    with BrokerFetcher(cluster.cluster_config(), follower.host, follower.port) as hot:
        eventually(lambda: hot.fetch([spot.position()])[0].high_watermark == 5)
        (answer,) = hot.fetch([spot.position()])
        assert bytes(answer.records) == b"".join(bytes(batch) for _, batch in spot.read())
    with BrokerProducer(cluster.cluster_config(), follower.host, follower.port) as out:
        out.send([ProduceBatch(TopicPartition(spot.topic, 0), spot.topic_id, (encode(RECORDS),))])
        (refused,) = out.receive()
    assert refused.error == 6
    assert refused.current_leader is not None
    assert refused.current_leader[0] == spot.leader_id


def test_a_broker_that_dies(new_kafka: NewKafka) -> None:
    cluster = new_kafka(brokers=1)
    spot = place(cluster, "dies")
    assert spot.write(encode(RECORDS))[0].error == 0
    hot = spot.fetcher(max_wait_ms=20_000)
    hot.send([spot.position(5)])
    cluster.lab.node(1).kill()
    with pytest.raises(KafkaUnreachable) as caught:
        hot.receive()
    assert caught.value.retryable
    assert ":".join(map(str, spot.address)) in str(caught.value)
    hot.close()
    with pytest.raises(KafkaUnreachable, match="connection refused"):
        spot.fetcher()
    cluster.lab.node(1).start()
    eventually(lambda: answered(spot) == 0)
    assert shown(decoded(spot.read())) == shown(RECORDS)


def answered(spot: Place) -> int:
    with spot.fetcher() as hot:
        return hot.fetch([spot.position()])[0].error


def test_a_paused_broker_is_given_up(new_kafka: NewKafka) -> None:
    cluster = new_kafka(brokers=1)
    spot = place(cluster, "paused")
    config = cluster.cluster_config(request_timeout_seconds=4.0)
    with BrokerFetcher(config, *spot.address, max_wait_ms=0) as hot:
        cluster.lab.node(1).pause()
        with pytest.raises(KafkaUnreachable, match=r"no answer within 4 s"):
            hot.fetch([spot.position()])
        cluster.lab.node(1).resume()
    eventually(lambda: answered(spot) == 0)


def test_a_broker_that_recompresses(kafka: KafkaCluster) -> None:
    """What is read has another codec than what was sent, and the same records."""
    spot = place(kafka, "recompressed", config={"compression.type": "zstd"})
    assert {answer.error for answer in spot.write(*(encode(RECORDS, codec=codec) for codec in range(5)))} == {0}
    batches = spot.read()
    assert {info.codec for info, _ in batches} == {4}
    assert shown(decoded(batches)) == shown(RECORDS * 5) == judged(spot)

"""Producing to a scripted broker."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.support.broker import PRODUCE, FakeBroker, HangUp
from tests.support.messages import frame

from kafkeep.errors import KafkaProtocolError, KafkaUnreachable, KafkaUnsupported
from kafkeep.events import Event, Retried
from kafkeep.kafka.produce import BrokerProducer, ProduceBatch
from kafkeep.kafka.wire.records import Record, encode
from kafkeep.model import NO_TOPIC_ID, TopicPartition


@pytest.fixture
def broker() -> Iterator[FakeBroker]:
    with FakeBroker() as running:
        yield running


def producer(broker: FakeBroker, **options: Any) -> BrokerProducer:
    return BrokerProducer(broker.config(), broker.host, broker.port, **options)


def batch(broker: FakeBroker, topic: str = "t", index: int = 0, *, size: int = 10, **more: Any) -> ProduceBatch:
    data = encode([Record(0, 1, None, bytes(size), ())])
    more.setdefault("topic_id", broker.partition(topic, index).id_text)
    return ProduceBatch(TopicPartition(topic, index), parts=(data[:61], memoryview(data)[61:]), **more)


@pytest.mark.parametrize("version", range(3, 14))
def test_every_version_writes_the_log(version: int) -> None:
    with FakeBroker(versions={PRODUCE: (version, version)}) as broker, producer(broker) as hot:
        batches = [batch(broker, "a", 1), batch(broker, "b", 0), batch(broker, "a", 0)]
        for base in range(2):
            hot.send(batches)
            answers = hot.receive()
            assert [str(answer.topic_partition) for answer in answers] == ["a/1", "b/0", "a/0"]
            assert {(answer.error, answer.base_offset) for answer in answers} == {(0, base)}
        assert broker.partition("a", 1).end == 2
        assert bytes(broker.partition("b").log[21:]).startswith(batches[1].parts[0][21:])
        asked = broker.asked[-1]
        assert (asked.version, asked.request.acks, asked.request.timeout_ms) == (version, -1, 30_000)
        assert len(asked.request.topic_data) == 2


def test_a_topic_without_an_id_goes_by_name(broker: FakeBroker) -> None:
    with producer(broker, acks=1, timeout_ms=5) as hot:
        hot.send([batch(broker, topic_id=NO_TOPIC_ID)])
        hot.receive()
    assert (broker.asked[-1].version, broker.asked[-1].request.acks) == (12, 1)
    assert broker.asked[-1].request.timeout_ms == 5


def test_many_large_pieces_arrive_in_order(broker: FakeBroker) -> None:
    batches = [batch(broker, "t", index, size=200_000 + index) for index in range(40)]
    with producer(broker) as hot:
        hot.send(batches)
        assert [answer.error for answer in hot.receive()] == [0] * 40
    for index, sent in enumerate(batches):
        assert bytes(broker.partition("t", index).log[61:]) == bytes(sent.parts[1])


def test_more_pieces_than_one_system_call_takes(broker: FakeBroker) -> None:
    data = encode([Record(0, 1, None, bytes(range(256)) * 12, ())])
    pieces = tuple(data[start : start + 1] for start in range(len(data)))
    with producer(broker) as hot:
        hot.send([ProduceBatch(TopicPartition("t", 0), broker.partition("t").id_text, pieces)])
        hot.receive()
    assert bytes(broker.partition("t").log[61:]) == data[61:]


def test_five_may_be_outstanding_and_are_answered_in_order(broker: FakeBroker) -> None:
    with producer(broker) as hot:
        for _ in range(5):
            hot.send([batch(broker)])
        assert hot.outstanding == 5
        with pytest.raises(ValueError, match="5 produce requests are outstanding"):
            hot.send([batch(broker)])
        assert [hot.receive()[0].base_offset for _ in range(5)] == [0, 1, 2, 3, 4]
        with pytest.raises(ValueError, match="no produce request is outstanding"):
            hot.receive()


def test_a_partition_twice_would_be_lost_silently(broker: FakeBroker) -> None:
    with producer(broker) as hot:
        for batches in ([], [batch(broker), batch(broker)]):
            with pytest.raises(ValueError, match="one per partition only"):
                hot.send(batches)
    assert broker.count(PRODUCE) == 0


@pytest.mark.parametrize("acks", [0, 2, -2])
def test_acks_without_answers_are_refused(broker: FakeBroker, acks: int) -> None:
    with pytest.raises(ValueError, match="acks must be -1 or 1"):
        producer(broker, acks=acks)
    assert broker.connections == 0


def test_brokers_too_old() -> None:
    with FakeBroker(versions={PRODUCE: (0, 2)}) as broker:
        hot = producer(broker)
        with hot, pytest.raises(KafkaUnsupported, match="needed is a version from 3 to 13"):
            hot.send([batch(broker)])


def test_errors_of_partitions_are_told_not_raised(broker: FakeBroker) -> None:
    def refused(answer: Any) -> None:
        told = answer.responses[0].partition_responses[0]
        told.error_code, told.error_message = 87, "one or more records have been rejected"

    broker.edits[PRODUCE].append(refused)
    with producer(broker) as hot:
        hot.send([batch(broker)])
        (answer,) = hot.receive()
    assert (answer.error, answer.message) == (87, "one or more records have been rejected")


def test_throttling_is_reported_and_kept_to(broker: FakeBroker) -> None:
    broker.edits[PRODUCE].append(lambda answer: setattr(answer, "throttle_time_ms", 300))
    events: list[Event] = []
    with producer(broker, sink=events.append) as hot:
        hot.send([batch(broker)])
        hot.receive()
        started = time.monotonic()
        hot.send([batch(broker)])
        assert time.monotonic() - started >= 0.25
        hot.receive()
    assert events == [Retried(f"produce to 127.0.0.1:{broker.port}", "throttled", 1, 0.3)]


def test_a_lost_connection_is_retryable_and_the_producer_dead(broker: FakeBroker) -> None:
    def hang_up(_: Any) -> None:
        raise HangUp

    broker.edits[PRODUCE].append(hang_up)
    with producer(broker) as hot:
        hot.send([batch(broker)])
        with pytest.raises(KafkaUnreachable) as caught:
            hot.receive()
        assert caught.value.retryable
        with pytest.raises(KafkaUnreachable, match="is closed"):
            hot.send([batch(broker)])


HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "correlation": lambda data: data[:4] + struct.pack(">i", 77) + data[8:],
    "17 MiB": lambda data: struct.pack(">i", 17 * 2**20) + data[4:],
    "negative": lambda data: struct.pack(">i", -7) + data[4:],
    "empty": lambda data: frame(data[4:9]),
    "cut": lambda data: frame(data[4:-3]),
    "longer": lambda data: frame(data[4:] + b"abc"),
    "no topics": lambda data: frame(data[4:9] + b"\x01" + bytes(4) + b"\x00"),
    "endless": lambda data: frame(data[4:9] + b"\xff" * 40),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.fault("P2")
def test_hostile_answers(broker: FakeBroker, name: str) -> None:
    broker.wires[PRODUCE].append(HOSTILE[name])
    with producer(broker) as hot:
        hot.send([batch(broker)])
        with pytest.raises(KafkaProtocolError):
            hot.receive()
        with pytest.raises(KafkaUnreachable, match="is closed"):
            hot.send([batch(broker)])

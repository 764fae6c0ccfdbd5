"""Fetching from a scripted broker: buffers, order, throttling, leader moves, and everything hostile (row P2)."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.support.batches import built, log_of, patched
from tests.support.broker import API_VERSIONS, FETCH, FakeBroker, HangUp
from tests.support.messages import frame

from kafkeep import native
from kafkeep.errors import CorruptBatch, KafkaProtocolError, KafkaRequestError, KafkaUnreachable, KafkaUnsupported
from kafkeep.events import Event, Retried
from kafkeep.kafka.connection import FrameBuffer
from kafkeep.kafka.fetch import BrokerFetcher, FetchPosition
from kafkeep.kafka.wire.batch import walk
from kafkeep.kafka.wire.records import Record
from kafkeep.model import NO_TOPIC_ID, TopicPartition


def batch(size: int = 100, count: int = 1) -> bytes:
    return built([Record(0, 1, None, os.urandom(size), ())] * count)


@pytest.fixture
def broker() -> Iterator[FakeBroker]:
    with FakeBroker() as running:
        yield running


def fetcher(broker: FakeBroker, **options: Any) -> BrokerFetcher:
    return BrokerFetcher(broker.config(), broker.host, broker.port, **options)


def position(broker: FakeBroker, topic: str = "t", index: int = 0, offset: int = 0, **more: Any) -> FetchPosition:
    more.setdefault("leader_epoch", -1)
    more.setdefault("topic_id", broker.partition(topic, index).id_text)
    return FetchPosition(TopicPartition(topic, index), offset=offset, **more)


@pytest.mark.parametrize("version", range(4, 19))
def test_every_version_reads_the_log(version: int) -> None:
    with FakeBroker(versions={FETCH: (version, version)}) as broker:
        broker.partition("t").log += log_of(batch(), batch(), start=5)
        broker.partition("t").start = 5
        broker.partition("u").log += log_of(batch())
        with fetcher(broker) as hot:
            first, second = hot.fetch([position(broker, offset=5), position(broker, "u")])
        assert bytes(first.records) == bytes(broker.partition("t").log)
        assert (first.high_watermark, first.log_start_offset) == (7, 5 if version >= 5 else -1)
        assert bytes(second.records) == bytes(broker.partition("u").log)
        assert broker.asked[-1].version == version
        assert broker.asked[-1].client_id == "kafkeep"


def test_a_topic_without_an_id_is_asked_for_by_name(broker: FakeBroker) -> None:
    broker.partition("t").log += log_of(batch())
    with fetcher(broker) as hot:
        (got,) = hot.fetch([position(broker, topic_id=NO_TOPIC_ID)])
        assert (got.error, len(got.records)) == (0, len(broker.partition("t").log))
        assert broker.asked[-1].version == 12
        hot.fetch([position(broker)])
        assert broker.asked[-1].version == 18


def test_brokers_too_new_or_too_old() -> None:
    with FakeBroker(versions={FETCH: (13, 30)}) as broker, fetcher(broker) as hot:
        with pytest.raises(KafkaUnsupported, match="from 4 to 12"):
            hot.send([position(broker, topic_id=NO_TOPIC_ID)])
        hot.fetch([position(broker)])
        assert broker.asked[-1].version == 18
    with FakeBroker(versions={FETCH: (0, 3)}) as broker:
        hot = fetcher(broker)
        with hot, pytest.raises(KafkaUnsupported, match="in versions 0 to 3"):
            hot.send([position(broker)])


def test_isolation_and_limits_are_told(broker: FakeBroker) -> None:
    with fetcher(broker, read_committed=False, response_bytes=1000, partition_bytes=300, max_wait_ms=7) as hot:
        hot.fetch([position(broker, leader_epoch=3, last_fetched_epoch=2)])
    asked = broker.asked[-1].request
    assert (asked.isolation_level, asked.max_bytes, asked.max_wait_ms) == (0, 1000, 7)
    (wanted,) = asked.topics[0].partitions
    assert (wanted.partition_max_bytes, wanted.current_leader_epoch, wanted.last_fetched_epoch) == (300, 3, 2)


def test_a_smaller_answer_may_be_asked_for_once(broker: FakeBroker) -> None:
    with fetcher(broker, response_bytes=1000) as hot:
        hot.send([position(broker)], response_bytes=10)
        hot.send([position(broker)])
        hot.receive()
        hot.receive()
    assert [asked.request.max_bytes for asked in broker.asked] == [10, 1000]


def test_only_two_may_be_outstanding(broker: FakeBroker) -> None:
    with fetcher(broker) as hot:
        hot.send([position(broker)])
        with pytest.raises(ValueError, match="outstanding"):
            hot.fetch([position(broker)])
        hot.send([position(broker)])
        assert hot.outstanding == 2
        with pytest.raises(ValueError, match="2 fetches are outstanding"):
            hot.send([position(broker)])
        hot.receive()
        hot.receive()
        with pytest.raises(ValueError, match="no fetch is outstanding"):
            hot.receive()


def test_what_cannot_be_asked(broker: FakeBroker) -> None:
    with fetcher(broker) as hot:
        for positions in ([], [position(broker), position(broker, offset=4)]):
            with pytest.raises(ValueError, match="at least one partition, and each only once"):
                hot.send(positions)
        assert hot.outstanding == 0


def test_answers_stay_valid_until_the_second_receive_after(broker: FakeBroker) -> None:
    for index in range(4):
        broker.partition("t", index).log += log_of(batch(1000 + index))
    with fetcher(broker) as hot:
        (first,) = hot.fetch([position(broker, index=0)])
        (second,) = hot.fetch([position(broker, index=1)])
        assert bytes(first.records) == bytes(broker.partition("t", 0).log)
        assert bytes(second.records) == bytes(broker.partition("t", 1).log)
        (third,) = hot.fetch([position(broker, index=2)])
        assert bytes(second.records) == bytes(broker.partition("t", 1).log)
        assert bytes(third.records) == bytes(broker.partition("t", 2).log)
        assert bytes(first.records) != bytes(broker.partition("t", 0).log)


def test_the_last_batch_may_be_cut_and_the_rest_is_read_on(broker: FakeBroker) -> None:
    log = broker.partition("t")
    log.log += log_of(*(batch(300) for _ in range(20)))
    got = bytearray()
    with fetcher(broker, response_bytes=1000) as hot:
        offset = 0
        while offset < 20:
            (answer,) = hot.fetch([position(broker, offset=offset)])
            infos, taken = walk(answer.records)
            assert 0 < taken <= len(answer.records) <= 1000
            got += answer.records[:taken]
            offset = infos[-1].next_offset
    assert got == log.log


def test_a_batch_larger_than_all_limits_comes_whole(broker: FakeBroker) -> None:
    log = broker.partition("t")
    log.log += log_of(batch(300_000), batch(10), batch(10))
    with fetcher(broker, response_bytes=1000) as hot:
        (large,) = hot.fetch([position(broker)])
        assert bytes(large.records) == bytes(log.log[: len(large.records)])
        assert walk(large.records)[1] == len(large.records) > 300_000
        for _ in range(3):
            (small,) = hot.fetch([position(broker, offset=1)])
            assert walk(small.records)[1] == len(small.records) > 0


def test_buffers_grow_for_one_frame_and_shrink_again() -> None:
    buffer = FrameBuffer(100)
    assert len(buffer.take(40)) == 40
    assert len(buffer.take(1000)) == 1000
    for _ in range(2):
        small = buffer.take(50)
        assert len(small) == 50
        assert len(memoryview(small.obj)) == 100


def test_records_come_to_lie_as_a_file_wants_them(broker: FakeBroker) -> None:
    log = broker.partition("t")
    log.log += log_of(*[batch(300_000)] * 4)
    with fetcher(broker, response_bytes=2_000_000) as hot:
        for place in (0, 17, 4096, 65_001, 3, 3):
            hot.align(place)
            (found,) = hot.fetch([position(broker)])
            assert bytes(found.records) == bytes(log.log[: len(found.records)]) != b""
            if native.address is not None and place:
                assert (native.address(found.records) - place) % 4096 == 0


def test_buffers_are_reused() -> None:
    buffer = FrameBuffer(100)
    used = [buffer.take(100).obj for _ in range(6)]
    assert used[0] is used[2] is used[4]
    assert used[1] is used[3] is used[5]
    assert used[0] is not used[1]


def test_a_partition_is_served_in_the_order_asked(broker: FakeBroker) -> None:
    names = ["b", "a", "b", "c"]
    with fetcher(broker) as hot:
        answers = hot.fetch([position(broker, topic, index) for index, topic in enumerate(names)])
    assert [str(answer.topic_partition) for answer in answers] == ["b/0", "a/1", "b/2", "c/3"]


def test_errors_of_partitions_are_told_not_raised(broker: FakeBroker) -> None:
    moved = broker.partition("t", 0)
    moved.leader, moved.leader_epoch = 5, 9
    broker.partition("t", 1).leader_epoch = 4
    broker.partition("t", 2).log += log_of(batch(), start=10)
    broker.partition("t", 2).start = 10
    diverged = broker.partition("t", 3)
    diverged.epoch_ends[2] = 30
    with fetcher(broker) as hot:
        answers = hot.fetch(
            [
                position(broker, index=0),
                position(broker, index=1, leader_epoch=3),
                position(broker, index=2, offset=3),
                position(broker, index=3, offset=40, last_fetched_epoch=2),
                position(broker, index=1, topic="gone", topic_id="b" * 22),
            ]
        )
    assert [answer.error for answer in answers] == [6, 74, 1, 0, 100]
    assert [answer.current_leader for answer in answers] == [(5, 9), (1, 4), None, None, None]
    assert answers[3].diverging == (2, 30)
    assert answers[2].log_start_offset == 10


def test_aborted_transactions_are_told(broker: FakeBroker) -> None:
    log = broker.partition("t")
    log.log += log_of(batch())
    log.aborted = [(7, 0), (8, 0)]
    log.last_stable = 0
    with fetcher(broker) as hot:
        (answer,) = hot.fetch([position(broker)])
    assert [tuple(entry) for entry in answer.aborted] == [(7, 0), (8, 0)]
    assert (answer.last_stable_offset, answer.high_watermark) == (0, 1)


def test_throttling_is_reported_and_kept_to(broker: FakeBroker) -> None:
    def throttled(answer: Any) -> None:
        answer.throttle_time_ms = 300
        answer.responses = []

    broker.edits[FETCH].append(throttled)
    events: list[Event] = []
    with fetcher(broker, sink=events.append) as hot:
        assert hot.fetch([position(broker)]) == ()
        started = time.monotonic()
        (answer,) = hot.fetch([position(broker)])
        assert time.monotonic() - started >= 0.25
    assert answer.error == 0
    assert events == [Retried(f"fetch from 127.0.0.1:{broker.port}", "throttled", 1, 0.3)]


def test_a_request_refused_as_a_whole_is_raised(broker: FakeBroker) -> None:
    broker.edits[FETCH].append(lambda answer: setattr(answer, "error_code", 71))
    with fetcher(broker) as hot, pytest.raises(KafkaRequestError, match=r"INVALID_FETCH_SESSION_EPOCH \(71\)"):
        hot.fetch([position(broker)])


def test_a_lost_connection_is_retryable_and_the_fetcher_dead(broker: FakeBroker) -> None:
    def hang_up(_: Any) -> None:
        raise HangUp

    broker.edits[FETCH].append(hang_up)
    hot = fetcher(broker)
    with pytest.raises(KafkaUnreachable, match="closed the connection") as caught:
        hot.fetch([position(broker)])
    assert caught.value.retryable
    with pytest.raises(KafkaUnreachable, match="is closed"):
        hot.send([position(broker)])
    hot.close()
    with fetcher(broker) as again:
        assert again.fetch([position(broker)])[0].error == 0


def test_a_silent_broker_is_given_up(broker: FakeBroker) -> None:
    def slow(data: bytes) -> bytes:
        stop.wait(60)
        return data

    stop = threading.Event()
    broker.wires[FETCH].append(slow)
    config = broker.config(request_timeout_seconds=2.0)
    with BrokerFetcher(config, broker.host, broker.port, max_wait_ms=100) as hot:
        started = time.monotonic()
        with pytest.raises(KafkaUnreachable, match=r"no answer within 2 s"):
            hot.fetch([position(broker)])
        assert 2.05 < time.monotonic() - started < 30, "long before the broker answers"
        stop.set()


def test_the_brokers_own_waiting_does_not_count_as_silence() -> None:
    with FakeBroker(max_wait_seconds=3.5) as broker:
        config = broker.config(request_timeout_seconds=3.0)
        with BrokerFetcher(config, broker.host, broker.port, max_wait_ms=3500) as hot:
            assert hot.fetch([position(broker)])[0].error == 0


# Row P2: a hostile broker

Hostile = Callable[[bytes], bytes]


def put(form: str, position: int, value: int) -> Hostile:
    """Overwrites a field at a byte of the frame (4 bytes of size, 4 of correlation id, tags, body)."""

    def wire(data: bytes) -> bytes:
        out = bytearray(data)
        struct.pack_into(form, out, position, value)
        return bytes(out)

    return wire


def body_is(content: bytes) -> Hostile:
    return lambda data: frame(data[4:9] + content)


SIZES = {f"frame of {size}": put(">i", 0, size) for size in (-1, -(2**31), 0, 3, 2**31 - 1, 300 * 2**20)}
CORRELATIONS = {f"correlation {number}": put(">i", 4, number) for number in (-1, 0, 1, 99, 2**31 - 1)}
V13 = struct.pack(">ihi", 0, 0, 0)
"""Throttle, error and session of a version 13 body."""
COUNTS = {
    f"topics {name}": body_is(V13 + count)
    for name, count in {"2^28": b"\xff\xff\xff\x7f", "2^32-1": b"\xff\xff\xff\xff\x0f", "endless": b"\xff" * 9}.items()
}
TOPIC = V13 + b"\x02" + bytes(16)
PARTITIONS = {
    f"partitions {name}": body_is(TOPIC + count)
    for name, count in {"2^28": b"\xff\xff\xff\x7f", "endless": b"\xff" * 6, "missing": b""}.items()
}
TEXT = {
    "http": lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "tls alert": lambda _: b"\x15\x03\x03\x00\x02\x02\x50",
    "zeros": lambda _: bytes(100),
    "ones": lambda _: b"\xff" * 100,
    "empty body": body_is(b""),
    "tag section endless": lambda data: frame(data[4:8] + b"\xff" * 20),
    "tag section huge": lambda data: frame(data[4:8] + b"\xff\xff\xff\xff\x0f" + data[9:]),
    "byte too many": lambda data: frame(data[4:] + b"\0"),
    "byte too few": lambda data: frame(data[4:-1]),
    "older version": lambda data: frame(data[4:8] + struct.pack(">i", 0) + bytes(20)),
}


def changed(**fields: Any) -> Callable[[Any], None]:
    def edit(answer: Any) -> None:
        for name, value in fields.items():
            setattr(answer.responses[0].partitions[0], name, value)

    return edit


def twice(answer: Any) -> None:
    answer.responses[0].partitions.append(answer.responses[0].partitions[0])


def two_topics(answer: Any) -> None:
    answer.responses.append(answer.responses[0])


def other_topic(answer: Any) -> None:
    import uuid

    answer.responses[0].topic_id = uuid.UUID(int=1)


EDITS: dict[str, Callable[[Any], None]] = {
    "partition 1": changed(partition_index=1),
    "partition -1": changed(partition_index=-1),
    "partition 2^31-1": changed(partition_index=2**31 - 1),
    "partition twice": twice,
    "topic twice": two_topics,
    "another topic": other_topic,
}
WIRES: dict[str, Hostile] = {**SIZES, **CORRELATIONS, **COUNTS, **PARTITIONS, **TEXT}


@pytest.mark.parametrize("name", WIRES)
@pytest.mark.fault("P2")
def test_hostile_frames(broker: FakeBroker, name: str) -> None:
    broker.partition("t").log += log_of(batch())
    broker.wires[FETCH].append(WIRES[name])
    config = broker.config(request_timeout_seconds=15.0)
    with BrokerFetcher(config, broker.host, broker.port, max_wait_ms=0) as hot:
        with pytest.raises(KafkaProtocolError):
            hot.fetch([position(broker)])
        with pytest.raises(KafkaUnreachable, match="is closed"):
            hot.send([position(broker)])


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.fault("P2")
def test_hostile_fields(broker: FakeBroker, name: str) -> None:
    broker.partition("t").log += log_of(batch())
    broker.edits[FETCH].append(EDITS[name])
    with fetcher(broker) as hot, pytest.raises(KafkaProtocolError, match="not asked for"):
        hot.fetch([position(broker)])


@pytest.mark.parametrize("cut", [0, 1, 3, 4, 5, 8, 9, 20, 60, -1])
@pytest.mark.fault("P2")
def test_torn_answers(broker: FakeBroker, cut: int) -> None:
    """The connection ends within an answer: nothing of it is handed out."""
    broker.partition("t").log += log_of(batch())

    def torn(data: bytes) -> bytes:
        for sock in broker._sockets:
            sock.sendall(data[:cut])
            sock.shutdown(socket.SHUT_RDWR)
        raise HangUp

    with fetcher(broker) as hot:
        broker.wires[FETCH].append(torn)
        with pytest.raises(KafkaUnreachable):
            hot.fetch([position(broker)])


RECORDS: dict[str, Callable[[bytes], bytes]] = {
    "flipped bit": lambda log: log[:-1] + bytes((log[-1] ^ 1,)),
    "magic 9": lambda log: patched(log, magic=9),
    "negative length": lambda log: patched(log, batch_length=-5),
    "negative count": lambda log: patched(log, record_count=-5),
    "offsets going back": lambda log: log + log,
    "never advancing": lambda log: patched(log, last_offset_delta=-1),
    "all zeros": lambda log: bytes(len(log)),
    "text": lambda log: b"these are no batches at all, not even nearly, but long enough to be",
}


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.fault("P2")
def test_hostile_records_are_found_by_the_walk(broker: FakeBroker, name: str) -> None:
    log = log_of(batch())
    broker.partition("t").log += log
    broker.edits[FETCH].append(changed(records=RECORDS[name](log)))
    with fetcher(broker) as hot:
        (answer,) = hot.fetch([position(broker)])
        with pytest.raises(CorruptBatch):
            walk(answer.records)


@pytest.mark.fault("P2")
def test_a_huge_frame_is_not_believed_before_it_comes(broker: FakeBroker) -> None:
    """A frame just under the limit is announced and never sent: room is made, but no memory used."""
    broker.wires[FETCH].append(lambda data: struct.pack(">i", 256 * 2**20) + data[4:])
    config = broker.config(request_timeout_seconds=2.5)
    with BrokerFetcher(config, broker.host, broker.port, max_wait_ms=0) as hot:
        before = resident_bytes()
        with pytest.raises(KafkaUnreachable, match="no answer within"):
            hot.fetch([position(broker)])
        assert resident_bytes() - before < 16 * 2**20


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123 read at once, not a document
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.fault("P2")
def test_a_dripping_broker_is_given_up() -> None:
    """One byte at a time never runs into a single wait's limit; the whole answer's limit ends it."""
    stop = threading.Event()

    def serve(server: socket.socket) -> None:
        sock, _ = server.accept()
        with sock:
            sock.recv(1000)
            sock.sendall(struct.pack(">i", 1000))
            while not stop.wait(0.02):
                try:
                    sock.sendall(b"\0")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as server, FakeBroker() as broker:
        thread = threading.Thread(target=serve, args=(server,), daemon=True)
        thread.start()
        config = broker.config(request_timeout_seconds=0.2)
        started = time.monotonic()
        with pytest.raises(KafkaUnreachable, match="no answer within"):
            BrokerFetcher(config, *server.getsockname()[:2])
        assert time.monotonic() - started < 15, "a thousand bytes at this pace would take 20 seconds"
        stop.set()
        thread.join(5)


NO_BROKERS = {"http", "tls alert", "zeros", "ones", *SIZES, *CORRELATIONS} - {"correlation 1"}
"""The first honest answer has correlation id 1."""


@pytest.mark.parametrize("name", sorted(NO_BROKERS))
@pytest.mark.fault("P2")
def test_peers_that_are_no_brokers(broker: FakeBroker, name: str) -> None:
    broker.wires[API_VERSIONS].append(WIRES[name])
    with pytest.raises(KafkaProtocolError) as caught:
        fetcher(broker)
    assert f"127.0.0.1:{broker.port}" in str(caught.value)

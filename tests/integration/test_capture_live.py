"""Backups of real brokers one after the other: increments, gaps, generations, open transactions, and rounds."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from tests.support.kafka import (
    KafkaCluster,
    Position,
    commit_positions,
    committed_positions,
    delete_topics,
    read_some,
    unique,
)
from tests.support.live import (
    RENAME,
    RESTORED,
    Filling,
    Live,
    beside,
    contents,
    delete_records,
    new_repository,
    now,
    objects,
    until,
)

from kafkeep.capture.options import BackupOptions
from kafkeep.capture.run import backup, follow
from kafkeep.kafka.cluster import LATEST, Cluster
from kafkeep.model import OffsetRange, TopicPartition
from kafkeep.repository.documents import cluster_metadata_from_json
from kafkeep.repository.repository import Repository

pytestmark = pytest.mark.integration


@pytest.fixture
def live(kafka: KafkaCluster) -> Iterator[Live]:
    """Each release in turn."""
    with Cluster(kafka.cluster_config()) as cluster:
        yield Live(kafka, cluster)


@pytest.fixture
def live_4(kafka_431: KafkaCluster) -> Iterator[Live]:
    with Cluster(kafka_431.cluster_config()) as cluster:
        yield Live(kafka_431, cluster)


@pytest.fixture
def repository() -> Repository:
    return new_repository()


@pytest.fixture
def topic() -> str:
    return unique("capture")


def metadata(repository: Repository) -> Any:
    point = repository.point("latest")
    return cluster_metadata_from_json(repository.document("metadata", dict(point.documents)["metadata"]))


def test_increments_gaps_and_a_recreated_topic(live: Live, repository: Repository, topic: str) -> None:
    """The life of one topic over five backups; every old point can still be restored at the end."""
    filling = Filling(live.kafka, topic).create(partitions=2).produce(60, partitions=2, batch_num_messages=10)
    first = live.back_up(repository, topic)
    assert (first.records, first.gaps, first.failures) == (60, (), ())
    seen_first = live.seen(topic)

    filling.produce(20, partitions=2)
    second = live.back_up(repository, topic)
    assert second.records == 20, "only what is new"
    before = objects(repository)
    assert live.back_up(repository, topic).nothing_new
    assert objects(repository) == before

    filling.produce(40, partitions=2, batch_num_messages=5)
    delete_records(live.kafka, topic, 0, 47)
    third = live.back_up(repository, topic)
    assert [(gap.generation.partition, gap.offsets, gap.reason) for gap in third.gaps] == [
        (0, OffsetRange(40, 47), "delete-records")
    ]
    assert third.records >= 33 and third.failures == ()
    seen_third = live.seen(topic)
    assert seen_third[0][0][0] == 47
    (known,) = [known for known in repository.state.generations.values() if known.gaps]
    assert [gap.offsets for gap in known.gaps] == [OffsetRange(40, 47)]

    delete_topics(live.kafka.client_properties, [topic])
    Filling(live.kafka, topic).create().produce(15)
    fourth = live.back_up(repository, topic)
    assert [change.why for change in fourth.opened] == ["recreated"]
    assert {change.why for change in fourth.closed} == {"recreated", "deleted"}
    assert (fourth.records, fourth.gaps) == (15, ())
    seen_fourth = live.seen(topic)

    delete_topics(live.kafka.client_properties, [topic])
    fifth = live.back_up(repository, topic + "*")
    assert {change.why for change in fifth.closed} == {"deleted"}

    for number, (result, seen) in enumerate(((first, seen_first), (third, seen_third), (fourth, seen_fourth))):
        rename = f"s/^/p{number}-/"
        restored = live.put_back(repository, result.point, renames=(RENAME[0].parse(rename),))
        assert restored.failures == ()
        assert contents(live.seen(f"p{number}-{topic}")) == contents(seen)


def decided(live: Live, topic: str) -> None:
    """A commit or abort returns before its markers are in every partition."""
    partition = TopicPartition(topic, 0)

    def settled() -> bool:
        stable, end = (live.cluster.offsets([partition], LATEST, read_committed=flag) for flag in (True, False))
        return stable == end

    until(settled, what="the end of all transactions")


def test_an_open_transaction_holds_the_cut_back_until_it_is_decided(
    live: Live, repository: Repository, topic: str
) -> None:
    filling = Filling(live.kafka, topic).create().produce(10)
    producer = Producer({**live.kafka.client_properties, "transactional.id": topic})
    producer.init_transactions(30)
    producer.begin_transaction()
    filling.send(producer, 5)
    filling.produce(10)
    first = live.back_up(repository, topic)
    assert first.point is not None
    (cut,) = first.point.cuts
    assert (first.records, cut.stop, cut.last_stable_offset, cut.high_watermark) == (10, 10, 10, 25)
    beyond = live.back_up(new := new_repository(), topic, cut="high-watermark")
    assert beyond.point is not None and beyond.point.cuts[0].stop == 25
    undecided = live.put_back(new, beyond.point, renames=(RENAME[0].parse("s/^/hw-/"),))
    assert undecided.failures == () and undecided.records == 20, "what is undecided is not restored"
    producer.abort_transaction(30)
    decided(live, topic)
    second = live.back_up(repository, topic)
    assert second.records == 15 and second.point is not None and second.point.cuts[0].stop == 26
    restored = live.put_back(repository, second.point, renames=RENAME)
    assert restored.records == 20
    assert contents(live.seen(RESTORED + topic)) == contents(live.seen(topic))
    again = live.back_up(new, topic, cut="high-watermark")
    aborted = live.put_back(new, again.point, renames=(RENAME[0].parse("s/^/hw2-/"),))
    assert contents(live.seen("hw2-" + topic)) == contents(live.seen(topic))
    assert aborted.records == 20


def test_transactions_that_reach_over_many_runs_and_backups(live: Live, repository: Repository, topic: str) -> None:
    """Tiny answers and packs, a backup after every step: aborted data lies in other runs than its marker."""
    filling = Filling(live.kafka, topic).create()
    producers = [Producer({**live.kafka.client_properties, "transactional.id": f"{topic}-{n}"}) for n in (0, 1)]
    for producer in producers:
        producer.init_transactions(30)
    for turn in range(3):
        for producer in producers:
            producer.begin_transaction()
        for _ in range(2):
            for producer in producers:
                filling.send(producer, 6)
            live.back_up(repository, topic, fetch_bytes=500, pack_bytes=1000)
        for number, producer in enumerate(producers):
            (producer.abort_transaction if (turn + number) % 2 else producer.commit_transaction)(30)
            live.back_up(repository, topic, fetch_bytes=500, pack_bytes=1000)
    filling.produce(3)
    decided(live, topic)
    result = live.back_up(repository, topic)
    assert len(next(iter(repository.state.generations.values())).runs) > 5
    restored = live.put_back(repository, result.point, renames=RENAME)
    assert restored.failures == () and restored.records == 39
    assert contents(live.seen(RESTORED + topic)) == contents(live.seen(topic))


def test_groups_with_members_and_without(live: Live, repository: Repository, topic: str) -> None:
    Filling(live.kafka, topic).create(partitions=2).produce(100, partitions=2)
    read_some(live.kafka.client_properties, topic, group=f"{topic}-left", count=40)
    commit_positions(live.kafka.client_properties, f"{topic}-set", [Position(topic, 0, 50), Position(topic, 1, 0)])
    active = Consumer({**live.kafka.client_properties, "group.id": f"{topic}-here", "auto.offset.reset": "earliest"})
    active.subscribe([topic])
    try:
        until(lambda: (active.poll(0.2) or True) and bool(active.assignment()), what="a member joining")
        active.commit(offsets=None, asynchronous=False) if active.poll(5.0) is not None else None
        point = live.back_up(repository, topic).point
        found = {group.group_id: group for group in metadata(repository).groups if group.group_id.startswith(topic)}
        assert set(found) == {f"{topic}-left", f"{topic}-set", f"{topic}-here"}
        assert found[f"{topic}-here"].state == "Stable" and found[f"{topic}-left"].state == "Empty"
        plan = live.plan(repository, point, renames=RENAME, groups=(f"{topic}-*",))
        assert [(refusal.kind, refusal.subject) for refusal in plan.refusals] == [("group-active", f"{topic}-here")]
    finally:
        active.close()
    restored = live.put_back(repository, point, renames=RENAME, groups=(f"{topic}-left", f"{topic}-set"))
    assert restored.failures == ()
    for group in (f"{topic}-left", f"{topic}-set"):
        assert committed_positions(live.kafka.client_properties, group, RESTORED + topic) == committed_positions(
            live.kafka.client_properties, group, topic
        )


def test_groups_of_the_new_protocol(live_4: Live, repository: Repository, topic: str) -> None:
    """KIP-848 groups: read by the new protocol, restored, and gone on with by the same protocol."""
    Filling(live_4.kafka, topic).create().produce(50)
    settings = {**live_4.kafka.client_properties, "group.protocol": "consumer"}
    read_some(settings, topic, group=topic, count=20)
    point = live_4.back_up(repository, topic).point
    (group,) = [group for group in metadata(repository).groups if group.group_id == topic]
    assert group.type == "consumer"
    (position,) = group.offsets
    assert 0 < position.offset < 50
    restored = live_4.put_back(repository, point, renames=RENAME, groups=(topic,))
    assert restored.failures == ()
    read_some(settings, RESTORED + topic, group=topic, count=10)
    assert committed_positions(live_4.kafka.client_properties, topic, RESTORED + topic)[0] >= position.offset + 10


def test_internal_topics_are_left_out_unless_named(live_4: Live, repository: Repository, topic: str) -> None:
    Filling(live_4.kafka, topic).create().produce(5)
    commit_positions(live_4.kafka.client_properties, topic, [Position(topic, 0, 3)])
    point = live_4.back_up(repository, topic, "__consumer_offsets").point
    assert point is not None
    assert {cut.generation.topic for cut in point.cuts} == {topic, "__consumer_offsets"}
    plan = live_4.plan(repository, point, topics=("__consumer_offsets",))
    assert any("internal" in refusal.message for refusal in plan.refusals)


class Following:
    """A following backup in a thread of its own."""

    def __init__(self, live: Live, repository: Repository, *topics: str) -> None:
        self.stop = threading.Event()
        self.result: Any = None
        self._live = live
        self._repository = repository
        self._options = BackupOptions(topics=topics)
        self._thread = beside(self._run)

    def _run(self) -> None:
        self.result = follow(
            self._live.cluster,
            self._repository,
            self._options,
            interval_seconds=0.3,
            now=now,
            stop=self.stop,
        )

    def end(self) -> float:
        """Seconds from the request to the end."""
        began = time.monotonic()
        self.stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()
        return time.monotonic() - began


def test_rounds_find_what_is_new_and_make_nothing_of_nothing(live: Live, repository: Repository, topic: str) -> None:
    filling = Filling(live.kafka, topic).create().produce(10)
    following = Following(live, repository, f"{topic}*")
    try:
        until(lambda: len(repository.points()) == 1, what="the first round")
        quiet = objects(repository)
        time.sleep(1.5)
        assert objects(repository) == quiet

        filling.produce(7)
        until(lambda: len(repository.points()) == 2, what="the second commit")
        other = Filling(live.kafka, f"{topic}-new").create().produce(5)
        until(lambda: {cut.generation.topic for cut in repository.points()[-1].cuts} == {topic, other.topic})
        live.kafka.lab.tool(
            "topics", "--bootstrap-server", live.kafka.bootstrap, "--alter", "--topic", topic, "--partitions", "2"
        )
        until(lambda: len(repository.points()[-1].cuts) == 3, what="the new partition")
    finally:
        assert following.end() < 5
    assert following.result.records == 22 and following.result.gaps == () and following.result.failures == ()
    result = live.back_up(repository, f"{topic}*")
    assert result.records == 0
    latest = live.put_back(repository, repository.points()[-1], renames=RENAME)
    assert latest.records == 22


def test_a_stop_in_the_middle_of_much_data_ends_it_soon_and_clean(
    live_4: Live, repository: Repository, topic: str
) -> None:
    filling = Filling(live_4.kafka, topic).create(partitions=4)
    body = filling.rng.randbytes(100_000)
    producer = Producer({**live_4.kafka.client_properties, "linger.ms": 5})
    for number in range(800):
        producer.produce(topic, value=body + b"%d" % number, partition=number % 4)
        producer.poll(0)
        if number % 100 == 0:
            producer.flush(30)
    assert producer.flush(30) == 0
    stop = threading.Event()
    read = 0

    def sink(event: Any) -> None:
        nonlocal read
        if type(event).__name__ == "Progress":
            read += event.size_bytes
            if read > 5_000_000:
                stop.set()

    began = time.monotonic()
    options = BackupOptions(topics=(topic,), fetch_bytes=1 << 20, connections_per_broker=1)
    result = backup(live_4.cluster, repository, options, now=now, sink=sink, stop=stop)
    assert time.monotonic() - began < 5
    assert result.interrupted and result.point is None and 0 < result.records < 800
    assert repository.state.alarms[:] == []
    rest = live_4.back_up(repository, topic)
    assert rest.records == 800 - result.records
    compared = live_4.compare(repository, rest.point)
    assert compared.identical and compared.records == 800

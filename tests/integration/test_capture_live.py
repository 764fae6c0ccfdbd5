"""Backups of real brokers one after the other: increments, gaps, generations, open transactions, and rounds."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from tests.support.kafka import (
    Position,
    commit,
    commit_positions,
    committed_positions,
    read_some,
    unique,
)
from tests.support.live import (
    RENAME,
    RESTORED,
    Filling,
    Live,
    beside,
    now,
    objects,
    until,
)

from kafkeep.capture.options import BackupOptions
from kafkeep.capture.run import backup, follow
from kafkeep.repository.documents import cluster_metadata_from_json
from kafkeep.repository.repository import Repository

pytestmark = pytest.mark.integration


@pytest.fixture
def topic() -> str:
    return unique("capture")


def metadata(repository: Repository) -> Any:
    point = repository.point("latest")
    return cluster_metadata_from_json(repository.document("metadata", dict(point.documents)["metadata"]))


def test_groups_with_members_and_without(live: Live, repository: Repository, topic: str) -> None:
    Filling(live.kafka, topic).create(partitions=2).produce(100, partitions=2)
    read_some(live.kafka.client_properties, topic, group=f"{topic}-left", count=40)
    commit_positions(live.kafka.client_properties, f"{topic}-set", [Position(topic, 0, 50), Position(topic, 1, 0)])
    active = Consumer({**live.kafka.client_properties, "group.id": f"{topic}-here", "auto.offset.reset": "earliest"})
    active.subscribe([topic])
    try:
        until(lambda: (active.poll(0.2) or True) and bool(active.assignment()), seconds=60, what="a member joining")
        until(lambda: (got := active.poll(0.2)) is not None and got.error() is None, what="a record for the member")
        commit(active, None)
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

    def end(self) -> None:
        self.stop.set()
        self._thread.join(120)
        assert not self._thread.is_alive()


def test_rounds_find_what_is_new_and_make_nothing_of_nothing(live: Live, repository: Repository, topic: str) -> None:
    filling = Filling(live.kafka, topic).create().produce(10)
    following = Following(live, repository, f"{topic}*")
    try:
        until(lambda: len(repository.points()) == 1, what="the first round")
        quiet = objects(repository)
        time.sleep(1.5)
        assert objects(repository) == quiet

        filling.produce(7)
        until(lambda: len(repository.points()) >= 2, what="the second commit")
        other = Filling(live.kafka, f"{topic}-new").create().produce(5)
        until(lambda: {cut.generation.topic for cut in repository.points()[-1].cuts} == {topic, other.topic})
        live.kafka.lab.tool(
            "topics", "--bootstrap-server", live.kafka.bootstrap, "--alter", "--topic", topic, "--partitions", "2"
        )
        until(lambda: len(repository.points()[-1].cuts) == 3, what="the new partition")
    finally:
        following.end()
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

    options = BackupOptions(topics=(topic,), fetch_bytes=1 << 20, connections_per_broker=1)
    result = backup(live_4.cluster, repository, options, now=now, sink=sink, stop=stop)
    assert result.interrupted and result.point is None
    assert 0 < result.records < 200, "an eighth was read when it was stopped"
    assert repository.state.alarms[:] == []
    rest = live_4.back_up(repository, topic)
    assert rest.records == 800 - result.records
    compared = live_4.compare(repository, rest.point)
    assert compared.identical and compared.records == 800

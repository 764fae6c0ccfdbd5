"""What a source does to its own past: topics deleted and created again, records deleted by retention and by command, and
logs cut back by an unclean election. Every recovery point keeps what was there when it was made, and what nobody can
have any more is told offset by offset.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic
from tests.support.kafka import KafkaCluster, delete_topics, unique
from tests.support.live import (
    RENAME,
    RESTORED,
    Filling,
    Live,
    Seen,
    contents,
    delete_records,
    new_repository,
    objects,
    total,
    until,
)
from tests.support.proof import Proof
from tests.support.sweep_command import Kafkeep

from kafkeep.capture.result import BackupResult
from kafkeep.errors import LossRefused
from kafkeep.events import Event, Progress
from kafkeep.kafka.cluster import Cluster
from kafkeep.model import OffsetRange
from kafkeep.renaming import Rename
from kafkeep.repository.repository import Repository
from kafkeep.verify.run import verify

pytestmark = pytest.mark.integration


@pytest.fixture
def live(kafka: KafkaCluster) -> Iterator[Live]:
    """Each release in turn."""
    with Cluster(kafka.cluster_config()) as cluster:
        yield Live(kafka, cluster)


@pytest.fixture
def repository() -> Repository:
    return new_repository()


def under(prefix: str) -> tuple[Rename, ...]:
    return (Rename.parse(f"s/^/{prefix}-/"),)


def without(seen: Seen, partition: int, lost: OffsetRange) -> Seen:
    return seen | {partition: [(at, one) for at, one in seen[partition] if not lost.start <= at < lost.stop]}


@dataclass(frozen=True)
class Moment:
    """A recovery point and what consumers saw when it was made."""

    result: BackupResult
    seen: dict[str, Seen]


def moment(live: Live, repository: Repository, topics: list[str], pattern: str) -> Moment:
    return Moment(live.back_up(repository, pattern), live.all_seen(topics))


@pytest.mark.exact("recreated", "deleted-topic")
def test_topics_created_again_and_deleted(live: Live, repository: Repository, proof: Proof) -> None:
    """Two partitions with 30 records each at first; then by topic: partitions and records in each."""
    prefix = unique("again")
    again = {"fewer": (1, 12), "equal": (2, 30), "more": (3, 50), "emptied": (2, 0)}
    names = {f"{prefix}.{kind}": shape for kind, shape in again.items()}
    for name in names:
        Filling(live.kafka, name).create(partitions=2).produce(60, partitions=2, batch_num_messages=10)
    points = [moment(live, repository, list(names), f"{prefix}*")]
    delete_topics(live.kafka.client_properties, list(names))
    for name, (partitions, each) in names.items():
        Filling(live.kafka, name).create(partitions=partitions).produce(partitions * each, partitions=partitions)
    points.append(moment(live, repository, list(names), f"{prefix}*"))
    opened = [change.why for change in points[1].result.opened]
    assert "recreated" in opened and set(opened) <= {"recreated", "first-seen"}
    assert points[1].result.gaps == () and points[1].result.records == 12 + 2 * 30 + 3 * 50
    delete_topics(live.kafka.client_properties, list(names))
    gone = live.back_up(repository, f"{prefix}*")
    assert {change.why for change in gone.closed} == {"deleted"}
    proof.on(live.kafka.version)
    for number, point in enumerate(points):
        restored = live.put_back(repository, point.result.point, renames=under(f"p{number}"))
        assert restored.failures == ()
        found = live.all_seen([f"p{number}-{name}" for name in names])
        expected = {(name, part): every for name in names for part, every in contents(point.seen[name]).items()}
        given = {(name, part): every for name in names for part, every in contents(found[f"p{number}-{name}"]).items()}
        assert expected.keys() == given.keys(), "the number of partitions, too"
        proof.same(expected, given, case="recreated")
        if number == 1:
            proof.same(expected, given, case="deleted-topic")


@pytest.mark.exact("delete-records")
def test_increments_and_records_deleted_between(live: Live, repository: Repository, proof: Proof) -> None:
    topic = unique("deleted")
    filling = Filling(live.kafka, topic).create(partitions=2).produce(60, partitions=2, batch_num_messages=10)
    first = moment(live, repository, [topic], topic)
    assert (first.result.records, first.result.gaps, first.result.failures) == (60, (), ())
    filling.produce(20, partitions=2)
    assert live.back_up(repository, topic).records == 20, "only what is new"
    before = objects(repository)
    assert live.back_up(repository, topic).nothing_new
    assert objects(repository) == before
    filling.produce(40, partitions=2, batch_num_messages=5)
    delete_records(live.kafka, topic, 0, 47)
    third = moment(live, repository, [topic], topic)
    gaps = [(gap.generation.partition, gap.offsets, gap.reason) for gap in third.result.gaps]
    assert gaps == [(0, OffsetRange(40, 47), "delete-records")]
    assert third.result.failures == () and third.seen[topic][0][0][0] == 47
    proof.on(live.kafka.version)
    for number, point in enumerate((first, third)):
        live.put_back(repository, point.result.point, renames=under(f"p{number}"))
        proof.same(contents(point.seen[topic]), contents(live.seen(f"p{number}-{topic}")))
    proof.figures(offsets_told_as_gaps=7)


class AtRecord:
    """A sink that does something once so many records were read, and holds the backup until it is done."""

    def __init__(self, records: int, act: Callable[[], None]) -> None:
        self._left, self._act = records, act
        self._lock = threading.Lock()
        self.done = False

    def __call__(self, event: Event) -> None:
        if not isinstance(event, Progress) or event.operation != "backup":
            return
        with self._lock:
            self._left -= event.records
            if self._left <= 0 and not self.done:
                self.done = True
                self._act()


@pytest.mark.exact("delete-records")
def test_records_deleted_in_front_of_a_running_backup(live: Live, repository: Repository, proof: Proof) -> None:
    topic = unique("running")
    Filling(live.kafka, topic).create(partitions=2).produce(2000, partitions=2, batch_num_messages=5)
    seen = live.seen(topic)
    sink = AtRecord(600, lambda: delete_records(live.kafka, topic, 0, 903))
    other = AtRecord(1, lambda: delete_records(live.kafka, topic, 1, 777))

    def both(event: Event) -> None:
        other(event)
        sink(event)

    result = live.back_up(repository, topic, sink=both, fetch_bytes=2000, connections_per_broker=1)
    assert sink.done and result.failures == () and len(result.gaps) == 2
    expected = seen
    for gap in result.gaps:
        part = gap.generation.partition
        assert gap.reason == "delete-records" and gap.offsets.stop == {0: 903, 1: 777}[part]
        assert 0 <= gap.offsets.start < gap.offsets.stop
        expected = without(expected, part, gap.offsets)
    assert result.records >= total([expected])
    assert verify(repository, level="data").findings == ()
    with pytest.raises(LossRefused):
        live.put_back(repository, result.point, renames=RENAME, whole_history=True)
    live.put_back(repository, result.point, renames=RENAME, whole_history=True, allow_loss="skip")
    live.put_back(repository, result.point, renames=under("left"))
    proof.on(live.kafka.version)
    proof.same(contents(expected), contents(live.seen(RESTORED + topic)))
    proof.same(contents(live.seen(topic)), contents(live.seen(f"left-{topic}")))
    proof.figures(offsets_told_as_gaps=sum(gap.offsets.stop - gap.offsets.start for gap in result.gaps))


def set_config(kafka: KafkaCluster, topic: str, name: str, value: str) -> None:
    admin = AdminClient(kafka.client_properties)
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(30)


@pytest.mark.exact("retention-overtakes")
def test_retention_overtakes_a_backup(live: Live, tmp_path: Path, proof: Proof) -> None:
    """Old records, of which half are backed up when the broker deletes them all; exit status 3 and the exact gap."""
    topic, repository = unique("overtaken"), tmp_path / "repository"
    kafkeep = Kafkeep(tmp_path / "home", inside=True)
    place = ["--repo", str(repository), "--cluster", live.kafka.bootstrap]
    kafkeep("init", *place[:2]).expect(0)
    filling = Filling(live.kafka, topic).create(partitions=2, segment_ms="1000").produce(60, partitions=2)
    first = live.seen(topic)
    kafkeep("backup", *place, "--topics", topic).expect(0)
    filling.produce(50, partitions=2).produce(30, partitions=2, stamped=False)
    set_config(live.kafka, topic, "retention.ms", "3600000")
    until(lambda: all(records[0][0] == 55 for records in live.seen(topic).values()), what="retention")
    last = live.seen(topic)
    told = kafkeep("backup", *place, "--topics", topic)
    told.expect(3)
    gaps = [line["gap"] for line in told.lines if line["type"] == "gap"]
    found = sorted((gap["generation"]["partition"], gap["offsets"], gap["reason"]) for gap in gaps)
    assert found == [(part, {"start": 30, "stop": 55}, "retention") for part in (0, 1)]
    proof.on(live.kafka.version)
    restoring = ["restore", "latest", *place, "--groups", "none"]
    kafkeep(*restoring, "--rename", "s/^/now-/").expect(0)
    proof.same(contents(last), contents(live.seen(f"now-{topic}")))
    everything = [*restoring, "--rename", "s/^/all-/", "--whole-history", "--retention", "hold"]
    kafkeep(*everything).expect(24)
    kafkeep(*everything, "--allow-loss", "skip").expect(21)
    whole = {part: [*first[part], *last[part]] for part in first}
    proof.same(contents(whole), contents(live.seen(f"all-{topic}")))
    proof.figures(offsets_told_as_gaps=50)


@pytest.fixture
def three(kafka_431_three: KafkaCluster) -> Iterator[Live]:
    """Whoever stops a node gets it started again."""
    with Cluster(kafka_431_three.cluster_config()) as cluster:
        yield Live(kafka_431_three, cluster)
        for node in kafka_431_three.lab.nodes:
            node.start()
        until(lambda: len(cluster.topology([]).brokers) == 3, what="all brokers being back")


def in_sync(live: Live, topic: str) -> tuple[int, set[int]]:
    part = AdminClient(live.kafka.client_properties).list_topics(topic, timeout=60).topics[topic].partitions[0]
    return part.leader, set(part.isrs)


@pytest.mark.exact("unclean-election")
def test_an_unclean_election_cuts_the_log_back(three: Live, repository: Repository, proof: Proof) -> None:
    """Broker 3 leads with less than broker 2 had. One topic is backed up while its log is shorter, the other only once it
    has grown past the position again.
    """
    lab, prefix = three.kafka.lab, unique("unclean")
    cut, grown = topics = [f"{prefix}.cut", f"{prefix}.grown"]
    config = {"unclean.leader.election.enable": "true", "min.insync.replicas": "1", "retention.ms": "-1"}
    admin = AdminClient(three.kafka.client_properties)
    made = [NewTopic(name, replica_assignment=[[2, 3]], num_partitions=1, config=config) for name in topics]
    for future in admin.create_topics(made).values():
        future.result(30)
    fillings = [Filling(three.kafka, name) for name in topics]

    def all_in_sync(leader: int, replicas: set[int]) -> bool:
        return all(in_sync(three, name) == (leader, replicas) for name in topics)

    until(lambda: all_in_sync(2, {2, 3}), what="both replicas being in sync")
    for filling in fillings:
        filling.produce(30, batch_num_messages=7)
    lab.node(3).kill()
    until(lambda: all_in_sync(2, {2}), what="broker 3 being out of sync")
    for filling in fillings:
        filling.produce(25, batch_num_messages=7)
    points = [moment(three, repository, topics, f"{prefix}*")]
    assert points[0].result.records == 110
    lab.node(2).kill()
    lab.node(3).start()
    until(lambda: all_in_sync(3, {3}), seconds=60, what="the unclean election")
    assert len(three.seen(cut)[0]) == 30
    shorter = three.back_up(repository, cut)
    assert [change.why for change in shorter.opened] == ["truncated"]
    assert shorter.records == 30
    for filling in fillings:
        filling.produce(60, batch_num_messages=9)
    points.append(moment(three, repository, topics, f"{prefix}*"))
    assert [(change.generation.topic, change.why) for change in points[1].result.opened] == [(grown, "truncated")]
    assert points[1].result.records == 60 + 90
    proof.on(three.kafka.version)
    lab.node(2).start()
    until(lambda: all_in_sync(3, {2, 3}), seconds=60, what="broker 2 being back")
    for number, point in enumerate(points):
        live_point = three.put_back(repository, point.result.point, renames=under(f"p{number}"))
        assert live_point.failures == ()
        for name in topics:
            found = three.seen(f"p{number}-{name}")
            proof.same(contents(point.seen[name]), contents(found))
    assert contents(points[0].seen[grown])[0][:30] == contents(points[1].seen[grown])[0][:30]
    assert contents(points[0].seen[grown])[0][30:] != contents(points[1].seen[grown])[0][30:55]
    proof.figures(records_of_a_lost_history=50)

"""Group positions between real clusters. Judges that know nothing of kafkeep: confluent-kafka's consumers of both group
protocols, which must read on with the right record, and Kafka's own Java tools, which must describe the same offsets.
"""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as Position
from tests.support.kafka import (
    Content,
    KafkaCluster,
    Sample,
    create_topic,
    delete_topics,
    produce,
    produce_transaction,
    read_on,
    read_positions,
    unique,
)

from kafkeep.capture.options import BackupOptions
from kafkeep.capture.run import backup
from kafkeep.cli.main import main
from kafkeep.groups.formats import FilePosition, positions_of_plan, write_csv, write_json
from kafkeep.groups.formats import read_positions as read_file
from kafkeep.groups.options import GroupOptions
from kafkeep.groups.plan import GroupsPlan
from kafkeep.groups.result import GroupsResult
from kafkeep.groups.run import carry_out_plan, prepare, prepare_file, prepare_rollback
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.connection import Connection, FrameBuffer
from kafkeep.kafka.groups import GroupListing
from kafkeep.model import GroupOffset, RecoveryPoint, TopicPartition
from kafkeep.renaming import Rename
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.factory import open_store
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.run import prepare as prepare_restore
from kafkeep.restore.run import restore

pytestmark = pytest.mark.integration

SHARE_TOOL = "org.apache.kafka.tools.consumer.group.ShareGroupCommand"


def now() -> datetime:
    return datetime.now(UTC)


def new_repository() -> Repository:
    return Repository.init(MemoryStore(), now=now, rng=random.SystemRandom())


@pytest.fixture(scope="module")
def target(kafka_431: KafkaCluster) -> Iterator[Cluster]:
    with Cluster(kafka_431.cluster_config()) as cluster:
        yield cluster


def point_of(cluster: Cluster, repository: Repository, *topics: str) -> RecoveryPoint:
    found = backup(cluster, repository, BackupOptions(topics=topics), now=now).point
    assert found is not None
    return found


def carried(cluster: Cluster, repository: Repository, plan: GroupsPlan) -> GroupsResult:
    return carry_out_plan(cluster, repository, plan, connections=4, now=now)


def from_file(cluster: Cluster, *positions: FilePosition, backwards: bool = True) -> GroupsPlan:
    return prepare_file(cluster, "x.json", positions, GroupOptions(backwards=backwards))


def taken_back(cluster: Cluster, repository: Repository, job: str = "latest", *, force: bool = False) -> GroupsPlan:
    return prepare_rollback(cluster, repository, job, groups=lambda name: True, force=force)


def positions_of(cluster: Cluster, group: str) -> dict[TopicPartition, GroupOffset]:
    found = cluster.admin.group_offsets([group])[group]
    assert isinstance(found, tuple)
    return {position.topic_partition: position for position in found}


def described(kafka: KafkaCluster, groups: Sequence[str]) -> dict[tuple[str, str, int], int]:
    """(group, topic, partition) to the offset that Kafka's Java tool shows."""
    named = [word for group in groups for word in ("--group", group)]
    told = kafka.lab.tool("consumer-groups", "--bootstrap-server", kafka.bootstrap, "--describe", "--offsets", *named)
    rows = [line.split() for line in told.stdout.splitlines() if line.strip() and not line.startswith("GROUP")]
    return {(row[0], row[1], int(row[2])): int(row[3]) for row in rows if len(row) > 4 and row[3].isdigit()}


def samples(count: int, label: str, *, keys: int = 0) -> list[Sample]:
    return [
        Sample(f"key-{number % keys}".encode() if keys else None, f"{label} {number}".encode(), partition=0)
        for number in range(count)
    ]


@dataclass(frozen=True)
class Journey:
    """Two topics with everything that makes offsets jump, and groups at every kind of place, restored elsewhere."""

    source: KafkaCluster
    repository: Repository
    point: RecoveryPoint
    plain: str
    compacted: str
    places: dict[str, tuple[str, int]]
    """Group to topic and committed source offset."""
    ends: dict[str, int]


def fill(kafka: KafkaCluster, plain: str, compacted: str) -> dict[str, int]:
    """Offsets 0-4 are deleted, 10-14 aborted, 15 and 21 markers; the compacted topic has lost most of its first 100."""
    settings = kafka.client_properties
    create_topic(settings, plain)
    produce(settings, plain, samples(10, "plain"))
    for commit in (False, True):
        records = samples(5, f"transaction {commit}")
        produce_transaction(settings, plain, records, transactional_id=plain, commit=commit)
    produce(settings, plain, samples(10, "more"))
    create_topic(
        settings,
        compacted,
        config={
            "cleanup.policy": "compact",
            "segment.ms": "100",
            "min.cleanable.dirty.ratio": "0.001",
            "max.compaction.lag.ms": "100",
        },
    )
    produce(settings, compacted, samples(100, "old", keys=7))
    time.sleep(0.3)
    produce(settings, compacted, samples(3, "new", keys=100))
    deadline = time.monotonic() + 60
    while len(read_positions(settings, compacted)[0]) > 20:
        assert time.monotonic() < deadline, "the topic is not compacted"
        time.sleep(0.3)
    with Cluster(kafka.cluster_config()) as cluster:
        assert cluster.admin.delete_records({TopicPartition(plain, 0): 5}) == {TopicPartition(plain, 0): (5, 0)}
        ends = cluster.offsets([TopicPartition(plain, 0), TopicPartition(compacted, 0)], -1)
    return {tp.topic: answer.offset for tp, answer in ends.items()}


@pytest.fixture(scope="module")
def journey(kafka_392: KafkaCluster, target: Cluster) -> Iterator[Journey]:
    plain, compacted = unique("plain"), unique("compacted")
    ends = fill(kafka_392, plain, compacted)
    assert ends[plain] == 32
    prefix = unique("g")
    places = {f"{prefix}-plain-{at}": (plain, at) for at in (3, 5, 12, 15, 18, 21, 31, 32)}
    places |= {f"{prefix}-compacted-{at}": (compacted, at) for at in (0, 40, 99, ends[compacted])}
    repository = new_repository()
    with Cluster(kafka_392.cluster_config()) as cluster:
        for group, (topic, at) in places.items():
            committed = GroupOffset(TopicPartition(topic, 0), at, -1, f"at {at}, née")
            assert set(cluster.admin.commit_group_offsets(group, [committed]).values()) == {0}
        point = point_of(cluster, repository, plain, compacted)
    options = RestoreOptions(groups=())
    plan = prepare_restore(target, repository, point, options, now=now)
    assert restore(target, repository, plan, options, now=now).failures == ()
    yield Journey(kafka_392, repository, point, plain, compacted, places, ends)


def first_records(kafka: KafkaCluster, places: dict[str, tuple[str, int]], **more: Any) -> dict[str, Content]:
    """What a member of each group is given first."""
    settings = {**kafka.client_properties, **more}

    def first(group: str) -> Content:
        return read_on(settings, places[group][0], group=group, partitions=[0])[0]

    with ThreadPoolExecutor(6) as pool:
        return dict(zip(places, pool.map(first, places), strict=True))


def place_at_source(journey: Journey, topic: str, at: int) -> str:
    """What a committed consumer of the source finds at an offset."""
    there = [offset for offset, _ in read_positions(journey.source.client_properties, topic)[0]]
    if at in there:
        return "exact"
    if topic == journey.plain and at < 5:
        return "before-start"
    return "hole" if any(offset > at for offset in there) else "at-end"


def test_groups_read_on_with_the_record_they_would_have_read_at_the_source(
    journey: Journey, target: Cluster, kafka_431: KafkaCluster
) -> None:
    plan = prepare(target, journey.repository, journey.point, GroupOptions(groups=tuple(journey.places)))
    assert plan.refusals == ()
    landed = {group.group_id: group.positions[0].place for group in plan.groups}
    assert landed == {group: place_at_source(journey, *place) for group, place in journey.places.items()}
    assert set(landed.values()) == {"before-start", "exact", "hole", "at-end"}
    result = carried(target, journey.repository, plan)
    assert (result.groups, result.failures, result.differences) == (len(journey.places), (), ())
    reading = {group: place for group, place in journey.places.items() if place[1] < journey.ends[place[0]]}
    expected = first_records(journey.source, reading)
    half = dict(list(reading.items())[::2])
    assert first_records(kafka_431, half) == {group: expected[group] for group in half}
    rest = {group: place for group, place in reading.items() if group not in half}
    found = first_records(kafka_431, rest, **{"group.protocol": "consumer"})
    assert found == {group: expected[group] for group in rest}


def test_javas_tool_describes_the_offsets_of_the_plan(
    journey: Journey, target: Cluster, kafka_431: KafkaCluster
) -> None:
    plan = prepare(target, journey.repository, journey.point, GroupOptions(groups=tuple(journey.places)))
    carried(target, journey.repository, plan)
    wanted = {(g.group_id, p.target.topic, p.target.partition): p.offset for g in plan.groups for p in g.positions}
    assert described(kafka_431, list(journey.places)) == wanted
    strings = {group: next(iter(positions_of(target, group).values())).metadata for group in journey.places}
    assert strings == {group: f"at {at}, née" for group, (_, at) in journey.places.items()}
    again = prepare(target, journey.repository, journey.point, GroupOptions(groups=tuple(journey.places)))
    assert not again.changes and again.refusals == ()


def test_a_topic_that_was_made_anew_is_not_taken_for_the_restored_one(journey: Journey, target: Cluster) -> None:
    rename = Rename.parse(f"s/^{journey.plain}$/{unique('anew')}/")
    groups = tuple(group for group, place in journey.places.items() if place[0] == journey.plain)
    options = RestoreOptions(topics=(journey.plain,), groups=(), renames=(rename,))
    settings = {"bootstrap.servers": ",".join(target.config.bootstrap)}
    plan = prepare_restore(target, journey.repository, journey.point, options, now=now)
    restore(target, journey.repository, plan, options, now=now)
    asked = GroupOptions(groups=groups, topics=(journey.plain,), renames=(rename,))
    assert prepare(target, journey.repository, journey.point, asked).refusals == ()
    delete_topics(settings, [rename.replacement])
    create_topic(settings, rename.replacement)
    produce(settings, rename.replacement, samples(200, "others"))
    refused = prepare(target, journey.repository, journey.point, asked)
    assert {(r.kind, r.subject) for r in refused.refusals} == {("offset-map-refused", f"topic {rename.replacement}")}
    assert "earlier topic" in refused.refusals[0].message


def test_csv_goes_to_kafkas_tool_and_back(target: Cluster, kafka_431: KafkaCluster, tmp_path: Path) -> None:
    topic = unique("csv")
    create_topic(kafka_431.client_properties, topic, partitions=2)
    produce(kafka_431.client_properties, topic, [Sample(None, b"x", partition=n % 2) for n in range(80)])
    names = [unique(name) for name in ("plain", "with,comma", 'with"quote', " lead", "back\\slash", "ünï")]
    wanted = [FilePosition(name, TopicPartition(topic, p), 3 + i + p) for i, name in enumerate(names) for p in (0, 1)]
    repository = new_repository()
    file = tmp_path / "plan.csv"
    file.write_text(write_csv(positions_of_plan(from_file(target, *wanted))).text, newline="")
    named = [word for name in names for word in ("--group", name)]
    server = ["--bootstrap-server", kafka_431.bootstrap]
    kafka_431.lab.tool("consumer-groups", *server, "--reset-offsets", "--from-file", str(file), *named, "--execute")
    assert not from_file(target, *wanted).changes, "Kafka's tool has set exactly what the file says"
    export = ["--reset-offsets", "--to-current", "--all-topics", "--export", "--dry-run"]
    exported = kafka_431.lab.tool("consumer-groups", *server, *export, *named).stdout
    alone = kafka_431.lab.tool("consumer-groups", *server, *export, "--group", names[1]).stdout
    moved = [FilePosition(p.group_id, p.target, 30) for p in wanted]
    assert carried(target, repository, from_file(target, *moved)).groups == len(names)
    read = read_file(exported, "exported.csv")
    assert sorted(read, key=str) == sorted(wanted, key=str)
    assert carried(target, repository, from_file(target, *read)).positions == len(wanted)
    assert not from_file(target, *wanted).changes
    one = read_file(alone, "alone.csv", group=names[1])
    assert sorted(one, key=str) == sorted([p for p in wanted if p.group_id == names[1]], key=str)


def filled(kafka: KafkaCluster, partitions: int = 3, count: int = 90) -> str:
    topic = unique("filled")
    create_topic(kafka.client_properties, topic, partitions=partitions)
    produce(kafka.client_properties, topic, [Sample(None, b"%d" % n, partition=n % partitions) for n in range(count)])
    return topic


def test_rolling_back_gives_exactly_what_was(kafka: KafkaCluster) -> None:
    topic, old, bare, fresh = filled(kafka), unique("old"), unique("bare"), unique("fresh")
    tps = [TopicPartition(topic, number) for number in range(3)]
    repository = new_repository()
    with Cluster(kafka.cluster_config()) as cluster:
        cluster.admin.commit_group_offsets(old, [GroupOffset(tps[0], 5, 0, "é"), GroupOffset(tps[1], 6, -1, "")])
        cluster.admin.commit_group_offsets(bare, [GroupOffset(tps[0], 7, -1, "")])
        cluster.admin.delete_group_offsets(bare, [tps[0]])
        before = {group: positions_of(cluster, group) for group in (old, bare, fresh)}
        states = cluster.admin.group_state([old, bare, fresh])
        wanted = [FilePosition(group, tp, 20 + tp.partition, "new") for group in (old, bare, fresh) for tp in tps]
        result = carried(cluster, repository, from_file(cluster, *wanted))
        assert (result.groups, result.positions) == (3, 9)
        assert described(kafka, [old, bare, fresh]) == {
            (p.group_id, topic, p.target.partition): p.offset for p in wanted
        }
        assert carried(cluster, repository, from_file(cluster, *wanted)).job == ""
        undone = carried(cluster, repository, taken_back(cluster, repository))
        assert (undone.groups, undone.failures, undone.differences) == (3, (), ())
        assert {group: positions_of(cluster, group) for group in (old, bare, fresh)} == before
        assert cluster.admin.group_state([old, bare, fresh]) == states
        listed = kafka.lab.tool("consumer-groups", "--bootstrap-server", kafka.bootstrap, "--list").stdout.split()
        assert old in listed and fresh not in listed
        assert not taken_back(cluster, repository).changes


def test_a_group_that_somebody_moved_since_is_refused_and_then_forced(target: Cluster, kafka_431: KafkaCluster) -> None:
    topic, group, other = filled(kafka_431, 1), unique("moved"), unique("still")
    tp, repository = TopicPartition(topic, 0), new_repository()
    carried(target, repository, from_file(target, FilePosition(group, tp, 5), FilePosition(other, tp, 5)))
    consumer = Consumer({**kafka_431.client_properties, "group.id": group})
    consumer.commit(offsets=[Position(topic, 0, 9)], asynchronous=False)
    consumer.close()
    plan = taken_back(target, repository)
    assert [(r.kind, r.subject) for r in plan.refusals] == [("moved-since", f"group {group}")]
    assert carried(target, repository, plan).done == {other}
    assert positions_of(target, group)[tp].offset == 9
    carried(target, repository, taken_back(target, repository, force=True))
    state = target.admin.group_state([group])[group]
    assert isinstance(state, GroupListing) and state.state == "Dead"


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_an_active_group_is_refused_by_name(target: Cluster, kafka_431: KafkaCluster, protocol: str) -> None:
    topic, busy, idle = filled(kafka_431, 1), unique("busy"), unique("idle")
    tp, repository = TopicPartition(topic, 0), new_repository()
    target.admin.commit_group_offsets(busy, [GroupOffset(tp, 3, -1, "")])
    target.admin.commit_group_offsets(idle, [GroupOffset(tp, 4, -1, "")])
    point = point_of(target, repository, topic)
    carried(target, repository, from_file(target, *(FilePosition(group, tp, 8) for group in (busy, idle))))
    consumer = Consumer({**kafka_431.client_properties, "group.id": busy, "group.protocol": protocol})
    consumer.subscribe([topic])
    options = GroupOptions(groups=(busy, idle), backwards=True)
    try:
        deadline = time.monotonic() + 40
        while not consumer.assignment():
            consumer.poll(0.2)
            assert time.monotonic() < deadline
        plan = prepare(target, repository, point, options)
        assert [(r.kind, r.subject) for r in plan.refusals] == [("group-active", f"group {busy}")]
        assert carried(target, repository, plan).done == {idle}
        assert [r.kind for r in taken_back(target, repository).refusals] == []
    finally:
        consumer.close()
    plan = prepare(target, repository, point, options)
    assert {group.group_id: group.type for group in plan.groups if group.changes} == {busy: protocol}
    assert carried(target, repository, plan).done == {busy}
    assert (positions_of(target, busy)[tp].offset, positions_of(target, idle)[tp].offset) == (3, 4)
    state = target.admin.group_state([busy])[busy]
    assert isinstance(state, GroupListing) and (state.type, state.state) == (protocol, "Empty")


def test_a_member_that_joins_while_the_plan_is_carried_out_is_safe(target: Cluster, kafka_431: KafkaCluster) -> None:
    topic, group = filled(kafka_431, 1), unique("joins")
    tp, repository = TopicPartition(topic, 0), new_repository()
    plan = from_file(target, FilePosition(group, tp, 8))
    consumer = Consumer({**kafka_431.client_properties, "group.id": group})
    consumer.subscribe([topic])
    try:
        deadline = time.monotonic() + 40
        while not consumer.assignment():
            consumer.poll(0.2)
            assert time.monotonic() < deadline
        result = carried(target, repository, plan)
        assert [(f.subject, f.reason) for f in result.failures] == [(f"group {group}", "UNKNOWN_MEMBER_ID")]
    finally:
        consumer.close()
    assert positions_of(target, group) == {}


def test_a_foreign_leader_epoch_is_put_right_although_the_offset_was(target: Cluster, kafka_431: KafkaCluster) -> None:
    """A Java consumer stays silent on an epoch that the topic never had; afterwards it reads on."""
    topic, group = filled(kafka_431, 1), unique("epoch")
    tp, repository = TopicPartition(topic, 0), new_repository()
    target.admin.commit_group_offsets(group, [GroupOffset(tp, 40, -1, "")])
    point = point_of(target, repository, topic)
    target.admin.commit_group_offsets(group, [GroupOffset(tp, 40, 57, "")])
    plan = prepare(target, repository, point, GroupOptions(groups=(group,)))
    assert plan.changes and plan.refusals == ()
    carried(target, repository, plan)
    told = kafka_431.lab.tool(
        "console-consumer", "--bootstrap-server", kafka_431.bootstrap, "--topic", topic, "--group", group,
        "--max-messages", "2", "--timeout-ms", "20000",
    )  # fmt: skip
    assert told.stdout.split() == ["40", "41"]


def compact(text: str) -> bytes:
    return bytes([len(text) + 1]) + text.encode()


def streams_heartbeat(group: str, member: str, epoch: int, topic: str | None) -> bytes:
    """StreamsGroupHeartbeat version 0 (KIP-1071); no client library here speaks it."""
    topology = b"\xff"
    if topic is not None:
        subtopology = compact("0") + b"\2" + compact(topic) + b"\1\1\1\1\1" + b"\0"
        topology = b"\1" + struct.pack(">i", 0) + b"\2" + subtopology + b"\0"
    tasks = b"\1\1\1" if epoch == 0 else b"\0\0\0"
    return (
        compact(group) + compact(member) + struct.pack(">ii", epoch, 0) + b"\0\0" + struct.pack(">i", 10_000) + topology
        + tasks + compact("process") + b"\xff" + b"\1" + b"\0\0" + b"\0" + b"\0"
    )  # fmt: skip


def test_streams_groups_are_set_while_they_are_empty(target: Cluster, kafka_431: KafkaCluster) -> None:
    topic, group = filled(kafka_431, 1), unique("streams")
    tp, repository = TopicPartition(topic, 0), new_repository()
    target.admin.group_offsets([group])
    host, port = kafka_431.cluster_config().addresses[0]
    listing = None
    with Connection.open(kafka_431.cluster_config(), host, port) as connection:
        for epoch, name in ((0, topic), (-1, None)):
            connection.send(88, 0, [streams_heartbeat(group, "member-1", epoch, name)])
            answer = bytes(connection.receive(FrameBuffer())[1])
            assert struct.unpack_from(">h", answer, 4) == (0,), answer
            listing = target.admin.group_state([group])[group]
            if epoch == 0:
                refused = from_file(target, FilePosition(group, tp, 8)).refusals
                assert [r.kind for r in refused] == ["group-active"]
    assert isinstance(listing, GroupListing) and (listing.type, listing.state) == ("streams", "Empty")
    assert carried(target, repository, from_file(target, FilePosition(group, tp, 8, "AgAAAY"))).failures == ()
    assert positions_of(target, group)[tp] == GroupOffset(tp, 8, -1, "AgAAAY")
    assert target.admin.group_state([group])[group] == listing
    point = point_of(target, repository, topic)
    carried(target, repository, from_file(target, FilePosition(group, tp, 9)))
    plan = prepare(target, repository, point, GroupOptions(groups=(group,), backwards=True))
    assert plan.groups[0].type == "streams"
    carried(target, repository, plan)
    assert positions_of(target, group)[tp] == GroupOffset(tp, 8, -1, "AgAAAY")


def share_offsets(kafka: KafkaCluster, *groups: str) -> dict[tuple[str, int], int]:
    """Start offset by group and partition as Kafka's Java tool shows it."""
    named = [word for group in groups for word in ("--group", group)]
    told = kafka.lab.tool(SHARE_TOOL, "--bootstrap-server", kafka.bootstrap, "--describe", "--offsets", *named)
    rows = [line.split() for line in told.stdout.splitlines() if line.startswith(groups)]
    return {(row[0], int(row[2])): int(row[3]) for row in rows if row[3].isdigit()}


def test_start_offsets_of_share_groups_come_back(target: Cluster, kafka_431: KafkaCluster) -> None:
    topic, group, fresh = filled(kafka_431, 2), unique("share"), unique("fresh")
    tps = [TopicPartition(topic, number) for number in range(2)]
    repository = new_repository()
    first = [FilePosition(group, tps[0], 11, share=True), FilePosition(group, tps[1], 12, share=True)]
    assert carried(target, repository, from_file(target, *first)).failures == ()
    point = point_of(target, repository, topic)
    carried(target, repository, from_file(target, FilePosition(group, tps[0], 30, share=True)))
    options = GroupOptions(groups=(group,), backwards=True)
    plan = prepare(target, repository, point, options)
    assert [(g.kind, g.type) for g in plan.groups] == [("share", "share")]
    assert carried(target, repository, plan).positions == 1
    carried(target, repository, taken_back(target, repository))
    moved = target.admin.share_group_offsets([group])[group]
    assert isinstance(moved, tuple) and [p.offset for p in moved] == [30, 12]
    renamed = GroupOptions(groups=(group,), group_renames=(Rename.parse(f"{group}={fresh}"),))
    assert carried(target, repository, prepare(target, repository, point, renamed)).groups == 1
    assert share_offsets(kafka_431, group, fresh) == {(group, 0): 30, (group, 1): 12, (fresh, 0): 11, (fresh, 1): 12}
    carried(target, repository, taken_back(target, repository))
    state = target.admin.group_state([fresh])[fresh]
    assert isinstance(state, GroupListing) and state.state == "Dead"


def test_brokers_without_share_groups_say_so(kafka_392: KafkaCluster) -> None:
    topic, group = filled(kafka_392, 1), unique("share")
    with Cluster(kafka_392.cluster_config()) as cluster:
        plan = from_file(cluster, FilePosition(group, TopicPartition(topic, 0), 5, share=True))
    assert [(r.kind, r.subject) for r in plan.refusals] == [("kafka-unsupported", f"group {group}")]


@pytest.mark.soak
def test_a_coordinator_that_dies_meanwhile_is_replaced(kafka_431_three: KafkaCluster) -> None:
    """Groups lie on three coordinators, and one is killed while they are set."""
    topic, prefix = unique("filled"), unique("g")
    create_topic(kafka_431_three.client_properties, topic, replication=3)
    produce(kafka_431_three.client_properties, topic, samples(90, "x"))
    tp, repository = TopicPartition(topic, 0), new_repository()
    wanted = [FilePosition(f"{prefix}-{number}", tp, number % 90) for number in range(900)]
    node = kafka_431_three.lab.node(2)
    with Cluster(kafka_431_three.cluster_config()) as cluster:
        plan = from_file(cluster, *wanted)
        killer = threading.Timer(0.2, node.kill)
        killer.start()
        try:
            result = carried(cluster, repository, plan)
        finally:
            killer.join()
            node.start()
        assert (result.failures, result.differences, result.groups) == ((), (), 900)
        found = cluster.admin.group_offsets([p.group_id for p in wanted])
        assert {name: p[0].offset for name, p in found.items() if isinstance(p, tuple)} == {
            p.group_id: p.offset for p in wanted
        }
        assert carried(cluster, repository, taken_back(cluster, repository)).groups == 900
        assert not any(group.group_id.startswith(prefix) for group in cluster.admin.groups())


def test_a_kill_while_groups_are_set_is_taken_back_exactly(
    target: Cluster, kafka_431: KafkaCluster, tmp_path: Path
) -> None:
    topic, prefix = filled(kafka_431, 1), unique("killed")
    tp, repository = TopicPartition(topic, 0), tmp_path / "repository"
    groups = [f"{prefix}-{number}" for number in range(1500)]
    keeper = new_repository()
    carried(target, keeper, from_file(target, *(FilePosition(group, tp, 3, "before") for group in groups[::2])))
    file = tmp_path / "plan.json"
    file.write_text(write_json(iter([FilePosition(group, tp, 50) for group in groups])).text)
    assert main(["init", "--repo", str(repository)]) == 0
    command = ["groups", "apply", "--from-file", str(file), "--repo", str(repository), "--cluster", kafka_431.bootstrap]
    process = subprocess.Popen(
        [sys.executable, "-m", "kafkeep", *command], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("positions:"):
            break
    time.sleep(random.uniform(0.05, 0.4))
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    process.stderr.close()
    there = target.admin.group_offsets(groups)
    changed = sum(p[0].offset == 50 for p in there.values() if isinstance(p, tuple) and p)
    with Repository.open(open_store(str(repository)), now=now, rng=random.SystemRandom()) as opened:
        result = carried(target, opened, taken_back(target, opened))
    assert result.failures == () and result.differences == () and result.positions == changed
    found = target.admin.group_offsets(groups)
    places = {group: [(p.offset, p.metadata) for p in answer] for group, answer in found.items() if answer}  # type: ignore[union-attr]
    assert places == {group: [(3, "before")] for group in groups[::2]}
    carried(target, keeper, taken_back(target, keeper))
    assert not any(group.group_id.startswith(prefix) for group in target.admin.groups())


def test_ten_thousand_groups(target: Cluster, kafka_431: KafkaCluster, record_property: Callable[..., None]) -> None:
    topic, prefix = filled(kafka_431, 2), unique("many")
    tps = [TopicPartition(topic, number) for number in range(2)]
    repository = new_repository()
    wanted = [FilePosition(f"{prefix}-{n:05}", tp, (n + tp.partition) % 45) for n in range(10_000) for tp in tps]
    began = time.monotonic()
    result = carry_out_plan(target, repository, from_file(target, *wanted), connections=8, now=now)
    seconds = {"apply": time.monotonic() - began}
    assert (result.groups, result.positions, result.failures) == (10_000, 20_000, ())
    point = point_of(target, repository, topic)
    began = time.monotonic()
    plan = prepare(target, repository, point, GroupOptions(groups=(f"{prefix}-*",)))
    seconds["plan"] = time.monotonic() - began
    assert plan.counted("unchanged") == 20_000 and not plan.changes
    sample = {p.group_id: p for p in wanted[:: len(wanted) // 20]}
    assert (
        described(kafka_431, list(sample)).items()
        >= {(p.group_id, topic, p.target.partition): p.offset for p in sample.values()}.items()
    )
    began = time.monotonic()
    undone = carry_out_plan(target, repository, taken_back(target, repository), connections=8, now=now)
    seconds["rollback"] = time.monotonic() - began
    assert (undone.groups, undone.failures) == (10_000, ())
    assert not any(group.group_id.startswith(prefix) for group in target.admin.groups())
    for name, spent in seconds.items():
        record_property(f"{name}_seconds", round(spent, 1))
        assert spent < 120, seconds


class TestCommandLine:
    """Exit statuses, files and JSON lines as scripts see them."""

    @pytest.fixture
    def place(self, target: Cluster, kafka_431: KafkaCluster, tmp_path: Path) -> Iterator[list[str]]:
        with ExitStack() as stack:
            before = os.environ.get("KAFKEEP_CACHE")
            os.environ["KAFKEEP_CACHE"] = str(tmp_path / "cache")
            stack.callback(
                lambda: os.environ.update({"KAFKEEP_CACHE": before}) if before else os.environ.pop("KAFKEEP_CACHE")
            )
            yield ["--repo", str(tmp_path / "repository"), "--cluster", kafka_431.bootstrap]

    def test_plan_apply_rollback(
        self,
        place: list[str],
        target: Cluster,
        kafka_431: KafkaCluster,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        topic, group = filled(kafka_431, 1), unique("cli")
        tp = TopicPartition(topic, 0)
        chosen = ["--groups", group]
        target.admin.commit_group_offsets(group, [GroupOffset(tp, 20, -1, "m")])
        assert main(["init", *place[:2]]) == 0
        assert main(["backup", *place, "--topics", topic]) == 0
        assert main(["groups", "plan", "latest", *place, *chosen]) == 4
        target.admin.commit_group_offsets(group, [GroupOffset(tp, 25, -1, "")])
        capsys.readouterr()
        assert main(["groups", "apply", "latest", *place, *chosen]) == 24
        assert "backwards" in capsys.readouterr().err
        plan = tmp_path / "plan.json"
        assert (
            main(
                ["groups", "plan", "latest", *place, *chosen, "--backwards", "--format", "json", "--output", str(plan)]
            )
            == 0
        )
        assert json.loads(plan.read_text()) == [
            {"group": group, "topic": topic, "partition": 0, "offset": 20, "metadata": "m"}
        ]
        assert main(["groups", "plan", "latest", *place, *chosen, "--backwards", "--format", "csv"]) == 0
        assert f"{group},{topic},0,20\n" in capsys.readouterr().out
        from_plan = ["groups", "apply", "--from-file", str(plan), *place, "--backwards"]
        assert main([*from_plan, "--dry-run"]) == 0
        assert positions_of(target, group)[tp].offset == 25
        assert main(["--json", *from_plan]) == 0
        *lines, summary = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line[:1] == "{"]
        (position,) = [line for line in lines if line["type"] == "position"]
        assert (position["current"], position["offset"], position["action"]) == (25, 20, "set")
        assert (summary["verb"], summary["exit_code"], summary["positions"]) == ("groups apply", 0, 1)
        assert positions_of(target, group)[tp] == GroupOffset(tp, 20, -1, "m")
        assert main(from_plan) == 4
        assert main(["groups", "rollback", summary["job"], *place]) == 0
        assert positions_of(target, group)[tp] == GroupOffset(tp, 25, -1, "")
        assert main(["groups", "rollback", "latest", *place]) == 4
        assert main(["groups", "rollback", "audit/none", *place]) == 2
        assert main(["groups", "plan", "latest", *place, "--groups", "no-such-group"]) == 24

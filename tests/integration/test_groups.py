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
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as Position
from tests.support.kafka import (
    KafkaCluster,
    Sample,
    commit,
    create_topic,
    produce,
    unique,
)
from tests.support.live_groups import (
    carried,
    described,
    filled,
    from_file,
    new_repository,
    now,
    point_of,
    positions_of,
    samples,
    taken_back,
)

from kafkeep.cli.main import main
from kafkeep.groups.formats import positions_of_plan, write_csv, write_json
from kafkeep.groups.formats import read_positions as read_file
from kafkeep.groups.options import GroupOptions
from kafkeep.groups.run import prepare
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.connection import Connection, FrameBuffer
from kafkeep.kafka.groups import GroupListing
from kafkeep.model import GroupOffset, TopicPartition
from kafkeep.position_files import FilePosition
from kafkeep.renaming import Rename
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.factory import open_store

pytestmark = pytest.mark.integration

SHARE_TOOL = "org.apache.kafka.tools.consumer.group.ShareGroupCommand"


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
    commit(consumer, [Position(topic, 0, 9)])
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
        deadline = time.monotonic() + 90
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
        deadline = time.monotonic() + 90
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
    process.wait(60)
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

"""A cluster image as files: what they say, where they lie, and that they are whole."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.images import AWKWARD, rich_image

from kafkeep.errors import UsageError
from kafkeep.inventory import Inventory, Standing
from kafkeep.metadata import texts, texts_cluster
from kafkeep.metadata.documents import read_document
from kafkeep.metadata.export import export
from kafkeep.metadata.image import ClusterImage
from kafkeep.metadata.layouts import j0_files, plain_files
from kafkeep.model import TopicMetadata, TopicPartition

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
HEAD = " of recovery point 7, 2026-03-04T05:06:07.000Z, cluster id source-cluster\n"


def body(text: str) -> str:
    head, rest = text.split("\n", 1)
    assert head + "\n" == "# " + head.removeprefix("# ").split(" of recovery")[0] + HEAD
    return rest


def test_topics_as_kafka_describes_them() -> None:
    text = body(texts.topics_metadata(rich_image()))
    configs = "cleanup.policy=compact,delete,leader.replication.throttled.replicas=0:1,min.insync.replicas=1"
    assert text.splitlines()[2:] == [
        "Topic: orders\tTopicId: abcdefghijklmnopqrstuv\tPartitionCount: 2\tReplicationFactor: 2\tConfigs: " + configs,
        "\tTopic: orders\tPartition: 0\tPreferredLeader: 1\tReplicas: 1,2",
        "\tTopic: orders\tPartition: 1\tPreferredLeader: 2\tReplicas: 2,1",
    ]
    assert "TopicId: -\t" in text and "Internal: true" in text


def test_configs_of_topics_and_what_they_inherit() -> None:
    hidden = TopicMetadata("secret", "id", False, ((1,),), (("x", None), ("y", "")))
    image = rich_image(topics=(hidden,))
    assert body(texts.topic_configs(image)) == (
        "Dynamic configs for topic secret are:\n"
        "  x=(sensitive: brokers do not show it)\n"
        '  y=""\n'
        "\n"
        "# Information: inherited from the brokers by these topics, and not set on them:\n"
        "#   orders\n"
        "#     retention.ms=604800000 (default)\n"
    )


def test_configs_of_brokers_by_source() -> None:
    assert body(texts_cluster.broker_configs(rich_image())) == (
        "Dynamic configs of the whole cluster (default for brokers):\n"
        "  message.max.bytes=2000000\n"
        "\n"
        "Configs of broker 1:\n"
        "  dynamic, of this broker:\n"
        "    leader.replication.throttled.rate=1000\n"
        "    listener.name.x.ssl.keystore.password=(sensitive: brokers do not show it)\n"
        "    log.cleaner.threads=2\n"
        "  dynamic, of the whole cluster:\n"
        "    message.max.bytes=2000000\n"
        "  static, from the broker's file:\n"
        "    log.dirs=/data\n"
        "  Kafka's defaults:\n"
        "    num.io.threads=8\n"
    )
    assert body(texts_cluster.other_configs(rich_image())).splitlines() == [
        "Dynamic configs for group billing are:",
        "  consumer.session.timeout.ms=50000",
        "Dynamic configs for client-metrics cm are:",
        "  match=client_id=a,client_id=[b]",
    ]


def test_groups_and_their_positions() -> None:
    image = rich_image()
    listed = body(texts.consumer_groups_list(image)).splitlines()
    assert listed[1].split() == ["billing", "consumer", "Empty", "consumer", "2", "1"]
    assert listed[2].split() == ["shared", "share", "Empty", "share", "1", "-"]
    assert listed[-1].split() == ["m-1", "-", "app", "/10.0.0.9"]
    text = texts.group_offsets(image, image.groups[0]).splitlines()
    assert text[0].startswith("# committed offsets of consumer group billing, Empty, of recovery point 7")
    assert text[2].split() == ["billing", "orders", "0", "5", "9", "4", "-"]
    assert text[3].split() == ["billing", "orders", "1", "7", "-", "-", '"said\\nso"']


def test_permissions_users_and_quotas() -> None:
    image = rich_image()
    assert body(texts.acls(image)).splitlines()[:2] == [
        "Current ACLs for resource `ResourcePattern(resourceType=TOPIC, name=orders, patternType=LITERAL)`:",
        "  (principal=User:alice, host=*, operation=READ, permissionType=ALLOW)",
    ]
    assert body(texts.scram_users(image)).splitlines()[2].split() == ["alice", "SCRAM-SHA-512", "8192"]
    assert body(texts.quotas(image)).splitlines() == [
        "Quota configs for client-id <default>, user alice are request_percentage=12.5",
        "Quota configs for user alice are producer_byte_rate=1048576",
    ]


def test_the_cluster_as_a_whole() -> None:
    day = "1970-01-01T00:00"
    times = f"issued {day}:00.000+00:00, expires {day}:01.000+00:00, at the latest {day}:02.000+00:00"
    assert body(texts_cluster.cluster(rich_image())).splitlines() == [
        "Finalized features:",
        "  metadata.version: 25",
        "Brokers:",
        "  1: b1:9092, rack rack a",
        "    log directory /data: 3 replicas with 500 bytes, unknown usable of 1000 bytes",
        "  2: b2:9092, no rack",
        "    log directory /data: KAFKA_STORAGE_ERROR",
        "Controllers:",
        "  leader: 1",
        "  voter: 1, directory dir-1",
        "  observer: 2",
        "Reassignments under way:",
        "  orders/0: replicas 1,2,3, adding 3, removing none",
        "Delegation tokens (without their secrets):",
        "  t-1: owner User:a, requester User:b, renewers User:c, " + times,
    ]


def empty(unreadable: tuple[str, ...] = (), settings: tuple[str, ...] = (), **more: object) -> ClusterImage:
    inventory = Inventory(unreadable=settings, **more)  # type: ignore[arg-type]
    return rich_image(topics=(), groups=(), inventory=inventory, standing=Standing(), ends={}, unreadable=unreadable)


UNREAD = {
    "acls.txt": ("acls",),
    "quotas.txt": ("quotas",),
    "scram-users.txt": ("scram-users",),
    "cluster.txt": ("features",),
    "broker-configs.txt": ("configs", "configs of broker 3", "configs of cluster"),
    "group-configs.txt": ("group configs", "client-metrics configs", "configs of group a", "configs"),
}
UNREAD_OF_TOPICS_AND_GROUPS = {
    "topics-metadata.txt": ("topics", "configs of orders"),
    "topic-configs.txt": ("topics", "configs of orders"),
    "consumer-groups-list.txt": ("groups", "group billing"),
    "cluster.txt": ("quorum", "reassignments", "delegation tokens", "log directories of broker 1"),
}


def test_what_was_not_read_is_said_in_its_file_and_in_the_script_and_nothing_else_is() -> None:
    cases = [(file, name, empty(settings=(name,))) for file, names in UNREAD.items() for name in names]
    cases += [(f, name, empty((name,))) for f, names in UNREAD_OF_TOPICS_AND_GROUPS.items() for name in names]
    for file, name, image in cases:
        found = {one.path: one.text for one in plain_files(image)}
        assert f"# NOT READ: {name}: " in found[file]
        assert "\n# no" not in found[file]
        assert file == "cluster.txt" or f"# NOT READ: {name}: " in found["recreate.sh"]
        about = {path for path, text in found.items() if "NOT READ" in text and path.endswith(".txt")}
        wanted = {
            path for table in (UNREAD, UNREAD_OF_TOPICS_AND_GROUPS) for path, names in table.items() if name in names
        }
        assert about == wanted


def test_an_empty_part_is_said_to_be_empty() -> None:
    assert texts.acls(empty()).endswith("\n# no ACLs\n")
    assert texts.acls(empty(has_authorizer=False)).endswith("\n# no ACLs: the cluster has no authorizer\n")
    assert texts.quotas(empty()).endswith("\n# no quotas\n")
    assert texts.topics_metadata(empty()).endswith("\n# no topics\n")


def forged(value: Any, text: str) -> Any:
    """The same with `text` at the end of every text."""
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: forged(getattr(value, field.name), text) for field in fields(value)})
    if isinstance(value, TopicPartition):
        return value._replace(topic=forged(value.topic, text))
    if isinstance(value, tuple):
        return tuple(forged(item, text) for item in value)
    if isinstance(value, dict):
        return {forged(key, text): item for key, item in value.items()}
    return value + text if isinstance(value, str) else value


@pytest.mark.parametrize("line_break", ["\n", "\r", "\x85", "\u2028"])
def test_no_value_forges_a_line(line_break: str) -> None:
    for file in plain_files(forged(rich_image(unreadable=("groups",)), f"{line_break}FORGED")):
        if file.path.endswith(".txt"):
            assert not [line for line in file.text.splitlines() if line.startswith("FORGED")], file.path


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=300) | st.sampled_from(AWKWARD), unique=True)
)
def test_no_two_groups_fall_on_one_file(groups: list[str]) -> None:
    names = texts.group_file_names(groups)
    assert set(names) == set(groups)
    assert len({name.casefold() for name in names.values()}) == len(groups)
    for name in names.values():
        assert name.startswith("offsets-") and name.endswith(".txt") and len(name) <= 140
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-%~")


HOSTILE = (
    *("../../evil", "/etc/passwd", "..", ".", "", "a/../../b", "..\\..\\evil", "C:\\evil", "nul\0byte", "line\nbreak"),
    *("~", "-rf", "offsets.json", "metadata", "é" * 300, "%2e%2e%2f", "\u202egpj", "con", "a:b", "*"),
)


@pytest.mark.parametrize("layout", ["plain", "j0"])
def test_no_name_of_the_cluster_leads_out_of_the_folder_or_onto_another_file(tmp_path: Path, layout: str) -> None:
    group, topic = rich_image().groups[0], rich_image().topics[1]
    image = rich_image(
        groups=tuple(replace(group, group_id=name) for name in sorted(HOSTILE)),
        topics=tuple(replace(topic, name=name) for name in sorted(HOSTILE)),
    )
    folder = tmp_path / "outer" / "inner" / "export"
    written = export(image, folder, layout, now=NOW)
    assert len(written) == len(set(written)) == len(plain_files(rich_image(groups=()))) + len(HOSTILE)
    assert all(path.resolve().is_relative_to(folder.resolve()) for path in written)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(written)


def test_groups_that_differ_in_case_or_at_the_far_end_have_files_of_their_own() -> None:
    groups = ["a", "A", "é", "%C3%A9", "x" * 300, "x" * 299 + "y", "../../etc", ""]
    names = texts.group_file_names(groups)
    assert len({name.casefold() for name in names.values()}) == len(groups)
    assert names["é"] == "offsets-%C3%A9.txt" and names["%C3%A9"] == "offsets-%25C3%25A9.txt"
    assert names["../../etc"] == "offsets-..%2F..%2Fetc.txt"


def test_a_plain_export_has_everything_side_by_side(tmp_path: Path) -> None:
    image = rich_image()
    written = export(image, tmp_path / "a" / "b", now=NOW)
    assert [path.name for path in written] == [
        *("acls.txt", "broker-configs.txt", "cluster.txt", "consumer-groups-list.txt", "group-configs.txt"),
        *("metadata.json", "metadata.yaml", "offsets-billing.txt", "offsets-shared.txt", "offsets.csv", "offsets.json"),
        *("quotas.txt", "recreate.sh", "scram-users.txt", "topic-configs.txt", "topics-metadata.txt"),
    ]
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == [path.name for path in written]
    for path in written:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.suffix == ".sh" else 0o600)
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    for name in ("metadata.json", "metadata.yaml"):
        assert read_document((tmp_path / "a" / "b" / name).read_text("utf-8"), name) == image
    positions = json.loads((tmp_path / "a" / "b" / "offsets.json").read_text())
    assert positions[0] == {"group": "billing", "topic": "orders", "partition": 0, "offset": 5}
    assert positions[2] == {"group": "shared", "topic": "orders", "partition": 0, "offset": 2, "type": "share"}
    rows = list(csv.reader(io.StringIO((tmp_path / "a" / "b" / "offsets.csv").read_text())))
    assert rows == [["billing", "orders", "0", "5"], ["billing", "orders", "1", "7"]]


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    with pytest.raises(UsageError, match="is not empty"):
        export(rich_image(), tmp_path, now=NOW)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_j0_has_folders_by_subject_and_time_and_adds_to_what_is_there(tmp_path: Path) -> None:
    first = export(rich_image(), tmp_path, "j0", now=NOW)
    assert [str(path.relative_to(tmp_path)) for path in first] == [
        "acls/20260304-050607/acls.txt",
        "cluster/20260304-050607/cluster.txt",
        "configs/20260304-050607/broker-configs.txt",
        "configs/20260304-050607/group-configs.txt",
        "configs/20260304-050607/topic-configs.txt",
        "metadata/20260304-050607/metadata.json",
        "metadata/20260304-050607/metadata.yaml",
        "metadata/20260304-050607/recreate.sh",
        "offsets/20260304-050607/consumer-groups-list.txt",
        "offsets/20260304-050607/offsets-billing.txt",
        "offsets/20260304-050607/offsets-shared.txt",
        "offsets/20260304-050607/offsets.csv",
        "offsets/20260304-050607/offsets.json",
        "quotas/20260304-050607/quotas.txt",
        "topics/20260304-050607/topics-metadata.txt",
        "users/20260304-050607/scram-users.txt",
    ]
    assert {stat.S_IMODE(path.parent.stat().st_mode) for path in first} == {0o700}
    with pytest.raises(UsageError, match=r"acls\.txt is there already"):
        export(rich_image(), tmp_path, "j0", now=NOW)
    export(rich_image(), tmp_path, "j0", now=NOW.replace(second=8))
    assert len(list(tmp_path.rglob("*.*"))) == 2 * len(first)
    assert j0_files(rich_image(), NOW)[0].text == (first[0]).read_text()


def test_an_unknown_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'k8' is no layout"):
        export(rich_image(), tmp_path, "k8", now=NOW)


def test_a_place_that_fails_leaves_only_whole_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    real = os.fsync

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="No space left on device"):
        export(rich_image(), tmp_path, now=NOW)
    wanted = {file.path: file.text for file in plain_files(rich_image())}
    found = {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()}
    assert len(found) == 2 and all(wanted[name] == text for name, text in found.items())


def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot write .*file: "):
        export(rich_image(), tmp_path / "file", now=NOW)


def test_positions_of_groups_with_line_breaks_stay_out_of_the_csv_alone() -> None:
    image = rich_image()
    image = replace(image, groups=(replace(image.groups[0], group_id="two\nlines"),))
    files = {file.path: file.text for file in plain_files(image)}
    assert files["offsets.csv"] == "" and len(json.loads(files["offsets.json"])) == 2
    assert "offsets-two%0Alines.txt" in files

"""R2: what a restore must not harm. Status 24, the reason by name, and nothing changed on the target."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient
from tests.support.kafka import (
    KafkaCluster,
    Position,
    commit_positions,
    committed_positions,
    create_topic,
    produce,
    read_committed,
    unique,
)
from tests.support.oracle_load import samples
from tests.support.sweep_command import Ended, Kafkeep

pytestmark = pytest.mark.integration


class Source:
    """Two topics and a group, backed up."""

    def __init__(self, kafka: KafkaCluster, folder: Path) -> None:
        self.kafka = kafka
        self.kafkeep = Kafkeep(folder / "home", inside=True)
        self.repository = folder / "repository"
        self.prefix = unique("guard") + "."
        self.one, self.two, self.group = f"{self.prefix}one", f"{self.prefix}two", f"{self.prefix}group"
        settings = kafka.client_properties
        for topic in (self.one, self.two):
            create_topic(settings, topic, partitions=2)
            produce(settings, topic, samples(100, partitions=2))
        commit_positions(settings, self.group, [Position(self.one, 0, 20), Position(self.one, 1, 5)])
        self.kafkeep("init", "--repo", str(self.repository)).expect(0)
        given = ["--repo", str(self.repository), "--cluster", kafka.bootstrap, "--topics", f"{self.prefix}*"]
        self.kafkeep("backup", *given).expect(0)

    def restore(self, *more: str, groups: str = "none") -> Ended:
        given = ["--repo", str(self.repository), "--cluster", self.kafka.bootstrap, "--groups", groups]
        return self.kafkeep("restore", "latest", *given, *more)

    def topics(self) -> set[str]:
        return set(AdminClient(self.kafka.client_properties).list_topics(timeout=60).topics)


@pytest.fixture(scope="module")
def source(kafka_431: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Source:
    return Source(kafka_431, tmp_path_factory.mktemp("guards"))


def test_r2_topic_holds_records(source: Source) -> None:
    """The source itself: all topics are named, their records stay as they were."""
    before = read_committed(source.kafka.client_properties, source.one)
    told = source.restore().refused(24, "target-not-empty")
    assert source.one in told
    assert source.two in told
    assert read_committed(source.kafka.client_properties, source.one) == before


def test_r2_one_topic_of_several_holds_records(source: Source) -> None:
    """Refused as a whole: the other topic is not made either."""
    target = unique("held") + "-"
    held = f"{target}{source.one}"
    create_topic(source.kafka.client_properties, held, partitions=2)
    produce(source.kafka.client_properties, held, samples(1, partitions=1))
    assert held in source.restore("--rename", f"s/^/{target}/").refused(24, "target-not-empty")
    assert f"{target}{source.two}" not in source.topics()


def test_r2_empty_topic_is_filled(source: Source) -> None:
    target = unique("empty") + "-"
    create_topic(source.kafka.client_properties, f"{target}{source.one}", partitions=2)
    source.restore("--rename", f"s/^/{target}/").expect(0)
    restored = read_committed(source.kafka.client_properties, f"{target}{source.one}")
    assert restored == read_committed(source.kafka.client_properties, source.one)


def test_r2_other_number_of_partitions(source: Source) -> None:
    for partitions in (1, 3):
        target = unique("shape") + "-"
        create_topic(source.kafka.client_properties, f"{target}{source.one}", partitions=partitions)
        told = source.restore("--rename", f"s/^/{target}/").refused(24, "plan-refused")
        assert f"{target}{source.one} has {partitions} partitions, the source had 2" in told
        assert f"{target}{source.two}" not in source.topics()


def test_r2_two_topics_under_one_name(source: Source) -> None:
    target = unique("both")
    told = source.restore("--rename", f"s/.*/{target}/").refused(24, "plan-refused")
    assert source.one in told
    assert source.two in told
    assert target not in source.topics()


def test_r2_more_replicas_than_brokers(source: Source) -> None:
    target = unique("copies") + "-"
    told = source.restore("--rename", f"s/^/{target}/", "--replication-factor", "3").refused(24, "plan-refused")
    assert "replication factor 3" in told
    assert not any(topic.startswith(target) for topic in source.topics())


@contextmanager
def member(source: Source, group: str) -> Iterator[Consumer]:
    """Somebody reads in the group."""
    consumer = Consumer(source.kafka.client_properties | {"group.id": group, "auto.offset.reset": "earliest"})
    consumer.subscribe([source.one])
    deadline = time.monotonic() + 60
    while not consumer.assignment():
        assert time.monotonic() < deadline
        consumer.poll(0.1)
    try:
        yield consumer
    finally:
        consumer.close()


def test_r2_group_has_members(source: Source) -> None:
    """Named and refused; once the member has left, the positions are set."""
    target = unique("group") + "-"
    with member(source, source.group):
        told = source.restore("--rename", f"s/^/{target}/", groups=source.group).refused(24, "group-active")
        assert source.group in told
        assert not any(topic.startswith(target) for topic in source.topics())
    source.restore("--rename", f"s/^/{target}/", groups=source.group).expect(0)
    positions = committed_positions(source.kafka.client_properties, source.group, f"{target}{source.one}")
    assert positions == {0: 20, 1: 5}


def test_r2_dry_run_tells_the_same_and_changes_nothing(source: Source) -> None:
    before = source.topics()
    planned = source.restore("--dry-run").expect(24)
    assert {refusal["kind"] for refusal in planned["refusals"]} == {"target-not-empty"}
    source.restore("--dry-run", "--rename", f"s/^/{unique('dry')}-/").expect(0)
    assert source.topics() == before

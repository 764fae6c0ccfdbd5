"""A restore as a process that is killed again and again, on real brokers: each record is there once, in order."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from tests.support.faults import Figures
from tests.support.kafka import (
    KafkaCluster,
    NewKafka,
    Position,
    Sample,
    commit_positions,
    committed_positions,
    create_topic,
    delete_topics,
    produce,
    read_positions,
    unique,
)
from tests.support.live import contents, until
from tests.support.oracle_load import samples
from tests.support.sweep_command import Kafkeep, after, kill

pytestmark = pytest.mark.integration

PARTITIONS = 4
RECORDS = 32_000
SIZE = 3_000
KILLS = 8
HELD_BACK = 10_000_000
"""Bytes after which a process that is to be killed stands still: a tenth of all, and more than two requests."""


@dataclass(frozen=True)
class Archive:
    """A repository with one topic and one group in it, and the topic as an independent consumer sees it."""

    folder: Path
    topic: str
    group: str
    seen: dict[int, list[Any]]


@pytest.fixture
def kafkeep(tmp_path: Path) -> Kafkeep:
    return Kafkeep(tmp_path / "home", inside=True)


@pytest.fixture(scope="module")
def archive(kafka_431: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """96 MB in small batches, which a restore puts together."""
    topic, group = unique("resume"), unique("resume-readers")
    create_topic(kafka_431.client_properties, topic, partitions=PARTITIONS, config={"max.message.bytes": "2000000"})
    produce(
        kafka_431.client_properties,
        topic,
        samples(RECORDS, partitions=PARTITIONS, size=SIZE),
        codec="none",
        batch_num_messages=40,
    )
    commit_positions(kafka_431.client_properties, group, [Position(topic, n, 1000 + n) for n in range(PARTITIONS)])
    seen = contents(read_positions(kafka_431.client_properties, topic))
    home = tmp_path_factory.mktemp("resume")
    folder = home / "repository"
    command = Kafkeep(home / "home", inside=True)
    command("init", "--repo", str(folder), "--compression", "none").expect(0)
    command("backup", "--repo", str(folder), "--cluster", kafka_431.bootstrap, "--topics", topic).expect(0)
    delete_topics(kafka_431.client_properties, [topic])
    yield Archive(folder, topic, group, seen)


def command(archive: Archive, target: KafkaCluster, name: str) -> list[str]:
    """A restore under another name."""
    place = ["restore", "1", "--repo", str(archive.folder), "--cluster", target.bootstrap]
    return [*place, "--rename", f"{archive.topic}={name}", "--groups", archive.group]


def resuming(archive: Archive, target: KafkaCluster) -> list[str]:
    place = ["restore", "1", "--repo", str(archive.folder), "--cluster", target.bootstrap]
    return [*place, "--resume", "--preflight", "exist"]


class Watch:
    """How many records a topic holds, as an independent client sees it."""

    def __init__(self, target: KafkaCluster, topic: str) -> None:
        self._consumer = Consumer(target.client_properties | {"group.id": "watch"})
        self._topic = topic

    def records(self) -> int:
        try:
            ends = [
                self._consumer.get_watermark_offsets(TopicPartition(self._topic, number), timeout=5)
                for number in range(PARTITIONS)
            ]
        except KafkaException:
            return 0
        return sum(high - low for low, high in ends)


def has_more(watch: Watch, dice: random.Random) -> Callable[[], bool]:
    """True once some of the records that are missing are there; not more than a process brings that is held back."""
    wanted = watch.records() + dice.randrange(RECORDS // 20) + 1
    return lambda: watch.records() >= wanted


def judge(kafkeep: Kafkeep, archive: Archive, target: KafkaCluster, name: str) -> None:
    """Every record once and in order, offsets without a hole, settings and positions of the end, and compare agrees."""
    seen = read_positions(target.client_properties, name)
    assert contents(seen) == archive.seen
    for records in seen.values():
        assert [offset for offset, _ in records] == list(range(len(records)))
    with_positions = committed_positions(target.client_properties, archive.group, name)
    assert with_positions == {n: 1000 + n for n in range(PARTITIONS)}
    kafkeep(
        *("compare", "1", "--repo", str(archive.folder), "--cluster", target.bootstrap),
        *("--rename", f"{archive.topic}={name}"),
    ).expect(0)


@pytest.mark.fault("C5")
@pytest.mark.timeout(1800)
def test_killed_at_eight_moments_in_a_row(
    kafkeep: Kafkeep, kafka_431: KafkaCluster, archive: Archive, fault: Figures
) -> None:
    restores = fault.count(quick=1, full=7)
    for _ in range(restores):
        _killed_in_a_row(kafkeep, kafka_431, archive)
    fault.figures(restores=restores, kills=restores * KILLS)


def _killed_in_a_row(kafkeep: Kafkeep, kafka_431: KafkaCluster, archive: Archive) -> None:
    name = unique("killed")
    dice = random.Random()
    watch = Watch(kafka_431, name)
    kill(kafkeep, command(archive, kafka_431, name), has_more(watch, dice), most_bytes=HELD_BACK)
    there: list[int] = []
    for number in range(KILLS - 1):
        plan = kafkeep(*resuming(archive, kafka_431), "--dry-run").expect(0)
        assert {topic["action"] for topic in plan["topics"]} == {"resume"}
        there.append(sum(records for _, records in plan["present"]))
        # Every third dies at some moment of its start, the others while they load.
        moment = after(dice.uniform(0.1, 0.5)) if number % 3 == 2 else has_more(watch, dice)
        kill(kafkeep, resuming(archive, kafka_431), moment, most_bytes=HELD_BACK)
    assert there == sorted(there) and len(set(there)) > 3
    result = kafkeep(*resuming(archive, kafka_431)).expect(0)
    print(f"{KILLS} kills, {there} records when each of them began")
    assert result["records"] == RECORDS and result["failures"] == []
    assert result["records_before"] >= there[-1]
    judge(kafkeep, archive, kafka_431, name)
    delete_topics(kafka_431.client_properties, [name])


def test_a_broker_that_has_forgotten_the_producer(kafkeep: Kafkeep, new_kafka: NewKafka, archive: Archive) -> None:
    private = new_kafka(
        kafka="4.3.1",
        properties={"producer.id.expiration.ms": "500", "producer.id.expiration.check.interval.ms": "200"},
    )
    name = unique("forgotten")
    watch, dice = Watch(private, name), random.Random()
    kill(kafkeep, command(archive, private, name), has_more(watch, dice), most_bytes=HELD_BACK)

    def forgotten() -> bool:
        told = private.lab.tool(
            "org.apache.kafka.tools.TransactionsCommand",
            *("--bootstrap-server", private.bootstrap, "describe-producers", "--topic", name, "--partition", "0"),
        ).stdout
        assert "ProducerId" in told
        return len(told.strip().splitlines()) == 1

    until(forgotten, what="the end of the producer's state")
    kill(kafkeep, resuming(archive, private), has_more(watch, dice), most_bytes=HELD_BACK)
    until(forgotten, what="the end of the producer's state")
    result = kafkeep(*resuming(archive, private)).expect(0)
    assert 0 < result["records_before"] < result["records"] == RECORDS
    judge(kafkeep, archive, private, name)


def test_somebody_wrote_into_the_topic_meanwhile(kafkeep: Kafkeep, kafka_431: KafkaCluster, archive: Archive) -> None:
    name = unique("foreign")
    moment = has_more(Watch(kafka_431, name), random.Random())
    kill(kafkeep, command(archive, kafka_431, name), moment, most_bytes=HELD_BACK)
    produce(kafka_431.client_properties, name, [Sample(value=b"foreign", partition=2)])
    before = read_positions(kafka_431.client_properties, name)
    result = kafkeep(*resuming(archive, kafka_431)).expect(3)
    failures = {failure["subject"]: failure for failure in result["failures"]}
    assert failures[f"{name}/2"]["reason"] == "FOREIGN_RECORDS"
    assert {part["target"]["partition"]: part["complete"] for part in result["partitions"]} == {
        0: True,
        1: True,
        2: False,
        3: True,
    }
    after = read_positions(kafka_431.client_properties, name)
    assert after[2] == before[2]
    found = contents(after)
    assert all(found[number] == archive.seen[number] for number in (0, 1, 3))
    delete_topics(kafka_431.client_properties, [name])

"""Repartitioned restores into real brokers: each committed record once, in the partition that producers choose for its key,
in order; groups go on with nothing skipped; and a restore that is killed is continued."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from tests.support.kafka import (
    KafkaCluster,
    Position,
    Sample,
    commit_positions,
    committed_positions,
    create_topic,
    delete_topics,
    produce,
    produce_transaction,
    read_positions,
    unique,
)
from tests.support.live import Live, Seen, new_repository, total
from tests.support.repartitioned_live import LIKE_JAVA, by_producers, samples
from tests.support.sweep_command import Kafkeep, after, kill

from kafkeep.capture.result import BackupResult
from kafkeep.kafka.cluster import LATEST, Cluster
from kafkeep.model import TopicPartition
from kafkeep.renaming import Rename
from kafkeep.repository.repository import Repository

pytestmark = pytest.mark.integration

SOURCE_PARTITIONS = 3
COMMITTED = {0: 40, 1: 0, 2: 75}


@pytest.fixture(scope="module")
def live(kafka_431: KafkaCluster) -> Iterator[Live]:
    with Cluster(kafka_431.cluster_config()) as cluster:
        yield Live(kafka_431, cluster)


@pytest.fixture(scope="module")
def topic(kafka_431: KafkaCluster) -> str:
    """Keys of many lengths, none and empty ones among them, in batches of every codec, in transactions and outside."""
    name = unique("repartition")
    settings = kafka_431.client_properties
    create_topic(settings, name, partitions=SOURCE_PARTITIONS, config={"retention.ms": "-1"})
    for number, codec in enumerate(("none", "gzip", "snappy", "lz4", "zstd")):
        produce(settings, name, samples(number, 100), codec=codec, batch_num_messages=7, **LIKE_JAVA)
    produce_transaction(settings, name, samples(5, 40), transactional_id=unique("t"), commit=False, codec="lz4")
    produce_transaction(settings, name, samples(6, 40), transactional_id=unique("t"), commit=True, codec="zstd")
    return name


@pytest.fixture(scope="module")
def group(kafka_431: KafkaCluster, topic: str) -> str:
    name = unique("readers")
    commit_positions(
        kafka_431.client_properties, name, [Position(topic, number, at) for number, at in COMMITTED.items()]
    )
    return name


@pytest.fixture(scope="module")
def repository() -> Repository:
    return new_repository()


@pytest.fixture(scope="module")
def backed_up(live: Live, repository: Repository, topic: str, group: str) -> BackupResult:
    return live.back_up(repository, topic)


def check_records(source: Seen, found: Seen, partition_of: Mapping[bytes, int]) -> None:
    """Each record once; each key where producers put it; of each source partition the records of a target partition in
    their order."""
    place = {content: (number, offset) for number, records in found.items() for offset, content in records}
    assert place.keys() == {content for records in source.values() for _, content in records}
    assert len(place) == total([found]) == total([source])
    for records in source.values():
        before = dict.fromkeys(found, -1)
        for _, content in records:
            number, offset = place[content]
            if content.key is not None:
                assert number == partition_of[content.key]
            assert offset > before[number]
            before[number] = offset
    for records in found.values():
        assert [offset for offset, _ in records] == list(range(len(records)))


@pytest.mark.parametrize("partitions", [5, 2])
def test_every_record_once_where_producers_put_its_key(
    live: Live,
    repository: Repository,
    topic: str,
    group: str,
    backed_up: BackupResult,
    tmp_path: Path,
    partitions: int,
) -> None:
    name = f"{topic}-to-{partitions}"
    renames = (Rename.parse(f"{topic}={name}"),)
    result = live.put_back(
        repository,
        backed_up.point,
        renames=renames,
        groups=(group,),
        repartition=((topic, partitions),),
        spool_dir=str(tmp_path),
    )
    assert (result.failures, result.records) == ((), 540)
    assert list(tmp_path.iterdir()) == []
    source, found = live.seen(topic), live.seen(name)
    keys = {content.key for records in source.values() for _, content in records if content.key is not None}
    assert len(found) == partitions and b"" in keys and len(keys) > 60
    check_records(source, found, by_producers(live.kafka, keys, partitions))
    spare = {number for number, records in found.items() if any(content.key is None for _, content in records)}
    assert spare == set(range(partitions))
    check_group(live, source, name, group, result.groups[0].read_again)
    report = live.compare(repository, backed_up.point, renames=renames, spool_dir=str(tmp_path))
    assert (report.verdict, report.records) == ("identical", 540), report
    delete_topics(live.kafka.client_properties, [name])


def check_group(live: Live, source: Seen, name: str, group: str, read_again: int) -> None:
    """A consumer that begins at the group's positions is given all that the group had not consumed, and just so many of
    the others as were told; and no position could be higher."""
    start = committed_positions(live.kafka.client_properties, group, name)
    unread = {c for n, records in source.items() for offset, c in records if offset >= COMMITTED[n]}
    given = read_positions(live.kafka.client_properties, name, start=start)
    contents = {content for records in given.values() for _, content in records}
    assert unread <= contents
    assert len(contents) - len(unread) == read_again > 0
    assert start.keys() == given.keys()
    for records in given.values():
        assert not records or records[0][1] in unread


def test_java_chooses_the_same_partitions(kafka_431: KafkaCluster) -> None:
    """Kafka's own producer, against the one of librdkafka that the other tests lean on."""
    name = unique("java")
    create_topic(kafka_431.client_properties, name, partitions=5)
    keys = {b"k" * (number % 11) + b"%d" % number for number in range(60)}
    lines = "".join(f"{key.decode()}\tv\n" for key in sorted(keys))
    kafka_431.lab.tool(
        "org.apache.kafka.tools.ConsoleProducer",
        *("--bootstrap-server", kafka_431.bootstrap, "--topic", name, "--reader-property", "parse.key=true"),
        stdin=lines,
    )
    found = {
        content.key: number
        for number, records in read_positions(kafka_431.client_properties, name).items()
        for _, content in records
    }
    assert found == by_producers(kafka_431, keys, 5)
    delete_topics(kafka_431.client_properties, [name])


# --- killed and continued

RECORDS = 20_000
SIZE = 1_000
HELD_BACK = 5_000_000
"""Bytes after which a process that is to be killed stands still: a quarter of all, and more than one request."""


def test_killed_again_and_again_and_continued(live: Live, kafka_431: KafkaCluster, tmp_path: Path) -> None:
    settings = kafka_431.client_properties
    topic, group, name = unique("killed"), unique("killed-readers"), unique("spread")
    create_topic(settings, topic, partitions=SOURCE_PARTITIONS)
    dice = random.Random()
    produce(
        settings,
        topic,
        (
            Sample(key=b"key-%d" % (number % 500), value=b"%d." % number + dice.randbytes(SIZE))
            for number in range(RECORDS)
        ),
        batch_num_messages=100,
        **LIKE_JAVA,
    )
    commit_positions(settings, group, [Position(topic, number, 5000) for number in range(SOURCE_PARTITIONS)])
    source = read_positions(settings, topic)
    kafkeep = Kafkeep(tmp_path / "home", inside=True)
    folder, spool = tmp_path / "repository", tmp_path / "spool"
    spool.mkdir()
    given = ("--repo", str(folder), "--cluster", kafka_431.bootstrap)
    kafkeep("init", "--repo", str(folder), "--compression", "none").expect(0)
    kafkeep("backup", *given, "--topics", topic).expect(0)
    begin = ("restore", "1", *given, "--rename", f"{topic}={name}", "--groups", group)
    begin = (*begin, "--repartition", f"{topic}=4", "--spool-dir", str(spool))
    resume = ("restore", "1", *given, "--resume", "--spool-dir", str(spool))
    kill(kafkeep, begin, lambda: records_in(live, name) > 0, most_bytes=HELD_BACK)
    for number in range(2):
        before = records_in(live, name)
        plan = kafkeep(*resume, "--dry-run").expect(0)
        assert [found["action"] for found in plan["topics"]] == ["resume"]
        there = sum(found for _, found in plan["present"])
        # What the dead one had sent may come in a moment later.
        assert 0 < before <= there <= records_in(live, name)
        # Every second one dies while it spreads or before, the others while they load.
        moment = after(dice.uniform(0.3, 1.2)) if number % 2 else more_than(live, name, there)
        kill(kafkeep, resume, moment, most_bytes=HELD_BACK)
        assert list(spool.iterdir()) == []
    result = kafkeep(*resume).expect(0)
    assert (result["records"], result["failures"]) == (RECORDS, [])
    assert result["records_before"] > 0
    found = read_positions(settings, name)
    check_records(source, found, by_producers(kafka_431, {b"key-%d" % number for number in range(500)}, 4))
    start = committed_positions(settings, group, name)
    new = {content for records in source.values() for offset, content in records if offset >= 5000}
    for number, records in found.items():
        assert start[number] == next(offset for offset, content in records if content in new)
    kafkeep("compare", "1", *given, "--rename", f"{topic}={name}", "--spool-dir", str(spool)).expect(0)
    positions = kafkeep("groups", "plan", "1", *given, "--rename", f"{topic}={name}").expect(24)
    assert {refusal["kind"] for refusal in positions["refusals"]} == {"no-offset-map"}
    delete_topics(settings, [topic, name])


def records_in(live: Live, topic: str) -> int:
    """How many records a topic holds; 0 while it is not there."""
    found = live.cluster.topology([topic]).topics[topic]
    if found.error:
        return 0
    ends = live.cluster.offsets([TopicPartition(topic, part.partition) for part in found.partitions], LATEST)
    return sum(max(0, end.offset) for end in ends.values())


def more_than(live: Live, topic: str, records: int) -> Callable[[], bool]:
    return lambda: records_in(live, topic) > records

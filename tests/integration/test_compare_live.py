"""An archive against its live source on real brokers: after retention, compaction and a truncated log."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer
from tests.support.configs import alter_topic
from tests.support.kafka import KafkaCluster, NewKafka, unique
from tests.support.live import RENAME, Filling, Live, delete_records, new_repository, until

from kafkeep.compare.options import SampleChoice
from kafkeep.compare.report import BY_MAP, BY_OFFSET, Excused
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.wire.batch import walk

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def live(kafka_431: KafkaCluster) -> Iterator[Live]:
    with Cluster(kafka_431.cluster_config()) as cluster:
        yield Live(kafka_431, cluster)


def put(live: Live, topic: str, key: bytes, *values: bytes | None) -> None:
    """Each value in a batch of its own."""
    producer = Producer({**live.kafka.client_properties, "linger.ms": 0})
    for value in values:
        producer.produce(topic, key=key, value=value, headers=[("topic", topic.encode())])
        assert producer.flush(20) == 0


def test_after_delete_records_the_rest_is_compared(live: Live) -> None:
    """Codecs, transactions' markers and a log start inside of a batch; the whole and a sample, live and restored."""
    topic, repository = unique("since"), new_repository()
    filling = Filling(live.kafka, topic).create()
    for codec in ("none", "zstd", "gzip"):
        filling.produce(300, compression_type=codec)
    producer = Producer({**live.kafka.client_properties, "transactional.id": topic})
    producer.init_transactions(20)
    for end in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        filling.send(producer, 20)
        end(20)
    live.decided(topic)
    point = live.back_up(repository, topic).point
    whole = live.compare(repository, point)
    assert (whole.verdict, whole.records) == ("identical", 920)
    sampled = live.compare(repository, point, sample=SampleChoice(1.0, 3))
    assert sampled.verdict == "sample-identical" and 0 < sampled.records <= 920
    live.put_back(repository, point, renames=RENAME)
    for sample in (None, SampleChoice(1.0, 3)):
        restored = live.compare(repository, point, renames=RENAME, sample=sample)
        assert restored.identical and {part.pairing for part in restored.partitions} == {BY_MAP}
    delete_records(live.kafka, topic, 0, 451)
    filling.produce(50)
    since = live.compare(repository, point)
    assert (since.verdict, since.records) == ("identical", 920 - 451)
    assert since.excused == Excused(removed=451)
    delete_records(live.kafka, topic, 0, 960)
    gone = live.compare(repository, point)
    assert (gone.verdict, gone.records) == ("nothing-compared", 0)


def test_after_compaction_what_is_gone_is_proven(live: Live) -> None:
    topic, repository = unique("compacted"), new_repository()
    Filling(live.kafka, topic).create(
        cleanup_policy="delete",
        delete_retention_ms="600000",
        segment_ms="100",
        min_cleanable_dirty_ratio="0",
        max_compaction_lag_ms="100",
    ).produce(200, keyed=True)
    put(live, topic, b"alone", b"1", None, b"3")
    point = live.back_up(repository, topic).point
    alter_topic(live.cluster, topic, values={"cleanup.policy": "compact"})
    numbers = itertools.count()

    def cleaned() -> bool:
        """A log segment ends only when something is written, and the newest one is never cleaned."""
        put(live, topic, b"beat", b"%d" % next(numbers))
        time.sleep(0.2)
        return len([content for _, content in live.seen(topic)[0] if content.key != b"beat"]) < 50

    until(cleaned, seconds=120, what="the cleaning")
    report = live.compare(repository, point)
    assert (report.verdict, report.different) == ("identical", 0)
    since = report.excused
    assert since.compacted > 150 and since == Excused(compacted=since.compacted)
    assert report.records + since.compacted == 203
    alter_topic(live.cluster, topic, values={"cleanup.policy": "delete"})
    strict = live.compare(repository, point)
    # The cleaner may have come once more in between.
    assert strict.different >= since.compacted and {found.what for found in strict.differences} == {"missing"}


def test_a_truncated_log_is_explained_by_its_leader_epochs(new_kafka: NewKafka) -> None:
    """The end of a log segment is lost while its broker is down, and other records take the offsets."""
    kafka = new_kafka(kafka="4.3.1")
    topic, repository = unique("truncated"), new_repository()
    with Cluster(kafka.cluster_config()) as cluster:
        live = Live(kafka, cluster)
        Filling(kafka, topic).create()
        put(live, topic, b"k", *(b"%d" % number for number in range(20)))
        point = live.back_up(repository, topic).point
        node = kafka.lab.node(1)
        node.kill()
        (segment,) = node.log_dirs[0].glob(f"{topic}-0/*.log")
        data = segment.read_bytes()
        infos, _ = walk(memoryview(data))
        segment.write_bytes(data[: sum(info.size for info in infos[:12])])
        for index in segment.parent.glob("*.*index"):
            index.unlink()
        node.start()
        short = live.compare(repository, point)
        assert [found.source_offset for found in short.differences] == list(range(12, 20))
        assert [part.notes for part in short.partitions] == [
            ("the source ends at 12, before the end of the point at 20: its log was truncated",)
        ]
        put(live, topic, b"k", *(b"other %d" % number for number in range(20)))
        other = live.compare(repository, point)
        (part,) = other.partitions
        assert (part.pairing, part.records, part.differences) == (BY_OFFSET, 12, 16)
        assert {found.what for found in other.differences} == {"value", "timestamp"}
        assert len(part.notes) == 1
        assert part.notes[0].startswith("from offset 12 on the source's log is of leader epoch")

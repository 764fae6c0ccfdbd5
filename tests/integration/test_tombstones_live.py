"""Deletions in a compacted topic that no backup has seen, on a real broker."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer
from tests.support.configs import alter_topic
from tests.support.kafka import KafkaCluster, unique
from tests.support.live import RENAME, RESTORED, Filling, Live, new_repository, until

from kafkeep.kafka.cluster import Cluster
from kafkeep.renaming import Rename

pytestmark = pytest.mark.integration


@pytest.fixture
def live(kafka_431: KafkaCluster) -> Iterator[Live]:
    with Cluster(kafka_431.cluster_config()) as cluster:
        yield Live(kafka_431, cluster)


def put(live: Live, topic: str, key: bytes, value: bytes | None) -> None:
    producer = Producer({**live.kafka.client_properties, "acks": "all"})
    producer.produce(topic, key=key, value=value, partition=0)
    assert producer.flush(30) == 0


def table(live: Live, topic: str) -> dict[bytes, bytes]:
    """What a table built from the topic holds, as confluent-kafka reads it."""
    found: dict[bytes, bytes] = {}
    for _, content in live.seen(topic).get(0, []):
        assert content.key is not None
        found.pop(content.key, None)
        if content.value is not None:
            found[content.key] = content.value
    return found


def test_a_key_whose_tombstone_is_gone_does_not_come_back(live: Live) -> None:
    topic, repository = unique("tombstones"), new_repository()
    Filling(live.kafka, topic).create(
        cleanup_policy="compact",
        delete_retention_ms="60000",
        segment_ms="100",
        min_cleanable_dirty_ratio="0",
        max_compaction_lag_ms="100",
    )
    put(live, topic, b"gone", b"1")
    put(live, topic, b"kept", b"1")
    first = live.back_up(repository, topic)
    assert first.failures == ()
    # Not before: a slow machine's first backup may itself take longer than that.
    alter_topic(live.cluster, topic, values={"delete.retention.ms": "1000"})
    put(live, topic, b"gone", None)
    numbers = itertools.count()

    def cleaned() -> bool:
        """A log segment ends only when something is written, and the newest one is never cleaned."""
        put(live, topic, b"beat", b"%d" % next(numbers))
        time.sleep(0.2)
        return all(content.key != b"gone" for _, content in live.seen(topic)[0])

    until(cleaned, seconds=120, what="the cleaning of the tombstone")
    second = live.back_up(repository, topic)
    assert [(opened.generation.lineage, opened.why) for opened in second.opened] == [(1, "tombstones-unseen")]
    assert live.put_back(repository, second.point, renames=RENAME).failures == ()
    assert table(live, RESTORED + topic) == table(live, topic)
    assert b"gone" not in table(live, RESTORED + topic) and table(live, RESTORED + topic)[b"kept"] == b"1"
    renamed = unique("earlier")
    live.put_back(repository, first.point, renames=(Rename.parse(f"s/^{topic}$/{renamed}/"),))
    assert table(live, renamed) == {b"gone": b"1", b"kept": b"1"}, "the earlier point holds what it held"

"""The demo's and the tests' independent client tells null from empty, committed from aborted, and keeps every order."""

from __future__ import annotations

import time

import pytest
from tests.support.kafka import (
    CODECS,
    KafkaCluster,
    Position,
    Sample,
    commit_positions,
    committed_positions,
    create_topic,
    delete_topics,
    partitions_of,
    produce,
    produce_transaction,
    read_committed,
    read_on,
    read_positions,
    read_some,
    unique,
)

pytestmark = pytest.mark.integration

HEADERS = (("b", b"1"), ("a", None), ("b", b"1"), ("", b""), ("a", b"\x00\xff"))
NOW = int(time.time() * 1000) - 60_000
SAMPLES = [
    Sample(b"key", b"value", HEADERS, NOW),
    Sample(None, b"value", (), NOW + 5),
    Sample(b"", b"value", (), NOW + 4),
    Sample(b"key", None, (), NOW + 3),
    Sample(b"key", b"", (), NOW + 3),
    Sample(None, None, (), NOW + 9),
]


@pytest.mark.parametrize("codec", CODECS)
def test_records_are_seen_as_they_were_produced(kafka: KafkaCluster, codec: str) -> None:
    name = unique(f"seen-{codec}")
    create_topic(kafka.client_properties, name)
    produce(kafka.client_properties, name, SAMPLES, codec=codec)
    (records,) = read_committed(kafka.client_properties, name).values()
    assert [(r.key, r.value, r.headers, r.timestamp) for r in records] == [sample[:4] for sample in SAMPLES]
    assert {record.timestamp_type for record in records} == {1}


def test_aborted_records_are_in_the_log_and_not_seen(kafka: KafkaCluster) -> None:
    name = unique("aborted")
    create_topic(kafka.client_properties, name)
    for commit, value in ((True, b"one"), (False, b"void"), (True, b"two")):
        produce_transaction(
            kafka.client_properties, name, [Sample(value=value)] * 3, transactional_id=unique("t"), commit=commit
        )
    (records,) = read_positions(kafka.client_properties, name).values()
    assert [record.value for _, record in records] == [b"one"] * 3 + [b"two"] * 3
    assert [offset for offset, _ in records] == [0, 1, 2, 8, 9, 10]


def test_a_group_reads_on_where_it_was(kafka: KafkaCluster) -> None:
    name, group = unique("group"), unique("group")
    create_topic(kafka.client_properties, name, partitions=2)
    for partition in (0, 1):
        samples = [Sample(value=b"%d-%d" % (partition, number), partition=partition) for number in range(10)]
        produce(kafka.client_properties, name, samples)
    read_some(kafka.client_properties, name, group=group, count=4)
    assert committed_positions(kafka.client_properties, group, name) == {0: 4, 1: 4}
    commit_positions(kafka.client_properties, group, [Position(name, 1, 7)], metadata="moved")
    assert committed_positions(kafka.client_properties, group, name) == {0: 4, 1: 7}
    following = read_on(kafka.client_properties, name, group=group, partitions=[0, 1])
    assert {partition: record.value for partition, record in following.items()} == {0: b"0-4", 1: b"1-7"}
    limited = read_positions(kafka.client_properties, name, start={0: 4, 1: 7}, limit=1)
    assert {partition: record.value for partition, ((_, record),) in limited.items()} == {0: b"0-4", 1: b"1-7"}


def test_a_deleted_topic_is_gone(kafka: KafkaCluster) -> None:
    name = unique("deleted")
    create_topic(kafka.client_properties, name, partitions=3)
    assert partitions_of(kafka.client_properties, name) == 3
    delete_topics(kafka.client_properties, [name])
    assert partitions_of(kafka.client_properties, name) == 0
    assert read_committed(kafka.client_properties, name) == {}

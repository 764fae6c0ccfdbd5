"""Topics with keys for repartitioned restores, and where real producers put those keys."""

from __future__ import annotations

from collections.abc import Iterator

from tests.support.kafka import KafkaCluster, Sample, create_topic, delete_topics, produce, read_positions, unique

LIKE_JAVA = {"partitioner": "murmur2_random"}
"""librdkafka's name for what Java's producer does where nothing else is set."""


def samples(block: int, count: int) -> Iterator[Sample]:
    for number in range(count):
        key = (
            None
            if number % 9 == 0
            else b""
            if number % 31 == 1
            else b"key-" + b"x" * (number % 13) + b"%d" % (number % 17)
        )
        value = None if key and number % 23 == 2 else b"%d.%d" % (block, number)
        yield Sample(
            key=key,
            value=value,
            headers=(("at", b"%d.%d" % (block, number)), ("none", None), ("at", b"")),
            timestamp=1_700_000_000_000 + 1000 * block + number,
        )


def by_producers(kafka: KafkaCluster, keys: set[bytes], partitions: int) -> dict[bytes, int]:
    """The partition of each key, by what a producer did with it."""
    name = unique("reference")
    create_topic(kafka.client_properties, name, partitions=partitions)
    produce(kafka.client_properties, name, [Sample(key=key, value=b"v") for key in sorted(keys)], **LIKE_JAVA)
    found = {
        content.key: number
        for number, records in read_positions(kafka.client_properties, name).items()
        for _, content in records
        if content.key is not None
    }
    delete_topics(kafka.client_properties, [name])
    assert found.keys() == keys
    return found

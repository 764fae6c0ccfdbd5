"""The command line's own proof: what `kafkeep restore` brings back of a repository's newest point."""

from __future__ import annotations

from pathlib import Path

from tests.support.kafka import Content, KafkaCluster, read_committed, unique
from tests.support.oracle import assert_whole
from tests.support.sweep import open_repository
from tests.support.sweep_command import Kafkeep

from kafkeep.model import TopicPartition
from kafkeep.repository.stores.local import LocalStore


def restored(
    kafkeep: Kafkeep, kafka: KafkaCluster, repository: Path, topics: dict[str, int], *, point: str = "latest"
) -> dict[TopicPartition, list[Content]]:
    """A point restored under other names, as an independent consumer reads it. The repository must be whole."""
    assert kafkeep("verify", "--repo", str(repository), "--level", "data").expect(0)["findings"] == []
    store = LocalStore(repository)
    assert_whole(open_repository(store))
    place = unique("proof")
    named = ["--topics", ",".join(topics), "--rename", f"s/^/{place}-/", "--groups", "none"]
    kafkeep("restore", point, "--repo", str(repository), "--cluster", kafka.bootstrap, *named).expect(0)
    return at_source(kafka, topics, prefix=f"{place}-")


def at_source(kafka: KafkaCluster, topics: dict[str, int], *, prefix: str = "") -> dict[TopicPartition, list[Content]]:
    """Every committed record of topics, by the source's partition."""
    return {
        TopicPartition(topic, number): records
        for topic in topics
        for number, records in read_committed(kafka.client_properties, prefix + topic).items()
    }


def prove(
    kafkeep: Kafkeep, kafka: KafkaCluster, repository: Path, topics: dict[str, int]
) -> dict[TopicPartition, list[bytes | None]]:
    """Restores the newest point and returns its values, after every restored record was found equal to the source's."""
    found = restored(kafkeep, kafka, repository, topics)
    assert found == at_source(kafka, topics)
    return {partition: [record.value for record in records] for partition, records in found.items()}

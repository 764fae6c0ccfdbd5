"""Short ways to set group positions on real clusters and to look at them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime

from tests.support.kafka import KafkaCluster, Sample, create_topic, produce, unique

from kafkeep.capture.options import BackupOptions
from kafkeep.capture.run import backup
from kafkeep.groups.options import GroupOptions
from kafkeep.groups.plan import GroupsPlan
from kafkeep.groups.result import GroupsResult
from kafkeep.groups.run import carry_out_plan, prepare_file, prepare_rollback
from kafkeep.kafka.cluster import Cluster
from kafkeep.model import GroupOffset, RecoveryPoint, TopicPartition
from kafkeep.position_files import FilePosition
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore


def now() -> datetime:
    return datetime.now(UTC)


def new_repository() -> Repository:
    return Repository.init(MemoryStore(), now=now, rng=random.SystemRandom())


def point_of(cluster: Cluster, repository: Repository, *topics: str) -> RecoveryPoint:
    found = backup(cluster, repository, BackupOptions(topics=topics), now=now).point
    assert found is not None
    return found


def carried(cluster: Cluster, repository: Repository, plan: GroupsPlan) -> GroupsResult:
    return carry_out_plan(cluster, repository, plan, connections=4, now=now)


def from_file(cluster: Cluster, *positions: FilePosition, backwards: bool = True) -> GroupsPlan:
    return prepare_file(cluster, "x.json", positions, GroupOptions(backwards=backwards))


def taken_back(cluster: Cluster, repository: Repository, job: str = "latest", *, force: bool = False) -> GroupsPlan:
    return prepare_rollback(cluster, repository, job, groups=lambda name: True, force=force)


def positions_of(cluster: Cluster, group: str) -> dict[TopicPartition, GroupOffset]:
    found = cluster.admin.group_offsets([group])[group]
    assert isinstance(found, tuple)
    return {position.topic_partition: position for position in found}


def described(kafka: KafkaCluster, groups: Sequence[str]) -> dict[tuple[str, str, int], int]:
    """(group, topic, partition) to the offset that Kafka's Java tool shows."""
    named = [word for group in groups for word in ("--group", group)]
    told = kafka.lab.tool("consumer-groups", "--bootstrap-server", kafka.bootstrap, "--describe", "--offsets", *named)
    rows = [line.split() for line in told.stdout.splitlines() if line.strip() and not line.startswith("GROUP")]
    return {(row[0], row[1], int(row[2])): int(row[3]) for row in rows if len(row) > 4 and row[3].isdigit()}


def samples(count: int, label: str, *, keys: int = 0) -> list[Sample]:
    return [
        Sample(f"key-{number % keys}".encode() if keys else None, f"{label} {number}".encode(), partition=0)
        for number in range(count)
    ]


def filled(kafka: KafkaCluster, partitions: int = 3, count: int = 90) -> str:
    topic = unique("filled")
    create_topic(kafka.client_properties, topic, partitions=partitions)
    produce(kafka.client_properties, topic, [Sample(None, b"%d" % n, partition=n % partitions) for n in range(count)])
    return topic

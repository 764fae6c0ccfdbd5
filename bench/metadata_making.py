"""A large cluster without records: topics, groups with positions, permissions, limits and users, made in few requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from bench.children import on_threads
from bench.measure import BenchError
from kafkeep.errors import KafkaError
from kafkeep.inventory import CLIENT_METRICS, CLUSTER, GROUP, Acl, QuotaEntity, ScramUser
from kafkeep.kafka.admin import NewTopic
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.config_changes import ConfigChange
from kafkeep.kafka.users import NewScramUser
from kafkeep.model import GroupOffset, TopicPartition
from kafkeep.secret import Secret

T = TypeVar("T")

PASSWORD: Final = "of-the-benchmark"
_CONNECTIONS: Final = 2
_READY_SECONDS: Final = 600.0
_ITERATIONS: Final = 4096
_RETENTIONS: Final = 20
"""So many different values of one setting: what a target takes is tried value by value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of everything there is."""

    topics: int = 1000
    partitions: int = 10
    """Of each topic."""
    groups: int = 2000
    positions: int = 5
    """Of each group, all in one topic."""
    acls: int = 1000
    quotas: int = 200
    users: int = 50
    group_configs: int = 100

    def __str__(self) -> str:
        parts = (
            (self.topics, "topics"),
            (self.topics * self.partitions, "partitions"),
            (self.groups, "groups"),
            (self.groups * self.positions, "positions"),
            (self.acls, "ACLs"),
            (self.quotas, "quotas"),
            (self.users, "SCRAM users"),
            (self.group_configs, "groups with configs of their own"),
        )
        return ", ".join(f"{count:,} {what}".replace(",", " ") for count, what in parts)

    @property
    def topic_names(self) -> list[str]:
        return [f"team-{number % 40:02d}.orders-{number:05d}.v1" for number in range(self.topics)]

    @property
    def group_names(self) -> list[str]:
        return [f"service-{number % 100:02d}.consumer-{number:05d}" for number in range(self.groups)]

    @property
    def user_names(self) -> list[str]:
        return [f"user-{number:04d}" for number in range(self.users)]


def fill(connect: Callable[[], Cluster], size: Size, note: Callable[[str], None]) -> None:
    """Makes everything. Raises BenchError when the cluster refuses some of it."""
    with connect() as cluster:
        note(f"making {size.topics} topics")
        _all_done(cluster.admin.create_topics(_topics(size)).values())
        cluster.await_topics(size.topic_names, seconds=_READY_SECONDS)
        note("making permissions, limits and users")
        settings = cluster.settings
        _all_done(settings.create_acls(_acls(size)).values())
        _all_done(settings.alter_quotas(_quotas(size)).values())
        _all_done(settings.upsert_scram_users(_users(size)).values())
        changes = [
            ConfigChange(GROUP, name, (("consumer.session.timeout.ms", "50000"),), ())
            for name in size.group_names[: size.group_configs]
        ]
        changes.append(ConfigChange(CLIENT_METRICS, "all", (("interval.ms", "60000"),), ()))
        changes.append(ConfigChange(CLUSTER, "", (("log.cleaner.threads", "2"),), ()))
        _all_done(settings.alter_configs(changes))
        await_settled(cluster, size)
    note(f"making {size.groups} groups")
    names = size.group_names
    on_threads([partial(_commit, connect, size, names[start::_CONNECTIONS]) for start in range(_CONNECTIONS)])


def await_settled(cluster: Cluster, size: Size) -> None:
    """Until the broker tells of what the controller has taken: it makes the logs of new topics first. Raises BenchError."""
    until = time.monotonic() + _READY_SECONDS
    while (acls := cluster.settings.acls()) is None or len(acls) < size.acls:
        if time.monotonic() > until:
            raise BenchError(f"the broker does not tell of its ACLs after {_READY_SECONDS:.0f} s")
        time.sleep(0.5)


def _all_done(answers: Iterable[object]) -> None:
    """Raises the first that is an error."""
    for answer in answers:
        if isinstance(answer, KafkaError):
            raise BenchError(str(answer)) from answer


def _topics(size: Size) -> list[NewTopic]:
    return [
        NewTopic(
            name=name,
            partitions=size.partitions,
            replication_factor=1,
            configs=(
                ("cleanup.policy", "compact" if number % 4 == 0 else "delete"),
                ("retention.ms", str(86_400_000 * (1 + number % _RETENTIONS))),
                ("segment.bytes", "104857600"),
            ),
        )
        for number, name in enumerate(size.topic_names)
    ]


def _acls(size: Size) -> list[Acl]:
    operations = ("READ", "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS")
    topics = size.topic_names
    return [
        Acl(
            "TOPIC",
            topics[number % len(topics)],
            "LITERAL",
            f"User:user-{number // len(topics):04d}",
            "*",
            operations[number % len(operations)],
            "ALLOW",
        )
        for number in range(size.acls)
    ]


def _quotas(size: Size) -> dict[QuotaEntity, dict[str, float | None]]:
    return {
        QuotaEntity((("client-id", f"client-{number:04d}"),)): {
            "producer_byte_rate": 1_048_576.0 + number,
            "consumer_byte_rate": 2_097_152.0,
        }
        for number in range(size.quotas)
    }


def _users(size: Size) -> list[NewScramUser]:
    return [
        NewScramUser(ScramUser(name, "SCRAM-SHA-256", _ITERATIONS), Secret(PASSWORD), salt=b"0" * 24)
        for name in size.user_names
    ]


def _commit(connect: Callable[[], Cluster], size: Size, groups: Iterable[str]) -> None:
    topics = size.topic_names
    with connect() as cluster:
        for number, group in enumerate(groups):
            topic = topics[number % len(topics)]
            positions = [
                GroupOffset(TopicPartition(topic, partition), 0, -1, "")
                for partition in range(min(size.positions, size.partitions))
            ]
            refused = [code for code in cluster.admin.commit_group_offsets(group, positions).values() if code]
            if refused:
                raise BenchError(f"positions of {group} were refused with {refused[0]}")


def write_passwords(file: Path, size: Size) -> None:
    """What `--users-file` takes, readable by its owner alone."""
    file.touch(mode=0o600)
    file.write_text("".join(f"{user}\t{PASSWORD}\n" for user in size.user_names), encoding="utf-8")

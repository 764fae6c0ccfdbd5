"""Rights on Kafka: what each verb needs (the table of docs/operations.md), and what happens when one is missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from tests.support.kafka import KafkaCluster, Position, commit_positions, create_topic, produce, unique
from tests.support.live import until
from tests.support.oracle_load import samples
from tests.support.sweep import open_repository
from tests.support.sweep_command import Kafkeep, cluster_table

from kafkeep.repository.stores.local import LocalStore

pytestmark = pytest.mark.integration

USER = "alice"
TOPIC, GROUP, CLUSTER = ResourceType.TOPIC, ResourceType.GROUP, ResourceType.BROKER

Right = tuple[ResourceType, AclOperation]

BACKUP: tuple[Right, ...] = (
    (TOPIC, AclOperation.READ),
    (TOPIC, AclOperation.DESCRIBE_CONFIGS),
    (GROUP, AclOperation.DESCRIBE),
    (CLUSTER, AclOperation.DESCRIBE),
)
RESTORE: tuple[Right, ...] = (
    (TOPIC, AclOperation.CREATE),
    (TOPIC, AclOperation.WRITE),
    (TOPIC, AclOperation.ALTER_CONFIGS),
    (TOPIC, AclOperation.READ),
    (GROUP, AclOperation.READ),
)
COMPARE: tuple[Right, ...] = ((TOPIC, AclOperation.READ),)
CONSISTENT: tuple[Right, ...] = ((ResourceType.TRANSACTIONAL_ID, AclOperation.DESCRIBE),)
RECORDS_ALONE = "--no-settings"
"""What the table of `backup` is about; tests/faults/test_settings_rights.py is about the rest."""


@dataclass(frozen=True)
class Stage:
    """Two topics and a group on a cluster with an authorizer, a user without rights, and ways to give some."""

    kafka: KafkaCluster
    kafkeep: Kafkeep
    admin: AdminClient
    prefix: str
    topic: str
    other: str
    group: str

    def allow(self, *rights: Right, topics: str | None = None) -> None:
        """Exactly these rights: on topics (those with the stage's prefix, or the one given), on all groups where they are
        to be listed and on the stage's own otherwise, on the cluster.
        """
        for answer in self.admin.delete_acls([_everything()]).values():
            answer.result(10)
        bindings = [self._binding(kind, operation, topics) for kind, operation in rights]
        for answer in self.admin.create_acls(bindings).values() if bindings else ():
            answer.result(10)
        # brokers learn of it a moment after the controller
        until(lambda: set(self.admin.describe_acls(_everything()).result(10)) == set(bindings), what="the rights")

    def _binding(self, kind: ResourceType, operation: AclOperation, topics: str | None) -> AclBinding:
        name, pattern = self.prefix, ResourcePatternType.PREFIXED
        if kind == TOPIC and topics is not None:
            name, pattern = topics, ResourcePatternType.LITERAL
        elif kind == CLUSTER:
            name, pattern = "kafka-cluster", ResourcePatternType.LITERAL
        elif kind == GROUP and operation in (AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS):
            name, pattern = "*", ResourcePatternType.LITERAL
        return AclBinding(kind, name, pattern, f"User:{USER}", "*", operation, AclPermissionType.ALLOW)

    def new_repository(self, folder: Path) -> Path:
        self.kafkeep("init", "--repo", str(folder)).expect(0)
        return folder

    def backup(self, repository: Path, topics: str | None = None, *, with_settings: bool = False) -> dict[str, Any]:
        chosen = topics or f"{self.prefix}*"
        given = ["--repo", str(repository), "--cluster", "lab", "--topics", chosen]
        given += [] if with_settings else [RECORDS_ALONE]
        return self.kafkeep("backup", *given).expect(0, 3, 4, 14)

    def restore(self, repository: Path, target: str) -> dict[str, Any]:
        given = ["--repo", str(repository), "--cluster", "lab", "--rename", f"s/^/{target}/", "--groups", self.group]
        return self.kafkeep("restore", "latest", *given).expect(0, 3, 14, 24)

    def names(self) -> set[str]:
        return set(self.admin.list_topics(timeout=60).topics)


def _everything() -> AclBindingFilter:
    return AclBindingFilter(
        ResourceType.ANY, None, ResourcePatternType.ANY, f"User:{USER}", None, AclOperation.ANY, AclPermissionType.ANY
    )


@pytest.fixture(scope="module")
def stage(kafka_431_scram: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    lab, prefix = kafka_431_scram.lab, unique("rights") + "."
    topic, other, group = f"{prefix}topic", f"{prefix}other", f"{prefix}group"
    for name in (topic, other):
        create_topic(kafka_431_scram.client_properties, name, partitions=2, config={"retention.ms": "86400000"})
        produce(kafka_431_scram.client_properties, name, samples(100, partitions=2))
    commit_positions(kafka_431_scram.client_properties, group, [Position(topic, 0, 7)])
    kafkeep = Kafkeep(tmp_path_factory.mktemp("home"), inside=True)
    source = f'{{ file = "{lab.logins.password_file(USER)}" }}'
    kafkeep.settings(
        cluster_table(
            "lab", lab.bootstrap, "sasl_tls", ca=lab.tls.ca, mechanism="SCRAM-SHA-512", user=USER, password=source
        )
    )
    admin = AdminClient({"bootstrap.servers": lab.bootstrap_of("INTERNAL")})
    found = Stage(kafka_431_scram, kafkeep, admin, prefix, topic, other, group)
    yield found
    found.allow()


def failures(summary: dict[str, Any]) -> dict[str, str]:
    return {failure["subject"]: failure["message"] for failure in summary["failures"]}


def test_backup_with_the_rights_of_the_table(stage: Stage, tmp_path: Path) -> None:
    stage.allow(*BACKUP)
    repository = stage.new_repository(tmp_path / "repository")
    done = stage.backup(repository)
    assert (done["exit_code"], done["records"]) == (0, 200)
    shown = stage.kafkeep("show", "latest", "--repo", str(repository)).out
    assert stage.group in shown


@pytest.mark.parametrize(
    ("missing", "named", "records"),
    [
        ((TOPIC, AclOperation.READ), "{other}/0", 0),
        ((TOPIC, AclOperation.DESCRIBE_CONFIGS), "configs of {other}", 200),
        ((GROUP, AclOperation.DESCRIBE), "group {group}", 200),
    ],
)
def test_backup_without_one_of_them(stage: Stage, missing: Right, named: str, records: int, tmp_path: Path) -> None:
    """Status 3, what was refused is named with Kafka's reason, the rest is captured, and the point says incomplete."""
    kept = [right for right in BACKUP if right != missing]
    describe = [(TOPIC, AclOperation.DESCRIBE)] if missing == (TOPIC, AclOperation.READ) else []
    stage.allow(*kept, *describe)
    repository = stage.new_repository(tmp_path / "repository")
    done = stage.backup(repository)
    subject = named.format(other=stage.other, group=stage.group)
    assert (done["exit_code"], done["records"]) == (3, records)
    assert "AUTHORIZATION_FAILED" in failures(done)[subject]
    assert done["point"]["complete"] is False
    assert stage.kafkeep("verify", "--repo", str(repository), "--level", "data").expect(0)


def test_consistent_points_need_to_know_of_all_transactions(stage: Stage, tmp_path: Path) -> None:
    """A transaction of a producer that the login may not see is open at the cut."""
    repository = stage.new_repository(tmp_path / "repository")
    producer = Producer({**stage.kafka.client_properties, "transactional.id": f"{stage.prefix}payer"})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(stage.other, b"open", partition=0)
    assert producer.flush(30) == 0
    given = ["--repo", str(repository), "--cluster", "lab", "--topics", f"{stage.prefix}*", RECORDS_ALONE]
    given += ["--consistent", "transactions", "--consistent-wait", "2s"]
    try:
        stage.allow(*BACKUP)
        done = stage.kafkeep("backup", *given).expect(3)
        assert "no coordinator told of the producers" in failures(done)["transactions"]
        assert done["point"]["consistency"] == "partition"
        stage.allow(*BACKUP, *CONSISTENT)
        done = stage.kafkeep("backup", *given).expect(0)
        assert done["point"]["consistency"] == "transaction"
    finally:
        producer.abort_transaction(30)


def test_rights_on_one_topic_are_missing(stage: Stage, tmp_path: Path) -> None:
    """The other topic is captured whole; without any right the topic is named as soon as it was asked for by name."""
    stage.allow(*BACKUP, topics=stage.topic)
    repository = stage.new_repository(tmp_path / "repository")
    done = stage.backup(repository, f"{stage.topic},{stage.other}")
    assert (done["exit_code"], done["records"]) == (3, 100)
    assert set(failures(done)) == {stage.other}
    assert "TOPIC_AUTHORIZATION_FAILED" in failures(done)[stage.other]


def test_rights_are_lost_and_come_back(stage: Stage, tmp_path: Path) -> None:
    """A topic that was readable once is missed, not taken for deleted; later it goes on without a gap."""
    stage.allow(*BACKUP)
    repository = stage.new_repository(tmp_path / "repository")
    assert stage.backup(repository)["exit_code"] == 0
    produce(stage.kafka.client_properties, stage.other, samples(20, partitions=2, seed=2))
    stage.allow(*BACKUP, topics=stage.topic)
    done = stage.backup(repository)
    assert done["exit_code"] == 3
    assert set(failures(done)) == {stage.other}
    state = open_repository(LocalStore(repository)).state
    assert all(known.open for known in state.generations.values())
    stage.allow(*BACKUP)
    done = stage.backup(repository)
    assert (done["exit_code"], done["records"], done["gaps"]) == (0, 20, [])


def test_login_without_any_right(stage: Stage, tmp_path: Path) -> None:
    stage.allow()
    repository = stage.new_repository(tmp_path / "repository")
    done = stage.backup(repository)
    assert (done["exit_code"], done["slug"]) == (4, "nothing-to-do")
    assert open_repository(LocalStore(repository)).state.head == 0


def test_without_a_right_on_the_cluster_unseen_groups_cannot_be_missed(stage: Stage, tmp_path: Path) -> None:
    """Kafka leaves them out of its list without a word: docs/operations.md says why the right belongs to a backup."""
    stage.allow(*[right for right in BACKUP if right[0] == TOPIC])
    repository = stage.new_repository(tmp_path / "repository")
    assert stage.backup(repository)["exit_code"] == 0
    stage.allow(*[right for right in BACKUP if right[0] != GROUP])
    assert f"group {stage.group}" in failures(stage.backup(repository))


@pytest.fixture(scope="module")
def archive(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    stage.allow(*BACKUP)
    repository = stage.new_repository(tmp_path_factory.mktemp("archive") / "repository")
    assert stage.backup(repository)["exit_code"] == 0
    return repository


def test_restore_and_compare_with_the_rights_of_the_table(stage: Stage, archive: Path) -> None:
    target = unique(f"{stage.prefix}back") + "-"
    stage.allow(*RESTORE)
    done = stage.restore(archive, target)
    assert (done["exit_code"], done["failures"]) == (0, [])
    assert [group["group_id"] for group in done["groups"]] == [stage.group]
    stage.allow(*COMPARE)
    given = ["--repo", str(archive), "--cluster", "lab", "--rename", f"s/^/{target}/"]
    assert stage.kafkeep("compare", "latest", *given).expect(0)["exit_code"] == 0


@pytest.mark.parametrize("missing", RESTORE, ids=lambda right: f"{right[0].name}-{right[1].name}")
def test_restore_without_one_of_them(stage: Stage, archive: Path, missing: Right) -> None:
    """What was refused is named, and whatever was made is told: no topic is left behind unsaid."""
    target = unique(f"{stage.prefix}part") + "-"
    stage.allow(*[right for right in RESTORE if right != missing])
    done = stage.restore(archive, target)
    made = {name for name in stage.names() if name.startswith(target)}
    if done["exit_code"] == 3:
        assert any("AUTHORIZATION_FAILED" in message for message in failures(done).values())
        assert set(done["topics_created"]) == made
    else:
        assert (done["exit_code"], done["slug"]) == (14, "kafka-access-denied")
        assert "this login lacks" in done["message"]
        assert made == set(), "refused as a whole, so nothing may have been made"


def test_restore_into_a_topic_that_exists_needs_no_more(stage: Stage, archive: Path) -> None:
    """ALTER_CONFIGS brings DESCRIBE_CONFIGS with it (AclOperation's implications in StandardAuthorizer)."""
    target = unique(f"{stage.prefix}held") + "-"
    create_topic(stage.kafka.client_properties, f"{target}{stage.topic}", partitions=2)
    stage.allow(*RESTORE)
    assert stage.restore(archive, target)["exit_code"] == 0

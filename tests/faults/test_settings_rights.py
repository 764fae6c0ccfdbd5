"""Rights on Kafka that settings and permissions in a point need (the table of docs/operations.md), one by one: what is
missing is named, and the rest is as complete as with all rights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AclOperation
from tests.faults.test_rights import BACKUP, CLUSTER, GROUP, Right, Stage, failures
from tests.faults.test_rights import stage as stage  # the fixture
from tests.support.configs import alter_configs
from tests.support.live import until
from tests.support.sweep import open_repository

from kafkeep.inventory import BROKER, Inventory, Standing
from kafkeep.inventory import CLUSTER as CLUSTER_CONFIGS
from kafkeep.inventory import GROUP as GROUP_CONFIGS
from kafkeep.kafka.cluster import Cluster
from kafkeep.point_documents import needed_inventory_of, standing_of
from kafkeep.repository.stores.local import LocalStore

pytestmark = pytest.mark.integration

SETTINGS: tuple[Right, ...] = (
    (CLUSTER, AclOperation.DESCRIBE),
    (CLUSTER, AclOperation.DESCRIBE_CONFIGS),
    (GROUP, AclOperation.DESCRIBE_CONFIGS),
    (GROUP, AclOperation.DESCRIBE),
)
ALL: tuple[Right, ...] = tuple(dict.fromkeys((*BACKUP, *SETTINGS)))

MISSED: dict[Right, tuple[set[str], dict[str, object]]] = {
    (CLUSTER, AclOperation.DESCRIBE): (
        {"acls", "scram-users", "quorum", "reassignments", "log directories of broker {node}"},
        {"acls": (), "scram_users": ()},
    ),
    (CLUSTER, AclOperation.DESCRIBE_CONFIGS): (
        {"quotas", "configs of broker {node}", "configs of cluster", "client-metrics configs", "group configs"},
        {"quotas": (), "configs": ()},
    ),
    (GROUP, AclOperation.DESCRIBE_CONFIGS): ({"configs of group {group}"}, {}),
    (GROUP, AclOperation.DESCRIBE): ({"group {group}", "members of group {group}"}, {}),
}
"""By right: what is named without it, and those fields of the inventory that are empty then."""


@pytest.fixture(scope="module")
def settled(stage: Stage) -> Iterator[Stage]:
    """The stage with something of every part: group, cluster and broker configs, a quota, and a member in the group."""
    with Cluster(stage.kafka.cluster_config()) as cluster:
        settings, node = cluster.settings, node_of(cluster)
        assert alter_configs(settings, GROUP_CONFIGS, stage.group, set={"consumer.session.timeout.ms": "50000"}) is None
        assert alter_configs(settings, CLUSTER_CONFIGS, "", set={"message.max.bytes": "2000000"}) is None
        assert alter_configs(settings, BROKER, node, set={"log.cleaner.threads": "2"}) is None
        member = Consumer({**stage.kafka.client_properties, "group.id": stage.group})
        member.subscribe([stage.topic])
        until(lambda: member.poll(0.1) is not None or bool(member.assignment()), what="joining the group")
        yield stage
        member.close()
        alter_configs(settings, GROUP_CONFIGS, stage.group, set={}, delete=["consumer.session.timeout.ms"])
        alter_configs(settings, CLUSTER_CONFIGS, "", set={}, delete=["message.max.bytes"])
        alter_configs(settings, BROKER, node, set={}, delete=["log.cleaner.threads"])


def node_of(cluster: Cluster) -> str:
    return str(next(iter(cluster.topology([]).brokers)))


def held(repository: Path) -> tuple[Inventory, Standing]:
    found = open_repository(LocalStore(repository))
    point = found.point("latest")
    return needed_inventory_of(found, point), standing_of(found, point)


def backed_up(stage: Stage, folder: Path) -> tuple[dict[str, Any], Inventory, Standing]:
    repository = stage.new_repository(folder)
    done = stage.backup(repository, with_settings=True)
    return done, *held(repository)


@pytest.fixture(scope="module")
def whole(settled: Stage, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Inventory, Standing]:
    settled.allow(*ALL)
    return backed_up(settled, tmp_path_factory.mktemp("whole") / "repository")


def test_settings_with_the_rights_of_the_table(
    settled: Stage, whole: tuple[dict[str, Any], Inventory, Standing]
) -> None:
    done, inventory, standing = whole
    assert (done["exit_code"], done["records"], done["failures"]) == (0, 200, [])
    assert inventory.unreadable == () and inventory.acls and inventory.scram_users and inventory.features
    assert settled.group in [one.name for one in inventory.configs_of(GROUP_CONFIGS)]
    assert inventory.configs_of(BROKER) and inventory.configs_of(CLUSTER_CONFIGS)
    assert standing.quorum is not None and all(broker.log_dirs for broker in standing.brokers)
    assert settled.group in [group.group_id for group in standing.groups]


@pytest.mark.parametrize("missing", SETTINGS, ids=lambda right: f"{right[0].name}-{right[1].name}")
def test_settings_without_one_of_them(
    settled: Stage, whole: tuple[dict[str, Any], Inventory, Standing], missing: Right, tmp_path: Path
) -> None:
    """Status 3, each part is named with the right that it needs, and nothing else is missing."""
    settled.allow(*[right for right in ALL if right != missing])
    done, inventory, standing = backed_up(settled, tmp_path / "repository")
    subjects, empty = MISSED[missing]
    node = standing.brokers[0].node_id
    told = {subject: message for subject, message in failures(done).items() if not of_others(settled, subject)}
    assert set(told) == {subject.format(node=node, group=settled.group) for subject in subjects}
    for message in told.values():
        assert "AUTHORIZATION_FAILED" in message and f"lacks {missing[1].name}" in message
    assert (done["exit_code"], done["records"], done["point"]["complete"]) == (3, 200, False)
    expected = replace(whole[1], unreadable=inventory.unreadable, **empty)  # type: ignore[arg-type]
    if missing == (GROUP, AclOperation.DESCRIBE_CONFIGS):
        others = tuple(one for one in whole[1].configs if one.kind != GROUP_CONFIGS)
        expected = replace(expected, configs=others)
    # The permissions themselves are what the test changes.
    for field in fields(Inventory):
        if field.name != "acls" or "acls" in empty:
            assert getattr(inventory, field.name) == getattr(expected, field.name), field.name
    assert ("acls" in empty) or inventory.acls
    assert set(inventory.unreadable) <= set(told)


def of_others(stage: Stage, subject: str) -> bool:
    """Every group of the cluster is backed up, those too that other tests left there."""
    of_a_group = subject.startswith(("group ", "members of group ", "configs of group ")) and subject != "group configs"
    return of_a_group and stage.group not in subject


def test_a_login_for_records_alone_leaves_settings_out(settled: Stage, tmp_path: Path) -> None:
    settled.allow(*BACKUP)
    repository = settled.new_repository(tmp_path / "repository")
    assert settled.backup(repository)["exit_code"] == 0
    incomplete = settled.backup(repository, with_settings=True)
    assert incomplete["exit_code"] == 3 and "quotas" in failures(incomplete)
    again = settled.backup(repository, with_settings=True)
    assert (again["exit_code"], again["point"]) == (3, None), "the same refusal makes no further point"
    shown = settled.kafkeep("show", "latest", "--repo", str(repository)).out
    assert "quotas" in shown and "DESCRIBE_CONFIGS" in shown
    assert settled.backup(repository, settled.topic, with_settings=True)["records"] == 0


def test_records_come_back_from_a_point_that_lacks_settings(settled: Stage, tmp_path: Path) -> None:
    """Told, and no reason for status 3."""
    settled.allow(*BACKUP)
    repository = settled.new_repository(tmp_path / "repository")
    assert settled.backup(repository, settled.other, with_settings=True)["exit_code"] == 3
    admin = settled.kafka.settings_file
    place = ["--repo", str(repository), "--cluster", "lab", "--rename", f"s/^/{settled.prefix}back-/"]
    told = settled.kafkeep("--config", str(admin), "restore", "latest", *place, "--groups", "none", "--dry-run")
    assert told.expect(0) and "is incomplete" in told.out
    done = settled.kafkeep("--config", str(admin), "restore", "latest", *place, "--groups", "none").expect(0)
    assert done["failures"] == []
    assert settled.kafkeep("--config", str(admin), "compare", "latest", *place).expect(0)
    assert settled.kafkeep("verify", "--repo", str(repository), "--level", "data").expect(0)

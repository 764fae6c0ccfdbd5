"""The controllers' log over what brokers tell: which of the two is believed in what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kafkeep.controller_reading import read_controllers, with_controllers
from kafkeep.errors import SettingsError
from kafkeep.events import ignore
from kafkeep.inventory import (
    Acl,
    BrokerNode,
    ConfigValue,
    Feature,
    Inventory,
    MetadataCut,
    Quota,
    QuotaEntity,
    ResourceConfigs,
    ScramUser,
    Standing,
)
from kafkeep.inventory_reading import InventoryReading
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.config import ClusterConfig
from kafkeep.kafka.metadata_log import MetadataLog
from kafkeep.kafka.wire.metadata_fold import LoggedMetadata
from kafkeep.model import Failure

ACL = Acl("TOPIC", "orders", "LITERAL", "User:anna", "*", "READ", "ALLOW")
OF_THE_LOG = replace(ACL, principal="User:bert")
STATIC = ConfigValue("port", "1", "static", read_only=True)
PASSWORD = ConfigValue("ssl.key.password", None, "broker", sensitive=True)
TOLD = InventoryReading(
    Inventory(
        configs=(
            ResourceConfigs(
                "broker",
                "1",
                (
                    ConfigValue("background.threads", "10", "default"),
                    ConfigValue("log.cleaner.threads", "1", "broker"),
                    ConfigValue("message.max.bytes", "7", "cluster"),
                    STATIC,
                    PASSWORD,
                ),
            ),
            ResourceConfigs("cluster", "", (ConfigValue("message.max.bytes", "7", "cluster"),)),
        ),
        acls=(ACL,),
        scram_users=(ScramUser("anna", "SCRAM-SHA-256", 4096),),
        features=(Feature("metadata.version", 1),),
    ),
    Standing(brokers=(BrokerNode(1, "k", 9092, None, ()),)),
    (),
)
LOGGED = LoggedMetadata(
    topics=(),
    configs=(
        (4, "", (("message.max.bytes", "8"), ("unheard.of", "x"))),
        (4, "1", (("background.threads", "12"), ("ssl.key.password", "geheim"))),
        (4, "2", (("log.cleaner.threads", "2"), ("ssl.key.password", "geheim"))),
        (16, "probe", (("interval.ms", "5"),)),
        (32, "readers", (("consumer.session.timeout.ms", "6"),)),
    ),
    acls=(OF_THE_LOG,),
    quotas=(Quota(QuotaEntity((("ip", None),)), (("connection_creation_rate", 1.0),)),),
    scram_users=(ScramUser("bert", "SCRAM-SHA-512", 8192),),
    features=(Feature("metadata.version", 2),),
    brokers=(),
    reassignments=(),
    tokens=(),
    unknown=(),
)
CUT = MetadataCut(5, 1)


def over(told: InventoryReading = TOLD, **changes: object) -> InventoryReading:
    return with_controllers(told, MetadataLog(replace(LOGGED, **changes), CUT))  # type: ignore[arg-type]


def test_what_the_log_has_is_the_logs() -> None:
    found = over()
    inventory = found.inventory
    assert inventory.acls == (OF_THE_LOG,) and inventory.quotas == LOGGED.quotas
    assert inventory.scram_users == LOGGED.scram_users and inventory.features == LOGGED.features
    assert found.standing == replace(TOLD.standing, metadata_cut=CUT) and found.failures == ()


def test_configs_are_the_logs_over_the_brokers_files_and_passwords_stay_hidden() -> None:
    found = {(each.kind, each.name): {entry.name: entry for entry in each.entries} for each in over().inventory.configs}
    assert found["broker", "1"] == {
        "background.threads": ConfigValue("background.threads", "12", "broker"),
        "message.max.bytes": ConfigValue("message.max.bytes", "8", "cluster"),
        "port": STATIC,
        "ssl.key.password": PASSWORD,
        "unheard.of": ConfigValue("unheard.of", None, "cluster", sensitive=True, read_only=True),
    }
    # A broker that does not run: only what was set on it.
    assert found["broker", "2"] == {
        "log.cleaner.threads": ConfigValue("log.cleaner.threads", "2", "broker"),
        "ssl.key.password": PASSWORD,
    }
    assert set(found["cluster", ""]) == {"message.max.bytes", "unheard.of"}
    assert found["client-metrics", "probe"]["interval.ms"].value == "5"
    assert found["group", "readers"]["consumer.session.timeout.ms"].source == "group"
    assert "geheim" not in repr(over())


def test_a_part_that_brokers_refused_is_there_and_others_stay_missing() -> None:
    refused = ("acls", "group configs", "configs of group readers", "configs of broker 1", "quorum")
    failures = tuple(Failure(subject, "kafka-access-denied", "no right") for subject in refused)
    told = replace(TOLD, inventory=replace(TOLD.inventory, acls=(), unreadable=refused[:4]), failures=failures)
    found = over(told)
    assert [failure.subject for failure in found.failures] == ["configs of broker 1", "quorum"]
    assert found.inventory.unreadable == ("configs of broker 1",) and found.inventory.acls == (OF_THE_LOG,)


def test_an_authorizer_that_keeps_its_acls_elsewhere_is_asked_by_the_brokers() -> None:
    assert over(acls=()).inventory.acls == (ACL,)


def test_records_of_unknown_types_are_named() -> None:
    (failure,) = over(unknown=((29, 3),)).failures
    assert (failure.subject, failure.reason) == ("metadata records of type 29", "kafka-unsupported")
    assert failure.message.startswith("3 of a type that this release does not know")


def test_nobody_has_said_where_the_controllers_are() -> None:
    with (
        Cluster(ClusterConfig(name="prod", bootstrap=("k:1",))) as cluster,
        pytest.raises(SettingsError, match="where the controllers of prod are") as caught,
    ):
        read_controllers(cluster, ignore, credentials=False)
    assert "controllers = [" in caught.value.hint

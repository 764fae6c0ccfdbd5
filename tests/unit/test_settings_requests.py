"""Settings of a scripted broker that is old, or that knows of another one out of reach."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from kafka.protocol.admin import DescribeConfigsRequest, DescribeLogDirsRequest
from kafka.protocol.metadata import MetadataRequest
from tests.support.control_broker import ControlBroker, free_port, scripted

from kafkeep.errors import KafkaAccessDenied, KafkaUnreachable
from kafkeep.inventory import BROKER, CLUSTER, ConfigValue, ResourceConfigs
from kafkeep.kafka.cluster import Cluster


@pytest.fixture
def broker() -> Iterator[ControlBroker]:
    with scripted() as broker:
        yield broker


def test_no_directory_at_all_means_that_the_right_is_missing(broker: ControlBroker) -> None:
    """DescribeLogDirs tells of a missing right from version 3 on (KIP-784); before, the answer is empty."""
    broker.scripts[DescribeLogDirsRequest] = lambda version, request: {"results": []}
    broker.versions[DescribeLogDirsRequest.API_KEY] = (0, 2)
    with Cluster(broker.config()) as cluster:
        answer = cluster.settings.log_dirs([1])[1]
    assert isinstance(answer, KafkaAccessDenied) and "lacks DESCRIBE on the cluster" in answer.message


def test_a_broker_out_of_reach_takes_no_others_configs_along(broker: ControlBroker) -> None:
    here = broker.scripts[MetadataRequest]

    def with_another(version: int, request: Any) -> dict[str, Any]:
        told = here(version, request)
        assert isinstance(told, dict)
        other = {"node_id": 2, "host": "127.0.0.1", "port": free_port(), "rack": None}
        return told | {"brokers": [*broker.brokers(), other]}

    def configs(version: int, request: Any) -> dict[str, Any]:
        entry = {
            "name": "a",
            "value": "1",
            "read_only": False,
            "config_source": 4,
            "is_default": False,
            "is_sensitive": False,
            "synonyms": [],
        }
        return {
            "results": [
                {
                    "error_code": 0,
                    "error_message": None,
                    "resource_type": resource.resource_type,
                    "resource_name": resource.resource_name,
                    "configs": [entry],
                }
                for resource in request.resources
            ]
        }

    broker.scripts |= {MetadataRequest: with_another, DescribeConfigsRequest: configs}
    with Cluster(broker.config(), retry_seconds=0.3) as cluster:
        found = cluster.settings.configs([(BROKER, "1"), (BROKER, "2"), (CLUSTER, "")])
    value = (ConfigValue("a", "1", "static"),)
    assert isinstance(found[BROKER, "2"], KafkaUnreachable)
    assert found[BROKER, "1"] == ResourceConfigs(BROKER, "1", value)
    assert found[CLUSTER, ""] == ResourceConfigs(CLUSTER, "", value)

"""Configs of brokers, of the cluster as a whole, of groups and of client metrics (KIP-226, KIP-339, KIP-714, KIP-848,
KIP-1142). The functions here are `ClusterSettings`' methods; topics' configs are `Admin`'s.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from kafkeep.errors import KafkaError, KafkaUnreachable, KafkaUnsupported
from kafkeep.inventory import (
    BROKER,
    CLIENT_METRICS,
    CLUSTER,
    GROUP,
    ConfigValue,
    ResourceConfigs,
    config_source,
)
from kafkeep.kafka.at_once import at_once
from kafkeep.kafka.codes import ErrorCode
from kafkeep.kafka.control import ControlClient, Target
from kafkeep.kafka.links import Fields
from kafkeep.kafka.long_answers import DESCRIBE_CONFIGS
from kafkeep.kafka.routing import refused
from kafkeep.kafka.settings_apis import LIST_CONFIG_RESOURCES
from kafkeep.kafka.wire.describe_configs import ConfigEntry, DescribedResource

RESOURCE_TYPES: Final = {BROKER: 4, CLUSTER: 4, CLIENT_METRICS: 16, GROUP: 32}
"""Numbers of clients/common/config/ConfigResource.java; the cluster is the broker without a name."""
RESOURCES_PER_REQUEST: Final = 200

Resource = tuple[str, str]
"""(kind, name) of `ResourceConfigs`."""


def list_config_resources(client: ControlClient, kind: str) -> tuple[str, ...]:
    """Names of all groups or client metrics resources that have configs of their own, sorted.

    None at all from brokers that do not have such resources: client metrics came with Kafka 3.7, group configs can be
    listed from 4.1 on.

    Raises:
        KafkaAccessDenied: without DESCRIBE_CONFIGS on the cluster; KafkaRequestError for other refusals.
    """
    number = RESOURCE_TYPES[kind]
    retry = client.retry(f"list {kind} resources")
    try:
        if kind == GROUP and client.version(LIST_CONFIG_RESOURCES, retry=retry) < 1:
            return ()
        answer = client.send(LIST_CONFIG_RESOURCES, {"resource_types": [number]}, to="any", retry=retry)
    except KafkaUnsupported:
        return ()
    if answer.error_code:
        raise refused(answer.error_code, f"list {kind} resources", right="DESCRIBE_CONFIGS on the cluster")
    # Version 0 lists client metrics alone and does not say so.
    wanted = (number, 0) if kind == CLIENT_METRICS else (number,)
    return tuple(
        sorted(
            item.resource_name
            for item in answer.config_resources
            if item.resource_type is None or item.resource_type in wanted
        )
    )


def describe_configs(
    client: ControlClient, resources: Collection[Resource]
) -> dict[Resource, ResourceConfigs | KafkaError]:
    """All configs of each resource with their sources, sorted by name; each broker is asked for its own, and one that
    does not answer is told in its place.
    """
    found: dict[Resource, ResourceConfigs | KafkaError] = {}
    brokers = [resource for resource in resources if resource[0] == BROKER]
    others = [resource for resource in resources if resource[0] != BROKER]
    batches: list[tuple[Target, list[Resource]]] = [(int(name), [(kind, name)]) for kind, name in brokers]
    batches += [
        ("any", others[first : first + RESOURCES_PER_REQUEST]) for first in range(0, len(others), RESOURCES_PER_REQUEST)
    ]

    def ask(question: tuple[Target, list[Resource]]) -> dict[Resource, ResourceConfigs | KafkaError]:
        target, batch = question
        body = {"resources": [_resource(kind, name) for kind, name in batch]}
        try:
            answer = client.send(DESCRIBE_CONFIGS, body, to=target, retry=client.retry("describe configs"))
        except KafkaUnreachable as error:
            if target == "any":
                raise
            return dict.fromkeys(batch, error)
        told = {(item.resource_type, item.resource_name): item for item in answer.results}
        return {(kind, name): _described(kind, name, told.get((RESOURCE_TYPES[kind], name))) for kind, name in batch}

    for told in at_once(ask, batches):
        found |= told
    return found


def _resource(kind: str, name: str) -> Fields:
    return {"resource_type": RESOURCE_TYPES[kind], "resource_name": name, "configuration_keys": None}


def _described(kind: str, name: str, result: DescribedResource | None) -> ResourceConfigs | KafkaError:
    what = f"configs of {kind} {name}".rstrip()
    code = ErrorCode.UNKNOWN_SERVER_ERROR if result is None else result.error_code
    if result is None or code:
        message = None if result is None else result.error_message
        where = "the group" if kind == GROUP else "the cluster"
        return refused(code, what, right=f"DESCRIBE_CONFIGS on {where}", message=message)
    return ResourceConfigs(kind, name, tuple(sorted(map(_value, result.configs))))


def _value(entry: ConfigEntry) -> ConfigValue:
    return ConfigValue(entry.name, entry.value, config_source(entry.source), entry.sensitive, entry.read_only)

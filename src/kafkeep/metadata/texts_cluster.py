"""Brokers and the cluster as a whole as text files. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from kafkeep.inventory import BROKER, CLIENT_METRICS, CLUSTER, GROUP, ConfigValue, DelegationToken
from kafkeep.metadata.image import ClusterImage
from kafkeep.metadata.phrases import shown, shown_value, unread_configs, unread_settings, unread_standing
from kafkeep.metadata.texts import page

_SECTIONS: Final = (
    ("broker", "dynamic, of this broker"),
    ("cluster", "dynamic, of the whole cluster"),
    ("static", "static, from the broker's file"),
    ("default", "Kafka's defaults"),
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def broker_configs(image: ClusterImage) -> str:
    """broker-configs.txt: of the cluster and of each broker, by where a value comes from."""
    inventory = image.inventory
    lines: list[str] = []
    for resource in inventory.configs_of(CLUSTER):
        lines += ["Dynamic configs of the whole cluster (default for brokers):", *_values(resource.entries)]
    for resource in inventory.configs_of(BROKER):
        lines += ["", f"Configs of broker {shown(resource.name)}:"]
        known = {source for source, _ in _SECTIONS}
        others = sorted({entry.source for entry in resource.entries} - known)
        for source, title in (*_SECTIONS, *((other, shown(other)) for other in others)):
            entries = [entry for entry in resource.entries if entry.source == source]
            lines += [f"  {title}:", *(f"  {line}" for line in _values(entries))] if entries else []
    unread = tuple(dict.fromkeys((*unread_configs(image, CLUSTER), *unread_configs(image, BROKER))))
    return page(image, "configs of brokers", lines, unread=unread, nothing="no configs of brokers")


def other_configs(image: ClusterImage) -> str:
    """group-configs.txt: configs of groups and of client metrics resources."""
    lines: list[str] = []
    for kind, title in ((GROUP, "group"), (CLIENT_METRICS, "client-metrics")):
        for resource in image.inventory.configs_of(kind):
            lines += [f"Dynamic configs for {title} {shown(resource.name)} are:", *_values(resource.overrides)]
    unread = tuple(dict.fromkeys((*unread_configs(image, GROUP), *unread_configs(image, CLIENT_METRICS))))
    return page(image, "configs of groups and client metrics", lines, unread=unread, nothing="none")


def _values(entries: Iterable[ConfigValue]) -> list[str]:
    return [f"  {shown(entry.name)}={shown_value(entry.value)}" for entry in entries]


def cluster(image: ClusterImage) -> str:
    """cluster.txt: what the cluster is made of, and what was under way."""
    lines = [*_features(image), *_brokers(image), *_quorum(image), *_reassignments(image), *_tokens(image)]
    unread = (*unread_settings(image, "features"), *unread_standing(image))
    return page(image, "cluster", lines, unread=unread, nothing="")


def _features(image: ClusterImage) -> list[str]:
    told = [f"  {shown(feature.name)}: {feature.level}" for feature in image.inventory.features]
    return ["Finalized features:", *(told or ["  none known"])]


def _brokers(image: ClusterImage) -> list[str]:
    lines = ["Brokers:"]
    for broker in image.standing.brokers:
        rack = "no rack" if broker.rack is None else f"rack {shown(broker.rack)}"
        lines.append(f"  {broker.node_id}: {shown(broker.host)}:{broker.port}, {rack}")
        for one in broker.log_dirs:
            if one.error:
                lines.append(f"    log directory {shown(one.path)}: {shown(one.error)}")
                continue
            lines.append(
                f"    log directory {shown(one.path)}: {one.replicas} replicas with {one.replica_bytes} bytes,"
                f" {_bytes(one.usable_bytes)} usable of {_bytes(one.total_bytes)}"
            )
    return lines if len(lines) > 1 else [*lines, "  none known"]


def _bytes(count: int) -> str:
    return "unknown" if count < 0 else f"{count} bytes"


def _quorum(image: ClusterImage) -> list[str]:
    quorum = image.standing.quorum
    if quorum is None:
        return ["Controllers:", "  not known"]
    lines = ["Controllers:", f"  leader: {quorum.leader}"]
    for title, nodes in (("voter", quorum.voters), ("observer", quorum.observers)):
        lines += [f"  {title}: {node}" + (f", directory {shown(place)}" if place else "") for node, place in nodes]
    return lines


def _reassignments(image: ClusterImage) -> list[str]:
    told = [
        f"  {shown(one.topic)}/{one.partition}: replicas {_nodes(one.replicas)}, adding {_nodes(one.adding)},"
        f" removing {_nodes(one.removing)}"
        for one in image.standing.reassignments
    ]
    return ["Reassignments under way:", *(told or ["  none"])]


def _nodes(nodes: Iterable[int]) -> str:
    return ",".join(map(str, nodes)) or "none"


def _tokens(image: ClusterImage) -> list[str]:
    told = [_token(token) for token in image.standing.tokens]
    return ["Delegation tokens (without their secrets):", *(told or ["  none seen by this login"])]


def _token(token: DelegationToken) -> str:
    renewers = ", ".join(shown(name) for name in token.renewers) or "none"
    return (
        f"  {shown(token.token_id)}: owner {shown(token.owner)}, requester {shown(token.requester)}, renewers {renewers},"
        f" issued {_moment(token.issued)}, expires {_moment(token.expires)}, at the latest {_moment(token.longest)}"
    )


def _moment(milliseconds: int) -> str:
    try:
        return (_EPOCH + timedelta(milliseconds=milliseconds)).isoformat(timespec="milliseconds")
    except OverflowError:
        return f"{milliseconds} ms"

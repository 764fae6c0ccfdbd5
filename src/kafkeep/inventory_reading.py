"""Reading a cluster's settings, permissions and standing. A part that may not be read is named, never left out in
silence.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TypeVar

from kafkeep.errors import KafkaError, KafkaLoginError, KafkaUnreachable
from kafkeep.inventory import (
    BROKER,
    CLIENT_METRICS,
    CLUSTER,
    GROUP,
    Acl,
    BrokerNode,
    ConfigValue,
    GroupMembers,
    InheritedConfigs,
    Inventory,
    LogDir,
    ResourceConfigs,
    Standing,
)
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.groups import GroupListing
from kafkeep.kafka.topology import Broker
from kafkeep.model import Failure
from kafkeep.records import dataclass

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class InventoryReading:
    inventory: Inventory
    standing: Standing
    failures: tuple[Failure, ...]


class _Parts:
    """Collects what cannot be read. A refused login goes through, and that nobody answers any more: that says nothing of
    one part.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.failures: list[Failure] = []

    def read(self, name: str, call: Callable[[], T], instead: T) -> T:
        try:
            return call()
        except KafkaLoginError:
            raise
        except KafkaUnreachable as error:
            # One node may be out of reach, such as the controller; the topology comes from whoever answers.
            self._cluster.topology([])
            self.miss(name, error)
        except KafkaError as error:
            self.miss(name, error)
        return instead

    def miss(self, name: str, error: KafkaError) -> None:
        self.failures.append(Failure(name, error.slug, error.message))


def read_inventory(
    cluster: Cluster, groups: Sequence[GroupListing], effective: Mapping[str, Collection[ConfigValue]]
) -> InventoryReading:
    """Everything besides topics, records and positions. `groups` are all that the cluster lists, `effective` the
    settings of its topics as they were read.

    Some requests for the whole cluster and two for each broker, whatever the number of topics and groups; one more for
    each hundred groups with members. A broker out of reach is a part that cannot be read; raises `KafkaLoginError`, and
    `KafkaUnreachable` when no broker answers at all.
    """
    parts = _Parts(cluster)
    settings = cluster.settings
    brokers = tuple(sorted(cluster.topology([]).brokers.values(), key=lambda broker: broker.node_id))
    no_acls: tuple[Acl, ...] | None = ()
    acls = parts.read("acls", settings.acls, no_acls)
    configs, absent = _configs(cluster, brokers, parts)
    inventory = Inventory(
        configs=configs,
        acls=() if acls is None else acls,
        has_authorizer=acls is not None,
        quotas=parts.read("quotas", settings.quotas, ()),
        scram_users=parts.read("scram-users", settings.scram_users, ()),
        features=parts.read("features", settings.features, ()),
        unreadable=tuple(sorted(failure.subject for failure in parts.failures)),
    )
    standing = Standing(
        brokers=_nodes(cluster, brokers, absent, parts),
        quorum=parts.read("quorum", settings.quorum, None),
        reassignments=parts.read("reassignments", settings.reassignments, ()),
        tokens=parts.read("delegation tokens", settings.tokens, ()),
        groups=_members(cluster, groups, parts),
        inherited=inherited_configs(effective),
    )
    return InventoryReading(inventory, standing, tuple(parts.failures))


def _configs(
    cluster: Cluster, brokers: Sequence[Broker], parts: _Parts
) -> tuple[tuple[ResourceConfigs, ...], Mapping[int, KafkaError]]:
    """The resources that have any, and the brokers that are out of reach."""
    named = [(BROKER, str(broker.node_id)) for broker in brokers] + [(CLUSTER, "")]
    for kind in (CLIENT_METRICS, GROUP):
        nothing: tuple[str, ...] = ()
        names = parts.read(f"{kind} configs", partial(cluster.settings.config_resources, kind), nothing)
        named += [(kind, name) for name in names]
    found: list[ResourceConfigs] = []
    absent: dict[int, KafkaError] = {}
    nothing_said: dict[tuple[str, str], ResourceConfigs | KafkaError] = {}
    for (kind, name), answer in parts.read("configs", partial(cluster.settings.configs, named), nothing_said).items():
        if isinstance(answer, KafkaError):
            parts.miss(f"configs of {kind} {name}".rstrip(), answer)
            if kind == BROKER and isinstance(answer, KafkaUnreachable):
                absent[int(name)] = answer
        elif kind == BROKER or answer.overrides:
            # Besides the brokers' own values, defaults say nothing that the brokers do not say.
            found.append(answer if kind == BROKER else ResourceConfigs(kind, name, answer.overrides))
    return tuple(sorted(found)), absent


def _nodes(
    cluster: Cluster, brokers: Sequence[Broker], absent: Mapping[int, KafkaError], parts: _Parts
) -> tuple[BrokerNode, ...]:
    """A broker that was waited for once is not waited for again."""
    dirs = cluster.settings.log_dirs([broker.node_id for broker in brokers if broker.node_id not in absent])
    nodes: list[BrokerNode] = []
    for broker in brokers:
        answer = absent[broker.node_id] if broker.node_id in absent else dirs[broker.node_id]
        own: tuple[LogDir, ...] = ()
        if isinstance(answer, KafkaError):
            parts.miss(f"log directories of broker {broker.node_id}", answer)
        else:
            own = answer
        nodes.append(BrokerNode(broker.node_id, broker.host, broker.port, broker.rack, own))
    return tuple(nodes)


def _members(cluster: Cluster, groups: Sequence[GroupListing], parts: _Parts) -> tuple[GroupMembers, ...]:
    """Only groups that are not known to be empty are asked about: of thousands of groups most are."""
    found: list[GroupMembers] = []
    for group, answer in sorted(cluster.settings.group_members([g for g in groups if g.has_members]).items()):
        if isinstance(answer, KafkaError):
            parts.miss(f"members of group {group}", answer)
        elif answer.members:
            found.append(answer)
    return tuple(found)


def inherited_configs(entries: Mapping[str, Collection[ConfigValue]]) -> tuple[InheritedConfigs, ...]:
    """What each topic has from its brokers, told once for all topics that have the same."""
    topics: dict[tuple[ConfigValue, ...], list[str]] = {}
    for topic, configs in sorted(entries.items()):
        topics.setdefault(tuple(configs), []).append(topic)
    alike: dict[tuple[ConfigValue, ...], list[str]] = {}
    for configs, named in topics.items():
        inherited = tuple(sorted(entry for entry in configs if entry.source != "topic"))
        alike.setdefault(inherited, []).extend(named)
    return tuple(InheritedConfigs(tuple(sorted(named)), configs) for configs, named in alike.items() if configs)

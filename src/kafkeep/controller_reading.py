"""A cluster's settings and permissions out of its controllers' own log, put over what the brokers tell.

The log has one moment for everything, and what brokers do not show: credentials of SCRAM users, configs of brokers that
do not run, tokens of others. What only brokers know stays theirs: values from their files, log directories, groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from kafkeep.errors import KafkaUnsupported, SettingsError
from kafkeep.events import EventSink, Stage
from kafkeep.inventory import BROKER, CLIENT_METRICS, CLUSTER, GROUP, ConfigValue, ResourceConfigs
from kafkeep.inventory_reading import InventoryReading
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.metadata_log import MetadataLog, read_metadata_log
from kafkeep.kafka.wire.metadata_fold import LoggedMetadata
from kafkeep.model import Failure
from kafkeep.records import dataclass

ADMIN, CONTROLLER = "admin", "controller"
ROUTES: Final = (ADMIN, CONTROLLER)
"""Ways to a cluster's metadata: the brokers part by part, or the controllers' log."""

_RESOURCES: Final = {16: CLIENT_METRICS, 32: GROUP}
"""Numbers of clients/common/config/ConfigResource.java whose configs only the log has; a broker's own are 4."""
_BROKER_RESOURCE: Final = 4
_IN_THE_LOG: Final = frozenset(
    {
        "acls",
        "quotas",
        "scram-users",
        "features",
        "reassignments",
        "delegation tokens",
        "configs of cluster",
        *(f"{kind} configs" for kind in _RESOURCES.values()),
    }
)


def read_controllers(cluster: Cluster, sink: EventSink, *, credentials: bool) -> MetadataLog:
    """The cluster's metadata at one moment, with or without what its SCRAM users log in by.

    Raises:
        SettingsError: nobody has said where the controllers are.
        KafkaError: as `read_metadata_log`.
    """
    if cluster.config.controllers is None:
        raise SettingsError(
            f"the settings do not say where the controllers of {cluster.config.name} are",
            hint='Give the cluster the key controllers = ["host:port", …], with all of its controllers.',
        )
    sink(Stage("controllers", "reading the controllers' log"))
    log = read_metadata_log(cluster.config.controllers, cluster.cluster_id(), sink=sink)
    if credentials:
        return log
    users = tuple(replace(user, credential=None) for user in log.metadata.scram_users)
    return replace(log, metadata=replace(log.metadata, scram_users=users))


def with_controllers(reading: InventoryReading, log: MetadataLog) -> InventoryReading:
    """What the brokers told, with the log's in its place wherever the log has it."""
    logged = log.metadata
    told = reading.inventory
    failures = [failure for failure in reading.failures if not _has(failure.subject)]
    failures += [_unknown(number, count) for number, count in logged.unknown]
    inventory = replace(
        told,
        configs=_configs(told.configs, logged),
        # An authorizer that keeps its ACLs elsewhere leaves none in the log.
        acls=logged.acls if logged.acls else told.acls,
        quotas=logged.quotas,
        scram_users=logged.scram_users,
        features=logged.features,
        unreadable=tuple(subject for subject in told.unreadable if not _has(subject)),
    )
    standing = replace(reading.standing, reassignments=logged.reassignments, tokens=logged.tokens, metadata_cut=log.cut)
    return InventoryReading(inventory, standing, tuple(failures))


def _has(subject: str) -> bool:
    """Whether the log holds the part that a reading names so."""
    resources = tuple(f"configs of {kind} " for kind in _RESOURCES.values())
    return subject in _IN_THE_LOG or subject.startswith(resources)


def _unknown(number: int, count: int) -> Failure:
    message = f"{count} of a type that this release does not know; what they say is missing"
    return Failure(f"metadata records of type {number}", KafkaUnsupported.slug, message)


@dataclass(frozen=True, slots=True)
class _Names:
    """What the brokers say of the names of configs; of one that they do not know, they say nothing good."""

    shown: frozenset[str]
    """Those whose values are no passwords. The log has passwords in clear."""
    changeable: frozenset[str]

    @classmethod
    def told(cls, resources: Iterable[ResourceConfigs]) -> _Names:
        entries = [entry for each in resources if each.kind in (BROKER, CLUSTER) for entry in each.entries]
        return cls(
            frozenset(entry.name for entry in entries if not entry.sensitive),
            frozenset(entry.name for entry in entries if not entry.read_only),
        )

    def value(self, name: str, text: str, source: str) -> ConfigValue:
        """What was set, hidden where it may be a password."""
        harmless = name in self.shown
        return ConfigValue(name, text if harmless else None, source, not harmless, name not in self.changeable)


def _configs(told: tuple[ResourceConfigs, ...], logged: LoggedMetadata) -> tuple[ResourceConfigs, ...]:
    of_brokers = {name: dict(values) for number, name, values in logged.configs if number == _BROKER_RESOURCE}
    cluster = of_brokers.pop("", {})
    names = _Names.told(told)
    found = [
        ResourceConfigs(
            _RESOURCES[number], name, tuple(ConfigValue(key, text, _RESOURCES[number]) for key, text in values)
        )
        for number, name, values in logged.configs
        if number in _RESOURCES
    ]
    if cluster:
        found.append(ResourceConfigs(CLUSTER, "", _values(cluster, CLUSTER, names)))
    brokers = {resource.name: resource.entries for resource in told if resource.kind == BROKER}
    found += [
        ResourceConfigs(BROKER, name, _of_broker(brokers.get(name), of_brokers.get(name, {}), cluster, names))
        for name in sorted({*brokers, *of_brokers})
    ]
    return tuple(sorted(found))


def _of_broker(
    told: tuple[ConfigValue, ...] | None, broker: Mapping[str, str], cluster: Mapping[str, str], names: _Names
) -> tuple[ConfigValue, ...]:
    """A broker's configs by precedence: its own, the cluster's, and what the broker says of its file and defaults. Of a
    broker that says nothing only its own.
    """
    own = _values(broker, BROKER, names)
    if told is None:
        return own
    of_all = tuple(entry for entry in _values(cluster, CLUSTER, names) if entry.name not in broker)
    rest = (entry for entry in told if entry.name not in {*broker, *cluster} and entry.source not in (BROKER, CLUSTER))
    return tuple(sorted([*own, *of_all, *rest]))


def _values(values: Mapping[str, str], source: str, names: _Names) -> tuple[ConfigValue, ...]:
    return tuple(names.value(name, text, source) for name, text in sorted(values.items()))

"""The frozen nouns of a cluster's settings and permissions: what a recovery point holds besides topics, records and
groups. No I/O.

Words of Kafka's own tools are used wherever there are any: `TOPIC`, `LITERAL`, `ALLOW`, `SCRAM-SHA-512`.
"""

from __future__ import annotations

from dataclasses import field
from typing import Final

from kafkeep.records import dataclass
from kafkeep.secret import Secret

BROKER, CLUSTER, CLIENT_METRICS, GROUP = "broker", "cluster", "client-metrics", "group"
"""Kinds of resources with configs, besides topics: one broker, all brokers together (Kafka's default broker)."""
CONFIG_KINDS: Final = (BROKER, CLUSTER, CLIENT_METRICS, GROUP)

CONFIG_SOURCES: Final = {
    1: "topic",
    2: "broker",
    3: "cluster",
    4: "static",
    5: "default",
    6: "logger",
    7: "client-metrics",
    8: "group",
}
"""Numbers of DescribeConfigsResponse.ConfigSource."""


def config_source(code: int) -> str:
    """The word for a number of `CONFIG_SOURCES`; one that is not known here is kept by its number."""
    return CONFIG_SOURCES.get(code, f"code-{code}")


@dataclass(frozen=True, slots=True, order=True)
class ConfigValue:
    """One config of a resource as the brokers show it."""

    name: str
    value: str | None
    """None for what brokers do not show (`sensitive`)."""
    source: str
    """`topic`, `broker` (dynamic, one broker), `cluster` (dynamic, all brokers), `static` (the broker's file), `default`,
    `logger`, `client-metrics`, `group`."""
    sensitive: bool = False
    read_only: bool = False


@dataclass(frozen=True, slots=True, order=True)
class ResourceConfigs:
    """All configs of one resource."""

    kind: str
    """One of `CONFIG_KINDS`."""
    name: str
    """Node id for a broker, empty for the cluster, else the resource's name."""
    entries: tuple[ConfigValue, ...]

    @property
    def overrides(self) -> tuple[ConfigValue, ...]:
        """What was set on this resource itself through the cluster."""
        return tuple(entry for entry in self.entries if entry.source == self.kind)


@dataclass(frozen=True, slots=True, order=True)
class Acl:
    """One binding of an access control list (KIP-11, KIP-290)."""

    resource_type: str
    resource_name: str
    pattern_type: str
    principal: str
    host: str
    operation: str
    permission: str

    def __str__(self) -> str:
        where = f"{self.resource_type} {self.resource_name} ({self.pattern_type})"
        return f"{self.permission} {self.operation} on {where} to {self.principal} from {self.host}"


@dataclass(frozen=True, slots=True, order=True)
class QuotaEntity:
    """Whom a quota is for: (`user`|`client-id`|`ip`, name) pairs; the name None stands for the default of its type."""

    parts: tuple[tuple[str, str | None], ...]

    def __str__(self) -> str:
        return ", ".join(f"{kind} {'<default>' if name is None else name}" for kind, name in self.parts)


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits of one entity (KIP-546)."""

    entity: QuotaEntity
    values: tuple[tuple[str, float], ...]
    """(`producer_byte_rate`, …; the limit), sorted by name."""


OPTIONAL: Final = {"optional": True}
"""Marks a field that documents leave out while it is None."""
HIDDEN: Final = {"optional": True, "hidden": True}
"""Marks one that is besides in no file for people and in no comparison."""


@dataclass(frozen=True, slots=True)
class ScramCredential:
    """What a cluster checks a SCRAM login with (RFC 5802 section 3), each in base64. The password is not in it, but can
    be guessed at with it."""

    salt: Secret
    stored_key: Secret
    server_key: Secret


@dataclass(frozen=True, slots=True, order=True)
class ScramUser:
    """A user that can log in by SCRAM. Two are equal whatever their credentials."""

    name: str
    mechanism: str
    iterations: int
    credential: ScramCredential | None = field(default=None, compare=False, metadata=HIDDEN)
    """Brokers never show it; only the controllers' own log has it."""


@dataclass(frozen=True, slots=True, order=True)
class DelegationToken:
    """A delegation token without its HMAC: who it speaks for, and until when (milliseconds)."""

    token_id: str
    owner: str
    requester: str
    renewers: tuple[str, ...]
    issued: int
    expires: int
    longest: int


@dataclass(frozen=True, slots=True, order=True)
class Feature:
    """A finalized feature level, `metadata.version` among them (KIP-584)."""

    name: str
    level: int


@dataclass(frozen=True, slots=True, order=True)
class LogDir:
    """A log directory of a broker; sizes in bytes, -1 where the broker does not say."""

    path: str
    error: str
    """Kafka's error name when the directory is offline, else empty."""
    total_bytes: int
    usable_bytes: int
    replicas: int
    replica_bytes: int


@dataclass(frozen=True, slots=True)
class BrokerNode:
    node_id: int
    host: str
    port: int
    rack: str | None
    log_dirs: tuple[LogDir, ...]


@dataclass(frozen=True, slots=True)
class Quorum:
    """The controllers (KIP-595); (node id, directory id) of each."""

    leader: int
    voters: tuple[tuple[int, str], ...]
    observers: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True, order=True)
class Reassignment:
    """A partition that was being moved."""

    topic: str
    partition: int
    replicas: tuple[int, ...]
    adding: tuple[int, ...]
    removing: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class InheritedConfigs:
    """Effective configs that topics have from their brokers: the same for all of `topics`."""

    topics: tuple[str, ...]
    entries: tuple[ConfigValue, ...]


@dataclass(frozen=True, slots=True, order=True)
class GroupMember:
    """A member of a group at one moment."""

    member_id: str
    instance_id: str
    """Empty for a dynamic member (KIP-345)."""
    client_id: str
    host: str


@dataclass(frozen=True, slots=True)
class GroupMembers:
    group_id: str
    type: str
    state: str
    members: tuple[GroupMember, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What was set on a cluster by its people, each part sorted; a part that could not be read is empty and its name is
    in `unreadable`.
    """

    configs: tuple[ResourceConfigs, ...] = ()
    acls: tuple[Acl, ...] = ()
    has_authorizer: bool = True
    """False when the cluster has no authorizer: there are no ACLs to be read."""
    quotas: tuple[Quota, ...] = ()
    scram_users: tuple[ScramUser, ...] = ()
    features: tuple[Feature, ...] = ()
    unreadable: tuple[str, ...] = ()
    """Names of `PARTS`, and resources such as `configs of broker 3`."""

    def configs_of(self, kind: str) -> tuple[ResourceConfigs, ...]:
        """The resources of one of `CONFIG_KINDS`."""
        return tuple(resource for resource in self.configs if resource.kind == kind)


PARTS: Final = ("configs", "acls", "quotas", "scram-users", "features")
_OTHER_PARTS: Final = frozenset(
    {"client-metrics configs", "group configs", "configs of cluster", "quorum", "reassignments", "delegation tokens"}
)
_PARTS_WITH_NAMES: Final = (
    "configs of broker ",
    "configs of group ",
    "configs of client-metrics ",
    "log directories of broker ",
    "members of group ",
)


def is_of_settings(subject: str) -> bool:
    """True for the name of a part of an inventory or a standing, as failures carry it; topics, their configs, partitions
    and positions of groups are none.
    """
    return subject in PARTS or subject in _OTHER_PARTS or subject.startswith(_PARTS_WITH_NAMES)


@dataclass(frozen=True, slots=True)
class MetadataCut:
    """Up to where the controllers' own log was read: offset (exclusive) and leader epoch of its last batch."""

    offset: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a cluster stood at the moment of the capture: information for people, never restored."""

    brokers: tuple[BrokerNode, ...] = ()
    quorum: Quorum | None = None
    reassignments: tuple[Reassignment, ...] = ()
    tokens: tuple[DelegationToken, ...] = ()
    groups: tuple[GroupMembers, ...] = ()
    """Groups with members."""
    inherited: tuple[InheritedConfigs, ...] = ()
    """What the topics' own settings leave to the brokers."""
    metadata_cut: MetadataCut | None = field(default=None, metadata=OPTIONAL)
    """The one moment of all that the controllers' log holds; None where the brokers were asked part by part."""

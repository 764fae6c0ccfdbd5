"""A cluster's settings and permissions, as `Cluster.settings` offers them.

As with `Admin`: what concerns one item of many is answered in that item's place as a `KafkaError` value, what concerns
the whole call is raised.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from kafkeep.errors import KafkaError
from kafkeep.inventory import (
    Acl,
    DelegationToken,
    Feature,
    GroupMembers,
    LogDir,
    Quorum,
    Quota,
    QuotaEntity,
    Reassignment,
    ResourceConfigs,
    ScramUser,
)
from kafkeep.kafka import acls, config_changes, configs, features, group_members, quotas, standing, users
from kafkeep.kafka.config_changes import ConfigChange
from kafkeep.kafka.configs import Resource
from kafkeep.kafka.control import ControlClient
from kafkeep.kafka.groups import GroupListing
from kafkeep.kafka.users import NewScramUser


class SettingsAdmin:
    """Requests about one cluster's settings; safe for many threads. The connections belong to the `Cluster`."""

    def __init__(self, client: ControlClient) -> None:
        self._client = client

    def acls(self) -> tuple[Acl, ...] | None:
        """All ACL bindings, sorted; None when the cluster has no authorizer. Raises KafkaAccessDenied, KafkaError."""
        return acls.describe_acls(self._client)

    def create_acls(self, bindings: Sequence[Acl]) -> dict[Acl, KafkaError | None]:
        """Adds bindings; None per binding that is there now. Raises ValueError for a word that is not Kafka's."""
        return acls.create_acls(self._client, bindings)

    def delete_acls(self, bindings: Sequence[Acl]) -> dict[Acl, KafkaError | None]:
        """Removes exactly these bindings. Raises ValueError for a word that is not Kafka's."""
        return acls.delete_acls(self._client, bindings)

    def quotas(self) -> tuple[Quota, ...]:
        """All client quotas, defaults included. Raises KafkaAccessDenied, KafkaError."""
        return quotas.describe_quotas(self._client)

    def alter_quotas(
        self, changes: Mapping[QuotaEntity, Mapping[str, float | None]]
    ) -> dict[QuotaEntity, KafkaError | None]:
        """Sets limits, or takes them away where the value is None."""
        return quotas.alter_quotas(self._client, changes)

    def scram_users(self) -> tuple[ScramUser, ...]:
        """All SCRAM users by mechanism. Raises KafkaAccessDenied, KafkaError."""
        return users.describe_scram_users(self._client)

    def upsert_scram_users(self, new: Sequence[NewScramUser]) -> dict[str, KafkaError | None]:
        """Makes users or replaces their credentials. Raises ValueError for a mechanism that is not Kafka's."""
        return users.upsert_scram_users(self._client, new)

    def delete_scram_users(self, gone: Sequence[ScramUser]) -> dict[str, KafkaError | None]:
        """Takes credentials away."""
        return users.delete_scram_users(self._client, gone)

    def config_resources(self, kind: str) -> tuple[str, ...]:
        """Names of the groups or client metrics resources with configs of their own. Raises KafkaAccessDenied,
        KafkaError."""
        return configs.list_config_resources(self._client, kind)

    def configs(self, resources: Collection[Resource]) -> dict[Resource, ResourceConfigs | KafkaError]:
        """All configs of each resource with their sources."""
        return configs.describe_configs(self._client, resources)

    def alter_configs(self, changes: Sequence[ConfigChange]) -> list[KafkaError | None]:
        """Sets and deletes configs of many resources, topics too, each named once, in few requests; each is changed whole or
        not at all: None for those that are done."""
        return config_changes.alter_many(self._client, changes)

    def features(self) -> tuple[Feature, ...]:
        """Finalized feature levels, `metadata.version` among them."""
        return standing.finalized_features(self._client)

    def supported_features(self) -> dict[str, int]:
        """The highest level of each feature that the brokers know."""
        return features.supported_features(self._client)

    def raise_features(self, levels: Mapping[str, int]) -> dict[str, KafkaError | None]:
        """Finalizes features at these levels; None for each that is done. No level is ever lowered."""
        return features.raise_features(self._client, levels)

    def quorum(self) -> Quorum | None:
        """The controllers; None where there is no quorum to describe. Raises KafkaAccessDenied, KafkaError."""
        return standing.describe_quorum(self._client)

    def log_dirs(self, nodes: Collection[int]) -> dict[int, tuple[LogDir, ...] | KafkaError]:
        """Log directories of each broker with the size of what is in them."""
        return standing.describe_log_dirs(self._client, nodes)

    def reassignments(self) -> tuple[Reassignment, ...]:
        """Partitions that are being moved. Raises KafkaAccessDenied, KafkaError."""
        return standing.list_reassignments(self._client)

    def tokens(self) -> tuple[DelegationToken, ...]:
        """Delegation tokens that this login may see, without their HMACs. Raises KafkaAccessDenied, KafkaError."""
        return standing.describe_tokens(self._client)

    def group_members(self, listings: Collection[GroupListing]) -> dict[str, GroupMembers | KafkaError]:
        """Members of each of the listed groups, whatever its type."""
        return group_members.group_members(self._client, listings)

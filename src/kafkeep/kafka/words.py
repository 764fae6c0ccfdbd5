"""Kafka's own words for the numbers it writes: of permissions, users and quotas. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# Numbers of clients/common/resource/ResourceType.java, PatternType.java, acl/AclOperation.java, AclPermissionType.java.
RESOURCE_TYPES: Final = {
    2: "TOPIC",
    3: "GROUP",
    4: "CLUSTER",
    5: "TRANSACTIONAL_ID",
    6: "DELEGATION_TOKEN",
    7: "USER",
}
PATTERN_TYPES: Final = {3: "LITERAL", 4: "PREFIXED"}
OPERATIONS: Final = {
    2: "ALL",
    3: "READ",
    4: "WRITE",
    5: "CREATE",
    6: "DELETE",
    7: "ALTER",
    8: "DESCRIBE",
    9: "CLUSTER_ACTION",
    10: "DESCRIBE_CONFIGS",
    11: "ALTER_CONFIGS",
    12: "IDEMPOTENT_WRITE",
    13: "CREATE_TOKENS",
    14: "DESCRIBE_TOKENS",
    15: "TWO_PHASE_COMMIT",
}
PERMISSIONS: Final = {2: "DENY", 3: "ALLOW"}
MECHANISMS: Final = {1: "SCRAM-SHA-256", 2: "SCRAM-SHA-512"}
"""Numbers of clients/admin/ScramMechanism.java."""
INTERNAL_TOPICS: Final = frozenset({"__consumer_offsets", "__transaction_state", "__share_group_state"})
"""clients/common/internals/Topic.java."""


def word(names: Mapping[int, str], number: int) -> str:
    """The word for a number. One that is not known here is kept by its number, so that nothing is lost in silence."""
    return names.get(number, f"CODE_{number}")


def quota_place(part: tuple[str, str | None]) -> tuple[str, bool, str]:
    """The order of a quota's (entity type, name) pairs: a default lies in front of the named ones."""
    kind, name = part
    return kind, name is not None, "" if name is None else name

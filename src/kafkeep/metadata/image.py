"""A cluster at one moment, without its records: what a recovery point holds of it, or what it says of itself now. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from kafkeep.connectors import Connectors
from kafkeep.inventory import Inventory, Standing
from kafkeep.model import Group, TopicMetadata, TopicPartition
from kafkeep.records import dataclass
from kafkeep.schemas import Schemas


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterImage:
    """Topics and groups sorted by name; the two documents of settings as they were captured."""

    origin: str
    """For people: `recovery point 7`, `cluster prod`."""
    time: str
    """RFC 3339, UTC: when it was so."""
    cluster_id: str
    topics: tuple[TopicMetadata, ...]
    groups: tuple[Group, ...]
    """With their committed positions."""
    inventory: Inventory
    standing: Standing
    ends: Mapping[TopicPartition, int] = field(default_factory=dict)
    """One past the last readable offset of partitions, as far as it is known: what lag is counted from."""
    unreadable: tuple[str, ...] = ()
    """What of topics and groups could not be read, as a point names it: `groups`, `group billing`, `configs of orders`;
    and parts of the standing, `quorum` and the like. Parts of the inventory are in `Inventory.unreadable`.
    """
    schemas: Schemas | None = None
    """Of the registry beside the cluster; None where there is none or it could not be read: `schemas` is then among
    `unreadable`."""
    connectors: Connectors | None = None
    """Of Kafka Connect beside the cluster, in the same way."""

"""What applying a cluster's metadata is asked to do."""

from __future__ import annotations

from typing import Final

from kafkeep.records import dataclass
from kafkeep.selection import Selection

TOPICS, TOPIC_CONFIGS, BROKER_CONFIGS, CLUSTER_CONFIGS = "topics", "topic-configs", "broker-configs", "cluster-configs"
GROUP_CONFIGS, CLIENT_METRICS, QUOTAS, USERS, ACLS = "group-configs", "client-metrics", "quotas", "users", "acls"

FEATURES, POSITIONS = "features", "positions"

AREAS: Final = (
    FEATURES,
    TOPICS,
    TOPIC_CONFIGS,
    BROKER_CONFIGS,
    CLUSTER_CONFIGS,
    GROUP_CONFIGS,
    CLIENT_METRICS,
    QUOTAS,
    USERS,
    ACLS,
)
"""What can be applied, in the order in which it is. Features come first: what else a cluster takes may depend on them.
Permissions come last: the login that applies them may be among those they concern."""

SCHEMAS, CONNECTORS = "schemas", "connectors"
SERVICE_AREAS: Final = (SCHEMAS, CONNECTORS)
"""What lies on servers beside the cluster. It is applied behind all that the cluster has of its own: connectors need topics,
their permissions and their schemas, and a login that has shut itself out of the cluster has another one there."""

APPLY_AREAS: Final = (*AREAS, *SERVICE_AREAS)
DIFFERENCE_AREAS: Final = (*APPLY_AREAS, POSITIONS)
"""What can be compared."""

EXISTING: Final = ("keep", "align", "fail")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyOptions:
    only: frozenset[str] = frozenset(APPLY_AREAS)
    """Of `APPLY_AREAS`."""
    topics: tuple[str, ...] = ("*",)
    """Globs, or regular expressions after `re:`."""
    exclude: tuple[str, ...] = ()
    existing: str = "keep"
    """What is there already with another value: `keep` it, `align` it with the point, or `fail` before anything is done."""
    prune_extra: bool = False
    """Also remove what the point does not have."""
    replication_factor: int | None = None
    """Of topics that are created, instead of the source's."""

    schema_ids: str = "keep"
    """Whether schemas `keep` their ids, which records carry, or the registry gives new ones: `map`."""
    resume_connectors: bool = False
    """Bring connectors that are made into the state they had; they stay stopped otherwise."""

    @property
    def selection(self) -> Selection:
        return Selection(self.topics, self.exclude)

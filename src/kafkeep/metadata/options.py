"""What applying a cluster's metadata is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kafkeep.selection import Selection

TOPICS, TOPIC_CONFIGS, BROKER_CONFIGS, CLUSTER_CONFIGS = "topics", "topic-configs", "broker-configs", "cluster-configs"
GROUP_CONFIGS, CLIENT_METRICS, QUOTAS, USERS, ACLS = "group-configs", "client-metrics", "quotas", "users", "acls"

AREAS: Final = (
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
"""What can be applied, in the order in which it is. Permissions come last: the login that applies them may be among
those they concern."""

FEATURES, POSITIONS = "features", "positions"
DIFFERENCE_AREAS: Final = (*AREAS, FEATURES, POSITIONS)
"""What can be compared."""

EXISTING: Final = ("keep", "align", "fail")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyOptions:
    only: frozenset[str] = frozenset(AREAS)
    """Of `AREAS`."""
    topics: tuple[str, ...] = ("*",)
    """Globs, or regular expressions after `re:`."""
    exclude: tuple[str, ...] = ()
    existing: str = "keep"
    """What is there already with another value: `keep` it, `align` it with the point, or `fail` before anything is done."""
    prune_extra: bool = False
    """Also remove what the point does not have."""
    replication_factor: int | None = None
    """Of topics that are created, instead of the source's."""

    @property
    def selection(self) -> Selection:
        return Selection(self.topics, self.exclude)

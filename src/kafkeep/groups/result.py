"""What carrying out a plan did, held against it."""

from __future__ import annotations

from kafkeep.model import Failure, TopicPartition
from kafkeep.records import dataclass


@dataclass(frozen=True, slots=True)
class PositionDifference:
    """A position that reads back otherwise than it was set; None is none."""

    group_id: str
    target: TopicPartition
    wanted: int | None
    found: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupsResult:
    operation: str
    """`apply` or `rollback`."""
    job: str
    """Object name of the record of what was before; empty when there was nothing to do."""
    target_cluster: str
    groups: int
    """Groups that were changed and read back as wanted."""
    positions: int
    """Positions of these that were set or taken away."""
    done: frozenset[str]
    """Ids of these groups."""
    unchanged: int
    """Positions that were right already."""
    refused: int
    """Positions that the plan refused."""
    failures: tuple[Failure, ...]
    """Groups that were not, or not wholly, changed."""
    differences: tuple[PositionDifference, ...]
    interrupted: bool
    seconds: float

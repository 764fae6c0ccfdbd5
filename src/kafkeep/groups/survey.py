"""What the groups and partitions of a target look like at one moment: values only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kafkeep.model import GroupOffset, TopicPartition
from kafkeep.records import dataclass

OFFSETS: Final = "offsets"
"""Groups with committed offsets: classic, consumer (KIP-848) and streams (KIP-1071)."""
SHARE: Final = "share"
"""Share groups (KIP-932): start offsets, by requests of their own."""
UNKNOWN_TYPE: Final = "unknown"
ABSENT: Final = "Dead"
"""Kafka's word for the state of a group that does not exist."""
IDLE: Final = frozenset({ABSENT, "Empty"})


def kind_of(group_type: str) -> str:
    """By which requests a group of this type is read and set."""
    return SHARE if group_type == SHARE else OFFSETS


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something could not be looked at; `kind` becomes a refusal's."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetGroup:
    """A group on the target; `type` is `unknown` and `state` is Kafka's `Dead` for one that does not exist."""

    group_id: str
    type: str
    state: str
    positions: Mapping[TopicPartition, GroupOffset]
    problem: Problem | None = None

    @property
    def exists(self) -> bool:
        return self.state != ABSENT

    @property
    def has_members(self) -> bool:
        return self.state not in IDLE


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPartition:
    topic_id: str
    log_start: int
    log_end: int
    """The high watermark."""
    leader_epoch: int
    problem: Problem | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupsSurvey:
    cluster_id: str
    groups: Mapping[str, TargetGroup]
    """Every group that was asked about."""
    partitions: Mapping[TopicPartition, TargetPartition]
    """Every partition that was asked about."""

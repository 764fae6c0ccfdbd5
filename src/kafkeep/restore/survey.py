"""What the target of a restore looks like at one moment: values only."""

from __future__ import annotations

from collections.abc import Mapping

from kafkeep.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetTopic:
    name: str
    topic_id: str
    partitions: int
    empty: bool
    """No partition has a log end beyond its log start."""
    overrides: Mapping[str, str]
    """Settings on the topic itself."""
    error: str
    """Why it could not be looked at; empty when it could."""
    ends: tuple[int, ...] = ()
    """Log end offset of each partition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSurvey:
    cluster_id: str
    brokers: int
    topics: Mapping[str, TargetTopic]
    """The target topics that exist already."""
    active_groups: Mapping[str, str]
    """Groups of the point that have members on the target, with their state."""
    unsupported: frozenset[tuple[str, str]]
    """Topic settings (name, value) that the target's brokers refuse."""

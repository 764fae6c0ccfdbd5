"""What a restore did, held against its plan."""

from __future__ import annotations

from dataclasses import dataclass

from kafkeep.model import Failure, Generation, OffsetRange, TopicPartition
from kafkeep.offset_map import OffsetMap


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredPartition:
    source: Generation
    target: TopicPartition
    source_range: OffsetRange
    offset_map: OffsetMap
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredGroup:
    group_id: str
    positions: tuple[tuple[TopicPartition, int, int], ...]
    """(target partition, committed source offset, target offset)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreResult:
    point: int
    job: str
    """Object name of the report in the repository's audit."""
    topics_created: tuple[str, ...]
    partitions: tuple[RestoredPartition, ...]
    groups: tuple[RestoredGroup, ...]
    records: int
    size_bytes: int
    """Bytes of the batches produced."""
    warnings: tuple[str, ...]
    failures: tuple[Failure, ...]
    lost: int
    """Offsets of the restored ranges that lie in declared gaps."""
    interrupted: bool
    seconds: float
    """From the first to the last produced batch and the work around it."""

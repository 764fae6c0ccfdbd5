"""What a later process must know of a restore to continue it, as values: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from kafkeep.model import Generation, OffsetRange, TopicPartition
from kafkeep.offset_map import OffsetMap
from kafkeep.records import dataclass
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.plan import ProducerIdentity, RestorePlan, TopicRestore


@dataclass(frozen=True, slots=True)
class PlannedRange:
    """Source offsets `[start, stop)` of a generation were planned into a target partition."""

    source: Generation
    target: TopicPartition
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class OpenedTopic:
    """A target topic at the moment when its guard was on and none of the restore's records was in it."""

    target: str
    topic_id: str
    ends: tuple[int, ...]
    """Log end offset of each partition: where the first record goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedPartition:
    """A partition that was found to hold everything before the guard ended."""

    source: Generation
    target: TopicPartition
    source_range: OffsetRange
    offset_map: OffsetMap
    size_bytes: int
    """Of the batches that were produced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobBeginning:
    """What is put down before anything is touched."""

    point: int
    target_cluster: str
    options: RestoreOptions
    producer: ProducerIdentity
    topics: tuple[TopicRestore, ...]
    partitions: tuple[PlannedRange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """All that the audit holds of one job, whichever processes wrote it."""

    name: str
    """Object name of its first part."""
    beginning: JobBeginning
    opened: Mapping[str, OpenedTopic]
    """By target topic."""
    loaded: Mapping[TopicPartition, LoadedPartition]
    """By target partition."""
    positions: Mapping[tuple[str, TopicPartition], tuple[int, int]]
    """Positions that were set: (group, target partition) to (committed source offset, target offset)."""
    beside: Mapping[str, Any] = field(default_factory=dict)
    """What its caller had kept with it: what was to be done beside the records."""
    finished: bool = False
    """True once a process came to the end with nothing left to do."""
    unsigned: tuple[str, ...] = ()
    """Object names of those of its reports that nobody signed who is trusted, in a repository whose commits are signed."""
    passed_over: tuple[str, ...] = ()
    """What is said of reports that cannot be read: some of them may be this job's."""


def planned_ranges(plan: RestorePlan) -> tuple[PlannedRange, ...]:
    return tuple(PlannedRange(part.source, part.target, part.start, part.stop) for part in plan.partitions)

"""What a restore will do, as values: made by `restore.planning`, printed by a dry run, carried out by `restore.run`."""

from __future__ import annotations

from dataclasses import dataclass

from kafkeep.model import Generation, HeldBack, OffsetRange, PartitionCut, RunRef, TopicPartition
from kafkeep.restore.guard import Guard
from kafkeep.restore.window import Window

CREATE, FILL, APPEND = "create", "fill", "append"
"""The target topic is made; exists and is empty; exists and holds records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionRestore:
    """One partition's records: source offsets `[start, stop)` of a generation into a target partition."""

    source: Generation
    target: TopicPartition
    start: int
    stop: int
    runs: tuple[RunRef, ...]
    held_back: tuple[HeldBack, ...]
    """What the point leaves out so that transactions stay whole."""
    window: Window
    most_records: int
    """Upper bound: markers are not counted, records of aborted transactions are."""
    raw_bytes: int
    gaps: tuple[OffsetRange, ...]
    """Declared gaps inside the range."""

    @property
    def lost(self) -> int:
        """Offsets of the range that lie in declared gaps."""
        return sum(len(gap) for gap in self.gaps)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicRestore:
    source: str
    target: str
    action: str
    """`create`, `fill` or `append`."""
    partitions: int
    replication_factor: int
    configs: tuple[tuple[str, str], ...]
    """Overrides the topic has in the end."""
    guard: Guard


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionRestore:
    """A committed position to be translated once the offsets are known."""

    source: TopicPartition
    target: TopicPartition
    committed: int
    metadata: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRestore:
    group_id: str
    positions: tuple[PositionRestore, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the plan cannot be applied; `kind` is the slug of the error it raises."""

    kind: str
    subject: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePlan:
    point: int
    source_cluster: str
    target_cluster: str
    route: str
    topics: tuple[TopicRestore, ...]
    partitions: tuple[PartitionRestore, ...]
    groups: tuple[GroupRestore, ...]
    warnings: tuple[str, ...]
    refusals: tuple[Refusal, ...]

    @property
    def most_records(self) -> int:
        return sum(part.most_records for part in self.partitions)

    @property
    def raw_bytes(self) -> int:
        return sum(part.raw_bytes for part in self.partitions)


@dataclass(frozen=True, slots=True)
class PartitionContent:
    """What the repository holds of one cut of the point."""

    cut: PartitionCut
    history_start: int
    """First offset the generation covers."""
    runs: tuple[RunRef, ...]
    gaps: tuple[tuple[int, int], ...]

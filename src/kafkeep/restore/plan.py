"""What a restore will do, as values: made by `restore.planning`, printed by a dry run, carried out by `restore.run`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import field
from typing import Final, TypeVar

from kafkeep.model import Gap, Generation, HeldBack, OffsetRange, PartitionCut, RunRef, TopicPartition
from kafkeep.records import dataclass
from kafkeep.restore.guard import Guard
from kafkeep.restore.window import Window

T = TypeVar("T")

BY_KEY: Final = -1
"""Stands for the target partition of a source partition whose records are spread by key: any of the topic's."""

CREATE, FILL, APPEND, RESUME = "create", "fill", "append", "resume"
"""The target topic is made; exists and is empty; exists and holds records; was opened by an earlier process of the job that
is continued."""


@dataclass(frozen=True, slots=True)
class ProducerIdentity:
    """Our own idempotent producer: a broker recognises a repeated batch by it."""

    producer_id: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What runs tell together, gathered in one walk over them."""

    records: int = 0
    raw_bytes: int = 0
    largest_batch: int = 0
    create_time: bool = False
    log_append_time: bool = False
    oldest: int | None = None
    """The smallest of the runs' largest timestamps; None without runs."""


def carried_by(runs: Iterable[RunRef]) -> Carried:
    """Reads each of the runs once and keeps none."""
    records = size = largest = 0
    create = append = False
    oldest: int | None = None
    for run in runs:
        facts = run.facts
        records += facts.records
        size += facts.raw_bytes
        largest = max(largest, facts.largest_batch)
        create |= facts.create_time
        append |= facts.log_append_time
        oldest = facts.max_timestamp if oldest is None else min(oldest, facts.max_timestamp)
    return Carried(
        records=records,
        raw_bytes=size,
        largest_batch=largest,
        create_time=create,
        log_append_time=append,
        oldest=oldest,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionRestore:
    """One partition's records: source offsets `[start, stop)` of a generation into a target partition."""

    source: Generation
    target: TopicPartition
    """Its partition is `BY_KEY` where the topic is repartitioned."""
    start: int
    stop: int
    runs: Sequence[RunRef] = field(metadata={"json": len})
    """In offset order. Read from pages as they are asked for: all of a point's together may not fit into memory."""
    held_back: tuple[HeldBack, ...]
    """What the point leaves out so that transactions stay whole."""
    window: Window
    most_records: int
    """Upper bound: markers are not counted, records of aborted transactions are."""
    raw_bytes: int
    gaps: tuple[Gap, ...]
    """Declared gaps inside the range that was asked for, cut to it."""
    cut_off: OffsetRange | None = None
    """What was asked for and is left out, because the partition ends in front of its first gap: gaps and all that the
    archive holds behind it. None unless loss is allowed as `prefix`."""
    carried: Carried = field(default=Carried(), metadata={"json": None})
    """What the runs tell together, where they are planned from."""

    @property
    def lost(self) -> int:
        """Offsets of what was asked for that lie in declared gaps, or behind the first of them where it is cut off."""
        return sum(len(gap.offsets) for gap in self.gaps) if self.cut_off is None else len(self.cut_off)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicRestore:
    source: str
    target: str
    action: str
    """`create`, `fill`, `append` or `resume`."""
    partitions: int
    replication_factor: int
    configs: tuple[tuple[str, str], ...]
    """Overrides the topic has in the end."""
    guard: Guard
    timestamps: str = ""
    """Which times its records carry, and a choice by time goes by: `create`, `append` or `both`; empty without records."""
    repartitioned_from: int | None = None
    """Partitions of the source, where records are spread over `partitions` by key; None where each partition stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionRestore:
    """A committed position to be translated once the offsets are known."""

    source: TopicPartition
    target: TopicPartition
    committed: int
    metadata: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadPositions:
    """A group's positions on a topic that is repartitioned: together they say where it begins in each target partition."""

    source: str
    target: str
    committed: tuple[tuple[int, int], ...]
    """(source partition, committed offset)."""
    metadata: str
    """Of all these positions; empty where they differ."""


BEFORE_START: Final = "before-start"
"""In front of the first offset that is restored."""
BEYOND: Final = "beyond"
"""Behind the last offset that is restored."""
GAP: Final = "gap"
"""In a range that the backup lost. These are the words of `kafkeep groups plan`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionNotSet:
    """A committed position that belongs to nothing that is restored: it is named and not set."""

    group_id: str
    source: TopicPartition
    target: TopicPartition
    committed: int
    place: str
    """`before-start`, `beyond` or `gap`."""
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRestore:
    group_id: str
    positions: tuple[PositionRestore, ...]
    not_set: tuple[PositionNotSet, ...] = ()
    spread: tuple[SpreadPositions, ...] = ()
    """On repartitioned topics."""
    read_again: int = 0
    """Records of repartitioned topics that the group had consumed and will be given again; known once they are spread."""

    @property
    def is_set(self) -> bool:
        """True when the group gets a position."""
        return bool(self.positions or self.spread)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the plan cannot be applied; `kind` is the slug of the error it raises."""

    kind: str
    subject: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class MissingPartition:
    """A chosen partition that the point does not hold at all, because it could not be captured: it is created empty."""

    source: TopicPartition
    target: TopicPartition
    reason: str


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
    missing: tuple[MissingPartition, ...] = ()
    job: str | None = None
    """Object name of the unfinished job that is continued; None for a restore of its own."""
    present: tuple[tuple[TopicPartition, int], ...] = ()
    """(target partition, records): what the job has brought there already, by the log ends."""
    allow_loss: str = "none"

    @property
    def lost(self) -> int:
        """Offsets that lie in declared gaps, or behind one where the partition ends in front of it."""
        return sum(part.lost for part in self.partitions)

    @property
    def has_loss(self) -> bool:
        """True when something of what was asked for is declared lost."""
        return bool(self.lost or self.missing)

    @property
    def repartitioned(self) -> tuple[TopicRestore, ...]:
        return tuple(topic for topic in self.topics if topic.repartitioned_from is not None)

    @property
    def spool_bytes(self) -> int:
        """About what the records of repartitioned topics take in the temporary folder."""
        return sum(part.raw_bytes for part in self.partitions if part.target.partition == BY_KEY)

    @property
    def not_set(self) -> tuple[PositionNotSet, ...]:
        return tuple(position for group in self.groups for position in group.not_set)

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
    runs: Sequence[RunRef]
    gaps: tuple[Gap, ...]
    """Of the whole generation, as far as the point knows them."""


EXAMPLES: Final = 3
"""So many are named in a message about many; the plan itself names all."""


def examples(items: Sequence[T], text: Callable[[T], str]) -> str:
    """The first few items as text, and how many more there are."""
    more = len(items) - EXAMPLES
    return ", ".join(text(item) for item in items[:EXAMPLES]) + (f", and {more} more" if more > 0 else "")

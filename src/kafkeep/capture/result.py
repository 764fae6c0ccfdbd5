"""What a backup did."""

from __future__ import annotations

from dataclasses import replace

from kafkeep.model import (
    Failure,
    Gap,
    Generation,
    GenerationClosed,
    GenerationOpened,
    OffsetRange,
    RecoveryPoint,
)
from kafkeep.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupResult:
    point: RecoveryPoint | None
    """None when nothing was new, or when the backup was stopped before its cut."""
    partitions: int
    records: int
    """Data records made durable by this backup."""
    raw_bytes: int
    """Their batches as the broker sent them."""
    stored_bytes: int
    packs: int
    gaps: tuple[Gap, ...]
    opened: tuple[GenerationOpened, ...]
    closed: tuple[GenerationClosed, ...]
    failures: tuple[Failure, ...]
    interrupted: bool
    seconds: float

    @property
    def nothing_new(self) -> bool:
        return self.point is None and not self.interrupted


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPartition:
    """What a backup would read of one partition."""

    generation: Generation
    offsets: OffsetRange
    ranges: tuple[OffsetRange, ...]
    """Those that are read side by side at first; none where the partition is read as a whole. They may end before the
    partition does: the next ones are found when these are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupPlan:
    """What a backup would do at this moment."""

    partitions: int
    """All of the selection."""
    offsets: int
    """To be read, of all partitions."""
    reads: tuple[PlannedPartition, ...]
    gaps: tuple[Gap, ...]
    opened: tuple[GenerationOpened, ...]
    closed: tuple[GenerationClosed, ...]
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowResult:
    """The sum of all rounds of a following backup."""

    rounds: int
    points: tuple[int, ...]
    records: int
    raw_bytes: int
    gaps: tuple[Gap, ...]
    failures: tuple[Failure, ...]
    """Of the last round: a part that failed once and was captured later is no failure."""
    seconds: float

    def plus(self, one: BackupResult) -> FollowResult:
        """The sum with one more round; what the round did is not kept, so that years of rounds need no memory."""
        return replace(
            self,
            rounds=self.rounds + 1,
            points=self.points if one.point is None else (*self.points, one.point.number),
            records=self.records + one.records,
            raw_bytes=self.raw_bytes + one.raw_bytes,
            gaps=self.gaps + one.gaps,
            failures=one.failures,
        )

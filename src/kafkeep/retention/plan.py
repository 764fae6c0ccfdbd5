"""What pruning will do, as values, and what became of it."""

from __future__ import annotations

from kafkeep.model import Failure
from kafkeep.records import dataclass
from kafkeep.retention.rules import Verdict


@dataclass(frozen=True, slots=True)
class DueSweep:
    """A retirement whose time to be taken back is over."""

    retirement: int
    time: str
    packs: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A retirement that can still be taken back."""

    retirement: int
    time: str
    until: str
    points: tuple[int, ...]
    packs: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunePlan:
    repository: str
    head: int
    """The commit up to which the log was read."""
    verdicts: tuple[Verdict, ...]
    """On every point, oldest first."""
    packs: tuple[str, ...]
    """What no kept point needs, and no backup to come."""
    retired_bytes: int
    live_bytes: int
    """Of all packs with runs that are not retired yet, these included."""
    emptied: tuple[str, ...]
    """Packs without runs that a compaction took some out of."""
    emptied_bytes: int
    kept_along_bytes: int
    """Of runs that nobody needs, in packs that hold others."""
    sweeps: tuple[DueSweep, ...]
    waiting: tuple[Waiting, ...]
    refusals: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    """What a person should know who carries this out."""

    @property
    def retired_points(self) -> tuple[int, ...]:
        return tuple(verdict.point for verdict in self.verdicts if not verdict.keep)

    @property
    def nothing_to_do(self) -> bool:
        return not (self.retired_points or self.packs or self.emptied or self.sweeps)


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneResult:
    plan: PrunePlan
    retirements: tuple[int, ...]
    """Commits that retired points and packs: what `--undo` takes back."""
    swept: int | None
    """The commit that gave packs up for deletion."""
    deleted: int
    deleted_bytes: int
    orphans: int
    """Of the deleted, packs that no commit ever named."""
    young_orphans: int
    """Packs that no commit names and that a backup under way may still name."""
    failures: tuple[Failure, ...]
    """Packs that could not be deleted; the next pruning tries again."""
    locked: tuple[Failure, ...] = ()
    """Packs that the store keeps for now: nothing is wrong, and a later pruning deletes them."""

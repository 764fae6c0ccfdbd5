"""What a repair will do, as values, and what became of it. Pure."""

from __future__ import annotations

from typing import Final

from kafkeep.model import Generation, OffsetRange
from kafkeep.records import dataclass

COPY: Final = "copy"
"""Put again under its own name, as the copy has it."""
LOG: Final = "log"
"""The repository document, written again as commit 0 holds it."""
MOVE: Final = "move"
"""Written into another pack, out of what is whole here and in the copy."""
CLUSTER: Final = "cluster"
"""Read again from Kafka, which counts only when the same digest comes out."""
LOSE: Final = "lose"
"""Declared lost: a gap takes its place."""
RUNS: Final = "runs"
"""The object stays as it is; its runs tell what becomes of each."""
NONE: Final = "none"
"""Nothing at hand mends it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedRun:
    """A run that cannot be relied on where it lies."""

    pack: str
    index: int
    generation: Generation
    coverage: OffsetRange
    """Of the whole run."""
    doubt: tuple[OffsetRange, ...]
    """What of it cannot be read here; none where only what surrounds its chunks is damaged."""
    means: str
    why: str
    """What is used, or why nothing can be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedObject:
    object: str
    what: tuple[str, ...]
    """What a verification says of it."""
    means: str
    why: str
    runs: tuple[DamagedRun, ...] = ()
    known: bool = False
    """There is a quarantine report that tells of it."""

    @property
    def mended(self) -> bool:
        """Whether all of it has a means, a declared loss included."""
        return self.means not in (NONE, RUNS) or (self.means == RUNS and all(run.means != NONE for run in self.runs))


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairPlan:
    repository: str
    store: str
    copy: str | None
    """Where the copy lies, for people."""
    head: int
    """The newest commit that was read, those included that only the copy has."""
    damage: tuple[DamagedObject, ...]
    reason: str | None
    """What a declared loss will say; None when nothing may be declared lost."""

    @property
    def nothing_to_do(self) -> bool:
        return not self.damage

    @property
    def readable(self) -> bool:
        """Whether the log can be read, and added to, once what is missing is put again."""
        return all(each.means != NONE or not of_log(each.object) for each in self.damage)

    def runs(self, means: str) -> tuple[DamagedRun, ...]:
        return tuple(run for each in self.damage for run in each.runs if run.means == means)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairResult:
    plan: RepairPlan
    put: tuple[str, ...]
    """Objects that are there again under their own names."""
    moved: tuple[DamagedRun, ...]
    """Runs that lie in another pack now."""
    lost: tuple[DamagedRun, ...]
    """Runs that are declared lost."""
    commits: tuple[int, ...]
    reports: tuple[str, ...]
    """Quarantine reports that were written."""
    left: tuple[Left, ...]
    """Damage that is still there."""


@dataclass(frozen=True, slots=True)
class Left:
    object: str
    why: str


def of_log(name: str) -> bool:
    """Whether the log cannot be read without this object."""
    return name.startswith("log/") or name == "kafkeep.json"

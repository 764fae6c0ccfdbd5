"""What a verification found. Pure."""

from __future__ import annotations

from typing import Final

from kafkeep.model import Generation, OffsetRange
from kafkeep.records import dataclass
from kafkeep.repository.catalogue import PackEntry
from kafkeep.repository.state import Alarm
from kafkeep.verify.rotation import Cursor

LEVELS: Final = ("chain", "exist", "objects", "data")


@dataclass(frozen=True, slots=True)
class Finding:
    """Damage that two independent reads showed."""

    object: str
    what: str
    generation: Generation | None = None
    coverage: OffsetRange | None = None
    """What of the generation cannot be relied on."""
    known: str | None = None
    """When a repair first wrote it down, RFC 3339; None for one that no quarantine report tells of."""


@dataclass(frozen=True, slots=True)
class VerifyReport:
    level: str
    head: int
    """The newest commit that was read; -1 when there was none."""
    objects: int
    """Objects looked at."""
    bytes: int
    """Bytes read of them, sizes at level `exist` not counted."""
    findings: tuple[Finding, ...]
    alarms: tuple[Alarm, ...]
    """Commits that can be read and break a rule."""
    left: int = 0
    """Packs that there was no time for."""
    cursor: Cursor | None = None
    """Where the next verification goes on; None when everything was looked at."""
    whole_head: int | None = None
    """The newest commit of which everything was looked at, in this verification and those it goes on from, and nothing
    found."""
    shredded: tuple[str, ...] = ()
    """Topics with records that nobody can open any more, because that was wanted."""
    begins: int | None = None
    """Where commits are missing because the log was trimmed: the commit that saved the state which stands for them."""


def of_all_runs(entry: PackEntry, what: str) -> list[Finding]:
    """The finding for everything that a pack holds."""
    return [Finding(entry.name, what, run.generation, run.coverage) for run in entry.runs]

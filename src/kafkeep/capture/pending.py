"""What a backup has durable or knows and has not committed, and the sum of what it has."""

from __future__ import annotations

from dataclasses import field

from kafkeep.capture.plan import PartitionPlan
from kafkeep.model import Gap, GenerationClosed, GenerationOpened, PackRef, RunFacts
from kafkeep.records import dataclass


@dataclass(slots=True)
class Pending:
    """What is durable or known and not yet committed."""

    packs: list[PackRef] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    opened: list[GenerationOpened] = field(default_factory=list)
    closed: list[GenerationClosed] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.packs or self.gaps or self.opened or self.closed)

    @property
    def pieces(self) -> int:
        return sum([len(pack.runs) for pack in self.packs]) + len(self.gaps) + len(self.opened) + len(self.closed)

    def take(self, part: PartitionPlan) -> None:
        """Notes what the plan of a partition declares."""
        if part.opened is not None:
            self.opened.append(part.opened)
        if part.closed is not None:
            self.closed.append(part.closed)
        if part.gap is not None:
            self.gaps.append(part.gap)


@dataclass(slots=True)
class Tally:
    """Running totals of what was committed, for the result."""

    runs: list[RunFacts] = field(default_factory=list)
    packs: int = 0
    gaps: list[Gap] = field(default_factory=list)
    opened: list[GenerationOpened] = field(default_factory=list)
    closed: list[GenerationClosed] = field(default_factory=list)

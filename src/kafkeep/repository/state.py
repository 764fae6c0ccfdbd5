"""What the commits up to a number say together, as `repository.folding` finds it. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import field
from operator import itemgetter
from types import MappingProxyType
from typing import Any, Final

from kafkeep.model import (
    Gap,
    Generation,
    OffsetRange,
    RecoveryPoint,
    RunRef,
    TopicPartition,
)
from kafkeep.records import dataclass
from kafkeep.repository.catalogue import PackCatalogue
from kafkeep.repository.changes import Pin
from kafkeep.repository.fold.codecs import Numbered
from kafkeep.repository.fold.rope import Mapped, Rope
from kafkeep.repository.fold.settling import Layers
from kafkeep.repository.format import NO_COMMIT, RepositoryDocument
from kafkeep.repository.keeping import Retirement
from kafkeep.repository.shared import Shared
from kafkeep.repository.topic_keys import KeyRing
from kafkeep.repository.trust import TrustedKey
from kafkeep.repository.views import PointView, view_of

_NO_RUNS: Final[Rope[Numbered]] = Rope()
_NONE: Final[Shared[Any]] = Shared()


@dataclass(frozen=True, slots=True)
class Alarm:
    """A commit that can be read and breaks a rule: it counts for nothing."""

    number: int
    digest: str
    reason: str

    def __str__(self) -> str:
        return f"commit {self.number} counts for nothing: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationState:
    """One history of one partition as far as the commits cover it: `[start, next_offset)` in runs and gaps."""

    generation: Generation
    start: int
    next_offset: int
    opened_at: int
    """Number of the commit that opened it."""
    opened_time: str
    """When the work behind that commit began."""
    opened_why: str
    closed_at: int | None = None
    closed_why: str | None = None
    history: Rope[Numbered] = _NO_RUNS
    """The runs in offset order, each with the number of its commit."""
    gaps: Shared[Gap] = _NONE
    """In offset order."""
    gap_numbers: Shared[int] = _NONE

    @property
    def open(self) -> bool:
        return self.closed_at is None

    @property
    def runs(self) -> Sequence[RunRef]:
        """In offset order; those that lie on pages are read when they are asked for."""
        return Mapped(self.history, _RUN)

    @property
    def run_numbers(self) -> Sequence[int]:
        """The commit of each run."""
        return Mapped(self.history, _NUMBER)

    def runs_at(self, number: int, offsets: OffsetRange) -> Sequence[RunRef]:
        """The runs that commits up to `number` brought and that overlap `offsets`, in offset order."""
        if not offsets or not self.history:
            return ()
        stop, newest = len(self.history), self.history.known_last
        # what a newest point holds ends with the last run, which is at hand
        if newest is None or newest[0] > number or newest[1].coverage.start >= offsets.stop:
            last = bisect_right(self.run_numbers, number)
            stop = bisect_right(self.runs, offsets.stop - 1, 0, last, key=lambda run: run.coverage.start)
        first = 0
        if offsets.start > self.start:
            first = bisect_right(self.runs, offsets.start, 0, stop, key=lambda run: run.coverage.stop)
        return self.runs[first:stop]

    def gaps_at(self, number: int, offsets: OffsetRange) -> tuple[Gap, ...]:
        """The gaps that commits up to `number` brought and that overlap `offsets`, in offset order."""
        known = self.gaps[: bisect_right(self.gap_numbers, number)]
        return tuple(gap for gap in known if gap.offsets.intersection(offsets) is not None)


_NUMBER: Final = itemgetter(0)
_RUN: Final = itemgetter(1)


@dataclass(frozen=True, slots=True)
class RootRef:
    """Where a saved state lies."""

    number: int
    """Of its `state` commit; it is what the commits below that say."""
    document: str
    """64 hexadecimal digits: digest of the root document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The fold up to commit `head`. Never changes; -1 and `EMPTY` before the first commit."""

    head: int = -1
    head_digest: str = NO_COMMIT
    epoch: int = 0
    cluster_id: str | None = None
    repository: RepositoryDocument | None = None
    generations: Mapping[Generation, GenerationState] = field(default_factory=lambda: MappingProxyType({}))
    latest: Mapping[TopicPartition, Generation] = field(default_factory=lambda: MappingProxyType({}))
    """The generation opened last of each partition."""
    points: Shared[RecoveryPoint] = field(default_factory=Shared)
    """Those that are not retired, oldest first."""
    packs: PackCatalogue = field(default_factory=PackCatalogue)
    """Those that are not swept."""
    alarms: Shared[Alarm] = field(default_factory=Shared)
    retirements: Mapping[int, Retirement] = field(default_factory=lambda: MappingProxyType({}))
    """By the numbers of their commits; those taken back or swept are no longer in it."""
    swept: frozenset[str] = frozenset()
    """Packs that may be deleted, or are."""
    pins: Mapping[int, Pin] = field(default_factory=lambda: MappingProxyType({}))
    """By the numbers of their points."""
    floors: Mapping[Generation, int] = field(default_factory=lambda: MappingProxyType({}))
    """Nothing that was ever retired of a generation reaches beyond this offset; no point to come begins below it."""
    keys: KeyRing = field(default_factory=KeyRing)
    """Of an encrypted repository."""
    trusted: tuple[TrustedKey, ...] = ()
    """Whose signatures count, in a repository whose commits are signed."""
    root: RootRef | None = None
    """The state that was saved last."""
    layers: Layers = field(default_factory=Layers, compare=False, repr=False)
    """Where that lies which is not in memory; no part of what the commits say."""

    @property
    def runs(self) -> int:
        """How many there are."""
        return sum(len(known.history) for known in self.generations.values())

    def latest_generation(self, topic_partition: TopicPartition) -> GenerationState | None:
        """The generation opened last for this partition, open or closed; None when it was never seen."""
        generation = self.latest.get(topic_partition)
        return None if generation is None else self.generations[generation]

    def retired_packs(self) -> frozenset[str]:
        """Packs that no point needs, and that can still be had back."""
        return frozenset[str]().union(*(retirement.packs for retirement in self.retirements.values()))

    def view(self, point: RecoveryPoint) -> PointView:
        """The content of a point of this state: only what commits up to its number brought."""
        return view_of(self.generations, point)


EMPTY = State()

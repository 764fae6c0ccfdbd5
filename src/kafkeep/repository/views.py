"""What a recovery point holds, joined up from the runs and gaps of its generations. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from kafkeep.model import Gap, Generation, OffsetRange, PartitionCut, RecoveryPoint, RunRef
from kafkeep.records import dataclass
from kafkeep.repository.fold.rope import Deferred, Mapped

if TYPE_CHECKING:
    from kafkeep.repository.state import GenerationState


@dataclass(frozen=True, slots=True)
class RunSlice:
    """The part of a run that belongs to a cut."""

    run: RunRef
    offsets: OffsetRange


@dataclass(frozen=True, slots=True)
class PartitionView:
    """What a recovery point holds of one partition: `[cut.start, cut.stop)` joined up from runs and gaps."""

    cut: PartitionCut
    slices: Sequence[RunSlice]
    gaps: tuple[Gap, ...]

    @property
    def generation(self) -> Generation:
        return self.cut.generation

    @property
    def runs(self) -> Sequence[RunRef]:
        return Mapped(self.slices, attrgetter("run"))


@dataclass(frozen=True, slots=True)
class PointView:
    """The content of a recovery point, partition by partition in the order of its cuts; each is made when it is asked for."""

    point: RecoveryPoint
    partitions: Sequence[PartitionView]

    def packs(self) -> tuple[str, ...]:
        """Names of the packs needed, each once, sorted."""
        return tuple(sorted({part.run.pack for view in self.partitions for part in view.slices}))


def view_of(generations: Mapping[Generation, GenerationState], point: RecoveryPoint) -> PointView:
    """The content of a point among these histories: only what commits up to its number brought."""
    return PointView(
        point, Mapped(point.cuts, lambda cut: _partition_view(generations[cut.generation], cut, point.number))
    )


def _partition_view(known: GenerationState, cut: PartitionCut, number: int) -> PartitionView:
    offsets = OffsetRange(cut.start, cut.stop)

    def part(run: RunRef) -> RunSlice:
        start, stop = max(run.coverage.start, cut.start), min(run.coverage.stop, cut.stop)
        return RunSlice(run, OffsetRange(start, stop))

    runs = Deferred(lambda: known.runs_at(number, offsets))
    return PartitionView(cut, Mapped(runs, part), known.gaps_at(number, offsets))

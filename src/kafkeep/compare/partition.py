"""Comparing one task: a partition, or a piece of a large one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

from kafkeep.compare.align import Found, Piece, Side, Tally, align
from kafkeep.compare.options import CompareOptions
from kafkeep.compare.plan import CompareTask
from kafkeep.compare.ranges import Stretch, sample, whole
from kafkeep.compare.report import BY_OFFSET, BY_ORDER, NOTHING_EXCUSED, Excused, Share
from kafkeep.compare.since import Epochs, LiveFilter, SinceCut, undecided_at
from kafkeep.compare.target import TargetReader
from kafkeep.events import EventSink, Progress
from kafkeep.kafka.cluster import LATEST, Cluster
from kafkeep.model import Failure, OffsetRange
from kafkeep.playback import play
from kafkeep.records import dataclass
from kafkeep.repository.repository import Repository

_PROGRESS_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedTask:
    """What came out of one task."""

    records: int = 0
    size_bytes: int = 0
    differences: int = 0
    excused: Excused = NOTHING_EXCUSED
    share: Share | None = None
    notes: tuple[str, ...] = ()


class TaskComparison:
    """One task while it is carried out."""

    def __init__(
        self,
        cluster: Cluster,
        repository: Repository,
        task: CompareTask,
        reader: TargetReader,
        options: CompareOptions,
        *,
        cancelled: threading.Event,
        sink: EventSink,
    ) -> None:
        self._cluster = cluster
        self._repository = repository
        self._task = task
        self._plan = task.plan
        self._reader = reader
        self._options = options
        self._cancelled = cancelled
        self._sink = sink
        self._tally = Tally()
        runs = self._plan.view.runs
        same = self._plan.pairing == BY_OFFSET
        self._live = LiveFilter(
            tuple(gap.offsets for gap in self._plan.view.gaps) if same else (),
            (*self._plan.view.cut.held_back, *undecided_at(runs, self._plan.view.cut.stop)) if same else (),
        )
        self._since = SinceCut(lambda: reader.log_start, self._compacts) if same else None
        self._epochs = Epochs(runs) if same else None

    def run(self, emit: Callable[[Found], None]) -> ComparedTask | Failure:
        """Hands the first differences to `emit`, counts all. Raises `KafkaError`, `CorruptionError`, `StoreError`."""
        plan, choice = self._plan, self._options.sample
        share: Share | None = None
        if choice is None:
            stretches: tuple[Stretch, ...] = (whole(plan.view, self._task.source),)
        elif plan.pairing == BY_ORDER:
            what = "no offset map tells where a sample of it lies: give --map, or compare all of it"
            return Failure(str(plan.target), "no-offset-map", what)
        else:
            stretches, share = sample(self._repository, plan.view, self._task.source, choice)
        counted = 0
        for found in self._differences(stretches):
            counted += 1
            if counted <= self._options.most_differences:
                emit(found)
        return ComparedTask(
            records=self._tally.records,
            size_bytes=self._tally.size_bytes,
            differences=counted,
            excused=self._excused(),
            share=share,
            notes=self._notes(),
        )

    def _compacts(self, offset: int) -> bool:
        """Compaction takes nothing behind the end of a log, and what was written again after a truncation is no proof."""
        diverging = None if self._epochs is None else self._epochs.diverging
        return (
            self._plan.compacts
            and offset < self._plan.target_range.stop
            and (diverging is None or offset < diverging[0])
        )

    def _differences(self, stretches: Sequence[Stretch]) -> Iterator[Found]:
        source, target = Side(self._archived(stretches)), Side(self._served(stretches))
        yield from align(
            source,
            target,
            self._plan.expected(),
            self._tally,
            same_log=self._plan.pairing == BY_OFFSET,
            excuses=self._since,
        )
        if self._since is not None:
            yield from self._since.settle(all_seen=self._search_on(self._since, stretches))

    def _archived(self, stretches: Sequence[Stretch]) -> Iterator[Piece]:
        """The point's side; tells progress about once a mebibyte."""
        records = size = 0
        for piece in self._played(stretches):
            if self._cancelled.is_set():
                return
            yield piece
            records += max(piece.info.record_count, 0)
            size += piece.info.size
            if size >= _PROGRESS_BYTES:
                self._sink(Progress("compare", records, size))
                records = size = 0
        self._sink(Progress("compare", records, size))

    def _played(self, stretches: Sequence[Stretch]) -> Iterator[Piece]:
        view = self._plan.view
        for stretch in stretches:
            start, stop = stretch.source.start, stretch.source.stop
            # All runs are given: those behind the stretch tell how transactions in it ended.
            for played in play(self._repository, view.runs, start=start, stop=stop, held_back=view.cut.held_back):
                yield Piece(*played)

    def _served(self, stretches: Sequence[Stretch]) -> Iterator[Piece]:
        """The cluster's side."""
        for stretch in stretches:
            pieces = self._reader.pieces(self._plan.of_source(stretch.source), stretch.size_bytes)
            for piece in self._live(self._watched(pieces)):
                if self._cancelled.is_set():
                    return
                yield piece

    def _watched(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        for piece in pieces:
            if self._epochs is not None:
                self._epochs.look(piece.info)
            yield piece

    def _search_on(self, since: SinceCut, stretches: Sequence[Stretch]) -> bool:
        """Looks behind the point for what supersedes records that are gone; True when nothing can have been overlooked.

        A key whose last record was a tombstone leaves no trace once that is removed too, so only where nothing was
        written behind the point, and nothing of the point is left out, is a record without a later one a loss.
        """
        plan = self._plan
        if not since.is_waiting or self._options.sample is not None or self._task.source != plan.source:
            return False
        # The log may have grown since the plan.
        last_stable, high_watermark = (
            self._cluster.offsets([plan.target], LATEST, read_committed=committed)[plan.target]
            for committed in (True, False)
        )
        if last_stable.error or high_watermark.error:
            return False
        following = OffsetRange(plan.target_range.stop, max(plan.target_range.stop, last_stable.offset))
        for piece in self._reader.pieces(following, 0):
            if not since.is_waiting or self._cancelled.is_set():
                break
            since.passed_whole(piece)
        return high_watermark.offset <= plan.source.stop and not plan.view.gaps and not self._live.left_out

    def _excused(self) -> Excused:
        since = self._since
        if since is None:
            return NOTHING_EXCUSED
        return Excused(
            removed=self._reader.skipped,
            compacted=since.compacted,
            not_proven=since.not_proven,
            decided=self._live.decided,
            in_gaps=self._live.in_gaps,
        )

    def _notes(self) -> tuple[str, ...]:
        found = None if self._epochs is None else self._epochs.diverging
        if found is None:
            return ()
        offset, expected, epoch = found
        written_again = f"leader epoch {epoch} where the point has {expected}: it was truncated and written again"
        return (f"from offset {offset} on the source's log is of {written_again}",)

"""Playing a partition of a recovery point back: its batches in offset order, as a read_committed consumer counts them.

The common ground of restore and compare: both must see exactly the same batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from kafkeep.batch_rows import summary
from kafkeep.errors import CorruptBatch
from kafkeep.kafka.wire.batch import LENGTH_END, walk
from kafkeep.kafka.wire.transactions import CommittedFilter
from kafkeep.model import AbortedTransaction, BatchInfo, ChunkRef, HeldBack, RunFacts, RunRef
from kafkeep.records import dataclass
from kafkeep.repository.repository import Repository


class PlayedBatch(NamedTuple):
    """A data batch with at least one offset inside the played range."""

    info: BatchInfo
    batch: memoryview
    """The whole batch as the broker sent it."""
    start: int
    stop: int
    """Records outside of `[start, stop)` were not asked for, or could not be read by anybody when the run was stored:
    DeleteRecords moves the log start into the middle of a batch.
    """

    @property
    def whole(self) -> bool:
        """True when all records of the batch lie inside `[start, stop)`."""
        return self.start <= self.info.base_offset and self.info.last_offset < self.stop


def voided(runs: Sequence[RunRef]) -> list[tuple[AbortedTransaction, ...]]:
    """For each of the runs, which lie in offset order, the transactions whose data in it does not count.

    A run's own list is complete for it when the broker made it, but an abort that was only seen as a marker in a later
    run is listed there: entries are carried back to the runs they begin in. They are never carried forward: a run that
    was read later may lack a marker that compaction has taken meanwhile. What is undecided at the end of the last run
    does not count either.
    """
    found: list[tuple[AbortedTransaction, ...]] = []
    later: set[AbortedTransaction] = set(runs[-1].facts.open_transactions) if runs else set()
    for run in reversed(runs):
        entries = later | set(run.facts.aborted)
        found.append(tuple(sorted(entry for entry in entries if entry.first_offset < run.coverage.stop)))
        later = {entry for entry in entries if entry.first_offset < run.coverage.start}
    return found[::-1]


@dataclass(frozen=True, slots=True)
class TooEarly:
    """Records with a timestamp below `since` (milliseconds) are not wanted, so chunks that hold no others need not be
    fetched.
    """

    since: int
    leading: bool
    """True when that goes only for what lies in front of the first wanted record."""


def play(
    repository: Repository,
    runs: Sequence[RunRef],
    *,
    start: int,
    stop: int,
    held_back: Sequence[HeldBack] = (),
    too_early: TooEarly | None = None,
    verify_crc: bool = True,
) -> Iterator[PlayedBatch]:
    """Batches of one generation with offsets in `[start, stop)`; chunk digests are checked on the way, and batch CRCs
    unless the caller has had them checked before.

    `runs` lie in offset order; `held_back` is what the cut of the point leaves out. With `too_early` some, not all, of
    the batches without a wanted record are left out. Raises `CorruptionError` before anything of a damaged chunk is
    handed out.
    """
    for chunk in _chunks(repository, runs, start, stop, too_early, verify_crc=verify_crc):
        for played in chunk.counting:
            if not held_back or not _is_held_back(played.info, held_back):
                yield played


class Stretch:
    """The batches of one chunk, of a run in which no transaction was aborted. None of them is looked at before its turn."""

    __slots__ = ("_filter", "_what", "chunk", "next_offset", "position", "start", "stop")

    def __init__(self, chunk: memoryview, start: int, stop: int, what: str) -> None:
        self.chunk = chunk
        self.start = start
        self.stop = stop
        self.position = 0
        """Where the next batch begins: whoever reads batches on its own goes on here, with `next_offset`."""
        self.next_offset = 0
        """The least offset that the next batch may have."""
        self._filter = CommittedFilter(())
        self._what = what

    @property
    def is_over(self) -> bool:
        return self.position >= len(self.chunk)

    def take(self) -> PlayedBatch | None:
        """The next batch; None for one that does not count, or lies outside of `[start, stop)`. Raises `CorruptBatch`."""
        at, behind = self.position, self.next_offset
        size = LENGTH_END + int.from_bytes(self.chunk[at + LENGTH_END - 4 : at + LENGTH_END], signed=True)
        batch = self.chunk[at : at + max(size, 0)]
        infos, used = walk(batch, verify=False)
        if len(infos) != 1 or used != size:
            raise CorruptBatch(f"{self._what} does not end with a whole batch")
        info = infos[0]
        if info.base_offset < behind:
            raise CorruptBatch(f"{self._what}: batch at offset {info.base_offset} after offset {behind - 1}")
        self.position += size
        self.next_offset = info.next_offset
        base = info.base_offset if info.magic == 2 else behind
        if self._filter.counts(info, batch) and info.last_offset >= self.start and base < self.stop:
            return PlayedBatch(info, batch, self.start, self.stop)
        return None


def play_by_chunk(
    repository: Repository, runs: Sequence[RunRef], *, start: int, stop: int, held_back: Sequence[HeldBack] = ()
) -> Iterator[PlayedBatch | Stretch]:
    """What `play` gives for all times, whole chunks of it where all data in them counts; batch CRCs have been checked
    before. A stretch is only good until the next is asked for.
    """
    for run, void in zip(runs, voided(runs), strict=True):
        if run.coverage.start >= stop or start >= run.coverage.stop:
            continue
        if void or held_back:
            for chunk in _run_chunks(repository, run, void, start, stop, _Skipping(None), verify_crc=False):
                for played in chunk.counting:
                    if not _is_held_back(played.info, held_back):
                        yield played
            continue
        first, last = max(start, run.coverage.start), min(stop, run.coverage.stop)
        for view in repository.read_run(run, start=first, stop=last):
            yield Stretch(view, first, last, f"{run.generation}: a chunk of {run.pack}")


def check(
    repository: Repository,
    runs: Sequence[RunRef],
    *,
    start: int,
    stop: int,
    held_back: Sequence[HeldBack] = (),
    too_early: TooEarly | None = None,
    is_last: Callable[[PlayedBatch], bool] | None = None,
) -> Iterator[tuple[int, int]]:
    """Reads what `play` would read and checks all digests and CRCs: data records and bytes of each chunk.

    Nothing behind a batch for which `is_last` is true is read. Run headers, which `play` never needs, are checked too.
    """
    for run in needed_runs(runs, start=start, stop=stop, too_early=too_early):
        repository.check_run_header(run)
    for chunk in _chunks(repository, runs, start, stop, too_early, verify_crc=True):
        yield summary(chunk.infos).records if chunk.infos else 0, chunk.size
        if is_last is not None and any(
            is_last(played) for played in chunk.counting if not _is_held_back(played.info, held_back)
        ):
            return


def needed_runs(
    runs: Sequence[RunRef], *, start: int, stop: int, too_early: TooEarly | None = None
) -> tuple[RunRef, ...]:
    """Those of the runs that `play` would look into."""
    needed: list[RunRef] = []
    skipping = _Skipping(too_early)
    for run in _overlapping(runs, start, stop):
        if not skipping.whole_run(run.facts):
            needed.append(run)
            skipping.begin()
    return tuple(needed)


def _overlapping(runs: Sequence[RunRef], start: int, stop: int) -> list[RunRef]:
    return [run for run in runs if run.coverage.start < stop and start < run.coverage.stop]


class _Skipping:
    """Which runs and chunks are left out, asked in offset order."""

    def __init__(self, too_early: TooEarly | None) -> None:
        self._too_early = too_early

    def whole_run(self, facts: RunFacts) -> bool:
        return self._too_early is not None and facts.max_timestamp < self._too_early.since

    def chunk(self, chunk: ChunkRef) -> bool:
        if self._too_early is None:
            return False
        if chunk.max_timestamp < self._too_early.since:
            return True
        self.begin()
        return False

    def begin(self) -> None:
        """What comes may hold wanted records from here on, whatever their time."""
        if self._too_early is not None and self._too_early.leading:
            self._too_early = None


def _is_held_back(info: BatchInfo, held_back: Sequence[HeldBack]) -> bool:
    return info.is_transactional and any(
        entry.producer_id == info.producer_id and entry.start <= info.base_offset < entry.stop for entry in held_back
    )


class _Chunk(NamedTuple):
    infos: Sequence[BatchInfo]
    size: int
    counting: Iterator[PlayedBatch]
    """Of these batches, those with records that count."""


def _chunks(
    repository: Repository,
    runs: Sequence[RunRef],
    start: int,
    stop: int,
    too_early: TooEarly | None,
    *,
    verify_crc: bool,
) -> Iterator[_Chunk]:
    skipping = _Skipping(too_early)
    # Of all runs: what is undecided at the end of the last one looked into may be committed by a marker behind it.
    for run, void in zip(runs, voided(runs), strict=True):
        if run.coverage.start < stop and start < run.coverage.stop and not skipping.whole_run(run.facts):
            yield from _run_chunks(repository, run, void, start, stop, skipping, verify_crc=verify_crc)


def _run_chunks(
    repository: Repository,
    run: RunRef,
    void: Sequence[AbortedTransaction],
    start: int,
    stop: int,
    skipping: _Skipping,
    *,
    verify_crc: bool,
) -> Iterator[_Chunk]:
    keep = CommittedFilter(void)
    start, stop = max(start, run.coverage.start), min(stop, run.coverage.stop)
    first = start
    if void:
        # A marker before `start` may end a transaction that the run lists: it is walked from where the first one began,
        # whatever the times.
        first = max(run.coverage.start, min(start, *(entry.first_offset for entry in void)))
        skipping.begin()
    behind = 0
    for chunk in repository.read_run(run, start=first, stop=stop, skip=None if void else skipping.chunk):
        view, infos = _batches(run, chunk, verify_crc=verify_crc)
        yield _Chunk(infos, len(view), _counting(view, infos, keep, start, stop, behind))
        behind = infos[-1].next_offset if infos else behind


def _counting(
    view: memoryview, infos: Sequence[BatchInfo], keep: CommittedFilter, start: int, stop: int, behind: int
) -> Iterator[PlayedBatch]:
    position = 0
    for info in infos:
        batch = view[position : position + info.size]
        position += info.size
        # A compressed message set of magic 0 or 1 tells only its last offset: it may begin right behind the last.
        base = info.base_offset if info.magic == 2 else behind
        behind = info.next_offset
        if keep.counts(info, batch) and info.last_offset >= start and base < stop:
            yield PlayedBatch(info, batch, start, stop)


def _batches(run: RunRef, chunk: memoryview, *, verify_crc: bool) -> tuple[memoryview, Sequence[BatchInfo]]:
    """A chunk and all its batches, the last of which must be whole."""
    view = memoryview(chunk)
    infos, used = walk(view, verify=verify_crc)
    if used != len(view):
        raise CorruptBatch(f"{run.generation}: a chunk of {run.pack} does not end with a whole batch")
    return view, infos

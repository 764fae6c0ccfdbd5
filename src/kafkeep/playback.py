"""Playing a partition of a recovery point back: its batches in offset order, as a read_committed consumer counts them.

The common ground of restore and compare: both must see exactly the same batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kafkeep.errors import CorruptBatch
from kafkeep.kafka.wire.batch import walk
from kafkeep.kafka.wire.transactions import CommittedFilter
from kafkeep.model import AbortedTransaction, BatchInfo, HeldBack, RunRef
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


def play(
    repository: Repository,
    runs: Sequence[RunRef],
    *,
    start: int,
    stop: int,
    held_back: Sequence[HeldBack] = (),
    verify_crc: bool = True,
) -> Iterator[PlayedBatch]:
    """Batches of one generation with offsets in `[start, stop)`; chunk digests are checked on the way, and batch CRCs
    unless the caller has had them checked before.

    `runs` lie in offset order; `held_back` is what the cut of the point leaves out. Raises `CorruptionError` before
    anything of a damaged chunk is handed out.
    """
    needed = [run for run in runs if run.coverage.start < stop and start < run.coverage.stop]
    for run, void in zip(needed, voided(needed), strict=True):
        for played in _play_run(repository, run, void, start=start, stop=stop, verify_crc=verify_crc):
            if not held_back or not _is_held_back(played.info, held_back):
                yield played


def _is_held_back(info: BatchInfo, held_back: Sequence[HeldBack]) -> bool:
    return info.is_transactional and any(
        entry.producer_id == info.producer_id and entry.start <= info.base_offset < entry.stop for entry in held_back
    )


def _play_run(
    repository: Repository,
    run: RunRef,
    void: Sequence[AbortedTransaction],
    *,
    start: int,
    stop: int,
    verify_crc: bool,
) -> Iterator[PlayedBatch]:
    keep = CommittedFilter(void)
    start, stop = max(start, run.coverage.start), min(stop, run.coverage.stop)
    # A marker before `start` may end a transaction that the run lists: such a run is walked from its beginning.
    first = run.coverage.start if void else start
    behind = 0
    for chunk in repository.read_run(run, start=first, stop=stop):
        view, infos = _batches(run, chunk, verify_crc=verify_crc)
        position = 0
        for info in infos:
            batch = view[position : position + info.size]
            position += info.size
            # A compressed message set of magic 0 or 1 tells only its last offset: it may begin right behind the last.
            base = info.base_offset if info.magic == 2 else behind
            behind = info.next_offset
            if keep.counts(info, batch) and info.last_offset >= start and base < stop:
                yield PlayedBatch(info, batch, start, stop)


def check(repository: Repository, runs: Sequence[RunRef], *, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Reads what `play` would read and checks all digests and CRCs: data records and bytes of each chunk."""
    needed = [run for run in runs if run.coverage.start < stop and start < run.coverage.stop]
    for run, void in zip(needed, voided(needed), strict=True):
        first = run.coverage.start if void else max(start, run.coverage.start)
        for chunk in repository.read_run(run, start=first, stop=min(stop, run.coverage.stop)):
            view, infos = _batches(run, chunk, verify_crc=True)
            yield sum(info.record_count for info in infos if not info.is_control), len(view)


def _batches(run: RunRef, chunk: memoryview, *, verify_crc: bool) -> tuple[memoryview, list[BatchInfo]]:
    """A chunk and all its batches, the last of which must be whole."""
    view = memoryview(chunk)
    infos, used = walk(view, verify=verify_crc)
    if used != len(view):
        raise CorruptBatch(f"{run.generation}: a chunk of {run.pack} does not end with a whole batch")
    return view, infos

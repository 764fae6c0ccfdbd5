"""Checking everything a restore needs before the first record is produced."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from kafkeep.errors import CorruptObject, ObjectNotFound
from kafkeep.events import EventSink, Progress, WorkPlanned
from kafkeep.model import RunRef
from kafkeep.playback import check, needed_runs
from kafkeep.repository.openable import require_keys
from kafkeep.repository.repository import Repository
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.passage import Passage
from kafkeep.restore.plan import PartitionRestore, RestorePlan
from kafkeep.work.threads import run_on_threads

THREADS = 4
CheckAll = Callable[[Sequence[PartitionRestore]], None]
"""Reads all that is needed of these partitions and raises what is wrong with them."""


def check_everything_needed(
    repository: Repository,
    plan: RestorePlan,
    options: RestoreOptions,
    *,
    sink: EventSink,
    check_all: CheckAll | None = None,
) -> None:
    """Raises `CorruptionError` when a pack is missing or shorter than its commit says, or (level `data`) when anything of
    a run that the plan needs fails its digest or CRC; `KeyRefused` when any of them cannot be opened here.

    `check_all` gets the partitions, the largest first, where they are to be read elsewhere than in this process.
    """
    require_keys(repository, (run for part in plan.partitions for run in _needed(part)))
    for name in sorted({run.pack for part in plan.partitions for run in _needed(part)}):
        _check_pack(repository, name)
    if options.preflight == "exist":
        return
    sink(WorkPlanned("check", len(plan.partitions), plan.most_records, plan.raw_bytes))

    largest_first = sorted(plan.partitions, key=lambda part: -part.raw_bytes)
    if check_all is not None:
        check_all(largest_first)
        return

    def check_one(part: PartitionRestore, emit: Callable[[None], None], cancelled: threading.Event) -> None:
        check_partition(repository, part, cancelled, sink)

    for _ in run_on_threads(largest_first, check_one, threads=THREADS):
        pass


def check_partition(
    repository: Repository, part: PartitionRestore, cancelled: threading.Event, sink: EventSink
) -> None:
    """Every byte that is needed of one partition. Raises `CorruptionError`, `KeyRefused`, `StoreError`."""
    passage = Passage(part.window, begun=False)
    for records, size in check(
        repository,
        part.runs,
        start=part.start,
        stop=part.stop,
        held_back=part.held_back,
        too_early=passage.too_early,
        is_last=passage.ends_in if part.window.may_end else None,
    ):
        if cancelled.is_set():
            return
        sink(Progress("check", records, size))


def _needed(part: PartitionRestore) -> tuple[RunRef, ...]:
    too_early = Passage(part.window, begun=False).too_early
    return needed_runs(part.runs, start=part.start, stop=part.stop, too_early=too_early)


def _check_pack(repository: Repository, name: str) -> None:
    entry = repository.state.packs.get(name)
    try:
        size = repository.store.head(name).size
    except ObjectNotFound as error:
        raise CorruptObject(f"pack {name} is missing") from error
    if entry is None or size != entry.size:
        raise CorruptObject(f"pack {name} has {size} bytes, its commit says {None if entry is None else entry.size}")

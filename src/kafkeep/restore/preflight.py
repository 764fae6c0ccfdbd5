"""Checking everything a restore needs before the first record is produced."""

from __future__ import annotations

import threading
from collections.abc import Callable

from kafkeep.errors import CorruptObject, ObjectNotFound
from kafkeep.events import EventSink, Progress, WorkPlanned
from kafkeep.playback import check
from kafkeep.repository.repository import Repository
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.plan import PartitionRestore, RestorePlan
from kafkeep.work.threads import run_on_threads

_THREADS = 4


def check_everything_needed(
    repository: Repository, plan: RestorePlan, options: RestoreOptions, *, sink: EventSink
) -> None:
    """Raises `CorruptionError` when a pack is missing or shorter than its commit says, or (level `data`) when anything of
    a run that the plan needs fails its digest or CRC.
    """
    for name in sorted({run.pack for part in plan.partitions for run in part.runs}):
        _check_pack(repository, name)
    if options.preflight == "exist":
        return
    sink(WorkPlanned("check", len(plan.partitions), plan.most_records, plan.raw_bytes))

    def check_partition(part: PartitionRestore, emit: Callable[[None], None], cancelled: threading.Event) -> None:
        for run in part.runs:
            repository.check_run_header(run)
        for records, size in check(repository, part.runs, start=part.start, stop=part.stop):
            if cancelled.is_set():
                return
            sink(Progress("check", records, size))

    largest_first = sorted(plan.partitions, key=lambda part: -part.raw_bytes)
    for _ in run_on_threads(largest_first, check_partition, threads=_THREADS):
        pass


def _check_pack(repository: Repository, name: str) -> None:
    entry = repository.state.packs.get(name)
    try:
        size = repository.store.head(name).size
    except ObjectNotFound as error:
        raise CorruptObject(f"pack {name} is missing") from error
    if entry is None or size != entry.size:
        raise CorruptObject(f"pack {name} has {size} bytes, its commit says {None if entry is None else entry.size}")

"""The recipe of a compaction: write a large pack of the runs of small ones, make it durable, commit that they lie there.

Nothing is deleted and no recovery point is touched. Stopped anywhere, each run lies where the log says: in its old pack
before the commit, in the new one after it. A pack whose commit never came is an orphan, which `prune` deletes in time.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from kafkeep.compaction.plan import CompactOptions, CompactPlan, CompactResult, Gathering, plan_compaction
from kafkeep.errors import CorruptionError, PlanRefused
from kafkeep.events import EventSink, Progress, Stage, WorkPlanned, ignore
from kafkeep.logger import get_logger
from kafkeep.model import Failure, PackRef, RunRef
from kafkeep.records import dataclass
from kafkeep.repository.changes import Compact, CompactedPack, MovedRun
from kafkeep.repository.compacting import movable, still_there
from kafkeep.repository.moving import PackMover, stored_chunks
from kafkeep.repository.packing import Randomness
from kafkeep.repository.reader import PackReader
from kafkeep.repository.repository import Repository
from kafkeep.repository.state import State
from kafkeep.times import rfc3339

log = get_logger(__name__)

TRIES: Final = 3
"""How often a pack is written anew because others raised the epoch twice while it was written."""


def prepare(repository: Repository, options: CompactOptions) -> CompactPlan:
    """Reads the log to its end and plans; changes nothing. Raises `UsageError`, `StoreError`, `CorruptChain`."""
    return plan_compaction(repository.refresh(), repository.about, options)


def compact(
    repository: Repository,
    plan: CompactPlan,
    *,
    now: Callable[[], datetime],
    rng: Randomness,
    is_over: Callable[[], bool] = lambda: False,
    sink: EventSink = ignore,
) -> CompactResult:
    """Carries a plan out, one pack after the other, until `is_over`. Runs that others moved, retired or gave up meanwhile are
    left out. A gathering with damaged data in it is left as it is and named, and the others go on. Raises `StoreError`,
    `UnknownFormat`, `KeyRefused`.
    """
    repository.about.require("append", repository.store.url)
    sink(WorkPlanned("compact", 0, None, plan.bytes))
    sink(Stage("compact", f"{plan.packs} pack(s) into {len(plan.gatherings)}"))
    made: list[_Made] = []
    failures: list[Failure] = []
    stopped = False
    for gathering in plan.gatherings:
        if stopped := is_over():
            break
        try:
            done = _gather(repository, gathering, now=now, rng=rng, sink=sink)
        except CorruptionError as error:
            log.warning("packs left as they are", reason=error.message)
            failures.append(Failure(gathering.packs[0], error.slug, error.message))
        else:
            made += [] if done is None else [done]
    state = repository.state
    emptied = (name for gathering in plan.gatherings for name in gathering.packs)
    return CompactResult(
        plan=plan,
        commits=tuple(each.commit for each in made),
        packs=sum(entry is not None and not entry.runs for entry in map(state.packs.get, emptied)),
        runs=sum(each.runs for each in made),
        bytes=sum(each.bytes for each in made),
        stopped=stopped,
        failures=tuple(failures),
    )


@dataclass(frozen=True, slots=True)
class _Made:
    commit: int
    runs: int
    bytes: int


def _gather(
    repository: Repository,
    gathering: Gathering,
    *,
    now: Callable[[], datetime],
    rng: Randomness,
    sink: EventSink,
) -> _Made | None:
    """None when others were faster with so much of it that nothing is to be gained any more."""
    for _ in range(TRIES):
        started = rfc3339(now())
        state = repository.refresh()
        runs = _runs(state, gathering)
        if len({run.pack for run in runs}) < 2:
            return None
        pack = _write(repository, state, runs, now=now, rng=rng, sink=sink)
        rows = tuple(MovedRun(index, run.pack, run.index) for index, run in enumerate(runs))
        found = _commit(repository, pack, rows, started)
        if found is not None:
            return found
        log.info("a pack that was too late is left behind", pack=pack.name)
    return None


def _runs(state: State, gathering: Gathering) -> list[RunRef]:
    """What may be moved, with the runs of a partition one behind the other."""
    return sorted(movable(state, gathering.packs).values(), key=lambda run: (run.generation, run.coverage.start))


def _write(
    repository: Repository,
    state: State,
    runs: list[RunRef],
    *,
    now: Callable[[], datetime],
    rng: Randomness,
    sink: EventSink,
) -> PackRef:
    store = repository.store
    seal = repository.seal
    reader = PackReader(store, repository.id, seal=seal, footers=len({run.pack for run in runs}))
    with PackMover(store.open_new(), repository.about, epoch=state.epoch, now=now, rng=rng, seal=seal) as mover:
        for run in runs:
            entry = state.packs.get(run.pack)
            if entry is None:
                raise ValueError(f"pack {run.pack} is not in the state that named it")
            index = reader.run_index(entry, run)
            mover.add(index, stored_chunks(store, run.pack, index))
            sink(Progress("compact", run.facts.records, run.facts.stored_bytes))
        return mover.finish()


def _commit(repository: Repository, pack: PackRef, rows: tuple[MovedRun, ...], started: str) -> _Made | None:
    """Commits those of the rows that still fit; None when that is none, or the pack is of too old an epoch by now."""
    while rows:
        change = Compact((CompactedPack(pack.name, pack.size, pack.blake3, pack.epoch, rows),))
        try:
            return _Made(repository.decide(change, started=started), len(rows), pack.size)
        except PlanRefused:
            state = repository.state
            left = still_there(state, rows)
            if pack.epoch < state.epoch - 1:
                return None
            if left == rows:
                raise
            rows = left
    return None

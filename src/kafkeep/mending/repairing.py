"""The recipe of a repair: what is missing is put again, what is damaged gets a new place, what is gone becomes a gap.

It only adds. Every prefix of its writes is a repository that is no worse than before, and the next repair goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Final

from kafkeep.copying.run import copy_pack, put_same
from kafkeep.errors import PlanRefused
from kafkeep.events import EventSink, Stage, ignore
from kafkeep.kafka.cluster import Cluster
from kafkeep.mending.filling import FilledStore, for_writing, read_log, whole_object
from kafkeep.mending.plan import (
    CLUSTER,
    COPY,
    LOG,
    LOSE,
    MOVE,
    NONE,
    DamagedRun,
    Left,
    RepairPlan,
    RepairResult,
    of_log,
)
from kafkeep.mending.refetching import CannotRefetch, refetch
from kafkeep.mending.sources import Sources
from kafkeep.model import PackRef, RunRef
from kafkeep.records import dataclass
from kafkeep.repository.catalogue import PackEntry
from kafkeep.repository.changes import Compact, CompactedPack, Lose, MovedRun
from kafkeep.repository.compacting import most_bytes
from kafkeep.repository.layout import RunIndex
from kafkeep.repository.moving import PackMover, stored_chunks
from kafkeep.repository.objects import read_repository_document
from kafkeep.repository.packing import Randomness
from kafkeep.repository.repository import Repository
from kafkeep.repository.state import State
from kafkeep.repository.stores.base import Store
from kafkeep.repository.unlocking import unlocked
from kafkeep.times import rfc3339
from kafkeep.verify.quarantine import QUARANTINE, quarantine_value

if TYPE_CHECKING:
    from kafkeep.repository.keyring import Access

RUNS_IN_A_COMMIT: Final = 50_000
"""Places of runs that one commit has room for, with some to spare."""


def repair(
    store: Store,
    plan: RepairPlan,
    *,
    copy: Repository | None = None,
    cluster: Cluster | None = None,
    now: Callable[[], datetime],
    rng: Randomness,
    access: Access | None = None,
    admins: frozenset[str] = frozenset(),
    sink: EventSink = ignore,
) -> RepairResult:
    """Carries a plan out. Stopped anywhere it leaves a repository that another repair goes on with.

    Raises `PlanRefused` when the repository has changed meanwhile, and what the stores and the cluster raise.
    """
    sink(Stage("objects", f"{sum(each.means in (COPY, LOG) for each in plan.damage)} object(s) to be put again"))
    filled = FilledStore(store, None if copy is None else copy.store)
    document = read_repository_document(filled)
    store = for_writing(store, document, rng)
    keyring = unlocked(filled, document, access)
    key = None if access is None else access.signing_key
    shelf = Repository(store, document, now=now, rng=rng, keyring=keyring, signing_key=key)
    reports = _write_down(shelf, plan)
    filled.look_for_saved(document, shelf.seal, admins)
    put = _put_again(store, plan, copy, filled, read_log(filled, shelf.seal, about=document, admins=admins))
    left = [Left(each.object, each.why) for each in plan.damage if each.means == NONE]
    left += [Left(run.pack, f"{run.generation} {run.coverage}: {run.why}") for run in plan.runs(NONE)]
    work = [*plan.runs(MOVE), *plan.runs(CLUSTER), *plan.runs(LOSE)]
    if not work or not plan.readable:
        left += [Left(run.pack, "the log has to be mended first") for run in work]
        return RepairResult(
            plan=plan, put=put, moved=(), lost=(), commits=(), reports=reports, left=tuple(dict.fromkeys(left))
        )
    repository = Repository.open(store, now=now, rng=rng, sink=sink, access=access, admins=admins)
    runs = _Runs(repository, plan, copy, cluster, now=now, rng=rng, sink=sink)
    runs.mend()
    return RepairResult(
        plan=plan,
        put=put,
        moved=tuple(runs.moved),
        lost=tuple(runs.lost),
        commits=tuple(runs.commits),
        reports=reports,
        left=tuple(dict.fromkeys([*left, *runs.left])),
    )


def _write_down(repository: Repository, plan: RepairPlan) -> tuple[str, ...]:
    """A quarantine report for each damaged object that none tells of."""
    written = []
    for each in plan.damage:
        if not each.known:
            runs = [(run.generation, offsets) for run in each.runs for offsets in run.doubt]
            written.append(repository.put_audit(QUARANTINE, quarantine_value(each.object, each.what, runs)))
    return tuple(written)


def _put_again(
    store: Store, plan: RepairPlan, copy: Repository | None, filled: FilledStore, state: State
) -> tuple[str, ...]:
    """Commits in order first, so that a repair that is stopped leaves a log without one more hole."""
    names = [each.object for each in plan.damage if each.means in (COPY, LOG)]
    for name in sorted(names, key=lambda name: (not of_log(name), name)):
        if of_log(name):
            put_same(store, name, filled.get(name))
            continue
        if copy is None:
            raise PlanRefused("the copy that the plan was made with is not at hand", hint="Give it again with --from.")
        entry = state.packs.get(name)
        if entry is not None:
            copy_pack(copy, store, entry)
        else:
            put_same(store, name, whole_object(copy.store, name))
    return tuple(names)


@dataclass(frozen=True, slots=True)
class _Taken:
    """A run in the pack that is being written."""

    damaged: DamagedRun
    index: int


class _Runs:
    """Gives runs new places in new packs, or gaps in theirs."""

    def __init__(
        self,
        repository: Repository,
        plan: RepairPlan,
        copy: Repository | None,
        cluster: Cluster | None,
        *,
        now: Callable[[], datetime],
        rng: Randomness,
        sink: EventSink,
    ) -> None:
        self._repository = repository
        self._plan = plan
        self._sources = Sources(repository.store, repository.id, copy, repository.seal)
        self._cluster = cluster
        self._now = now
        self._rng = rng
        self._sink = sink
        self._mover: PackMover | None = None
        self._taken: list[_Taken] = []
        self.moved: list[DamagedRun] = []
        self.lost: list[DamagedRun] = []
        self.commits: list[int] = []
        self.left: list[Left] = []

    def mend(self) -> None:
        doomed = list(self._plan.runs(LOSE))
        work = [*self._plan.runs(MOVE), *self._plan.runs(CLUSTER)]
        self._sink(Stage("runs", f"{len(work)} run(s) to be moved, {len(doomed)} to be declared lost"))
        try:
            for damaged in work:
                self._take(damaged, doomed)
            self._finish()
        finally:
            if self._mover is not None:
                self._mover.discard()
        self._lose(doomed)

    def _take(self, damaged: DamagedRun, doomed: list[DamagedRun]) -> None:
        found = self._find(damaged)
        if found is None:
            self.left.append(Left(damaged.pack, "the repository has changed meanwhile: run the repair again"))
            return
        entry, run = found
        if damaged.means == MOVE:
            salvage = self._sources.salvage(entry, run)
            if salvage.index is None or not salvage.whole:
                self._give_up(damaged, "it was whole when the repair was planned, and is not any more", doomed)
                return
            self._add(damaged, salvage.index, salvage.chunks())
            return
        if self._cluster is None:
            raise PlanRefused("the cluster that the plan was made with is not at hand", hint="Give it with --cluster.")
        try:
            again = refetch(self._cluster, run, self._repository.about, now=self._now, rng=self._rng)
        except CannotRefetch as error:
            self._give_up(damaged, str(error), doomed)
            return
        self._add(damaged, again.index, stored_chunks(again.store, again.pack, again.index))

    def _find(self, damaged: DamagedRun) -> tuple[PackEntry, RunRef] | None:
        entry = self._repository.state.packs.get(damaged.pack)
        run = None if entry is None else next((run for run in entry.runs if run.index == damaged.index), None)
        return None if entry is None or run is None else (entry, run)

    def _give_up(self, damaged: DamagedRun, why: str, doomed: list[DamagedRun]) -> None:
        if self._plan.reason is None:
            self.left.append(Left(damaged.pack, f"{damaged.generation} {damaged.coverage}: {why}"))
        else:
            doomed.append(replace(damaged, means=LOSE, why=why))

    def _add(self, damaged: DamagedRun, index: RunIndex, chunks: Iterator[bytes | memoryview]) -> None:
        size = most_bytes(index.facts, len(index.chunks))
        if self._mover is not None and self._mover.size + size > self._repository.about.pack_bytes:
            self._finish()
        if self._mover is None:
            about, store = self._repository.about, self._repository.store
            self._mover = PackMover(
                store.open_new(),
                about,
                epoch=self._repository.state.epoch,
                now=self._now,
                rng=self._rng,
                seal=self._repository.seal,
            )
        self._taken.append(_Taken(damaged, self._mover.add(index, chunks)))

    def _finish(self) -> None:
        """Makes the pack durable, then says in the log that the runs lie there."""
        if self._mover is None:
            return
        pack, taken = self._mover.finish(), self._taken
        self._mover, self._taken = None, []
        change = Compact((_compacted(pack, taken),))
        self.commits.append(self._repository.decide(change, started=rfc3339(self._now())))
        self.moved += [each.damaged for each in taken]

    def _lose(self, doomed: Sequence[DamagedRun]) -> None:
        for start in range(0, len(doomed), RUNS_IN_A_COMMIT):
            part = doomed[start : start + RUNS_IN_A_COMMIT]
            if self._plan.reason is None:
                raise ValueError("a loss without a reason")
            change = Lose(tuple((run.pack, run.index) for run in part), self._plan.reason)
            self.commits.append(self._repository.decide(change, started=rfc3339(self._now())))
            self.lost += part


def _compacted(pack: PackRef, taken: Sequence[_Taken]) -> CompactedPack:
    rows = tuple(MovedRun(each.index, each.damaged.pack, each.damaged.index) for each in taken)
    return CompactedPack(pack.name, pack.size, pack.blake3, pack.epoch, rows)

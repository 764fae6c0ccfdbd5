"""The recipe of pruning: retire, wait, sweep, delete. Nothing that a kept point needs is ever out of reach in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final

from kafkeep.errors import ObjectLocked, PlanRefused, StoreError
from kafkeep.events import EventSink, Progress, Stage, WorkPlanned, ignore
from kafkeep.logger import get_logger
from kafkeep.model import Failure
from kafkeep.records import dataclass
from kafkeep.repository.changes import RaiseEpoch, Retire, Sweep, Unretire
from kafkeep.repository.names import parse_pack_name
from kafkeep.repository.probing import Skew
from kafkeep.repository.repository import Repository
from kafkeep.repository.state import State
from kafkeep.repository.stores.base import ObjectInfo
from kafkeep.retention.evidence import find_evidence
from kafkeep.retention.moved import check_moved
from kafkeep.retention.plan import PrunePlan, PruneResult
from kafkeep.retention.planning import plan_prune
from kafkeep.retention.rules import Circumstances, KeepRules
from kafkeep.retention.signers import find_signers
from kafkeep.times import rfc3339

log = get_logger(__name__)

PACKS_IN_A_COMMIT: Final = 50_000
"""Names of packs that one commit has room for, with some to spare."""
SWEPT_BEHIND: Final = 2
"""A pack that no commit names is deleted when its epoch is so far behind: docs/format.md, "Epochs"."""
_REFUSED: Final = (
    "Read the plan. A share that is large is confirmed with --i-mean-it, if it is what you want; where clocks differ, set"
    " this host's, or the store's if that is the wrong one."
)
BY_RULES: Final = "pruned by rules"
EMPTIED: Final = "its runs lie in other packs, or nowhere any more"
"""Reasons of retirements."""


def prepare(
    repository: Repository,
    rules: KeepRules,
    *,
    undo_seconds: float,
    confirmed: bool,
    now: Callable[[], datetime],
    skew: Skew | None = None,
) -> PrunePlan:
    """Reads the log to its end and plans; changes nothing. `skew`: of this host's clock against the store's, where it was
    measured (`probing.measure_clock`). Raises `StoreError`, `CorruptChain`."""
    state = repository.refresh()
    found = find_evidence(repository)
    for unread in found.unread:
        log.warning("report not read", name=unread.name, reason=unread.reason)
    circumstances = Circumstances(
        now=now(),
        pins=state.pins,
        verified_head=found.head,
        perhaps_verified=found.perhaps_verified(tuple(state.points)),
        unread_reports=len(found.unread),
        skew_seconds=None if skew is None else skew.seconds if skew.ahead else -skew.seconds,
        signers=find_signers(repository),
    )
    return plan_prune(state, rules, circumstances, undo_seconds=undo_seconds, confirmed=confirmed)


def prune(
    repository: Repository, plan: PrunePlan, *, now: Callable[[], datetime], sink: EventSink = ignore
) -> PruneResult:
    """Carries a plan out. Stopped anywhere it leaves a whole repository, and the next pruning goes on.

    Raises `PlanRefused` when the plan holds refusals or the repository has changed so that it no longer may be carried
    out, `CorruptObject` before anything is given up whose moved copy is not whole, and what the rooms raise.
    """
    if plan.refusals:
        raise PlanRefused("; ".join(plan.refusals), hint=_REFUSED)
    swept = None
    if plan.sweeps:
        sink(Stage("sweep", f"{len(plan.sweeps)} retirement(s) whose time is over"))
        numbers = tuple(sweep.retirement for sweep in plan.sweeps)
        check_moved(repository, _packs_of(repository.refresh(), numbers), sink=sink)
        swept = repository.decide(Sweep(numbers), started=rfc3339(now()))
    retirements = _retire(repository, plan, now=now, sink=sink)
    deletion = _delete(repository, now=now, sink=sink)
    return PruneResult(
        plan=plan,
        retirements=retirements,
        swept=swept,
        deleted=deletion.objects,
        deleted_bytes=deletion.bytes,
        orphans=deletion.orphans,
        young_orphans=deletion.young,
        failures=tuple(failure for failure in deletion.failures if failure.reason != ObjectLocked.slug),
        locked=tuple(failure for failure in deletion.failures if failure.reason == ObjectLocked.slug),
    )


def _packs_of(state: State, retirements: tuple[int, ...]) -> frozenset[str]:
    standing = (state.retirements.get(number) for number in retirements)
    return frozenset(name for retirement in standing if retirement is not None for name in retirement.packs)


def _retire(
    repository: Repository, plan: PrunePlan, *, now: Callable[[], datetime], sink: EventSink
) -> tuple[int, ...]:
    """Points first: packs may only go when no point needs them."""
    if not plan.retired_points and not plan.packs and not plan.emptied:
        return ()
    sink(Stage("retire", f"{len(plan.retired_points)} point(s), {len(plan.packs) + len(plan.emptied)} pack(s)"))
    changes = [*_retirements(plan.retired_points, plan.packs, BY_RULES), *_retirements((), plan.emptied, EMPTIED)]
    return tuple(repository.decide(change, started=rfc3339(now())) for change in changes)


def _retirements(points: tuple[int, ...], packs: tuple[str, ...], reason: str) -> Iterable[Retire]:
    """As few commits as have room for the packs; the first one takes the points."""
    if points or packs:
        yield Retire(points, packs[:PACKS_IN_A_COMMIT], reason)
    for start in range(PACKS_IN_A_COMMIT, len(packs), PACKS_IN_A_COMMIT):
        yield Retire((), packs[start : start + PACKS_IN_A_COMMIT], reason)


def take_back(
    repository: Repository, retirement: int | None, *, now: Callable[[], datetime]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Undoes a retirement, or all that still can be: (retirements, points that are back).

    Raises `PlanRefused` when there is none, or it was swept.
    """
    state = repository.refresh()
    chosen = tuple(sorted(state.retirements)) if retirement is None else (retirement,)
    if not chosen or any(number not in state.retirements for number in chosen):
        which = "nothing is retired" if not chosen else f"commit {retirement} is no retirement that can be taken back"
        raise PlanRefused(which, hint="`kafkeep prune` lists those that can; what was swept is gone.")
    points = tuple(point.number for number in chosen for point in state.retirements[number].points)
    repository.decide(Unretire(chosen), started=rfc3339(now()))
    return chosen, points


@dataclass(frozen=True, slots=True)
class _Deletion:
    objects: int
    bytes: int
    orphans: int
    young: int
    failures: tuple[Failure, ...]


def _delete(repository: Repository, *, now: Callable[[], datetime], sink: EventSink) -> _Deletion:
    """Deletes what was swept, by this pruning or an earlier one, and packs that no commit can name any more.

    The listing only proposes; the log, read after it, decides. A pack of an epoch that is `SWEPT_BEHIND` can no longer
    be committed by anybody, so a name that the log does not know by then it will never know.
    """
    sink(Stage("list", "looking for packs that nothing needs"))
    listed = list(repository.store.list("pack/"))
    state = repository.refresh()
    young = [info for info in listed if _is_orphan(state, info) and not _is_old(state, info)]
    if young:
        repository.decide(RaiseEpoch(state.epoch + 1), started=rfc3339(now()))
    gone = [info for info in listed if info.name in state.swept]
    orphans = [info for info in listed if _is_orphan(state, info) and _is_old(state, info)]
    doomed = [*gone, *orphans]
    sink(WorkPlanned("prune", len(doomed), None, sum(info.size for info in doomed)))
    failures = _delete_all(repository, doomed, sink)
    failed = {failure.subject for failure in failures}
    done = [info for info in doomed if info.name not in failed]
    return _Deletion(
        objects=len(done),
        bytes=sum(info.size for info in done),
        orphans=sum(info.name not in failed for info in orphans),
        young=len(young),
        failures=failures,
    )


def _is_orphan(state: State, info: ObjectInfo) -> bool:
    """True for a pack that no commit names, nor has ever named."""
    return parse_pack_name(info.name) is not None and info.name not in state.packs and info.name not in state.swept


def _is_old(state: State, info: ObjectInfo) -> bool:
    parsed = parse_pack_name(info.name)
    return parsed is not None and parsed.epoch <= state.epoch - SWEPT_BEHIND


def _delete_all(repository: Repository, doomed: Sequence[ObjectInfo], sink: EventSink) -> tuple[Failure, ...]:
    """One that cannot be deleted (a lock, a missing right) is named, and the others go all the same."""
    store = repository.store

    def delete(info: ObjectInfo) -> Failure | None:
        try:
            store.delete(info.name)
        except StoreError as error:
            return Failure(info.name, error.slug, error.message)
        sink(Progress("prune", 0, info.size))
        return None

    with ThreadPoolExecutor(max(1, store.capabilities.parallel_reads)) as pool:
        return tuple(failure for failure in pool.map(delete, doomed) if failure is not None)

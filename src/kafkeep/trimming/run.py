"""The recipe of trimming: a state is saved and settles; then what it stands for is deleted, by this host's own judgement.

Whoever comes new begins at a saved state, so nothing below it is deleted before this program has folded the commits below
it anew, found the same, and read every document of it back out of the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Final

from kafkeep.errors import (
    CorruptObject,
    ObjectLocked,
    PlanRefused,
    StoreError,
    UsageError,
)
from kafkeep.events import EventSink, Progress, Stage, WorkPlanned, ignore
from kafkeep.logger import get_logger
from kafkeep.model import Failure
from kafkeep.records import dataclass
from kafkeep.reports import PassedOver, readable_reports
from kafkeep.repository.envelope import Kind
from kafkeep.repository.names import document_name, log_name, log_number
from kafkeep.repository.objects import stored_document
from kafkeep.repository.probing import Skew
from kafkeep.repository.repository import Repository
from kafkeep.repository.roots import documents_of
from kafkeep.repository.state import RootRef
from kafkeep.repository.trust import ADMIN, admins_of, key_id
from kafkeep.saved_states import NamedState
from kafkeep.state_reading import check_saved, named_states
from kafkeep.times import rfc3339
from kafkeep.trimming.leaving import find_leaving
from kafkeep.trimming.plan import (
    Circumstances,
    TrimPlan,
    TrimResult,
    bound_of,
    deletable,
    plan_trim,
    settled_states,
)

log = get_logger(__name__)

TRIMMED: Final = "trimmed"
"""Kind of the report that says which saved state was found right before anything below it was deleted."""
_REFUSED: Final = "Read the plan. Where clocks differ, set this host's, or the store's if that is the wrong one."
_AT_ONCE: Final = 4096
"""Objects that are put in line for deletion before the next ones."""


def prepare(
    repository: Repository,
    *,
    undo_seconds: float,
    wanted: bool | None = None,
    now: Callable[[], datetime],
    skew: Skew | None = None,
) -> TrimPlan:
    """Reads the log to its end, lists what is there of it, and plans; changes nothing. `wanted`: save a state in any case, or
    in none. `skew`: of this host's clock against the store's, where it was measured.

    Raises `UsageError` where commits are not signed, `CorruptionError`, `StoreError`.
    """
    if not repository.about.admins:
        raise UsageError(
            f"commits of {repository.store.url} are not signed: its log is never trimmed",
            hint="Whoever may create objects could make up a past. Repositories are signed from `kafkeep init --signed` on.",
        )
    state = repository.refresh()
    listed = (log_number(info.name) for info in repository.store.list("log/"))
    known = Circumstances(
        repository=repository.id,
        head=state.head,
        now=now(),
        named=named_states(repository.store, state.root, repository.seal),
        present=sorted(number for number in listed if number is not None and number <= state.head),
        undo_seconds=undo_seconds,
        skew_seconds=None if skew is None else skew.seconds if skew.ahead else -skew.seconds,
        wanted=wanted,
    )
    known = _with_vouched(repository, known)
    bound = bound_of(known)
    if bound is None:
        return plan_trim(known)
    doomed = frozenset(deletable((each.number for each in known.named), bound.number, state.head))
    plan = plan_trim(known, find_leaving(repository.store, known.named, doomed, repository.seal))
    return _told_of_signer(repository, plan, bound)


def _with_vouched(repository: Repository, known: Circumstances) -> Circumstances:
    """With the saved states that reports vouch for: those are looked for only where one cannot be held against the commits
    before it any more, as after a trimming that was stopped.
    """
    settled = settled_states(known)
    bound = bound_of(known)
    newest = settled[0] if settled else None
    if newest is None or (bound is not None and bound.number == newest.number):
        return known
    if not any(True for _ in deletable(known.present, newest.number, known.head)):
        return replace(known, vouched=frozenset({newest.number}))  # nothing is left below it that could tell
    return replace(known, vouched=frozenset(_vouched_for(repository, {state.number: state for state in settled})))


def _vouched_for(repository: Repository, settled: dict[int, NamedState]) -> Iterator[int]:
    """Of reports by admins; whoever may only create objects cannot leave one."""
    admins = {key.id for key in repository.state.trusted if key.role == ADMIN}
    for report in readable_reports(repository, {TRIMMED}, PassedOver()):
        if not report.trusted or report.signer not in admins:
            continue
        state = settled.get(report.value.get("commit", -1))
        if state is not None and report.value.get("document") == state.document:
            yield state.number


def _told_of_signer(repository: Repository, plan: TrimPlan, bound: NamedState) -> TrimPlan:
    """Whoever comes new begins at a state only if it knows the admin who saved it."""
    if not plan.deletes:
        return plan
    signer = bound.signer
    if signer not in {key_id(public) for public in repository.acceptable}:
        refusal = (
            f"commit {bound.number}, which saved the state, is signed by {signer}, whom neither the repository document nor"
            " the settings name as an admin: a host without a cache, such as this one some day, could not open the repository"
        )
        return replace(plan, refusals=(*plan.refusals, refusal))
    if signer not in {key.id for key in repository.about.admins}:
        remark = (
            f"commit {bound.number}, which saved the state, is signed by {signer}, whom the repository document does not"
            " name: every host needs it under `admins` in its settings to open the repository without a cache"
        )
        return replace(plan, remarks=(*plan.remarks, remark))
    return plan


# --- carrying it out -------------------------------------------------------------------------------------------------


def trim(
    repository: Repository, plan: TrimPlan, *, now: Callable[[], datetime], sink: EventSink = ignore
) -> TrimResult:
    """Carries a plan out. Stopped anywhere it leaves a repository that can be read from its newest saved state, and the next
    trimming goes on.

    Raises `PlanRefused` when the plan holds refusals or the repository has changed so that it no longer may be carried
    out, `CorruptChain` or `CorruptObject` before anything is deleted that a saved state stands for which is not right or
    not whole, `KeyRefused` without an admin's key, `StoreError`.
    """
    if plan.refusals:
        raise PlanRefused("; ".join(plan.refusals), hint=_REFUSED)
    if not plan.nothing_to_do:
        repository.check_may_decide("state")
    saved = None
    if plan.save:
        sink(Stage("save", "folding the log anew, and putting the state into documents"))
        saved = repository.save_state(started=rfc3339(now()))
    commits, documents = _Deletion(), _Deletion()
    if plan.deletes:
        _check_bound(repository, plan, sink)
        sink(WorkPlanned("trim", plan.commit_count + plan.document_count, None, 0))
        commits = _delete(repository, map(log_name, plan.numbers()), sink)
        documents = _delete_documents(repository, plan, commits, sink)
    failures = (*commits.failures, *documents.failures)
    return TrimResult(
        plan=plan,
        saved=None if saved is None else saved.number,
        saved_documents=0 if saved is None else saved.documents - saved.there,
        saved_bytes=0 if saved is None else saved.written,
        deleted_commits=commits.done,
        deleted_documents=documents.done,
        failures=tuple(failure for failure in failures if failure.reason != ObjectLocked.slug),
        locked=tuple(failure for failure in failures if failure.reason == ObjectLocked.slug),
    )


def _check_bound(repository: Repository, plan: TrimPlan, sink: EventSink) -> None:
    """The state that stands for what is deleted is named by the log, is what the commits say, and is there, every byte."""
    state, store, seal = repository.refresh(), repository.store, repository.seal
    named = named_states(store, state.root, seal)
    bound = next((each for each in named if each.number == plan.bound), None)
    if bound is None:
        raise PlanRefused("the repository has changed meanwhile", hint="Run the command again.")
    sink(Stage("check", f"holding the state saved by commit {bound.number} against the commits before it"))
    read_back(repository, bound.ref)
    if not plan.vouched:
        known = repository.acceptable.union(admins_of(state))
        check_saved(store, repository.about, bound.ref, known, seal)
        repository.put_audit(TRIMMED, {"commit": bound.number, "document": bound.document})


def read_back(repository: Repository, saved: RootRef) -> None:
    """Reads every document of a saved state. Raises `CorruptObject` for one that is missing or damaged, `StoreError`."""
    store = repository.store

    def read(reference: str) -> None:
        try:
            stored_document(store, Kind.STATE, reference)
        except CorruptObject as error:
            raise CorruptObject(f"{error.message}: a document of the state saved by commit {saved.number}") from error

    with ThreadPoolExecutor(max(1, store.capabilities.parallel_reads)) as pool:
        for _ in pool.map(read, sorted(documents_of(store, saved, repository.seal))):
            pass


def _delete_documents(repository: Repository, plan: TrimPlan, commits: _Deletion, sink: EventSink) -> _Deletion:
    """Of states whose commits are gone, the oldest first, and of each what names others last: where this is stopped, or
    something cannot be deleted, the next trimming finds the rest. What a state needs stays whose commit could not be deleted.
    """
    failed = {failure.subject for failure in commits.failures}
    stay = [state for state in plan.leaving if log_name(state.number) in failed]
    needed = {reference for state in stay for reference in state.documents}
    deleted = _Deletion()
    for state in plan.leaving:
        if state in stay:
            break
        for group in state.groups:
            some = [document_name(reference) for reference in group if reference not in needed]
            deleted = deleted.joined(_delete(repository, some, sink))
            if deleted.failures:
                return deleted
    return deleted


@dataclass(frozen=True, slots=True)
class _Deletion:
    done: int = 0
    failures: tuple[Failure, ...] = ()

    def joined(self, other: _Deletion) -> _Deletion:
        return _Deletion(self.done + other.done, (*self.failures, *other.failures))


def _delete(repository: Repository, doomed: Iterable[str], sink: EventSink) -> _Deletion:
    """One that cannot be deleted (a lock, a missing right) is named, and the others go all the same."""
    store = repository.store
    names = iter(doomed)
    done = 0
    failures: list[Failure] = []

    def delete(name: str) -> Failure | None:
        try:
            store.delete(name)
        except StoreError as error:
            return Failure(name, error.slug, error.message)
        sink(Progress("trim", 0, 0))
        return None

    with ThreadPoolExecutor(max(1, store.capabilities.parallel_reads)) as pool:
        while some := list(islice(names, _AT_ONCE)):
            found = [failure for failure in pool.map(delete, some) if failure is not None]
            done += len(some) - len(found)
            failures += found
    return _Deletion(done, tuple(failures))

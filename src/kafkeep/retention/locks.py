"""Prolonging the locks of all that recovery points need, where objects are locked for a time.

A lock is given when an object is made, and ends however much is still needed of it. What is prolonged here: the repository
document, the log, the packs that are not retired, the documents of the points and of saved states, and the reports. Commits
that a saved state has stood for long enough are left to `kafkeep trim`. A lock is never made shorter and never of another
mode.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Final

from kafkeep.errors import (
    CorruptionError,
    ObjectNotFound,
    PlanRefused,
    StoreAccessDenied,
    StoreError,
    UnknownFormat,
)
from kafkeep.events import EventSink, Stage, ignore
from kafkeep.model import Failure
from kafkeep.records import dataclass
from kafkeep.repository.names import REPOSITORY, document_name, log_name, log_number
from kafkeep.repository.probing import Skew
from kafkeep.repository.repository import Repository
from kafkeep.repository.roots import documents_of
from kafkeep.repository.stores.base import NO_LOCKS
from kafkeep.repository.stores.object_lock import Retention, locked_until
from kafkeep.repository.stores.options import ObjectLock
from kafkeep.retention.planning import MOST_SKEW_SECONDS
from kafkeep.saved_states import NamedState, may_be_trimmed
from kafkeep.state_reading import named_states
from kafkeep.times import rfc3339

UNLOCKED: Final = "not locked"
ENDS_SOON: Final = "ends soon"
HOLDS: Final = "holds"
MISSING: Final = "not there"
"""What is found about a lock."""
DUE: Final = frozenset({UNLOCKED, ENDS_SOON})
SETTLED: Final = timedelta(days=14)
"""Commits that a saved state has stood for so long are needed no more: the undo window of `kafkeep trim`."""
_LOOKS: Final = 1000
"""Objects that are asked about before the next ones are put in line: names of a long log are made as they are needed."""


@dataclass(frozen=True, slots=True)
class DueLock:
    """An object whose lock is to be prolonged."""

    name: str
    mode: str
    """Its own where it has a lock, else the setting's."""
    until: str | None
    """When its lock ends as it is."""


@dataclass(frozen=True, slots=True)
class LockCount:
    """So many objects of a kind of which the same is found."""

    kind: str
    """The first part of their names."""
    found: str
    objects: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LocksPlan:
    repository: str
    head: int
    until: str
    """What locks are prolonged to."""
    before: str
    """Locks that end before this time are due."""
    counts: tuple[LockCount, ...]
    due: tuple[DueLock, ...]
    missing: tuple[str, ...]
    """Needed and not there: for `verify` to tell."""
    refusals: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocksResult:
    plan: LocksPlan
    prolonged: int
    failures: tuple[Failure, ...]


def prepare(
    repository: Repository,
    lock: ObjectLock,
    *,
    below_seconds: float,
    skew: Skew | None = None,
    sink: EventSink = ignore,
) -> LocksPlan:
    """Looks at the lock of every needed object; changes nothing.

    Raises `StoreError` for a store that locks nothing, `StoreAccessDenied` without the right to look, `CorruptChain`.
    """
    _check_bucket(repository)
    now, until = lock.now(), locked_until(lock)
    before = now + timedelta(seconds=below_seconds)
    state = repository.refresh()
    sink(Stage("look", "at the lock of each object that is needed"))
    found: Counter[tuple[str, str]] = Counter()
    due, missing = [], []
    needed = Needed.of(repository, now)
    for name, (what, held) in _looked_at(repository, needed.names(), before, until):
        if what == MISSING and needed.may_be_gone(name):
            continue
        found[name.split("/", 1)[0], what] += 1
        if what in DUE:
            mode = lock.mode.upper() if held is None else held.mode
            due.append(DueLock(name, mode, None if held is None else rfc3339(held.until)))
        elif what == MISSING:
            missing.append(name)
    refusals = []
    if skew is not None and skew.seconds > MOST_SKEW_SECONDS and due:
        refusals.append(f"{skew}: a lock cannot be taken back, so none is given by a clock that is wrong")
    return LocksPlan(
        repository=repository.id,
        head=state.head,
        until=rfc3339(until),
        before=rfc3339(before),
        counts=tuple(LockCount(kind, what, number) for (kind, what), number in sorted(found.items())),
        due=tuple(due),
        missing=tuple(missing),
        refusals=tuple(refusals),
    )


def _check_bucket(repository: Repository) -> None:
    try:
        found = repository.store.bucket_lock()
    except StoreAccessDenied:
        return  # another right than that to look at objects, which will show
    if found is None or not found.enabled:
        raise StoreError(f"objects in {repository.store.url} cannot be locked", hint=NO_LOCKS)


@dataclass(frozen=True, slots=True)
class Needed:
    """All that recovery points need. A retired pack is needed by none; keys and hints are never locked."""

    repository: Repository
    saved: tuple[NamedState, ...]
    """Saved states, newest first, down to the newest one that is settled."""
    bound: int
    """What the log holds below this commit is needed only where it is never deleted; 0: all of it is."""

    @classmethod
    def of(cls, repository: Repository, now: datetime) -> Needed:
        """Raises `CorruptionError`, `StoreError`."""
        saved = named_states(repository.store, repository.state.root, repository.seal)
        place = next((place for place, each in enumerate(saved) if each.since + SETTLED <= now), None)
        if place is None:
            return cls(repository, saved, 0)
        return cls(repository, saved[: place + 1], saved[place].number)

    def names(self) -> Iterator[str]:
        """Each once. Of reports, which nothing depends on, those that are listed."""
        state = self.repository.state
        yield REPOSITORY
        numbers = range(state.head + 1)
        yield from (log_name(number) for number in numbers if not may_be_trimmed(number, self.bound, state.head))
        retired = state.retired_packs()
        yield from (entry.name for entry in state.packs if entry.name not in retired)
        documents = {document_name(found) for point in state.points for _, found in point.documents}
        yield from sorted(documents.union(*map(self._documents, self.saved)))
        yield from (info.name for info in self.repository.store.list("audit/"))

    def _documents(self, saved: NamedState) -> Iterator[str]:
        try:
            found = documents_of(self.repository.store, saved.ref, self.repository.seal)
        except (CorruptionError, UnknownFormat):
            found = frozenset((saved.document,))  # what is wrong with it is for `verify` to tell
        return map(document_name, found)

    def may_be_gone(self, name: str) -> bool:
        """Whether a trimming may have deleted it that waited for less."""
        number = log_number(name)
        newest = self.saved[0].number if self.saved else 0
        return number is not None and may_be_trimmed(number, newest, self.repository.state.head)


_Look = tuple[str, tuple[str, Retention | None]]


def _looked_at(repository: Repository, names: Iterator[str], before: datetime, until: datetime) -> Iterable[_Look]:
    store = repository.store

    def look(name: str) -> _Look:
        try:
            held = store.object_lock(name)
        except ObjectNotFound:
            return name, (MISSING, None)
        if held is None:
            return name, (UNLOCKED, None)
        return name, (ENDS_SOON if held.until < min(before, until) else HOLDS, held)

    with ThreadPoolExecutor(max(1, store.capabilities.parallel_reads)) as pool:
        while some := [name for name, _ in zip(names, range(_LOOKS), strict=False)]:
            yield from pool.map(look, some)


def prolong(repository: Repository, plan: LocksPlan, lock: ObjectLock, *, sink: EventSink = ignore) -> LocksResult:
    """Carries a plan out; stopped anywhere, the next one does the rest. An object whose lock cannot be prolonged is named,
    and the others' are all the same. Raises `PlanRefused` when the plan holds refusals.
    """
    if plan.refusals:
        raise PlanRefused(
            "; ".join(plan.refusals), hint="Set this host's clock, or the store's if that is the wrong one."
        )
    sink(Stage("lock", f"{len(plan.due)} object(s) until {plan.until}"))
    until = locked_until(lock)

    def one(due: DueLock) -> Failure | None:
        try:
            repository.store.prolong_lock(due.name, Retention(due.mode, until))
        except StoreError as error:
            return Failure(due.name, error.slug, error.message)
        return None

    with ThreadPoolExecutor(max(1, repository.store.capabilities.parallel_reads)) as pool:
        failures = tuple(failure for failure in pool.map(one, plan.due) if failure is not None)
    return LocksResult(plan=plan, prolonged=len(plan.due) - len(failures), failures=failures)

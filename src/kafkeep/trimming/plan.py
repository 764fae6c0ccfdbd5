"""What of a log may go, and whether a state is to be saved: from what is known of it to a plan. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from kafkeep.model import Failure
from kafkeep.records import dataclass
from kafkeep.repository.names import MILESTONE, next_milestone
from kafkeep.saved_states import NamedState, is_dense
from kafkeep.times import rfc3339

MOST_SKEW_SECONDS: Final = 300.0
"""Clocks that are further apart are not believed: docs/retention.md, "Clocks"."""
MOST_OFTEN_SECONDS: Final = 24 * 3600.0
"""A state is saved at most so often unless somebody wants one: each costs the store its tables."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Commits that follow one another, both ends included."""

    first: int
    last: int

    @property
    def commits(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Leaving:
    """A saved state that is needed no more: its commit goes, or has gone, and behind it the documents of it alone."""

    number: int
    document: str
    groups: tuple[tuple[str, ...], ...]
    """Digests of the documents that no other state needs, in the order of deletion: what names others goes last."""

    @property
    def documents(self) -> tuple[str, ...]:
        return tuple(reference for group in self.groups for reference in group)


@dataclass(frozen=True, slots=True)
class Standing:
    """A saved state whose commit stays for now."""

    number: int
    since: str
    """RFC 3339: by the clock of the store or of its writer, whichever is later."""
    settles: str
    """When the commits before it may go."""
    settled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What was looked up for a plan."""

    repository: str
    head: int
    now: datetime
    named: Sequence[NamedState]
    """Saved states, newest first."""
    present: Sequence[int]
    """Numbers of the commits that the store lists, rising."""
    vouched: Collection[int] = ()
    """Saved states that an earlier trimming found right, by a report that an admin signed."""
    undo_seconds: float
    skew_seconds: float | None = None
    wanted: bool | None = None
    """True: save a state in any case; False: in none; None: where enough came since the last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrimPlan:
    repository: str
    head: int
    """The commit up to which the log was read."""
    save: bool
    """Whether a state is saved."""
    why: str
    """Why a state is saved, or is not."""
    standing: tuple[Standing, ...]
    """Saved states that stay for now, newest first."""
    bound: int | None
    """The saved state that stands for all that is deleted; None when nothing is."""
    vouched: bool
    """An earlier trimming has found it right already."""
    commits: tuple[Stretch, ...]
    """What is deleted of the log."""
    leaving: tuple[Leaving, ...]
    """Saved states that are needed no more, oldest first."""
    refusals: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @property
    def commit_count(self) -> int:
        return sum(stretch.commits for stretch in self.commits)

    @property
    def document_count(self) -> int:
        return sum(len(state.documents) for state in self.leaving)

    @property
    def deletes(self) -> bool:
        return bool(self.commits or self.leaving)

    @property
    def nothing_to_do(self) -> bool:
        return not (self.save or self.deletes)

    def numbers(self) -> Iterator[int]:
        """Of the commits to be deleted, rising."""
        return (number for stretch in self.commits for number in range(stretch.first, stretch.last + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrimResult:
    plan: TrimPlan
    saved: int | None
    """The commit that saved a state."""
    saved_documents: int
    saved_bytes: int
    """Of the documents that were not there already."""
    deleted_commits: int
    deleted_documents: int
    failures: tuple[Failure, ...]
    """What could not be deleted; the next trimming tries again."""
    locked: tuple[Failure, ...]
    """What the store keeps for now: nothing is wrong, and a later trimming deletes it."""


def plan_trim(circumstances: Circumstances, leaving: Iterable[Leaving] = ()) -> TrimPlan:
    """The plan. `leaving`: the saved states below the bound (`bound_of`), whose documents had to be read for it."""
    save, why = _save(circumstances)
    bound, remarks = _bound(circumstances)
    gone = tuple(leaving)
    doomed = stretches(deletable(circumstances.present, bound.number, circumstances.head)) if bound is not None else ()
    numbers = {state.number for state in gone}
    refusals = []
    if (doomed or gone) and abs(circumstances.skew_seconds or 0.0) > MOST_SKEW_SECONDS:
        refusals.append(f"{_skew(circumstances)}: how long a state has been saved is not believed")
    return TrimPlan(
        repository=circumstances.repository,
        head=circumstances.head,
        save=save,
        why=why,
        standing=tuple(_standing(circumstances, state) for state in circumstances.named if state.number not in numbers),
        bound=bound.number if bound is not None and (doomed or gone) else None,
        vouched=bound is not None and bound.number in circumstances.vouched,
        commits=doomed,
        leaving=gone,
        refusals=tuple(refusals),
        remarks=remarks,
    )


def _skew(circumstances: Circumstances) -> str:
    seconds = circumstances.skew_seconds or 0.0
    return f"this host's clock is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} the store's"


def _save(circumstances: Circumstances) -> tuple[bool, str]:
    newest = circumstances.named[0] if circumstances.named else None
    number = 0 if newest is None else newest.number
    since = circumstances.head - number
    if circumstances.wanted is not None:
        return circumstances.wanted, "it was asked for" if circumstances.wanted else "it was not wanted"
    if newest is not None and circumstances.now - newest.since < timedelta(seconds=MOST_OFTEN_SECONDS):
        return False, f"commit {newest.number} saved one less than a day ago"
    milestone = next_milestone(number)
    if circumstances.head < milestone:
        left = milestone - circumstances.head
        return False, f"none of the {since} commit(s) since commit {number} could go: {left} more are to come first"
    return True, f"{since} commits came since commit {number}"


def settled_states(circumstances: Circumstances) -> tuple[NamedState, ...]:
    """Those that are older than the undo window, newest first."""
    window = timedelta(seconds=circumstances.undo_seconds)
    return tuple(state for state in circumstances.named if state.since + window <= circumstances.now)


def bound_of(circumstances: Circumstances) -> NamedState | None:
    """The newest settled state that can be held against the commits before it, or that was: what it stands for may go."""
    return _bound(circumstances)[0]


def _bound(circumstances: Circumstances) -> tuple[NamedState | None, tuple[str, ...]]:
    remarks: list[str] = []
    for state in settled_states(circumstances):
        if state.number in circumstances.vouched or _can_be_checked(circumstances, state):
            return state, tuple(remarks)
        remarks.append(
            f"commits before the state that commit {state.number} saved are missing, so nothing shows any more that it is"
            " right: what is left of them stays until a later state can be held against it"
        )
    return None, tuple(remarks)


def _can_be_checked(circumstances: Circumstances, state: NamedState) -> bool:
    """Whether all commits are listed between it and the state saved before it, or commit 0."""
    older = [other.number for other in circumstances.named if other.number < state.number]
    base = max(older, default=0)
    return is_dense(circumstances.present, base, state.number)


def deletable(present: Iterable[int], bound: int, head: int) -> Iterator[int]:
    """Of these commits those that may go once the state saved by commit `bound` stands for them.

    Milestones never do, and no commit behind the last one: a writer that knows nothing of the deletion notices by the
    milestone above its slot that this was there (docs/format.md, section 9).
    """
    end = min(bound, head - head % MILESTONE)
    return (number for number in present if 0 < number < end and number % MILESTONE)


def stretches(numbers: Iterable[int]) -> tuple[Stretch, ...]:
    """Rising numbers as few stretches."""
    found: list[Stretch] = []
    for number in numbers:
        if found and found[-1].last + 1 == number:
            found[-1] = Stretch(found[-1].first, number)
        else:
            found.append(Stretch(number, number))
    return tuple(found)


def _standing(circumstances: Circumstances, state: NamedState) -> Standing:
    settles = state.since + timedelta(seconds=circumstances.undo_seconds)
    return Standing(state.number, rfc3339(state.since), rfc3339(settles), settles <= circumstances.now)

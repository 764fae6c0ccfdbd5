"""From the state of a repository and rules to what may go: pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import field
from datetime import timedelta
from typing import Final

from kafkeep.model import Generation, OffsetRange, RecoveryPoint, RunRef
from kafkeep.records import dataclass
from kafkeep.repository.keeping import Retirement
from kafkeep.repository.nouns import parse_time
from kafkeep.repository.state import State
from kafkeep.retention.plan import DueSweep, PrunePlan, Waiting
from kafkeep.retention.rules import APART, NONE, TOGETHER, Circumstances, KeepRules, Verdict, judge
from kafkeep.times import rfc3339

TOLD_SKEW_SECONDS: Final = 30.0
MOST_SKEW_SECONDS: Final = 300.0
"""Clocks that are further apart are not believed: docs/retention.md, "Clocks"."""
MOST_RETIRED: Final = 0.3
"""A larger share of the bytes is retired only when it is confirmed."""
_TREATED: Final = {
    APART: "they are counted apart and push out no others; --distrusted=none has no rule keep them",
    NONE: "no rule keeps them; pin what you know to be true",
    TOGETHER: "look at what they push out",
}


def plan_prune(
    state: State,
    rules: KeepRules,
    circumstances: Circumstances,
    *,
    undo_seconds: float,
    confirmed: bool,
) -> PrunePlan:
    """Points by the rules; packs when none of the kept points needs any of their runs and no backup will go on from one, and
    those whose runs lie elsewhere, of which nothing is let go: a pack that only ever lost runs counts as data."""
    points = list(state.points)
    verdicts = judge(points, rules, circumstances)
    keep = {verdict.point for verdict in verdicts if verdict.keep}
    idle = _idle(state, Needed(state, (point for point in points if point.number in keep)))
    due, waiting = _retirements(state, circumstances, undo_seconds)
    something_goes = bool(idle.packs or idle.emptied or due or len(keep) < len(points))
    return PrunePlan(
        repository="" if state.repository is None else state.repository.id,
        head=state.head,
        verdicts=verdicts,
        packs=tuple(idle.packs),
        retired_bytes=idle.bytes,
        live_bytes=idle.live_bytes,
        emptied=tuple(idle.emptied),
        emptied_bytes=idle.emptied_bytes,
        kept_along_bytes=idle.kept_along_bytes,
        sweeps=due,
        waiting=waiting,
        refusals=tuple(_refusals(idle, circumstances, something_goes=something_goes, confirmed=confirmed)),
        remarks=tuple(_remarks(points, verdicts, circumstances, rules.distrusted)),
    )


@dataclass(slots=True)
class _Idle:
    """Packs that nothing needs, by name: what they hold is not kept in memory."""

    packs: list[str] = field(default_factory=list)
    bytes: int = 0
    emptied: list[str] = field(default_factory=list)
    emptied_bytes: int = 0
    kept_along_bytes: int = 0
    """Of runs that nobody needs, in packs that hold others."""
    live_bytes: int = 0
    """Of all packs with runs that are not retired yet."""


def _idle(state: State, needed: Needed) -> _Idle:
    """Walks over all packs, one after the other."""
    found = _Idle()
    retired = state.retired_packs()
    for entry in state.packs:
        if entry.name in retired:
            continue
        if not entry.runs and entry.moved:
            found.emptied.append(entry.name)
            found.emptied_bytes += entry.size
            continue
        found.live_bytes += entry.size
        idle = [run.facts.stored_bytes for run in entry.runs if not needed.holds(run)]
        if len(idle) == len(entry.runs):
            found.packs.append(entry.name)
            found.bytes += entry.size
        else:
            found.kept_along_bytes += sum(idle)
    return found


def _refusals(idle: _Idle, circumstances: Circumstances, *, something_goes: bool, confirmed: bool) -> Iterable[str]:
    skew = circumstances.skew_seconds
    if skew is not None and abs(skew) > MOST_SKEW_SECONDS and something_goes:
        yield f"{_skew(circumstances)}: ages, and the time to take things back, are not believed"
    if idle.bytes > MOST_RETIRED * idle.live_bytes and not confirmed:
        share = f"{idle.bytes} of {idle.live_bytes} bytes, more than {MOST_RETIRED:.0%}, would be retired"
        yield f"{share}: confirm with --i-mean-it and the repository's id"


def _skew(circumstances: Circumstances) -> str:
    seconds = circumstances.skew_seconds or 0.0
    return f"this host's clock is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} the store's"


def _remarks(
    points: Sequence[RecoveryPoint], verdicts: Iterable[Verdict], circumstances: Circumstances, distrusted: str
) -> Iterable[str]:
    if abs(circumstances.skew_seconds or 0.0) > TOLD_SKEW_SECONDS:
        yield _skew(circumstances)
    if circumstances.unread_reports:
        yield (
            f"{circumstances.unread_reports} report(s) under audit/ cannot be read: what they may say of verifications is"
            " taken as said, until `kafkeep verify --record` says it anew"
        )
    if circumstances.verified_head is None and any(point.cuts for point in points):
        yield "no verification was found: no point stays for having been verified (`kafkeep verify --record`)"
    strange = sum(verdict.signer is not None and not verdict.signer.trusted for verdict in verdicts)
    if strange:
        yield f"{strange} point(s) were signed by keys that are trusted no more: {_TREATED[distrusted]}"


def _retirements(
    state: State, circumstances: Circumstances, undo_seconds: float
) -> tuple[tuple[DueSweep, ...], tuple[Waiting, ...]]:
    due, waiting = [], []
    for number, retirement in sorted(state.retirements.items()):
        until = parse_time(retirement.time) + timedelta(seconds=undo_seconds)
        size = _size(state, retirement)
        if until <= circumstances.now:
            due.append(DueSweep(number, retirement.time, len(retirement.packs), size))
        else:
            points = tuple(point.number for point in retirement.points)
            waiting.append(
                Waiting(number, retirement.time, rfc3339(until), points, len(retirement.packs), size),
            )
    return tuple(due), tuple(waiting)


def _size(state: State, retirement: Retirement) -> int:
    entries = (state.packs.get(name) for name in retirement.packs)
    return sum(entry.size for entry in entries if entry is not None)


class Needed:
    """The offsets of every generation that must stay: those of the kept points, and those that a backup will build on.

    A backup goes on where an open generation ends, and its point reaches back to the log's start of that moment. Starts of
    logs only ever rise, so whatever lies at or above the newest start that any point tells may be needed. An open
    generation that no point tells of is one that is being read for the first time.
    """

    def __init__(self, state: State, kept: Iterable[RecoveryPoint]) -> None:
        self._ranges: dict[Generation, list[OffsetRange]] = {}
        for point in kept:
            for cut in point.cuts:
                self._add(cut.generation, OffsetRange(cut.start, cut.stop))
        newest = _newest_starts(state)
        for generation, known in state.generations.items():
            if known.open:
                start = newest.get(generation, known.start)
                self._add(generation, OffsetRange(start, max(start, known.next_offset)))

    def _add(self, generation: Generation, offsets: OffsetRange) -> None:
        """Keeps as few ranges as say the same, in rising order: points mostly overlap, and there are many."""
        if not offsets:
            return
        known = self._ranges.setdefault(generation, [])
        first = bisect_left(known, offsets.start, key=lambda each: each.stop)
        stop = bisect_right(known, offsets.stop, first, key=lambda each: each.start)
        if first < stop:
            offsets = OffsetRange(min(known[first].start, offsets.start), max(known[stop - 1].stop, offsets.stop))
        known[first:stop] = [offsets]

    def holds(self, run: RunRef) -> bool:
        """Whether some offset of the run must stay."""
        ranges = self._ranges.get(run.generation, ())
        place = bisect_left(ranges, run.coverage.start, key=lambda offsets: offsets.stop)
        # the first range that ends behind the run's start, or at it: an empty touch is none
        return any(offsets.intersection(run.coverage) is not None for offsets in ranges[place : place + 2])


def _newest_starts(state: State) -> dict[Generation, int]:
    """Where the logs of the generations began when a point last told of them, retired points included."""
    retired = [point for retirement in state.retirements.values() for point in retirement.points]
    found: dict[Generation, int] = {}
    for point in sorted([*state.points, *retired], key=lambda point: point.number):
        found.update((cut.generation, cut.start) for cut in point.cuts)
    return found

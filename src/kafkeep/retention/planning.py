"""From the state of a repository and rules to what may go: pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final

from kafkeep.model import Generation, OffsetRange, RecoveryPoint, RunRef
from kafkeep.repository.keeping import Retirement
from kafkeep.repository.nouns import parse_time
from kafkeep.repository.state import State
from kafkeep.retention.plan import DueSweep, PrunePlan, Waiting
from kafkeep.retention.rules import Circumstances, KeepRules, Verdict, judge
from kafkeep.times import rfc3339

TOLD_SKEW_SECONDS: Final = 30.0
MOST_SKEW_SECONDS: Final = 300.0
"""Clocks that are further apart are not believed: docs/retention.md, "Clocks"."""
MOST_RETIRED: Final = 0.3
"""A larger share of the bytes is retired only when it is confirmed."""


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
    needed = Needed(state, [point for point in points if point.number in keep])
    retired = state.retired_packs()
    packs, emptied, along, live = [], [], 0, 0
    for entry in state.packs:
        if entry.name in retired:
            continue
        if not entry.runs and entry.moved:
            emptied.append(entry)
            continue
        live += entry.size
        idle = [run for run in entry.runs if not needed.holds(run)]
        if len(idle) == len(entry.runs):
            packs.append(entry)
        else:
            along += sum(run.facts.stored_bytes for run in idle)
    size = sum(entry.size for entry in packs)
    due, waiting = _retirements(state, circumstances, undo_seconds)
    refusals = []
    skew = circumstances.skew_seconds
    if skew is not None and abs(skew) > MOST_SKEW_SECONDS and (packs or emptied or due or len(keep) < len(points)):
        refusals.append(f"{_skew(circumstances)}: ages, and the time to take things back, are not believed")
    if size > MOST_RETIRED * live and not confirmed:
        share = f"{size} of {live} bytes, more than {MOST_RETIRED:.0%}, would be retired"
        refusals.append(f"{share}: confirm with --i-mean-it and the repository's id")
    return PrunePlan(
        repository="" if state.repository is None else state.repository.id,
        head=state.head,
        verdicts=verdicts,
        packs=tuple(entry.name for entry in packs),
        retired_bytes=size,
        live_bytes=live,
        emptied=tuple(entry.name for entry in emptied),
        emptied_bytes=sum(entry.size for entry in emptied),
        kept_along_bytes=along,
        sweeps=due,
        waiting=waiting,
        refusals=tuple(refusals),
        remarks=tuple(_remarks(points, verdicts, circumstances)),
    )


def _skew(circumstances: Circumstances) -> str:
    seconds = circumstances.skew_seconds or 0.0
    return f"this host's clock is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} the store's"


def _remarks(
    points: Sequence[RecoveryPoint], verdicts: Iterable[Verdict], circumstances: Circumstances
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
        yield f"{strange} point(s) were signed by keys that are trusted no more: look at what they push out"


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
        ranges: dict[Generation, list[OffsetRange]] = {}
        for point in kept:
            for cut in point.cuts:
                ranges.setdefault(cut.generation, []).append(OffsetRange(cut.start, cut.stop))
        newest = _newest_starts(state)
        for generation, known in state.generations.items():
            if known.open:
                start = newest.get(generation, known.start)
                ranges.setdefault(generation, []).append(OffsetRange(start, max(start, known.next_offset)))
        self._ranges = {generation: _joined(found) for generation, found in ranges.items()}

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


def _joined(ranges: list[OffsetRange]) -> Sequence[OffsetRange]:
    """The same offsets as few ranges in rising order."""
    joined: list[OffsetRange] = []
    for offsets in sorted(ranges, key=lambda each: (each.start, each.stop)):
        if joined and offsets.start <= joined[-1].stop:
            joined[-1] = OffsetRange(joined[-1].start, max(joined[-1].stop, offsets.stop))
        elif offsets:
            joined.append(offsets)
    return joined

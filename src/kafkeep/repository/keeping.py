"""What commits that decide about keeping do to the state: their rules, and their effect. Pure.

Retiring takes points out of the state and marks packs; the packs stay readable until a sweep takes them out as well.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar

from kafkeep.model import Gap, Generation, OffsetRange, RecoveryPoint
from kafkeep.records import dataclass
from kafkeep.repository.catalogue import PackCatalogue
from kafkeep.repository.changes import (
    Change,
    Compact,
    Lose,
    Pin,
    RaiseEpoch,
    Retag,
    Retire,
    SaveState,
    Sweep,
    Unpin,
    Unretire,
)
from kafkeep.repository.compacting import Location, check_compact, compacted
from kafkeep.repository.fold.codecs import Numbered
from kafkeep.repository.fold.rope import Rope
from kafkeep.repository.format import Commit
from kafkeep.repository.invalid import Invalid
from kafkeep.repository.shared import Shared
from kafkeep.repository.topic_keys import (
    SHREDDED,
    AddRecipient,
    KeyChange,
    RemoveRecipient,
    RotateKeys,
    Shred,
    check_key_change,
    topic_of,
    with_change,
)
from kafkeep.repository.trust import Distrust, Trust, check_trust_change, with_trust_change

if TYPE_CHECKING:
    from kafkeep.repository.state import GenerationState, State

K = TypeVar("K")
V = TypeVar("V")

PRUNED: Final = "pruned"
"""Reason of a gap that a sweep made inside a history."""
UNREADABLE: Final = "unreadable"
"""Reason of a gap that stands for a run declared lost."""


@dataclass(frozen=True, slots=True)
class Retirement:
    """A `Retire` commit that is neither taken back nor swept."""

    number: int
    time: str
    """RFC 3339, UTC: when it was committed."""
    reason: str
    points: tuple[RecoveryPoint, ...]
    packs: frozenset[str]


def check_change(state: State, commit: Commit, change: Change) -> None:
    """Raises `Invalid` when the change breaks a rule after `state` (docs/format.md, "Keeping")."""
    match change:
        case RaiseEpoch(epoch):
            if epoch != state.epoch + 1:
                raise Invalid(f"epoch {epoch} does not follow epoch {state.epoch}")
        case Retire():
            _check_retire(state, commit, change)
        case Unretire(numbers) | Sweep(numbers):
            missing = [number for number in numbers if number not in state.retirements]
            if missing or not numbers:
                raise Invalid(f"commit {missing[0] if missing else 'none'} is not a retirement that stands")
        case Pin(point):
            _live(state, (point,))
            if change.until is not None and change.until_tag is not None:
                raise Invalid("a pin with two ends")
        case Unpin(point):
            if point not in state.pins:
                raise Invalid(f"point {point} is not pinned")
        case Retag(point):
            _live(state, (point,))
        case Lose():
            _check_lose(state, change)
        case Compact():
            check_compact(state, change)
        case SaveState():
            if state.repository is None or not state.repository.admins:
                raise Invalid("a saved state in a repository whose commits are not signed")
        case RotateKeys() | AddRecipient() | RemoveRecipient() | Shred():
            check_key_change(state, change)
        case Trust() | Distrust():
            check_trust_change(state, change)


def _live(state: State, numbers: Iterable[int]) -> None:
    known = {point.number for point in state.points}
    missing = [number for number in numbers if number not in known]
    if missing:
        raise Invalid(f"there is no recovery point {missing[0]}")


def _check_retire(state: State, commit: Commit, change: Retire) -> None:
    if not change.points and not change.packs:
        raise Invalid("a retirement of nothing")
    _live(state, change.points)
    for number in change.points:
        pin = state.pins.get(number)
        if pin is not None and pin.holds(commit.finished, state.points):
            raise Invalid(f"point {number} is pinned")
    packs = set(change.packs)
    retired = state.retired_packs()
    if len(packs) != len(change.packs) or any(name in retired or name not in state.packs for name in packs):
        raise Invalid("a pack that is retired already, unknown, or named twice")
    gone = set(change.points)
    needed = _needed(runs_of(state, packs), (point for point in state.points if point.number not in gone))
    if needed is not None:
        raise Invalid(f"point {needed[0]} needs {needed[1]}")


def _check_lose(state: State, change: Lose) -> None:
    if not change.runs or len(set(change.runs)) != len(change.runs):
        raise Invalid("a loss of nothing, or a run that is named twice")
    retired = state.retired_packs()
    for name, index in change.runs:
        entry = state.packs.get(name)
        if entry is None or name in retired or all(run.index != index for run in entry.runs):
            raise Invalid(f"run {index} of pack {name} is not there, or is retired")


def runs_of(state: State, packs: Iterable[str]) -> dict[Generation, list[OffsetRange]]:
    """What the packs cover, generation by generation; neighbours that follow one another are one range."""
    found: dict[Generation, list[OffsetRange]] = {}
    for name in packs:
        entry = state.packs.get(name)
        for run in () if entry is None else entry.runs:
            ranges = found.setdefault(run.generation, [])
            if ranges and ranges[-1].stop == run.coverage.start:
                ranges[-1] = OffsetRange(ranges[-1].start, run.coverage.stop)
            else:
                ranges.append(run.coverage)
    return found


def _needed(
    retired: Mapping[Generation, list[OffsetRange]], points: Iterable[RecoveryPoint]
) -> tuple[int, Generation] | None:
    """A point whose cuts reach into what is retired, and where."""
    for point in points:
        for cut in point.cuts:
            ranges = retired.get(cut.generation)
            if ranges is None:
                continue
            held = OffsetRange(cut.start, cut.stop)
            if any(coverage.intersection(held) is not None for coverage in ranges):
                return point.number, cut.generation
    return None


def changed(state: State, commit: Commit, change: Change) -> State:
    """The state after a valid change; the head is the caller's, and so is what a `SaveState` sets."""
    match change:
        case SaveState():
            return state
        case RaiseEpoch(epoch):
            return replace(state, epoch=epoch)
        case Retire():
            return _retired(state, commit, change)
        case Unretire(numbers):
            back = [point for number in numbers for point in state.retirements[number].points]
            points = sorted([*state.points, *back], key=lambda point: point.number)
            return replace(state, points=Shared(points), retirements=_without(state.retirements, numbers))
        case Sweep(numbers):
            return _swept(state, commit, numbers)
        case Pin(point):
            return replace(state, pins=MappingProxyType({**state.pins, point: change}))
        case Unpin(point):
            return replace(state, pins=_without(state.pins, (point,)))
        case Retag(number):
            points = [
                replace(point, tags=change.applied(point.tags)) if point.number == number else point
                for point in state.points
            ]
            return replace(state, points=Shared(points))
        case Lose():
            return _lost(state, commit, set(change.runs), UNREADABLE, change.reason)
        case Compact():
            return compacted(state, commit, change)
        case RotateKeys() | AddRecipient() | RemoveRecipient() | Shred():
            return _keys_changed(state, commit, change)
        case Trust() | Distrust():
            return with_trust_change(state, change)


def _keys_changed(state: State, commit: Commit, change: KeyChange) -> State:
    """Runs that nobody can open any more are gaps, whoever asks."""
    if isinstance(change, Shred):
        topics = set(change.topics)
        shredded = (known for of, known in state.generations.items() if topic_of(of) in topics)
        gone = {(run.pack, run.index) for known in shredded for run in known.runs}
        state = _lost(state, commit, gone, SHREDDED, change.reason)
    return replace(state, keys=with_change(state.keys, change, commit.seq))


def shredded_topics(state: State) -> tuple[str, ...]:
    """Topics whose histories have gaps that shredding made."""
    histories = state.generations.values()
    found = {known.generation.topic for known in histories if any(gap.reason == SHREDDED for gap in known.gaps)}
    return tuple(sorted(found))


def _lost(state: State, commit: Commit, gone: Collection[Location], why: str, evidence: str) -> State:
    """The state with gaps in the places of these runs."""
    touched: set[Generation] = set()
    entries = []
    for name in {name for name, _ in gone}:
        entry = state.packs.get(name)
        if entry is not None:
            runs = Rope.of(entry.runs)
            places = [place for place, run in enumerate(runs) if (name, run.index) in gone]
            touched.update(run.generation for run in runs.picked(places))
            entries.append(replace(entry, runs=runs.without(places)))
    generations = dict(state.generations)
    for generation in sorted(touched):
        known = generations[generation]
        places = [place for place, (_, run) in enumerate(known.history) if (run.pack, run.index) in gone]
        gaps = [
            (number, Gap(generation, run.coverage, why, evidence, commit.finished))
            for number, run in known.history.picked(places)
        ]
        generations[generation] = _with_gaps(known, known.history.without(places), gaps)
    return replace(state, packs=state.packs.replaced(entries), generations=MappingProxyType(generations))


def _retired(state: State, commit: Commit, change: Retire) -> State:
    gone = set(change.points)
    retirement = Retirement(
        number=commit.seq,
        time=commit.finished,
        reason=change.reason,
        points=tuple(point for point in state.points if point.number in gone),
        packs=frozenset(change.packs),
    )
    floors = dict(state.floors)
    for generation, ranges in runs_of(state, change.packs).items():
        floors[generation] = max(floors.get(generation, 0), *(coverage.stop for coverage in ranges))
    return replace(
        state,
        points=Shared([point for point in state.points if point.number not in gone]),
        pins=_without(state.pins, gone),
        retirements=MappingProxyType({**state.retirements, commit.seq: retirement}),
        floors=MappingProxyType(floors),
    )


def _swept(state: State, commit: Commit, numbers: tuple[int, ...]) -> State:
    packs = frozenset[str]().union(*(state.retirements[number].packs for number in numbers))
    touched = set(runs_of(state, packs))
    lowest: dict[Generation, int] = {}
    for point in state.points:
        for cut in point.cuts:
            if cut.generation in touched:
                lowest[cut.generation] = min(cut.start, lowest.get(cut.generation, cut.start))
    generations = dict(state.generations)
    for generation in sorted(touched):
        known = generations[generation]
        generations[generation] = _without_packs(known, packs, commit, lowest.get(generation, known.next_offset))
    return replace(
        state,
        packs=PackCatalogue().extended(entry for entry in state.packs if entry.name not in packs),
        generations=MappingProxyType(generations),
        retirements=_without(state.retirements, numbers),
        swept=state.swept | packs,
    )


def _without_packs(known: GenerationState, packs: frozenset[str], commit: Commit, lowest: int) -> GenerationState:
    """The history without the runs of `packs`: it begins later, or has gaps that say so. `lowest` is the first offset that
    a recovery point holds."""
    places = [place for place, (_, run) in enumerate(known.history) if run.pack in packs]
    kept = known.history.without(places)
    why = f"swept by commit {commit.seq}"
    swept = [
        (number, Gap(known.generation, run.coverage, PRUNED, why, commit.finished))
        for number, run in known.history.picked(places)
    ]
    first = kept[0][1].coverage.start if kept else known.next_offset
    start, dropped = known.start, 0
    for _, gap in (gaps := _sorted_gaps(known, swept)):
        if gap.offsets.start >= first or gap.offsets.stop > lowest:
            break
        start, dropped = gap.offsets.stop, dropped + 1
    return replace(_made_of(known, kept, gaps[dropped:]), start=start)


def _sorted_gaps(known: GenerationState, more: Iterable[tuple[int, Gap]]) -> list[tuple[int, Gap]]:
    """The gaps of a history and others, each with the number of its commit, in offset order."""
    return sorted([*zip(known.gap_numbers, known.gaps, strict=True), *more], key=lambda gap: gap[1].offsets.start)


def _with_gaps(known: GenerationState, history: Rope[Numbered], more: Iterable[tuple[int, Gap]]) -> GenerationState:
    return _made_of(known, history, _sorted_gaps(known, more))


def _made_of(known: GenerationState, history: Rope[Numbered], gaps: list[tuple[int, Gap]]) -> GenerationState:
    return replace(
        known,
        history=history,
        gaps=Shared([gap for _, gap in gaps]),
        gap_numbers=Shared([number for number, _ in gaps]),
    )


def _without(table: Mapping[K, V], keys: Iterable[K]) -> Mapping[K, V]:
    gone = set(keys)
    return MappingProxyType({key: value for key, value in table.items() if key not in gone})

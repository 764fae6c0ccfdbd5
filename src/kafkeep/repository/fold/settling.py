"""What of a state goes from memory to pages, and when segments become one. Pure.

Runs of the last commits are in memory. When they are too many they become a segment, sorted by generation and offset; when
there are as many segments of about one size as `Limits.fan_in`, they become one. So each run is written a few times however
many there are, and a history is a handful of stretches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from kafkeep.model import RecoveryPoint
from kafkeep.records import dataclass
from kafkeep.repository.changes import Change, Compact
from kafkeep.repository.fold.codecs import CUTS, HISTORIES, PACK_RUNS, run_weight
from kafkeep.repository.fold.pages import Codec, Pages, Segment, moved
from kafkeep.repository.fold.rope import Block, Held, Rope
from kafkeep.repository.shared import Shared

if TYPE_CHECKING:
    from kafkeep.repository.format import Commit
    from kafkeep.repository.state import State

T = TypeVar("T")

_COMMIT_WORK: Final = 8
"""Folding a commit anew costs as much as folding so many runs, besides what it holds."""
_STRETCHES: Final = 4
"""Where the histories have this many times as many stretches as segments would make, all become one segment."""
_FEW_STRETCHES: Final = 1024
_ROOT_SHARE: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is in memory and how it is cut. Counted in runs (`Codec.weigh`)."""

    loose: int = 64_000
    """So many may be in memory before they become a segment."""
    page: int = 256
    """Of a page."""
    fan_in: int = 16
    """So many segments of one size become one."""
    root: int = 50_000
    """After so much work the folded state is kept, so that the next opening need not fold it anew."""


@dataclass(frozen=True, slots=True)
class Layers:
    """Where a state keeps what is not in memory, and how much has come since."""

    pages: Pages | None = None
    """None: everything is in memory."""
    limits: Limits = field(default_factory=Limits)
    loose: int = 0
    """Weight of what is in memory."""
    work: int = 0
    """What folding anew what came since the last root would cost."""
    kept: int = 0
    """How many runs were in the last root."""
    elsewhere: tuple[str, ...] = ()
    """Where the state began at one that was saved in the repository: digests of the documents of its table `segments`, whose
    pages are fetched from there."""

    def is_worth_keeping(self, *, at_rest: bool) -> bool:
        """Whether to write a root, which costs some of what there is: seldom in the middle of work."""
        return self.work >= (self.limits.root if at_rest else max(self.limits.root, self.kept // _ROOT_SHARE))

    def after_root(self, runs: int) -> Layers:
        return replace(self, work=0, kept=runs)

    def __reduce__(self) -> tuple[type[Layers], tuple[()]]:
        """A state that leaves the process takes all it needs along (`Lazy`)."""
        return Layers, ()

    def after(self, commit: Commit | None) -> Layers:
        """With one more commit."""
        weight = 0 if commit is None else _weight(commit)
        return replace(self, loose=self.loose + weight, work=self.work + weight + _COMMIT_WORK)


def _weight(commit: Commit) -> int:
    cuts = 0 if commit.point is None else len(commit.point.cuts)
    return sum(run_weight(run) for pack in commit.packs for run in pack.runs) + cuts + _moved_runs(commit.change)


def _moved_runs(change: Change | None) -> int:
    return sum(len(pack.runs) for pack in change.packs) if isinstance(change, Compact) else 0


def settled(state: State) -> State:
    """The same state with nothing in memory that belongs on pages; as it was where pages cannot be written."""
    layers = state.layers
    if layers.pages is None:
        return state
    following = _points_settled(_packs_settled(_histories_settled(state, layers.pages), layers.pages), layers.pages)
    return replace(following, layers=replace(layers, loose=0))


def _histories_settled(state: State, pages: Pages) -> State:
    order = sorted(state.generations)
    ropes = [state.generations[generation].history for generation in order]
    chosen = _chosen(ropes, state.layers.limits)
    if chosen is None:
        return state
    found = moved(pages, HISTORIES, ropes, lambda block: isinstance(block, Held) or block in chosen, _page(state))
    if found is None:
        return state
    generations = dict(state.generations)
    for generation, rope in zip(order, found, strict=True):
        generations[generation] = replace(generations[generation], history=rope)
    return replace(state, generations=MappingProxyType(generations))


def _chosen(ropes: Iterable[Rope[Any]], limits: Limits) -> Collection[Block[Any]] | None:
    """The segments that are written anew together with what is in memory; None when nothing is to be written."""
    sizes: Counter[Block[Any]] = Counter()
    loose = stretches = histories = 0
    for rope in ropes:
        histories += 1
        for block, _, count in rope.parts():
            stretches += 1
            if isinstance(block, Held):
                loose += count
            else:
                sizes[block] += count
    if stretches > max(_FEW_STRETCHES, _STRETCHES * limits.fan_in * histories):
        return set(sizes)
    if not loose:
        return None
    chosen: set[Block[Any]] = set()
    size = loose
    while True:
        level = _level(size, limits)
        alike = [block for block, count in sizes.items() if block not in chosen and _level(count, limits) <= level]
        if len(alike) + 1 < limits.fan_in:
            return chosen
        chosen.update(alike)
        size += sum(sizes[block] for block in alike)


def _level(size: int, limits: Limits) -> int:
    level, bound = 0, limits.loose * 2
    while size >= bound:
        level, bound = level + 1, bound * limits.fan_in
    return level


def _packs_settled(state: State, pages: Pages) -> State:
    entries = [entry for entry in state.packs if _is_loose(entry.runs) or _is_loose(entry.moved)]
    found = _settled_ropes(pages, PACK_RUNS, [rope for entry in entries for rope in (entry.runs, entry.moved)], state)
    if found is None:
        return state
    runs = zip(entries, found[::2], found[1::2], strict=True)
    return replace(
        state, packs=state.packs.replaced(replace(entry, runs=mine, moved=others) for entry, mine, others in runs)
    )


def _points_settled(state: State, pages: Pages) -> State:
    every = [*state.points, *(point for each in state.retirements.values() for point in each.points)]
    loose = {point.number: point for point in every if _is_loose(point.cuts)}
    found = _settled_ropes(pages, CUTS, [point.cuts for point in loose.values()], state)
    if found is None:
        return state
    there = {point.number: replace(point, cuts=cuts) for point, cuts in zip(loose.values(), found, strict=True)}

    def each(point: RecoveryPoint) -> RecoveryPoint:
        return there.get(point.number, point)

    retirements = {
        number: replace(retirement, points=tuple(map(each, retirement.points)))
        for number, retirement in state.retirements.items()
    }
    return replace(state, points=Shared(list(map(each, state.points))), retirements=MappingProxyType(retirements))


def _settled_ropes(pages: Pages, codec: Codec[T], items: Sequence[Sequence[T]], state: State) -> list[Rope[T]] | None:
    if not any(map(_is_loose, items)):
        return None
    return moved(pages, codec, [Rope.of(each) for each in items], lambda block: isinstance(block, Held), _page(state))


def _is_loose(items: Sequence[Any]) -> bool:
    return items.loose > 0 if isinstance(items, Rope) else len(items) > 0


def _page(state: State) -> int:
    return state.layers.limits.page


def segments_of(state: State) -> list[Segment[Any]]:
    """Every segment that the state refers to, each once, in a fixed order."""
    found: dict[Segment[Any], None] = {}
    for rope in ropes_of(state):
        for block, _, _ in rope.parts():
            if isinstance(block, Segment):
                found.setdefault(block)
    return list(found)


def ropes_of(state: State) -> Iterable[Rope[Any]]:
    """Everything of a state that may lie on pages."""
    for known in state.generations.values():
        yield known.history
    for entry in state.packs:
        yield Rope.of(entry.runs)
        yield Rope.of(entry.moved)
    for point in state.points:
        yield Rope.of(point.cuts)
    for retirement in state.retirements.values():
        for point in retirement.points:
            yield Rope.of(point.cuts)


def is_settled(state: State) -> bool:
    """Whether all that belongs on pages lies there."""
    return not any(rope.loose for rope in ropes_of(state))

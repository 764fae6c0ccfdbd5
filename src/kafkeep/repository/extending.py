"""Whether a commit that only extends histories keeps the rules of coverage, told of all its runs together. Pure.

`rules.validate` goes through a commit step by step and says which rule is broken. Nearly all commits break none, and bring
one run of each of many histories: for those the answer is found here, at a fraction of the cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from kafkeep.model import Gap, Generation, PartitionCut, RunRef
from kafkeep.repository.format import Commit

if TYPE_CHECKING:
    from kafkeep.repository.state import GenerationState, State


def covering(gaps: Iterable[Gap], runs: Iterable[RunRef]) -> list[Gap | RunRef]:
    """Gaps and runs in the one order in which they may extend the coverage: by generation, then by offset."""

    def place(item: Gap | RunRef) -> tuple[str, str, int, int, int, int]:
        offsets = item.offsets if isinstance(item, Gap) else item.coverage
        of = item.generation
        return of.topic, of.topic_id, of.partition, of.lineage, offsets.start, offsets.stop

    return sorted([*gaps, *runs], key=place)


Extension = tuple["GenerationState", Sequence[Gap | RunRef], int]
"""A history before a commit, what that adds to it, in offset order, and where the coverage ends behind it."""


def extensions(state: State, commit: Commit) -> list[Extension] | None:
    """What the commit adds to histories, each once. None unless it is certain that no rule of coverage is broken, and where
    it opens or closes any.
    """
    if commit.opened or commit.closed:
        return None
    found: dict[Generation, Extension] = {}
    generations = state.generations
    for of, items in _by_generation(commit).items():
        known = generations.get(of)
        if known is None or known.closed_at is not None:
            return None
        stop = _reached(known.next_offset, items)
        if stop is None:
            return None
        found[of] = known, items, stop
    if commit.point is not None and not _are_covered(state, commit.point.cuts, found):
        return None
    return list(found.values())


def _by_generation(commit: Commit) -> Mapping[Generation, Sequence[Gap | RunRef]]:
    """In offset order each. Most commits have one run of each, and no gap."""
    runs = [run for pack in commit.packs for run in pack.runs]
    single = {run.facts.generation: (run,) for run in runs}
    if not commit.gaps and len(single) == len(runs):
        return single
    gathered: dict[Generation, list[Gap | RunRef]] = {}
    items: list[Gap | RunRef] = [*commit.gaps, *runs]
    for item in items:
        gathered.setdefault(item.generation, []).append(item)
    for each in gathered.values():
        each.sort(key=_place)
    return gathered


def _reached(following: int, items: Sequence[Gap | RunRef]) -> int | None:
    """Where these end when they begin at `following` and join; None where they do not."""
    for item in items:
        offsets = item.offsets if isinstance(item, Gap) else item.facts.coverage
        if offsets.start != following or offsets.stop <= following:
            return None
        following = offsets.stop
    return following


def _place(item: Gap | RunRef) -> tuple[int, int]:
    offsets = item.offsets if isinstance(item, Gap) else item.coverage
    return offsets.start, offsets.stop


def _are_covered(state: State, cuts: tuple[PartitionCut, ...], extended: Mapping[Generation, Extension]) -> bool:
    """Whether each cut lies within the coverage of its history behind the commit, and no two are of one partition."""
    if len({(cut.generation.topic, cut.generation.partition) for cut in cuts}) != len(cuts):
        return False
    floors: Mapping[Generation, int] = state.floors
    for cut in cuts:
        known = state.generations.get(cut.generation)
        if known is None:
            return False
        extension = extended.get(cut.generation)
        stop = known.next_offset if extension is None else extension[2]
        if not known.start <= cut.start <= cut.stop <= stop:
            return False
        if floors and cut.start < floors.get(cut.generation, 0):
            return False
    return True

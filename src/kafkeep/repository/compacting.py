"""What a compaction does to the state: its rules, and its effect. Pure.

Runs get another location and stay what they are. The packs they leave keep everything they held until they are retired and
swept, so a reader of an older state goes on as if nothing had happened.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from kafkeep.model import Generation, RunFacts, RunRef
from kafkeep.repository.catalogue import PackEntry
from kafkeep.repository.changes import Compact, MovedRun
from kafkeep.repository.fold.rope import Rope
from kafkeep.repository.format import Commit
from kafkeep.repository.invalid import Invalid

if TYPE_CHECKING:
    from kafkeep.repository.state import GenerationState, State

_RUN_EXTRA: Final = 1024
_CHUNK_EXTRA: Final = 192
_LISTED_EXTRA: Final = 48
"""More than a run, each chunk of it, and each entry of the lists among its facts add to a pack besides the chunks."""

Location = tuple[str, int]
"""Pack, and number of the run in it."""


def most_bytes(facts: RunFacts, chunks: int) -> int:
    """What an existing run adds to a pack, at most: its chunks as stored, its header and its part of the footer."""
    listed = len(facts.aborted) + len(facts.open_transactions) + len(facts.leader_epochs)
    return facts.stored_bytes + _RUN_EXTRA + _CHUNK_EXTRA * chunks + _LISTED_EXTRA * listed


def check_pack(state: State, name: str, epoch: int) -> None:
    """A pack may be named once, and not when its epoch is so old that a sweep may have removed it. Raises `Invalid`."""
    if name in state.packs or name in state.swept:
        raise Invalid(f"pack {name} is named a second time")
    if not state.epoch - 1 <= epoch <= state.epoch:
        raise Invalid(f"pack {name} is of epoch {epoch}, the repository is at epoch {state.epoch}")


def movable(state: State, packs: Iterable[str]) -> dict[Location, RunRef]:
    """The runs of these packs that a compaction may name, by where they lie: none of a pack that a standing retirement
    names."""
    entries = [state.packs.get(name) for name in {*packs} - state.retired_packs()]
    return {(entry.name, run.index): run for entry in entries if entry is not None for run in entry.runs}


def check_compact(state: State, change: Compact) -> None:
    """Raises `Invalid` when the compaction breaks a rule after `state`."""
    if not change.packs:
        raise Invalid("a compaction of nothing")
    known = movable(state, _sources(change))
    names: set[str] = set()
    moved: set[Location] = set()
    for pack in change.packs:
        check_pack(state, pack.name, pack.epoch)
        indexes = [run.index for run in pack.runs]
        if pack.name in names or not indexes or indexes != sorted(set(indexes)):
            raise Invalid(f"pack {pack.name} or a run of it is named twice, or none of its runs is")
        names.add(pack.name)
        for run in pack.runs:
            if (run.pack, run.there) not in known or (run.pack, run.there) in moved:
                raise Invalid(f"run {run.there} of {run.pack} does not lie there, is retired, or is moved twice")
            moved.add((run.pack, run.there))


def still_there(state: State, runs: tuple[MovedRun, ...]) -> tuple[MovedRun, ...]:
    """Those of the rows that a compaction may name after `state`."""
    known = movable(state, (run.pack for run in runs))
    return tuple(run for run in runs if (run.pack, run.there) in known)


def compacted(state: State, commit: Commit, change: Compact) -> State:
    """The state after a valid compaction; the head is the caller's."""
    known = movable(state, _sources(change))
    moved: dict[Location, RunRef] = {}
    entries: list[PackEntry] = []
    for pack in change.packs:
        runs = []
        for row in pack.runs:
            run = replace(known[row.pack, row.there], pack=pack.name, index=row.index)
            moved[row.pack, row.there] = run
            runs.append(run)
        entries.append(PackEntry(pack.name, pack.size, pack.blake3, pack.epoch, commit.seq, Rope.of(runs)))
    relocated: dict[Generation, list[RunRef]] = {}
    for run in sorted(moved.values(), key=lambda run: run.coverage.start):
        relocated.setdefault(run.generation, []).append(run)
    generations = dict(state.generations)
    for generation in sorted(relocated):  # their histories lie on pages in this order
        generations[generation] = _relocated(generations[generation], relocated[generation])
    left = [entry for name in {pack for pack, _ in moved} if (entry := state.packs.get(name)) is not None]
    return replace(
        state,
        packs=state.packs.replaced(_without(entry, moved) for entry in left).extended(entries),
        generations=MappingProxyType(generations),
    )


def _sources(change: Compact) -> Iterator[str]:
    return (run.pack for pack in change.packs for run in pack.runs)


def _relocated(known: GenerationState, moved: Iterable[RunRef]) -> GenerationState:
    """The history with these of its runs where they lie from here on."""
    found = {}
    for run in moved:
        place = bisect_left(known.runs, run.coverage.start, key=lambda each: each.coverage.start)
        found[place] = (known.history[place][0], run)
    return replace(known, history=known.history.replaced(found))


def _without(entry: PackEntry, moved: Mapping[Location, RunRef]) -> PackEntry:
    runs = Rope.of(entry.runs)
    gone = [place for place, run in enumerate(runs) if (run.pack, run.index) in moved]
    return replace(entry, runs=runs.without(gone), moved=Rope.of(entry.moved).joined(runs.picked(gone)))

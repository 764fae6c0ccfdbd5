"""The rules that a commit is held against, the same for every writer and every reader. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from kafkeep.model import Gap, Generation, OffsetRange, PartitionCut
from kafkeep.records import dataclass
from kafkeep.repository.compacting import check_pack
from kafkeep.repository.extending import Extension, covering, extensions
from kafkeep.repository.format import Commit, CommittedPack
from kafkeep.repository.invalid import Invalid
from kafkeep.repository.keeping import check_change
from kafkeep.repository.state import State
from kafkeep.repository.topic_keys import check_runs


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the rules say of a commit that would follow a state."""

    reason: str | None
    """The rule that it breaks; None when it is valid."""
    extensions: Sequence[Extension] | None
    """What it adds to histories, where that is all that it does to them."""


def judge(state: State, commit: Commit) -> Judgement:
    """Holds the commit against the rules after `state` (docs/format.md, "Validity"); signatures are not looked at."""
    extended = extensions(state, commit) if commit.change is None else None
    return Judgement(validate(state, commit, coverage=extended is None), extended)


class Overlay:
    """What a commit would do to the generations, step by step, without touching the state.

    Each step raises `Invalid` and changes nothing when it breaks a rule, so that a writer may leave that step out.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._opened: dict[Generation, int] = {}
        self._opened_of: dict[tuple[str, int], list[Generation]] = {}
        """By topic and partition."""
        self._next: dict[Generation, int] = {}
        self._closed: set[Generation] = set()

    def is_open(self, generation: Generation) -> bool:
        known = self._state.generations.get(generation)
        is_open = generation in self._opened or (known is not None and known.open)
        return is_open and generation not in self._closed

    def next_offset(self, generation: Generation) -> int | None:
        if generation in self._next:
            return self._next[generation]
        known = self._state.generations.get(generation)
        return None if known is None else known.next_offset

    def start(self, generation: Generation) -> int | None:
        if generation in self._opened:
            return self._opened[generation]
        known = self._state.generations.get(generation)
        return None if known is None else known.start

    def open(self, generation: Generation, start: int) -> None:
        if generation in self._opened or generation in self._state.generations:
            raise Invalid(f"generation {generation} is opened a second time")
        self._opened[generation] = self._next[generation] = start
        self._opened_of.setdefault((generation.topic, generation.partition), []).append(generation)

    def cover(self, generation: Generation, offsets: OffsetRange) -> None:
        following = self.next_offset(generation)
        if following is None or not self.is_open(generation):
            raise Invalid(f"generation {generation} is not open")
        if not offsets or offsets.start != following:
            raise Invalid(f"coverage {offsets} of {generation} does not start at its next offset {following}")
        self._next[generation] = offsets.stop

    def close(self, generation: Generation) -> None:
        if not self.is_open(generation):
            raise Invalid(f"generation {generation} is closed without being open")
        self._closed.add(generation)

    def check_single(self) -> None:
        """At most one generation of a partition is open."""
        if len(self._opened_of) == len(self._opened) and self._state.latest.keys().isdisjoint(self._opened_of):
            return
        for generation in self._opened:
            if self.is_open(generation) and any(map(self.is_open, self._others(generation))):
                raise Invalid(f"two generations of {generation.topic_partition} would be open")

    def _others(self, generation: Generation) -> list[Generation]:
        """Of the same partition, as far as they may be open."""
        partition = generation.topic_partition
        latest = self._state.latest.get(partition)
        known = [*self._opened_of.get(partition, ()), *(() if latest is None else (latest,))]
        return [other for other in known if other != generation]

    def raised(self, cut: PartitionCut) -> PartitionCut:
        """The cut as it may begin: not in what was retired. A new leader may know of records that the old one had let go."""
        floors = self._state.floors
        floor = min(floors.get(cut.generation, 0), cut.stop) if floors else 0
        return cut if cut.start >= floor else replace(cut, start=floor)

    def check_cut(self, cut: PartitionCut) -> None:
        start, following = self.start(cut.generation), self.next_offset(cut.generation)
        if start is None or following is None:
            raise Invalid(f"cut of the unknown generation {cut.generation}")
        if not start <= cut.start <= cut.stop <= following:
            raise Invalid(
                f"cut [{cut.start}, {cut.stop}) of {cut.generation} is not within its coverage [{start}, {following})"
            )
        if cut.start < self._state.floors.get(cut.generation, 0):
            raise Invalid(f"cut [{cut.start}, {cut.stop}) of {cut.generation} begins in what was retired")


def validate(state: State, commit: Commit, *, coverage: bool = True) -> str | None:
    """The rule that this commit breaks after `state`, None when it is valid (docs/format.md, "Validity").

    Without `coverage` those are left out that `extending.extensions` holds it against.
    """
    try:
        _check_root(state, commit)
        if commit.change is not None:
            check_change(state, commit, commit.change)
        elif commit.kind != "init":
            _check_cluster(state, commit)
            _check_packs(state, commit.packs)
            check_runs(state, commit.topic_keys, (run for pack in commit.packs for run in pack.runs))
            if coverage:
                _check_generations(state, commit)
    except Invalid as broken:
        return str(broken)
    return None


def _check_root(state: State, commit: Commit) -> None:
    """Every commit names the root that stands, so that whoever reads one knows where to begin."""
    standing = None if state.root is None else state.root.number
    if commit.kind != "init" and commit.root != standing:
        raise Invalid(f"it names {_saved(commit.root)}, where {_saved(standing)} stands")


def _saved(root: int | None) -> str:
    return "no saved state" if root is None else f"the state saved by commit {root}"


def _check_cluster(state: State, commit: Commit) -> None:
    if not commit.cluster_id:
        raise Invalid("no cluster id")
    if state.cluster_id is not None and commit.cluster_id != state.cluster_id:
        raise Invalid(f"cluster {commit.cluster_id} writes into a repository of cluster {state.cluster_id}")


def _check_packs(state: State, packs: Iterable[CommittedPack]) -> None:
    names: set[str] = set()
    for pack in packs:
        check_pack(state, pack.name, pack.epoch)
        indexes = [run.index for run in pack.runs]
        if pack.name in names or not indexes or indexes != sorted(set(indexes)):
            raise Invalid(f"pack {pack.name} or a run of it is named twice, or none of its runs is")
        names.add(pack.name)


def _check_generations(state: State, commit: Commit) -> None:
    overlay = Overlay(state)
    for opened in commit.opened:
        overlay.open(opened.generation, opened.start)
    for item in covering(commit.gaps, (run for pack in commit.packs for run in pack.runs)):
        overlay.cover(item.generation, item.offsets if isinstance(item, Gap) else item.coverage)
    for closed in commit.closed:
        overlay.close(closed.generation)
    overlay.check_single()
    if commit.point is not None:
        partitions = {(cut.generation.topic, cut.generation.partition) for cut in commit.point.cuts}
        if len(partitions) != len(commit.point.cuts):
            raise Invalid("two cuts of one partition")
        for cut in commit.point.cuts:
            overlay.check_cut(cut)

"""The fold: what the commits up to a number say together. Pure.

`apply(state, slot)` gives the next state; the old one stays as it was. A commit that breaks a rule changes nothing but
the alarms, for every reader alike: slots are immutable, so a bad commit must not be able to block the log.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from operator import itemgetter
from types import MappingProxyType
from typing import Final

from kafkeep.errors import CorruptChain
from kafkeep.model import (
    Gap,
    Generation,
    OffsetRange,
    PartitionCut,
    RecoveryPoint,
    RunRef,
    TopicPartition,
)
from kafkeep.records import dataclass
from kafkeep.repository.catalogue import PackCatalogue, PackEntry
from kafkeep.repository.changes import Change, Pin, SaveState
from kafkeep.repository.compacting import check_pack
from kafkeep.repository.extending import Extension, covering, extensions
from kafkeep.repository.fold.codecs import Numbered
from kafkeep.repository.fold.rope import Mapped, Rope
from kafkeep.repository.fold.settling import Layers, settled
from kafkeep.repository.format import NO_COMMIT, Commit, CommittedPack, RepositoryDocument, Slot
from kafkeep.repository.invalid import Invalid
from kafkeep.repository.keeping import Retirement, changed, check_change
from kafkeep.repository.shared import Shared
from kafkeep.repository.topic_keys import KeyRing, check_runs, with_topic_keys
from kafkeep.repository.trust import TrustedKey, check_signature
from kafkeep.repository.views import PointView, view_of


@dataclass(frozen=True, slots=True)
class Alarm:
    """A commit that can be read and breaks a rule: it counts for nothing."""

    number: int
    digest: str
    reason: str

    def __str__(self) -> str:
        return f"commit {self.number} counts for nothing: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationState:
    """One history of one partition as far as the commits cover it: `[start, next_offset)` in runs and gaps."""

    generation: Generation
    start: int
    next_offset: int
    opened_at: int
    """Number of the commit that opened it."""
    opened_time: str
    """When the work behind that commit began."""
    opened_why: str
    closed_at: int | None = None
    closed_why: str | None = None
    history: Rope[Numbered] = field(default_factory=Rope)
    """The runs in offset order, each with the number of its commit."""
    gaps: Shared[Gap] = field(default_factory=Shared)
    """In offset order."""
    gap_numbers: Shared[int] = field(default_factory=Shared)

    @property
    def open(self) -> bool:
        return self.closed_at is None

    @property
    def runs(self) -> Sequence[RunRef]:
        """In offset order; those that lie on pages are read when they are asked for."""
        return Mapped(self.history, _RUN)

    @property
    def run_numbers(self) -> Sequence[int]:
        """The commit of each run."""
        return Mapped(self.history, _NUMBER)

    def runs_at(self, number: int, offsets: OffsetRange) -> Sequence[RunRef]:
        """The runs that commits up to `number` brought and that overlap `offsets`, in offset order."""
        if not offsets or not self.history:
            return ()
        stop, newest = len(self.history), self.history.known_last
        # what a newest point holds ends with the last run, which is at hand
        if newest is None or newest[0] > number or newest[1].coverage.start >= offsets.stop:
            last = bisect_right(self.run_numbers, number)
            stop = bisect_right(self.runs, offsets.stop - 1, 0, last, key=lambda run: run.coverage.start)
        first = 0
        if offsets.start > self.start:
            first = bisect_right(self.runs, offsets.start, 0, stop, key=lambda run: run.coverage.stop)
        return self.runs[first:stop]

    def gaps_at(self, number: int, offsets: OffsetRange) -> tuple[Gap, ...]:
        """The gaps that commits up to `number` brought and that overlap `offsets`, in offset order."""
        known = self.gaps[: bisect_right(self.gap_numbers, number)]
        return tuple(gap for gap in known if gap.offsets.intersection(offsets) is not None)


_NUMBER: Final = itemgetter(0)
_RUN: Final = itemgetter(1)


@dataclass(frozen=True, slots=True)
class RootRef:
    """Where a saved state lies."""

    number: int
    """Of its `state` commit; it is what the commits below that say."""
    document: str
    """64 hexadecimal digits: digest of the root document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The fold up to commit `head`. Never changes; -1 and `EMPTY` before the first commit."""

    head: int = -1
    head_digest: str = NO_COMMIT
    epoch: int = 0
    cluster_id: str | None = None
    repository: RepositoryDocument | None = None
    generations: Mapping[Generation, GenerationState] = field(default_factory=lambda: MappingProxyType({}))
    latest: Mapping[TopicPartition, Generation] = field(default_factory=lambda: MappingProxyType({}))
    """The generation opened last of each partition."""
    points: Shared[RecoveryPoint] = field(default_factory=Shared)
    """Those that are not retired, oldest first."""
    packs: PackCatalogue = field(default_factory=PackCatalogue)
    """Those that are not swept."""
    alarms: Shared[Alarm] = field(default_factory=Shared)
    retirements: Mapping[int, Retirement] = field(default_factory=lambda: MappingProxyType({}))
    """By the numbers of their commits; those taken back or swept are no longer in it."""
    swept: frozenset[str] = frozenset()
    """Packs that may be deleted, or are."""
    pins: Mapping[int, Pin] = field(default_factory=lambda: MappingProxyType({}))
    """By the numbers of their points."""
    floors: Mapping[Generation, int] = field(default_factory=lambda: MappingProxyType({}))
    """Nothing that was ever retired of a generation reaches beyond this offset; no point to come begins below it."""
    keys: KeyRing = field(default_factory=KeyRing)
    """Of an encrypted repository."""
    trusted: tuple[TrustedKey, ...] = ()
    """Whose signatures count, in a repository whose commits are signed."""
    root: RootRef | None = None
    """The state that was saved last."""
    layers: Layers = field(default_factory=Layers, compare=False, repr=False)
    """Where that lies which is not in memory; no part of what the commits say."""

    @property
    def runs(self) -> int:
        """How many there are."""
        return sum(len(known.history) for known in self.generations.values())

    def latest_generation(self, topic_partition: TopicPartition) -> GenerationState | None:
        """The generation opened last for this partition, open or closed; None when it was never seen."""
        generation = self.latest.get(topic_partition)
        return None if generation is None else self.generations[generation]

    def retired_packs(self) -> frozenset[str]:
        """Packs that no point needs, and that can still be had back."""
        return frozenset[str]().union(*(retirement.packs for retirement in self.retirements.values()))

    def view(self, point: RecoveryPoint) -> PointView:
        """The content of a point of this state: only what commits up to its number brought."""
        return view_of(self.generations, point)


EMPTY = State()


class Overlay:
    """What a commit would do to the generations, step by step, without touching the state.

    Each step raises `Invalid` and changes nothing when it breaks a rule, so that a writer may leave that step out.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._opened: dict[Generation, int] = {}
        self._opened_of: dict[TopicPartition, list[Generation]] = {}
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
        if self.start(generation) is not None:
            raise Invalid(f"generation {generation} is opened a second time")
        self._opened[generation] = self._next[generation] = start
        self._opened_of.setdefault(generation.topic_partition, []).append(generation)

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

    def check_single(self, generation: Generation) -> None:
        """At most one generation of a partition is open."""
        if not self.is_open(generation):
            return
        others = list(self._opened_of.get(generation.topic_partition, ()))
        latest = self._state.latest.get(generation.topic_partition)
        if latest is not None:
            others.append(latest)
        if any(other != generation and self.is_open(other) for other in others):
            raise Invalid(f"two generations of {generation.topic_partition} would be open")

    def raised(self, cut: PartitionCut) -> PartitionCut:
        """The cut as it may begin: not in what was retired. A new leader may know of records that the old one had let go."""
        floor = min(self._state.floors.get(cut.generation, 0), cut.stop)
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
    for opened in commit.opened:
        overlay.check_single(opened.generation)
    if commit.point is not None:
        partitions = [cut.generation.topic_partition for cut in commit.point.cuts]
        if len(set(partitions)) != len(partitions):
            raise Invalid("two cuts of one partition")
        for cut in commit.point.cuts:
            overlay.check_cut(cut)


def _unsigned(state: State, slot: Slot) -> str | None:
    """What its signature lacks, None when it lacks nothing or none is needed."""
    try:
        check_signature(state, slot)
    except Invalid as broken:
        return str(broken)
    return None


def apply(state: State, slot: Slot) -> State:
    """The state after one more slot. Raises `CorruptChain` when the slot is not the next one."""
    return fold(state, (slot,))


def fold(state: State, slots: Iterable[Slot]) -> State:
    """The state after these slots, in order. Costs what the slots hold, plus one copy of the table of generations."""
    folder = _Folder(state)
    for slot in slots:
        folder.apply(slot)
    return folder.state


class _Folder:
    """Owns its tables while it folds; `state` is a frozen view that only later folds of the same run still write to."""

    def __init__(self, state: State) -> None:
        self._generations = dict(state.generations)
        self._latest = dict(state.latest)
        self.state = replace(
            state, generations=MappingProxyType(self._generations), latest=MappingProxyType(self._latest)
        )

    def apply(self, slot: Slot) -> None:
        self._apply(slot)
        self.state = replace(self.state, layers=self.state.layers.after(slot.commit))
        if self.state.layers.loose >= self.state.layers.limits.loose:
            self._take(settled(self.state))

    def _take(self, following: State) -> None:
        self._generations = dict(following.generations)
        self.state = replace(following, generations=MappingProxyType(self._generations))

    def _apply(self, slot: Slot) -> None:
        state = self.state
        if slot.seq != state.head + 1:
            raise CorruptChain(f"commit {slot.seq} where commit {state.head + 1} belongs")
        commit, reason, extended = slot.commit, slot.defect, None
        if commit is not None:
            extended = extensions(state, commit) if commit.change is None else None
            reason = _unsigned(state, slot) or validate(state, commit, coverage=extended is None)
        if slot.seq == 0 and (commit is None or reason is not None):
            raise CorruptChain(f"commit 0 does not begin a repository: {reason}")
        head = {"head": slot.seq, "head_digest": slot.digest}
        if commit is None or reason is not None:
            alarm = Alarm(slot.seq, slot.digest, reason or "no commit")
            self.state = replace(state, **head, alarms=state.alarms.extended([alarm]))  # type: ignore[arg-type]
            return
        if commit.kind == "init":
            encryption = None if commit.repository is None else commit.repository.encryption
            keys = KeyRing() if encryption is None else KeyRing(recipients=encryption.recipients)
            admins = () if commit.repository is None else commit.repository.admins
            self.state = replace(
                state,
                **head,  # type: ignore[arg-type]
                repository=commit.repository,
                keys=keys,
                trusted=admins,
            )
            return
        if isinstance(commit.change, SaveState):
            saved = RootRef(slot.seq, commit.change.document)
            self.state = replace(state, **head, root=saved)  # type: ignore[arg-type]
            return
        if commit.change is not None:
            self._apply_change(commit, commit.change, head)
            return
        if extended is None:
            self._apply_generations(commit)
        else:
            self._extend(commit.seq, extended)
        entries = [PackEntry(p.name, p.size, p.blake3, p.epoch, commit.seq, Rope.of(p.runs)) for p in commit.packs]
        point = recovery_point(commit)
        self.state = replace(
            state,
            head=slot.seq,
            head_digest=slot.digest,
            cluster_id=commit.cluster_id,
            packs=state.packs.extended(entries),
            points=state.points if point is None else state.points.extended([point]),
            keys=with_topic_keys(state.keys, commit.topic_keys),
        )

    def _apply_change(self, commit: Commit, change: Change, head: Mapping[str, object]) -> None:
        self._take(replace(changed(self.state, commit, change), **head))  # type: ignore[arg-type]

    def _extend(self, number: int, extended: Iterable[Extension]) -> None:
        for known, items, _ in extended:
            following = known
            for item in items:
                following = _covered(following, item, number)
            self._generations[known.generation] = following

    def _apply_generations(self, commit: Commit) -> None:
        for opened in commit.opened:
            generation = opened.generation
            self._generations[generation] = GenerationState(
                generation=generation,
                start=opened.start,
                next_offset=opened.start,
                opened_at=commit.seq,
                opened_time=commit.started,
                opened_why=opened.why,
            )
            self._latest[generation.topic_partition] = generation
        for item in covering(commit.gaps, (run for pack in commit.packs for run in pack.runs)):
            self._generations[item.generation] = _covered(self._generations[item.generation], item, commit.seq)
        for closed in commit.closed:
            known = self._generations[closed.generation]
            self._generations[closed.generation] = replace(known, closed_at=commit.seq, closed_why=closed.why)


def _covered(known: GenerationState, item: Gap | RunRef, number: int) -> GenerationState:
    if isinstance(item, Gap):
        return replace(
            known,
            next_offset=item.offsets.stop,
            gaps=known.gaps.extended([item]),
            gap_numbers=known.gap_numbers.extended([number]),
        )
    # `replace` takes twice as long, and this is done for every run of every commit
    return GenerationState(
        generation=known.generation,
        start=known.start,
        next_offset=item.facts.coverage.stop,
        opened_at=known.opened_at,
        opened_time=known.opened_time,
        opened_why=known.opened_why,
        closed_at=known.closed_at,
        closed_why=known.closed_why,
        history=known.history.extended([(number, item)]),
        gaps=known.gaps,
        gap_numbers=known.gap_numbers,
    )


def recovery_point(commit: Commit) -> RecoveryPoint | None:
    """The recovery point that a valid commit names, None when it names none."""
    body = commit.point
    if body is None or commit.cluster_id is None:
        return None
    return RecoveryPoint(
        number=commit.seq,
        name=body.name,
        tags=body.tags,
        started=commit.started,
        finished=commit.finished,
        cluster_id=commit.cluster_id,
        cuts=body.cuts,
        selection=body.selection,
        documents=body.documents,
        consistency=body.consistency,
        complete=body.complete,
        failures=body.failures,
        signer=None if commit.signature is None else commit.signature.key,
    )

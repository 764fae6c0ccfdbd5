"""A log out of packs alone: which runs make up each history, in which commits they can be named, and what is left over. Pure.

Footers say what a commit would say of runs: generation, coverage, facts. They do not say which of two packs counted, why
offsets are missing, or when a history ended: the first is decided by coverage, the second becomes a gap that says so, the
third follows from what came after it. Runs that nobody can open any more count as little as no run, but say why.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Final

from kafkeep.model import (
    Failure,
    Gap,
    Generation,
    GenerationClosed,
    GenerationOpened,
    OffsetRange,
    PackRef,
    RunRef,
    TopicPartition,
)
from kafkeep.records import dataclass
from kafkeep.repository.names import parse_pack_name
from kafkeep.repository.state import State
from kafkeep.repository.topic_keys import RecipientEntry, TopicKey

UNACCOUNTED: Final = "unaccounted"
"""Reason of a gap that no pack answers for, in a log that does not know why."""
PIECES: Final = 5000
"""Runs, gaps and openings of one commit, unless they cannot be parted."""
_EVIDENCE: Final = "no pack answers for these offsets, and the log that told why is lost"


@dataclass(frozen=True, slots=True)
class Lost:
    """What runs become that nobody can open: gaps of this reason."""

    reason: str
    evidence: str


_NOTHING_LOST: Final[Mapping[str, Lost]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class PackPart(PackRef):
    """A pack of which only some runs count."""

    taken: tuple[int, ...] = ()

    def run_refs(self) -> tuple[RunRef, ...]:
        every = PackRef.run_refs(self)
        return tuple(every[index] for index in self.taken)


@dataclass(frozen=True, slots=True)
class LeftOver:
    """A run that stays unnamed."""

    pack: str
    index: int
    generation: Generation
    coverage: OffsetRange
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStep:
    """A commit to be."""

    epoch: int
    """What the state's epoch has to be raised to before it."""
    packs: tuple[PackPart, ...]
    stale: tuple[PackPart, ...]
    """Packs whose epoch is over by then: their runs go into a new pack first."""
    gaps: tuple[Gap, ...]
    opened: tuple[GenerationOpened, ...]
    closed: tuple[GenerationClosed, ...]


@dataclass(frozen=True, slots=True)
class LockedKey:
    """A topic key that lies wrapped, and that the identity at hand does not open."""

    key: str
    topic: str
    why: str
    others: tuple[str, ...]
    """Ids of recipients that it lies wrapped for, the identity's own left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPlan:
    """What becomes of the keys of an encrypted repository."""

    topic_keys: tuple[TopicKey, ...] = ()
    """Those that the commits to be bring."""
    gone: tuple[tuple[str, str], ...] = ()
    """(id, topic) of keys that lie wrapped for nobody any more: their runs become gaps."""
    locked: tuple[LockedKey, ...] = ()
    """Keys that were left out because the identity does not open them: their runs become gaps, too."""
    added: tuple[RecipientEntry, ...] = ()
    """Recipients that the log does not name and whose identity is at hand."""
    removed: tuple[RecipientEntry, ...] = ()
    """Recipients that the log names and that the metadata key is not wrapped for: they were removed in a lost commit."""
    unknown: tuple[str, ...] = ()
    """Ids of others that the metadata key lies wrapped for: recipients once, whose public keys nothing tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildPlan:
    repository: str
    source: str
    target: str
    broken: str
    """What is wrong with the log."""
    kept: int
    """The newest commit that is kept as it is, -1 for none."""
    begins: int = 0
    """From this one on up to it all are there: it saved a state, or is commit 0; before it only milestones are kept."""
    cluster_id: str
    metadata: str | None
    """Digest of the document of topics and groups that the recovery point will name."""
    metadata_why: str
    steps: tuple[LogStep, ...]
    over: tuple[LeftOver, ...]
    unnamed: tuple[str, ...]
    """Packs of which no run counts: left behind by writers that died, or copied into others."""
    failures: tuple[Failure, ...]
    """Objects that could not be read."""
    keys: KeyPlan = KeyPlan()
    signed: bool = False
    """Whether commits are signed: whom lost commits trusted or distrusted, nothing else tells."""
    made: int | None = None
    """Number of the recovery point, where an earlier rebuild has come that far."""
    done: bool = False
    """The target has been built to its end already."""

    @property
    def packs(self) -> tuple[PackPart, ...]:
        return tuple(pack for step in self.steps for pack in (*step.packs, *step.stale))

    @property
    def gaps(self) -> tuple[Gap, ...]:
        return tuple(gap for step in self.steps for gap in step.gaps)


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildResult:
    plan: RebuildPlan
    point: int
    """Number of the recovery point `rebuilt`."""
    head: int
    packs: int
    rewritten: int
    """Packs whose runs went into new ones."""
    failures: tuple[Failure, ...]


def pack_order(pack: PackRef) -> tuple[int, str]:
    """Earlier ones first: by epoch, then by the time in the name."""
    parsed = parse_pack_name(pack.name)
    return (pack.epoch, "" if parsed is None else parsed.ulid)


@dataclass(frozen=True, slots=True)
class _Candidate:
    rank: int
    """Place of its pack among all, earlier ones first."""
    pack: PackRef
    index: int
    generation: Generation
    coverage: OffsetRange
    lost: Lost | None = None
    """Why nobody can open it; the coverage is then what others do not answer for."""

    @property
    def place(self) -> tuple[int, int, int]:
        return self.rank, self.index, self.coverage.start


def plan_steps(
    base: State,
    packs: Iterable[PackRef],
    *,
    only_young: bool,
    time: str,
    lost: Mapping[str, Lost] = _NOTHING_LOST,
) -> tuple[tuple[LogStep, ...], tuple[LeftOver, ...]]:
    """The commits behind `base` that name what `packs` hold beyond it, and the runs that are left over.

    `only_young`: a pack whose epoch was over when the log of `base` ended counted for nothing then. `lost`: topic keys that
    open for nobody; of what was sealed for them only the coverage counts.
    """
    known = [pack for pack in packs if pack.name not in base.packs and pack.name not in base.swept]
    ordered = sorted(known, key=pack_order)
    over: list[LeftOver] = []
    candidates: dict[Generation, list[_Candidate]] = {}
    for rank, pack in enumerate(ordered):
        for run in pack.run_refs():
            why = None if run.key is None else lost.get(run.key)
            one = _Candidate(rank, pack, run.index, run.generation, run.coverage, why)
            if only_young and pack.epoch < base.epoch - 1:
                over.append(_left_over(one, "no commit could name its pack any more"))
            else:
                candidates.setdefault(run.generation, []).append(one)
    chosen: dict[Generation, list[_Candidate]] = {}
    for generation, some in candidates.items():
        taken, others = _chosen(base, generation, some)
        over += others
        if taken:
            chosen[generation] = taken
    steps = _Steps(base, ordered, _tracks(base, chosen), time).all()
    return steps, tuple(sorted(over, key=lambda each: (each.generation, each.coverage.start, each.pack, each.index)))


def _left_over(one: _Candidate, why: str) -> LeftOver:
    return LeftOver(one.pack.name, one.index, one.generation, one.coverage, why)


def _chosen(base: State, generation: Generation, some: Sequence[_Candidate]) -> tuple[list[_Candidate], list[LeftOver]]:
    """Of runs that overlap those that together cover most; of equals the earliest. Between and behind them those that
    nobody can open, cut to what nothing else answers for."""
    known = base.generations.get(generation)
    over: list[LeftOver] = []
    able: list[_Candidate] = []
    dead: list[_Candidate] = []
    seen: dict[OffsetRange, _Candidate] = {}
    for one in sorted(some, key=lambda one: one.rank):
        if known is not None and not known.open:
            over.append(_left_over(one, "its history is closed"))
        elif known is not None and _covered(one, known.next_offset):
            over.append(_left_over(one, "the log covers these offsets already"))
        elif not one.coverage:
            over.append(_left_over(one, "it covers nothing"))
        elif one.lost is not None:
            over.append(_left_over(one, one.lost.evidence))
            dead.append(one)
        elif one.coverage in seen:
            over.append(_left_over(one, f"pack {seen[one.coverage].pack.name} holds the same offsets"))
        else:
            seen[one.coverage] = one
            able.append(one)
    taken = _covering_most(able)
    names = {(one.pack.name, one.index) for one in taken}
    over += [
        _left_over(one, "others that overlap it cover more together")
        for one in able
        if (one.pack.name, one.index) not in names
    ]
    reached = None if known is None else known.next_offset
    return sorted([*taken, *_between(taken, dead, reached)], key=lambda one: one.coverage.start), over


def _covered(one: _Candidate, reached: int) -> bool:
    """A run is named whole or not at all; of one that nobody can open any rest tells something."""
    return (one.coverage.start if one.lost is None else one.coverage.stop - 1) < reached


def _between(taken: Sequence[_Candidate], dead: Sequence[_Candidate], reached: int | None) -> Iterator[_Candidate]:
    """What only runs answer for that nobody can open, in pieces that do not overlap."""
    busy = [one.coverage for one in taken]
    if reached is not None:
        busy.append(OffsetRange(0, reached))
    for one in dead:
        for piece in _less(one.coverage, busy):
            yield replace(one, coverage=piece)
            busy.append(piece)


def _less(whole: OffsetRange, parts: Iterable[OffsetRange]) -> Iterator[OffsetRange]:
    start = whole.start
    for part in sorted(parts, key=lambda part: part.start):
        if part.start >= whole.stop:
            break
        if part.start > start:
            yield OffsetRange(start, part.start)
        start = max(start, part.stop)
    if start < whole.stop:
        yield OffsetRange(start, whole.stop)


def _covering_most(able: Sequence[_Candidate]) -> list[_Candidate]:
    """Weighted intervals: the best of those that end at or before each end."""
    ordered = sorted(able, key=lambda one: (one.coverage.stop, one.coverage.start))
    stops = [one.coverage.stop for one in ordered]
    best: list[tuple[int, int]] = [(0, 0)]
    took: list[int] = []
    for at, one in enumerate(ordered):
        before = bisect_right(stops, one.coverage.start, 0, at)
        with_it = (best[before][0] + len(one.coverage), best[before][1] - one.rank)
        took.append(before if with_it > best[at] else -1)
        best.append(max(with_it, best[at]))
    found: list[_Candidate] = []
    at = len(ordered)
    while at:
        if took[at - 1] < 0:
            at -= 1
        else:
            found.append(ordered[at - 1])
            at = took[at - 1]
    return found[::-1]


def _tracks(
    base: State, chosen: Mapping[Generation, list[_Candidate]]
) -> dict[TopicPartition, list[tuple[Generation, list[_Candidate]]]]:
    """The histories of each partition one after the other: what the log has open first, then topics in the order of their
    first packs, lineages as they count."""
    found: dict[TopicPartition, list[tuple[Generation, list[_Candidate]]]] = {}
    for generation, runs in chosen.items():
        found.setdefault(generation.topic_partition, []).append((generation, runs))
    for histories in found.values():
        first: dict[str, int] = {}
        for generation, runs in histories:
            rank = min(one.rank for one in runs)
            first[generation.topic_id] = min(rank, first.get(generation.topic_id, rank))
        histories.sort(key=lambda item: (item[0] not in base.generations, first[item[0].topic_id], item[0].lineage))
    return found


class _Steps:
    """Parts the packs into commits so that every run begins where the one before it in its history ends."""

    def __init__(
        self,
        base: State,
        ordered: Sequence[PackRef],
        tracks: Mapping[TopicPartition, list[tuple[Generation, list[_Candidate]]]],
        time: str,
    ) -> None:
        self._base = base
        self._ordered = ordered
        self._time = time
        self._runs: dict[int, list[_Candidate]] = {}
        self._before: dict[int, set[int]] = {}
        self._gaps: dict[tuple[int, int, int], list[Gap]] = {}
        self._opened: dict[tuple[int, int, int], GenerationOpened] = {}
        self._closed: dict[tuple[int, int, int], GenerationClosed] = {}
        for histories in tracks.values():
            self._walk(histories)

    def _walk(self, histories: list[tuple[Generation, list[_Candidate]]]) -> None:
        before: int | None = None
        latest = self._base.latest_generation(histories[0][0].topic_partition)
        open_now = latest.generation if latest is not None and latest.open else None
        for generation, runs in histories:
            known = self._base.generations.get(generation)
            reached = runs[0].coverage.start if known is None else known.next_offset
            if known is None:
                first = runs[0].place
                self._opened[first] = GenerationOpened(generation, reached, _why(open_now, generation))
                if open_now is not None:
                    self._closed[first] = GenerationClosed(open_now, _why(open_now, generation))
                open_now = generation
            for one in runs:
                if one.coverage.start > reached:
                    hole = OffsetRange(reached, one.coverage.start)
                    self._gap(one, hole, Lost(UNACCOUNTED, _EVIDENCE))
                if one.lost is not None:
                    self._gap(one, one.coverage, one.lost)
                self._runs.setdefault(one.rank, []).append(one)
                if before is not None:
                    self._before.setdefault(one.rank, set()).add(before)
                before, reached = one.rank, one.coverage.stop

    def _gap(self, at: _Candidate, offsets: OffsetRange, why: Lost) -> None:
        """In the commit that names the pack of `at`."""
        made = Gap(at.generation, offsets, why.reason, why.evidence, self._time)
        self._gaps.setdefault(at.place, []).append(made)

    def all(self) -> tuple[LogStep, ...]:
        steps: list[LogStep] = []
        done: set[int] = set()
        group: list[int] = []
        epoch = self._base.epoch
        for rank in sorted(self._runs):
            if rank in done:
                continue
            more = self._closure(rank, done)
            done |= set(more)
            needed = max(epoch, *(self._ordered[each].epoch for each in more))
            if group and (needed > epoch or self._pieces(group) + self._pieces(more) > PIECES):
                steps.append(self._step(group, epoch))
                group = []
            epoch = needed
            group += more
        if group:
            steps.append(self._step(group, epoch))
        return tuple(steps)

    def _closure(self, rank: int, done: set[int]) -> list[int]:
        """The pack and all that must be named before it or with it."""
        found: set[int] = set()
        waiting = [rank]
        while waiting:
            one = waiting.pop()
            if one not in found and one not in done:
                found.add(one)
                waiting += self._before.get(one, ())
        return sorted(found)

    def _pieces(self, ranks: Iterable[int]) -> int:
        return sum(3 * len(self._runs[rank]) for rank in ranks)

    def _step(self, ranks: Sequence[int], epoch: int) -> LogStep:
        runs = [one.place for rank in ranks for one in self._runs[rank]]
        parts = [part for rank in sorted(ranks) if (part := self._part(rank)).taken]
        return LogStep(
            epoch=epoch,
            packs=tuple(part for part in parts if part.epoch >= epoch - 1),
            stale=tuple(part for part in parts if part.epoch < epoch - 1),
            gaps=tuple(gap for run in runs for gap in self._gaps.get(run, ())),
            opened=tuple(self._opened[run] for run in runs if run in self._opened),
            closed=tuple(self._closed[run] for run in runs if run in self._closed),
        )

    def _part(self, rank: int) -> PackPart:
        pack = self._ordered[rank]
        taken = tuple(sorted(one.index for one in self._runs[rank] if one.lost is None))
        return PackPart(**{each.name: getattr(pack, each.name) for each in fields(pack)}, taken=taken)


def _why(before: Generation | None, generation: Generation) -> str:
    if before is None:
        return "first-seen"
    return "truncated" if before.topic_id == generation.topic_id else "recreated"

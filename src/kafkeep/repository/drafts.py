"""What a writer wants to commit, what of it still fits after a lost race, and what became of it. Pure."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter

from kafkeep.errors import WrongCluster
from kafkeep.model import (
    Failure,
    Gap,
    GenerationClosed,
    GenerationOpened,
    OffsetRange,
    PackRef,
    PartitionCut,
    RecoveryPoint,
    RunRef,
)
from kafkeep.records import dataclass
from kafkeep.repository.changes import Pin, Retire, SaveState
from kafkeep.repository.compacting import check_pack
from kafkeep.repository.extending import covering
from kafkeep.repository.format import Commit, CommittedPack, PointBody
from kafkeep.repository.invalid import Invalid
from kafkeep.repository.rules import Overlay
from kafkeep.repository.state import RootRef, State
from kafkeep.repository.topic_keys import TopicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class PointDraft:
    """A recovery point to be: what `model.RecoveryPoint` holds besides what the commit itself says."""

    name: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    cuts: tuple[PartitionCut, ...]
    selection: tuple[str, ...] = ()
    documents: tuple[tuple[str, str], ...] = ()
    consistency: str = "partition"
    complete: bool = True
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A commit to be. Its packs are durable already."""

    kind: str = "add"
    """`add`, or `recovery-point` when it brings a point."""
    cluster_id: str
    started: str
    """RFC 3339, UTC: when the work behind it began."""
    packs: tuple[PackRef, ...] = ()
    gaps: tuple[Gap, ...] = ()
    opened: tuple[GenerationOpened, ...] = ()
    closed: tuple[GenerationClosed, ...] = ()
    point: PointDraft | None = None
    topic_keys: tuple[TopicKey, ...] = ()
    """Keys that no commit tells of yet; those that its packs were not sealed under are left out."""

    def __post_init__(self) -> None:
        if self.kind != ("add" if self.point is None else "recovery-point"):
            raise ValueError(f"a draft of kind {self.kind!r} {'without' if self.point is None else 'with'} a point")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitOutcome:
    """What was committed of a draft; `number` is None when nothing of it was left to commit."""

    number: int | None
    commit: Commit | None
    accepted_runs: tuple[RunRef, ...]
    dropped_runs: tuple[RunRef, ...]
    point: RecoveryPoint | None
    """None when the draft had none or its cuts are not covered."""

    @property
    def point_number(self) -> int | None:
        return None if self.point is None else self.point.number


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """The part of a draft that is valid after a state."""

    packs: tuple[CommittedPack, ...]
    gaps: tuple[Gap, ...]
    opened: tuple[GenerationOpened, ...]
    closed: tuple[GenerationClosed, ...]
    point: PointBody | None
    dropped_runs: tuple[RunRef, ...]
    topic_keys: tuple[TopicKey, ...] = ()

    @property
    def empty(self) -> bool:
        return not (self.packs or self.gaps or self.opened or self.closed or self.point)


def fit(state: State, draft: Draft) -> Fitted:
    """Drop from the draft, piece by piece, what `state` no longer has room for. Raises `WrongCluster`.

    A run fits when its coverage starts at its generation's next offset; it is taken whole or not at all. A gap that was
    covered in part keeps its rest. A point fits when all its cuts are covered.
    """
    if state.cluster_id is not None and draft.cluster_id != state.cluster_id:
        raise WrongCluster(f"this repository holds cluster {state.cluster_id}, not {draft.cluster_id}")
    overlay = Overlay(state)
    opened = _fit_opened(state, draft, overlay)
    candidates = [pack for pack in draft.packs if _pack_fits(state, pack)]
    known = {*state.keys.topic_keys, *(key.id for key in draft.topic_keys)}
    candidate_runs = [run for pack in candidates for run in pack.run_refs() if run.key is None or run.key in known]
    gaps, kept = _fit_coverage(overlay, draft.gaps, candidate_runs)
    packs = tuple(
        CommittedPack(pack.name, pack.size, pack.blake3, pack.epoch, runs)
        for pack in candidates
        if (runs := tuple(run for run in pack.run_refs() if (run.pack, run.index) in kept))
    )
    used = {run.key for pack in packs for run in pack.runs}
    everything = (run for pack in draft.packs for run in pack.run_refs())
    return Fitted(
        packs=packs,
        gaps=gaps,
        opened=opened,
        closed=_fit_closed(overlay, draft.closed),
        point=_fit_point(overlay, draft.point),
        dropped_runs=tuple(run for run in everything if (run.pack, run.index) not in kept),
        topic_keys=tuple(key for key in draft.topic_keys if key.id in used and key.id not in state.keys.topic_keys),
    )


def _pack_fits(state: State, pack: PackRef) -> bool:
    try:
        check_pack(state, pack.name, pack.epoch)
    except Invalid:
        return False
    return True


def _fit_opened(state: State, draft: Draft, overlay: Overlay) -> tuple[GenerationOpened, ...]:
    """Those that are new, and whose partition has no other generation that stays open."""
    closing = {closed.generation for closed in draft.closed}
    fitting: list[GenerationOpened] = []
    for opened in draft.opened:
        latest = state.latest_generation(opened.generation.topic_partition)
        if latest is not None and latest.open and latest.generation not in closing:
            continue
        try:
            overlay.open(opened.generation, opened.start)
        except Invalid:
            continue
        fitting.append(opened)
    return tuple(fitting)


def _fit_coverage(
    overlay: Overlay, gaps: tuple[Gap, ...], runs: list[RunRef]
) -> tuple[tuple[Gap, ...], set[tuple[str, int]]]:
    kept_gaps: list[Gap] = []
    kept_runs: set[tuple[str, int]] = set()
    for item in covering(gaps, runs):
        fitting = _trimmed(overlay, item) if isinstance(item, Gap) else item
        try:
            overlay.cover(fitting.generation, fitting.offsets if isinstance(fitting, Gap) else fitting.coverage)
        except Invalid:
            continue
        if isinstance(fitting, Gap):
            kept_gaps.append(fitting)
        else:
            kept_runs.add((fitting.pack, fitting.index))
    return tuple(kept_gaps), kept_runs


def _trimmed(overlay: Overlay, gap: Gap) -> Gap:
    following = overlay.next_offset(gap.generation)
    if following is None or not gap.offsets.start < following < gap.offsets.stop:
        return gap
    return Gap(gap.generation, OffsetRange(following, gap.offsets.stop), gap.reason, gap.evidence, gap.time)


def _fit_closed(overlay: Overlay, closed: tuple[GenerationClosed, ...]) -> tuple[GenerationClosed, ...]:
    fitting: list[GenerationClosed] = []
    for item in closed:
        try:
            overlay.close(item.generation)
        except Invalid:
            continue
        fitting.append(item)
    return tuple(fitting)


def _fit_point(overlay: Overlay, point: PointDraft | None) -> PointBody | None:
    if point is None:
        return None
    cuts = [overlay.raised(cut) for cut in point.cuts]
    try:
        for cut in cuts:
            overlay.check_cut(cut)
    except Invalid:
        return None
    return PointBody(
        name=point.name,
        tags=point.tags,
        cuts=tuple(sorted(cuts, key=attrgetter("generation"))),
        selection=point.selection,
        documents=point.documents,
        consistency=point.consistency,
        complete=point.complete,
        failures=point.failures,
    )


def commit_of(head: Commit, draft: Draft, fitted: Fitted) -> Commit:
    """What fits of the draft, as the commit that begins as `head` does."""
    return replace(
        head,
        kind="add" if fitted.point is None else "recovery-point",
        cluster_id=draft.cluster_id,
        packs=fitted.packs,
        gaps=fitted.gaps,
        opened=fitted.opened,
        closed=fitted.closed,
        point=fitted.point,
        topic_keys=fitted.topic_keys,
    )


def brought(state: State, commit: Commit) -> bool:
    """Whether the state, which was not folded over this very commit, shows that it counted: False where that cannot be told.

    A commit number has one winner, so whatever the state has of this number and this content is of this commit.
    """
    point = commit.point
    if point is not None:
        return any(
            (known.number, known.name, known.started, known.finished)
            == (commit.seq, point.name, commit.started, commit.finished)
            for known in state.points
        )
    if commit.change is not None:
        return _changed_by(state, commit)
    entries = (state.packs.get(pack.name) for pack in commit.packs)
    if any(entry is not None and entry.number == commit.seq for entry in entries):
        return True
    histories = (state.generations.get(opened.generation) for opened in commit.opened)
    return any(
        known is not None and (known.opened_at, known.opened_time) == (commit.seq, commit.started)
        for known in histories
    )


def _changed_by(state: State, commit: Commit) -> bool:
    match commit.change:
        case Retire(_, packs, reason):
            known = state.retirements.get(commit.seq)
            return known is not None and (known.packs, known.reason) == (frozenset(packs), reason)
        case Pin(point):
            return state.pins.get(point) == commit.change
        case SaveState(document):
            return state.root == RootRef(commit.seq, document)
    return False

"""The fold over any commits, valid or not, against a replay that keeps every single offset (docs/format.md, section 7).

`test_repository_state.py` goes through the repository, whose writers leave out what does not fit. Here commits come as
they might lie in a log that a faulty or hostile program wrote: overlaps, second openings, closed generations, foreign
clusters, packs named twice, cuts out of range. What breaks a rule must be an alarm and change nothing else.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st
from tests.support.examples import examples
from tests.support.facts import run_ref
from tests.support.repositories import CLUSTER, TIME, cut, gap

from kafkeep.model import Gap, Generation, GenerationClosed, GenerationOpened, OffsetRange, PartitionCut, RunRef
from kafkeep.repository.folding import apply, fold
from kafkeep.repository.format import Commit, CommittedPack, PointBody, RepositoryDocument, Slot
from kafkeep.repository.names import pack_name
from kafkeep.repository.rules import judge
from kafkeep.repository.state import State

INIT = Slot(
    0,
    "0" * 64,
    Commit(
        seq=0,
        prev="0" * 64,
        kind="init",
        writer="0" * 32,
        epoch=0,
        started=TIME,
        finished=TIME,
        tool="test",
        repository=RepositoryDocument(id="0" * 32, created=TIME, compression="none"),
    ),
)
GENERATIONS = [Generation(topic, topic_id * 22, 0, line) for topic in "ab" for topic_id in "XY" for line in (0, 1)][:5]
NAMES = [pack_name(0, f"01m7w6c848yjf9ef3wbnsfgt{end}", "ab" * 32) for end in ("k0", "k1", "k2", "k3", "k4", "k5")]

FAULTS = ["generations", "offsets", "name", "index", "epoch", "cluster", "no runs", "cut"]


@dataclass
class Kept:
    start: int
    offsets: dict[int, str] = field(default_factory=dict)
    """Every covered offset, and by what."""
    open: bool = True

    @property
    def next(self) -> int:
        return max(self.offsets, default=self.start - 1) + 1


@dataclass
class Replay:
    """What the rules say, offset by offset; `copy` before a commit, so that a broken one leaves nothing."""

    cluster: str | None = None
    generations: dict[Generation, Kept] = field(default_factory=dict)
    packs: set[str] = field(default_factory=set)
    points: list[int] = field(default_factory=list)

    def copy(self) -> Replay:
        known = {of: Kept(kept.start, dict(kept.offsets), kept.open) for of, kept in self.generations.items()}
        return Replay(self.cluster, known, set(self.packs), list(self.points))

    def take(self, commit: Commit) -> bool:
        """Follows the rules in their order; False when one is broken."""
        if not commit.cluster_id or self.cluster not in (None, commit.cluster_id):
            return False
        self.cluster = commit.cluster_id
        for pack in commit.packs:
            indexes = [run.index for run in pack.runs]
            if pack.name in self.packs or not indexes or any(b <= a for a, b in itertools.pairwise(indexes)):
                return False
            if pack.epoch != 0:
                return False
            self.packs.add(pack.name)
        for opened in commit.opened:
            if opened.generation in self.generations:
                return False
            self.generations[opened.generation] = Kept(opened.start)
        return self.cover(commit) and self.close(commit) and self.cuts(commit)

    def cover(self, commit: Commit) -> bool:
        stretches = [(g.generation, g.offsets, "gap") for g in commit.gaps]
        stretches += [(run.generation, run.coverage, "run") for pack in commit.packs for run in pack.runs]
        for of in {of for of, *_ in stretches}:
            mine = sorted((offsets.start, offsets.stop, what) for other, offsets, what in stretches if other == of)
            for start, stop, what in mine:
                kept = self.generations.get(of)
                if kept is None or not kept.open or start != kept.next or start >= stop:
                    return False
                kept.offsets |= dict.fromkeys(range(start, stop), what)
        return True

    def close(self, commit: Commit) -> bool:
        for closed in commit.closed:
            kept = self.generations.get(closed.generation)
            if kept is None or not kept.open:
                return False
            kept.open = False
        for opened in commit.opened:
            partition = opened.generation.topic_partition
            both = [of for of, kept in self.generations.items() if kept.open and of.topic_partition == partition]
            if len(both) > 1:
                return False
        return True

    def cuts(self, commit: Commit) -> bool:
        if commit.point is None:
            return True
        partitions = [one.generation.topic_partition for one in commit.point.cuts]
        for one in commit.point.cuts:
            kept = self.generations.get(one.generation)
            if kept is None or not kept.start <= one.start <= one.stop <= kept.next:
                return False
        self.points.append(commit.seq)
        return len(partitions) == len(set(partitions))


@st.composite
def logs(draw: st.DrawFn) -> list[tuple[Slot, bool]]:
    """Commits that mostly fit what came before, with a fault here and there; True where the replay takes one."""
    replay, made = Replay(), []
    for seq in range(1, draw(st.integers(2, 14))):
        commit = draw(commits(seq, replay))
        after = replay.copy()
        taken = after.take(commit)
        if taken:
            replay = after
        made.append((Slot(seq, f"{seq:064x}", commit), taken))
    return made


@st.composite
def commits(draw: st.DrawFn, seq: int, replay: Replay) -> Commit:
    fault = draw(st.sampled_from([None] * 8 + FAULTS))
    faulty = fault == "generations"
    following = {of: kept.next for of, kept in replay.generations.items() if kept.open or faulty}
    opened: list[GenerationOpened] = []
    closed: list[Generation] = []
    for of in draw(st.lists(st.sampled_from(GENERATIONS), max_size=2)):
        others = [one for one in following if one.topic_partition == of.topic_partition]
        if of in replay.generations and not faulty:
            continue
        opened.append(GenerationOpened(of, start := draw(st.integers(0, 3)), "first-seen"))
        following.setdefault(of, start)
        closed += [one for one in others if one != of and (not faulty or draw(st.booleans()))]
    closed += draw(st.lists(st.sampled_from(GENERATIONS), max_size=1)) if faulty else []
    stretches: list[tuple[Generation, int, int]] = []
    for of in draw(st.lists(st.sampled_from(sorted(following) or GENERATIONS), max_size=4)):
        start = max(following.get(of, 0) + (draw(st.integers(-2, 2)) if fault == "offsets" else 0), 0)
        stop = start + draw(st.integers(0 if fault == "offsets" else 1, 4))
        stretches.append((of, start, stop))
        following[of] = stop
    gaps: list[Gap] = []
    runs: list[RunRef] = []
    name = (
        draw(st.sampled_from(NAMES)) if fault == "name" else next((n for n in NAMES if n not in replay.packs), NAMES[0])
    )
    for of, start, stop in stretches:
        if draw(st.integers(0, 3)) == 0:
            gaps.append(gap(of, start, stop))
        else:
            index = draw(st.integers(0, 2)) if fault == "index" else len(runs)
            runs.append(run_ref(of, start, stop, pack=name, index=index))
    packs = [CommittedPack(name, 9, "ab" * 32, int(fault == "epoch"), tuple(runs))]
    return Commit(
        seq=seq,
        prev="0" * 64,
        kind="add",
        writer="0" * 32,
        epoch=0,
        started=TIME,
        finished=TIME,
        tool="test",
        cluster_id=draw(st.sampled_from(["", "other"])) if fault == "cluster" else CLUSTER,
        packs=tuple(packs) if runs or fault == "no runs" else (),
        gaps=tuple(gaps),
        opened=tuple(opened),
        closed=tuple(GenerationClosed(of, "recreated") for of in dict.fromkeys(closed)),
        point=draw(points(following, replay, faulty=fault == "cut")),
    )


@st.composite
def points(draw: st.DrawFn, following: dict[Generation, int], replay: Replay, *, faulty: bool) -> PointBody | None:
    if draw(st.booleans()) or not following:
        return None
    rows: list[PartitionCut] = []
    for of in draw(st.lists(st.sampled_from(sorted(following)), max_size=2)):
        start = replay.generations[of].start if of in replay.generations else 0
        stop = draw(st.integers(start, max(start, following[of])))
        low = draw(st.integers(start, stop))
        rows.append(
            cut(of, stop + draw(st.integers(0, 3)), low - draw(st.integers(0, 1))) if faulty else cut(of, stop, low)
        )
    return PointBody(
        name=None,
        tags=(),
        cuts=tuple(rows),
        selection=("*",),
        documents=(),
        consistency="high",
        complete=True,
        failures=(),
    )


@examples(300)
@given(logs(), st.integers(0, 14))
def test_any_log_folds_as_the_replay_says(log: list[tuple[Slot, bool]], split: int) -> None:
    slots = [slot for slot, _ in log]
    whole = fold(State(), [INIT, *slots])
    replay = Replay()
    for slot, taken in log:
        if taken:
            assert slot.commit is not None
            assert replay.take(slot.commit)
    assert {alarm.number for alarm in whole.alarms} == {slot.seq for slot, taken in log if not taken}
    assert whole.head == len(log)
    assert whole.cluster_id == replay.cluster
    assert {entry.name for entry in whole.packs} == replay.packs
    assert [point.number for point in whole.points] == replay.points
    assert set(whole.generations) == set(replay.generations)
    for of, kept in replay.generations.items():
        known = whole.generations[of]
        assert (known.start, known.next_offset, known.open) == (kept.start, kept.next, kept.open)
        spread = {offset: "run" for run in known.runs for offset in range(run.coverage.start, run.coverage.stop)}
        spread |= {offset: "gap" for one in known.gaps for offset in range(one.offsets.start, one.offsets.stop)}
        assert spread == kept.offsets
    first = fold(State(), [INIT, *slots[:split]])
    before = (dict(first.generations), first.head, list(first.packs))
    assert fold(first, slots[split:]) == whole
    assert (dict(first.generations), first.head, list(first.packs)) == before, "the earlier state stays as it was"


@examples(300)
@given(logs())
def test_a_commit_that_was_judged_before_folds_as_any_other(log: list[tuple[Slot, bool]]) -> None:
    state = fold(State(), [INIT])
    for slot, taken in log:
        assert slot.commit is not None
        judgement = judge(state, slot.commit)
        assert (judgement.reason is None) is taken
        following = apply(state, slot)
        assert fold(state, [slot], judgement) == following
        # it is of the first slot alone
        assert fold(state, [slot, slot_after(slot)], judgement) == apply(following, slot_after(slot))
        state = following


def slot_after(slot: Slot) -> Slot:
    """One that every state refuses."""
    assert slot.commit is not None
    return Slot(slot.seq + 1, "1" * 64, replace(slot.commit, seq=slot.seq + 1, cluster_id=""))


@examples(100)
@given(logs(), st.integers(0, 12), st.integers(0, 8), st.integers(0, 8))
def test_what_a_point_is_shown_is_what_was_there_then(
    log: list[tuple[Slot, bool]], number: int, start: int, width: int
) -> None:
    """Runs and gaps of a range as of a commit, asked of the last state and of the state at that commit."""
    states = [fold(State(), [INIT])]
    for slot, _ in log:
        states.append(apply(states[-1], slot))
    number = min(number, len(log))
    offsets = OffsetRange(start, start + width)
    for of, known in states[number].generations.items():
        last = states[-1].generations[of]
        overlapping = [
            run for run in known.runs if run.coverage.start < offsets.stop and offsets.start < run.coverage.stop
        ]
        assert list(last.runs_at(number, offsets)) == (overlapping if width else [])
        lost = [one for one in known.gaps if one.offsets.start < offsets.stop and offsets.start < one.offsets.stop]
        assert list(last.gaps_at(number, offsets)) == (lost if width else [])

"""The fold against a model that is a few dictionaries, and two writers against one another."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.support.examples import examples
from tests.support.facts import run_ref
from tests.support.repositories import (
    TIME,
    Clock,
    Journal,
    Piece,
    batch,
    closed,
    cut,
    draft,
    gap,
    generation,
    open_repository,
    write_pack,
)

from kafkeep.model import Generation, GenerationOpened, PartitionCut, TopicPartition
from kafkeep.repository.repository import Repository
from kafkeep.repository.shared import Shared
from kafkeep.repository.state import GenerationState
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import FaultyStore, RetryingStore
from kafkeep.verify.run import verify

TOPICS = ("orders", "payments", "events")


@dataclass
class Partition:
    """The model of one generation: every batch by its first offset, the gaps, how far it reaches."""

    start: int
    stop: int
    open: bool = True
    batches: dict[int, bytes] = field(default_factory=dict)
    gaps: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Point:
    """The model of a recovery point: what it must hold for ever."""

    number: int
    cuts: dict[Generation, tuple[int, int]]
    batches: dict[Generation, dict[int, bytes]]
    gaps: dict[Generation, list[tuple[int, int]]]


class RepositoryMachine(RuleBasedStateMachine):
    """Backups, gaps, recreated topics and points through several repositories open on one store, some of them stale."""

    points = Bundle("points")

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore()
        self.clock = Clock()
        self.model: dict[Generation, Partition] = {}
        self.numbers = 0
        self.opened = 0

    @initialize(compression=st.sampled_from(["none", "zstd"]))
    def create(self, compression: str) -> None:
        first = Journal(self.store, compression=compression, chunk_bytes=400, clock=self.clock).create()
        self.handles: list[Repository] = [first, self.reopened()]

    def reopened(self) -> Repository:
        self.opened += 1
        return open_repository(self.store, seed=self.opened, clock=self.clock)

    def current(self, topic: str) -> Generation | None:
        of = [one for one, part in self.model.items() if one.topic == topic and part.open]
        return of[-1] if of else None

    @rule(topic=st.sampled_from(TOPICS), start=st.integers(0, 5), which=st.integers(0, 1), again=st.booleans())
    def open_generation(self, topic: str, start: int, which: int, again: bool) -> None:
        """A topic is seen first, or again under a new id, which closes the generation before."""
        before = self.current(topic)
        if before is not None and not again:
            return
        count = sum(one.topic == topic for one in self.model)
        of = generation(topic, topic_id="ABCDEFGHIJKLMNOPQRSTUVWXYZ"[count % 26] * 22, lineage=count // 26)
        outcome = self.handles[which].commit(
            draft(open_=[GenerationOpened(of, start, "first-seen")], close=[] if before is None else closed(before))
        )
        self.numbers += 1
        assert outcome.number == self.numbers
        if before is not None:
            self.model[before].open = False
        self.model[of] = Partition(start, start)

    @rule(
        which=st.integers(0, 1),
        parts=st.dictionaries(st.sampled_from(TOPICS), st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1),
    )
    def add(self, which: int, parts: dict[str, tuple[int, int]]) -> None:
        """Batches behind what there is, some behind a gap: (width of the gap, number of batches) by topic."""
        handle = self.handles[which]
        pieces: list[Piece] = []
        gaps = []
        for topic, (lost, count) in parts.items():
            of = self.current(topic)
            if of is None or not lost + count:
                continue
            known = self.model[of]
            if lost:
                gaps.append(gap(of, known.stop, known.stop + lost))
                known.gaps.append((known.stop, known.stop + lost))
            begin = known.stop + lost
            made = {offset: batch(offset, seed=self.numbers) for offset in range(begin, begin + count * 3, 3)}
            known.batches |= made
            known.stop = begin + count * 3
            if count:
                pieces.append(Piece(of, begin, known.stop, tuple(made.values())))
        packs = [write_pack(handle, pieces)] if pieces else []
        outcome = handle.commit(draft(packs=packs, gaps=gaps))
        assert outcome.dropped_runs == ()
        assert (outcome.number is None) == (not packs and not gaps)
        self.numbers += outcome.number is not None

    @rule(which=st.integers(0, 1), topic=st.sampled_from(TOPICS), back=st.integers(1, 5))
    def add_what_does_not_fit(self, which: int, topic: str, back: int) -> None:
        """A run that overlaps, or leaves out offsets without a gap, is dropped and nothing is committed."""
        of = self.current(topic)
        if of is None:
            return
        handle = self.handles[which]
        start = self.model[of].stop + (back if back > 3 else -back)
        if start < 0:
            return
        pack = write_pack(handle, [Piece(of, start, start + 3, (batch(start),))])
        outcome = handle.commit(draft(packs=[pack]))
        assert outcome.number is None
        assert len(outcome.dropped_runs) == 1

    @rule(target=points, which=st.integers(0, 1), back=st.integers(0, 4), forward=st.integers(0, 4))
    def point(self, which: int, back: int, forward: int) -> object:
        cuts: dict[Generation, tuple[int, int]] = {}
        for topic in TOPICS:
            of = self.current(topic)
            if of is not None:
                known = self.model[of]
                stop = max(known.start, known.stop - back)
                cuts[of] = (min(known.start + forward, stop), stop)
        rows = [cut(of, stop, start) for of, (start, stop) in cuts.items()]
        outcome = self.handles[which].commit(draft(cuts=rows, name=f"point {self.numbers}"))
        self.numbers += 1
        assert outcome.point_number == self.numbers
        return Point(
            self.numbers,
            cuts,
            {
                of: {
                    offset: data
                    for offset, data in self.model[of].batches.items()
                    if start < stop and offset < stop and offset + 3 > start
                }
                for of, (start, stop) in cuts.items()
            },
            {
                of: [(a, b) for a, b in self.model[of].gaps if a < stop and b > start and start < stop]
                for of, (start, stop) in cuts.items()
            },
        )

    @rule(which=st.integers(0, 1))
    def point_that_is_not_covered(self, which: int) -> None:
        of = next((one for one, part in self.model.items() if part.open), None)
        if of is not None:
            stop = self.model[of].stop + 1
            outcome = self.handles[which].commit(draft(cuts=[cut(of, stop, self.model[of].start)]))
            assert (outcome.number, outcome.point) == (None, None)

    @rule(which=st.integers(0, 1))
    def open_again(self, which: int) -> None:
        self.handles[which] = self.reopened()

    @rule(found=points, which=st.integers(0, 1))
    def a_point_holds_what_it_held(self, found: Point, which: int) -> None:
        handle = self.handles[which]
        handle.refresh()
        point = handle.point(str(found.number))
        view = handle.view(point)
        assert {part.generation: (part.cut.start, part.cut.stop) for part in view.partitions} == found.cuts
        for part in view.partitions:
            needed = found.batches[part.generation]
            held = b"".join(bytes(chunk) for run in part.runs for chunk in handle.read_run(run))
            assert all(data in held for data in needed.values())
            exact = b"".join(
                bytes(chunk)
                for one in part.slices
                for chunk in handle.read_run(one.run, start=one.offsets.start, stop=one.offsets.stop)
            )
            assert all(data in exact for data in needed.values())
            assert [(one.offsets.start, one.offsets.stop) for one in part.gaps] == found.gaps[part.generation]
            ranges = sorted(
                [(one.offsets.start, one.offsets.stop) for one in part.slices]
                + [(max(a, part.cut.start), min(b, part.cut.stop)) for a, b in found.gaps[part.generation]]
            )
            assert [a for a, _ in ranges] == [part.cut.start, *(b for _, b in ranges)][: len(ranges)]
            assert not ranges or ranges[-1][1] == part.cut.stop

    @precondition(lambda self: self.numbers % 5 == 4)
    @rule()
    def verify_all(self) -> None:
        report = verify(self.store, level="data", workers=1)
        assert (report.findings, report.alarms) == ((), ())

    @invariant()
    def the_fold_is_the_model(self) -> None:
        if not self.model:
            return
        states = [handle.refresh() for handle in self.handles]
        assert states[0] == states[1]
        (state, _) = states
        assert state.head == self.numbers
        assert {of: (known.start, known.next_offset, known.open) for of, known in state.generations.items()} == {
            of: (part.start, part.stop, part.open) for of, part in self.model.items()
        }
        for topic in TOPICS:
            latest = state.latest_generation(TopicPartition(topic, 0))
            of = self.current(topic)
            assert (None if latest is None or not latest.open else latest.generation) == of

    def teardown(self) -> None:
        if self.numbers:
            assert verify(self.store, level="data", workers=1).findings == ()
            assert self.reopened().state.head == self.numbers


TestRepositoryMachine = RepositoryMachine.TestCase
TestRepositoryMachine.settings = examples(40, stateful_step_count=30)


@examples(60)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 4)), min_size=1, max_size=12), st.integers(0, 6))
def test_two_writers_of_one_partition_never_cover_an_offset_twice_or_leave_one_out(
    turns: list[tuple[int, int]], every: int
) -> None:
    """Each writer reads what it sees, writes behind it and commits, often too late; lost answers in between."""
    store = MemoryStore()
    Journal(store).create()
    of = generation("orders")
    shared = (
        store if every < 2 else RetryingStore(FaultyStore.failing(store, every=every, applied=True), pause=_no_pause)
    )
    writers = [open_repository(shared, seed=seed) for seed in (1, 2)]
    for who, count in turns:
        writer = writers[who]
        known = writer.state.generations.get(of)
        start = 0 if known is None else known.next_offset
        made = tuple(batch(offset, seed=who) for offset in range(start, start + 3 * count, 3))
        pack = write_pack(writer, [Piece(of, start, start + 3 * count, made)])
        new = [GenerationOpened(of, 0, "first-seen")] if known is None else []
        outcome = writer.commit(draft(packs=[pack], open_=new, cuts=[PartitionCut(of, start + 3 * count, 0, 9, 9, 1)]))
        assert len(outcome.accepted_runs) + len(outcome.dropped_runs) == 1
        assert outcome.point is None or outcome.number is not None
    final = open_repository(store, seed=3)
    assert writers[0].refresh() == writers[1].refresh() == final.state
    assert len(final.state.alarms) == 0
    known = final.state.generations[of]
    stops = [0, *(run.coverage.stop for run in known.runs)]
    assert [run.coverage.start for run in known.runs] == stops[:-1]
    assert known.next_offset == stops[-1]
    assert verify(store, level="data", workers=1).findings == ()


def _no_pause(seconds: float) -> None:
    return


def test_the_empty_sequences_of_all_generations_stay_apart() -> None:
    """They are one and the same until something is added."""
    states = [
        GenerationState(generation=of, start=0, next_offset=0, opened_at=1, opened_time=TIME, opened_why="first-seen")
        for of in (Generation("a", "A" * 22, 0), Generation("b", "B" * 22, 0))
    ]
    for name, item in (("history", (1, run_ref(states[0].generation, 0, 1))), ("gaps", "gap"), ("gap_numbers", 7)):
        one, other = (getattr(state, name) for state in states)
        assert list(one.extended([item])) == [item]
        assert list(other.extended([])) == list(one) == list(other) == []
        assert list(other.extended(["another"])) == ["another"]


@given(st.lists(st.lists(st.integers(), max_size=4), max_size=8), st.integers(0, 2**16))
def test_versions_of_a_shared_sequence_do_not_disturb_one_another(steps: list[list[int]], seed: int) -> None:
    dice = random.Random(seed)
    versions: list[tuple[Shared[int], list[int]]] = [(Shared(), [])]
    for more in steps:
        base, model = dice.choice(versions)
        versions.append((base.extended(more), model + more))
        for found, expected in versions:
            assert list(found) == expected
            assert len(found) == len(expected)
            assert found[:] == expected
            assert found == Shared(list(expected))
            assert all(found[-index] == expected[-index] for index in range(1, len(expected) + 1))

"""Repairs of repositories with one damaged object: what is found, what is mended with and without a copy, and what a kill
in between leaves."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.property.test_copying import copied
from tests.support.keeping import Life
from tests.support.readers import reader_of, same_state
from tests.support.repositories import contents, open_repository
from tests.support.sealed import encrypted

from kafkeep.errors import RepositoryNotFound
from kafkeep.mending.diagnosis import prepare
from kafkeep.mending.plan import COPY, LOSE, MOVE, NONE, RepairPlan, RepairResult
from kafkeep.mending.repairing import repair
from kafkeep.model import Gap, Generation, OffsetRange
from kafkeep.repository import layout
from kafkeep.repository.keeping import UNREADABLE
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import FaultyStore, SimulatedCrash
from kafkeep.verify.run import verify

REASON = "disk 7 is gone"


@pytest.fixture(autouse=True)
def kind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Repositories of odd seeds are encrypted."""
    seed = request.node.callspec.params.get("seed", 0) if hasattr(request.node, "callspec") else 0
    with encrypted(seed % 2 == 1):
        yield


@dataclass
class Case:
    """A repository that has lived, and a copy of it."""

    life: Life
    copy: MemoryStore

    @classmethod
    def aged(cls, seed: str, steps: int = 14) -> Case:
        life = Life(random.Random(seed))
        for _ in range(steps):
            life.step()
        while not life.live:
            life.backup()
        reference = life.repository.put_document("metadata", {"cluster_id": "c", "groups": [], "topics": [seed]})
        life.repository.put_audit("verified", {"head": 1, "document": reference})
        copy = MemoryStore("copy")
        copied(life.repository, copy)
        return cls(life, copy)

    @property
    def store(self) -> MemoryStore:
        return self.life.store

    def mended(self, plan: RepairPlan, store: Store | None = None, *, with_copy: bool = True) -> RepairResult:
        copy = open_repository(self.copy) if with_copy else None
        where = self.store if store is None else store
        clock = self.life.journal.clock
        return repair(where, plan, copy=copy, now=clock, rng=random.Random(99))

    def plan(self, *, with_copy: bool = True, reason: str | None = None) -> RepairPlan:
        copy = open_repository(self.copy) if with_copy else None
        return prepare(self.store, copy=copy, reason=reason)


def flipped(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]


def damage(store: MemoryStore, name: str, dice: random.Random) -> str:
    """How the object was damaged."""
    how = dice.choice(["missing", "flipped", "flipped", "cut"])
    if how == "missing":
        del store.objects[name]
    elif how == "flipped":
        store.objects[name] = flipped(store.objects[name], dice)
    else:
        store.objects[name] = store.objects[name][: dice.randrange(len(store.objects[name]))]
    return how


def needed(case: Case) -> list[str]:
    """Objects whose damage a verification must see."""
    state = case.life.repository.state
    packs = [entry.name for entry in state.packs if entry.name not in state.retired_packs() and entry.runs]
    logs = [name for name in case.store.objects if name.startswith("log/") or name == "kafkeep.json"]
    return sorted(packs) * 3 + sorted(logs)


@pytest.mark.parametrize("seed", range(40))
def test_any_damaged_object_is_named_and_mended_from_a_copy(seed: int) -> None:
    case = Case.aged(f"mended {seed}")
    dice = random.Random(seed)
    whole = dict(case.store.objects)
    name = dice.choice(needed(case))
    how = damage(case.store, name, dice)
    plan = case.plan()
    if how == "flipped" and plan.nothing_to_do:
        # what was hit is a run that lies elsewhere by now
        assert (entry := case.life.repository.state.packs.get(name)) is not None and entry.moved
        assert verify(case.store, level="data").findings == ()
        return
    assert [each.object for each in plan.damage] == [name], how
    result = case.mended(plan)
    if name.startswith(("log/", "kafkeep")) and how != "missing":
        assert [each.object for each in result.left] == [name]
        assert len(result.reports) == 1
        return
    assert result.left == ()
    again = open_repository(case.store)
    assert verify(again, level="data").findings == ()
    case.life.check(again)
    assert case.plan().nothing_to_do
    assert same_state(reader_of(case.store), again)
    if how == "missing":
        assert case.store.objects[name] == whole[name]
    else:
        assert again.state.packs.get(name).runs == ()  # type: ignore[union-attr]
    # nothing that was there before is gone, and nothing of it is another one
    assert {at: case.store.objects[at] for at in whole if at not in (name, "hint/head")} == {
        at: data for at, data in whole.items() if at not in (name, "hint/head")
    }


@pytest.mark.parametrize("seed", range(40))
def test_what_nothing_mends_is_named_exactly_and_declared_lost(seed: int) -> None:
    case = Case.aged(f"lost {seed}")
    dice = random.Random(seed)
    state = case.life.repository.state
    names = sorted(entry.name for entry in state.packs if entry.name not in state.retired_packs() and entry.runs)
    name = dice.choice(names)
    entry = state.packs.get(name)
    assert entry is not None
    before = {point.number: contents(case.life.repository, point) for point in case.life.repository.points()}
    how = damage(case.store, name, dice)
    seen = verify(case.store, level="objects").findings
    plan = case.plan(with_copy=False)
    if how == "flipped" and plan.nothing_to_do:
        assert entry.moved and seen == ()
        return
    (found,) = plan.damage
    assert (found.object, tuple(dict.fromkeys(each.what for each in seen))) == (name, found.what)
    unread = {(run.generation, run.coverage) for run in found.runs if run.doubt}
    if how == "missing" or (how == "cut" and len(case.store.objects[name]) < entry.size - layout.TRAILER_SIZE):
        assert unread == {(run.generation, run.coverage) for run in entry.runs}
    assert case.mended(plan, with_copy=False).lost == ()
    plan = case.plan(with_copy=False, reason=REASON)
    assert plan.damage == () or plan.damage[0].known
    result = case.mended(plan, with_copy=False)
    assert {(run.generation, run.coverage) for run in result.lost} == unread
    again = open_repository(case.store)
    assert verify(again, level="data").findings == ()
    assert case.plan(with_copy=False).nothing_to_do
    assert same_state(reader_of(case.store), again)
    assert {point.number for point in again.points()} == set(before)
    for point in again.points():
        found_now = contents(again, point)
        for part in again.view(point).partitions:
            lost = {(gap.generation, gap.offsets) for gap in part.gaps if gap.reason == UNREADABLE}
            wanted = OffsetRange(part.cut.start, part.cut.stop)
            assert lost == {
                (of, at) for of, at in unread if of == part.generation and at.intersection(wanted) is not None
            }
            assert all(gap.evidence == REASON for gap in part.gaps if gap.reason == UNREADABLE)
            assert joins_up(part.cut.start, part.cut.stop, [*part.gaps], [run.offsets for run in part.slices])
            if not lost:
                partition = part.generation.topic_partition
                assert found_now[partition] == before[point.number][partition]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("place", ["header", "trailer", "behind"])
def test_a_pack_without_header_or_trailer_gives_up_nothing(place: str, seed: int) -> None:
    case = Case.aged(f"edges {seed}")
    entry = next(entry for entry in reversed(tuple(case.life.repository.state.packs)) if entry.runs)
    data = case.store.objects[entry.name]
    case.store.objects[entry.name] = {
        "header": bytes(layout.HEADER_SIZE) + data[layout.HEADER_SIZE :],
        "trailer": data[: -layout.TRAILER_SIZE],
        "behind": data + b"more",
    }[place]
    plan = case.plan(with_copy=False)
    assert {run.means for run in plan.damage[0].runs} == {MOVE}
    assert case.mended(plan, with_copy=False).left == ()
    again = open_repository(case.store)
    assert verify(again, level="data").findings == ()
    case.life.check(again)


def joins_up(start: int, stop: int, gaps: list[Gap], runs: list[OffsetRange]) -> bool:
    wanted = OffsetRange(start, stop)
    pieces = [gap.offsets.intersection(wanted) for gap in gaps] + list(runs)
    for piece in sorted((piece for piece in pieces if piece is not None), key=lambda piece: piece.start):
        if piece.start != start:
            return False
        start = piece.stop
    return start == stop


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("how", ["copy", "move", "lose"])
def test_a_repair_that_dies_at_any_call_is_finished_by_the_next(how: str, when: str) -> None:
    def broken() -> Case:
        case = Case.aged("dying", 8)
        state = case.life.repository.state
        entries = [entry for entry in state.packs if entry.name not in state.retired_packs() and entry.runs]
        first, last = entries[0].name, entries[-1].name
        if how == "copy":
            del case.store.objects[first], case.store.objects["log/000000000001"], case.store.objects["kafkeep.json"]
        else:
            case.store.objects[first] = case.store.objects[first][:-1]
            case.store.objects[last] = flipped(case.store.objects[last], random.Random(4))
        return case

    reason = REASON if how == "lose" else None
    at = 0
    while True:
        case = broken()
        dying = FaultyStore.dying(case.store, at=at, when=when)
        try:
            plan = prepare(dying, copy=None if how == "lose" else open_repository(case.copy), reason=reason)
            case.mended(plan, dying, with_copy=how != "lose")
        except SimulatedCrash:
            at += 1
        else:
            break
        case.mended(case.plan(with_copy=how != "lose", reason=reason), with_copy=how != "lose")
        again = open_repository(case.store)
        assert verify(again, level="data").findings == ()
        if how != "lose":
            case.life.check(again)
        assert case.plan(with_copy=how != "lose").nothing_to_do
    print(f"{at} store calls, dead {when} each")
    assert at >= 4


def test_a_finding_is_told_as_known_after_it_was_written_down() -> None:
    case = Case.aged("known")
    entry = next(entry for entry in case.life.repository.state.packs if entry.runs)
    del case.store.objects[entry.name]
    assert {each.known for each in verify(case.store).findings} == {None}
    plan = case.plan(with_copy=False)
    result = case.mended(plan, with_copy=False)
    assert (len(result.reports), [each.object for each in result.left]) == (1, [entry.name] * len(result.left))
    findings = verify(case.store).findings
    assert findings and None not in {each.known for each in findings}
    # the report is written once
    assert case.mended(case.plan(with_copy=False), with_copy=False).reports == ()


def test_a_repository_document_comes_out_of_commit_0() -> None:
    case = Case.aged("document")
    whole = case.store.objects.pop("kafkeep.json")
    plan = case.plan(with_copy=False)
    assert [(each.object, each.means) for each in plan.damage] == [("kafkeep.json", "log")]
    case.mended(plan, with_copy=False)
    assert case.store.objects["kafkeep.json"] == whole
    with pytest.raises(RepositoryNotFound):
        prepare(MemoryStore())


def test_documents_and_the_end_of_the_log_come_from_the_copy() -> None:
    case = Case.aged("end")
    head = case.life.repository.state.head
    whole = dict(case.store.objects)
    for number in (head - 1, head):
        del case.store.objects[f"log/{number:012d}"]
    plan = case.plan()
    assert {each.means for each in plan.damage} == {COPY}
    assert [each.object for each in plan.damage] == [f"log/{number:012d}" for number in (head - 1, head)]
    case.mended(plan)
    assert {name: case.store.objects[name] for name in whole} == whole


def test_generations_of_the_plan_are_those_of_the_runs() -> None:
    """Damage to one chunk: the plan tells what of the run is in doubt, and takes the other runs along."""
    case = Case.aged("chunks", 20)
    repository = case.life.repository
    entry = max(repository.state.packs, key=lambda entry: len(entry.runs))
    run = entry.runs[-1]
    ranges = repository.chunk_ranges(run)
    index = repository._reader.run_index(entry, run)
    place = index.chunks[0].position
    data = bytearray(case.store.objects[entry.name])
    data[place] ^= 1
    case.store.objects[entry.name] = bytes(data)
    (found,) = case.plan(with_copy=False).damage
    assert [(each.index, each.doubt, each.means) for each in found.runs] == [(run.index, (ranges[0][0],), NONE)]
    (found,) = case.plan(with_copy=False, reason=REASON).damage
    assert [each.means for each in found.runs if each.index == run.index] == [LOSE]
    assert {each.index for each in found.runs} == {each.index for each in entry.runs}
    generations: set[Generation] = {each.generation for each in found.runs}
    assert generations == {each.generation for each in entry.runs}

"""Logs built anew from packs: the state as it was, whatever else lay around, and whatever stopped the work."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from tests.support.keeping import Life
from tests.support.readers import reader_of, same_state
from tests.support.repositories import (
    CLUSTER,
    Clock,
    Journal,
    backup,
    contents,
    cut,
    draft,
    generation,
    open_repository,
    opened,
    piece,
    write_pack,
)
from tests.support.sealed import KINDS, encrypted

from kafkeep.errors import PlanRefused
from kafkeep.mending.rebuild_log import REBUILT
from kafkeep.mending.rebuild_plan import UNACCOUNTED, RebuildPlan, RebuildResult
from kafkeep.mending.rebuilding import prepare, rebuild
from kafkeep.model import Gap, Generation, GenerationClosed, OffsetRange, RunRef
from kafkeep.repository.changes import Compact, CompactedPack, MovedRun, RaiseEpoch
from kafkeep.repository.moving import PackMover, stored_chunks
from kafkeep.repository.names import log_name
from kafkeep.repository.reader import read_footer
from kafkeep.repository.repository import Repository
from kafkeep.repository.state import State
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import FaultyStore, SimulatedCrash
from kafkeep.verify.run import verify

ORDERS, PAYMENTS = generation("orders"), generation("payments")


def lives(count: int) -> list[tuple[str, int]]:
    """Kinds and seeds: a quarter of the lives in encrypted repositories as well."""
    return [(kind, seed) for kind in KINDS for seed in range(count if kind == KINDS[0] else count // 4)]


@pytest.fixture(autouse=True, params=KINDS)
def kind(request: pytest.FixtureRequest) -> Iterator[str]:
    with encrypted(request.param == "encrypted"):
        yield request.param


def without_log(store: MemoryStore) -> MemoryStore:
    found = MemoryStore("lost")
    found.objects = {name: data for name, data in store.objects.items() if not name.startswith(("log/", "hint/"))}
    return found


def planned(source: Store, target: Store | None) -> RebuildPlan:
    return prepare(source, target, cluster_id=CLUSTER, now=Clock())


def rebuilt(source: Store, target: Store | None, plan: RebuildPlan | None = None) -> RebuildResult:
    plan = planned(source, target) if plan is None else plan
    return rebuild(source, target, plan, now=Clock(), rng=random.Random(7))


def histories(state: State) -> dict[object, object]:
    """Of every generation what footers can tell."""
    return {
        of: (known.start, known.next_offset, list(known.runs), known.closed_why)
        for of, known in state.generations.items()
    }


@pytest.mark.parametrize("place", ["elsewhere", "in place"])
@pytest.mark.fault("I10")
def test_the_state_is_what_it_was_before_the_log_was_lost(place: str) -> None:
    """Fault I10."""
    store = MemoryStore()
    repository = Journal(store).create()
    backup(repository, [piece(ORDERS, 0, 4), piece(PAYMENTS, 0, 2)])
    backup(repository, [piece(ORDERS, 12, 4), piece(generation("orders", 1), 0, 2)])
    again_created = generation("payments", topic_id="B" * 22)
    truncated = again_created.successor
    for before, later, why in ((PAYMENTS, again_created, "recreated"), (again_created, truncated, "truncated")):
        made = draft(packs=[write_pack(repository, [piece(later, 0, 2)])], open_=opened(later))
        repository.commit(replace(made, closed=(GenerationClosed(before, why),)))
    backup(repository, [piece(ORDERS, 24, 1)])
    newest = repository.points()[-1]
    lost = without_log(store)
    target = MemoryStore("new") if place == "elsewhere" else None
    result = rebuilt(lost, target)
    again = open_repository(lost if target is None else target)
    assert histories(again.state) == histories(repository.state)
    assert again.state.cluster_id == CLUSTER
    (point,) = again.points()
    assert (point.number, point.name) == (result.point, REBUILT)
    assert contents(again, point) == contents(repository, newest)
    assert result.plan.over == () and result.plan.unnamed == () and result.failures == ()
    assert verify(again, level="data").findings == ()
    assert same_state(reader_of(lost if target is None else target), again)
    assert dict(point.documents)["metadata"] == dict(newest.documents)["metadata"]
    assert again.state.repository == repository.state.repository
    # a backup goes on from there
    reached = again.state.generations[ORDERS].next_offset
    assert backup(again, [piece(ORDERS, reached, 1)]).point is not None


@pytest.mark.parametrize(("kind", "seed"), lives(24), indirect=["kind"])
def test_packs_of_a_life_give_back_what_they_hold(seed: int) -> None:
    life = Life(random.Random(f"rebuilt {seed}"))
    for _ in range(30):
        life.step()
    life.repository.put_document("metadata", {"cluster_id": CLUSTER, "groups": [], "topics": []})
    before = life.repository.refresh()
    lost = without_log(life.store)
    target = MemoryStore("new")
    result = rebuilt(lost, target)
    again = open_repository(target)
    assert verify(again, level="data").findings == ()
    assert same_state(reader_of(target), again)
    held = {(run.generation, run.coverage) for pack in result.plan.packs for run in pack.run_refs()}
    for of, known in before.generations.items():
        if not known.runs:
            continue
        found = again.state.generations[of]
        # what nobody committed can stand in for what somebody did, for the source had both at these offsets
        assert gone_from(known.runs, found.runs) <= {(each.generation, each.coverage) for each in result.plan.over}
        for gap in found.gaps:
            assert gap.reason == UNACCOUNTED
    for known in again.state.generations.values():
        assert {(known.generation, run.coverage) for run in known.runs} <= held
        original = before.generations.get(known.generation)
        for run in known.runs:
            if original is not None and run in original.runs:
                stored = [bytes(chunk) for chunk in life.repository.read_run(run)]
                assert [bytes(chunk) for chunk in again.read_run(run)] == stored
    (point,) = again.points()
    latest = {of for of, known in again.state.generations.items() if known.open}
    assert {cut.generation for cut in point.cuts} == latest
    with pytest.raises(PlanRefused, match="nothing is wrong"):
        planned(target, MemoryStore())


@pytest.mark.parametrize(("kind", "seed"), lives(12), indirect=["kind"])
@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_commits_below_the_broken_one_are_kept(seed: int, how: str) -> None:
    life = Life(random.Random(f"tail {seed}"))
    for _ in range(30):
        life.step()
    life.repository.put_document("metadata", {"cluster_id": CLUSTER, "groups": [], "topics": []})
    head = life.repository.refresh().head
    at = random.Random(seed).randrange(1, head)
    lost = MemoryStore("lost")
    lost.objects = dict(life.store.objects)
    if how == "missing":
        del lost.objects[log_name(at)]
    else:
        lost.objects[log_name(at)] = lost.objects[log_name(at)][:-1]
    before = open_repository(lost_until(life.store, at)).state
    target = MemoryStore("new")
    plan = planned(lost, target)
    assert plan.kept == at - 1
    rebuilt(lost, target, plan)
    again = open_repository(target)
    for number in range(at):
        assert target.objects[log_name(number)] == life.store.objects[log_name(number)]
    assert {point.number for point in before.points} <= {point.number for point in again.points()}
    assert again.points()[-1].name == REBUILT
    if not missing_packs(before, lost):
        assert same_state(reader_of(target), again)
        assert verify(again, level="data").findings == ()
    for of, known in life.repository.state.generations.items():
        rest = gone_from(known.runs, again.state.generations[of].runs) if known.runs else set()
        assert rest <= {(each.generation, each.coverage) for each in plan.over}


def gone_from(before: Sequence[RunRef], after: Sequence[RunRef]) -> set[tuple[Generation, OffsetRange]]:
    there = {run.facts for run in after}
    return {(run.generation, run.coverage) for run in before if run.facts not in there}


def missing_packs(state: State, store: MemoryStore) -> bool:
    """Packs that a lost commit had swept: what is kept of the log still wants them."""
    return any(entry.name not in store.objects for entry in state.packs)


def lost_until(store: MemoryStore, number: int) -> MemoryStore:
    found = MemoryStore()
    found.objects = {
        name: data
        for name, data in store.objects.items()
        if not name.startswith("hint/") and not (name.startswith("log/") and int(name[4:]) >= number)
    }
    return found


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("place", ["elsewhere", "in place"])
def test_a_rebuild_that_dies_at_any_call_is_finished_by_the_next(place: str, when: str) -> None:
    life = Life(random.Random("rebuild dies 2"))
    for _ in range(12):
        life.step()
    life.repository.put_document("metadata", {"cluster_id": CLUSTER, "groups": [], "topics": []})
    quiet = MemoryStore("quiet")
    rebuilt(without_log(life.store), quiet)
    expected = histories(open_repository(quiet).state)
    at = 0
    while True:
        lost = without_log(life.store)
        target = MemoryStore("new") if place == "elsewhere" else lost
        dying = FaultyStore.dying(target, at=at, when=when)
        try:
            if place == "elsewhere":
                rebuilt(lost, dying)
            else:
                rebuilt(dying, None)
        except SimulatedCrash:
            at += 1
        else:
            break
        plan = planned(lost, None if target is lost else target)
        if not plan.done:
            rebuilt(lost, None if target is lost else target, plan)
        again = open_repository(target)
        assert histories(again.state) == expected
        assert [point.name for point in again.points()] == [REBUILT]
        assert verify(again, level="data").findings == ()
    print(f"{at} store calls, dead {when} each")
    assert at >= 6


def test_orphans_and_runs_that_lost_a_race_are_named_and_left() -> None:
    store = MemoryStore()
    repository = Journal(store).create()
    backup(repository, [piece(ORDERS, 0, 2)])
    orphan = write_pack(repository, [piece(ORDERS, 6, 1, seed=1)])
    backup(repository, [piece(ORDERS, 6, 3), piece(PAYMENTS, 0, 1)])
    backup(repository, [piece(ORDERS, 15, 1)])
    plan = planned(without_log(store), MemoryStore())
    assert [(one.pack, one.coverage) for one in plan.over] == [(orphan.name, OffsetRange(6, 9))]
    assert plan.unnamed == (orphan.name,)
    target = MemoryStore("new")
    rebuilt(without_log(store), target)
    assert orphan.name not in target.objects
    assert histories(open_repository(target).state) == histories(repository.state)


def compacted(repository: Repository) -> None:
    """All runs move into one pack of the epoch at hand."""
    store, state = repository.store, repository.state
    with PackMover(
        store.open_new(),
        repository.about,
        epoch=state.epoch,
        now=Clock(),
        rng=random.Random(state.head),
        seal=repository.seal,
    ) as mover:
        rows = []
        for entry in state.packs:
            footer = read_footer(store, entry, repository.id, repository.seal)
            for run in entry.runs:
                index = footer.runs[run.index]
                rows.append(MovedRun(mover.add(index, stored_chunks(store, entry.name, index)), entry.name, run.index))
        pack = mover.finish()
    change = Compact((CompactedPack(pack.name, pack.size, pack.blake3, pack.epoch, tuple(rows)),))
    repository.decide(change, started="2026-11-20T10:00:00.000Z")


def test_old_runs_in_a_pack_of_a_late_epoch() -> None:
    """What moved into a later pack comes first in its history: the packs behind it are too old by then."""
    store = MemoryStore()
    repository = Journal(store).create()
    backup(repository, [piece(ORDERS, 0, 2)])
    first = [entry.name for entry in repository.state.packs]
    late = write_pack(repository, [piece(PAYMENTS, 0, 1)])
    repository.commit(draft(packs=[late], open_=opened(PAYMENTS)))
    compacted(repository)
    for name in [*first, late.name]:
        del store.objects[name]
    old = write_pack(repository, [piece(ORDERS, 6, 2)])
    repository.commit(draft(packs=[old], cuts=[cut(ORDERS, 12)]))
    young = open_repository(store)
    for epoch in range(young.state.epoch + 1, young.state.epoch + 4):
        young.decide(RaiseEpoch(epoch), started="2026-11-20T10:00:00.000Z")
    # the same again, so that the first runs lie in a pack of epoch 3
    moved = next(entry for entry in young.state.packs if entry.runs and entry.runs[0].coverage.start == 0)
    with PackMover(store.open_new(), young.about, epoch=3, now=Clock(), rng=random.Random(5), seal=young.seal) as mover:
        footer = read_footer(store, moved, young.id, young.seal)
        rows = [
            MovedRun(mover.add(index, stored_chunks(store, moved.name, index)), moved.name, at)
            for at, index in enumerate(footer.runs)
        ]
        pack = mover.finish()
    young.decide(
        Compact((CompactedPack(pack.name, pack.size, pack.blake3, pack.epoch, tuple(rows)),)),
        started="2026-11-20T10:00:00.000Z",
    )
    del store.objects[moved.name]
    target = MemoryStore("new")
    lost = without_log(store)
    lost.put_new("doc/" + "00/" + "0" * 64, b"not a document")
    result = rebuilt(lost, target)
    assert result.rewritten == 1
    again = open_repository(target)
    assert again.state.epoch == 3
    found = contents(again, again.points()[-1])
    assert found[ORDERS.topic_partition] == contents(young, young.points()[-1])[ORDERS.topic_partition]
    assert verify(again, level="data").findings == ()
    assert [failure.subject for failure in result.failures] == ["doc/00/" + "0" * 64]


def test_a_damaged_pack_becomes_a_gap_and_a_failure_of_the_point() -> None:
    store = MemoryStore()
    repository = Journal(store).create()
    for start in (0, 6, 12):
        backup(repository, [piece(ORDERS, start, 2)])
    names = [entry.name for entry in repository.state.packs]
    lost = without_log(store)
    data = bytearray(lost.objects[names[1]])
    data[150] ^= 1
    lost.objects[names[1]] = bytes(data)
    target = MemoryStore("new")
    result = rebuilt(lost, target)
    assert [failure.subject for failure in result.failures] == [names[1]]
    again = open_repository(target)
    (gap,) = again.state.generations[ORDERS].gaps
    assert isinstance(gap, Gap) and (gap.offsets, gap.reason) == (OffsetRange(6, 12), UNACCOUNTED)
    (point,) = again.points()
    assert not point.complete
    assert [failure.subject for failure in point.failures] == [names[1]]
    assert verify(again, level="data").findings == ()


def test_what_is_whole_or_somebody_elses_is_refused() -> None:
    store = MemoryStore()
    repository = Journal(store).create()
    backup(repository, [piece(ORDERS, 0, 2)])
    with pytest.raises(PlanRefused, match="nothing is wrong"):
        planned(store, MemoryStore())
    with pytest.raises(PlanRefused, match="holds recovery points"):
        planned(store, None)
    other = MemoryStore("other")
    Journal(other, seed=9).create()
    with pytest.raises(PlanRefused, match="holds repository"):
        planned(without_log(store), other)
    bare = without_log(store)
    bare.objects = {name: data for name, data in bare.objects.items() if not name.startswith("doc/")}
    with pytest.raises(PlanRefused, match="which cluster"):
        prepare(bare, MemoryStore(), now=Clock())
    damaged = without_log(store)
    damaged.objects[log_name(0)] = b"x"
    with pytest.raises(PlanRefused, match="damaged, not gone"):
        planned(damaged, None)

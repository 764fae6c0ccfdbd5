"""Compactions that die anywhere, and plans that have nothing left to do once they were carried out."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.faults import Figures
from tests.support.keeping import Life
from tests.support.readers import reader_of, same_state
from tests.support.repositories import Journal, backup, generation, open_repository, piece

from kafkeep.compaction.plan import CompactOptions, plan_compaction
from kafkeep.compaction.run import compact, prepare
from kafkeep.model import RunRef
from kafkeep.repository.catalogue import PackCatalogue, PackEntry
from kafkeep.repository.repository import Repository
from kafkeep.repository.state import State
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import FaultyStore, SimulatedCrash
from kafkeep.verify.run import verify

OPTIONS = CompactOptions(target_bytes=12 * 1024)


def each_run_lies_in_one_place(state: State) -> bool:
    """What the packs say is what the histories say."""
    by_packs = sorted((run.pack, run.index) for entry in state.packs for run in entry.runs)
    by_histories = sorted((run.pack, run.index) for known in state.generations.values() for run in known.runs)
    return by_packs == by_histories and len(set(by_packs)) == len(by_packs)


@pytest.mark.fault("C4")
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_compaction_that_dies_at_any_call_leaves_old_runs_or_new_ones(when: str, fault: Figures) -> None:
    def aged() -> Life:
        life = Life(random.Random("compaction 2"))
        for _ in range(10):
            life.backup()
        return life

    def compacted(life: Life, repository: Repository) -> int:
        plan = prepare(repository, OPTIONS)
        return len(compact(repository, plan, now=life.journal.clock, rng=random.Random(2)).commits)

    quiet = aged()
    assert compacted(quiet, quiet.repository) >= 2
    at = 0
    while True:
        life = aged()
        dying = FaultyStore.dying(life.store, at=at, when=when)
        try:
            compacted(life, open_repository(dying, clock=life.journal.clock))
        except SimulatedCrash:
            at += 1
        else:
            break
        after = open_repository(life.store, clock=life.journal.clock)
        life.check(after)
        assert each_run_lies_in_one_place(after.state)
        assert verify(after, level="data").findings == ()
        compacted(life, after)
        life.check(after)
        assert prepare(after, OPTIONS).nothing_to_do
        assert each_run_lies_in_one_place(after.state) and same_state(reader_of(life.store), after)
    fault.figures(places=at)
    assert at >= 8


@pytest.mark.parametrize("seed", range(8))
def test_a_life_with_compactions_ends_with_what_its_points_hold(seed: int) -> None:
    """Whatever was moved, retired, taken back and swept: in the end nothing is stored that no commit names."""
    life = Life(random.Random(f"gathered {seed}"))
    for _ in range(25):
        life.step()
        assert each_run_lies_in_one_place(life.repository.state)
    plan = prepare(life.repository, OPTIONS)
    compact(life.repository, plan, now=life.journal.clock, rng=life.dice)
    assert prepare(life.repository, OPTIONS).nothing_to_do
    life.check()
    for _ in range(4):
        life.prune()
        life.journal.clock.advance(days=30)
    life.check()
    state = life.repository.state
    stored = {name for name in life.store.objects if name.startswith("pack/")}
    assert stored == {entry.name for entry in state.packs} == {entry.name for entry in state.packs if entry.runs}


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40_000), st.integers(1, 5)), max_size=40),
    st.sampled_from([8_000, 40_000, 100_000, 1_000_000]),
    st.sampled_from([4, 7, 100]),
)
def test_a_plan_that_was_carried_out_leaves_nothing_to_do(
    packs: list[tuple[int, int]], target: int, share: int
) -> None:
    repository, run = _one_run()
    options = CompactOptions(target_bytes=target, smaller_than=target // share)
    entries = [_entry(f"{place}", [_of(run, size)] * count) for place, (size, count) in enumerate(packs)]
    plan = plan_compaction(_with(repository, entries), repository.about, options)
    for gathering in plan.gatherings:
        assert len(gathering.packs) > 1
        gone = [entry for entry in entries if entry.name in gathering.packs]
        runs = [run for entry in gone for run in entry.runs]
        assert sum(run.facts.stored_bytes for run in runs) == gathering.bytes <= target
        entries = [entry for entry in entries if entry not in gone] + [_entry("/".join(gathering.packs), runs)]
    assert plan_compaction(_with(repository, entries), repository.about, options).nothing_to_do


def _one_run() -> tuple[Repository, RunRef]:
    repository = Journal(MemoryStore()).create()
    backup(repository, [piece(generation(), 0, 1)])
    (entry,) = repository.state.packs
    return repository, entry.runs[0]


def _of(run: RunRef, size: int) -> RunRef:
    return replace(run, facts=replace(run.facts, stored_bytes=size, raw_bytes=size))


def _entry(name: str, runs: list[RunRef]) -> PackEntry:
    return PackEntry(name, sum(run.facts.stored_bytes for run in runs), "", 0, 1, tuple(runs))


def _with(repository: Repository, entries: list[PackEntry]) -> State:
    return replace(repository.state, packs=PackCatalogue().extended(entries))

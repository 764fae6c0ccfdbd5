"""Retention against what points held: whatever is let go, taken back and deleted, the others hold what they held."""

from __future__ import annotations

import random

import pytest
from tests.support.faults import Figures
from tests.support.keeping import Life
from tests.support.readers import reader_of, same_state
from tests.support.repositories import open_repository

from kafkeep.repository.keeping import PRUNED
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import FaultyStore, SimulatedCrash
from kafkeep.verify.run import verify


@pytest.mark.fault("G1", histories=1)
@pytest.mark.parametrize("seed", range(40))
def test_points_that_stay_hold_what_they_held(seed: int) -> None:
    life = Life(random.Random(seed))
    for _ in range(40):
        life.step()
        life.check()
    again = open_repository(life.store)
    assert again.state == life.repository.state
    assert verify(again, level="data").findings == ()
    assert same_state(reader_of(life.store), again)
    assert dict(reader_of(life.store).pins) == {
        number: {"point": pin.point, "reason": pin.reason, "until": pin.until, "until_tag": pin.until_tag}
        for number, pin in again.state.pins.items()
    }
    assert {n: [tuple(t) for t in p["tags"]] for n, p in reader_of(life.store).points.items()} == {
        point.number: list(point.tags) for point in again.points()
    }


def test_what_is_walked_through_is_worth_walking_through() -> None:
    """The histories above hold what they are for."""
    seen = {"swept": 0, "inner gaps": 0, "later starts": 0, "taken back": 0, "epochs": 0, "pins": 0}
    seen |= {"moved": 0, "emptied": 0, "given up": 0}
    for seed in range(40):
        life = Life(random.Random(seed))
        for _ in range(40):
            before, emptied = len(life.live), without_runs(life)
            life.step()
            seen["given up"] += len(emptied & life.repository.state.swept)
            seen["taken back"] += len(life.live) > before + 1
        state = life.repository.state
        seen["swept"] += len(state.swept)
        seen["inner gaps"] += any(gap.reason == PRUNED for known in state.generations.values() for gap in known.gaps)
        seen["later starts"] += any(known.start > 0 for known in state.generations.values())
        seen["epochs"] += state.epoch
        seen["pins"] += len(state.pins)
        seen["moved"] += sum(len(entry.moved) for entry in state.packs)
        seen["emptied"] += len(without_runs(life))
    assert min(seen.values()) > 0, seen


def without_runs(life: Life) -> set[str]:
    """Packs that a compaction left."""
    return {entry.name for entry in life.repository.state.packs if not entry.runs}


@pytest.mark.fault("C3")
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("seed", [3, 5, 17, 28])
def test_a_pruning_that_dies_at_any_call_is_finished_by_the_next(seed: int, when: str, fault: Figures) -> None:
    def aged() -> Life:
        life = Life(random.Random(seed))
        for _ in range(30):
            life.step()
        life.orphan()
        life.prune()
        for _ in range(8):
            life.backup()
        life.journal.clock.advance(days=10)
        return life

    quiet = aged()
    quiet.prune()
    at = 0
    while True:
        life = aged()
        before, dice = set(life.live), life.dice.getstate()
        dying = FaultyStore.dying(life.store, at=at, when=when)
        try:
            life.prune(open_repository(dying, clock=life.journal.clock))
        except SimulatedCrash:
            at += 1
        else:
            break
        after = open_repository(life.store, clock=life.journal.clock)
        life.live = {point.number for point in after.points()}
        assert life.live in (before, quiet.live)
        life.check(after)
        assert verify(after, level="data").findings == ()
        life.dice.setstate(dice)
        life.prune(after)
        life.check(after)
        assert life.live == quiet.live
        assert {entry.name for entry in after.state.packs} <= packs(life.store) <= packs(quiet.store)
    print(f"{at} store calls, dead {when} each")
    assert at >= 4
    fault.figures(places=at)


def packs(store: MemoryStore) -> set[str]:
    return {name for name in store.objects if name.startswith("pack/")}


@pytest.mark.parametrize("seed", range(10))
def test_deleted_is_what_was_swept_and_nothing_else(seed: int) -> None:
    life = Life(random.Random(f"deleted {seed}"))
    for _ in range(25):
        life.step()
        state = life.repository.state
        assert {entry.name for entry in state.packs} <= packs(life.store)
    life.orphan()
    life.journal.clock.advance(days=30)
    for _ in range(4):
        life.prune()
        life.journal.clock.advance(days=30)
    state = life.repository.state
    assert packs(life.store) == {entry.name for entry in state.packs}

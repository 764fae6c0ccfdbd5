"""Die at every mutating call of the store, open again: nothing that was reported is lost, and the work can be resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.faults import Figures
from tests.support.repositories import Journal, open_repository
from tests.support.writer import ROUNDS, expected, run_all, summary

from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import FaultyStore, RetryingStore, SimulatedCrash
from kafkeep.verify.run import verify

MAKERS: dict[str, Callable[[Path], Store]] = {"memory": lambda path: MemoryStore(), "local": LocalStore}


def mutating_calls() -> int:
    """How many there are in an uninterrupted backup."""
    store = FaultyStore(MemoryStore())
    Journal(store.inner).create()
    repository = open_repository(store)
    run_all(repository)
    assert summary(repository) == expected()
    return store.mutations


def test_the_uninterrupted_backup_holds_what_the_source_held() -> None:
    assert mutating_calls() > 40


@pytest.mark.fault("C2")
@pytest.mark.parametrize(("maker", "when"), [("memory", "before"), ("memory", "after"), ("local", "after")])
def test_death_at_any_call_loses_nothing_that_was_reported(
    maker: str, when: str, tmp_path: Path, fault: Figures
) -> None:
    places = mutating_calls()
    for at in range(places):
        store = MAKERS[maker](tmp_path / str(at))
        Journal(store).create()
        reported: list[tuple[str, int]] = []
        with pytest.raises(SimulatedCrash):
            run_all(
                open_repository(FaultyStore.dying(store, at=at, when=when)),
                lambda name, number, reported=reported: reported.append((name, number)),  # type: ignore[misc]
            )
        reopened = open_repository(store, seed=2)
        assert reopened.state.head >= max((number for _, number in reported), default=0)
        assert len(reopened.state.alarms) == 0
        before = summary(reopened)
        assert before == {name: found for name, found in expected().items() if name in before}
        report = verify(store, level="data")
        assert (report.findings, report.alarms) == ((), ())
        run_all(reopened)
        assert summary(reopened) == expected() == summary(open_repository(store, seed=3))
        assert [point.name for point in reopened.points()] == [work.name for work in ROUNDS]
        assert verify(store, level="data").findings == ()
        covered = [
            (known.generation, known.runs[index].coverage.stop, known.runs[index + 1].coverage.start)
            for known in reopened.state.generations.values()
            for index in range(len(known.runs) - 1)
        ]
        assert all(stop <= start for _, stop, start in covered), "nothing is covered twice"
    fault.figures(places=places)


def test_death_upon_death_still_ends_in_the_whole_backup() -> None:
    """Every run dies a few calls further on; in the end one gets through."""
    store = MemoryStore()
    Journal(store).create()
    for life in range(200):
        try:
            run_all(open_repository(FaultyStore.dying(store, at=life % 7 + life // 10, when="after"), seed=life))
        except SimulatedCrash:
            assert verify(store, level="objects").findings == ()
        else:
            break
    else:
        pytest.fail("no life was long enough")
    assert life > 5
    assert summary(open_repository(store)) == expected()


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("every", range(2, 21))
def test_lost_answers_and_failing_calls_change_nothing(every: int, applied: bool) -> None:
    inner = MemoryStore()
    Journal(inner).create()
    store = RetryingStore(FaultyStore.failing(inner, every=every, applied=applied), pause=lambda seconds: None)
    repository = open_repository(store)
    run_all(repository)
    assert summary(repository) == expected() == summary(open_repository(inner))
    assert len(repository.state.alarms) == 0
    assert verify(inner, level="data").findings == ()
    assert len(repository.points()) == len(ROUNDS), "each point once"

"""Die at every mutating call of a trimming: what is left is whole for whoever comes new, and the next one ends its work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.long_logs import LongLog, small_milestones
from tests.support.trimmings import copied, held, numbers, small_log, trimmed, two_states

from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.wrappers import FaultyStore, SimulatedCrash
from kafkeep.verify.run import verify


@pytest.fixture(autouse=True, scope="module")
def milestones() -> Iterator[None]:
    with small_milestones(8):
        yield


@pytest.fixture(scope="module")
def old(milestones: None) -> LongLog:
    """States saved by commits 21 and 41 are settled, and a third is due: a trimming has every kind of work."""
    return two_states(small_log())


def of_states(store: Store) -> int:
    """Documents that no point names."""
    return sum(1 for _ in store.list("doc/"))


def again(log: LongLog, store: Store) -> LongLog:
    """The same repository in another store, seen by another process at the same time."""
    return LongLog(store=store, clock=log.clock, seed=log.seed)


@pytest.mark.parametrize("when", ["before", "after"])
def test_death_while_a_log_is_trimmed(old: LongLog, when: str) -> None:
    expected = held(old)
    counting = FaultyStore(copied(old.store))
    result = trimmed(again(old, counting))
    assert result.saved == 51 and result.deleted_documents > 5
    assert result.deleted_commits == 40 - 5 and result.failures == ()
    assert numbers(counting) == [0, 8, 16, 24, 32, 40, *range(41, 52)]
    documents = of_states(counting)
    for at in range(counting.mutations):
        store = copied(old.store)
        log = again(old, FaultyStore.dying(store, at=at, when=when))
        with pytest.raises(SimulatedCrash):
            trimmed(log)
        log = again(old, store)
        assert held(log) == expected, at
        report = verify(store, level="objects")
        assert (report.findings, report.alarms) == ((), ()), at
        trimmed(log)
        assert held(log) == expected, at
        assert numbers(store) == numbers(counting), at
        assert of_states(store) <= documents + 4, at  # a state may have been saved whose commit was never made
        assert verify(store, level="data").findings == ()
    assert counting.mutations > 45


def test_death_is_forgotten_by_the_next_but_one(old: LongLog) -> None:
    """What an interrupted trimming leaves of older states is found by what newer ones tell of them."""
    quiet = copied(old.store)
    trimmed(again(old, quiet))
    counting = FaultyStore(copied(old.store))
    trimmed(again(old, counting))
    first = next(at for at in range(counting.mutations) if _dies_while_documents_go(old, at))
    for at in range(first, counting.mutations):
        store = copied(old.store)
        with pytest.raises(SimulatedCrash):
            trimmed(again(old, FaultyStore.dying(store, at=at, when="before")))
        assert of_states(store) > of_states(quiet)
        trimmed(again(old, store))
        assert of_states(store) == of_states(quiet)


def _dies_while_documents_go(old: LongLog, at: int) -> bool:
    store = copied(old.store)
    with pytest.raises(SimulatedCrash):
        trimmed(again(old, FaultyStore.dying(store, at=at, when="before")))
    return 41 in numbers(store) and numbers(store)[:7] == [0, 8, 16, 24, 32, 40, 41]

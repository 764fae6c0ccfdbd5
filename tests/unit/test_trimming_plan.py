"""What of a log may go, and when a state is saved: the pure rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkeep.repository.names import MILESTONE
from kafkeep.saved_states import NamedState, is_dense, may_be_trimmed
from kafkeep.trimming.plan import Circumstances, Leaving, Stretch, bound_of, deletable, plan_trim, stretches

NOW = datetime(2026, 12, 20, tzinfo=UTC)
DAY = 24 * 3600.0


def state(number: int, days: float, *, stored: float | None = None) -> NamedState:
    """Saved so many days ago by its writer's clock, and by the store's."""
    finished = (NOW - timedelta(days=days)).isoformat().replace("+00:00", "Z")
    made = None if stored is None else NOW - timedelta(days=stored)
    return NamedState(number, f"{number:064x}", finished, made, "ab" * 8)


def known(*named: NamedState, head: int = 20_000, **more: object) -> Circumstances:
    given = {"present": range(head + 1), "undo_seconds": 14 * DAY} | more
    return Circumstances(repository="r", head=head, now=NOW, named=named, **given)  # type: ignore[arg-type]


def test_nothing_saved_yet() -> None:
    plan = plan_trim(known())
    assert plan.save and not plan.deletes and plan.standing == () and plan.bound is None


@pytest.mark.parametrize(
    ("named", "head", "wanted", "save"),
    [
        ((), 4095, None, False),
        ((), 4096, None, True),
        ((), 100, True, True),
        ((), 20_000, False, False),
        ((state(8000, 3),), 8191, None, False),
        ((state(8000, 3),), 8192, None, True),
        ((state(8000, 0.9),), 20_000, None, False),
        ((state(8000, 0.9),), 8001, True, True),
        ((state(8000, 3, stored=0.5),), 20_000, None, False),
    ],
)
def test_when_a_state_is_saved(named: tuple[NamedState, ...], head: int, wanted: bool | None, save: bool) -> None:
    plan = plan_trim(known(*named, head=head, wanted=wanted))
    assert plan.save is save and plan.why


def test_the_newest_settled_state_stands_for_what_goes() -> None:
    plan = plan_trim(known(state(15_000, 13.9), state(9000, 14.1), state(5000, 40)))
    assert (plan.bound, plan.commit_count) == (9000, 9000 - 3)
    assert plan.commits == (Stretch(1, 4095), Stretch(4097, 8191), Stretch(8193, 8999))
    assert [each.settled for each in plan.standing] == [False, True, True]
    assert plan.standing[0].settles == "2026-12-20T02:24:00.000Z"


def test_the_later_of_two_clocks_counts() -> None:
    assert bound_of(known(state(9000, 40, stored=3))) is None
    assert bound_of(known(state(9000, 3, stored=40))) is None
    assert bound_of(known(state(9000, 40, stored=40))) is not None


def test_no_commit_behind_the_last_milestone_goes() -> None:
    assert plan_trim(known(state(4200, 20), head=4300)).commits == (Stretch(1, 4095),)
    assert plan_trim(known(state(4000, 20), head=4095)).commits == ()
    assert plan_trim(known(state(4000, 20), head=4096)).commits == (Stretch(1, 3999),)


def test_a_state_that_nothing_can_be_held_against_does_not_count() -> None:
    holed = [0, *range(2, 20_001)]
    plan = plan_trim(known(state(9000, 20), present=holed))
    assert not plan.deletes and "missing" in plan.remarks[0]
    assert plan_trim(known(state(9000, 20), state(5000, 20), present=[0, *range(5000, 20_001)])).bound == 9000
    assert plan_trim(known(state(9000, 20), present=holed, vouched={9000})).bound == 9000
    # the older one can still be held against what is before it
    later = [*range(6000), *range(6001, 20_001)]
    plan = plan_trim(known(state(9000, 20), state(5000, 20), present=later))
    assert plan.bound == 5000 and len(plan.remarks) == 1


@pytest.mark.parametrize("skew", [301.0, -301.0])
def test_clocks_that_differ_let_nothing_go(skew: float) -> None:
    plan = plan_trim(known(state(9000, 20), skew_seconds=skew))
    assert plan.deletes and len(plan.refusals) == 1
    assert plan_trim(known(skew_seconds=skew)).refusals == ()
    assert plan_trim(known(state(9000, 20), skew_seconds=299.0)).refusals == ()


def test_states_that_leave_are_standing_no_more() -> None:
    leaving = (Leaving(5000, "d", (("a", "b"), ("c",))),)
    plan = plan_trim(known(state(9000, 20), state(5000, 40)), leaving)
    assert [each.number for each in plan.standing] == [9000] and plan.document_count == 3
    assert leaving[0].documents == ("a", "b", "c")


@given(st.sets(st.integers(0, 3 * MILESTONE)), st.integers(0, 3 * MILESTONE), st.integers(0, 3 * MILESTONE))
def test_what_goes_is_what_may_be_missing(present: set[int], bound: int, ahead: int) -> None:
    head = bound + ahead
    found = set(deletable(sorted(present), bound, head))
    assert found == {number for number in present if may_be_trimmed(number, bound, head)}
    for number in found:
        assert number < bound and number % MILESTONE and number // MILESTONE * MILESTONE + MILESTONE <= head


@given(st.sets(st.integers(0, 40)))
def test_stretches_hold_the_same_numbers(numbers: set[int]) -> None:
    found = stretches(sorted(numbers))
    assert [number for each in found for number in range(each.first, each.last + 1)] == sorted(numbers)
    assert all(a.last + 1 < b.first for a, b in pairwise(found))


@given(st.sets(st.integers(0, 30)), st.integers(0, 30), st.integers(0, 10))
def test_density(numbers: set[int], first: int, length: int) -> None:
    expected = all(number in numbers for number in range(first, first + length + 1))
    assert is_dense(sorted(numbers), first, first + length) is expected

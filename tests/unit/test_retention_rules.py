"""Which points the rules keep, and for which reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.repositories import generation

from kafkeep.model import PartitionCut, RecoveryPoint
from kafkeep.repository.changes import Pin, Retag, has_tag
from kafkeep.retention.rules import APART, NONE, POLICIES, TOGETHER, Circumstances, KeepRules, Signer, judge
from kafkeep.times import rfc3339

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
CUT = PartitionCut(generation(), 1, 0, 1, 1, 1)


def point(number: int, age: timedelta, **fields: object) -> RecoveryPoint:
    moment = rfc3339(NOW - age)
    known: dict[str, object] = {
        "number": number,
        "name": None,
        "tags": (),
        "started": moment,
        "finished": moment,
        "cluster_id": "cluster",
        "cuts": (CUT,),
        "selection": ("*",),
        "documents": (),
        "consistency": "partition",
        "complete": True,
        "failures": (),
    }
    return RecoveryPoint(**(known | fields))  # type: ignore[arg-type]


def kept(points: list[RecoveryPoint], rules: KeepRules, **circumstances: object) -> dict[int, tuple[str, ...]]:
    verdicts = judge(points, rules, Circumstances(now=NOW, **circumstances))  # type: ignore[arg-type]
    assert [verdict.point for verdict in verdicts] == [each.number for each in points]
    return {verdict.point: verdict.reasons for verdict in verdicts if verdict.keep}


def hours(count: int, step: int = 1) -> list[RecoveryPoint]:
    """Oldest first, the newest an hour old."""
    return [point(index, timedelta(hours=step * (count - index))) for index in range(count)]


def test_the_last_ones() -> None:
    assert sorted(kept(hours(10), KeepRules(last=4, min_points=1))) == [6, 7, 8, 9]


def test_incomplete_points_do_not_count_but_stay_while_they_are_newer() -> None:
    points = [point(index, timedelta(hours=10 - index), complete=index not in (2, 5)) for index in range(6)]
    found = kept(points, KeepRules(last=2, min_points=1))
    assert sorted(found) == [3, 4, 5]
    assert "newer than the last complete ones" in found[5]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (KeepRules(hourly=3, min_points=1), [97, 98, 99]),
        (KeepRules(daily=2, min_points=1), [87, 99]),
        (KeepRules(weekly=2, min_points=1), [99]),
        (KeepRules(monthly=5, min_points=1), [99]),
        (KeepRules(yearly=5, min_points=1), [99]),
        (KeepRules(within_seconds=7200, min_points=1), [98, 99]),
        (KeepRules(daily=2, hourly=2, min_points=1), [87, 98, 99]),
    ],
)
def test_periods_of_a_hundred_hours(rules: KeepRules, expected: list[int]) -> None:
    # 21 November 2026 is a Saturday; a hundred hours before it is the Tuesday of the same week.
    assert sorted(kept(hours(100), rules)) == expected


def test_a_period_is_held_by_its_newest_complete_point() -> None:
    points = [
        point(1, timedelta(hours=30)),
        point(2, timedelta(hours=29), complete=False),
        point(3, timedelta(hours=1)),
    ]
    found = kept(points, KeepRules(daily=2, min_points=1))
    assert found == {1: ("daily: 2026-11-20",), 3: ("the newest", "daily: 2026-11-21")}


def test_weeks_go_by_the_calendar_of_weeks() -> None:
    points = [point(1, NOW - datetime(2026, 1, 1, tzinfo=UTC)), point(2, NOW - datetime(2025, 12, 29, tzinfo=UTC))]
    found = kept([points[1], points[0]], KeepRules(weekly=5, min_points=1))
    assert found == {1: ("the newest", "weekly: 2026-01")}


def test_points_of_another_selection_or_without_records_are_series_of_their_own() -> None:
    points = [
        point(1, timedelta(days=9)),
        point(2, timedelta(days=8), selection=("orders",)),
        point(3, timedelta(days=7), cuts=()),
        point(4, timedelta(days=6)),
    ]
    assert sorted(kept(points, KeepRules(last=1, min_points=1))) == [2, 3, 4]


def test_a_minimum_stays_whatever_the_rules_say() -> None:
    points = hours(5, step=24)
    assert sorted(kept(points, KeepRules(within_seconds=60))) == [2, 3, 4]
    assert kept(points, KeepRules(within_seconds=60))[2] == ("never fewer than 3",)


def test_future_dates_are_kept_and_said() -> None:
    points = [point(1, timedelta(days=3)), point(2, timedelta(days=2)), point(3, timedelta(days=-400))]
    found = kept(points, KeepRules(last=1, min_points=1))
    assert found == {2: ("one of the last 1",), 3: ("the newest", "dated in the future")}


def test_tags_pins_and_verified_points_are_kept() -> None:
    points = [
        point(1, timedelta(days=9), tags=(("kind", "release"),)),
        point(2, timedelta(days=8)),
        point(3, timedelta(days=7)),
        point(4, timedelta(days=6), tags=(("kind", "other"),)),
        point(5, timedelta(days=5)),
    ]
    pins = {2: Pin(2, "before the upgrade"), 4: Pin(4, "over", until=rfc3339(NOW))}
    found = kept(points, KeepRules(tags=("kind=release",), min_points=1), pins=pins, verified_head=4)
    assert found == {
        1: ("tagged kind=release",),
        2: ("pinned: before the upgrade",),
        4: ("the newest that was verified",),
        5: ("the newest",),
    }


STOLEN, HONEST = Signer("aa" * 8, "host", trusted=False), Signer("bb" * 8, "host 2")


def flooded(honest: int = 6, false: int = 10) -> tuple[list[RecoveryPoint], dict[int, Signer]]:
    """A point every day, and behind each of the last days many of a key that is trusted no more."""
    true = hours(honest, step=24)
    points = [*true, *(point(100 + index, timedelta(minutes=50 - index)) for index in range(false))]
    return points, {each.number: STOLEN if each.number >= 100 else HONEST for each in points}


@pytest.mark.parametrize("rules", [KeepRules(last=3, min_points=1), KeepRules(hourly=3, daily=3, min_points=1)])
def test_points_of_a_stolen_key_push_no_others_out_once_it_is_trusted_no_more(rules: KeepRules) -> None:
    points, signers = flooded()
    true = [each for each in points if each.number < 100]
    wanted = set(kept(true, rules))
    for distrusted in (APART, NONE):
        found = kept(points, replace(rules, distrusted=distrusted), signers=signers)
        assert {number for number in found if number < 100} == wanted
    together = kept(points, replace(rules, distrusted=TOGETHER), signers=signers)
    assert together == kept(points, rules) and not wanted <= set(together)


def test_points_of_a_key_that_was_replaced_stay_by_the_same_rules_counted_apart() -> None:
    points = hours(10, step=24)
    signers = {each.number: STOLEN if each.number < 6 else HONEST for each in points}
    rules = KeepRules(last=2, tags=("kind",), min_points=1)
    assert kept(points, rules, signers=signers) == {
        4: ("counted apart: one of the last 2",),
        5: ("counted apart: one of the last 2",),
        8: ("one of the last 2",),
        9: ("the newest", "one of the last 2"),
    }
    assert sorted(kept(points, replace(rules, distrusted=NONE), signers=signers)) == [8, 9]
    assert sorted(kept(points, replace(rules, distrusted=TOGETHER), signers=signers)) == [8, 9]
    verdicts = judge(points, replace(rules, distrusted=NONE), Circumstances(now=NOW, signers=signers))
    assert verdicts[0].reasons == ("its signer is trusted no more, and no rule counts it",)


def test_a_date_of_a_stolen_key_holds_up_no_others() -> None:
    """An honest point behind one that is dated ahead is not taken for one that is dated back."""
    points = [point(1, timedelta(days=3)), point(2, timedelta(hours=1)), point(3, timedelta(days=2))]
    signers = {1: HONEST, 2: STOLEN, 3: HONEST}
    assert kept(points, KeepRules(last=1, min_points=1), signers=signers)[3] == ("the newest", "one of the last 1")


def test_the_newest_of_all_and_the_newest_of_a_trusted_signer_stay() -> None:
    points, signers = flooded(2, 2)
    rules = KeepRules(within_seconds=1, min_points=1, distrusted=NONE)
    assert kept(points, rules, signers=signers, verified_head=100) == {
        1: ("the newest of a trusted signer", "the newest of a trusted signer that was verified"),
        100: ("the newest that was verified",),
        101: ("the newest",),
    }


def test_the_minimum_is_filled_by_trusted_signers_first_and_never_missed() -> None:
    points, signers = flooded(2, 4)
    rules = KeepRules(within_seconds=1, min_points=4, distrusted=NONE)
    assert sorted(kept(points, rules, signers=signers)) == [0, 1, 102, 103]
    nobody = dict.fromkeys(signers, STOLEN)
    assert len(kept(points, rules, signers=nobody)) == 4


def test_a_tag_on_a_point_of_a_stolen_key_ends_no_pin() -> None:
    points = [point(1, timedelta(days=3)), point(2, timedelta(days=2), tags=(("upgrade", "done"),))]
    pins = {1: Pin(1, "before", until_tag="upgrade=done")}
    rules = KeepRules(last=1, min_points=1, distrusted=NONE)
    signers = {1: HONEST, 2: STOLEN}
    assert "pinned: before" in kept(points, rules, pins=pins, signers=signers)[1]
    assert "pinned: before" not in kept(points, rules, pins=pins, signers={1: HONEST, 2: HONEST}).get(1, ())


def test_a_pin_ends_with_the_next_complete_point_of_a_tag() -> None:
    pin = Pin(1, "before the upgrade", until_tag="upgrade=done")
    done = (("upgrade", "done"),)
    time = rfc3339(NOW)
    assert pin.holds(time, [])
    assert pin.holds(time, [point(2, timedelta(), tags=(("upgrade", "begun"),))])
    assert pin.holds(time, [point(2, timedelta(), tags=done, complete=False)])
    assert pin.holds(time, [point(1, timedelta(), tags=done)])
    assert not pin.holds(time, [point(2, timedelta(), tags=done)])


def test_ready_policies() -> None:
    days = [point(index, timedelta(days=500 - index)) for index in range(500)]
    assert len(kept(days, POLICIES["production"])) in range(45, 56)
    assert len(kept(days, POLICIES["staging"])) == 14
    assert len(kept(days, POLICIES["development"])) == 7
    assert not any(rules.empty for rules in POLICIES.values())
    assert KeepRules().empty and KeepRules(min_points=9).empty


def test_tags_are_set_and_removed() -> None:
    tags = (("a", "1"), ("b", "2"), ("c", "3"))
    assert Retag(1, (("b", "x"), ("d", "4")), ("a",)).applied(tags) == (("c", "3"), ("b", "x"), ("d", "4"))
    assert has_tag(tags, "a") and has_tag(tags, "a=1") and not has_tag(tags, "a=2") and not has_tag(tags, "a=")

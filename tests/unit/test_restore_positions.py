"""Which group positions a restore sets and which it names: the words and places are those of `kafkeep groups plan`."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.restore_plans import content, gap, group, kinds, planned, topic

from kafkeep.cli.groups import IN_GAP
from kafkeep.groups import landing
from kafkeep.groups.landing import Route, land
from kafkeep.model import OffsetRange, TopicPartition
from kafkeep.offset_map import MapRow, OffsetMap
from kafkeep.restore import plan as restore_plan
from kafkeep.restore.plan import BEFORE_START, BEYOND, GAP, PartitionContent, RestorePlan

ORDERS = TopicPartition("orders", 0)
GAPS = ((50, 60), (110, 115))


def placed(*positions: int, contents: PartitionContent | None = None, **options: object) -> RestorePlan:
    """One group for each position in `[10, 200)` with two gaps."""
    having = tuple(group(f"g{at}", ("orders", at)) for at in positions)
    held = content("orders", start=10, stop=200, gaps=GAPS) if contents is None else contents
    return planned(topic("orders"), contents=[held], having=having, **options)


def places(plan: RestorePlan) -> dict[int, str]:
    return {position.committed: position.place for position in plan.not_set}


def test_the_words_are_those_of_groups_plan() -> None:
    assert (restore_plan.GAP, restore_plan.BEYOND, restore_plan.BEFORE_START) == (
        landing.GAP,
        landing.BEYOND,
        landing.BEFORE_START,
    )
    assert "next" in IN_GAP, "warnings name --in-gap next"


def test_positions_that_belong_to_nothing_restored_are_named_and_not_set() -> None:
    plan = placed(9, 10, 49, 50, 59, 60, 114, 115, 199, 200, 201, allow_loss="skip")
    assert places(plan) == {50: GAP, 59: GAP, 114: GAP}
    assert [p.committed for each in plan.groups for p in each.positions] == [9, 10, 49, 60, 115, 199, 200, 201]
    assert any(
        "lie behind what was decided at the source and go to the end (beyond): group g201" in w for w in plan.warnings
    )
    (told,) = [warning for warning in plan.warnings if BEFORE_START in warning]
    assert told.startswith("1 position(s) of 1 group(s) lie in front of what the source still had and go to the first")
    assert told.endswith("group g9 in orders/0 at 9")
    notes = {position.committed: position.note for position in plan.not_set}
    assert notes[59] == "in the gap [50, 60) (retention)"


def test_behind_a_prefix() -> None:
    plan = placed(49, 50, 60, 114, 115, 200, allow_loss="prefix")
    assert places(plan) == {50: GAP, 60: BEYOND, 114: GAP, 115: BEYOND, 200: BEYOND}
    assert any("at 60: the restored records end at source offset 50" in warning for warning in plan.warnings)


def test_behind_and_in_front_of_chosen_offsets() -> None:
    plan = placed(9, 69, 70, 90, 91, from_offsets=((ORDERS, 70),), until_offsets=((ORDERS, 90),))
    assert places(plan) == {9: BEFORE_START, 69: BEFORE_START, 91: BEYOND}
    assert plan.not_set[0].note == "the restored records begin at source offset 70"
    assert plan.refusals == ()


def test_many_groups_make_few_warnings() -> None:
    having = tuple(group(f"g{at}", ("orders", 3), ("orders", 55), ("orders", 300)) for at in range(5000))
    plan = planned(
        topic("orders"),
        contents=[content("orders", start=10, stop=200, gaps=GAPS)],
        having=having,
        allow_loss="skip",
        since_timestamp=1,
    )
    told = [warning for warning in plan.warnings if "position(s)" in warning]
    assert len(told) == 4 and all(len(warning) < 600 for warning in told)
    assert all("of 5000 group(s)" in warning for warning in told)
    assert any("`kafkeep groups apply --in-gap next`" in warning and "(gap)" in warning for warning in told)
    assert len(plan.not_set) == 5000


def test_positions_by_time_are_told_once() -> None:
    plan = placed(10, 11, until_timestamp=5, allow_loss="skip")
    (told,) = [warning for warning in plan.warnings if "by time" in warning]
    assert told.startswith("2 position(s) of 2 group(s)")
    assert not any("by time" in warning for warning in placed(10, allow_loss="skip").warnings)


def test_positions_in_a_partition_that_the_point_does_not_hold() -> None:
    having = (group("g", ("orders", 5)),)
    plan = planned(topic("orders"), contents=[], having=having, allow_loss="skip")
    assert [(p.place, p.note) for p in plan.not_set] == [(GAP, "the point holds nothing of orders/0")]


def test_a_group_of_which_nothing_is_set_may_have_members() -> None:
    having = (group("g", ("orders", 5)),)
    plan = planned(topic("orders"), having=having, active={"g": "Stable"}, from_offsets=((ORDERS, 10),))
    assert kinds(plan) == [] and len(plan.groups) == 1
    fine = planned(topic("orders"), having=having, active={"g": "Stable"})
    assert kinds(fine) == [("group-active", "g")]


def test_share_groups_are_left_out_in_one_line() -> None:
    having = tuple(group(f"s{at}", ("orders", 5), kind="share") for at in range(5))
    plan = planned(topic("orders"), having=having)
    assert plan.groups == ()
    (told,) = plan.warnings
    assert told.startswith("5 share group(s) are left out, `kafkeep groups apply` sets their start offsets")
    assert told.endswith("s0, s1, s2, and 2 more")


@given(
    committed=st.integers(0, 40),
    gaps=st.lists(st.tuples(st.integers(0, 35), st.integers(1, 5)), max_size=3),
    start=st.integers(0, 20),
    length=st.integers(0, 20),
    rows=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3)), max_size=8),
)
def test_it_names_just_what_groups_plan_would_warn_of_or_refuse(
    committed: int,
    gaps: list[tuple[int, int]],
    start: int,
    length: int,
    rows: list[tuple[int, int]],
) -> None:
    """Both look at the same restore: one before it from the plan, one behind it through the offset map."""
    lost = tuple(gap("orders", 0, at, at + count) for at, count in gaps)
    held = replace(content("orders", start=start, stop=start + length), gaps=lost)
    plan = placed(committed, contents=held, allow_loss="skip")
    (part,) = plan.partitions
    restored: list[MapRow] = []
    source, target = part.start, 0
    for records, hole in rows:
        if source + records <= part.stop and not any(
            each.offsets.intersection(OffsetRange(source, source + records)) for each in lost
        ):
            restored.append(MapRow(source, target, records))
            target += records
        source += records + hole
    route = Route(
        source=ORDERS,
        target=ORDERS,
        offsets=OffsetMap(tuple(restored), target),
        start=part.start,
        stop=part.stop,
        gaps=lost,
        log_start=0,
        log_end=target,
    )
    found = land(route, committed, in_gap="refuse")
    told = found.place if found.place in landing.TOLD else None
    moved = [place for place in (BEFORE_START, BEYOND) if any(f"({place})" in warning for warning in plan.warnings)]
    assert [*places(plan).values(), *moved] == ([] if told is None else [told])


@pytest.mark.parametrize("positions", [(), (12,)])
def test_groups_without_a_position_here_are_not_in_the_plan(positions: tuple[int, ...]) -> None:
    plan = placed(*positions)
    assert [each.group_id for each in plan.groups] == [f"g{at}" for at in positions]

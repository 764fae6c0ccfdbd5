"""Declared loss in a restore's plan: when it is refused, what each allowance leaves, and what a choice by time needs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support.restore_plans import POINT, content, gap, group, kinds, planned, run, topic

from kafkeep.errors import LossRefused, PlanRefused
from kafkeep.model import AbortedTransaction, Failure, HeldBack, OffsetRange, TopicPartition
from kafkeep.restore.loss import loss_report, needed
from kafkeep.restore.plan import PartitionContent, RestorePlan
from kafkeep.restore.run import refuse_if_needed
from kafkeep.restore.window import CUT, FILTER, Window

ORDERS = TopicPartition("orders", 0)


def holed(*, gaps: tuple[tuple[int, int], ...] = ((50, 60), (110, 115)), stop: int = 200) -> PartitionContent:
    """Offsets `[0, stop)` in runs and gaps that join up."""
    borders = [0, *(border for each in gaps for border in each), stop]
    runs = tuple(run("orders", 0, *borders[at : at + 2]) for at in range(0, len(borders), 2))
    held = content("orders", stop=stop)
    return replace(held, runs=runs, gaps=tuple(gap("orders", 0, *each) for each in gaps))


def loss(**options: Any) -> RestorePlan:
    return planned(topic("orders"), contents=[holed()], **options)


class TestGaps:
    def test_are_refused_by_name(self) -> None:
        plan = loss()
        assert kinds(plan) == [("declared-loss", "orders/0")]
        assert plan.refusals[0].message == (
            "orders/0: 15 offset(s) are lost: [50, 60) (retention: log start 60), [110, 115) (retention: log start 115)"
        )
        assert "--allow-loss prefix" in plan.refusals[0].hint and "--allow-loss skip" in plan.refusals[0].hint
        assert not any("orders/0" in warning for warning in plan.warnings)
        with pytest.raises(LossRefused, match=r"orders/0: 15 offset\(s\) are lost") as raised:
            refuse_if_needed(plan)
        assert "--allow-loss" in raised.value.hint and raised.value.exit_code == 24

    def test_beside_another_refusal_the_plan_is_refused(self) -> None:
        with pytest.raises(PlanRefused) as raised:
            refuse_if_needed(loss(route="magic"))
        assert type(raised.value) is PlanRefused

    def test_skip_leaves_out_the_gaps_alone(self) -> None:
        plan = loss(allow_loss="skip")
        (part,) = plan.partitions
        assert (part.start, part.stop, part.cut_off, part.lost, plan.lost) == (0, 200, None, 15, 15)
        assert (len(part.runs), part.most_records) == (3, 185)
        assert (plan.refusals, plan.has_loss) == ((), True)
        assert [warning for warning in plan.warnings if "15 offset(s) are lost and left out" in warning]

    def test_prefix_ends_in_front_of_the_first(self) -> None:
        plan = loss(allow_loss="prefix")
        (part,) = plan.partitions
        assert (part.start, part.stop, part.cut_off, part.lost) == (0, 50, OffsetRange(50, 200), 150)
        assert ([each.coverage for each in part.runs], part.most_records, part.raw_bytes) == (
            [OffsetRange(0, 50)],
            50,
            500,
        )
        assert len(part.gaps) == 2
        assert plan.warnings == ("orders/0 ends at 50, in front of its first gap: [50, 200) is left out",)

    def test_a_gap_at_the_very_start_leaves_an_empty_prefix(self) -> None:
        plan = planned(topic("orders"), contents=[holed(gaps=((0, 7),))], allow_loss="prefix")
        (part,) = plan.partitions
        assert (part.start, part.stop, part.runs, part.most_records) == (0, 0, (), 0)

    @pytest.mark.parametrize(
        ("begin", "end", "lost", "prefix"),
        [(60, 110, 0, 110), (None, 50, 0, 50), (None, 51, 1, 50), (55, None, 10, 55), (115, None, 0, 200)],
    )
    def test_count_only_inside_of_what_is_asked_for(
        self, begin: int | None, end: int | None, lost: int, prefix: int
    ) -> None:
        options: dict[str, Any] = {
            "from_offsets": () if begin is None else ((ORDERS, begin),),
            "until_offsets": () if end is None else ((ORDERS, end),),
        }
        assert loss(allow_loss="skip", **options).lost == lost
        assert loss(allow_loss="prefix", **options).partitions[0].stop == prefix
        assert bool(loss(**options).refusals) == loss(allow_loss="skip", **options).has_loss == bool(lost)

    def test_transactions_that_were_open_at_a_gap_are_told(self) -> None:
        held = holed(gaps=((50, 60),))
        opened = replace(held.runs[0].facts, open_transactions=(AbortedTransaction(7, 40),))
        held = replace(held, runs=(replace(held.runs[0], facts=opened), held.runs[1]))
        told = "orders/0: 1 transaction(s) were open where a gap begins"
        skip = planned(topic("orders"), contents=[held], allow_loss="skip")
        assert any(warning.startswith(told) and "as if it had been committed" in warning for warning in skip.warnings)
        prefix = planned(topic("orders"), contents=[held], allow_loss="prefix")
        assert any(warning.startswith(told) and "nothing of them" in warning for warning in prefix.warnings)


class TestMissingPartitions:
    """A partition that could not be captured: its topic would come back with an empty partition and nobody would know."""

    POINT = replace(POINT, complete=False, failures=(Failure("orders/1", "kafka-unreachable", "no leader"),))

    def missing(self, **options: Any) -> RestorePlan:
        return planned(topic("orders", partitions=2), contents=[content("orders")], point=self.POINT, **options)

    def test_is_refused_with_its_reason(self) -> None:
        plan = self.missing()
        assert kinds(plan) == [("declared-loss", "orders/1")]
        assert plan.refusals[0].message == "the point holds nothing of orders/1: no leader (kafka-unreachable)"

    @pytest.mark.parametrize("allow_loss", ["prefix", "skip"])
    def test_may_be_allowed(self, allow_loss: str) -> None:
        plan = self.missing(allow_loss=allow_loss)
        assert (plan.refusals, plan.lost, plan.has_loss) == ((), 0, True)
        assert [str(each.target) for each in plan.missing] == ["orders/1"]
        assert any("the point holds nothing of orders/1" in warning for warning in plan.warnings)

    def test_does_not_matter_where_it_is_not_chosen(self) -> None:
        plan = self.missing(partitions=(("orders", frozenset({0})),))
        assert (plan.refusals, plan.missing) == ((), ())


def test_the_report_names_gaps_ends_and_positions() -> None:
    having = (group("g", ("orders", 55)), group("h", ("orders", 150)), group("i", ("orders", 20)))
    plan = loss(allow_loss="prefix", having=having)
    report = loss_report(plan, started="audit/1", time="2026-11-20T10:00:00.000Z")
    (part,) = report["partitions"]
    assert (part["source"][0], part["target"], part["restored"], part["cut_off"]) == (
        "orders",
        ["orders", 0],
        [0, 50],
        [50, 200],
    )
    assert [(each["from"], each["to"], each["reason"], each["evidence"]) for each in part["gaps"]] == [
        (50, 60, "retention", "log start 60"),
        (110, 115, "retention", "log start 115"),
    ]
    assert [(each["group_id"], each["committed"], each["place"]) for each in report["positions"]] == [
        ("g", 55, "gap"),
        ("h", 150, "beyond"),
    ]
    assert (report["started"], report["allow_loss"], report["point"]) == ("audit/1", "prefix", 5)


# --- a choice by time


def timed(*newest: int, size: int = 10, **facts: Any) -> list[Any]:
    """Runs that follow one another, by their largest timestamps."""
    runs = [run("orders", 0, size * at, size * at + size, newest=stamp) for at, stamp in enumerate(newest)]
    if facts:
        runs[-1] = replace(runs[-1], facts=replace(runs[-1].facts, **facts))
    return runs


def starts(runs: list[Any], window: Window, held_back: tuple[HeldBack, ...] = (), *, stop: int = 1000) -> list[int]:
    stop = min(stop, runs[-1].coverage.stop)
    found = needed(runs, OffsetRange(0, stop), window, held_back)
    return [each.coverage.start for each in found.runs]


class TestNeededRuns:
    @pytest.mark.parametrize("rule", [CUT, FILTER])
    def test_early_runs_in_front_are_not_needed(self, rule: str) -> None:
        runs = timed(99, 50, 100, 3, 200)
        assert starts(runs, Window(since=100, rule=rule)) == [20, 30, 40]
        assert starts(runs, Window(since=99, rule=rule)) == [0, 10, 20, 30, 40]
        assert starts(runs, Window(since=201, rule=rule)) == []
        assert starts(runs, Window(rule=rule)) == [0, 10, 20, 30, 40]

    def test_a_cut_needs_nothing_behind_a_run_that_ends_it(self) -> None:
        assert starts(timed(1, 101, 2, 3), Window(until=100)) == [0, 10]
        assert starts(timed(1, 100, 2, 101), Window(until=100)) == [0, 10, 20, 30]
        assert starts(timed(1, 50, 101, 2), Window(since=50, until=100)) == [10, 20]

    def test_a_filter_needs_what_lies_behind(self) -> None:
        assert starts(timed(1, 101, 2, 3), Window(until=100, rule=FILTER)) == [0, 10, 20, 30]

    @pytest.mark.parametrize(
        "facts",
        [
            {"holes": True},
            {"old_magic": True},
            {"open_transactions": (AbortedTransaction(1, 12),)},
            {"aborted": (AbortedTransaction(1, 12),)},
        ],
    )
    def test_a_run_that_may_hold_no_such_record_does_not_end_a_cut(self, facts: dict[str, Any]) -> None:
        runs = [*timed(1, 101, **facts), run("orders", 0, 20, 30, newest=5)]
        assert starts(runs, Window(until=100)) == [0, 10, 20]

    def test_nor_does_one_that_a_later_run_decides_about(self) -> None:
        runs = timed(1, 101, 2, 3, aborted=(AbortedTransaction(1, 19),))
        assert starts(runs, Window(until=100)) == [0, 10, 20, 30]
        runs = timed(1, 101, 2, 3, aborted=(AbortedTransaction(1, 20),))
        assert starts(runs, Window(until=100)) == [0, 10]

    def test_nor_one_that_may_begin_with_half_a_batch(self) -> None:
        runs = timed(1, 101, 2, 101, 3)
        assert starts([runs[0], *runs[2:]], Window(until=100)) == [0, 20, 30]
        assert starts(runs[1:], Window(until=100)) == [10, 20, 30]

    def test_nor_one_that_is_not_whole_or_holds_back_transactions(self) -> None:
        runs = timed(1, 101, 2)
        assert starts(runs, Window(until=100), stop=15) == [0, 10, 20]
        assert starts(runs, Window(until=100), (HeldBack(1, 0, 5),)) == [0, 10, 20]

    def test_early_runs_of_the_oldest_formats_are_looked_into(self) -> None:
        assert starts(timed(5, old_magic=True), Window(since=100)) == [0]


def test_gaps_outside_of_the_chosen_time_do_not_count() -> None:
    stamps = (10, 100, 200)
    held = holed()
    runs = tuple(
        replace(each, facts=replace(each.facts, max_timestamp=stamp))
        for each, stamp in zip(held.runs, stamps, strict=True)
    )
    contents = [replace(held, runs=runs)]
    early = planned(topic("orders"), contents=contents, since_timestamp=101)
    (part,) = early.partitions
    assert [each.coverage.start for each in part.runs] == [115]
    assert [each.offsets for each in part.gaps] == [OffsetRange(110, 115)], "what borders on the time may belong to it"
    assert [warning for warning in early.warnings if warning.startswith("1 gap(s) lie outside of the chosen time")]
    inside = planned(topic("orders"), contents=contents, since_timestamp=100, until_timestamp=150)
    assert kinds(inside) == [("declared-loss", "orders/0")]
    assert inside.partitions[0].lost == 15
    ended = planned(topic("orders"), contents=contents, until_timestamp=9, allow_loss="prefix")
    (part,) = ended.partitions
    assert (part.start, part.stop, part.cut_off, part.gaps) == (0, 200, None, ())
    assert ended.has_loss is False

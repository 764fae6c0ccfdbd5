"""What a backup decides before it reads: generations, positions, gaps, and who reads what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkeep.capture.plan import (
    CapturePlan,
    PartitionPlan,
    cut_into_tasks,
    plan_capture,
    plan_truncated,
)
from kafkeep.capture.survey import PartitionSurvey, Survey
from kafkeep.model import (
    NO_TOPIC_ID,
    AbortedTransaction,
    Failure,
    Generation,
    GenerationClosed,
    GenerationOpened,
    OffsetRange,
    RunFacts,
    RunRef,
    TopicPartition,
)
from kafkeep.repository.fold.rope import Rope
from kafkeep.repository.nouns import parse_time
from kafkeep.repository.state import GenerationState, State

ID, OTHER_ID = "I" * 22, "O" * 22
TIME = "2026-11-20T10:00:00.000Z"
ORDERS = Generation("orders", ID, 0)


def facts(generation: Generation, start: int, stop: int, **more: Any) -> RunFacts:
    fields: dict[str, Any] = {
        "generation": generation,
        "coverage": OffsetRange(start, stop),
        "leader_epochs": ((3, start),),
        "batches": 1,
        "records": stop - start,
        "control_batches": 0,
        "raw_bytes": 100,
        "stored_bytes": 100,
        "min_base_timestamp": 0,
        "max_timestamp": 0,
        "log_append_time": False,
        "create_time": True,
        "largest_batch": 100,
        "codecs": (0,),
        "aborted": (),
        "open_transactions": (),
        "holes": False,
        "old_magic": False,
    }
    return RunFacts(**(fields | more))


def state_of(*known: GenerationState) -> State:
    return State(
        generations={each.generation: each for each in known},
        latest={each.generation.topic_partition: each.generation for each in known},
    )


def known(
    generation: Generation = ORDERS, *, start: int = 0, stop: int = 50, closed: bool = False, **run: Any
) -> GenerationState:
    runs = [RunRef(facts(generation, start, stop, **run), "pack", 0)] if stop > start else []
    return GenerationState(
        generation=generation,
        start=start,
        next_offset=stop,
        opened_at=1,
        opened_time=TIME,
        opened_why="first-seen",
        closed_at=2 if closed else None,
        closed_why="deleted" if closed else None,
        history=Rope.of((1, run) for run in runs),
    )


def survey_of(*parts: PartitionSurvey, absent: tuple[str, ...] = (), failures: tuple[Failure, ...] = ()) -> Survey:
    return Survey(cluster_id="c", brokers=(), topics=(), partitions=parts, absent=absent, failures=failures)


def part(
    topic_id: str = ID, *, log_start: int = 0, stable: int = 80, high: int = 90, leader: int = 1, epoch: int = 3
) -> PartitionSurvey:
    return PartitionSurvey(
        topic_partition=TopicPartition("orders", 0),
        topic_id=topic_id,
        leader=leader,
        leader_epoch=epoch,
        log_start=log_start,
        high_watermark=high,
        last_stable_offset=stable,
    )


def planned(
    state: State, *parts: PartitionSurvey, cut: str = "last-stable-offset", retention: bool = True
) -> CapturePlan:
    return plan_capture(
        state,
        survey_of(*parts),
        cut=cut,
        deletes_by_retention={"orders": retention},
        delete_retention_ms={},
        now=parse_time(TIME),
    )


def only(plan: CapturePlan) -> PartitionPlan:
    (found,) = plan.partitions
    return found


def test_a_partition_seen_first_is_read_from_its_log_start() -> None:
    found = only(planned(State(), part(log_start=10)))
    assert (found.generation, found.start, found.stop) == (ORDERS, 10, 80)
    assert found.opened == GenerationOpened(ORDERS, 10, "first-seen")
    assert (found.closed, found.gap, found.last_fetched_epoch) == (None, None, -1)


def test_the_cut_is_the_last_stable_offset_or_the_high_watermark_when_asked() -> None:
    assert only(planned(State(), part())).stop == 80
    assert only(planned(State(), part(), cut="high-watermark")).stop == 90


def test_a_known_partition_goes_on_where_its_coverage_ends() -> None:
    found = only(planned(state_of(known()), part()))
    assert (found.generation, found.start, found.stop) == (ORDERS, 50, 80)
    assert (found.opened, found.closed, found.gap) == (None, None, None)
    assert found.last_fetched_epoch == 3, "lets the broker show that its history differs"


def test_undecided_transactions_are_taken_over_from_the_last_run() -> None:
    waiting = (AbortedTransaction(7, 40),)
    found = only(planned(state_of(known(open_transactions=waiting)), part(), cut="high-watermark"))
    assert found.open_transactions == waiting


def test_the_epoch_of_the_last_batch_is_found_behind_runs_without_batches() -> None:
    before = known(stop=50)
    empty = RunRef(facts(ORDERS, 50, 60, leader_epochs=(), batches=0), "pack", 1)
    state = state_of(replace(before, next_offset=60, history=before.history.extended([(2, empty)])))
    assert only(planned(state, part())).last_fetched_epoch == 3


@pytest.mark.parametrize(("retention", "reason"), [(True, "retention"), (False, "delete-records")])
def test_what_the_log_start_has_overtaken_is_a_gap_with_its_reason(retention: bool, reason: str) -> None:
    plan = planned(state_of(known()), part(log_start=70), retention=retention)
    found = only(plan)
    assert found.gap is not None
    assert (found.gap.offsets, found.gap.reason, found.gap.time) == (OffsetRange(50, 70), reason, TIME)
    assert "70" in found.gap.evidence and "50" in found.gap.evidence
    assert plan.gaps == (found.gap,)
    assert (found.start, found.stop) == (70, 80)
    assert (found.last_fetched_epoch, found.open_transactions) == (-1, ())


def test_a_log_start_at_the_position_is_no_gap() -> None:
    assert only(planned(state_of(known()), part(log_start=50))).gap is None


def test_a_recreated_topic_opens_a_new_generation_and_closes_the_old_one() -> None:
    found = only(planned(state_of(known()), part(OTHER_ID, high=200, stable=200)))
    new = Generation("orders", OTHER_ID, 0)
    assert (found.generation, found.start, found.stop) == (new, 0, 200)
    assert found.opened == GenerationOpened(new, 0, "recreated")
    assert found.closed == GenerationClosed(ORDERS, "recreated")


def test_a_generation_that_was_closed_before_is_not_closed_again() -> None:
    found = only(planned(state_of(known(closed=True)), part(OTHER_ID)))
    assert found.closed is None
    assert found.opened is not None and found.opened.why == "recreated"


def test_a_log_that_ends_before_the_stored_position_was_truncated() -> None:
    found = only(planned(state_of(known(stop=50)), part(stable=40, high=40)))
    new = ORDERS.successor
    assert found.opened == GenerationOpened(new, 0, "truncated")
    assert found.closed == GenerationClosed(ORDERS, "truncated")
    assert (found.start, found.stop) == (0, 40)


def test_without_topic_ids_a_shorter_log_counts_as_recreated() -> None:
    generation = Generation("orders", NO_TOPIC_ID, 0)
    found = only(planned(state_of(known(generation)), part(NO_TOPIC_ID, stable=40, high=40)))
    assert found.opened == GenerationOpened(generation.successor, 0, "recreated")


def test_a_topic_that_comes_back_under_its_id_is_read_anew() -> None:
    found = only(planned(state_of(known(closed=True)), part()))
    assert found.opened == GenerationOpened(ORDERS.successor, 0, "recreated")
    assert found.closed is None


def test_open_generations_of_absent_topics_are_closed_once() -> None:
    gone, closed_before, kept = (Generation(name, ID, 0) for name in ("gone", "closed", "kept"))
    state = state_of(known(gone), known(closed_before, closed=True), known(kept))
    survey = survey_of(absent=("gone", "closed"), failures=(Failure("x", "y", "z"),))
    plan = plan_capture(
        state, survey, cut="last-stable-offset", deletes_by_retention={}, delete_retention_ms={}, now=parse_time(TIME)
    )
    assert plan.closed == (GenerationClosed(gone, "deleted"),)
    assert plan.failures == (Failure("x", "y", "z"),)


def test_nothing_to_read_at_the_cut_unless_a_new_leader_may_have_another_history() -> None:
    at_cut = known(stop=80)
    assert not only(planned(state_of(at_cut), part(epoch=3))).to_read
    assert only(planned(state_of(at_cut), part(epoch=4))).to_read
    assert not only(planned(State(), part(stable=0, high=0))).to_read


def test_an_open_transaction_below_the_position_never_turns_the_cut_back() -> None:
    found = only(planned(state_of(known(stop=85)), part(stable=60, high=90)))
    assert (found.start, found.stop, found.opened) == (85, 85, None)


def test_a_divergence_keeps_the_old_generation_and_reads_a_new_one() -> None:
    before = only(planned(state_of(known()), part()))
    found = plan_truncated(before, part(log_start=5, epoch=4), cut="high-watermark")
    assert (found.generation.lineage, found.start, found.stop, found.leader_epoch) == (1, 5, 90, 4)
    assert found.closed == GenerationClosed(ORDERS, "truncated")


def loads(leader: int, *sizes: int) -> list[PartitionPlan]:
    blank = only(planned(State(), part(stable=0, high=0)))
    return [
        replace(blank, generation=Generation(f"t{leader}-{index}", ID, index), leader=leader, start=0, stop=size)
        for index, size in enumerate(sizes)
    ]


@given(
    st.dictionaries(st.integers(0, 4), st.lists(st.integers(0, 1000), min_size=1, max_size=20), max_size=4),
    st.integers(1, 5),
)
def test_every_partition_is_in_one_task_of_its_leader_and_no_task_carries_far_more(
    sizes: dict[int, list[int]], connections: int
) -> None:
    partitions = [each for leader, own in sizes.items() for each in loads(leader, *own)]
    tasks = cut_into_tasks(partitions, connections_per_broker=connections)
    assert sorted(each.generation for task in tasks for each in task.partitions) == sorted(
        each.generation for each in partitions
    )
    for leader, own in sizes.items():
        mine = [task for task in tasks if task.broker == leader]
        assert all(each.leader == leader for task in mine for each in task.partitions)
        assert len(mine) == min(connections, len(own)) and all(task.partitions for task in mine)
        totals = [sum(each.stop - each.start + 1 for each in task.partitions) for task in mine]
        assert max(totals) - min(totals) <= max(own) + 1


def test_the_same_plan_gives_the_same_tasks() -> None:
    partitions = loads(1, 5, 5, 9, 0, 7)
    assert cut_into_tasks(partitions, connections_per_broker=2) == cut_into_tasks(
        partitions[::-1], connections_per_broker=2
    )

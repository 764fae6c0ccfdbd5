"""Plans of restores and prunings hold views of what they are about: memory does not grow with the number of runs."""

from __future__ import annotations

import gc
import json
import pickle
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.support.large_states import PARTITIONS, RUNS, TOPIC, large_state
from tests.support.restore_plans import NOW_MS, topic

from kafkeep.cli.jsonable import to_json
from kafkeep.model import ClusterMetadata, OffsetRange, RecoveryPoint, TopicPartition
from kafkeep.repository.state import State
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.plan import RestorePlan
from kafkeep.restore.planning import plan_restore
from kafkeep.restore.run import contents_of
from kafkeep.restore.survey import TargetSurvey
from kafkeep.retention.planning import Needed, plan_prune
from kafkeep.retention.rules import Circumstances, KeepRules

FEW, MANY = 10, 40
"""Commits: 2000 and 8000 runs."""
SURVEY = TargetSurvey(cluster_id="target", brokers=1, topics={}, active_groups={}, unsupported=frozenset())


@pytest.fixture(scope="module")
def few() -> State:
    return large_state(FEW)


@pytest.fixture(scope="module")
def many() -> State:
    return large_state(MANY)


def restoring(state: State, **options: Any) -> RestorePlan:
    point, chosen = state.points[-1], RestoreOptions(**options)
    metadata = ClusterMetadata("source", (topic(TOPIC, partitions=PARTITIONS),), ())
    return plan_restore(point, metadata, contents_of(state, point, chosen), SURVEY, chosen, now_ms=NOW_MS)


def peak(work: Callable[[], Any]) -> int:
    """The most bytes that were taken at once on the way, what came out of it included."""
    gc.collect()
    tracemalloc.start()
    try:
        kept = work()
        assert kept is not None
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


CHOICES: list[dict[str, Any]] = [
    {"since_timestamp": 0},
    {"from_offsets": ((TopicPartition(TOPIC, 3), 5),), "whole_history": True},
]


@pytest.mark.parametrize("options", CHOICES)
def test_a_plan_of_a_restore_takes_no_more_memory_for_four_times_as_many_runs(
    few: State, many: State, options: dict[str, Any]
) -> None:
    small, large = (peak(lambda state=state: restoring(state, **options)) for state in (few, many))  # type: ignore[misc]
    assert large < 2 * small, (small, large)


def test_a_plan_is_about_all_runs_and_its_json_tells_how_many(many: State) -> None:
    plan = restoring(many)
    assert plan.most_records == sum(run.facts.records for part in plan.partitions for run in part.runs) > 0
    assert plan.raw_bytes == sum(run.facts.raw_bytes for part in plan.partitions for run in part.runs)
    assert [len(part.runs) for part in plan.partitions] == [MANY * RUNS] * PARTITIONS
    told = to_json(plan)
    assert [part["runs"] for part in told["partitions"]] == [MANY * RUNS] * PARTITIONS
    assert len(json.dumps(told)) < 100_000
    part = plan.partitions[0]
    travelled = pickle.loads(pickle.dumps(part))
    assert isinstance(travelled.runs, tuple) and travelled == part


def test_ranges_of_offsets_choose_the_runs_that_they_touch(few: State) -> None:
    of = TopicPartition(TOPIC, 3)
    for start, stop in ((0, 100), (0, 1), (7, 8), (7, 7), (99, 100), (100, 100), (17, 65)):
        plan = restoring(few, from_offsets=((of, start),), until_offsets=((of, stop),))
        part = next(part for part in plan.partitions if part.source.partition == 3)
        assert [run.coverage.start for run in part.runs] == list(range(start, stop))
        assert part.most_records == sum(run.facts.records for run in part.runs)


RULES = [KeepRules(last=1, min_points=1), KeepRules(last=10**6)]


@pytest.mark.parametrize("rules", RULES)
def test_a_plan_of_a_pruning_grows_with_packs_and_points_and_not_with_runs(
    few: State, many: State, rules: KeepRules
) -> None:
    """The 200 runs of a pack would take a quarter of a megabyte."""
    about = Circumstances(now=datetime(2027, 1, 1, tzinfo=UTC))

    def pruning(state: State) -> object:
        return plan_prune(state, rules, about, undo_seconds=60.0, confirmed=True)

    small, large = (peak(lambda state=state: pruning(state)) for state in (few, many))  # type: ignore[misc]
    assert (large - small) / (MANY - FEW) < 20_000, (small, large)


def test_ranges_that_points_need_are_joined_as_they_come(many: State) -> None:
    """40 points of 20 partitions, each a little longer than the one before."""
    gc.collect()
    before, most = alive(OffsetRange), 0

    def points() -> Iterator[RecoveryPoint]:
        nonlocal most
        for point in many.points:
            yield point
            most = max(most, alive(OffsetRange) - before)

    needed = Needed(many, points())
    assert most < 3 * PARTITIONS
    assert all(needed.holds(run) for known in many.generations.values() for run in known.runs)


def alive(kind: type) -> int:
    return sum(type(each) is kind for each in gc.get_objects())

from __future__ import annotations

import time

import pytest

from kafkeep.events import Event, Retried, ignore
from kafkeep.kafka.retry import Retry


def test_delays_double_up_to_a_second_and_are_reported() -> None:
    waits: list[float] = []
    events: list[Event] = []
    retry = Retry("look up", seconds=1000, sink=events.append, wait=waits.append)
    assert all(retry.again("NOT_COORDINATOR") for _ in range(9))
    assert waits == [0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]
    assert events[1] == Retried("look up", "NOT_COORDINATOR", 2, 0.05)


def test_while_a_part_succeeds_each_time_delays_stay_short() -> None:
    waits: list[float] = []
    retry = Retry("list offsets", seconds=1000, sink=ignore, wait=waits.append)
    assert all(retry.again("NOT_LEADER_OR_FOLLOWER", moving=True) for _ in range(5))
    assert all(retry.again("NOT_LEADER_OR_FOLLOWER") for _ in range(2))
    assert retry.again("NOT_LEADER_OR_FOLLOWER", moving=True)
    assert waits == [0.025, 0.05, 0.1, 0.2, 0.2, 0.8, 1.0, 0.2]


def test_the_budget_begins_at_the_first_failure_and_ends() -> None:
    waits: list[float] = []
    retry = Retry("look up", seconds=0.02, sink=ignore, wait=waits.append)
    time.sleep(0.03)
    assert retry.again("slow, but it worked until now")
    assert waits[0] == pytest.approx(0.02)
    time.sleep(0.03)
    assert not retry.again("too late")
    assert len(waits) == 1


def test_no_budget_means_one_attempt() -> None:
    assert not Retry("look up", seconds=0, sink=ignore, wait=lambda seconds: None).again("anything")

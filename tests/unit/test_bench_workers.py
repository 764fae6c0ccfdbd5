"""What `make bench-workers` makes of its figures."""

from __future__ import annotations

import os

import pytest
from bench.measure import cpu_seconds_of
from bench.replay_broker import Case
from bench.workers import Contestant, Figures, Limit, possible, ratio, rows, verdict

from kafkeep.work.executor import ThreadExecutor

ONE = Contestant("processes, 1", 1, ThreadExecutor(), (1,), "processes, 1")
TWO = Contestant("processes, 2", 1, ThreadExecutor(), (1, 2), "processes, 1")
THREADS = Contestant("threads, 2", 2, None, (), "processes, 1")


def figures(seconds: list[float], *, cpu: float = 2.0, broker: float = 0.5) -> Figures:
    return Figures(seconds, 2.0, [cpu] * len(seconds), [broker] * len(seconds))


FOUND = {ONE.name: figures([4.0, 9.0, 3.0]), TWO.name: figures([2.0, 2.5, 2.0]), THREADS.name: figures([4.0])}


def test_the_middle_round_counts() -> None:
    assert FOUND[ONE.name].rate == 0.5
    assert ratio(FOUND, ONE) == 1.0
    assert ratio(FOUND, TWO) == 2.0


def test_rows_tell_rates_ratios_and_what_a_gigabyte_costs() -> None:
    _, one, two = rows([ONE, TWO], FOUND)
    assert one.split() == ["processes,", "1", "4.00", "0.50", "1.00", "1.00", "0.25"]
    assert two.split()[2:5] == ["2.00", "1.00", "2.00"]


def test_what_cores_allow_that_the_broker_shares() -> None:
    assert possible(figures([1.0], cpu=2.0, broker=0.5), 2) == pytest.approx(1.6)
    assert possible(figures([1.0], cpu=2.0, broker=0.5), 4) == 2.0


def test_the_verdict_is_of_workers_in_other_processes() -> None:
    slow = FOUND | {TWO.name: figures([3.0])}
    fast_limit, slow_limit = Limit("a", Case()), Limit("b", Case())
    assert verdict([ONE, TWO, THREADS], [(fast_limit, FOUND)]) == [
        "processes, 2: 2.00 times one where the limit is a (1.5 is reached)"
    ]
    (told,) = verdict([ONE, TWO, THREADS], [(fast_limit, FOUND), (slow_limit, slow)])
    assert told.endswith("1.33 times one where the limit is b (1.5 is not always reached)")


def test_processor_time_of_processes() -> None:
    before = cpu_seconds_of(os.getpid())
    sum(range(5_000_000))
    assert cpu_seconds_of(os.getpid()) > before > 0

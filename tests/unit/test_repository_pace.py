"""How many requests at once, how long a call is made again, and how many bytes in a second."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import pytest
from tests.support.s3_proxy import Answer, Fault, proxied
from tests.support.sweep_command import Kafkeep
from tests.support.versitygw import S3Server

from kafkeep.errors import StoreUnavailable
from kafkeep.repository.stores.factory import open_store
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.object_connect import open_object_store
from kafkeep.repository.stores.pace import SETTLE_SECONDS, Pace
from kafkeep.repository.stores.wrappers import FaultyStore, Rate, RetryingStore, ThrottledStore

NAME = "log/000000000000"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


def test_refusals_halve_the_pace_once_for_all_that_were_under_way() -> None:
    clock = Clock()
    pace = Pace(16, clock=clock)
    for _ in range(10):
        pace.slower()
    assert pace.limit == 8
    for expected in (4, 2, 1, 1):
        clock.now += SETTLE_SECONDS
        pace.slower()
        assert pace.limit == expected


def test_answers_bring_the_pace_back_to_where_it_was_and_no_further() -> None:
    clock = Clock()
    pace = Pace(16, clock=clock)
    for _ in range(4):
        clock.now += SETTLE_SECONDS
        pace.slower()
    assert pace.limit == 1
    answers = 0
    while pace.limit < 16:
        pace.faster()
        answers += 1
    assert 50 < answers < 200
    for _ in range(100):
        pace.faster()
    assert pace.limit == 16


def test_no_more_requests_than_the_pace_are_under_way() -> None:
    pace = Pace(3)
    running, most = 0, 0
    lock, together = threading.Lock(), threading.Barrier(3, timeout=60)

    def request() -> None:
        nonlocal running, most
        with pace.turn():
            with lock:
                running += 1
                most = max(most, running)
            together.wait()
            time.sleep(0.01)
            with lock:
                running -= 1

    threads = [threading.Thread(target=request) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 3


@pytest.mark.fault("S2")
def test_s2_half_of_all_requests_are_refused_and_all_work_gets_done(s3_server: S3Server) -> None:
    """The pace falls while the service refuses, and is back soon after it stops."""
    dice = random.Random(7)
    refusing = True

    def script(number: int, method: str, path: str) -> Fault | None:
        return Answer(503, "SlowDown") if refusing and dice.random() < 0.5 else None

    with proxied(s3_server, script) as proxy:
        inner = open_object_store(f"s3://{s3_server.new_bucket()}", s3_server.options(endpoint=proxy.endpoint))
        store = RetryingStore(inner, tries=50, pause=lambda seconds: None)
        for number in range(60):
            store.put_new(f"log/{number:012d}", b"x")
        assert inner.pace.limit < 16
        refusing = False
        for _ in range(200):
            store.head(NAME)
        assert inner.pace.limit == 16


def failing(clock: Clock, **options: object) -> tuple[RetryingStore, list[float]]:
    def never(index: int, call: str, name: str) -> None:
        raise StoreUnavailable("no answer")

    waits: list[float] = []

    def pause(seconds: float) -> None:
        waits.append(seconds)
        clock.wait(seconds)

    inner = FaultyStore(MemoryStore(), before=never)
    return RetryingStore(inner, pause=pause, clock=clock, **options), waits  # type: ignore[arg-type]


def test_no_try_begins_after_the_budget_is_spent() -> None:
    clock = Clock()
    store, waits = failing(clock, tries=1000, budget_seconds=100.0)
    with pytest.raises(StoreUnavailable):
        store.get(NAME)
    assert 70 < sum(waits) <= 100


def test_pauses_have_the_length_that_jitter_says() -> None:
    dice = random.Random(3)
    plain, full = failing(Clock(), tries=8)
    jittered, random_waits = failing(Clock(), tries=8, jitter=dice.random)
    for store in (plain, jittered):
        with pytest.raises(StoreUnavailable):
            store.get(NAME)
    assert len(full) == len(random_waits) == 7
    assert all(wait <= most for wait, most in zip(random_waits, full, strict=True))
    assert len({wait / most for wait, most in zip(random_waits, full, strict=True)}) == 7


def test_a_store_that_has_answered_once_is_given_all_tries() -> None:
    calls = 0

    def later(index: int, call: str, name: str) -> None:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise StoreUnavailable("no answer")

    store = RetryingStore(FaultyStore(MemoryStore(), before=later), tries=9, first_tries=2, pause=lambda seconds: None)
    store.put_new(NAME, b"x")
    with pytest.raises(StoreUnavailable):
        store.get(NAME)
    assert calls == 1 + 9


def test_each_direction_has_its_own_rate() -> None:
    clock = Clock()
    store = ThrottledStore(
        MemoryStore(),
        upload=Rate(1000, clock=clock, pause=clock.wait),
        download=Rate(100, clock=clock, pause=clock.wait),
    )
    store.put_new(NAME, b"x" * 1000)
    assert clock.now == pytest.approx(1)
    store.get(NAME)
    assert clock.now == pytest.approx(11)


def test_limits_of_the_command_line_hold_a_folder_too(tmp_path: Path) -> None:
    """What verify reads takes its time at 2 KB/s; zero is refused."""
    kafkeep = Kafkeep(tmp_path / "home", inside=True)
    place = tmp_path / "repository"
    kafkeep("init", "--repo", str(place)).expect(0)
    store = open_store(str(place))
    store.put_new("audit/2026-11-20/" + "0" * 26, b"x" * 4000)
    began = time.monotonic()
    kafkeep("verify", "--repo", str(place), "--level", "objects", "--limit-download", "2kB")
    assert time.monotonic() - began > 1.5
    assert kafkeep("verify", "--repo", str(place), "--limit-download", "0").status == 2

"""Tasks on threads: order of messages, errors, cancellation, and no waiting where there is nothing to wait for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from kafkeep.work.messages import Emitted, Finished, Tick
from kafkeep.work.threads import run_on_threads

Emit = Callable[[str], None]


class Failed(Exception):
    pass


def left_over() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("work-")]


def test_every_task_runs_once_and_its_messages_come_in_order() -> None:
    def work(task: int, emit: Emit, cancelled: threading.Event) -> int:
        emit(f"{task}a")
        emit(f"{task}b")
        return task * task

    messages = list(run_on_threads(range(20), work, threads=4))
    finished = {message.task: message.result for message in messages if isinstance(message, Finished)}
    assert finished == {task: task * task for task in range(20)}
    for task in range(20):
        own = [
            m
            for m in messages
            if (isinstance(m, Emitted) and m.item[:-1] == str(task)) or m == Finished(task, task * task)
        ]
        assert own == [Emitted(f"{task}a"), Emitted(f"{task}b"), Finished(task, task * task)]


def test_no_more_threads_than_asked_for() -> None:
    running, most, lock, together = 0, 0, threading.Lock(), threading.Barrier(3, timeout=60)

    def work(task: int, emit: Emit, cancelled: threading.Event) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait()
        time.sleep(0.005)
        with lock:
            running -= 1

    assert len(list(run_on_threads(range(12), work, threads=3))) == 12
    assert most == 3


def test_no_tasks_no_messages() -> None:
    assert list(run_on_threads([], lambda task, emit, cancelled: None, threads=0)) == []


def test_it_ends_at_once_when_all_is_done() -> None:
    began = time.monotonic()
    for _ in range(20):
        list(run_on_threads([1, 2], lambda task, emit, cancelled: task, threads=2, tick_seconds=5.0))
    assert time.monotonic() - began < 25, "twenty waits would take a hundred"


def test_a_slow_task_leaves_time_to_look_at_the_clock() -> None:
    go = threading.Event()

    def work(task: int, emit: Emit, cancelled: threading.Event) -> None:
        assert go.wait(60)

    messages = run_on_threads([1], work, threads=1, tick_seconds=0.01)
    assert next(messages) == Tick()
    go.set()
    assert Finished(1, None) in list(messages)


def test_an_error_cancels_the_others_and_is_raised_behind_all_that_was_emitted() -> None:
    all_begun = threading.Barrier(3)

    def work(task: int, emit: Emit, cancelled: threading.Event) -> str:
        all_begun.wait(60)
        if task == 0:
            emit("durable")
            raise Failed("no")
        assert cancelled.wait(60), "nobody told this task to end"
        emit(f"late {task}")
        return "ended early"

    seen: list[object] = []
    with pytest.raises(Failed, match="no"):
        seen.extend(run_on_threads(range(3), work, threads=3))
    assert Emitted("durable") in seen
    assert {Emitted("late 1"), Emitted("late 2")} <= set(seen)
    assert left_over() == []


def test_tasks_that_have_not_begun_do_not_begin_after_an_error() -> None:
    begun: list[int] = []

    def work(task: int, emit: Emit, cancelled: threading.Event) -> None:
        begun.append(task)
        raise Failed

    with pytest.raises(Failed):
        list(run_on_threads(range(100), work, threads=1))
    assert begun == [0]


def test_a_caller_that_fails_ends_the_tasks_too() -> None:
    def work(task: int, emit: Emit, cancelled: threading.Event) -> None:
        emit("one")
        assert cancelled.wait(60)

    def run() -> None:
        for _ in run_on_threads([1, 2], work, threads=2):
            raise Failed("in the caller")

    with pytest.raises(Failed):
        run()
    assert left_over() == []


def test_interruptions_of_a_worker_reach_the_caller() -> None:
    def work(task: int, emit: Emit, cancelled: threading.Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(run_on_threads([1], work, threads=1))

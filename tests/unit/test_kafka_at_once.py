"""The same question to many brokers at the same time."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from kafkeep.kafka.at_once import MOST_AT_ONCE, at_once


def test_answers_come_in_the_order_of_the_questions() -> None:
    first_may_answer = threading.Event()

    def ask(number: int) -> int:
        if number == 0:
            assert first_may_answer.wait(60)
        elif number == 4:
            first_may_answer.set()
        return number * 10

    assert at_once(ask, range(5)) == [0, 10, 20, 30, 40]


def test_questions_are_under_way_together_and_never_more_than_the_limit() -> None:
    lock, together = threading.Lock(), threading.Barrier(MOST_AT_ONCE, timeout=60)
    under_way, most = 0, 0

    def ask(number: int) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        together.wait()  # passes only when as many as the limit are here
        with lock:
            under_way -= 1

    at_once(ask, range(3 * MOST_AT_ONCE))
    assert most == MOST_AT_ONCE


@pytest.mark.parametrize("keys", [[], ["one"]])
def test_what_is_no_crowd_takes_no_thread(keys: list[str]) -> None:
    asked_in: list[threading.Thread] = []
    at_once(lambda key: asked_in.append(threading.current_thread()), keys)
    assert asked_in == [threading.current_thread()] * len(keys)


def test_the_first_error_in_order_is_raised_and_ends_the_asking() -> None:
    both = threading.Barrier(2, timeout=60)
    asked: list[int] = []

    def ask(number: int) -> None:
        asked.append(number)
        if number < 2:
            both.wait()
            raise ValueError(str(number))
        threading.Event().wait(0.05)

    with pytest.raises(ValueError, match="0"):
        at_once(ask, range(1000))
    assert len(asked) < 1000
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ask-")]


def test_an_interrupted_caller_does_not_wait_for_the_answers() -> None:
    interrupted, asked = threading.Event(), []

    def ask(number: int) -> None:
        asked.append(number)
        if len(asked) == MOST_AT_ONCE:
            time.sleep(0.2)  # until the caller waits for the answers, and not for this thread to begin
            os.kill(os.getpid(), signal.SIGINT)
        interrupted.wait(60)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            at_once(ask, range(3 * MOST_AT_ONCE))
    finally:
        signal.signal(signal.SIGINT, before)
        interrupted.set()
    for thread in threading.enumerate():
        if thread.name.startswith("ask-"):
            thread.join(60)
    assert len(asked) == MOST_AT_ONCE

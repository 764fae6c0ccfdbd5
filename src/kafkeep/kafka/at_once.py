"""The same question to many brokers at the same time.

A cluster may have a hundred brokers, and a round of a backup asks each of them several things: one after the other that
would be the sum of all their answers' times.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

K = TypeVar("K")
T = TypeVar("T")

MOST_AT_ONCE: Final = 16


def at_once(ask: Callable[[K], T], keys: Iterable[K]) -> list[T]:
    """The answers in the order of `keys`, at most `MOST_AT_ONCE` questions under way; a single one is asked by the caller.

    Raises the first error in that order, when no question is under way any more. What is raised in the caller while it
    waits, such as KeyboardInterrupt, goes through at once; nothing more is asked then.
    """
    asked = list(keys)
    if len(asked) < 2:
        return [ask(key) for key in asked]
    waiting: queue.SimpleQueue[tuple[int, K]] = queue.SimpleQueue()
    for question in enumerate(asked):
        waiting.put(question)
    answers: dict[int, T] = {}
    errors: dict[int, BaseException] = {}
    given_up = threading.Event()

    def work() -> None:
        while not given_up.is_set():
            try:
                place, key = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                answers[place] = ask(key)
            except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
                errors[place] = error
                given_up.set()

    threads = [
        threading.Thread(target=work, name=f"ask-{n}", daemon=True) for n in range(min(len(asked), MOST_AT_ONCE))
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        given_up.set()
    if errors:
        raise errors[min(errors)]
    return [answers[place] for place in range(len(asked))]

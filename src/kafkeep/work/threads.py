"""Tasks on threads of this process; the caller's thread receives what they emit and return, in one stream."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence

from kafkeep.records import dataclass
from kafkeep.work.messages import Emitted, Finished, Item, Message, Result, Task, Tick


@dataclass(frozen=True, slots=True)
class _Ended:
    """A thread is done; with an error when its worker raised."""

    error: BaseException | None


def _work_off(
    waiting: queue.SimpleQueue[Task],
    worker: Callable[[Task, Callable[[Item], None], threading.Event], Result],
    messages: queue.SimpleQueue[Emitted[Item] | Finished[Task, Result] | _Ended],
    cancelled: threading.Event,
) -> None:
    """One thread's life: takes tasks until there are none, or until somebody failed."""

    def emit(item: Item) -> None:
        messages.put(Emitted(item))

    try:
        while not cancelled.is_set():
            try:
                task = waiting.get_nowait()
            except queue.Empty:
                break
            messages.put(Finished(task, worker(task, emit, cancelled)))
    except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, which raises it
        cancelled.set()
        messages.put(_Ended(error))
    else:
        messages.put(_Ended(None))


def run_on_threads(
    tasks: Sequence[Task],
    worker: Callable[[Task, Callable[[Item], None], threading.Event], Result],
    *,
    threads: int,
    tick_seconds: float = 1.0,
) -> Iterator[Message[Item, Task, Result]]:
    """Runs `worker(task, emit, cancelled)` for every task, at most `threads` at a time; yields messages as they come.

    The first exception of a worker cancels the others (they see `cancelled` set and must return soon), waits for them
    and is raised here. Closing the iterator early does the same. What was emitted before is always yielded before the
    exception, so nothing durable is forgotten.
    """
    cancelled = threading.Event()
    messages: queue.SimpleQueue[Emitted[Item] | Finished[Task, Result] | _Ended] = queue.SimpleQueue()
    waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)

    def work() -> None:
        _work_off(waiting, worker, messages, cancelled)

    pool = [threading.Thread(target=work, name=f"work-{n}", daemon=True) for n in range(min(threads, len(tasks)))]
    for thread in pool:
        thread.start()
    failures: list[BaseException] = []
    running = len(pool)
    try:
        while running:
            try:
                message = messages.get(timeout=tick_seconds)
            except queue.Empty:
                yield Tick()
                continue
            if isinstance(message, _Ended):
                running -= 1
                failures += [] if message.error is None else [message.error]
            else:
                yield message
    finally:
        cancelled.set()
        for thread in pool:
            thread.join()
    if failures:
        raise failures[0]

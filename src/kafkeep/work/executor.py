"""What an operation gives to an executor, and what an executor is. Where tasks run is nothing an operation knows.

A job can be run in two ways, and says both: by a function on threads of this process, and by a `Setup`, a value that
travels to workers elsewhere and is opened there once. Either way the same messages come back to one coordinator.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Generic, Protocol, Self

from kafkeep.records import dataclass
from kafkeep.work.messages import Item, Message, Result, Task
from kafkeep.work.threads import run_on_threads


@dataclass(frozen=True, slots=True)
class Signals:
    """What is said to tasks while they run."""

    stop: threading.Event
    """End soon and keep what was done: somebody asked for it."""
    cancelled: threading.Event
    """End soon: another task failed, or nobody waits for this one any more."""

    @property
    def ending(self) -> bool:
        return self.stop.is_set() or self.cancelled.is_set()


class Station(Protocol):
    """What a worker elsewhere has opened for its tasks. Its `work` is called on several threads at once."""

    def work(self, task: Any, emit: Callable[[Any], None], signals: Signals) -> Any:
        """Runs one task that travelled; items and the result travel back."""
        ...


class Setup(Protocol):
    """A frozen value from which a worker elsewhere makes its station. Secrets in it are `kafkeep.secret.Secret`."""

    def open(self) -> AbstractContextManager[Station]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Generic[Task, Item, Result]):
    """Tasks and how they are done."""

    tasks: Sequence[Task]
    """The largest first: they are begun in this order."""
    here: Callable[[Task, Callable[[Item], None], threading.Event], Result]
    """Runs a task in this process; the event is set when it is cancelled."""
    setup: Callable[[], Setup]
    """Asked for only where workers are elsewhere."""
    travelling: Callable[[Task], object]
    """The form of a task that `Station.work` takes."""
    stop: threading.Event
    """Told to workers elsewhere as `Signals.stop`; `here` looks at it by itself."""
    threads: int
    """Most tasks at once in one process."""


class Executor(Protocol):
    """Runs jobs, one at a time. A context manager: workers that it started end with it."""

    @property
    def workers(self) -> int:
        """Among how many workers tasks are shared out; 1 for threads of this process."""
        ...

    def run(self, job: Job[Task, Item, Result], *, tick_seconds: float = 1.0) -> Iterator[Message[Item, Task, Result]]:
        """Messages as they come, those of a task in its order. The first error of a task cancels the others, waits for
        them and is raised behind all that was emitted; closing the iterator early cancels them too. A task whose worker
        is gone ends with `Lost`, which is the caller's to deal with.

        Raises what tasks raise, and `WorkerError` when there are no workers to be had.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ThreadExecutor:
    """Threads of this process."""

    workers = 1

    def run(self, job: Job[Task, Item, Result], *, tick_seconds: float = 1.0) -> Iterator[Message[Item, Task, Result]]:
        return run_on_threads(job.tasks, job.here, threads=job.threads, tick_seconds=tick_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

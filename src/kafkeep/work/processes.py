"""Tasks in spawned processes of this host, each on a thread of its process. One that dies is replaced."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, Final, Generic, Self

from kafkeep.errors import WorkerError
from kafkeep.records import dataclass
from kafkeep.work.carrying import dump, load
from kafkeep.work.executor import Job
from kafkeep.work.messages import Emitted, Finished, Item, Lost, Message, Result, Task, Tick
from kafkeep.work.process_worker import Begin, Done, End, Failed, Prepare, Ready, Said, Tell, main

_LOOK_SECONDS: Final = 0.1
"""How soon a request to stop is passed on."""
_START_SECONDS: Final = 60.0
_END_SECONDS: Final = 10.0
"""How long a worker may take over ending before it is killed: what it holds then is named by no commit."""
_HELD: Final = {signal.SIGINT, signal.SIGTERM}


@dataclass(slots=True, eq=False)
class _Process:
    """One worker, seen from here."""

    process: SpawnProcess
    connection: Connection
    setup: bytes = b""
    running: set[int] = field(default_factory=set)

    def send(self, order: object) -> bool:
        """False when the worker is gone; its end is then found by whoever listens."""
        try:
            self.connection.send_bytes(dump(order))
        except OSError:
            return False
        return True


class ProcessExecutor:
    """`workers` processes, started with `with` and ended with it; they also end when this process does, however it does."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._processes: list[_Process] = []
        self._runs = 0

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the processes that live."""
        return tuple(each.process.pid for each in self._processes if each.process.pid is not None)

    def __enter__(self) -> Self:
        self._processes = [_start() for _ in range(self.workers)]
        try:
            _await_ready(self._processes)
        except BaseException:
            self._end(patience=0.0)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(patience=_END_SECONDS if error is None else 1.0)

    def run(self, job: Job[Task, Item, Result], *, tick_seconds: float = 1.0) -> Iterator[Message[Item, Task, Result]]:
        if job.tasks:
            self._runs += 1
            while len(self._processes) < self.workers:
                self._processes.append(_started())
            yield from _Course(self._processes, job, self._runs, tick_seconds).messages()

    def _end(self, *, patience: float) -> None:
        for each in self._processes:
            each.send(End())
        deadline = time.monotonic() + patience
        for each in self._processes:
            each.process.join(max(0.0, deadline - time.monotonic()))
            _remove(each)
        self._processes = []


def _start() -> _Process:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=main, args=(theirs,), name="kafkeep-worker", daemon=True)
    # Until the worker itself turns them away, a signal to the whole group must not end it half started.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        process.start()
    except OSError as error:
        raise WorkerError(f"a worker process cannot be started: {error.strerror}") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
    return _Process(process, ours)


def _started() -> _Process:
    fresh = _start()
    try:
        _await_ready([fresh])
    except BaseException:
        _remove(fresh)
        raise
    return fresh


def _await_ready(processes: list[_Process]) -> None:
    """Raises `WorkerError` when one ends, or is not there in time."""
    deadline = time.monotonic() + _START_SECONDS
    for each in processes:
        try:
            there = each.connection.poll(max(0.0, deadline - time.monotonic()))
            if there and isinstance(load(each.connection.recv_bytes()), Ready):
                continue
        except (EOFError, OSError):
            pass
        each.process.join(1.0)
        code = each.process.exitcode
        ended = f"ended with {code}" if code is not None else f"is not there after {_START_SECONDS:.0f} s"
        raise WorkerError(f"a worker process {ended} before it was ready")


def _remove(each: _Process) -> None:
    if each.process.is_alive():
        each.process.kill()
    each.process.join()
    each.connection.close()
    each.process.close()


class _Course(Generic[Task, Item, Result]):
    """One run of a job."""

    def __init__(
        self, processes: list[_Process], job: Job[Task, Item, Result], number: int, tick_seconds: float
    ) -> None:
        self._processes = processes
        self._job = job
        self._number = number
        self._tick_seconds = tick_seconds
        self._setup = dump(job.setup())
        self._waiting = deque(range(len(job.tasks)))
        self._at_once = min(job.threads, -(-len(job.tasks) // len(processes)))
        self._failures: list[BaseException] = []
        self._told = Tell(number, stop=False, cancel=False)

    def messages(self) -> Iterator[Message[Item, Task, Result]]:
        try:
            heard = time.monotonic()
            while self._hand_out():
                self._pass_on(cancel=bool(self._failures))
                for message in self._receive():
                    heard = time.monotonic()
                    yield message
                if time.monotonic() - heard >= self._tick_seconds:
                    heard = time.monotonic()
                    yield Tick()
        finally:
            self._abandon()
        if self._failures:
            raise self._failures[0]

    def _hand_out(self) -> bool:
        """Gives waiting tasks to workers with room, one each in turn; False when everything has ended."""
        if self._failures:
            self._waiting.clear()
        for _ in range(self._at_once):
            for worker in self._processes:
                if self._waiting and len(worker.running) < self._at_once:
                    self._begin(worker, self._waiting.popleft())
        return bool(self._waiting) or any(worker.running for worker in self._processes)

    def _begin(self, worker: _Process, number: int) -> None:
        worker.running.add(number)
        if worker.setup != self._setup:
            worker.send(Prepare(self._setup))
            worker.setup = self._setup
        worker.send(Begin(self._number, number, dump(self._job.travelling(self._job.tasks[number]))))
        if self._told.stop:
            worker.send(self._told)

    def _pass_on(self, *, cancel: bool) -> None:
        now = Tell(self._number, stop=self._job.stop.is_set(), cancel=cancel)
        if now != self._told:
            self._told = now
            for worker in self._processes:
                worker.send(now)

    def _receive(self) -> Iterator[Message[Item, Task, Result]]:
        ready = wait([worker.connection for worker in self._processes], min(_LOOK_SECONDS, self._tick_seconds))
        for worker in [each for each in self._processes if each.connection in ready]:
            try:
                message = load(worker.connection.recv_bytes())
            except (EOFError, OSError):
                yield from self._lose(worker)
            else:
                yield from self._take(worker, message)

    def _take(self, worker: _Process, message: Any) -> Iterator[Message[Item, Task, Result]]:
        match message:
            case Said(self._number, _, item):
                yield Emitted(item)
            case Done(self._number, task, result):
                worker.running.discard(task)
                yield Finished(self._job.tasks[task], result)
            case Failed(self._number, task, error):
                worker.running.discard(task)
                self._failures.append(error)

    def _lose(self, worker: _Process) -> Iterator[Message[Item, Task, Result]]:
        """Another process takes the place of one that is gone; what it worked on is the caller's to judge."""
        lost = sorted(worker.running)
        worker.process.join(1.0)
        reason = f"a worker process ended with {worker.process.exitcode}"
        _remove(worker)
        self._processes.remove(worker)
        try:
            self._processes.append(_started())
        except WorkerError as error:
            self._failures.append(error)
        for task in lost:
            yield Lost(self._job.tasks[task], reason)

    def _abandon(self) -> None:
        """Whoever still works is told to end, and is waited for; one that takes too long is killed."""
        if not any(worker.running for worker in self._processes):
            return
        self._pass_on(cancel=True)
        deadline = time.monotonic() + _END_SECONDS
        for worker in list(self._processes):
            try:
                while worker.running and worker.connection.poll(max(0.0, deadline - time.monotonic())):
                    message = load(worker.connection.recv_bytes())
                    if isinstance(message, (Done, Failed)):
                        worker.running.discard(message.task)
            except (EOFError, OSError):
                pass
            if worker.running:
                _remove(worker)
                self._processes.remove(worker)

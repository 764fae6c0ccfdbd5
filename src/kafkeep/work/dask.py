"""Tasks on the workers of a Dask cluster: one that is there already, or one that is started on this host for the time.

Dask gives a task of a worker that is gone to another one by itself. Such a task does not begin there (`dask_worker.AGAIN`)
and counts as lost instead: what the first worker did is known to the operation's coordinator alone.
"""

from __future__ import annotations

import logging
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Final, Generic, Self

import kafkeep
from kafkeep.errors import KafkeepError, MissingDependency, SettingsError, WorkerError
from kafkeep.work.carrying import WorkerKey, close, disclose, dump, has_secrets
from kafkeep.work.dask_worker import (
    AGAIN,
    KEY_FILE_VARIABLE,
    KEY_VARIABLE,
    TASK_PLACE,
    Envelope,
    claim_name,
    pulse_name,
    run_task,
)
from kafkeep.work.executor import Job
from kafkeep.work.messages import Emitted, Finished, Item, Lost, Message, Result, Task, Tick
from kafkeep.work.process_worker import Done, Failed, Said

CONNECT_SECONDS: Final = 30.0
NO_WORKER_SECONDS: Final = 60.0
"""How long a cluster may be without any worker before a job is given up."""
THREADS_PER_WORKER: Final = 4
_LOOK_SECONDS: Final = 0.1
_BEAT_SECONDS: Final = 1.0
_END_SECONDS: Final = 10.0
_NO_PAGES: Final[dict[str, list[str]]] = {"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []}
"""Dask opens a port for pages in any case: these would tell whoever asks on this host what is done."""
_NO_PROFILE: Final = {"DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"}
"""Else Dask stops a worker's threads a hundred times in a second to see what they do."""
_HELD: Final = {signal.SIGINT, signal.SIGTERM}
_UNREACHABLE: Final = (OSError, TimeoutError)


class DaskExecutor:
    """The workers behind `scheduler`; without one, `workers` processes on this host, for as long as the `with` lasts.

    `key` seals everything on its way; a job with secrets is refused without one. A cluster of our own has its own: it also
    listens on the loopback address alone and asks for a certificate made for it.
    """

    def __init__(self, scheduler: str | None, workers: int | None, *, key: WorkerKey | None = None) -> None:
        self.workers = 1 if workers is None else workers
        self._wanted = workers
        self._scheduler = scheduler
        self._key = WorkerKey.generate() if scheduler is None else key
        self._stack = ExitStack()
        self._client: Any = None

    @property
    def client(self) -> Any:
        """Dask's own client, for the time of the `with`."""
        return self._client

    def __enter__(self) -> Self:
        try:
            import distributed
        except ImportError as error:
            raise MissingDependency(
                "workers of Dask need the package distributed", hint="Install it with `pip install 'kafkeep[dask]'`."
            ) from error
        with self._stack as stack:
            place: Any = self._scheduler
            if self._scheduler is None:
                place = stack.enter_context(_own_cluster(distributed, self.workers, self._key))
            try:
                self._client = stack.enter_context(
                    distributed.Client(place, timeout=CONNECT_SECONDS, set_as_default=False, name="kafkeep")
                )
                found = len(self._client.nthreads())
            except _UNREACHABLE as error:
                raise WorkerError(
                    f"no Dask scheduler answers at {self._scheduler}", hint="Check --scheduler and the network."
                ) from error
            if self._wanted is None:
                self.workers = max(1, found)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(*_UNREACHABLE):
            self._stack.close()

    def run(self, job: Job[Task, Item, Result], *, tick_seconds: float = 1.0) -> Iterator[Message[Item, Task, Result]]:
        if not job.tasks:
            return
        setup = job.setup()
        if self._key is None and has_secrets(setup):
            raise SettingsError(
                f"secrets would go in clear to the Dask scheduler at {self._scheduler}",
                hint=f"Give --worker-key-file here and the same file as {KEY_FILE_VARIABLE} to every worker.",
            )
        try:
            yield from _Course(self._client, job, dump(setup), self._key, tick_seconds).messages()
        except _UNREACHABLE as error:
            raise WorkerError(f"the Dask scheduler is lost: {type(error).__name__}") from error


def _own_cluster(distributed: Any, workers: int, key: WorkerKey | None) -> Any:
    """Nobody else on this host can use it, and signals to the whole group of processes do not reach its workers."""
    import dask

    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        with dask.config.set(_NO_PAGES):
            return distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=THREADS_PER_WORKER,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                worker_dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False},
                security=True,
                memory_limit=0,
                silence_logs=logging.CRITICAL,
                env={KEY_VARIABLE: "" if key is None else key.reveal(), KEY_FILE_VARIABLE: "", **_NO_PROFILE},
            )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Pulse:
    """Tells workers that the coordinator lives, and what it wants."""

    def __init__(self, client: Any, channel: str, stop: threading.Event) -> None:
        from distributed import Variable

        self.cancelled = threading.Event()
        self._stop = stop
        self._variable = Variable(pulse_name(channel), client=client)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="pulse", daemon=True)

    def _beat(self) -> None:
        told, number, due = (False, False), 1, 0.0
        while not self._ended.wait(_LOOK_SECONDS):
            now = self._stop.is_set(), self.cancelled.is_set()
            if now != told or time.monotonic() >= due:
                with suppress(*_UNREACHABLE):
                    self._set(number, *now)
                told, number, due = now, number + 1, time.monotonic() + _BEAT_SECONDS

    def _set(self, number: int, stop: bool, cancel: bool) -> None:
        self._variable.set({"beat": number, "stop": stop, "cancel": cancel})

    def __enter__(self) -> Self:
        self._set(0, self._stop.is_set(), False)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        with suppress(*_UNREACHABLE):
            self._variable.delete()


class _Course(Generic[Task, Item, Result]):
    """One run of a job."""

    def __init__(
        self, client: Any, job: Job[Task, Item, Result], setup: bytes, key: WorkerKey | None, tick_seconds: float
    ) -> None:
        from distributed import Queue

        self._client = client
        self._job = job
        self._setup = setup
        self._key = key
        self._tick_seconds = tick_seconds
        self._channel = f"kafkeep-{secrets.token_hex(16)}"
        self._queue = Queue(self._channel, client=client)
        self._open: dict[int, Any] = {}
        self._failures: list[BaseException] = []
        self._seen_workers = time.monotonic()

    def messages(self) -> Iterator[Message[Item, Task, Result]]:
        with _Pulse(self._client, self._channel, self._job.stop) as pulse:
            try:
                self._submit()
                heard = time.monotonic()
                while self._open:
                    for message in self._receive():
                        heard = time.monotonic()
                        yield message
                    if self._failures and not pulse.cancelled.is_set():
                        pulse.cancelled.set()
                        self._drop_waiting()
                    self._look_for_workers()
                    if time.monotonic() - heard >= self._tick_seconds:
                        heard = time.monotonic()
                        yield Tick()
            finally:
                pulse.cancelled.set()
                self._abandon()
        if self._failures:
            raise self._failures[0]

    def _submit(self) -> None:
        for number, task in enumerate(self._job.tasks):
            envelope = Envelope(self._channel, number, self._setup, self._job.travelling(task))
            self._open[number] = self._client.submit(
                run_task,
                close(self._key, envelope, TASK_PLACE),
                kafkeep.__version__,
                key=f"{self._channel}-{number}",
                pure=False,
                retries=0,
            )

    def _receive(self) -> Iterator[Message[Item, Task, Result]]:
        ended = [(number, future) for number, future in self._open.items() if future.done()]
        bundles = self._queue.get(batch=True)
        for bundle in bundles:
            for message in disclose(self._key, bundle, self._channel):
                yield from self._take(message)
        for number, future in ended:
            if number in self._open:
                yield from self._settle(number, future)
        if not bundles and not ended:
            time.sleep(_LOOK_SECONDS)

    def _take(self, message: Any) -> Iterator[Message[Item, Task, Result]]:
        if message.task not in self._open:
            return
        match message:
            case Said(_, _, item):
                yield Emitted(item)
            case Done(_, number, result):
                del self._open[number]
                yield Finished(self._job.tasks[number], result)
            case Failed(_, number, error):
                del self._open[number]
                self._failures.append(error)

    def _settle(self, number: int, future: Any) -> Iterator[Message[Item, Task, Result]]:
        """A task that has ended in Dask's eyes and has not said so itself."""
        del self._open[number]
        error = future.exception(timeout=CONNECT_SECONDS) if future.status == "error" else None
        if isinstance(error, KafkeepError):
            self._failures.append(error)
            return
        if error is not None:
            reason = f"Dask gave it up: {type(error).__name__}"
        elif future.status == "finished" and future.result(timeout=CONNECT_SECONDS) == AGAIN:
            reason = "its Dask worker is gone"
        else:
            reason = f"Dask says that it is {future.status}"
        yield Lost(self._job.tasks[number], reason)

    def _look_for_workers(self) -> None:
        now = time.monotonic()
        if now - self._seen_workers < NO_WORKER_SECONDS / 10:
            return
        if self._client.nthreads():
            self._seen_workers = now
        elif now - self._seen_workers >= NO_WORKER_SECONDS:
            raise WorkerError("the Dask cluster has no workers", hint="Start some, or see why they end.")

    def _drop_waiting(self) -> None:
        """What no worker has begun shall not begin."""
        begun = {str(name) for names in self._client.processing().values() for name in names}
        for number in [number for number in self._open if f"{self._channel}-{number}" not in begun]:
            future = self._open[number]
            if not future.done():
                future.cancel()

    def _abandon(self) -> None:
        """Whoever still works has been told to end, and is waited for; then nothing of the job is left at the scheduler."""
        deadline = time.monotonic() + _END_SECONDS
        with suppress(*_UNREACHABLE):
            while any(not future.done() for future in self._open.values()) and time.monotonic() < deadline:
                time.sleep(_LOOK_SECONDS)
            self._client.cancel(list(self._open.values()))
            self._forget()

    def _forget(self) -> None:
        from distributed import Variable

        for number in range(len(self._job.tasks)):
            Variable(claim_name(self._channel, number), client=self._client).delete()
        self._queue.close()

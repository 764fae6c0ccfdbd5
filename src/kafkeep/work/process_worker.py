"""The life of a worker process: orders come in over a pipe, messages go out over it. When the pipe ends, so does the
process: without a coordinator nobody would commit what comes of its work.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Any

from kafkeep.records import dataclass
from kafkeep.work.carrying import dump, load, portable
from kafkeep.work.executor import Signals, Station

_HELD = {signal.SIGINT, signal.SIGTERM}


@dataclass(frozen=True, slots=True)
class Prepare:
    """From here on tasks are for the station of this setup (`dump`)."""

    setup: bytes


@dataclass(frozen=True, slots=True)
class Begin:
    """Do a task of a run."""

    run: int
    task: int
    value: bytes


@dataclass(frozen=True, slots=True)
class Tell:
    """Set signals of a run."""

    run: int
    stop: bool
    cancel: bool


@dataclass(frozen=True, slots=True)
class End:
    """Close the station and end."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker has begun to listen."""


@dataclass(frozen=True, slots=True)
class Said:
    """A task emitted an item."""

    run: int
    task: int
    item: Any


@dataclass(frozen=True, slots=True)
class Done:
    run: int
    task: int
    result: Any


@dataclass(frozen=True, slots=True)
class Failed:
    run: int
    task: int
    error: BaseException


class _Stations:
    """The station of the present setup: opened by the first task that needs it, closed when another one is prepared."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._setup = b""
        self._open: Station | None = None

    def prepare(self, setup: bytes) -> None:
        with self._lock:
            self._stack.close()
            self._setup, self._open = setup, None

    def get(self) -> Station:
        with self._lock:
            if self._open is None:
                self._open = self._stack.enter_context(load(self._setup).open())
            return self._open


class _Worker:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._out: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._stations = _Stations()
        self._signals: dict[int, Signals] = {}
        self._sender = threading.Thread(target=self._send_all, name="sender", daemon=True)

    def serve(self) -> None:
        self._sender.start()
        self._put(Ready())
        while True:
            try:
                order = load(self._connection.recv_bytes())
            except (EOFError, OSError):
                os._exit(0)
            match order:
                case Prepare(setup):
                    self._stations.prepare(setup)
                case Begin(run):
                    if run not in self._signals:
                        self._signals = {run: Signals(threading.Event(), threading.Event())}
                    threading.Thread(target=self._do, args=(order, self._signals[run]), daemon=True).start()
                case Tell(run, stop, cancel) if run in self._signals:
                    if stop:
                        self._signals[run].stop.set()
                    if cancel:
                        self._signals[run].cancelled.set()
                case End():
                    self._stations.prepare(b"")
                    self._out.put(None)
                    self._sender.join()
                    return

    def _do(self, order: Begin, signals: Signals) -> None:
        try:
            station = self._stations.get()
            result = station.work(load(order.value), lambda item: self._put(Said(order.run, order.task, item)), signals)
            self._put(Done(order.run, order.task, result))
        except BaseException as error:  # noqa: BLE001 - handed to the coordinator, which raises it
            self._put(Failed(order.run, order.task, portable(error)))

    def _put(self, message: object) -> None:
        """Turned into bytes at once: what is sent is what was, and a thread never waits for the pipe."""
        self._out.put(dump(message))

    def _send_all(self) -> None:
        while (data := self._out.get()) is not None:
            try:
                self._connection.send_bytes(data)
            except OSError:
                os._exit(0)


def main(connection: Connection) -> None:
    """What the coordinator has spawned. A signal to the whole group of processes is the coordinator's to answer."""
    for number in _HELD:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
    # What operations have to tell travels as events; a line from here could land in the middle of the coordinator's.
    logging.getLogger().addHandler(logging.NullHandler())
    _Worker(connection).serve()

"""Stations that tests of executors send to workers: each task says what it does."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kafkeep.errors import CorruptObject
from kafkeep.secret import Secret
from kafkeep.work.executor import Job, Signals, Station

PATIENCE = 120.0


class Failed(Exception):
    """An error that is none of kafkeep's own."""


@dataclass(frozen=True, slots=True)
class Do:
    """A task: what to do, and with what."""

    what: str
    number: int = 0
    place: str = ""


@dataclass(frozen=True, slots=True)
class Doing:
    """Opens a station; `notes` is a folder in which each opening leaves a file."""

    notes: str = ""
    secret: Secret | None = None
    broken: bool = False

    @contextmanager
    def open(self) -> Iterator[Station]:
        if self.broken:
            raise CorruptObject("the setup cannot be opened")
        if self.notes:
            Path(self.notes, f"opened-{os.getpid()}-{time.monotonic_ns()}").touch()
        yield Bench(self.secret)


class Bench:
    def __init__(self, secret: Secret | None = None) -> None:
        self._secret = secret

    def work(self, task: Do, emit: Callable[[Any], None], signals: Signals) -> Any:
        emit(f"{task.number}a")
        match task.what:
            case "square":
                emit(f"{task.number}b")
                return task.number**2
            case "fail":
                time.sleep(2.5)  # the others have begun by then
                raise CorruptObject(f"task {task.number}", hint="Look again.")
            case "fail-strangely":
                raise Failed("no class of kafkeep")
            case "until-cancelled":
                assert signals.cancelled.wait(PATIENCE), "nobody told this task to end"
            case "until-stopped":
                assert signals.stop.wait(PATIENCE), "nobody asked this task to stop"
            case "die-once":
                mark = Path(task.place)
                if not mark.exists():
                    mark.touch()
                    time.sleep(2.5)  # what was emitted has left by then
                    os.kill(os.getpid(), signal.SIGKILL)
            case "tell-secret":
                return None if self._secret is None else self._secret.reveal()
            case "meet":
                Path(task.place, f"pid-{os.getpid()}").touch()
                ends = time.monotonic() + PATIENCE
                while len(list(Path(task.place).glob("pid-*"))) < 2:
                    assert time.monotonic() < ends, "no other process came"
                    time.sleep(0.01)
                return os.getpid()
            case "sleep":
                time.sleep(PATIENCE)
        emit(f"{task.number}z")
        return task.what


def job(tasks: Sequence[Do], setup: Doing | None = None, *, stop: threading.Event | None = None) -> Job[Do, str, Any]:
    asked = threading.Event() if stop is None else stop
    bench = Bench()
    return Job(
        tasks=tasks,
        here=lambda task, emit, cancelled: bench.work(task, emit, Signals(asked, cancelled)),
        setup=lambda: Doing() if setup is None else setup,
        travelling=lambda task: task,
        stop=asked,
        threads=max(1, len(tasks)),
    )

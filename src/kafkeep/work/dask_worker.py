"""One task inside a Dask worker. What it emits goes back through a queue of the scheduler, in bundles; whether it shall
end is read from a variable there, which the coordinator writes anew again and again as long as it lives.

This is an edge of its own beside the command line: the worker key is found in the environment of the Dask worker.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import kafkeep
from kafkeep.errors import SettingsError, WorkerError
from kafkeep.records import dataclass
from kafkeep.secret import Secret
from kafkeep.work.carrying import WorkerKey, close, disclose, load, portable
from kafkeep.work.executor import Signals, Station
from kafkeep.work.process_worker import Done, Failed, Said

KEY_VARIABLE: Final = "KAFKEEP_WORKER_KEY"
KEY_FILE_VARIABLE: Final = "KAFKEEP_WORKER_KEY_FILE"
TASK_PLACE: Final = "task"
ENDED: Final = "ended"
AGAIN: Final = "again"
"""The task was begun before, by a worker that is gone: what that one did must be looked at first."""
SILENCE_SECONDS: Final = 60.0
"""A coordinator whose pulse has not changed for so long is gone."""
PULSE_SECONDS: Final = 10.0
"""How long a task waits for the first pulse of its coordinator."""
_BUNDLE_SECONDS: Final = 0.1
_LOOK_SECONDS: Final = 0.5
_KEPT_SECONDS: Final = 30.0
"""A station without tasks stays open so long: the next pass of the same operation wants it again."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a task brings with it; sealed as a whole where there is a key."""

    channel: str
    number: int
    setup: bytes
    task: Any


def pulse_name(channel: str) -> str:
    return f"{channel}-pulse"


def claim_name(channel: str, number: int) -> str:
    return f"{channel}-claim-{number}"


def key_of(env: Mapping[str, str]) -> WorkerKey | None:
    """The worker key that an environment tells of, None for none. Raises `SettingsError`, `KeyRefused`."""
    if file := env.get(KEY_FILE_VARIABLE):
        try:
            return WorkerKey.parse(Secret(Path(file).read_text(encoding="ascii", errors="replace")))
        except OSError as error:
            raise SettingsError(f"{KEY_FILE_VARIABLE}: {file} cannot be read: {error.strerror}") from error
    text = env.get(KEY_VARIABLE)
    return WorkerKey.parse(Secret(text)) if text else None


class _Stations:
    """Open stations by the digest of their setup, shared by the tasks of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, tuple[ExitStack, Station]] = {}
        self._users: dict[str, int] = {}

    @contextmanager
    def of(self, setup: bytes) -> Iterator[Station]:
        name = hashlib.sha256(setup).hexdigest()
        with self._lock:
            if name not in self._open:
                stack = ExitStack()
                self._open[name] = stack, stack.enter_context(load(setup).open())
            self._users[name] = self._users.get(name, 0) + 1
            station = self._open[name][1]
        try:
            yield station
        finally:
            with self._lock:
                self._users[name] -= 1
            later = threading.Timer(_KEPT_SECONDS, self._close_unused)
            later.daemon = True
            later.start()

    def _close_unused(self) -> None:
        with self._lock:
            for name in [name for name, users in self._users.items() if users == 0]:
                del self._users[name]
                self._open.pop(name)[0].close()


_stations: Final = _Stations()


class _Link:
    """The way of one task to its coordinator."""

    def __init__(self, client: Any, envelope: Envelope, key: WorkerKey | None) -> None:
        from distributed import Queue, Variable

        self.signals = Signals(threading.Event(), threading.Event())
        self._envelope = envelope
        self._key = key
        self._queue = Queue(envelope.channel, client=client)
        self._pulse = Variable(pulse_name(envelope.channel), client=client)
        self._waiting: list[object] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._beat = -1
        self._heard = time.monotonic()
        self._thread = threading.Thread(target=self._serve, name="link", daemon=True)

    def emit(self, item: Any) -> None:
        self.put(Said(0, self._envelope.number, item))

    def put(self, message: object) -> None:
        with self._lock:
            self._waiting.append(message)

    def _serve(self) -> None:
        look_at = 0.0
        while not self._ended.wait(_BUNDLE_SECONDS):
            with suppress(OSError, TimeoutError):
                self._send()
            if time.monotonic() >= look_at:
                self._look()
                look_at = time.monotonic() + _LOOK_SECONDS

    def _send(self) -> None:
        with self._lock:
            bundle, self._waiting = self._waiting, []
        if not bundle:
            return
        try:
            self._queue.put(close(self._key, bundle, self._envelope.channel))
        except (OSError, TimeoutError):
            with self._lock:
                self._waiting = bundle + self._waiting
            raise

    def _look(self) -> None:
        try:
            pulse = self._pulse.get(timeout=2)
        except (OSError, TimeoutError):
            pulse = {"beat": self._beat}
        if pulse["beat"] != self._beat:
            self._beat, self._heard = pulse["beat"], time.monotonic()
        if pulse.get("stop"):
            self.signals.stop.set()
        if pulse.get("cancel") or time.monotonic() - self._heard > SILENCE_SECONDS:
            self.signals.cancelled.set()

    def __enter__(self) -> _Link:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """All that was put is in the queue when this returns."""
        self._ended.set()
        self._thread.join()
        self._send()


def _is_first(client: Any, envelope: Envelope) -> bool:
    """Whether nobody has begun this task before, and its coordinator is there."""
    from distributed import Variable

    claim = Variable(claim_name(envelope.channel, envelope.number), client=client)
    try:
        Variable(pulse_name(envelope.channel), client=client).get(timeout=PULSE_SECONDS)
    except TimeoutError:
        return False
    try:
        claim.get(timeout=0.05)
    except TimeoutError:
        claim.set(1)
        return True
    return False


def run_task(sealed: bytes, version: str) -> str:
    """What the scheduler hands to a worker. Raises `WorkerError` for a worker of another version, `KeyRefused`,
    `SettingsError`; errors of the task itself go through the queue like all it has to say.
    """
    from distributed import get_client

    if version != kafkeep.__version__:
        raise WorkerError(
            f"a Dask worker has kafkeep {kafkeep.__version__}, the coordinator {version}",
            hint="Install the same version wherever a worker runs.",
        )
    key = key_of(os.environ)
    envelope = disclose(key, sealed, TASK_PLACE)
    client = get_client()
    if not _is_first(client, envelope):
        return AGAIN
    with _Link(client, envelope, key) as link:
        try:
            with _stations.of(envelope.setup) as station:
                link.put(Done(0, envelope.number, station.work(envelope.task, link.emit, link.signals)))
        except BaseException as error:  # noqa: BLE001 - handed to the coordinator, which raises it
            link.put(Failed(0, envelope.number, portable(error)))
    return ENDED

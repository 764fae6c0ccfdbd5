"""Broker processes, known by pid, start time and the file on their command line, so that no stranger is ended."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from kafkeep.errors import LabError, MissingDependency
from kafkeep.records import dataclass

try:
    import psutil
except ImportError as error:
    raise MissingDependency("a lab needs the package psutil") from error

_START_TOLERANCE_SECONDS = 5.0
"""psutil derives start times from the boot time, which moves when the clock is set."""


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process of ours; `mark` is the last word of its command line, a file in the lab's folder."""

    pid: int
    created: float
    mark: str


def spawn(command: Sequence[str], *, log: Path, env: Mapping[str, str]) -> ProcessId:
    """Starts a process in a session of its own, standard output and error appended to `log`."""
    try:
        with log.open("ab") as output:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=dict(env),
                cwd=log.parent,
            )
    except OSError as error:
        raise LabError(f"cannot start {command[0]}: {error.strerror or error}") from error
    try:
        created = psutil.Process(child.pid).create_time()
    except psutil.NoSuchProcess:
        created = 0.0  # it ended at once; `find` says so to whoever asks
    child.returncode = 0  # silences Popen's destructor: psutil reaps the process
    return ProcessId(child.pid, created, command[-1])


def find(identity: ProcessId | None) -> psutil.Process | None:
    """The live process behind an identity; None when it has ended or the pid belongs to somebody else now."""
    if identity is None:
        return None
    try:
        process = psutil.Process(identity.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            process.wait(timeout=0)  # reaps a child of ours
            return None
        same_start = abs(process.create_time() - identity.created) <= _START_TOLERANCE_SECONDS
        # The command line reads as empty while a process is in execve, which Java's launcher may go through twice.
        ours = (process.cmdline() or [identity.mark])[-1] == identity.mark
        return process if same_start and ours else None
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.TimeoutExpired):
        return None


def end(identities: Sequence[ProcessId], *, grace_seconds: float) -> None:
    """SIGTERM to all, SIGKILL to those that are left after the grace; returns when all have ended.

    A paused process is resumed first: it could not act on SIGTERM. Raises LabError when one survives SIGKILL.
    """
    alive = [process for identity in identities if (process := find(identity)) is not None]
    for process in alive:
        _signal(process, "resume")
        _signal(process, "terminate")
    _, alive = psutil.wait_procs(alive, timeout=grace_seconds)
    for process in alive:
        _signal(process, "kill")
    _, alive = psutil.wait_procs(alive, timeout=30)
    if alive:
        raise LabError(f"processes {', '.join(str(process.pid) for process in alive)} did not end after SIGKILL")


def kill(identity: ProcessId) -> None:
    """SIGKILL, and waits for the end."""
    process = find(identity)
    if process is not None:
        _signal(process, "kill")
        psutil.wait_procs([process], timeout=30)


def pause(identity: ProcessId) -> None:
    """SIGSTOP; returns when the process has stopped."""
    process = find(identity)
    if process is None:
        raise LabError(f"process {identity.pid} has ended and cannot be paused")
    _signal(process, "suspend")
    deadline = time.monotonic() + 10
    while find(identity) is not None and not is_paused(identity) and time.monotonic() < deadline:
        time.sleep(0.005)


def is_paused(identity: ProcessId | None) -> bool:
    """True between `pause` and `resume`; False when it has ended."""
    process = find(identity)
    try:
        return process is not None and process.status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False


def resume(identity: ProcessId) -> None:
    """SIGCONT."""
    process = find(identity)
    if process is not None:
        _signal(process, "resume")


def _signal(process: psutil.Process, how: str) -> None:
    try:
        getattr(process, how)()
    except psutil.NoSuchProcess:
        return  # ended by itself in between

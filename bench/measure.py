"""What a run cost, and the middle of several."""

from __future__ import annotations

import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

_LAUNCHER: Final = Path(__file__).with_name("launch.py")
_ROOT: Final = Path(__file__).parent.parent
_USER_TICKS: Final = 11
"""Place in /proc/PID/stat behind the command's name in brackets; those of the system follow."""


class BenchError(Exception):
    """A contestant failed, or the data is not what it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a run cost. CPU is user and system together, of all threads and waited-for children."""

    seconds: float
    cpu_seconds: float
    system_seconds: float
    peak_rss_bytes: int
    page_faults: int
    """Minor ones: pages that were mapped without reading a disk."""
    broker_cpu_seconds: float | None = None
    """What the broker on the same machine took while the command ran; None where nobody looked."""

    def to_json(self) -> dict[str, float | int | None]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, lowest and highest of a figure."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that ended well."""

    usage: Usage
    output: str
    """What it wrote to stdout."""

    def last_json(self) -> dict[str, Any]:
        """The last line, as kafkeep's `summary` and the bench's own children write it."""
        told: dict[str, Any] = json.loads(self.output.splitlines()[-1])
        return told


def run(
    command: Sequence[str],
    *,
    folder: Path,
    env: Mapping[str, str],
    good: int = 0,
    sampled: bool = False,
    seconds: float | None = None,
) -> Ran:
    """Runs a command by itself and measures all of it; `sampled` adds up the memory of all its processes.

    Raises BenchError with the end of its talk unless it ends with exit status `good`, and when it takes longer than
    `seconds`: it is killed then.
    """
    result, out, err = (folder / name for name in ("usage.json", "stdout", "stderr"))
    launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(result), str(out), str(err), str(int(sampled))]
    with subprocess.Popen([*launcher, *command], env=dict(env), cwd=_ROOT, start_new_session=True) as process:
        try:
            process.wait(seconds)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise BenchError(f"{command[0]} did not end within {seconds:.0f} s") from error
            raise
    if process.returncode:
        raise BenchError(f"{command[0]} could not be started")
    told: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    exit_code = told.pop("exit_code")
    output = out.read_text(encoding="utf-8", errors="replace")
    if exit_code != good:
        talk = last_lines(output + err.read_text(encoding="utf-8", errors="replace"))
        raise BenchError(f"{' '.join(command)} ended with {exit_code}:\n{talk}")
    return Ran(Usage(**told), output)


def last_lines(talk: str, enough: int = 3000) -> str:
    """The last lines of a text that have `enough` characters together, each from its beginning."""
    kept: list[str] = []
    for line in reversed(talk.splitlines()):
        kept.append(line[:enough])
        if sum(map(len, kept)) >= enough:
            break
    return "\n".join(reversed(kept))


def cpu_seconds_of(*pids: int) -> float:
    """User and system seconds of running processes so far, all of their threads; those that they waited for not counted.

    Raises OSError where the system does not tell.
    """
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        total += int(fields[_USER_TICKS]) + int(fields[_USER_TICKS + 1])
    return total / os.sysconf("SC_CLK_TCK")


def measured(work: Callable[[], None]) -> Usage:
    """What a piece of work in this process cost, without what came before it."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.monotonic()
    work()
    seconds = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    system = after.ru_stime - before.ru_stime
    return Usage(
        seconds=seconds,
        cpu_seconds=after.ru_utime - before.ru_utime + system,
        system_seconds=system,
        peak_rss_bytes=after.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        page_faults=after.ru_minflt - before.ru_minflt,
    )

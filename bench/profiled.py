"""Runs kafkeep in this process with a profile per thread: `python -m bench.profiled RESULT ARGUMENTS...`.

Each thread's clock is its own CPU time, so waiting for sockets, disks and other threads counts nothing.
"""

from __future__ import annotations

import cProfile
import json
import pstats
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

_MOST_FUNCTIONS: Final = 40
_found: list[dict[str, Any]] = []
_lock: Final = threading.Lock()


def profiled(name: str, work: Callable[[], object]) -> None:
    """Runs `work` on this thread and notes where its CPU time went."""
    profile = cProfile.Profile(time.thread_time)
    began = time.thread_time()
    try:
        profile.runcall(work)
    finally:
        cpu = time.thread_time() - began
        with _lock:
            _found.append({"thread": name, "cpu_seconds": cpu, "functions": _functions(profile)})


def _functions(profile: cProfile.Profile) -> list[dict[str, Any]]:
    stats: dict[Any, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    own = sorted(stats.items(), key=lambda entry: -entry[1][2])[:_MOST_FUNCTIONS]
    return [
        {"function": _name(place), "calls": calls, "own_seconds": seconds, "seconds": total}
        for place, (_, calls, seconds, total, _) in own
    ]


def _name(place: tuple[str, int, str]) -> str:
    file, line, function = place
    return function if file == "~" else f"{'/'.join(Path(file).parts[-2:])}:{line} {function}"


def main() -> None:
    result, *arguments = sys.argv[1:]
    run = threading.Thread.run

    def thread_run(self: threading.Thread) -> None:
        profiled(self.name, lambda: run(self))

    threading.Thread.run = thread_run  # type: ignore[method-assign]
    from kafkeep.cli import main as cli

    sys.argv = ["kafkeep", *arguments]
    try:
        profiled("main", cli.main)
    finally:
        Path(result).write_text(json.dumps(_found), encoding="utf-8")


if __name__ == "__main__":
    main()

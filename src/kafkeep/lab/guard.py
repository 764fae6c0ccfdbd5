"""Ends a lab whose owner died: `python -m kafkeep.lab.guard DIR`, with standard input held open by the owner.

The pipe closes when the owner ends for whatever reason, SIGKILL included. If the lab is still there then, its processes
are ended and its folder removed. The guard runs in a session of its own so that a Ctrl-C does not end it first.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

from kafkeep.lab import files, process, state


class Guard:
    """The owner's end."""

    def __init__(self, folder: Path, *, env: Mapping[str, str]) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", __name__, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=dict(env),
        )

    def dismiss(self) -> None:
        """Lets the guard go; called when the lab is gone."""
        self._child.communicate()


def sweep(folder: Path) -> None:
    """Ends every process whose command line ends with a file in the folder, then removes the lab."""
    for found in psutil.process_iter(["pid", "create_time", "cmdline"]):
        last = (found.info["cmdline"] or [""])[-1]
        if last.startswith(f"{folder}/node-"):
            process.kill(process.ProcessId(found.info["pid"], found.info["create_time"], last))
    if (folder / state.FILE).exists():
        files.clear(folder)
        files.remove_if_empty(folder)


def main() -> None:
    folder = Path(sys.argv[1])
    sys.stdin.buffer.read()
    if folder.is_dir() and (folder / state.FILE).exists():
        sweep(folder)


if __name__ == "__main__":
    main()

"""Runs a command and hands on to it the signals that would end this process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from kafkeep.errors import UsageError

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_command(command: Sequence[str], *, env: Mapping[str, str]) -> int:
    """Runs a command to its end and returns its exit code, 128 + N when signal N ended it.

    Must be called in the main thread: SIGINT, SIGTERM and SIGHUP go to the command meanwhile. Raises UsageError when
    the command cannot be started.
    """
    with _forwarding() as children:
        try:
            child = subprocess.Popen(command, env=dict(env))
        except OSError as error:
            raise UsageError(f"cannot run {command[0]}: {error.strerror or error}") from error
        children.append(child)
        code = child.wait()
    return 128 - code if code < 0 else code


@contextmanager
def _forwarding() -> Iterator[list[subprocess.Popen[bytes]]]:
    children: list[subprocess.Popen[bytes]] = []

    def forward(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and _in_foreground():
            return  # the terminal has sent it to the command, too
        for child in children:
            child.send_signal(number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        yield children
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_foreground() -> bool:
    """True when a terminal's Ctrl-C reaches this process and its children alike."""
    try:
        return os.tcgetpgrp(sys.__stdin__.fileno() if sys.__stdin__ is not None else 0) == os.getpgrp()
    except (OSError, ValueError):
        return False

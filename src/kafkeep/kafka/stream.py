"""Bytes to and from one broker over TCP. Raises only OSError and EOFError; `tls_stream` has the same over TLS."""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Sequence
from typing import Final, Protocol

Part = bytes | bytearray | memoryview

_MOST_PARTS: Final = 512
"""Buffers per sendmsg; systems allow 1024."""
_SYSTEM_WAITS: Final = sys.platform == "linux"
"""Whether waits are bounded by the socket's own options (SO_RCVTIMEO, SO_SNDTIMEO), whose form is the system's."""
_ALL: Final = socket.MSG_WAITALL if _SYSTEM_WAITS else 0
_TIMEVAL: Final = struct.Struct("@ll")


class Stream(Protocol):
    """A connected byte stream; `timeout` bounds each single wait for the peer."""

    def set_timeout(self, seconds: float) -> None: ...

    def send(self, parts: Sequence[Part]) -> None:
        """Sends all parts, one behind the other."""

    def fill(self, view: memoryview, deadline: float) -> None:
        """Fills `view`; TimeoutError past `deadline` (of time.monotonic), EOFError when the peer closes."""

    def close(self) -> None: ...


class PlainStream:
    """On Linux the system itself waits until all is there, which takes one call for an answer instead of many."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._seconds = 0.0
        self._told: dict[int, float] = {}
        """The seconds that the system was given for each of its two options."""
        if _SYSTEM_WAITS:
            sock.settimeout(None)

    def set_timeout(self, seconds: float) -> None:
        self._seconds = seconds
        if not _SYSTEM_WAITS:
            self._socket.settimeout(seconds)

    def _bound(self, option: int) -> None:
        if _SYSTEM_WAITS and self._told.get(option) != self._seconds:
            span = _TIMEVAL.pack(*divmod(max(1, round(self._seconds * 1_000_000)), 1_000_000))
            self._socket.setsockopt(socket.SOL_SOCKET, option, span)
            self._told[option] = self._seconds

    def send(self, parts: Sequence[Part]) -> None:
        self._bound(socket.SO_SNDTIMEO)
        try:
            self._send(parts)
        except BlockingIOError as error:  # how the system says that the time is over
            raise TimeoutError from error

    def _send(self, parts: Sequence[Part]) -> None:
        if len(parts) <= _MOST_PARTS:
            left = sum(map(len, parts)) - self._socket.sendmsg(parts)
            parts = _last_bytes(parts, left)
        waiting = [memoryview(part) for part in parts if len(part)]
        while waiting:
            sent = self._socket.sendmsg(waiting[:_MOST_PARTS])
            done = 0
            while done < len(waiting) and sent >= len(waiting[done]):
                sent -= len(waiting[done])
                done += 1
            del waiting[:done]
            if sent:
                waiting[0] = waiting[0][sent:]

    def fill(self, view: memoryview, deadline: float) -> None:
        receive, position, size = self._socket.recv_into, 0, len(view)
        self._bound(socket.SO_RCVTIMEO)
        while position < size:
            try:
                count = receive(view[position:], 0, _ALL)
            except BlockingIOError as error:
                raise TimeoutError from error
            if not count:
                raise EOFError
            position += count
            if position < size and time.monotonic() > deadline:
                raise TimeoutError

    def close(self) -> None:
        self._socket.close()


def _last_bytes(parts: Sequence[Part], size: int) -> list[Part]:
    """What of `parts` holds the last `size` bytes."""
    found: list[Part] = []
    for part in reversed(parts):
        if size <= 0:
            break
        found.append(part if len(part) <= size else memoryview(part)[len(part) - size :])
        size -= len(part)
    return found[::-1]

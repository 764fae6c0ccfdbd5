"""Bytes to and from one broker: TCP, and TLS over memory buffers. Raises only OSError, ssl.SSLError and EOFError.

TLS goes through `SSLContext.wrap_bio`: ciphertext is received 256 KiB at a time and decrypted straight into the
caller's buffer, which costs about a third less than a blocking SSLSocket's 16 KiB reads.
"""

from __future__ import annotations

import socket
import ssl
import struct
import sys
import time
from collections.abc import Sequence
from typing import Final, Protocol, cast

Part = bytes | bytearray | memoryview

_MOST_PARTS: Final = 512
"""Buffers per sendmsg; systems allow 1024."""
_CIPHER_BYTES: Final = 256 * 1024
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


class TlsStream:
    def __init__(self, sock: socket.socket, context: ssl.SSLContext, server_hostname: str, deadline: float) -> None:
        """Shakes hands before `deadline` (of time.monotonic); the socket is the caller's to close when that fails."""
        self._socket = sock
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._cipher = memoryview(bytearray(_CIPHER_BYTES))
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                if (left := deadline - time.monotonic()) <= 0:
                    raise TimeoutError from None
                sock.settimeout(left)
                self._receive()
            except ssl.SSLError:
                self._flush()  # the alert tells the peer why
                raise
        self._flush()

    def set_timeout(self, seconds: float) -> None:
        self._socket.settimeout(seconds)

    def send(self, parts: Sequence[Part]) -> None:
        for part in parts:
            view = memoryview(part)
            for start in range(0, len(view), _CIPHER_BYTES):
                self._tls.write(view[start : start + _CIPHER_BYTES])
                self._flush()

    def fill(self, view: memoryview, deadline: float) -> None:
        read, position, size = self._tls.read, 0, len(view)
        while position < size:
            try:
                count = cast(int, read(size - position, view[position:]))  # an int whenever a buffer is given
            except ssl.SSLWantReadError:
                if time.monotonic() > deadline:
                    raise TimeoutError from None
                self._flush()
                self._receive()
                continue
            if not count:
                raise EOFError
            position += count

    def _flush(self) -> None:
        if not self._outgoing.pending:
            return
        try:
            self._socket.sendall(self._outgoing.read())
        except ConnectionError:
            self._raise_alert()
            raise

    def _raise_alert(self) -> None:
        """With TLS 1.3 a server refuses a client's certificate after the handshake: its alert may lie unread."""
        try:
            self._receive()
            self._tls.read(1)
        except (ConnectionError, TimeoutError, EOFError, ssl.SSLWantReadError):
            return

    def _receive(self) -> None:
        count = self._socket.recv_into(self._cipher)
        if not count:
            raise EOFError
        self._incoming.write(self._cipher[:count])

    def close(self) -> None:
        self._socket.close()

"""Bytes to and from one broker over TLS. Raises only OSError, ssl.SSLError and EOFError.

TLS goes through memory buffers (`SSLContext.wrap_bio`): ciphertext is received 256 KiB at a time and decrypted straight into
the caller's buffer, which costs about a third less than a blocking SSLSocket's 16 KiB reads.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Sequence
from typing import Final, cast

from kafkeep.errors import KafkaError, KafkaLoginError, KafkaUnreachable
from kafkeep.kafka.stream import Part

_CIPHER_BYTES: Final = 256 * 1024
_TLS_HINT: Final = (
    "Check that this listener speaks TLS, that the security protocol fits it, and the tls settings of the cluster."
)


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


def translated(error: BaseException, peer: str) -> KafkaError | None:
    """What an error of TLS means; None for any other."""
    match error:
        case ssl.SSLCertVerificationError():
            return KafkaLoginError(
                f"the certificate of {peer} is not accepted: {error.verify_message.rstrip('.').lower()}",
                hint="Check tls ca_file (it must hold the authority that signed the broker's certificate) and that the"
                " address is one the certificate names.",
            )
        case ssl.SSLError() if "ALERT" in (error.reason or ""):
            return KafkaLoginError(
                f"{peer} ended TLS with {(error.reason or '').lower()}",
                hint="Check tls cert_file and key_file: the broker may want a certificate of an authority it knows.",
            )
        case ssl.SSLError():
            reason = (error.reason or str(error)).lower()
            return KafkaUnreachable(f"TLS with {peer} failed: {reason}", hint=_TLS_HINT, retryable=False)
        case _:
            return None

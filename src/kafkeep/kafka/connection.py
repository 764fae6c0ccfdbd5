"""One framed, authenticated connection to one broker: requests in order, answers into reused buffers.

Blocking, for one thread. Every failure ends the connection: open a new one. Logins: KIP-43 and KIP-152; sessions that
end: KIP-368.
"""

from __future__ import annotations

import mmap
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from kafkeep.errors import KafkaError, KafkaLoginError, KafkaProtocolError, KafkaUnreachable, KafkaUnsupported
from kafkeep.kafka.auth import SaslMechanism, sasl_mechanism
from kafkeep.kafka.codes import code_name, request_error
from kafkeep.kafka.config import ClusterConfig
from kafkeep.kafka.stream import Part, PlainStream, Stream
from kafkeep.kafka.wire.headers import API_VERSIONS, flexible_answer_header, request_header
from kafkeep.kafka.wire.primitives import Reader, string
from kafkeep.logger import get_logger
from kafkeep.memory import pages

SASL_HANDSHAKE: Final = 17
SASL_AUTHENTICATE: Final = 36
SMALL_BUFFER: Final = 64 * 1024

LARGEST_FRAME: Final = 256 * 1024 * 1024
_LARGEST_LOGIN_FRAME: Final = 1024 * 1024
_SLOWEST_BYTES_PER_SECOND: Final = 8 * 1024
"""A peer that sends an answer more slowly is given up."""
_SESSION_SHARE: Final = 0.85
"""Re-authenticate after this part of a session's lifetime, as Java clients do at the earliest."""
_SESSION_MARGIN_SECONDS: Final = 10.0
"""Time for requests under way, which a broker looks at one after the other: it closes the connection on any that it
comes to after the session's end (KIP-368, SocketServer). A short session is renewed in its middle."""
_SHORTEST_SESSION_SECONDS: Final = 1.1
"""Brokers refuse to re-authenticate within a second of the last time."""
_MOST_LOGIN_STEPS: Final = 16
_SHORTEST_WAIT_SECONDS: Final = 0.01
_SIZE: Final = struct.Struct(">i")

log = get_logger(__name__)


def _memory(size: int) -> bytearray | mmap.mmap:
    """Room for `size` bytes; large rooms take memory only as they are filled, whatever size a peer announces."""
    return bytearray(size) if size <= SMALL_BUFFER else pages(size)


class FrameBuffer:
    """Two buffers used in turn, so that an answer's bytes stay valid until the second `receive` after it.

    Each is of `size` bytes, made when first needed. A larger frame gets a buffer of its own size, which is dropped when
    its turn comes again.
    """

    __slots__ = ("_next", "_sizes", "_slots", "lead", "size")

    def __init__(self, size: int = SMALL_BUFFER) -> None:
        self.size = size
        self.lead = 0
        """How far behind the beginning of its buffer the next frame begins."""
        self._slots: list[bytearray | mmap.mmap] = [bytearray(), bytearray()]
        self._sizes = [0, 0]
        """What each was made for, which may be less than it has."""
        self._next = 0

    def take(self, size: int) -> memoryview:
        """Room for a frame of `size` bytes in the buffer whose turn it is."""
        turn, self._next = self._next, 1 - self._next
        wanted = max(self.lead + size, self.size)
        if self._sizes[turn] != wanted:
            self._slots[turn], self._sizes[turn] = _memory(wanted), wanted
        return memoryview(self._slots[turn])[self.lead : self.lead + size]


class _Awaited(NamedTuple):
    correlation_id: int
    flexible: bool


class Connection:
    """See the module. Public calls raise KafkaUnreachable (try again), KafkaLoginError or KafkaProtocolError."""

    def __init__(self, config: ClusterConfig, host: str, port: int, stream: Stream) -> None:
        """Use `open`."""
        self.peer: Final = f"{host}:{port}"
        self.api_versions: Mapping[int, tuple[int, int]] = {}
        self._config = config
        self._host = host
        self._stream: Stream | None = stream
        self._correlation_id = 0
        self._awaited: deque[_Awaited] = deque()
        self._early: deque[tuple[int, memoryview]] = deque()
        """Answers that had to be received before a re-authentication."""
        self._largest_frame = _LARGEST_LOGIN_FRAME
        self._renew_at: float | None = None
        self._answer_seconds = config.request_timeout_seconds
        self._client_id = string(config.client_id)

    @classmethod
    def open(cls, config: ClusterConfig, host: str, port: int, *, largest_frame: int = LARGEST_FRAME) -> Connection:
        """Connects, shakes hands, learns the broker's versions and logs in.

        All before the login has to be done within the connect timeout: a peer that takes the connection and stays mute
        is found as fast as one that does not take it.

        Raises:
            KafkaUnreachable: when there is no such peer, it does not answer, or TLS fails; the message names host:port.
            KafkaLoginError: when the broker refuses the login or the client's certificate, or its own certificate does
                not hold.
            KafkaProtocolError: when the peer does not speak Kafka's protocol.
            SettingsError: when a TLS file cannot be used.
        """
        deadline = time.monotonic() + config.connect_timeout_seconds
        connection = cls(config, host, port, _connect(config, host, port, deadline))
        try:
            left = max(_SHORTEST_WAIT_SECONDS, deadline - time.monotonic())
            connection._answer_seconds = min(left, config.request_timeout_seconds)
            connection._learn_versions()
            connection._answer_seconds = config.request_timeout_seconds
            if config.sasl is not None:
                connection._log_in()
        except BaseException:
            connection.close()
            raise
        connection._largest_frame = largest_frame
        log.debug("broker connection opened", peer=connection.peer, protocol=config.security_protocol)
        return connection

    @property
    def in_flight(self) -> int:
        """Requests whose answers have not been handed out yet."""
        return len(self._awaited) + len(self._early)

    def version(self, api_key: int, lowest: int, highest: int) -> int:
        """The newest version of a call that both sides speak.

        Raises:
            KafkaUnsupported: when there is none.
        """
        offered = self.api_versions.get(api_key)
        if offered is None or offered[0] > highest or offered[1] < lowest:
            has = "not at all" if offered is None else f"in versions {offered[0]} to {offered[1]}"
            raise KafkaUnsupported(
                f"{self.peer} offers api {api_key} {has}; needed is a version from {lowest} to {highest}"
            )
        return min(highest, offered[1])

    def send(self, api_key: int, version: int, parts: Sequence[Part]) -> int:
        """Sends one request whose body is `parts`, one behind the other; returns its correlation id."""
        if self._renew_at is not None and time.monotonic() >= self._renew_at:
            self._renew()
        return self._send(api_key, version, parts)

    def receive(self, buffer: FrameBuffer, *, patience_seconds: float = 0.0) -> tuple[int, memoryview]:
        """The oldest outstanding answer: correlation id and body, read-only, in `buffer`.

        Args:
            patience_seconds: How long the broker may rightly wait before it answers, on top of the request timeout.
        """
        if self._early:
            return self._early.popleft()
        return self._receive(buffer.take, patience_seconds)

    def close(self) -> None:
        """Ends the connection; outstanding answers are lost. Closing twice is allowed."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Frames

    def _send(self, api_key: int, version: int, parts: Sequence[Part]) -> int:
        self._correlation_id = (self._correlation_id + 1) & 0x7FFFFFFF
        head = request_header(api_key, version, self._correlation_id, self._client_id, sum(map(len, parts)))
        self._transmit([head, *parts])
        self._awaited.append(_Awaited(self._correlation_id, flexible_answer_header(api_key, version)))
        return self._correlation_id

    def _transmit(self, parts: Sequence[Part]) -> None:
        stream = self._open_stream()
        try:
            stream.set_timeout(self._answer_seconds)
            stream.send(parts)
        except (OSError, EOFError) as error:
            raise self._failed(error) from error

    def _receive(self, take: Callable[[int], memoryview], patience_seconds: float) -> tuple[int, memoryview]:
        if not self._awaited:
            raise ValueError(f"no answer of {self.peer} is outstanding")
        awaited = self._awaited.popleft()
        frame = self._read_frame(take, patience_seconds)
        try:
            reader = Reader(frame.toreadonly(), f"answer of {self.peer}")
            correlation_id = reader.i32()
            if correlation_id != awaited.correlation_id:
                raise reader.fail(f"it answers request {correlation_id} instead of {awaited.correlation_id},")
            if awaited.flexible:
                reader.tags()
        except KafkaProtocolError:
            self.close()
            raise
        return correlation_id, reader.view[reader.position :]

    def _read_frame(self, take: Callable[[int], memoryview], patience_seconds: float) -> memoryview:
        stream = self._open_stream()
        seconds = self._answer_seconds + patience_seconds
        prefix = bytearray(_SIZE.size)
        try:
            stream.set_timeout(seconds)
            stream.fill(memoryview(prefix), time.monotonic() + seconds)
            size = _SIZE.unpack(prefix)[0]
            if not _SIZE.size <= size <= self._largest_frame:
                self.close()
                raise _not_kafka(self.peer, bytes(prefix), size)
            frame = take(size)
            stream.fill(frame, time.monotonic() + seconds + size / _SLOWEST_BYTES_PER_SECOND)
        except (OSError, EOFError) as error:
            raise self._failed(error) from error
        return frame

    def _open_stream(self) -> Stream:
        if self._stream is None:
            raise KafkaUnreachable(f"the connection to {self.peer} is closed")
        return self._stream

    def _failed(self, error: OSError | EOFError) -> KafkaError:
        self.close()
        return _translated(self._config, error, self.peer, f"no answer within {self._answer_seconds:.3g} s")

    def _call(self, api_key: int, version: int, body: bytes) -> Reader:
        """One request and its answer, with nothing else outstanding."""
        self._send(api_key, version, [body])
        _, view = self._receive(_fresh, 0.0)
        return Reader(view, f"answer of {self.peer} to api {api_key}")

    # Opening

    def _learn_versions(self) -> None:
        reader = self._call(API_VERSIONS, 0, b"")
        try:
            error = reader.i16()
            if error:
                raise request_error(error, f"version negotiation with {self.peer}")
            versions = {}
            for _ in range(reader.count(compact=False)):
                key, lowest, highest = reader.i16(), reader.i16(), reader.i16()
                versions[key] = (lowest, highest)
            reader.end()
        except KafkaProtocolError:
            self.close()
            raise
        self.api_versions = versions

    def _log_in(self) -> None:
        if self._config.sasl is None:
            return
        mechanism = sasl_mechanism(self._config.sasl, self._host)
        try:
            version = self._handshake(mechanism)
            lifetime_ms = self._exchange(mechanism) if version else self._exchange_raw(mechanism)
        except KafkaError:
            self.close()
            raise
        if not mechanism.is_authenticated():
            self.close()
            raise KafkaLoginError(f"login to {self.peer} as {mechanism.identity} was not completed")
        self._renew_at = None
        if lifetime_ms > 0:
            self._renew_at = time.monotonic() + renewed_after(lifetime_ms / 1000)
        log.debug("logged in", peer=self.peer, mechanism=mechanism.config.mechanism, lifetime_ms=lifetime_ms)

    def _handshake(self, mechanism: SaslMechanism) -> int:
        """Names the mechanism; the version (0: logins go unframed, 1: as SaslAuthenticate requests)."""
        name = mechanism.config.mechanism
        version = self.version(SASL_HANDSHAKE, 0, 1)
        reader = self._call(SASL_HANDSHAKE, version, string(name))
        error = reader.i16()
        offered = [reader.string(compact=False) for _ in range(reader.count(compact=False))]
        if error:
            raise KafkaLoginError(
                f"{self.peer} refuses the sasl mechanism {name}: {code_name(error)}; it offers {', '.join(offered)}",
                hint="Use one of the mechanisms the broker offers on this listener.",
            )
        return version

    def _exchange(self, mechanism: SaslMechanism) -> int:
        """Logs in by SaslAuthenticate; the session's lifetime in ms, 0 when it does not end."""
        version = self.version(SASL_AUTHENTICATE, 0, 1)
        lifetime_ms = 0
        for _ in range(_MOST_LOGIN_STEPS):
            token = mechanism.auth_bytes()
            reader = self._call(SASL_AUTHENTICATE, version, _SIZE.pack(len(token)) + token)
            error, message = reader.i16(), reader.nullable_string(compact=False)
            answer = reader.nullable_bytes(compact=False)
            if error:
                said = code_name(error) if message is None else mechanism.redact(message)
                raise KafkaLoginError(
                    f"{self.peer} refused {mechanism.identity} with {mechanism.config.mechanism}: {said}"
                )
            lifetime_ms = reader.i64() if version else 0
            mechanism.receive(b"" if answer is None else bytes(answer))
            if mechanism.is_done():
                break
        return lifetime_ms

    def _exchange_raw(self, mechanism: SaslMechanism) -> int:
        """Logs in as before KIP-152: each message behind its size, without headers. Such brokers end no sessions."""
        for _ in range(_MOST_LOGIN_STEPS):
            token = mechanism.auth_bytes()
            self._transmit([_SIZE.pack(len(token)), token])
            if mechanism.is_done():
                break
            try:
                answer = self._read_raw()
            except KafkaUnreachable as error:
                raise KafkaLoginError(
                    f"{self.peer} closed the connection when {mechanism.identity} logged in with "
                    f"{mechanism.config.mechanism}"
                ) from error
            mechanism.receive(answer)
            if mechanism.is_done():
                break
        return 0

    def _read_raw(self) -> bytes:
        stream = self._open_stream()
        deadline = time.monotonic() + self._config.request_timeout_seconds
        prefix = bytearray(_SIZE.size)
        try:
            stream.fill(memoryview(prefix), deadline)
            size = _SIZE.unpack(prefix)[0]
            if not 0 <= size <= _LARGEST_LOGIN_FRAME:
                raise _not_kafka(self.peer, bytes(prefix), size)
            token = bytearray(size)
            stream.fill(memoryview(token), deadline)
        except (OSError, EOFError) as error:
            raise self._failed(error) from error
        return bytes(token)

    def _renew(self) -> None:
        """Logs in again on the same connection; a broker takes nothing else in between, so answers are taken first."""
        while self._awaited:
            self._early.append(self._receive(_fresh, self._config.request_timeout_seconds))
        self._log_in()


def renewed_after(lifetime: float) -> float:
    """Seconds after which a session of `lifetime` seconds is renewed."""
    with_margin = max(lifetime / 2, lifetime - _SESSION_MARGIN_SECONDS)
    return max(min(lifetime * _SESSION_SHARE, with_margin), _SHORTEST_SESSION_SECONDS)


def _fresh(size: int) -> memoryview:
    return memoryview(_memory(size))


def _connect(config: ClusterConfig, host: str, port: int, deadline: float) -> Stream:
    peer = f"{host}:{port}"
    stream = _stream_maker(config, host, deadline)
    try:
        sock = socket.create_connection((host, port), timeout=config.connect_timeout_seconds)
    except OSError as error:
        raise _translated(config, error, peer, f"no connection within {config.connect_timeout_seconds:g} s") from error
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return stream(sock)
    except (OSError, EOFError) as error:
        sock.close()
        raise _translated(
            config, error, peer, f"no TLS handshake within {config.connect_timeout_seconds:g} s"
        ) from error
    except BaseException:
        sock.close()
        raise


def _stream_maker(config: ClusterConfig, host: str, deadline: float) -> Callable[[socket.socket], Stream]:
    """Raises `SettingsError`. What TLS needs is loaded only where it is used: it takes more than all else of a connection."""
    if not config.uses_tls:
        return PlainStream
    from kafkeep.kafka.tls_stream import TlsStream
    from kafkeep.tls_context import ssl_context

    context = ssl_context(config.tls)
    return lambda sock: TlsStream(sock, context, host, deadline)


_CLOSED_HINT: Final = (
    "The broker may be stopping, or its listener may want TLS, a client certificate or a login: check the security"
    " protocol."
)


def _translated(config: ClusterConfig, error: OSError | EOFError, peer: str, timeout_text: str) -> KafkaError:
    """What a socket or TLS error means."""
    if config.uses_tls:
        from kafkeep.kafka import tls_stream

        told = tls_stream.translated(error, peer)
        if told is not None:
            return told
    match error:
        case TimeoutError():
            return KafkaUnreachable(f"{peer}: {timeout_text}")
        case EOFError() | ConnectionResetError() | BrokenPipeError():
            return KafkaUnreachable(f"{peer} closed the connection", hint=_CLOSED_HINT)
        case socket.gaierror():
            return KafkaUnreachable(f"the name of {peer} cannot be resolved: {error.strerror}")
        case _:
            return KafkaUnreachable(f"{peer} cannot be reached: {(error.strerror or str(error)).lower()}")


def _not_kafka(peer: str, prefix: bytes, size: int) -> KafkaProtocolError:
    """The error for a frame that cannot be one; what stands in place of its size often tells what the peer is."""
    if prefix[:2] in (b"\x15\x03", b"\x16\x03"):
        return KafkaProtocolError(f"{peer} answers in TLS", hint="Set the security protocol to SSL or SASL_SSL.")
    if prefix == b"HTTP":
        return KafkaProtocolError(f"{peer} is an HTTP server")
    return KafkaProtocolError(f"{peer} announces a frame of {size} bytes")

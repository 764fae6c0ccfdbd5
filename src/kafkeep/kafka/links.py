"""One connection to one address, kept alive and used by one request at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeVar

from kafkeep.errors import KafkaError, KafkaUnsupported
from kafkeep.kafka.config import ClusterConfig
from kafkeep.kafka.connection import Connection, FrameBuffer
from kafkeep.kafka.retry import Retry
from kafkeep.logger import get_logger

log = get_logger(__name__)
T = TypeVar("T")

IDLE_SECONDS: Final = 180.0
"""A connection unused for longer is opened anew: brokers close idle ones after 10 minutes
(`connections.max.idle.ms`), load balancers between often after 4."""

HUNG_SECONDS: Final = 1.0
"""A failure that took longer cost time: connections refused or closed by the peer fail at once."""

LONGEST_THROTTLE_SECONDS: Final = 60.0
"""What a broker may make us wait; an answer that says more is not believed."""

Fields = Mapping[str, object]
"""A request's fields: plain values, lists, and lists of `Fields` for arrays of structs."""
Body = Fields | Callable[[int], Fields]
"""Fields as they are, or a function that makes them for the version settled on."""


class Message(Protocol):
    """What a link needs to know of a request (`kafkeep.kafka.apis.Api`)."""

    @property
    def name(self) -> str: ...
    @property
    def key(self) -> int: ...
    @property
    def lowest(self) -> int: ...
    @property
    def highest(self) -> int: ...
    def encode(self, version: int, fields: Fields) -> bytes: ...
    def decode(self, version: int, body: memoryview) -> Any: ...


class Link:
    """One address: its connection, opened when first used, carries one request at a time."""

    def __init__(self, config: ClusterConfig, host: str, port: int, wait: Callable[[float], None]) -> None:
        self.host = host
        self.port = port
        self.hung_at = 0.0
        """When it last failed after a long wait (time.monotonic): such a broker is to be asked after the others."""
        self._config = config
        self._wait = wait
        self._lock = threading.Lock()
        self._buffer = FrameBuffer()
        self._connection: Connection | None = None
        self._used_at = 0.0
        self._quiet_until = 0.0

    @property
    def connected(self) -> bool:
        """True while there is a connection that has not been idle for long."""
        return self._connection is not None and time.monotonic() - self._used_at <= IDLE_SECONDS

    def open(self) -> Connection:
        """The live connection, made now if there is none or if it has been idle for long.

        Raises:
            KafkaUnreachable, KafkaLoginError, KafkaProtocolError, KafkaUnsupported: from opening it.
        """
        if not self.connected:
            self.close()
        if self._connection is None:
            started = time.monotonic()
            try:
                self._connection = Connection.open(self._config, self.host, self.port)
            except KafkaError:
                self._note_failure(started)
                raise
            self._used_at = time.monotonic()
        return self._connection

    def ask(self, question: Callable[[Connection], T]) -> T:
        """Runs `question` on the live connection with nobody else on it."""
        with self._lock:
            return question(self.open())

    def exchange(self, api: Message, body: Body, retry: Retry | None) -> Any:
        """Sends one request and returns its decoded answer; a connection that failed midway is dropped."""
        with self._lock:
            connection = self.open()
            self._wait(self._quiet_until - time.monotonic())
            version = settled_version(connection, api)
            request = api.encode(version, body(version) if callable(body) else body)
            if retry is not None:
                retry.unanswered += 1
            started = time.monotonic()
            try:
                connection.send(api.key, version, [request])
                answer = api.decode(version, connection.receive(self._buffer)[1])
            except BaseException:
                # Also after KeyboardInterrupt: an answer still under way would be taken for the next request's.
                self._note_failure(started)
                self.close()
                raise
            if retry is not None:
                retry.unanswered -= 1
            self._used_at = time.monotonic()
            self._note_throttle(answer)
        log.debug(
            "request", api=api.name, version=version, peer=connection.peer, seconds=round(self._used_at - started, 4)
        )
        return answer

    def _note_failure(self, started: float) -> None:
        now = time.monotonic()
        if now - started >= HUNG_SECONDS:
            self.hung_at = now

    def _note_throttle(self, answer: Any) -> None:
        # KIP-219: the broker answers at once and then reads nothing more from this connection for that long.
        throttle = getattr(answer, "throttle_time_ms", 0) / 1000
        if throttle > 0:
            self._quiet_until = self._used_at + min(throttle, LONGEST_THROTTLE_SECONDS)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def settled_version(connection: Connection, api: Message) -> int:
    """The newest version of `api` that the connection's broker speaks too; KafkaUnsupported names both."""
    try:
        return connection.version(api.key, api.lowest, api.highest)
    except KafkaUnsupported as error:
        raise KafkaUnsupported(f"{api.name}: {error.message}") from error

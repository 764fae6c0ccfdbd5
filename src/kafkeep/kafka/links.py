"""One connection to one address, kept alive and used by one request at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
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

    def exchange(self, api: Message, bodies: Sequence[Body], retry: Retry | None) -> list[Any]:
        """Sends requests of one kind, one after the other, and returns their decoded answers; a connection that failed
        midway is dropped.

        Each is sent as soon as the answer before it is here, and that is decoded while the broker works on the next one.
        There is never more than one under way: a broker reads no further request while it answers one, and two long
        ones could wait for each other. A broker that throttles us reads the next one that much later, which is at most
        one window of its quota (ClientRequestQuotaManager), a second as a rule.
        """
        with self._lock:
            connection = self.open()
            self._wait(self._quiet_until - time.monotonic())
            version = settled_version(connection, api)
            answers: list[Any] = []
            started = time.monotonic()
            try:
                self._send(connection, api, version, self._request(api, version, bodies[0]), retry)
                for place in range(len(bodies)):
                    following = self._request(api, version, bodies[place + 1]) if place + 1 < len(bodies) else None
                    answer = connection.receive(self._buffer)[1]
                    if following is not None:
                        self._send(connection, api, version, following, retry)
                    answers.append(api.decode(version, answer))
                    self._note_answer(answers[-1], retry)
            except BaseException:
                # Also after KeyboardInterrupt: an answer still under way would be taken for the next request's.
                self._note_failure(started)
                self.close()
                raise
        seconds = round(self._used_at - started, 4)
        log.debug("request", api=api.name, version=version, peer=connection.peer, count=len(bodies), seconds=seconds)
        return answers

    @staticmethod
    def _request(api: Message, version: int, body: Body) -> bytes:
        return api.encode(version, body(version) if callable(body) else body)

    @staticmethod
    def _send(connection: Connection, api: Message, version: int, request: bytes, retry: Retry | None) -> None:
        if retry is not None:
            retry.unanswered += 1
        connection.send(api.key, version, [request])

    def _note_answer(self, answer: Any, retry: Retry | None) -> None:
        if retry is not None:
            retry.unanswered -= 1
        self._used_at = time.monotonic()
        # KIP-219: the broker answers at once and then reads nothing more from this connection for that long.
        throttle = getattr(answer, "throttle_time_ms", 0) / 1000
        if throttle > 0:
            self._quiet_until = self._used_at + min(throttle, LONGEST_THROTTLE_SECONDS)

    def _note_failure(self, started: float) -> None:
        now = time.monotonic()
        if now - started >= HUNG_SECONDS:
            self.hung_at = now

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

"""A scripted broker on loopback for the hot path: partitions in memory, and every kind of wrong answer on demand.

It speaks ApiVersions, SASL, Fetch and Produce through kafka-python's codec, so that a defect in kafkeep's own cannot hide
itself. Honest by default; `edits` change its next answers' fields, `wires` the bytes that go out.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kafka.protocol.consumer import FetchRequest, FetchResponse
from kafka.protocol.metadata import ApiVersionsResponse
from kafka.protocol.producer import ProduceRequest, ProduceResponse
from kafka.protocol.sasl import (
    SaslAuthenticateRequest,
    SaslAuthenticateResponse,
    SaslHandshakeRequest,
    SaslHandshakeResponse,
)
from tests.support.messages import framed, message, request
from tests.support.sasl_server import Exchange, SaslServer

from kafkeep.kafka.config import ClusterConfig
from kafkeep.model import TopicPartition, topic_id_text

PRODUCE, FETCH, SASL_HANDSHAKE, API_VERSIONS, SASL_AUTHENTICATE = 0, 1, 17, 18, 36
NODE_ID = 1
LARGEST_REQUEST = 100 * 1024 * 1024
"""Kafka's default of socket.request.max.bytes."""


class HangUp(Exception):
    """Raised by an edit or a wire: the connection is closed instead of an answer."""


Edit = Callable[[Any], None]
Wire = Callable[[bytes], bytes]


class Asked(NamedTuple):
    api_key: int
    version: int
    client_id: str
    request: Any


@dataclass
class Partition:
    """A log: batches with their offsets in one piece, as a broker would send them."""

    topic_id: uuid.UUID
    log: bytearray = field(default_factory=bytearray)
    start: int = 0
    leader_epoch: int = 0
    leader: int = NODE_ID
    last_stable: int | None = None
    aborted: list[tuple[int, int]] = field(default_factory=list)
    epoch_ends: dict[int, int] = field(default_factory=dict)
    """Where the history of an older leader epoch ends, for divergence."""

    @property
    def end(self) -> int:
        return self.batches()[-1][1] if self.log else self.start

    @property
    def id_text(self) -> str:
        return topic_id_text(self.topic_id.bytes)

    def batches(self) -> list[tuple[int, int, int, int]]:
        """(base offset, next offset, start, stop) of each batch."""
        found, position = [], 0
        while position < len(self.log):
            base, length = struct.unpack_from(">qi", self.log, position)
            (delta,) = struct.unpack_from(">i", self.log, position + 23)
            found.append((base, base + delta + 1, position, position + 12 + length))
            position += 12 + length
        return found

    def append(self, batch: bytes) -> int:
        """Gives the batch the next offsets, as a leader does."""
        base = self.end
        placed = bytearray(batch)
        struct.pack_into(">q", placed, 0, base)
        struct.pack_into(">i", placed, 12, self.leader_epoch)
        self.log += placed
        return base

    def read(self, offset: int, most: int, *, whole_first: bool) -> bytes:
        """From the batch that holds `offset` on, cut anywhere, but the very first batch of an answer whole (KIP-74)."""
        for _, following, start, stop in self.batches():
            if following > offset:
                return bytes(self.log[start : max(start + most, stop if whole_first else 0)])
        return b""


class FakeBroker:
    def __init__(
        self,
        *,
        versions: dict[int, tuple[int, int]] | None = None,
        sasl: SaslServer | None = None,
        tls: ssl.SSLContext | None = None,
        max_wait_seconds: float = 0.0,
    ) -> None:
        self.versions = {PRODUCE: (3, 13), FETCH: (4, 18), SASL_HANDSHAKE: (0, 1), API_VERSIONS: (0, 4)}
        self.versions |= {SASL_AUTHENTICATE: (0, 2)} | (versions or {})
        self.sasl = sasl
        self.tls = tls
        self.max_wait_seconds = max_wait_seconds
        self.partitions: dict[TopicPartition, Partition] = {}
        self.edits: dict[int, deque[Edit]] = defaultdict(deque)
        self.wires: dict[int, deque[Wire]] = defaultdict(deque)
        self.asked: list[Asked] = []
        self.connections = 0
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> FakeBroker:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._server.getsockname()[:2]
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._accepting.join(5)
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def config(self, **options: Any) -> ClusterConfig:
        options.setdefault("request_timeout_seconds", 5.0)
        return ClusterConfig(name="fake", bootstrap=(f"127.0.0.1:{self.port}",), **options)

    def partition(self, topic: str, index: int = 0) -> Partition:
        """The partition, made when it is named first."""
        key = TopicPartition(topic, index)
        if key not in self.partitions:
            self.partitions[key] = Partition(uuid.uuid5(uuid.NAMESPACE_DNS, topic))
        return self.partitions[key]

    def count(self, api_key: int) -> int:
        return sum(asked.api_key == api_key for asked in self.asked)

    # Serving

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            self._sockets.append(sock)
            self.connections += 1
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            if self.tls is not None:
                sock = self.tls.wrap_socket(sock, server_side=True)
                self._sockets.append(sock)
            session = _Session(self)
            while True:
                (size,) = struct.unpack(">i", _read(sock, 4))
                if not 0 < size <= LARGEST_REQUEST:
                    raise HangUp
                answer = session.answer(_read(sock, size))
                if answer is not None:
                    sock.sendall(answer)
        except (EOFError, OSError, HangUp):
            pass
        finally:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def fetch(self, version: int, asked: Any) -> Any:
        if self.max_wait_seconds:
            time.sleep(self.max_wait_seconds)
        left, topics = asked.max_bytes, []
        with self._lock:
            for topic in asked.topics:
                answers = []
                for wanted in topic.partitions:
                    found, answer = self._find(version, topic.topic if version < 13 else topic.topic_id, wanted), {}
                    if isinstance(found, int):
                        answer = {"error_code": found}
                    else:
                        answer = self._fetch_one(version, found, wanted, asked, left)
                    left -= len(answer.get("records") or b"")
                    answers.append(_fetched(version, wanted.partition, answer))
                topics.append({_key(version): _name(version, topic), "partitions": answers})
        return message(FetchResponse, version, throttle_time_ms=0, error_code=0, session_id=0, responses=topics)

    def _find(self, version: int, name: Any, wanted: Any) -> Partition | int:
        for key, partition in self.partitions.items():
            if name in (key.topic, partition.topic_id) and key.partition == wanted.partition:
                return partition
        return 3 if version < 13 else 100

    def _fetch_one(self, version: int, found: Partition, wanted: Any, asked: Any, left: int) -> dict[str, Any]:
        marks = {
            "high_watermark": found.end,
            "last_stable_offset": found.end if found.last_stable is None else found.last_stable,
            "log_start_offset": found.start,
        }
        leader = {"current_leader": {"leader_id": found.leader, "leader_epoch": found.leader_epoch}}
        if found.leader != NODE_ID:
            return marks | {"error_code": 6} | (leader if version >= 12 else {})
        if version >= 9 and wanted.current_leader_epoch not in (-1, found.leader_epoch):
            older = wanted.current_leader_epoch < found.leader_epoch
            return marks | {"error_code": 74 if older else 75} | (leader if version >= 12 else {})
        epoch = wanted.last_fetched_epoch if version >= 12 else -1
        if epoch in found.epoch_ends and wanted.fetch_offset > found.epoch_ends[epoch]:
            return marks | {"diverging_epoch": {"epoch": epoch, "end_offset": found.epoch_ends[epoch]}}
        if not found.start <= wanted.fetch_offset <= found.end:
            return marks | {"error_code": 1}
        most = max(0, min(left, wanted.partition_max_bytes))
        records = found.read(wanted.fetch_offset, most, whole_first=left == asked.max_bytes)
        aborted = [{"producer_id": producer, "first_offset": first} for producer, first in found.aborted]
        return marks | {"records": records, "aborted_transactions": aborted if asked.isolation_level else None}

    def produce(self, version: int, asked: Any) -> Any:
        topics = []
        with self._lock:
            for topic in asked.topic_data:
                answers = []
                for wanted in topic.partition_data:
                    key = topic.name if version < 13 else topic.topic_id
                    found = next(
                        p for t, p in self.partitions.items()
                        if key in (t.topic, p.topic_id) and t.partition == wanted.index
                    )  # fmt: skip
                    base = found.append(bytes(wanted.records))
                    answers.append(
                        {"index": wanted.index, "error_code": 0, "base_offset": base, "log_append_time_ms": -1}
                        | ({"log_start_offset": found.start} if version >= 5 else {})
                    )
                name = "name" if version < 13 else "topic_id"
                topics.append({name: getattr(topic, name), "partition_responses": answers})
        return message(ProduceResponse, version, responses=topics, throttle_time_ms=0)


class _Session:
    """One connection's view of the broker: who has logged in, and since when."""

    def __init__(self, broker: FakeBroker) -> None:
        self.broker = broker
        self.exchange: Exchange | None = None
        self.raw = False
        self.expires: float | None = None
        self.open = broker.sasl is None

    def answer(self, content: bytes) -> bytes | None:
        if self.raw:
            return self._raw_login(content)
        key, version, correlation_id = struct.unpack_from(">hhi", content)
        answer = self._answered(key, version, content)
        for edit in _next(self.broker.edits[key]):
            edit(answer)
        data = framed(answer, correlation_id)
        for wire in _next(self.broker.wires[key]):
            data = wire(data)
        return data

    def _answered(self, key: int, version: int, content: bytes) -> Any:
        kinds = {PRODUCE: ProduceRequest, FETCH: FetchRequest}
        kinds |= {SASL_HANDSHAKE: SaslHandshakeRequest, SASL_AUTHENTICATE: SaslAuthenticateRequest}
        lowest, highest = self.broker.versions[key]
        if not lowest <= version <= highest:
            raise HangUp
        if key == API_VERSIONS:
            keys = [
                {"api_key": api, "min_version": low, "max_version": high}
                for api, (low, high) in self.broker.versions.items()
            ]
            return message(ApiVersionsResponse, version, error_code=0, api_keys=keys)
        asked = request(kinds[key], version, content, header=True)
        self.broker.asked.append(Asked(key, version, asked.header.client_id, asked))
        if key == SASL_HANDSHAKE:
            return self._handshake(version, asked.mechanism)
        if key == SASL_AUTHENTICATE:
            return self._login(version, asked.auth_bytes)
        if not self.open or self.exchange is not None or (self.expires is not None and time.monotonic() > self.expires):
            raise HangUp
        return self.broker.fetch(version, asked) if key == FETCH else self.broker.produce(version, asked)

    def _handshake(self, version: int, mechanism: str) -> Any:
        server = self.broker.sasl
        assert server is not None
        known = mechanism in server.mechanisms
        if known:
            self.exchange = server.exchange(mechanism)
            next(self.exchange)
            self.raw = version == 0
        return message(
            SaslHandshakeResponse, version, error_code=0 if known else 33, mechanisms=list(server.mechanisms)
        )

    def _step(self, token: bytes) -> tuple[bool, bytes]:
        """(the login failed, answer); a login that holds opens the session."""
        assert self.exchange is not None
        server = self.broker.sasl
        assert server is not None
        try:
            answer = self.exchange.send(token)
        except StopIteration as end:
            self.exchange = None
            return not self._opened(end.value), b""
        if answer.startswith(b"v="):
            with contextlib.suppress(StopIteration):
                next(self.exchange)
            self.exchange = None
            self._opened(True)
        return False, answer

    def _opened(self, holds: bool) -> bool:
        server = self.broker.sasl
        assert server is not None
        if holds:
            self.open = True
            server.logins += 1
            if server.session_lifetime_ms:
                self.expires = time.monotonic() + server.session_lifetime_ms / 1000
        return holds

    def _login(self, version: int, token: bytes) -> Any:
        server = self.broker.sasl
        assert server is not None
        failed, answer = self._step(token)
        fields: dict[str, Any] = {"error_code": 0, "error_message": None, "auth_bytes": answer}
        if failed:
            fields |= {"error_code": 58, "error_message": server.refusal, "auth_bytes": b""}
        if version >= 1:
            fields["session_lifetime_ms"] = server.session_lifetime_ms
        return message(SaslAuthenticateResponse, version, **fields)

    def _raw_login(self, token: bytes) -> bytes:
        failed, answer = self._step(token)
        if failed:
            raise HangUp
        self.raw = self.exchange is not None
        return struct.pack(">i", len(answer)) + answer


def _fetched(version: int, index: int, answer: dict[str, Any]) -> dict[str, Any]:
    full: dict[str, Any] = {"partition_index": index, "error_code": 0, "high_watermark": -1, "records": b""}
    full |= {"last_stable_offset": -1, "aborted_transactions": None, "log_start_offset": -1} | answer
    if version < 5:
        del full["log_start_offset"]
    if version >= 11:
        full["preferred_read_replica"] = -1
    return full


def _key(version: int) -> str:
    return "topic" if version < 13 else "topic_id"


def _name(version: int, topic: Any) -> Any:
    return getattr(topic, _key(version))


def _next(queue: deque[Any]) -> list[Any]:
    return [queue.popleft()] if queue else []


def _read(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = sock.recv(min(size - len(data), 1 << 20))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)

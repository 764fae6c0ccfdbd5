"""A scripted broker for what real ones do too rarely to test: lost answers, moved controllers, throttling, garbage.

It speaks the protocol through kafka-python's codec, so that a defect in kafkeep's own cannot hide itself, and answers
each request by a function of (version, decoded request) that gives the answer's fields, raw bytes, or an exception
class below.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kafka.protocol.api_header import ResponseClassRegistry
from kafka.protocol.api_message import ApiMessage
from kafka.protocol.metadata import ApiVersionsResponse, MetadataRequest

from kafkeep.kafka.config import ClusterConfig

API_VERSIONS = 18


class HangUp(Exception):
    """Raised by a script: the connection is closed instead of an answer."""


@dataclass
class Call:
    key: int
    version: int
    request: Any


Script = Callable[[int, Any], "dict[str, Any] | bytes"]


@dataclass
class ControlBroker:
    """`scripts` maps request classes to answers; `versions` overrides what ApiVersions offers for a key."""

    scripts: dict[type[ApiMessage], Script]
    versions: dict[int, tuple[int, int]] = field(default_factory=dict)
    node_id: int = 1
    calls: list[Call] = field(default_factory=list)
    connections: int = 0

    def __enter__(self) -> ControlBroker:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._accepting.join(5)
        self.hang_up()

    def config(self, *more: str, **options: Any) -> ClusterConfig:
        options.setdefault("request_timeout_seconds", 2.0)
        return ClusterConfig(name="scripted", bootstrap=(*more, f"127.0.0.1:{self.port}"), **options)

    def asked(self, kind: type[ApiMessage]) -> list[Call]:
        return [call for call in self.calls if call.key == kind.API_KEY]

    def hang_up(self) -> None:
        """Closes every connection, as a broker's idle limit or a restart does."""
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self._sockets.clear()

    def brokers(self) -> list[dict[str, Any]]:
        """The `brokers` field of a Metadata answer that names this broker alone."""
        return [{"node_id": self.node_id, "host": "127.0.0.1", "port": self.port, "rack": None}]

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            self._sockets.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            while True:
                try:
                    (size,) = struct.unpack(">i", _read(sock, 4))
                    sock.sendall(self._answer(_read(sock, size)))
                except (EOFError, OSError, HangUp):
                    return

    def _answer(self, frame: bytes) -> bytes:
        key, version, correlation = struct.unpack_from(">hhi", frame)
        if key == API_VERSIONS:
            return self._api_versions(correlation)
        request_class = next(script for script in self.scripts if key == script.API_KEY)
        request = request_class.decode(frame, version=version, header=True)
        self.calls.append(Call(key, version, request))
        fields = self.scripts[request_class](version, request)
        if isinstance(fields, bytes):
            return struct.pack(">ii", len(fields) + 4, correlation) + fields
        return _frame(ResponseClassRegistry._response_class_registry[key], version, correlation, fields)

    def _api_versions(self, correlation: int) -> bytes:
        offered = {script.API_KEY: (0, script.max_version) for script in self.scripts} | self.versions
        offered[API_VERSIONS] = (0, 0)
        keys = [{"api_key": key, "min_version": lo, "max_version": hi} for key, (lo, hi) in offered.items()]
        return _frame(ApiVersionsResponse, 0, correlation, {"error_code": 0, "api_keys": keys})


def _frame(kind: Any, version: int, correlation: int, fields: dict[str, Any]) -> bytes:
    message = kind(version=version, **{name: _value(kind.fields[name], version, v) for name, v in fields.items()})
    message.with_header(correlation)
    return bytes(message.encode(header=True, framed=True))


def _value(field: Any, version: int, value: Any) -> Any:
    if value is None or not field.is_struct_array():
        return value
    inner = field.fields
    return [
        field.data_class(version=version, **{name: _value(inner[name], version, v) for name, v in item.items()})
        for item in value
    ]


def _read(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def metadata(broker: ControlBroker, *topics: str, controller: int = 1, leader: int = 1, epoch: int = 0) -> Any:
    """A Metadata script in which `topics` have one partition each and other topics are unknown."""

    def answer(version: int, request: Any) -> dict[str, Any]:
        partition = {
            "error_code": 0,
            "partition_index": 0,
            "leader_id": leader,
            "leader_epoch": epoch,
            "replica_nodes": [leader],
            "isr_nodes": [leader],
        }
        wanted = topics if request.topics is None else [topic.name for topic in request.topics]
        found = [
            {"name": name, "error_code": 0, "partitions": [partition]}
            if name in topics
            else {"name": name, "error_code": 3, "partitions": []}
            for name in wanted
        ]
        return {"brokers": broker.brokers(), "cluster_id": "c", "controller_id": controller, "topics": found}

    return answer


def scripted() -> ControlBroker:
    """A broker that knows itself and the topic `orders`; scripts may be added."""
    broker = ControlBroker({})
    broker.scripts = {MetadataRequest: metadata(broker, "orders")}
    return broker


def coordinator_here(version: int, request: Any) -> dict[str, Any]:
    """A FindCoordinator script: node 1 coordinates every group."""
    if version < 4:
        return {"error_code": 0, "node_id": 1, "host": "127.0.0.1", "port": 1}
    return {"coordinators": [{"key": key, "node_id": 1, "host": "h", "port": 1} for key in request.coordinator_keys]}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])

"""Faults between kafkeep and a real S3 service: a proxy on loopback that passes requests on, or does what a script says.

The script is asked with each request's number (from 0), method and path, and returns None to pass it on or a fault. Host
headers are passed on as they are, so signatures stay valid.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """The service is not asked; this is answered."""

    status: int
    code: str = ""


@dataclass(frozen=True)
class Lost:
    """The connection ends without an answer, before or after the service did what was asked."""

    applied: bool


@dataclass(frozen=True)
class Cut:
    """Only this part of the answer's body arrives, although its length was announced."""

    part: float


@dataclass(frozen=True)
class Stall:
    """Nothing moves for so long; then the connection ends."""

    seconds: float


@dataclass(frozen=True)
class Flip:
    """One bit of the answer's body arrives changed."""


Fault = Answer | Lost | Cut | Stall | Flip
Script = Callable[[int, str, str], Fault | None]


Served = tuple[int, list[tuple[str, str]], bytes]
P = TypeVar("P", bound="Proxy")


class Target(Protocol):
    """What may stand behind a proxy."""

    @property
    def endpoint(self) -> str: ...


class Proxy:
    """`endpoint` is where to go instead of the service; `seen` holds method and path of every request."""

    def __init__(self, server: Target, script: Script = lambda number, method, path: None) -> None:
        self.script = script
        self.seen: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        self._target = urlsplit(server.endpoint).netloc
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return lambda: proxy.serve(self)
                raise AttributeError(name)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.http.server_port}"

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        with self._lock:
            number = len(self.seen)
            self.seen.append((request.command, request.path))
        fault = self.script(number, request.command, request.path)
        try:
            self._do(request, body, fault)
        except (ConnectionError, http.client.HTTPException):
            request.close_connection = True

    def _do(self, request: BaseHTTPRequestHandler, body: bytes, fault: Fault | None) -> None:
        if isinstance(fault, Stall):
            time.sleep(fault.seconds)
        if isinstance(fault, Stall) or (isinstance(fault, Lost) and not fault.applied):
            request.close_connection = True
            return
        if isinstance(fault, Answer):
            text = f"<Error><Code>{fault.code}</Code></Error>".encode() if fault.code else b""
            self._answer(request, fault.status, [("Content-Length", str(len(text)))], text)
            return
        status, headers, data = self._passed_on(request, body)
        if isinstance(fault, Lost):
            request.close_connection = True
            return
        if isinstance(fault, Flip) and data:
            data = data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
        if isinstance(fault, Cut):
            data = data[: int(len(data) * fault.part)]
            request.close_connection = True
        self._answer(request, status, headers, data)

    def in_its_words(self, request: BaseHTTPRequestHandler) -> tuple[str, str]:
        """Method and path that the service is asked with."""
        return request.command, request.path

    def in_our_words(self, request: BaseHTTPRequestHandler, answer: Served) -> Served:
        """Status, headers and body of what the service answered."""
        return answer

    def _passed_on(self, request: BaseHTTPRequestHandler, body: bytes) -> Served:
        connection = http.client.HTTPConnection(self._target, timeout=60)
        try:
            method, path = self.in_its_words(request)
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                connection.putheader(name, value)
            with suppress(ConnectionError):  # a refusal may come before the body was read
                connection.endheaders(body)
            answer = connection.getresponse()
            data = answer.read()
            hop = ("connection", "transfer-encoding")
            headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in hop]
            if answer.getheader("Transfer-Encoding") is not None:  # the whole body is here now
                headers.append(("Content-Length", str(len(data))))
            return self.in_our_words(request, (answer.status, headers, data))
        finally:
            connection.close()

    def _answer(
        self, request: BaseHTTPRequestHandler, status: int, headers: list[tuple[str, str]], data: bytes
    ) -> None:
        request.send_response_only(status)
        for name, value in headers:
            request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(data)


@contextmanager
def proxied(server: Target, script: Script = lambda number, method, path: None) -> Iterator[Proxy]:
    """A proxy in front of the service, ended on the way out."""
    with serving(Proxy(server, script)) as proxy:
        yield proxy


@contextmanager
def serving(proxy: P) -> Iterator[P]:
    """The proxy at work, ended on the way out."""
    thread = threading.Thread(target=proxy.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.http.shutdown()
        proxy.http.server_close()
        thread.join()

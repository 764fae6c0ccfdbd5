"""What else can go wrong between kafkeep and an S3 service: wrong lengths, bytes that trickle, headers that are refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler

from tests.support.s3_proxy import Answer, Proxy, Target


@dataclass(frozen=True)
class Odd:
    """`part` of the answer's body is sent, after `announced` of its length was told; then the connection ends."""

    announced: float
    part: float


@dataclass(frozen=True)
class Trickle:
    """A byte at a time: of the request's body as it is read, or of the answer's as it is sent."""

    upwards: bool
    pause_seconds: float = 0.2


@dataclass(frozen=True)
class Silence:
    """The answer's head comes, and of its body nothing for so long."""

    seconds: float


Oddity = Odd | Trickle | Silence
Headers = Mapping[str, str]


class OddProxy(Proxy):
    """`oddity` is asked for each request by its method, and `refuse` by method and headers; `headers` keeps all of them."""

    def __init__(
        self,
        server: Target,
        *,
        oddity: Callable[[str], Oddity | None] = lambda method: None,
        refuse: Callable[[str, Headers], Answer | None] = lambda method, headers: None,
    ) -> None:
        super().__init__(server)
        self._oddity = oddity
        self._refuse = refuse
        self.headers: list[tuple[str, dict[str, str]]] = []
        self._odd: dict[BaseHTTPRequestHandler, Oddity] = {}

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.headers.append((request.command, headers))
        refused = self._refuse(request.command, headers)
        if refused is not None:
            request.rfile.read(int(headers.get("content-length", 0)))
            self._do(request, b"", refused)
            return
        odd = self._oddity(request.command)
        if odd is None:
            super().serve(request)
            return
        if isinstance(odd, Trickle) and odd.upwards:
            self._read_slowly(request, int(headers.get("content-length", 0)), odd.pause_seconds)
            return
        self._odd[request] = odd
        super().serve(request)

    def _read_slowly(self, request: BaseHTTPRequestHandler, size: int, pause: float) -> None:
        """Until the other side gives up; nothing reaches the service."""
        request.close_connection = True
        try:
            for _ in range(size):
                if not request.rfile.read(1):
                    return
                time.sleep(pause)
        except OSError:
            return

    def _answer(
        self, request: BaseHTTPRequestHandler, status: int, headers: list[tuple[str, str]], data: bytes
    ) -> None:
        odd = self._odd.pop(request, None)
        if odd is None:
            super()._answer(request, status, headers, data)
            return
        told = int(len(data) * odd.announced) if isinstance(odd, Odd) else len(data)
        sent = data[: int(len(data) * odd.part)] if isinstance(odd, Odd) else data
        request.send_response_only(status)
        for name, value in headers:
            request.send_header(name, str(told) if name.lower() == "content-length" else value)
        request.end_headers()
        request.close_connection = True
        if isinstance(odd, Silence):
            time.sleep(odd.seconds)
        elif isinstance(odd, Trickle):
            for at in range(len(sent)):
                request.wfile.write(sent[at : at + 1])
                time.sleep(odd.pause_seconds)
        else:
            request.wfile.write(sent)

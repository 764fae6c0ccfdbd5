"""Requests to a server beside the cluster, JSON in and out over HTTP: patience, limits and logins in one place.

A thing that is not there (`ServiceNotFound`) is told only when the server itself says so in its own error form; any other
answer that is no result is an error, never an absence.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar
from urllib.parse import SplitResult, quote, urlencode, urljoin, urlsplit

import kafkeep
from kafkeep.errors import (
    ServiceAccessDenied,
    ServiceError,
    ServiceNotFound,
    ServiceProtocolError,
    ServiceRequestError,
    ServiceUnreachable,
)
from kafkeep.events import EventSink, Retried, ignore
from kafkeep.model import Failure
from kafkeep.records import dataclass
from kafkeep.secret import Secret
from kafkeep.tls import TlsConfig
from kafkeep.tls_context import ssl_context

MOST_BYTES: Final = 64 * 1024 * 1024
"""No answer may be larger."""
ATTEMPTS: Final = 5
FIRST_DELAY_SECONDS: Final = 0.2
LONGEST_DELAY_SECONDS: Final = 5.0
_MOST_REDIRECTS: Final = 3
_PIECE: Final = 256 * 1024
_SHOWN: Final = 300
_REDIRECTS: Final = (307, 308)
_REDIRECTS_OF_READING: Final = (301, 302, 303, *_REDIRECTS)
_NOT_DONE: Final = (429, 503)
_PASSING: Final = (429, 500, 502, 503, 504)

Json = Any
T = TypeVar("T")


class Random(Protocol):
    def random(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RestConfig:
    name: str
    """For people: `registry of cluster prod`."""
    url: str
    username: str | None = None
    password: Secret | None = None
    bearer: Secret | None = None
    tls: TlsConfig = field(default_factory=TlsConfig)
    request_timeout_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    location: str | None
    retry_after_seconds: float | None


class _Broken(Exception):
    """The connection failed; `sent` tells whether the server may have acted on the request."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent


def segment(text: str) -> str:
    """A name as one part of a path, whatever it holds."""
    return quote(text, safe="")


class RestClient:
    """One server, spoken to by one thread over a connection that is kept.

    Every method raises `ServiceUnreachable`, `ServiceAccessDenied`, `ServiceNotFound`, `ServiceRequestError` and
    `ServiceProtocolError`.
    """

    def __init__(
        self,
        config: RestConfig,
        *,
        rng: Random,
        sink: EventSink = ignore,
        wait: Callable[[float], None] = time.sleep,
        media: str = "application/json",
    ) -> None:
        self.config = config
        self._rng = rng
        self._sink = sink
        self._wait = wait
        self._media = media
        self._base = urlsplit(config.url)
        self._context = ssl_context(config.tls) if self._base.scheme == "https" else None
        self._connection: http.client.HTTPConnection | None = None
        self._place: tuple[str, str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def get(self, path: str, query: Mapping[str, str] | None = None, *, conflict_passes: bool = False) -> Json:
        """`conflict_passes`: 409 means "not just now" and is tried again."""
        return self.send("GET", path, query=query, repeatable=True, conflict_passes=conflict_passes)

    def send(
        self,
        method: str,
        path: str,
        body: Json = None,
        *,
        query: Mapping[str, str] | None = None,
        repeatable: bool,
        conflict_passes: bool = False,
        hide: Sequence[Secret] = (),
    ) -> Json:
        """The JSON of the answer, None when it has no body. `path` begins with a slash and is quoted already.

        `repeatable`: done twice it is as done once, so it is sent again when its answer was lost. What is in `hide` is
        taken out of every error text.
        """
        url = self.config.url + path + (f"?{urlencode(query)}" if query else "")
        payload = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        what = f"{method} {path}"
        for attempt in range(1, ATTEMPTS + 1):
            last = attempt == ATTEMPTS
            try:
                answer = self._follow(method, url, payload)
            except _Broken as error:
                self.close()
                if last or (error.sent and not repeatable):
                    raise ServiceUnreachable(f"{self.config.name}: {what}: {error}") from error
                self._pause(what, str(error), attempt, None)
                continue
            passing = _PASSING if repeatable else _NOT_DONE
            if not last and (answer.status in passing or (conflict_passes and answer.status == 409)):
                self._pause(what, f"status {answer.status}", attempt, answer.retry_after_seconds)
                continue
            return self._result(what, answer, hide)
        raise RuntimeError("the last attempt returns or raises")

    def _pause(self, what: str, reason: str, attempt: int, wanted: float | None) -> None:
        delay = min(FIRST_DELAY_SECONDS * 2 ** (attempt - 1), LONGEST_DELAY_SECONDS) * (0.5 + self._rng.random())
        if wanted is not None:
            delay = min(max(delay, wanted), LONGEST_DELAY_SECONDS)
        self._sink(Retried(f"{self.config.name}: {what}", reason, attempt, delay))
        self._wait(delay)

    def _follow(self, method: str, url: str, payload: bytes | None) -> _Answer:
        allowed = _REDIRECTS_OF_READING if method == "GET" else _REDIRECTS
        for _ in range(_MOST_REDIRECTS + 1):
            answer = self._once(method, url, payload)
            if answer.status not in allowed or answer.location is None:
                return answer
            url = urljoin(url, answer.location)
            self._check_redirect(urlsplit(url))
        raise ServiceProtocolError(f"{self.config.name} leads from one address to another without end")

    def _check_redirect(self, target: SplitResult) -> None:
        if target.scheme not in ("http", "https") or (self._base.scheme == "https" and target.scheme != "https"):
            raise ServiceProtocolError(f"{self.config.name} leads to an address that is not safe: {target.scheme}")

    def _once(self, method: str, url: str, payload: bytes | None) -> _Answer:
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        kept = self._connection is not None and self._place == (parts.scheme, parts.netloc)
        connection = self._connected(parts)
        sent = False
        try:
            if connection.sock is None:
                connection.connect()
            sent = True
            connection.request(method, target, body=payload, headers=self._headers(parts, payload))
            response = connection.getresponse()
            return _Answer(
                response.status,
                self._read(response),
                response.headers.get("Location"),
                _seconds(response.headers.get("Retry-After")),
            )
        except http.client.RemoteDisconnected as error:
            # A kept connection that the server had closed meanwhile has not carried the request.
            raise _Broken("the connection was closed", sent=not kept) from error
        except ssl.SSLCertVerificationError as error:
            raise ServiceUnreachable(
                f"{self.config.name}: its certificate is not trusted: {error.verify_message}", retryable=False
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise _Broken(_reason(error), sent=sent) from error

    def _connected(self, parts: SplitResult) -> http.client.HTTPConnection:
        place = parts.scheme, parts.netloc
        if self._connection is None or self._place != place:
            self.close()
            seconds = self.config.request_timeout_seconds
            host = parts.hostname or ""
            self._place = place
            if parts.scheme == "https":
                context = ssl_context(self.config.tls) if self._context is None else self._context
                self._connection = http.client.HTTPSConnection(host, parts.port, timeout=seconds, context=context)
            else:
                self._connection = http.client.HTTPConnection(host, parts.port, timeout=seconds)
        return self._connection

    def _headers(self, parts: SplitResult, payload: bytes | None) -> dict[str, str]:
        headers = {"Accept": f"{self._media}, application/json", "User-Agent": f"kafkeep/{kafkeep.__version__}"}
        if payload is not None:
            headers["Content-Type"] = self._media
        # The login is this server's: where it leads elsewhere, it stays at home.
        if parts.hostname == self._base.hostname:
            if self.config.bearer is not None:
                headers["Authorization"] = f"Bearer {self.config.bearer.reveal()}"
            elif self.config.username is not None and self.config.password is not None:
                pair = f"{self.config.username}:{self.config.password.reveal()}".encode()
                headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        return headers

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        """The body, within the limit of bytes and, however slowly it drips, of time."""
        ends = time.monotonic() + self.config.request_timeout_seconds
        pieces: list[bytes] = []
        size = 0
        while piece := response.read(_PIECE):
            pieces.append(piece)
            size += len(piece)
            if size > MOST_BYTES:
                self.close()
                raise ServiceProtocolError(f"{self.config.name} answered with more than {MOST_BYTES} bytes")
            if time.monotonic() > ends:
                raise TimeoutError("the answer took too long")
        return b"".join(pieces)

    def _result(self, what: str, answer: _Answer, hide: Sequence[Secret]) -> Json:
        if 200 <= answer.status < 300:
            return None if not answer.body.strip() else self._json(what, answer)
        code, text = _told(answer.body, hide)
        message = f"{self.config.name}: {what}: {text or f'status {answer.status}'}"
        if answer.status in (401, 403):
            raise ServiceAccessDenied(message)
        if answer.status == 404 and code:
            raise ServiceNotFound(message)
        if code or 500 <= answer.status < 600:
            raise ServiceRequestError(message, status=answer.status, code=code)
        raise ServiceProtocolError(f"{self.config.name}: {what}: status {answer.status} in no form of such a server")

    def _json(self, what: str, answer: _Answer) -> Json:
        try:
            return json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            raise ServiceProtocolError(f"{self.config.name}: {what}: the answer is not JSON") from error


class Parts:
    """Collects what cannot be read; once the server is out of reach, nothing more is asked."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []
        self._lost: ServiceUnreachable | None = None

    def read(self, name: str, call: Callable[[], T], instead: T) -> T:
        error: ServiceError
        try:
            if self._lost is None:
                return call()
            error = self._lost
        except ServiceUnreachable as lost:
            self._lost = error = lost
        except ServiceError as refused:
            error = refused
        self.failures.append(Failure(name, error.slug, error.message))
        return instead


def as_object(value: Json) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise ServiceProtocolError("the answer is not an object where one belongs")
    return value


def as_list(value: Json) -> list[Json]:
    if not isinstance(value, list):
        raise ServiceProtocolError("the answer is not a list where one belongs")
    return value


def as_text(value: Json) -> str:
    if not isinstance(value, str):
        raise ServiceProtocolError("the answer has no text where one belongs")
    return value


def as_number(value: Json) -> int:
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise ServiceProtocolError("the answer has no number where one belongs")
    return value


def _told(body: bytes, hide: Sequence[Secret]) -> tuple[int, str]:
    """The server's own number and reason, both empty when the body is not in the form such servers give errors in."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return 0, ""
    if not isinstance(value, dict) or type(value.get("error_code")) is not int:
        return 0, ""
    text = str(value.get("message", ""))
    for secret in hide:
        text = text.replace(secret.reveal(), "***")
    return value["error_code"], " ".join(text.split())[:_SHOWN]


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 6 else None


def _reason(error: OSError | http.client.HTTPException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    told = error.strerror if isinstance(error, OSError) else None
    return told or type(error).__name__

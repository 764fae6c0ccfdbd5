"""Requests to servers beside a cluster: patience, limits, logins and what an answer may be taken for."""

from __future__ import annotations

import json
import random
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.support.certificates import Authority, Issued

from kafkeep import rest
from kafkeep.errors import (
    ServiceAccessDenied,
    ServiceNotFound,
    ServiceProtocolError,
    ServiceRequestError,
    ServiceUnreachable,
)
from kafkeep.rest import RestClient, RestConfig
from kafkeep.secret import Secret
from kafkeep.tls import TlsConfig

CANARY = "canary-4711-hunter2"
Answer = tuple[int, dict[str, str], bytes]


class Peer:
    """A server that gives the answers it is told to, one after the other, and remembers what it was asked."""

    def __init__(self, certificate: Issued | None = None) -> None:
        self.answers: list[Answer | None] = []
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                peer.seen.append((self.command, self.path, dict(self.headers), body))
                told = peer.answers.pop(0)
                if told is None:
                    self.close_connection = True
                    return
                status, headers, data = told
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments: Any) -> None:
                return

        for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
            setattr(Handler, f"do_{method}", Handler.answer)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.cert_file, certificate.key_file)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def tell(self, status: int, body: object = None, **headers: str) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.answers.append((status, {name.replace("_", "-"): value for name, value in headers.items()}, data))


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    yield made
    made.server.shutdown()
    made.server.server_close()


def client(peer: Peer, waits: list[float] | None = None, **more: Any) -> RestClient:
    config = RestConfig(name="the server", url=f"{peer.url}/base", **more)
    told: list[float] = [] if waits is None else waits
    return RestClient(config, rng=random.Random(1), wait=told.append)


def test_passing_failures_are_tried_again_with_growing_pauses(peer: Peer) -> None:
    for status in (503, 429, 500):
        peer.tell(status)
    peer.tell(200, {"a": 1})
    waits: list[float] = []
    assert client(peer, waits).get("/x", {"q": "ä b"}) == {"a": 1}
    assert [path for _, path, _, _ in peer.seen] == ["/base/x?q=%C3%A4+b"] * 4
    assert all(0.5 * 0.2 * 2**n <= wait <= 1.5 * 0.2 * 2**n for n, wait in enumerate(waits))


def test_the_pause_that_a_server_asks_for_is_kept_within_reason(peer: Peer) -> None:
    peer.tell(429, None, Retry_After="3")
    peer.tell(429, None, Retry_After="9999")
    peer.tell(200)
    waits: list[float] = []
    assert client(peer, waits).get("/x") is None
    assert waits == [3.0, rest.LONGEST_DELAY_SECONDS]


def test_what_may_not_be_done_twice_is_sent_once(peer: Peer) -> None:
    peer.answers.append(None)
    with pytest.raises(ServiceUnreachable):
        client(peer).send("POST", "/x", {}, repeatable=False)
    peer.tell(500, {"error_code": 500, "message": "no"})
    with pytest.raises(ServiceRequestError, match="no"):
        client(peer).send("POST", "/x", {}, repeatable=False)
    assert len(peer.seen) == 2
    peer.answers.append(None)
    peer.tell(200, [])
    assert client(peer).get("/x") == []


def test_nothing_is_absent_unless_the_server_says_so(peer: Peer) -> None:
    peer.tell(404, {"error_code": 40401, "message": "no such subject"})
    with pytest.raises(ServiceNotFound, match="no such subject"):
        client(peer).get("/x")
    peer.tell(404, {"title": "a proxy's page"})
    with pytest.raises(ServiceProtocolError):
        client(peer).get("/x")
    peer.answers.append((200, {}, b"<html>"))
    with pytest.raises(ServiceProtocolError, match="not JSON"):
        client(peer).get("/x")


def test_a_login_is_sent_to_its_own_host_alone(peer: Peer) -> None:
    peer.tell(307, None, Location=f"http://localhost:{peer.server.server_address[1]}/leader")
    peer.tell(200, {})
    client(peer, username="alice", password=Secret(CANARY)).get("/x")
    first, second = (headers for _, _, headers, _ in peer.seen)
    assert first["Authorization"] == "Basic YWxpY2U6Y2FuYXJ5LTQ3MTEtaHVudGVyMg=="
    assert "Authorization" not in second
    peer.tell(307, None, Location="/leader?a=b")
    peer.tell(200, {})
    client(peer, bearer=Secret(CANARY)).send("POST", "/x", {"k": 1}, repeatable=False)
    assert peer.seen[-1][:2] == ("POST", "/leader?a=b")
    assert (peer.seen[-1][2]["Authorization"], peer.seen[-1][3]) == (f"Bearer {CANARY}", b'{"k": 1}')


def test_redirects_end(peer: Peer) -> None:
    for _ in range(4):
        peer.tell(307, None, Location="/again")
    with pytest.raises(ServiceProtocolError, match="without end"):
        client(peer).get("/x")
    peer.tell(307, None, Location="file:///etc/passwd")
    with pytest.raises(ServiceProtocolError, match="not safe"):
        client(peer).get("/x")


def test_an_answer_has_a_limit(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "MOST_BYTES", 10)
    peer.tell(200, "x" * 20)
    with pytest.raises(ServiceProtocolError, match="more than 10 bytes"):
        client(peer).get("/x")


def test_errors_do_not_repeat_secrets(peer: Peer) -> None:
    peer.tell(400, {"error_code": 400, "message": f"bad value {CANARY} for password"})
    with pytest.raises(ServiceRequestError) as caught:
        client(peer).send("PUT", "/x", {}, repeatable=True, hide=[Secret(CANARY)])
    assert str(caught.value) == "the server: PUT /x: bad value *** for password"
    peer.tell(401, {"error_code": 401, "message": "who are you"})
    with pytest.raises(ServiceAccessDenied, match="who are you"):
        client(peer).get("/x")


def test_a_server_that_is_not_there_is_out_of_reach() -> None:
    config = RestConfig(name="the server", url="http://127.0.0.1:9")
    waits: list[float] = []
    with pytest.raises(ServiceUnreachable, match="the server: GET /x"):
        RestClient(config, rng=random.Random(1), wait=waits.append).get("/x")
    assert len(waits) == rest.ATTEMPTS - 1


def test_a_certificate_is_checked_against_the_file_that_is_given(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    peer = Peer(authority.issue("server"))
    try:
        peer.tell(200, {"a": 1})
        peer.tell(200, {"a": 2})
        assert client(peer, tls=TlsConfig(ca_file=str(authority.ca_file))).get("/x") == {"a": 1}
        waits: list[float] = []
        with pytest.raises(ServiceUnreachable, match="certificate is not trusted"):
            client(peer, waits, tls=TlsConfig(ca_file=str(other.ca_file))).get("/x")
        assert waits == [], "it will not be trusted the next time either"
        assert client(peer, tls=TlsConfig(verify=False)).get("/x") == {"a": 2}
    finally:
        peer.server.shutdown()
        peer.server.server_close()


def test_nothing_leads_away_from_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ours")
    peer = Peer(authority.issue("server"))
    try:
        peer.tell(307, None, Location="http://127.0.0.1:9/")
        with pytest.raises(ServiceProtocolError, match="not safe: http"):
            client(peer, tls=TlsConfig(ca_file=str(authority.ca_file))).get("/x")
    finally:
        peer.server.shutdown()
        peer.server.server_close()

"""Login state machines, and where tokens come from. Secrets never show, whatever goes wrong."""

from __future__ import annotations

import http.server
import json
import ssl
import sys
import threading
import urllib.parse
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.certificates import Authority

from kafkeep.errors import KafkaLoginError, MissingDependency, SettingsError
from kafkeep.kafka.auth import SaslMechanism, sasl_mechanism
from kafkeep.kafka.auth_oauth import read_token
from kafkeep.kafka.auth_scram import ScramMechanism
from kafkeep.kafka.config import ClientCredentials, SaslConfig, TokenCommand, TokenFile
from kafkeep.secret import Secret

CANARY = "canary-91bd"
NONCE = "rOprNGfwEbeRWgbNEkqO"
SERVER_NONCE = f"{NONCE}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
SALT = "W22ZaJ0SNY7soEsUEjb6gQ=="


def scram(user: str = "user", password: str = "pencil", mechanism: str = "SCRAM-SHA-256") -> ScramMechanism:
    config = SaslConfig(mechanism=mechanism, username=user, password=Secret(password))
    return ScramMechanism(config, nonce=lambda: NONCE)


def test_the_example_of_rfc_7677() -> None:
    login = scram()
    assert login.auth_bytes() == f"n,,n=user,r={NONCE}".encode()
    login.receive(f"r={SERVER_NONCE},s={SALT},i=4096".encode())
    proof = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    assert login.auth_bytes() == f"c=biws,r={SERVER_NONCE},p={proof}".encode()
    assert not login.is_done()
    login.receive(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    assert login.is_done()
    assert login.is_authenticated()
    assert login.auth_details() == "user user logged in with SCRAM-SHA-256"


def test_nonces_differ() -> None:
    config = SaslConfig(mechanism="SCRAM-SHA-512", username="u", password=Secret("p"))
    assert len({sasl_mechanism(config, "h").auth_bytes() for _ in range(20)}) == 20


@pytest.mark.parametrize(
    ("user", "escaped"), [("a,b", "a=2Cb"), ("a=b", "a=3Db"), ("=2C", "=3D2C"), (",=,", "=2C=3D=2C"), ("ü", "ü")]
)
def test_names_are_escaped(user: str, escaped: str) -> None:
    assert scram(user).auth_bytes().decode() == f"n,,n={escaped},r={NONCE}"


@pytest.mark.parametrize(
    "challenge",
    [
        b"",
        b"\xff\xfe",
        b"r=other,s=QUJD,i=4096",
        f"r={NONCE},s={SALT},i=4096".encode(),
        f"r={SERVER_NONCE},i=4096".encode(),
        f"r={SERVER_NONCE},s=,i=4096".encode(),
        f"r={SERVER_NONCE},s=***,i=4096".encode(),
        f"r={SERVER_NONCE},s={SALT}".encode(),
        f"r={SERVER_NONCE},s={SALT},i=".encode(),
        f"r={SERVER_NONCE},s={SALT},i=-4096".encode(),
        f"r={SERVER_NONCE},s={SALT},i=4095".encode(),
        f"r={SERVER_NONCE},s={SALT},i=1000001".encode(),
        f"r={SERVER_NONCE},s={SALT},i={'9' * 5000}".encode(),
        f"r={SERVER_NONCE},s={SALT},i=٤٠٩٦".encode(),
        f"r={SERVER_NONCE},r={SERVER_NONCE},s={SALT},i=4096".encode(),
        f"m=x,r={SERVER_NONCE},s={SALT},i=4096".encode(),
        f"r={SERVER_NONCE};s={SALT};i=4096".encode(),
    ],
)
def test_challenges_that_do_not_hold(challenge: bytes) -> None:
    with pytest.raises(KafkaLoginError, match="the broker's message") as caught:
        scram().receive(challenge)
    assert "pencil" not in str(caught.value)


@pytest.mark.parametrize("final", [b"v=", b"v=AAAA", b"x=1", b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95H4="])
def test_a_broker_without_the_password_is_not_believed(final: bytes) -> None:
    login = scram()
    login.receive(f"r={SERVER_NONCE},s={SALT},i=4096".encode())
    with pytest.raises(KafkaLoginError, match="could not prove"):
        login.receive(final)
    assert not login.is_authenticated()


def test_a_refusal_within_scram() -> None:
    login = scram()
    login.receive(f"r={SERVER_NONCE},s={SALT},i=4096".encode())
    with pytest.raises(KafkaLoginError, match=r"the broker refused user user: invalid-proof \*\*\*"):
        login.receive(b"e=invalid-proof pencil")


def test_plain() -> None:
    login = sasl_mechanism(SaslConfig(mechanism="PLAIN", username="ü", password=Secret("p w")), "h")
    assert login.auth_bytes() == "\0ü\0p w".encode()
    assert not login.is_done()
    login.receive(b"")
    assert login.is_done()


def test_plain_cannot_carry_nul() -> None:
    login = sasl_mechanism(SaslConfig(mechanism="PLAIN", username="u", password=Secret(f"{CANARY}\0x")), "h")
    with pytest.raises(KafkaLoginError, match="NUL") as caught:
        login.auth_bytes()
    assert CANARY not in str(caught.value)


def oauth(tmp_path: Path, token: str = CANARY) -> SaslMechanism:
    (tmp_path / "token").write_text(token)
    return sasl_mechanism(SaslConfig(mechanism="OAUTHBEARER", token=TokenFile(str(tmp_path / "token"))), "h")


def test_oauth(tmp_path: Path) -> None:
    login = oauth(tmp_path)
    assert login.auth_bytes() == f"n,,\x01auth=Bearer {CANARY}\x01\x01".encode()
    login.receive(b"")
    assert login.is_done()


def test_oauth_refused(tmp_path: Path) -> None:
    login = oauth(tmp_path)
    login.auth_bytes()
    login.receive(f'{{"status":"invalid_token {CANARY}"}}'.encode())
    assert not login.is_done()
    assert login.auth_bytes() == b"\x01"
    with pytest.raises(KafkaLoginError, match="invalid_token") as caught:
        login.receive(b"again")
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("token", ["", "two words", "line\nline", "a\x01auth=Bearer b", "ä", "=", "a=b"])
def test_what_is_no_token(tmp_path: Path, token: str) -> None:
    with pytest.raises(KafkaLoginError, match="is not a token"):
        oauth(tmp_path, token).auth_bytes()


def test_token_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(KafkaLoginError, match="No such file"):
        read_token(TokenFile(str(tmp_path / "none")))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(KafkaLoginError, match="is not text"):
        read_token(TokenFile(str(tmp_path / "binary")))


def python(code: str, **options: Any) -> TokenCommand:
    return TokenCommand((sys.executable, "-c", code), **options)


def test_a_token_from_a_command() -> None:
    assert read_token(python(f"print('{CANARY}')")).reveal() == CANARY


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (python(f"import sys; print('{CANARY}'); sys.exit('{CANARY}')"), "ended with status 1"),
        (python(f"print('{CANARY} {CANARY}')"), "is not a token"),
        (
            python(f"import time; print('{CANARY}', flush=True); time.sleep(9)", timeout_seconds=0.5),
            "did not end within",
        ),
        (TokenCommand(("/nowhere/program", CANARY)), "cannot be run: No such file"),
    ],
)
def test_commands_that_give_no_token(command: TokenCommand, says: str) -> None:
    with pytest.raises(KafkaLoginError, match=says) as caught:
        read_token(command)
    shown = f"{caught.value} {caught.value.hint}" + (f"{caught.value.__cause__}" if "run" not in says else "")
    assert CANARY not in shown


class TokenEndpoint:
    """An authorization server's token endpoint: answers by script, remembers what it was asked."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.status = 200
        self.answer: bytes = json.dumps({"access_token": f"{CANARY}.t", "expires_in": 60}).encode()
        self.location: str | None = None
        self.asked: list[tuple[str, str, dict[str, list[str]]]] = []
        endpoint = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                endpoint.asked.append((self.path, self.headers["Authorization"], form))
                self.send_response(endpoint.status)
                if endpoint.location is not None:
                    self.send_header("Location", endpoint.location)
                self.send_header("Content-Length", str(len(endpoint.answer)))
                self.end_headers()
                self.wfile.write(endpoint.answer)

            do_GET = do_POST  # noqa: N815 http.server's name

            def log_message(self, *_: object) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        scheme = "http"
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self.server.server_address[1]}/token"

    def __enter__(self) -> TokenEndpoint:
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def source(self, **options: Any) -> ClientCredentials:
        options = {"client_id": "id:ü", "client_secret": Secret(f"{CANARY} %&"), "timeout_seconds": 2.0} | options
        return ClientCredentials(token_url=self.url, **options)


@pytest.fixture
def endpoint() -> Iterator[TokenEndpoint]:
    with TokenEndpoint() as running:
        yield running


def test_client_credentials(endpoint: TokenEndpoint) -> None:
    assert read_token(endpoint.source(scope="kafka read")).reveal() == f"{CANARY}.t"
    assert read_token(endpoint.source()).reveal() == f"{CANARY}.t"
    (path, authorization, form), (_, _, without) = endpoint.asked
    assert path == "/token"
    user, _, secret = b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
    assert (urllib.parse.unquote_plus(user), urllib.parse.unquote_plus(secret)) == ("id:ü", f"{CANARY} %&")
    assert form == {"grant_type": ["client_credentials"], "scope": ["kafka read"]}
    assert without == {"grant_type": ["client_credentials"]}


def test_client_credentials_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "idp")
    issued = authority.issue("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.cert_file, issued.key_file)
    with TokenEndpoint(context) as endpoint:
        assert read_token(endpoint.source(ca_file=str(authority.ca_file))).reveal() == f"{CANARY}.t"
        with pytest.raises(KafkaLoginError, match="certificate verify failed"):
            read_token(endpoint.source())
        with pytest.raises(SettingsError, match="ca_file"):
            read_token(endpoint.source(ca_file="/nowhere"))
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize(
    ("status", "answer", "says"),
    [
        (401, b'{"error":"invalid_client","error_description":"x"}', r"HTTP status 401, invalid_client$"),
        (400, b'{"error":"' + CANARY.encode() + b'\\u001b"}', r"HTTP status 400$"),
        (500, b"oops", r"HTTP status 500$"),
        (200, b"oops", "answered no JSON"),
        (200, b"[" * 100_000, "answered no JSON"),
        (200, b"[]", "without an access_token"),
        (200, b'{"access_token": 5}', "without an access_token"),
        (200, b'{"access_token": "two words"}', "is not a token"),
        (200, b"{" + b" " * 2**21, "answered no JSON"),
    ],
)
def test_endpoints_that_give_no_token(endpoint: TokenEndpoint, status: int, answer: bytes, says: str) -> None:
    endpoint.status, endpoint.answer = status, answer
    with pytest.raises(KafkaLoginError, match=says) as caught:
        read_token(endpoint.source())
    assert CANARY not in f"{caught.value} {caught.value.hint}"


def test_a_redirect_is_not_followed(endpoint: TokenEndpoint) -> None:
    with TokenEndpoint() as thief:
        endpoint.status, endpoint.location = 302, thief.url
        with pytest.raises(KafkaLoginError, match="HTTP status 302"):
            read_token(endpoint.source())
    assert thief.asked == []


def test_an_endpoint_that_is_not_there(endpoint: TokenEndpoint) -> None:
    source = ClientCredentials(token_url="http://127.0.0.1:1/t", client_id="c", client_secret=Secret(CANARY))
    with pytest.raises(KafkaLoginError, match=r"cannot be asked for a token: .*refused"):
        read_token(source)


def test_proxies_of_the_environment_are_not_used(endpoint: TokenEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert read_token(endpoint.source()).reveal() == f"{CANARY}.t"


@pytest.mark.parametrize(
    ("mechanism", "package", "extra"),
    [("GSSAPI", "gssapi", "kafkeep[gssapi]"), ("AWS_MSK_IAM", "botocore", "kafkeep[msk-iam]")],
)
def test_extras_that_are_not_installed(
    mechanism: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (package, f"{package}.session"):
        monkeypatch.setitem(sys.modules, name, None)  # what makes an import fail, installed or not
    with pytest.raises(MissingDependency, match=f"{mechanism} needs the python package {package}") as caught:
        sasl_mechanism(SaslConfig(mechanism=mechanism), "h")
    assert extra in caught.value.hint


def test_no_secret_in_any_repr(tmp_path: Path) -> None:
    login = oauth(tmp_path)
    login.auth_bytes()
    assert CANARY not in f"{login!r} {login.config!r} {login.identity} {login.auth_details()}"
    secret = scram("u", CANARY)
    secret.receive(f"r={SERVER_NONCE},s={b64encode(b'x').decode()},i=4096".encode())
    assert CANARY not in f"{secret!r} {secret.config!r} {secret.identity} {secret.auth_details()}"

"""OAUTHBEARER (RFC 7628, KIP-255) and where its tokens come from: a file, a program, a token endpoint.

A token is fetched afresh for every login and every re-authentication, and is kept nowhere.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import ssl
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import IO, Final

from kafkeep.errors import KafkaLoginError
from kafkeep.kafka.auth import SaslMechanism
from kafkeep.kafka.config import ClientCredentials, SaslConfig, TokenCommand, TokenFile, TokenSource
from kafkeep.secret import Secret
from kafkeep.tls import TlsConfig
from kafkeep.tls_context import ssl_context

_TOKEN: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
"""b64token of RFC 6750: nothing that could end the field in the login message."""
_MOST_ANSWER_BYTES: Final = 1024 * 1024
_SEPARATOR: Final = "\x01"
_TOKEN_HINT: Final = "Check the token source in the cluster's sasl settings."


class OauthMechanism(SaslMechanism):
    def __init__(self, config: SaslConfig) -> None:
        super().__init__(config)
        self._token: Secret | None = None
        self._refusal: str | None = None

    @property
    def identity(self) -> str:
        match self.config.token:
            case TokenFile(path):
                return f"the token in {path}"
            case TokenCommand(argv):
                return f"the token of {argv[0]}"
            case ClientCredentials(client_id=client_id):
                return f"client {client_id}"
            case None:
                return "no token"

    def auth_bytes(self) -> bytes:
        if self._refusal is not None:
            return _SEPARATOR.encode()  # RFC 7628 section 3.2.3: the broker ends the exchange after this
        if self.config.token is None:
            raise KafkaLoginError("login with OAUTHBEARER needs a token source")
        self._token = read_token(self.config.token)
        return f"n,,{_SEPARATOR}auth=Bearer {self._token.reveal()}{_SEPARATOR}{_SEPARATOR}".encode()

    def receive(self, auth_bytes: bytes) -> None:
        if not auth_bytes:
            self._done = True
        elif self._refusal is None:
            self._refusal = self.redact(auth_bytes.decode(errors="replace"))
        else:
            raise KafkaLoginError(f"the broker refused {self.identity}: {self._refusal}")

    def redact(self, text: str) -> str:
        token = "" if self._token is None else self._token.reveal()
        return super().redact(text.replace(token, "***") if token else text)


def read_token(source: TokenSource) -> Secret:
    """A fresh token.

    Raises:
        KafkaLoginError: when it cannot be had or is not a token; neither token nor client secret is in the message.
    """
    match source:
        case TokenFile():
            text, origin = _from_file(source), f"the file {source.path}"
        case TokenCommand():
            text, origin = _from_command(source), f"the command {source.argv[0]}"
        case ClientCredentials():
            text, origin = _from_endpoint(source), source.token_url
    if _TOKEN.fullmatch(text) is None:
        raise KafkaLoginError(f"what came from {origin} is not a token ({len(text)} characters)", hint=_TOKEN_HINT)
    return Secret(text)


def _from_file(source: TokenFile) -> str:
    try:
        return Path(source.path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise KafkaLoginError(f"token file {source.path}: {error.strerror}", hint=_TOKEN_HINT) from error
    except UnicodeDecodeError as error:
        raise KafkaLoginError(f"token file {source.path} is not text", hint=_TOKEN_HINT) from error


def _from_command(source: TokenCommand) -> str:
    program = source.argv[0]
    try:
        done = subprocess.run(
            source.argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=source.timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        # Not chained: the exception holds the output so far.
        raise KafkaLoginError(
            f"token command {program} did not end within {source.timeout_seconds:g} s", hint=_TOKEN_HINT
        ) from None
    except OSError as error:
        raise KafkaLoginError(f"token command {program} cannot be run: {error.strerror}", hint=_TOKEN_HINT) from error
    if done.returncode:
        raise KafkaLoginError(f"token command {program} ended with status {done.returncode}", hint=_TOKEN_HINT)
    return done.stdout.decode(errors="replace").strip()


def _from_endpoint(source: ClientCredentials) -> str:
    answer = _post(source)
    try:
        document = json.loads(answer)
    except (ValueError, RecursionError):
        # Not chained: the exception holds the document, which may hold a token.
        raise KafkaLoginError(f"{source.token_url} answered no JSON", hint=_TOKEN_HINT) from None
    token = document.get("access_token") if isinstance(document, dict) else None
    if not isinstance(token, str):
        raise KafkaLoginError(f"{source.token_url} answered without an access_token", hint=_TOKEN_HINT)
    return token


def _post(source: ClientCredentials) -> bytes:
    form = {"grant_type": "client_credentials"}
    if source.scope is not None:
        form["scope"] = source.scope
    # RFC 6749 section 2.3.1: both are form-encoded before they are joined.
    user = urllib.parse.quote_plus(source.client_id)
    pair = f"{user}:{urllib.parse.quote_plus(source.client_secret.reveal())}"
    request = urllib.request.Request(
        source.token_url,
        data=urllib.parse.urlencode(form).encode(),
        headers={
            "Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}",
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        },
    )
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(context=ssl_context(TlsConfig(ca_file=source.ca_file))),
        _NoRedirect(),
    )
    try:
        with opener.open(request, timeout=source.timeout_seconds) as answer:
            content: bytes = answer.read(_MOST_ANSWER_BYTES)
            return content
    except urllib.error.HTTPError as error:
        with error:
            why = _oauth_error(error.read(_MOST_ANSWER_BYTES))
        raise KafkaLoginError(
            f"{source.token_url} refused client {source.client_id}: HTTP status {error.code}{why}",
            hint="Check client_id, client_secret and scope with the identity provider.",
        ) from error
    except (OSError, ssl.SSLError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise KafkaLoginError(f"{source.token_url} cannot be asked for a token: {reason}", hint=_TOKEN_HINT) from error


def _oauth_error(content: bytes) -> str:
    """The error code of RFC 6749 section 5.2, if the answer has one."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    code = document.get("error") if isinstance(document, dict) else None
    return f", {code}" if isinstance(code, str) and re.fullmatch(r"[a-z_]{1,40}", code) else ""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the client's secret to another address."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> None:
        return None

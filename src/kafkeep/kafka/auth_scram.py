"""SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, 7677) as Kafka speaks them.

User names are escaped. Names and passwords are *not* run through SASLprep: Kafka's brokers, tools and clients derive
keys from the plain UTF-8 bytes (`ScramFormatter.normalize`), so preparing them would lock out passwords such as `ªbc`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Final

from kafkeep.errors import KafkaLoginError
from kafkeep.kafka.auth import SaslMechanism, credentials
from kafkeep.kafka.config import SaslConfig

FEWEST_ITERATIONS: Final = 4096
"""Kafka's own minimum; less would give a false broker a cheap try at the password."""
MOST_ITERATIONS: Final = 1_000_000
"""More would let a false broker keep us computing."""
_HASHES: Final = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
_GS2_HEADER: Final = "n,,"


def _nonce() -> str:
    return secrets.token_urlsafe(24)


class ScramMechanism(SaslMechanism):
    def __init__(self, config: SaslConfig, *, nonce: Callable[[], str] = _nonce) -> None:
        super().__init__(config)
        self._hash = _HASHES[config.mechanism]
        username, self._password = credentials(config)
        self._nonce = nonce()
        escaped = username.replace("=", "=3D").replace(",", "=2C")
        self._first_bare = f"n={escaped},r={self._nonce}"
        self._next = f"{_GS2_HEADER}{self._first_bare}".encode()
        self._server_signature: bytes | None = None

    def auth_bytes(self) -> bytes:
        return self._next

    def receive(self, auth_bytes: bytes) -> None:
        try:
            text = auth_bytes.decode()
        except UnicodeDecodeError as error:
            raise self._broken("is not text") from error
        if self._server_signature is None:
            self._answer_challenge(text)
        else:
            self._check_server(text)

    def _answer_challenge(self, text: str) -> None:
        fields = self._fields(text)
        nonce, salt, iterations = fields.get("r", ""), self._base64(fields.get("s", "")), fields.get("i", "")
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise self._broken("does not continue our nonce")
        if not salt:
            raise self._broken("holds no salt")
        if not (iterations.isascii() and iterations.isdigit() and len(iterations) < 10):
            raise self._broken("holds no iteration count")
        if not FEWEST_ITERATIONS <= int(iterations) <= MOST_ITERATIONS:
            raise self._broken(f"asks for {iterations} iterations")
        channel = base64.b64encode(_GS2_HEADER.encode()).decode()
        final_bare = f"c={channel},r={nonce}"
        signed = f"{self._first_bare},{text},{final_bare}".encode()
        salted = hashlib.pbkdf2_hmac(self._hash, self._password.encode(), salt, int(iterations))
        client_key = self._hmac(salted, b"Client Key")
        signature = self._hmac(hashlib.new(self._hash, client_key).digest(), signed)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self._server_signature = self._hmac(self._hmac(salted, b"Server Key"), signed)
        self._next = f"{final_bare},p={base64.b64encode(proof).decode()}".encode()

    def _check_server(self, text: str) -> None:
        fields = self._fields(text)
        if "e" in fields:
            raise KafkaLoginError(f"the broker refused {self.identity}: {self.redact(fields['e'])}")
        expected = self._server_signature
        if expected is None or not hmac.compare_digest(self._base64(fields.get("v", "")), expected):
            raise KafkaLoginError(
                "the broker could not prove that it knows this user's password",
                hint="The address may not belong to the cluster you mean; check it before trying again.",
            )
        self._done = True

    def _fields(self, text: str) -> dict[str, str]:
        """`a=x,b=y` as a mapping; unknown extensions are passed over except `m`, which RFC 5802 makes mandatory."""
        fields: dict[str, str] = {}
        for part in text.split(","):
            name, equals, value = part.partition("=")
            if len(name) != 1 or not equals or name in fields:
                raise self._broken("is malformed")
            fields[name] = value
        if "m" in fields:
            raise self._broken("demands an unknown extension")
        return fields

    def _base64(self, text: str) -> bytes:
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise self._broken("holds broken base64") from error

    def _hmac(self, key: bytes, message: bytes) -> bytes:
        return hmac.digest(key, message, self._hash)

    def _broken(self, why: str) -> KafkaLoginError:
        return KafkaLoginError(f"login with {self.config.mechanism} failed: the broker's message {why}")

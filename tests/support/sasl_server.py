"""The broker's half of SASL logins, for the scripted broker: written from the RFCs, apart from kafkeep's client half."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Generator
from dataclasses import dataclass, field

Exchange = Generator[bytes, bytes, bool]
"""Is sent the client's messages, yields answers, returns whether the login holds."""


@dataclass
class SaslServer:
    """Accounts and behaviour; `logins` counts the completed ones."""

    users: dict[str, str] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    mechanisms: tuple[str, ...] = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
    session_lifetime_ms: int = 0
    refusal: str = "Authentication failed: Invalid username or password"
    iterations: int = 4096
    false_signature: bool = False
    logins: int = 0

    def exchange(self, mechanism: str) -> Exchange:
        if mechanism == "PLAIN":
            return self._plain()
        if mechanism == "OAUTHBEARER":
            return self._oauth()
        return self._scram("sha256" if mechanism == "SCRAM-SHA-256" else "sha512")

    def _plain(self) -> Exchange:
        message = yield b""
        _, user, password = message.split(b"\0")
        return self.users.get(user.decode()) == password.decode()

    def _oauth(self) -> Exchange:
        message = yield b""
        token = message.split(b"\x01")[1].removeprefix(b"auth=Bearer ").decode()
        if token in self.tokens:
            return True
        second = yield b'{"status":"invalid_token"}'
        assert second == b"\x01"
        return False

    def _scram(self, name: str) -> Exchange:
        first = (yield b"").decode()
        header, bare = first[:3], first[3:]
        fields = dict(part.split("=", 1) for part in bare.split(","))
        user = fields["n"].replace("=2C", ",").replace("=3D", "=")
        password = self.users.get(user, secrets.token_hex(8))
        salt, nonce = secrets.token_bytes(16), fields["r"] + secrets.token_hex(8)
        challenge = f"r={nonce},s={base64.b64encode(salt).decode()},i={self.iterations}"
        final = (yield challenge.encode()).decode()
        without_proof, _, proof = final.rpartition(",p=")
        assert without_proof == f"c={base64.b64encode(header.encode()).decode()},r={nonce}"
        salted = hashlib.pbkdf2_hmac(name, password.encode(), salt, self.iterations)
        signed = f"{bare},{challenge},{without_proof}".encode()
        client_key = hmac.digest(salted, b"Client Key", name)
        signature = hmac.digest(hashlib.new(name, client_key).digest(), signed, name)
        expected = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        if base64.b64decode(proof) != expected:
            return False
        server = hmac.digest(hmac.digest(salted, b"Server Key", name), signed, name)
        if self.false_signature:
            server = bytes(len(server))
        yield b"v=" + base64.b64encode(server)
        return True

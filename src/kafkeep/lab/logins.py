"""Who may log in to a secured lab: passwords in files, SCRAM credentials, and signed tokens for OAUTHBEARER."""

from __future__ import annotations

import base64
import json
import secrets
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from kafkeep.errors import LabError
from kafkeep.lab import config
from kafkeep.lab.wire import MECHANISMS, ScramUser
from kafkeep.records import dataclass
from kafkeep.secret import Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import rsa

_KEY_ID = "lab"


@dataclass(frozen=True, slots=True)
class Logins:
    """A folder with a file per user that holds the password, and the key that signs tokens."""

    folder: Path

    @property
    def jwks_url(self) -> str:
        return (self.folder / "keys" / "jwks.json").as_uri()

    def password_file(self, user: str) -> Path:
        """LabError for a user the lab does not have."""
        if user not in config.USERS:
            raise LabError(f"the lab has no user {user}, only {'; '.join(config.USERS)}")
        return self.folder / user

    def password(self, user: str) -> Secret:
        return Secret(self.password_file(user).read_text(encoding="utf-8"))

    def scram_users(self) -> list[ScramUser]:
        """A credential per user and SCRAM mechanism."""
        return [
            ScramUser.of(user, self.password(user).reveal(), mechanism, secrets.token_bytes(16))
            for user in config.USERS
            for mechanism in MECHANISMS
        ]

    def token(self, user: str, *, now: datetime, lifetime: timedelta = timedelta(hours=1)) -> Secret:
        """A signed JWT (RS256) that the brokers take for `user`, whom they need not know otherwise."""
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import padding

        claims = {
            "sub": user,
            "scope": "kafka",
            "iss": config.OAUTH_ISSUER,
            "aud": config.OAUTH_AUDIENCE,
            "iat": int(now.timestamp()),
            "exp": int((now + lifetime).timestamp()),
        }
        header = {"alg": "RS256", "typ": "JWT", "kid": _KEY_ID}
        signed = f"{_b64(json.dumps(header).encode())}.{_b64(json.dumps(claims).encode())}"
        text = (self.folder / "keys" / "signing.pem").read_bytes()
        key: rsa.RSAPrivateKey = serialization.load_pem_private_key(text, password=None)  # type: ignore[assignment]
        signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return Secret(f"{signed}.{_b64(signature)}")


def make(folder: Path) -> Logins:
    """Invents all passwords and the signing key."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    logins = Logins(folder)
    (folder / "keys").mkdir(mode=0o700, parents=True, exist_ok=True)
    for user in config.USERS:
        awkward = ",=" if user == config.AWKWARD else ""
        _write_private(logins.password_file(user), (awkward + secrets.token_urlsafe(18)).encode())
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write_private(folder / "keys" / "signing.pem", pem)
    numbers = key.public_key().public_numbers()
    public = {
        "kty": "RSA",
        "use": "sig",
        "alg": "RS256",
        "kid": _KEY_ID,
        "n": _number(numbers.n),
        "e": _number(numbers.e),
    }
    (folder / "keys" / "jwks.json").write_text(json.dumps({"keys": [public]}), encoding="utf-8")
    return logins


def _write_private(path: Path, data: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(data)


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value: int) -> str:
    return _b64(value.to_bytes((value.bit_length() + 7) // 8))

"""Keys that commits are signed with: made, read, used. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kafkeep.errors import KeyRefused
from kafkeep.repository.identities import from_text, only_line, to_text
from kafkeep.repository.trust import TrustedKey, key_id
from kafkeep.secret import Secret

SIGNING_KEY: Final = "kafkeep-signing-key-1:"
SIGNER: Final = "kafkeep-signer-1:"
KEY_BYTES: Final = 32


class SigningKey:
    """An Ed25519 private key. Its text leaves only through `reveal()`."""

    __slots__ = ("_private", "public")

    def __init__(self, private: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(private)
        self.public = self._private.public_key().public_bytes_raw().hex()
        """64 hexadecimal digits."""

    @classmethod
    def generate(cls) -> Self:
        return cls(Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def parse(cls, given: Secret) -> Self:
        """From its text form; lines that are empty or begin with # are passed over. Raises `KeyRefused`."""
        return cls(from_text(only_line(given), SIGNING_KEY, KEY_BYTES, "signing key"))

    @property
    def id(self) -> str:
        """16 hexadecimal digits: as `TrustedKey.id`."""
        return key_id(self.public)

    def sign(self, signed: bytes) -> str:
        """128 hexadecimal digits."""
        return self._private.sign(signed).hex()

    def trusted(self, role: str, name: str = "") -> TrustedKey:
        """The public half, as commits name it."""
        return TrustedKey(self.public, role, name)

    def reveal(self) -> str:
        """The text form: whoever has it signs in this name."""
        return SIGNING_KEY + to_text(self._private.private_bytes_raw())

    def __repr__(self) -> str:
        return f"SigningKey({self.id}, ***)"


def allowed(key: SigningKey | None, trusted: Iterable[TrustedKey], kind: str, where: str) -> SigningKey:
    """The key, which may sign a commit of this kind. Raises `KeyRefused` when there is none, or it may not."""
    if key is None:
        raise KeyRefused(
            f"commits of {where} are signed, and no signing key was given",
            hint="Give one that is trusted there: --signing-key-file, or the setting `signing_key`.",
        )
    known = next((each for each in trusted if each.public == key.public), None)
    if known is None or not known.may(kind):
        role = "nobody trusts it" if known is None else f"it is a {known.role}'s"
        raise KeyRefused(
            f"signing key {key.id} may not sign a commit of kind {kind}: {role}",
            hint="What takes anything away is signed by an admin; `kafkeep trust list` tells who is trusted.",
        )
    return key


def signer_text(public: str) -> str:
    """The text form of a public key, to be handed to an admin."""
    return SIGNER + to_text(bytes.fromhex(public))


def parse_signer(line: str) -> str:
    """The public key (64 hexadecimal digits) of its text form. Raises `KeyRefused`."""
    return from_text(line, SIGNER, KEY_BYTES, "signer").hex()

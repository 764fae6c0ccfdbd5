"""Signed commits: whose signature a commit must carry, and what it may do. Pure.

A repository that is created signed names its first admin in the repository document; from then on a commit counts only
with a signature by a key that the commits before it trust for its kind. Writers may add what was captured and move runs;
what takes anything away, or changes whom to trust, is for admins.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from blake3 import blake3

from kafkeep.records import dataclass
from kafkeep.repository import nouns
from kafkeep.repository.envelope import canonical
from kafkeep.repository.invalid import Invalid
from kafkeep.repository.nouns import Malformed, hexadecimal, text

if TYPE_CHECKING:
    from kafkeep.repository.format import Slot
    from kafkeep.repository.state import State

ADMIN: Final = "admin"
WRITER: Final = "writer"
ROLES: Final = (ADMIN, WRITER)
WRITER_KINDS: Final = frozenset({"add", "recovery-point", "compact"})
"""Kinds of commits that a writer's signature is enough for."""
_COMMIT: Final = b"kafkeep 1 commit\0"
_REPORT: Final = b"kafkeep 1 report\0"


@dataclass(frozen=True, slots=True)
class Signature:
    """Of a commit."""

    key: str
    """16 hexadecimal digits: `TrustedKey.id` of whose it is."""
    value: str
    """128 hexadecimal digits: Ed25519 (RFC 8032) over `signed_text`."""


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """Somebody whose signature counts."""

    public: str
    """64 hexadecimal digits: an Ed25519 public key."""
    role: str
    """`admin`, or `writer`."""
    name: str = ""
    """For people."""

    @property
    def id(self) -> str:
        """16 hexadecimal digits, from the public key."""
        return key_id(self.public)

    def may(self, kind: str) -> bool:
        """Whether its signature is enough for a commit of this kind."""
        return self.role == ADMIN or kind in WRITER_KINDS


def key_id(public: str) -> str:
    """16 hexadecimal digits of the digest of a public key."""
    return blake3(bytes.fromhex(public)).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Trust:
    """From here on this key is trusted, or trusted in another role."""

    key: TrustedKey


@dataclass(frozen=True, slots=True)
class Distrust:
    """From here on this key's signatures no longer count; what it signed before stays."""

    public: str


TrustChange = Trust | Distrust


def encode_trusted(key: TrustedKey) -> dict[str, object]:
    return {"name": key.name, "public": key.public, "role": key.role}


def decode_trusted(value: object) -> TrustedKey:
    """Raises `Malformed`, KeyError."""
    found = nouns.fields(value, "trusted key")
    role = text(found["role"], "role", 100)
    if role not in ROLES:
        raise Malformed(f"unknown role {role[:40]!r}")
    return TrustedKey(hexadecimal(found["public"], "public", 64), role, text(found["name"], "name", 200))


def encode_signature(signature: Signature) -> dict[str, object]:
    return {"key": signature.key, "value": signature.value}


def decode_signature(value: object) -> Signature:
    """Raises `Malformed`, KeyError."""
    found = nouns.fields(value, "signature")
    return Signature(hexadecimal(found["key"], "key", 16), hexadecimal(found["value"], "value", 128))


def encode_trust_change(change: TrustChange) -> dict[str, object]:
    """The body of its commit."""
    return encode_trusted(change.key) if isinstance(change, Trust) else {"public": change.public}


DECODERS: Final[Mapping[str, Callable[[dict[str, Any]], TrustChange]]] = {
    "trust": lambda body: Trust(decode_trusted(body)),
    "distrust": lambda body: Distrust(hexadecimal(body["public"], "public", 64)),
}
KIND_OF: Final[Mapping[type, str]] = {Trust: "trust", Distrust: "distrust"}


def unsigned_of(outer: dict[str, Any], body: bytes | None) -> bytes:
    """What the signature of a commit is over; `body`: the text of it where that is canonical. Raises `Malformed` for what
    canonical JSON has no text for: anybody may have put a number of any length into a field that is unknown here.
    """
    try:
        if body is not None:
            signature = b',"signature":' + canonical(outer["signature"])
            if body.count(signature) == 1:  # its own place: `kind` stands in front of it, so there is a comma
                return body.replace(signature, b"")
        return canonical({field: value for field, value in outer.items() if field != "signature"})
    except ValueError as error:
        raise Malformed(str(error)) from error


def signed_text(repository_id: str, unsigned: bytes) -> bytes:
    """What is signed of a commit: `unsigned` is its canonical JSON without the signature."""
    return _COMMIT + bytes.fromhex(repository_id) + blake3(unsigned).digest()


def report_text(repository_id: str, report: Mapping[str, object]) -> bytes:
    """What is signed of a report: everything but the signature."""
    unsigned = canonical({name: value for name, value in report.items() if name != "signature"})
    return _REPORT + bytes.fromhex(repository_id) + blake3(unsigned).digest()


def is_trusted_report(state: State, report: Mapping[str, object]) -> bool:
    """Whether a report counts: signed by somebody who is trusted, or in a repository where nothing is signed."""
    if state.repository is None or not state.repository.admins:
        return True
    try:
        signature = decode_signature(report["signature"])
    except (KeyError, Malformed):
        return False
    key = next((key for key in state.trusted if key.id == signature.key), None)
    try:
        signed = report_text(state.repository.id, report)
    except ValueError:  # it holds numbers that canonical JSON has no text for: nobody signed that
        return False
    return key is not None and _verifies(key.public, signature.value, signed)


def check_signature(state: State, slot: Slot) -> None:
    """Raises `Invalid` unless the commit may count after `state`: signed, by somebody who may."""
    commit = slot.commit
    if commit is None or state.repository is None or not state.repository.admins:
        return
    signature = commit.signature
    if signature is None or slot.unsigned is None:
        raise Invalid("it is not signed, in a repository whose commits are")
    key = next((key for key in state.trusted if key.id == signature.key), None)
    if key is None:
        raise Invalid(f"it is signed by {signature.key}, whom nobody trusts")
    if not key.may(commit.kind):
        raise Invalid(f"it is signed by {key.id}, a {key.role}, who may not {commit.kind}")
    if not _verifies(key.public, signature.value, signed_text(state.repository.id, slot.unsigned)):
        raise Invalid(f"its signature is not by {key.id}, or not of this commit")


def admins_of(state: State) -> tuple[str, ...]:
    """Public keys of those who may save states after this one."""
    return tuple(key.public for key in state.trusted if key.role == ADMIN)


def is_signed_by(publics: Collection[str], slot: Slot, repository_id: str) -> bool:
    """Whether one of these public keys signed the commit, whatever the commits before it say of the key."""
    commit = slot.commit
    if commit is None or commit.signature is None or slot.unsigned is None:
        return False
    told, signed = commit.signature, signed_text(repository_id, slot.unsigned)
    return any(key_id(public) == told.key and _verifies(public, told.value, signed) for public in publics)


def _verifies(public: str, signature: str, signed: bytes) -> bool:
    # cryptography is loaded for signed repositories only
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(bytes.fromhex(signature), signed)
    except InvalidSignature:
        return False
    return True


def check_trust_change(state: State, change: TrustChange) -> None:
    """Raises `Invalid` when the change breaks a rule after `state`."""
    if state.repository is None or not state.repository.admins:
        raise Invalid("a commit about trust in a repository whose commits are not signed")
    if isinstance(change, Trust):
        if change.key in state.trusted:
            raise Invalid("a key that is trusted already")
    elif all(key.public != change.public for key in state.trusted):
        raise Invalid("a key that nobody trusts")
    if not any(key.role == ADMIN for key in _changed(state.trusted, change)):
        raise Invalid("nobody would be left who may change anything")


def with_trust_change(state: State, change: TrustChange) -> State:
    """The state after a valid change; the head is the caller's."""
    return replace(state, trusted=_changed(state.trusted, change))


def _changed(trusted: tuple[TrustedKey, ...], change: TrustChange) -> tuple[TrustedKey, ...]:
    public = change.key.public if isinstance(change, Trust) else change.public
    left = tuple(key for key in trusted if key.public != public)
    return (*left, change.key) if isinstance(change, Trust) else left

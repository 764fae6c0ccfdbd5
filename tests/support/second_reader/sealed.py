"""The second reader's knowledge of encrypted repositories, written from docs/format.md alone.

HPKE is done by hand from RFC 9180, HKDF from RFC 5869, on top of hmac, hashlib.scrypt, X25519 and AES-256-GCM. What opens a
repository is its text: an identity, a writer key, or else a passphrase.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import struct
import unicodedata
from typing import Any

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PREFIXES = {"kafkeep-identity-1:": 32, "kafkeep-recipient-1:": 32, "kafkeep-writer-key-1:": 48}
ZERO_NONCE = bytes(12)


class Refused(Exception):
    """What was given does not open this."""


# --- RFC 5869 ---------------------------------------------------------------------------------------------------------


def extract(salt: bytes, secret: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), secret, "sha256")


def expand(key: bytes, info: bytes, length: int) -> bytes:
    out = block = b""
    for number in range(1, -(-length // 32) + 1):
        block = hmac.digest(key, block + info + bytes([number]), "sha256")
        out += block
    return out[:length]


def hkdf(secret: bytes, salt: bytes, info: bytes, length: int = 32) -> bytes:
    return expand(extract(salt, secret), info, length)


# --- RFC 9180: base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM ----------------------------------------

KEM = b"KEM" + struct.pack(">H", 0x0020)
SUITE = b"HPKE" + struct.pack(">HHH", 0x0020, 0x0001, 0x0002)


def labeled_extract(suite: bytes, salt: bytes, label: bytes, secret: bytes) -> bytes:
    return extract(salt, b"HPKE-v1" + suite + label + secret)


def labeled_expand(suite: bytes, key: bytes, label: bytes, info: bytes, length: int) -> bytes:
    return expand(key, struct.pack(">H", length) + b"HPKE-v1" + suite + label + info, length)


def context(shared: bytes, enc: bytes, public: bytes, info: bytes) -> tuple[bytes, bytes]:
    """AEAD key and first nonce from the result of the Diffie-Hellman."""
    secret = labeled_extract(KEM, b"", b"eae_prk", shared)
    shared_secret = labeled_expand(KEM, secret, b"shared_secret", enc + public, 32)
    schedule = (
        b"\0" + labeled_extract(SUITE, b"", b"psk_id_hash", b"") + labeled_extract(SUITE, b"", b"info_hash", info)
    )
    key = labeled_extract(SUITE, shared_secret, b"secret", b"")
    return labeled_expand(SUITE, key, b"key", schedule, 32), labeled_expand(SUITE, key, b"base_nonce", schedule, 12)


def public_of(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def unwrap(private: bytes, wrapped: bytes, info: bytes) -> bytes:
    """The key that was wrapped for a private key."""
    enc, sealed = wrapped[:32], wrapped[32:]
    try:
        shared = X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(enc))
        if shared == bytes(32):
            raise Refused("a shared secret of zeros")
        key, nonce = context(shared, enc, public_of(private), info)
        return AESGCM(key).decrypt(nonce, sealed, None)
    except (InvalidTag, ValueError) as error:
        raise Refused("not wrapped for this key") from error


# --- text forms, identities and slots -----------------------------------------------------------------------------------


def from_text(text: str, prefix: str) -> bytes:
    digits = text.strip().removeprefix(prefix)
    data = base64.urlsafe_b64decode(digits + "=" * (-len(digits) % 4))
    body, check = data[:-4], data[-4:]
    again = base64.urlsafe_b64encode(data).decode().rstrip("=")
    if len(body) != PREFIXES[prefix] or blake3(body).digest()[:4] != check or again != digits:
        raise Refused("mistyped")
    return body


def id_of(public: bytes) -> str:
    return blake3(public).hexdigest()[:16]


def open_slot(slot: dict[str, Any], passphrase: str) -> bytes:
    """The private key in a slot."""
    n, r, p = slot["n"], slot["r"], slot["p"]
    if slot["kdf"] != "scrypt" or n not in [2**power for power in range(14, 21)] or r != 8 or p not in (1, 2, 3, 4):
        raise Refused("parameters out of bounds")
    typed, public = unicodedata.normalize("NFC", passphrase).encode(), bytes.fromhex(slot["public"])
    salt = bytes.fromhex(slot["salt"])
    key = hashlib.scrypt(typed, salt=salt, n=n, r=r, p=p, maxmem=2 * 128 * n * r + 2**20, dklen=32)
    try:
        private = AESGCM(key).decrypt(ZERO_NONCE, bytes.fromhex(slot["sealed"]), b"kafkeep 1 slot\0" + public)
    except InvalidTag as error:
        raise Refused("another passphrase") from error
    if public_of(private) != public:
        raise Refused("a slot of another identity")
    return private


# --- the keys of a repository -------------------------------------------------------------------------------------------


class Keys:
    """Opens an encrypted repository, and follows what its commits say about keys. `base` is the second reader."""

    def __init__(self, get: Any, repository: dict[str, Any], secret: str, base: Any) -> None:
        self.get, self.base = get, base
        self.id = bytes.fromhex(repository["id"])
        self.key_id = repository["encryption"]["metadata_key"]
        self.recipients: dict[str, str] = {one["public"]: one["name"] for one in repository["recipients"]}
        self.topic_keys: dict[str, tuple[str, str]] = {}
        self.current: dict[tuple[str, str], str] = {}
        self.shredded: set[str] = set()
        hex64 = base.HEX64
        self.keys_shape = [(base.pattern("[0-9a-f]{32}"), base.TOPIC, base.TOPIC_ID, hex64)]
        self.shapes: dict[str, dict[str, Any]] = {
            "rotate": {},
            "recipient-add": {"public": hex64, "name": base.text(200)},
            "recipient-remove": {"public": hex64},
            "shred": {"topics": [(base.TOPIC, base.TOPIC_ID)], "reason": base.text()},
        }
        self.private: bytes | None = None
        if secret.startswith("kafkeep-writer-key-1:"):
            both = from_text(secret, "kafkeep-writer-key-1:")
            if both[:16] != self.id:
                raise Refused("the key of another repository")
            self.metadata_key = both[16:]
        else:
            self.private = self._identity(secret)
            self.metadata_key = self._wrapped(self.key_id, b"kafkeep 1 metadata key\0")
        self.mac = hkdf(self.metadata_key, b"", b"kafkeep 1 document salt\0" + self.id)
        self._check(repository)

    def _identity(self, secret: str) -> bytes:
        if secret.startswith("kafkeep-identity-1:"):
            return from_text(secret, "kafkeep-identity-1:")
        for public in self.recipients:
            data = self.get(f"key/slot/{id_of(bytes.fromhex(public))}")
            if data is not None:
                try:
                    return open_slot(self.base.document(data, 33), secret)
                except Refused:
                    continue
        raise Refused("no slot that this passphrase opens")

    def _wrapped(self, key_id: str, info: bytes) -> bytes:
        """A key that is wrapped for our identity."""
        if self.private is None:
            raise Refused("a writer key opens no record")
        recipient = id_of(public_of(self.private))
        data = self.get(f"key/{key_id}/{recipient}")
        if data is None:
            raise Refused("a key that is not wrapped for this identity")
        value = self.base.document(data, 33)
        if (value["key"], value["recipient"]) != (key_id, recipient):
            raise self.base.Corrupt("a key of another place")
        return unwrap(self.private, bytes.fromhex(value["wrapped"]), info + self.id + bytes.fromhex(key_id))

    def _check(self, repository: dict[str, Any]) -> None:
        named = {"compression", "created", "digest", "features_required", "format", "id", "limits", "recipients"}
        bare: dict[str, Any] = {name: repository[name] for name in named | {"writers", "admins"} if name in repository}
        bare["encryption"] = {name: repository["encryption"][name] for name in ("cipher", "metadata_key")} | {
            "check": ""
        }
        key = hkdf(self.metadata_key, b"", b"kafkeep 1 check\0" + self.id)
        if blake3(canonical(bare), key=key).hexdigest() != repository["encryption"]["check"]:
            raise Refused("the check of the repository document")

    # --- documents

    def _salt(self, head: bytes, text: bytes) -> bytes:
        return blake3(head + text, key=self.mac).digest()

    def _cipher(self, salt: bytes) -> AESGCM:
        return AESGCM(hkdf(self.metadata_key, salt, b"kafkeep 1 document\0" + self.id))

    def open(self, head: bytes, body: bytes) -> bytes:
        """What stands in a sealed body."""
        try:
            text = self._cipher(body[:32]).decrypt(ZERO_NONCE, body[32:], head)
        except (InvalidTag, ValueError) as error:
            raise self.base.Corrupt("a document that does not open") from error
        if self._salt(head, text) != body[:32]:
            raise self.base.Corrupt("a salt of other content")
        return text

    def document(self, kind: int, text: bytes) -> bytes:
        """A whole sealed document."""
        head = struct.pack("<4sBBBI", b"KKD1", kind, 0, 1, len(text) + 48)
        salt = self._salt(head, text)
        whole = head + salt + self._cipher(salt).encrypt(ZERO_NONCE, text, head)
        return whole + blake3(whole).digest()

    # --- runs

    def open_chunk(self, run: dict[str, Any], number: int, stored: bytes) -> bytes:
        """A chunk of a run, as it was before it was sealed."""
        seal = run["seal"]
        private = self._wrapped(seal["topic_key"], b"kafkeep 1 topic key\0")
        info = b"kafkeep 1 data key\0" + self.id + bytes.fromhex(seal["topic_key"])
        data_key = unwrap(private, bytes.fromhex(seal["data_key"]), info)
        place = canonical({"from": run["from"], "generation": run["generation"]})
        both = hkdf(data_key, bytes.fromhex(seal["salt"]), b"kafkeep 1 run\0" + self.id + place, 64)
        if both[32:].hex() != seal["commitment"]:
            raise self.base.Corrupt("the commitment of a run")
        try:
            return AESGCM(both[:32]).decrypt(bytes(4) + struct.pack(">Q", number), stored, None)
        except InvalidTag as error:
            raise self.base.Corrupt("a chunk that does not open") from error

    # --- what commits say

    def check_commit(self, rows: Any, runs: list[dict[str, Any]]) -> None:
        check = self.base.check
        self.base.shaped(rows, self.keys_shape, "keys")
        ids = [row[0] for row in rows]
        check(len(set(ids)) == len(ids) and not {*ids} & {*self.topic_keys, *self.shredded}, "a key that is known")
        known = self.topic_keys | {row[0]: (row[1], row[2]) for row in rows}
        for run in runs:
            check(type(run.get("key")) is str and known.get(run["key"]) == tuple(run["generation"][:2]), "key of a run")

    def bring(self, rows: list[list[str]]) -> None:
        for key, topic, topic_id, _ in rows:
            self.topic_keys[key] = topic, topic_id
            self.current[topic, topic_id] = key

    def check_decision(self, kind: str, body: dict[str, Any]) -> None:
        check = self.base.check
        if kind == "recipient-add":
            check(body["public"] not in self.recipients, "a recipient who is there")
        elif kind == "recipient-remove":
            check(body["public"] in self.recipients and len(self.recipients) > 1, "no such recipient, or the last")
        elif kind == "shred":
            topics = [(topic, topic_id) for topic, topic_id in body["topics"]]
            check(topics != [] and len({*topics}) == len(topics), "nothing, or a topic twice")
            check({*topics} <= {*self.topic_keys.values()}, "a topic without a key")

    def decide(self, kind: str, body: dict[str, Any]) -> None:
        if kind == "recipient-add":
            self.recipients[body["public"]] = body["name"]
        elif kind == "recipient-remove":
            del self.recipients[body["public"]]
        if kind in ("rotate", "recipient-remove"):
            self.current = {}
        elif kind == "shred":
            gone = {key for key, topic in self.topic_keys.items() if list(topic) in body["topics"]}
            self.topic_keys = {key: topic for key, topic in self.topic_keys.items() if key not in gone}
            self.current = {topic: key for topic, key in self.current.items() if key not in gone}
            self.shredded |= gone


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

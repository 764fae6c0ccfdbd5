"""Authenticated encryption of documents and runs: AES-256-GCM under keys that are each used for one content. Pure.

A document is sealed under a key of its own, derived from the metadata key and a digest of its content: the same content
gives the same bytes, so a document is stored once and a creation can be tried again. A run is sealed under a key derived
from its topic's data key and a random salt; its chunks are numbered.
"""

from __future__ import annotations

import hmac
import struct
from typing import Final

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kafkeep.errors import CorruptionError, CorruptObject
from kafkeep.model import Generation
from kafkeep.repository import nouns
from kafkeep.repository.envelope import SEAL_OVERHEAD, canonical

KEY_BYTES: Final = 32
SALT_BYTES: Final = 32
TAG_BYTES: Final = 16
_NONCE: Final = struct.Struct(">4xQ")
_FIRST_NONCE: Final = _NONCE.pack(0)
_DOCUMENT_MAC: Final = b"kafkeep 1 document salt\0"
_DOCUMENT: Final = b"kafkeep 1 document\0"
_RUN: Final = b"kafkeep 1 run\0"
_CHECK: Final = b"kafkeep 1 check\0"


def derive(secret: bytes, salt: bytes | None, info: bytes, length: int = KEY_BYTES) -> bytes:
    """HKDF-SHA256 (RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(secret)


def keyed_hash(key: bytes, *parts: bytes) -> bytes:
    """BLAKE3 with a key of 32 bytes, over the parts one behind the other."""
    hasher = blake3(key=key)
    for part in parts:
        hasher.update(part)
    return hasher.digest()


class DocumentSeal:
    """Seals and opens the documents of one repository; holds its metadata key."""

    def __init__(self, metadata_key: bytes, repository_id: str) -> None:
        if len(metadata_key) != KEY_BYTES:
            raise ValueError(f"a metadata key has {KEY_BYTES} bytes")
        self._key = metadata_key
        self._repository = bytes.fromhex(repository_id)
        self._mac = derive(metadata_key, None, _DOCUMENT_MAC + self._repository)

    def __repr__(self) -> str:
        return "DocumentSeal(***)"

    def check_value(self, text: bytes) -> str:
        """What shows that somebody who holds this key has written `text`, hexadecimal."""
        return keyed_hash(derive(self._key, None, _CHECK + self._repository), text).hex()

    def seal(self, head: bytes, body: bytes) -> bytes:
        """Salt, ciphertext and tag of a document's body; `head` is what stands before it."""
        salt = self._salt(head, body)
        return salt + AESGCM(self._document_key(salt)).encrypt(_FIRST_NONCE, body, head)

    def open(self, head: bytes, sealed: bytes, what: str) -> bytes:
        """The body. Raises `CorruptObject` naming `what` when it was not sealed under this key, with this head."""
        salt = sealed[:SALT_BYTES]
        if len(sealed) < SEAL_OVERHEAD:
            raise CorruptObject(f"{what} is too short to be sealed")
        try:
            body = AESGCM(self._document_key(salt)).decrypt(_FIRST_NONCE, sealed[SALT_BYTES:], head)
        except InvalidTag as error:
            raise CorruptObject(f"{what} was not sealed with the key of this repository") from error
        # GCM alone would open one ciphertext under several keys that somebody chose for it
        if not hmac.compare_digest(self._salt(head, body), salt):
            raise CorruptObject(f"{what} is sealed with a salt that is not its own")
        return body

    def _salt(self, head: bytes, body: bytes) -> bytes:
        return keyed_hash(self._mac, head, body)

    def _document_key(self, salt: bytes) -> bytes:
        return derive(self._key, salt, _DOCUMENT + self._repository)


class RunCipher:
    """Seals or opens the chunks of one run; the numbers of chunks rise from 0 and none is sealed twice."""

    def __init__(self, key: bytes) -> None:
        self._gcm = AESGCM(key)

    def seal_into(self, index: int, raw: bytes | bytearray | memoryview, into: memoryview) -> None:
        """Ciphertext and tag of a chunk into a buffer that is `TAG_BYTES` longer."""
        self._gcm.encrypt_into(_NONCE.pack(index), raw, None, into)

    def open_into(self, index: int, sealed: memoryview, into: memoryview) -> bool:
        """Whether the chunk was sealed as number `index` under this key; only then `into` holds it."""
        try:
            self._gcm.decrypt_into(_NONCE.pack(index), sealed, None, into)
        except InvalidTag:
            return False
        return True

    def open(self, index: int, sealed: bytes | memoryview, what: str) -> memoryview:
        """The chunk. Raises `CorruptObject` naming `what` when it was not sealed as number `index` under this key."""
        if len(sealed) < TAG_BYTES:
            raise CorruptObject(f"{what} is too short to be sealed")
        opened = memoryview(bytearray(len(sealed) - TAG_BYTES))
        if not self.open_into(index, memoryview(sealed), opened):
            raise CorruptObject(f"{what} was not sealed with the key of its run")
        return opened


class ChunkSealer:
    """Seals chunks, and opens each again before it counts. One thread uses it; it keeps its buffers.

    `check` comes behind the hash of what was sealed: so it also finds a bit that changed in between.
    """

    def __init__(self) -> None:
        self._sealed = bytearray()
        self._opened = bytearray()

    def seal(self, cipher: RunCipher, index: int, raw: bytes | bytearray | memoryview) -> memoryview:
        """Ciphertext and tag, good until the next call; they count once `check` has opened them."""
        size = len(raw)
        if len(self._sealed) < size + TAG_BYTES:
            self._sealed = bytearray(size + TAG_BYTES)
            self._opened = bytearray(size)
        sealed = memoryview(self._sealed)[: size + TAG_BYTES]
        cipher.seal_into(index, raw, sealed)
        return sealed

    def check(self, cipher: RunCipher, index: int, raw: bytes | bytearray | memoryview) -> None:
        """Raises `CorruptionError` when what `seal` made last does not open to `raw`."""
        size = len(raw)
        sealed, opened = memoryview(self._sealed)[: size + TAG_BYTES], memoryview(self._opened)[:size]
        # memory views are compared byte by byte in Python's own slow way, the beginning of a bytearray at once
        if not cipher.open_into(index, sealed, opened) or not self._opened.startswith(raw):
            raise CorruptionError("a chunk just sealed does not open to what went in; check this host's memory")


def run_cipher(
    data_key: bytes, salt: bytes, repository_id: str, generation: Generation, start: int
) -> tuple[RunCipher, str]:
    """The cipher of a run whose coverage begins at `start`, and the commitment to its key (hexadecimal)."""
    place = canonical({"from": start, "generation": nouns.encode_generation(generation)})
    both = derive(data_key, salt, _RUN + bytes.fromhex(repository_id) + place, 2 * KEY_BYTES)
    return RunCipher(both[:KEY_BYTES]), both[KEY_BYTES:].hex()

"""Known answers: whether this host's cryptography computes what it should, before anything is sealed or opened with it.

A library, a processor or memory that errs would seal what nobody ever opens, or seal it badly. The functions that are
tried are those that repositories are sealed with.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kafkeep.errors import CorruptionError, KeyRefused
from kafkeep.model import NO_TOPIC_ID, Generation
from kafkeep.repository import identities, sealing
from kafkeep.secret import Secret

_HINT: Final = (
    "Nothing was written or opened. Check the memory of this host, and that its Python packages cryptography and blake3 are"
    " as they were released; then try another host."
)
_REPOSITORY: Final = "000102030405060708090a0b0c0d0e0f"
_KEY_ID: Final = "101112131415161718191a1b1c1d1e1f"
_METADATA_KEY: Final = bytes(range(32))
_DATA_KEY: Final = bytes(range(64, 96))
_HEAD: Final = b"KKD1\x04\x00\x01\x4d\x00\x00\x00"
_BODY: Final = '{"a":[1,-2,null,true,"é\\n"]}'.encode()
_SEALED: Final = bytes.fromhex(
    "678b360ee23329df4e57fdfdbeb47a78a42e28ddf7c3dc4967aa5a8774634b37f950821324538c0efc97f8329b3417511cd89cf06db1c07969"
    "a34cfa17a4dcde955e13b141f10a710c2f0e9944"
)
_WRAPPED: Final = bytes.fromhex(
    "d3528aa770741a977353e635f3836fac6e1865046355f69bf357e35215dba42f65774c3cc87fc766b0dc362a94aac0585418aed2af969feeeb"
    "81fcef8be1a383c09230f2fc2246aa1413ee8f8a541b89"
)
_PUBLIC: Final = "07a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c"

# AES-256-GCM: test case 16 of McGrew and Viega, "The Galois/Counter Mode of Operation", which NIST took over
_GCM_KEY: Final = bytes.fromhex("feffe9928665731c6d6a8f9467308308" * 2)
_GCM_NONCE: Final = bytes.fromhex("cafebabefacedbaddecaf888")
_GCM_DATA: Final = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
_GCM_PLAIN: Final = bytes.fromhex(
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
)
_GCM_SEALED: Final = bytes.fromhex(
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
    "76fc6ece0f4e1768cddf8853bb2d551b"
)


@cache
def check_cryptography() -> None:
    """Once per process, some milliseconds. Raises `KeyRefused` when an answer is not the known one."""
    for what, agrees in _ANSWERS.items():
        try:
            right = agrees()
        except (CorruptionError, KeyRefused, InvalidTag, ValueError, ArithmeticError):
            right = False
        if not right:
            raise KeyRefused(f"this host's cryptography cannot be trusted: {what} gives a wrong answer", hint=_HINT)


def _hkdf() -> bool:
    """RFC 5869, A.1."""
    known = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    return sealing.derive(b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA)), 42).hex() == known


def _gcm() -> bool:
    gcm = AESGCM(_GCM_KEY)
    opened = gcm.decrypt(_GCM_NONCE, _GCM_SEALED, _GCM_DATA)
    return opened == _GCM_PLAIN and gcm.encrypt(_GCM_NONCE, _GCM_PLAIN, _GCM_DATA) == _GCM_SEALED


def _gcm_refuses() -> bool:
    try:
        AESGCM(_GCM_KEY).decrypt(_GCM_NONCE, _GCM_SEALED[:-1] + b"\x1a", _GCM_DATA)
    except InvalidTag:
        return True
    return False


def _keyed_hash() -> bool:
    """The empty input of BLAKE3's own vectors."""
    known = "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26"
    return sealing.keyed_hash(b"whats the Elvish word for friend", b"").hex() == known


def _document() -> bool:
    seal = sealing.DocumentSeal(_METADATA_KEY, _REPOSITORY)
    return seal.seal(_HEAD, _BODY) == _SEALED and seal.open(_HEAD, _SEALED, "a known document") == _BODY


def _document_refuses() -> bool:
    try:
        sealing.DocumentSeal(_METADATA_KEY, _REPOSITORY).open(_HEAD, _SEALED[:-1] + b"\0", "a changed document")
    except CorruptionError:
        return True
    return False


def _run() -> bool:
    of = Generation("orders", NO_TOPIC_ID, 3, 1)
    cipher, commitment = sealing.run_cipher(_DATA_KEY, bytes(range(32, 64)), _REPOSITORY, of, 420)
    stored = bytearray(3 + sealing.TAG_BYTES)
    cipher.seal_into(1, b"abc", memoryview(stored))
    known = "b17a7e48512c8960eb9727207007c49ce4ac20dc62fc1aa9f45d1fa2a6e6f912"
    answer = bytes.fromhex("96dffb6c30175305701b26a0a34872b60a2a46")
    opened = bytearray(3)
    whole = cipher.open_into(1, memoryview(answer), memoryview(opened))
    another = cipher.open_into(0, memoryview(answer), memoryview(bytearray(3)))
    return (commitment, bytes(stored), bytes(opened), whole, another) == (known, answer, b"abc", True, False)


def _identity() -> bool:
    return identities.Identity(bytes(range(1, 33))).recipient().public == _PUBLIC


def _unwrapping() -> bool:
    """A key that was wrapped once, and opened by another implementation of RFC 9180."""
    info = identities.topic_key_info(_REPOSITORY, _KEY_ID)
    return identities.Identity(bytes(range(1, 33))).unwrap(_WRAPPED, info, "a known key") == _DATA_KEY


def _unwrapping_refuses() -> bool:
    try:
        identities.Identity(bytes(range(1, 33))).unwrap(_WRAPPED, b"another place", "a known key")
    except KeyRefused:
        return True
    return False


def _wrapping() -> bool:
    wrapped = [identities.wrap_for(_PUBLIC, _DATA_KEY, b"info") for _ in range(2)]
    identity = identities.Identity(bytes(range(1, 33)))
    opened = [identity.unwrap(each, b"info", "a key just wrapped") for each in wrapped]
    return opened == [_DATA_KEY] * 2 and wrapped[0][:32] != wrapped[1][:32]


def _passphrase() -> bool:
    """The first 32 bytes of RFC 7914's first vector of scrypt."""
    known = "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442"
    return identities.stretched(Secret(""), b"", 16, 1, 1).hex() == known


def _random() -> bool:
    drawn = {secrets.token_bytes(sealing.SALT_BYTES) for _ in range(4)}
    return len(drawn) == 4 and bytes(sealing.SALT_BYTES) not in drawn


_ANSWERS: Final[dict[str, Callable[[], bool]]] = {
    "HKDF-SHA256": _hkdf,
    "AES-256-GCM": _gcm,
    "the tag of AES-256-GCM": _gcm_refuses,
    "keyed BLAKE3": _keyed_hash,
    "the seal of documents": _document,
    "the tag of documents": _document_refuses,
    "the cipher of runs": _run,
    "X25519": _identity,
    "HPKE": _unwrapping,
    "the info of HPKE": _unwrapping_refuses,
    "wrapping": _wrapping,
    "scrypt": _passphrase,
    "the source of random numbers": _random,
}

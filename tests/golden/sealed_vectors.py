"""The vectors of docs/format.md about encryption, as the code makes them."""

from __future__ import annotations

from typing import Final

from kafkeep.model import NO_TOPIC_ID, Generation
from kafkeep.repository.envelope import Kind, wrap
from kafkeep.repository.identities import Identity, WriterKey, encode_slot
from kafkeep.repository.sealing import TAG_BYTES, DocumentSeal, run_cipher
from kafkeep.secret import Secret

REPOSITORY: Final = "000102030405060708090a0b0c0d0e0f"
KEY_ID: Final = "101112131415161718191a1b1c1d1e1f"
METADATA_KEY: Final = bytes(range(32))
SALT: Final = bytes(range(32, 64))
DATA_KEY: Final = bytes(range(64, 96))
IDENTITY: Final = Identity(bytes(range(1, 33)))
PASSPHRASE: Final = "correct horse battery stäple"
WRAPPED: Final = (
    "d3528aa770741a977353e635f3836fac6e1865046355f69bf357e35215dba42f65774c3cc87fc766b0dc362a94aac0585418aed2af969feeeb"
    "81fcef8be1a383c09230f2fc2246aa1413ee8f8a541b89"
)
"""Made once: whoever wraps draws a key pair for it."""


def sealed_vectors() -> dict[str, tuple[str, str]]:
    """Name, description and bytes in hexadecimal."""
    value = {"a": [1, -2, None, True, "é\n"]}
    cipher, commitment = run_cipher(DATA_KEY, SALT, REPOSITORY, Generation("orders", NO_TOPIC_ID, 3, 1), 420)
    chunk = bytearray(3 + TAG_BYTES)
    cipher.seal_into(1, b"abc", memoryview(chunk))
    return {
        "sealed-document": (
            "the first document, in repository 000102…0e0f with the metadata key 000102…1f",
            wrap(Kind.AUDIT, value, DocumentSeal(METADATA_KEY, REPOSITORY)).hex(),
        ),
        "check": (
            "in that repository, of the three bytes abc in the place of the JSON",
            DocumentSeal(METADATA_KEY, REPOSITORY).check_value(b"abc"),
        ),
        "commitment": ("of the run above with the data key 404142…5f and the salt 202122…3f", commitment),
        "sealed-chunk": ("chunk 1 of that run, of the three bytes abc", bytes(chunk).hex()),
        "public": ("of the private key 010203…20", IDENTITY.recipient().public),
        "wrapped": (
            "that data key as topic key 101112…1f for that identity; made once, for wrapping draws a key of its own",
            WRAPPED,
        ),
        "slot": (
            f"of that identity, passphrase {PASSPHRASE}, salt 000102…1f, n 16384",
            encode_slot(IDENTITY, Secret(PASSPHRASE), bytes(range(32)), n=2**14).hex(),
        ),
        "identity-text": (f"{IDENTITY.reveal()} in ASCII", IDENTITY.reveal().encode().hex()),
        "recipient-text": (f"{IDENTITY.recipient()} in ASCII", str(IDENTITY.recipient()).encode().hex()),
        "writer-text": (
            "the text form of that metadata key, in ASCII",
            WriterKey(REPOSITORY, METADATA_KEY).reveal().encode().hex(),
        ),
    }

"""Stored chunks that were held against their digests once, known again when they are read a second time.

A tag is half of a GMAC (NIST SP 800-38D) under a key that never leaves the process: whoever can change the store between two
reads cannot make other bytes that have the same one. It costs a third of what BLAKE3 does.
"""

from __future__ import annotations

from array import array
from typing import Final, Protocol

TAG_BYTES: Final = 8
MOST_CHUNKS: Final = 4 * 1024 * 1024
"""So many tags are kept, in 32 MiB; chunks beyond them are held against their digests each time."""
KEY_BYTES: Final = 32
_UNKNOWN: Final = 0
_NUMBER_BYTES: Final = 12


class _Cipher(Protocol):
    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | memoryview | None) -> bytes: ...


RunPlace = tuple[str, int]
"""A pack's name, and the index of a run in it."""


class SeenChunks:
    """May be used from many threads, each with runs of its own."""

    def __init__(self, key: bytes) -> None:
        """`key`: KEY_BYTES random bytes."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # takes 30 ms to load

        self._cipher: _Cipher = AESGCM(key)
        self._tags: dict[RunPlace, array[int]] = {}
        self._left = MOST_CHUNKS

    def note(self, run: RunPlace, chunks: int, number: int, stored: bytes | memoryview) -> None:
        """These are the stored bytes of chunk `number` of a run of so many `chunks`."""
        tags = self._tags.get(run)
        if tags is None:
            if chunks > self._left:
                return
            self._left -= chunks
            tags = self._tags[run] = array("Q", bytes(TAG_BYTES * chunks))
        tags[number] = self._tag(number, stored)

    def knows(self, run: RunPlace, number: int, stored: bytes | memoryview) -> bool:
        """Whether the chunk was noted with these very bytes."""
        tags = self._tags.get(run)
        return tags is not None and tags[number] != _UNKNOWN and tags[number] == self._tag(number, stored)

    def _tag(self, number: int, stored: bytes | memoryview) -> int:
        # Tags are shown to nobody, so a nonce that comes twice gives nothing away.
        sealed = self._cipher.encrypt(number.to_bytes(_NUMBER_BYTES, "big"), b"", stored)
        return int.from_bytes(sealed[:TAG_BYTES], "big")

"""KKD1, the envelope of every stored document, and the canonical JSON inside it. Pure.

    magic "KKD1" | kind u8 | codec u8 | seal u8 | length u32 | body (length bytes) | BLAKE3-32 of all before

Integers are little-endian. The body is canonical JSON (UTF-8, keys sorted by code point, no insignificant space,
integers only), as is (codec 0) or as one zstd frame that declares its size (codec 1). Seal 0 leaves it at that; with seal
1 it is then sealed (`sealing.DocumentSeal`), the eleven bytes before it being authenticated with it.
"""

from __future__ import annotations

import json
import re
import struct
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NoReturn

import zstandard
from blake3 import blake3

from kafkeep.errors import CorruptionError, CorruptObject, KeyRefused, UnknownFormat
from kafkeep.repository.json_text import check_value, may_hold_long_number

if TYPE_CHECKING:
    from kafkeep.repository.sealing import DocumentSeal

MAGIC: Final = b"KKD1"
HEADER: Final = struct.Struct("<4sBBBI")
DIGEST_SIZE: Final = 32
OVERHEAD: Final = HEADER.size + DIGEST_SIZE
CODEC_NONE: Final = 0
CODEC_ZSTD: Final = 1
SEAL_NONE: Final = 0
SEAL_AES: Final = 1
SEAL_OVERHEAD: Final = 48
"""Bytes that sealing adds to a body: a salt before it, a tag behind it."""
COMPRESS_FROM: Final = 32 * 1024
"""Bodies below this size stay readable to the eye; above it they are compressed when that makes them smaller."""
MAX_WINDOW: Final = 128 * 1024 * 1024
MIB: Final = 1024 * 1024
ZSTD_BEST_RATIO: Final = 32 * 1024
"""A block of zstd takes four bytes or more and yields at most 128 KiB: memory is not asked for on a larger claim."""


class Kind(IntEnum):
    """What a document is."""

    REPOSITORY = 1
    COMMIT = 2
    FOOTER = 3
    AUDIT = 4
    RUN_HEADER = 5
    METADATA = 16
    GROUPS = 17
    OFFSET_MAP = 18
    INVENTORY = 19
    STANDING = 20
    SCHEMAS = 21
    CONNECTORS = 22
    STATE = 32
    KEY = 33


BODY_LIMITS: Final = {
    Kind.REPOSITORY: 64 * 1024,
    Kind.COMMIT: 16 * MIB,
    Kind.STATE: 16 * MIB,
    Kind.RUN_HEADER: 4096,
    Kind.KEY: 64 * 1024,
}
"""Largest body in bytes, before compression; `DEFAULT_LIMIT` for the kinds not named."""
DEFAULT_LIMIT: Final = 64 * MIB
NEVER_SEALED: Final = (Kind.REPOSITORY, Kind.KEY)
"""What has to be read before there is a key."""

DOCUMENT_KINDS: Final = {
    "metadata": Kind.METADATA,
    "groups": Kind.GROUPS,
    "offset-map": Kind.OFFSET_MAP,
    "inventory": Kind.INVENTORY,
    "standing": Kind.STANDING,
    "schemas": Kind.SCHEMAS,
    "connectors": Kind.CONNECTORS,
}
"""The kinds that live under `doc/`, by the names other rooms use."""

_ENCODER: Final = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False
)
"""No document holds itself: looking out for one that does would be a fifth of the time."""
_SURROGATE_ESCAPE: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u[dD][89a-fA-F]")


class TooLarge(ValueError):
    """A document over the limit of its kind, before anything was written."""


def body_limit(kind: Kind) -> int:
    """Largest body of this kind in bytes, before compression."""
    return BODY_LIMITS.get(kind, DEFAULT_LIMIT)


def object_limit(kind: Kind) -> int:
    """No stored object of this kind is larger: what a reader asks for at most, plus one byte to notice more."""
    return body_limit(kind) + OVERHEAD + SEAL_OVERHEAD


def canonical(value: object) -> bytes:
    """Canonical JSON. Raises ValueError for anything that is not null, bool, int, str, list, tuple or dict of those."""
    check_value(value)
    try:
        return _ENCODER.encode(value).encode()
    except (TypeError, RecursionError, UnicodeEncodeError) as error:
        raise ValueError(f"not a value for a document: {error}") from error


def parse_json(body: bytes, what: str) -> object:
    """Strict JSON: no duplicate keys, floats, NaN, bad UTF-8 or lone surrogates.

    Raises `CorruptObject` naming `what`.
    """
    try:
        if b"\\u" in body and _SURROGATE_ESCAPE.search(body):
            raise ValueError("surrogate escape")
        return _DECODER.decode(body.decode())
    except (ValueError, RecursionError) as error:
        raise CorruptObject(f"{what} is not valid JSON: {_short(error)}") from error


def parse_canonical(body: bytes) -> dict[str, object] | None:
    """The object whose canonical text this is: nothing of it has to be looked at by itself then. None for any other text, and
    for one with very long numbers; `parse_json` reads it, or says what is wrong.
    """
    try:
        value = _PLAIN_DECODER.decode(body.decode())
        same = type(value) is dict and _ENCODER.encode(value).encode() == body
    except (ValueError, RecursionError):
        return None
    return value if same and not may_hold_long_number(body) else None


def _short(error: Exception) -> str:
    # the decoder's own text never quotes the input, a Unicode error's does
    if isinstance(error, UnicodeDecodeError):
        return f"invalid UTF-8 at byte {error.start}"
    return "nested too deep" if isinstance(error, RecursionError) else str(error)[:200]


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"number that is not an integer: {text[:20]}")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_refuse_number, parse_constant=_refuse_number, strict=True
)
_PLAIN_DECODER: Final = json.JSONDecoder(parse_float=_refuse_number, parse_constant=_refuse_number, strict=True)


def digest(data: bytes | bytearray | memoryview) -> str:
    """BLAKE3-32 in hexadecimal."""
    return blake3(data).hexdigest()


def wrap(kind: Kind, value: object, seal: DocumentSeal | None = None, *, checked: bool = False) -> bytes:
    """The stored bytes of a document, sealed if there is something to seal it with. `checked`: nothing that documents
    cannot hold can be in the value, as in what comes out of other documents and was looked at there.

    Raises ValueError for a value that is not canonical JSON or too large.
    """
    body = _ENCODER.encode(value).encode() if checked else canonical(value)
    if len(body) > body_limit(kind):
        raise TooLarge(f"{kind.name.lower()} document of {len(body)} bytes is over the limit of {body_limit(kind)}")
    codec = CODEC_NONE
    if len(body) >= COMPRESS_FROM:
        packed = zstandard.ZstdCompressor(level=3).compress(body)
        if len(packed) < len(body) and decompress(packed, len(body), "a document") == body:
            codec, body = CODEC_ZSTD, packed
    if seal is None:
        whole = HEADER.pack(MAGIC, kind, codec, SEAL_NONE, len(body)) + body
    else:
        head = HEADER.pack(MAGIC, kind, codec, SEAL_AES, len(body) + SEAL_OVERHEAD)
        sealed = seal.seal(head, body)
        if seal.open(head, sealed, "a document just sealed") != body:
            raise CorruptionError("a document just sealed does not open to what went in; check this host's memory")
        whole = head + sealed
    return whole + blake3(whole).digest()


def unwrap(data: bytes | memoryview, kind: Kind, what: str, seal: DocumentSeal | None = None) -> object:
    """The value inside a stored document. Raises as `unwrap_text`, and `CorruptObject` for text that is not strict JSON."""
    return parse_json(unwrap_text(data, kind, what, seal), what)


def unwrap_text(data: bytes | memoryview, kind: Kind, what: str, seal: DocumentSeal | None = None) -> bytes:
    """The text inside a stored document, which must be sealed exactly when `seal` is given.

    Raises `CorruptObject` naming `what` when any byte is not as written or another kind of document lies there,
    `UnknownFormat` when it is intact but written in a way this version does not know, `KeyRefused` when it is sealed and
    `seal` is not given.
    """
    data = bytes(data)
    if len(data) < OVERHEAD or data[:3] != MAGIC[:3]:
        raise CorruptObject(f"{what} is not a kafkeep document ({len(data)} bytes)")
    magic, found, codec, sealed, length = HEADER.unpack_from(data)
    if length != len(data) - OVERHEAD:
        raise CorruptObject(f"{what} is {len(data)} bytes long, its header says {length + OVERHEAD}")
    if blake3(memoryview(data)[:-DIGEST_SIZE]).digest() != data[-DIGEST_SIZE:]:
        raise CorruptObject(f"{what} does not match its own digest")
    if magic != MAGIC or sealed not in (SEAL_NONE, SEAL_AES) or codec not in (CODEC_NONE, CODEC_ZSTD):
        raise UnknownFormat(f"{what} is written as {magic!r} with codec {codec} and seal {sealed}, unknown here")
    if found != kind:
        raise CorruptObject(f"{what} holds a document of kind {found} where kind {int(kind)} belongs")
    body = data[HEADER.size : -DIGEST_SIZE]
    if sealed == SEAL_AES and kind in NEVER_SEALED:
        raise CorruptObject(f"{what} is sealed, which no document of kind {int(kind)} is")
    if sealed == SEAL_AES and seal is None:
        raise KeyRefused(f"{what} is sealed, and no key was given")
    if seal is not None:
        if sealed != SEAL_AES:
            raise CorruptObject(f"{what} is not sealed, in a repository that is encrypted")
        body = seal.open(data[: HEADER.size], body, what)
    if codec == CODEC_ZSTD:
        body = decompress(body, body_limit(kind), what, exact=False)
    if len(body) > body_limit(kind):
        raise CorruptObject(f"{what} is over the limit of {body_limit(kind)} bytes")
    return body


def decompress(data: bytes | memoryview, size: int, what: str, *, exact: bool = True) -> bytes:
    """Open one zstd frame of exactly (or at most) `size` bytes. Raises `CorruptObject` naming `what`.

    The frame must declare its content size: a decoder that trusts an undeclared or lying one can be made to fill the
    memory from a few kilobytes.
    """
    try:
        declared = zstandard.frame_content_size(data)
        if not 0 <= declared <= size or (exact and declared != size):
            raise CorruptObject(f"{what} declares {declared} bytes where {size} belong")
        if declared == 0:
            raise CorruptObject(f"{what} is an empty frame")
        if declared > ZSTD_BEST_RATIO * len(data):
            raise CorruptObject(f"{what} declares {declared} bytes in a frame of {len(data)}")
        opened = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CorruptObject(f"{what} cannot be decompressed: {error}") from error
    if len(opened) != declared:
        raise CorruptObject(f"{what} holds {len(opened)} bytes where {declared} belong")
    return opened

"""The bytes of a pack around its chunks: header, run headers, footer, trailer. Pure.

header     "KKP1" | version u16 | flags u16 | repository id 16 | epoch u32 | header length u32 | CRC-32C of these
run 0..n   run header "KKR1" | length u32 | canonical JSON | CRC-32C of these; then chunk 0..m
footer     a KKD1 document of kind FOOTER
trailer    footer position u64 | footer length u32 | root 32 | "KKPE"

root = BLAKE3-32(header | footer): the footer holds the digest of every chunk and gives every run header, so that
the root, which names the pack and stands in its commit, vouches for every byte.

In a sealed pack the body of each run header is a sealed KKD1 document of kind RUN_HEADER, the footer is sealed, and so is
each chunk, under a key of its run.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from blake3 import blake3
from fastcrc import crc32

from kafkeep.errors import CorruptObject, UnknownFormat
from kafkeep.model import ChunkRef, Generation, OffsetRange, RunFacts
from kafkeep.records import dataclass
from kafkeep.repository import nouns
from kafkeep.repository.envelope import Kind, canonical, object_limit, unwrap, wrap
from kafkeep.repository.nouns import Malformed, fields, hexadecimal, integer, items

if TYPE_CHECKING:
    from kafkeep.repository.sealing import DocumentSeal

PACK_MAGIC: Final = b"KKP1"
RUN_MAGIC: Final = b"KKR1"
END_MAGIC: Final = b"KKPE"
PACK_VERSION: Final = 1
FLAG_SEALED: Final = 1

_HEADER: Final = struct.Struct("<4sHH16sII")
_RUN_HEADER: Final = struct.Struct("<4sI")
_TRAILER: Final = struct.Struct("<QI32s4s")
_CRC: Final = struct.Struct("<I")
_SEAL_DIGITS: Final = {"topic_key": 32, "data_key": 160, "salt": 64, "commitment": 64}
HEADER_SIZE: Final = _HEADER.size + _CRC.size
TRAILER_SIZE: Final = _TRAILER.size


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSeal:
    """What the footer says of a sealed run's key; it is of no use without the topic key. All in hexadecimal."""

    topic_key: str
    """32 digits: which topic key opens `data_key`."""
    data_key: str
    """160 digits: the data key, wrapped for the topic key."""
    salt: str
    """64 digits, random: the run's own part of its key."""
    commitment: str
    """64 digits: tells the right key from one that opens the same bytes to something else."""


@dataclass(frozen=True, slots=True)
class RunIndex:
    """A run as the footer has it."""

    facts: RunFacts
    position: int
    """Of its run header."""
    chunks: tuple[ChunkRef, ...]
    seal: RunSeal | None = None
    """None in a repository that is not encrypted."""


@dataclass(frozen=True, slots=True)
class Footer:
    """All that a pack's footer says, and where the footer lies."""

    runs: tuple[RunIndex, ...]
    position: int
    length: int


def _with_crc(data: bytes) -> bytes:
    return data + _CRC.pack(crc32.iscsi(data))


def encode_header(repository_id: str, epoch: int, *, sealed: bool = False) -> bytes:
    """The first bytes of a pack."""
    flags = FLAG_SEALED if sealed else 0
    return _with_crc(_HEADER.pack(PACK_MAGIC, PACK_VERSION, flags, bytes.fromhex(repository_id), epoch, HEADER_SIZE))


def check_header(data: bytes, repository_id: str, epoch: int, what: str, *, sealed: bool = False) -> None:
    """Raises `CorruptObject` unless `data` is the header of a pack of this repository and epoch."""
    if len(data) != HEADER_SIZE or _CRC.unpack(data[-4:])[0] != crc32.iscsi(data[:-4]):
        raise CorruptObject(f"{what}: the header does not match its checksum")
    magic, version, flags, *_ = _HEADER.unpack_from(data)
    if magic == PACK_MAGIC and (version != PACK_VERSION or flags not in (0, FLAG_SEALED)):
        raise UnknownFormat(f"{what}: version {version} with flags {flags} is unknown here")
    if data != encode_header(repository_id, epoch, sealed=sealed):
        raise CorruptObject(f"{what}: the header is not that of a pack of this repository at epoch {epoch}")


def encode_run_header(index: int, generation: Generation, start: int, seal: DocumentSeal | None = None) -> bytes:
    """What stands before a run's chunks; everything in it also stands in the footer."""
    value = {"from": start, "generation": nouns.encode_generation(generation), "run": index}
    body = canonical(value) if seal is None else wrap(Kind.RUN_HEADER, value, seal)
    return _with_crc(_RUN_HEADER.pack(RUN_MAGIC, len(body)) + body)


def encode_trailer(position: int, length: int, root: bytes) -> bytes:
    """The last bytes of a pack."""
    return _TRAILER.pack(position, length, root, END_MAGIC)


def decode_trailer(data: bytes, size: int, what: str) -> tuple[int, int, str]:
    """Footer position, footer length and root of a pack of `size` bytes. Raises `CorruptObject`."""
    if len(data) != TRAILER_SIZE or data[-4:] != END_MAGIC:
        raise CorruptObject(f"{what}: the trailer is missing")
    position, length, root, _ = _TRAILER.unpack(data)
    if position < HEADER_SIZE or position + length + TRAILER_SIZE != size or length > object_limit(Kind.FOOTER):
        raise CorruptObject(f"{what}: the trailer does not fit a pack of {size} bytes")
    return position, length, root.hex()


def pack_root(header: bytes, footer: bytes) -> bytes:
    """The root digest."""
    return blake3(header + footer).digest()


def run_digest(chunks: Sequence[ChunkRef]) -> str:
    """Digest of a run: over the digests of its chunks in order, hexadecimal."""
    return blake3(b"".join(bytes.fromhex(chunk.blake3) for chunk in chunks)).hexdigest()


def encode_footer(runs: Sequence[RunIndex], seal: DocumentSeal | None = None) -> bytes:
    """The stored bytes of the footer."""
    return wrap(Kind.FOOTER, {"runs": [_encode_run(run) for run in runs]}, seal)


def _encode_run(run: RunIndex) -> dict[str, object]:
    chunks = [
        [
            chunk.position,
            chunk.stored_length,
            chunk.raw_length,
            chunk.codec,
            chunk.offsets.start,
            chunk.offsets.stop,
            chunk.max_timestamp,
            chunk.batches,
            chunk.records,
            chunk.blake3,
        ]
        for chunk in run.chunks
    ]
    sealed = {} if run.seal is None else {"seal": {name: getattr(run.seal, name) for name in _SEAL_DIGITS}}
    return nouns.encode_facts(run.facts) | {"chunks": chunks, "position": run.position} | sealed


def decode_footer(data: bytes, position: int, what: str, seal: DocumentSeal | None = None) -> Footer:
    """Raises `CorruptObject` unless the runs and chunks of the footer fill the pack up to `position` without a hole."""
    value = unwrap(data, Kind.FOOTER, what, seal)
    try:
        runs = nouns.decode_with(lambda found: items(fields(found, what)["runs"], "runs", _decode_run), value, what)
    except Malformed as error:
        raise CorruptObject(f"{what} is malformed: {error}") from error
    if any((run.seal is None) != (seal is None) for run in runs):
        raise CorruptObject(f"{what}: sealed runs belong to encrypted repositories and others do not")
    _check_places(runs, position, what, seal)
    return Footer(runs, position, len(data))


def _decode_run(value: object) -> RunIndex:
    run = fields(value, "run")
    return RunIndex(
        nouns.decode_facts(run),
        integer(run["position"], "position"),
        items(run["chunks"], "chunks", _decode_chunk),
        _decode_seal(run["seal"]) if "seal" in run else None,
    )


def _decode_seal(value: object) -> RunSeal:
    found = fields(value, "seal")
    return RunSeal(**{name: hexadecimal(found[name], name, digits) for name, digits in _SEAL_DIGITS.items()})


def _decode_chunk(value: Any) -> ChunkRef:
    if type(value) is not list or len(value) != 10:
        raise Malformed("chunk is not a row of 10")
    return ChunkRef(
        integer(value[0], "position"),
        integer(value[1], "stored length", 1),
        integer(value[2], "raw length", 1, 2**32),
        integer(value[3], "chunk codec", 0, 255),
        OffsetRange(integer(value[4], "first offset"), integer(value[5], "stop offset")),
        integer(value[6], "max timestamp", -(2**63)),
        integer(value[7], "batches", 1),
        integer(value[8], "records"),
        hexadecimal(value[9], "chunk digest", 64),
    )


def _check_places(runs: Sequence[RunIndex], position: int, what: str, seal: DocumentSeal | None) -> None:
    """Every byte before the footer belongs to the header, a run header or a chunk, in the order of the footer."""
    place = HEADER_SIZE
    for index, run in enumerate(runs):
        if run.position != place:
            raise CorruptObject(f"{what}: run {index} is said to lie at {run.position}, not at {place}")
        place += len(encode_run_header(index, run.facts.generation, run.facts.coverage.start, seal))
        for chunk in run.chunks:
            if chunk.position != place:
                raise CorruptObject(f"{what}: a chunk of run {index} is said to be at {chunk.position}, not at {place}")
            place += chunk.stored_length
        if run_digest(run.chunks) != run.facts.blake3:
            raise CorruptObject(f"{what}: run {index} does not match the digests of its chunks")
    if place != position:
        raise CorruptObject(f"{what}: the runs end at {place}, the footer lies at {position}")

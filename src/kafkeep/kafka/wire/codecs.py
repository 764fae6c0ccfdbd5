"""The codecs inside record batches, each with a bound on what it may unpack. Pure.

Nothing a payload declares about its own size is trusted: output is made piece by piece against the caller's budget.
Formats: clients/common/compress of Apache Kafka (gzip; Snappy in Xerial's framing; LZ4 frames; Zstandard frames).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Final

import cramjam
import zstandard

from kafkeep.errors import CorruptBatch

NONE: Final = 0
GZIP: Final = 1
SNAPPY: Final = 2
LZ4: Final = 3
ZSTD: Final = 4

_PIECE: Final = 256 * 1024
_I32: Final = struct.Struct(">i")
_U32_LITTLE: Final = struct.Struct("<I")

_GZIP_WINDOW: Final = 31
_GZIP_FED: Final = 8 * 1024
"""zlib copies what it was fed and did not use: all that is left would make many small members take quadratic time."""
_GZIP_LEVEL: Final = 6

_XERIAL_MAGIC: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER: Final = _XERIAL_MAGIC + struct.pack(">ii", 1, 1)
_XERIAL_BLOCK: Final = 32 * 1024
_SNAPPY_BEST_RATIO: Final = 64
"""One Snappy element of two bytes or more yields at most 64 bytes."""

_LZ4_MAGIC: Final = b"\x04\x22\x4d\x18"
_LZ4_HEADER: Final = _LZ4_MAGIC + b"\x60\x40\x82"
"""Version 1, independent blocks, no checksums, blocks of up to 64 KiB, and the header checksum of just that."""
_LZ4_BLOCK: Final = 64 * 1024
_LZ4_BLOCK_SIZES: Final = {4: 64 * 1024, 5: 256 * 1024, 6: 1024 * 1024, 7: 4 * 1024 * 1024}
_LZ4_STORED: Final = 0x80000000

_ZSTD_LEVEL: Final = 3
_ZSTD_LARGEST_WINDOW: Final = 1 << 27
"""What zstd-jni accepts in Kafka's own clients."""


def decompress(codec: int, payload: memoryview, max_bytes: int) -> bytes:
    """The records behind a compressed payload.

    Raises:
        CorruptBatch: when the payload is damaged, its codec unknown, or more than `max_bytes` would come out.
    """
    if codec == NONE:
        return bytes(payload)
    unpack = _DECOMPRESSORS.get(codec)
    if unpack is None:
        raise CorruptBatch(f"unknown codec {codec}")
    out = bytearray()
    unpack(payload, out, max_bytes)
    return bytes(out)


def compress(codec: int, records: bytes) -> bytes:
    """The payload Kafka's own clients and brokers read; the codec is one of 0 to 4, anything else a ValueError."""
    if codec == NONE:
        return records
    pack = _COMPRESSORS.get(codec)
    if pack is None:
        raise ValueError(f"unknown codec {codec}")
    return pack(records)


def _room(out: bytearray, more: int, max_bytes: int) -> None:
    if len(out) + more > max_bytes:
        raise CorruptBatch(f"more than {max_bytes} bytes come out of a compressed payload")


def _at(payload: memoryview, position: int, magic: bytes) -> bool:
    return bytes(payload[position : position + len(magic)]) == magic


def _gunzip(payload: memoryview, out: bytearray, max_bytes: int) -> None:
    position = 0
    while position < len(payload):  # a gzip stream may consist of several members
        member = zlib.decompressobj(_GZIP_WINDOW)
        try:
            while not member.eof:
                fed = payload[position : position + _GZIP_FED]
                piece = member.decompress(fed, _PIECE)
                position += len(fed) - len(member.unconsumed_tail) - len(member.unused_data)
                if not piece and not fed and not member.eof:
                    raise CorruptBatch("a gzip payload ends early")
                _room(out, len(piece), max_bytes)
                out += piece
        except zlib.error as error:
            raise CorruptBatch("a gzip payload is damaged") from error


def _gzip(records: bytes) -> bytes:
    return zlib.compress(records, _GZIP_LEVEL, _GZIP_WINDOW)


def _unsnappy(payload: memoryview, out: bytearray, max_bytes: int) -> None:
    if not _at(payload, 0, _XERIAL_MAGIC):
        _unsnappy_block(payload, out, max_bytes)
        return
    position = 0
    while position < len(payload):
        if _at(payload, position, _XERIAL_MAGIC):  # streams may be concatenated
            position += len(_XERIAL_HEADER)
            continue
        if position + _I32.size > len(payload):
            raise CorruptBatch("a snappy payload ends early")
        size = _I32.unpack_from(payload, position)[0]
        position += _I32.size
        if not 0 <= size <= len(payload) - position:
            raise CorruptBatch(f"a snappy block of {size} bytes with {len(payload) - position} left")
        _unsnappy_block(payload[position : position + size], out, max_bytes)
        position += size


def _unsnappy_block(block: memoryview, out: bytearray, max_bytes: int) -> None:
    try:
        declared = cramjam.snappy.decompress_raw_len(block)
        if declared > _SNAPPY_BEST_RATIO * len(block):
            raise CorruptBatch(f"a snappy block of {len(block)} bytes claims to hold {declared}")
        _room(out, declared, max_bytes)
        out += cramjam.snappy.decompress_raw(block)
    except cramjam.DecompressionError as error:
        raise CorruptBatch("a snappy payload is damaged") from error


def _snappy(records: bytes) -> bytes:
    out = bytearray(_XERIAL_HEADER)
    for start in range(0, len(records), _XERIAL_BLOCK):
        block = bytes(cramjam.snappy.compress_raw(records[start : start + _XERIAL_BLOCK]))
        out += _I32.pack(len(block)) + block
    return bytes(out)


def _unlz4(payload: memoryview, out: bytearray, max_bytes: int) -> None:
    """LZ4 frames. Their checksums are passed over: the batch's CRC covers the same, and those of magic 0 are wrong."""
    position = 0
    scratch = bytearray()
    while position < len(payload):
        position, flags, block_size = _lz4_header(payload, position)
        while True:
            size = _lz4_u32(payload, position)
            position += _U32_LITTLE.size
            if size == 0:
                break
            stored, size = size & _LZ4_STORED, size & ~_LZ4_STORED
            if size > min(block_size, len(payload) - position):
                raise CorruptBatch(f"an lz4 block of {size} bytes with {len(payload) - position} left")
            block: memoryview = payload[position : position + size]
            if not stored:
                if len(scratch) < block_size:  # not for each frame: frames may be tiny and many
                    scratch = bytearray(block_size)
                block = _unlz4_block(block, memoryview(scratch)[:block_size])
            _room(out, len(block), max_bytes)
            out += block
            position += size + (_U32_LITTLE.size if flags & 0x10 else 0)
        position += _U32_LITTLE.size if flags & 0x04 else 0


def _lz4_header(payload: memoryview, position: int) -> tuple[int, int, int]:
    """Where the first block of the frame at `position` begins, the frame's flags and its largest block."""
    if len(payload) - position < len(_LZ4_HEADER) or not _at(payload, position, _LZ4_MAGIC):
        raise CorruptBatch("an lz4 payload is damaged: no frame where one must begin")
    flags, descriptor = payload[position + 4], payload[position + 5]
    block_size = _LZ4_BLOCK_SIZES.get((descriptor >> 4) & 0x07)
    # As in Kafka's KafkaLZ4BlockInputStream: version 1, independent blocks; a dictionary could not be had anyway.
    if flags >> 6 != 1 or not flags & 0x20 or flags & 0x01 or block_size is None:
        raise CorruptBatch(f"an lz4 frame of a kind Kafka does not use (flags {flags:#x}, descriptor {descriptor:#x})")
    return position + len(_LZ4_HEADER) + (8 if flags & 0x08 else 0), flags, block_size


def _lz4_u32(payload: memoryview, position: int) -> int:
    if position + _U32_LITTLE.size > len(payload):
        raise CorruptBatch("an lz4 payload ends early")
    value: int = _U32_LITTLE.unpack_from(payload, position)[0]
    return value


def _unlz4_block(block: memoryview, scratch: memoryview) -> memoryview:
    try:
        # Without a length cramjam takes the block's first four bytes for one whenever that leads anywhere.
        size = cramjam.lz4.decompress_block_into(block, scratch, output_len=len(scratch))
    except cramjam.DecompressionError as error:
        raise CorruptBatch("an lz4 payload is damaged") from error
    return scratch[:size]


def _lz4(records: bytes) -> bytes:
    out = bytearray(_LZ4_HEADER)
    for start in range(0, len(records), _LZ4_BLOCK):
        plain = records[start : start + _LZ4_BLOCK]
        block = bytes(cramjam.lz4.compress_block(plain, store_size=False))
        if len(block) < len(plain):
            out += _U32_LITTLE.pack(len(block)) + block
        else:
            out += _U32_LITTLE.pack(len(plain) | _LZ4_STORED) + plain
    return bytes(out + bytes(4))


def _unzstd(payload: memoryview, out: bytearray, max_bytes: int) -> None:
    unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_LARGEST_WINDOW)
    try:
        with unpacker.stream_reader(payload, read_across_frames=True) as reader:
            while piece := reader.read(_PIECE):
                _room(out, len(piece), max_bytes)
                out += piece
    except (zstandard.ZstdError, MemoryError) as error:
        raise CorruptBatch("a zstd payload is damaged, or its window is larger than Kafka's") from error


def _zstd(records: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(records)


_DECOMPRESSORS: Final[dict[int, Callable[[memoryview, bytearray, int], None]]] = {
    GZIP: _gunzip,
    SNAPPY: _unsnappy,
    LZ4: _unlz4,
    ZSTD: _unzstd,
}
_COMPRESSORS: Final[dict[int, Callable[[bytes], bytes]]] = {GZIP: _gzip, SNAPPY: _snappy, LZ4: _lz4, ZSTD: _zstd}

"""Payloads that lie about themselves (row P4): nothing is unpacked beyond the budget."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cramjam
import pytest
import zstandard
from tests.support.batches import patched

from kafkeep.errors import CorruptBatch
from kafkeep.kafka.wire.batch import walk
from kafkeep.kafka.wire.codecs import GZIP, LZ4, NONE, SNAPPY, ZSTD, compress, decompress
from kafkeep.kafka.wire.records import Record, decode, encode

MIB = 1024 * 1024
XERIAL = b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1)
CODECS = {"gzip": GZIP, "snappy": SNAPPY, "lz4": LZ4, "zstd": ZSTD}


def unpack(codec: int, payload: bytes, budget: int = MIB) -> bytes:
    return decompress(codec, memoryview(payload), budget)


def test_an_lz4_block_that_begins_like_a_length() -> None:
    """Twelve bytes as they are; without the first four bytes it would be a block of eight."""
    block = bytes((0xC0, 0xA0, 0, 0, 0x80)) + b"12345678"
    framed = lz4_frame(0x60, 0x40, struct.pack("<I", len(block)) + block)
    assert unpack(LZ4, framed) == bytes((0xA0, 0, 0, 0x80)) + b"12345678"


@pytest.mark.parametrize("codec", [NONE, *CODECS.values()])
@pytest.mark.parametrize("size", [0, 1, 100, 32 * 1024, 64 * 1024, 64 * 1024 + 1, 300_000])
def test_there_and_back(codec: int, size: int) -> None:
    for data in (bytes(size), bytes(range(256)) * (size // 256 + 1)):
        assert unpack(codec, compress(codec, data[:size])) == data[:size]


def test_other_programs_formats() -> None:
    data = b"some text, some text, some text" * 3000
    blocks = [data[start : start + 40_000] for start in range(0, len(data), 40_000)]
    snappy = [bytes(cramjam.snappy.compress_raw(block)) for block in blocks]
    assert unpack(SNAPPY, bytes(cramjam.snappy.compress_raw(data))) == data
    assert unpack(SNAPPY, b"".join(XERIAL + struct.pack(">i", len(block)) + block for block in snappy)) == data
    assert unpack(GZIP, b"".join(zlib.compress(block, wbits=31) for block in blocks)) == data
    assert unpack(ZSTD, b"".join(zstandard.ZstdCompressor().compress(block) for block in blocks)) == data
    assert unpack(LZ4, b"".join(compress(LZ4, block) for block in blocks)) == data


def lz4_frame(flags: int, descriptor: int, *blocks: bytes, extra: bytes = b"") -> bytes:
    return b"\x04\x22\x4d\x18" + bytes((flags, descriptor)) + extra + b"\x00" + b"".join(blocks) + bytes(4)


def lz4_stored(data: bytes, checksum: bytes = b"") -> bytes:
    return struct.pack("<I", len(data) | 0x80000000) + data + checksum


def test_lz4_frames_with_every_option_kafka_reads() -> None:
    assert unpack(LZ4, lz4_frame(0x60, 0x70, lz4_stored(b"x" * 100_000))) == b"x" * 100_000
    assert unpack(LZ4, lz4_frame(0x70, 0x40, lz4_stored(b"ab", b"sums"), lz4_stored(b"c", b"sums"))) == b"abc"
    assert unpack(LZ4, lz4_frame(0x64, 0x40, lz4_stored(b"ab")) + b"sums") == b"ab"
    assert unpack(LZ4, lz4_frame(0x68, 0x40, lz4_stored(b"ab"), extra=bytes(8))) == b"ab"


def snappy_claiming(size: int) -> bytes:
    out = bytearray()
    while size > 0x7F:
        out.append(0x80 | size & 0x7F)
        size >>= 7
    return bytes((*out, size))


ZEROS = bytes(64 * MIB)
BOMBS = {
    "gzip": (GZIP, zlib.compress(ZEROS, wbits=31)),
    "gzip in members": (GZIP, zlib.compress(bytes(MIB // 2), wbits=31) * 64),
    "gzip declaring little": (GZIP, zlib.compress(ZEROS, wbits=31)[:-4] + struct.pack("<I", 10)),
    "snappy": (SNAPPY, bytes(cramjam.snappy.compress_raw(ZEROS))),
    "snappy in blocks": (SNAPPY, compress(SNAPPY, ZEROS)),
    "snappy declaring 4 GiB": (SNAPPY, snappy_claiming(2**32 - 1) + b"\x00a"),
    "snappy declaring 1 GiB in a block": (SNAPPY, XERIAL + struct.pack(">i", 7) + snappy_claiming(2**30) + b"\x00a"),
    "lz4": (LZ4, compress(LZ4, ZEROS)),
    "lz4 in frames": (LZ4, compress(LZ4, bytes(MIB // 2)) * 64),
    "zstd": (ZSTD, zstandard.ZstdCompressor(level=1).compress(ZEROS)),
    "zstd without its size": (ZSTD, zstandard.ZstdCompressor(level=1, write_content_size=False).compress(ZEROS)),
    "zstd in frames": (ZSTD, zstandard.ZstdCompressor().compress(bytes(MIB // 2)) * 64),
    "zstd window of 2 GiB": (ZSTD, b"\x28\xb5\x2f\xfd\x00" + bytes(((31 - 10) << 3,)) + b"\x01\x00\x00"),
}


def peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.fault("P4")
def test_bombs_stay_within_the_budget(name: str) -> None:
    codec, payload = BOMBS[name]
    Path("/proc/self/clear_refs").write_text("5")  # the kernel forgets the peak
    before = peak_bytes()
    with pytest.raises(CorruptBatch):
        unpack(codec, payload)
    assert peak_bytes() - before < 16 * MIB


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())
@pytest.mark.fault("P4")
def test_the_budget_is_exact(codec: int) -> None:
    payload = compress(codec, bytes(MIB))
    assert len(unpack(codec, payload, MIB)) == MIB
    with pytest.raises(CorruptBatch, match="more than 1048575 bytes"):
        unpack(codec, payload, MIB - 1)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())
@pytest.mark.fault("P4")
def test_a_bomb_inside_a_batch(codec: int) -> None:
    batch = memoryview(encode([Record(0, 0, None, ZEROS[: 4 * MIB], ())], codec=codec))
    info = walk(batch)[0][0]
    with pytest.raises(CorruptBatch, match="batch at offset 0: "):
        decode(batch, info, max_bytes=MIB)
    assert len(decode(batch, info, max_bytes=5 * MIB)[0].value or b"") == 4 * MIB


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())
@pytest.mark.fault("P4")
def test_a_payload_compressed_twice_is_unpacked_once(codec: int) -> None:
    inner = compress(codec, ZEROS[:MIB])
    batch = memoryview(patched(encode([Record(0, 0, None, inner, ())], codec=codec)))
    assert decode(batch, walk(batch)[0][0])[0].value == inner


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())
def test_damaged_payloads(codec: int) -> None:
    """Every truncation and every flipped byte is unpacked, or refused in the one way; never anything else."""
    data = bytes(range(200)) * 5
    payload = compress(codec, data)
    for cut in range(1, len(payload)):
        try:
            assert data.startswith(unpack(codec, payload[:cut]))
        except CorruptBatch:
            continue
    for position in range(len(payload)):
        broken = bytearray(payload)
        broken[position] ^= 0xFF
        try:
            unpack(codec, bytes(broken))
        except CorruptBatch:
            continue


@pytest.mark.parametrize(
    ("codec", "payload"),
    [
        (GZIP, zlib.compress(b"abc", wbits=31)[:-1]),
        (GZIP, b"not gzip"),
        (SNAPPY, XERIAL + b"\x00"),
        (SNAPPY, XERIAL + struct.pack(">i", -1)),
        (SNAPPY, XERIAL + struct.pack(">i", 10) + b"abc"),
        (SNAPPY, b""),
        (LZ4, b"\x04\x22\x4d"),
        (LZ4, b"\x00" * 20),
        (LZ4, lz4_frame(0x40, 0x40, lz4_stored(b"linked blocks"))),
        (LZ4, lz4_frame(0x61, 0x40, lz4_stored(b"dictionary"))),
        (LZ4, lz4_frame(0xA0, 0x40, lz4_stored(b"version 2"))),
        (LZ4, lz4_frame(0x60, 0x30, lz4_stored(b"unknown block size"))),
        (LZ4, lz4_frame(0x60, 0x40, struct.pack("<I", 70_000) + bytes(70_000))),
        (LZ4, lz4_frame(0x60, 0x40, lz4_stored(b"x" * 70_000))),
        (LZ4, lz4_frame(0x60, 0x40, lz4_stored(b"abc"))[:-4]),
        (LZ4, lz4_frame(0x60, 0x40, struct.pack("<I", 50) + b"abc")),
        (ZSTD, b"not zstd at all"),
        (5, b"abc"),
    ],
)
def test_refused_payloads(codec: int, payload: bytes) -> None:
    with pytest.raises(CorruptBatch):
        unpack(codec, payload)


@pytest.mark.fault("P4")
def test_a_snappy_claim_within_the_budget_is_not_believed_either() -> None:
    with pytest.raises(CorruptBatch, match="a snappy block of 6 bytes claims to hold 209715200"):
        unpack(SNAPPY, snappy_claiming(200 * MIB) + b"\x00a", 256 * MIB)


@pytest.mark.fault("P4")
def test_a_zstd_window_larger_than_kafkas_is_refused() -> None:
    for window_log, readable in ((27, True), (28, False)):
        parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=window_log)
        packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        payload = packer.compress(b"abc") + packer.flush()
        if readable:
            assert unpack(ZSTD, payload) == b"abc"
        else:
            with pytest.raises(CorruptBatch, match="its window is larger"):
                unpack(ZSTD, payload)

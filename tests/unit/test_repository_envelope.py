"""KKD1: strict on every byte, bounded in what it opens."""

from __future__ import annotations

import time

import pytest
import zstandard
from blake3 import blake3

from kafkeep.errors import CorruptObject, UnknownFormat
from kafkeep.repository.envelope import (
    COMPRESS_FROM,
    HEADER,
    MIB,
    OVERHEAD,
    Kind,
    canonical,
    decompress,
    parse_json,
    unwrap,
    wrap,
)


def raw(body: bytes, *, magic: bytes = b"KKD1", kind: int = 2, codec: int = 0, seal: int = 0) -> bytes:
    head = HEADER.pack(magic, kind, codec, seal, len(body)) + body
    return head + blake3(head).digest()


def test_the_bytes_of_a_document_are_as_documented() -> None:
    data = wrap(Kind.COMMIT, {"b": [1, None, True], "a": "é"})
    body = '{"a":"é","b":[1,null,true]}'.encode()
    assert (
        data == b"KKD1\x02\x00\x00" + len(body).to_bytes(4, "little") + body + blake3(data[: len(body) + 11]).digest()
    )
    assert len(data) == len(body) + OVERHEAD
    assert unwrap(data, Kind.COMMIT, "it") == {"a": "é", "b": [1, None, True]}


def test_large_bodies_are_compressed_and_small_ones_readable() -> None:
    small, large = {"a": "x" * (COMPRESS_FROM - 20)}, {"a": "x" * COMPRESS_FROM}
    assert wrap(Kind.COMMIT, small)[5] == 0
    assert wrap(Kind.COMMIT, large)[5] == 1
    assert len(wrap(Kind.COMMIT, large)) < 200
    assert unwrap(wrap(Kind.COMMIT, large), Kind.COMMIT, "it") == large


def test_every_single_byte_flip_and_every_length_is_refused() -> None:
    for value in ({"a": [1, 2, 3], "text": "words"}, {"a": "x" * COMPRESS_FROM}):
        data = wrap(Kind.COMMIT, value)
        for place in range(len(data)):
            for mask in (0x01, 0x80, 0xFF):
                damaged = bytearray(data)
                damaged[place] ^= mask
                with pytest.raises(CorruptObject, match="it "):
                    unwrap(bytes(damaged), Kind.COMMIT, "it")
        for length in range(len(data)):
            with pytest.raises(CorruptObject):
                unwrap(data[:length], Kind.COMMIT, "it")
        with pytest.raises(CorruptObject):
            unwrap(data + b"\0", Kind.COMMIT, "it")


def test_another_kind_of_document_is_refused() -> None:
    with pytest.raises(CorruptObject, match="kind 3 where kind 2 belongs"):
        unwrap(wrap(Kind.FOOTER, {}), Kind.COMMIT, "it")


@pytest.mark.parametrize("change", [{"seal": 2}, {"codec": 2}, {"magic": b"KKD2"}])
def test_an_intact_document_of_a_later_format_is_unknown_not_corrupt(change: dict[str, int]) -> None:
    with pytest.raises(UnknownFormat):
        unwrap(raw(b"{}", **change), Kind.COMMIT, "it")  # type: ignore[arg-type]


HOSTILE = {
    "deep list": b"[" * 100_000,
    "deep object": b'{"a":' * 100_000,
    "deep and closed": b"[" * 100_000 + b"]" * 100_000,
    "duplicate key": b'{"a":1,"b":2,"a":1}',
    "not a number": b'{"a":NaN}',
    "infinity": b'{"a":-Infinity}',
    "float": b'{"a":1.0}',
    "exponent": b'{"a":1e3}',
    "long number": b'{"a":' + b"9" * 10**7 + b"}",
    "invalid utf-8": b'{"a":"\xff\xfe"}',
    "overlong utf-8": b'{"a":"\xc0\x80"}',
    "encoded surrogate": b'{"a":"\xed\xa0\x80"}',
    "escaped surrogate": b'{"a":"\\ud800"}',
    "escaped surrogate after a backslash": b'{"a":"\\\\\\uDFFF"}',
    "trailing bytes": b'{"a":1} x',
    "two values": b"{}{}",
    "empty": b"",
    "control character": b'{"a":"\x00"}',
    "unquoted": b"{a:1}",
    "single quotes": b"{'a':1}",
    "byte order mark": b"\xef\xbb\xbf{}",
    "comment": b"{} // x",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.fault("P6")
def test_hostile_json_is_refused_at_once(name: str) -> None:
    began = time.process_time()
    with pytest.raises(CorruptObject, match="not valid JSON"):
        unwrap(raw(HOSTILE[name]), Kind.COMMIT, "it")
    assert time.process_time() - began < 1


def test_an_escaped_backslash_before_u_is_no_surrogate() -> None:
    assert parse_json(b'"\\\\ud800"', "it") == "\\ud800"


def test_a_body_over_its_limit_is_refused_on_both_sides() -> None:
    body = canonical({"a": "x" * (16 * MIB)})
    with pytest.raises(ValueError, match="over the limit"):
        wrap(Kind.COMMIT, {"a": "x" * (16 * MIB)})
    with pytest.raises(CorruptObject, match="over the limit"):
        unwrap(raw(body), Kind.COMMIT, "it")
    packed = zstandard.ZstdCompressor().compress(body)
    with pytest.raises(CorruptObject, match="declares"):
        unwrap(raw(packed, codec=1), Kind.COMMIT, "it")


@pytest.mark.fault("P4")
def test_decompression_never_takes_more_than_its_budget() -> None:
    zeros = zstandard.ZstdCompressor().compress(b"\0" * (64 * MIB))
    undeclared = zstandard.ZstdCompressor(write_content_size=False).compress(b"\0" * 1000)
    honest = zstandard.ZstdCompressor().compress(b"\0" * 1000)
    for data, size in (
        (zeros, MIB),
        (undeclared, 1000),
        (honest, 999),
        (honest, 1001),
        (honest + b"x", 1000),
        (honest + honest, 1000),
        (honest[:-1], 1000),
        (b"", 0),
        (b"\0" * 50, 50),
    ):
        with pytest.raises(CorruptObject, match="it "):
            decompress(data, size, "it")
    assert decompress(honest, 1000, "it") == b"\0" * 1000


@pytest.mark.parametrize(
    "value", [1.5, float("nan"), {1: 2}, b"x", object(), {"a": {1, 2}}, "\ud800", 2**64, [[[(1.0,)]]]]
)
def test_what_is_not_canonical_json_is_not_written(value: object) -> None:
    with pytest.raises(ValueError):
        canonical(value)


def test_canonical_json_has_one_form() -> None:
    assert canonical({"b": 1, "a": (2, "\n\u2028\x7f\\")}) == '{"a":[2,"\\n\u2028\x7f\\\\"],"b":1}'.encode()
    assert canonical({"": -(2**63), "\U0001f600": 2**63 - 1}) == (
        '{"":-9223372036854775808,"\U0001f600":9223372036854775807}'.encode()
    )

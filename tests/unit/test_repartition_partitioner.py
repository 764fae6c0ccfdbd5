"""Kafka's murmur2 and the partition of a key, against Kafka's own test vectors and a plain port of its code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkeep.errors import CorruptBatch
from kafkeep.kafka.wire.records import body_of
from kafkeep.repartition.partitioner import key_of, murmur2, partition_of

VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
"""clients/src/test/java/org/apache/kafka/common/utils/UtilsTest.java, testMurmur2."""


def int32(value: int) -> int:
    """Java's int."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


def java_murmur2(data: bytes) -> int:
    """Utils.murmur2 line by line, with Java's signed arithmetic."""
    m, r = 0x5BD1E995, 24
    h = int32(0x9747B28C ^ len(data))
    for i in range(len(data) // 4):
        k = int.from_bytes(data[4 * i : 4 * i + 4], "little", signed=True)
        k = int32(k * m)
        k = int32(k ^ ((k & 0xFFFFFFFF) >> r))
        k = int32(k * m)
        h = int32(h * m)
        h = int32(h ^ k)
    at = len(data) & ~3
    left = len(data) % 4
    if left >= 3:
        h = int32(h ^ ((data[at + 2] & 0xFF) << 16))
    if left >= 2:
        h = int32(h ^ ((data[at + 1] & 0xFF) << 8))
    if left >= 1:
        h = int32(h ^ (data[at] & 0xFF))
        h = int32(h * m)
    h = int32(h ^ ((h & 0xFFFFFFFF) >> 13))
    h = int32(h * m)
    return int32(h ^ ((h & 0xFFFFFFFF) >> 15))


@pytest.mark.parametrize(("key", "hashed"), VECTORS.items())
def test_kafkas_own_vectors(key: bytes, hashed: int) -> None:
    assert int32(murmur2(key)) == java_murmur2(key) == hashed


@given(st.binary(max_size=600), st.integers(1, 10_000))
def test_any_key_goes_where_java_puts_it(key: bytes, partitions: int) -> None:
    assert int32(murmur2(key)) == java_murmur2(key)
    assert partition_of(key, partitions) == (java_murmur2(key) & 0x7FFFFFFF) % partitions


@given(st.none() | st.binary(max_size=300), st.none() | st.binary(max_size=10))
def test_the_key_is_read_off_the_body(key: bytes | None, value: bytes | None) -> None:
    assert key_of(body_of(key, value, ((b"a", None),))) == key


@pytest.mark.parametrize("body", [b"", b"\x08ab", b"\x80", b"\xff\xff\xff\xff\xff\xff"])
def test_a_body_without_a_whole_key_is_damage(body: bytes) -> None:
    with pytest.raises(CorruptBatch):
        key_of(body)

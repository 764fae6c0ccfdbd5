"""What options take: durations, sizes, times, patterns, partitions; and what they say when they do not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkeep.cli.common import (
    flat,
    parse_duration,
    parse_moment,
    parse_patterns,
    parse_size,
    parse_tag,
)
from kafkeep.cli.selectors import group_patterns, merge_partitions, parse_partitions, parse_until_offset
from kafkeep.errors import UsageError
from kafkeep.model import TopicPartition


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("5m", 300), ("1h30m", 5400), ("2d", 172800), ("1.5h", 5400), ("1m30s", 90)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "s", "30 s", "-5s", "0s", "5x", "1e3s", "inf", "٣s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="is not a duration") as caught:
        parse_duration(text)
    assert "30s" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("4096B", 4096),
        ("8MiB", 8 * 1024**2),
        ("8Mi", 8 * 1024**2),
        ("64M", 64_000_000),
        ("1.5 GB", 1_500_000_000),
        ("2KiB", 2048),
        ("2kB", 2000),
        ("1T", 10**12),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "5 X", "1,5G", "0x10"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize("text", ["2026-11-20T10:00:00Z", "2026-11-20 11:00:00+01:00", "2026-11-20T10:00Z"])
def test_times(text: str) -> None:
    assert parse_moment(text) == datetime(2026, 11, 20, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-11-20", "2026-11-20T10:00:00", "10:00Z", "2026-13-01T00:00:00Z"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="is not a time with its zone"):
        parse_moment(text)


def test_tags() -> None:
    assert parse_tag("change=47=11") == ("change", "47=11")
    assert parse_tag("empty=") == ("empty", "")
    for text in ("", "x", "=y", "a b=c"):
        with pytest.raises(UsageError, match="is not key=value"):
            parse_tag(text)


def test_patterns() -> None:
    assert parse_patterns("orders, billing-*") == ("orders", "billing-*")
    assert parse_patterns("re:a{1,2}") == ("re:a{1,2}",)
    assert flat((("a", "b"), ("c",))) == ("a", "b", "c")
    assert flat((), ("*",)) == ("*",)
    with pytest.raises(UsageError, match="empty pattern"):
        parse_patterns("a,,b")


def test_partitions() -> None:
    assert parse_partitions("orders:0,2,5-7") == ("orders", frozenset({0, 2, 5, 6, 7}))
    for text in (
        "orders",
        "orders:",
        ":1",
        "orders:a",
        "orders:7-5",
        "orders:-1",
        "orders:1-999999999",
        "o:99999999999",
    ):
        with pytest.raises(UsageError):
            parse_partitions(text)
    merged = merge_partitions([("a", frozenset({1})), ("b", frozenset({0})), ("a", frozenset({2}))])
    assert merged == (("a", frozenset({1, 2})), ("b", frozenset({0})))


@given(st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1))
def test_until_offsets(partition: int, offset: int) -> None:
    assert parse_until_offset(f"orders/{partition}={offset}") == (TopicPartition("orders", partition), offset)


@pytest.mark.parametrize("text", ["", "orders=5", "orders/1", "orders/x=5", "orders/1=-5", f"orders/1={2**63}"])
def test_what_is_no_until_offset(text: str) -> None:
    with pytest.raises(UsageError, match="does not name an offset"):
        parse_until_offset(text)


def test_groups() -> None:
    assert group_patterns(()) == ("*",)
    assert group_patterns(("none",)) == ()
    assert group_patterns(("a,b", "c*")) == ("a,b", "c*")
    with pytest.raises(UsageError, match="stands alone"):
        group_patterns(("none", "a"))

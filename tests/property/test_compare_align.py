"""Holding two streams of batches against each other, against a plain comparison record by record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.support.batches import patched
from tests.support.simulated_log import SimulatedLog, record

from kafkeep.compare.align import NOWHERE, ExpectedOffset, Found, Piece, Side, Tally, align
from kafkeep.kafka.wire.batch import HEADER
from kafkeep.kafka.wire.records import Record, encode
from kafkeep.model import LOG_APPEND_TIME_BIT, BatchInfo

CONTENT = st.one_of(st.none(), st.sampled_from([b"", b"a", b"b", b"x" * 60]))
HEADERS = st.lists(st.tuples(st.sampled_from([b"h", b"i", b""]), CONTENT), max_size=3).map(tuple)
RECORDS = st.lists(
    st.builds(Record, st.just(0), st.sampled_from([-1, 0, 7, 253402300799999]), CONTENT, CONTENT, HEADERS),
    min_size=1,
    max_size=12,
)
SIZES = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 4)), min_size=1, max_size=8)
"""How a stream is cut into batches, and their codecs; used again from the start when it is too short."""


def stream(
    records: Sequence[Record], sizes: Sequence[tuple[int, int]], first: int
) -> list[tuple[BatchInfo, memoryview]]:
    """The records with running offsets, in batches."""
    made, at, turn = [], 0, 0
    while at < len(records):
        count, codec = sizes[turn % len(sizes)]
        data = patched(encode(records[at : at + count], codec=codec), base_offset=first + at)
        made.append((BatchInfo._make(HEADER.unpack_from(data)), memoryview(data)))
        at, turn = at + count, turn + 1
    return made


def side(batches: Sequence[tuple[BatchInfo, memoryview]], start: int = 0, stop: int = 1 << 40) -> Side:
    return Side(Piece(info, batch, start, stop) for info, batch in batches)


def aligned(
    mine: Sequence[tuple[BatchInfo, memoryview]],
    theirs: Sequence[tuple[BatchInfo, memoryview]],
    expected: ExpectedOffset = lambda offset: offset,
) -> tuple[list[Found], Tally]:
    tally = Tally()
    return list(align(side(mine), side(theirs), expected, tally)), tally


@given(RECORDS, SIZES, SIZES, st.integers(0, 9), st.booleans())
def test_equal_records_are_equal_however_they_are_cut_and_packed(
    records: list[Record], mine: list[tuple[int, int]], theirs: list[tuple[int, int]], shift: int, by_order: bool
) -> None:
    expected: ExpectedOffset = (lambda offset: None) if by_order else (lambda offset: offset + shift)
    found, tally = aligned(stream(records, mine, 0), stream(records, theirs, shift), expected)
    assert found == []
    assert tally.records == len(records)


CHANGES: dict[str, Callable[[Record], Record]] = {
    "key": lambda r: r._replace(key=b"" if r.key is None else None if r.key == b"" else r.key[:-1] + b"!"),
    "value": lambda r: r._replace(value=b"" if r.value is None else None if r.value == b"" else r.value[:-1] + b"!"),
    "timestamp": lambda r: r._replace(timestamp=r.timestamp + 1),
    "headers": lambda r: r._replace(headers=(*r.headers, (b"h", None))),
}


@given(RECORDS, SIZES, SIZES, st.integers(0, 100), st.sampled_from(sorted(CHANGES)))
def test_one_change_in_one_record_is_told_and_nothing_else(
    records: list[Record], mine: list[tuple[int, int]], theirs: list[tuple[int, int]], pick: int, what: str
) -> None:
    at = pick % len(records)
    changed = [*records[:at], CHANGES[what](records[at]), *records[at + 1 :]]
    found, tally = aligned(stream(records, mine, 0), stream(changed, theirs, 0))
    assert [(each.what, each.source_offset, each.target_offset) for each in found] == [(what, at, at)]
    assert tally.records == len(records) - 1


@given(RECORDS, SIZES, SIZES, st.integers(0, 100))
def test_headers_count_with_their_order_repeats_and_null_against_empty(
    records: list[Record], mine: list[tuple[int, int]], theirs: list[tuple[int, int]], pick: int
) -> None:
    at = pick % len(records)
    assume(len(records[at].headers) > 0)
    before = records[at].headers
    variants = {
        tuple(reversed(before)),
        (*before, before[-1]),
        before[:-1],
        tuple((name, b"" if value is None else None if value == b"" else value) for name, value in before),
    } - {before}
    for headers in variants:
        changed = [*records[:at], records[at]._replace(headers=headers), *records[at + 1 :]]
        found, _ = aligned(stream(records, mine, 0), stream(changed, theirs, 0))
        assert [(each.what, each.source_offset) for each in found] == [("headers", at)]


@given(RECORDS, SIZES, SIZES, st.data())
def test_missing_and_extra_records_are_found_by_their_offsets(
    records: list[Record], mine: list[tuple[int, int]], theirs: list[tuple[int, int]], data: st.DataObject
) -> None:
    gone = data.draw(st.sets(st.integers(0, len(records) - 1)))
    kept = [(at, item) for at, item in enumerate(records) if at not in gone]
    short = [each for at, item in kept for each in stream([item], theirs, at)]
    found, tally = aligned(stream(records, mine, 0), short)
    assert [(each.what, each.source_offset, each.target_offset) for each in found] == [
        ("missing", at, at) for at in sorted(gone)
    ]
    assert tally.records == len(kept)
    found, tally = aligned(short, stream(records, mine, 0))
    assert [(each.what, each.source_offset, each.target_offset) for each in found] == [
        ("extra", None, at) for at in sorted(gone)
    ]
    assert tally.records == len(kept)


@given(RECORDS, SIZES, SIZES, st.data())
def test_it_finds_what_a_plain_comparison_finds(
    records: list[Record], mine: list[tuple[int, int]], theirs: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Any mixture of changed, missing and extra records at known offsets."""
    changed: dict[int, Record] = {}
    for at, item in enumerate(records):
        what = data.draw(st.sampled_from(["same", "same", "same", "gone", *sorted(CHANGES)]))
        if what != "gone":
            changed[at] = CHANGES.get(what, lambda r: r)(item)
    for at in range(len(records), len(records) + data.draw(st.integers(0, 2))):
        changed[at] = Record(0, 0, None, b"extra", ())
    target = [each for at, item in sorted(changed.items()) for each in stream([item], theirs, at)]
    found, tally = aligned(stream(records, mine, 0), target)
    naive: list[tuple[str, int]] = []
    equal = 0
    for at in range(max(len(records), 1 + max(changed, default=0))):
        here, there = (records[at] if at < len(records) else None), changed.get(at)
        if here is None or there is None:
            naive += [("missing", at)] if there is None else [("extra", at)]
            continue
        wrong = [
            what for what in ("timestamp", "key", "value", "headers") if getattr(here, what) != getattr(there, what)
        ]
        naive += [(what, at) for what in wrong]
        equal += not wrong
    assert [(each.what, place(each)) for each in found] == naive
    assert tally.records == equal


def place(found: Found) -> int | None:
    return found.target_offset if found.source_offset is None else found.source_offset


@given(RECORDS, SIZES, st.integers(0, 12), st.integers(0, 12))
def test_only_the_range_counts(records: list[Record], sizes: list[tuple[int, int]], low: int, high: int) -> None:
    whole, part = stream(records, sizes, 0), records[low:high]
    tally = Tally()
    target = side(stream(part, [(2, 0)], low))
    assert list(align(side(whole, low, high), target, lambda offset: offset, tally)) == []
    assert tally.records == len(part)


def test_what_was_not_restored_is_missing_and_takes_no_partner() -> None:
    records = [Record(0, 0, None, b"%d" % at, ()) for at in range(4)]
    places = {0: 0, 2: 1, 3: 2}
    found, tally = aligned(
        stream(records, [(4, 0)], 0),
        stream([records[0], *records[2:]], [(3, 0)], 0),
        lambda offset: places.get(offset, NOWHERE),
    )
    assert [(each.what, each.source_offset, each.target_offset) for each in found] == [("missing", 1, None)]
    assert tally.records == 3


def one(data: bytes) -> list[tuple[BatchInfo, memoryview]]:
    return [(BatchInfo._make(HEADER.unpack_from(data)), memoryview(data))]


def test_equal_bytes_at_other_places_are_looked_into() -> None:
    """Batches whose payloads are the same, although their records do not belong together."""
    pair = encode([Record(0, 0, None, b"same", ()), Record(0, 0, None, b"same", ())])
    shifted = {0: 0, 1: 2}
    found, _ = aligned(one(pair), one(patched(pair, base_offset=1)), lambda offset: shifted.get(offset, NOWHERE))
    assert {(each.what, each.source_offset, each.target_offset) for each in found} == {
        ("missing", 0, 0),
        ("extra", None, 1),
    }
    log = SimulatedLog()
    log.append([record(b"same") for _ in range(5)])
    log.compact(lambda item: item.offset in (0, 1, 4), below=5)
    sparse = log.entries[0].data
    apart = {0: 0, 1: 3, 4: 4}
    found, _ = aligned(one(sparse), one(sparse), lambda offset: apart.get(offset, NOWHERE))
    assert {(each.what, each.source_offset, each.target_offset) for each in found} == {
        ("extra", None, 1),
        ("missing", 1, 3),
    }


@pytest.mark.parametrize("header", [{"base_timestamp": 6}, {"attributes": LOG_APPEND_TIME_BIT}])
def test_equal_bytes_with_other_times_are_told(header: dict[str, int]) -> None:
    pair = patched(encode([Record(0, 5, None, b"a", ()), Record(0, 5, None, b"b", ())]), max_timestamp=9)
    found, tally = aligned(one(pair), one(patched(pair, **header)))
    assert [each.what for each in found] == ["timestamp", "timestamp"]
    assert tally.records == 0


def test_append_times_are_what_consumers_see() -> None:
    kept = [Record(0, 99, None, b"a", ()), Record(0, 99, None, b"b", ())]
    logged = patched(
        encode([kept[0]._replace(timestamp=5), kept[1]._replace(timestamp=6)]),
        attributes=LOG_APPEND_TIME_BIT,
        max_timestamp=99,
    )
    source = [(BatchInfo._make(HEADER.unpack_from(logged)), memoryview(logged))]
    found, tally = aligned(source, stream(kept, [(2, 0)], 0))
    assert (found, tally.records) == ([], 2)
    found, _ = aligned(source, stream([kept[0], kept[1]._replace(timestamp=6)], [(2, 0)], 0))
    assert [(each.what, each.expected, each.found) for each in found] == [("timestamp", "99", "6")]


@pytest.mark.parametrize(
    ("change", "expected", "found"),
    [
        ({"key": None}, "b'k'", "null"),
        ({"value": b""}, "null", "b''"),
        ({"value": b"v" * 100}, "null", f"{b'v' * 48!r}… (100 bytes)"),
        ({"headers": ((b"h", None),)}, "[b'h': b'', b'h': null]", "[b'h': null]"),
    ],
)
def test_differences_read_well(change: dict[str, Any], expected: str, found: str) -> None:
    record = Record(0, 5, b"k", None, ((b"h", b""), (b"h", None)))
    ((difference,), _) = aligned(stream([record], [(1, 0)], 0), stream([record._replace(**change)], [(1, 0)], 0))
    assert (difference.expected, difference.found) == (expected, found)


def test_equal_batches_are_never_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Iterator[Record]:
        raise AssertionError("a batch was opened")

    monkeypatch.setattr("kafkeep.compare.align.decode", refuse)
    records = [Record(0, at, None, b"v", ()) for at in range(100)]
    found, tally = aligned(stream(records, [(10, 0)], 0), stream(records, [(10, 0)], 0))
    assert (found, tally.records) == ([], 100)

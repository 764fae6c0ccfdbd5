"""Spreading records by key, against a plain model of what must come out."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kafkeep.kafka.wire.batch import HEADER_SIZE
from kafkeep.kafka.wire.records import Record, body_of, decode
from kafkeep.kafka.wire.repack import Slices
from kafkeep.repartition.marks import Marks
from kafkeep.repartition.partitioner import partition_of
from kafkeep.repartition.shuffle import SourceBatch, merged, shuffle
from kafkeep.repartition.spool import Spool

KEYS = st.none() | st.binary(max_size=3)
RECORDS = st.tuples(st.integers(1, 3), st.integers(-1, 40), KEYS, st.none() | st.binary(max_size=60), st.booleans())
"""(offsets it moves on, timestamp, key, value, with headers)."""
BATCHES = st.lists(st.tuples(st.lists(RECORDS, min_size=1, max_size=6), st.sampled_from([0, 1, 2, 3, 4])), max_size=6)
SOURCES = st.dictionaries(st.integers(0, 5), BATCHES, max_size=4)
Batches = dict[int, list[tuple[list[Record], int]]]


def placed(drawn: dict[int, Any]) -> Batches:
    """Records with offsets, batch by batch."""
    found: Batches = {}
    for partition, batches in drawn.items():
        offset = 0
        found[partition] = []
        for records, codec in batches:
            made = []
            for step, timestamp, key, value, headed in records:
                offset += step
                headers = ((b"h", None), (b"h", b"")) if headed else ()
                made.append(Record(offset, timestamp, key, value, headers))
            found[partition].append((made, codec))
    return found


def streams(batches: Batches) -> dict[int, Iterator[SourceBatch]]:
    def one(own: list[tuple[list[Record], int]]) -> Iterator[SourceBatch]:
        for records, codec in own:
            bodies = [body_of(r.key, r.value, r.headers) for r in records]
            yield SourceBatch(Slices([r.offset for r in records], [r.timestamp for r in records], bodies), codec)

    return {partition: one(own) for partition, own in batches.items()}


def in_order(batches: Batches) -> list[tuple[int, list[Record]]]:
    """All batches: from the partition whose next batch begins earliest, of equals from the lowest."""
    left = {partition: list(own) for partition, own in batches.items()}
    found = []
    while any(left.values()):
        partition = min((p for p in left if left[p]), key=lambda p: (left[p][0][0][0].timestamp, p))
        found.append((partition, left[partition].pop(0)[0]))
    return found


def model(batches: Batches, targets: int) -> list[list[tuple[int, Record]]]:
    """By target partition: (source partition, record)."""
    found: list[list[tuple[int, Record]]] = [[] for _ in range(targets)]
    turns = dict.fromkeys(batches, 0)
    for partition, records in in_order(batches):
        for record in records:
            place = (
                (partition + turns[partition]) % targets if record.key is None else partition_of(record.key, targets)
            )
            found[place].append((partition, record))
        turns[partition] += any(record.key is None for record in records)
    return found


@given(SOURCES)
def test_source_partitions_are_read_side_by_side_by_time(drawn: dict[int, Any]) -> None:
    batches = placed(drawn)
    read = [(partition, list(batch.records.offsets)) for partition, batch in merged(streams(batches))]
    assert read == [(partition, [r.offset for r in records]) for partition, records in in_order(batches)]


@settings(deadline=None)
@given(
    drawn=SOURCES,
    targets=st.integers(1, 7),
    most=st.sampled_from([0, 400, 700, 1 << 18]),
    committed=st.dictionaries(st.integers(0, 5), st.integers(0, 60)),
)
def test_every_record_goes_once_to_its_partition_in_order(
    drawn: dict[int, Any], targets: int, most: int, committed: dict[int, int]
) -> None:
    batches = placed(drawn)
    wanted = {partition: committed.get(partition, 0) for partition in batches}
    marks = Marks({partition: [offset, 7] for partition, offset in wanted.items()}, targets)
    expected = model(batches, targets)
    with tempfile.TemporaryDirectory() as folder, Spool(folder, targets) as spool:
        counts = shuffle(streams(batches), targets, spool.put, most_bytes=most, marks=marks)
        assert counts == tuple(map(len, expected)) == tuple(map(spool.records, range(targets)))
        for target in range(targets):
            found = list(spool.batches(target, 0))
            records = [record for info, batch in found for record in decode(batch, info)]
            assert [tuple(r) for r in records] == [
                (number, *tuple(record)[1:]) for number, (_, record) in enumerate(expected[target])
            ]
            assert spool.size_bytes(target) == sum(info.size for info, _ in found)
            assert all(info.size <= max(most, HEADER_SIZE + 200) for info, _ in found)
            for place in range(len(found)):
                again = list(spool.batches(target, found[place].info.base_offset))
                assert [info for info, _ in again] == [info for info, _ in found[place:]]
            assert list(spool.batches(target, counts[target])) == []
    check_bounds(marks, wanted, expected)


def check_bounds(marks: Marks, committed: dict[int, int], expected: list[list[tuple[int, Record]]]) -> None:
    """Nothing that was not consumed lies in front of the position, and the record there was not."""
    bounds = marks.bounds(committed, [len(records) for records in expected])
    again = 0
    for start, records in zip(bounds.lower, expected, strict=True):
        new = [record.offset >= committed[partition] for partition, record in records]
        assert not any(new[:start])
        assert start == len(records) or new[start]
        again += sum(not each for each in new[start:])
    assert bounds.read_again == again


@given(drawn=SOURCES, targets=st.integers(1, 5), most=st.sampled_from([0, 500, 1 << 18]), stop=st.integers(1, 5))
def test_the_same_comes_out_again_and_it_ends_when_told(
    drawn: dict[int, Any], targets: int, most: int, stop: int
) -> None:
    batches = placed(drawn)

    def run(ends: bool) -> tuple[list[tuple[int, int, int, bytes]], int]:
        put: list[tuple[int, int, int, bytes]] = []
        seen: list[int] = []

        def went_by(records: int, size: int) -> bool:
            seen.append(records)
            return not ends or len(seen) < stop

        shuffle(
            streams(batches),
            targets,
            lambda target, first, records, batch: put.append((target, first, records, batch)),
            most_bytes=most,
            marks=Marks({}, targets),
            went_by=went_by,
        )
        return put, len(seen)

    assert run(False) == run(False)
    assert run(True)[1] == min(stop, sum(len(own) for own in batches.values()))

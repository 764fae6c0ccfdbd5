"""What must come out of a repartitioned restore, from the records alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from kafkeep.kafka.wire.records import Record
from kafkeep.repartition.partitioner import partition_of

Content = tuple[object, ...]


def content(record: Record) -> Content:
    """A record without its offset."""
    return tuple(record)[1:]


def check_spread(source: Mapping[int, Sequence[Record]], target: Sequence[Sequence[Record]]) -> None:
    """Every record once, every key where Java's producer puts it, and in each target partition the records of one source
    partition in their order (which is more than the order of each key). Values must differ from record to record."""
    places: dict[Content, tuple[int, int]] = {}
    for number, records in enumerate(target):
        for at, record in enumerate(records):
            assert content(record) not in places, f"twice: {record}"
            places[content(record)] = (number, at)
            assert record.offset == records[0].offset + at
    assert len(places) == sum(map(len, source.values()))
    for records in source.values():
        last: dict[int, int] = defaultdict(lambda: -1)
        for record in records:
            number, at = places[content(record)]
            assert record.key is None or number == partition_of(record.key, len(target))
            assert at > last[number]
            last[number] = at


def lowest(
    source: Mapping[int, Sequence[Record]], target: Sequence[Sequence[Record]], committed: Mapping[int, int]
) -> tuple[list[int], int]:
    """Where a group must begin in each target partition: the first record that it had not consumed; and how many consumed
    ones lie behind."""
    unread = {
        content(record)
        for partition, records in source.items()
        for record in records
        if record.offset >= committed.get(partition, 0)
    }
    starts, again = [], 0
    for records in target:
        new = [content(record) in unread for record in records]
        first = new.index(True) if True in new else len(new)
        starts.append(first)
        again += sum(not each for each in new[first:])
    return starts, again

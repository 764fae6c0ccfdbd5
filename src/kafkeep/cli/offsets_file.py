"""The file of `restore --offsets`: where partitions begin and end. Pure.

CSV without a header, as Kafka's `kafka-consumer-groups --reset-offsets --from-file` takes it for one group
(`topic,partition,until`; ConsumerGroupCommand, CsvUtils), or with both ends (`topic,partition,from,until`), or a JSON list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any, Final

from kafkeep.cli.selectors import MAX_PARTITION
from kafkeep.errors import UsageError
from kafkeep.model import TopicPartition
from kafkeep.records import dataclass
from kafkeep.rows import csv_rows, digits, is_json, json_entries

MAX_OFFSET: Final = 2**63 - 1
_KEYS: Final = frozenset({"topic", "partition", "from", "until"})
_HINT: Final = (
    "Lines are topic,partition,until or topic,partition,from,until without a header, an empty field is an open end; or "
    'JSON, a list of {"topic", "partition", "from", "until"}.'
)


@dataclass(frozen=True, slots=True)
class Offsets:
    """Source offsets where partitions begin, and before which they end; those that are not named are whole."""

    begins: Mapping[TopicPartition, int] = field(default_factory=dict)
    ends: Mapping[TopicPartition, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Line:
    where: str
    partition: TopicPartition
    begin: int | None
    end: int | None


def read_offsets(text: str, name: str) -> Offsets:
    """What a file says, JSON when its name ends in `.json` or its text begins with a bracket, else CSV.

    Raises `UsageError` that names the line or entry.
    """
    begins: dict[TopicPartition, int] = {}
    ends: dict[TopicPartition, int] = {}
    seen: set[TopicPartition] = set()
    for line in _lines(text, name):
        if line.partition in seen:
            raise UsageError(f"{line.where} names {line.partition} a second time", hint=_HINT)
        if line.begin is not None and line.end is not None and line.begin > line.end:
            raise UsageError(f"{line.where}: {line.begin} to {line.end} ends before it begins", hint=_HINT)
        seen.add(line.partition)
        if line.begin is not None:
            begins[line.partition] = line.begin
        if line.end is not None:
            ends[line.partition] = line.end
    if not seen:
        raise UsageError(f"{name} names no partition", hint=_HINT)
    return Offsets(begins, ends)


def merged_offsets(
    file: Offsets,
    name: str,
    from_offsets: Iterable[tuple[TopicPartition, int]],
    until_offsets: Iterable[tuple[TopicPartition, int]],
) -> Offsets:
    """The file's offsets and those of --from-offset and --until-offset. Raises `UsageError` when two of them disagree, or
    when a partition would end before it begins."""
    begins = _merged(file.begins, name, from_offsets, "--from-offset")
    ends = _merged(file.ends, name, until_offsets, "--until-offset")
    for partition in sorted(begins.keys() & ends.keys()):
        if begins[partition] > ends[partition]:
            raise UsageError(f"{partition} would begin at {begins[partition]} and end at {ends[partition]}")
    return Offsets(begins, ends)


def _merged(
    file: Mapping[TopicPartition, int], name: str, given: Iterable[tuple[TopicPartition, int]], option: str
) -> dict[TopicPartition, int]:
    merged = dict(file)
    for partition, offset in given:
        known = merged.setdefault(partition, offset)
        if known != offset:
            other = f"--offsets {name}" if partition in file else option
            raise UsageError(
                f"{option} says {offset} for {partition}, {other} says {known}", hint="Give one of the two."
            )
    return merged


def _lines(text: str, name: str) -> Iterator[_Line]:
    if is_json(text, name):
        return (_json_line(entry, where) for where, entry in json_entries(text, name, hint=_HINT))
    return (_csv_line(row, where) for where, row in csv_rows(text, name, hint=_HINT))


def _csv_line(row: Sequence[str], where: str) -> _Line:
    if len(row) not in (3, 4):
        raise UsageError(f"{where} has {len(row)} columns", hint=_HINT)
    begin = row[2] if len(row) == 4 else ""
    end = row[-1]
    if len(row) == 3 and not end:
        raise UsageError(f"{where} names no offset", hint=_HINT)
    return _line(
        where,
        row[0],
        digits(row[1], where, hint=_HINT),
        digits(begin, where, hint=_HINT) if begin else None,
        digits(end, where, hint=_HINT) if end else None,
    )


def _json_line(entry: Any, where: str) -> _Line:
    if not isinstance(entry, dict) or not entry.keys() >= {"topic", "partition"}:
        raise UsageError(f"{where} is no object with topic and partition", hint=_HINT)
    if unknown := entry.keys() - _KEYS:
        raise UsageError(f"{where} has an unknown key {min(unknown)[:40]!r}", hint=_HINT)
    ends = entry.get("from"), entry.get("until")
    numbers = [entry["partition"], *(end for end in ends if end is not None)]
    if not isinstance(entry["topic"], str) or not all(type(number) is int for number in numbers):
        raise UsageError(f"{where}: topic is a text, partition, from and until are numbers", hint=_HINT)
    return _line(where, entry["topic"], entry["partition"], *ends)


def _line(where: str, topic: str, partition: int, begin: int | None, end: int | None) -> _Line:
    if not topic:
        raise UsageError(f"{where} has an empty topic", hint=_HINT)
    offsets = [offset for offset in (begin, end) if offset is not None]
    if not 0 <= partition <= MAX_PARTITION or not all(0 <= offset <= MAX_OFFSET for offset in offsets):
        raise UsageError(f"{where}: a partition or an offset is out of range", hint=_HINT)
    return _Line(where, TopicPartition(topic, partition), begin, end)

"""Positions as files: the CSV of Kafka's own `kafka-consumer-groups --reset-offsets --from-file`, and JSON. Pure.

Kafka's tool (ConsumerGroupCommand, CsvUtils) reads and writes lines of `group,topic,partition,offset` without a header,
or `topic,partition,offset` when it is about one group. It cuts the file at line feeds before it looks at quotes, so a
group id with a line break cannot be written for it; nor can metadata strings, which it does not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from kafkeep.errors import UsageError
from kafkeep.groups.plan import SET, UNCHANGED, GroupsPlan
from kafkeep.groups.survey import OFFSETS, SHARE
from kafkeep.model import TopicPartition
from kafkeep.position_files import FilePosition, positions_csv, positions_json
from kafkeep.records import dataclass
from kafkeep.rows import csv_rows, digits, is_json, json_entries

MOST_OFFSET: Final = 2**63 - 1
MOST_PARTITION: Final = 2**31 - 1
MOST_BYTES: Final = 2**15 - 1
"""Of a text in Kafka's protocol."""
SHARE_TYPE: Final = "share"
_KEYS: Final = {"group", "topic", "partition", "offset"}
_MORE_KEYS: Final = {"metadata", "type"}
_HINT: Final = "Lines are group,topic,partition,offset without a header, or JSON objects with these keys in a list."


@dataclass(frozen=True, slots=True)
class Written:
    """A file's text, its number of positions, and what it cannot hold."""

    text: str
    positions: int
    warnings: tuple[str, ...]


def positions_of_plan(plan: GroupsPlan) -> Iterator[FilePosition]:
    """Every position as the plan leaves it: those that are set, and those that are right already."""
    for group in plan.groups:
        for position in group.positions:
            if position.action in (SET, UNCHANGED) and position.offset is not None:
                yield FilePosition(
                    group.group_id, position.target, position.offset, position.metadata, share=group.kind == SHARE
                )


def write_csv(positions: Iterator[FilePosition]) -> Written:
    """For `kafka-consumer-groups --reset-offsets --from-file`, with each group named by `--group`."""
    found = list(positions)
    fitting = [position for position in found if position.fits_csv]
    shared = sum(position.share for position in found)
    told = (
        (
            sum(bool(position.metadata) for position in fitting),
            "metadata string(s) are lost: the CSV has no place for them, --format json has",
        ),
        (
            shared,
            "position(s) of share groups are left out: Kafka's tool sets none from a file, --format json has them",
        ),
        (
            len(found) - len(fitting) - shared,
            "position(s) are left out: their group ids hold line breaks, which Kafka's tool cannot read",
        ),
    )
    return Written(positions_csv(fitting), len(fitting), tuple(f"{count} {what}" for count, what in told if count))


def write_json(positions: Iterator[FilePosition]) -> Written:
    """As `position_files.positions_json`."""
    found = list(positions)
    return Written(positions_json(found), len(found), ())


def read_positions(text: str, name: str, *, group: str | None = None) -> tuple[FilePosition, ...]:
    """The positions of a file, JSON when its name ends in `.json` or its text begins with a bracket, else CSV.

    `group` is whose positions lines of `topic,partition,offset` are. Raises `UsageError` that names the line or entry.
    """
    if is_json(text, name):
        found = [_json_position(entry, where) for where, entry in json_entries(text, name, hint=_HINT)]
    else:
        found = [_csv_position(row, where, group) for where, row in csv_rows(text, name, hint=_HINT)]
    seen: set[tuple[str, TopicPartition]] = set()
    kinds: dict[str, bool] = {}
    for position in found:
        key = position.group_id, position.target
        if key in seen:
            raise UsageError(f"{name} sets {position.target} of group {position.group_id} twice", hint=_HINT)
        if kinds.setdefault(position.group_id, position.share) != position.share:
            raise UsageError(f"{name} calls group {position.group_id} a share group only in places", hint=_HINT)
        seen.add(key)
    if not found:
        raise UsageError(f"{name} holds no position", hint=_HINT)
    return tuple(found)


def _csv_position(row: Sequence[str], where: str, group: str | None) -> FilePosition:
    if len(row) == 3:
        if group is None:
            hint = "Name the one group that the file is about: --groups GROUP."
            raise UsageError(f"{where} does not name its group", hint=hint)
        row = (group, *row)
    if len(row) != 4:
        raise UsageError(f"{where} has {len(row)} columns", hint=_HINT)
    name, topic, partition, offset = row
    target = TopicPartition(topic, digits(partition, where, hint=_HINT))
    return _position(name, target, digits(offset, where, hint=_HINT), where)


def _json_position(entry: Any, where: str) -> FilePosition:
    if not isinstance(entry, dict) or not entry.keys() >= _KEYS:
        raise UsageError(f"{where} is no object with group, topic, partition and offset", hint=_HINT)
    if unknown := entry.keys() - _KEYS - _MORE_KEYS:
        raise UsageError(f"{where} has an unknown key {min(unknown)[:40]!r}", hint=_HINT)
    texts = [entry["group"], entry["topic"], entry.get("metadata", ""), entry.get("type", "")]
    numbers = [entry["partition"], entry["offset"]]
    if not all(isinstance(item, str) for item in texts) or not all(type(item) is int for item in numbers):
        raise UsageError(f"{where}: group and topic are texts, partition and offset are numbers", hint=_HINT)
    if entry.get("type", SHARE_TYPE) not in (SHARE_TYPE, OFFSETS, "classic", "consumer", "streams"):
        raise UsageError(f"{where}: {entry['type'][:40]!r} is no type of group", hint=_HINT)
    share = entry.get("type") == SHARE_TYPE
    target = TopicPartition(entry["topic"], entry["partition"])
    return _position(entry["group"], target, entry["offset"], where, metadata=entry.get("metadata"), share=share)


def _sendable(text: str) -> bool:
    try:
        return len(text.encode()) <= MOST_BYTES
    except UnicodeEncodeError:
        return False


def _position(
    group: str, target: TopicPartition, offset: int, where: str, *, metadata: str | None = None, share: bool = False
) -> FilePosition:
    if not group or not target.topic:
        raise UsageError(f"{where} has an empty name", hint=_HINT)
    if not all(_sendable(text) for text in (group, target.topic, metadata) if text is not None):
        raise UsageError(f"{where} has a text that no broker takes: too long, or no Unicode", hint=_HINT)
    if not 0 <= target.partition <= MOST_PARTITION or not 0 <= offset <= MOST_OFFSET:
        raise UsageError(f"{where}: partition {target.partition} or offset {offset} is out of range", hint=_HINT)
    return FilePosition(group, target, offset, metadata, share)

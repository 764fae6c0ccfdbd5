"""What a later process must know of a restore to continue it, as values and as the JSON of the audit: pure."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kafkeep.model import Generation, OffsetRange, TopicPartition
from kafkeep.offset_map import OffsetMap
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.plan import ProducerIdentity, RestorePlan, TopicRestore

Json = Any


@dataclass(frozen=True, slots=True)
class PlannedRange:
    """Source offsets `[start, stop)` of a generation were planned into a target partition."""

    source: Generation
    target: TopicPartition
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class OpenedTopic:
    """A target topic at the moment when its guard was on and none of the restore's records was in it."""

    target: str
    topic_id: str
    ends: tuple[int, ...]
    """Log end offset of each partition: where the first record goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedPartition:
    """A partition that was found to hold everything before the guard ended."""

    source: Generation
    target: TopicPartition
    source_range: OffsetRange
    offset_map: OffsetMap
    size_bytes: int
    """Of the batches that were produced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobBeginning:
    """What is put down before anything is touched."""

    point: int
    target_cluster: str
    options: RestoreOptions
    producer: ProducerIdentity
    topics: tuple[TopicRestore, ...]
    partitions: tuple[PlannedRange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """All that the audit holds of one job, whichever processes wrote it."""

    name: str
    """Object name of its first part."""
    beginning: JobBeginning
    opened: Mapping[str, OpenedTopic]
    """By target topic."""
    loaded: Mapping[TopicPartition, LoadedPartition]
    """By target partition."""
    positions: Mapping[tuple[str, TopicPartition], tuple[int, int]]
    """Positions that were set: (group, target partition) to (committed source offset, target offset)."""


def planned_ranges(plan: RestorePlan) -> tuple[PlannedRange, ...]:
    return tuple(PlannedRange(part.source, part.target, part.start, part.stop) for part in plan.partitions)


def to_json(value: object) -> Json:
    """Dataclasses as objects by field name, tuples as lists, sets as sorted lists. TypeError for anything else but text,
    whole numbers, booleans and None."""
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, tuple):
        return [to_json(part) for part in value]
    if isinstance(value, frozenset):
        return sorted(to_json(part) for part in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    raise TypeError(f"no JSON form for {type(value).__name__}")


def from_json(kind: Any, value: Json) -> Any:
    """The value of a type that `to_json` wrote. ValueError or TypeError when it is of another shape; every field of a
    dataclass must be there, and no other."""
    if kind in (str, int, bool, type(None)):
        if type(value) is not kind:
            raise TypeError(f"{kind.__name__} expected, found {value!r:.80}")
        return value
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        names = [field.name for field in dataclasses.fields(kind)]
        if not isinstance(value, dict) or value.keys() != set(names):
            raise ValueError(f"an object with the keys {', '.join(names)} expected")
        return typing.cast(Any, kind)(**{name: from_json(hints[name], value[name]) for name in names})
    return _collection(typing.get_origin(kind), typing.get_args(kind), value)


def _collection(origin: Any, inner: tuple[Any, ...], value: Json) -> Any:
    if origin in (types.UnionType, typing.Union):
        (other,) = (part for part in inner if part is not type(None))
        return None if value is None else from_json(other, value)
    if origin not in (tuple, frozenset) or not isinstance(value, list):
        raise TypeError(f"a list expected, found {value!r:.80}")
    if origin is frozenset or inner[1:] == (Ellipsis,):
        return origin(from_json(inner[0], part) for part in value)
    if len(inner) != len(value):
        raise ValueError(f"{len(inner)} values expected, found {len(value)}")
    return tuple(from_json(part, found) for part, found in zip(inner, value, strict=True))

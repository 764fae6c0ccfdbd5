"""Where restores put what: the offset maps in the repository's audit, and in the files of `restore --offset-map`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kafkeep.errors import CorruptObject, UsageError
from kafkeep.model import NO_TOPIC_ID, Generation, OffsetRange, RecoveryPoint, TopicPartition
from kafkeep.offset_map import MappedPartition, MappedPartitions, OffsetMap
from kafkeep.repository.documents import offset_map_from_json
from kafkeep.repository.nouns import decode_generation, fields, integer
from kafkeep.repository.repository import Repository

_STARTED = "restore-started"
_OPENED = "restore-opened"
_FINISHED = "restore-finished"
_OFFSET_MAP = "offset-map"


def mapped_in_file(path: str) -> MappedPartitions:
    """What a file written by `restore --offset-map` says. Raises `UsageError` when it is not such a file."""
    try:
        value = json.loads(Path(path).read_text())
        found = [_of_file(part) for part in value["partitions"]]
    except OSError as error:
        raise UsageError(f"the offset map {path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError, CorruptObject) as error:
        raise UsageError(f"{path} is not an offset map: {error!r}") from error
    return {(part.source.topic_partition, part.target): part for part in found}


def _of_file(value: object) -> MappedPartition:
    part = fields(value, "partition")
    start, stop = part.get("start"), part.get("stop")
    source = decode_generation([part["topic"], part["topic_id"], part["partition"], part["lineage"]])
    target = decode_generation([part["target_topic"], NO_TOPIC_ID, part["target_partition"], 0])
    return MappedPartition(
        source=source,
        target=target.topic_partition,
        offsets=offset_map_from_json(part),
        source_range=None if start is None or stop is None else _range(start, stop),
        complete=bool(part.get("complete", True)),
    )


def _range(start: object, stop: object) -> OffsetRange:
    return OffsetRange(integer(start, "start"), integer(stop, "stop"))


def mapped_by_restores(repository: Repository, point: RecoveryPoint, target_cluster: str) -> MappedPartitions:
    """What the repository knows of the restores of this point into this cluster, the newest of each pair.

    Raises `CorruptObject`, `StoreError`.
    """
    found: MappedPartitions = {}
    reports: list[Any] = [report for _, report in repository.audits(_FINISHED)]
    for report in sorted(reports, key=lambda report: str(report.get("time"))):
        if report.get("point") == point.number and report.get("target_cluster") == target_cluster:
            parts = _of_report(repository, report)
            found |= {(part.source.topic_partition, part.target): part for part in parts}
    return found


def _of_report(repository: Repository, report: Any) -> list[MappedPartition]:
    try:
        ids = dict(report.get("target_topic_ids", {}))
        return [_of_reported(repository, part, ids) for part in report["partitions"]]
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptObject(f"a restore report in the audit is not of the known shape: {error!r}") from error


def _of_reported(repository: Repository, part: Any, topic_ids: dict[str, str]) -> MappedPartition:
    topic, topic_id, number, lineage = part["source"]
    target, target_number = part["target"]
    start, stop = part["source_range"]
    return MappedPartition(
        source=Generation(topic, topic_id, number, lineage),
        target=TopicPartition(target, target_number),
        offsets=offset_map_from_json(repository.document(_OFFSET_MAP, part["offset_map"])),
        source_range=OffsetRange(start, stop),
        complete=bool(part["complete"]),
        target_topic_id=topic_ids.get(target),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadRestore:
    """A restore that spread a topic's records by key."""

    job: str
    """Object name of its record."""
    source: str
    target: str
    partitions: int
    """Of the target topic."""
    complete: bool = False
    """True once all of it was in the target."""
    by_time: bool = False
    """True when times chose among the records."""
    sources: Mapping[Generation, OffsetRange] = field(default_factory=dict)
    """The source offsets that were spread."""
    offsets: Mapping[int, OffsetMap] = field(default_factory=dict)
    """By target partition: from the number of a record there to its offset."""


def spread_by_restores(
    repository: Repository, point: RecoveryPoint, target_cluster: str
) -> dict[tuple[str, str, str], SpreadRestore]:
    """What the repository knows of restores of this point into this cluster that repartitioned topics, unfinished ones
    too: by topic of the source, topic of the target and its id, the newest of each.

    Raises `CorruptObject`, `StoreError`.
    """
    found: dict[tuple[str, str, str], SpreadRestore] = {}
    reports: dict[str, list[tuple[str, Any]]] = {_STARTED: [], _OPENED: [], _FINISHED: []}
    for kind, told in reports.items():
        told += sorted(repository.audits(kind), key=lambda report: str(_member(report[1], "time")))
    try:
        jobs = {
            (name, topic["target"]): SpreadRestore(
                job=name, source=topic["source"], target=topic["target"], partitions=topic["partitions"]
            )
            for name, value in reports[_STARTED]
            if (value.get("point"), value.get("target_cluster")) == (point.number, target_cluster)
            for topic in value.get("topics", ())
            if topic.get("repartitioned_from") is not None
        }
        ids = {
            (value["started"], topic["target"]): topic["topic_id"]
            for _, value in reports[_OPENED]
            for topic in value["topics"]
        }
        for _, value in reports[_FINISHED]:
            for topic in value.get("repartitioned", ()):
                key = (value["started"], topic["target"])
                # What one process of the job has completed stays so.
                if key in jobs and not jobs[key].complete:
                    jobs[key] = _spread(repository, jobs[key], topic)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptObject(f"a restore report in the audit is not of the known shape: {error!r}") from error
    for key, restored in jobs.items():
        if key in ids:
            found[(restored.source, restored.target, ids[key])] = restored
    return found


def _member(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


def _spread(repository: Repository, restored: SpreadRestore, topic: Any) -> SpreadRestore:
    parts = topic["partitions"]
    return replace(
        restored,
        complete=len(parts) == restored.partitions and all(part["complete"] is True for part in parts),
        by_time=bool(topic["by_time"]),
        sources={
            Generation(restored.source, topic_id, partition, lineage): OffsetRange(start, stop)
            for partition, topic_id, lineage, start, stop in topic["sources"]
        },
        offsets={
            part["target"][1]: offset_map_from_json(repository.document(_OFFSET_MAP, part["offset_map"]))
            for part in parts
        },
    )


__all__ = [
    "MappedPartition",
    "MappedPartitions",
    "SpreadRestore",
    "mapped_by_restores",
    "mapped_in_file",
    "spread_by_restores",
]

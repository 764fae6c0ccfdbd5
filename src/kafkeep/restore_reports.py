"""Where restores put what: the offset maps in the repository's audit, and in the files of `restore --offset-map`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kafkeep.errors import CorruptObject, UsageError
from kafkeep.model import NO_TOPIC_ID, Generation, OffsetRange, RecoveryPoint, TopicPartition
from kafkeep.offset_map import MappedPartition, MappedPartitions
from kafkeep.repository.documents import offset_map_from_json
from kafkeep.repository.nouns import decode_generation, fields, integer
from kafkeep.repository.repository import Repository

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


__all__ = ["MappedPartition", "MappedPartitions", "mapped_by_restores", "mapped_in_file"]

"""Finding the offset map that belongs to a point and a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kafkeep.errors import CorruptObject, UsageError
from kafkeep.model import RecoveryPoint, TopicPartition
from kafkeep.offset_map import MapRow, OffsetMap
from kafkeep.repository.documents import offset_map_from_json
from kafkeep.repository.repository import Repository

_FINISHED = "restore-finished"
_OFFSET_MAP = "offset-map"

Maps = dict[tuple[TopicPartition, TopicPartition], OffsetMap]
"""By source partition and target partition."""


def maps_of_file(path: str) -> Maps:
    """The maps of a file written by `restore --offset-map`. Raises `UsageError` when it is not such a file."""
    try:
        value = json.loads(Path(path).read_text())
        return {
            (
                TopicPartition(part["topic"], part["partition"]),
                TopicPartition(part["target_topic"], part["target_partition"]),
            ): OffsetMap(tuple(MapRow(*row) for row in part["rows"]), part["end"])
            for part in value["partitions"]
        }
    except OSError as error:
        raise UsageError(f"the offset map {path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not an offset map: {error!r}") from error


def maps_of_restores(repository: Repository, point: RecoveryPoint, target_cluster: str) -> Maps:
    """The maps of all restores of this point into this cluster that the repository knows of, the newest last to win."""
    found: Maps = {}
    reports: list[Any] = [report for _, report in repository.audits(_FINISHED)]
    for report in sorted(reports, key=lambda report: str(report.get("time"))):
        if report.get("point") == point.number and report.get("target_cluster") == target_cluster:
            found |= _maps_of_report(repository, report)
    return found


def _maps_of_report(repository: Repository, report: Any) -> Maps:
    try:
        return {
            (
                TopicPartition(part["source"][0], part["source"][2]),
                TopicPartition(part["target"][0], part["target"][1]),
            ): offset_map_from_json(repository.document(_OFFSET_MAP, part["offset_map"]))
            for part in report["partitions"]
            if part["complete"]
        }
    except (KeyError, TypeError, IndexError) as error:
        raise CorruptObject(f"a restore report in the audit is not of the known shape: {error!r}") from error

"""The content-addressed documents beside the commits, to JSON values and back: pure.

`metadata`: a recovery point's topics and groups. `offset-map`: where the records of one restored partition went.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from kafkeep.errors import CorruptObject
from kafkeep.model import ClusterMetadata, Group, GroupOffset, TopicMetadata, TopicPartition
from kafkeep.offset_map import MapRow, OffsetMap

Json = Any
"""What canonical JSON holds; the readers below check every part of it before it becomes a noun."""


def cluster_metadata_to_json(metadata: ClusterMetadata) -> Json:
    return {
        "cluster_id": metadata.cluster_id,
        "topics": [
            {
                "name": topic.name,
                "topic_id": topic.topic_id,
                "internal": topic.internal,
                "partitions": [list(replicas) for replicas in topic.partitions],
                "configs": [list(config) for config in topic.configs],
            }
            for topic in metadata.topics
        ],
        "groups": [
            {
                "group_id": group.group_id,
                "type": group.type,
                "state": group.state,
                "protocol_type": group.protocol_type,
                "offsets": [
                    [o.topic_partition.topic, o.topic_partition.partition, o.offset, o.leader_epoch, o.metadata]
                    for o in group.offsets
                ],
            }
            for group in metadata.groups
        ],
    }


def cluster_metadata_from_json(value: Json) -> ClusterMetadata:
    """Raises `CorruptObject` when the document does not have the shape that docs/format.md gives it."""
    try:
        return ClusterMetadata(
            _text(value["cluster_id"]),
            tuple(_topic(topic) for topic in value["topics"]),
            tuple(_group(group) for group in value["groups"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptObject(f"the metadata document is not of the known shape: {error!r}") from error


def _topic(value: Json) -> TopicMetadata:
    return TopicMetadata(
        _text(value["name"]),
        _text(value["topic_id"]),
        bool(value["internal"]),
        tuple(tuple(_number(node) for node in replicas) for replicas in value["partitions"]),
        tuple((_text(name), None if text is None else _text(text)) for name, text in value["configs"]),
    )


def _group(value: Json) -> Group:
    return Group(
        _text(value["group_id"]),
        _text(value["type"]),
        _text(value["state"]),
        _text(value["protocol_type"]),
        tuple(
            GroupOffset(TopicPartition(_text(topic), _number(part)), _number(offset), _number(epoch), _text(text))
            for topic, part, offset, epoch, text in value["offsets"]
        ),
    )


def offset_map_to_json(found: OffsetMap) -> Json:
    return {"rows": [list(row) for row in found.rows], "end": found.end}


def offset_map_from_json(value: Json) -> OffsetMap:
    """Raises `CorruptObject` when the document does not have the shape that docs/format.md gives it."""
    try:
        rows = tuple(
            MapRow(_number(source), _number(target), _number(count)) for source, target, count in value["rows"]
        )
        for before, row in pairwise((MapRow(0, 0, 0), *rows)):
            if row.source < before.source + before.records or row.target < before.target + before.records:
                raise ValueError("rows that do not rise")
        if any(row.records < 1 for row in rows):
            raise ValueError("a row without records")
        return OffsetMap(rows, _number(value["end"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptObject(f"the offset map document is not of the known shape: {error!r}") from error


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text expected, found {value!r}")
    return value


def _number(value: Json) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise TypeError(f"a whole number of 64 bits expected, found {value!r}")
    return value

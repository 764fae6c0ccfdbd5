"""Differences of two recovery points."""

from __future__ import annotations

from kafkeep.cli.pointdiff import ConfigDiff, PartitionDiff, PositionDiff, diff_points
from kafkeep.cli.points import diff_parts
from kafkeep.cli.render import Grid
from kafkeep.model import (
    ClusterMetadata,
    Generation,
    Group,
    GroupOffset,
    OffsetRange,
    PartitionCut,
    RecoveryPoint,
    TopicMetadata,
    TopicPartition,
)


def cut(topic: str, partition: int, start: int, stop: int, *, topic_id: str = "a" * 22) -> PartitionCut:
    return PartitionCut(Generation(topic, topic_id, partition), stop, start, stop, stop, 0)


def point(number: int, *cuts: PartitionCut) -> RecoveryPoint:
    return RecoveryPoint(
        number=number,
        name=None,
        tags=(),
        started="2026-11-20T10:00:00.000Z",
        finished="2026-11-20T10:00:01.000Z",
        cluster_id="c",
        cuts=cuts,
        selection=("*",),
        documents=(),
        consistency="partition",
        complete=True,
        failures=(),
    )


def topic(name: str, *configs: tuple[str, str | None]) -> TopicMetadata:
    return TopicMetadata(name, "a" * 22, False, ((1,),), configs)


def group(name: str, *offsets: tuple[str, int, int]) -> Group:
    positions = tuple(GroupOffset(TopicPartition(where, part), offset, -1, "") for where, part, offset in offsets)
    return Group(name, "classic", "Empty", "consumer", positions)


def test_the_same_point_has_no_differences() -> None:
    metadata = ClusterMetadata("c", (topic("t", ("a", "1")),), (group("g", ("t", 0, 5)),))
    found = diff_points(point(1, cut("t", 0, 0, 5)), metadata, point(2, cut("t", 0, 0, 5)), metadata)
    assert found.same
    assert diff_parts(found) == ("points 1 and 2 hold the same",)


def test_every_kind_of_difference() -> None:
    before = point(
        1,
        cut("gone", 0, 0, 1),
        cut("grown", 0, 0, 5),
        cut("new-id", 0, 0, 5),
        cut("shrunk", 0, 0, 5),
        cut("trimmed", 0, 0, 5),
        cut("wider", 0, 0, 5),
    )
    after = point(
        2,
        cut("grown", 0, 2, 9),
        cut("new", 0, 0, 1),
        cut("new-id", 0, 0, 5, topic_id="b" * 22),
        cut("shrunk", 0, 0, 4),
        cut("trimmed", 0, 1, 5),
        cut("wider", 0, 0, 5),
        cut("wider", 1, 0, 0),
    )
    old = ClusterMetadata(
        "c",
        (topic("grown", ("gone", "1"), ("kept", "1"), ("moved", "1"), ("hidden", None)),),
        (group("leaves"), group("stays", ("grown", 0, 5), ("grown", 1, 1), ("grown", 2, 7))),
    )
    new = ClusterMetadata(
        "c",
        (topic("grown", ("kept", "1"), ("moved", "2"), ("new", "1")),),
        (group("joins"), group("stays", ("grown", 0, 0), ("grown", 2, 7), ("grown", 3, 0))),
    )
    found = diff_points(before, old, after, new)
    assert not found.same
    assert (found.topics_added, found.topics_removed, found.topics_recreated) == (("new",), ("gone",), ("new-id",))
    assert {(str(part.topic_partition), part.change) for part in found.partitions} == {
        ("gone/0", "removed"),
        ("grown/0", "grown"),
        ("new/0", "added"),
        ("new-id/0", "recreated"),
        ("shrunk/0", "shrunk"),
        ("trimmed/0", "trimmed"),
        ("wider/1", "added"),
    }
    assert PartitionDiff(TopicPartition("grown", 0), "grown", OffsetRange(0, 5), OffsetRange(2, 9)) in found.partitions
    assert found.configs == (
        ConfigDiff("grown", "gone", "1", None),
        ConfigDiff("grown", "hidden", None, None),
        ConfigDiff("grown", "moved", "1", "2"),
        ConfigDiff("grown", "new", None, "1"),
    )
    assert (found.groups_added, found.groups_removed) == (("joins",), ("leaves",))
    assert found.positions == (
        PositionDiff("stays", TopicPartition("grown", 0), 5, 0),
        PositionDiff("stays", TopicPartition("grown", 1), 1, None),
        PositionDiff("stays", TopicPartition("grown", 3), None, 0),
    )
    (grid,) = diff_parts(found)
    assert isinstance(grid, Grid)
    assert ("position", "stays grown/0", "moved", "5 -> 0") in grid.rows
    assert len(grid.rows) == 3 + 7 + 4 + 2 + 3

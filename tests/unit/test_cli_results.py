"""What a verb's result means: its exit status, what people read, and that it fits into a summary."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from kafkeep.capture.options import CUTS
from kafkeep.capture.result import BackupResult, FollowResult
from kafkeep.cli.backup import backup, backup_parts, backup_status, follow_parts, follow_status
from kafkeep.cli.common import Stop
from kafkeep.cli.compare import compare_parts, compare_status
from kafkeep.cli.jsonable import line, to_json
from kafkeep.cli.points import PointLine, describe, description_parts, points_grid
from kafkeep.cli.render import Grid, Part
from kafkeep.cli.restore import (
    check_writable,
    plan_parts,
    plan_status,
    restore,
    result_parts,
    result_status,
    write_offset_map,
)
from kafkeep.cli.verify import verify, verify_parts, verify_status
from kafkeep.compare.report import ComparedPartition, CompareReport, Difference
from kafkeep.errors import UsageError
from kafkeep.model import (
    ClusterMetadata,
    Failure,
    Gap,
    Generation,
    Group,
    GroupOffset,
    OffsetRange,
    PartitionCut,
    RecoveryPoint,
    TopicPartition,
)
from kafkeep.offset_map import MapRow, OffsetMap
from kafkeep.repository.state import Alarm, PartitionView, PointView
from kafkeep.restore.guard import Guard
from kafkeep.restore.options import EXISTING, PREFLIGHT, RETENTION
from kafkeep.restore.plan import GroupRestore, PartitionRestore, PositionRestore, Refusal, RestorePlan, TopicRestore
from kafkeep.restore.result import RestoredGroup, RestoredPartition, RestoreResult
from kafkeep.restore.window import Window
from kafkeep.restore_reports import mapped_in_file
from kafkeep.verify import LEVELS, Finding, VerifyReport

GENERATION = Generation("orders", "a" * 22, 3)
PARTITION = TopicPartition("orders", 3)
TARGET = TopicPartition("restored-orders", 3)
GAP = Gap(GENERATION, OffsetRange(2, 5), "retention", "log start was 5", "2026-11-20T10:00:00.000Z")
FAILURE = Failure("orders/4", "LEADER_NOT_AVAILABLE", "no leader")
POINT = RecoveryPoint(
    number=7,
    name="before upgrade",
    tags=(("change", "4711"),),
    started="2026-11-20T10:00:00.000Z",
    finished="2026-11-20T10:00:01.000Z",
    cluster_id="cluster",
    cuts=(PartitionCut(GENERATION, 100, 2, 100, 100, 0),),
    selection=("orders*",),
    documents=(),
    consistency="partition",
    complete=False,
    failures=(FAILURE,),
)
BACKUP = BackupResult(
    point=POINT,
    partitions=1,
    records=98,
    raw_bytes=5_000_000,
    stored_bytes=2_000_000,
    packs=1,
    gaps=(),
    opened=(),
    closed=(),
    failures=(),
    interrupted=False,
    seconds=0.5,
)


def shown(parts: tuple[Part, ...]) -> str:
    """All cells and lines, one a line."""
    lines: list[str] = []
    for part in parts:
        lines += [part] if isinstance(part, str) else [" | ".join(row) for row in (part.heads, *part.rows)]
    return "\n".join(lines)


def stopped(number: int | None = None) -> Stop:
    stop = Stop()
    stop.number = number
    return stop


class TestBackup:
    @pytest.mark.parametrize(
        ("result", "number", "status"),
        [
            (BACKUP, None, 0),
            (replace(BACKUP, gaps=(GAP,)), None, 3),
            (replace(BACKUP, failures=(FAILURE,)), None, 3),
            (replace(BACKUP, point=None), None, 4),
            (replace(BACKUP, point=None, failures=(FAILURE,)), None, 3),
            (replace(BACKUP, point=None, interrupted=True), 15, 143),
            (replace(BACKUP, point=None, interrupted=True), 2, 130),
            (BACKUP, 15, 0),
        ],
    )
    def test_status(self, result: BackupResult, number: int | None, status: int) -> None:
        assert backup_status(result, stopped(number)) == status

    def test_text(self) -> None:
        text = shown(backup_parts(replace(BACKUP, gaps=(GAP,))))
        assert "recovery point 7 'before upgrade': 1 partition" in text
        assert "98 new records, 5 MB read, 2 MB stored in 1 pack, 10 MB/s" in text
        assert "with 1 gap" in text
        assert "nothing new" in shown(backup_parts(replace(BACKUP, point=None, records=0, packs=0)))
        assert "ended before" in shown(backup_parts(replace(BACKUP, point=None, interrupted=True)))

    def test_follow(self) -> None:
        result = FollowResult(rounds=3, points=(1, 2), records=10, raw_bytes=1000, gaps=(), failures=(), seconds=1.0)
        assert follow_status(result) == 0
        assert follow_status(replace(result, gaps=(GAP,))) == 3
        assert follow_status(replace(result, failures=(FAILURE,))) == 3
        assert "3 rounds, 2 recovery points, 10 records" in shown(follow_parts(result))


def test_points_and_their_description() -> None:
    grid = points_grid([PointLine.of(POINT)])
    assert grid.rows == (
        ("7", "before upgrade", "2026-11-20T10:00:01.000Z", "1", "1", "98", "no, 1 part failed", "change=4711"),
    )
    view = PointView(POINT, (PartitionView(POINT.cuts[0], (), (GAP,)),))
    group = Group("billing", "consumer", "Empty", "consumer", (GroupOffset(PARTITION, 50, -1, ""),))
    gaps = {part.generation: part.gaps for part in view.partitions}
    described = describe(POINT, view, ClusterMetadata("cluster", (), (group,)), gaps)
    for by_partition in (False, True):
        text = shown(description_parts(described, by_partition=by_partition))
        assert "recovery point 7 'before upgrade' of cluster cluster" in text
        assert "billing | consumer | Empty | 1" in text
        assert "orders/3 | [2, 5) | retention | log start was 5" in text
        assert "orders/4 | LEADER_NOT_AVAILABLE | no leader" in text
    assert "orders/3 | 2 | 100 |" in shown(description_parts(described, by_partition=True))
    assert json.loads(line(to_json(described)))["partitions"][0]["cut"]["stop"] == 100


PLAN = RestorePlan(
    point=7,
    source_cluster="cluster",
    target_cluster="other",
    route="produce",
    topics=(
        TopicRestore(
            source="orders",
            target="restored-orders",
            action="create",
            partitions=4,
            replication_factor=1,
            configs=(),
            guard=Guard((), (), ()),
        ),
    ),
    partitions=(
        PartitionRestore(
            source=GENERATION,
            target=TARGET,
            start=2,
            stop=100,
            runs=(),
            held_back=(),
            window=Window(),
            most_records=98,
            raw_bytes=5_000_000,
            gaps=(OffsetRange(0, 3),),
        ),
    ),
    groups=(
        GroupRestore(
            group_id="billing",
            positions=(PositionRestore(source=PARTITION, target=TARGET, committed=50, metadata=""),),
        ),
    ),
    warnings=("fewer brokers",),
    refusals=(),
)
RESTORED = RestoreResult(
    point=7,
    job="audit/x",
    topics_created=("restored-orders",),
    partitions=(
        RestoredPartition(
            source=GENERATION,
            target=TARGET,
            source_range=OffsetRange(2, 100),
            offset_map=OffsetMap((MapRow(5, 0, 95),), 95),
            complete=True,
        ),
    ),
    groups=(RestoredGroup(group_id="billing", positions=((TARGET, 50, 45),)),),
    records=95,
    size_bytes=5_000_000,
    warnings=("fewer brokers",),
    failures=(),
    lost=0,
    interrupted=False,
    seconds=1.0,
)


class TestRestore:
    def test_a_plan_ends_as_the_restore_would(self) -> None:
        assert plan_status(PLAN) == 0
        refused = replace(PLAN, refusals=(Refusal("target-not-empty", "orders", "topic orders is not empty"),))
        assert plan_status(refused) == 24
        text = shown(plan_parts(refused))
        assert "at most 98 records, 5 MB" in text
        assert "orders | restored-orders | create | 4 | 1 | 98 | 5 MB" in text
        assert "warning: fewer brokers" in text
        assert "refused: topic orders is not empty (target-not-empty)" in text
        assert json.loads(line(to_json(refused)))["refusals"][0]["kind"] == "target-not-empty"

    @pytest.mark.parametrize(
        ("result", "number", "status"),
        [
            (RESTORED, None, 0),
            (replace(RESTORED, failures=(FAILURE,)), None, 3),
            (replace(RESTORED, lost=3), None, 21),
            (replace(RESTORED, lost=3, failures=(FAILURE,)), None, 3),
            (replace(RESTORED, interrupted=True), 15, 143),
            (replace(RESTORED, interrupted=True), None, 3),
        ],
    )
    def test_status(self, result: RestoreResult, number: int | None, status: int) -> None:
        assert result_status(result, stopped(number)) == status

    def test_text(self) -> None:
        text = shown(result_parts(replace(RESTORED, lost=3, failures=(FAILURE,))))
        assert "orders/3 | restored-orders/3 | [2, 100) | 95 | 95 | yes" in text
        assert "billing | 1" in text
        assert "orders/4 | LEADER_NOT_AVAILABLE | no leader" in text
        assert "restored recovery point 7: 1 topic created, 95 records, 5 MB, 5 MB/s; report audit/x" in text
        assert "3 offsets lie in declared gaps" in text

    def test_the_offset_map_is_what_compare_reads(self, tmp_path: Path) -> None:
        path = tmp_path / "map.json"
        check_writable(path, "--offset-map")
        write_offset_map(path, RESTORED)
        (found,) = mapped_in_file(str(path)).values()
        told = RESTORED.partitions[0]
        assert (found.source, found.target, found.offsets) == (told.source, told.target, told.offset_map)
        assert (found.source_range, found.complete) == (told.source_range, told.complete)
        with pytest.raises(UsageError, match="exists"):
            check_writable(path, "--offset-map")
        with pytest.raises(UsageError, match="no folder to lie in"):
            check_writable(tmp_path / "absent" / "map.json", "--offset-map")


def test_compare() -> None:
    same = CompareReport(
        point=7,
        target_cluster="other",
        partitions=(
            ComparedPartition(
                source=GENERATION, target=TARGET, pairing="offset-map", records=95, bytes_compared=1000, differences=0
            ),
        ),
        differences=(),
        failures=(),
        seconds=1.0,
    )
    assert compare_status(same) == 0
    assert "identical: recovery point 7 and cluster other, 95 equal records in 1 partition" in shown(
        compare_parts(same)
    )
    assert compare_status(replace(same, failures=(FAILURE,))) == 22
    targets = (TARGET, TopicPartition("restored-orders", 4))
    different = replace(
        same,
        partitions=(replace(same.partitions[0], differences=60),),
        differences=tuple(
            Difference(
                source=GENERATION,
                target=target,
                what="value",
                source_offset=offset,
                target_offset=None,
                expected="null",
                found="b''",
            )
            for target in targets
            for offset in range(30)
        ),
    )
    assert compare_status(different) == 22
    text = shown(compare_parts(different))
    assert text.count("restored-orders/3 | value") == 5
    assert text.count("restored-orders/4 | value") == 5
    assert "60 differences in all" in text
    assert text.splitlines()[-1].startswith("different: ")


def test_verify() -> None:
    whole = VerifyReport(level="data", objects=3, bytes=1000, findings=(), alarms=())
    assert verify_status(whole) == 0
    assert shown(verify_parts(whole)) == "verified at level data: 3 objects, 1 kB, no damage"
    damaged = replace(whole, findings=(Finding("pack/x", "missing", GENERATION, OffsetRange(0, 5)),) * 60)
    assert verify_status(damaged) == 22
    text = shown(verify_parts(damaged))
    assert "pack/x | missing | orders/3 | [0, 5)" in text
    assert "and 10 more" in text
    assert "60 findings" in text
    alarmed = replace(whole, alarms=(Alarm(3, "ff", "overlap"),))
    assert verify_status(alarmed) == 22
    assert "alarm: commit 3 counts for nothing: overlap" in shown(verify_parts(alarmed))


@pytest.mark.parametrize(
    ("command", "option", "choices"),
    [
        (backup, "cut", CUTS),
        (restore, "existing", EXISTING),
        (restore, "retention", RETENTION),
        (restore, "preflight", PREFLIGHT),
        (verify, "level", LEVELS),
    ],
)
def test_choices_are_those_of_the_operation(command: object, option: str, choices: tuple[str, ...]) -> None:
    (found,) = (param for param in getattr(command, "params", ()) if param.name == option)
    assert tuple(found.type.choices) == choices


def test_a_grid_has_as_many_heads_as_cells() -> None:
    for parts in (plan_parts(PLAN), result_parts(RESTORED)):
        for part in parts:
            if isinstance(part, Grid):
                assert {len(row) for row in part.rows} == {len(part.heads)}

"""What a verb's result means: its exit status, what people read, and that it fits into a summary."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click
import pytest

from kafkeep.capture.options import CONSISTENCIES, CUTS
from kafkeep.capture.result import BackupResult, FollowResult
from kafkeep.cli.backup import backup, backup_parts, backup_status, follow_parts, follow_status
from kafkeep.cli.common import Stop
from kafkeep.cli.compare import Percent, compare_parts, compare_status, summary_of
from kafkeep.cli.jsonable import line, to_json
from kafkeep.cli.points import PointLine, describe, description_parts, points_grid
from kafkeep.cli.render import Grid, Part
from kafkeep.cli.restore import check_writable, restore, write_offset_map
from kafkeep.cli.restore_text import plan_parts, plan_status, result_parts, result_status
from kafkeep.cli.verify import verify, verify_parts, verify_status
from kafkeep.compare.options import SampleChoice
from kafkeep.compare.report import ComparedPartition, CompareReport, Difference, Excused, Share
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
from kafkeep.repository.state import Alarm
from kafkeep.repository.views import PartitionView, PointView
from kafkeep.restore.guard import Guard
from kafkeep.restore.options import ALLOW_LOSS, EXISTING, PREFLIGHT, RETENTION
from kafkeep.restore.plan import (
    GroupRestore,
    MissingPartition,
    PartitionRestore,
    PositionNotSet,
    PositionRestore,
    Refusal,
    RestorePlan,
    TopicRestore,
)
from kafkeep.restore.result import RestoredGroup, RestoredPartition, RestoreResult
from kafkeep.restore.window import RULES, Window
from kafkeep.restore_reports import mapped_in_file
from kafkeep.verify.report import LEVELS, Finding, VerifyReport

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
        assert "with 1 gap" in text and "consistent by" not in text
        whole = replace(BACKUP, point=replace(POINT, consistency="transaction"))
        assert "1 partition, consistent by transaction" in shown(backup_parts(whole))
        assert "nothing new" in shown(backup_parts(replace(BACKUP, point=None, records=0, packs=0)))
        assert "ended before" in shown(backup_parts(replace(BACKUP, point=None, interrupted=True)))

    def test_follow(self) -> None:
        result = FollowResult(rounds=3, points=(1, 2), records=10, raw_bytes=1000, gaps=(), failures=(), seconds=1.0)
        assert follow_status(result) == 0
        assert follow_status(replace(result, gaps=(GAP,))) == 3
        assert follow_status(replace(result, failures=(FAILURE,))) == 3
        assert "3 rounds, 2 recovery points, 10 records" in shown(follow_parts(result))


def test_points_and_their_description() -> None:
    grid = points_grid([PointLine.of(POINT), PointLine.of(POINT, lost=3000)])
    (row,) = {(*row[:6], *row[7:]) for row in grid.rows}
    assert row == (
        "7",
        "before upgrade",
        "2026-11-20T10:00:01.000Z",
        "1",
        "1",
        "98",
        "no, 1 part failed",
        "change=4711",
    )
    assert [(row[6], grid.heads[6]) for row in grid.rows] == [("", ">lost"), ("3 000", ">lost")]
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
    assert described.point.lost == 3


NOT_SET = PositionNotSet(
    group_id="billing",
    source=PARTITION,
    target=TARGET,
    committed=3,
    place="gap",
    note="in the gap [2, 5) (retention)",
)
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
            gaps=(GAP,),
        ),
    ),
    groups=(
        GroupRestore(
            group_id="billing",
            positions=(PositionRestore(source=PARTITION, target=TARGET, committed=50, metadata=""),),
            not_set=(NOT_SET,),
        ),
    ),
    warnings=("fewer brokers",),
    refusals=(),
    allow_loss="skip",
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
        assert plan_status(PLAN) == 21
        assert plan_status(replace(PLAN, partitions=(replace(PLAN.partitions[0], gaps=()),))) == 0
        lacking = replace(PLAN, partitions=(), missing=(MissingPartition(PARTITION, TARGET, "no leader"),))
        assert plan_status(lacking) == 21
        assert "orders/3 | all | no leader |  | created empty" in shown(plan_parts(lacking))
        refused = replace(PLAN, refusals=(Refusal("target-not-empty", "orders", "topic orders is not empty"),))
        assert plan_status(refused) == 24
        text = shown(plan_parts(refused))
        assert "at most 98 records, 5 MB" in text
        assert "orders | restored-orders | create | 4 | 1 | 98 | 5 MB | 3" in text
        assert "orders/3 | [2, 5) | retention | log start was 5 | without it" in text
        assert "billing | 1 | 1" in text
        assert "billing | orders/3 | 3 | gap | in the gap [2, 5) (retention)" in text
        assert "by time" not in text
        assert "warning: fewer brokers" in text
        assert "refused: topic orders is not empty (target-not-empty)" in text
        assert json.loads(line(to_json(refused)))["refusals"][0]["kind"] == "target-not-empty"

    @pytest.mark.parametrize(
        ("result", "number", "status"),
        [
            (RESTORED, None, 0),
            (replace(RESTORED, failures=(FAILURE,)), None, 3),
            (replace(RESTORED, lost=3), None, 21),
            (replace(RESTORED, loss_report="audit/y"), None, 21),
            (replace(RESTORED, lost=3, failures=(FAILURE,)), None, 3),
            (replace(RESTORED, interrupted=True), 15, 143),
            (replace(RESTORED, interrupted=True), None, 3),
        ],
    )
    def test_status(self, result: RestoreResult, number: int | None, status: int) -> None:
        assert result_status(result, stopped(number)) == status

    def test_text(self) -> None:
        lossy = replace(RESTORED, lost=3, failures=(FAILURE,), not_set=(NOT_SET,), loss_report="audit/y")
        text = shown(result_parts(lossy))
        assert "orders/3 | restored-orders/3 | [2, 100) | 95 | 95 | yes" in text
        assert "billing | 1" in text
        assert "orders/4 | LEADER_NOT_AVAILABLE | no leader" in text
        assert "restored recovery point 7: 1 topic created, 95 records, 5 MB, 5 MB/s; report audit/x" in text
        assert "3 offsets lie in declared gaps" in text
        assert "loss report audit/y" in text
        assert "billing | orders/3 | 3 | gap |" in text

    def test_a_plan_by_time_says_which_times_these_are(self) -> None:
        part = replace(PLAN.partitions[0], window=Window(since=1, rule="filter"))
        topics = tuple(
            replace(PLAN.topics[0], source=name, timestamps=kind)
            for name, kind in (("a", "create"), ("b", "append"), ("c", "both"), ("d", "create"))
        )
        text = shown(plan_parts(replace(PLAN, partitions=(part,), topics=topics)))
        assert "by time (filter): create times of a, d" in text
        assert "by time (filter): append times of b" in text
        assert "by time (filter): create times and append times of c" in text
        assert json.loads(line(to_json(PLAN.topics[0])))["timestamps"] == ""

    def test_hints_of_refusals_are_shown_and_many_are_not(self) -> None:
        many = tuple(Refusal("declared-loss", f"t/{at}", f"t/{at} is lost", "Allow it.") for at in range(250))
        text = shown(plan_parts(replace(PLAN, refusals=many, allow_loss="none")))
        assert "refused: t/7 is lost (declared-loss). Allow it." in text
        assert "t/200" not in text and "and 50 more; --json gives all of them" in text
        assert "orders/3 | [2, 5) | retention | log start was 5 | refused" in text

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
    assert to_json(summary_of(same))["verdict"] == "identical"
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


def test_compare_tells_what_the_source_did_since() -> None:
    since = Excused(removed=10, compacted=5, not_proven=1, decided=2, in_gaps=3, undecided=4)
    part = ComparedPartition(
        source=GENERATION,
        target=PARTITION,
        pairing="same-offset",
        records=95,
        bytes_compared=1000,
        differences=0,
        excused=since,
        notes=("a note",),
    )
    report = CompareReport(
        point=7, target_cluster="cluster", partitions=(part,), differences=(), failures=(), seconds=1.0
    )
    text = shown(compare_parts(report))
    for told in (
        "10 offsets no longer comparable: retention or DeleteRecords took them from the source",
        "5 records gone by compaction",
        "of these 1 record not proven: no later record with the same key was met",
        "2 records not in the point: their transactions were decided after it",
        "3 records in gaps that the point declares",
        "4 offsets behind a transaction that is still open",
        "orders/3: a note",
    ):
        assert told in text
    assert compare_status(report) == 0 and text.splitlines()[-1].startswith("identical: ")
    gone = replace(report, partitions=(replace(part, records=0, excused=Excused(removed=10)),))
    text = shown(compare_parts(gone))
    assert compare_status(gone) == 4 and "identical" not in text
    assert "because nothing is left of 1 partition: orders/3" in text
    assert text.splitlines()[-1].startswith("nothing compared: ")


def test_compare_never_calls_a_sample_identical() -> None:
    part = ComparedPartition(
        source=GENERATION,
        target=TARGET,
        pairing="offset-map",
        records=95,
        bytes_compared=1000,
        differences=0,
        share=Share(3, 3_000_000, 60_000_000),
    )
    report = CompareReport(
        point=7,
        target_cluster="other",
        partitions=(part,),
        differences=(),
        failures=(),
        seconds=1.0,
        sample=SampleChoice(5.0, 4711),
    )
    text = shown(compare_parts(report))
    assert "no difference in a sample (3 MB of 60 MB in 3 chunks, --seed 4711)" in text and "identical" not in text
    assert (compare_status(report), to_json(summary_of(report))["verdict"]) == (0, "sample-identical")
    worse = replace(report, partitions=(replace(part, differences=1),))
    assert compare_status(worse) == 22
    assert shown(compare_parts(worse)).splitlines()[-1].startswith("different in a sample (")


@pytest.mark.parametrize("text", ["0%", "5", "101%", "-1%", "%", "1e1%", "٥%"])
def test_a_share_that_is_none(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a share"):
        Percent().convert(text, None, None)
    assert Percent().convert("0.5%", None, None) == 0.5 and Percent().convert("100%", None, None) == 100.0


def test_verify() -> None:
    whole = VerifyReport(level="data", head=7, objects=3, bytes=1000, findings=(), alarms=())
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
        (backup, "consistent", CONSISTENCIES),
        (restore, "existing", EXISTING),
        (restore, "retention", RETENTION),
        (restore, "preflight", PREFLIGHT),
        (restore, "allow_loss", ALLOW_LOSS),
        (restore, "until_rule", RULES),
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

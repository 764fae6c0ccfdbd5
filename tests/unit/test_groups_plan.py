"""Plans of group positions: which map counts, what is refused and why, what stays as it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kafkeep.groups.from_file import kinds_of, plan_file
from kafkeep.groups.from_point import PartitionContent, choose, plan_point
from kafkeep.groups.options import GroupOptions
from kafkeep.groups.plan import REFUSED, SET, UNCHANGED, GroupsPlan
from kafkeep.groups.survey import GroupsSurvey, Problem, TargetGroup, TargetPartition
from kafkeep.model import (
    ClusterMetadata,
    Gap,
    Generation,
    Group,
    GroupOffset,
    OffsetRange,
    PartitionCut,
    RecoveryPoint,
    TopicPartition,
)
from kafkeep.offset_map import MappedPartition, MappedPartitions, MapRow, OffsetMap
from kafkeep.position_files import FilePosition
from kafkeep.renaming import Rename

ORDERS, PAYMENTS = TopicPartition("orders", 0), TopicPartition("payments", 0)
GENERATION = Generation("orders", "id-of-orders", 0)
NEW_ID = "id-on-target"
MAP = MappedPartition(
    source=GENERATION,
    target=ORDERS,
    offsets=OffsetMap((MapRow(100, 0, 50),), 50),
    source_range=OffsetRange(100, 150),
    complete=True,
    target_topic_id=NEW_ID,
)
POINT = RecoveryPoint(
    number=7,
    name=None,
    tags=(),
    started="",
    finished="",
    cluster_id="source",
    cuts=(PartitionCut(GENERATION, 150, 100, 150, 150, 0),),
    selection=("*",),
    documents=(),
    consistency="partition",
    complete=True,
    failures=(),
)


def at(offset: int, partition: TopicPartition = ORDERS, *, epoch: int = -1, metadata: str = "") -> GroupOffset:
    return GroupOffset(partition, offset, epoch, metadata)


def group(name: str, *positions: GroupOffset, type: str = "classic") -> Group:  # noqa: A002 - Kafka's word
    return Group(name, type, "Empty", "consumer", positions)


def there(name: str, *positions: GroupOffset, type: str = "classic", state: str = "Empty") -> TargetGroup:  # noqa: A002
    return TargetGroup(group_id=name, type=type, state=state, positions={p.topic_partition: p for p in positions})


def absent(name: str) -> TargetGroup:
    return TargetGroup(group_id=name, type="unknown", state="Dead", positions={})


LOG = TargetPartition(topic_id=NEW_ID, log_start=0, log_end=60, leader_epoch=2)


def plan(
    *groups: Group,
    target: tuple[TargetGroup, ...] = (),
    log: TargetPartition = LOG,
    maps: tuple[MappedPartition, ...] = (MAP,),
    cluster: str = "target",
    gaps: tuple[Gap, ...] = (),
    newest: bool = True,
    **options: object,
) -> GroupsPlan:
    asked = GroupOptions(**options)  # type: ignore[arg-type]
    chosen = choose(POINT, ClusterMetadata("source", (), groups), asked)
    known = {found.group_id: found for found in target}
    names = chosen.target_ids(asked).values()
    survey = GroupsSurvey(
        cluster_id=cluster,
        groups={name: known.get(name, absent(name)) for name in names},
        partitions=dict.fromkeys(chosen.targets.values(), log),
    )
    contents = {ORDERS: PartitionContent(POINT.cuts[0], gaps, newest)}
    found: MappedPartitions = {(part.source.topic_partition, part.target): part for part in maps}
    return plan_point(POINT, chosen, contents, found, survey, asked)


def actions(found: GroupsPlan) -> list[tuple[str, int | None, str, str]]:
    return [(g.group_id, p.offset, p.action, p.refusal) for g in found.groups for p in g.positions]


def kinds(found: GroupsPlan) -> list[str]:
    return [refusal.kind for refusal in found.refusals]


def test_positions_go_through_the_map_and_keep_their_strings() -> None:
    found = plan(group("a", at(120, epoch=9, metadata="partition time")), group("b", at(150)))
    assert actions(found) == [("a", 20, SET, ""), ("b", 50, SET, "")]
    position = found.groups[0].positions[0]
    assert (position.metadata, position.leader_epoch, position.committed) == ("partition time", -1, 120)
    assert (found.warnings, found.refusals) == ((), ())
    assert not found.groups[0].exists


def test_the_same_topic_on_the_same_cluster_needs_no_map() -> None:
    log = replace(LOG, topic_id=GENERATION.topic_id, log_start=110, log_end=200)
    found = plan(group("a", at(120)), group("late", at(105)), cluster="source", log=log, maps=())
    assert actions(found) == [("a", 120, SET, ""), ("late", 110, SET, "")]
    assert found.refusals == ()
    (warning,) = found.warnings
    assert "log-start" in warning and "group late in orders/0 at 110" in warning


def test_a_log_that_was_cut_back_since_is_warned_of() -> None:
    log = replace(LOG, topic_id=GENERATION.topic_id, log_end=200)
    found = plan(group("a", at(120)), cluster="source", log=log, maps=(), newest=False)
    assert actions(found) == [("a", 120, SET, "")]
    assert "cut back" in found.warnings[0]


@pytest.mark.parametrize("cluster", ["source", "target"])
def test_a_recreated_topic_without_a_map_is_refused_with_a_hint(cluster: str) -> None:
    found = plan(group("a", at(120)), group("b", at(130)), cluster=cluster, maps=())
    assert actions(found) == [("a", None, REFUSED, "no-offset-map"), ("b", None, REFUSED, "no-offset-map")]
    (refusal,) = found.refusals
    assert (refusal.kind, refusal.subject) == ("no-offset-map", "topic orders")
    assert "--map" in refusal.hint
    assert not found.changes


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source": GENERATION._replace(topic_id="other")}, "another history"),
        ({"source": GENERATION._replace(lineage=1)}, "another history"),
        ({"complete": False}, "ended before"),
        ({"target_topic_id": "deleted since"}, "earlier topic"),
        ({"target_topic_id": None, "offsets": OffsetMap((MapRow(100, 0, 50),), 61)}, "log ends at 60"),
    ],
)
def test_a_map_that_no_longer_fits_is_refused(change: dict[str, object], words: str) -> None:
    found = plan(group("a", at(120)), maps=(replace(MAP, **change),))  # type: ignore[arg-type]
    assert actions(found) == [("a", None, REFUSED, "offset-map-refused")]
    assert words in found.refusals[0].message


def test_a_map_of_a_file_without_ids_and_ranges_is_taken() -> None:
    found = plan(group("a", at(120)), maps=(replace(MAP, target_topic_id=None, source_range=None),))
    assert actions(found) == [("a", 20, SET, "")]


def test_a_map_may_reach_to_the_very_end_of_the_log() -> None:
    whole = replace(MAP, target_topic_id=None, offsets=OffsetMap((MapRow(100, 0, 50),), 60))
    assert actions(plan(group("a", at(150)), maps=(whole,))) == [("a", 60, SET, "")]


def test_a_topic_id_of_another_cluster_proves_nothing() -> None:
    """Brokers before 2.8 tell none, and a copied disk tells the same."""
    log = replace(LOG, topic_id=GENERATION.topic_id)
    assert kinds(plan(group("a", at(120)), log=log, maps=(), cluster="target")) == ["no-offset-map"]


def test_a_missing_target_topic_is_refused_by_name() -> None:
    log = replace(LOG, problem=Problem("target-missing", "orders/0 does not exist on the target"))
    found = plan(group("a", at(120)), log=log)
    assert actions(found) == [("a", None, REFUSED, "target-missing")]
    assert kinds(found) == ["target-missing"]


def test_moving_backwards_needs_to_be_said() -> None:
    groups, target = [group("a", at(120, metadata="m"))], (there("a", at(30)),)
    found = plan(*groups, target=target)
    assert actions(found) == [("a", 20, REFUSED, "backwards")]
    assert found.refusals[0].kind == "backwards"
    assert "orders/0 from 30 to 20" in found.refusals[0].message
    assert actions(plan(*groups, target=target, backwards=True)) == [("a", 20, SET, "")]


@pytest.mark.parametrize(
    ("current", "action"),
    [
        (at(20, metadata="m"), UNCHANGED),
        (at(20, epoch=2, metadata="m"), UNCHANGED),
        (at(20, epoch=3, metadata="m"), SET),
        (at(20, metadata=""), SET),
        (at(19, metadata="m"), SET),
    ],
)
def test_a_position_stays_only_when_all_of_it_is_right(current: GroupOffset, action: str) -> None:
    """An epoch that the partition never had silences Java consumers although the offset is right."""
    found = plan(group("a", at(120, metadata="m")), target=(there("a", current),))
    assert actions(found) == [("a", 20, action, "")]
    assert found.changes == (action == SET)


@pytest.mark.parametrize("state", ["Stable", "PreparingRebalance", "Assigning", "Reconciling"])
def test_a_group_with_members_is_refused_by_name_and_stops_no_other(state: str) -> None:
    found = plan(group("a", at(120)), group("b", at(120)), target=(there("b", at(1), state=state),))
    assert actions(found) == [("a", 20, SET, ""), ("b", 20, REFUSED, "group-active")]
    assert [(r.kind, r.subject) for r in found.refusals] == [("group-active", "group b")]
    assert state in found.refusals[0].message
    assert found.changes


def test_a_group_that_may_not_be_looked_at_is_refused() -> None:
    target = replace(absent("a"), state="", problem=Problem("kafka-access-denied", "no right"))
    found = plan(group("a", at(120)), target=(target,))
    assert actions(found) == [("a", 20, REFUSED, "kafka-access-denied")]


@pytest.mark.parametrize(("source", "target"), [("classic", "share"), ("consumer", "share"), ("share", "streams")])
def test_a_group_of_another_kind_is_refused(source: str, target: str) -> None:
    found = plan(group("a", at(120), type=source), target=(there("a", type=target),))
    assert [(p.action, p.refusal) for g in found.groups for p in g.positions] == [(REFUSED, "plan-refused")]
    assert target in found.refusals[0].message


@pytest.mark.parametrize(
    ("source", "target"), [("classic", "consumer"), ("streams", "classic"), ("unknown", "consumer")]
)
def test_kinds_with_committed_offsets_are_one(source: str, target: str) -> None:
    found = plan(group("a", at(120), type=source), target=(there("a", type=target),))
    assert (found.groups[0].kind, found.groups[0].type) == ("offsets", target)
    assert actions(found) == [("a", 20, SET, "")]


def test_share_groups_have_start_offsets_and_no_strings() -> None:
    found = plan(group("a", at(120), type="share"), target=(there("a", at(20, epoch=99), type="share"),))
    assert (found.groups[0].kind, actions(found)) == ("share", [("a", 20, UNCHANGED, "")])


def test_renamed_groups_and_topics() -> None:
    moved = TopicPartition("restored-orders", 0)
    options = {"renames": (Rename.parse("s/^/restored-/"),), "group_renames": (Rename.parse("a=b"),)}
    found = plan(group("a", at(120)), maps=(replace(MAP, target=moved),), **options)
    assert [(g.group_id, g.source, p.target, p.source) for g in found.groups for p in g.positions] == [
        ("b", "a", moved, ORDERS)
    ]
    assert kinds(plan(group("a", at(120)), **options)) == ["no-offset-map"]


def test_two_groups_that_would_become_one_are_both_refused() -> None:
    found = plan(group("a", at(120)), group("b", at(130)), group("c", at(140)), group_renames=(Rename.parse("a=b"),))
    assert actions(found) == [
        ("b", 20, REFUSED, "plan-refused"),
        ("b", 30, REFUSED, "plan-refused"),
        ("c", 40, SET, ""),
    ]
    assert "a, b would all become group b" in found.refusals[0].message


def test_a_position_in_a_gap_is_listed_with_its_choice() -> None:
    gap = Gap(GENERATION, OffsetRange(150, 160), "retention", "", "")
    late = replace(MAP, offsets=OffsetMap((MapRow(100, 0, 50), MapRow(160, 50, 5)), 55))
    found = plan(group("a", at(155)), maps=(late,), gaps=(gap,))
    assert actions(found) == [("a", 50, REFUSED, "in-gap")]
    assert "[150, 160)" in found.refusals[0].message and "--in-gap next" in found.refusals[0].hint
    taken = plan(group("a", at(155)), maps=(late,), gaps=(gap,), in_gap="next")
    assert actions(taken) == [("a", 50, SET, "")]
    assert taken.refusals == () and "gap" in taken.warnings[0]


def test_what_the_point_does_not_hold_is_left_alone_and_said() -> None:
    found = plan(group("a", at(120), at(5, PAYMENTS)), group("only", at(6, PAYMENTS)))
    assert actions(found) == [("a", 20, SET, "")]
    assert found.refusals == ()
    assert "2 position(s) of 2 group(s)" in found.warnings[0] and "payments" in found.warnings[0]


def test_names_that_the_point_does_not_know_are_refused() -> None:
    found = plan(group("a", at(120)), groups=("a", "zed", "q*"), topics=("orders", "nope"))
    assert [(r.kind, r.message) for r in found.refusals] == [
        ("plan-refused", "the point holds no group zed"),
        ("plan-refused", "the point holds no topic nope"),
    ]
    assert found.changes


def test_groups_and_topics_are_chosen() -> None:
    chosen = plan(group("a", at(120)), group("__b", at(120)), groups=("__*",))
    assert [g.group_id for g in chosen.groups] == ["__b"]
    assert plan(group("a", at(120)), exclude=("orders",)).groups == ()


def file_plan(*positions: FilePosition, target: tuple[TargetGroup, ...] = (), log: TargetPartition = LOG) -> GroupsPlan:
    known = {found.group_id: found for found in target}
    survey = GroupsSurvey(
        cluster_id="target",
        groups={name: known.get(name, absent(name)) for name in kinds_of(positions)},
        partitions={p.target: log for p in positions},
    )
    return plan_file("plan.csv", positions, survey, GroupOptions())


def test_a_file_is_taken_as_it_is() -> None:
    found = file_plan(
        FilePosition("a", ORDERS, 0), FilePosition("a", PAYMENTS, 60, "m"), FilePosition("s", ORDERS, 5, share=True)
    )
    assert actions(found) == [("a", 0, SET, ""), ("a", 60, SET, ""), ("s", 5, SET, "")]
    assert [(g.kind, g.type) for g in found.groups] == [("offsets", "unknown"), ("share", "share")]
    assert [p.metadata for g in found.groups for p in g.positions] == ["", "m", ""]
    assert found.refusals == ()


def test_a_file_without_strings_keeps_those_of_positions_that_stay() -> None:
    target = there("a", at(5, metadata="kept"), at(5, PAYMENTS, metadata="old"))
    found = file_plan(FilePosition("a", ORDERS, 5), FilePosition("a", PAYMENTS, 6), target=(target,))
    assert [(p.action, p.metadata) for g in found.groups for p in g.positions] == [(UNCHANGED, "kept"), (SET, "")]


def test_a_group_of_a_file_is_set_by_the_requests_of_its_kind() -> None:
    found = file_plan(FilePosition("a", ORDERS, 5), target=(there("a", type="share"),))
    assert (found.groups[0].kind, actions(found)) == ("share", [("a", 5, SET, "")])


@pytest.mark.parametrize("offset", [9, 61])
def test_an_offset_outside_of_the_log_is_refused(offset: int) -> None:
    found = file_plan(FilePosition("a", ORDERS, offset), log=replace(LOG, log_start=10))
    assert actions(found) == [("a", offset, REFUSED, "outside-log")]
    assert "[10, 60)" in found.refusals[0].message


def test_a_file_that_names_a_missing_topic_or_moves_back() -> None:
    log = replace(LOG, problem=Problem("target-missing", "orders/0 does not exist on the target"))
    assert kinds(file_plan(FilePosition("a", ORDERS, 5), log=log)) == ["target-missing"]
    assert kinds(file_plan(FilePosition("a", ORDERS, 5), target=(there("a", at(6)),))) == ["backwards"]


def test_many_refusals_of_one_reason_are_one_message() -> None:
    positions = [FilePosition("a", TopicPartition("orders", number), 5) for number in range(50)]
    target = there("a", *(at(6, p.target) for p in positions))
    (refusal,) = file_plan(*positions, target=(target,)).refusals
    assert "50 partition(s)" in refusal.message and "and 47 more" in refusal.message

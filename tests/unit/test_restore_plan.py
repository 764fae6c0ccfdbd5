"""What a restore decides before it changes anything: every refusal, every warning, and what goes where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from kafkeep.model import (
    ClusterMetadata,
    Failure,
    Generation,
    Group,
    GroupOffset,
    OffsetRange,
    PartitionCut,
    RecoveryPoint,
    RunFacts,
    RunRef,
    TopicMetadata,
    TopicPartition,
)
from kafkeep.renaming import Rename
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.plan import APPEND, CREATE, FILL, PartitionContent, RestorePlan
from kafkeep.restore.planning import plan_restore
from kafkeep.restore.survey import TargetSurvey, TargetTopic

ID = "I" * 22
NOW_MS = 2_000_000_000_000
POINT = RecoveryPoint(
    number=5,
    name=None,
    tags=(),
    started="",
    finished="",
    cluster_id="source",
    cuts=(),
    selection=("*",),
    documents=(),
    consistency="partition",
    complete=True,
    failures=(),
)


def run(topic: str, partition: int, start: int, stop: int, *, newest: int = NOW_MS) -> RunRef:
    facts = RunFacts(
        generation=Generation(topic, ID, partition),
        coverage=OffsetRange(start, stop),
        leader_epochs=(),
        batches=1,
        records=stop - start,
        control_batches=0,
        raw_bytes=10 * (stop - start),
        stored_bytes=10,
        min_base_timestamp=0,
        max_timestamp=newest,
        log_append_time=False,
        create_time=True,
        largest_batch=100,
        codecs=(0,),
        aborted=(),
        open_transactions=(),
        holes=False,
        old_magic=False,
    )
    return RunRef(facts, f"pack-{start}", 0)


def content(
    topic: str,
    partition: int = 0,
    *,
    start: int = 0,
    stop: int = 100,
    history: int = 0,
    gaps: tuple[tuple[int, int], ...] = (),
    newest: int = NOW_MS,
) -> PartitionContent:
    runs = tuple(run(topic, partition, at, at + 50, newest=newest) for at in range(history, stop, 50))
    return PartitionContent(
        PartitionCut(Generation(topic, ID, partition), stop, start, stop, stop, 0), history, runs, gaps
    )


def topic(
    name: str, *, partitions: int = 1, replicas: int = 1, internal: bool = False, **configs: str | None
) -> TopicMetadata:
    named = tuple(sorted((key.replace("_", "."), value) for key, value in configs.items()))
    return TopicMetadata(name, ID, internal, tuple(tuple(range(replicas)) for _ in range(partitions)), named)


def there(name: str, *, partitions: int = 1, empty: bool = True, error: str = "", **overrides: str) -> TargetTopic:
    named = {key.replace("_", "."): value for key, value in overrides.items()}
    return TargetTopic(name=name, topic_id=ID, partitions=partitions, empty=empty, overrides=named, error=error)


def group(name: str, *positions: tuple[str, int], kind: str = "classic") -> Group:
    offsets = tuple(GroupOffset(TopicPartition(topic, 0), offset, 9, f"m{offset}") for topic, offset in positions)
    return Group(name, kind, "Empty", "consumer", offsets)


def planned(
    *topics: TopicMetadata,
    contents: list[PartitionContent] | None = None,
    having: tuple[Group, ...] = (),
    target: Mapping[str, TargetTopic] | None = None,
    active: Mapping[str, str] | None = None,
    brokers: int = 3,
    unsupported: frozenset[tuple[str, str]] = frozenset(),
    point: RecoveryPoint = POINT,
    **options: Any,
) -> RestorePlan:
    found = [content(each.name, number) for each in topics for number in range(len(each.partitions))]
    survey = TargetSurvey(
        cluster_id="target", brokers=brokers, topics=target or {}, active_groups=active or {}, unsupported=unsupported
    )
    return plan_restore(
        point,
        ClusterMetadata("source", topics, having),
        found if contents is None else contents,
        survey,
        RestoreOptions(**options),
        now_ms=NOW_MS,
    )


def kinds(plan: RestorePlan) -> list[tuple[str, str]]:
    return [(refusal.kind, refusal.subject) for refusal in plan.refusals]


def test_a_plain_plan() -> None:
    plan = planned(topic("orders", partitions=2, replicas=3, retention_ms="-1"), topic("bills"))
    assert [(each.source, each.target, each.action) for each in plan.topics] == [
        ("orders", "orders", CREATE),
        ("bills", "bills", CREATE),
    ]
    assert (plan.topics[0].partitions, plan.topics[0].replication_factor) == (2, 3)
    assert plan.topics[0].configs == (("retention.ms", "-1"),)
    assert [(str(part.source), str(part.target), part.start, part.stop) for part in plan.partitions] == [
        ("orders/0", "orders/0", 0, 100),
        ("orders/1", "orders/1", 0, 100),
        ("bills/0", "bills/0", 0, 100),
    ]
    assert (plan.most_records, plan.raw_bytes) == (300, 3000)
    assert (plan.refusals, plan.warnings, plan.groups) == ((), (), ())
    assert (plan.point, plan.source_cluster, plan.target_cluster) == (5, "source", "target")


def test_only_chosen_topics_and_partitions() -> None:
    plan = planned(
        topic("orders", partitions=3), topic("bills"), topics=("or*",), partitions=(("orders", frozenset({0, 2})),)
    )
    assert [str(part.source) for part in plan.partitions] == ["orders/0", "orders/2"]
    assert [(each.source, each.partitions) for each in plan.topics] == [("orders", 3)]


def test_ranges() -> None:
    contents = [content("orders", start=30, stop=200, history=0, gaps=((10, 20), (60, 70)))]
    plan = planned(topic("orders"), contents=contents)
    (part,) = plan.partitions
    assert (part.start, part.stop, part.lost) == (30, 200, 10)
    assert [each.coverage.start for each in part.runs] == [0, 50, 100, 150]
    (whole,) = planned(topic("orders"), contents=contents, whole_history=True).partitions
    assert (whole.start, whole.stop, whole.lost) == (0, 200, 20)
    until = ((TopicPartition("orders", 0), 60),)
    (early,) = planned(topic("orders"), contents=contents, until_offsets=until).partitions
    assert (early.start, early.stop, early.lost) == (30, 60, 0)
    assert [each.coverage.start for each in early.runs] == [0, 50]
    (none,) = planned(topic("orders"), contents=contents, until_offsets=((TopicPartition("orders", 0), 3),)).partitions
    assert (none.start, none.stop, none.runs) == (30, 30, ())


def test_an_empty_target_topic_is_filled_and_keeps_its_settings() -> None:
    plan = planned(topic("orders", retention_ms="7"), target={"orders": there("orders", retention_ms="9")})
    assert (plan.topics[0].action, plan.topics[0].configs) == (FILL, (("retention.ms", "9"),))
    assert plan.refusals == ()
    assert any("settings stay as they are" in warning for warning in plan.warnings)


def test_replication_factor() -> None:
    plan = planned(topic("orders", replicas=3, min_insync_replicas="2"), brokers=1)
    assert plan.topics[0].replication_factor == 1
    assert plan.topics[0].configs == (("min.insync.replicas", "1"),)
    assert any("replication factor 3 lowered to 1" in warning for warning in plan.warnings)
    assert any("min.insync.replicas lowered from 2 to 1" in warning for warning in plan.warnings)
    assert planned(topic("orders", replicas=3), replication_factor=2).topics[0].replication_factor == 2


def test_positions_are_taken_along_where_their_partition_is() -> None:
    groups = (group("readers", ("orders", 50), ("bills", 1)), group("others", ("bills", 2)))
    plan = planned(
        topic("orders"), topic("bills"), having=groups, topics=("orders",), renames=(Rename.parse("orders=o2"),)
    )
    (found,) = plan.groups
    assert found.group_id == "readers"
    (position,) = found.positions
    assert (str(position.source), str(position.target)) == ("orders/0", "o2/0")
    assert (position.committed, position.metadata) == (50, "m50")


def test_groups_are_chosen_by_name() -> None:
    groups = (group("a", ("orders", 1)), group("__b", ("orders", 1)))
    assert [each.group_id for each in planned(topic("orders"), having=groups).groups] == ["a", "__b"]
    assert [each.group_id for each in planned(topic("orders"), having=groups, groups=("a*",)).groups] == ["a"]
    assert planned(topic("orders"), having=groups, groups=()).groups == ()


# --- warnings


def test_a_position_outside_of_what_is_restored_is_told() -> None:
    plan = planned(topic("orders"), contents=[content("orders", start=10)], having=(group("g", ("orders", 5)),))
    assert any("position 5 of orders/0 is outside" in warning for warning in plan.warnings)
    fine = planned(topic("orders"), having=(group("g", ("orders", 100)), group("h", ("orders", 0))))
    assert fine.warnings == ()


def test_share_groups_are_left_out_by_name() -> None:
    plan = planned(topic("orders"), having=(group("s", ("orders", 5), kind="share"),))
    assert plan.groups == ()
    assert any("share group s is left out" in warning for warning in plan.warnings)


def test_settings_that_do_not_come_along_are_told() -> None:
    gone = ("message.downconversion.enable", "true")
    plan = planned(
        topic(
            "orders", message_downconversion_enable="true", secret_setting=None, message_timestamp_type="LogAppendTime"
        ),
        unsupported=frozenset({gone}),
    )
    assert plan.topics[0].configs == (("message.timestamp.type", "LogAppendTime"),)
    text = "\n".join(plan.warnings)
    assert "message.downconversion.enable=true is not carried over" in text
    assert "secret.setting was not readable" in text
    assert "append times" in text


@pytest.mark.parametrize(
    ("configs", "newest", "options", "told"),
    [
        ({"retention_ms": "1000"}, NOW_MS - 1001, {}, True),
        ({"retention_ms": "1000"}, NOW_MS - 1000, {}, False),
        ({"retention_ms": "-1"}, 0, {}, False),
        ({}, NOW_MS - 7 * 86_400_000, {}, False),
        ({"retention_ms": "1000", "cleanup_policy": "compact"}, 0, {}, False),
        ({"retention_ms": "1000", "cleanup_policy": "compact,delete"}, 0, {}, True),
        ({"retention_ms": "1000"}, 0, {"retention": "hold"}, False),
    ],
)
def test_records_that_retention_will_take_again(
    configs: dict[str, str], newest: int, options: dict[str, str], told: bool
) -> None:
    plan = planned(topic("orders", **configs), contents=[content("orders", newest=newest)], **options)
    assert any("1000 bytes are older than retention.ms=1000" in warning for warning in plan.warnings) == told


def test_records_that_the_default_retention_will_take() -> None:
    plan = planned(topic("orders"), contents=[content("orders", newest=NOW_MS - 7 * 86_400_000 - 1)])
    assert any("1000 bytes are older than the default retention" in warning for warning in plan.warnings)


def test_gaps_and_incomplete_points_are_told() -> None:
    plan = planned(
        topic("orders"),
        contents=[content("orders", gaps=((5, 9),))],
        point=replace(POINT, complete=False, failures=(Failure("a", "b", "c"),)),
    )
    text = "\n".join(plan.warnings)
    assert "orders/0: 4 offset(s) of the range are a declared gap" in text
    assert "point #5 is incomplete: 1 part(s) were not captured" in text


# --- refusals


def test_a_topic_that_holds_records_unless_told_to_append() -> None:
    target = {"orders": there("orders", empty=False)}
    assert kinds(planned(topic("orders"), target=target)) == [("target-not-empty", "orders")]
    plan = planned(topic("orders"), target=target, existing="append")
    assert (plan.refusals, plan.topics[0].action) == ((), APPEND)


def test_two_topics_under_one_name() -> None:
    plan = planned(topic("a"), topic("b"), renames=(Rename.parse("s/.*/same/"),))
    assert kinds(plan) == [("plan-refused", "same")]
    assert "a, b would all be restored into same" in plan.refusals[0].message
    assert kinds(planned(topic("a"), topic("b"), renames=(Rename.parse("a=b"),))) == [("plan-refused", "b")]


def test_a_topic_the_point_does_not_hold() -> None:
    assert kinds(planned(topic("orders"), topics=("orders", "bills"))) == [("plan-refused", "bills")]
    assert kinds(planned(topic("orders"), topics=("x*",))) == []


def test_a_group_the_point_does_not_hold() -> None:
    assert kinds(planned(topic("orders"), groups=("readers", "x*"))) == [("plan-refused", "readers")]


def test_a_partition_the_point_does_not_hold() -> None:
    plan = planned(topic("orders", partitions=2), partitions=(("orders", frozenset({1, 2})), ("bills", frozenset({0}))))
    assert kinds(plan) == [("plan-refused", "orders"), ("plan-refused", "bills")]


def test_an_until_offset_of_a_partition_the_point_does_not_hold() -> None:
    until = ((TopicPartition("orders", 7), 3), (TopicPartition("bills", 0), 3))
    assert kinds(planned(topic("orders"), until_offsets=until)) == [
        ("plan-refused", "orders/7"),
        ("plan-refused", "bills/0"),
    ]


def test_another_partition_count() -> None:
    plan = planned(topic("orders", partitions=2), target={"orders": there("orders", partitions=3)})
    assert kinds(plan) == [("plan-refused", "orders")]
    assert "has 3 partitions, the source had 2" in plan.refusals[0].message


def test_a_replication_factor_beyond_the_brokers_when_asked_for() -> None:
    assert kinds(planned(topic("orders"), replication_factor=4)) == [("plan-refused", "orders")]


def test_an_internal_topic() -> None:
    assert kinds(planned(topic("__consumer_offsets", internal=True), topics=("__*",))) == [
        ("plan-refused", "__consumer_offsets")
    ]


def test_a_topic_that_cannot_be_looked_at() -> None:
    plan = planned(topic("orders"), target={"orders": there("orders", error="no right")})
    assert [(refusal.kind, refusal.message) for refusal in plan.refusals] == [("plan-refused", "no right")]


def test_a_group_with_members() -> None:
    plan = planned(topic("orders"), having=(group("g", ("orders", 1)),), active={"g": "Stable", "other": "Stable"})
    assert kinds(plan) == [("group-active", "g")]
    assert "Stable" in plan.refusals[0].message
    assert kinds(planned(topic("orders"), having=(group("g", ("orders", 1)),), active={"g": "Stable"}, groups=())) == []


def test_an_unknown_route() -> None:
    assert kinds(planned(topic("orders"), route="magic")) == [("plan-refused", "magic")]

"""What a restore decides before it changes anything: every refusal, every warning, and what goes where."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.restore_plans import NOW_MS, POINT, content, group, kinds, planned, run, there, topic

from kafkeep.model import Failure, TopicPartition
from kafkeep.renaming import Rename
from kafkeep.restore.plan import APPEND, CREATE, FILL, PartitionContent


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
    allowed = {"allow_loss": "skip"}
    plan = planned(topic("orders"), contents=contents, **allowed)
    (part,) = plan.partitions
    assert (part.start, part.stop, part.lost) == (30, 200, 10)
    assert [each.coverage.start for each in part.runs] == [0, 50, 100, 150]
    (whole,) = planned(topic("orders"), contents=contents, whole_history=True, **allowed).partitions
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
    assert [each.group_id for each in planned(topic("orders"), having=groups, groups=("re:_+b|c",)).groups] == ["__b"]
    assert planned(topic("orders"), having=groups, groups=()).groups == ()


# --- warnings


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


def test_an_incomplete_point_is_told_by_its_failures() -> None:
    failures = tuple(Failure(f"group {name}", "kafka-access-denied", "no") for name in "abcde")
    plan = planned(topic("orders"), point=replace(POINT, complete=False, failures=failures))
    (told,) = plan.warnings
    assert told.startswith("point #5 is incomplete: 5 part(s) were not captured: group a (kafka-access-denied)")
    assert told.endswith(", and 2 more")
    assert plan.refusals == ()


def test_which_times_the_records_carry() -> None:
    def told(*pairs: tuple[bool, bool]) -> str:
        runs = tuple(
            run("orders", 0, 50 * at, 50 * at + 50, create_time=create, log_append_time=append)
            for at, (create, append) in enumerate(pairs)
        )
        held = content("orders", stop=50 * len(pairs))
        plan = planned(topic("orders"), contents=[PartitionContent(held.cut, 0, runs, ())])
        return plan.topics[0].timestamps

    assert told((True, False)) == "create"
    assert told((False, True)) == "append"
    assert told((True, False), (False, True)) == told((True, True)) == "both"
    assert told((False, False)) == told() == ""


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


@pytest.mark.parametrize("name", ["__consumer_offsets", "__transaction_state", "__share_group_state"])
def test_into_a_topic_that_kafka_keeps_for_itself(name: str) -> None:
    plan = planned(topic("a"), renames=(Rename.parse(f"a={name}"),), target={name: there(name)})
    assert kinds(plan) == [("plan-refused", name)]
    assert "which Kafka keeps for itself" in plan.refusals[0].message


def test_names_that_are_one_to_kafka() -> None:
    plan = planned(topic("a.b"), topic("c"), renames=(Rename.parse("c=a_b"),))
    assert kinds(plan) == [("plan-refused", "a.b")]
    assert "a.b and a_b are one name to Kafka" in plan.refusals[0].message


def test_a_new_name_that_is_taken_on_the_target_by_another_topic() -> None:
    """It is what any topic with records is: refused, or appended to when that is asked for."""
    renames = (Rename.parse("a=b"),)
    target = {"b": there("b", empty=False)}
    assert kinds(planned(topic("a"), topic("b"), topics=("a",), renames=renames, target=target)) == [
        ("target-not-empty", "b")
    ]
    both = planned(topic("a"), topic("b"), renames=renames, target=target, existing="append")
    assert kinds(both) == [("plan-refused", "b")]


def test_names_may_change_places() -> None:
    plan = planned(topic("a"), topic("b"), renames=(Rename.parse("a=b"), Rename.parse("b=a")))
    assert plan.refusals == ()
    assert [(str(part.source), str(part.target)) for part in plan.partitions] == [("a/0", "b/0"), ("b/0", "a/0")]


def test_a_topic_the_point_does_not_hold() -> None:
    assert kinds(planned(topic("orders"), topics=("orders", "bills"))) == [("plan-refused", "bills")]
    assert kinds(planned(topic("orders"), topics=("x*",))) == []


def test_a_group_the_point_does_not_hold() -> None:
    assert kinds(planned(topic("orders"), groups=("readers", "x*"))) == [("plan-refused", "readers")]


def test_a_partition_the_point_does_not_hold() -> None:
    plan = planned(topic("orders", partitions=2), partitions=(("orders", frozenset({1, 2})), ("bills", frozenset({0}))))
    assert kinds(plan) == [("plan-refused", "orders"), ("plan-refused", "bills")]


@pytest.mark.parametrize("option", ["until_offsets", "from_offsets"])
def test_an_offset_for_a_partition_that_is_not_restored(option: str) -> None:
    named = tuple((TopicPartition(*each), 3) for each in (("orders", 7), ("bills", 0), ("orders", 1)))
    plan = planned(topic("orders", partitions=2), partitions=(("orders", frozenset({0})),), **{option: named})
    assert kinds(plan) == [("plan-refused", "orders/7"), ("plan-refused", "bills/0"), ("plan-refused", "orders/1")]
    assert [refusal.message for refusal in plan.refusals] == [
        "the point holds no partition orders/7",
        "offsets are given for bills/0, and bills is not among the chosen topics of the point",
        "offsets are given for orders/1, and --partitions leaves it out",
    ]


def test_a_partition_that_would_end_before_it_begins() -> None:
    named = TopicPartition("orders", 0)
    plan = planned(topic("orders"), from_offsets=((named, 8),), until_offsets=((named, 7),))
    assert kinds(plan) == [("plan-refused", "orders/0")]
    assert planned(topic("orders"), from_offsets=((named, 7),), until_offsets=((named, 7),)).refusals == ()


def test_options_that_no_command_line_lets_through() -> None:
    assert kinds(planned(topic("orders"), since_timestamp=2, until_timestamp=1)) == [("plan-refused", "since")]
    assert kinds(planned(topic("orders"), since_timestamp=2, until_timestamp=2)) == []
    assert kinds(planned(topic("orders"), until_rule="about")) == [("plan-refused", "about")]
    assert kinds(planned(topic("orders"), allow_loss="some")) == [("plan-refused", "some")]


@pytest.mark.parametrize(
    ("begin", "end", "whole", "restored", "told"),
    [
        (None, None, False, (30, 200), ""),
        (30, 200, False, (30, 200), ""),
        (60, 61, False, (60, 61), ""),
        (10, None, False, (30, 200), "orders/0 begins at 30, not at 10, --whole-history reaches back to 5"),
        (10, None, True, (10, 200), ""),
        (3, None, True, (5, 200), "orders/0 begins at 5, not at 3"),
        (201, None, False, (200, 200), "orders/0 ends at 200, in front of 201"),
        (None, 201, False, (30, 200), "orders/0 ends at 200, not at 201"),
        (None, 29, False, (30, 30), "orders/0 begins at 30, behind 29"),
        (None, 30, False, (30, 30), ""),
        (200, None, False, (200, 200), ""),
    ],
)
def test_offsets_that_are_given(
    begin: int | None, end: int | None, whole: bool, restored: tuple[int, int], told: str
) -> None:
    named = TopicPartition("orders", 0)
    plan = planned(
        topic("orders"),
        contents=[content("orders", start=30, stop=200, history=5)],
        from_offsets=() if begin is None else ((named, begin),),
        until_offsets=() if end is None else ((named, end),),
        whole_history=whole,
    )
    (part,) = plan.partitions
    assert (part.start, part.stop) == restored
    assert [each.coverage.start for each in part.runs] == [
        at for at in range(5, 200, 50) if at < restored[1] and at + 50 > restored[0] and restored[0] < restored[1]
    ]
    assert plan.warnings == ((f"1 offset(s) lie outside of the point: {told}",) if told else ())
    assert plan.refusals == ()


def test_another_partition_count() -> None:
    plan = planned(topic("orders", partitions=2), target={"orders": there("orders", partitions=3)})
    assert kinds(plan) == [("plan-refused", "orders")]
    assert "has 3 partitions, the source had 2" in plan.refusals[0].message
    assert "with 2 partitions" in plan.refusals[0].hint and "--rename" in plan.refusals[0].hint


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

"""Metadata plans: carried out on a model, they make the target like the source, and a second plan has nothing to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafkeep.inventory import (
    BROKER,
    CLIENT_METRICS,
    CLUSTER,
    GROUP,
    Acl,
    BrokerNode,
    ConfigValue,
    Inventory,
    Quota,
    QuotaEntity,
    ResourceConfigs,
    ScramUser,
    Standing,
)
from kafkeep.metadata import options as areas
from kafkeep.metadata.image import ClusterImage
from kafkeep.metadata.options import AREAS, ApplyOptions
from kafkeep.metadata.plan import (
    AddAcl,
    CreateTopic,
    MetadataPlan,
    RemoveAcl,
    RemoveTopic,
    RemoveUser,
    SetConfigs,
    SetQuota,
    SetTopicConfigs,
    SetUser,
    Step,
)
from kafkeep.metadata.planning import Abilities, plan_metadata
from kafkeep.model import TopicMetadata

NAMES = ("a", "b", "c")
name = st.sampled_from(NAMES)
value = st.sampled_from(("1", "2", "3"))
node = st.integers(1, 4)


def topic(topic_name: str, partitions: Sequence[tuple[int, ...]], configs: dict[str, str | None]) -> TopicMetadata:
    return TopicMetadata(topic_name, "T" * 22, False, tuple(partitions), tuple(sorted(configs.items())))


replicas = st.lists(node, min_size=1, max_size=3, unique=True).map(tuple)
topics = st.builds(
    topic, name, st.lists(replicas, min_size=1, max_size=3), st.dictionaries(st.sampled_from(("x", "y")), value)
)
acls = st.builds(
    Acl,
    st.just("TOPIC"),
    name,
    st.just("LITERAL"),
    st.just("User:u"),
    st.just("*"),
    st.sampled_from(("READ", "WRITE")),
    st.just("ALLOW"),
)
entities = st.builds(QuotaEntity, st.sampled_from(((("user", None),), (("user", "a"),), (("ip", "b"),))))
quotas = st.builds(
    Quota,
    entities,
    st.dictionaries(st.sampled_from(("p", "q")), st.sampled_from((1.0, 2.5)), min_size=1).map(
        lambda limits: tuple(sorted(limits.items()))
    ),
)
users = st.builds(ScramUser, name, st.sampled_from(("SCRAM-SHA-256", "SCRAM-SHA-512")), st.sampled_from((4096, 8192)))


def resource(kind: str, resource_name: str, configs: dict[str, str]) -> ResourceConfigs:
    return ResourceConfigs(
        kind, resource_name, tuple(ConfigValue(key, text, kind) for key, text in sorted(configs.items()))
    )


configs = st.dictionaries(st.sampled_from(("x", "y")), value, min_size=1)
resources = st.one_of(
    st.builds(resource, st.just(BROKER), st.sampled_from(("1", "2", "3", "4")), configs),
    st.builds(resource, st.just(CLUSTER), st.just(""), configs),
    st.builds(resource, st.sampled_from((GROUP, CLIENT_METRICS)), name, configs),
)


def image(
    found_topics: list[TopicMetadata],
    found_acls: set[Acl],
    found_quotas: list[Quota],
    found_users: list[ScramUser],
    found_configs: list[ResourceConfigs],
    brokers: int,
) -> ClusterImage:
    return ClusterImage(
        origin="test",
        time="2026-11-21T12:00:00Z",
        cluster_id="c",
        topics=tuple({one.name: one for one in found_topics}.values()),
        groups=(),
        inventory=Inventory(
            configs=tuple({(one.kind, one.name): one for one in found_configs}.values()),
            acls=tuple(sorted(found_acls)),
            quotas=tuple({one.entity: one for one in found_quotas}.values()),
            scram_users=tuple({(one.name, one.mechanism): one for one in found_users}.values()),
        ),
        standing=Standing(brokers=tuple(BrokerNode(number, "h", 1, None, ()) for number in range(1, brokers + 1))),
    )


images = st.builds(
    image,
    st.lists(topics, max_size=3),
    st.sets(acls, max_size=3),
    st.lists(quotas, max_size=3),
    st.lists(users, max_size=3),
    st.lists(resources, max_size=4),
    st.integers(1, 4),
)
EVERYBODY = Abilities(passwords=frozenset(NAMES))


def carried_out(target: ClusterImage, plan: MetadataPlan) -> ClusterImage:
    for step in plan.steps:
        target = done(target, step)
    return target


def done(target: ClusterImage, step: Step) -> ClusterImage:
    inventory = target.inventory
    known = {one.name: one for one in target.topics}
    match step:
        case CreateTopic():
            placed = step.assignments or ((1,) * step.replication_factor,) * step.partitions
            made = topic(step.subject, placed, {c.key: c.after for c in step.changes})
            return replace(target, topics=(*target.topics, made))
        case RemoveTopic():
            return replace(target, topics=tuple(one for one in target.topics if one.name != step.subject))
        case SetTopicConfigs():
            one = known[step.subject]
            changed = {**dict(one.configs), **{c.key: c.after for c in step.changes}}
            kept = {key: text for key, text in changed.items() if text is not None}
            known[step.subject] = topic(one.name, one.partitions, kept)
            return replace(target, topics=tuple(known.values()))
        case SetConfigs():
            there = {(one.kind, one.name): {e.name: e.value for e in one.entries} for one in inventory.configs}
            own = there.setdefault((step.kind, step.name), {})
            own.update({c.key: c.after for c in step.changes})
            left = {key: {k: v for k, v in found.items() if v is not None} for key, found in there.items()}
            return with_inventory(target, configs=tuple(resource(*key, found) for key, found in left.items() if found))
        case SetQuota():
            limits = {one.entity: dict(one.values) for one in inventory.quotas}
            mine = limits.setdefault(step.entity, {})
            for key, limit in step.values:
                mine.pop(key, None)
                if limit is not None:
                    mine[key] = limit
            made_quotas = tuple(Quota(entity, tuple(sorted(own.items()))) for entity, own in limits.items() if own)
            return with_inventory(target, quotas=made_quotas)
        case SetUser():
            same = (step.user.name, step.user.mechanism)
            others = tuple(one for one in inventory.scram_users if (one.name, one.mechanism) != same)
            return with_inventory(target, scram_users=(*others, step.user))
        case RemoveUser():
            return with_inventory(target, scram_users=tuple(u for u in inventory.scram_users if u != step.user))
        case AddAcl():
            return with_inventory(target, acls=tuple(sorted({*inventory.acls, step.acl})))
        case RemoveAcl():
            return with_inventory(target, acls=tuple(one for one in inventory.acls if one != step.acl))
    raise AssertionError(step)


def with_inventory(target: ClusterImage, **changes: object) -> ClusterImage:
    return replace(target, inventory=replace(target.inventory, **changes))  # type: ignore[arg-type]


@settings(max_examples=120)
@given(images, images, st.sampled_from(("keep", "align")), st.booleans())
def test_a_second_plan_has_nothing_to_do(
    source: ClusterImage, target: ClusterImage, existing: str, prune: bool
) -> None:
    options = ApplyOptions(existing=existing, prune_extra=prune)
    plan = plan_metadata(source, target, options, EVERYBODY)
    assert not plan.refusals
    again = plan_metadata(source, carried_out(target, plan), options, EVERYBODY)
    assert again.steps == ()


@settings(max_examples=120)
@given(images, images)
def test_aligned_and_pruned_the_target_is_like_the_source(source: ClusterImage, target: ClusterImage) -> None:
    options = ApplyOptions(existing="align", prune_extra=True)
    plan = plan_metadata(source, target, options, EVERYBODY)
    after = carried_out(target, plan)
    assert set(after.inventory.acls) == set(source.inventory.acls)
    assert {q.entity: q.values for q in after.inventory.quotas} == {q.entity: q.values for q in source.inventory.quotas}
    assert set(after.inventory.scram_users) == set(source.inventory.scram_users)
    assert {one.name for one in after.topics} == {one.name for one in source.topics}
    left_out = {left.subject for left in plan.left_out}
    for one in source.topics:
        (made,) = [found for found in after.topics if found.name == one.name]
        assert dict(made.configs) == dict(one.configs)
        assert len(made.partitions) == len(one.partitions) or one.name in left_out
    nodes = {str(broker.node_id) for broker in target.standing.brokers}
    wanted = {(r.kind, r.name): r for r in source.inventory.configs if r.kind != BROKER or r.name in nodes}
    found = {(r.kind, r.name): r for r in after.inventory.configs if r.kind != BROKER or r.name in nodes}
    assert found == wanted


@settings(max_examples=60)
@given(images, images)
def test_kept_means_that_nothing_there_changes(source: ClusterImage, target: ClusterImage) -> None:
    plan = plan_metadata(source, target, ApplyOptions(existing="keep"), EVERYBODY)
    assert not plan.removals
    assert all(change.before is None for step in plan.steps for change in step.changes)


@settings(max_examples=60)
@given(images, images)
def test_fail_refuses_whatever_differs(source: ClusterImage, target: ClusterImage) -> None:
    aligned = plan_metadata(source, target, ApplyOptions(existing="align"), EVERYBODY)
    differs = any(change.before is not None for step in aligned.steps for change in step.changes)
    partitions = {one.name: len(one.partitions) for one in target.topics}
    differs |= any(partitions.get(one.name, len(one.partitions)) != len(one.partitions) for one in source.topics)
    plan = plan_metadata(source, target, ApplyOptions(existing="fail"), EVERYBODY)
    assert bool(plan.refusals) == differs


@settings(max_examples=60)
@given(images, images, st.sets(st.sampled_from(AREAS)))
def test_only_the_areas_asked_for_are_touched(source: ClusterImage, target: ClusterImage, only: set[str]) -> None:
    plan = plan_metadata(
        source, target, ApplyOptions(only=frozenset(only), existing="align", prune_extra=True), EVERYBODY
    )
    assert {step.area for step in plan.steps} <= only


def test_settings_alone_go_to_topics_that_exist() -> None:
    source = image([topic("a", [(1,)], {"x": "1"}), topic("b", [(1,)], {"x": "1"})], set(), [], [], [], 1)
    target = image([topic("a", [(1,)], {})], set(), [], [], [], 1)
    plan = plan_metadata(source, target, ApplyOptions(only=frozenset({areas.TOPIC_CONFIGS})), EVERYBODY)
    assert [(step.area, step.subject) for step in plan.steps] == [(areas.TOPIC_CONFIGS, "a")]
    assert [(left.subject, left.missing) for left in plan.left_out] == [("b", True)]


EMPTY = image([], set(), [], [], [], 2)


def test_what_is_of_a_moment_or_of_a_host_is_left_out_and_named() -> None:
    throttled = topic("a", [(1,)], {"leader.replication.throttled.replicas": "*", "retention.ms": "1"})
    dynamic = resource(BROKER, "1", {"leader.replication.throttled.rate": "5", "advertised.listeners": "h", "x": "1"})
    plan = plan_metadata(image([throttled], set(), [], [], [dynamic], 2), EMPTY, ApplyOptions(), EVERYBODY)
    assert [[(change.key, change.after) for change in step.changes] for step in plan.steps] == [
        [("retention.ms", "1")],
        [("x", "1")],
    ]
    assert [(left.subject, left.missing) for left in plan.left_out] == [
        ("a: leader.replication.throttled.replicas", False),
        ("broker 1: advertised.listeners", True),
        ("broker 1: leader.replication.throttled.rate", False),
    ]


def test_values_that_brokers_do_not_show_are_named_as_missing() -> None:
    hidden = ResourceConfigs(CLUSTER, "", (ConfigValue("ssl.key.password", None, CLUSTER, sensitive=True),))
    plan = plan_metadata(image([], set(), [], [], [hidden], 1), EMPTY, ApplyOptions(), EVERYBODY)
    assert plan.steps == () and [left.missing for left in plan.left_out] == [True]


def test_a_user_without_password_is_named_as_missing() -> None:
    source = image([], set(), [], [ScramUser("a", "SCRAM-SHA-512", 4096)], [], 1)
    plan = plan_metadata(source, EMPTY, ApplyOptions(), Abilities())
    assert plan.steps == () and plan.left_out[0].missing and "password" in plan.left_out[0].reason


@pytest.mark.parametrize("part", ["acls", "quotas", "scram-users"])
def test_what_cannot_be_read_on_the_target_is_refused_and_never_taken_for_absent(part: str) -> None:
    source = image([], {Acl("TOPIC", "a", "LITERAL", "User:u", "*", "READ", "ALLOW")}, [], [], [], 1)
    blind = with_inventory(EMPTY, unreadable=(part,))
    plan = plan_metadata(source, blind, ApplyOptions(prune_extra=True), EVERYBODY)
    assert [refusal.subject for refusal in plan.refusals] == [part]
    unread = plan_metadata(with_inventory(source, unreadable=(part,)), EMPTY, ApplyOptions(prune_extra=True), EVERYBODY)
    assert [left.subject for left in unread.left_out if left.missing] == [part]
    assert not any(step.area == {"scram-users": areas.USERS}.get(part, part) for step in unread.steps)


def test_a_cluster_without_authorizer_cannot_hold_acls() -> None:
    source = image([], {Acl("TOPIC", "a", "LITERAL", "User:u", "*", "READ", "ALLOW")}, [], [], [], 1)
    plan = plan_metadata(source, with_inventory(EMPTY, has_authorizer=False), ApplyOptions(), EVERYBODY)
    assert [refusal.area for refusal in plan.refusals] == [areas.ACLS]


def test_removals_come_last() -> None:
    source = image([topic("a", [(1,)], {})], set(), [], [], [], 1)
    extra = image(
        [topic("b", [(1,)], {})], {Acl("TOPIC", "a", "LITERAL", "User:u", "*", "READ", "ALLOW")}, [], [], [], 1
    )
    plan = plan_metadata(source, extra, ApplyOptions(prune_extra=True), EVERYBODY)
    assert [step.action for step in plan.steps] == ["create", "remove", "remove"]
    assert len(plan.removals) == 2


def test_replicas_go_where_they_were_when_all_brokers_are_there() -> None:
    source = image([topic("a", [(2, 1), (1, 2)], {"min.insync.replicas": "2"})], set(), [], [], [], 2)
    (step,) = plan_metadata(source, EMPTY, ApplyOptions(), EVERYBODY).steps
    assert isinstance(step, CreateTopic) and step.assignments == ((2, 1), (1, 2))
    smaller = plan_metadata(source, image([], set(), [], [], [], 1), ApplyOptions(), EVERYBODY)
    (step,) = smaller.steps
    assert isinstance(step, CreateTopic) and step.assignments is None and step.replication_factor == 1
    assert [change.after for change in step.changes] == ["1"], "min.insync.replicas follows the replication factor"
    assert len(smaller.left_out) == 2


def test_settings_that_were_not_read_are_neither_removed_nor_overwritten() -> None:
    """Neither side's silence is a value: not the point's, when what it lacks is removed, nor the target's, when what is
    there is kept.
    """
    rich = image(
        [topic("a", [(1,)], {"x": "1"})],
        set(),
        [],
        [],
        [resource(BROKER, "1", {"x": "1"}), resource(CLIENT_METRICS, "a", {"x": "1"})],
        1,
    )
    bare = image([topic("a", [(1,)], {})], set(), [], [], [], 1)
    names = ("configs of broker 1", "client-metrics configs")
    blind = replace(with_inventory(bare, unreadable=names), unreadable=("configs of a",))
    options = ApplyOptions(existing="align", prune_extra=True)

    from_blind = plan_metadata(blind, rich, options, EVERYBODY)
    assert from_blind.steps == () and not from_blind.refusals
    assert sorted(left.subject for left in from_blind.left_out if left.missing) == ["a", *sorted(names)]
    onto_blind = plan_metadata(rich, blind, options, EVERYBODY)
    assert onto_blind.steps == ()
    assert sorted(refusal.subject for refusal in onto_blind.refusals) == ["a", *sorted(names)]


def test_limits_that_differ_in_their_last_digit_are_not_the_same() -> None:
    entity = QuotaEntity((("user", "a"),))
    source = image([], set(), [Quota(entity, (("request_percentage", 0.1 + 0.2),))], [], [], 1)
    target = image([], set(), [Quota(entity, (("request_percentage", 0.3),))], [], [], 1)
    assert len(plan_metadata(source, target, ApplyOptions(existing="align"), EVERYBODY).steps) == 1

"""Comparing cluster images: nothing where there is nothing, each change once and in its place, both ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.examples import examples
from tests.support.images import images, rich_image

from kafkeep.inventory import Acl, ConfigValue, Feature, Quota, QuotaEntity, ResourceConfigs, ScramUser
from kafkeep.metadata.differences import DIFFERENCE_AREAS, Difference, compare_images
from kafkeep.metadata.image import ClusterImage
from kafkeep.metadata.options import SERVICE_AREAS
from kafkeep.model import TopicPartition


@examples(60)
@given(images)
def test_an_image_is_not_different_from_itself(image: ClusterImage) -> None:
    found = compare_images(image, image)
    assert found.differences == () and found.information == ()


def mirrored(differences: tuple[Difference, ...]) -> set[Difference]:
    return {
        replace(found, left=found.right, right=found.left, left_lag=found.right_lag, right_lag=found.left_lag)
        for found in differences
    }


@examples(60)
@given(images, images, st.booleans())
def test_both_ways_say_the_same(left: ClusterImage, right: ClusterImage, same: bool) -> None:
    if same:
        right = replace(right, cluster_id=left.cluster_id)
    there, back = compare_images(left, right), compare_images(right, left)
    assert mirrored(there.differences) == set(back.differences)
    assert mirrored(there.information) == set(back.information)
    assert set(there.not_compared) == set(back.not_compared)
    assert len(set(there.differences)) == len(there.differences)
    assert all((one.left, one.left_lag) != (one.right, one.right_lag) for one in there.differences)


Change = tuple[ClusterImage, Difference]
"""An image with one thing changed, and what is to be found."""


def _topic(image: ClusterImage, **more: Any) -> ClusterImage:
    return replace(image, topics=(image.topics[0], replace(image.topics[1], **more)))


def _configs(image: ClusterImage, number: int, value: ConfigValue) -> ClusterImage:
    resources = list(image.inventory.configs)
    entries = tuple(entry for entry in resources[number].entries if entry.name != value.name)
    resources[number] = replace(resources[number], entries=tuple(sorted((*entries, value))))
    return replace(image, inventory=replace(image.inventory, configs=tuple(resources)))


def _inventory(image: ClusterImage, **more: Any) -> ClusterImage:
    return replace(image, inventory=replace(image.inventory, **more))


def _group(image: ClusterImage, offset: int) -> ClusterImage:
    group = image.groups[0]
    offsets = (replace(group.offsets[0], offset=offset), *group.offsets[1:])
    return replace(image, groups=(replace(group, offsets=offsets), *image.groups[1:]))


def changes(image: ClusterImage, text: str, number: int) -> dict[str, Callable[[], Change]]:
    """One change of each kind; `text` and `number` are new values."""
    acl = Acl("GROUP", text, "LITERAL", "User:n", "*", "READ", "ALLOW")
    inventory = image.inventory
    user = ScramUser(text, "SCRAM-SHA-256", number)
    quota = Quota(QuotaEntity((("user", text),)), (("request_percentage", float(number)),))
    return {
        "topic gone": lambda: (
            replace(image, topics=image.topics[:1]),
            Difference("topics", "orders", "presence", "present", None),
        ),
        "partitions": lambda: (
            _topic(image, partitions=((1, 2),) * 3),
            Difference("topics", "orders", "partitions", "2", "3"),
        ),
        "replication factor": lambda: (
            _topic(image, partitions=((1,), (2,))),
            Difference("topics", "orders", "replication factor", "2", "1"),
        ),
        "topic config": lambda: (
            _topic(image, configs=(*image.topics[1].configs, ("x", text))),
            Difference("topic-configs", "orders", "x", None, text),
        ),
        "topic config gone": lambda: (
            _topic(image, configs=image.topics[1].configs[:-1]),
            Difference("topic-configs", "orders", "min.insync.replicas", "1", None),
        ),
        "broker": lambda: (
            _configs(image, 0, ConfigValue("x", text, "broker")),
            Difference("broker-configs", "1", "x", None, text),
        ),
        "broker's file": lambda: (
            _configs(image, 0, ConfigValue("log.dirs", f"other {text}", "static")),
            Difference("broker-configs", "1", "log.dirs", "/data (static)", f"other {text} (static)"),
        ),
        "no more in the file": lambda: (
            _configs(image, 0, ConfigValue("log.dirs", text, "default")),
            Difference("broker-configs", "1", "log.dirs", "/data (static)", None),
        ),
        "client metrics": lambda: (
            _configs(image, 1, ConfigValue("x", text, "client-metrics")),
            Difference("client-metrics", "cm", "x", None, text),
        ),
        "cluster": lambda: (
            _configs(image, 2, ConfigValue("x", text, "cluster")),
            Difference("cluster-configs", "", "x", None, text),
        ),
        "group config": lambda: (
            _configs(image, 3, ConfigValue("x", text, "group")),
            Difference("group-configs", "billing", "x", None, text),
        ),
        "group without configs": lambda: (
            _inventory(image, configs=inventory.configs[:-1]),
            Difference("group-configs", "billing", "presence", "present", None),
        ),
        "acl": lambda: (
            _inventory(image, acls=inventory.acls[:1]),
            Difference(
                "acls", "TOPIC PREFIXED orders", "User:bob DENY WRITE from 10.0.0.1", left="present", right=None
            ),
        ),
        "another acl": lambda: (
            _inventory(image, acls=(acl, *inventory.acls)),
            Difference("acls", f"GROUP LITERAL {text}", "User:n ALLOW READ from *", None, "present"),
        ),
        "quota": lambda: (
            _inventory(image, quotas=(*inventory.quotas, quota)),
            Difference("quotas", f"user {text}", "request_percentage", None, str(number)),
        ),
        "user": lambda: (
            _inventory(image, scram_users=(*inventory.scram_users, user)),
            Difference("users", text, "SCRAM-SHA-256", None, f"{number} iterations"),
        ),
        "feature": lambda: (
            _inventory(image, features=(Feature("metadata.version", 25 + number),)),
            Difference("features", "metadata.version", "level", "25", str(25 + number)),
        ),
        "position": lambda: (
            _group(image, 5 + number),
            Difference("positions", "billing", "orders/0", "5", str(5 + number), 4, 4 - number),
        ),
        "group gone": lambda: (
            replace(image, groups=image.groups[:1]),
            Difference("positions", "shared", "presence", "present", None),
        ),
    }


@pytest.mark.parametrize("kind", changes(rich_image(), "x", 1))
@examples(10)
@given(text=st.from_regex(r"[a-z]{1,8}\.[0-9]", fullmatch=True), number=st.integers(1, 1000))
def test_a_change_is_found_once_and_in_its_place(kind: str, text: str, number: int) -> None:
    image = rich_image()
    changed, wanted = changes(image, text, number)[kind]()
    assert compare_images(image, changed).differences == (wanted,)
    assert set(compare_images(changed, image).differences) == mirrored((wanted,))
    others = [area for area in DIFFERENCE_AREAS if area != wanted.area]
    assert compare_images(image, changed, others).differences == ()
    assert compare_images(image, changed, [wanted.area]).differences == (wanted,)


UNREAD = {
    "topics": (("topics",), ()),
    "topic-configs": (("configs of orders",), ()),
    "broker-configs": ((), ("configs of broker 1",)),
    "cluster-configs": ((), ("configs of cluster",)),
    "group-configs": ((), ("group configs", "configs of group billing")),
    "client-metrics": ((), ("client-metrics configs", "configs of client-metrics cm")),
    "acls": ((), ("acls",)),
    "quotas": ((), ("quotas",)),
    "users": ((), ("scram-users",)),
    "features": ((), ("features",)),
    "positions": (("groups",), ()),
}


@pytest.mark.parametrize("area", [area for area in DIFFERENCE_AREAS if area not in SERVICE_AREAS])
def test_what_was_not_read_is_neither_equal_nor_gone(area: str) -> None:
    image = rich_image()
    fewer = image.topics[1].partitions[:1]
    bare = rich_image(topics=(replace(image.topics[1], configs=(), partitions=fewer),), groups=())
    bare = _inventory(bare, configs=(), acls=(), quotas=(), scram_users=(), features=())
    assert [found for found in compare_images(image, bare).differences if found.area == area]
    of_image, of_inventory = UNREAD[area]
    for name in (*of_image, *of_inventory):
        unread = replace(bare, origin="the other", unreadable=(name,) if name in of_image else ())
        unread = _inventory(unread, unreadable=(name,) if name in of_inventory else ())
        for left, right in ((image, unread), (unread, image)):
            found = compare_images(left, right, [area])
            assert found.differences == (), name
            assert found.not_compared == (f"{area}: {name} could not be read: the other",)


def test_one_unread_group_leaves_the_others_to_be_compared() -> None:
    image = rich_image()
    other = replace(_group(image, 6), unreadable=("group shared",), groups=_group(image, 6).groups[:1])
    found = compare_images(image, other, ["positions"])
    assert [(one.subject, one.key) for one in found.differences] == [("billing", "orders/0")]
    assert found.not_compared == ("positions: group shared could not be read: recovery point 7",)


def test_values_that_brokers_do_not_show_are_named_once_and_never_equal() -> None:
    image = rich_image()
    sensitive = "listener.name.x.ssl.keystore.password"
    wanted = (f"broker-configs: 1 {sensitive}",)
    assert compare_images(image, image).hidden == wanted
    known = _configs(image, 0, ConfigValue(sensitive, "told", "broker"))
    for left, right in ((image, known), (known, image)):
        found = compare_images(left, right)
        assert found.differences == () and found.hidden == wanted


def test_what_brokers_read_from_files_counts_within_one_cluster_only() -> None:
    image = rich_image()
    changed = _configs(image, 0, ConfigValue("log.dirs", "/other", "static"))
    assert compare_images(image, changed).differences
    assert not compare_images(image, replace(changed, cluster_id="another")).differences
    dynamic = _configs(image, 0, ConfigValue("log.dirs", "/other", "broker"))
    (found,) = compare_images(image, dynamic).differences
    assert (found.left, found.right) == ("/data (static)", "/other")
    hidden = _configs(image, 0, ConfigValue("log.dirs", "/other", "cluster"))
    assert not compare_images(image, hidden).differences, "it is a difference of the cluster's configs"


def test_a_broker_of_another_name_is_compared_by_what_was_set_on_it() -> None:
    image = rich_image()
    other = ResourceConfigs("broker", "9", image.inventory.configs[0].entries)
    changed = _inventory(image, configs=(*image.inventory.configs[1:3], other, image.inventory.configs[3]))
    found = {(one.subject, one.key) for one in compare_images(image, changed).differences}
    assert found == {(b, k) for b in "19" for k in ("log.cleaner.threads", "leader.replication.throttled.rate")}


def test_lag_counts_where_both_ends_are_known() -> None:
    image = rich_image()
    grown = replace(image, ends={TopicPartition("orders", 0): 19, TopicPartition("orders", 1): 50})
    assert compare_images(image, grown).differences == (
        Difference("positions", "billing", "orders/0", "5", "5", 4, 14),
        Difference("positions", "shared", "orders/0", "2", "2", 7, 17),
    )


def test_another_topic_id_is_information() -> None:
    image = rich_image()
    changed = _topic(image, topic_id="vutsrqponmlkjihgfedcba")
    found = compare_images(image, changed)
    assert found.differences == ()
    assert [(one.subject, one.key) for one in found.information] == [("orders", "topic id")]


def test_an_internal_topic_on_one_side_is_no_difference() -> None:
    image = rich_image()
    internal = [topic for topic in image.topics if topic.internal]
    assert internal
    less = replace(image, topics=tuple(topic for topic in image.topics if not topic.internal))
    for left, right in ((image, less), (less, image)):
        assert compare_images(left, right).differences == ()
    own = replace(less, topics=(*less.topics, replace(internal[0], name="own", internal=False)))
    assert [(one.subject, one.key) for one in compare_images(less, own).differences] == [("own", "presence")]


def test_entities_that_look_alike_are_told_apart() -> None:
    image = rich_image()
    pairs = [
        ((("user", None),), (("user", "<default>"),)),
        ((("client-id", "a, user b"),), (("client-id", "a"), ("user", "b"))),
    ]
    for one, other in pairs:
        left, right = (_inventory(image, quotas=(Quota(QuotaEntity(e), (("x", 1.0),)),)) for e in (one, other))
        assert len(compare_images(left, right).differences) == 2


def test_an_unknown_area_is_refused() -> None:
    with pytest.raises(ValueError, match="'topic' is not one of features, "):
        compare_images(rich_image(), rich_image(), ["topic"])

"""Cluster images for tests: strategies for any image, and one rich image by hand."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from kafkeep.inventory import (
    Acl,
    BrokerNode,
    ConfigValue,
    DelegationToken,
    Feature,
    GroupMember,
    GroupMembers,
    InheritedConfigs,
    Inventory,
    LogDir,
    Quorum,
    Quota,
    QuotaEntity,
    Reassignment,
    ResourceConfigs,
    ScramUser,
    Standing,
)
from kafkeep.metadata.image import ClusterImage
from kafkeep.model import NO_TOPIC_ID, Group, GroupOffset, TopicMetadata, TopicPartition

AWKWARD = (
    "",
    "no",
    "1e3",
    "0777",
    "null",
    "~",
    "2024-01-01",
    "a: b",
    "- x",
    "#",
    "line\nbreak",
    "\ttab ",
    "ünï→😀",
    "'\"\\$`",
    "\x85\u2028\ufeff",
    "\x7f\x01",
    "<<",
    "=",
    "!x",
    "&a",
    "*a",
    "%41",
    "[a,b]",
)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(AWKWARD)
word = st.sampled_from(("orders", "billing", "a.b", "a_b", "x-1"))
number = st.integers(-(2**63), 2**63 - 1)
offset = st.integers(0, 2**63 - 1)
node = st.integers(0, 2**31 - 1)
limit = st.floats(allow_nan=False)


def several(inner: st.SearchStrategy[Any], key: Any = None, **more: Any) -> st.SearchStrategy[tuple[Any, ...]]:
    """A tuple; with `key`, sorted by it and without equal keys."""
    if key is None:
        return st.lists(inner, max_size=3, **more).map(tuple)
    return st.lists(inner, max_size=3, unique_by=key, **more).map(lambda items: tuple(sorted(items, key=key)))


def name_of(item: Any) -> Any:
    return item.name


def quota_order(quota: Quota) -> Any:
    return tuple((kind, name is not None, name if name is not None else "") for kind, name in quota.entity.parts)


targets = st.builds(TopicPartition, word, st.integers(0, 4))
entries = several(st.builds(ConfigValue, text, st.none() | text, text, st.booleans(), st.booleans()), name_of)
topics = st.builds(
    TopicMetadata,
    word | text,
    text | st.just(NO_TOPIC_ID),
    st.booleans(),
    several(several(node)),
    several(st.tuples(text, st.none() | text), lambda pair: pair[0]),
)
groups = st.builds(
    Group,
    text,
    st.sampled_from(("classic", "consumer", "share", "streams", "unknown")),
    text,
    text,
    several(
        st.builds(GroupOffset, targets, offset, st.integers(-1, 2**31 - 1), text), lambda found: found.topic_partition
    ),
)
acls = st.builds(
    Acl,
    st.sampled_from(("TOPIC", "GROUP", "CLUSTER", "CODE_9")),
    text,
    st.sampled_from(("LITERAL", "PREFIXED")),
    text,
    text,
    st.sampled_from(("READ", "ALL", "CODE_77")),
    st.sampled_from(("ALLOW", "DENY")),
)
entities = several(st.tuples(text, st.none() | text), lambda part: part[0]).map(QuotaEntity)
inventories = st.builds(
    Inventory,
    configs=several(
        st.builds(ResourceConfigs, st.sampled_from(("broker", "cluster", "client-metrics", "group")), text, entries),
        lambda resource: (resource.kind, resource.name),
    ),
    acls=several(acls, lambda acl: acl),
    has_authorizer=st.booleans(),
    quotas=several(
        st.builds(Quota, entities, several(st.tuples(text, limit), lambda pair: pair[0])),
        quota_order,
    ),
    scram_users=several(
        st.builds(ScramUser, text, st.sampled_from(("SCRAM-SHA-256", "SCRAM-SHA-512")), number),
        lambda user: (user.name, user.mechanism),
    ),
    features=several(st.builds(Feature, text, number), name_of),
    unreadable=several(text),
)
directories = several(st.tuples(st.integers(-1, 2**31 - 1), text))
members = st.builds(GroupMember, text, text, text, text)
standings = st.builds(
    Standing,
    brokers=several(
        st.builds(
            BrokerNode,
            number,
            text,
            number,
            st.none() | text,
            several(st.builds(LogDir, text, text, number, number, number, number)),
        )
    ),
    quorum=st.none() | st.builds(Quorum, number, directories, directories),
    reassignments=several(st.builds(Reassignment, text, number, several(number), several(number), several(number))),
    tokens=several(st.builds(DelegationToken, text, text, text, several(text), number, number, number)),
    groups=several(st.builds(GroupMembers, text, text, text, several(members))),
    inherited=several(st.builds(InheritedConfigs, several(text), entries)),
)
images = st.builds(
    ClusterImage,
    origin=text,
    time=text,
    cluster_id=text,
    topics=several(topics, name_of),
    groups=several(groups, lambda group: group.group_id),
    inventory=inventories,
    standing=standings,
    ends=st.dictionaries(targets, offset, max_size=3),
    unreadable=several(text),
)


def rich_image(**more: Any) -> ClusterImage:
    """Something of every kind; `more`: other fields."""
    orders = [TopicPartition("orders", number) for number in range(2)]
    fields: dict[str, Any] = {
        "origin": "recovery point 7",
        "time": "2026-03-04T05:06:07.000Z",
        "cluster_id": "source-cluster",
        "topics": (
            TopicMetadata("__consumer_offsets", NO_TOPIC_ID, True, ((1,),), (("cleanup.policy", "compact"),)),
            TopicMetadata(
                "orders",
                "abcdefghijklmnopqrstuv",
                False,
                ((1, 2), (2, 1)),
                (
                    ("cleanup.policy", "compact,delete"),
                    ("leader.replication.throttled.replicas", "0:1"),
                    ("min.insync.replicas", "1"),
                ),
            ),
        ),
        "groups": (
            Group(
                "billing",
                "consumer",
                "Empty",
                "consumer",
                (GroupOffset(orders[0], 5, 3, ""), GroupOffset(orders[1], 7, -1, "said\nso")),
            ),
            Group("shared", "share", "Empty", "share", (GroupOffset(orders[0], 2, -1, ""),)),
        ),
        "inventory": _rich_inventory(),
        "standing": _rich_standing(),
        "ends": {orders[0]: 9},
    }
    return ClusterImage(**(fields | more))


def _rich_inventory() -> Inventory:
    broker = (
        ConfigValue("leader.replication.throttled.rate", "1000", "broker"),
        ConfigValue("listener.name.x.ssl.keystore.password", None, "broker", sensitive=True),
        ConfigValue("log.cleaner.threads", "2", "broker"),
        ConfigValue("log.dirs", "/data", "static", read_only=True),
        ConfigValue("message.max.bytes", "2000000", "cluster"),
        ConfigValue("num.io.threads", "8", "default"),
    )
    return Inventory(
        configs=(
            ResourceConfigs("broker", "1", broker),
            ResourceConfigs(
                "client-metrics", "cm", (ConfigValue("match", "client_id=a,client_id=[b]", "client-metrics"),)
            ),
            ResourceConfigs("cluster", "", (ConfigValue("message.max.bytes", "2000000", "cluster"),)),
            ResourceConfigs("group", "billing", (ConfigValue("consumer.session.timeout.ms", "50000", "group"),)),
        ),
        acls=(
            Acl("TOPIC", "orders", "LITERAL", "User:alice", "*", "READ", "ALLOW"),
            Acl("TOPIC", "orders", "PREFIXED", "User:bob", "10.0.0.1", "WRITE", "DENY"),
        ),
        quotas=(
            Quota(QuotaEntity((("client-id", None), ("user", "alice"))), (("request_percentage", 12.5),)),
            Quota(QuotaEntity((("user", "alice"),)), (("producer_byte_rate", 1048576.0),)),
        ),
        scram_users=(ScramUser("alice", "SCRAM-SHA-256", 4096), ScramUser("alice", "SCRAM-SHA-512", 8192)),
        features=(Feature("metadata.version", 25),),
    )


def _rich_standing() -> Standing:
    return Standing(
        brokers=(
            BrokerNode(1, "b1", 9092, "rack a", (LogDir("/data", "", 1000, -1, 3, 500),)),
            BrokerNode(2, "b2", 9092, None, (LogDir("/data", "KAFKA_STORAGE_ERROR", -1, -1, 0, 0),)),
        ),
        quorum=Quorum(1, ((1, "dir-1"),), ((2, ""),)),
        reassignments=(Reassignment("orders", 0, (1, 2, 3), (3,), ()),),
        tokens=(DelegationToken("t-1", "User:a", "User:b", ("User:c",), 0, 1000, 2000),),
        groups=(GroupMembers("billing", "consumer", "Stable", (GroupMember("m-1", "", "app", "/10.0.0.9"),)),),
        inherited=(InheritedConfigs(("orders",), (ConfigValue("retention.ms", "604800000", "default"),)),),
    )

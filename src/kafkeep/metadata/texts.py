"""A cluster image as the text files that administrators know from Kafka's own tools: one function for each file. Pure.

Every file says in its head what it is of, and names what could not be read: an empty file never looks like an empty
cluster. Brokers and the cluster as a whole are in `texts_cluster`.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from kafkeep.metadata.image import ClusterImage
from kafkeep.metadata.phrases import (
    entity_text,
    number,
    shown,
    shown_value,
    table,
    unread_groups,
    unread_settings,
    unread_topic_configs,
    unread_topics,
)
from kafkeep.model import NO_TOPIC_ID, Group, TopicMetadata

_UNSAFE: Final = re.compile(rb"[^A-Za-z0-9._-]")
_LONGEST_NAME: Final = 120


def page(image: ClusterImage, title: str, lines: Iterable[str], *, unread: Sequence[str], nothing: str) -> str:
    """A file: its head, what could not be read, then the lines, or `nothing` when there are none and all was read."""
    head = [f"# {title} of {shown(image.origin)}, {shown(image.time)}, cluster id {shown(image.cluster_id)}"]
    head += [f"# NOT READ: {shown(name)}: what this file says of it is not complete" for name in unread]
    body = list(lines)
    if not body and not unread:
        body = [f"# {nothing}"]
    return "\n".join([*head, *body]) + "\n"


def topics_metadata(image: ClusterImage) -> str:
    """topics-metadata.txt, in the manner of `kafka-topics --describe`."""
    unread = (*unread_topics(image), *unread_topic_configs(image))
    lines = [line for topic in image.topics for line in _topic_lines(topic)]
    return page(image, "topics", lines, unread=unread, nothing="no topics")


def _topic_lines(topic: TopicMetadata) -> list[str]:
    known_id = "-" if topic.topic_id == NO_TOPIC_ID else shown(topic.topic_id)
    configs = ",".join(f"{shown(name)}={shown_value(value)}" for name, value in topic.configs)
    parts = [
        f"Topic: {shown(topic.name)}",
        f"TopicId: {known_id}",
        f"PartitionCount: {len(topic.partitions)}",
        f"ReplicationFactor: {topic.replication_factor}",
        *(["Internal: true"] if topic.internal else []),
        f"Configs: {configs}",
    ]
    lines = ["\t".join(parts).rstrip()]
    for partition, replicas in enumerate(topic.partitions):
        leader = str(replicas[0]) if replicas else "none"
        listed = ",".join(map(str, replicas))
        lines.append(
            f"\tTopic: {shown(topic.name)}\tPartition: {partition}\tPreferredLeader: {leader}\tReplicas: {listed}".rstrip()
        )
    return lines


def topic_configs(image: ClusterImage) -> str:
    """topic-configs.txt: what was set on each topic, then what topics have from their brokers."""
    lines: list[str] = []
    for topic in image.topics:
        lines.append(f"Dynamic configs for topic {shown(topic.name)} are:")
        lines += [f"  {shown(name)}={shown_value(value)}" for name, value in topic.configs]
    for inherited in image.standing.inherited:
        lines += ["", "# Information: inherited from the brokers by these topics, and not set on them:"]
        lines += [f"#   {shown(name)}" for name in inherited.topics]
        lines += [
            f"#     {shown(entry.name)}={shown_value(entry.value)} ({shown(entry.source)})"
            for entry in inherited.entries
        ]
    unread = (*unread_topics(image), *unread_topic_configs(image))
    return page(image, "configs of topics", lines, unread=unread, nothing="no topics")


def consumer_groups_list(image: ClusterImage) -> str:
    """consumer-groups-list.txt: all groups of all types, with the members that were there."""
    members = {group.group_id: group for group in image.standing.groups}
    rows = [
        (
            shown(group.group_id),
            shown(group.type),
            shown(group.state),
            shown(group.protocol_type) if group.protocol_type else "-",
            str(len(group.offsets)),
            str(len(members[group.group_id].members)) if group.group_id in members else "-",
        )
        for group in image.groups
    ]
    lines = table(("GROUP", "TYPE", "STATE", "PROTOCOL", "POSITIONS", "MEMBERS"), rows) if rows else []
    for standing in image.standing.groups:
        lines += ["", f"Members of group {shown(standing.group_id)}:"]
        lines += table(
            ("MEMBER", "INSTANCE", "CLIENT", "HOST"),
            [
                tuple(
                    shown(text) if text else "-" for text in (one.member_id, one.instance_id, one.client_id, one.host)
                )
                for one in standing.members
            ],
        )
    return page(image, "groups", lines, unread=unread_groups(image), nothing="no groups")


def group_offsets(image: ClusterImage, group: Group) -> str:
    """offsets-<group>.txt, in the manner of `kafka-consumer-groups --describe --offsets`."""
    rows = []
    for position in group.offsets:
        target = position.topic_partition
        end = image.ends.get(target)
        rows.append(
            (
                shown(group.group_id),
                shown(target.topic),
                str(target.partition),
                str(position.offset),
                "-" if end is None else str(end),
                "-" if end is None else str(end - position.offset),
                shown(position.metadata) if position.metadata else "-",
            )
        )
    head = ("GROUP", "TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "METADATA")
    lines = table(head, rows) if rows else []
    unread = tuple(name for name in unread_groups(image) if name in ("groups", f"group {group.group_id}"))
    title = f"committed offsets of {shown(group.type)} group {shown(group.group_id)}, {shown(group.state)},"
    return page(image, title, lines, unread=unread, nothing="no committed offsets")


def group_file_names(groups: Iterable[str]) -> dict[str, str]:
    """The file of each group's offsets, safe in any file system: `offsets-<group>.txt`.

    What is neither a letter, digit, dot, dash nor underscore is written `%XX`. Where a name would be too long, or would
    differ from another one only in case, a part of the id's digest follows; it is set off by `~`, which no other name has.
    """
    wanted = list(groups)
    plain = {group: _safe(group) for group in wanted}
    alike = Counter(name.casefold() for name in plain.values())
    names: dict[str, str] = {}
    for group, name in plain.items():
        if len(name) > _LONGEST_NAME or alike[name.casefold()] > 1:
            name = f"{name[: _LONGEST_NAME - 33]}~{hashlib.sha256(group.encode()).hexdigest()[:32]}"
        names[group] = f"offsets-{name}.txt"
    return names


def _safe(group: str) -> str:
    return _UNSAFE.sub(lambda match: f"%{match[0][0]:02X}".encode(), group.encode()).decode()


def acls(image: ClusterImage) -> str:
    """acls.txt, in the manner of `kafka-acls --list`."""
    lines: list[str] = []
    resource = None
    for acl in image.inventory.acls:
        this = (acl.resource_type, acl.resource_name, acl.pattern_type)
        if this != resource:
            lines.append(
                f"Current ACLs for resource `ResourcePattern(resourceType={shown(acl.resource_type)},"
                f" name={shown(acl.resource_name)}, patternType={shown(acl.pattern_type)})`:"
            )
            resource = this
        lines.append(
            f"  (principal={shown(acl.principal)}, host={shown(acl.host)}, operation={shown(acl.operation)},"
            f" permissionType={shown(acl.permission)})"
        )
    nothing = "no ACLs" if image.inventory.has_authorizer else "no ACLs: the cluster has no authorizer"
    return page(image, "ACLs", lines, unread=unread_settings(image, "acls"), nothing=nothing)


def scram_users(image: ClusterImage) -> str:
    """scram-users.txt. Brokers never show salts or keys, so there are none."""
    rows = [(shown(user.name), shown(user.mechanism), str(user.iterations)) for user in image.inventory.scram_users]
    lines = table(("USER", "MECHANISM", "ITERATIONS"), rows) if rows else []
    return page(image, "SCRAM users", lines, unread=unread_settings(image, "scram-users"), nothing="no SCRAM users")


def quotas(image: ClusterImage) -> str:
    """quotas.txt, in the manner of `kafka-configs --describe` for users, clients and addresses."""
    lines = []
    for quota in image.inventory.quotas:
        limits = ", ".join(f"{shown(name)}={number(value)}" for name, value in quota.values)
        lines.append(f"Quota configs for {entity_text(quota.entity)} are {limits}")
    return page(image, "quotas", lines, unread=unread_settings(image, "quotas"), nothing="no quotas")

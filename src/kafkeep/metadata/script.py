"""A cluster's settings as a shell script of stock Kafka commands, which needs nothing of kafkeep. Pure.

What is awkward in an argument of Kafka's tools (commas, brackets, equals signs: `ConfigCommand.parseConfigsToBeAdded`)
goes through `--add-config-file`; passwords go from the person's own file into such a file and are never an argument.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

from kafkeep.inventory import BROKER, CLIENT_METRICS, CLUSTER, GROUP, Acl, ConfigValue, Quota, ResourceConfigs
from kafkeep.metadata.image import ClusterImage
from kafkeep.metadata.phrases import (
    entity_text,
    number,
    positions_of,
    shown,
    unread_configs,
    unread_groups,
    unread_settings,
    unread_topic_configs,
    unread_topics,
)
from kafkeep.metadata.script_frame import HEAD, PARTS, TAIL
from kafkeep.metadata.shell import property_line, quote
from kafkeep.model import TopicMetadata
from kafkeep.passing import PASSING_BROKER_SETTINGS, PASSING_TOPIC_SETTINGS
from kafkeep.position_files import FilePosition, positions_csv
from kafkeep.records import dataclass

_CONFIG_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
"""What ConfigCommand.validatePropsKey lets through."""
_PLAIN_VALUE: Final = re.compile(r"[A-Za-z0-9._:,*/+-]+")
"""Values that `kafka-topics --config` takes as they are (TopicCommand splits at equals signs and trims)."""
_GROUPS_PER_CALL: Final = 100
_QUOTA_TYPES: Final = {"user": "users", "client-id": "clients", "ip": "ips"}
_CLUSTER_TYPE: Final = "CLUSTER"
_THE_CLUSTER: Final = ("kafka-cluster", "LITERAL")
_ACL_OPERATION: Final = re.compile(r"[A-Z]+(_[A-Z]+)*")
_ACL_RESOURCES: Final = {
    _CLUSTER_TYPE: "--cluster",
    "TOPIC": "--topic",
    "GROUP": "--group",
    "TRANSACTIONAL_ID": "--transactional-id",
    "DELEGATION_TOKEN": "--delegation-token",
    "USER": "--user-principal",
}
_SHARE, _STREAMS = "share", "streams"


class _Expanded(str):
    """A word of ours that the shell is to expand; never a text of the image."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class ScriptOptions:
    replica_assignment: bool = False
    """Put every replica on the broker id it was on, instead of asking for a replication factor only."""


def recreate_script(image: ClusterImage, options: ScriptOptions | None = None) -> str:
    """recreate.sh: recreates topics, configs, quotas, users, ACLs and group positions; how to call it is in its head.

    Left out, and said so in comments: passing settings (throttles), internal topics, what brokers do not show, and what
    Kafka's tools cannot be told.
    """
    chosen = ScriptOptions() if options is None else options
    writers: dict[str, Callable[[], list[str]]] = {
        "topics": lambda: _topics(image, chosen),
        "topic-configs": lambda: _topic_configs(image),
        "cluster-configs": lambda: _resources(image, CLUSTER, lambda name: ["brokers", "--entity-default"]),
        "broker-configs": lambda: _resources(image, BROKER, lambda name: ["brokers", "--entity-name", name]),
        "group-configs": lambda: _resources(image, GROUP, lambda name: ["groups", "--entity-name", name]),
        "client-metrics": lambda: _resources(
            image, CLIENT_METRICS, lambda name: ["client-metrics", "--entity-name", name]
        ),
        "quotas": lambda: _quotas(image),
        "users": lambda: _users(image),
        "acls": lambda: _acls(image),
        "offsets": lambda: _offsets(image),
    }
    source = f"# Of {shown(image.origin)}, {shown(image.time)}, cluster id {shown(image.cluster_id)}."
    text = [HEAD.replace("@SOURCE@", source)]
    for part in PARTS:
        text += [f"part_{part.replace('-', '_')}() {{", "  :", *writers[part](), "}", ""]
    return "\n".join([*text, TAIL])


def _left_out(what: str, why: str) -> list[str]:
    return [f"  # LEFT OUT: {shown(what)}: {why}"]


def _not_read(names: Iterable[str]) -> list[str]:
    return [f"  # NOT READ: {shown(name)}: what follows is not complete" for name in names]


def _try(what: str, *words: str) -> list[str]:
    """A command; the first word is the tool."""
    if any("\0" in word for word in words):
        return _left_out(what, "a shell cannot hold its zero byte")
    return [f"  try {quote(what)} {' '.join(word if isinstance(word, _Expanded) else quote(word) for word in words)}"]


def _configs(what: str, entity: Sequence[str], configs: Sequence[tuple[str, str | None]]) -> list[str]:
    """An alteration of the configs of one entity; `entity` is what follows `--entity-type`."""
    lines: list[str] = []
    said: list[str] = []
    for name, value in configs:
        if value is None:
            lines += _left_out(f"{what}: {shown(name)}", "brokers do not show it; set it by hand")
        elif not _CONFIG_NAME.fullmatch(name):
            lines += _left_out(f"{what}: {shown(name)}", "Kafka's tool takes no such name")
        else:
            said.append(property_line(name, value))
    if not said:
        return lines
    if any("\0" in word for word in entity):
        return [*lines, *_left_out(what, "a shell cannot hold its zero byte")]
    words = " ".join(quote(word) for word in ("--entity-type", *entity))
    return [*lines, f"  configs {quote(what)} {words} <<'END'", *said, "END"]


def _topics(image: ClusterImage, options: ScriptOptions) -> list[str]:
    lines = _not_read((*unread_topics(image), *unread_topic_configs(image)))
    for topic in image.topics:
        if topic.internal:
            lines += _left_out(f"topic {shown(topic.name)}", "internal, brokers make it themselves")
        elif not topic.partitions or not topic.replication_factor:
            lines += _left_out(f"topic {shown(topic.name)}", "its partitions are not known")
        else:
            lines += _topic(topic, options)
    return lines


def _topic(topic: TopicMetadata, options: ScriptOptions) -> list[str]:
    what = f"topic {shown(topic.name)}"
    kept = _kept(topic)
    plain = [(name, value) for name, value in kept if _is_plain(name, value)]
    if options.replica_assignment:
        # An assignment that is empty somewhere cannot be said; the tool then says so.
        places = ",".join(":".join(map(str, replicas)) for replicas in topic.partitions)
        shape = ["--replica-assignment", places]
    else:
        factor = _Expanded(f'"${{REPLICATION_FACTOR:-{topic.replication_factor}}}"')
        shape = ["--partitions", str(len(topic.partitions)), "--replication-factor", factor]
    configs = [word for name, value in plain for word in ("--config", f"{name}={value}")]
    lines = _try(what, "kafka-topics", "--create", "--if-not-exists", "--topic", topic.name, *shape, *configs)
    others = [pair for pair in kept if pair not in plain]
    return lines + _configs(f"configs of {what}", ["topics", "--entity-name", topic.name], others)


def _is_plain(name: str, value: str | None) -> bool:
    return value is not None and bool(_CONFIG_NAME.fullmatch(name) and _PLAIN_VALUE.fullmatch(value))


def _kept(topic: TopicMetadata) -> list[tuple[str, str | None]]:
    return [(name, value) for name, value in topic.configs if name not in PASSING_TOPIC_SETTINGS]


def _topic_configs(image: ClusterImage) -> list[str]:
    lines = _not_read((*unread_topics(image), *unread_topic_configs(image)))
    for topic in image.topics:
        if not topic.internal:
            what = f"configs of topic {shown(topic.name)}"
            lines += _configs(what, ["topics", "--entity-name", topic.name], _kept(topic))
    return lines


def _resources(image: ClusterImage, kind: str, entity: Callable[[str], list[str]]) -> list[str]:
    lines = _not_read(unread_configs(image, kind))
    for resource in image.inventory.configs_of(kind):
        what = f"configs of {kind} {shown(resource.name)}" if resource.name else f"configs of {kind}"
        if not resource.name and kind != CLUSTER:
            lines += _left_out(what, "Kafka's tool takes an empty name for the default")
        else:
            lines += _configs(what, entity(resource.name), [_pair(entry) for entry in _lasting(resource)])
    return lines


def _lasting(resource: ResourceConfigs) -> list[ConfigValue]:
    return [entry for entry in resource.overrides if entry.name not in PASSING_BROKER_SETTINGS]


def _pair(entry: ConfigValue) -> tuple[str, str | None]:
    return entry.name, None if entry.sensitive else entry.value


def _quotas(image: ClusterImage) -> list[str]:
    lines = _not_read(unread_settings(image, "quotas"))
    for quota in image.inventory.quotas:
        what = f"quota of {entity_text(quota.entity)}"
        parts = sorted(
            quota.entity.parts, key=lambda part: list(_QUOTA_TYPES).index(part[0]) if part[0] in _QUOTA_TYPES else 9
        )
        if any(kind not in _QUOTA_TYPES or name == "" for kind, name in parts):
            lines += _left_out(what, "Kafka's tool knows no such entity")
            continue
        lines += _configs(what, _quota_entity(parts), _limits(quota))
    return lines


def _quota_entity(parts: Sequence[tuple[str, str | None]]) -> list[str]:
    words = [
        word
        for kind, name in parts
        for word in (
            "--entity-type",
            _QUOTA_TYPES[kind],
            *(["--entity-default"] if name is None else ["--entity-name", name]),
        )
    ]
    return words[1:]


def _limits(quota: Quota) -> list[tuple[str, str | None]]:
    return [(name, number(value)) for name, value in quota.values]


def _users(image: ClusterImage) -> list[str]:
    lines = _not_read(unread_settings(image, "scram-users"))
    for user in image.inventory.scram_users:
        what = f"user {shown(user.name)} by {shown(user.mechanism)}"
        if not user.name or {"\0", "\n", "\t"} & set(user.name):
            lines += _left_out(what, "its name cannot stand in the file of passwords")
        elif not user.mechanism.startswith("SCRAM-"):
            lines += _left_out(what, "Kafka's tool has no word for it")
        else:
            lines.append(f"  scram {quote(user.name)} {quote(user.mechanism)} {user.iterations}")
    return lines


def _acls(image: ClusterImage) -> list[str]:
    lines = _not_read(unread_settings(image, "acls"))
    for _, alike in groupby(sorted(image.inventory.acls, key=_acl_order), key=_acl_order):
        lines += _acl(tuple(alike))
    return lines


def _acl_order(acl: Acl) -> tuple[str, ...]:
    """Bindings that are alike but for the operation go into one call."""
    return acl.resource_type, acl.resource_name, acl.pattern_type, acl.principal, acl.host, acl.permission


def _acl(alike: Sequence[Acl]) -> list[str]:
    first = alike[0]
    what = (
        f"ACLs {first.permission} {','.join(acl.operation for acl in alike)} on {first.resource_type}"
        f" {first.pattern_type} {shown(first.resource_name)} for {shown(first.principal)} from {shown(first.host)}"
    )
    names = (first.resource_name, first.principal, first.host)
    if any(name != name.strip() or not name for name in names):
        return _left_out(what, "Kafka's tool takes away spaces around names")
    if not all(_is_known(acl) for acl in alike):
        return _left_out(what, "Kafka's tool has no words for it")
    resource = [
        _ACL_RESOURCES[first.resource_type],
        *([] if first.resource_type == _CLUSTER_TYPE else [first.resource_name]),
    ]
    side = first.permission.lower()
    operations = [word for acl in alike for word in ("--operation", _pascal(acl.operation))]
    return _try(
        what,
        *("kafka-acls", "--add", *resource, "--resource-pattern-type", first.pattern_type.lower()),
        *(f"--{side}-principal", first.principal, f"--{side}-host", first.host, *operations),
    )


def _is_known(acl: Acl) -> bool:
    """False for a code that has no word here, and for a cluster that is not the one cluster."""
    return (
        acl.resource_type in _ACL_RESOURCES
        and acl.pattern_type in ("LITERAL", "PREFIXED")
        and acl.permission in ("ALLOW", "DENY")
        and bool(_ACL_OPERATION.fullmatch(acl.operation))
        and (acl.resource_type != _CLUSTER_TYPE or (acl.resource_name, acl.pattern_type) == _THE_CLUSTER)
    )


def _pascal(word: str) -> str:
    """`DESCRIBE_CONFIGS` as the tool has it: `DescribeConfigs` (SecurityUtils)."""
    return "".join(part.capitalize() for part in word.split("_"))


def _offsets(image: ClusterImage) -> list[str]:
    types = {group.group_id: group.type for group in image.groups}
    lines = _not_read(unread_groups(image))
    said: list[list[FilePosition]] = []
    for group, found in groupby(positions_of(image), key=lambda position: position.group_id):
        positions = list(found)
        if types[group] in (_SHARE, _STREAMS):
            lines += _left_out(
                f"positions of {shown(types[group])} group {shown(group)}", "kafka-consumer-groups sets none"
            )
        elif not group or "\0" in group or not positions[0].fits_csv:
            lines += _left_out(f"positions of group {shown(group)}", "its id cannot stand in the tool's file")
        else:
            said.append(positions)
    for first in range(0, len(said), _GROUPS_PER_CALL):
        lines += _reset(said[first : first + _GROUPS_PER_CALL])
    return lines


def _reset(groups: Sequence[Sequence[FilePosition]]) -> Iterator[str]:
    yield "  cat >\"$work/offsets.csv\" <<'END'"
    yield positions_csv(position for group in groups for position in group).rstrip("\n")
    yield "END"
    names = [word for group in groups for word in ("--group", group[0].group_id)]
    yield from _try(
        f"positions of {len(groups)} group(s)",
        *(
            "kafka-consumer-groups",
            "--reset-offsets",
            "--from-file",
            _Expanded('"$work/offsets.csv"'),
            "--execute",
            *names,
        ),
    )

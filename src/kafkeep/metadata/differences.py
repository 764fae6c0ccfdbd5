"""What is different between two cluster images. Pure.

What could not be read on either side, and what brokers do not show, is named as not compared: it is neither equal nor
gone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, NamedTuple

from kafkeep.inventory import BROKER, CLIENT_METRICS, CLUSTER, GROUP, ConfigValue
from kafkeep.metadata import options
from kafkeep.metadata.image import ClusterImage
from kafkeep.metadata.options import DIFFERENCE_AREAS, FEATURES, POSITIONS
from kafkeep.metadata.phrases import (
    entity_text,
    number,
    shown,
    unread_configs,
    unread_groups,
    unread_settings,
    unread_topic_configs,
    unread_topics,
)
from kafkeep.metadata.texts_services import connector_values, schema_values, unread_schemas
from kafkeep.model import TopicPartition
from kafkeep.records import dataclass

PRESENCE: Final = "presence"
PRESENT: Final = "present"


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """One thing that is not the same."""

    area: str
    """Of `DIFFERENCE_AREAS`."""
    subject: str
    """The topic, broker, group, resource, entity or user."""
    key: str
    """What of it: a config's name, `partitions`, `orders/0`, `presence` …"""
    left: str | None
    right: str | None
    """None where the side has no such thing."""
    left_lag: int | None = None
    right_lag: int | None = None
    """Of positions: records up to the log end, None where the end is not known on both sides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDifferences:
    left: str
    right: str
    """The images' origins."""
    differences: tuple[Difference, ...]
    """In the order of `DIFFERENCE_AREAS`, then by subject and key."""
    information: tuple[Difference, ...]
    """What is different and cannot be made equal: topic ids."""
    not_compared: tuple[str, ...]
    """Parts that were asked for and could not be compared, with the reason, for people."""
    hidden: tuple[str, ...]
    """Sensitive values by area, which no broker shows: there is nothing to compare."""


Values = Mapping[tuple[str, str], str | None]
"""(subject, key) → value, None for one that brokers do not show."""


class _Findings:
    def __init__(self, left: ClusterImage, right: ClusterImage) -> None:
        self.left, self.right = left, right
        self.differences: list[Difference] = []
        self.information: list[Difference] = []
        self.not_compared: list[str] = []
        self.hidden: list[str] = []

    def whole_unread(self, area: str, names: Callable[[ClusterImage], tuple[str, ...]], *parts: str) -> bool:
        """True when the area as a whole was not read on a side; says so."""
        unread = [
            f"{area}: {shown(name)} could not be read: {shown(image.origin)}"
            for image in (self.left, self.right)
            for name in names(image)
            if name in parts
        ]
        self.not_compared += unread
        return bool(unread)

    def some_unread(
        self, area: str, names: Callable[[ClusterImage], tuple[str, ...]], prefix: str, *whole: str
    ) -> frozenset[str]:
        """Subjects that were not read on one side or the other; says so. `whole` are not subjects."""
        found: set[str] = set()
        for image in (self.left, self.right):
            for name in names(image):
                if name not in whole and name.startswith(prefix):
                    found.add(name.removeprefix(prefix))
                    self.not_compared.append(f"{area}: {shown(name)} could not be read: {shown(image.origin)}")
        return frozenset(found)

    def beside_unread(self, area: str, sides: Iterable[tuple[Iterable[str], frozenset[str]]]) -> frozenset[str]:
        """Subjects that a server beside one of the clusters did not tell; says so by their names."""
        found: set[str] = set()
        for image, (names, subjects) in zip((self.left, self.right), sides, strict=True):
            self.not_compared += [f"{area}: {shown(name)} could not be read: {shown(image.origin)}" for name in names]
            found |= subjects
        return frozenset(found)

    def compare(self, area: str, left: Values, right: Values) -> None:
        """Every key of either side; a value that brokers do not show is compared with nothing."""
        hidden: list[str] = []
        for subject, key in sorted({*left, *right}):
            place = subject, key
            if (place in left and left[place] is None) or (place in right and right[place] is None):
                hidden.append(f"{shown(subject)} {shown(key)}" if subject else shown(key))
            elif left.get(place) != right.get(place):
                self.differences.append(Difference(area, subject, key, left.get(place), right.get(place)))
        if hidden:
            self.hidden.append(f"{area}: {', '.join(hidden)}")


def compare_images(
    left: ClusterImage, right: ClusterImage, areas: Collection[str] = DIFFERENCE_AREAS
) -> ImageDifferences:
    """What `areas` (of `DIFFERENCE_AREAS`) have in `left` and not so in `right`; swapped sides give swapped values.

    A topic, a group or a resource that only one side has is one difference, `presence`. A position is compared with its
    lag where both ends are known; leader epochs and metadata strings are not.
    Static configs of brokers are compared between images of one cluster only. Raises ValueError for an unknown area.
    """
    if unknown := set(areas) - set(DIFFERENCE_AREAS):
        raise ValueError(f"{min(unknown)!r} is not one of {', '.join(DIFFERENCE_AREAS)}")
    findings = _Findings(left, right)
    for area in DIFFERENCE_AREAS:
        if area in areas:
            _COMPARISONS[area](findings)
    order = {area: place for place, area in enumerate(DIFFERENCE_AREAS)}
    return ImageDifferences(
        left=left.origin,
        right=right.origin,
        differences=tuple(
            sorted(findings.differences, key=lambda found: (order[found.area], found.subject, found.key))
        ),
        information=tuple(sorted(findings.information, key=lambda found: (found.subject, found.key))),
        not_compared=tuple(dict.fromkeys(findings.not_compared)),
        hidden=tuple(findings.hidden),
    )


def _presence(
    findings: _Findings, area: str, left: Collection[str], right: Collection[str], aside: Collection[str] = ()
) -> list[str]:
    """Names both sides have; says which only one has, but for those in `aside`."""
    for name in sorted(({*left} ^ {*right}) - {*aside}):
        here, there = (PRESENT if name in side else None for side in (left, right))
        findings.differences.append(Difference(area, name, PRESENCE, here, there))
    return sorted({*left} & {*right})


def _topics(findings: _Findings) -> None:
    if findings.whole_unread(options.TOPICS, unread_topics, "topics"):
        return
    left, right = ({topic.name: topic for topic in image.topics} for image in (findings.left, findings.right))
    # Brokers make these when they need them, and a backup of records reads none.
    internal = {topic.name for side in (left, right) for topic in side.values() if topic.internal}
    for name in _presence(findings, options.TOPICS, left, right, internal):
        here, there = left[name], right[name]
        facts = [
            {(name, "partitions"): str(len(one.partitions)), (name, "replication factor"): str(one.replication_factor)}
            for one in (here, there)
        ]
        findings.compare(options.TOPICS, *facts)
        if here.topic_id != there.topic_id:
            told = Difference(options.TOPICS, name, "topic id", here.topic_id, there.topic_id)
            findings.information.append(told)


def _topic_configs(findings: _Findings) -> None:
    if findings.whole_unread(options.TOPIC_CONFIGS, unread_topics, "topics"):
        return
    unread = findings.some_unread(options.TOPIC_CONFIGS, unread_topic_configs, "configs of ")
    left, right = ({topic.name: topic for topic in image.topics} for image in (findings.left, findings.right))
    common = {*left} & {*right} - unread
    findings.compare(
        options.TOPIC_CONFIGS,
        *({(name, key): value for name in common for key, value in side[name].configs} for side in (left, right)),
    )


def _resources(image: ClusterImage, kind: str) -> dict[str, dict[str, ConfigValue]]:
    return {
        resource.name: {entry.name: entry for entry in resource.entries}
        for resource in image.inventory.configs_of(kind)
    }


def _brokers(findings: _Findings) -> None:
    area, names = options.BROKER_CONFIGS, _unread_of(BROKER)
    if findings.whole_unread(area, names, "configs"):
        return
    unread = findings.some_unread(area, names, "configs of broker ", "configs")
    left, right = _resources(findings.left, BROKER), _resources(findings.right, BROKER)
    same = findings.left.cluster_id == findings.right.cluster_id
    values = [
        {
            (broker, name): told
            for broker in {*left, *right} - unread
            for name, told in _set_on_broker(here.get(broker, {}), there.get(broker, {}), static=same).items()
        }
        for here, there in ((left, right), (right, left))
    ]
    findings.compare(area, *values)


def _set_on_broker(
    here: Mapping[str, ConfigValue], there: Mapping[str, ConfigValue], *, static: bool
) -> dict[str, str | None]:
    """What was set on a broker itself; with `static` also what its file says, where the other side knows the broker."""
    found: dict[str, str | None] = {}
    for name, entry in here.items():
        if entry.source == BROKER:
            found[name] = _known(entry)
        elif entry.source == "static" and static and there and not _covered(there.get(name)):
            found[name] = None if _known(entry) is None else f"{entry.value} (static)"
    return found


def _covered(entry: ConfigValue | None) -> bool:
    """True where a value of the whole cluster hides what the broker's file says: that is a difference of the cluster."""
    return entry is not None and entry.source == CLUSTER


def _known(entry: ConfigValue) -> str | None:
    return None if entry.sensitive else entry.value


def _unread_of(kind: str) -> Callable[[ClusterImage], tuple[str, ...]]:
    return lambda image: unread_configs(image, kind)


def _cluster(findings: _Findings) -> None:
    area = options.CLUSTER_CONFIGS
    if not findings.whole_unread(area, _unread_of(CLUSTER), "configs", "configs of cluster"):
        findings.compare(area, *(_overrides(image, CLUSTER, {""}) for image in (findings.left, findings.right)))


def _overrides(image: ClusterImage, kind: str, names: Collection[str]) -> Values:
    return {
        (name, key): _known(entry)
        for name, entries in _resources(image, kind).items()
        if name in names
        for key, entry in entries.items()
        if entry.source == kind
    }


def _named(area: str, kind: str) -> Callable[[_Findings], None]:
    """The comparison of a kind of resources with names, for which to be there means to have configs."""

    def compare(findings: _Findings) -> None:
        names = _unread_of(kind)
        whole = "configs", f"{kind} configs"
        if findings.whole_unread(area, names, *whole):
            return
        unread = findings.some_unread(area, names, f"configs of {kind} ", *whole)
        sides = [{*_resources(image, kind)} - unread for image in (findings.left, findings.right)]
        common = _presence(findings, area, *sides)
        findings.compare(area, *(_overrides(image, kind, common) for image in (findings.left, findings.right)))

    return compare


def _settings(area: str, part: str, values: Callable[[ClusterImage], Values]) -> Callable[[_Findings], None]:
    """The comparison of a part of the inventory that is read as a whole."""

    def compare(findings: _Findings) -> None:
        if not findings.whole_unread(area, lambda image: unread_settings(image, part), part):
            findings.compare(area, values(findings.left), values(findings.right))

    return compare


def _acl_values(image: ClusterImage) -> Values:
    return {
        (
            f"{acl.resource_type} {acl.pattern_type} {shown(acl.resource_name)}",
            f"{shown(acl.principal)} {acl.permission} {acl.operation} from {shown(acl.host)}",
        ): PRESENT
        for acl in image.inventory.acls
    }


def _quota_values(image: ClusterImage) -> Values:
    return {
        (entity_text(quota.entity), name): number(value)
        for quota in image.inventory.quotas
        for name, value in quota.values
    }


def _user_values(image: ClusterImage) -> Values:
    return {(user.name, user.mechanism): f"{user.iterations} iterations" for user in image.inventory.scram_users}


def _feature_values(image: ClusterImage) -> Values:
    return {(feature.name, "level"): str(feature.level) for feature in image.inventory.features}


def _positions(findings: _Findings) -> None:
    if findings.whole_unread(POSITIONS, unread_groups, "groups"):
        return
    unread = findings.some_unread(POSITIONS, unread_groups, "group ", "groups")
    sides = [
        {group.group_id: group for group in image.groups if group.group_id not in unread}
        for image in (findings.left, findings.right)
    ]
    common = _presence(findings, POSITIONS, *sides)
    ends = findings.left.ends, findings.right.ends
    known = {*ends[0]} & {*ends[1]}
    told: list[dict[tuple[str, TopicPartition], _Position]] = [
        {
            (name, position.topic_partition): _Position(
                str(position.offset),
                end[position.topic_partition] - position.offset if position.topic_partition in known else None,
            )
            for name in common
            for position in side[name].offsets
        }
        for side, end in zip(sides, ends, strict=True)
    ]
    for place in sorted({*told[0], *told[1]}):
        left, right = (side.get(place, _NO_POSITION) for side in told)
        if left != right:
            name, target = place
            found = Difference(POSITIONS, name, str(target), left.offset, right.offset, left.lag, right.lag)
            findings.differences.append(found)


class _Position(NamedTuple):
    offset: str | None
    lag: int | None


_NO_POSITION: Final = _Position(None, None)


def _both(findings: _Findings, area: str, known: Callable[[ClusterImage], bool]) -> bool:
    """True when both sides have the server that the area is about; says so when one of them has not."""
    if findings.whole_unread(area, lambda image: image.unreadable, area):
        return False
    lacking = [image for image in (findings.left, findings.right) if not known(image)]
    if len(lacking) == 1:
        findings.not_compared.append(f"{area}: {shown(lacking[0].origin)} was read without a server that holds them")
    return not lacking


def _schemas(findings: _Findings) -> None:
    area = options.SCHEMAS
    if not _both(findings, area, lambda image: image.schemas is not None):
        return
    sides = [image.schemas for image in (findings.left, findings.right) if image.schemas is not None]
    unread = findings.beside_unread(area, [(side.unreadable, unread_schemas(side)) for side in sides])
    values = [
        {name: told for name, told in schema_values(side).items() if name not in unread and not _within(name, unread)}
        for side in sides
    ]
    for name in _presence(findings, area, *values):
        findings.compare(area, *({(name, key): told for key, told in side[name].items()} for side in values))


def _within(name: str, unread: Collection[str]) -> bool:
    """True for a version of a subject of which no version could be read."""
    return f"schemas of {name.rpartition(' version ')[0]}" in unread


def _connectors(findings: _Findings) -> None:
    area = options.CONNECTORS
    if not _both(findings, area, lambda image: image.connectors is not None):
        return
    both = [image.connectors for image in (findings.left, findings.right) if image.connectors is not None]
    names = [frozenset(name.removeprefix("connector ") for name in side.unreadable) for side in both]
    unread = findings.beside_unread(area, [(side.unreadable, name) for side, name in zip(both, names, strict=True)])
    left, right = ({one.name: one for one in side.connectors if one.name not in unread} for side in both)
    for name in _presence(findings, area, left, right):
        values = connector_values(left[name], right[name])
        findings.compare(area, *({(name, key): told for key, told in side.items()} for side in values))


_COMPARISONS: Final[Mapping[str, Callable[[_Findings], None]]] = {
    options.TOPICS: _topics,
    options.TOPIC_CONFIGS: _topic_configs,
    options.BROKER_CONFIGS: _brokers,
    options.CLUSTER_CONFIGS: _cluster,
    options.GROUP_CONFIGS: _named(options.GROUP_CONFIGS, GROUP),
    options.CLIENT_METRICS: _named(options.CLIENT_METRICS, CLIENT_METRICS),
    options.ACLS: _settings(options.ACLS, "acls", _acl_values),
    options.QUOTAS: _settings(options.QUOTAS, "quotas", _quota_values),
    options.USERS: _settings(options.USERS, "scram-users", _user_values),
    options.SCHEMAS: _schemas,
    options.CONNECTORS: _connectors,
    FEATURES: _settings(FEATURES, "features", _feature_values),
    POSITIONS: _positions,
}

"""A cluster image as the plain values that JSON and YAML know, with names in place of positions, and back. Pure.

Most nouns take the form of their fields: an object with the fields' names, those left out that have their default. The
exceptions are written down here: what is a mapping by nature (configs, limits) is one in the document too.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from kafkeep.connectors import Connector, Connectors, ConnectorSetting, setting
from kafkeep.inventory import (
    CONFIG_KINDS,
    Acl,
    ConfigValue,
    InheritedConfigs,
    Inventory,
    Quorum,
    Quota,
    QuotaEntity,
    ResourceConfigs,
    ScramUser,
)
from kafkeep.metadata.image import ClusterImage
from kafkeep.metadata.strict import Place
from kafkeep.model import Group, GroupOffset, TopicMetadata, TopicPartition
from kafkeep.schemas import Schemas

FORMAT: Final = "kafkeep-metadata-1"

_NODE_BITS: Final = 32
_RESOURCES: Final = ("TOPIC", "GROUP", "CLUSTER", "TRANSACTIONAL_ID", "DELEGATION_TOKEN", "USER")
_OPERATIONS: Final = (
    *("ALL", "READ", "WRITE", "CREATE", "DELETE", "ALTER", "DESCRIBE", "CLUSTER_ACTION", "DESCRIBE_CONFIGS"),
    *("ALTER_CONFIGS", "IDEMPOTENT_WRITE", "CREATE_TOKENS", "DESCRIBE_TOKENS", "TWO_PHASE_COMMIT"),
)


class _Form(NamedTuple):
    """How a field is written, and read again."""

    write: Callable[[Any], object]
    read: Callable[[Place], object]


def to_form(image: ClusterImage) -> dict[str, object]:
    """The document of an image. Raises ValueError for an image that names one thing twice."""
    return {"format": FORMAT, **typing.cast("dict[str, object]", _write(image))}


def from_form(value: object, file: str) -> ClusterImage:
    """The image of a document, everything sorted as brokers' answers are.

    Raises `UsageError` that names the place in `file` and what was expected there.
    """
    place = Place(value, file)
    names = [field.name for field in dataclasses.fields(ClusterImage)]
    found = place.fields(["format", *names], ["format", *_needed(ClusterImage)])
    found.pop("format").word([FORMAT])
    return typing.cast("ClusterImage", _build(ClusterImage, found, place))


def _write(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if isinstance(value, QuotaEntity):
            return _mapping(value.parts)
        return {
            name: shape
            for field in _shown(type(value))
            if not _is_default(field, held := getattr(value, field.name))
            for name, shape in _write_field(type(value), field.name, held)
        }
    if isinstance(value, tuple):
        return [_write(item) for item in value]
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return repr(value)
    return value


def _write_field(owner: type, name: str, value: Any) -> Iterable[tuple[str, object]]:
    if isinstance(value, TopicPartition):
        return (("topic", value.topic), ("partition", value.partition))
    form = _FORMS.get((owner, name))
    return ((name, form.write(value) if form else _write(value)),)


def _is_default(field: dataclasses.Field[Any], value: object) -> bool:
    if field.default_factory is not dataclasses.MISSING:
        return bool(value == field.default_factory())
    return field.default is not dataclasses.MISSING and bool(value == field.default)


def _mapping(pairs: Sequence[tuple[str, Any]]) -> dict[str, object]:
    found = {name: _write(value) for name, value in pairs}
    if len(found) != len(pairs):
        raise ValueError(f"named twice in one place: {', '.join(name for name, _ in pairs)}")
    return found


def _write_entries(entries: tuple[ConfigValue, ...]) -> dict[str, object]:
    return _mapping([(entry.name, _without_name(entry)) for entry in entries])


def _without_name(entry: ConfigValue) -> dict[str, object]:
    form = typing.cast("dict[str, object]", _write(entry))
    del form["name"]
    return form


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    return typing.get_type_hints(kind)


@cache
def _shown(kind: type) -> tuple[dataclasses.Field[Any], ...]:
    """The fields that a document has: not those with what nobody may see."""
    return tuple(field for field in dataclasses.fields(kind) if not field.metadata.get("hidden"))


@cache
def _needed(kind: type) -> tuple[str, ...]:
    missing = dataclasses.MISSING
    fields = dataclasses.fields(kind)
    return tuple(field.name for field in fields if field.default is missing and field.default_factory is missing)


def _read(kind: Any, place: Place) -> Any:
    if kind is QuotaEntity:
        return QuotaEntity(tuple(sorted((name, part.text_or_none()) for name, part in place.entries())))
    if dataclasses.is_dataclass(kind):
        names = _document_names(typing.cast("type", kind))
        needed = [name for field in _needed(typing.cast("type", kind)) for name in names[field]]
        return _build(kind, place.fields([name for each in names.values() for name in each], needed), place)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        (given,) = [option for option in inner if option is not types.NoneType]
        return None if place.value is None else _read(given, place)
    if origin is tuple:
        return tuple(_read(inner[0], item) for item in place.items())
    readers: dict[Any, Callable[[], Any]] = {
        str: place.text,
        bool: place.truth,
        int: lambda: place.whole(-(2**63)),
        float: place.real,
    }
    return readers[kind]()


@cache
def _document_names(kind: type) -> Mapping[str, tuple[str, ...]]:
    """The keys that a field takes in a document."""
    return {
        field.name: ("topic", "partition") if _hints(kind)[field.name] is TopicPartition else (field.name,)
        for field in _shown(kind)
    }


def _build(kind: Any, found: Mapping[str, Place], place: Place) -> Any:
    values: dict[str, Any] = {}
    for field, names in _document_names(kind).items():
        form = _FORMS.get((kind, field))
        if names == ("topic", "partition"):
            values[field] = TopicPartition(found["topic"].text(), found["partition"].whole(0, _NODE_BITS))
        elif field not in found:
            continue
        elif form is not None:
            values[field] = form.read(found[field])
        else:
            values[field] = _read(_hints(kind)[field], found[field])
            if order := _ORDERS.get((kind, field)):
                values[field] = _sorted(values[field], order, found[field])
    return kind(**values)


def _sorted(items: tuple[Any, ...], order: Callable[[Any], Hashable], place: Place) -> tuple[Any, ...]:
    seen: set[Hashable] = set()
    for index, item in enumerate(items):
        key = order(item)
        if key in seen:
            place.refuse(f"entry {index} is there a second time")
        seen.add(key)
    return tuple(sorted(items, key=order))  # type: ignore[arg-type]


def _quota_order(quota: Quota) -> Hashable:
    """A default lies in front of the named ones, as in the answers of `kafka.quotas`."""
    return tuple((kind, name is not None, "" if name is None else name) for kind, name in quota.entity.parts)


_ORDERS: Final[Mapping[tuple[type, str], Callable[[Any], Any]]] = {
    (ClusterImage, "topics"): lambda topic: topic.name,
    (ClusterImage, "groups"): lambda group: group.group_id,
    (Group, "offsets"): lambda offset: offset.topic_partition,
    (Inventory, "configs"): lambda resource: (resource.kind, resource.name),
    (Inventory, "acls"): lambda acl: acl,
    (Inventory, "quotas"): _quota_order,
    (Inventory, "scram_users"): lambda user: (user.name, user.mechanism),
    (Inventory, "features"): lambda feature: feature.name,
    (Schemas, "versions"): lambda version: version.place,
    (Schemas, "rules"): lambda rules: rules.subject,
    (Connectors, "connectors"): lambda connector: connector.name,
    (Connector, "offsets"): lambda row: (row.partition, row.offset),
}


def _read_configs(place: Place) -> tuple[tuple[str, str | None], ...]:
    return tuple(sorted((name, value.text_or_none()) for name, value in place.entries()))


def _read_entries(place: Place) -> tuple[ConfigValue, ...]:
    found = []
    for name, entry in place.entries():
        names = ("value", "source", "sensitive", "read_only")
        held = entry.fields(names, names[:2])
        flags = [name_ in held and held[name_].truth() for name_ in names[2:]]
        found.append(ConfigValue(name, held["value"].text_or_none(), held["source"].text(), *flags))
    return tuple(sorted(found, key=lambda value: value.name))


def _write_config(config: tuple[ConnectorSetting, ...]) -> dict[str, object]:
    """null for a secret, whether the image has it or not."""
    return _mapping([(each.name, each.value) for each in config])


def _read_config(place: Place) -> tuple[ConnectorSetting, ...]:
    """A secret that a person has put in the place of null is one from here on."""
    held = sorted((name, value.text_or_none()) for name, value in place.entries())
    return tuple(ConnectorSetting(name, None) if value is None else setting(name, value) for name, value in held)


def _read_limits(place: Place) -> tuple[tuple[str, float], ...]:
    return tuple(sorted((name, value.real()) for name, value in place.entries()))


def _read_replicas(place: Place) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(node.whole(0, _NODE_BITS) for node in partition.items()) for partition in place.items())


def _write_nodes(nodes: tuple[tuple[int, str], ...]) -> list[object]:
    return [{"node": node, "directory": directory} for node, directory in nodes]


def _read_nodes(place: Place) -> tuple[tuple[int, str], ...]:
    keys = ("node", "directory")
    parts = [item.fields(keys, keys) for item in place.items()]
    return tuple((part["node"].whole(-(2**31), _NODE_BITS), part["directory"].text()) for part in parts)


def _write_ends(ends: Mapping[TopicPartition, int]) -> dict[str, object]:
    """By topic and partition; partitions are text, as JSON has it for keys."""
    found: dict[str, Any] = {}
    for target, end in sorted(ends.items()):
        found.setdefault(target.topic, {})[str(target.partition)] = end
    return found


def _read_ends(place: Place) -> dict[TopicPartition, int]:
    found: dict[TopicPartition, int] = {}
    for topic, partitions in place.entries():
        for partition, end in partitions.entries():
            if not (partition.isascii() and partition.isdigit() and len(partition) <= 10 and int(partition) < 2**31):
                partitions.refuse(f"expected the number of a partition as key, got {partition[:60]!r}")
            found[TopicPartition(topic, int(partition))] = end.whole(0)
    return found


def _word(*known: str) -> _Form:
    """A field with a closed set of words; a code that has no word here is kept by its number."""
    return _Form(lambda value: value, lambda place: _read_word(place, known))


def _read_word(place: Place, known: Sequence[str]) -> str:
    text = place.text()
    code = text.removeprefix("CODE_")
    return text if text != code and code.isascii() and code.isdigit() else place.word(known)


_ENTRIES: Final = _Form(_write_entries, _read_entries)
_NODES: Final = _Form(_write_nodes, _read_nodes)
_FORMS: Final[Mapping[tuple[type, str], _Form]] = {
    (ClusterImage, "ends"): _Form(_write_ends, _read_ends),
    (TopicMetadata, "partitions"): _Form(_write, _read_replicas),
    (TopicMetadata, "configs"): _Form(_mapping, _read_configs),
    (GroupOffset, "offset"): _Form(_write, lambda place: place.whole(0)),
    (GroupOffset, "leader_epoch"): _Form(_write, lambda place: place.whole(-1, 32)),
    (ResourceConfigs, "kind"): _Form(_write, lambda place: place.word(CONFIG_KINDS)),
    (ResourceConfigs, "entries"): _ENTRIES,
    (InheritedConfigs, "entries"): _ENTRIES,
    (Quota, "values"): _Form(_mapping, _read_limits),
    (Acl, "resource_type"): _word(*_RESOURCES),
    (Acl, "pattern_type"): _word("LITERAL", "PREFIXED"),
    (Acl, "operation"): _word(*_OPERATIONS),
    (Acl, "permission"): _word("ALLOW", "DENY"),
    (ScramUser, "mechanism"): _word("SCRAM-SHA-256", "SCRAM-SHA-512"),
    (Connector, "config"): _Form(_write_config, _read_config),
    (Quorum, "voters"): _NODES,
    (Quorum, "observers"): _NODES,
}

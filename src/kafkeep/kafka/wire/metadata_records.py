"""Records of the controllers' own log, `__cluster_metadata`: from bytes to named fields. Pure.

Schemas: metadata/src/main/resources/common/metadata/*.json of Kafka 3.3 to 4.3, all of whose versions are flexible
(KIP-482). A record's value is a frame version, the record type and its version as unsigned varints, then the fields
(server-common/serialization/AbstractApiMessageSerde.java, KIP-631). Only fields that kafkeep has a use for are kept.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

from kafkeep.errors import KafkaUnsupported
from kafkeep.kafka.wire.primitives import Reader
from kafkeep.model import topic_id_text
from kafkeep.records import dataclass

FRAME_VERSION: Final = 1

REGISTER_BROKER, UNREGISTER_BROKER, TOPIC, PARTITION, CONFIG, PARTITION_CHANGE = 0, 1, 2, 3, 4, 5
FENCE_BROKER, UNFENCE_BROKER, REMOVE_TOPIC, DELEGATION_TOKEN, SCRAM_USER, FEATURE_LEVEL = 7, 8, 9, 10, 11, 12
QUOTA, PRODUCER_IDS, BROKER_CHANGE, ACL, REMOVE_ACL, NO_OP, ZK_MIGRATION = 14, 15, 17, 18, 19, 20, 21
REMOVE_SCRAM_USER, BEGIN, END, ABORT, REMOVE_TOKEN, REGISTER_CONTROLLER, CLEAR_ELR = 22, 23, 24, 25, 26, 27, 28

_I8: Final = struct.Struct(">b")
_U16: Final = struct.Struct(">H")
_F64: Final = struct.Struct(">d")
_UUID_SIZE: Final = 16

Read = Callable[[Reader], object]


@dataclass(frozen=True, slots=True)
class MetadataRecord:
    """One record; `fields` are those of `KINDS` by name, empty for a type that is not in it."""

    type: int
    version: int
    fields: Mapping[str, Any]

    @property
    def known(self) -> bool:
        return self.type in KINDS


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a record type."""

    name: str
    read: Read
    since: int = 0
    """The first version that has it."""
    tag: int | None = None
    """Its tag, where it is written only when it differs from `default`."""
    default: object = None


@dataclass(frozen=True, slots=True)
class Kind:
    """A record type as the newest known version has it; a record of an older one lacks its later fields."""

    name: str
    newest: int
    fields: tuple[Field, ...] = ()


def _i8(reader: Reader) -> int:
    return reader.fields(_I8)[0]


def _u16(reader: Reader) -> int:
    return reader.fields(_U16)[0]


def _i16(reader: Reader) -> int:
    return reader.i16()


def _i32(reader: Reader) -> int:
    return reader.i32()


def _i64(reader: Reader) -> int:
    return reader.i64()


def _f64(reader: Reader) -> float:
    return float(reader.fields(_F64)[0])


def _truth(reader: Reader) -> bool:
    return reader.fields(_I8)[0] != 0


def _uuid(reader: Reader) -> str:
    return topic_id_text(bytes(reader.raw(_UUID_SIZE)))


def _text(reader: Reader) -> str:
    return reader.string(compact=True)


def _text_or_none(reader: Reader) -> str | None:
    return reader.nullable_string(compact=True)


def _bytes(reader: Reader) -> bytes:
    data = reader.nullable_bytes(compact=True)
    if data is None:
        raise reader.fail("a null where bytes must be")
    return bytes(data)


def _several(read: Read) -> Read:
    def several(reader: Reader) -> tuple[object, ...]:
        return tuple(read(reader) for _ in range(reader.count(compact=True)))

    return several


def _several_or_none(read: Read) -> Read:
    several = _several(read)

    def some(reader: Reader) -> object:
        # A null list is a count of 0 on the wire, an empty one of 1.
        return None if reader.skip(b"\x00") else several(reader)

    return some


def _struct(*fields: Field) -> Read:
    def structure(reader: Reader) -> dict[str, object]:
        return _fields(reader, fields, 0)

    return structure


_ENDPOINTS: Final = _several(
    _struct(Field("name", _text), Field("host", _text), Field("port", _u16), Field("security_protocol", _i16))
)
_FEATURES: Final = _several(_struct(Field("name", _text), Field("lowest", _i16), Field("highest", _i16)))
_NODES: Final = _several(_i32)
_NODES_OR_NONE: Final = _several_or_none(_i32)

KINDS: Final[Mapping[int, Kind]] = {
    REGISTER_BROKER: Kind(
        "RegisterBroker",
        4,
        (
            Field("broker_id", _i32),
            Field("is_migrating_zk_broker", _truth, since=2, default=False),
            Field("incarnation_id", _uuid),
            Field("broker_epoch", _i64),
            Field("end_points", _ENDPOINTS),
            Field("features", _FEATURES),
            Field("rack", _text_or_none),
            Field("fenced", _truth),
            Field("in_controlled_shutdown", _truth, since=1, default=False),
        ),
    ),
    UNREGISTER_BROKER: Kind("UnregisterBroker", 0, (Field("broker_id", _i32), Field("broker_epoch", _i64))),
    TOPIC: Kind("Topic", 0, (Field("name", _text), Field("topic_id", _uuid))),
    PARTITION: Kind(
        "Partition",
        2,
        (
            Field("partition_id", _i32),
            Field("topic_id", _uuid),
            Field("replicas", _NODES),
            Field("isr", _NODES),
            Field("removing_replicas", _NODES),
            Field("adding_replicas", _NODES),
            Field("leader", _i32),
            Field("leader_epoch", _i32),
            Field("partition_epoch", _i32),
            Field("directories", _several(_uuid), since=1, default=()),
        ),
    ),
    CONFIG: Kind(
        "Config",
        0,
        (
            Field("resource_type", _i8),
            Field("resource_name", _text),
            Field("name", _text),
            Field("value", _text_or_none),
        ),
    ),
    PARTITION_CHANGE: Kind(
        "PartitionChange",
        2,
        (
            Field("partition_id", _i32),
            Field("topic_id", _uuid),
            Field("replicas", _NODES_OR_NONE, tag=2),
            Field("removing_replicas", _NODES_OR_NONE, tag=3),
            Field("adding_replicas", _NODES_OR_NONE, tag=4),
        ),
    ),
    FENCE_BROKER: Kind("FenceBroker", 0, (Field("broker_id", _i32), Field("broker_epoch", _i64))),
    UNFENCE_BROKER: Kind("UnfenceBroker", 0, (Field("broker_id", _i32), Field("broker_epoch", _i64))),
    REMOVE_TOPIC: Kind("RemoveTopic", 0, (Field("topic_id", _uuid),)),
    DELEGATION_TOKEN: Kind(
        "DelegationToken",
        0,
        (
            Field("owner", _text),
            Field("requester", _text),
            Field("renewers", _several(_text)),
            Field("issue_timestamp", _i64),
            Field("max_timestamp", _i64),
            Field("expiration_timestamp", _i64),
            Field("token_id", _text),
        ),
    ),
    SCRAM_USER: Kind(
        "UserScramCredential",
        0,
        (
            Field("name", _text),
            Field("mechanism", _i8),
            Field("salt", _bytes),
            Field("stored_key", _bytes),
            Field("server_key", _bytes),
            Field("iterations", _i32),
        ),
    ),
    FEATURE_LEVEL: Kind("FeatureLevel", 0, (Field("name", _text), Field("feature_level", _i16))),
    QUOTA: Kind(
        "ClientQuota",
        0,
        (
            Field("entity", _several(_struct(Field("entity_type", _text), Field("entity_name", _text_or_none)))),
            Field("key", _text),
            Field("value", _f64),
            Field("remove", _truth),
        ),
    ),
    PRODUCER_IDS: Kind(
        "ProducerIds", 0, (Field("broker_id", _i32), Field("broker_epoch", _i64), Field("next_producer_id", _i64))
    ),
    BROKER_CHANGE: Kind(
        "BrokerRegistrationChange",
        3,
        (Field("broker_id", _i32), Field("broker_epoch", _i64), Field("fenced", _i8, tag=0, default=0)),
    ),
    ACL: Kind(
        "AccessControlEntry",
        0,
        (
            Field("id", _uuid),
            Field("resource_type", _i8),
            Field("resource_name", _text),
            Field("pattern_type", _i8),
            Field("principal", _text),
            Field("host", _text),
            Field("operation", _i8),
            Field("permission_type", _i8),
        ),
    ),
    REMOVE_ACL: Kind("RemoveAccessControlEntry", 0, (Field("id", _uuid),)),
    NO_OP: Kind("NoOp", 0),
    ZK_MIGRATION: Kind("ZkMigrationState", 0, (Field("zk_migration_state", _i8),)),
    REMOVE_SCRAM_USER: Kind("RemoveUserScramCredential", 0, (Field("name", _text), Field("mechanism", _i8))),
    BEGIN: Kind("BeginTransaction", 0),
    END: Kind("EndTransaction", 0),
    ABORT: Kind("AbortTransaction", 0),
    REMOVE_TOKEN: Kind("RemoveDelegationToken", 0, (Field("token_id", _text),)),
    REGISTER_CONTROLLER: Kind(
        "RegisterController",
        0,
        (
            Field("controller_id", _i32),
            Field("incarnation_id", _uuid),
            Field("zk_migration_ready", _truth),
            Field("end_points", _ENDPOINTS),
            Field("features", _FEATURES),
        ),
    ),
    CLEAR_ELR: Kind("ClearElr", 0, (Field("topic_name", _text),)),
}
"""Every type that Kafka 3.3 to 4.3 writes."""


def decode_metadata_record(value: bytes) -> MetadataRecord:
    """The record in a value of the log. One of an unknown type comes without fields, for the caller to count.

    Raises:
        KafkaProtocolError: when the bytes do not hold just such a record.
        KafkaUnsupported: a known type in a version that is not: what it changes would be missed.
    """
    reader = Reader(memoryview(value), "metadata record")
    frame = reader.uvarint()
    if frame != FRAME_VERSION:
        raise KafkaUnsupported(f"the controllers write metadata records in frame version {frame}, known is 1")
    number, version = reader.uvarint(), reader.uvarint()
    kind = KINDS.get(number)
    if kind is None:
        return MetadataRecord(number, version, {})
    if version > kind.newest:
        raise KafkaUnsupported(
            f"the controllers write {kind.name} records of version {version}, known are 0 to {kind.newest}"
        )
    reader.what = f"{kind.name} record"
    fields = _fields(reader, kind.fields, version)
    reader.end()
    return MetadataRecord(number, version, fields)


def _fields(reader: Reader, fields: tuple[Field, ...], version: int) -> dict[str, object]:
    found: dict[str, object] = {}
    tagged: dict[int, Field] = {}
    for field in fields:
        if field.tag is not None:
            tagged[field.tag] = field
        if field.tag is not None or version < field.since:
            found[field.name] = field.default
        else:
            found[field.name] = field.read(reader)

    def take(tag: int, content: Reader) -> None:
        if (known := tagged.get(tag)) is not None:
            found[known.name] = known.read(content)
            content.end()

    reader.tags(take)
    return found

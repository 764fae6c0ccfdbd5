"""What the controllers' log says when its records are applied one after the other. Pure.

The rules are those of metadata/image/MetadataDelta.java and image/loader/MetadataBatchLoader.java: a topic that goes
takes its configs along, a value of null takes a config away, and the records of a metadata transaction (KIP-868) count
together when it ends, or not at all.
"""

from __future__ import annotations

import base64
from collections import Counter
from typing import Any, Final

from kafkeep.errors import KafkaProtocolError
from kafkeep.inventory import (
    Acl,
    DelegationToken,
    Feature,
    Quota,
    QuotaEntity,
    Reassignment,
    ScramCredential,
    ScramUser,
)
from kafkeep.kafka.wire import metadata_records as kinds
from kafkeep.kafka.wire.metadata_records import MetadataRecord
from kafkeep.kafka.words import (
    INTERNAL_TOPICS,
    MECHANISMS,
    OPERATIONS,
    PATTERN_TYPES,
    PERMISSIONS,
    RESOURCE_TYPES,
    quota_place,
    word,
)
from kafkeep.model import TopicMetadata
from kafkeep.records import dataclass
from kafkeep.secret import Secret

TOPIC_CONFIGS: Final = 2
"""Number of clients/common/config/ConfigResource.java; BROKER is 4, CLIENT_METRICS 16, GROUP 32."""
KRAFT_VERSION: Final = "kraft.version"


@dataclass(frozen=True, slots=True, order=True)
class RegisteredBroker:
    """A broker that the controllers know, running or not."""

    node_id: int
    rack: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedMetadata:
    """A cluster at one moment, as its controllers' log has it; each part sorted as the brokers' answers are."""

    topics: tuple[TopicMetadata, ...]
    configs: tuple[tuple[int, str, tuple[tuple[str, str], ...]], ...]
    """(resource type, resource name, its configs by name) of what is no topic. **Passwords are among the values.**"""
    acls: tuple[Acl, ...]
    quotas: tuple[Quota, ...]
    scram_users: tuple[ScramUser, ...]
    """With their credentials."""
    features: tuple[Feature, ...]
    brokers: tuple[RegisteredBroker, ...]
    reassignments: tuple[Reassignment, ...]
    tokens: tuple[DelegationToken, ...]
    unknown: tuple[tuple[int, int], ...]
    """(record type, records) of types that are not known here: what they say is missed."""


class _Partition:
    __slots__ = ("adding", "removing", "replicas")

    def __init__(self, fields: Any) -> None:
        self.replicas: tuple[int, ...] = fields["replicas"]
        self.adding: tuple[int, ...] = fields["adding_replicas"]
        self.removing: tuple[int, ...] = fields["removing_replicas"]


class _Topic:
    __slots__ = ("name", "partitions")

    def __init__(self, name: str) -> None:
        self.name = name
        self.partitions: dict[int, _Partition] = {}


class MetadataFold:
    """Takes the records of a snapshot or of the log from its start, in their order."""

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}
        self._configs: dict[tuple[int, str], dict[str, str]] = {}
        self._acls: dict[str, Acl] = {}
        self._quotas: dict[QuotaEntity, dict[str, float]] = {}
        self._users: dict[tuple[str, str], ScramUser] = {}
        self._features: dict[str, int] = {}
        self._brokers: dict[int, RegisteredBroker] = {}
        self._tokens: dict[str, DelegationToken] = {}
        self._unknown: Counter[int] = Counter()
        self._open: list[MetadataRecord] | None = None
        self._replay = {
            kinds.REGISTER_BROKER: self._register_broker,
            kinds.UNREGISTER_BROKER: self._unregister_broker,
            kinds.TOPIC: self._topic,
            kinds.PARTITION: self._partition,
            kinds.PARTITION_CHANGE: self._partition_change,
            kinds.REMOVE_TOPIC: self._remove_topic,
            kinds.CONFIG: self._config,
            kinds.SCRAM_USER: self._scram_user,
            kinds.REMOVE_SCRAM_USER: self._remove_scram_user,
            kinds.FEATURE_LEVEL: self._feature,
            kinds.QUOTA: self._quota,
            kinds.ACL: self._acl,
            kinds.REMOVE_ACL: self._remove_acl,
            kinds.DELEGATION_TOKEN: self._token,
            kinds.REMOVE_TOKEN: self._remove_token,
        }

    @property
    def undecided(self) -> bool:
        """True inside of a metadata transaction: its records so far count for nothing."""
        return self._open is not None

    def apply(self, record: MetadataRecord) -> None:
        """Raises KafkaProtocolError for a record that cannot stand where it does: something before it is missing."""
        if record.type == kinds.BEGIN:
            if self._open is not None:
                raise _misplaced("a metadata transaction begins inside of another")
            self._open = []
        elif record.type in (kinds.END, kinds.ABORT):
            if self._open is None:
                raise _misplaced("a metadata transaction ends that never began")
            decided, self._open = self._open, None
            for held in decided if record.type == kinds.END else ():
                self._apply(held)
        elif self._open is not None:
            self._open.append(record)
        else:
            self._apply(record)

    def kraft_version(self, level: int) -> None:
        """What a KRaftVersion control record says (KIP-853); brokers tell it as a feature where it is above 0."""
        self._set_feature(KRAFT_VERSION, level)

    def result(self) -> LoggedMetadata:
        """The state; an undecided transaction is not in it. Raises KafkaProtocolError for a topic that is not whole."""
        topics = sorted(self._topics.items(), key=lambda item: item[1].name)
        others = sorted((key, values) for key, values in self._configs.items() if key[0] != TOPIC_CONFIGS and values)
        return LoggedMetadata(
            topics=tuple(self._topic_metadata(topic_id, topic) for topic_id, topic in topics),
            configs=tuple((kind, name, tuple(sorted(values.items()))) for (kind, name), values in others),
            acls=tuple(sorted(self._acls.values())),
            quotas=_sorted_quotas(self._quotas),
            scram_users=tuple(sorted(self._users.values())),
            features=tuple(sorted(Feature(name, level) for name, level in self._features.items())),
            brokers=tuple(sorted(self._brokers.values(), key=lambda broker: broker.node_id)),
            reassignments=tuple(
                sorted(
                    Reassignment(topic.name, number, partition.replicas, partition.adding, partition.removing)
                    for topic in self._topics.values()
                    for number, partition in topic.partitions.items()
                    if partition.adding or partition.removing
                )
            ),
            tokens=tuple(sorted(self._tokens.values())),
            unknown=tuple(sorted(self._unknown.items())),
        )

    def _topic_metadata(self, topic_id: str, topic: _Topic) -> TopicMetadata:
        if sorted(topic.partitions) != list(range(len(topic.partitions))):
            raise _misplaced(f"partitions of topic {topic.name} are missing")
        return TopicMetadata(
            topic.name,
            topic_id,
            topic.name in INTERNAL_TOPICS,
            tuple(topic.partitions[number].replicas for number in range(len(topic.partitions))),
            tuple(sorted(self._configs.get((TOPIC_CONFIGS, topic.name), {}).items())),
        )

    def _apply(self, record: MetadataRecord) -> None:
        if not record.known:
            self._unknown[record.type] += 1
        elif replay := self._replay.get(record.type):
            replay(record.fields)

    def _register_broker(self, fields: Any) -> None:
        self._brokers[fields["broker_id"]] = RegisteredBroker(fields["broker_id"], fields["rack"])

    def _unregister_broker(self, fields: Any) -> None:
        self._brokers.pop(fields["broker_id"], None)

    def _topic(self, fields: Any) -> None:
        self._topics[fields["topic_id"]] = _Topic(fields["name"])

    def _partition(self, fields: Any) -> None:
        self._topic_of(fields).partitions[fields["partition_id"]] = _Partition(fields)

    def _topic_of(self, fields: Any) -> _Topic:
        topic = self._topics.get(fields["topic_id"])
        if topic is None:
            raise _misplaced(f"topic id {fields['topic_id']} is not known")
        return topic

    def _partition_change(self, fields: Any) -> None:
        topic = self._topic_of(fields)
        partition = topic.partitions.get(fields["partition_id"])
        if partition is None:
            raise _misplaced(f"partition {fields['partition_id']} of topic {topic.name} is not known")
        if fields["replicas"] is not None:
            partition.replicas = fields["replicas"]
        if fields["removing_replicas"] is not None:
            partition.removing = fields["removing_replicas"]
        if fields["adding_replicas"] is not None:
            partition.adding = fields["adding_replicas"]

    def _remove_topic(self, fields: Any) -> None:
        topic = self._topic_of(fields)
        del self._topics[fields["topic_id"]]
        self._configs.pop((TOPIC_CONFIGS, topic.name), None)

    def _config(self, fields: Any) -> None:
        values = self._configs.setdefault((fields["resource_type"], fields["resource_name"]), {})
        if fields["value"] is None:
            values.pop(fields["name"], None)
        else:
            values[fields["name"]] = fields["value"]

    def _scram_user(self, fields: Any) -> None:
        mechanism = word(MECHANISMS, fields["mechanism"])
        credential = ScramCredential(
            *(Secret(base64.b64encode(fields[name]).decode()) for name in ("salt", "stored_key", "server_key"))
        )
        self._users[fields["name"], mechanism] = ScramUser(fields["name"], mechanism, fields["iterations"], credential)

    def _remove_scram_user(self, fields: Any) -> None:
        if self._users.pop((fields["name"], word(MECHANISMS, fields["mechanism"])), None) is None:
            raise _misplaced(f"SCRAM user {fields['name']} is not known")

    def _feature(self, fields: Any) -> None:
        self._set_feature(fields["name"], fields["feature_level"])

    def _set_feature(self, name: str, level: int) -> None:
        if level == 0:
            self._features.pop(name, None)
        else:
            self._features[name] = level

    def _quota(self, fields: Any) -> None:
        parts = ((part["entity_type"], part["entity_name"]) for part in fields["entity"])
        values = self._quotas.setdefault(QuotaEntity(tuple(sorted(parts, key=quota_place))), {})
        if fields["remove"]:
            values.pop(fields["key"], None)
        else:
            values[fields["key"]] = fields["value"]

    def _acl(self, fields: Any) -> None:
        self._acls[fields["id"]] = Acl(
            word(RESOURCE_TYPES, fields["resource_type"]),
            fields["resource_name"],
            word(PATTERN_TYPES, fields["pattern_type"]),
            fields["principal"],
            fields["host"],
            word(OPERATIONS, fields["operation"]),
            word(PERMISSIONS, fields["permission_type"]),
        )

    def _remove_acl(self, fields: Any) -> None:
        if self._acls.pop(fields["id"], None) is None:
            raise _misplaced(f"ACL {fields['id']} is not known")

    def _token(self, fields: Any) -> None:
        self._tokens[fields["token_id"]] = DelegationToken(
            token_id=fields["token_id"],
            owner=fields["owner"],
            requester=fields["requester"],
            renewers=tuple(sorted(fields["renewers"])),
            issued=fields["issue_timestamp"],
            expires=fields["expiration_timestamp"],
            longest=fields["max_timestamp"],
        )

    def _remove_token(self, fields: Any) -> None:
        self._tokens.pop(fields["token_id"], None)


def _sorted_quotas(quotas: dict[QuotaEntity, dict[str, float]]) -> tuple[Quota, ...]:
    found = [Quota(entity, tuple(sorted(values.items()))) for entity, values in quotas.items() if values]
    return tuple(sorted(found, key=lambda quota: [quota_place(part) for part in quota.entity.parts]))


def _misplaced(what: str) -> KafkaProtocolError:
    return KafkaProtocolError(f"the controllers' log is not whole: {what}")

"""A cluster whose controllers' listener asks for a login, filled with one of everything that the controllers' log holds."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import struct
from dataclasses import dataclass
from functools import partial
from typing import Any

from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as Position
from confluent_kafka.admin import AdminClient, NewPartitions
from tests.support.configs import alter_configs
from tests.support.kafka import KafkaCluster, NewKafka, commit, create_topic, delete_topics

from kafkeep.inventory import BROKER, CLIENT_METRICS, CLUSTER, GROUP, Acl, QuotaEntity, ScramUser
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.config import ClusterConfig
from kafkeep.kafka.connection import Connection, FrameBuffer
from kafkeep.kafka.users import NewScramUser
from kafkeep.kafka.wire.batch import walk
from kafkeep.kafka.wire.metadata_records import KINDS, MetadataRecord, decode_metadata_record
from kafkeep.kafka.wire.records import decode
from kafkeep.lab.config import ADMIN
from kafkeep.secret import Secret

_SECURITY = "org.apache.kafka.common.security"
_CREATE_TOKEN = 38
PASSWORD = "correct horse, battery=staple ü"
SALT = b"0123456789abcdefghijklmn"
HIDDEN = "not-for-anybodys-eyes"
"""The value of a config that brokers take for a password, because they do not know its name."""


def start_secured(new_kafka: NewKafka, version: str, **more: str) -> KafkaCluster:
    """One node that asks for SCRAM at its controllers' listener too, and writes a snapshot every few records."""
    login = f'{_SECURITY}.plain.PlainLoginModule required username="ctl" password="ctl" user_ctl="ctl";'
    listener = "listener.name.controller"
    protocols = "SASLTLS:SASL_SSL,SASLPLAIN:SASL_PLAINTEXT,MTLS:SSL,INTERNAL:PLAINTEXT,CONTROLLER:SASL_PLAINTEXT"
    return new_kafka(
        kafka=version,
        security="sasl",
        properties={
            "listener.security.protocol.map": protocols,
            "sasl.mechanism.controller.protocol": "PLAIN",
            f"{listener}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            f"{listener}.plain.sasl.jaas.config": login,
            f"{listener}.scram-sha-512.sasl.jaas.config": f"{_SECURITY}.scram.ScramLoginModule required;",
            "super.users": f"User:{ADMIN};User:ANONYMOUS;User:ctl",
            "delegation.token.secret.key": "only for tests",
            "metadata.log.max.record.bytes.between.snapshots": "4000",
            "metadata.max.retention.bytes": "1",
            **more,
        },
    )


def controllers_of(kafka: KafkaCluster, *, user: str = ADMIN) -> ClusterConfig:
    """kafkeep's settings for the controllers' listener of `start_secured`."""
    config = kafka.cluster_config(user=user, listener="SASLPLAIN", name="lab (controllers)")
    address = kafka.lab.node(1).address("CONTROLLER")
    return ClusterConfig(name=config.name, bootstrap=(address,), security_protocol="SASL_PLAINTEXT", sasl=config.sasl)


@dataclass(frozen=True)
class Filled:
    """What `fill` made and knows of."""

    user: ScramUser
    acl: Acl
    group: str


def fill(kafka: KafkaCluster) -> Filled:
    """One of everything: made, changed, and of most also one that is gone again."""
    client = kafka.client_properties
    create_topic(client, "rich", partitions=3, config={"retention.ms": "123456789", "cleanup.policy": "compact"})
    create_topic(client, "grown", partitions=1)
    create_topic(client, "gone", partitions=2, config={"retention.ms": "1000000"})
    delete_topics(client, ["gone"])
    create_topic(client, "gone.again", partitions=1)
    delete_topics(client, ["gone.again"])
    admin = AdminClient(client)
    for future in admin.create_partitions([NewPartitions("grown", 4)]).values():
        future.result()
    consumer = Consumer({**client, "group.id": "readers"})
    commit(consumer, [Position("rich", 0, 0)])
    consumer.close()
    with Cluster(kafka.cluster_config()) as cluster:
        filled = _permissions(cluster)
        _configs(kafka, cluster)
    _token(kafka)
    return filled


def _permissions(cluster: Cluster) -> Filled:
    acl = Acl("TOPIC", "rich", "PREFIXED", "User:reader", "10.0.0.1", "READ", "DENY")
    gone = Acl("GROUP", "gone", "LITERAL", "User:reader", "*", "ALL", "ALLOW")
    transactional = Acl("TRANSACTIONAL_ID", "rich", "LITERAL", "User:comma,equals=x", "*", "WRITE", "ALLOW")
    assert set(cluster.settings.create_acls([acl, gone, transactional]).values()) == {None}
    assert set(cluster.settings.delete_acls([gone]).values()) == {None}
    user, other = QuotaEntity((("user", "reader"),)), QuotaEntity((("client-id", None), ("user", "reader")))
    default, address = QuotaEntity((("user", None),)), QuotaEntity((("ip", "10.1.2.3"),))
    limits: dict[QuotaEntity, dict[str, float | None]] = {
        user: {"producer_byte_rate": 1048576.0, "consumer_byte_rate": 2097152.0},
        other: {"request_percentage": 12.5},
        default: {"controller_mutation_rate": 3.0},
        address: {"connection_creation_rate": 7.0},
    }
    assert set(cluster.settings.alter_quotas(limits).values()) == {None}
    assert set(cluster.settings.alter_quotas({user: {"consumer_byte_rate": None}}).values()) == {None}
    scram, gone_user = ScramUser("reader", "SCRAM-SHA-512", 8192), ScramUser("gone", "SCRAM-SHA-256", 4096)
    made = [NewScramUser(one, Secret(PASSWORD), salt=SALT) for one in (scram, gone_user)]
    assert set(cluster.settings.upsert_scram_users(made).values()) == {None}
    assert set(cluster.settings.delete_scram_users([gone_user]).values()) == {None}
    return Filled(scram, acl, "readers")


def _configs(kafka: KafkaCluster, cluster: Cluster) -> None:
    alter = partial(alter_configs, cluster.settings)
    assert alter(CLUSTER, "", set={"message.max.bytes": "2000000", "made.up.secret": HIDDEN}) is None
    assert alter(BROKER, "1", set={"log.cleaner.threads": "2", "log.retention.ms": "999999"}) is None
    assert alter(BROKER, "1", set={}, delete=["log.retention.ms"]) is None
    assert alter(CLIENT_METRICS, "probe", set={"interval.ms": "60000", "metrics": "org.apache"}) is None
    if not kafka.version.startswith("3."):
        assert alter(GROUP, "readers", set={"consumer.session.timeout.ms": "50000"}) is None


def _token(kafka: KafkaCluster) -> None:
    """A delegation token (KIP-48) of the admin; no client library at hand asks for one."""
    config = kafka.cluster_config()
    ((host, port), *_) = config.addresses
    with Connection.open(config, host, port) as connection:
        connection.send(_CREATE_TOKEN, 1, [struct.pack(">iq", 0, -1)])
        answer = connection.receive(FrameBuffer())[1]
        assert struct.unpack_from(">h", answer)[0] == 0


def scram_keys(password: str, salt: bytes, iterations: int, digest: str = "sha512") -> tuple[bytes, bytes]:
    """(stored key, server key) of RFC 5802 section 3."""
    salted = hashlib.pbkdf2_hmac(digest, password.encode(), salt, iterations)
    client = hmac.digest(salted, b"Client Key", digest)
    return hashlib.new(digest, client).digest(), hmac.digest(salted, b"Server Key", digest)


def as_kafka_shows(kafka: KafkaCluster, file: str) -> list[dict[str, Any]]:
    """The metadata records of a log segment or a snapshot as Kafka's own tool decodes them, in their order."""
    tool = kafka.lab.tool("dump-log", "--cluster-metadata-decoder", "--files", file, "--print-data-log")
    payloads = re.findall(r" payload: (\{.*\})\s*$", tool.stdout, flags=re.MULTILINE)
    found = [json.loads(payload) for payload in payloads]
    return [one for one in found if "data" in one]


EVERYTHING = frozenset({2, 3, 4, 9, 10, 11, 12, 14, 18, 19, 22})
"""Types of records that the log of a cluster has after `fill`."""


def whole_batches(data: bytes) -> bytes:
    """A log segment that is being written to, up to the last batch that is whole."""
    return data[: walk(memoryview(data))[1]]


def records_of(data: bytes) -> list[MetadataRecord]:
    """The records of a log segment or a snapshot as kafkeep decodes them, in their order."""
    view = memoryview(data)
    infos, taken = walk(view)
    assert taken == len(data)
    found = []
    position = 0
    for info in infos:
        if not info.is_control:
            batch = view[position : position + info.size]
            found += [decode_metadata_record(record.value or b"") for record in decode(batch, info)]
        position += info.size
    return found


def judge(ours: list[MetadataRecord], kafkas: list[dict[str, Any]]) -> None:
    """Every record is of the same type and version, and every field that is kept has the value that Kafka's tool shows."""
    names = {kind.name.upper(): number for number, kind in KINDS.items()}
    types = [names[one["type"].removesuffix("_RECORD").replace("_", "")] for one in kafkas]
    assert [record.type for record in ours] == types
    for record, one in zip(ours, kafkas, strict=True):
        assert record.version == one["version"]
        for name, value in record.fields.items():
            assert _plain(value) == one["data"].get(_told(name), _ABSENT.get(name)), (record, one)


_ABSENT: dict[str, Any] = {"fenced": 0, "is_migrating_zk_broker": False, "directories": []}
"""What Kafka's tool leaves out because it is the default."""


def _told(name: str) -> str:
    head, *rest = name.split("_")
    renamed = {"lowest": "minSupportedVersion", "highest": "maxSupportedVersion"}
    return renamed.get(name, head + "".join(part.capitalize() for part in rest))


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {_told(name): _plain(item) for name, item in value.items()}
    return value

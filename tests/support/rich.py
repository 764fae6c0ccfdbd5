"""A cluster with something of everything that Kafka keeps, and clients that use it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as Position
from tests.support.configs import alter_configs
from tests.support.kafka import KafkaCluster, Sample, commit, produce

from kafkeep.errors import KafkaError
from kafkeep.inventory import BROKER, CLIENT_METRICS, CLUSTER, GROUP, Acl, QuotaEntity, ScramUser
from kafkeep.kafka.admin import NewTopic
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.config import SaslConfig
from kafkeep.kafka.settings_admin import SettingsAdmin
from kafkeep.kafka.users import NewScramUser
from kafkeep.model import GroupOffset, TopicPartition
from kafkeep.secret import Secret

MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512")
RECORDS = 90


@dataclass(frozen=True)
class Rich:
    """Every name with what belongs to it. Passwords are ASCII: librdkafka logs in with them as well."""

    topics: dict[str, tuple[int, dict[str, str]]] = field(
        default_factory=lambda: {
            "orders": (
                3,
                {"cleanup.policy": "compact,delete", "retention.ms": "8640000000", "min.insync.replicas": "1"},
            ),
            "orders.audit": (2, {"message.timestamp.type": "LogAppendTime", "segment.bytes": "16777216"}),
            "-plain_1": (1, {}),
            "Empty": (4, {"compression.type": "zstd", "max.message.bytes": "2000000"}),
        }
    )
    users: dict[str, str] = field(
        default_factory=lambda: {"billing": "correct horse, battery=staple", "o'brien,=$x": 'p\\u0041ss "word" #!$x`'}
    )
    groups: tuple[str, ...] = ("billing", "-odd $x")

    @property
    def acls(self) -> list[Acl]:
        one, other = (f"User:{user}" for user in self.users)
        return [
            Acl("TOPIC", "orders", "LITERAL", one, "*", "READ", "ALLOW"),
            Acl("TOPIC", "orders", "PREFIXED", other, "*", "DESCRIBE_CONFIGS", "ALLOW"),
            Acl("TOPIC", "*", "LITERAL", other, "127.0.0.1", "DESCRIBE", "ALLOW"),
            Acl("TOPIC", "-plain_1", "LITERAL", "User:*", "10.0.0.1", "WRITE", "DENY"),
            Acl("GROUP", "bill", "PREFIXED", one, "*", "READ", "ALLOW"),
            Acl("GROUP", "*", "LITERAL", other, "*", "ALL", "ALLOW"),
            Acl("TRANSACTIONAL_ID", "pay $t'", "LITERAL", one, "*", "WRITE", "ALLOW"),
            Acl("CLUSTER", "kafka-cluster", "LITERAL", one, "*", "IDEMPOTENT_WRITE", "ALLOW"),
            Acl("DELEGATION_TOKEN", "token", "LITERAL", one, "*", "DESCRIBE", "ALLOW"),
            Acl("USER", "User:billing", "LITERAL", other, "*", "CREATE_TOKENS", "ALLOW"),
        ]

    @property
    def quotas(self) -> dict[QuotaEntity, dict[str, float | None]]:
        one, other = self.users
        return {
            QuotaEntity((("user", one),)): {"producer_byte_rate": 1048576.0, "request_percentage": 12.5},
            QuotaEntity((("user", None),)): {"controller_mutation_rate": 5000.0},
            QuotaEntity((("client-id", "web 1"),)): {"consumer_byte_rate": 7e7},
            QuotaEntity((("client-id", None),)): {"consumer_byte_rate": 8e8},
            QuotaEntity((("client-id", "web 1"), ("user", other))): {"consumer_byte_rate": 9.0},
            QuotaEntity((("client-id", None), ("user", one))): {"producer_byte_rate": 10.0},
            QuotaEntity((("client-id", "web 1"), ("user", None))): {"producer_byte_rate": 11.0},
            QuotaEntity((("client-id", None), ("user", None))): {"request_percentage": 9999.0},
            QuotaEntity((("ip", None),)): {"connection_creation_rate": 77777.0},
            QuotaEntity((("ip", "10.1.2.3"),)): {"connection_creation_rate": 3.0},
        }

    def configs(self, version: str) -> list[tuple[str, str, dict[str, str]]]:
        """(kind, name, values)"""
        put = [
            (BROKER, "1", {"log.cleaner.threads": "2", "max.connections.per.ip": "5000"}),
            (CLUSTER, "", {"message.max.bytes": "2000000", "max.connections.per.ip.overrides": "10.1.2.3:100"}),
            (
                CLIENT_METRICS,
                "all of them",
                {"match": "client_id=[a-c],client_software_name=x.*", "interval.ms": "60000"},
            ),
        ]
        if not version.startswith("3."):
            put.append((GROUP, "billing", {"consumer.session.timeout.ms": "50000"}))
            put.append((GROUP, "not yet", {"share.auto.offset.reset": "earliest"}))
        return put

    def passwords_text(self) -> str:
        return "".join(f"{user}\t{password}\n" for user, password in self.users.items())

    def fill(self, source: KafkaCluster) -> None:
        """Puts all of it into an empty cluster."""
        with Cluster(source.cluster_config()) as cluster:
            made = [NewTopic(name, count, 1, tuple(configs.items())) for name, (count, configs) in self.topics.items()]
            assert not [one for one in cluster.admin.create_topics(made).values() if isinstance(one, KafkaError)]
            for topic, (count, _) in self.topics.items():
                if topic != "Empty":
                    produce(source.client_properties, topic, [_sample(topic, n, count) for n in range(RECORDS)])
            simple = [GroupOffset(TopicPartition("orders", number), 7 * number, -1, "ü") for number in range(3)]
            assert not any(cluster.admin.commit_group_offsets(self.groups[1], simple).values())
            self._put_settings(cluster.settings, source.version)
        protocols = ["classic"] if source.version.startswith("3.") else ["classic", "consumer"]
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda protocol: consume(source, protocol), protocols))

    def _put_settings(self, settings: SettingsAdmin, version: str) -> None:
        for kind, name, configs in self.configs(version):
            assert alter_configs(settings, kind, name, set=configs) is None
        assert not any(settings.create_acls(self.acls).values())
        assert not any(settings.alter_quotas(self.quotas).values())
        for number, (user, password) in enumerate(self.users.items()):
            for mechanism in MECHANISMS:
                made = ScramUser(user, mechanism, 4096 + 1000 * number)
                new = NewScramUser(made, Secret(password), b"0123456789abcdef")
                assert not any(settings.upsert_scram_users([new]).values())

    def check_logins(self, kafka: KafkaCluster) -> None:
        """Both users by both mechanisms with their passwords; Kafka has a moment to tell its brokers of them."""
        for user, password in self.users.items():
            for mechanism in MECHANISMS:
                login = SaslConfig(mechanism=mechanism, username=user, password=Secret(password))
                with Cluster(kafka.cluster_config(sasl=login)) as as_user:
                    assert as_user.topology(["orders"]).topics["orders"].partitions


def _sample(topic: str, number: int, partitions: int) -> Sample:
    headers = (("topic", topic.encode()), ("n", None))
    return Sample(b"%d" % number, b"value %d" % number, partition=number % partitions, headers=headers)


def consume(kafka: KafkaCluster, protocol: str) -> None:
    """A group that had a member: it read some records and committed where it was."""
    group = "billing" if protocol == "classic" else "next generation"
    settings = {"group.id": group, "group.protocol": protocol, "auto.offset.reset": "earliest"}
    consumer = Consumer({**kafka.client_properties, **settings, "enable.auto.commit": False})
    consumer.subscribe(["orders", "orders.audit"])
    read = dict.fromkeys(("orders", "orders.audit"), 0)
    deadline = time.monotonic() + 60
    while not all(read.values()):
        assert time.monotonic() < deadline, f"{group} was given nothing to read"
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            read[message.topic() or ""] += 1
    commit(consumer, [Position("orders", 0, 30), Position("orders", 1, 5), Position("orders.audit", 1, 17)])
    consumer.close()

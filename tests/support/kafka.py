"""Real Kafka clusters for tests, and helpers that fill and read them with confluent-kafka.

Fixtures (tests/conftest.py; started when first asked for, shared by all tests of a process, ended when no later file needs
them; `make test` runs several processes, each with clusters of its own: tests/support/workers.py):

    kafka_431        4.3.1, one broker, plaintext            kafka_392        3.9.2, one broker, plaintext
    kafka_431_three  4.3.1, three brokers, plaintext         kafka_431_tls    4.3.1, one broker, TLS and mutual TLS
    kafka_431_scram  4.3.1, one broker, SASL over TLS, ACLs  kafka_392_scram  3.9.2, the same
    kafka            each of 4.3.1 and 3.9.2 in turn (the test runs twice)
    new_kafka        a function that starts a private cluster, ended with the test: new_kafka(brokers=3, kafka="3.9.2", …)
    live, live_4     operations (tests/support/live.py) on `kafka`, and on kafka_431 alone

Each is a `KafkaCluster`:

    .lab                 kafkeep.lab.Lab: .node(2).kill() / .stop() / .start() / .pause() / .resume(), .tool("topics", …)
    .bootstrap           "127.0.0.1:15000,…"
    .client_properties   librdkafka settings as the admin
    .confluent(…)        the same for another user, mechanism or listener
    .cluster_config(…)   kafkeep's ClusterConfig for a user, mechanism or listener
    .settings_file       a kafkeep.toml with [cluster.lab]

Shared clusters keep what tests leave there, and files run in any order: name topics, groups and transactional ids with
`unique("orders")`, put back what you stop or pause, take back the rights and settings you give, and never expect a cluster
to hold nothing else or a leader epoch to stay: other tests restart brokers. All have `auto.create.topics.enable=false`,
check retention twice a second and compact every second. Users of secured clusters: admin (may do everything), alice and bob
(may do nothing until ACLs say so), and `kafkeep.lab.config.AWKWARD`, whose name holds a comma and an equals sign (SCRAM and
OAUTHBEARER only).

Producing and reading, by an independent client (demo/clients.py): `create_topic(cluster.client_properties, name, …)`,
`produce(…)`, `produce_transaction(…)`, `read_committed(…)`, `read_positions(…)`, `read_some(…)`, `commit(…)`,
`commit_positions(…)`, `committed_positions(…)`, `read_on(…)`, `delete_topics(…)`; records are `Sample`s, what is read are
`Content`s.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confluent_kafka import Producer
from demo.clients import (
    Content,
    DeliveryError,
    Position,
    Sample,
    commit,
    commit_positions,
    committed_positions,
    create_topic,
    delete_topics,
    partitions_of,
    produce,
    read_committed,
    read_on,
    read_positions,
    read_some,
)
from demo.clients import produce_transaction as demo_transaction
from tests.support import class_archive

from kafkeep.lab import Lab, LabOptions, start
from kafkeep.lab.config import ADMIN, LISTENERS, main_listener

if TYPE_CHECKING:
    from kafkeep.kafka.config import ClusterConfig

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")

TEST_PROPERTIES = {
    "log.retention.check.interval.ms": "500",
    "log.initial.task.delay.ms": "500",
    "log.cleaner.backoff.ms": "1000",
    "group.consumer.session.timeout.ms": "45000",
    "offsets.retention.check.interval.ms": "60000",
    # A controller writes a record without content twice a second otherwise: a third of what an idle cluster takes.
    "metadata.max.idle.interval.ms": "0",
    "num.io.threads": "2",
    "num.network.threads": "1",
}
STEADY = {"broker.session.timeout.ms": "60000"}
"""For a cluster whose broker is never killed. One that a busy machine holds up for longer than its session is fenced off
and comes back with higher leader epochs, which recovery points hold.
"""


@dataclass(frozen=True)
class KafkaCluster:
    """A lab and the ways to reach it."""

    lab: Lab

    @property
    def bootstrap(self) -> str:
        return self.lab.bootstrap

    @property
    def version(self) -> str:
        return self.lab.kafka

    @property
    def settings_file(self) -> Path:
        return self.lab.settings_file

    @property
    def client_properties(self) -> dict[str, Any]:
        """librdkafka settings for the first listener, as the admin where there are logins."""
        return self.confluent()

    def confluent(
        self, *, user: str = ADMIN, mechanism: str = "SCRAM-SHA-512", listener: str | None = None
    ) -> dict[str, Any]:
        """librdkafka settings for a listener; OAUTHBEARER is left to the caller's callback."""
        protocol = self._protocol(listener)
        settings: dict[str, Any] = {"bootstrap.servers": self.lab.bootstrap_of(listener), "security.protocol": protocol}
        if protocol in ("SSL", "SASL_SSL"):
            settings["ssl.ca.location"] = str(self.lab.tls.ca)
        if listener == "MTLS":
            settings |= {
                "ssl.certificate.location": str(self.lab.tls.client_cert),
                "ssl.key.location": str(self.lab.tls.client_key),
            }
        if protocol.startswith("SASL_"):
            password = self.lab.logins.password(user).reveal()
            settings |= {"sasl.mechanism": mechanism, "sasl.username": user, "sasl.password": password}
        return settings

    def cluster_config(
        self,
        *,
        user: str = ADMIN,
        mechanism: str = "SCRAM-SHA-512",
        listener: str | None = None,
        name: str = "lab",
        **more: Any,
    ) -> ClusterConfig:
        """kafkeep's own settings for a listener. `more`: other fields of ClusterConfig; `sasl` or `tls` replace these."""
        from kafkeep.kafka.config import ClusterConfig, SaslConfig, TlsConfig

        protocol = self._protocol(listener)
        files = self.lab.tls
        fields: dict[str, Any] = {"security_protocol": protocol}
        if protocol in ("SSL", "SASL_SSL"):
            mutual = (
                {"cert_file": str(files.client_cert), "key_file": str(files.client_key)} if listener == "MTLS" else {}
            )
            fields["tls"] = TlsConfig(ca_file=str(files.ca), **mutual)
        if protocol.startswith("SASL_") and "sasl" not in more:
            fields["sasl"] = SaslConfig(mechanism=mechanism, username=user, password=self.lab.logins.password(user))
        bootstrap = tuple(self.lab.bootstrap_of(listener).split(","))
        return ClusterConfig(name=name, bootstrap=bootstrap, **{**fields, **more})

    def _protocol(self, listener: str | None) -> str:
        return dict(LISTENERS[self.lab.security])[listener or main_listener(self.lab.security)]


def produce_transaction(
    settings: Mapping[str, Any],
    topic: str,
    samples: Iterable[Sample],
    *,
    transactional_id: str,
    commit: bool,
    codec: str = "none",
) -> None:
    """One transaction, committed or aborted, with its markers in the log: a commit or an abort returns before they are
    written, and until then a consumer of committed records ends in front of it.
    """
    demo_transaction(settings, topic, samples, transactional_id=transactional_id, commit=commit, codec=codec)
    await_markers(settings, transactional_id)


def await_markers(settings: Mapping[str, Any], transactional_id: str) -> None:
    """Returns once the last transaction of an id is over; the producer that it belonged to is fenced off."""
    Producer({**settings, "transactional.id": transactional_id}).init_transactions(60)


NewKafka = Callable[..., KafkaCluster]


def start_cluster(directory: Path, *, properties: dict[str, str] | None = None, **options: Any) -> KafkaCluster:
    """A cluster for tests; `options` are LabOptions' fields. The caller stops it with `.lab.stop()`."""
    jvm_options = (*class_archive.jvm_options(options.get("kafka")), *options.pop("jvm_options", ()))
    wanted = LabOptions(properties={**TEST_PROPERTIES, **(properties or {})}, jvm_options=jvm_options, **options)
    return KafkaCluster(start(wanted, directory=directory, env=os.environ, now=datetime.now(UTC)))


def end(cluster: KafkaCluster) -> None:
    """By SIGKILL: what is in it goes away with it."""
    cluster.lab.stop(grace_seconds=0.0)


class Clusters:
    """Shared clusters by name, each started when first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, KafkaCluster] = {}

    def get(self, name: str, *, properties: Mapping[str, str] = STEADY, **options: Any) -> KafkaCluster:
        if name not in self._running:
            self._running[name] = start_cluster(self._folder / name, properties=dict(properties), **options)
        return self._running[name]

    def keep(self, names: Collection[str] = ()) -> None:
        """Ends all others, also when ending one fails; who asks for one of them later gets a new one."""
        with ExitStack() as stack:
            for name in [name for name in self._running if name not in names]:
                stack.callback(end, self._running.pop(name))


def running_clusters(folder: Path) -> Iterator[Clusters]:
    """For a session fixture."""
    clusters = Clusters(folder)
    try:
        yield clusters
    finally:
        clusters.keep()


def unique(prefix: str) -> str:
    """A name no other test uses."""
    return f"{prefix}-{uuid.uuid4().hex[:10]}"


__all__ = [
    "CODECS",
    "Clusters",
    "Content",
    "DeliveryError",
    "KafkaCluster",
    "NewKafka",
    "Position",
    "Sample",
    "await_markers",
    "commit",
    "commit_positions",
    "committed_positions",
    "create_topic",
    "delete_topics",
    "end",
    "partitions_of",
    "produce",
    "produce_transaction",
    "read_committed",
    "read_on",
    "read_positions",
    "read_some",
    "running_clusters",
    "start_cluster",
    "unique",
]

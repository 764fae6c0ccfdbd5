"""recreate.sh against an empty cluster: afterwards Kafka's own tools describe it as they describe the source."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.configs import alter_configs
from tests.support.kafka import KafkaCluster, NewKafka, Sample, produce, unique
from tests.support.live import until

from kafkeep.errors import KafkaError
from kafkeep.inventory import (
    BROKER,
    CLIENT_METRICS,
    CLUSTER,
    GROUP,
    Acl,
    Inventory,
    QuotaEntity,
    ResourceConfigs,
    ScramUser,
    Standing,
)
from kafkeep.kafka.admin import NewTopic
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.config import SaslConfig
from kafkeep.kafka.users import NewScramUser
from kafkeep.metadata.image import ClusterImage
from kafkeep.metadata.script import recreate_script
from kafkeep.model import Group, GroupOffset, TopicMetadata, TopicPartition
from kafkeep.secret import Secret

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

TOOLS = ("topics", "configs", "acls", "consumer-groups")
PASSWORD = "p\\u0041ss 'word' \"=,: #!$x`ü→😀\\"
BROKER_SETTING, CLUSTER_SETTING = "log.cleaner.threads", "max.connections.per.ip.overrides"


@dataclass(frozen=True)
class Names:
    """Those of one test run."""

    mark: str

    @property
    def orders(self) -> str:
        return f"{self.mark}.orders"

    @property
    def plain(self) -> str:
        return f"-{self.mark}_plain"

    @property
    def groups(self) -> tuple[str, str]:
        return f"{self.mark} billing, 'ünï' $x", f"-{self.mark}"

    @property
    def user(self) -> str:
        """In ASCII: brokers let no other user in by SCRAM (ScramMessages.SASLNAME)."""
        return f"{self.mark},comma=equals 'q' $x"

    @property
    def topics(self) -> dict[str, tuple[int, dict[str, str]]]:
        """Number of partitions and configs by name."""
        throttled = {"leader.replication.throttled.replicas": "*"}
        configs = {"cleanup.policy": "compact,delete", "retention.ms": "86400000", "min.insync.replicas": "1"}
        return {self.orders: (3, configs | throttled), self.plain: (1, {})}

    @property
    def acls(self) -> list[Acl]:
        return [
            Acl("TOPIC", self.orders, "LITERAL", f"User:{self.user}", "*", "READ", "ALLOW"),
            Acl("TOPIC", self.orders, "LITERAL", f"User:{self.user}", "*", "DESCRIBE_CONFIGS", "ALLOW"),
            Acl("GROUP", self.mark, "PREFIXED", f"User:{self.mark}", "10.0.0.1", "READ", "DENY"),
            Acl("TRANSACTIONAL_ID", f"{self.mark} $t'", "LITERAL", f"User:{self.mark} ü", "*", "ALL", "ALLOW"),
            Acl("CLUSTER", "kafka-cluster", "LITERAL", f"User:{self.mark}", "*", "IDEMPOTENT_WRITE", "ALLOW"),
        ]

    @property
    def quotas(self) -> dict[QuotaEntity, dict[str, float | None]]:
        return {
            QuotaEntity((("user", self.user),)): {"producer_byte_rate": 1048576.0, "request_percentage": 12.5},
            QuotaEntity((("client-id", None), ("user", self.user))): {"consumer_byte_rate": 7.0},
            QuotaEntity((("client-id", f"{self.mark} c"), ("user", None))): {"consumer_byte_rate": 8.0},
            QuotaEntity((("ip", None),)): {"connection_creation_rate": 77777.0},
        }

    @property
    def positions(self) -> dict[str, list[GroupOffset]]:
        return {
            group: [GroupOffset(TopicPartition(self.orders, p), 3 * p + more, -1, "") for p in range(3)]
            for more, group in enumerate(self.groups)
        }


@contextmanager
def filled(source: KafkaCluster, names: Names) -> Iterator[ClusterImage]:
    """The source with something of every kind, as an image; put back what others would notice."""
    with Cluster(source.cluster_config()) as cluster:
        new = [
            NewTopic(name, partitions, 1, tuple(configs.items()))
            for name, (partitions, configs) in names.topics.items()
        ]
        assert not [answer for answer in cluster.admin.create_topics(new).values() if isinstance(answer, KafkaError)]
        fill(source, names)
        for group, offsets in names.positions.items():
            cluster.admin.commit_group_offsets(group, offsets)
        settings = cluster.settings
        assert not any(settings.create_acls(names.acls).values())
        assert not any(settings.alter_quotas(names.quotas).values())
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
            user = NewScramUser(ScramUser(names.user, mechanism, 5000), Secret("another"), b"0123456789abcdef")
            assert not any(settings.upsert_scram_users([user]).values())
        put = [
            (BROKER, "1", {BROKER_SETTING: "2", "leader.replication.throttled.rate": "9000000"}),
            (CLUSTER, "", {CLUSTER_SETTING: "10.1.2.3:100,10.1.2.4:200"}),
            (
                CLIENT_METRICS,
                f"{names.mark} m",
                {"match": "client_id=[a-c],client_software_name=x.*", "interval.ms": "60000"},
            ),
        ]
        if source.version.startswith("4"):
            put.append((GROUP, names.groups[0], {"consumer.session.timeout.ms": "50000"}))
        try:
            for kind, name, configs in put:
                assert alter_configs(settings, kind, name, set=configs) is None
            resources = [(kind, name) for kind, name, _ in put]
            until(lambda: tells_all(cluster, names, resources), what="the brokers knowing what the controller took")
            yield image_of(cluster, names, resources)
        finally:
            for kind, name, configs in put:
                alter_configs(settings, kind, name, set={}, delete=configs)
            settings.alter_quotas({entity: dict.fromkeys(values) for entity, values in names.quotas.items()})
            settings.delete_acls(names.acls)
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
                settings.delete_scram_users([ScramUser(names.user, mechanism, 5000)])
            cluster.admin.delete_topics(list(names.topics))


def fill(cluster: KafkaCluster, names: Names) -> None:
    samples = [Sample(b"%d" % number, b"x", partition=number % 3) for number in range(60)]
    produce(cluster.client_properties, names.orders, samples)


def tells_all(cluster: Cluster, names: Names, resources: list[tuple[str, str]]) -> bool:
    """Whether every part that was made is told: each comes to the brokers by itself."""
    configs = cluster.settings.configs(resources).values()
    return (
        all(isinstance(answer, ResourceConfigs) and answer.overrides for answer in configs)
        and set(names.acls) <= set(cluster.settings.acls() or ())
        and set(names.quotas) <= {quota.entity for quota in cluster.settings.quotas()}
        and len([user for user in cluster.settings.scram_users() if user.name == names.user]) == 2
    )


def image_of(cluster: Cluster, names: Names, resources: list[tuple[str, str]]) -> ClusterImage:
    """What the test made, as the cluster tells it."""
    topology = cluster.topology(list(names.topics))
    topics = []
    for name, entries in cluster.admin.topic_configs(sorted(names.topics)).items():
        assert not isinstance(entries, KafkaError)
        own = tuple(sorted((entry.name, entry.value) for entry in entries if entry.source == 1))
        found = topology.topics[name]
        topics.append(TopicMetadata(name, found.topic_id, False, tuple(p.replicas for p in found.partitions), own))
    groups = []
    for group, offsets in cluster.admin.group_offsets(sorted(names.groups)).items():
        assert not isinstance(offsets, KafkaError)
        groups.append(Group(group, "classic", "Empty", "", tuple(offsets)))
    configs = list(cluster.settings.configs(resources).values())
    entities = set(names.quotas)
    inventory = Inventory(
        configs=tuple(sorted(answer for answer in configs if isinstance(answer, ResourceConfigs))),
        acls=tuple(acl for acl in cluster.settings.acls() or () if acl in names.acls),
        quotas=tuple(quota for quota in cluster.settings.quotas() if quota.entity in entities),
        scram_users=tuple(user for user in cluster.settings.scram_users() if user.name == names.user),
    )
    assert len(inventory.configs) == len(resources) and len(inventory.acls) == len(names.acls)
    assert len(inventory.quotas) == len(names.quotas) and len(inventory.scram_users) == 2
    return ClusterImage(
        origin="cluster source",
        time="2026-01-01T00:00:00.000Z",
        cluster_id=cluster.cluster_id(),
        topics=tuple(topics),
        groups=tuple(groups),
        inventory=inventory,
        standing=Standing(),
    )


def tools(cluster: KafkaCluster, folder: Path) -> Path:
    """Kafka's shell scripts, as far as they matter: the same classes with the same arguments."""
    folder.mkdir()
    for tool in TOOLS:
        file = folder / f"kafka-{tool}.sh"
        file.write_text(f'#!/bin/sh\nexec {shlex.join(cluster.lab.tool_command(tool))} "$@"\n')
        file.chmod(0o700)
    return folder


def run(script: Path, target: KafkaCluster, bin_folder: Path, passwords: Path, *parts: str) -> str:
    place = script.parent / "-".join(parts)
    place.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "BOOTSTRAP": target.bootstrap,
        "KAFKA_BIN": str(bin_folder),
        "COMMAND_CONFIG": str(target.lab.client_properties_file),
        "PASSWORDS": str(passwords),
        "TMPDIR": str(place),
    }
    done = subprocess.run(
        ["/bin/sh", str(script), *parts], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list(place.iterdir()), "nothing is left behind"
    return done.stdout + done.stderr


ASKED: tuple[tuple[str, ...], ...] = (
    ("topics", "--describe"),
    ("configs", "--describe", "--entity-type", "brokers"),
    ("configs", "--describe", "--entity-type", "client-metrics"),
    ("configs", "--describe", "--entity-type", "users"),
    ("configs", "--describe", "--entity-type", "users", "--entity-type", "clients"),
    ("configs", "--describe", "--entity-type", "ips"),
    ("acls", "--list"),
)


def described(cluster: KafkaCluster, names: Names) -> dict[str, list[str]]:
    """What Kafka's tools say, ids and epochs apart, as far as it concerns this test."""
    groups = [word for group in names.groups for word in ("--group", group)]
    # The tool gives a coordinator that is still loading no more than five seconds, and then tells nothing.
    asked = [*ASKED, ("consumer-groups", "--describe", "--timeout", "60000", *groups)]
    if cluster.version.startswith("4"):
        asked.append(("configs", "--describe", "--entity-type", "groups"))
    server = ("--bootstrap-server", cluster.lab.bootstrap_of("INTERNAL"))

    def told(command: tuple[str, ...]) -> list[str]:
        text = cluster.lab.tool(command[0], *server, *command[1:]).stdout
        return sorted(acls(text, names) if command[0] == "acls" else lines(text, names))

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(map(" ".join, asked), pool.map(told, asked), strict=True))


PASSING = re.compile(
    r"TopicId: \S+|LeaderEpoch: ?\S+|leader\.replication\.throttled\.\w+=\S*?(?=[, ]|$)|synonyms=\{.*\}"
)


def lines(text: str, names: Names) -> list[str]:
    """Lines of the test's own subjects, and what follows under their heads."""
    kept: list[str] = []
    ours = False
    for line in text.splitlines():
        if not line.startswith(("  ", "\t")):
            ours = names.mark in line or "default" in line.lower() or "broker 1 " in line
        if ours and "throttled.rate" not in line:
            # The tools walk hash maps: the order of what stands in a line is not the same twice.
            kept.append(" ".join(sorted(filter(None, re.split(r"[\s,]+", PASSING.sub("", line))))))
    return kept


def acls(text: str, names: Names) -> list[str]:
    kept: list[str] = []
    resource = ""
    for line in map(str.strip, text.splitlines()):
        resource = line if line.startswith("Current ACLs") else resource
        if line.startswith("(principal") and names.mark in resource + line:
            kept.append(f"{resource} {line}")
    return kept


@pytest.fixture(params=["431", "392"])
def secured(request: pytest.FixtureRequest) -> KafkaCluster:
    """A cluster with logins, of each release in turn."""
    cluster: KafkaCluster = request.getfixturevalue(f"kafka_{request.param}_scram")
    return cluster


def test_a_recreated_cluster_is_described_as_the_source_is(
    secured: KafkaCluster, new_kafka: NewKafka, tmp_path: Path
) -> None:
    source = secured
    names = Names(unique("recreate"))
    with ThreadPoolExecutor() as pool, filled(source, names) as image:
        before = pool.submit(described, source, names)
        target = new_kafka(kafka=source.version, security="sasl")
        script, passwords = tmp_path / "recreate.sh", tmp_path / "passwords"
        script.write_text(recreate_script(image), encoding="utf-8")
        passwords.write_text(f"nobody\tx\n{names.user}\t{PASSWORD}\n", encoding="utf-8")
        bin_folder = tools(target, tmp_path / "bin")
        several = [
            ("topics", "cluster-configs", "broker-configs", "group-configs", "client-metrics"),
            ("quotas", "users", "acls"),
        ]
        for told in pool.map(lambda parts: run(script, target, bin_folder, passwords, *parts), several):
            assert PASSWORD not in told
        fill(target, names)
        run(script, target, bin_folder, passwords, "offsets")
        wanted, found = before.result(), described(target, names)
    assert all(wanted.values()), wanted
    assert found == wanted
    login = SaslConfig(mechanism="SCRAM-SHA-256", username=names.user, password=Secret(PASSWORD))
    with Cluster(target.cluster_config(sasl=login)) as as_user:
        assert as_user.topology([names.orders]).topics[names.orders].partitions

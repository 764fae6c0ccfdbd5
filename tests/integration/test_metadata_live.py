"""A rich cluster's metadata: kept, compared, and made again on another cluster by the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as Position
from tests.support.configs import alter_configs
from tests.support.kafka import KafkaCluster, NewKafka, Sample, commit, commit_positions, create_topic, produce, unique
from tests.support.live import Live, until

from kafkeep.inventory import BROKER, CLUSTER, Acl, QuotaEntity, ScramUser
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.config import SaslConfig
from kafkeep.kafka.links import Link, Message
from kafkeep.kafka.retry import Retry
from kafkeep.kafka.users import NewScramUser
from kafkeep.repository.repository import Repository
from kafkeep.secret import Secret

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Rich:
    kafka: KafkaCluster
    topic: str
    user: str
    group: str
    repo: Path
    home: Path

    def run(self, *arguments: str, status: int | tuple[int, ...] = 0) -> dict[str, Any]:
        """`kafkeep --json …` as a process; its summary."""
        environment = {**os.environ, "XDG_CACHE_HOME": str(self.home), "HOME": str(self.home)}
        done = subprocess.run(
            [sys.executable, "-m", "kafkeep", "--json", *arguments],
            capture_output=True,
            text=True,
            env=environment,
            timeout=300,
            check=False,
        )
        allowed = status if isinstance(status, tuple) else (status,)
        assert done.returncode in allowed, done.stdout[-2000:] + done.stderr[-2000:]
        last: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return last


PASSWORD = "correct horse, battery=staple"


@pytest.fixture(scope="module", params=["kafka_431_scram", "kafka_392_scram"])
def rich(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rich]:
    """Topics, configs, ACLs, quotas, a user and a group with positions on a secured cluster."""
    kafka: KafkaCluster = request.getfixturevalue(request.param)
    folder = tmp_path_factory.mktemp("metadata")
    made = Rich(kafka, unique("rich"), unique("user"), unique("group"), folder / "repo", folder / "home")
    made.home.mkdir()
    client = kafka.client_properties
    create_topic(client, made.topic, partitions=3, config={"retention.ms": "123456789", "cleanup.policy": "compact"})
    produce(client, made.topic, [Sample(b"k", b"v", partition=0)])
    consumer = Consumer({**client, "group.id": made.group})
    commit(consumer, [Position(made.topic, 0, 1)])
    consumer.close()
    acl = Acl("TOPIC", made.topic, "PREFIXED", f"User:{made.user}", "*", "READ", "ALLOW")
    quota = QuotaEntity((("user", made.user),))
    with Cluster(kafka.cluster_config()) as cluster:
        settings = cluster.settings
        node = str(next(iter(cluster.topology([]).brokers)))
        assert settings.create_acls([acl]) == {acl: None}
        assert settings.alter_quotas({quota: {"producer_byte_rate": 1048576.0}}) == {quota: None}
        scram = NewScramUser(ScramUser(made.user, "SCRAM-SHA-512", 8192), Secret(PASSWORD), salt=b"0" * 24)
        other = NewScramUser(ScramUser(f"{made.user}-2", "SCRAM-SHA-256", 4096), Secret("unknown"), salt=b"0" * 24)
        assert settings.upsert_scram_users([scram, other]) == {made.user: None, f"{made.user}-2": None}
        assert alter_configs(settings, CLUSTER, "", set={"message.max.bytes": "2000000"}) is None
        assert alter_configs(settings, BROKER, node, set={"log.cleaner.threads": "2"}) is None
        yield made
        alter_configs(settings, CLUSTER, "", set={}, delete=["message.max.bytes"])
        alter_configs(settings, BROKER, node, set={}, delete=["log.cleaner.threads"])


def test_metadata_comes_back_on_an_empty_cluster(rich: Rich, new_kafka: NewKafka) -> None:
    source = ("--cluster", "lab", "--repo", str(rich.repo))
    settings = str(rich.kafka.settings_file)
    rich.run("init", "--repo", str(rich.repo))
    rich.run("--config", settings, "metadata", "backup", *source, "--name", "whole")
    rich.run("--config", settings, "metadata", "diff", "whole", *source)

    target = new_kafka(kafka=rich.kafka.version, security="sasl")
    there = ("--config", str(target.settings_file))
    onto = ("--cluster", "lab", "--repo", str(rich.repo), "--topics", f"{rich.topic}*")
    passwords = rich.home / "passwords"
    passwords.write_text(f"{rich.user}\t{PASSWORD}\n")
    passwords.chmod(0o600)
    secrets = ("--users-file", str(passwords))

    dry = rich.run(*there, "metadata", "apply", "whole", *onto, *secrets, "--dry-run", status=3)
    planned = {(step["area"], step["subject"]) for step in dry["steps"]}
    assert ("topics", rich.topic) in planned and ("users", f"{rich.user} (SCRAM-SHA-512)") in planned
    missing = [left for left in dry["left_out"] if left["missing"]]
    assert f"{rich.user}-2 (SCRAM-SHA-256)" in [left["subject"] for left in missing]
    assert all("password" in left["reason"] for left in missing)

    done = rich.run(*there, "metadata", "apply", "whole", *onto, *secrets, status=3)
    assert all(step["failure"] is None for step in done["steps"])
    again = rich.run(*there, "metadata", "apply", "whole", *onto, *secrets, status=3)
    assert again["steps"] == [], "a second apply does nothing"

    only = [word for area in ("topic-configs", "cluster-configs", "quotas") for word in ("--only", area)]
    # Other tests' topics on the shared source were not carried over.
    found = rich.run(*there, "metadata", "diff", "whole", *source, *only, status=(0, 22))
    ours = [one for one in found["differences"] if rich.topic in one["subject"] or rich.user in one["subject"]]
    assert ours == []
    login = SaslConfig(mechanism="SCRAM-SHA-512", username=rich.user, password=Secret(PASSWORD))
    with Cluster(target.cluster_config(sasl=login)) as as_user:
        assert as_user.cluster_id(), "the user can log in with the password of before"
    with Cluster(target.cluster_config()) as cluster:
        assert any(acl.principal == f"User:{rich.user}" for acl in cluster.settings.acls() or ())
        topology = cluster.topology([rich.topic]).topics[rich.topic]
        assert len(topology.partitions) == 3


def test_every_backup_holds_settings_and_a_change_of_them_alone_is_new(rich: Rich, tmp_path: Path) -> None:
    repo, settings = str(tmp_path / "repo"), ("--config", str(rich.kafka.settings_file))
    backup = (*settings, "backup", "--cluster", "lab", "--repo", repo, "--topics", rich.topic)
    rich.run("init", "--repo", repo)
    assert rich.run(*backup)["records"] == 1
    assert rich.run(*backup, status=4)["point"] is None
    added = Acl("GROUP", unique("later"), "LITERAL", f"User:{rich.user}", "*", "READ", "ALLOW")
    with Cluster(rich.kafka.cluster_config()) as cluster:
        assert cluster.settings.create_acls([added]) == {added: None}
        until(lambda: added in (cluster.settings.acls() or ()), what="the permission")
        changed = rich.run(*backup)
        assert changed["records"] == 0 and changed["point"]["complete"]
        cluster.settings.delete_acls([added])
        until(lambda: added not in (cluster.settings.acls() or ()), what="taking the permission away")
    found = rich.run("metadata", "diff", "1", "latest", "--repo", repo, status=22)["differences"]
    assert {one["area"] for one in found} == {"acls"}
    assert all(added.resource_name in one["subject"] for one in found)


def test_records_are_not_restored_from_a_point_of_metadata_alone(rich: Rich, tmp_path: Path) -> None:
    repo, settings = str(tmp_path / "repo"), ("--config", str(rich.kafka.settings_file))
    rich.run("init", "--repo", repo)
    rich.run(*settings, "metadata", "backup", "--cluster", "lab", "--repo", repo, "--name", "alone")
    told = rich.run(*settings, "restore", "alone", "--cluster", "lab", "--repo", repo, "--rename", "s/^/x-/", status=24)
    assert (told["slug"], "holds no records" in told["message"]) == ("plan-refused", True)
    assert "kafkeep metadata apply" in told["hint"]


def test_settings_cost_a_handful_of_requests_however_much_there_is(
    live_4: Live, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[str] = Counter()
    exchange = Link.exchange

    def counted(link: Link, api: Message, body: Any, retry: Retry | None) -> Any:
        asked[api.name] += 1
        return exchange(link, api, body, retry)

    monkeypatch.setattr(Link, "exchange", counted)
    prefix = unique("many")

    def costs(**options: Any) -> Counter[str]:
        asked.clear()
        live_4.back_up(repository, f"{prefix}*", **options)
        # Groups with members, of which other tests may have left some, are looked up a hundred at a time.
        others = {"DescribeGroups", "ConsumerGroupDescribe", "FindCoordinator", "OffsetFetch"}
        return Counter({name: count for name, count in asked.items() if name not in others})

    def grow(first: int, count: int) -> None:
        for number in range(first, first + count):
            name = f"{prefix}-{number}"
            create_topic(live_4.kafka.client_properties, name)
            commit_positions(live_4.kafka.client_properties, name, [Position(name, 0, 0)])

    grow(0, 1)
    costs()  # The leader of a topic that was just made may be asked twice.
    few = costs() - costs(settings=False)
    grow(1, 8)
    costs()
    many = costs() - costs(settings=False)
    assert few == {
        "Metadata": 1,
        "DescribeConfigs": 2,
        "ListConfigResources": 2,
        "DescribeAcls": 1,
        "DescribeClientQuotas": 1,
        "DescribeUserScramCredentials": 1,
        "ApiVersions": 1,
        "DescribeLogDirs": 1,
        "DescribeQuorum": 1,
        "ListPartitionReassignments": 1,
        "DescribeDelegationToken": 1,
    }, "one broker: its own configs and those of the rest, and its log directories"
    assert many == few


def test_an_export_can_be_edited_and_applied(rich: Rich, tmp_path: Path) -> None:
    settings = ("--config", str(rich.kafka.settings_file))
    repo = tmp_path / "repo"
    rich.run("init", "--repo", str(repo))
    rich.run(*settings, "metadata", "backup", "--cluster", "lab", "--repo", str(repo))
    rich.run("metadata", "export", "latest", "--repo", str(repo), "--dir", str(tmp_path / "files"))
    file = tmp_path / "files" / "metadata.yaml"
    text = file.read_text()
    assert "123456789" in text and PASSWORD not in text
    file.write_text(text.replace("123456789", "987654321"))
    only = ("--topics", rich.topic, "--only", "topic-configs", "--existing", "align")
    done = rich.run(*settings, "metadata", "apply", "--file", str(file), "--cluster", "lab", *only)
    (step,) = done["steps"]
    assert step["failure"] is None and step["step"]["subject"] == rich.topic
    found = rich.run(
        *settings,
        "metadata",
        "diff",
        "latest",
        "--repo",
        str(repo),
        "--cluster",
        "lab",
        "--only",
        "topic-configs",
        status=22,
    )
    assert [(one["subject"], one["key"], one["right"]) for one in found["differences"]] == [
        (rich.topic, "retention.ms", "987654321")
    ]

"""The controllers' own log of real clusters: the same nouns as the brokers tell, and Kafka's own tool as a judge."""

from __future__ import annotations

import base64
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.controllers import (
    EVERYTHING,
    HIDDEN,
    PASSWORD,
    SALT,
    Filled,
    as_kafka_shows,
    controllers_of,
    fill,
    judge,
    records_of,
    scram_keys,
    start_secured,
    whole_batches,
)
from tests.support.kafka import KafkaCluster, start_cluster
from tests.support.live import until

from kafkeep.cli.main import main
from kafkeep.cluster_reading import read_groups, read_topics
from kafkeep.controller_reading import read_controllers, with_controllers
from kafkeep.errors import KafkaAccessDenied, KafkaUnsupported, WrongCluster
from kafkeep.events import ignore
from kafkeep.inventory import BROKER, CLUSTER, GROUP, Acl, ConfigValue, Inventory, ScramCredential
from kafkeep.inventory_reading import InventoryReading, read_inventory
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.metadata_log import METADATA_TOPIC, MetadataLog, read_metadata_log
from kafkeep.kafka.wire.metadata_batches import BatchReader
from kafkeep.model import TopicMetadata
from kafkeep.point_documents import needed_inventory_of, standing_of
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.stores.wrappers import ReadOnlyStore
from kafkeep.secret import Secret

pytestmark = pytest.mark.integration

Kafkeep = Callable[..., str]


@dataclass(frozen=True)
class Secured:
    kafka: KafkaCluster
    filled: Filled

    def log(self, *, user: str = "admin", **options: Any) -> MetadataLog:
        return read_metadata_log(controllers_of(self.kafka, user=user), self.kafka.lab.cluster_id, **options)

    def lack_of(self, user: str) -> str:
        """The right on the cluster that the log is refused for; empty when it is not."""
        try:
            self.log(user=user, retry_seconds=0)
        except KafkaAccessDenied as error:
            found = re.search(r"lacks (\w+) on the cluster", str(error))
            assert found is not None, error
            return found[1]
        return ""

    @property
    def folder(self) -> Path:
        return self.kafka.lab.node(1).log_dirs[0] / f"{METADATA_TOPIC}-0"

    def told(self) -> tuple[tuple[TopicMetadata, ...], InventoryReading]:
        """What the brokers say, part by part."""
        with Cluster(self.kafka.cluster_config()) as cluster:
            topics = read_topics(cluster, sorted(cluster.topology().topics.values(), key=lambda topic: topic.name))
            listings = read_groups(cluster).listings
            return topics.topics, read_inventory(cluster, listings, topics.effective)

    def snapshots(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*-*.checkpoint") if not path.name.startswith("0" * 20))


@pytest.fixture(scope="module", params=["4.3.1", "3.9.2"])
def secured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    kafka = start_secured(lambda **options: start_cluster(tmp_path_factory.mktemp("lab"), **options), request.param)
    try:
        yield Secured(kafka, fill(kafka))
    finally:
        kafka.lab.stop(grace_seconds=1.0)


def agree(secured: Secured) -> MetadataLog:
    """Both ways lead to the same nouns; what they differ in is named here."""
    deadline = time.monotonic() + 60
    while True:
        topics, told = secured.told()
        log = secured.log(piece_bytes=1000)
        shown = with_controllers(told, log)
        # Brokers follow the log a moment later, and it moves on.
        both = (shown.inventory, replace(shown.standing, metadata_cut=None), log.metadata.topics)
        if both == (told.inventory, told.standing, topics) or time.monotonic() > deadline:
            break
    assert (told.failures, shown.failures) == ((), ())
    assert log.metadata.unknown == ()
    assert log.metadata.topics == topics
    of_groups = tuple(resource for resource in shown.inventory.configs if resource.kind == GROUP)
    if secured.kafka.version.startswith("3."):
        # Brokers of 3.9 do not list groups with configs, which the lab has none of.
        assert of_groups == ()
    assert set(entries(shown.inventory)) ^ set(entries(told.inventory)) == set()
    assert shown.inventory == told.inventory
    assert [broker.node_id for broker in log.metadata.brokers] == [node.node_id for node in told.standing.brokers]
    assert len(log.metadata.tokens) == 1
    assert replace(shown.standing, metadata_cut=None) == told.standing
    assert shown.standing.metadata_cut == log.cut and log.cut.offset > 50 and log.cut.epoch >= 1
    return log


def entries(inventory: Inventory) -> list[tuple[str, str, ConfigValue]]:
    return [(resource.kind, resource.name, entry) for resource in inventory.configs for entry in resource.entries]


def test_both_ways_agree_and_the_log_has_what_brokers_hide(secured: Secured) -> None:
    log = agree(secured)
    shown = with_controllers(secured.told()[1], log).inventory
    assert {"rich", "grown", "__consumer_offsets"} <= {topic.name for topic in log.metadata.topics}
    assert len({topic.name: topic for topic in log.metadata.topics}["grown"].partitions) == 4
    kinds = {resource.kind for resource in shown.configs}
    assert kinds >= {BROKER, CLUSTER, "client-metrics"} and secured.filled.acl in shown.acls
    (cluster,) = shown.configs_of(CLUSTER)
    assert {entry.name: entry.value for entry in cluster.entries}["made.up.secret"] is None
    assert HIDDEN in repr(log.metadata.configs), "it is there, and is shown to nobody"
    assert HIDDEN not in repr(shown)

    users = {(user.name, user.mechanism): user for user in log.metadata.scram_users}
    assert ("gone", "SCRAM-SHA-256") not in users
    credential = users["reader", "SCRAM-SHA-512"].credential
    assert credential is not None
    assert base64.b64decode(credential.salt.reveal()) == SALT
    found = tuple(base64.b64decode(key.reveal()) for key in (credential.stored_key, credential.server_key))
    assert found == scram_keys(PASSWORD, SALT, 8192)
    assert credential.stored_key.reveal() not in repr(log)


def test_kafkas_own_tool_reads_the_same_records(secured: Secured) -> None:
    segment = secured.folder / f"{'0' * 20}.log"
    taken = secured.kafka.lab.directory / f"{'0' * 20}.log"
    taken.write_bytes(whole_batches(segment.read_bytes()))
    judged = as_kafka_shows(secured.kafka, str(taken))
    ours = records_of(taken.read_bytes())
    assert len(ours) > 60 and {record.type for record in ours} >= EVERYTHING
    judge(ours, judged)


def test_a_missing_right_is_named(secured: Secured) -> None:
    with pytest.raises(
        KafkaAccessDenied, match=r"CLUSTER_AUTHORIZATION_FAILED \(31\); this login lacks DESCRIBE on the"
    ):
        secured.log(user="alice")
    with Cluster(secured.kafka.cluster_config()) as cluster:
        for operation, outcome in (("DESCRIBE", "CLUSTER_ACTION"), ("CLUSTER_ACTION", "")):
            right = Acl("CLUSTER", "kafka-cluster", "LITERAL", "User:alice", "*", operation, "ALLOW")
            assert cluster.settings.create_acls([right]) == {right: None}
            until(lambda outcome=outcome: secured.lack_of("alice") == outcome, what=f"the right {operation}")
    assert secured.log(user="alice").metadata.scram_users, "those two rights are enough"


def test_another_cluster_and_a_brokers_listener_are_refused(secured: Secured) -> None:
    with pytest.raises(WrongCluster, match="of another cluster"):
        read_metadata_log(controllers_of(secured.kafka), "AAAAAAAAAAAAAAAAAAAAAA")
    broker = secured.kafka.cluster_config(listener="INTERNAL")
    with pytest.raises(KafkaUnsupported, match="is no controller's listener"):
        read_metadata_log(broker, secured.kafka.lab.cluster_id)


def test_credentials_are_read_only_when_asked_for(secured: Secured) -> None:
    config = replace(secured.kafka.cluster_config(), controllers=controllers_of(secured.kafka))
    with Cluster(config) as cluster:
        without = read_controllers(cluster, ignore, credentials=False).metadata.scram_users
        assert without and all(user.credential is None for user in without)
        assert all(user.credential for user in read_controllers(cluster, ignore, credentials=True).metadata.scram_users)


@pytest.fixture
def kafkeep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Kafkeep:
    """Runs a verb in this process; all that it says."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def run(*arguments: str, status: int = 0) -> str:
        capsys.readouterr()
        found = main(list(arguments))
        told = capsys.readouterr()
        assert found == status, told.out[-2000:] + told.err[-2000:]
        return told.out + told.err

    return run


def test_credentials_are_kept_when_asked_for_and_never_shown(
    secured: Secured, tmp_path: Path, kafkeep: Kafkeep
) -> None:
    address = secured.kafka.lab.node(1).address("CONTROLLER")
    keys = f'controllers = ["{address}"]\ncontroller_security = "sasl_plaintext"\n'
    settings = tmp_path / "kafkeep.toml"
    settings.write_text(secured.kafka.settings_file.read_text().replace("[cluster.lab]\n", f"[cluster.lab]\n{keys}"))
    repo, source = ("--repo", str(tmp_path / "repo")), ("--config", str(settings))
    backup = (*source, "metadata", "backup", *repo, "--cluster", "lab", "--name")
    kafkeep("init", *repo)
    kafkeep(*backup, "brokers")
    told = kafkeep(*backup, "plain", "--metadata-route", "controller")
    assert "of the controllers' log" in told and "will hold" not in told
    told = kafkeep(*backup, "whole", "--metadata-route", "controller", "--include-credentials")
    assert "the repository will hold salts and keys of SCRAM users" in told and "Encrypt it" in told
    kafkeep(*backup, "x", "--include-credentials", status=2)
    without = ("--config", str(secured.kafka.settings_file))
    refused = kafkeep(*without, *backup[2:], "x", "--metadata-route", "controller", status=2)
    assert "do not say where the controllers of lab are" in refused
    records = ("backup", *repo, "--cluster", "lab", "--topics", "grown", "--metadata-route", "controller")
    kafkeep(*source, *records, "--include-credentials", "--name", "records")
    kafkeep(*source, *records, "--no-settings", status=2)

    store = ReadOnlyStore(LocalStore(tmp_path / "repo"))
    with Repository.open(store, now=lambda: datetime.now(UTC), rng=random.Random(1)) as repository:
        kept = {name: needed_inventory_of(repository, repository.point(name)) for name in ("brokers", "plain", "whole")}
        kept["records"] = needed_inventory_of(repository, repository.point("records"))
        assert standing_of(repository, repository.point("plain")).metadata_cut is not None
        assert standing_of(repository, repository.point("brokers")).metadata_cut is None
    assert kept["brokers"].scram_users == kept["plain"].scram_users == kept["whole"].scram_users
    held = {name: [user.credential for user in found.scram_users] for name, found in kept.items()}
    assert not any(held["brokers"]) and not any(held["plain"]) and all(held["whole"])
    assert held["records"] == held["whole"]
    (reader,) = [user.credential for user in kept["whole"].scram_users if user.name == "reader"]
    assert reader is not None
    known = (SALT, *scram_keys(PASSWORD, SALT, 8192))
    assert reader == ScramCredential(*(Secret(base64.b64encode(part).decode()) for part in known))

    said = kafkeep("--json", "metadata", "diff", "brokers", "whole", *repo)
    said += kafkeep(*source, "--json", "metadata", "diff", "whole", *repo, "--cluster", "lab")
    said += kafkeep("--json", "show", "whole", *repo)
    for name in ("brokers", "whole"):
        said += kafkeep("metadata", "export", name, *repo, "--dir", str(tmp_path / name))
    files = {name: (tmp_path / name / "scram-users.txt").read_bytes() for name in ("brokers", "whole")}
    assert b"reader" in files["whole"]
    assert files["whole"].splitlines()[1:] == files["brokers"].splitlines()[1:]
    said += "".join(path.read_text() for path in (tmp_path / "whole").iterdir())
    hidden = [key.reveal() for user in held["whole"] if user for key in (user.salt, user.stored_key, user.server_key)]
    assert len(hidden) > 6 and not [text for text in (*hidden, HIDDEN, 'credential"') if text in said]


def test_a_log_that_starts_later_is_read_from_its_snapshot(secured: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    """Last in the file: the node is started again, which lets go of the log in front of the newest snapshots."""
    before = secured.log().metadata
    deadline = time.monotonic() + 90
    while len(secured.snapshots()) < 2:
        assert time.monotonic() < deadline
        fill_more(secured)
    secured.kafka.lab.node(1).stop()
    secured.kafka.lab.node(1).start()
    read = BatchReader.read
    ended: list[bool] = []

    def noting(reader: BatchReader, data: memoryview, **options: Any) -> int:
        taken = read(reader, data, **options)
        ended.append(reader.snapshot_ended)
        return taken

    monkeypatch.setattr(BatchReader, "read", noting)
    # Served in pieces of 1000 bytes, which begin and end in the middle of batches.
    after = agree(secured)
    assert any(ended) and ended.count(False) > 1, "a snapshot was read to its end, in several pieces"
    assert set(before.topics) <= set(after.metadata.topics) and after.metadata.tokens == before.tokens
    assert [user.credential for user in after.metadata.scram_users] == [user.credential for user in before.scram_users]


def fill_more(secured: Secured) -> None:
    """Records for the log, so that another snapshot is due."""
    with Cluster(secured.kafka.cluster_config()) as cluster:
        for number in range(20):
            acl = Acl("TOPIC", f"more-{time.monotonic_ns()}-{number}", "LITERAL", "User:x", "*", "READ", "ALLOW")
            assert cluster.settings.create_acls([acl]) == {acl: None}
    time.sleep(0.5)

"""Logs and snapshots that real controllers wrote, against what Kafka's own kafka-dump-log read of them (made by
metadata_logs/make.py)."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from tests.support.controllers import EVERYTHING, PASSWORD, SALT, judge, records_of, scram_keys

from kafkeep.inventory import ScramCredential
from kafkeep.kafka.wire.metadata_batches import BatchReader
from kafkeep.kafka.wire.metadata_fold import LoggedMetadata, MetadataFold
from kafkeep.secret import Secret

FOLDER = Path(__file__).parent / "metadata_logs"
VERSIONS = ("3.9.2", "4.3.1")
LOGS = sorted(path.name for path in FOLDER.iterdir() if path.suffix in (".log", ".snapshot"))


def folded(name: str) -> LoggedMetadata:
    fold = MetadataFold()
    data = (FOLDER / name).read_bytes()
    reader = BatchReader(fold)
    assert reader.read(memoryview(data)) == len(data)
    assert reader.snapshot_ended == name.endswith("snapshot")
    return fold.result()


def test_there_are_both_of_every_version() -> None:
    assert len(LOGS) == 2 * len(VERSIONS)


@pytest.mark.parametrize("name", LOGS)
def test_records_are_those_of_kafkas_own_tool(name: str) -> None:
    ours = records_of((FOLDER / name).read_bytes())
    judge(ours, json.loads((FOLDER / f"{name}.json").read_text()))
    if name.endswith(".log"):
        assert {record.type for record in ours} >= EVERYTHING


@pytest.mark.parametrize("version", VERSIONS)
def test_the_fold_of_a_log_is_the_cluster(version: str) -> None:
    found = folded(f"{version}.log")
    topics = {topic.name: topic for topic in found.topics}
    assert set(topics) == {"__consumer_offsets", "rich", "grown"}
    assert topics["rich"].configs == (("cleanup.policy", "compact"), ("retention.ms", "123456789"))
    assert topics["grown"].partitions == ((1,),) * 4 and not topics["grown"].internal
    assert topics["__consumer_offsets"].internal
    assert len(found.acls) == 2 and len(found.quotas) == 4 and len(found.tokens) == 1
    assert [quota.values for quota in found.quotas if str(quota.entity) == "user reader"] == [
        (("producer_byte_rate", 1048576.0),)
    ]
    (reader,) = [user for user in found.scram_users if user.name == "reader"]
    assert isinstance(reader.credential, ScramCredential)
    known = (SALT, *scram_keys(PASSWORD, SALT, reader.iterations))
    assert reader.credential == ScramCredential(*(Secret(base64.b64encode(part).decode()) for part in known))
    assert "gone" not in {user.name for user in found.scram_users}
    assert found.unknown == () and [broker.node_id for broker in found.brokers] == [1]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_snapshot_and_the_log_behind_it_are_the_log(version: str) -> None:
    (snapshot,) = FOLDER.glob(f"{version}-*.snapshot")
    fold = MetadataFold()
    reader = BatchReader(fold)
    reader.read(memoryview(snapshot.read_bytes()))
    assert reader.snapshot_ended and fold.result() != folded(f"{version}.log")
    reader.last = (int(snapshot.stem.rpartition("-")[2]), 0)
    reader.read(memoryview((FOLDER / f"{version}.log").read_bytes()))
    assert fold.result() == folded(f"{version}.log")

"""S22: each role of docs/policies can do its work in a bucket of a real service, and nothing that it has no need of."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.kafka import KafkaCluster, create_topic, produce, unique
from tests.support.oracle_load import samples
from tests.support.sweep_command import Kafkeep
from tests.support.versitygw import S3Server

from kafkeep.errors import StoreAccessDenied
from kafkeep.repository.stores.object import ObjectStore
from kafkeep.repository.stores.object_connect import open_object_store

pytestmark = pytest.mark.integration

POLICIES = Path(__file__).resolve().parents[2] / "docs" / "policies"
ROLES = ("writer", "reader", "admin")


def policy(role: str, bucket: str, path: str) -> dict[str, object]:
    text = (POLICIES / f"s3-{role}.json").read_text()
    made: dict[str, object] = json.loads(text.replace("BUCKET", bucket).replace("PATH", path))
    return made


def refused(*calls: Callable[[], object]) -> None:
    for call in calls:
        with pytest.raises(StoreAccessDenied):
            call()


@pytest.mark.fault("S22")
def test_s22_roles_do_their_work_and_no_more(s3_server: S3Server, kafka_431: KafkaCluster, tmp_path: Path) -> None:
    bucket, path = s3_server.new_bucket(), "kafka/prod"
    url = f"s3://{bucket}/{path}"
    users = {role: s3_server.new_user() for role in ROLES}
    s3_server.set_policy(bucket, {users[role].access_key: policy(role, bucket, path) for role in ROLES})

    def command(role: str) -> Kafkeep:
        made = Kafkeep(tmp_path / role, users[role].environment())
        made.settings(f'[repository.b]\nurl = "{url}"\n[repository.b.s3]\nendpoint = "{s3_server.endpoint}"\n')
        return made

    def store(role: str) -> ObjectStore:
        return open_object_store(url, users[role].options())

    topic = unique("roles")
    create_topic(kafka_431.client_properties, topic, partitions=2)
    produce(kafka_431.client_properties, topic, samples(500, partitions=2))
    backup = ("backup", "--repo", "b", "--cluster", kafka_431.bootstrap, "--topics", topic)
    command("writer")("init", "--repo", "b").refused(13, "store-access-denied")
    command("admin")("init", "--repo", "b").expect(0)
    command("writer")(*backup).expect(0)
    produce(kafka_431.client_properties, topic, samples(100, partitions=2))
    command("reader")(*backup).refused(13, "store-access-denied")
    command("writer")(*backup).expect(0)
    assert command("reader")("verify", "--repo", "b", "--level", "data").expect(0)["findings"] == []
    restore = ("restore", "latest", "--repo", "b", "--cluster", kafka_431.bootstrap, "--rename", "s/^/back-/")
    command("reader")(*restore, "--groups", "none").expect(0)

    pack = next(iter(store("admin").list("pack/"))).name
    refused(
        lambda: store("writer").get(pack),
        lambda: store("writer").delete(pack),
        lambda: store("writer").delete("log/000000000001"),
        lambda: store("reader").delete(pack),
        lambda: store("reader").put_new(pack + "x", b"x"),
        lambda: store("reader").put_new("log/000000009999", b"x"),
        lambda: store("reader").put_hint("hint/head", b"0\n"),
    )
    store("admin").delete(pack)

"""--as-of: a repository that somebody destroyed is read out of the versions that its bucket keeps."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.as_of_life import VersionedBucket, a_second_later, everything_comes_back, text
from tests.support.kafka import KafkaCluster, create_topic, produce, read_committed, unique
from tests.support.oracle_load import samples
from tests.support.signed import s3_call
from tests.support.sweep_command import Kafkeep
from tests.support.versitygw import S3Server, start

from kafkeep.errors import ObjectNotFound, StoreAccessDenied, StoreError
from kafkeep.repository.stores import as_of
from kafkeep.repository.stores.options import AsOf


@pytest.fixture(scope="module")
def keeping_versions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with start(tmp_path_factory.mktemp("s3"), versioning=True) as server:
        yield server


def test_everything_comes_back(keeping_versions: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(as_of, "PAGE", 4)  # lists of versions in many answers
    everything_comes_back(VersionedBucket(keeping_versions, tmp_path), tmp_path)


@pytest.mark.integration
def test_a_destroyed_backup_is_restored_and_compared(
    keeping_versions: S3Server, kafka_431: KafkaCluster, tmp_path: Path
) -> None:
    """By commands, into a real cluster: the report of the restore is what the comparison goes by."""
    topic, properties = unique("kept"), kafka_431.client_properties
    create_topic(properties, topic, partitions=2)
    produce(properties, topic, samples(300, partitions=2, seed=1))
    bucket = VersionedBucket(keeping_versions, tmp_path, filled=False)
    kafkeep, cluster = bucket.kafkeep, ("--cluster", kafka_431.bootstrap)
    kafkeep("init", "--repo", "b").expect(0)
    kafkeep("backup", "--repo", "b", *cluster, "--topics", topic).expect(0)
    at = ("--repo", "b", "--as-of", text(a_second_later()))
    bucket.destroy(11)
    place = ("--rename", f"s/^/{unique('back')}-/")
    restored = kafkeep("restore", "latest", *at, *cluster, *place, "--groups", "none").expect(0)
    assert kafkeep("compare", "latest", *at, *cluster, *place).expect(0)["exit_code"] == 0
    target = place[1].split("/")[2] + topic
    assert read_committed(properties, target) == read_committed(properties, topic)
    assert restored["exit_code"] == 0
    assert kafkeep("restore", "latest", "--repo", "b", *cluster, *place).status != 0


def test_what_cannot_be_read_as_it_was_is_told(keeping_versions: S3Server, tmp_path: Path) -> None:
    kafkeep = VersionedBucket(keeping_versions, tmp_path).kafkeep
    moment = datetime.now(UTC)
    early, late = text(moment - timedelta(days=400)), text(moment + timedelta(days=1))
    said = kafkeep("points", "--repo", "b", "--as-of", early).refused(10, "no-repository")
    assert early[:10] in said
    kafkeep("points", "--repo", "b", "--as-of", late).refused(2, "usage")
    kafkeep("points", "--repo", str(tmp_path), "--as-of", early).refused(2, "usage")
    kafkeep("points", "--repo", "gs://bucket/x", "--as-of", early).refused(2, "usage")
    kafkeep("verify", "--repo", "b", "--level", "data", "--record", "--as-of", early).refused(2, "usage")
    kafkeep("copy", "--repo", "b", "--as-of", text(moment), "--to", "b").refused(2, "usage")
    for verb in ("backup", "prune", "compact", "repair", "init", "pin"):
        assert "--as-of" in kafkeep(verb, "--repo", "b", "--as-of", early).refused(2, "usage")

    def versions(command: Kafkeep) -> str:
        probes = command("doctor", "store", "--repo", "b").expect(0)["probes"]
        return {probe["name"]: probe["found"] for probe in probes}["versions"]

    assert "can be read as it was" in versions(kafkeep)
    bare = VersionedBucket(keeping_versions, tmp_path / "bare", versioned=False).kafkeep
    assert "no versions are kept" in versions(bare)
    assert "keeps no versions" in bare("points", "--repo", "b", "--as-of", text(moment)).refused(13, "store")


def test_names_stand_for_what_they_were(keeping_versions: S3Server, tmp_path: Path) -> None:
    """Through deletions, other bytes and creations anew, each at its moment; nothing is changed."""
    bucket = VersionedBucket(keeping_versions, tmp_path)
    name, moments = "log/000000000500", [a_second_later()]
    for data in (b"first", None, b"the second", b"third"):
        if data is None:
            bucket.delete(name)
        else:
            bucket.put(name, data)
        moments.append(a_second_later())
    bucket.set_times()
    for moment, expected in zip(moments, (None, b"first", None, b"the second", b"third"), strict=True):
        store = bucket.store(AsOf(time=moment))
        listed = {info.name: info.size for info in store.list("log/")}
        if expected is None:
            assert name not in listed
            for ask in (store.get, store.head, store.modified):
                with pytest.raises(ObjectNotFound):
                    ask(name)
            continue
        assert listed[name] == len(expected) == store.head(name).size
        assert (store.get(name), store.get(name, 1, 3), store.get(name, 90)) == (expected, expected[1:4], b"")
        made = store.modified(name)
        assert made is not None and made <= moment
    for change in (
        lambda: store.put_new("log/000000000501", b"x"),
        lambda: store.put_new("audit/2026-11-20/x", b"x"),
        lambda: store.put_hint("hint/head", b"1"),
        lambda: store.delete(name),
        store.open_new,
    ):
        with pytest.raises(StoreAccessDenied, match="for reading only"):
            change()


def test_a_version_that_is_deleted_meanwhile_is_not_absent(keeping_versions: S3Server, tmp_path: Path) -> None:
    """Else the log would seem to end there."""
    bucket = VersionedBucket(keeping_versions, tmp_path)
    name = bucket.archive.names("log")[-1]
    store = bucket.store(AsOf(time=a_second_later()))
    assert store.get(name) == bucket.archive.store.objects[name]
    place = f"/{bucket.bucket}/kafka/prod/{name}"
    headers, _ = s3_call(keeping_versions, "HEAD", place)
    s3_call(keeping_versions, "DELETE", place, query={"versionId": headers["x-amz-version-id"]})
    with pytest.raises(StoreError, match="was deleted since it was listed") as caught:
        store.get(name)
    assert not isinstance(caught.value, ObjectNotFound)

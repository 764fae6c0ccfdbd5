"""S18: the file system of the repository runs full, at many moments. Nothing old is lost, and space heals it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.kafka import KafkaCluster, create_topic, produce, read_committed, unique
from tests.support.oracle import assert_whole, contents
from tests.support.oracle_load import samples
from tests.support.sweep import open_repository
from tests.support.sweep_command import Kafkeep
from tests.support.sweep_places import fill, small_file_system

from kafkeep.repository.stores.local import LocalStore

pytestmark = pytest.mark.integration

KIB, MIB = 1024, 1024 * 1024
FREE = (0, 4 * KIB, 8 * KIB, 16 * KIB, 64 * KIB, 300 * KIB, 900 * KIB, 1100 * KIB, 1500 * KIB, 2100 * KIB)
"""Bytes left in each pass; a pass needs about two and a half MiB."""


@pytest.fixture
def topic(kafka_431: KafkaCluster) -> str:
    name = unique("full")
    create_topic(kafka_431.client_properties, name, partitions=3)
    return name


@pytest.mark.fault("S18")
def test_s18_ten_passes_on_a_full_file_system(kafka_431: KafkaCluster, topic: str, tmp_path: Path) -> None:
    kafkeep = Kafkeep(tmp_path / "home", inside=True)
    settings = kafka_431.client_properties
    refused = 0
    with small_file_system(tmp_path / "mount", 48 * MIB) as mount:
        repository = mount / "repository"
        kafkeep("init", "--repo", str(repository), "--compression", "none").expect(0)
        backup = ["backup", "--repo", str(repository), "--cluster", kafka_431.bootstrap, "--topics", topic]
        backup += ["--pack-size", "1MiB", "--connections", "1"]
        for number, free in enumerate(FREE):
            produce(settings, topic, samples(2500, partitions=3, size=1000, seed=number), batch_num_messages=40)
            before = contents(open_repository(LocalStore(repository)))
            ballast = fill(mount, free)
            told = kafkeep(*backup).refused(13, "store-full")
            refused += 1
            assert str(repository) in told
            assert "No space left on device" in told
            after = open_repository(LocalStore(repository))
            assert_whole(after)
            assert {number: point for number, point in contents(after).items() if number in before} == before
            kafkeep("verify", "--repo", str(repository), "--level", "data").expect(0)
            kafkeep("points", "--repo", str(repository)).expect(0)
            ballast.unlink()
            kafkeep(*backup).expect(0)
            assert list((repository / "tmp").iterdir()) == []
        place = unique("freed")
        given = ["--repo", str(repository), "--cluster", kafka_431.bootstrap, "--rename", f"s/^/{place}-/"]
        kafkeep("restore", "latest", *given, "--groups", "none").expect(0)
    assert read_committed(settings, f"{place}-{topic}") == read_committed(settings, topic)
    print(f"{refused} times full, each time whole and well again")


@pytest.mark.fault("S18")
def test_s18_creation_on_a_full_file_system(kafka_431: KafkaCluster, tmp_path: Path) -> None:
    kafkeep = Kafkeep(tmp_path / "home", inside=True)
    with small_file_system(tmp_path / "mount", 4 * MIB) as mount:
        for free in (0, 4 * KIB, 8 * KIB):
            repository = mount / f"repository-{free}"
            ballast = fill(mount, free)
            done = kafkeep("init", "--repo", str(repository))
            if done.status != 0:
                assert str(repository) in done.refused(13, "store-full")
            ballast.unlink()
            if done.status != 0:
                kafkeep("init", "--repo", str(repository)).expect(0)
            kafkeep("verify", "--repo", str(repository), "--level", "data").expect(0)


@pytest.mark.fault("S18")
def test_s18_following_backup_ends_when_the_disk_is_full(kafka_431: KafkaCluster, topic: str, tmp_path: Path) -> None:
    """It does not spin on a disk that stays full: status 13, for whoever started it to see."""
    kafkeep = Kafkeep(tmp_path / "home")
    with small_file_system(tmp_path / "mount", 16 * MIB) as mount:
        repository = mount / "repository"
        kafkeep("init", "--repo", str(repository), "--compression", "none").expect(0)
        given = ["backup", "--repo", str(repository), "--cluster", kafka_431.bootstrap, "--topics", topic]
        produce(kafka_431.client_properties, topic, samples(300, partitions=3, size=1000))
        with kafkeep.started(*given, "--follow", "--interval", "50ms") as running:
            running.until("committed")
            fill(mount, 64 * KIB)
            produce(kafka_431.client_properties, topic, samples(2500, partitions=3, size=1000, seed=2))
            last = running.end()
        assert (last["exit_code"], last["slug"]) == (13, "store-full")
        assert_whole(open_repository(LocalStore(repository)))

"""S19, S20: the repository's folder goes away, comes back older, or is another one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.support.kafka import KafkaCluster, create_topic, produce, unique
from tests.support.oracle_load import samples
from tests.support.sweep_command import Kafkeep

pytestmark = pytest.mark.integration


class Place:
    """A topic and a repository of it with one recovery point."""

    def __init__(self, kafka: KafkaCluster, folder: Path) -> None:
        self.kafka = kafka
        self.topic = unique("place")
        create_topic(kafka.client_properties, self.topic, partitions=2)
        self.kafkeep = Kafkeep(folder / "home", inside=True)
        self.repository = folder / "repository"
        self.kafkeep("init", "--repo", str(self.repository)).expect(0)
        self.grow(1)
        self.kafkeep(*self.backup()).expect(0)

    def grow(self, seed: int) -> None:
        produce(self.kafka.client_properties, self.topic, samples(100, partitions=2, seed=seed))

    def backup(self, *more: str) -> list[str]:
        given = ["--repo", str(self.repository), "--cluster", self.kafka.bootstrap, "--topics", self.topic]
        return ["backup", *given, *more]


@pytest.fixture
def place(kafka_431: KafkaCluster, tmp_path: Path) -> Place:
    return Place(kafka_431, tmp_path)


@pytest.mark.fault("S19")
def test_s19_folder_is_removed_under_a_following_backup(place: Place) -> None:
    """A typed error and no new folder in its place, as if nothing had happened."""
    place.grow(2)
    with place.kafkeep.started(*place.backup("--follow", "--interval", "50ms")) as running:
        running.until("committed")
        place.repository.rename(place.repository.with_name("elsewhere"))
        shutil.rmtree(place.repository.with_name("elsewhere"))
        place.grow(3)
        last = running.end()
    assert last["exit_code"] in (10, 13), last
    assert last["slug"] in ("store", "object-not-found", "no-repository")
    assert str(place.repository) in last["message"]
    assert not place.repository.exists()


@pytest.mark.fault("S20")
def test_s20_repository_of_yesterday(place: Place) -> None:
    """Rolled back as a whole: this host remembers more commits, and refuses to go on from there."""
    yesterday = place.repository.with_name("yesterday")
    shutil.copytree(place.repository, yesterday)
    place.grow(2)
    place.kafkeep(*place.backup()).expect(0)
    shutil.rmtree(place.repository)
    yesterday.rename(place.repository)
    for verb in (place.backup(), ["points", "--repo", str(place.repository)]):
        told = place.kafkeep(*verb).refused(20, "corrupt-chain")
        assert "rolled back or replaced" in told
        assert str(place.kafkeep.folder / "cache") in told, "the hint names the memory to remove"
    shutil.rmtree(place.kafkeep.folder / "cache")
    place.kafkeep(*place.backup()).expect(0)
    place.kafkeep("verify", "--repo", str(place.repository), "--level", "data").expect(0)


@pytest.mark.fault("S19")
def test_s19_commit_log_of_another_repository(place: Place) -> None:
    """The document of one and the commits of the other: refused by everybody."""
    other = place.repository.with_name("other")
    place.kafkeep("init", "--repo", str(other)).expect(0)
    shutil.copy(other / "kafkeep.json", place.repository / "kafkeep.json")
    assert "another repository" in place.kafkeep(*place.backup()).refused(20, "corrupt-chain")
    findings = place.kafkeep("verify", "--repo", str(place.repository)).expect(22)["findings"]
    assert "kafkeep.json" in {finding["object"] for finding in findings}


@pytest.mark.fault("S19")
def test_s19_packs_of_another_repository(place: Place) -> None:
    """The right name and size do not make it the right pack."""
    stranger = Place(place.kafka, place.repository.with_name("stranger"))
    own, foreign = (
        next(path for path in (root / "pack").rglob("*") if path.is_file())
        for root in (place.repository, stranger.repository)
    )
    own.write_bytes(foreign.read_bytes())
    name = str(own.relative_to(place.repository))
    findings = place.kafkeep("verify", "--repo", str(place.repository)).expect(22)["findings"]
    assert {finding["object"] for finding in findings} == {name}
    given = [
        "--repo",
        str(place.repository),
        "--cluster",
        place.kafka.bootstrap,
        "--rename",
        f"s/^/{unique('never')}-/",
    ]
    assert name in place.kafkeep("restore", "latest", *given, "--groups", "none").refused(20, "corrupt-object")

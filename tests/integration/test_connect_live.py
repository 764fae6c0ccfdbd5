"""Connectors of a real Kafka Connect: kept with configs, states and offsets, lost, and made again without being started."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.kafka import KafkaCluster, create_topic, unique
from tests.support.services import Server, connect, run_json

pytestmark = pytest.mark.integration

CANARY = "canary-4711-hunter2"
SOURCE = "org.apache.kafka.connect.file.FileStreamSourceConnector"
SINK = "org.apache.kafka.connect.file.FileStreamSinkConnector"


@dataclass(frozen=True)
class Scene:
    server: Server
    topic: str
    home: Path

    @property
    def repo(self) -> str:
        return str(self.home / "repo")

    def run(self, *arguments: str, status: int) -> dict[str, Any]:
        """`kafkeep --json …`; its summary. No output ever holds the secret."""
        return run_json(self.home, *arguments, status=status, secret=CANARY)

    def backup(self, name: str, *more: str) -> dict[str, Any]:
        return self.run("metadata", "backup", "--repo", self.repo, "--cluster", "lab", "--name", name, *more, status=0)

    def apply(self, point: str, *more: str, status: int) -> dict[str, Any]:
        fixed = ("metadata", "apply", point, "--repo", self.repo, "--cluster", "lab", "--only", "connectors")
        return self.run(*fixed, *more, status=status)

    def states(self) -> dict[str, str]:
        told = self.told("/connectors?expand=status")
        return {name: one["status"]["connector"]["state"] for name, one in told.items()}

    def create(self, name: str, **config: str) -> None:
        answer = self.server.call("POST", "/connectors", {"name": name, "config": config})
        assert answer["name"] == name, answer

    def told(self, path: str) -> dict[str, Any]:
        """While work is given out anew, Connect answers with an error for a moment."""
        answers: list[dict[str, Any]] = []

        def known() -> bool:
            answers.append(self.server.call("GET", path))
            return "error_code" not in answers[-1]

        until(known)
        return answers[-1]

    def config(self, name: str) -> dict[str, Any]:
        return self.told(f"/connectors/{name}/config")

    def offsets(self, name: str) -> Any:
        return self.told(f"/connectors/{name}/offsets")["offsets"]


def until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.2)


@pytest.fixture(scope="module")
def scene(kafka_431: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One source that has read three lines, holds a secret and is paused, and one sink that runs."""
    name, home = unique("connect"), tmp_path_factory.mktemp("home")
    with connect(home, kafka_431, name) as server:
        made = Scene(server, unique("lines"), home)
        create_topic(kafka_431.client_properties, made.topic)
        (home / "kafkeep.toml").write_text(
            f'[cluster.lab]\nbootstrap = "{kafka_431.bootstrap}"\n[cluster.lab.connect]\nurl = "{server.url}"\n'
        )
        made.run("init", "--repo", made.repo, status=0)
        (home / "lines.txt").write_text("one\ntwo\nthree\n")
        config = {"connector.class": SOURCE, "tasks.max": "1", "file": str(home / "lines.txt"), "topic": made.topic}
        made.create("files in", **config, **{"login.password": CANARY, "user.token": "${file:/x:token}"})
        sink = {"connector.class": SINK, "tasks.max": "1", "file": str(home / "out.txt"), "topics": made.topic}
        made.create("out", **sink)
        until(lambda: made.offsets("files%20in") != [])
        server.call("PUT", "/connectors/files%20in/pause")
        until(lambda: made.states() == {"files in": "PAUSED", "out": "RUNNING"})
        yield made


def test_a_secret_is_kept_only_when_asked_for_and_never_shown(scene: Scene) -> None:
    scene.backup("open")
    records = ("backup", "--repo", scene.repo, "--cluster", "lab", "--topics", scene.topic)
    assert "connectors" in dict(scene.run(*records, status=0)["point"]["documents"])
    assert scene.run(*records, status=4)["point"] is None, "connectors that rest are nothing new"
    assert not any(CANARY.encode() in path.read_bytes() for path in Path(scene.repo).rglob("*") if path.is_file())
    folder = scene.home / "export"
    scene.backup("full", "--include-credentials")
    scene.run("metadata", "export", "full", "--repo", scene.repo, "--dir", str(folder), status=0)
    assert not any(CANARY in path.read_text() for path in folder.rglob("*"))
    told = {one["name"]: one for one in json.loads((folder / "connectors.json").read_text())["connectors"]}
    assert told["files in"]["config"]["login.password"] is None
    assert told["files in"]["config"]["user.token"] == "${file:/x:token}", "a reference is no secret"
    assert json.loads(told["files in"]["offsets"][0]["offset"]) == {"position": 14}
    diff = scene.run(
        "metadata", "diff", "full", "--repo", scene.repo, "--cluster", "lab", "--only", "connectors", status=0
    )
    assert diff["differences"] == []


def test_connectors_come_back_stopped_with_their_offsets_and_start_when_asked(scene: Scene) -> None:
    before = {name: scene.config(name) for name in ("files%20in", "out")}
    assert scene.apply("full", status=4)["steps"] == []
    for name in before:
        until(lambda name=name: scene.server.call("DELETE", f"/connectors/{name}") is None)
    until(lambda: scene.states() == {})
    holes = scene.apply("open", "--dry-run", status=3)
    missing = [one for one in holes["left_out"] if one["missing"]]
    assert [one["subject"] for one in missing] == ["files in"]
    assert "login.password" in missing[0]["reason"]
    (scene.home / "lines.txt").write_text("one\ntwo\nthree\nfour\n")
    scene.apply("full", status=0)
    until(lambda: scene.states() == {"files in": "STOPPED", "out": "STOPPED"})
    assert {name: scene.config(name) for name in before} == before
    assert scene.offsets("files%20in") == [
        {"partition": {"filename": str(scene.home / "lines.txt")}, "offset": {"position": 14}}
    ]
    assert scene.apply("full", status=4)["steps"] == []
    scene.apply("full", "--resume-connectors", status=0)
    until(lambda: scene.states() == {"files in": "PAUSED", "out": "RUNNING"})
    assert scene.apply("full", "--resume-connectors", status=4)["steps"] == []


def test_a_connector_with_another_config_is_left_or_aligned(scene: Scene) -> None:
    config = scene.config("out")
    other = config | {"tasks.max": "2", "errors.tolerance": "all"}
    until(lambda: "error_code" not in scene.server.call("PUT", "/connectors/out/config", other))
    until(lambda: scene.config("out")["tasks.max"] == "2")
    differs = scene.run(
        "metadata", "diff", "full", "--repo", scene.repo, "--cluster", "lab", "--only", "connectors", status=22
    )
    assert {one["key"] for one in differs["differences"]} == {"config tasks.max", "config errors.tolerance"}
    kept = scene.apply("full", status=4)
    assert "out: tasks.max" in {one["subject"] for one in kept["plan"]["left_out"]}
    scene.apply("full", "--existing", "align", status=0)
    until(lambda: scene.config("out")["tasks.max"] == "1")
    assert scene.config("out")["errors.tolerance"] == "all"

"""Schemas of a real registry beside a real cluster: kept, compared, and put into other registries.

The registry here gives ids by itself whatever it is asked for, in the order of registration. So ids are kept exactly where
the point's are without holes, and what happens otherwise can be seen: nothing wrong stays, and a map is made.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.support.kafka import KafkaCluster
from tests.support.services import Server, registries, run_json

pytestmark = pytest.mark.integration

A1 = {"type": "record", "name": "A", "fields": [{"name": "x", "type": "int"}]}
A2 = {"type": "record", "name": "A", "fields": [*A1["fields"], {"name": "y", "type": "int", "default": 0}]}  # type: ignore[misc]
B1 = {"type": "record", "name": "B", "fields": [{"name": "a", "type": "A"}]}
AWKWARD = "c/d é?-value"


@dataclass(frozen=True)
class Scene:
    source: Server
    same: Server
    """Empty at first, filled with the ids of the source."""
    other: Server
    """Empty at first, filled with ids of its own."""
    home: Path

    def run(self, *arguments: str, status: int) -> dict[str, Any]:
        """`kafkeep --json …`; its summary."""
        return run_json(self.home, *arguments, status=status)

    def apply(self, point: str, cluster: str, *more: str, status: int) -> dict[str, Any]:
        repo = str(self.home / "repo")
        return self.run(
            "metadata", "apply", point, "--repo", repo, "--cluster", cluster, "--only", "schemas", *more, status=status
        )


def register(server: Server, subject: str, schema: object, kind: str = "AVRO", references: object = ()) -> int:
    text = schema if isinstance(schema, str) else json.dumps(schema)
    body = {"schema": text, "schemaType": kind, "references": references}
    answer = server.call("POST", f"/subjects/{quote(subject, safe='')}/versions", body)
    return int(answer["id"])


def held(server: Server) -> dict[str, Any]:
    """All that a registry holds, asked for without kafkeep."""
    found: dict[str, Any] = {"mode": server.call("GET", "/mode"), "config": server.call("GET", "/config")}
    for subject in server.call("GET", "/subjects?deleted=true"):
        path = f"/subjects/{quote(subject, safe='')}/versions"
        live = server.call("GET", path)
        for number in server.call("GET", f"{path}?deleted=true"):
            found[f"{subject} {number}"] = server.call("GET", f"{path}/{number}?deleted=true"), number in live
        found[f"{subject} config"] = server.call("GET", f"/config/{quote(subject, safe='')}")
    return found


@pytest.fixture(scope="module")
def scene(kafka_431: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with registries([tmp_path_factory.mktemp("registry") for _ in range(3)]) as servers:
        home = tmp_path_factory.mktemp("home")
        made = Scene(*servers, home)
        fill(made.source)
        tables = [
            f'[cluster.{name}]\nbootstrap = "{kafka_431.bootstrap}"\n[cluster.{name}.registry]\nurl = "{server.url}"\n'
            for name, server in zip(("source", "same", "other"), servers, strict=True)
        ]
        gone = f'[cluster.gone]\nbootstrap = "{kafka_431.bootstrap}"\n[cluster.gone.registry]\nurl = "http://127.0.0.1:9"\n'
        (home / "kafkeep.toml").write_text("".join([*tables, gone]))
        made.run("init", "--repo", str(home / "repo"), status=0)
        yield made


def fill(server: Server) -> None:
    assert register(server, "a-value", A1) == 1
    assert register(server, "a-value", A2) == 2
    reference = [{"name": "A", "subject": "a-value", "version": 1}]
    assert register(server, "0-refers-to-a", B1, references=reference) == 3
    assert register(server, "p-value", 'syntax = "proto3"; message P { int32 x = 1; }', "PROTOBUF") == 4
    assert register(server, "j-value", {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}, "JSON")
    assert register(server, AWKWARD, '"int"') == 6
    assert register(server, "also-int", '"int"') == 6
    server.call("PUT", "/config", {"compatibility": "BACKWARD"})
    server.call("PUT", "/config/a-value", {"compatibility": "FULL"})
    server.call("DELETE", "/subjects/a-value/versions/2")


def test_schemas_come_back_with_their_ids(scene: Scene) -> None:
    repo = str(scene.home / "repo")
    point = scene.run("metadata", "backup", "--repo", repo, "--cluster", "source", "--name", "dense", status=0)
    assert "schemas" in dict(point["documents"])
    assert point["complete"] is True
    diff = ("metadata", "diff", "dense", "--repo", repo, "--cluster", "same", "--only", "schemas")
    assert {one["key"] for one in scene.run(*diff, status=22)["differences"]} >= {"presence"}
    planned = scene.apply("dense", "same", "--existing", "align", "--dry-run", status=0)
    assert held(scene.same)["config"] != held(scene.source)["config"], "a dry run changes nothing"
    done = scene.apply("dense", "same", "--existing", "align", status=0)
    assert [one["step"]["subject"] for one in done["steps"]] == [step["subject"] for step in planned["steps"]]
    assert held(scene.same) == held(scene.source)
    assert held(scene.same)["a-value 2"][1] is False, "deleted as it was"
    assert held(scene.same)["0-refers-to-a 1"][0]["references"][0]["subject"] == "a-value"
    assert scene.same.call("GET", "/mode") == {"mode": "READWRITE"}
    assert scene.apply("dense", "same", status=4)["steps"] == []
    assert scene.run(*diff, status=0)["differences"] == []


def test_an_export_names_every_schema(scene: Scene) -> None:
    folder = scene.home / "export"
    scene.run("metadata", "export", "dense", "--repo", str(scene.home / "repo"), "--dir", str(folder), status=0)
    told = json.loads((folder / "schemas.json").read_text())
    assert [(one["subject"], one["version"], one["id"]) for one in told["versions"]] == [
        ("0-refers-to-a", 1, 3),
        ("a-value", 1, 1),
        ("a-value", 2, 2),
        ("also-int", 1, 6),
        (AWKWARD, 1, 6),
        ("j-value", 1, 5),
        ("p-value", 1, 4),
    ]
    assert "0-refers-to-a" in (folder / "schemas.txt").read_text()
    file = str(folder / "metadata.json")
    arguments = ("metadata", "apply", "--file", file, "--cluster", "same", "--only", "schemas")
    assert scene.run(*arguments, status=4)["steps"] == []


def test_ids_that_cannot_be_kept_are_told_and_leave_nothing_behind(scene: Scene) -> None:
    """After a schema was removed for good there is a hole in the ids, which this registry does not leave."""
    passing = register(scene.source, "passing", '"long"')
    assert register(scene.source, "z-value", '"bytes"') == passing + 1
    scene.source.call("DELETE", "/subjects/passing")
    scene.source.call("DELETE", "/subjects/passing?permanent=true")
    repo = str(scene.home / "repo")
    scene.run("metadata", "backup", "--repo", repo, "--cluster", "source", "--name", "holes", status=0)
    before = held(scene.same)
    failed = scene.apply("holes", "same", status=3)
    outcomes = {one["step"]["subject"]: one["failure"] for one in failed["steps"]}
    assert "does not keep ids" in outcomes["z-value version 1"]["message"]
    assert {key: value for key, value in held(scene.same).items() if "z-value" not in key} == before
    assert "z-value 1" not in held(scene.same)


def test_other_ids_are_given_and_mapped(scene: Scene) -> None:
    register(scene.other, "first", '"double"')
    refused = scene.apply("holes", "other", "--dry-run", status=24)
    assert any("is another schema on the registry" in one["reason"] for one in refused["refusals"])
    scene.apply("holes", "other", status=24)
    assert scene.other.call("GET", "/subjects") == ["first"], "a refused plan does nothing"
    done = scene.apply("holes", "other", "--schema-ids", "map", status=0)
    rows = {(row["subject"], row["version"]): (row["old_id"], row["new_id"]) for row in done["schema_ids"]}
    assert len(rows) == 8
    assert rows["a-value", 1] == (1, 2)
    for (subject, _), (old, new) in rows.items():
        told, here = (
            server.call("GET", f"/schemas/ids/{n}") for server, n in ((scene.source, old), (scene.other, new))
        )
        assert (told["schema"], told.get("schemaType")) == (here["schema"], here.get("schemaType")), subject
    again = scene.apply("holes", "other", "--schema-ids", "map", status=4)
    assert again["schema_ids"] == done["schema_ids"], "the map is told again"


def test_a_registry_that_does_not_answer_is_a_named_gap(scene: Scene) -> None:
    repo = str(scene.home / "repo")
    point = scene.run("metadata", "backup", "--repo", repo, "--cluster", "gone", "--name", "gap", status=3)
    assert [(one["subject"], one["reason"]) for one in point["failures"]] == [("schemas", "service-unreachable")]
    assert "schemas" not in dict(point["documents"])
    diff = scene.run("metadata", "diff", "gap", "dense", "--repo", repo, "--only", "schemas", status=3)
    assert diff["not_compared"] == ["schemas: schemas could not be read: recovery point " + str(point["number"])]
    assert scene.apply("gap", "same", status=3)["steps"] == []
    assert [one["reason"] for one in scene.apply("dense", "gone", "--dry-run", status=24)["refusals"]] == [
        "the registry of cluster gone cannot be read"
    ]

"""A document of an export becomes a recovery point that holds just what the document says, and tells that it is none of
a cluster's own.
"""

from __future__ import annotations

import json
import random
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.examples import examples
from tests.support.images import AWKWARD, images, rich_image
from tests.support.operations import new_repository, now
from tests.support.repositories import CLUSTER, draft, generation, opened

from kafkeep.cli.main import main
from kafkeep.cli.metadata_text import backup_parts
from kafkeep.cli.points import PointLine, points_grid
from kafkeep.connectors import Connector, Connectors, ConnectorSetting
from kafkeep.errors import PointNotFound, UsageError, WrongCluster
from kafkeep.inventory import Inventory, Standing
from kafkeep.metadata.documents import read_document, to_json
from kafkeep.metadata.export import export
from kafkeep.metadata.image import ClusterImage
from kafkeep.metadata.imports import PROVENANCE, import_image
from kafkeep.metadata.run import image_of_point
from kafkeep.model import (
    ClusterMetadata,
    Group,
    GroupOffset,
    PartitionCut,
    RecoveryPoint,
    TopicMetadata,
    TopicPartition,
)
from kafkeep.point_documents import put_point_documents
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.schemas import Schemas, SchemaVersion
from kafkeep.secret import Secret

LATER = datetime(2027, 1, 1, tzinfo=UTC)


def imported(repository: Repository, image: ClusterImage, **more: Any) -> RecoveryPoint:
    fields: dict[str, Any] = {"file": "metadata.yaml", "name": None, "tags": (), "other_cluster": False, "now": now}
    return import_image(repository, image, **(fields | more))


def exported(image: ClusterImage, file: str) -> ClusterImage:
    """Through the files on the disk, read as the command line reads them."""
    with tempfile.TemporaryDirectory() as folder:
        export(image, Path(folder), now=LATER)
        return read_document((Path(folder) / file).read_bytes().decode(), file)


def comes_back(image: ClusterImage, file: str) -> None:
    store = MemoryStore()
    point = imported(new_repository(store), exported(image, file))
    with Repository.open(store, now=now, rng=random.Random(1)) as again:
        found = image_of_point(again, again.point(str(point.number)))
    assert found == replace(image, origin=found.origin, time=found.time, ends={})
    assert point.complete == (not image.unreadable and not image.inventory.unreadable)


@examples(60)
@given(images.filter(lambda image: image.cluster_id), st.sampled_from(("metadata.json", "metadata.yaml")))
def test_what_was_exported_is_imported_as_it_was(image: ClusterImage, file: str) -> None:
    comes_back(image, file)


HOSTILE = (
    *(*AWKWARD, "yes", "on", "Null", "1", "-0", "1_000", ".inf", "0x1F", "12:30:45", "---", "...", "? a", "| x", "> x"),
    *(
        "%TAG",
        "@a",
        "`a`",
        "a #b",
        "a:",
        "\r\n",
        "\x00",
        "\x1b[31mred",
        "\u202eevil",
        "\ufffe",
        "\U0010ffff",
        "../x",
        "𝔘" * 40,
    ),
)


@pytest.mark.parametrize("file", ["metadata.json", "metadata.yaml"])
def test_hostile_names_come_back_as_key_as_value_and_as_name(file: str) -> None:
    texts = sorted(set(HOSTILE))
    topics = tuple(
        TopicMetadata(text, text, False, ((1,),), tuple(sorted((key, text) for key in texts))) for text in texts
    )
    groups = tuple(
        Group(text, "classic", text, text, (GroupOffset(TopicPartition(text, 0), 1, -1, text),)) for text in texts
    )
    comes_back(replace(rich_image(), topics=topics, groups=groups, ends={}), file)


def test_an_imported_point_says_what_it_is_and_is_never_the_latest() -> None:
    repository = new_repository()
    image = rich_image(cluster_id=CLUSTER)
    documents = put_point_documents(repository, ClusterMetadata(CLUSTER, (), ()), (Inventory(), Standing()))
    captured = repository.commit(draft(cuts=[], documents=documents)).point
    point = imported(repository, image, name="edited", tags=(("change", "4711"),))
    assert point.imported and captured is not None and not captured.imported
    assert point.tags == (
        ("change", "4711"),
        ("imported", "metadata.yaml"),
        ("imported-origin", "recovery point 7"),
        ("imported-time", "2026-03-04T05:06:07.000Z"),
    )
    for spec in ("latest", "@2100-01-01T00:00:00Z"):
        assert repository.point(spec, with_records=False) == captured
        with pytest.raises(PointNotFound):
            repository.point(spec)
    assert repository.point("edited") == repository.point(str(point.number)) == point
    found = image_of_point(repository, point)
    assert found.origin == f"recovery point {point.number} (imported)"
    assert "no capture" in str(backup_parts(point, found)[-1])
    assert "imported=metadata.yaml" in points_grid([PointLine.of(point)]).rows[0][-1]


def test_records_stay_the_latest_behind_an_import() -> None:
    repository = new_repository()
    cut = PartitionCut(generation(), 0, 0, 0, 0, 0)
    with_records = repository.commit(draft(open_=opened(generation()), cuts=[cut])).point
    imported(repository, rich_image(cluster_id=CLUSTER))
    assert repository.point("latest") == repository.point("latest", with_records=False) == with_records


def test_a_document_of_another_cluster_is_refused_unless_it_is_meant() -> None:
    repository = new_repository()
    repository.commit(draft(cuts=[]))
    with pytest.raises(WrongCluster, match=f"holds cluster {CLUSTER}, but metadata.yaml describes source-cluster"):
        imported(repository, rich_image())
    assert len(repository.points()) == 1
    point = imported(repository, rich_image(), other_cluster=True)
    assert point.cluster_id == CLUSTER and ("imported-cluster", "source-cluster") in point.tags
    assert image_of_point(repository, point).cluster_id == "source-cluster"


def test_an_empty_repository_becomes_that_of_the_documents_cluster() -> None:
    repository = new_repository()
    assert imported(repository, rich_image()).cluster_id == "source-cluster"
    with pytest.raises(WrongCluster):
        imported(repository, rich_image(cluster_id="another"))


def test_what_the_document_could_not_read_is_not_taken_for_empty() -> None:
    image = rich_image(unreadable=("group a", "acls"))
    image = replace(image, inventory=replace(image.inventory, acls=(), unreadable=("acls", "quotas")))
    point = imported(new_repository(), image)
    assert not point.complete
    assert [failure.subject for failure in point.failures] == ["acls", "quotas", "group a", "acls"]


@pytest.mark.parametrize("file", ["metadata.json", "metadata.yaml"])
def test_schemas_and_connectors_come_along_without_secrets(file: str) -> None:
    schemas = Schemas(
        versions=(SchemaVersion(subject="orders-value", version=1, id=7, type="AVRO", schema='{"type": "string"}\n'),),
        unreadable=("schema orders-value version 2",),
    )
    config = (ConnectorSetting("connection.password", None, Secret("hunter22")), ConnectorSetting("topics", "no"))
    connectors = Connectors(
        version="4.3.1", connectors=(Connector(name="sink", type="sink", state="RUNNING", config=config),)
    )
    image = rich_image(ends={}, schemas=schemas, connectors=connectors)
    store = MemoryStore()
    repository = new_repository(store)
    found = image_of_point(repository, imported(repository, exported(image, file)))
    hole = replace(connectors.connectors[0], config=(ConnectorSetting("connection.password", None), config[1]))
    assert found.schemas == schemas and found.connectors == replace(connectors, connectors=(hole,))
    edited = json.loads(to_json(image))
    edited["connectors"]["connectors"][0]["config"]["connection.password"] = "hunter22"
    point = imported(repository, read_document(json.dumps(edited), "metadata.json"))
    assert image_of_point(repository, point).connectors == found.connectors, "what was put into the file stays there"


@pytest.mark.parametrize("key", PROVENANCE)
def test_tags_of_the_import_cannot_be_given(key: str) -> None:
    with pytest.raises(UsageError, match=f"the tag {key} is set by the import itself"):
        imported(new_repository(), rich_image(), tags=((key, "x"),))


def test_what_no_repository_can_hold_is_refused_as_the_documents_fault() -> None:
    repository = new_repository()
    with pytest.raises(UsageError, match="cluster_id: expected the id of a cluster"):
        imported(repository, rich_image(cluster_id=""))
    with pytest.raises(UsageError, match=r"metadata\.yaml cannot be kept: "):
        imported(repository, rich_image(cluster_id="x" * 2000))
    with pytest.raises(UsageError, match=r"metadata\.yaml cannot be kept: "):
        imported(repository, rich_image(origin="x" * 100_000))
    assert repository.points() == ()


def test_an_edited_export_is_kept_compared_and_exported_by_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(*arguments: str) -> tuple[int, str]:
        return main(["--config", str(settings), *arguments]), capsys.readouterr().out

    settings = tmp_path / "kafkeep.toml"
    settings.write_text("")
    repo = ("--repo", f"file://{tmp_path / 'repo'}")
    files = tmp_path / "files"
    export(rich_image(ends={}), files, now=LATER)
    assert run("init", *repo)[0] == 0
    status, told = run("metadata", "import", str(files / "metadata.json"), *repo, "--name", "before")
    assert status == 0 and "a document of cluster source-cluster, no capture; imported metadata.json" in told
    edited = files / "metadata.yaml"
    text = edited.read_bytes().decode()
    edited.write_text(text.replace("min.insync.replicas: '1'", "min.insync.replicas: '2'"), encoding="utf-8-sig")
    assert run("metadata", "import", str(edited), *repo, "--name", "after", "--tag", "change=4711")[0] == 0
    status, told = run("metadata", "diff", "before", "after", *repo)
    assert status == 22 and "min.insync.replicas" in told
    assert "imported=metadata.yaml" in run("points", *repo)[1]
    assert run("metadata", "export", "after", *repo, "--dir", str(tmp_path / "again"))[0] == 0
    again = read_document((tmp_path / "again" / "metadata.json").read_text("utf-8"), "metadata.json")
    assert dict(again.topics[1].configs)["min.insync.replicas"] == "2" and again.origin.endswith("(imported)")
    edited.write_text(text.replace("topics:", "topcis:"), encoding="utf-8")
    assert run("metadata", "import", str(edited), *repo)[0] == 2
    edited.write_text(text.replace("source-cluster", "another"), encoding="utf-8")
    assert run("metadata", "import", str(edited), *repo)[0] == 14
    assert run("metadata", "import", str(edited), *repo, "--other-cluster")[0] == 0
    edited.write_text(text + "unreadable:\n- group billing\n", encoding="utf-8")
    assert run("metadata", "import", str(edited), *repo)[0] == 3

"""What recovery points hold of the servers beside a cluster: read as it was put, by this code and by the second reader."""

from __future__ import annotations

import json
from pathlib import Path

from tests.golden.make_repositories import CONNECTORS, SCHEMAS
from tests.support import second_reader
from tests.support.repositories import open_repository
from tests.support.second_reader import Reader

from kafkeep.point_documents import beside_of
from kafkeep.repository.service_documents import connectors_to_json, schemas_to_json
from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.stores.wrappers import ReadOnlyStore

FOLDER = Path(__file__).parent / "repositories" / "format-1-services" / "repository"


def test_this_code_reads_what_was_put() -> None:
    repository = open_repository(ReadOnlyStore(LocalStore(FOLDER)))
    found = beside_of(repository, repository.point("services", with_records=False))
    assert found.schemas == SCHEMAS
    assert found.connectors == CONNECTORS
    assert "geheim" not in repr(found)


def test_the_second_reader_reads_the_same() -> None:
    reader = Reader.open(second_reader.from_folder(FOLDER))
    (number,) = reader.points
    found = reader.beside(number)
    assert found == json.loads(
        json.dumps({"schemas": schemas_to_json(SCHEMAS), "connectors": connectors_to_json(CONNECTORS)})
    )
    (connector,) = found["connectors"]["connectors"]
    assert connector["config"][1:] == [
        {"name": "kept.password", "value": "geheim", "secret": True},
        {"name": "lost.password", "value": None, "secret": True},
    ]

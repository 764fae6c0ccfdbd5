"""What recovery points hold of users' credentials and of the controllers' log: read as it was put, by both readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from tests.golden.make_repositories import PERMISSIONS, STANDING
from tests.support import second_reader
from tests.support.repositories import open_repository
from tests.support.second_reader import Reader

from kafkeep.point_documents import needed_inventory_of, standing_of
from kafkeep.repository.envelope import DOCUMENT_KINDS, wrap
from kafkeep.repository.inventory_documents import inventory_to_json, standing_to_json
from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.stores.wrappers import ReadOnlyStore

FOLDER = Path(__file__).parent / "repositories" / "format-1-credentials" / "repository"


def test_this_code_reads_what_was_put() -> None:
    repository = open_repository(ReadOnlyStore(LocalStore(FOLDER)))
    found = needed_inventory_of(repository, repository.point("controllers", with_records=False))
    assert found == PERMISSIONS
    assert [user.credential for user in found.scram_users] == [user.credential for user in PERMISSIONS.scram_users]
    assert standing_of(repository, repository.point("controllers", with_records=False)) == STANDING
    assert "c3RvcmVk" not in repr(found)
    plain = repository.point("brokers", with_records=False)
    assert all(user.credential is None for user in needed_inventory_of(repository, plain).scram_users)
    assert standing_of(repository, plain).metadata_cut is None


@pytest.mark.parametrize("name", ["controllers", "brokers"])
def test_documents_are_encoded_as_they_were(name: str) -> None:
    """Nothing that is optional shows where it is not there."""
    repository = open_repository(ReadOnlyStore(LocalStore(FOLDER)))
    point = repository.point(name, with_records=False)
    inventory = wrap(DOCUMENT_KINDS["inventory"], inventory_to_json(needed_inventory_of(repository, point)))
    standing = wrap(DOCUMENT_KINDS["standing"], standing_to_json(standing_of(repository, point)))
    for kind, stored in (("inventory", inventory), ("standing", standing)):
        assert blake3(stored).hexdigest() == dict(point.documents)[kind]
        assert (FOLDER / "doc" / dict(point.documents)[kind][:2] / dict(point.documents)[kind]).read_bytes() == stored


def test_the_second_reader_reads_the_same() -> None:
    reader = Reader.open(second_reader.from_folder(FOLDER))
    controllers, brokers = (_documents(reader, number) for number in sorted(reader.points))
    plain = [
        {"name": "anna", "mechanism": f"SCRAM-SHA-{bits}", "iterations": n} for bits, n in ((256, 4096), (512, 8192))
    ]
    credential = {"salt": "c2FsdA==", "stored_key": "c3RvcmVk", "server_key": "c2VydmVy"}
    assert brokers["inventory"]["scram_users"] == plain
    assert controllers["inventory"]["scram_users"] == [plain[0], plain[1] | {"credential": credential}]
    assert controllers["inventory"] | {"scram_users": plain} == brokers["inventory"]
    assert controllers["standing"] == brokers["standing"] | {"metadata_cut": {"offset": 4711, "epoch": 12}}


def _documents(reader: Reader, point: int) -> dict[str, Any]:
    kinds = {"inventory": 19, "standing": 20}
    found = {}
    for kind, reference in reader.points[point]["documents"]:
        if kind in kinds:
            data = reader.get(f"doc/{reference[:2]}/{reference}")
            assert data is not None and second_reader.digest(data).hex() == reference
            found[kind] = second_reader.document(data, kinds[kind])
    return found

"""A repository's life without a cluster in each of the other services: made, filled, pruned, verified and copied."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.support.keeping import Life
from tests.support.object_servers import MinioServer, ObjectServer
from tests.support.readers import reader_of, same_state
from tests.support.repositories import open_repository
from tests.support.sweep_command import Kafkeep

from kafkeep.errors import StoreError
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.object_connect import open_object_store
from kafkeep.repository.stores.wrappers import RetryingStore
from kafkeep.verify.run import verify

Server = ObjectServer | MinioServer
SERVERS = ("azurite", "fake_gcs", "minio")
STEPS = 40


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


class Bucket:
    """An empty bucket, known to a command as `backups`."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        scheme = server.scheme if isinstance(server, ObjectServer) else "s3"
        self.url = f"{scheme}://{server.new_bucket()}/kafka/prod"
        self.kafkeep = Kafkeep(folder / "home", inside=True)
        if isinstance(server, ObjectServer):
            self._options = server.given
            for name, secret in server.secrets.items():
                self.kafkeep.secret(name, secret)
            self.kafkeep.settings(f'[repository.backups]\nurl = "{self.url}"\n{server.table}')
        else:
            self._options = server.options()
            self.kafkeep.knows_bucket("backups", self.url, server)

    @property
    def store(self) -> Store:
        """A look at the bucket beside the commands."""
        return RetryingStore(open_object_store(self.url, self._options))


def held_in_memory(store: Store) -> MemoryStore:
    memory = MemoryStore()
    for info in store.list(""):
        memory.objects[info.name] = store.get(info.name)
        assert len(memory.objects[info.name]) == info.size
    return memory


def test_a_repository_is_made_and_told_by_commands(server: Server, tmp_path: Path) -> None:
    kafkeep = Bucket(server, tmp_path).kafkeep
    found = kafkeep("doctor", "store", "--repo", "backups").expect(0)
    assert [probe["name"] for probe in found["probes"] if not probe["passed"]] == []
    kafkeep("init", "--repo", "backups").expect(0)
    kafkeep("init", "--repo", "backups").refused(2, "repository-exists")
    assert kafkeep("verify", "--repo", "backups", "--level", "data").expect(0)["findings"] == []
    assert kafkeep("points", "--repo", "backups").expect(0, 4)


def test_a_repository_lives_is_verified_and_copied(server: Server, tmp_path: Path) -> None:
    """Backups, prunings, pins and time; then commands that need no cluster, here and over a copy in a folder and back."""
    bucket = Bucket(server, tmp_path)
    life = Life(random.Random(7), bucket.store)  # type: ignore[arg-type] - only its own tests look into the store
    for _ in range(STEPS):
        life.step()
    life.check()
    again = open_repository(bucket.store)
    assert again.state == life.repository.state
    life.check(again)
    assert verify(again, level="data").findings == ()
    assert same_state(reader_of(held_in_memory(bucket.store)), again), "the second reader agrees"

    kafkeep, folder = bucket.kafkeep, str(tmp_path / "copy")
    assert kafkeep("verify", "--repo", "backups", "--level", "data").expect(0)["findings"] == []
    kafkeep("points", "--repo", "backups").expect(0)
    kafkeep("prune", "--repo", "backups", "--keep-last", "2").expect(0, 4)
    kafkeep("copy", "--repo", "backups", "--to", folder).expect(0)
    assert kafkeep("verify", "--repo", folder, "--level", "data").expect(0)["findings"] == []
    back = Bucket(server, tmp_path / "back")
    back.kafkeep("copy", "--repo", folder, "--to", "backups").expect(0)
    life.check(open_repository(back.store))


@pytest.mark.parametrize("server", ["azurite", "minio"], indirect=True)
def test_a_missing_bucket_is_told_as_that(server: Server, tmp_path: Path) -> None:
    """fake-gcs-server's answer does not tell a missing bucket from a missing object; Google's does."""
    bucket = Bucket(server, tmp_path)
    scheme = bucket.url.split("://", maxsplit=1)[0]
    elsewhere = open_object_store(f"{scheme}://there-is-none/x", bucket._options)
    for ask in (
        lambda: elsewhere.head("kafkeep.json"),
        lambda: elsewhere.get("kafkeep.json"),
        lambda: elsewhere.put_new("kafkeep.json", b"x"),
        lambda: list(elsewhere.list("")),
    ):
        with pytest.raises(StoreError, match="no such bucket"):
            ask()

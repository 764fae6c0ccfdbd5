"""Services that only `make test-stores` brings: one of each per session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support import object_servers
from tests.support.object_servers import MinioServer, ObjectServer


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    with object_servers.azurite(tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture(scope="session")
def fake_gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    with object_servers.fake_gcs(tmp_path_factory.mktemp("gcs")) as server:
        yield server


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    with object_servers.minio(tmp_path_factory.mktemp("minio")) as server:
        yield server

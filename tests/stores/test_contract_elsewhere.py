"""The contract suite of every store, over other services than the one that all tests use."""

from __future__ import annotations

import pytest
from tests.contract.test_store import *  # noqa: F403 - the same tests, over the stores below
from tests.contract.test_store import test_a_store_for_reading_refuses_every_change as _elsewhere
from tests.support.object_servers import MinioServer, ObjectServer

from kafkeep.repository.stores.base import Store

del test_a_store_for_reading_refuses_every_change  # noqa: F821 - needs no service
del _elsewhere


@pytest.fixture(params=["azurite", "fake_gcs", "minio"])
def store(request: pytest.FixtureRequest) -> Store:
    server: ObjectServer | MinioServer = request.getfixturevalue(request.param)
    return server.store()

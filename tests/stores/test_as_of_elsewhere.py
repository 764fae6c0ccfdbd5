"""--as-of again on a service that many use, whose times of versions are what they should be."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.as_of_life import VersionedBucket, everything_comes_back
from tests.support.object_servers import MinioServer

from kafkeep.repository.stores import as_of


@pytest.mark.parametrize("page", [1000, 2])
def test_everything_comes_back(minio: MinioServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    monkeypatch.setattr(as_of, "PAGE", page)
    everything_comes_back(VersionedBucket(minio, tmp_path), tmp_path)

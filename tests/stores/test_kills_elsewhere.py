"""C1 at MinIO: commands killed at random moments; 200 in `make kills`."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.kafka import KafkaCluster
from tests.support.object_servers import MinioServer
from tests.support.random_kills import bucket, killed_at_random

pytestmark = pytest.mark.integration


@pytest.mark.timeout(3600)
def test_commands_killed_at_random_moments(kafka_431: KafkaCluster, minio: MinioServer, tmp_path: Path) -> None:
    assert killed_at_random(kafka_431, bucket(minio, tmp_path / "home"), 5) > 0

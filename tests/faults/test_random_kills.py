"""C1: real commands on one repository, killed at random moments of all they do, while records are written.

A few in `make test`, 90 at each place in `make faults`, unless KILLS_SECONDS are over before; 200 in `make kills`, which
goes on with as many at MinIO (`tests/stores`). KILLS_SEED repeats the choices, not the moments of a machine.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.faults import Figures
from tests.support.kafka import KafkaCluster
from tests.support.kills import Place
from tests.support.random_kills import bucket, killed_at_random
from tests.support.sweep_command import Kafkeep

from kafkeep.repository.stores.local import LocalStore

pytestmark = pytest.mark.integration


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "bucket":
        return bucket(request.getfixturevalue("s3_server"), tmp_path / "home")
    command = Kafkeep(tmp_path / "home", inside=True)
    return Place("folder", str(tmp_path / "repository"), command, lambda: LocalStore(tmp_path / "repository"))


@pytest.mark.fault("C1")
@pytest.mark.timeout(3600)
def test_c1_commands_killed_at_random_moments(kafka_431: KafkaCluster, place: Place, fault: Figures) -> None:
    fault.figures(kills=killed_at_random(kafka_431, place, fault.count(quick=5, full=90)))

"""C1: real commands on one repository, killed at random moments of all they do, while records are written.

A few in `make test`, 90 at each place in `make faults`, 200 in `make kills`, unless KILLS_SECONDS are over before. KILLS_SEED
repeats the choices, not the moments of a machine.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
from tests.support.faults import Figures
from tests.support.kafka import KafkaCluster
from tests.support.kills import Killing, Place, new_topics, table
from tests.support.oracle_load import Load
from tests.support.sweep import no_pause
from tests.support.sweep_command import Kafkeep
from tests.support.versitygw import S3Server

from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.stores.object_connect import open_object_store
from kafkeep.repository.stores.wrappers import RetryingStore

pytestmark = pytest.mark.integration

SECONDS = float(os.environ.get("KILLS_SECONDS", "600"))
"""For each place, without what is done in peace at the end."""


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    command = Kafkeep(tmp_path / "home", inside=True)
    if request.param == "folder":
        return Place("folder", str(tmp_path / "repository"), command, lambda: LocalStore(tmp_path / "repository"))
    server: S3Server = request.getfixturevalue("s3_server")
    url = f"s3://{server.new_bucket()}/prod"
    for key, secret in (("id", server.access_key), ("secret", server.secret_key)):
        (command.folder / key).write_text(secret)
        (command.folder / key).chmod(0o600)
    command.settings(
        f'[repository.backups]\nurl = "{url}"\n[repository.backups.s3]\nendpoint = "{server.endpoint}"\n'
        'access_key_id = { file = "id" }\nsecret_access_key = { file = "secret" }\n'
    )
    return Place(
        "bucket", "backups", command, lambda: RetryingStore(open_object_store(url, server.options()), pause=no_pause)
    )


@pytest.mark.fault("C1")
@pytest.mark.timeout(3600)
def test_c1_commands_killed_at_random_moments(kafka_431: KafkaCluster, place: Place, fault: Figures) -> None:
    kills = int(os.environ.get("KILLS", fault.count(quick=5, full=90)))
    seed = int(os.environ.get("KILLS_SEED", str(random.randrange(10**6))))
    print(f"KILLS_SEED={seed}")
    topics = new_topics(kafka_431)
    killing = Killing(place, kafka_431, topics, random.Random(seed))
    killing.begin()
    began = time.monotonic()
    with Load(
        kafka_431.bootstrap,
        plain=dict(topics.plain) | dict(topics.trimmed),
        transactional=topics.transactional,
        records_per_second=600,
    ) as load:
        killing.run(kills, began + SECONDS)
    took = time.monotonic() - began
    killing.finish(load)
    print(table(killing))
    print(f"{killing.killed} kills in {took:.0f} s beside {load.ledger.count} records; ended: {dict(killing.statuses)}")
    print(f"commits: {dict(killing.commits)}; {len(killing.left_behind)} packs left behind and removed")
    fault.figures(kills=killing.killed)

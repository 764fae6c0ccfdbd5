"""The test of `kills` at one place, from the first record to the independent consumer's verdict."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Final

from tests.support.kafka import KafkaCluster
from tests.support.kills import Killing, Place, new_topics, table
from tests.support.oracle_load import Load
from tests.support.sweep import no_pause
from tests.support.sweep_command import Kafkeep
from tests.support.versitygw import S3Server

from kafkeep.repository.stores.object_connect import open_object_store
from kafkeep.repository.stores.wrappers import RetryingStore

SECONDS: Final = float(os.environ.get("KILLS_SECONDS", "600"))
"""For each place, without what is done in peace at the end."""


def bucket(server: S3Server, folder: Path) -> Place:
    """A repository in a new bucket; commands have their home in `folder`."""
    command = Kafkeep(folder, inside=True)
    url = f"s3://{server.new_bucket()}/prod"
    command.knows_bucket("backups", url, server)
    return Place(
        "bucket", "backups", command, lambda: RetryingStore(open_object_store(url, server.options()), pause=no_pause)
    )


def killed_at_random(kafka: KafkaCluster, place: Place, kills: int) -> int:
    """How many commands were killed; as many as KILLS says, else `kills`, unless KILLS_SECONDS are over before.
    AssertionError where anything is lost, doubled or left over."""
    seed = int(os.environ.get("KILLS_SEED", str(random.randrange(10**6))))
    print(f"KILLS_SEED={seed}")
    topics = new_topics(kafka)
    killing = Killing(place, kafka, topics, random.Random(seed))
    killing.begin()
    began = time.monotonic()
    with Load(
        kafka.bootstrap,
        plain=dict(topics.plain) | dict(topics.trimmed),
        transactional=topics.transactional,
        records_per_second=600,
    ) as load:
        killing.run(int(os.environ.get("KILLS", kills)), began + SECONDS)
    took = time.monotonic() - began
    killing.finish(load)
    print(table(killing))
    print(f"{killing.killed} kills in {took:.0f} s beside {load.ledger.count} records; ended: {dict(killing.statuses)}")
    print(f"commits: {dict(killing.commits)}; {len(killing.left_behind)} packs left behind and removed")
    return killing.killed

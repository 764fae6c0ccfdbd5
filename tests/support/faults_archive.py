"""A small repository with objects of every kind, made by operations against a simulated cluster, for tests that break it.

`judge` says whether a repository that went through something is as good as before: it opens, everything in it is whole, its
points hold what the source held, and the next backup goes on.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from tests.support.operations import as_cluster, now, put_back, stored
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import COMMIT, record
from tests.support.sweep import copy_of

from kafkeep.capture.options import BackupOptions
from kafkeep.capture.result import BackupResult
from kafkeep.capture.run import backup
from kafkeep.errors import KafkeepError
from kafkeep.kafka.wire.records import Record
from kafkeep.model import GroupOffset, TopicPartition
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.verify.run import verify


def no_pause(seconds: float) -> None:
    """Retries at once."""


def open_repository(store: Store, *, seed: int = 1) -> Repository:
    return Repository.open(store, now=now, rng=random.Random(seed), pause=no_pause)


@dataclass(frozen=True)
class Archive:
    """`store` holds two backups of `source`, the report of a restore and its offset map, and one of a verification."""

    store: MemoryStore
    source: SimulatedCluster

    def names(self, kind: str) -> list[str]:
        """Of the objects below a folder, or that one object."""
        return sorted(name for name in self.store.objects if name.split("/")[0] == kind)

    @property
    def lasting(self) -> list[str]:
        """All objects that count."""
        return sorted(name for name in self.store.objects if not name.startswith("hint/"))

    def with_changes(self, changes: Mapping[str, bytes | None]) -> MemoryStore:
        """A copy in which objects hold other bytes, or are gone."""
        store = copy_of(self.store)
        for name, data in changes.items():
            if data is None:
                store.objects.pop(name, None)
            else:
                store.objects[name] = data
        return store


def grow(source: SimulatedCluster, seed: int, *, records: int = 4, size: int = 30) -> None:
    """More of everything: plain and compressed batches, and a transaction."""
    for topic in source.topics.values():
        for index, log in enumerate(topic.logs):
            values = [record(b"%d.%d.%d " % (seed, index, n) + b"x" * size, key=b"k%d" % n) for n in range(records)]
            log.append(values, codec=(0, 3, 0)[(index + seed) % 3])
            log.append(values[:1], producer_id=7, transactional=True)
            log.decide(7, COMMIT)


def new_source() -> SimulatedCluster:
    source = SimulatedCluster("source", nodes=2)
    source.add_topic("orders", 2, configs={"retention.ms": "604800000"})
    source.add_topic("payments", 1)
    grow(source, 1)
    source.groups["readers"] = [GroupOffset(TopicPartition("orders", 0), 2, 1, "")]
    return source


def back_up(source: SimulatedCluster, store: Store, *, seed: int = 1, pack_bytes: int = 700) -> BackupResult:
    """A backup of everything by a writer that has just started."""
    return back_up_with(source, open_repository(store, seed=seed), pack_bytes=pack_bytes)


def back_up_with(source: SimulatedCluster, repository: Repository, *, pack_bytes: int = 700) -> BackupResult:
    options = BackupOptions(pack_bytes=pack_bytes, connections_per_broker=1)
    return backup(as_cluster(source), repository, options, now=now)


def make_archive(*, compression: str = "zstd", chunk_bytes: int = 150, seed: int = 1) -> Archive:
    """`seed` decides on the repository's identity."""
    source, store = new_source(), MemoryStore()
    Repository.init(store, now=now, rng=random.Random(seed), compression=compression, chunk_bytes=chunk_bytes)
    back_up(source, store, seed=2)
    grow(source, 2)
    back_up(source, store, seed=3, pack_bytes=1 << 20)
    repository = open_repository(store, seed=4)
    put_back(SimulatedCluster("elsewhere"), repository, repository.point("latest"))
    repository.put_audit("verified", {"head": repository.state.head, "level": "data"})
    archive = Archive(store, source)
    assert verify(store, level="data", workers=1).findings == ()
    assert {name.split("/")[0] for name in archive.lasting} == {"kafkeep.json", "log", "pack", "doc", "audit"}
    assert len(archive.names("pack")) > 2
    return archive


def refusal(store: Store) -> tuple[KafkeepError | None, SimulatedCluster]:
    """What a restore of the newest point was refused with, None when it went well, and the cluster it went into."""
    target = SimulatedCluster("target")
    try:
        repository = open_repository(store)
        put_back(target, repository, repository.point("latest"))
    except KafkeepError as error:
        return error, target
    return None, target


def truth(source: SimulatedCluster) -> dict[TopicPartition, list[Record]]:
    """Everything that the logs hold, without markers."""
    return {
        TopicPartition(name, index): [item for entry in log.entries for item in entry.records]
        for name, topic in source.topics.items()
        for index, log in enumerate(topic.logs)
    }


def judge(store: Store, source: SimulatedCluster) -> None:
    """AssertionError unless the repository is whole, and the next backup holds all that the source holds."""
    report = verify(store, level="data", workers=1)
    assert (report.findings, report.alarms) == ((), ())
    grow(source, 99)
    result = back_up(source, store, seed=50)
    assert result.failures == () and result.gaps == ()
    repository = open_repository(store)
    found = {g.topic_partition: records for g, records in stored(repository, repository.point("latest")).items()}
    assert found == truth(source)
    report = verify(store, level="data", workers=1)
    assert (report.findings, report.alarms) == ((), ())
    assert back_up(source, store, seed=51).nothing_new

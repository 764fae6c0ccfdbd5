"""Short ways to run operations against simulated clusters."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import SimulatedLog

from kafkeep import logger
from kafkeep.capture import reading
from kafkeep.capture.options import BackupOptions
from kafkeep.capture.result import BackupResult
from kafkeep.capture.run import backup
from kafkeep.events import Event
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.wire.records import Record, decode
from kafkeep.model import Generation, RecoveryPoint, TopicPartition
from kafkeep.playback import play
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.restore import loading, produce
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.result import RestoreResult
from kafkeep.restore.run import prepare, restore


@contextmanager
def without_pauses() -> Iterator[None]:
    """Second attempts follow at once, and nothing is logged."""
    logger.send_nowhere()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_LONGEST_PAUSE_SECONDS", 0.0)
        patch.setattr(loading, "_LONGEST_PAUSE_SECONDS", 0.0)
        patch.setattr(produce, "_PAUSE_SECONDS", 0.0)
        yield
    logger.send_to(None)


def now() -> datetime:
    return datetime(2026, 11, 20, 10, tzinfo=UTC)


def as_cluster(cluster: SimulatedCluster) -> Cluster:
    """The type checker's name for what stands in."""
    return cast(Cluster, cluster)


def new_repository(store: Store | None = None, **options: Any) -> Repository:
    fields = {"chunk_bytes": 300} | options
    return Repository.init(MemoryStore() if store is None else store, now=now, rng=random.Random(1), **fields)


def another(repository: Repository) -> Repository:
    """A second writer on the same store."""
    return Repository.open(repository.store, now=now, rng=random.Random(2), pause=lambda seconds: None)


class Heard(list[Event]):
    """A sink that keeps what it hears."""

    def __call__(self, event: Event) -> None:
        self.append(event)

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self if isinstance(event, kind)]


def back_up(cluster: SimulatedCluster, repository: Repository, **options: Any) -> BackupResult:
    return backup(as_cluster(cluster), repository, BackupOptions(**options), now=now)


def put_back(
    cluster: SimulatedCluster, repository: Repository, point: RecoveryPoint | None, **options: Any
) -> RestoreResult:
    assert point is not None
    chosen = RestoreOptions(**options)
    plan = prepare(as_cluster(cluster), repository, point, chosen, now=now)
    return restore(as_cluster(cluster), repository, plan, chosen, now=now)


def stored(repository: Repository, point: RecoveryPoint | None) -> dict[Generation, list[Record]]:
    """What a point holds, record by record."""
    assert point is not None
    found: dict[Generation, list[Record]] = {}
    for view in repository.view(point).partitions:
        cut = view.cut
        found[view.generation] = [
            item
            for played in play(repository, view.runs, start=cut.start, stop=cut.stop, held_back=cut.held_back)
            for item in decode(played.batch, played.info)
            if max(cut.start, played.start) <= item.offset < min(cut.stop, played.stop)
        ]
    return found


def values(repository: Repository, point: RecoveryPoint | None, topic: str = "orders") -> dict[int, list[bytes | None]]:
    """Only the values of one topic, by partition."""
    return {
        generation.partition: [item.value for item in records]
        for generation, records in stored(repository, point).items()
        if generation.topic == topic
    }


def records_of(log: SimulatedLog) -> list[Record]:
    """Everything a log holds, decoded from its bytes."""
    found: list[Record] = []
    for entry in log.entries:
        found += decode(memoryview(entry.data), entry.info)
    return found


def contents(records: list[Record]) -> list[tuple[Any, ...]]:
    """Records without their offsets."""
    return [tuple(item)[1:] for item in records]


ORDERS = TopicPartition("orders", 0)

"""Backups, prunings and restores of a simulated cluster, as the operations do them: what is kept comes back, byte for byte,
and backups go on where they were.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta

import pytest
from tests.support.operations import as_cluster, put_back, records_of, stored, without_pauses
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import record

from kafkeep.capture.options import BackupOptions
from kafkeep.capture.run import backup
from kafkeep.errors import NothingToDo
from kafkeep.kafka.wire.records import Record
from kafkeep.model import Generation
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.retention.rules import KeepRules
from kafkeep.retention.run import prepare, prune
from kafkeep.verify.run import verify


class Days:
    """A clock that stands still until a day is over."""

    def __init__(self) -> None:
        self.moment = datetime.fromisoformat("2026-11-01T10:00:00+00:00")

    def __call__(self) -> datetime:
        return self.moment

    def pass_by(self, days: float) -> None:
        self.moment += timedelta(days=days)


@pytest.mark.parametrize("seed", range(12))
def test_what_is_kept_comes_back_and_backups_go_on(seed: int) -> None:
    dice, clock = random.Random(seed), Days()
    cluster = SimulatedCluster("source")
    cluster.add_topic("orders", 3)
    store = MemoryStore()
    repository = Repository.init(store, now=clock, rng=random.Random(seed), chunk_bytes=300)
    seen: dict[int, dict[Generation, list[Record]]] = {}
    pruned = deleted = 0
    with without_pauses():
        for day in range(16):
            for log in cluster.topics["orders"].logs:
                for _ in range(dice.randint(0, 2)):
                    log.append([record(b"%d" % day) for _ in range(dice.randint(1, 4))])
                if dice.random() < 0.4 and log.end:
                    log.delete_records(dice.randint(max(0, log.start), log.end))
            options = BackupOptions(pack_bytes=dice.choice([1, 400, 1 << 20]))
            try:
                point = backup(as_cluster(cluster), repository, options, now=clock).point
            except NothingToDo:
                point = None
            if point is not None:
                seen[point.number] = stored(repository, point)
            clock.pass_by(dice.choice([0.1, 1, 3]))
            if dice.random() < 0.4:
                rules = dice.choice([KeepRules(last=2, min_points=1), KeepRules(daily=3, weekly=1, min_points=1)])
                other = Repository.open(store, now=clock, rng=random.Random(day), pause=lambda seconds: None)
                plan = prepare(other, rules, undo_seconds=2 * 24 * 3600, confirmed=True, now=clock)
                pruned += len(plan.retired_points)
                deleted += prune(other, plan, now=clock).deleted
                repository.refresh()
            for kept in repository.points():
                assert stored(repository, kept) == seen[kept.number]
    assert verify(repository, level="data").findings == ()
    assert pruned
    print(f"{pruned} points pruned, {deleted} packs deleted")
    oldest, target = repository.points()[0], SimulatedCluster("target")
    with without_pauses():
        assert put_back(target, repository, oldest).failures == ()
    brought = [[(item.key, item.value) for item in records_of(log)] for log in target.topics["orders"].logs]
    expected = sorted(seen[oldest.number].items())
    assert brought == [[(item.key, item.value) for item in records] for _, records in expected]

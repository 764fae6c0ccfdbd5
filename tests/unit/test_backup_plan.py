"""`backup --dry-run`: what would be read, in which ranges, and nothing stored."""

from __future__ import annotations

from tests.support.operations import as_cluster, back_up, new_repository, now
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import record

from kafkeep.capture.options import BackupOptions
from kafkeep.capture.result import BackupPlan
from kafkeep.capture.run import prepare
from kafkeep.cli.backup import plan_parts
from kafkeep.cli.jsonable import to_json
from kafkeep.model import OffsetRange
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore


def a_cluster() -> SimulatedCluster:
    """Four partitions; the third has nearly everything."""
    cluster = SimulatedCluster("source", nodes=1)
    for number, log in enumerate(cluster.add_topic("orders", 4).logs):
        for _ in range(200 if number == 2 else 3):
            log.append([record(b"x" * 40) for _ in range(2)])
    return cluster


def planned(cluster: SimulatedCluster, repository: Repository, **given: object) -> BackupPlan:
    options = BackupOptions(**{"range_bytes": 20_000} | given)  # type: ignore[arg-type]
    return prepare(as_cluster(cluster), repository, options, now=now)


def text(plan: BackupPlan) -> str:
    return "\n".join(map(str, plan_parts(plan)))


def test_what_would_be_read_and_in_which_ranges() -> None:
    cluster, repository = a_cluster(), new_repository()
    assert isinstance(repository.store, MemoryStore)
    before = dict(repository.store.objects)
    plan = planned(cluster, repository)
    assert dict(repository.store.objects) == before
    assert (plan.partitions, plan.offsets, len(plan.reads), len(plan.opened)) == (4, 418, 4, 4)
    (large,) = [part for part in plan.reads if part.ranges]
    assert (large.generation.partition, large.offsets) == (2, OffsetRange(0, 400))
    first, second = large.ranges
    assert (first.start, first.stop, second.stop) == (0, second.start, 400)
    assert abs(first.stop - 200) < 20
    told = text(plan)
    assert "418 offsets to be read, in 4 of 4 partitions" in told
    assert f"orders/2 [0, 400)\n    side by side: {first}, {second}" in told
    assert "orders/0 begins at 0: first-seen" in told
    assert to_json(plan)["reads"][2]["ranges"] == [
        {"start": 0, "stop": first.stop},
        {"start": first.stop, "stop": 400},
    ]


def test_only_what_is_missing() -> None:
    cluster, repository = a_cluster(), new_repository()
    back_up(cluster, repository)
    assert planned(cluster, repository).reads == ()
    cluster.topics["orders"].logs[1].append([record(b"more")])
    plan = planned(cluster, repository)
    assert [(part.generation.partition, part.offsets) for part in plan.reads] == [(1, OffsetRange(6, 7))]
    assert "1 offset to be read, in 1 of 4 partitions" in text(plan)
    del cluster.topics["orders"]
    assert "orders/3 ends: deleted" in text(planned(cluster, repository))


def test_what_is_lost_and_what_is_read_in_order() -> None:
    cluster, repository = a_cluster(), new_repository()
    assert all(part.ranges == () for part in planned(cluster, repository, cut="high-watermark").reads)
    back_up(cluster, repository)
    log = cluster.topics["orders"].logs[0]
    for _ in range(4):
        log.append([record(b"more")])
    log.delete_records(8)
    plan = planned(cluster, repository)
    assert [(gap.offsets, gap.reason) for gap in plan.gaps] == [(OffsetRange(6, 8), "retention")]
    assert "orders/0 [6, 8) cannot be read: retention" in text(plan)

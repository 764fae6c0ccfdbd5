"""Reports that cannot be read, or that nobody trusted has signed, under operations that go by reports."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from tests.support.operations import (
    ORDERS,
    Heard,
    as_cluster,
    back_up,
    new_repository,
    now,
    put_back,
)
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import record

from kafkeep.cli.restore import write_offset_map
from kafkeep.compare.options import CompareOptions
from kafkeep.compare.report import BY_KEY, BY_MAP, BY_ORDER, CompareReport
from kafkeep.compare.run import compare
from kafkeep.errors import CorruptObject, GuardRefused, StoreUnavailable, UsageError
from kafkeep.events import Warned
from kafkeep.groups.options import GroupOptions
from kafkeep.groups.plan import GroupsPlan
from kafkeep.groups.run import prepare as prepare_groups
from kafkeep.model import GroupOffset, RecoveryPoint
from kafkeep.offset_map import MapRow, OffsetMap
from kafkeep.reports import PassedOver, readable_reports
from kafkeep.repository.keyring import Access
from kafkeep.repository.repository import Repository
from kafkeep.repository.signing import SigningKey
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.trust import ADMIN
from kafkeep.restore.job import RestoreJob
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.plan import ProducerIdentity
from kafkeep.restore.run import prepare
from kafkeep.restore.unfinished import NEWEST, find_job
from kafkeep.restore_reports import keep_offset_map, kept_offset_map, told_by_restores

GARBAGE = "audit/2026-11-20/garbage"
KEY = SigningKey(bytes([1]) * 32)


pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def source() -> SimulatedCluster:
    cluster = SimulatedCluster("source")
    for log in cluster.add_topic("orders", 2).logs:
        log.append([record(b"%d" % at, key=b"%d" % at, timestamp=at) for at in range(5)])
    cluster.groups["readers"] = [GroupOffset(ORDERS, 3, 1, "")]
    return cluster


@pytest.fixture
def target() -> SimulatedCluster:
    """Records of others lie in front of ours: only a map tells where these are."""
    cluster = SimulatedCluster("target")
    for log in cluster.add_topic("orders", 2).logs:
        log.append([record(b"other")])
    return cluster


@pytest.fixture
def repository(source: SimulatedCluster) -> Repository:
    found = new_repository()
    back_up(source, found)
    return found


@pytest.fixture
def signed(source: SimulatedCluster) -> Repository:
    admins, access = (KEY.trusted(ADMIN),), Access(signing_key=KEY)
    found = Repository.init(MemoryStore(), now=now, rng=random.Random(1), admins=admins, access=access)
    back_up(source, found)
    return found


def by_nobody(repository: Repository, seed: int = 9) -> Repository:
    """The same store, opened by somebody who may create objects and has no key."""
    return Repository.open(repository.store, now=now, rng=random.Random(seed), pause=lambda seconds: None)


def objects(repository: Repository) -> dict[str, bytes]:
    assert isinstance(repository.store, MemoryStore)
    return repository.store.objects


def finished(repository: Repository) -> list[str]:
    return [name for name, _ in repository.audits("restore-finished")]


def compared(cluster: SimulatedCluster, repository: Repository, **options: Any) -> tuple[CompareReport, str]:
    """The report, and all warnings."""
    heard, point = Heard(), repository.point("latest")
    report = compare(as_cluster(cluster), repository, point, CompareOptions(**options), sink=heard)
    return report, "\n".join(event.message for event in heard.of(Warned))


def grouped(cluster: SimulatedCluster, repository: Repository, **options: Any) -> GroupsPlan:
    return prepare_groups(as_cluster(cluster), repository, repository.point("latest"), GroupOptions(**options))


def pairings(report: CompareReport) -> set[str]:
    return {part.pairing for part in report.partitions}


def test_garbage_among_the_reports_ends_neither_a_comparison_nor_a_plan_of_groups(
    target: SimulatedCluster, repository: Repository
) -> None:
    put_back(target, repository, repository.point("latest"), existing="append")
    objects(repository)[GARBAGE] = b"garbage"
    report, warnings = compared(target, repository)
    assert report.identical and pairings(report) == {BY_MAP}
    assert GARBAGE in warnings and "cannot be read" in warnings
    plan = grouped(target, repository)
    assert plan.refusals == () and any(GARBAGE in warning for warning in plan.warnings)


def begun(repository: Repository, target: SimulatedCluster) -> str:
    chosen = RestoreOptions(existing="append")
    plan = prepare(as_cluster(target), repository, repository.point("latest"), chosen, now=now)
    return RestoreJob.begin(repository, plan, chosen, ProducerIdentity(7, 0), now=now).name


def test_garbage_among_the_reports_does_not_keep_a_restore_from_being_continued(
    target: SimulatedCluster, repository: Repository
) -> None:
    point = repository.point("latest")
    name = begun(repository, target)
    objects(repository)[GARBAGE] = b"garbage"
    job = find_job(repository, NEWEST, point.number, "target")
    assert job.name == name
    plan = prepare(as_cluster(target), repository, point, job.beginning.options, now=now, job=job)
    assert plan.refusals == () and any(GARBAGE in warning for warning in plan.warnings)
    assert RestoreJob.resume(repository, plan, name, now=now).name == name
    with pytest.raises(CorruptObject):
        find_job(repository, GARBAGE, point.number, "target")
    del objects(repository)[name]
    with pytest.raises(CorruptObject):  # it may be the one that is meant
        find_job(repository, NEWEST, point.number, "target")
    del objects(repository)[GARBAGE]
    with pytest.raises(UsageError, match="was left unfinished"):
        find_job(repository, NEWEST, point.number, "target")


def test_an_unfinished_restore_of_no_known_shape_is_passed_over(
    target: SimulatedCluster, repository: Repository
) -> None:
    point = repository.point("latest")
    name = begun(repository, target)
    value = repository.audit(name)["value"]
    assert isinstance(value, dict)
    odd = repository.put_audit("restore-started", value | {"topics": 7, "time": "2027"})
    job = find_job(repository, NEWEST, point.number, "target")
    assert job.name == name and any(odd in warning for warning in job.passed_over)
    with pytest.raises(CorruptObject, match=odd):
        find_job(repository, odd, point.number, "target")
    plan = prepare(as_cluster(target), repository, point, RestoreOptions(existing="append"), now=now)
    assert plan.refusals == () and any(odd in warning for warning in plan.warnings)


def test_a_restore_into_topics_that_are_there_is_planned_beside_garbage(
    target: SimulatedCluster, repository: Repository
) -> None:
    objects(repository)[GARBAGE] = b"garbage"
    plan = prepare(
        as_cluster(target), repository, repository.point("latest"), RestoreOptions(existing="append"), now=now
    )
    assert plan.refusals == () and any(GARBAGE in warning for warning in plan.warnings)


DAMAGED: list[Any] = [
    {"partitions": 3},
    {"partitions": [{}]},
    {"partitions": [7]},
    {"target_topic_ids": 1},
    {"partitions": [{"source": ["orders", "x", 0, 0], "target": [[], 0], "source_range": [0, 1], "complete": True}]},
    {"repartitioned": [{}]},
]


@pytest.mark.parametrize("damage", DAMAGED[:-1])
def test_a_report_without_a_shape_is_passed_over_unless_it_is_the_only_one(
    target: SimulatedCluster, repository: Repository, damage: dict[str, Any], tmp_path: Path
) -> None:
    result = put_back(target, repository, repository.point("latest"), existing="append")
    (whole,) = finished(repository)
    value = repository.audit(whole)["value"]
    assert isinstance(value, dict)
    odd = repository.put_audit("restore-finished", value | damage)
    report, warnings = compared(target, repository)
    assert report.identical and pairings(report) == {BY_MAP} and odd in warnings
    with pytest.raises(CorruptObject, match=odd):
        compared(target, repository, restored_by=value["started"])
    del objects(repository)[whole]
    with pytest.raises(CorruptObject, match=odd) as told:
        compared(target, repository)
    assert told.value.hint is not None and "--restored-by=none" in told.value.hint
    with pytest.raises(CorruptObject, match=odd):
        grouped(target, repository)
    assert pairings(compared(target, repository, restored_by="none")[0]) == {BY_ORDER}
    assert grouped(target, repository, restored_by="none").refusals
    write_offset_map(tmp_path / "map.json", result)
    report, warnings = compared(target, repository, map_file=str(tmp_path / "map.json"))
    assert report.identical and odd in warnings


def test_garbage_about_a_repartitioned_topic_is_passed_over(repository: Repository, tmp_path: Path) -> None:
    target, point = SimulatedCluster("target"), repository.point("latest")
    put_back(target, repository, point, repartition=(("orders", 3),), spool_dir=str(tmp_path))
    (whole,) = finished(repository)
    value = repository.audit(whole)["value"]
    assert isinstance(value, dict)
    odd = [
        repository.put_audit("restore-started", {"point": point.number, "target_cluster": "target", "topics": [7]}),
        repository.put_audit("restore-opened", {"started": value["started"], "topics": [{}]}),
    ]
    repository.put_audit("restore-opened", {"started": ["another"], "topics": [{}]})
    report, warnings = compared(target, repository, spool_dir=str(tmp_path))
    assert report.identical and pairings(report) == {BY_KEY}
    assert all(name in warnings for name in odd) and "passed over 2" in warnings


@pytest.mark.parametrize(("rows", "documents"), [(8, 0), (9, 1)])
def test_short_offset_maps_lie_in_the_report_and_long_ones_beside_it(
    repository: Repository, rows: int, documents: int
) -> None:
    offsets = OffsetMap(tuple(MapRow(10 * at, 5 * at, 4) for at in range(rows)), 5 * rows)
    before = {name for name in objects(repository) if name.startswith("doc/")}
    kept = keep_offset_map(repository, offsets)
    assert len({name for name in objects(repository) if name.startswith("doc/")} - before) == documents
    assert kept_offset_map(repository, json.loads(json.dumps(kept))) == offsets


@pytest.mark.parametrize("kept", ["0" * 64, None, 3, [], {"rows": [[0, 0, 0]], "end": 0}])
def test_what_stands_for_no_offset_map_is_corrupt(repository: Repository, kept: object) -> None:
    with pytest.raises(CorruptObject):
        kept_offset_map(repository, kept)


def test_a_store_that_gives_no_answer_is_no_garbage(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    objects(repository)[GARBAGE] = b"garbage"

    def silent(name: str) -> dict[str, object]:
        raise StoreUnavailable("no answer")

    monkeypatch.setattr(repository, "audit", silent)
    with pytest.raises(StoreUnavailable):
        readable_reports(repository, ("verified",), PassedOver())


# --- signed


def false_map(repository: Repository, point: RecoveryPoint) -> str:
    """What somebody without a key can leave: a copy of a true report that counts, with the partitions exchanged."""
    nobody = by_nobody(repository)
    (whole,) = finished(repository)
    value = repository.audit(whole)["value"]
    assert isinstance(value, dict) and value["point"] == point.number
    one, other = value["partitions"]
    parts = [one | {"offset_map": other["offset_map"], "complete": False}, other]
    return nobody.put_audit("restore-finished", value | {"partitions": parts, "time": "2999-01-01T00:00:00.000Z"})


def test_a_map_that_nobody_trusted_signed_is_passed_over(target: SimulatedCluster, signed: Repository) -> None:
    point = signed.point("latest")
    put_back(target, signed, point, existing="append")
    false = false_map(signed, point)
    nobody = by_nobody(signed, 3)
    report, warnings = compared(target, nobody)
    assert report.identical and pairings(report) == {BY_MAP}
    assert false in warnings and "nobody trusted has signed" in warnings
    plan = grouped(target, nobody)
    assert plan.refusals == () and any(false in warning for warning in plan.warnings)


def test_a_restore_without_a_key_is_gone_by_when_a_person_names_it(
    target: SimulatedCluster, signed: Repository
) -> None:
    nobody = by_nobody(signed)
    result = put_back(target, nobody, nobody.point("latest"), existing="append")
    (told,) = finished(nobody)
    report, warnings = compared(target, nobody)
    assert not report.identical and pairings(report) == {BY_ORDER}
    assert told in warnings and f"--restored-by={result.job}" in warnings
    assert grouped(target, nobody).refusals
    report, warnings = compared(target, nobody, restored_by=result.job)
    assert report.identical and pairings(report) == {BY_MAP} and "is believed from 3 report(s)" in warnings
    plan = grouped(target, nobody, restored_by=result.job)
    assert plan.refusals == () and any("is believed from" in warning for warning in plan.warnings)


def test_only_the_restore_that_is_named_counts(target: SimulatedCluster, signed: Repository) -> None:
    point = signed.point("latest")
    job = put_back(target, signed, point, existing="append").job
    told = told_by_restores(signed, point, "target", restored_by=job)
    assert told.mapped and told.warnings == ()
    unfinished = begun(by_nobody(signed), target)
    told = told_by_restores(signed, point, "target", restored_by=unfinished)
    assert not told.mapped and "has not reported" in told.warnings[-1]
    with pytest.raises(GuardRefused, match="this is cluster other"):
        told_by_restores(signed, point, "other", restored_by=job)
    with pytest.raises(UsageError, match="no restore is recorded"):
        told_by_restores(signed, point, "target", restored_by=finished(signed)[0])
    another = signed.put_audit("restore-started", {"point": 7, "target_cluster": "target"})
    with pytest.raises(UsageError, match="restored point 7"):
        told_by_restores(signed, point, "target", restored_by=another)


def test_reports_of_other_points_and_clusters_are_not_told(target: SimulatedCluster, signed: Repository) -> None:
    nobody = by_nobody(signed)
    for value in ({"point": 99, "target_cluster": "target"}, {"point": 2, "target_cluster": "other"}):
        nobody.put_audit("restore-finished", value)
    assert told_by_restores(signed, signed.point("latest"), "target").warnings == ()

"""Where commits are signed, reports that nobody trusted signed skip no part of a check and continue no restore unasked."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.operations import as_cluster, back_up, now, without_pauses
from tests.support.repositories import backup, generation, piece
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import record
from tests.support.sweep_command import Kafkeep

from kafkeep.errors import UsageError
from kafkeep.repository.keyring import Access
from kafkeep.repository.repository import Repository
from kafkeep.repository.signing import SigningKey
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.trust import ADMIN
from kafkeep.restore.job import RestoreJob
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.plan import ProducerIdentity
from kafkeep.restore.run import prepare
from kafkeep.restore.unfinished import NEWEST, find_job
from kafkeep.verify.rotation import PART, Cursor, cursor_to_json

ADMINS = SigningKey.generate()
PACKS = 4


@pytest.fixture(autouse=True)
def at_once() -> Iterator[None]:
    with without_pauses():
        yield


def signed(store: Store) -> Repository:
    access = Access(signing_key=ADMINS)
    return Repository.init(store, now=now, rng=random.Random(1), admins=(ADMINS.trusted(ADMIN, "ops"),), access=access)


def by_nobody(store: Store) -> Repository:
    return Repository.open(store, now=now, rng=random.Random(9), pause=lambda seconds: None)


def test_a_place_to_go_on_from_counts_only_when_it_is_signed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "repo")
    repository = signed(store)
    for number in range(PACKS):
        backup(repository, [piece(generation(), number * 6, 2)])
    last = max(repository.state.packs, key=lambda entry: entry.number)
    everything = Cursor("objects", repository.state.head, last.number, last.name)
    by_nobody(LocalStore(tmp_path / "repo")).put_audit(PART, cursor_to_json(everything))
    (tmp_path / "admin.key").touch(mode=0o600)
    (tmp_path / "admin.key").write_text(ADMINS.reveal())
    damaged = next(path for path in (tmp_path / "repo" / "pack").rglob("*") if path.is_file())
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    kafkeep = Kafkeep(tmp_path, inside=True)
    command = ("verify", "--repo", "./repo", "--max-duration", "10m")
    assert len(kafkeep(*command).expect(22)["findings"]) == 1, "an unsigned report had packs skipped"
    told = kafkeep.plain(*command)
    assert "give a signing key" in told.out + told.err
    repository.put_audit(PART, cursor_to_json(everything))
    assert kafkeep(*command).expect(0)["findings"] == []


@pytest.fixture
def repository() -> Repository:
    source = SimulatedCluster("source")
    source.add_topic("orders").logs[0].append([record(b"x")])
    found = signed(MemoryStore())
    assert back_up(source, found).point is not None
    return found


def begun(repository: Repository, target: SimulatedCluster) -> str:
    chosen = RestoreOptions()
    plan = prepare(as_cluster(target), repository, repository.point("latest"), chosen, now=now)
    return RestoreJob.begin(repository, plan, chosen, ProducerIdentity(7, 0), now=now).name


def test_a_restore_that_nobody_signed_is_continued_by_its_name_alone(repository: Repository) -> None:
    target = SimulatedCluster("target")
    point = repository.point("latest")
    reader = by_nobody(repository.store)
    name = begun(reader, target)
    with pytest.raises(UsageError, match="nobody trusted has signed") as refused:
        find_job(reader, NEWEST, point.number, "target")
    assert refused.value.hint is not None and refused.value.hint.endswith(f"--resume={name}")
    job = find_job(reader, name, point.number, "target")
    assert job.unsigned == (name,)
    plan = prepare(as_cluster(target), reader, point, RestoreOptions(), now=now, job=job)
    assert plan.refusals == () and any(name in warning and "believed" in warning for warning in plan.warnings)


def test_a_restore_that_somebody_trusted_signed_is_continued_as_ever(repository: Repository) -> None:
    target = SimulatedCluster("target")
    point = repository.point("latest")
    name = begun(repository, target)
    job = find_job(by_nobody(repository.store), NEWEST, point.number, "target")
    assert (job.name, job.unsigned) == (name, ())
    plan = prepare(as_cluster(target), repository, point, RestoreOptions(), now=now, job=job)
    assert not any("believed" in warning for warning in plan.warnings)

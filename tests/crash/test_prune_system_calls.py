"""C3 down to the system: a pruning of a folder dies at every call that changes a file; the next one ends its work."""

from __future__ import annotations

import itertools
import random
import shutil
from pathlib import Path

import pytest
from tests.support.faults import Figures
from tests.support.keeping import UNDO_SECONDS, Life
from tests.support.repositories import open_repository
from tests.support.sweep import FailingSystem
from tests.support.sweep_places import put_folder, quick_folder

from kafkeep.repository.repository import Repository
from kafkeep.repository.stores import local
from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.stores.wrappers import SimulatedCrash
from kafkeep.retention.plan import PruneResult
from kafkeep.retention.rules import KeepRules
from kafkeep.retention.run import prepare, prune
from kafkeep.verify.run import verify

RULES = KeepRules(last=2, min_points=1)


def aged() -> Life:
    """Points to retire, a retirement whose time is over, orphans old and young: a pruning has every kind of work."""
    life = Life(random.Random(17))
    for _ in range(30):
        life.step()
    for _ in range(2):
        life.orphan()
        pruned(life, life.repository)
    life.live = {point.number for point in life.repository.points()}
    while len(life.live) < 6:
        life.backup()
    life.orphan()
    life.journal.clock.advance(days=10)
    return life


def pruned(life: Life, repository: Repository) -> PruneResult:
    clock = life.journal.clock
    plan = prepare(repository, RULES, undo_seconds=UNDO_SECONDS, confirmed=True, now=clock)
    return prune(repository, plan, now=clock)


def packs(store: LocalStore) -> set[str]:
    return {info.name for info in store.list("pack/")}


@pytest.mark.fault("C3")
@pytest.mark.parametrize("when", ["before", "after"])
def test_c3_pruning_dies_at_every_system_call(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Figures
) -> None:
    life = aged()
    live = set(life.live)
    with quick_folder(tmp_path) as root:
        put_folder(life.store, root / "old")
        quiet_store = LocalStore(shutil.copytree(root / "old", root / "quiet"))
        quiet = open_repository(quiet_store, clock=life.journal.clock)
        result = pruned(life, quiet)
        assert result.deleted > 2 and result.swept is not None and result.retirements and result.orphans
        left = {point.number for point in quiet.points()}
        for at in itertools.count():
            path = root / "repository"
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(root / "old", path)
            system = FailingSystem.dying(at, when)
            store = LocalStore(path)
            with monkeypatch.context() as patch:
                patch.setattr(local, "os", system)
                try:
                    pruned(life, open_repository(store, clock=life.journal.clock))
                except SimulatedCrash:
                    assert system.dead
                finally:
                    store.close()
            store = LocalStore(path)
            after = open_repository(store, clock=life.journal.clock)
            life.live = {point.number for point in after.points()}
            assert life.live in (live, left)
            life.check(after)
            assert verify(after, level="data").findings == ()
            pruned(life, after)
            life.live = left
            life.check(after)
            assert {entry.name for entry in after.state.packs} <= packs(store) <= packs(quiet_store)
            store.close()
            if system.calls <= at:
                break
    print(f"{at} system calls, dead {when} each")
    assert at > 10
    fault.figures(places=at)

"""Copies against their sources: the same objects, whatever stopped them, and never a damaged one."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.support.keeping import Life
from tests.support.readers import reader_of, same_state
from tests.support.repositories import Clock, Journal, backup, generation, open_repository, piece
from tests.support.sweep_command import Kafkeep

from kafkeep.copying.plan import CopyResult
from kafkeep.copying.run import copy, prepare
from kafkeep.errors import CorruptObject, PlanRefused
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import FaultyStore, SimulatedCrash
from kafkeep.verify.run import verify


def copied(source: Repository, target: Store, *, delete_swept: bool = True) -> CopyResult:
    plan = prepare(source, target)
    return copy(source, target, plan, delete_swept=delete_swept, now=Clock(), rng=random.SystemRandom())


def needed(repository: Repository, store: MemoryStore) -> dict[str, bytes]:
    """All that a copy holds: not packs that no commit names or that were left without runs, nor advice."""
    packs = {entry.name for entry in repository.state.packs if entry.runs}
    documents = {
        f"doc/{found[:2]}/{found}" for point in repository.state.points for _, found in point.documents
    }  # fmt: skip
    return {
        name: data
        for name, data in store.objects.items()
        if name.startswith(("log/", "audit/", "key/", "kafkeep")) or name in packs or name in documents
    }


@pytest.mark.parametrize("seed", range(12))
def test_a_copy_follows_its_source(seed: int) -> None:
    life = Life(random.Random(f"copy {seed}"))
    target = MemoryStore()
    for _ in range(30):
        life.step()
        if life.dice.random() < 0.3:
            copied(life.repository, target)
    life.repository.put_audit("verified", {"head": 1})
    copied(life.repository, target)
    assert needed(life.repository, life.store) == needed(life.repository, target)
    others = target.objects.keys() - needed(life.repository, target).keys() - {"hint/head"}
    assert others <= {entry.name for entry in life.repository.state.packs}, "what was emptied after it was copied"
    again = open_repository(target)
    assert again.state == life.repository.state
    assert verify(again, level="data").findings == ()
    assert same_state(reader_of(target), again)
    life.check(again)
    assert prepare(life.repository, target).nothing_to_do


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_copy_that_dies_at_any_call_is_finished_by_the_next(when: str) -> None:
    life = Life(random.Random("a source"))
    for _ in range(12):
        life.backup()
    life.prune()
    half = MemoryStore()
    copied(life.repository, half)
    for _ in range(3):
        life.backup()
    for begun in (MemoryStore(), half):
        at = 0
        while True:
            target = MemoryStore()
            target.objects = dict(begun.objects)
            dying = FaultyStore.dying(target, at=at, when=when)
            try:
                copied(life.repository, dying)
            except SimulatedCrash:
                at += 1
            else:
                break
            if "kafkeep.json" in target.objects:
                assert verify(open_repository(target), level="data").findings == ()
            copied(life.repository, target)
            assert verify(open_repository(target), level="data").findings == ()
            assert open_repository(target).state == life.repository.state
        print(f"{at} store calls, dead {when} each")
        assert at >= 10


def test_no_damaged_object_is_ever_published() -> None:
    life = Life(random.Random("damage"))
    for _ in range(4):
        life.backup()
    life.repository.put_audit("verified", {"head": 1})
    dice = random.Random(3)
    names = [name for name in life.store.objects if name.startswith(("pack/", "audit/"))]
    found = 0
    for _ in range(400):
        name = dice.choice(names)
        whole = life.store.objects[name]
        at = dice.randrange(len(whole))
        life.store.objects[name] = whole[:at] + bytes([whole[at] ^ 1 << dice.randrange(8)]) + whole[at + 1 :]
        target = MemoryStore()
        with pytest.raises(CorruptObject):
            copied(open_repository(life.store), target)
        found += name not in target.objects
        life.store.objects[name] = whole
    assert found == 400


def test_a_place_with_something_else_is_refused() -> None:
    life = Life(random.Random("one"))
    life.backup()
    target = MemoryStore()
    copied(life.repository, target)
    other = Journal(MemoryStore(), seed=99).create()
    with pytest.raises(PlanRefused, match="holds repository"):
        prepare(other, target)
    backup(open_repository(target), [piece(generation("foreign"), 0, 1)])
    with pytest.raises(PlanRefused, match="is not the source's"):
        prepare(life.repository, target)
    life.backup()
    with pytest.raises(PlanRefused, match="is not the source's"):
        prepare(life.repository, target)


def test_the_command(tmp_path: Path) -> None:
    with Repository.init(LocalStore(tmp_path / "one"), now=Clock(), rng=random.Random(1)) as repository:
        backup(repository, [piece(generation(), 0, 3)])
        kafkeep = Kafkeep(tmp_path, inside=True)
        assert kafkeep("copy", "--repo", "./one", "--to", "./two", "--dry-run").last["packs"]
        assert kafkeep("copy", "--repo", "./one", "--to", "./two").expect(0)["packs"] == 1
        assert kafkeep("copy", "--repo", "./one", "--to", "./two").status == 4
        assert kafkeep("points", "--repo", "./two").expect(0)["points"] == 1
        backup(repository, [piece(generation(), 9, 3)])
    assert kafkeep("points", "--repo", "./one").expect(0)["points"] == 2
    # the copy is behind, which is no sign of a store that was rolled back
    assert kafkeep("points", "--repo", "./two").expect(0)["points"] == 1
    assert kafkeep("copy", "--repo", "./one", "--to", "./two").expect(0)["packs"] == 1
    assert kafkeep("verify", "--repo", "./two", "--level", "data").status == 0
    assert kafkeep("copy", "--repo", "./one", "--to", "./one").status == 2

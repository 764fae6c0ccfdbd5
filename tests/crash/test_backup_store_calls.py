"""C2: a backup dies before or after any call that changes the store. Nothing old is lost, the next one completes."""

from __future__ import annotations

import itertools
import random

import pytest
from tests.support.faults import Figures
from tests.support.sweep import Scene, copy_of, now, open_repository

from kafkeep.errors import RepositoryNotFound
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import FaultyStore, SimulatedCrash

pytestmark = pytest.mark.integration


def test_c2_the_undisturbed_backup_changes_the_store_often_enough(scene: Scene) -> None:
    """The sweeps below are worth something: many calls of each kind, packs, commits and documents among them."""
    calls: list[tuple[str, str]] = []
    store = FaultyStore(copy_of(scene.old), before=lambda index, call, name: calls.append((call, name)))
    scene.backup(store)
    seen = {(call, name.split("/")[0]) for call, name in calls}
    assert {("put_new", "log"), ("put_new", "doc"), ("publish", "pack"), ("put_hint", "hint")} <= seen
    assert {("open_new", ""), ("write", "")} <= seen
    assert sum(call == "put_new" and name.startswith("log/") for call, name in calls) > 2


@pytest.mark.fault("C2")
@pytest.mark.parametrize("when", ["before", "after"])
def test_c2_backup_dies_at_every_store_call(scene: Scene, when: str, fault: Figures) -> None:
    for at in itertools.count():
        store = copy_of(scene.old)
        dying = FaultyStore.dying(store, at=at, when=when)
        try:
            scene.backup(dying)
        except SimulatedCrash:
            scene.judge(store)
        else:
            assert not dying.dead
        if dying.mutations <= at:
            break
    print(f"{at} store calls, dead {when} each")
    assert at > 30
    fault.figures(places=at)


@pytest.mark.fault("C2")
@pytest.mark.parametrize("when", ["before", "after"])
def test_c2_first_backup_of_all_dies_at_every_store_call(scene: Scene, when: str, fault: Figures) -> None:
    """The same from an empty repository, over two connections, so that two packs are under way at once."""
    for at in itertools.count():
        store = MemoryStore()
        Repository.init(store, now=now, rng=random.SystemRandom(), chunk_bytes=8000)
        dying = FaultyStore.dying(store, at=at, when=when)
        try:
            scene.backup(dying, connections_per_broker=2, pack_bytes=20_000)
        except SimulatedCrash:
            scene.backup(store)
        assert scene.newest(store) == scene.expected
        if dying.mutations <= at:
            break
    print(f"{at} store calls, dead {when} each")
    assert at > 15
    fault.figures(places=at)


@pytest.mark.fault("C2")
@pytest.mark.parametrize("when", ["before", "after"])
def test_c2_backup_dies_again_and_again(scene: Scene, when: str, fault: Figures) -> None:
    """One repository, one store call further each time: what the dead ones left must not add up to harm."""
    store = copy_of(scene.old)
    for at in itertools.count():
        dying = FaultyStore.dying(store, at=at, when=when)
        try:
            scene.backup(dying)
        except SimulatedCrash:
            scene.judge_old(store)
        if dying.mutations <= at:
            break
    scene.judge(store)
    print(f"{at} deaths {when} a store call, one after the other")
    assert at > 3
    fault.figures(places=at)


@pytest.mark.fault("C8")
@pytest.mark.parametrize("when", ["before", "after"])
def test_c8_init_dies_at_every_store_call(scene: Scene, when: str, fault: Figures) -> None:
    """What is left is no repository, or one: never something that needs a repair."""
    for at in itertools.count():
        store = MemoryStore()
        dying = FaultyStore.dying(store, at=at, when=when)
        try:
            Repository.init(dying, now=now, rng=random.SystemRandom())
        except SimulatedCrash:
            try:
                open_repository(store)
            except RepositoryNotFound:
                Repository.init(store, now=now, rng=random.SystemRandom())
        assert scene.backup(store).point is not None
        assert scene.newest(store) == scene.expected
        if dying.mutations <= at:
            break
    print(f"{at} store calls, dead {when} each")
    assert at > 3
    fault.figures(places=at)

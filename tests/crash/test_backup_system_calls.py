"""C2 and S18 down to the system: a backup into a folder dies at, or is refused, every call that changes a file."""

from __future__ import annotations

import errno
import itertools
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.faults import Figures
from tests.support.sweep import FailingSystem, Scene
from tests.support.sweep_places import put_folder, quick_folder

from kafkeep.errors import StoreAccessDenied, StoreError, StoreFull
from kafkeep.repository.stores import local
from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.stores.wrappers import SimulatedCrash

pytestmark = pytest.mark.integration


class Folders:
    """Fresh copies of the scene's old repository as a folder."""

    def __init__(self, scene: Scene, root: Path) -> None:
        self._root = root
        put_folder(scene.old, root / "old")

    def new(self) -> Path:
        path = self._root / "repository"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(self._root / "old", path)
        return path


@pytest.fixture(scope="module")
def folders(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folders]:
    with quick_folder(tmp_path_factory.mktemp("folders")) as root:
        yield Folders(scene, root)


def disturbed(scene: Scene, path: Path, system: FailingSystem, monkeypatch: pytest.MonkeyPatch) -> BaseException | None:
    """A second backup under a system that fails; what it raised."""
    store = LocalStore(path)
    with monkeypatch.context() as patch:
        patch.setattr(local, "os", system)
        try:
            scene.backup(store, pack_bytes=10_000)
        except (SimulatedCrash, StoreError) as error:
            return error
        finally:
            store.close()
    return None


@pytest.mark.fault("C2")
@pytest.mark.parametrize("when", ["before", "after"])
def test_c2_backup_dies_at_every_system_call(
    scene: Scene, folders: Folders, when: str, monkeypatch: pytest.MonkeyPatch, fault: Figures
) -> None:
    for at in itertools.count():
        path = folders.new()
        system = FailingSystem.dying(at, when)
        error = disturbed(scene, path, system, monkeypatch)
        assert isinstance(error, SimulatedCrash) == system.dead
        store = LocalStore(path)
        scene.judge(store)
        store.close()
        if system.calls <= at:
            break
    print(f"{at} system calls, dead {when} each")
    assert at > 50
    fault.figures(places=at)


@pytest.mark.fault("S18", places=12)
@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EIO, StoreError),
        (errno.EROFS, StoreAccessDenied),
    ],
)
@pytest.mark.fault("S18")
def test_s18_folder_refuses_every_change_from_some_call_on(
    scene: Scene, folders: Folders, number: int, expected: type[StoreError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A typed error that names the folder, no harm, and all is well once the folder takes changes again."""
    counting = FailingSystem.dying(-1, "before")
    assert disturbed(scene, folders.new(), counting, monkeypatch) is None
    dice = random.Random(number)
    for at in sorted(dice.sample(range(counting.calls), 12)):
        path = folders.new()
        error = disturbed(scene, path, FailingSystem.failing(at, number), monkeypatch)
        if error is not None:  # only the hint behind the last commit may fail unnoticed
            assert type(error) is expected
            assert str(path) in str(error)
        store = LocalStore(path)
        scene.judge(store)
        store.close()

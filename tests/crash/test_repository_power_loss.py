"""Power loss under the local store: what was not synced may be gone or torn, in any combination the calls allow.

The store's own system calls are recorded with what they did; a model of a disk then forgets, at a random moment, a
random part of everything that no fsync had made durable, and the rest is opened as a repository.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.support.repositories import Journal, open_repository
from tests.support.writer import expected, run_all, summary

from kafkeep.repository.stores import local
from kafkeep.repository.stores.local import LocalStore
from kafkeep.verify.run import verify

ORDERS = 500


@dataclass
class File:
    """What was written, and how much of it is durable."""

    data: bytearray = field(default_factory=bytearray)
    durable: int = 0


@dataclass
class Folder:
    """Entries that are durable, and changes that are not yet: (name, what it leads to or None)."""

    entries: dict[str, File | Folder] = field(default_factory=dict)
    pending: list[tuple[str, File | Folder | None]] = field(default_factory=list)

    def find(self, name: str) -> File | Folder:
        for changed, target in reversed(self.pending):
            if changed == name and target is not None:
                return target
        return self.entries[name]

    def sync(self) -> None:
        for name, target in self.pending:
            if target is None:
                self.entries.pop(name, None)
            else:
                self.entries[name] = target
        self.pending.clear()


class Recorder:
    """Stands in for the module `os` in the local store: makes each call and notes what it did."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def _path(self, fd: int, name: str = "") -> str:
        return os.path.relpath(Path(os.readlink(f"/proc/self/fd/{fd}")) / name, self._root.parent)  # noqa: PTH115

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        fd = os.open(path, flags, mode, dir_fd=dir_fd)
        if flags & os.O_CREAT and dir_fd is not None:
            self.calls.append(("create", self._path(dir_fd, path)))
        return fd

    def mkdir(self, name: str, mode: int, *, dir_fd: int) -> None:
        os.mkdir(name, mode, dir_fd=dir_fd)
        self.calls.append(("mkdir", self._path(dir_fd, name)))

    def writev(self, fd: int, views: Sequence[memoryview]) -> int:
        taken = os.writev(fd, views)
        self.calls.append(("write", self._path(fd), b"".join(views)[:taken]))
        return taken

    def fsync(self, fd: int) -> None:
        os.fsync(fd)
        self.calls.append(("fsync", self._path(fd)))

    def link(self, source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int, follow_symlinks: bool) -> None:
        os.link(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks)
        self.calls.append(("link", self._path(src_dir_fd, source), self._path(dst_dir_fd, target)))

    def rename(self, source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        os.rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        self.calls.append(("rename", self._path(src_dir_fd, source), self._path(dst_dir_fd, target)))

    def unlink(self, name: str, *, dir_fd: int) -> None:
        os.unlink(name, dir_fd=dir_fd)
        self.calls.append(("unlink", self._path(dir_fd, name)))


def find(top: Folder, path: str) -> File | Folder:
    found: File | Folder = top
    for part in [] if path == "." else path.split("/"):
        assert isinstance(found, Folder)
        found = found.find(part)
    return found


def parent(top: Folder, path: str) -> tuple[Folder, str]:
    folder, _, name = path.rpartition("/")
    found = find(top, folder or ".")
    assert isinstance(found, Folder)
    return found, name


def replay(top: Folder, call: tuple[Any, ...]) -> None:
    """What a call does to the disk."""
    kind, path = call[0], call[1]
    if kind == "fsync":
        target = find(top, path)
        if isinstance(target, File):
            target.durable = len(target.data)
        else:
            target.sync()
    elif kind == "write":
        target = find(top, path)
        assert isinstance(target, File)
        target.data += call[2]
    elif kind in ("create", "mkdir"):
        folder, name = parent(top, path)
        folder.pending.append((name, File() if kind == "create" else Folder()))
    elif kind == "unlink":
        folder, name = parent(top, path)
        folder.pending.append((name, None))
    else:
        source, (folder, name) = find(top, path), parent(top, call[2])
        folder.pending.append((name, source))
        if kind == "rename":
            old, old_name = parent(top, path)
            old.pending.append((old_name, None))


def survive(folder: Folder, where: Path, dice: random.Random) -> None:
    """Write down what is left of a folder after the power is back."""
    where.mkdir()
    entries = dict(folder.entries)
    for name, target in folder.pending:
        if dice.random() < 0.5:
            if target is None:
                entries.pop(name, None)
            else:
                entries[name] = target
    for name, target in entries.items():
        if isinstance(target, Folder):
            survive(target, where / name, dice)
        else:
            lost = len(target.data) - target.durable
            tail = bytes(target.data[target.durable : target.durable + dice.randint(0, lost)])
            if tail and dice.random() < 0.5:
                tail = b"\0" * len(tail)
            (where / name).write_bytes(bytes(target.data[: target.durable]) + tail)


def recorded(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """All calls of a creation and a backup, with ("reported", number) as each commit is reported."""
    recorder = Recorder(root)
    with monkeypatch.context() as patch:
        patch.setattr(local, "os", recorder)
        store = LocalStore(root)
        Journal(store).create()
        recorder.calls.append(("reported", 0))
        run_all(open_repository(LocalStore(root)), lambda name, number: recorder.calls.append(("reported", number)))
    return recorder.calls


def crashes(calls: list[tuple[Any, ...]], folder: Path, check: Callable[[LocalStore, int], None], count: int) -> None:
    """Lose power `count` times, each at another moment and with other losses."""
    dice = random.Random(20261120)
    for number in range(count):
        top, reported = Folder(), -1
        for call in calls[: dice.randrange(len(calls) + 1)]:
            if call[0] == "reported":
                reported = call[1]
            else:
                replay(top, call)
        survive(top, folder / str(number), dice)
        check(LocalStore(folder / str(number) / "root"), reported)


@pytest.mark.fault("C7", losses_of_power=ORDERS)
def test_whatever_a_power_loss_takes_no_reported_commit_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = recorded(tmp_path / "root", monkeypatch)
    whole = expected()
    heads: set[int] = set()

    def check(store: LocalStore, reported: int) -> None:
        if reported < 0:
            return
        repository = open_repository(store, seed=2)
        assert repository.state.head >= reported
        heads.add(reported)
        report = verify(store, level="data", workers=1)
        assert (report.findings, report.alarms) == ((), ())
        found = summary(repository)
        assert found == {name: whole[name] for name in found}
        if reported % 3 == 0:
            run_all(repository)
            assert summary(repository) == whole
        store.close()

    (tmp_path / "disks").mkdir()
    crashes(calls, tmp_path / "disks", check, ORDERS)
    assert len(heads) > 5


@pytest.mark.parametrize("left_out", ["file", "folder"])
def test_the_model_sees_a_store_that_does_not_sync(
    left_out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same test fails for a store that leaves out one kind of sync: it is able to fail."""
    calls = [
        call
        for call in recorded(tmp_path / "root", monkeypatch)
        if call[0] != "fsync" or ("/tmp/" in call[1]) != (left_out == "file")
    ]

    def check(store: LocalStore, reported: int) -> None:
        try:
            if reported >= 0:
                assert open_repository(store).state.head >= reported
                assert verify(store, level="data", workers=1).findings == ()
        finally:
            store.close()

    (tmp_path / "disks").mkdir()
    with pytest.raises(Exception):  # noqa: B017
        crashes(calls, tmp_path / "disks", check, 100)

"""Bytes that are lent to a store and written beside the thread that has them."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from kafkeep.errors import StoreFull
from kafkeep.kafka.connection import FrameBuffer
from kafkeep.memory import HUGE_PAGE, pages
from kafkeep.repository.stores import local
from kafkeep.repository.stores.behind import Behind
from kafkeep.repository.stores.file_output import BLOCK_BYTES, SMALL_BYTES
from kafkeep.repository.stores.local import LocalStore

NAME = "log/000000000000"


class Disk:
    """Writes once it may, and fails when told."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.waiting = threading.Event()
        self.failure: int | None = None

    def writev(self, file: int, views: list[memoryview]) -> int:
        self.waiting.set()
        assert self.free.wait(60)
        if self.failure is not None:
            raise OSError(self.failure, os.strerror(self.failure))
        return os.writev(file, views)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    found = Disk()
    monkeypatch.setattr(local, "_writev", found.writev)
    return found


def behind_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("write")]


def test_lending_does_not_wait_for_the_disk_and_settling_does(tmp_path: Path, disk: Disk) -> None:
    first, second = bytearray(b"1" * (2 * BLOCK_BYTES)), b"2" * (2 * BLOCK_BYTES)
    with LocalStore(tmp_path / "store").open_new() as upload:
        upload.lend(memoryview(first))
        assert disk.waiting.wait(60)
        small = bytearray(b"s" * 10)
        upload.write(small)  # may be reused at once, although what is in front of it is not written
        small[:] = b"x" * 10
        upload.lend(second)
        settled = threading.Event()
        waiting = threading.Thread(target=lambda: (upload.settle(), settled.set()))
        waiting.start()
        assert not settled.wait(0.1)
        disk.free.set()
        waiting.join()
        first[:] = b"?" * len(first)
        upload.publish(NAME)
    assert LocalStore(tmp_path / "store").get(NAME) == b"1" * len(first) + b"s" * 10 + second
    assert behind_threads() == []


@pytest.mark.parametrize("how", ["settle", "lend", "write", "publish"])
def test_what_fails_behind_is_told_by_whatever_comes_next(tmp_path: Path, disk: Disk, how: str) -> None:
    disk.failure = errno.ENOSPC
    store = LocalStore(tmp_path / "store")
    with store.open_new() as upload:
        upload.lend(b"x" * (2 * BLOCK_BYTES))
        disk.free.set()
        calls = {
            "settle": upload.settle,
            "lend": lambda: upload.lend(b"y" * (SMALL_BYTES + 1)),
            "write": lambda: upload.write(b"y" * (SMALL_BYTES + 1)),
            "publish": lambda: upload.publish(NAME),
        }
        if how != "settle":  # so that the failure is there
            with pytest.raises(StoreFull):
                upload.settle()
        with pytest.raises(StoreFull):
            calls[how]()
    assert list(store.list("")) == []
    assert list((tmp_path / "store" / "tmp").iterdir()) == []
    assert behind_threads() == []


def test_an_upload_that_is_given_up_ends_its_thread_and_leaves_nothing(tmp_path: Path, disk: Disk) -> None:
    with LocalStore(tmp_path / "store").open_new() as upload:
        for _ in range(3):
            upload.lend(b"x" * (2 * BLOCK_BYTES))
        assert disk.waiting.wait(60) and len(behind_threads()) == 1
        disk.free.set()
    assert behind_threads() == []
    assert list((tmp_path / "store" / "tmp").iterdir()) == []


def test_small_bytes_take_no_thread(tmp_path: Path) -> None:
    with LocalStore(tmp_path / "store").open_new() as upload:
        upload.lend(b"x" * SMALL_BYTES)
        upload.settle()
        assert behind_threads() == []
        upload.publish(NAME)
    assert LocalStore(tmp_path / "store").get(NAME) == b"x" * SMALL_BYTES


def test_work_is_done_in_order_until_it_fails() -> None:
    done: list[int] = []
    behind = Behind("write")
    for number in range(100):
        behind.put(lambda number=number: done.append(number))
    behind.settle()
    assert done == list(range(100))

    go = threading.Event()

    def fail() -> None:
        assert go.wait(60)
        raise KeyError("broken")

    behind.put(fail)
    behind.put(lambda: done.append(-1))
    go.set()
    for call in (behind.settle, behind.settle, lambda: behind.put(lambda: done.append(-2))):
        with pytest.raises(KeyError, match="broken"):
            call()
    behind.close()
    behind.close()
    assert done == list(range(100)) and behind_threads() == []


def test_what_waits_at_the_end_is_not_done() -> None:
    done: list[int] = []
    go, begun = threading.Event(), threading.Event()

    def first() -> None:
        begun.set()
        assert go.wait(60)
        done.append(0)

    behind = Behind("write")
    behind.put(first)
    behind.put(lambda: done.append(1))
    assert begun.wait(60)
    ending = threading.Thread(target=behind.close)
    ending.start()
    while not behind._closed:
        time.sleep(0.001)
    go.set()
    ending.join()
    assert done == [0] and behind_threads() == []


def test_nothing_is_taken_behind_the_end() -> None:
    behind = Behind("write")
    behind.settle()
    behind.close()
    with pytest.raises(RuntimeError):
        behind.put(lambda: None)


def test_large_memory_is_whole_huge_pages_and_filled_with_zeros() -> None:
    for size in (1, HUGE_PAGE, HUGE_PAGE + 1):
        memory = pages(size)
        assert len(memory) % HUGE_PAGE == 0 and size <= len(memory) < size + HUGE_PAGE
        memory[size - 1] = 7
        assert memory[: size - 1].count(0) == size - 1


def test_large_buffers_are_reused_for_frames_of_every_smaller_size() -> None:
    buffer = FrameBuffer(3 * HUGE_PAGE + 5)
    used = []
    for size in (10, HUGE_PAGE, 3 * HUGE_PAGE + 5, 1):
        view = buffer.take(size)
        assert len(view) == size
        used.append(view.obj)
    assert used[0] is used[2] and used[1] is used[3] and used[0] is not used[1]

"""Bytes on their way into a file: the same whatever the file system accepts, in the places direct I/O wants them."""

from __future__ import annotations

import errno
import mmap
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
from tests.support.native import in_way

from kafkeep import native
from kafkeep.repository.stores import file_output
from kafkeep.repository.stores.file_output import ALIGNMENT, BLOCK_BYTES, SMALL_BYTES, Blocks, FileOutput

NOISE = random.Random(7).randbytes(3 * BLOCK_BYTES)
MANY = [
    (0, 10),
    (5, SMALL_BYTES),
    (1, 3),
    (9, BLOCK_BYTES),
    (0, BLOCK_BYTES + 5),
    (77, 2 * BLOCK_BYTES),
    (3, 0),
    (4, 9),
]


class System:
    """What a file system makes of direct I/O; writes through the page cache, wherever these run."""

    def __init__(self, *, asked: bool = True, taken: bool = True, most: int | None = None) -> None:
        self._asked, self._taken, self._most = asked, taken, most
        self.direct = False
        self.sizes: list[int] = []
        """Of the writes past the page cache."""
        self.failure: int | None = None

    def set_direct(self, file: int, *, on: bool) -> bool:
        self.direct = on and self._asked
        return self.direct

    def writev(self, file: int, views: list[memoryview]) -> int:
        if self.failure is not None:
            raise OSError(self.failure, os.strerror(self.failure))
        if self._most is not None:
            views = [views[0][: self._most]]
        size = sum(map(len, views))
        if self.direct:
            aligned = native.address is None or not any(native.address(view) % ALIGNMENT for view in views)
            place = os.lseek(file, 0, os.SEEK_CUR)
            if not self._taken or place % ALIGNMENT or any(len(view) % ALIGNMENT for view in views) or not aligned:
                raise OSError(errno.EINVAL, "not as direct I/O wants it")
            self.sizes.append(size)
        return os.writev(file, views)


@contextmanager
def output(path: Path, system: System) -> Iterator[FileOutput]:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    made = FileOutput(file, Blocks(), system.writev)
    try:
        with patch.object(file_output, "_set_direct", system.set_direct):
            yield made
    finally:
        made.close()
        os.close(file)


@pytest.mark.parametrize("way", ["helper", "python"])
@pytest.mark.parametrize(
    "make",
    [
        System,
        lambda: System(asked=False),
        lambda: System(taken=False),
        lambda: System(most=1_000_000),
        lambda: System(most=ALIGNMENT),
        lambda: System(asked=False, most=7_777),
    ],
    ids=[
        "direct",
        "refused when asked",
        "refused when written",
        "odd parts",
        "aligned parts",
        "parts through the cache",
    ],
)
@pytest.mark.parametrize("times", [1, 4])
def test_every_byte_comes_in_its_place(tmp_path: Path, make: Callable[[], System], way: str, times: int) -> None:
    system = make()
    expected = bytearray()
    with in_way(way), output(tmp_path / "file", system) as made:
        for start, size in MANY * times:
            made.write(memoryview(NOISE)[start : start + size])
            expected += NOISE[start : start + size]
        made.flush()
    assert (tmp_path / "file").read_bytes() == expected
    if make is System:
        assert sum(system.sizes) > len(expected) - BLOCK_BYTES


def test_what_lies_right_is_written_from_where_it_lies(tmp_path: Path) -> None:
    system = System()
    received = mmap.mmap(-1, 3 * BLOCK_BYTES + ALIGNMENT)
    with output(tmp_path / "file", system) as made:
        made.write(NOISE[: BLOCK_BYTES + 100])
        for size in (BLOCK_BYTES + 5000, 2 * BLOCK_BYTES + 1):
            place = 100 if size == BLOCK_BYTES + 5000 else (100 + BLOCK_BYTES + 5000) % ALIGNMENT
            received[place : place + size] = NOISE[:size]
            made.write(memoryview(received)[place : place + size])
        made.flush()
    if native.address is None:  # nobody knows where bytes lie
        assert system.sizes == [BLOCK_BYTES] * 4
    else:
        assert system.sizes == [BLOCK_BYTES, BLOCK_BYTES + ALIGNMENT, 2 * BLOCK_BYTES]
    expected = NOISE[: BLOCK_BYTES + 100] + NOISE[: BLOCK_BYTES + 5000] + NOISE[: 2 * BLOCK_BYTES + 1]
    assert (tmp_path / "file").read_bytes() == expected


def test_small_objects_take_one_write(tmp_path: Path) -> None:
    system = System()
    with output(tmp_path / "file", system) as made:
        for _ in range(10):
            made.write(b"x" * (SMALL_BYTES // 10))
        made.flush()
    assert system.sizes == []
    assert (tmp_path / "file").stat().st_size == SMALL_BYTES // 10 * 10


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_other_errors_are_not_taken_for_a_refusal(tmp_path: Path, number: int) -> None:
    system = System()
    with output(tmp_path / "file", system) as made:
        made.write(NOISE[: BLOCK_BYTES - 1])
        system.failure = number
        with pytest.raises(OSError, match=os.strerror(number)):
            made.write(b"xx")


def test_blocks_are_used_again_by_one_file_at_a_time() -> None:
    blocks = Blocks()
    first, second = blocks.take(), blocks.take()
    assert first is not second
    blocks.give(first)
    assert blocks.take() is first
    assert blocks.take() is not second

"""Bytes into a new file, past the page cache where the file system allows that.

A backup writes as fast as a disk takes it and reads nothing of it again: copied into the page cache its bytes would cost
more processor time than anything else that is done with them, and push out what a broker on the same host has there. So
they are gathered in blocks that direct I/O (O_DIRECT) accepts; what does not fill a block goes the usual way. File
systems differ in what they accept and say so when they are asked or when the first block comes: the file is then written
through the page cache.
"""

from __future__ import annotations

import errno
import mmap
import os
import sys
import threading
from collections.abc import Callable
from typing import Final

from kafkeep import native
from kafkeep.memory import pages

if sys.platform == "linux":
    import fcntl

Data = bytes | bytearray | memoryview
Writev = Callable[[int, list[memoryview]], int]
"""os.writev, as its caller has it."""

BLOCK_BYTES: Final = 2 * 1024 * 1024
"""Written at once: a multiple of every file system's block, and a huge page."""
ALIGNMENT: Final = 4096
"""Direct I/O wants memory and place in the file to be multiples of this, or of less."""
SMALL_BYTES: Final = 256 * 1024
"""Up to here bytes wait in memory of their own size: most objects are not larger."""
WRITEBACK_BYTES: Final = 8 * 1024 * 1024
"""Through the page cache: the disk is set to work each time this much is waiting, so that the sync finds little to do."""
_MOST_SPARE: Final = 8
_REFUSED: Final = (errno.EINVAL, errno.EOPNOTSUPP)


class Blocks:
    """Blocks of memory that begin at a page, used again: making them anew for every file costs more than filling them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spare: list[mmap.mmap] = []

    def take(self) -> mmap.mmap:
        with self._lock:
            if self._spare:
                return self._spare.pop()
        return pages(BLOCK_BYTES)

    def give(self, block: mmap.mmap) -> None:
        with self._lock:
            if len(self._spare) < _MOST_SPARE:
                self._spare.append(block)


class FileOutput:
    """Appends to one open file. For one thread; raises OSError. What was given is in the file's hands after `flush`."""

    def __init__(self, file: int, blocks: Blocks, writev: Writev) -> None:
        self._file = file
        self._blocks = blocks
        self._writev = writev
        self._small = bytearray()
        self._block: mmap.mmap | None = None
        self._filled = 0
        self._cached = False
        """The page cache is in between."""
        self._written = 0
        self._sent = 0
        self._unwritten: list[memoryview] = []
        """What the call that failed has left."""

    def write(self, data: Data) -> None:
        """`data` may be reused as soon as the call returns."""
        if self._block is not None:
            self._fill(memoryview(data))
        elif len(self._small) + len(data) <= SMALL_BYTES:
            self._small += data
        elif self._cached or not _set_direct(self._file, on=True):
            self._cached = True
            self._write_cached([memoryview(self._small), memoryview(data)] if self._small else [memoryview(data)])
            self._small = bytearray()
        else:
            self._block = self._blocks.take()
            small, self._small = self._small, bytearray()
            self._fill(memoryview(small))
            self._fill(memoryview(data))

    def flush(self) -> None:
        """Hands what still waits to the system, which is not yet to say that it is on the disk."""
        if self._block is not None:
            _set_direct(self._file, on=False)
            self._cached = True
            self._write_all([memoryview(self._block)[: self._filled]])
            self.close()
        if self._small:
            self._write_all([memoryview(self._small)])
            self._small = bytearray()

    def close(self) -> None:
        """Gives memory back; the file is the caller's to close."""
        block, self._block, self._filled = self._block, None, 0
        if block is not None:
            self._blocks.give(block)

    def _fill(self, data: memoryview) -> None:
        position, size = 0, len(data)
        while position < size:
            block = self._block
            if block is None:  # the file system refused the first one
                self._write_cached([data[position:]])
                return
            if size - position >= BLOCK_BYTES and self._lies_as_in_file(data[position:]):
                position += self._write_in_place(block, data[position:])
                continue
            taken = min(BLOCK_BYTES - self._filled, size - position)
            block[self._filled : self._filled + taken] = data[position : position + taken]
            self._filled += taken
            position += taken
            if self._filled == BLOCK_BYTES:
                self._write_direct([memoryview(block)])

    def _lies_as_in_file(self, data: memoryview) -> bool:
        """Whether the data, behind what waits in the block, can be written from where they are."""
        return native.address is not None and (native.address(data) - self._filled) % ALIGNMENT == 0

    def _write_in_place(self, block: mmap.mmap, data: memoryview) -> int:
        """What waits in the block, made up to whole pages, and all whole pages behind it; how much of `data` that takes."""
        front = -(-self._filled // ALIGNMENT) * ALIGNMENT
        head = front - self._filled
        block[self._filled : front] = data[:head]
        stop = head + (len(data) - head) // ALIGNMENT * ALIGNMENT
        self._write_direct([memoryview(block)[:front], data[head:stop]])
        return stop

    def _write_direct(self, parts: list[memoryview]) -> None:
        """Empties the block, whose bytes are among the parts."""
        try:
            self._write_all(parts)
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
            _set_direct(self._file, on=False)
            self._cached = True
            self._sent = self._written
            self._write_cached(self._unwritten)
            self.close()
        self._filled = 0

    def _write_cached(self, parts: list[memoryview]) -> None:
        self._write_all(parts)
        if self._written - self._sent >= WRITEBACK_BYTES:
            _start_writeback(self._file, self._sent, self._written - self._sent)
            self._sent = self._written

    def _write_all(self, parts: list[memoryview]) -> None:
        """Write every byte; the system may take fewer than it is given."""
        self._unwritten = views = [part for part in parts if part]
        while views:
            taken = self._writev(self._file, views)
            self._written += taken
            while views and taken >= len(views[0]):
                taken -= len(views[0])
                views.pop(0)
            if views:
                views[0] = views[0][taken:]


def _set_direct(file: int, *, on: bool) -> bool:
    """Whether the file is written past the page cache from here on."""
    if sys.platform != "linux":
        return False
    flags = fcntl.fcntl(file, fcntl.F_GETFL)
    try:
        fcntl.fcntl(file, fcntl.F_SETFL, flags | os.O_DIRECT if on else flags & ~os.O_DIRECT)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        return False
    return on


def _start_writeback(file: int, start: int, length: int) -> None:
    """Begin to write dirty pages without waiting: Linux does so when told that they will not be needed."""
    if sys.platform == "linux":
        os.posix_fadvise(file, start, length, os.POSIX_FADV_DONTNEED)

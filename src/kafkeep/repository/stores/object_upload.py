"""An object of unknown name and size on its way into a bucket: in memory while small, else in an unnamed file."""

from __future__ import annotations

import mmap
import tempfile
from typing import IO, Final, Protocol

from kafkeep.repository.names import check_object_name
from kafkeep.repository.stores.base import Upload
from kafkeep.repository.stores.local import translate

MEMORY_BYTES: Final = 4 * 1024 * 1024
"""Larger uploads wait in a file: a backup fills two packs per connection at once, and memory must not grow with them."""


Body = bytes | bytearray | memoryview | mmap.mmap


class Target(Protocol):
    """Where an upload goes."""

    @property
    def url(self) -> str: ...

    def create(self, name: str, body: Body, size: int) -> None:
        """Create the object from a buffer."""


class ObjectUpload(Upload):
    """Gathers the bytes and hands them over in one piece. The file has no name, so a killed process leaves nothing."""

    def __init__(self, target: Target, folder: str | None) -> None:
        self._target = target
        self._folder = folder
        self._memory: bytearray | None = bytearray()
        self._file: IO[bytes] | None = None
        self._size = 0
        self._done = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._memory is not None:
            self._memory += data
            self._size += len(data)
            if self._size > MEMORY_BYTES:
                waiting, self._memory = self._memory, None
                self._spool(waiting)
        else:
            self._spool(data)
            self._size += len(data)

    def _spool(self, data: bytes | bytearray | memoryview) -> None:
        what = f"cannot keep an upload to {self._target.url} in {self._folder or tempfile.gettempdir()}"
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0, dir=self._folder)  # noqa: SIM115 - closed by discard
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise translate(error, what) from error

    def publish(self, name: str) -> None:
        check_object_name(name)
        if self._done:
            raise ValueError("an upload is published once")
        if self._file is None:
            self._target.create(name, b"" if self._memory is None else self._memory, self._size)
        else:
            # not closed by hand: a request that was given up may hold on to it for a moment
            self._target.create(name, mmap.mmap(self._file.fileno(), self._size, access=mmap.ACCESS_READ), self._size)
        self._done = True
        self.discard()

    def discard(self) -> None:
        self._memory = None if self._file is not None else bytearray()
        if self._file is not None:
            self._file.close()
            self._file = None
        self._done = True

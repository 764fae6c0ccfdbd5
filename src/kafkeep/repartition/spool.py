"""The spread batches of a topic on local disk, until they are produced or compared.

One file without a name: nobody else can open it, and the system takes it back however the process ends.
"""

from __future__ import annotations

import errno
import os
import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from types import TracebackType
from typing import BinaryIO, Final, NamedTuple, Self

from kafkeep.errors import CorruptBatch, StoreError, StoreFull
from kafkeep.kafka.wire.batch import walk
from kafkeep.model import BatchInfo

_OFFSET_BYTES: Final = 8
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class SpooledBatch(NamedTuple):
    """Base offset and last offset count the records of the target partition from 0."""

    info: BatchInfo
    batch: memoryview


class Spool:
    """Batches of several target partitions, written once in order and read again from any of them, by several threads."""

    def __init__(self, folder: str, targets: int) -> None:
        """Raises `StoreError` when no file can be made in the folder, `StoreFull` when it is full."""
        self._folder = folder
        self._end = 0
        self._firsts = [array("q") for _ in range(targets)]
        self._places = [array("q") for _ in range(targets)]
        self._sizes = [array("i") for _ in range(targets)]
        self._records = [0] * targets
        try:
            self._file: BinaryIO = tempfile.TemporaryFile(dir=folder, prefix="kafkeep-spool-", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise _translated(error, folder) from error

    def put(self, target: int, first: int, records: int, batch: bytes) -> None:
        """Keeps a batch of base offset 0 behind all others of its target partition.

        Raises `StoreFull` when the disk is full, `StoreError` when it fails.
        """
        # The base offset is outside of the CRC.
        data = first.to_bytes(_OFFSET_BYTES, "big") + batch[_OFFSET_BYTES:]
        view, position = memoryview(data), self._end
        try:
            while view:
                written = os.pwrite(self._file.fileno(), view, position)
                view, position = view[written:], position + written
        except OSError as error:
            raise _translated(error, self._folder) from error
        self._firsts[target].append(first)
        self._places[target].append(self._end)
        self._sizes[target].append(len(data))
        self._records[target] += records
        self._end = position

    def records(self, target: int) -> int:
        """Of one target partition."""
        return self._records[target]

    def size_bytes(self, target: int) -> int:
        """Of the batches of one target partition."""
        return sum(self._sizes[target])

    def batches(self, target: int, first: int) -> Iterator[SpooledBatch]:
        """The batches of a target partition from the one that begins with record number `first` on; CRCs are checked.

        Raises `StoreError` when the disk fails, `CorruptBatch` when it gives back other bytes.
        """
        firsts = self._firsts[target]
        start = max(0, bisect_right(firsts, first) - 1)
        for number in range(start, len(firsts)):
            size = self._sizes[target][number]
            try:
                data = os.pread(self._file.fileno(), size, self._places[target][number])
            except OSError as error:
                raise _translated(error, self._folder) from error
            infos, used = walk(memoryview(data))
            if used != size or len(infos) != 1:
                raise CorruptBatch(f"the temporary file in {self._folder} gave back other bytes than it was given")
            if infos[0].base_offset >= first:
                yield SpooledBatch(infos[0], memoryview(data))

    def close(self) -> None:
        """Gives the space back."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def free_bytes(folder: str) -> int:
    """What is left of the folder's disk for this user. Raises `StoreError`."""
    try:
        found = os.statvfs(folder)
    except OSError as error:
        raise _translated(error, folder) from error
    return found.f_bavail * found.f_frsize


def _translated(error: OSError, folder: str) -> StoreError:
    if error.errno in _FULL:
        return StoreFull(
            f"no space for the spread records in the temporary folder {folder}",
            hint="Free some space there, or name a folder on a larger disk with --spool-dir.",
        )
    return StoreError(
        f"the temporary folder {folder} cannot be used: {error.strerror}",
        hint="Name a folder that can be written to with --spool-dir.",
    )

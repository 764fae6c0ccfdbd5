"""A topic's log segments on the broker's disk: found, checked, gathered for `cp`."""

from __future__ import annotations

import mmap
import os
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from bench.measure import BenchError
from bench.workloads import PARTITIONS, Workload
from kafkeep.kafka.wire.batch import walk

_CHECKED_BYTES: Final = 4 * 1024 * 1024
_TOLERANCE: Final = 0.1
_DELETE_SECONDS: Final = 60.0


def partition_folders(log_dirs: Iterable[Path], topic: str) -> list[Path]:
    """The folders of a topic's partitions, in their order; also of those that are about to be deleted."""
    ours = re.compile(rf"{re.escape(topic)}(-|\.)\d+([-.].*)?")
    found = [folder for root in log_dirs for folder in root.iterdir() if ours.fullmatch(folder.name)]
    return sorted(found)


def log_files(log_dirs: Iterable[Path], topic: str) -> list[Path]:
    """The log segments themselves, without indexes."""
    return [path for folder in partition_folders(log_dirs, topic) for path in sorted(folder.glob("*.log"))]


def size_of(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def check_batches(files: Sequence[Path], workload: Workload) -> float:
    """Mean size of the batches at the start of each file; BenchError when these are not the workload's."""
    if len(files) < PARTITIONS:
        raise BenchError(f"{workload.topic} has {len(files)} log segments, at least {PARTITIONS} were expected")
    sizes: list[int] = []
    for path in files:
        with path.open("rb") as file:
            infos, _ = walk(memoryview(file.read(_CHECKED_BYTES)))
        sizes += [info.size for info in infos]
    mean = sum(sizes) / max(1, len(sizes))
    if abs(mean - workload.batch_bytes) > _TOLERANCE * workload.batch_bytes:
        raise BenchError(f"{workload.topic} has batches of {mean:.0f} bytes instead of {workload.batch_bytes}")
    return mean


def gather(files: Iterable[Path], folder: Path) -> None:
    """Hard links to the log segments, a folder per partition: what `cp -r` gets to copy."""
    for path in files:
        target = folder / path.parent.name
        target.mkdir(parents=True, exist_ok=True)
        os.link(path, target / path.name)


def mapped(path: Path) -> memoryview:
    """A file's bytes without a copy; BenchError when it is empty."""
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise BenchError(f"{path.name} is empty")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def await_deleted(log_dirs: Iterable[Path], topic: str) -> None:
    """Returns once the broker has removed a deleted topic's files."""
    deadline = time.monotonic() + _DELETE_SECONDS
    roots = list(log_dirs)
    while partition_folders(roots, topic):
        if time.monotonic() > deadline:
            raise BenchError(f"the broker still has files of {topic} a minute after its deletion")
        time.sleep(0.05)

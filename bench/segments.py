"""Topics' log segments on the broker's disk: found, checked, gathered for `cp`."""

from __future__ import annotations

import mmap
import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Final

from bench.measure import BenchError
from bench.workloads import Workload
from kafkeep.kafka.wire.batch import walk
from kafkeep.model import TopicPartition

_CHECKED_BYTES: Final = 4 * 1024 * 1024
_CHECKED_FILES: Final = 16
_TOLERANCE: Final = 0.1
_DELETE_SECONDS: Final = 600.0
_AGAIN_SECONDS: Final = 5.0
_FOLDER: Final = re.compile(r"(?P<topic>.+?)-(?P<partition>\d+)")
_DOOMED: Final = re.compile(r"(?P<topic>.+?)\.[0-9a-f]{32}-(?:delete|stray|future)|(?P<whole>.+)-\d+")


def partition_folders(log_dirs: Iterable[Path], topics: str | Collection[str]) -> dict[TopicPartition, Path]:
    """The folders of the topics' partitions, in their order."""
    wanted = {topics} if isinstance(topics, str) else set(topics)
    found: dict[TopicPartition, Path] = {}
    for root in log_dirs:
        for entry in os.scandir(root):
            match = _FOLDER.fullmatch(entry.name)
            if match is not None and match["topic"] in wanted:
                found[TopicPartition(match["topic"], int(match["partition"]))] = Path(entry.path)
    return dict(sorted(found.items()))


def log_files(log_dirs: Iterable[Path], topics: str | Collection[str]) -> list[Path]:
    """The log segments themselves, without indexes; empty ones are left out."""
    folders = partition_folders(log_dirs, topics).values()
    return [path for folder in folders for path in sorted(folder.glob("*.log")) if path.stat().st_size]


def size_of(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def check_batches(files: Sequence[Path], workload: Workload) -> float:
    """Mean size of the batches at the start of some files; BenchError when these are not the workload's."""
    expected = len(workload.filled_partitions())
    if len(files) < expected:
        raise BenchError(f"{workload.topic} has {len(files)} log segments, at least {expected} were expected")
    sizes: list[int] = []
    for path in files[:_CHECKED_FILES]:
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


def await_deleted(log_dirs: Iterable[Path], topics: str | Collection[str], *, delete: Callable[[], None]) -> None:
    """Returns once the broker has removed the topics' files; `delete` is called at the beginning and every few seconds.
    Raises BenchError when the broker does not.
    """
    wanted = {topics} if isinstance(topics, str) else set(topics)
    began = asked = time.monotonic()
    roots = list(log_dirs)
    delete()
    while any(_of(entry.name, wanted) for root in roots for entry in os.scandir(root)):
        now = time.monotonic()
        if now > began + _DELETE_SECONDS:
            raise BenchError(f"the broker still has files of {min(wanted)} {_DELETE_SECONDS:.0f} s after its deletion")
        if now > asked + _AGAIN_SECONDS:
            delete()
            asked = time.monotonic()
        time.sleep(0.05)


def _of(name: str, topics: Collection[str]) -> bool:
    """True for the folder of a partition, and for one that the broker has renamed to delete it."""
    match = _DOOMED.fullmatch(name)
    if match is None:
        return False
    topic = match["whole"] if match["topic"] is None else match["topic"].rpartition("-")[0]
    return topic in topics

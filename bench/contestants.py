"""Who takes part: names, what each of them stands for, and in which order a round goes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

Side = Literal["backup", "restore"]
Kind = Literal["bound", "kafkeep", "peer"]


@dataclass(frozen=True, slots=True)
class Contestant:
    """One that runs in every round."""

    name: str
    title: str
    side: Side
    """Whether it reads the cluster's records or puts records into a cluster."""
    kind: Kind
    """`bound`: the least that has to be done; `peer`: another program that users have for it."""
    is_whole_command: bool = True
    """Whether what it takes in memory says something: a part of this benchmark's own process tells nothing."""


COPY: Final = "cp"
DROP: Final = "drop"
CONSUMER_PERF: Final = "consumer-perf"
DUMP: Final = "confluent-dump"
OSO_BACKUP: Final = "oso-backup"
OSO_BACKUP_LZ4: Final = "oso-backup-lz4"
BACKUP: Final = "backup"
BACKUP_ZSTD: Final = "backup-zstd"
BACKUP_PROCESSES: Final = "backup-processes"
BACKUP_DASK: Final = "backup-dask"
PRODUCE: Final = "produce"
PRODUCE_LARGE: Final = "produce-1m"
PRODUCER_PERF: Final = "producer-perf"
OSO_RESTORE: Final = "oso-restore"
OSO_RESTORE_LZ4: Final = "oso-restore-lz4"
RESTORE: Final = "restore"
RESTORE_EXIST: Final = "restore-exist"
RESTORE_AS_IS: Final = "restore-as-is"
"""Only where batches are small: every batch as it was."""
RESTORE_PROCESSES: Final = "restore-processes"
RESTORE_DASK: Final = "restore-dask"
IDLE: Final = "idle"
"""A backup that finds nothing new: what starting the command and asking the cluster costs, part of every backup. It has no
figures per byte.
"""

ALL: Final = (
    Contestant(COPY, "cp -r and sync of the log segments", "backup", "bound", False),
    Contestant(DROP, "fetch that only drops", "backup", "bound", False),
    Contestant(CONSUMER_PERF, "Kafka's ConsumerPerformance, drops", "backup", "peer"),
    Contestant(DUMP, "confluent-kafka consumer into a file", "backup", "peer"),
    Contestant(OSO_BACKUP, "osodevops/kafka-backup backup, zstd", "backup", "peer"),
    Contestant(OSO_BACKUP_LZ4, "osodevops/kafka-backup backup, lz4", "backup", "peer"),
    Contestant(BACKUP, "kafkeep backup", "backup", "kafkeep"),
    Contestant(BACKUP_ZSTD, "kafkeep backup, zstd", "backup", "kafkeep"),
    Contestant(BACKUP_PROCESSES, "kafkeep backup, 2 processes", "backup", "kafkeep"),
    Contestant(BACKUP_DASK, "kafkeep backup, Dask with 2 workers", "backup", "kafkeep"),
    Contestant(PRODUCE, "raw produce, batches as they are", "restore", "bound", False),
    Contestant(PRODUCE_LARGE, "raw produce, repacked into 1 MB", "restore", "bound", False),
    Contestant(PRODUCER_PERF, "Kafka's ProducerPerformance", "restore", "peer"),
    Contestant(OSO_RESTORE, "osodevops/kafka-backup restore, zstd", "restore", "peer"),
    Contestant(OSO_RESTORE_LZ4, "osodevops/kafka-backup restore, lz4", "restore", "peer"),
    Contestant(RESTORE, "kafkeep restore", "restore", "kafkeep"),
    Contestant(RESTORE_EXIST, "kafkeep restore --preflight exist", "restore", "kafkeep"),
    Contestant(RESTORE_AS_IS, "kafkeep restore --preflight exist --repack-bytes 0", "restore", "kafkeep"),
    Contestant(RESTORE_PROCESSES, "kafkeep restore, 2 processes", "restore", "kafkeep"),
    Contestant(RESTORE_DASK, "kafkeep restore, Dask with 2 workers", "restore", "kafkeep"),
)
"""The contestants with figures per byte, in the order of tables and plots."""

BY_NAME: Final[Mapping[str, Contestant]] = {each.name: each for each in ALL}
OSO: Final = frozenset({OSO_BACKUP, OSO_BACKUP_LZ4, OSO_RESTORE, OSO_RESTORE_LZ4})
EXECUTORS: Final[Mapping[str, str]] = {
    BACKUP_PROCESSES: "processes",
    BACKUP_DASK: "dask",
    RESTORE_PROCESSES: "processes",
    RESTORE_DASK: "dask",
}
"""Contestants that run over an executor of their own, by its name."""
VARIANTS: Final = frozenset({OSO_BACKUP, OSO_RESTORE, RESTORE_EXIST})
"""Where making and deleting topics takes minutes each time, others stand for these: the faster compression, the whole
restore.
"""
NEEDS: Final[Mapping[str, str]] = {
    OSO_RESTORE: OSO_BACKUP,
    OSO_RESTORE_LZ4: OSO_BACKUP_LZ4,
    **dict.fromkeys((IDLE, RESTORE, RESTORE_EXIST, RESTORE_AS_IS, RESTORE_PROCESSES, RESTORE_DASK), BACKUP),
}
"""Whose work has to be there before theirs."""
KINDS: Final = ("bound", "kafkeep", "peer")
NAMES: Final = (*(each.name for each in ALL), IDLE)


def chosen(only: Iterable[str] | None, without: Iterable[str] = ()) -> frozenset[str]:
    """Contestants by their names or kinds (None: all) but for those in `without`, and whom these need.

    Raises ValueError for a word that is neither.
    """
    names = set(NAMES) if only is None else _named(only)
    names -= _named(without)
    return frozenset(names | {NEEDS[name] for name in names if name in NEEDS})


def _named(words: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for word in words:
        mine = {each.name for each in ALL if word in (each.name, each.kind)} | ({IDLE} & {word})
        if not mine:
            raise ValueError(f"no contestant {word}; there are {', '.join((*KINDS, *NAMES))}")
        found |= mine
    return found

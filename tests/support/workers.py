"""How `make test` spreads the suite over processes: how many, and in which order files are handed out.

pytest-xdist gives each worker whole files (`--dist loadfile`), so that fixtures of modules are made once, and the next
file to whoever is done (`--no-loadscope-reorder`: in the order of collection). Shared clusters exist once per worker.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

MOST_WORKERS: Final = 4
WORKER_BYTES: Final = 5 * 2**30
"""What a worker takes at its worst: nine brokers shared by its tests, three of a test's own, and Python."""

LONGEST: Final = (
    "tests/integration/test_lab.py",
    "tests/integration/test_metadata_script.py",
    "tests/integration/test_recovery_live.py",
    "tests/proof/test_disturbances.py",
    "tests/proof/test_group_positions.py",
    "tests/integration/test_sigkill.py",
    "tests/integration/test_hot_path.py",
    "tests/faults/test_random_kills.py",
    "tests/faults/test_two_writers.py",
    "tests/crash/test_backup_system_calls.py",
    "tests/crash/test_backup_store_calls.py",
    "tests/integration/test_controller_route.py",
    "tests/integration/test_metadata_live.py",
    "tests/integration/test_repartition_live.py",
    "tests/integration/test_bucket_live.py",
    "tests/integration/test_registry_live.py",
    "tests/integration/test_connect_live.py",
    "tests/integration/test_compare_live.py",
    "tests/proof/test_histories.py",
    "tests/proof/test_what_clients_write.py",
)
"""Files of half a minute and more, the longest first: the worker that got one of them last would keep all waiting."""

QUICK: Final = ("tests/contract", "tests/docs", "tests/golden", "tests/unit")
"""Files that fill up the end."""


def worker_count(cores: int, memory_bytes: int) -> int:
    """One per core, as far as the memory goes."""
    return max(1, min(cores, MOST_WORKERS, memory_bytes // WORKER_BYTES))


def workers_here(group: Path = Path("/sys/fs/cgroup")) -> int:
    """For this machine, or for the part of it that a container may use (`group`: its control group, version 2)."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if (limit := _limit(group / "memory.max")) is not None:
        memory = min(memory, limit[0])
    if (limit := _limit(group / "cpu.max")) is not None:
        cores = min(cores, -(-limit[0] // limit[1]))
    return worker_count(cores, memory)


def _limit(file: Path) -> list[int] | None:
    """The numbers of a file of the control group; None when it sets no limit or is not there."""
    try:
        words = file.read_text().split()
    except OSError:
        return None
    return [int(word) for word in words] if words and words[0] != "max" else None


def own_ports(worker: str, ports: range) -> range:
    """The part of the ports that is for the brokers of `gw0`, `gw1` …: one of them may take its port again after it was
    stopped, whatever another worker has started meanwhile.
    """
    number = int(worker.removeprefix("gw")) % MOST_WORKERS
    return ports[number * len(ports) // MOST_WORKERS : (number + 1) * len(ports) // MOST_WORKERS]


def place(file: str) -> int:
    """Where a file stands when workers are given files; the order of collection decides among equals."""
    if file in LONGEST:
        return LONGEST.index(file)
    return len(LONGEST) + file.startswith(QUICK)


def longest_first(node_ids: Iterable[str]) -> list[int]:
    """Indexes of the tests in the order in which they are handed out."""
    files = [node_id.partition("::")[0] for node_id in node_ids]
    return sorted(range(len(files)), key=lambda index: place(files[index]))

"""How `make test` spreads the suite over processes: how many, and in which order files are handed out.

pytest-xdist gives each worker whole files (`--dist loadfile`), so that fixtures of modules are made once, and the next
file to whoever is done (`--no-loadscope-reorder`: in the order of collection). Shared clusters exist once per worker.

A broker that nobody asks anything takes 2 to 4 % of a core. So files that need the same clusters come one after another,
those of the rarest cluster first, and a worker ends a cluster when no file from there on needs it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
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

RAREST: Final = ("431-three", "431-tls", "431-scram", "392-scram", "431-scene", "392", "431")
"""Shared clusters, those that the fewest files need first."""

_BOTH: Final = frozenset({"431", "392"})
_BOTH_SCRAM: Final = frozenset({"431-scram", "392-scram"})
_THROUGH: Final[Mapping[str, frozenset[str]]] = {
    "kafka_431": frozenset({"431"}),
    "kafka_392": frozenset({"392"}),
    "kafka_431_three": frozenset({"431-three"}),
    "kafka_431_tls": frozenset({"431-tls"}),
    "kafka_431_scram": frozenset({"431-scram"}),
    "kafka_392_scram": frozenset({"392-scram"}),
    "scene": frozenset({"431-scene"}),
    # These ask for one cluster after the other by name.
    "kafka": _BOTH,
    "secured": _BOTH_SCRAM,
    "rich": _BOTH_SCRAM,
    "live": _BOTH,
    "trip": _BOTH,
}
"""The shared clusters that a fixture starts."""


def worker_count(cores: int, memory_bytes: int) -> int:
    """One more than cores, as far as the memory goes: tests wait for brokers a quarter of their time."""
    return max(1, min(cores + 1, MOST_WORKERS, memory_bytes // WORKER_BYTES))


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


def clusters_of(fixtures: Iterable[str]) -> frozenset[str]:
    """The shared clusters that a test with these fixtures needs."""
    return frozenset().union(*(_THROUGH.get(name, frozenset()) for name in fixtures))


def place(file: str, clusters: Collection[str] = ()) -> tuple[int, int]:
    """Where a file stands when workers are given files; the order of collection decides among equals."""
    rarest = next((number for number, name in enumerate(RAREST) if name in clusters), len(RAREST))
    if file in LONGEST:
        return rarest, LONGEST.index(file)
    return rarest, len(LONGEST) + file.startswith(QUICK)


def longest_first(tests: Iterable[tuple[str, Iterable[str]]]) -> list[int]:
    """Indexes of the tests, told as node id and fixtures, in the order in which they are handed out."""
    files, needs = [], {}
    for node_id, fixtures in tests:
        files.append(node_id.partition("::")[0])
        needs[files[-1]] = needs.get(files[-1], frozenset()) | clusters_of(fixtures)
    places = {file: place(file, clusters) for file, clusters in needs.items()}
    return sorted(range(len(files)), key=lambda index: places[files[index]])


def needed_from(tests: Iterable[tuple[str, Iterable[str]]]) -> dict[str, frozenset[str]]:
    """By file, the shared clusters that its tests and those of all later files need."""
    found: dict[str, frozenset[str]] = {}
    needed: frozenset[str] = frozenset()
    for node_id, fixtures in reversed(list(tests)):
        needed |= clusters_of(fixtures)
        # Of a file whose tests do not stand together, the first place counts.
        found[node_id.partition("::")[0]] = needed
    return found

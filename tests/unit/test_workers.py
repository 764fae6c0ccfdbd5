"""How the suite is spread over processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.workers import (
    LONGEST,
    MOST_WORKERS,
    WORKER_BYTES,
    longest_first,
    own_ports,
    worker_count,
    workers_here,
)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("cores", "memory_bytes", "expected"),
    [
        (1, 64 * 2**30, 1),
        (2, 64 * 2**30, 2),
        (64, 512 * 2**30, MOST_WORKERS),
        (4, 3 * WORKER_BYTES - 1, 2),
        (4, WORKER_BYTES // 2, 1),
    ],
)
def test_as_many_workers_as_cores_and_memory_bear(cores: int, memory_bytes: int, expected: int) -> None:
    assert worker_count(cores, memory_bytes) == expected


@pytest.mark.parametrize(
    ("memory", "cpu", "most"),
    [
        (None, None, MOST_WORKERS),
        ("max", "max 100000", MOST_WORKERS),
        (str(WORKER_BYTES - 1), "max 100000", 1),
        ("max", "100000 100000", 1),
        ("max", "50000 100000", 1),
    ],
)
def test_a_container_has_less(memory: str | None, cpu: str | None, most: int, tmp_path: Path) -> None:
    for name, text in (("memory.max", memory), ("cpu.max", cpu)):
        if text is not None:
            (tmp_path / name).write_text(f"{text}\n")
    assert 1 <= workers_here(tmp_path) <= min(most, workers_here(tmp_path / "absent"))
    assert most > 1 or workers_here(tmp_path) == 1


def test_workers_share_no_port() -> None:
    ports = range(15000, 15010)
    parts = [own_ports(f"gw{number}", ports) for number in range(MOST_WORKERS)]
    assert sorted(port for part in parts for port in part) == list(ports)
    assert all(len(part) >= 2 for part in parts)
    assert own_ports(f"gw{MOST_WORKERS}", ports) == parts[0], "one that stands in for another that died"


def test_long_files_come_first_and_quick_ones_last_each_in_its_own_order() -> None:
    given = ["tests/unit/test_a.py::test_z[a::b]", "tests/property/test_b.py::test_y", "tests/unit/test_a.py::test_x"]
    given += [f"{LONGEST[1]}::test_w", "tests/property/test_b.py::test_v", f"{LONGEST[0]}::test_u"]
    assert [given[index] for index in longest_first(given)] == [given[index] for index in (5, 3, 1, 4, 0, 2)]


def test_files_that_are_named_are_there() -> None:
    assert [file for file in LONGEST if not (ROOT / file).is_file()] == []
    assert len(set(LONGEST)) == len(LONGEST) > 5

"""How the suite is spread over processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support import kafka
from tests.support.workers import (
    LONGEST,
    MOST_WORKERS,
    WORKER_BYTES,
    longest_first,
    needed_from,
    own_ports,
    worker_count,
    workers_here,
)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("cores", "memory_bytes", "expected"),
    [
        (1, 64 * 2**30, 2),
        (2, 64 * 2**30, 3),
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
        ("max", "100000 100000", 2),
        ("max", "50000 100000", 2),
    ],
)
def test_a_container_has_less(memory: str | None, cpu: str | None, most: int, tmp_path: Path) -> None:
    for name, text in (("memory.max", memory), ("cpu.max", cpu)):
        if text is not None:
            (tmp_path / name).write_text(f"{text}\n")
    whole = workers_here(tmp_path / "absent")
    assert 1 <= workers_here(tmp_path) <= min(most, whole)
    assert most == MOST_WORKERS or workers_here(tmp_path) == min(most, whole)


def test_workers_share_no_port() -> None:
    ports = range(15000, 15010)
    parts = [own_ports(f"gw{number}", ports) for number in range(MOST_WORKERS)]
    assert sorted(port for part in parts for port in part) == list(ports)
    assert all(len(part) >= 2 for part in parts)
    assert own_ports(f"gw{MOST_WORKERS}", ports) == parts[0], "one that stands in for another that died"


def test_long_files_come_first_and_quick_ones_last_each_in_its_own_order() -> None:
    given = ["tests/unit/test_a.py::test_z[a::b]", "tests/property/test_b.py::test_y", "tests/unit/test_a.py::test_x"]
    given += [f"{LONGEST[1]}::test_w", "tests/property/test_b.py::test_v", f"{LONGEST[0]}::test_u"]
    order = longest_first((test, ()) for test in given)
    assert [given[index] for index in order] == [given[index] for index in (5, 3, 1, 4, 0, 2)]


USERS = [
    ("tests/unit/test_a.py::test_z", ("tmp_path",)),
    ("tests/b.py::test_one", ("kafka_431",)),
    ("tests/c.py::test_one", ("tmp_path",)),
    ("tests/c.py::test_other", ("kafka", "scene")),
    ("tests/d.py::test_one", ("kafka_431", "kafka_431_three")),
    (f"{LONGEST[0]}::test_one", ("kafka_431",)),
]


def test_files_of_the_rarest_cluster_come_first() -> None:
    ordered = [USERS[index][0].partition("::")[0] for index in longest_first(USERS)]
    assert ordered == ["tests/d.py", "tests/c.py", "tests/c.py", LONGEST[0], "tests/b.py", "tests/unit/test_a.py"]


def test_a_cluster_is_needed_up_to_the_last_file_that_asks_for_it() -> None:
    needed = needed_from([USERS[index] for index in longest_first(USERS)])
    assert needed == {
        "tests/d.py": {"431", "392", "431-scene", "431-three"},
        "tests/c.py": {"431", "392", "431-scene"},
        LONGEST[0]: {"431"},
        "tests/b.py": {"431"},
        "tests/unit/test_a.py": set(),
    }


def test_clusters_end_but_those_that_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started, ended = [], []
    monkeypatch.setattr(kafka, "start_cluster", lambda folder, **options: started.append(folder.name) or folder.name)
    monkeypatch.setattr(kafka, "end", ended.append)
    clusters = kafka.Clusters(tmp_path)
    for name in ("431", "392", "431"):
        clusters.get(name)
    clusters.keep({"431", "431-scene"})
    assert (started, ended) == (["431", "392"], ["392"])
    clusters.get("392")
    clusters.keep()
    assert (started, sorted(ended)) == (["431", "392", "392"], ["392", "392", "431"])


def test_files_that_are_named_are_there() -> None:
    assert [file for file in LONGEST if not (ROOT / file).is_file()] == []
    assert len(set(LONGEST)) == len(LONGEST) > 5

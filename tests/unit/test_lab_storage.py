"""Formatting the nodes of a lab: Kafka's tool is run once, and every node has its own name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kafkeep.errors import LabError
from kafkeep.lab.config import NodeLayout
from kafkeep.lab.storage import format_nodes

TOOL = (
    "import sys; from pathlib import Path; first, second, runs = map(Path, sys.argv[1:]); runs.open('a').write('run ');"
    "[folder.mkdir() for folder in (first, second)]; [(folder / 'meta.properties').touch() for folder in (first, second)];"
    "(first / 'bootstrap.checkpoint').write_bytes(b'levels')"
)
"""Stands in for a Java of Kafka's, which integration/test_lab.py runs."""


def nodes(folder: Path, count: int) -> list[NodeLayout]:
    made = [
        NodeLayout(node_id=1 + n, folder=folder / f"node-{1 + n}", ports={}, controller=not n) for n in range(count)
    ]
    for layout in made:
        layout.folder.mkdir(parents=True)
    return made


def formatted(folder: Path, count: int, key: str, runs: Path) -> list[NodeLayout]:
    layouts = nodes(folder, count)
    commands = [[sys.executable, "-c", TOOL, *map(str, layout.log_dirs(2)), str(runs)] for layout in layouts]
    format_nodes(layouts, 2, "cluster", commands, key=(key, str(runs)), env={})
    return layouts


def meta(folder: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (folder / "meta.properties").read_text().splitlines())


def test_the_tool_formats_one_node_and_the_others_are_like_it(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    (_, *others) = formatted(tmp_path / "a", 3, "4.3.1", runs)
    others += formatted(tmp_path / "b", 1, "4.3.1", runs)
    assert runs.read_text() == "run "
    ids = set()
    for layout in others:
        first, second = layout.log_dirs(2)
        assert (first / "bootstrap.checkpoint").read_bytes() == b"levels"
        assert not (second / "bootstrap.checkpoint").exists()
        for folder in (first, second):
            found = meta(folder)
            ids.add(found.pop("directory.id"))
            assert found == {"version": "1", "cluster.id": "cluster", "node.id": str(layout.node_id)}
    assert len(ids) == 2 * len(others)


def test_what_differs_is_formatted_by_the_tool(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    formatted(tmp_path / "a", 1, "4.3.1", runs)
    formatted(tmp_path / "b", 1, "3.9.2", runs)
    assert runs.read_text() == "run run "


def test_a_tool_that_fails_is_quoted(tmp_path: Path) -> None:
    (layout,) = nodes(tmp_path, 1)
    command = [sys.executable, "-c", "print('no such setting'); raise SystemExit(1)"]
    with pytest.raises(LabError, match="no such setting"):
        format_nodes([layout], 1, "cluster", [command], key=str(tmp_path), env={})

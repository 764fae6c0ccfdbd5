"""The file `lab.json` in a lab's folder: what runs there, so that another process can stop, ask or go on with it."""

from __future__ import annotations

import json
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Any

from kafkeep.errors import LabError
from kafkeep.lab.process import ProcessId
from kafkeep.records import dataclass

FILE = "lab.json"
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    node_id: int
    controller: bool
    ports: dict[str, int]
    command: tuple[str, ...]
    """The whole command line: enough to start the node again."""
    log_dirs: tuple[str, ...]
    process: ProcessId | None = None
    """The process last started; None when it was stopped on purpose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabState:
    kafka: str
    cluster_id: str
    security: str
    java: str
    class_path: str
    nodes: tuple[NodeState, ...] = field(default_factory=tuple)

    def with_process(self, node_id: int, process: ProcessId | None) -> LabState:
        """The state after a node was started or stopped."""
        nodes = tuple(replace(node, process=process) if node.node_id == node_id else node for node in self.nodes)
        return replace(self, nodes=nodes)


def write(folder: Path, state: LabState) -> None:
    """Replaces the state file in one step."""
    fresh = folder / f".{FILE}.new"
    fresh.write_text(json.dumps({"format": FORMAT, **asdict(state)}, indent=1), encoding="utf-8")
    fresh.replace(folder / FILE)


def read(folder: Path) -> LabState | None:
    """The state in a folder, None when there is none. Raises LabError when it cannot be understood."""
    try:
        text = (folder / FILE).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise LabError(f"cannot read {folder / FILE}: {error.strerror}") from error
    try:
        return _parse(json.loads(text))
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(
            f"{folder / FILE} is not a lab's state file of format {FORMAT}: {error!r}",
            hint="Take another folder with --dir, or remove that one after ending its processes.",
        ) from error


def _parse(value: dict[str, Any]) -> LabState:
    if value.pop("format") != FORMAT:
        raise ValueError("unknown format")
    nodes = value.pop("nodes")
    return LabState(**value, nodes=tuple(_parse_node(node) for node in nodes))


def _parse_node(value: dict[str, Any]) -> NodeState:
    process = value.pop("process")
    command, log_dirs = tuple(value.pop("command")), tuple(value.pop("log_dirs"))
    return NodeState(
        **value, command=command, log_dirs=log_dirs, process=None if process is None else ProcessId(**process)
    )

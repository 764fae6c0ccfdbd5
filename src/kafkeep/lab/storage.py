"""Formats the storage of a lab's nodes: one by Kafka's own tool, which is a Java of its own, all others like that one.

A formatted log directory holds `meta.properties`, which says whose it is, and the first of them `bootstrap.checkpoint`:
the feature levels a new cluster begins with, the same for every node and every cluster of a release (KIP-631, KIP-778,
KIP-858).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

from kafkeep.lab.cluster import new_id, run_all
from kafkeep.lab.config import NodeLayout

_CHECKPOINT = "bootstrap.checkpoint"
_META = "meta.properties"

_made: dict[Hashable, bytes] = {}
"""What Kafka's tool has written in this process, by all that it depends on."""


def format_nodes(
    layouts: Sequence[NodeLayout],
    log_dirs: int,
    cluster_id: str,
    commands: Sequence[Sequence[str]],
    *,
    key: Hashable,
    env: Mapping[str, str],
) -> None:
    """Every node's log directories are ready to start from.

    `commands` format each node by Kafka's tool. Nodes with the same `key` (runtime, release, settings) begin alike.
    Raises LabError with what the tool printed when it fails.
    """
    checkpoint, done = _made.get(key), 0
    if checkpoint is None:
        run_all(commands[:1], env=env)
        found = layouts[0].log_dirs(log_dirs)[0] / _CHECKPOINT
        if not found.exists():  # settings have put it elsewhere
            run_all(commands[1:], env=env)
            return
        checkpoint = _made[key] = found.read_bytes()
        done = 1
    for layout in layouts[done:]:
        _write(layout.node_id, layout.log_dirs(log_dirs), cluster_id, checkpoint)


def _write(node_id: int, folders: Sequence[Path], cluster_id: str, checkpoint: bytes) -> None:
    for folder in folders:
        folder.mkdir()
        text = f"version=1\ncluster.id={cluster_id}\nnode.id={node_id}\ndirectory.id={new_id()}\n"
        (folder / _META).write_text(text, encoding="ascii")
    (folders[0] / _CHECKPOINT).write_bytes(checkpoint)

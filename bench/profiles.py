"""Where the CPU of a backup and of a restore goes, thread by thread."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table

from bench.contestants import BACKUP, RESTORE
from bench.field import renamed
from bench.measure import BenchError, run
from bench.outcome import GB
from bench.rounds import Contest, glob

_LAST_VERSION: Final = (3, 11)
_FUNCTIONS: Final = 14
_LEAST_SHARE: Final = 0.02


def show(contest: Contest, console: Console) -> None:
    """Profiles one backup and one restore of the contest's workload. Raises BenchError on a Python newer than 3.11,
    where only one thread of a process can be profiled.
    """
    if sys.version_info[:2] > _LAST_VERSION:
        raise BenchError("profiles by thread need Python 3.11: later versions profile one thread of a process only")
    field = contest.field
    copies = list(renamed(contest.workload, "copy").values())
    with field.scratch("repository") as path:
        where = ("--repo", f"file://{path}")
        field.kafkeep("init", *where, "--compression", "none")
        topics = ("--topics", glob(contest.workload))
        _print(BACKUP, _profile(contest, "backup", *where, *_cluster(contest), *topics), contest, console)
        if contest.workload.is_vast:
            field.delete_topics(contest.workload.topics)
        with field.target(copies, partitions=None):
            rename = ("--rename", "s/^bench-/copy-/")
            _print(
                RESTORE, _profile(contest, "restore", "latest", *where, *_cluster(contest), *rename), contest, console
            )


def _cluster(contest: Contest) -> tuple[str, str]:
    return ("--cluster", contest.field.lab.bootstrap)


def _profile(contest: Contest, *arguments: str) -> list[dict[str, Any]]:
    field = contest.field
    result = field.folder / "profile.json"
    command = [sys.executable, "-m", "bench.profiled", str(result), "--json", *arguments]
    run(command, folder=field.folder, env=field.env)
    threads: list[dict[str, Any]] = json.loads(result.read_text(encoding="utf-8"))
    return sorted(threads, key=lambda thread: -thread["cpu_seconds"])


def _print(verb: str, threads: Sequence[dict[str, Any]], contest: Contest, console: Console) -> None:
    size = contest.size_bytes / GB
    total = sum(thread["cpu_seconds"] for thread in threads)
    console.print(f"{verb}: {total:.2f} CPU-s for {size:.2f} GB, with the profiler's own cost", highlight=False)
    for thread in threads:
        if thread["cpu_seconds"] < _LEAST_SHARE * total:
            continue
        table = Table("function", "calls", "own CPU-s/GB", "with callees", box=box.SIMPLE, title_justify="left")
        table.title = f"{thread['thread']}: {thread['cpu_seconds'] / size:.2f} CPU-s/GB"
        for function in thread["functions"][:_FUNCTIONS]:
            own, whole = function["own_seconds"] / size, function["seconds"] / size
            table.add_row(function["function"], str(function["calls"]), f"{own:.3f}", f"{whole:.3f}")
        console.print(table)

"""What the programs of this folder have in common: how they begin, how they end, and tables."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich import box
from rich.console import Console
from rich.table import Table

from bench.measure import BenchError
from kafkeep.errors import KafkeepError


def run(contest: Callable[[Console], None], *, width: int) -> int:
    """The exit status. What was started ends with SIGTERM too; `width` is for tables that do not go to a terminal."""
    clear_up_on_sigterm()
    try:
        contest(Console(width=None if sys.stdout.isatty() else width))
    except (BenchError, KafkeepError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def clear_up_on_sigterm() -> None:
    """SIGTERM ends this process as Ctrl-C does: what was started is ended, and folders are removed."""

    def ended(number: int, _: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, ended)


@contextmanager
def working_folder(parent: Path | None, needed: int = 0) -> Iterator[Path]:
    """A folder of our own in `parent`, removed at the end. Raises BenchError when that cannot be made, or when the disk has
    not `needed` bytes free.
    """
    try:
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        made = tempfile.TemporaryDirectory(prefix="kafkeep-bench-", dir=parent)
    except OSError as error:
        where = tempfile.gettempdir() if parent is None else parent
        raise BenchError(f"no folder can be made in {where} ({error.strerror}): name another one by --dir") from error
    with made as name:
        free = shutil.disk_usage(name).free
        if free < needed:
            raise BenchError(f"{needed / 1e9:.1f} GB of disk are needed, {free / 1e9:.1f} GB are free (see --dir)")
        yield Path(name)


def as_installed(folder: Path) -> dict[str, str]:
    """The environment of an installed program: modules are compiled once, by the first command."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return env | {"PYTHONPYCACHEPREFIX": str(folder / "bytecode")}


def table(console: Console, heads: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: slice) -> None:
    """`numbers`: the columns that stand to the right."""
    shown = Table(*heads, box=box.SIMPLE)
    for column in shown.columns[numbers]:
        column.justify = "right"
    for row in rows:
        shown.add_row(*row)
    console.print(shown)

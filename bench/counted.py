"""Runs kafkeep in this process and counts what it reads of a repository in a folder: `python -m bench.counted RESULT
ARGUMENTS...`.

RESULT is JSON: for each first part of object names (`pack`, `log`, `doc`, …) how many reads there were and of how many bytes.
On a bucket each of them would be a request.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

from kafkeep.repository.stores.local import LocalStore

_found: dict[str, list[int]] = {}
_lock = threading.Lock()


def main() -> None:
    result, *arguments = sys.argv[1:]
    read = LocalStore.get

    def counting(self: LocalStore, name: str, start: int = 0, length: int | None = None) -> bytes:
        data = read(self, name, start, length)
        with _lock:
            counts = _found.setdefault(name.partition("/")[0], [0, 0])
            counts[0] += 1
            counts[1] += len(data)
        return data

    LocalStore.get = counting  # type: ignore[method-assign]
    from kafkeep.cli import main as cli

    sys.argv = ["kafkeep", *arguments]
    try:
        cli.main()
    finally:
        Path(result).write_text(json.dumps(_found), encoding="utf-8")


if __name__ == "__main__":
    main()

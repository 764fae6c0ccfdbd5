"""From the text a user gives to a store."""

from __future__ import annotations

import re
import threading
from typing import Final
from urllib.parse import unquote, urlsplit

from kafkeep.errors import UsageError
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.stores.memory import MemoryStore

_SCHEME: Final = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
_memory: Final[dict[str, MemoryStore]] = {}
_memory_lock: Final = threading.Lock()


def open_store(url: str) -> Store:
    """A store from `file:///path`, a plain path, or `memory://name` (one per name in this process).

    Raises `UsageError` for anything else; nothing is touched yet. Messages never repeat a user name or password that
    stands in a URL.
    """
    found = _SCHEME.match(url)
    if found is None:
        if not url or "\0" in url:
            raise UsageError(
                "an empty place is no repository", hint="Give a path or a URL such as file:///backups/prod."
            )
        return LocalStore(url)
    scheme = found[1].lower()
    parts = urlsplit(url)
    if scheme == "file":
        path = unquote(parts.path)
        if parts.netloc not in ("", "localhost") or not path or "\0" in path:
            raise UsageError("a file URL needs a path on this host", hint="Write it as file:///backups/prod.")
        return LocalStore(path)
    if scheme == "memory":
        with _memory_lock:
            return _memory.setdefault(parts.netloc + parts.path, MemoryStore(parts.netloc + parts.path))
    raise UsageError(f"no store for {scheme}:// URLs", hint="Use a path, file:///path, or memory://name.")

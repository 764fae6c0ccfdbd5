"""From the text a user gives to a store."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote, urlsplit

from kafkeep.errors import MissingDependency, UsageError
from kafkeep.events import EventSink, ignore
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.options import AsOf, StoreOptions
from kafkeep.repository.stores.wrappers import RetryingStore

BUCKETS: Final = frozenset({"s3", "gs", "az"})
"""Schemes of stores in buckets."""
TRIES: Final = 100
FIRST_TRIES: Final = 5
BUDGET_SECONDS: Final = 900.0
"""Longest time from the first try of a call to the beginning of its last."""

_SCHEME: Final = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
_memory: Final[dict[str, MemoryStore]] = {}
_memory_lock: Final = threading.Lock()


def open_store(
    url: str,
    options: StoreOptions | None = None,
    *,
    as_of: AsOf | None = None,
    sink: EventSink = ignore,
    jitter: Callable[[], float] = lambda: 1.0,
) -> Store:
    """A store from `file:///path`, a plain path, `s3://bucket/path`, `gs://…`, `az://container/path`, or `memory://name`
    (one per name in this process). `as_of`: as it was then, which buckets of S3 can tell.

    Stores in buckets make calls again that may then succeed, and tell `sink`; `jitter` is `RetryingStore`'s. Raises
    `UsageError` for anything else, `SettingsError`, `MissingDependency`; nothing is touched yet. Messages never repeat a
    user name or password that stands in a URL.
    """
    found = _SCHEME.match(url)
    if as_of is not None:
        _check_versions(None if found is None else found[1].lower())
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
    if scheme in BUCKETS:
        store = _in_bucket(url, StoreOptions() if options is None else options, as_of)
        return RetryingStore(
            store, tries=TRIES, first_tries=FIRST_TRIES, budget_seconds=BUDGET_SECONDS, sink=sink, jitter=jitter
        )
    raise UsageError(
        f"no store for {scheme}:// URLs", hint="Use a path, file:///path, s3://bucket/path, gs:// or az://."
    )


def _check_versions(scheme: str | None) -> None:
    """UsageError for a kind of store that cannot be read as it was."""
    if scheme in BUCKETS - {"s3"}:
        raise UsageError(
            f"{scheme}:// stores are not read as of a time: their client cannot list versions of objects",
            hint="Bring the versions back with the service's own tools, into another place, and read that.",
        )
    if scheme != "s3":
        raise UsageError(
            "a folder cannot be read as of a time: it keeps no versions",
            hint="Open a snapshot of its file system instead: its folder is a repository too.",
        )


def _in_bucket(url: str, options: StoreOptions, as_of: AsOf | None) -> Store:
    try:
        from kafkeep.repository.stores.object_connect import open_object_store
    except ImportError as error:
        raise MissingDependency(
            "stores in buckets need the package obstore", hint="Install it with `pip install 'kafkeep[s3]'`."
        ) from error
    return open_object_store(url, options, as_of=as_of)

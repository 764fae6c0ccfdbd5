"""A local copy of the commits read so far, in SQLite: losing or doubting it costs time only.

It holds the stored bytes of commits, each with its digest, under the id of one repository and the place where that lies:
a copy of a repository has its id, and may be behind. Nothing in it is believed
that does not match its digest, and its last commit must be the one that lies in the store at that number.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Self

import structlog

from kafkeep.repository.envelope import digest

log = structlog.get_logger(__name__)

_SCHEMA: Final = (
    "create table if not exists commits (seq integer primary key, digest text not null, data blob not null)"
)
_SELECT: Final = "select seq, digest, data from commits where seq >= ? order by seq limit ?"
_VERSION: Final = 1

ROWS: Final = 256
"""Commits read at a time."""


class CommitCache:
    """One file per repository and place in `folder`. Any failure of SQLite or the disk makes it an empty, silent cache."""

    def __init__(self, folder: Path, repository_id: str, place: str) -> None:
        self.path = folder / f"{repository_id}-{digest(place.encode())[:12]}.sqlite"
        self._lock = threading.Lock()
        self._db = self._open()

    def _open(self) -> sqlite3.Connection | None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            return self._connect()
        except (sqlite3.Error, OSError) as error:
            log.info("cache thrown away", path=str(self.path), reason=str(error))
        try:
            self.path.unlink(missing_ok=True)
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
            return self._connect()
        except (sqlite3.Error, OSError) as error:
            log.warning("no cache", path=str(self.path), reason=str(error))
            return None

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=5.0, isolation_level=None, check_same_thread=False)
        try:
            found = db.execute("pragma user_version").fetchone()[0]
            if found not in (0, _VERSION):
                raise sqlite3.DatabaseError(f"cache of version {found}")
            # a cache that a power cut tears is noticed by its digests; it need not wait for the disk
            db.execute("pragma synchronous = off")
            db.execute(_SCHEMA)
            db.execute(f"pragma user_version = {_VERSION}")
        except sqlite3.Error:
            db.close()
            raise
        return db

    def commits(self) -> Iterator[tuple[int, bytes]]:
        """Commits 0, 1, 2, ... as far as they are here, dense and intact."""
        expected = 0
        try:
            while rows := self._rows(expected):
                for number, told, data in rows:
                    if number != expected or not isinstance(data, bytes) or digest(data) != told:
                        return
                    yield expected, data
                    expected += 1
        except sqlite3.Error as error:
            log.info("cache not readable to its end", path=str(self.path), reason=str(error))

    def _rows(self, first: int) -> list[tuple[object, object, object]]:
        with self._lock:
            if self._db is None:
                return []
            found = self._db.execute(_SELECT, (first, ROWS))
            return found.fetchall()

    def add(self, commits: Iterable[tuple[int, bytes]]) -> None:
        """Keep commits that were read from the store, in one go."""
        rows = [(number, digest(data), data) for number, data in commits]
        try:
            with self._lock:
                if self._db is not None and rows:
                    self._db.execute("begin")
                    self._db.executemany("insert or replace into commits values (?, ?, ?)", rows)
                    self._db.execute("commit")
        except sqlite3.Error as error:
            log.info("cache not written", path=str(self.path), reason=str(error))
            self._rollback()

    def clear(self) -> None:
        """Forget everything."""
        try:
            with self._lock:
                if self._db is not None:
                    self._db.execute("delete from commits")
        except sqlite3.Error as error:
            log.info("cache not cleared", path=str(self.path), reason=str(error))

    def _rollback(self) -> None:
        try:
            with self._lock:
                if self._db is not None and self._db.in_transaction:
                    self._db.execute("rollback")
        except sqlite3.Error as error:
            log.debug("cache not rolled back", reason=str(error))

    def close(self) -> None:
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

"""What this host remembers of a repository, in SQLite: losing or doubting it costs time only.

It holds the state folded up to some commit (`fold.root`, with its pages) and the stored bytes of the commits after that one,
each with its digest, under the id of one repository and the place where that lies: a copy of a repository has its id, and may
be behind. Nothing in it is believed that does not match its digest, and its last commit must be the one that lies in the
store at that number.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from kafkeep.errors import CorruptionError, StoreError, UnknownFormat
from kafkeep.logger import get_logger
from kafkeep.repository.envelope import Kind, digest, unwrap, wrap
from kafkeep.repository.fold.root import LOCAL_VERSION, Root, Tables, state_of, tables_of
from kafkeep.repository.fold.settling import Layers, is_settled
from kafkeep.repository.nouns import Malformed
from kafkeep.repository.page_store import UNUSABLE, PageStore, Source, together

if TYPE_CHECKING:
    from kafkeep.repository.format import RepositoryDocument
    from kafkeep.repository.sealing import DocumentSeal
    from kafkeep.repository.state import State

log = get_logger(__name__)

_SCHEMA: Final = (
    "create table if not exists commits (seq integer primary key, digest text not null, data blob not null)"
)
_ROOT_SCHEMA: Final = "create table if not exists root (id integer primary key check (id = 1), data blob not null)"
_SELECT: Final = "select seq, digest, data from commits where seq = ?"
_VERSION: Final = 1
_MOST_OTHERS: Final = 0.25
"""A larger share of pages that no root refers to is worth deleting."""
_TRIES: Final = 300
_PAUSE_SECONDS: Final = 0.1


class CommitCache:
    """One file per repository and place in `folder`. Any failure of SQLite or the disk makes it an empty, silent cache.

    Processes share the file. Each holds a shared lock on the file beside it as long as it may read pages; whoever finds
    nobody else there when it opens deletes the pages that no root refers to.
    """

    def __init__(
        self,
        folder: Path,
        repository_id: str,
        place: str,
        *,
        seal: DocumentSeal | None = None,
        pause: Callable[[float], None] = time.sleep,
        source: Source | None = None,
    ) -> None:
        """`source`: where pages of states are that were saved in the repository."""
        self.path = folder / f"{repository_id}-{digest(place.encode())[:12]}.sqlite"
        self._seal = seal
        self._lock = threading.Lock()
        self._db = self._open()
        self._use = None if self._db is None else _Use(self.path.with_suffix(".lock"), pause)
        shared = self._use is not None and self._use.shared
        self.pages = PageStore(self.path if shared else None, seal, held=self._use, source=source)
        """Where the pages of states go; a temporary file where this one cannot be shared."""
        self._roots = shared

    def _open(self) -> sqlite3.Connection | None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            return self._connect()
        except (*UNUSABLE, OSError) as error:
            log.info("cache thrown away", path=str(self.path), reason=str(error))
        try:
            self.path.unlink(missing_ok=True)
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
            return self._connect()
        except (*UNUSABLE, OSError) as error:
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
        except UNUSABLE:
            db.close()
            raise
        return db

    def commits(self, first: int = 0) -> Iterator[tuple[int, bytes]]:
        """Commits from `first` on as far as they are here, dense and intact."""
        expected = first
        try:
            while (row := self._row(_SELECT, expected)) is not None:
                number, told, data = row
                if number != expected or not isinstance(data, bytes) or digest(data) != told:
                    return
                yield expected, data
                expected += 1
        except UNUSABLE as error:
            log.info("cache not readable to its end", path=str(self.path), reason=str(error))

    def _row(self, statement: str, *values: object) -> tuple[object, ...] | None:
        with self._lock:
            if self._db is None:
                return None
            found: tuple[object, ...] | None = self._db.execute(statement, values).fetchone()
            return found

    def add(self, commits: Iterable[tuple[int, bytes]]) -> None:
        """Keep commits that were read from the store, in one go."""
        rows = [(number, digest(data), data) for number, data in commits]
        try:
            with self._lock:
                if self._db is not None and rows:
                    with together(self._db):
                        self._db.executemany("insert or replace into commits values (?, ?, ?)", rows)
        except UNUSABLE as error:
            log.info("cache not written", path=str(self.path), reason=str(error))

    def clear(self) -> None:
        """Forget everything. Where others use the file, pages go to a temporary one from here on."""
        with self._lock:
            if self._use is not None and self._db is not None and self._use.alone():
                self._db.close()
                self.path.unlink(missing_ok=True)
                self._db = self._open()
                self.pages.move(self.path if self._db is not None else None)
            else:
                self._roots = False
                self.pages.move(None)
                self._forget_commits()
        if self._use is not None:
            self._use.share()

    def doubt(self) -> None:
        """The next opening folds anew."""
        with self._lock:
            self._forget_commits()

    def _forget_commits(self) -> None:
        try:
            if self._db is not None:
                self._db.execute("delete from commits")
                self._db.execute("drop table if exists root")
        except UNUSABLE as error:
            log.info("cache not cleared", path=str(self.path), reason=str(error))

    # --- the folded state ------------------------------------------------------------------------------------

    def root(self) -> Root | None:
        """What is told of the state that is kept here, None where none is, or none that can be read."""
        if not self._roots:
            return None
        try:
            row = self._row("select data from root where id = 1")
            if row is None or not isinstance(row[0], bytes):
                return None
            return Root.of(unwrap(row[0], Kind.STATE, "the root of the local cache", self._seal))
        except sqlite3.OperationalError:  # there never was one
            return None
        except (*UNUSABLE, CorruptionError, UnknownFormat, Malformed, KeyError) as error:
            log.info("root not readable", path=str(self.path), reason=str(error))
            return None

    def state(self, root: Root, about: RepositoryDocument, layers: Layers, tool: str) -> State | None:
        """The state behind a root, if it is whole: all its pages are looked at, those that the repository has may be missing.
        None otherwise, and when another version of the tool or of the form wrote it.
        """
        if (root.version, root.tool) != (LOCAL_VERSION, tool):
            return None
        named = {bytes.fromhex(page) for digests in root.tables.values() for page in digests}
        try:
            tables: Tables = {
                name: [self.pages.value(bytes.fromhex(page)) for page in digests]
                for name, digests in root.tables.items()
            }
            named.update(_pages_of(tables.get("segments", ())))
            sources = [bytes.fromhex(page) for page in root.elsewhere]
            elsewhere = frozenset(_pages_of(map(self.pages.value, sources)))
            named.update(sources)
            others = self.pages.besides(named, elsewhere)
            if others is None:
                log.info("pages are missing", path=str(self.path))
                return None
            layers = replace(layers, elsewhere=root.elsewhere)
            found = state_of(root, tables, about, layers, self.pages)
        except (StoreError, ValueError, KeyError, IndexError, TypeError) as error:
            log.info("root not believed", path=str(self.path), reason=str(error))
            return None
        if others > _MOST_OTHERS * len(named):
            self._clear_pages(named)
        return replace(found, layers=layers.after_root(found.runs))

    def drop_pages(self) -> None:
        """Pages that no root tells of are of no use; they may be what is left of a damaged file."""
        if self._roots and self._has_pages():
            self._clear_pages(())

    def _has_pages(self) -> bool:
        try:
            return self._row("select 1 from sqlite_master where name = 'pages'") is not None and not self.pages.empty
        except UNUSABLE as error:
            log.info("cache not readable", path=str(self.path), reason=str(error))
            return False

    def _clear_pages(self, named: Collection[bytes]) -> None:
        if self._use is not None:
            if self._use.alone():
                self.pages.keep_only(named)
            self._use.share()

    def keep(self, state: State, tool: str) -> bool:
        """Keep a settled state; the commits up to its head are not needed any more. False when that is not possible."""
        if not self._roots or not is_settled(state):
            return False
        names: list[str] = []

        def values() -> Iterator[object]:
            for name, value in tables_of(state):
                names.append(name)
                yield value

        pages = self.pages.put(values())
        if pages is None:
            return False
        tables: dict[str, list[str]] = {}
        for name, page in zip(names, pages, strict=True):
            tables.setdefault(name, []).append(page.hex())
        named = {name: tuple(all_) for name, all_ in tables.items()}
        return self._put_root(Root(state.head, state.head_digest, LOCAL_VERSION, tool, named, state.layers.elsewhere))

    def _put_root(self, root: Root) -> bool:
        data = wrap(Kind.STATE, root.value(), self._seal)
        try:
            with self._lock:
                if self._db is None:
                    return False
                with together(self._db):
                    self._db.execute(_ROOT_SCHEMA)
                    self._db.execute("insert or replace into root values (1, ?)", (data,))
                    self._db.execute("delete from commits where seq <= ?", (root.head,))
        except UNUSABLE as error:
            log.info("root not written", path=str(self.path), reason=str(error))
            return False
        return True

    def close(self) -> None:
        """Nothing is kept from here on. States that were handed out can still be read."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _pages_of(segments: Iterable[Any]) -> Iterator[bytes]:
    """Digests of the pages that documents of the table `segments` name."""
    return (bytes.fromhex(page) for row in segments for page in row["pages"])


class _Use:
    """A lock on a file beside the cache, held by this process as long as the object lives."""

    def __init__(self, path: Path, pause: Callable[[float], None]) -> None:
        self._pause = pause
        self._file: int | None = None
        self.shared = False
        """False: the pages of the file cannot be relied on to stay."""
        try:
            self._file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            log.info("cache not shared", path=str(path), reason=str(error))
            return
        self.share()

    def _lock(self, how: int) -> bool:
        try:
            if self._file is not None:
                fcntl.flock(self._file, how | fcntl.LOCK_NB)
                return True
        except OSError as error:
            log.debug("cache in use by others", reason=str(error))
        return False

    def share(self) -> None:
        """Waits for whoever is alone; that takes seconds, and not for ever: it may be a process that was suspended."""
        self.shared = self._lock(fcntl.LOCK_SH)
        for _ in range(_TRIES):
            if self.shared:
                return
            self._pause(_PAUSE_SECONDS)
            self.shared = self._lock(fcntl.LOCK_SH)

    def alone(self) -> bool:
        """Whether nobody else uses the cache; nobody begins to until `share`, which has to follow in any case."""
        return self._lock(fcntl.LOCK_EX)

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)

"""Pages of folded states in SQLite: a table of the local cache, or a temporary file that is gone with the process.

A page is a stored document like any other, sealed where the repository is, and named by its digest. It is believed when its
bytes have that digest. Those of a state that was saved in the repository lie there as documents too: they are fetched when
they are first asked for, and kept.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from blake3 import blake3

from kafkeep.errors import CorruptionError, CorruptObject, StoreError, UnknownFormat
from kafkeep.logger import get_logger
from kafkeep.repository.envelope import Kind, TooLarge, unwrap, wrap
from kafkeep.repository.fold.pages import Codec
from kafkeep.repository.names import document_name

if TYPE_CHECKING:
    from kafkeep.repository.sealing import DocumentSeal

log = get_logger(__name__)

T = TypeVar("T")

SCHEMA: Final = "create table if not exists pages (digest blob primary key, data blob not null)"
UNUSABLE: Final = (sqlite3.Error, UnicodeDecodeError)
"""What SQLite raises where a file is damaged: it may quote names out of it that are no text."""
_INSERT: Final = "insert or replace into pages values (?, ?)"
_SELECT: Final = "select data from pages where digest = ?"
_SELECT_WHETHER: Final = "select 1 from pages where digest = ?"
RECENT_ITEMS: Final = 16_384
"""Decoded items that are kept at hand: of the pages asked for last."""
_SIDE_BY_SIDE: Final = 16
"""Pages that are fetched at once."""
_TOGETHER: Final = 64
"""Pages written in one go, so that other processes get their turn at the file."""
_WHAT: Final = "a page of the local cache"
_HINT: Final = "Run the command again: the cache is made anew from the repository, which is as it was."


_SAVED_HINT: Final = (
    "Run the command again: what was cached here is read anew from the repository. If the page is missing then as well,"
    " a copy of the repository may have it."
)

Source = Callable[[bytes], bytes | None]
"""The document with this digest as the repository has it, None when it is not there. Raises `StoreError`."""


class PageLost(StoreError):
    """A page is gone or damaged; what refers to it can be had anew from the repository."""


class SavedPageLost(CorruptObject, PageLost):
    """The repository itself does not have a page of the saved state at which reading began."""


@contextmanager
def together(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Everything inside or nothing."""
    db.execute("begin immediate")
    try:
        yield db
        db.execute("commit")
    finally:
        if db.in_transaction:
            db.execute("rollback")


class PageStore:
    """Pages by their digests. All methods may be called from many threads.

    `path` is a file of the local cache, None for a temporary one. Whoever holds a state that refers to pages holds the store
    open; it is closed with the last of them.
    """

    def __init__(
        self,
        path: Path | None,
        seal: DocumentSeal | None,
        *,
        held: object = None,
        recent_items: int = RECENT_ITEMS,
        source: Source | None = None,
    ) -> None:
        """`held` lives as long as the store does; `source` is asked for pages that are not here."""
        self._held = held
        self._source = source
        self._path = path
        self._seal = seal
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._recent: OrderedDict[tuple[bytes, Callable[[object], Sequence[Any]]], Sequence[Any]] = OrderedDict()
        self._recent_count = 0
        self._most_recent = recent_items
        self._sound = False

    def _connected(self) -> sqlite3.Connection:
        """Opens it when it is first needed: small repositories never do."""
        if self._db is None:
            place = "" if self._path is None else self._path
            db = sqlite3.connect(place, timeout=5.0, isolation_level=None, check_same_thread=False)
            try:
                # pages that a power cut tears are noticed by their digests; they need not wait for the disk
                db.execute("pragma synchronous = off")
                db.execute("pragma cache_size = -8192")
                db.execute(SCHEMA)
            except sqlite3.Error:
                db.close()
                raise
            self._db = db
        return self._db

    def put(self, values: Iterable[object]) -> list[bytes] | None:
        """Keeps a page for each value and tells their digests in order. None when there is no place for them, or one of them
        is too large: then they stay where they are. Raises `PageLost` where writing would do harm to what is there.
        """
        found: list[bytes] = []
        documents = self._wrapped(values)
        try:
            self._check_structure()
            while some := list(islice(documents, _TOGETHER)):
                with self._lock, together(self._connected()) as db:
                    db.executemany(_INSERT, some)
                found.extend(digest for digest, _ in some)
        except (*UNUSABLE, TooLarge) as error:
            log.info("pages not written", reason=str(error))
            return None
        return found

    def _check_structure(self) -> None:
        """Once, before the first page is written: a file with a damaged list of free space would overwrite good pages."""
        with self._lock:
            if self._sound:
                return
            told = self._connected().execute("pragma quick_check(1)").fetchone()
        if told is None or told[0] != "ok":
            raise self._lost("the file is damaged")
        self._sound = True

    def _wrapped(self, values: Iterable[object]) -> Iterator[tuple[bytes, bytes]]:
        for value in values:
            data = wrap(Kind.STATE, value, self._seal, checked=True)
            yield blake3(data).digest(), data

    def items(self, page: bytes, codec: Codec[T]) -> Sequence[T]:
        """What lies on a page. Raises `PageLost` when it is lost."""
        return self._read(page, codec.decode)

    def rows(self, page: bytes, codec: Codec[Any]) -> Sequence[Any]:
        """What lies on a page, in rows. Raises `PageLost` when it is lost."""
        return self._read(page, codec.rows)

    def check(self, page: bytes) -> None:
        """Look whether a page is there and whole. Raises `PageLost` when it is not."""
        try:
            self.data(page)
        except PageLost:
            self._forget_root()
            raise

    def _read(self, page: bytes, decode: Callable[[object], Sequence[T]]) -> Sequence[T]:
        with self._lock:
            known = self._recent.get((page, decode))
            if known is not None:
                self._recent.move_to_end((page, decode))
                return known
        try:
            found = decode(self.value(page))
        except PageLost:
            self._forget_root()
            raise
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise self._lost(f"it holds what no page does: {error}") from error
        with self._lock:
            if (page, decode) not in self._recent:
                self._recent[page, decode] = found
                self._recent_count += len(found)
            while self._recent_count > self._most_recent and len(self._recent) > 1:
                _, gone = self._recent.popitem(last=False)
                self._recent_count -= len(gone)
        return found

    def value(self, page: bytes) -> object:
        """The value of a page. Raises `PageLost` when it is lost, `StoreError` when its source cannot be asked."""
        data = self.data(page)
        try:
            return unwrap(data, Kind.STATE, _WHAT, self._seal)
        except (CorruptionError, UnknownFormat) as error:
            raise self._lost(error.message) from error

    def data(self, page: bytes) -> bytes:
        """The bytes of a page. Raises as `value`."""
        found = self._here(page)
        if found is None and self._source is not None:
            found = self._fetched(page)
        if found is None and self._source is not None:
            what = f"{document_name(page.hex())}, a page of a saved state,"
            raise SavedPageLost(f"{what} is missing or damaged, and not in {self._place} either", hint=_SAVED_HINT)
        if found is None:
            raise self._lost("it is gone or damaged")
        return found

    def _here(self, page: bytes) -> bytes | None:
        try:
            with self._lock:
                row = self._connected().execute(_SELECT, (page,)).fetchone()
        except UNUSABLE as error:
            raise self._lost(str(error)) from error
        return row[0] if row is not None and _is_whole(page, row[0]) else None

    def _is_here(self, page: bytes) -> bool:
        """Whether there are any bytes of it; which ones is looked at when they are read."""
        try:
            with self._lock:
                return self._connected().execute(_SELECT_WHETHER, (page,)).fetchone() is not None
        except UNUSABLE as error:
            raise self._lost(str(error)) from error

    def _fetched(self, page: bytes) -> bytes | None:
        found = None if self._source is None else self._source(page)
        if found is None or not _is_whole(page, found):
            return None
        try:
            self._check_structure()
            with self._lock, together(self._connected()) as db:
                db.execute(_INSERT, (page, found))
        except (*UNUSABLE, PageLost) as error:
            log.info("page not kept", reason=str(error))
        return found

    def ahead(self, pages: Sequence[bytes]) -> None:
        """These are about to be read: those that are not here are fetched side by side. Raises `StoreError`."""
        if self._source is None:
            return
        missing = [page for page in pages if not self._is_here(page)]
        if len(missing) > 1:
            with ThreadPoolExecutor(min(_SIDE_BY_SIDE, len(missing))) as pool:
                list(pool.map(self._fetched, missing))

    def _forget_root(self) -> None:
        """What the local cache keeps refers to pages that are nowhere, and the next opening must not believe it."""
        if self._source is None or self._path is None:
            return
        try:
            with self._lock:
                self._connected().execute("drop table if exists root")
        except UNUSABLE as error:
            log.info("cache not cleared", reason=str(error))

    def _lost(self, why: str) -> PageLost:
        """The next opening looks at all pages and finds the same."""
        return PageLost(f"a page in {self._place} cannot be read: {why}", hint=_HINT)

    @property
    def _place(self) -> str:
        return "the temporary file of this process" if self._path is None else str(self._path)

    def besides(self, pages: Collection[bytes], elsewhere: Collection[bytes] = ()) -> int | None:
        """How many others there are; None unless all of these are there and whole, for which each is read. Those that lie
        `elsewhere` may be missing.
        """
        missing = 0
        try:
            with self._lock:
                db = self._connected()
                for page in pages:
                    row = db.execute(_SELECT, (page,)).fetchone()
                    if row is not None and _is_whole(page, row[0]):
                        continue
                    if page not in elsewhere:
                        return None
                    missing += row is None
                count: int = db.execute("select count(*) from pages").fetchone()[0]
        except UNUSABLE as error:
            log.info("pages not readable", reason=str(error))
            return None
        return count + missing - len(pages)

    def move(self, path: Path | None) -> None:
        """Go on with an empty place: no state may refer to a page of the one before."""
        with self._lock:
            if self._db is not None:
                self._db.close()
            self._db, self._path, self._sound = None, path, False
            self._recent.clear()
            self._recent_count = 0

    @property
    def empty(self) -> bool:
        """Whether there is none; True where that cannot be told."""
        try:
            with self._lock:
                return self._connected().execute("select 1 from pages limit 1").fetchone() is None
        except UNUSABLE as error:
            log.info("pages not readable", reason=str(error))
            return True

    def keep_only(self, pages: Collection[bytes]) -> None:
        """Delete all others. Nobody else may be using the file."""
        kept = set(pages)
        try:
            with self._lock:
                rows = self._connected().execute("select rowid, digest from pages")
                gone = [(row,) for row, digest in rows if digest not in kept]
                if gone:
                    with together(self._connected()) as db:
                        db.executemany("delete from pages where rowid = ?", gone)
        except UNUSABLE as error:
            log.info("pages not cleared", reason=str(error))

    def __del__(self) -> None:
        db = getattr(self, "_db", None)
        if db is not None:
            db.close()


def _is_whole(page: bytes, data: object) -> bool:
    return isinstance(data, bytes) and blake3(data).digest() == page

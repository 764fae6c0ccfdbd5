"""States that lie in the repository as documents: saving one, reading one, and what it names.

Only where commits are signed: there an admin vouches for a saved state with a `state` commit, and whoever comes new begins
there instead of at commit 0 (docs/format.md, "Finding the end of the log").
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from kafkeep.errors import CorruptionError, CorruptObject, ObjectExists, UnknownFormat
from kafkeep.logger import get_logger
from kafkeep.records import dataclass
from kafkeep.repository import chain
from kafkeep.repository.changes import SaveState
from kafkeep.repository.envelope import Kind, digest, object_limit, unwrap, wrap
from kafkeep.repository.fold.root import VERSION, Root, state_of, tables_of
from kafkeep.repository.fold.settling import Layers, Limits, is_settled, segments_of, settled
from kafkeep.repository.format import RepositoryDocument, Slot, read_slot
from kafkeep.repository.names import document_name, log_name
from kafkeep.repository.nouns import Malformed
from kafkeep.repository.objects import stored_document, stored_pages
from kafkeep.repository.page_store import PageLost, PageStore
from kafkeep.repository.remembering import TOOL
from kafkeep.repository.state import EMPTY, RootRef, State
from kafkeep.repository.stores.base import Store
from kafkeep.repository.trust import is_signed_by

if TYPE_CHECKING:
    from kafkeep.repository.sealing import DocumentSeal

log = get_logger(__name__)

SEGMENTS: Final = "segments"


@dataclass(frozen=True, slots=True, kw_only=True)
class RootDraft:
    """A state as documents that are durable and were read back; no commit names them yet."""

    head: int
    """It is what the commits up to this one say."""
    head_digest: str
    document: str
    """Digest of the root document."""
    documents: int
    """How many it consists of, the root document among them."""
    bytes: int
    """Of all of them."""
    there: int
    """How many of them were there already."""
    written: int
    """Bytes of the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedState:
    """A state that was saved: what its commit is, and what it took."""

    number: int
    document: str
    """Digest of the root document."""
    documents: int
    bytes: int
    there: int
    """How many of the documents were there already."""
    written: int
    """Bytes of the others."""


class NotARoot(Exception):
    """Why a saved state that a commit names does not count."""


def layers_of(store: Store, seal: DocumentSeal | None, limits: Limits = Limits()) -> Layers:
    """For a host that remembers nothing: pages go to a temporary file, and come from the repository where they lie there."""
    return Layers(PageStore(None, seal, source=stored_pages(store)), limits)


# --- reading ---------------------------------------------------------------------------------------------------


def checked_root(
    store: Store,
    number: int,
    about: RepositoryDocument,
    acceptable: Collection[str],
    seal: DocumentSeal | None,
    layers: Layers | None = None,
) -> State:
    """The state saved by commit `number`, as it is after that commit.

    `acceptable` are the public keys of those whose signature is enough. Tables are read, pages when they are asked for: they
    go where `layers` has its pages (`layers_of`). Raises `NotARoot` when it does not count, `StoreError`.
    """
    slot = _state_commit(store, number, about, acceptable, seal)
    commit, layers = slot.commit, layers_of(store, seal) if layers is None else layers
    if commit is None or not isinstance(commit.change, SaveState):
        raise NotARoot(f"commit {number} saves no state")
    root = _root_document(store, commit.change.document, seal)
    if (root.head, root.head_digest) != (number - 1, commit.prev):
        raise NotARoot(f"what commit {number} saves is not what the commits before it say")
    pages = layers.pages
    if not isinstance(pages, PageStore):
        raise ValueError("a saved state is read into a store of pages")
    try:
        tables = _tables(root, pages)
        layers = replace(layers, elsewhere=root.tables.get(SEGMENTS, ()))
        found = state_of(root, tables, about, layers, pages)
    except PageLost as error:
        raise NotARoot(f"what commit {number} saves is not whole: {error.message}") from error
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise NotARoot(f"what commit {number} saves is none, or of another repository: {error}") from error
    return replace(
        found,
        head=number,
        head_digest=slot.digest,
        root=RootRef(number, commit.change.document),
        layers=layers.after_root(found.runs),
    )


def _tables(root: Root, pages: PageStore) -> dict[str, list[Any]]:
    pages.ahead([bytes.fromhex(each) for digests in root.tables.values() for each in digests])
    return {name: [pages.value(bytes.fromhex(each)) for each in digests] for name, digests in root.tables.items()}


def beginnings(
    store: Store,
    about: RepositoryDocument,
    acceptable: Collection[str],
    seal: DocumentSeal | None,
    layers: Layers,
    head: int,
    *,
    above: int = -1,
    looks: int | None = None,
    refused: Callable[[int, NotARoot], None] = lambda number, why: None,
) -> Iterator[State]:
    """The states at which reading the log up to `head` may begin, the best first: those that commits from there downwards
    name. The next one is asked for where reading on from one fails, as when a commit that lies has named it.

    Only those of commits above `above`; where that is -1 also the state before commit 0. `looks`: how many commits are looked
    at. `refused` is told which others do not count, and why. Raises `StoreError`.
    """
    nothing = replace(EMPTY, layers=layers)
    if not about.admins or head < 0:
        if above < 0:
            yield nothing
        return
    tried: set[int] = set()
    for number in islice(range(head, above, -1), looks):
        for named in _named_by(store, number, seal):
            if named in tried or (named <= above and not (named < 0 and above < 0)):
                continue
            tried.add(named)
            if named < 0:
                yield nothing
                continue
            try:
                yield checked_root(store, named, about, acceptable, seal, layers)
            except NotARoot as error:
                refused(named, error)


def _named_by(store: Store, number: int, seal: DocumentSeal | None) -> tuple[int, ...]:
    """The saved states that a commit names, itself first if it saves one, -1 for none; nothing of one that is not signed, or
    cannot be read: that is none of the commits that count.
    """
    if number == 0:
        return (-1,)
    try:
        data = chain.read_commit(store, number)
        slot = None if data is None else read_slot(data, number, None, log_name(number), seal)
    except (CorruptionError, UnknownFormat):
        return ()
    commit = None if slot is None else slot.commit
    if commit is None or commit.signature is None:
        return ()
    before = -1 if commit.root is None or commit.root >= number else commit.root
    return (number, before) if isinstance(commit.change, SaveState) else (before,)


def _state_commit(
    store: Store, number: int, about: RepositoryDocument, acceptable: Collection[str], seal: DocumentSeal | None
) -> Slot:
    try:
        data = chain.read_commit(store, number)
        if data is None:
            raise NotARoot(f"commit {number} is not there")
        slot = read_slot(data, number, None, log_name(number), seal)
    except (CorruptionError, UnknownFormat) as error:
        raise NotARoot(error.message) from error
    if slot.commit is None:
        raise NotARoot(f"commit {number} breaks a rule: {slot.defect}")
    if not is_signed_by(acceptable, slot, about.id):
        signature = slot.commit.signature
        by = "nobody" if signature is None else signature.key
        raise NotARoot(f"commit {number} is signed by {by}, no admin that is known here")
    return slot


def _root_document(store: Store, reference: str, seal: DocumentSeal | None) -> Root:
    try:
        root = Root.of(_value(store, reference, seal))
    except (CorruptionError, UnknownFormat) as error:
        raise NotARoot(error.message) from error
    except (Malformed, KeyError) as error:
        raise NotARoot(f"{document_name(reference)} is no root document: {error}") from error
    if root.version != VERSION:
        raise NotARoot(f"{document_name(reference)} is of version {root.version}, unknown here")
    return root


def _value(store: Store, reference: str, seal: DocumentSeal | None) -> object:
    """What a document of a saved state holds. Raises `CorruptObject`, `UnknownFormat`, `StoreError`."""
    return unwrap(stored_document(store, Kind.STATE, reference), Kind.STATE, document_name(reference), seal)


def documents_of(store: Store, ref: RootRef, seal: DocumentSeal | None) -> frozenset[str]:
    """Digests of all documents that a saved state consists of: the root document, tables and pages.

    Raises `CorruptObject` when the root document or a table of pages is missing or damaged, `UnknownFormat`, `StoreError`.
    """
    try:
        root = Root.of(_value(store, ref.document, seal))
        if root.version != VERSION:
            raise UnknownFormat(f"{document_name(ref.document)} is of version {root.version}, unknown here")
        segments: list[Any] = [_value(store, each, seal) for each in root.tables.get(SEGMENTS, ())]
        pages = [page for row in segments for page in row["pages"]]
    except (Malformed, KeyError, TypeError) as error:
        raise CorruptObject(f"{document_name(ref.document)} or what it names is malformed: {error}") from error
    return frozenset([ref.document, *(each for digests in root.tables.values() for each in digests), *pages])


# --- writing ---------------------------------------------------------------------------------------------------


def publish_state(store: Store, state: State, seal: DocumentSeal | None) -> RootDraft:
    """Create the documents of a state whose pages are at hand, those that are not there yet, and read each back.

    Raises `CorruptObject` when one does not read back as it was written, `StoreError`, and ValueError for a state that has no
    place for pages, or a row too large for a document.
    """
    state = settled(state)
    if not is_settled(state):
        raise ValueError("the pages of the state could not be written")
    writer = _Writer(store)
    writer.write(_page_documents(state))
    tables: dict[str, list[str]] = {}
    writer.write(_table_documents(state, seal, tables))
    named = {name: tuple(digests) for name, digests in tables.items()}
    root = Root(state.head, state.head_digest, VERSION, TOOL, named)
    data = wrap(Kind.STATE, root.value(), seal)
    writer.write([data])
    return RootDraft(
        head=state.head,
        head_digest=state.head_digest,
        document=digest(data),
        documents=writer.documents,
        bytes=writer.bytes,
        there=writer.there,
        written=writer.written,
    )


def _page_documents(state: State) -> Iterator[bytes]:
    for segment in segments_of(state):
        if not isinstance(segment.source, PageStore):
            raise ValueError("pages of the state lie where their bytes cannot be had")
        pages = segment.pages()
        while some := list(islice(pages, 64)):
            segment.source.ahead(some)
            yield from map(segment.source.data, some)


def _table_documents(state: State, seal: DocumentSeal | None, tables: dict[str, list[str]]) -> Iterator[bytes]:
    for name, value in tables_of(state):
        data = wrap(Kind.STATE, value, seal)
        tables.setdefault(name, []).append(digest(data))
        yield data


class _Writer:
    """Creates documents, reads them back, and counts."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.documents = self.bytes = self.there = self.written = 0

    def write(self, documents: Iterable[bytes]) -> None:
        side_by_side = self._store.capabilities.parallel_reads
        if side_by_side == 1:
            for data in documents:
                self._count(data, self._put(data))
            return
        with ThreadPoolExecutor(side_by_side) as pool:
            waiting: deque[tuple[bytes, Future[bool]]] = deque()
            for data in documents:
                waiting.append((data, pool.submit(self._put, data)))
                if len(waiting) >= 2 * side_by_side:
                    first, done = waiting.popleft()
                    self._count(first, done.result())
            for first, done in waiting:
                self._count(first, done.result())

    def _count(self, data: bytes, there: bool) -> None:
        self.documents += 1
        self.bytes += len(data)
        self.there += there
        self.written += 0 if there else len(data)

    def _put(self, data: bytes) -> bool:
        """Whether it was there already."""
        name = document_name(digest(data))
        there = False
        try:
            self._store.put_new(name, data)
        except ObjectExists:
            there = True
        if self._store.get(name, 0, object_limit(Kind.STATE) + 1) != data:
            raise CorruptObject(f"{name} does not read back as it was written")
        return there

"""The log of a repository as it would be with what a copy has: the view that a repair plans by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kafkeep.errors import (
    CorruptionError,
    CorruptObject,
    KeyRefused,
    ObjectNotFound,
    PlanRefused,
    RepositoryNotFound,
    UnknownFormat,
)
from kafkeep.repository import chain, names
from kafkeep.repository.envelope import Kind, digest, object_limit, unwrap
from kafkeep.repository.format import NO_COMMIT, SINGLE, RepositoryDocument, Slot, encode_repository, read_slot
from kafkeep.repository.objects import read_repository_document
from kafkeep.repository.packing import Randomness
from kafkeep.repository.state import EMPTY, State, fold
from kafkeep.repository.stores.base import ObjectInfo, Store
from kafkeep.repository.stores.single import SingleWriterStore
from kafkeep.repository.stores.wrappers import WrappedStore

if TYPE_CHECKING:
    from kafkeep.repository.sealing import DocumentSeal

MANY_COMMITS: Final = 256
_ANOTHER: Final = "--from wants a copy of this very repository, made by `kafkeep copy`."


class FilledStore(WrappedStore):
    """Commits and the repository document that are missing or damaged come from the copy, the latter else from commit 0.

    `missing` and `damaged` name what was served so: absent here, and damaged where it lies. Nothing is written.
    """

    def __init__(self, inner: Store, copy: Store | None) -> None:
        super().__init__(inner)
        self._copy = copy
        self.missing: dict[str, bytes] = {}
        self.damaged: dict[str, bytes] = {}
        self.from_log = False
        """The repository document is that of commit 0."""

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        if not name.startswith("log/") and name != names.REPOSITORY:
            return self.inner.get(name, start, length)
        data = self._whole(name)
        return data[start:] if length is None else data[start : start + length]

    def head(self, name: str) -> ObjectInfo:
        if not name.startswith("log/") and name != names.REPOSITORY:
            return self.inner.head(name)
        return ObjectInfo(name, len(self._whole(name)))

    def _whole(self, name: str) -> bytes:
        kind = Kind.REPOSITORY if name == names.REPOSITORY else Kind.COMMIT
        limit = object_limit(kind) + 1
        try:
            found = self.inner.get(name, 0, limit)
        except ObjectNotFound:
            other = self._other(name, limit)
            if other is None:
                raise
            self.missing[name] = other
            return other
        if is_whole(found, kind, name):
            return found
        found = self.inner.get(name, 0, limit)
        if is_whole(found, kind, name):
            return found
        other = self._other(name, limit)
        if other is None:
            return found
        self.damaged[name] = other
        return other

    def _other(self, name: str, limit: int) -> bytes | None:
        if self._copy is not None:
            try:
                return self._copy.get(name, 0, limit)
            except ObjectNotFound:
                pass
        if name != names.REPOSITORY:
            return None
        first = read_first(self)
        if first is None or first.commit is None or first.commit.repository is None:
            return None
        self.from_log = True
        return encode_repository(first.commit.repository)


def is_whole(data: bytes, kind: Kind, name: str) -> bool:
    """Whether the document is as it was written, known to this version or not."""
    try:
        unwrap(data, kind, name)
    except CorruptObject:
        return False
    except (UnknownFormat, KeyRefused):
        return True
    return True


def read_first(store: Store) -> Slot | None:
    """Commit 0, None when it is not there or cannot be read. Raises `StoreError`."""
    try:
        data = chain.read_commit(store, 0)
        return None if data is None else read_slot(data, 0, NO_COMMIT, names.log_name(0))
    except CorruptionError:
        return None


def read_log(store: Store, seal: DocumentSeal | None = None) -> State:
    """The state up to the first commit that is absent or cannot be read. Raises `StoreError`."""
    state = EMPTY
    while True:
        try:
            following = _next(state, store, MANY_COMMITS, seal)
        except CorruptionError:
            break
        if following.head == state.head:
            return following
        state = following
    while True:  # which of them it is
        try:
            following = _next(state, store, 1, seal)
        except CorruptionError:
            return state
        if following.head == state.head:
            return following
        state = following


def _next(state: State, store: Store, most: int, seal: DocumentSeal | None) -> State:
    slots: list[Slot] = []
    prev = state.head_digest
    while len(slots) < most:
        number = state.head + 1 + len(slots)
        data = chain.read_commit(store, number)
        if data is None:
            break
        slots.append(read_slot(data, number, prev, names.log_name(number), seal))
        prev = slots[-1].digest
    return fold(state, slots)


def check_same(store: Store, copy: Store) -> None:
    """Raises `PlanRefused` unless the newest commit that both have is the same: it names all before it by their digests."""
    try:
        theirs = read_repository_document(copy)
    except RepositoryNotFound as error:
        raise PlanRefused(f"there is no repository in {copy.url}", hint=_ANOTHER) from error
    try:
        ours = read_repository_document(store)
    except (RepositoryNotFound, CorruptionError):
        ours = theirs
    if ours.id != theirs.id:
        raise PlanRefused(f"{copy.url} holds repository {theirs.id}, not {ours.id}", hint=_ANOTHER)
    for number in range(chain.find_head(copy, -1), -1, -1):
        data = chain.read_commit(store, number)
        if data is None or not is_whole(data, Kind.COMMIT, names.log_name(number)):
            continue
        if data != chain.read_commit(copy, number):
            raise PlanRefused(f"commit {number} in {copy.url} is another one", hint=_ANOTHER)
        return


def for_writing(store: Store, document: RepositoryDocument, rng: Randomness) -> Store:
    """The store as this repository is written to: with a lease where it keeps one writer only."""
    if document.writers != SINGLE or isinstance(store, SingleWriterStore):
        return store
    return SingleWriterStore(store, rng.randbytes(16).hex())


def whole_object(store: Store, name: str) -> bytes:
    """A document, or a key of an encrypted repository. Raises `CorruptObject`, `ObjectNotFound`, `StoreError`."""
    data = store.get(name)
    if name.startswith("key/"):
        unwrap(data, Kind.KEY, name)
    elif names.document_name(digest(data)) != name:
        raise CorruptObject(f"{name} in {store.url} does not match the digest it is named by")
    return data

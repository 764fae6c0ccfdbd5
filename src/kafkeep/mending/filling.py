"""The log of a repository as it would be with what a copy has: the view that a repair plans by."""

from __future__ import annotations

from collections.abc import Collection
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
from kafkeep.repository.envelope import DEFAULT_LIMIT, Kind, digest, object_limit, unwrap
from kafkeep.repository.folding import fold
from kafkeep.repository.format import NO_COMMIT, SINGLE, RepositoryDocument, Slot, encode_repository, read_slot
from kafkeep.repository.objects import read_repository_document
from kafkeep.repository.packing import Randomness
from kafkeep.repository.state import EMPTY, State
from kafkeep.repository.stores.base import ObjectInfo, Store
from kafkeep.repository.stores.single import SingleWriterStore
from kafkeep.repository.stores.wrappers import WrappedStore
from kafkeep.repository.trust import admins_of
from kafkeep.saved_states import may_be_trimmed
from kafkeep.state_reading import newest_saved

if TYPE_CHECKING:
    from kafkeep.repository.sealing import DocumentSeal

MANY_COMMITS: Final = 256
_DOC: Final = "doc/"
_ANOTHER: Final = "--from wants a copy of this very repository, made by `kafkeep copy`."


class FilledStore(WrappedStore):
    """Commits, documents of saved states and the repository document that are missing or damaged come from the copy, the
    latter else from commit 0.

    `missing` and `damaged` name what was served so: absent here, and damaged where it lies. Nothing is written.
    """

    def __init__(self, inner: Store, copy: Store | None) -> None:
        super().__init__(inner)
        self._copy = copy
        self.missing: dict[str, bytes] = {}
        self.damaged: dict[str, bytes] = {}
        self.from_log = False
        """The repository document is that of commit 0."""
        self._saved = 0
        self._head = -1

    def look_for_saved(
        self, about: RepositoryDocument, seal: DocumentSeal | None, admins: Collection[str] = ()
    ) -> None:
        """From here on what a saved state stands for may be missing, and is not brought back. Raises `StoreError`."""
        saved = newest_saved(self, about, admins or [key.public for key in about.admins], seal)
        if saved is not None:
            self._saved, self._head = saved.head, chain.find_head(self, saved.head)

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        if not _is_filled(name):
            return self.inner.get(name, start, length)
        data = self._whole(name)
        return data[start:] if length is None else data[start : start + length]

    def head(self, name: str) -> ObjectInfo:
        if not _is_filled(name):
            return self.inner.head(name)
        return ObjectInfo(name, len(self._whole(name)))

    def _whole(self, name: str) -> bytes:
        kind = Kind.REPOSITORY if name == names.REPOSITORY else Kind.STATE if name.startswith(_DOC) else Kind.COMMIT
        limit = (DEFAULT_LIMIT if kind is Kind.STATE else object_limit(kind)) + 1
        try:
            found = self.inner.get(name, 0, limit)
        except ObjectNotFound:
            other = None if self._may_be_missing(name) else self._other(name, limit)
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

    def _may_be_missing(self, name: str) -> bool:
        number = names.log_number(name)
        return number is not None and may_be_trimmed(number, self._saved, self._head)

    def _other(self, name: str, limit: int) -> bytes | None:
        if self._copy is not None:
            try:
                found = self._copy.get(name, 0, limit)
            except ObjectNotFound:
                found = None
            if found is not None and (not name.startswith(_DOC) or _is_of_state(found, name)):
                return found
        if name != names.REPOSITORY:
            return None
        first = read_first(self)
        if first is None or first.commit is None or first.commit.repository is None:
            return None
        self.from_log = True
        return encode_repository(first.commit.repository)


def _is_filled(name: str) -> bool:
    return name.startswith(("log/", _DOC)) or name == names.REPOSITORY


def _is_of_state(data: bytes, name: str) -> bool:
    """Whether it is a document of a saved state, whole: the log cannot be read without."""
    return names.document_name(digest(data)) == name and data[4:5] == bytes([Kind.STATE])


def is_whole(data: bytes, kind: Kind, name: str) -> bool:
    """Whether the document is as it was written, known to this version or not."""
    if kind is Kind.STATE:
        return names.document_name(digest(data)) == name
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


def read_log(
    store: Store,
    seal: DocumentSeal | None = None,
    *,
    about: RepositoryDocument | None = None,
    admins: Collection[str] = (),
) -> State:
    """The state up to the first commit that is absent or cannot be read. Raises `StoreError`.

    With `about`, of a repository whose commits are signed: where commits are missing that a saved state stands for, reading
    goes on from that state. `admins`: public keys of the only ones whose saved states count; none: those of `about`.
    """
    state = _read_on(EMPTY, store, seal)
    if about is None or not about.admins:
        return state
    known = {*(admins or (key.public for key in about.admins)), *admins_of(state)}
    begun = newest_saved(store, about, known, seal, above=state.head)
    return state if begun is None else _read_on(begun, store, seal)


def _read_on(state: State, store: Store, seal: DocumentSeal | None) -> State:
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
    number = chain.find_head(copy, -1)
    while number >= 0:
        held = chain.read_commit(copy, number)
        data = None if held is None else chain.read_commit(store, number)
        if data is not None and is_whole(data, Kind.COMMIT, names.log_name(number)):
            if data != held:
                raise PlanRefused(f"commit {number} in {copy.url} is another one", hint=_ANOTHER)
            return
        # where the copy was trimmed it has milestones alone
        number = number - 1 if held is not None else (number - 1) // names.MILESTONE * names.MILESTONE


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

"""Reading the states that admins saved in a log: which of them are still named, and whether one is what the commits say."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any, Final

from kafkeep.errors import CorruptChain, CorruptionError, UnknownFormat
from kafkeep.records import dataclass
from kafkeep.repository import chain
from kafkeep.repository.beginning import fold_anew
from kafkeep.repository.changes import SaveState
from kafkeep.repository.collecting import without_collector
from kafkeep.repository.envelope import Kind, unwrap
from kafkeep.repository.fold.differences import difference
from kafkeep.repository.fold.root import Root
from kafkeep.repository.format import Commit, RepositoryDocument, read_slot
from kafkeep.repository.names import document_name, log_name
from kafkeep.repository.nouns import Malformed
from kafkeep.repository.objects import stored_document
from kafkeep.repository.page_store import PageLost
from kafkeep.repository.roots import SEGMENTS, NotARoot, beginnings, checked_root, layers_of
from kafkeep.repository.state import RootRef, State
from kafkeep.repository.stores.base import Store
from kafkeep.saved_states import NamedState

if TYPE_CHECKING:
    from kafkeep.repository.sealing import DocumentSeal

_HEAD: Final = "head"
_LOOKS: Final = 1000
"""Commits from the head downwards that are looked at for the state that they name: those that break a rule may lie."""


def named_states(store: Store, newest: RootRef | None, seal: DocumentSeal | None) -> tuple[NamedState, ...]:
    """From the one that a state of the log names back to the oldest whose commit is there, newest first.

    Each `state` commit says which was there before it; one that is damaged tells no more. Reads one commit for each. Raises
    `StoreError`.
    """
    return tuple(_walk(store, None if newest is None else newest.number, seal))


def _walk(store: Store, number: int | None, seal: DocumentSeal | None) -> Iterator[NamedState]:
    while number is not None:
        try:
            commit = read_alone(store, number, seal)
        except CorruptionError:
            return
        if commit is None or not isinstance(commit.change, SaveState):
            return
        signer = None if commit.signature is None else commit.signature.key
        stored = store.modified(log_name(number))
        yield NamedState(number, commit.change.document, commit.finished, stored, signer)
        number = commit.root


def read_alone(store: Store, number: int, seal: DocumentSeal | None) -> Commit | None:
    """What a commit says, whether or not the one before it is there; None when it is absent or means nothing.

    Raises `CorruptionError` when it cannot be read, `StoreError`.
    """
    data = chain.read_commit(store, number)
    return None if data is None else read_slot(data, number, None, log_name(number), seal).commit


# --- reading one, holding one against the commits ----------------------------------------------------------------


def newest_saved(
    store: Store,
    about: RepositoryDocument,
    acceptable: Collection[str],
    seal: DocumentSeal | None,
    *,
    above: int = -1,
    refused: Callable[[int, NotARoot], None] = lambda number, why: None,
) -> State | None:
    """The saved state that the newest commits name and that counts, as it is after its commit; None where none is above
    commit `above`. `refused` is told of those that do not count. Raises `StoreError`.
    """
    head, layers = chain.find_head(store, -1), layers_of(store, seal)
    found = beginnings(store, about, acceptable, seal, layers, head, above=above, looks=_LOOKS, refused=refused)
    return next((state for state in found if state.root is not None), None)


@dataclass(slots=True)
class SavedDocuments:
    """The documents of a saved state, of which some may be missing or damaged."""

    store: Store
    ref: RootRef
    seal: DocumentSeal | None

    @property
    def root(self) -> Root | None:
        """The root document, None when it cannot be read."""
        found = self._value(self.ref.document)
        try:
            return None if found is None else Root.of(found)
        except (Malformed, KeyError):
            return None

    def tables(self) -> tuple[str, ...]:
        """Digests of the tables, as far as the root document tells."""
        root = self.root
        return () if root is None else tuple(each for digests in root.tables.values() for each in digests)

    def pages(self) -> Iterator[str]:
        """Digests of the pages, as far as the tables that name them can be read."""
        for table in self._values(SEGMENTS):
            pages = table.get("pages") if isinstance(table, dict) else None
            yield from (page for page in pages or () if isinstance(page, str) and len(page) == 64)

    def before(self) -> RootRef | None:
        """The state that was saved before this one."""
        for table in self._values(_HEAD):
            found = table.get("root") if isinstance(table, dict) else None
            if isinstance(found, list) and len(found) == 2 and type(found[0]) is int and isinstance(found[1], str):
                return RootRef(found[0], found[1])
        return None

    def all(self) -> frozenset[str]:
        """Digests of all that are known of."""
        return frozenset((*self.pages(), *self.tables(), self.ref.document))

    def _values(self, name: str) -> Iterator[Any]:
        root = self.root
        for each in () if root is None else root.tables.get(name, ()):
            yield self._value(each)

    def _value(self, reference: str) -> Any:
        """None for what is gone, damaged, or no part of a state."""
        try:
            data = stored_document(self.store, Kind.STATE, reference)
            return unwrap(data, Kind.STATE, document_name(reference), self.seal)
        except (CorruptionError, UnknownFormat):
            return None


def check_saved(
    store: Store, about: RepositoryDocument, saved: RootRef, acceptable: Collection[str], seal: DocumentSeal | None
) -> None:
    """Fold the commits before a saved state anew, from the one saved before it or from commit 0, and compare.

    Raises `CorruptChain` when the saved state is another or commits are missing, `StoreError`.
    """
    anew = fold_anew(store, about, acceptable, seal, saved.number - 1)
    try:
        found = checked_root(store, saved.number, about, acceptable, seal)
    except NotARoot as error:
        raise CorruptChain(f"the state saved by commit {saved.number} does not count: {error}") from error
    try:
        with without_collector():
            other = difference(anew, found, pages=True)
    except PageLost as error:
        raise CorruptChain(f"the state saved by commit {saved.number} is not whole: {error.message}") from error
    if other is not None:
        raise CorruptChain(
            f"the state saved by commit {saved.number} is not what the commits before it say: {other} differs",
            hint="Nobody may begin at it: `kafkeep trust remove` its signer, then save another: `kafkeep trim --save-state`.",
        )

"""Documents of saved states that nothing needs any more: found by what the states that stay tell of those before them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kafkeep.repository import chain
from kafkeep.repository.roots import documents_of
from kafkeep.repository.state import RootRef
from kafkeep.repository.stores.base import Store
from kafkeep.state_reading import SavedDocuments
from kafkeep.trimming.plan import Leaving

if TYPE_CHECKING:
    from kafkeep.repository.sealing import DocumentSeal
    from kafkeep.saved_states import NamedState


def find_leaving(
    store: Store, named: Sequence[NamedState], doomed: frozenset[int], seal: DocumentSeal | None
) -> tuple[Leaving, ...]:
    """States whose commits are to be deleted (`doomed`), and those whose commits an earlier trimming deleted before it came
    to their documents; oldest first. `named`: the saved states that the log names, newest first.

    Raises `CorruptObject` when the documents of one that stays cannot be told, `UnknownFormat`, `StoreError`.
    """
    going = [state.ref for state in named if state.number in doomed]
    if named:
        going += _without_commit(store, named[-1].ref, seal)
    if not going:
        return ()
    kept: frozenset[str] = frozenset()
    for state in named:
        if state.number not in doomed:
            kept |= documents_of(store, state.ref, seal)
    return tuple(Leaving(ref.number, ref.document, _groups(store, ref, kept, seal)) for ref in reversed(going))


def _without_commit(store: Store, oldest: RootRef, seal: DocumentSeal | None) -> Iterator[RootRef]:
    """States before the oldest one that the log names, newest first, as long as something of them is there."""
    ref = SavedDocuments(store, oldest, seal).before()
    while ref is not None and not chain.exists(store, ref.number):
        read = SavedDocuments(store, ref, seal)
        if read.root is None:
            return
        yield ref
        ref = read.before()


def _groups(store: Store, ref: RootRef, kept: frozenset[str], seal: DocumentSeal | None) -> tuple[tuple[str, ...], ...]:
    """Pages, tables and root document: whatever is left by a trimming that was stopped is found again."""
    read = SavedDocuments(store, ref, seal)
    found = (dict.fromkeys(read.pages()), dict.fromkeys(read.tables()), (ref.document,))
    groups = (tuple(each for each in group if each not in kept) for group in found)
    return tuple(group for group in groups if group)

"""What of a repository stays on this host between two openings, and where states put what is too much for memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import kafkeep
from kafkeep.errors import CorruptChain
from kafkeep.logger import get_logger
from kafkeep.repository import chain, names
from kafkeep.repository.cache import CommitCache
from kafkeep.repository.envelope import digest
from kafkeep.repository.fold.settling import Layers, Limits, settled
from kafkeep.repository.folding import fold
from kafkeep.repository.format import RepositoryDocument, Slot
from kafkeep.repository.page_store import PageLost, PageStore, Source
from kafkeep.repository.state import EMPTY, State
from kafkeep.repository.stores.base import Store

if TYPE_CHECKING:
    from kafkeep.repository.sealing import DocumentSeal

log = get_logger(__name__)

TOOL: Final = f"kafkeep {kafkeep.__version__}"

Read = Callable[[State, Iterable[tuple[int, bytes]]], Iterator[Slot]]
"""Commits that follow a state, from their stored bytes."""


class Remembered:
    """The cache of an open repository, or a temporary place for pages where there is none."""

    def __init__(
        self, cache: CommitCache | None, seal: DocumentSeal | None, limits: Limits, source: Source | None = None
    ) -> None:
        """`source`: where pages of states are that were saved in the repository, unless `cache` has its own."""
        self._cache = cache
        pages = PageStore(None, seal, source=source) if cache is None else cache.pages
        self.nothing = replace(EMPTY, layers=Layers(pages, limits))
        """The state before the first commit."""

    def recall(self, store: Store, about: RepositoryDocument, read: Read) -> State:
        """The newest state that the cache knows of; raises `RolledBack` when its last commit is not what the store holds
        at that number, `StoreError`.
        """
        if self._cache is None:
            return self.nothing
        root = self._cache.root()
        state: State | None = self.nothing
        if root is None:
            self._cache.drop_pages()
        else:
            state = self._cache.state(root, about, self.nothing.layers, TOOL)
        try:
            if state is not None:
                state = fold(state, read(state, self._cache.commits(state.head + 1)))
        except CorruptChain as error:
            log.info("cache thrown away", reason=error.message)
            state = None
        if state is not None and state.head >= 0:
            _check_store(store, self._cache, state.head, state.head_digest, state)
            return state
        if root is not None:
            _check_store(store, self._cache, root.head, root.head_digest, None)
        if state is None:
            self._cache.clear()
        return self.nothing

    def add(self, commits: Iterable[tuple[int, bytes]]) -> None:
        """Keep commits that were read from the store, or put there."""
        if self._cache is not None:
            self._cache.add(commits)

    def keep(self, state: State, *, at_rest: bool) -> State:
        """Leave the folded state to the next opening, where folding anew would cost more; the same state, then settled."""
        if self._cache is None or not state.layers.is_worth_keeping(at_rest=at_rest):
            return state
        return self._kept(state, self._cache)

    def begun(self, state: State) -> State:
        """Leave a state to the next opening that reading began anew for; the same state, then settled."""
        return state if self._cache is None else self._kept(state, self._cache)

    def _kept(self, state: State, cache: CommitCache) -> State:
        try:
            state = settled(state)
            cache.keep(state, TOOL)
        except PageLost as error:
            log.info("state not kept", reason=error.message)
            cache.doubt()
        return replace(state, layers=state.layers.after_root(state.runs))

    def forget(self) -> None:
        """What is remembered is damaged. No state of before may be used any more."""
        if self._cache is not None:
            self._cache.clear()

    def close(self) -> None:
        """Nothing is kept from here on."""
        if self._cache is not None:
            self._cache.close()


class RolledBack(CorruptChain):
    """The store does not hold what this host has read of it."""

    def __init__(self, message: str, *, hint: str, number: int, may_be_trimmed: bool, state: State | None) -> None:
        super().__init__(message, hint=hint)
        self.number = number
        self.may_be_trimmed = may_be_trimmed
        """Nothing lies there, or what a writer left there that came too late: so it is in a log that was trimmed."""
        self.state = state
        """What this host remembers, None where that cannot be read."""


def _check_store(store: Store, cache: CommitCache, number: int, known: str, state: State | None) -> None:
    data = chain.read_commit(store, number)
    if data is None or digest(data) != known:
        slot_may_be_empty = number % names.MILESTONE != 0 and chain.exists(store, names.next_milestone(number))
        raise RolledBack(
            f"commit {number} in {store.url} is {'gone' if data is None else 'another one'}:"
            " this host has read it before, so the store was rolled back or replaced",
            hint=f"If that was on purpose, remove {cache.path} and run the command again.",
            number=number,
            may_be_trimmed=data is None or slot_may_be_empty,
            state=state,
        )

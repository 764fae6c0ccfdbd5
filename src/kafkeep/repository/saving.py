"""Saving the state of a repository whose commits are signed: folded anew, compared, made durable, committed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from kafkeep.errors import CorruptChain, PlanRefused
from kafkeep.repository.beginning import read_anew
from kafkeep.repository.collecting import without_collector
from kafkeep.repository.fold.differences import difference
from kafkeep.repository.fold.settling import Limits
from kafkeep.repository.roots import SavedState, publish_state
from kafkeep.repository.state import State

if TYPE_CHECKING:
    from kafkeep.repository.repository import Repository

TRIES: Final = 10
"""How often a state is saved anew because others committed meanwhile."""


def save_state(
    repository: Repository, acceptable: Collection[str], limits: Limits, commit: Callable[[str], int | None]
) -> SavedState:
    """`commit` tries to commit a root document once, behind what the repository has read by then: None after a lost race.

    Raises as `Repository.save_state`.
    """
    store, about, seal = repository.store, repository.about, repository.seal
    if not about.admins:
        raise PlanRefused(
            f"commits of {store.url} are not signed, so no state of it can be saved",
            hint="Whoever may create objects could make up a past: only where commits are signed can one be believed.",
        )
    anew = read_anew(store, about, acceptable, seal, limits=limits)
    for _ in range(TRIES):
        while repository.refresh().head != anew.state.head:
            anew.refresh()
        check_same(anew.state, repository.state)
        draft = publish_state(store, anew.state, seal)
        number = commit(draft.document)
        if number is not None:
            return SavedState(
                number=number,
                document=draft.document,
                documents=draft.documents,
                bytes=draft.bytes,
                there=draft.there,
                written=draft.written,
            )
    raise PlanRefused(
        f"others committed {TRIES} times while the state of {store.url} was being saved",
        hint="Run the command again at a quieter time.",
    )


def check_same(anew: State, known: State) -> None:
    """Raises `CorruptChain` unless both say the same, runs and cuts included."""
    with without_collector():
        found = difference(anew, known, pages=True)
    if anew.head_digest != known.head_digest or anew.root != known.root:
        found = "the commits themselves"
    if found is not None:
        raise CorruptChain(
            f"what commits up to {known.head} say differs from what this host has of them: {found}",
            hint="Remove the local cache of this repository, verify it, and run the command again.",
        )

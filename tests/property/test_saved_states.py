"""States saved as documents and read back against the same folded: histories of all kinds, cut into pages of any size."""

from __future__ import annotations

import random
from typing import Any

import pytest
from tests.property.test_encrypted_histories import SealedLife
from tests.property.test_fold_on_pages import TINY, lose, opened, same_everywhere
from tests.support.keeping import Life
from tests.support.operations import without_pauses
from tests.support.sealed import encrypted

from kafkeep.repository.envelope import Kind, unwrap
from kafkeep.repository.fold.root import Root, state_of
from kafkeep.repository.fold.settling import Limits
from kafkeep.repository.folding import fold
from kafkeep.repository.format import read_slot
from kafkeep.repository.names import document_name, log_name
from kafkeep.repository.page_store import PageStore
from kafkeep.repository.repository import Repository
from kafkeep.repository.roots import RootDraft, documents_of, layers_of, publish_state
from kafkeep.repository.state import RootRef, State


def read_back(repository: Repository, draft: RootDraft, limits: Limits) -> State:
    """The state of these documents, read by a host that has nothing else."""
    store, seal = repository.store, repository.seal

    def value(reference: str) -> Any:
        return unwrap(store.get(document_name(reference)), Kind.STATE, reference, seal)

    root = Root.of(value(draft.document))
    tables = {name: [value(each) for each in digests] for name, digests in root.tables.items()}
    layers = layers_of(store, seal, limits)
    assert isinstance(layers.pages, PageStore)
    return state_of(root, tables, repository.about, layers, layers.pages)


def folded_on(repository: Repository, state: State, head: int) -> State:
    for number in range(state.head + 1, head + 1):
        data = repository.store.get(log_name(number))
        state = fold(state, [read_slot(data, number, state.head_digest, "", repository.seal)])
    return state


@pytest.mark.parametrize("limits", TINY)
@pytest.mark.parametrize("seed", range(3))
def test_a_state_read_from_its_documents_is_the_one_that_was_folded(seed: int, limits: Limits) -> None:
    life = Life(random.Random(f"saved {seed}"))
    found: State | None = None
    for step in range(30):
        life.step()
        if step % 11 == 10:
            lose(life)
        if step % 6 == 5:
            with opened(life.store, None, limits) as repository:
                plain = life.repository.refresh()
                if found is not None:
                    same_everywhere(folded_on(repository, found, plain.head), plain)
                draft = publish_state(repository.store, repository.state, repository.seal)
                found = read_back(repository, draft, limits)
                same_everywhere(found, plain)
                assert list(found.generations) == list(plain.generations)
                named = documents_of(life.store, RootRef(0, draft.document), None)
                assert len(named) <= draft.documents and draft.document in named


@pytest.mark.parametrize("limits", TINY[:2])
def test_encrypted_states_read_from_their_documents_are_those_folded(limits: Limits) -> None:
    with encrypted(), without_pauses():
        life = SealedLife(random.Random("saved"))
        for step in range(20):
            life.step()
            if step % 6 == 5:
                with opened(life.store, None, limits) as repository:
                    found = read_back(
                        repository, publish_state(repository.store, repository.state, repository.seal), limits
                    )
                    same_everywhere(found, life.repository.refresh())
                    assert found.keys == life.repository.state.keys
        named = [name for name in life.store.objects if name.startswith("doc/")]  # type: ignore[attr-defined]
        assert not any(b"orders" in life.store.get(name) for name in named)

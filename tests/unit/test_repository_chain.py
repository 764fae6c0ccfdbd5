"""The end of a log that may have been trimmed: finding it with few questions, and adding to it."""

from __future__ import annotations

import pytest

from kafkeep.errors import ObjectNotFound, StoreError, StoreUnavailable
from kafkeep.repository import chain
from kafkeep.repository.names import HINT_HEAD, MILESTONE, log_name, next_milestone
from kafkeep.repository.stores.base import ObjectInfo
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import WrappedStore

MANY = 10_000_000


# --- the head ----------------------------------------------------------------------------------------------------


class Arithmetic(MemoryStore):
    """Answers by arithmetic: commits up to `newest`, those below `kept` gone but for milestones."""

    def __init__(self, newest: int, kept: int = 0, hint: int | None = None) -> None:
        super().__init__()
        self.newest, self.kept, self.hint, self.questions = newest, kept, hint, 0

    def head(self, name: str) -> ObjectInfo:
        self.questions += 1
        number = int(name.removeprefix("log/"))
        if number > self.newest or (number < self.kept and number % MILESTONE):
            raise ObjectNotFound(f"{name} is not there")
        return ObjectInfo(name, 1)

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        assert name == HINT_HEAD
        self.questions += 1
        if self.hint is None:
            raise ObjectNotFound(f"{name} is not there")
        return b"%d\n" % self.hint


EDGES = sorted(
    {
        max(0, base + step)
        for base in (0, MILESTONE, 7 * MILESTONE, 1023 * MILESTONE, MANY)
        for step in (-2, -1, 0, 1, 2)
    }
)


@pytest.mark.parametrize("newest", [*EDGES, 100, 9_999, 4_194_303, 8_388_607])
def test_the_head_is_found_with_few_questions_however_much_was_trimmed(newest: int) -> None:
    last = newest // MILESTONE * MILESTONE
    for kept in {0, last, newest // 3}:
        for hint, known in ((None, -1), (None, 0), (None, last), (0, -1), (last, -1), (newest, 0), (MANY * 10, -1)):
            store = Arithmetic(newest, min(kept, last), hint)
            assert chain.find_head(store, known) == newest
            assert store.questions <= 40


def test_an_empty_store_has_no_head() -> None:
    store = Arithmetic(-1)
    assert (chain.find_head(store, -1), store.questions) == (-1, 2)


def test_who_knows_the_head_asks_one_question_more_than_whether_there_is_another() -> None:
    for hint, questions in ((None, 3), (5000, 3), (4999, 3)):
        store = Arithmetic(5000, 4000, hint)
        assert (chain.find_head(store, 5000), store.questions) == (5000, questions)


def test_milestones_follow_one_another() -> None:
    assert [next_milestone(number) for number in (-1, 0, 1, 4095, 4096, 8191)] == [0, 4096, 4096, 4096, 8192, 8192]


# --- committing --------------------------------------------------------------------------------------------------


def test_a_commit_in_an_empty_slot_below_a_milestone_is_told_from_one_at_the_end() -> None:
    store = MemoryStore()
    chain.put_commit(store, 5, b"a", lambda seconds: None)
    store.put_new(log_name(MILESTONE), b"m")
    with pytest.raises(chain.Trimmed):
        chain.put_commit(store, 6, b"b", lambda seconds: None)
    with pytest.raises(chain.Trimmed):
        chain.put_commit(store, 6, b"b", lambda seconds: None)
    assert chain.put_commit(store, 6, b"c", lambda seconds: None) == b"b"
    assert chain.put_commit(store, 7, b"d", lambda seconds: None, milestones=False) is None
    assert chain.put_commit(store, MILESTONE + 1, b"e", lambda seconds: None) is None


def test_a_milestone_that_cannot_be_asked_for_leaves_the_outcome_open() -> None:
    class Silent(WrappedStore):
        def head(self, name: str) -> ObjectInfo:
            raise StoreUnavailable("no answer")

    with pytest.raises(StoreError) as raised:
        chain.put_commit(Silent(MemoryStore()), 5, b"a", lambda seconds: None)
    assert raised.value.retryable

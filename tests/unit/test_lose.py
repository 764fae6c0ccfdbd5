"""Declaring runs lost: the rules, for both readers, and what the state says then."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.readers import reader_of, same_state
from tests.support.repositories import Journal, backup, generation, open_repository, piece

from kafkeep.errors import PlanRefused
from kafkeep.model import OffsetRange
from kafkeep.repository.changes import KIND_OF, Change, Lose, Retire
from kafkeep.repository.format import encode_commit
from kafkeep.repository.keeping import UNREADABLE
from kafkeep.repository.names import log_name
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore

TIME = "2026-11-20T11:00:00.000Z"
ORDERS, PAYMENTS = generation("orders"), generation("payments")


def two_points() -> tuple[MemoryStore, Repository]:
    store = MemoryStore()
    repository = Journal(store).create()
    backup(repository, [piece(ORDERS, 0, 2), piece(PAYMENTS, 0, 1)])
    backup(repository, [piece(ORDERS, 6, 2)])
    return store, repository


def packs(repository: Repository) -> list[str]:
    return [entry.name for entry in repository.state.packs]


def put_by_force(repository: Repository, change: Change) -> None:
    """What a writer without our checks would commit."""
    commit = replace(repository._head_of_next(TIME), kind=KIND_OF[type(change)], change=change)
    repository.store.put_new(log_name(commit.seq), encode_commit(commit))


BROKEN = {
    "nothing is lost": ((), "loss of nothing"),
    "a run is lost twice": ((("first", 0), ("first", 0)), "named twice"),
    "a run that never was": ((("first", 2),), "run 2 of pack"),
    "a pack that never was": ((("pack/00/0-x", 0),), "is not there"),
    "one good, one bad": ((("first", 0), ("second", 1)), "run 1 of pack"),
    "a run of a retired pack": ((("retired", 0),), "is retired"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_loss_that_breaks_a_rule_counts_for_nothing(name: str) -> None:
    runs, message = BROKEN[name]
    store, repository = two_points()
    known = dict(zip(("first", "second"), packs(repository), strict=True))
    if name == "a run of a retired pack":
        repository.decide(Retire((1, 2), (known["second"],), "r"), started=TIME)
        known["retired"] = known["second"]
    change = Lose(tuple((known.get(pack, pack), index) for pack, index in runs), "why")
    with pytest.raises(PlanRefused, match=message):
        repository.decide(change, started=TIME)
    before = repository.state
    put_by_force(repository, change)
    after = open_repository(store).state
    assert [alarm.number for alarm in after.alarms] == [before.head + 1]
    assert replace(after, head=before.head, head_digest=before.head_digest, alarms=before.alarms) == before
    assert same_state(reader_of(store), open_repository(store))


def test_lost_runs_become_gaps_of_the_commits_that_brought_them() -> None:
    store, repository = two_points()
    first, second = packs(repository)
    number = repository.decide(Lose(((first, 0), (second, 0)), "the disk is gone"), started=TIME)
    again = open_repository(store)
    known = again.state.generations[ORDERS]
    assert (known.start, known.next_offset, list(known.runs)) == (0, 12, [])
    assert list(known.gap_numbers) == [1, 2]
    assert {(gap.reason, gap.evidence) for gap in known.gaps} == {(UNREADABLE, "the disk is gone")}
    assert [run.index for entry in again.state.packs for run in entry.runs] == [1]
    for point, expected in zip(again.points(), ([(0, 6)], [(0, 6), (6, 12)]), strict=True):
        view = next(part for part in again.view(point).partitions if part.generation == ORDERS)
        assert [(gap.offsets.start, gap.offsets.stop) for gap in view.gaps] == expected
        assert view.slices == ()
    other = next(part for part in again.view(again.points()[0]).partitions if part.generation == PAYMENTS)
    assert [part.offsets for part in other.slices] == [OffsetRange(0, 3)]
    assert same_state(reader_of(store), again)
    assert again.state.head == number
    # what is lost cannot be lost once more
    with pytest.raises(PlanRefused, match="is not there"):
        again.decide(Lose(((first, 0),), "twice"), started=TIME)


def test_a_pack_without_runs_can_be_retired_and_swept() -> None:
    store, repository = two_points()
    _, second = packs(repository)
    repository.decide(Lose(((second, 0),), "gone"), started=TIME)
    repository.decide(Retire((), (second,), "nobody needs it"), started=TIME)
    assert len(repository.points()) == 2
    assert same_state(reader_of(store), open_repository(store))

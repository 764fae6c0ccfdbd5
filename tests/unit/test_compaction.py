"""Compactions: what is gathered, what is left alone, and what a plan says."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.support.compactions import ORDERS, PAYMENTS, SMALL, frequent, gather, held, live
from tests.support.readers import reader_of, same_state
from tests.support.repositories import Clock, Piece, backup, cut, draft, noise, open_repository, piece, write_pack
from tests.support.sealed import KINDS, encrypted

from kafkeep.compaction.plan import PACK_REQUESTS, CompactOptions, plan_compaction
from kafkeep.compaction.run import compact, prepare
from kafkeep.copying.run import copy
from kafkeep.copying.run import prepare as prepare_copy
from kafkeep.errors import UsageError
from kafkeep.repository.changes import Retire
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.verify.run import verify

TIME = "2026-11-20T11:00:00.000Z"


@pytest.fixture(autouse=True, params=KINDS)
def kind(request: pytest.FixtureRequest) -> Iterator[None]:
    with encrypted(request.param == "encrypted"):
        yield


def test_runs_lie_in_one_pack_and_are_what_they_were() -> None:
    store, repository = frequent()
    before, state = held(repository), repository.state
    result = gather(repository)
    assert (result.packs, result.runs, len(result.commits)) == (4, 8, 1)
    assert held(repository) == before
    assert live(repository) == [0, 0, 0, 0, 8]
    entry = list(repository.state.packs)[-1]
    assert (entry.number, entry.size) == (result.commits[0], result.bytes)
    order = [(run.generation, run.coverage.start) for run in entry.runs]
    assert order == sorted(order), "runs of a partition lie one behind the other"
    for of, known in repository.state.generations.items():
        was = state.generations[of]
        assert [run.facts for run in known.runs] == [run.facts for run in was.runs]
        assert (known.run_numbers, known.next_offset, known.start) == (was.run_numbers, was.next_offset, was.start)
        assert {run.pack for run in known.runs} == {entry.name}
    assert repository.state.points == state.points and repository.state.floors == {}
    again = open_repository(store)
    assert again.state == repository.state
    assert same_state(reader_of(store), again)
    assert verify(again, level="data").findings == ()


def test_a_second_compaction_has_nothing_to_do() -> None:
    _, repository = frequent()
    gather(repository)
    plan = prepare(repository, SMALL)
    assert plan.nothing_to_do and (plan.live_packs, plan.small_packs) == (1, 1)
    head = repository.state.head
    result = compact(repository, plan, now=Clock(), rng=random.Random(1))
    assert (result.commits, result.packs, result.runs, result.failures) == ((), 0, 0, ())
    assert repository.state.head == head


def test_who_holds_an_older_state_goes_on_reading() -> None:
    _, repository = frequent()
    view = repository.view(repository.point("latest"))
    parts = [part.runs for part in view.partitions]
    before = [b"".join(chunk for run in runs for chunk in repository.read_run(run)) for runs in parts]
    gather(repository)
    after = [b"".join(chunk for run in runs for chunk in repository.read_run(run)) for runs in parts]
    assert before == after and view.packs() != repository.view(repository.point("latest")).packs()


def test_a_plan_says_what_it_is_good_for() -> None:
    _, repository = frequent(6)
    plan = prepare(repository, SMALL)
    stored = sum(run.facts.stored_bytes for entry in repository.state.packs for run in entry.runs)
    assert (plan.packs, plan.runs, plan.bytes) == (6, 12, stored)
    assert plan.requests_saved == PACK_REQUESTS * 5
    assert (plan.target_bytes, plan.smaller_than) == (64 * 1024, 16 * 1024)


def test_large_packs_and_retired_ones_are_left_alone() -> None:
    store, repository = frequent(3)
    large = write_pack(repository, [Piece(ORDERS, 18, 19, (noise(18, 5000),))])
    repository.commit(draft(packs=[large], cuts=[cut(ORDERS, 19), cut(PAYMENTS, 9)]))
    options = CompactOptions(target_bytes=16 * 1024)
    names = [entry.name for entry in repository.state.packs]
    repository.decide(Retire((1, 2, 3, 4), (), "r"), started=TIME)
    repository.decide(Retire((), (names[1],), "r"), started=TIME)
    plan = prepare(repository, options)
    assert [gathering.packs for gathering in plan.gatherings] == [(names[0], names[2])]
    gather(repository, options)
    assert live(repository) == [0, 2, 0, 1, 4]
    assert same_state(reader_of(store), open_repository(store))


def test_frequent_compactions_do_not_write_the_same_bytes_over_and_over() -> None:
    _, repository = frequent(0)
    moved = 0
    for index in range(60):
        backup(repository, [piece(ORDERS, index * 6, 2, seed=index)])
        moved += gather(repository, CompactOptions(target_bytes=1024 * 1024)).runs
    packs = [len(entry.runs) for entry in repository.state.packs if entry.runs]
    assert sum(packs) == 60
    print(f"{moved} moves of 60 runs, {packs}")
    assert len(packs) <= 6, "logarithmically few are left"
    assert moved <= 60 * 6, "each run was moved logarithmically often, not 30 times"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (CompactOptions(target_bytes=0), "none that this repository holds"),
        (CompactOptions(target_bytes=2**40), "none that this repository holds"),
        (CompactOptions(target_bytes=4096, smaller_than=1025), "too large to be gathered"),
    ],
)
def test_options_that_contradict_one_another_are_refused(options: CompactOptions, message: str) -> None:
    _, repository = frequent(1)
    with pytest.raises(UsageError, match=message):
        prepare(repository, options)


def test_the_target_is_128_mib_or_what_a_pack_may_have() -> None:
    _, repository = frequent(1)
    assert prepare(repository, CompactOptions()).target_bytes == 128 * 1024 * 1024
    narrow = replace(repository.about, pack_bytes=1000)
    assert plan_compaction(repository.state, narrow, CompactOptions()).target_bytes == 1000


def test_a_compaction_that_is_asked_to_ends_after_the_pack_at_hand() -> None:
    _, repository = frequent(12)
    plan = prepare(repository, CompactOptions(target_bytes=16 * 1024))
    assert len(plan.gatherings) > 1
    asked = iter([False, True])
    result = compact(repository, plan, now=Clock(), rng=random.Random(1), is_over=lambda: next(asked))
    assert result.stopped and len(result.commits) == 1
    rest = gather(repository, CompactOptions(target_bytes=16 * 1024))
    assert not rest.stopped and result.packs + rest.packs == plan.packs


def test_copies_leave_emptied_packs_out() -> None:
    _, repository = frequent()
    target, follower = MemoryStore(), MemoryStore()

    def copied(to: MemoryStore) -> int:
        plan = prepare_copy(repository, to)
        return copy(repository, to, plan, now=Clock(), rng=random.Random(9)).packs

    assert copied(follower) == 4
    backup(repository, [piece(ORDERS, 24, 2), piece(PAYMENTS, 12, 1)])
    gather(repository)
    assert copied(target) == 1
    assert copied(follower) == 1
    for place in (target, follower):
        again = open_repository(place)
        assert again.state == repository.state and held(again) == held(repository)
        assert verify(again, level="data").findings == ()
        assert prepare_copy(repository, place).nothing_to_do

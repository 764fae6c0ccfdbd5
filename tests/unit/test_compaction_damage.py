"""Damage that compactions meet, and writers that lie: what pruning looks at before it gives originals up."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from tests.support.compactions import all_runs, flip, frequent, gather, held, moved_pack
from tests.support.keeping import UNDO_SECONDS
from tests.support.readers import reader_of, same_state
from tests.support.repositories import Clock, Piece, generation, open_repository, write_pack
from tests.support.sealed import KINDS, encrypted

from kafkeep.compaction.plan import CompactOptions
from kafkeep.compaction.run import compact, prepare
from kafkeep.errors import CorruptObject
from kafkeep.model import RunRef
from kafkeep.repository.changes import Compact, CompactedPack, Lose, Retire
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.retention.plan import PruneResult
from kafkeep.retention.rules import KeepRules
from kafkeep.retention.run import EMPTIED, prune, take_back
from kafkeep.retention.run import prepare as prepare_pruning
from kafkeep.verify.run import verify

TIME = "2026-11-20T11:00:00.000Z"


@pytest.fixture(autouse=True, params=KINDS)
def kind(request: pytest.FixtureRequest) -> Iterator[None]:
    with encrypted(request.param == "encrypted"):
        yield


ORDERS = generation("orders")


def test_damaged_data_stays_where_it_is_and_the_rest_is_gathered() -> None:
    store, repository = frequent(12)
    options = CompactOptions(target_bytes=16 * 1024)
    plan = prepare(repository, options)
    bad = plan.gatherings[0].packs[1]
    flip(store, bad)
    result = compact(repository, plan, now=Clock(), rng=random.Random(1))
    assert len(result.commits) == len(plan.gatherings) - 1
    (failure,) = result.failures
    assert failure.reason == "corrupt-object" and bad in failure.message
    assert {entry.name for entry in repository.state.packs if entry.runs} >= set(plan.gatherings[0].packs)


def aged(repository: Repository, clock: Clock) -> PruneResult:
    """Emptied packs retired, and their time to come back over."""
    rules = KeepRules(last=100, min_points=1)
    plan = prepare_pruning(repository, rules, undo_seconds=UNDO_SECONDS, confirmed=False, now=clock)
    return prune(repository, plan, now=clock)


def test_emptied_packs_are_retired_then_swept_and_nothing_is_lost() -> None:
    store, repository = frequent()
    before, clock = held(repository), Clock()
    clock.advance(hours=1)
    gather(repository, clock=clock)
    rules = KeepRules(last=100, min_points=1)
    plan = prepare_pruning(repository, rules, undo_seconds=UNDO_SECONDS, confirmed=False, now=clock)
    old = [entry.name for entry in repository.state.packs][:4]
    assert (plan.emptied, plan.packs, plan.refusals) == (tuple(old), (), ()), "nothing is let go, so nothing to confirm"
    first = prune(repository, plan, now=clock)
    (number,) = first.retirements
    assert repository.state.retirements[number].reason == EMPTIED
    assert repository.state.floors == {}
    assert take_back(repository, None, now=clock) == ((number,), ())
    aged(repository, clock)
    clock.advance(seconds=UNDO_SECONDS + 60)
    second = aged(repository, clock)
    assert (second.deleted, second.retirements) == (4, ())
    assert held(repository) == before
    assert [name for name in store.objects if name.startswith("pack/")] == [e.name for e in repository.state.packs]
    assert verify(open_repository(store), level="data").findings == ()
    assert same_state(reader_of(store), open_repository(store))
    history = repository.state.generations[ORDERS]
    assert (history.start, len(history.gaps)) == (0, 0)


def test_packs_that_only_lost_runs_count_as_data() -> None:
    """Whoever declares runs lost gets nothing past the guard against letting most of a repository go."""
    _, repository = frequent()
    lost = tuple((run.pack, run.index) for run in all_runs(repository)[:6])
    repository.decide(Lose(lost, "a thief says so"), started=TIME)
    rules = KeepRules(last=100, min_points=1)
    plan = prepare_pruning(repository, rules, undo_seconds=UNDO_SECONDS, confirmed=False, now=Clock())
    assert plan.emptied == () and len(plan.packs) == 3
    assert "more than 30%" in plan.refusals[0]


def garbage(repository: Repository, runs: list[RunRef], *, honest_footer: bool) -> CompactedPack:
    """A pack of a thief's making: with an honest footer over garbage, or one that fits the garbage."""
    pack = moved_pack(repository, runs)
    store = repository.store
    assert isinstance(store, MemoryStore)
    if honest_footer:
        flip(store, pack.name)
        return pack
    forged = [Piece(run.generation, run.coverage.start, run.coverage.stop, ()) for run in runs]
    made = write_pack(repository, forged)
    return CompactedPack(made.name, made.size, made.blake3, made.epoch, pack.runs)


@pytest.mark.fault("G9")
@pytest.mark.parametrize("honest_footer", [True, False])
def test_a_thief_that_moves_runs_into_garbage_cannot_have_the_originals_deleted(honest_footer: bool) -> None:
    store, repository = frequent()
    clock = Clock()
    clock.advance(hours=1)
    before = dict(store.objects)
    pack = garbage(repository, all_runs(repository), honest_footer=honest_footer)
    repository.decide(Compact((pack,)), started=TIME)
    assert aged(repository, clock).retirements, "what was moved is retired; that can be taken back"
    clock.advance(seconds=UNDO_SECONDS + 60)
    with pytest.raises(CorruptObject, match="what was moved is not whole where it lies") as refused:
        aged(repository, clock)
    assert refused.value.exit_code == 20 and pack.name in refused.value.message
    assert ("payments/0 [9, 12)" if honest_footer else "orders/0 [0, 6)") in refused.value.message
    assert "Nothing was given up" in refused.value.hint
    assert not repository.state.swept
    assert {name: data for name, data in store.objects.items() if name in before and not name.startswith("hint/")} == {
        name: data for name, data in before.items() if not name.startswith("hint/")
    }
    assert {finding.object for finding in verify(open_repository(store)).findings} == {pack.name}


def test_the_look_before_a_sweep_follows_runs_through_several_compactions() -> None:
    store, repository = frequent()
    clock = Clock()
    clock.advance(hours=1)
    gather(repository, clock=clock)
    aged(repository, clock)
    middle = list(repository.state.packs)[-1].name
    pack = moved_pack(repository, all_runs(repository))
    repository.decide(Compact((pack,)), started=TIME)
    flip(store, pack.name)
    clock.advance(seconds=UNDO_SECONDS + 60)
    with pytest.raises(CorruptObject, match=pack.name):
        aged(repository, clock)
    flip(store, pack.name)
    assert aged(repository, clock).deleted == 4
    assert middle in store.objects, "retired only now"


def test_runs_that_are_given_up_together_with_their_copies_are_not_looked_at() -> None:
    """The original and the copy go with one sweep when no point needs either: damage in the copy hurts nobody."""
    store, repository = frequent(2)
    names = [entry.name for entry in repository.state.packs]
    gather(repository)
    copied = list(repository.state.packs)[-1].name
    repository.decide(Retire((1, 2), (*names, copied), "r"), started=TIME)
    flip(store, copied)
    clock = Clock()
    clock.advance(days=30)
    assert aged(repository, clock).deleted == 3

"""Commits that decide what is kept: the rules they may break, for both readers, and what pruning refuses."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from tests.support.keeping import UNDO_SECONDS
from tests.support.readers import reader_of, same_state
from tests.support.repositories import (
    Clock,
    Journal,
    backup,
    cut,
    draft,
    generation,
    open_repository,
    opened,
    piece,
    write_pack,
)

from kafkeep.errors import PlanRefused, StoreAccessDenied
from kafkeep.repository.changes import KIND_OF, Change, Pin, RaiseEpoch, Retag, Retire, Sweep, Unpin, Unretire
from kafkeep.repository.drafts import fit
from kafkeep.repository.format import encode_commit
from kafkeep.repository.keeping import PRUNED
from kafkeep.repository.names import log_name
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import FaultyStore
from kafkeep.retention.evidence import VERIFIED
from kafkeep.retention.planning import Needed
from kafkeep.retention.rules import KeepRules
from kafkeep.retention.run import prepare, prune, take_back

TIME = "2026-11-20T11:00:00.000Z"
ORDERS, PAYMENTS = generation("orders"), generation("payments")


def three_points() -> tuple[MemoryStore, Repository]:
    """Commits 1 to 3: each brings a pack and a point; the log's start rises, so each point needs its own pack alone."""
    store = MemoryStore()
    repository = Journal(store).create()
    backup(repository, [piece(ORDERS, 0, 2), piece(PAYMENTS, 0, 1)])
    for start in (6, 12):
        pack = write_pack(repository, [piece(ORDERS, start, 2)])
        repository.commit(draft(packs=[pack], cuts=[cut(ORDERS, start + 6, start), cut(PAYMENTS, 3, 3)]))
    return store, repository


def later() -> Clock:
    """A clock behind the one that the points were made by."""
    clock = Clock()
    clock.advance(hours=1)
    return clock


def packs_of(repository: Repository) -> list[str]:
    return [entry.name for entry in repository.state.packs]


def put_by_force(repository: Repository, change: Change) -> None:
    """What a writer without our checks would commit."""
    commit = replace(repository._head_of_next(TIME), kind=KIND_OF[type(change)], change=change)
    repository.store.put_new(log_name(commit.seq), encode_commit(commit))


BROKEN = {
    "an epoch is left out": (RaiseEpoch(2), "does not follow epoch 0"),
    "nothing is retired": (Retire((), (), "r"), "retirement of nothing"),
    "a point that never was": (Retire((9,), (), "r"), "no recovery point 9"),
    "a pack that a point needs": (Retire((1,), ("second",), "r"), "point 2 needs"),
    "a pack without its point": (Retire((), ("first",), "r"), "point 1 needs"),
    "a pack that never was": (Retire((1,), ("pack/00/0-x",), "r"), "unknown"),
    "a pack named twice": (Retire((1,), ("first", "first"), "r"), "named twice"),
    "a pinned point": (Retire((3,), (), "r"), "point 3 is pinned"),
    "a retirement that never was": (Unretire((2,)), "not a retirement"),
    "a sweep of nothing": (Sweep(()), "not a retirement"),
    "a pin on nothing": (Pin(9, "r"), "no recovery point 9"),
    "a pin with two ends": (Pin(2, "r", TIME, "tag"), "two ends"),
    "unpinned is not pinned": (Unpin(2), "is not pinned"),
    "a tag on nothing": (Retag(9, (), ("a",)), "no recovery point 9"),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.fault("I6")
def test_a_decision_that_breaks_a_rule_counts_for_nothing(name: str) -> None:
    change, message = BROKEN[name]
    store, repository = three_points()
    repository.decide(Pin(3, "for ever"), started=TIME)
    known = dict(zip(("first", "second", "third"), packs_of(repository), strict=True))
    if isinstance(change, Retire):
        change = replace(change, packs=tuple(known.get(pack, pack) for pack in change.packs))
    with pytest.raises(PlanRefused, match=message):
        repository.decide(change, started=TIME)
    before = repository.state
    put_by_force(repository, change)
    after = open_repository(store).state
    assert [alarm.number for alarm in after.alarms] == [before.head + 1]
    assert replace(after, head=before.head, head_digest=before.head_digest, alarms=before.alarms) == before
    assert same_state(reader_of(store), open_repository(store))


@pytest.mark.fault("G6")
def test_points_and_packs_go_in_two_steps_and_the_first_can_be_taken_back() -> None:
    store, repository = three_points()
    clock = later()
    rules = KeepRules(last=1, min_points=1)
    # point 2 is of the same series as point 3; the first one of all is another's whose topics were all
    plan = prepare(repository, rules, undo_seconds=UNDO_SECONDS, confirmed=True, now=clock)
    assert plan.retired_points == (1, 2)
    assert plan.packs == tuple(packs_of(repository)[:2])
    result = prune(repository, plan, now=clock)
    assert result.deleted == 0 and result.swept is None and len(result.retirements) == 1
    assert [point.number for point in repository.points()] == [3]
    assert len(packs_of(repository)) == 3, "what is retired can still be read"
    assert take_back(repository, None, now=clock) == (result.retirements, (1, 2))
    assert [point.number for point in repository.points()] == [1, 2, 3]
    with pytest.raises(PlanRefused, match="nothing is retired"):
        take_back(repository, None, now=clock)
    prune(repository, prepare(repository, rules, undo_seconds=UNDO_SECONDS, confirmed=True, now=clock), now=clock)
    clock.advance(seconds=UNDO_SECONDS + 60)
    late = prepare(repository, rules, undo_seconds=UNDO_SECONDS, confirmed=True, now=clock)
    assert [sweep.packs for sweep in late.sweeps] == [2]
    done = prune(repository, late, now=clock)
    assert done.deleted == 2
    assert {name for name in store.objects if name.startswith("pack/")} == set(packs_of(repository))
    assert repository.state.generations[ORDERS].start == 12
    with pytest.raises(PlanRefused, match="nothing is retired"):
        take_back(repository, None, now=clock)


def test_a_history_with_its_middle_gone_says_so() -> None:
    store, repository = three_points()
    repository.decide(Retire((2,), (packs_of(repository)[1],), "the middle"), started=TIME)
    repository.decide(Sweep((4,)), started=TIME)
    known = repository.state.generations[ORDERS]
    assert [(gap.offsets.start, gap.offsets.stop, gap.reason) for gap in known.gaps] == [(6, 12, PRUNED)]
    assert known.start == 0
    assert same_state(reader_of(store), open_repository(store))


def test_no_point_to_come_begins_in_what_was_retired() -> None:
    _, repository = three_points()
    repository.decide(Retire((1, 2), tuple(packs_of(repository)[:2]), "r"), started=TIME)
    fitted = fit(repository.state, draft(cuts=[cut(ORDERS, 18, 3)]))
    assert fitted.point is not None and fitted.point.cuts[0].start == 12
    outcome = repository.commit(draft(cuts=[cut(ORDERS, 18, 3)]))
    assert outcome.point is not None and outcome.point.cuts[0].start == 12


def test_a_pruning_that_somebody_was_faster_than_is_refused() -> None:
    store, repository = three_points()
    clock = later()
    plan = prepare(repository, KeepRules(last=1, min_points=1), undo_seconds=60, confirmed=True, now=clock)
    open_repository(store).decide(Pin(1, "wait"), started=TIME)
    with pytest.raises(PlanRefused, match="point 1 is pinned"):
        prune(repository, plan, now=clock)
    assert [point.number for point in repository.points()] == [1, 2, 3]


def test_most_of_a_repository_goes_only_when_that_is_confirmed() -> None:
    _, repository = three_points()
    plan = prepare(repository, KeepRules(last=1, min_points=1), undo_seconds=60, confirmed=False, now=later())
    assert "more than 30%" in plan.refusals[0]
    with pytest.raises(PlanRefused, match="more than 30%"):
        prune(repository, plan, now=later())


def test_the_newest_verified_point_stays() -> None:
    _, repository = three_points()
    repository.put_audit(VERIFIED, {"head": 2, "level": "objects"})
    plan = prepare(repository, KeepRules(last=1, min_points=1), undo_seconds=60, confirmed=True, now=later())
    assert plan.retired_points == (1,)


@pytest.mark.fault("S11")
def test_what_cannot_be_deleted_is_named_and_tried_again() -> None:
    store, _ = three_points()

    def locked(index: int, call: str, name: str) -> None:
        if call == "delete" and name.startswith("pack/"):
            raise StoreAccessDenied(f"{name} is locked")

    clock = later()
    repository = Repository.open(FaultyStore(store, before=locked), now=clock, rng=random.Random(1))
    rules = KeepRules(last=1, min_points=1)

    def pruned(by: Repository) -> tuple[int, int]:
        result = prune(by, prepare(by, rules, undo_seconds=1, confirmed=True, now=clock), now=clock)
        return result.deleted, len(result.failures)

    assert pruned(repository) == (0, 0)
    clock.advance(minutes=1)
    assert pruned(repository) == (0, 2)
    assert pruned(open_repository(store, clock=clock)) == (2, 0)


def test_runs_that_no_point_has_named_yet_are_kept_for_the_backup_that_wrote_them() -> None:
    _, repository = three_points()
    new = generation("new")
    repository.commit(draft(packs=[write_pack(repository, [piece(new, 0, 1)])], open_=opened(new)))
    state = repository.state
    needed = Needed(state, [])
    assert needed.holds(state.generations[new].runs[0])
    assert needed.holds(state.generations[ORDERS].runs[2])
    assert not needed.holds(state.generations[ORDERS].runs[1])

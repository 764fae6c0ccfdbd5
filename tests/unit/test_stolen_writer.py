"""What a stolen writer's signing key can do in a signed repository, and what it cannot."""

from __future__ import annotations

import random

import pytest
from tests.support.compactions import all_runs, flip, moved_pack
from tests.support.keeping import UNDO_SECONDS
from tests.support.repositories import Clock, backup, cut, draft, generation, piece

from kafkeep.errors import CorruptObject, KeyRefused
from kafkeep.events import Event, Progress, WorkPlanned
from kafkeep.repository.changes import Compact, Retire
from kafkeep.repository.keyring import Access
from kafkeep.repository.repository import Repository
from kafkeep.repository.signing import SigningKey
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.trust import ADMIN, WRITER, Distrust, Trust
from kafkeep.retention import moved
from kafkeep.retention.evidence import find_evidence
from kafkeep.retention.plan import PruneResult
from kafkeep.retention.rules import KeepRules
from kafkeep.retention.run import prepare, prune
from kafkeep.verify.run import verify

TIME = "2026-11-20T11:00:00.000Z"
ORDERS = generation("orders")
ADMIN_KEY, WRITER_KEY = SigningKey(bytes([1]) * 32), SigningKey(bytes([2]) * 32)


class Place:
    """A signed repository with two points and their packs."""

    def __init__(self) -> None:
        self.store, self.clock = MemoryStore(), Clock()
        admins = (ADMIN_KEY.trusted(ADMIN),)
        Repository.init(self.store, now=self.clock, rng=random.Random(1), chunk_bytes=1000, admins=admins)
        self.opened(ADMIN_KEY).decide(Trust(WRITER_KEY.trusted(WRITER)), started=TIME)
        for start in (0, 9):
            backup(self.opened(WRITER_KEY), [piece(ORDERS, start, 3)])
        self.clock.advance(hours=1)

    def opened(self, key: SigningKey | None) -> Repository:
        seed = random.Random(f"{0 if key is None else key.id} {len(self.store.objects)}")
        return Repository.open(self.store, now=self.clock, rng=seed, access=Access(signing_key=key))

    def pruned(self, key: SigningKey) -> PruneResult:
        repository = self.opened(key)
        rules = KeepRules(last=100, min_points=1)
        plan = prepare(repository, rules, undo_seconds=UNDO_SECONDS, confirmed=True, now=self.clock)
        return prune(repository, plan, now=self.clock)


@pytest.mark.fault("G9")
@pytest.mark.parametrize("at_once", [1, 50_000])
def test_runs_moved_into_garbage_are_found_before_an_admin_gives_the_originals_up(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moved, "AT_ONCE", at_once)
    place = Place()
    thief = place.opened(WRITER_KEY)
    originals = [name for name in place.store.objects if name.startswith("pack/")]
    pack = moved_pack(thief, all_runs(thief))
    flip(place.store, pack.name)
    thief.decide(Compact((pack,)), started=TIME)
    assert not place.opened(None).state.alarms, "a writer may compact"
    with pytest.raises(KeyRefused, match="may not sign a commit of kind retire"):
        place.pruned(WRITER_KEY)
    assert place.pruned(ADMIN_KEY).retirements
    place.clock.advance(seconds=UNDO_SECONDS + 60)
    with pytest.raises(CorruptObject, match="what was moved is not whole where it lies"):
        place.pruned(ADMIN_KEY)
    assert set(originals) <= set(place.store.objects)
    assert {finding.object for finding in verify(place.opened(None)).findings} == {pack.name}


@pytest.mark.parametrize("at_once", [1, 2, 50_000])
def test_every_moved_run_is_looked_at_however_few_are_sorted_at_once(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moved, "AT_ONCE", at_once)
    place = Place()
    runs = all_runs(place.opened(None))
    writer = place.opened(WRITER_KEY)
    writer.decide(Compact((moved_pack(writer, runs),)), started=TIME)
    repository, events = place.opened(None), list[Event]()
    moved.check_moved(repository, frozenset(run.pack for run in runs), sink=events.append)
    planned = [event.size_bytes for event in events if isinstance(event, WorkPlanned)]
    read = [event.size_bytes for event in events if isinstance(event, Progress)]
    assert planned == [sum(read)] == [sum(run.facts.stored_bytes for run in runs)]
    assert len(read) == len(runs) > 1


@pytest.mark.fault("I11")
def test_a_thief_retires_nothing_even_after_the_admin_did() -> None:
    place = Place()
    admin, thief = place.opened(ADMIN_KEY), place.opened(WRITER_KEY)
    admin.decide(Retire((2,), (), "pruned by rules"), started=TIME)
    with pytest.raises(KeyRefused):
        thief.decide(Retire((3,), (), "mine"), started=TIME)
    assert [point.number for point in place.opened(None).points()] == [3]


def test_points_of_a_thief_are_believed_and_so_are_its_reports() -> None:
    """What docs/trust.md tells a thief can do: it is the reason to read a plan before it is carried out."""
    place = Place()
    thief = place.opened(WRITER_KEY)
    for number in range(3):
        thief.commit(draft(cuts=[cut(ORDERS, 9)], name=f"mine {number}"))
    thief.put_audit("verified", {"head": 3, "level": "data"})
    place.opened(None).put_audit("verified", {"head": 5, "level": "data"})
    admin = place.opened(ADMIN_KEY)
    assert find_evidence(admin).head == 3, "a report that nobody signed is no evidence"
    rules = KeepRules(last=2, min_points=1)
    plan = prepare(admin, rules, undo_seconds=UNDO_SECONDS, confirmed=False, now=place.clock)
    assert plan.retired_points == (2, 4), "the newest that was verified stays"


@pytest.mark.parametrize(("distrusted", "gone"), [("apart", (4,)), ("none", (4, 5)), ("together", (2, 3, 4))])
def test_points_of_a_key_that_is_trusted_no_more_push_out_none_of_the_others(
    distrusted: str, gone: tuple[int, ...]
) -> None:
    """2 and 3 are of the key that stays; 4, 5 and 6 of the thief's, and 6 stays as the newest."""
    place = Place()
    stolen = SigningKey(bytes([3]) * 32)
    place.opened(ADMIN_KEY).decide(Trust(stolen.trusted(WRITER)), started=TIME)
    thief = place.opened(stolen)
    numbers = [thief.commit(draft(cuts=[cut(ORDERS, 9)], name=f"mine {number}")).number for number in range(3)]
    place.opened(ADMIN_KEY).decide(Distrust(stolen.trusted(WRITER).public), started=TIME)
    place.clock.advance(hours=1)
    rules = KeepRules(last=2, min_points=1, distrusted=distrusted)
    plan = prepare(place.opened(ADMIN_KEY), rules, undo_seconds=UNDO_SECONDS, confirmed=False, now=place.clock)
    assert plan.retired_points == tuple({4: numbers[0], 5: numbers[1]}.get(number, number) for number in gone)
    assert any("trusted no more" in remark for remark in plan.remarks)

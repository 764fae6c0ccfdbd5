"""G1, G2, G4, G5: what retention lets go, held against plain words; writers that sleep; policies that cannot be meant."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.faults import Figures
from tests.support.keeping import Life
from tests.support.operations import as_cluster, stored, without_pauses
from tests.support.repositories import (
    Clock,
    Journal,
    backup,
    contents,
    cut,
    draft,
    generation,
    open_repository,
    opened,
    piece,
    write_pack,
)
from tests.support.retention_oracle import idle_packs, kept_points, random_rules, random_signers
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import record
from tests.support.sweep_command import Kafkeep

from kafkeep.capture import run as capture
from kafkeep.capture.options import BackupOptions
from kafkeep.repository.changes import RaiseEpoch
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import FaultyStore
from kafkeep.retention.plan import PruneResult
from kafkeep.retention.planning import plan_prune
from kafkeep.retention.rules import Circumstances, KeepRules
from kafkeep.retention.run import prepare, prune
from kafkeep.times import rfc3339
from kafkeep.verify.run import verify

POLICIES_OF_EACH = 40
ORDERS = generation("orders")


class LongLived(Life):
    """Prunes rarely, so that there are many points to judge."""

    def prune(self, repository: Repository | None = None) -> PruneResult | None:
        return super().prune(repository) if self.dice.random() < 0.07 else None


@pytest.mark.fault("G1")
def test_g1_random_policies_over_random_histories(fault: Figures) -> None:
    """Exactly what plain words say: no point and no pack more, and none less."""
    seen = {"policies": 0, "points that went": 0, "points that stayed": 0, "packs that went": 0, "packs that stayed": 0}
    for seed in range(fault.count(quick=12, full=250)):
        life = LongLived(random.Random(f"policies {seed}"))
        for _ in range(35):
            life.step()
        dice, state = random.Random(seed), life.repository.state
        for _ in range(POLICIES_OF_EACH):
            rules = random_rules(dice)
            about = Circumstances(
                now=life.journal.clock() + timedelta(days=dice.choice([0, 0, 1, 30, -20])),
                pins=state.pins,
                verified_head=dice.choice([None, dice.randint(0, state.head)]),
                signers=random_signers(dice, state.points),
            )
            plan = plan_prune(state, rules, about, undo_seconds=60.0, confirmed=True)
            kept = kept_points(list(state.points), rules, about)
            assert {verdict.point for verdict in plan.verdicts if verdict.keep} == kept, (seed, rules)
            gone = [*plan.packs, *plan.emptied]
            assert set(gone) == idle_packs(state, kept), (seed, rules)
            assert len(gone) == len(set(gone))
            seen["policies"] += 1
            seen["points that went"] += len(plan.retired_points)
            seen["points that stayed"] += len(kept)
            seen["packs that went"] += len(gone)
            seen["packs that stayed"] += len(state.packs) - len(gone)
    print(seen)
    assert min(seen.values()) > 0, seen
    fault.figures(policies=seen["policies"])


@pytest.mark.fault("G2")
@pytest.mark.parametrize("count", [1, 5, 50])
@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(days=400)])
def test_g2_points_dated_ahead_push_nobody_out(count: int, ahead: timedelta) -> None:
    """A flood of them fills no rule, so that what was made before it stays as without it; they stay as well, and are told."""
    store = MemoryStore()
    journal = Journal(store)
    repository = journal.create()
    for day in range(6):
        backup(repository, [piece(ORDERS, day * 3, 1)])
        journal.clock.advance(days=1)
    rules = KeepRules(last=3, daily=4, within_seconds=5.5 * 24 * 3600, min_points=1)
    quiet = prepare(repository, rules, undo_seconds=60, confirmed=True, now=journal.clock)
    assert quiet.retired_points == (1,)
    wrong = Clock()
    wrong.advance(days=6, seconds=ahead.total_seconds())
    flood = open_repository(store, clock=wrong)
    for _ in range(count):
        flood.commit(draft(cuts=[cut(ORDERS, 18)]))
    plan = prepare(repository, rules, undo_seconds=60, confirmed=True, now=journal.clock)
    assert plan.retired_points == quiet.retired_points
    told = [verdict for verdict in plan.verdicts if "dated in the future" in verdict.reasons]
    assert len(told) == count


@pytest.mark.fault("G2")
@pytest.mark.parametrize("count", [1, 5, 50])
@pytest.mark.parametrize(
    "rules",
    [
        KeepRules(last=3, min_points=1),
        KeepRules(daily=4, min_points=1),
        KeepRules(weekly=2, min_points=1),
        KeepRules(within_seconds=5.5 * 24 * 3600, min_points=1),
    ],
)
def test_g2_points_dated_back_push_nobody_out(count: int, rules: KeepRules) -> None:
    """A point of each of many days that are long over: what was kept without them is kept beside them, and they are told."""
    store = MemoryStore()
    journal = Journal(store)
    repository = journal.create()
    for day in range(6):
        backup(repository, [piece(ORDERS, day * 3, 1)])
        journal.clock.advance(days=1)
    quiet = prepare(repository, rules, undo_seconds=60, confirmed=True, now=journal.clock)
    wrong = Clock()
    wrong.advance(days=-400)
    flood = open_repository(store, clock=wrong)
    for _ in range(count):
        flood.commit(draft(cuts=[cut(ORDERS, 18)]))
        wrong.advance(days=1)
    plan = prepare(repository, rules, undo_seconds=60, confirmed=True, now=journal.clock)
    assert plan.retired_points == quiet.retired_points
    told = [verdict for verdict in plan.verdicts if any("dated before point 6" in reason for reason in verdict.reasons)]
    assert len(told) == count
    backup(repository, [piece(ORDERS, 18, 1)])
    again = prepare(repository, KeepRules(last=1, min_points=1), undo_seconds=60, confirmed=True, now=journal.clock)
    assert len(again.retired_points) == 6 + count, "they go with the point before them"


class RaisesEpochs(FaultyStore):
    """Raises the epoch of the repository so many times between the first pack and the next commit."""

    def __init__(self, inner: Store, times: int, clock: Clock) -> None:
        self.packs = 0
        super().__init__(inner, before=self._before)
        self._times = times
        self._clock = clock

    def _before(self, index: int, call: str, name: str) -> None:
        self.packs += call == "publish"
        if call == "put_new" and name.startswith("log/") and self.packs:
            other = open_repository(self.inner, clock=self._clock)
            while self._times:
                self._times -= 1
                other.decide(RaiseEpoch(other.state.epoch + 1), started=rfc3339(self._clock()))
                prune_all(other, self._clock)


def prune_all(repository: Repository, clock: Clock) -> None:
    """Deletes what may be deleted, packs that no commit names among it; keeps every point."""
    rules = KeepRules(last=1000, min_points=1)
    prune(repository, prepare(repository, rules, undo_seconds=60, confirmed=True, now=clock), now=clock)


@pytest.mark.fault("G4")
@pytest.mark.parametrize(("epochs", "accepted"), [(0, True), (1, True), (2, False), (3, False)])
def test_g4_a_writer_that_slept_is_accepted_or_refused_by_the_rule(epochs: int, accepted: bool) -> None:
    """Its pack is deleted only when its commit no longer counts."""
    store, clock = MemoryStore(), Clock()
    journal = Journal(store, clock=clock)
    writer = journal.create()
    pack = write_pack(writer, [piece(ORDERS, 0, 2)])
    pruner = journal.open()
    for _ in range(epochs):
        pruner.decide(RaiseEpoch(pruner.state.epoch + 1), started=rfc3339(clock()))
    written = draft(packs=[pack], open_=opened(ORDERS))
    early = writer.commit(written)
    assert (len(early.accepted_runs), len(early.dropped_runs)) == ((1, 0) if accepted else (0, 1))
    prune_all(pruner, clock)
    assert (pack.name in store.objects) == accepted
    assert verify(store, level="data").findings == ()
    if not accepted:
        again = write_pack(writer, [piece(ORDERS, 0, 2)])
        assert writer.commit(draft(packs=[again], open_=opened(ORDERS))).accepted_runs
    end = writer.commit(draft(cuts=[cut(ORDERS, 6)]))
    assert end.point is not None
    expected = b"".join(piece(ORDERS, 0, 2).batches)
    assert contents(open_repository(store), end.point)[ORDERS.topic_partition] == expected


@pytest.mark.fault("G4")
@pytest.mark.parametrize("epochs", [1, 2, 3, 4])
def test_g4_a_backup_that_slept_ends_with_everything(epochs: int) -> None:
    """The whole operation: what was refused is read again, by it or by the next one."""
    clock = Clock()
    cluster = SimulatedCluster("source")
    cluster.add_topic("orders", 2)
    for log in cluster.topics["orders"].logs:
        for number in range(5):
            log.append([record(b"%d" % number)])
    store = MemoryStore()
    Repository.init(store, now=clock, rng=random.Random(1), chunk_bytes=300)
    sleepy = RaisesEpochs(store, epochs, clock)
    with without_pauses():
        repository = open_repository(sleepy, clock=clock)
        capture.backup(as_cluster(cluster), repository, BackupOptions(), now=clock)
        following = open_repository(store, clock=clock)
        if not following.points():
            capture.backup(as_cluster(cluster), following, BackupOptions(), now=clock)
    assert sleepy.packs >= 1
    prune_all(following, clock)
    after = open_repository(store, clock=clock)
    assert verify(after, level="data").findings == ()
    found = stored(after, after.point("latest"))
    assert [[item.value for item in records] for _, records in sorted(found.items())] == [
        [b"%d" % number for number in range(5)]
    ] * 2


REFUSED = {
    "no rule": (),
    "zero points": ("--keep-last", "0"),
    "zero of everything": ("--keep-last", "0", "--keep-daily", "0", "--keep-yearly", "0"),
    "no minimum": ("--keep-last", "1", "--min-points", "0"),
    "an empty time": ("--keep-within", ""),
    "no time at all": ("--keep-within", "0s"),
    "a time without a unit": ("--keep-within", "30"),
    "a number that is none": ("--keep-daily", "ten"),
    "fewer than nothing": ("--keep-last", "-1"),
    "an empty policy": ("--policy", ""),
    "a misspelled policy": ("--policy", "prodcution"),
    "a misspelled rule": ("--keep-dayly", "3"),
    "an empty tag": ("--keep-tag", ""),
    "no window": ("--keep-last", "1", "--undo-window", "0s"),
    "another repository's id": ("--keep-last", "1", "--min-points", "1", "--i-mean-it", "0" * 32),
    "everything": ("--keep-last", "1", "--min-points", "1"),
}
"""`everything`: what would go is more than 30% of the bytes."""


@pytest.mark.fault("G5")
@pytest.mark.parametrize("name", REFUSED)
def test_g5_a_policy_that_cannot_be_meant_changes_nothing(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "repo"
    clock = Clock()
    with Repository.init(LocalStore(folder), now=clock, rng=random.Random(1)) as repository:
        for index in range(5):
            start = index * 6
            packs = [write_pack(repository, [piece(ORDERS, start, 2)])]
            repository.commit(
                draft(packs=packs, open_=opened(ORDERS) if not index else (), cuts=[cut(ORDERS, start + 6, start)])
            )
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    ended = Kafkeep(tmp_path, inside=True)("prune", "--repo", "./repo", *REFUSED[name], "--execute")
    assert ended.status == (24 if name == "everything" else 2), ended.err
    assert "Traceback" not in ended.err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before

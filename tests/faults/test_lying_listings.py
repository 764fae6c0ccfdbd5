"""S11, S12: deletions that fail, listings that lie: what is needed is never deleted."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator

import pytest
from tests.support.faults import Figures
from tests.support.faults_archive import back_up, judge, make_archive
from tests.support.keeping import UNDO_SECONDS, Life
from tests.support.operations import without_pauses
from tests.support.repositories import open_repository

from kafkeep.errors import StoreAccessDenied, StoreError, StoreUnavailable
from kafkeep.repository.names import pack_name
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.base import ObjectInfo, Store
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import CountingStore, FaultyStore, WrappedStore
from kafkeep.retention.plan import PruneResult
from kafkeep.verify.run import verify


def aged(seed: object) -> Life:
    """Backups, prunings and packs that lost their writers, for some weeks; something is due for deletion."""
    life = Life(random.Random(f"lists {seed}"))
    for _ in range(15):
        life.step()
    life.orphan()
    life.prune()
    life.journal.clock.advance(seconds=UNDO_SECONDS + 3600)
    for _ in range(3):
        life.backup()
    return life


def opened(life: Life, store: Store) -> Repository:
    return open_repository(store, clock=life.journal.clock)


def unharmed(life: Life) -> None:
    life.check(opened(life, life.store))
    report = verify(life.store, level="data", workers=1)
    assert (report.findings, report.alarms) == ((), ())


def packs(store: MemoryStore) -> set[str]:
    return {name for name in store.objects if name.startswith("pack/")}


REFUSALS: dict[str, StoreError] = {
    "locked": StoreAccessDenied("the object is locked"),
    "no answer": StoreUnavailable("no answer"),
    "an error": StoreError("the service says 500 and nothing else"),
}


@pytest.mark.fault("S11")
@pytest.mark.parametrize("what", REFUSALS)
def test_s11_some_deletions_fail(what: str, fault: Figures) -> None:
    """Those are counted and named, the others are done, what is kept is as it was; later prunings end it."""
    lives = fault.count(quick=8, full=60)
    failed = 0
    for seed in range(lives):
        life = aged(f"{what} {seed}")
        dice = random.Random(seed)

        def refuse(index: int, call: str, name: str, dice: random.Random = dice) -> None:
            if call == "delete" and dice.random() < 0.6:
                raise REFUSALS[what]

        before = packs(life.store)
        result = life.prune(opened(life, FaultyStore(life.store, before=refuse)))
        assert len(before) - len(packs(life.store)) == result.deleted
        assert {failure.subject for failure in result.failures} <= packs(life.store)
        failed += len(result.failures)
        unharmed(life)
        for _ in range(4):
            life.journal.clock.advance(seconds=UNDO_SECONDS + 3600)
            assert life.prune(opened(life, life.store)).failures == ()
        assert packs(life.store) == {entry.name for entry in opened(life, life.store).state.packs}
        unharmed(life)
    fault.figures(deletions_that_failed=failed)


class ListingStore(WrappedStore):
    """Lists what a lie makes of the truth."""

    def __init__(self, inner: Store, lie: Callable[[list[ObjectInfo]], Iterable[ObjectInfo]]) -> None:
        super().__init__(inner)
        self._lie = lie

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return iter([info for info in self._lie(list(self.inner.list(prefix))) if info.name.startswith(prefix)])


def fails(true: list[ObjectInfo]) -> list[ObjectInfo]:
    raise StoreUnavailable("the listing ended")


def foreign(true: list[ObjectInfo]) -> list[ObjectInfo]:
    """Keys of others, and names of packs that nobody ever made, one of an epoch long past."""
    strange = [ObjectInfo(name, 1) for name in ("pack/README", "pack/00", "pack/zz/../../x", "log/000000000000")]
    never = [pack_name(epoch, f"01m7w6c380kt95pyd66gqt1cm{epoch}", "ab" * 32) for epoch in (0, 9)]
    return [*strange, *true, *(ObjectInfo(name, 7) for name in never)]


LIES: dict[str, Callable[[list[ObjectInfo]], Iterable[ObjectInfo]]] = {
    "error": fails,
    "empty": lambda true: [],
    "a page is missing": lambda true: [*true[: len(true) // 3], *true[2 * len(true) // 3 :]],
    "doubled": lambda true: [*true, *true],
    "foreign": foreign,
}


def pruned_under(life: Life, store: Store) -> PruneResult | None:
    """None when the listing's error ended it."""
    try:
        return life.prune(opened(life, store))
    except StoreUnavailable:
        life.live = {point.number for point in opened(life, life.store).points()}
        return None


@pytest.mark.fault("S12")
@pytest.mark.parametrize("lie", [*LIES, "earlier"])
def test_s12_prunings_under_listings_that_lie(lie: str, fault: Figures) -> None:
    """Nothing that a point needs goes; an error ends the pruning, and the next one does what is left."""
    lives = fault.count(quick=8, full=60)
    for seed in range(lives):
        life = aged(f"{lie} {seed}")
        then = list(life.store.list("pack/"))
        if lie == "earlier":
            life.prune()
            life.backup()
        saying = LIES.get(lie, lambda true, then=then: then)
        result = pruned_under(life, ListingStore(life.store, saying))
        assert (result is None) == (lie == "error")
        unharmed(life)
        for _ in range(4):
            life.journal.clock.advance(seconds=UNDO_SECONDS + 3600)
            life.prune(opened(life, life.store))
        assert packs(life.store) == {entry.name for entry in opened(life, life.store).state.packs}
        unharmed(life)
    fault.figures(prunings=lives)


@pytest.mark.fault("S12")
@pytest.mark.parametrize("lie", LIES)
def test_s12_backups_ask_for_no_listing(lie: str) -> None:
    with without_pauses():
        archive = make_archive()
        counting = CountingStore(ListingStore(archive.store, LIES[lie]))
        assert back_up(archive.source, counting, seed=5).failures == ()
        assert counting.calls["list"] == 0 and counting.calls["delete"] == 0
        judge(archive.store, archive.source)


@pytest.mark.fault("S12")
@pytest.mark.parametrize("lie", ["empty", "a page is missing", "doubled", "foreign"])
def test_s12_verify_believes_the_log_and_not_the_listing(lie: str) -> None:
    """A whole repository stays whole, and a lost pack is missed."""
    with without_pauses():
        archive = make_archive()
        saying = LIES[lie]
        if lie != "foreign":
            assert verify(ListingStore(archive.store, saying), level="data", workers=1).findings == ()
        lost = archive.names("pack")[0]
        found = verify(ListingStore(archive.with_changes({lost: None}), saying), level="exist", workers=1).findings
        assert lost in {finding.object for finding in found}

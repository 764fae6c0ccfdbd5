"""What is hidden of verifications never makes pruning delete more, and never stops it for ever."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.keeping import UNDO_SECONDS
from tests.support.repositories import Clock, Journal, backup, generation, open_repository, piece
from tests.support.sweep_command import Kafkeep

from kafkeep.errors import StoreAccessDenied, StoreUnavailable
from kafkeep.repository.envelope import Kind, wrap
from kafkeep.repository.keyring import Access
from kafkeep.repository.names import HINT_VERIFIED, audit_moment, audit_name, ulid
from kafkeep.repository.repository import Repository
from kafkeep.repository.sealing import DocumentSeal
from kafkeep.repository.signing import SigningKey
from kafkeep.repository.stores.base import ObjectInfo, Store
from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import FaultyStore, WrappedStore
from kafkeep.repository.trust import ADMIN, WRITER, Distrust, Trust
from kafkeep.retention.evidence import VERIFIED, find_evidence, leave_hint
from kafkeep.retention.plan import PrunePlan
from kafkeep.retention.rules import KeepRules
from kafkeep.retention.run import prepare, prune

ORDERS = generation("orders")
ONE = KeepRules(last=1, min_points=1)
TIME = "2026-11-20T11:00:00.000Z"


class Kept:
    """Eight points, one an hour; verifications of some heads, each as much later as it took."""

    def __init__(self, *, verified: dict[int, int]) -> None:
        self.store = MemoryStore()
        self.journal = Journal(self.store)
        self.clock: Clock = self.journal.clock
        self.repository = self.journal.create()
        self.reports: dict[int, str] = {}
        due: list[tuple[int, int]] = []
        for number in range(1, 9):
            backup(self.repository, [piece(ORDERS, number * 6 - 6, 2)])
            due += [(number + late, head) for head, late in verified.items() if head == number]
            for when, head in [each for each in due if each[0] == number]:
                self.report(head)
                due.remove((when, head))
            self.clock.advance(hours=1)
        for _, head in due:
            self.report(head)

    def report(self, head: int) -> None:
        name = self.repository.put_audit(VERIFIED, {"head": head, "level": "data"})
        leave_hint(self.repository, name)
        self.reports[head] = name

    def plan(self, store: Store | None = None) -> PrunePlan:
        repository = open_repository(self.store if store is None else store, clock=self.clock)
        return prepare(repository, ONE, undo_seconds=UNDO_SECONDS, confirmed=True, now=self.clock)

    def kept(self, store: Store | None = None) -> list[int]:
        return [verdict.point for verdict in self.plan(store).verdicts if verdict.keep]


@pytest.mark.parametrize("late", [0, 3])
def test_an_unreadable_report_keeps_what_it_may_speak_for(late: int) -> None:
    """A verification that began with head 4 and ended when 7 was there: nobody knows any more which one it was of."""
    kept = Kept(verified={2: 0, 4: late})
    assert kept.kept() == [4, 8]
    kept.store.objects[kept.reports[4]] = b"no report"
    assert kept.kept() == [*range(2, 5 + late), 8]
    plan = kept.plan()
    assert any("1 report(s) under audit/ cannot be read" in remark for remark in plan.remarks)
    assert "a report that cannot be read may say that it was verified" in plan.verdicts[3].reasons
    result = prune(open_repository(kept.store, clock=kept.clock), plan, now=kept.clock)
    assert result.retirements, "the others go all the same"

    kept.report(8)
    assert kept.kept() == [8], "a verification anew settles it"


def test_whatever_becomes_unreadable_no_more_is_let_go() -> None:
    """Every set of reports that are damaged, gone from the listing's object, or closed to this login."""
    for seed in range(50):
        dice = random.Random(seed)
        heads = dice.sample(range(1, 9), dice.randint(1, 4))
        kept = Kept(verified={head: dice.randint(0, 4) for head in heads})
        expected = set(kept.kept())
        closed = set(dice.sample(sorted(kept.reports.values()), dice.randint(1, len(heads))))
        how = dice.choice(["damaged", "cut", "denied"])
        if how != "denied":
            for name in closed:
                kept.store.objects[name] = b"" if how == "cut" else dice.randbytes(90)

        def deny(index: int, call: str, name: str, closed: set[str] = closed, how: str = how) -> None:
            if how == "denied" and call == "get" and name in closed:
                raise StoreAccessDenied("not for you")

        assert expected <= set(kept.kept(FaultyStore(kept.store, before=deny))), (seed, how)


class Unlisted(WrappedStore):
    """Its listings leave out reports, as an old or an empty one does."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return (info for info in self.inner.list(prefix) if not info.name.startswith("audit/"))


def test_what_no_listing_tells_the_hint_does() -> None:
    kept = Kept(verified={2: 0, 4: 1})
    assert kept.kept(Unlisted(kept.store)) == [4, 8]
    assert not any("no verification was found" in remark for remark in kept.plan(Unlisted(kept.store)).remarks)


@pytest.mark.parametrize(
    "hint", [None, b"", b"log/000000000001\n", b"audit/../x", b"\xff", b"audit/2026-11-20/none", b"x" * 5000]
)
def test_without_a_listing_and_a_hint_pruning_says_so(hint: bytes | None) -> None:
    """The rules and the least number of points are what is left."""
    kept = Kept(verified={4: 0})
    del kept.store.objects[HINT_VERIFIED]
    if hint is not None:
        kept.store.objects[HINT_VERIFIED] = hint
    assert kept.kept() == [4, 8], "the listing alone is enough"
    plan = kept.plan(Unlisted(kept.store))
    assert any("no verification was found" in remark for remark in plan.remarks)
    assert [verdict.point for verdict in plan.verdicts if verdict.keep] == [8]
    rules = KeepRules(last=1, min_points=3)
    few = prepare(
        open_repository(Unlisted(kept.store), clock=kept.clock), rules, undo_seconds=9, confirmed=True, now=kept.clock
    )
    assert [verdict.point for verdict in few.verdicts if verdict.keep] == [6, 7, 8]


def test_a_store_that_gives_no_answer_is_not_a_report_that_cannot_be_read() -> None:
    kept = Kept(verified={4: 0})

    def silent(index: int, call: str, name: str) -> None:
        if call == "get" and name.startswith("audit/"):
            raise StoreUnavailable("no answer")

    with pytest.raises(StoreUnavailable):
        find_evidence(open_repository(FaultyStore(kept.store, before=silent), clock=kept.clock))


def test_garbage_under_any_name_stops_nothing() -> None:
    """Also what is a document of ours in all but one thing."""
    kept = Kept(verified={4: 0})
    identity = kept.repository.id
    report = {"kind": VERIFIED, "name": "audit/x", "repository": identity, "time": TIME, "value": {"head": 9}}
    garbage = {
        "audit/x": b"garbage",
        "audit/2026-11-20/zz": wrap(Kind.AUDIT, report, DocumentSeal(bytes(32), identity)),
        "audit/a/b/c": wrap(Kind.METADATA, {"groups": []}),
        "audit/2026-11-20/y": wrap(Kind.AUDIT, report),
        "audit/2026-11-20/list": wrap(Kind.AUDIT, [report]),
        audit_name(kept.clock(), ulid(kept.clock(), bytes(10))): b"",
    }
    kept.store.objects |= garbage
    # a report indeed, whose head is none
    for value in ([], {"head": "9"}, {"head": True}, {"head": None}, {}):
        kept.repository.put_audit(VERIFIED, value)
    plan = kept.plan()
    assert any(f"{len(garbage)} report(s)" in remark for remark in plan.remarks)
    assert [verdict.point for verdict in plan.verdicts if verdict.keep] == [4, 5, 6, 7, 8]
    kept.report(7)
    assert kept.kept() == [7, 8]


def test_the_time_of_a_report_is_in_its_name() -> None:
    clock = Clock()
    moment = clock()
    assert audit_moment(audit_name(moment, ulid(moment, bytes(10)))) == moment
    for name in (
        "audit/x",
        "audit/2026-11-20/7zzzzzzzzzzzzzzzzzzzzzzzzz",
        "log/000000000001",
        "audit/2026-11-20/8" + "0" * 25,
    ):
        assert audit_moment(name) is None


def test_verify_leaves_the_hint(tmp_path: Path) -> None:
    journal = Journal(LocalStore(tmp_path / "repo"))
    backup(journal.create(), [piece(ORDERS, 0, 2)])
    kafkeep = Kafkeep(tmp_path, inside=True)
    kafkeep("verify", "--repo", "./repo", "--level", "data", "--record").expect(0)
    repository = journal.open()
    named = journal.store.get(HINT_VERIFIED).decode().strip()
    assert repository.audit(named)["kind"] == VERIFIED
    assert find_evidence(open_repository(Unlisted(journal.store), clock=journal.clock)).head == 1


def test_a_plan_tells_who_signed_each_point() -> None:
    """And which of them is trusted no more: what a stolen key brought stands out before anybody carries the plan out."""
    admin, writer, other = (SigningKey(bytes([number]) * 32) for number in (1, 2, 3))
    store, clock = MemoryStore(), Clock()

    def opened(key: SigningKey) -> Repository:
        dice = random.Random(f"{key.id} {len(store.objects)}")
        return Repository.open(store, now=clock, rng=dice, access=Access(signing_key=key))

    Repository.init(store, now=clock, rng=random.Random(1), chunk_bytes=1000, admins=(admin.trusted(ADMIN),))
    opened(admin).decide(Trust(writer.trusted(WRITER, "backup host")), started=TIME)
    opened(admin).decide(Trust(other.trusted(WRITER)), started=TIME)
    for number, key in enumerate((writer, other, writer, admin)):
        backup(opened(key), [piece(ORDERS, number * 6, 2)])
    opened(admin).decide(Distrust(other.public), started=TIME)
    plan = prepare(opened(admin), ONE, undo_seconds=UNDO_SECONDS, confirmed=True, now=clock)
    told = [str(verdict.signer) for verdict in plan.verdicts]
    assert told == ["backup host", f"{other.id}, trusted no more", "backup host", admin.id]
    assert any("1 point(s) were signed by keys that are trusted no more" in remark for remark in plan.remarks)
    assert all(verdict.signer is None for verdict in Kept(verified={}).plan().verdicts)

"""S3, S4, S5, S8, S13: answers that are lost or late, bytes that change on the way, reads of an earlier state, at random,
under whole backups of a simulated cluster.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
from tests.support.faults import Figures
from tests.support.faults_archive import (
    Archive,
    back_up,
    back_up_with,
    grow,
    judge,
    make_archive,
    no_pause,
    open_repository,
    refusal,
)
from tests.support.operations import without_pauses

from kafkeep.errors import CorruptChain, ObjectExists, ObjectNotFound, PointNotFound, StoreUnavailable
from kafkeep.repository import layout
from kafkeep.repository.stores.base import ObjectInfo, Store
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import FaultyStore, RetryingStore, WrappedStore
from kafkeep.verify.run import verify


@pytest.fixture(autouse=True, scope="module")
def at_once() -> Iterator[None]:
    with without_pauses():
        yield


def patient(store: Store) -> RetryingStore:
    return RetryingStore(store, tries=30, pause=no_pause)


class Losing:
    """Loses each answer to a change with a chance of its own, as long as the change is no part of an upload's bytes: of
    commits alone, or of all.
    """

    def __init__(self, dice: random.Random, below: str) -> None:
        self._dice = dice
        self._below = below
        self._chance = dice.choice([0.05, 0.2, 0.5])
        self.lost = 0
        self.commits = 0

    def __call__(self, index: int, call: str, name: str) -> None:
        counts = call in ("put_new", "publish", "put_hint") and name.startswith(self._below)
        if counts and self._dice.random() < self._chance:
            self.lost += 1
            self.commits += name.startswith("log/")
            raise StoreUnavailable(f"no answer to {call} {name}")


def backup_through(make: Callable[[MemoryStore, Losing], Store], seed: int) -> tuple[int, int]:
    """Answers lost under a backup, and how many of them were a commit's: what it left is judged.

    Every second one is of commits alone, without anything that tries again: their writer settles it by itself.
    """
    archive = make_archive()
    grow(archive.source, 3)
    losing = Losing(random.Random(seed), "log/" if seed % 2 else "")
    head = open_repository(archive.store).state.head
    broken = make(archive.store, losing)
    result = back_up(archive.source, broken if seed % 2 else patient(broken), seed=seed)
    assert result.point is not None and result.failures == ()
    assert open_repository(archive.store).state.head == result.point.number == head + 1, "one commit, not two"
    judge(archive.store, archive.source)
    return losing.lost, losing.commits


@pytest.mark.fault("S3")
def test_s3_answers_are_lost_at_random(fault: Figures) -> None:
    rounds = fault.count(quick=12, full=200)
    lost = commits = 0
    for seed in range(rounds):
        more = backup_through(lambda store, losing: FaultyStore(store, after=losing), seed)
        lost, commits = lost + more[0], commits + more[1]
    fault.figures(backups=rounds, answers_lost=lost, answers_lost_to_commits=commits)


@pytest.mark.fault("S4")
def test_s4_requests_are_lost_at_random(fault: Figures) -> None:
    rounds = fault.count(quick=12, full=200)
    lost = commits = 0
    for seed in range(rounds):
        more = backup_through(lambda store, losing: FaultyStore(store, before=losing), seed)
        lost, commits = lost + more[0], commits + more[1]
    fault.figures(backups=rounds, requests_lost=lost, commits_lost=commits)


class DelayedStore(WrappedStore):
    """Some creations get no answer, and arrive only when so many more calls were made, by whomever: `tick` counts them."""

    def __init__(self, inner: Store, dice: random.Random) -> None:
        super().__init__(inner)
        self._dice = dice
        self._waiting: list[tuple[int, str, bytes]] = []
        self.landed = 0
        self.refused = 0

    def tick(self) -> None:
        due = [item for item in self._waiting if item[0] <= 0]
        self._waiting = [(left - 1, name, data) for left, name, data in self._waiting if left > 0]
        for _, name, data in due:
            try:
                self.inner.put_new(name, data)
                self.landed += 1
            except ObjectExists:
                self.refused += 1

    def land_all(self) -> None:
        while self._waiting:
            self.tick()

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        self.tick()
        if self._dice.random() < 0.3:
            self._waiting.append((self._dice.choice([0, 1, 2, 5, 20, 60]), name, bytes(data)))
            raise StoreUnavailable(f"no answer to the creation of {name}")
        self.inner.put_new(name, data)

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        self.tick()
        return self.inner.get(name, start, length)


@pytest.mark.fault("S5")
def test_s5_creations_arrive_late_while_others_go_on(fault: Figures) -> None:
    """Two writers take turns, each through a store that delays; what is still on its way arrives in the end."""
    rounds = fault.count(quick=10, full=100)
    landed = refused = 0
    for seed in range(rounds):
        archive = make_archive()
        late = [DelayedStore(archive.store, random.Random(f"{seed}/{who}")) for who in (1, 2)]
        for turn in range(4):
            grow(archive.source, 10 + turn)
            back_up(archive.source, patient(late[turn % 2]), seed=100 * seed + turn)
        for store in late:
            store.land_all()
        judge(archive.store, archive.source)
        for store in late:
            landed, refused = landed + store.landed, refused + store.refused
    assert landed > 0 and refused > 0
    fault.figures(rounds=rounds, arrived_late=landed, refused_when_late=refused)


def _again(data: bytes, before: bytes) -> bool:
    """Whether it was read before: alone, or among several chunks. The end of a pack may be all of a small one."""
    return data == before or (data in before and not before.endswith(layout.END_MAGIC))


class Flipping:
    """Changes a bit of whatever is read, the first time that it is, as a whole or as a part of more."""

    def __init__(self, dice: random.Random, below: str = "") -> None:
        self._dice = dice
        self._below = below
        self._met: list[tuple[str, bytes]] = []
        self.names: set[str] = set()

    def __call__(self, name: str, data: bytes) -> bytes:
        wanted = name.startswith(self._below) and not name.startswith("hint/")
        if not wanted or not data or any(name == known and _again(data, before) for known, before in self._met):
            return data
        self._met.append((name, data))
        self.names.add(name)
        at = self._dice.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << self._dice.randrange(8)]) + data[at + 1 :]

    @property
    def flips(self) -> int:
        return len(self._met)


@pytest.mark.fault("S8")
def test_s8_bits_change_on_the_way(fault: Figures) -> None:
    """One in every range at its first read: verify reports nothing; a restore of packs that come so does not notice.

    Run headers, which hold no records, are left out there: a restore reads them once, and refuses.
    """
    archive = make_archive()
    rounds = fault.count(quick=8, full=100)
    flips = 0
    for seed in range(rounds):
        for_verify = Flipping(random.Random(seed))
        report = verify(FaultyStore(archive.store, damage=for_verify), level="data", workers=1)
        assert (report.findings, report.alarms) == ((), ())
        assert for_verify.names == set(archive.lasting)
        for_restore = Flipping(random.Random(-seed), "pack/")
        error, target = refusal(FaultyStore(archive.store, damage=for_restore))
        assert error is None and target.topics.keys() == archive.source.topics.keys()
        assert for_restore.flips > len(for_restore.names), "footers and chunks"
        flips += for_verify.flips + for_restore.flips
    fault.figures(rounds=rounds, bits_changed=flips)


class EarlierStore(WrappedStore):
    """Reads show an earlier state: what was made since is absent. Creations see the truth, as a service's condition does."""

    def __init__(self, inner: MemoryStore) -> None:
        super().__init__(inner)
        self._then = dict(inner.objects)
        self.hidden = 0

    def _hide(self, name: str) -> None:
        if name not in self._then:
            self.hidden += 1
            raise ObjectNotFound(f"{name} is not there yet")

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        self._hide(name)
        if name.startswith("hint/"):
            data = self._then[name]
            return data[start:] if length is None else data[start : start + length]
        return self.inner.get(name, start, length)

    def head(self, name: str) -> ObjectInfo:
        self._hide(name)
        return self.inner.head(name)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return (info for info in self.inner.list(prefix) if info.name in self._then)


def readable(archive: Archive, store: Store, points: dict[int, int]) -> None:
    """An earlier state is a whole one: the points of then, each as it was."""
    repository = open_repository(store)
    assert {point.number: len(point.cuts) for point in repository.points()} == points
    report = verify(store, level="data", workers=1)
    assert (report.findings, report.alarms) == ((), ())


@pytest.mark.fault("S13")
def test_s13_reads_of_an_earlier_state(fault: Figures) -> None:
    """A reader sees the state of then. A writer cannot overwrite: it fails without harm, and goes on when it sees again."""
    rounds = fault.count(quick=6, full=50)
    hidden = 0
    for seed in range(rounds):
        archive = make_archive()
        points = {point.number: len(point.cuts) for point in open_repository(archive.store).points()}
        earlier = EarlierStore(archive.store)
        for turn in range(1 + seed % 3):
            grow(archive.source, 20 + turn)
            back_up(archive.source, archive.store, seed=30 + turn)
        readable(archive, earlier, points)
        before = dict(archive.store.objects)
        grow(archive.source, 40)
        with pytest.raises((StoreUnavailable, CorruptChain, PointNotFound)):
            back_up(archive.source, earlier, seed=1000 + seed)
        after = archive.store.objects
        assert {name: after[name] for name in before if not name.startswith("hint/")} == {
            name: data for name, data in before.items() if not name.startswith("hint/")
        }
        judge(archive.store, archive.source)
        hidden += earlier.hidden
    fault.figures(rounds=rounds, reads_of_what_was_hidden=hidden)


class RememberingStore(WrappedStore):
    """What was asked for and absent stays absent for so many calls, whatever is made meanwhile."""

    def __init__(self, inner: Store, calls: int) -> None:
        super().__init__(inner)
        self._calls = calls
        self._absent: dict[str, int] = {}
        self.wrong = 0

    def _look(self, name: str) -> None:
        self._absent = {name: left - 1 for name, left in self._absent.items() if left > 0}
        if name in self._absent:
            self.wrong += _there(self.inner, name)
            raise ObjectNotFound(f"{name} was not there")
        if not _there(self.inner, name):
            self._absent[name] = self._calls

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        self._look(name)
        return self.inner.get(name, start, length)

    def head(self, name: str) -> ObjectInfo:
        self._look(name)
        return self.inner.head(name)


def _there(store: Store, name: str) -> bool:
    try:
        store.head(name)
    except ObjectNotFound:
        return False
    return True


@pytest.mark.fault("S13")
@pytest.mark.parametrize("calls", [1, 3, 10, 30, 1000])
def test_s13_absence_is_remembered(calls: int, fault: Figures) -> None:
    """Two writers that each remember absence: each backup ends well or says that the store is at fault; nothing is harmed."""
    ended = wrong = 0
    archive = make_archive()
    writers = [open_repository(RememberingStore(archive.store, calls), seed=seed) for seed in (1, 2)]
    for turn in range(fault.count(quick=6, full=40)):
        grow(archive.source, 20 + turn)
        repository = writers[turn % 2]
        try:
            ended += back_up_with(archive.source, repository).point is not None
        except StoreUnavailable as error:
            assert error.retryable
    for writer in writers:
        assert isinstance(writer.store, RememberingStore)
        wrong += writer.store.wrong
    assert wrong > 0
    judge(archive.store, archive.source)
    fault.figures(wrong_absences=wrong)

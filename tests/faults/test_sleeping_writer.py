"""G10: a writer sleeps just before it creates its commit, the log is trimmed beyond it meanwhile, and it goes on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count, cycle
from pathlib import Path

import pytest
from tests.support.faults import Figures
from tests.support.long_logs import (
    ADMIN_KEY,
    ORDERS,
    PAYMENTS,
    STARTED,
    WRITER_KEY,
    LongLog,
    append_small,
    long_log,
    next_pieces,
)
from tests.support.readers import reader_of, same_state
from tests.support.repositories import backup, draft
from tests.support.second_reader import Reader
from tests.support.short_milestones import milestones, objects_of, trim

from kafkeep.errors import StoreUnavailable
from kafkeep.repository.changes import Change, Retag
from kafkeep.repository.names import MILESTONE, log_name, log_number
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.wrappers import FaultyStore

EVERY = 16
DEEDS = ("creates", "creates, and hears nothing", "is refused at first")
"""What comes of the creation, when it is made at last."""


def tags(point: int) -> Iterator[Change]:
    """Small commits that leave the epoch alone."""
    return (Retag(point, (("n", str(number)),), ()) for number in count())


class Sleeper:
    """A store whose first creation of a commit is made only after `meanwhile`."""

    def __init__(self, log: LongLog, deed: str, meanwhile: Callable[[], None]) -> None:
        self.slept_at: int | None = None
        self.deed, self.meanwhile = deed, meanwhile
        self.store = FaultyStore(log.store, before=self._before, after=self._after)
        self._tries = 0

    def _before(self, index: int, call: str, name: str) -> None:
        if call != "put_new" or (number := log_number(name)) is None:
            return
        self._tries += 1
        if self._tries == 1:
            self.slept_at = number
            self.meanwhile()
            if self.deed == "is refused at first":
                raise StoreUnavailable("no answer")

    def _after(self, index: int, call: str, name: str) -> None:
        if call == "put_new" and self._tries == 1 and name.startswith("log/") and self.deed.endswith("nothing"):
            raise StoreUnavailable("the answer is lost")


def slept_through(log: LongLog, every: int, deed: str, *, others: bool, epochs: bool) -> Sleeper:
    """The end of a backup that sleeps while others go on beyond the next milestone, save a state, and trim."""

    def meanwhile() -> None:
        if others:
            log.backup(name="by others")
        admin = log.open()
        beyond = 2 * every - admin.state.head % every
        append_small(admin, ADMIN_KEY, beyond, changes=None if epochs else tags(admin.points()[0].number))
        admin.refresh()
        admin.save_state(started=STARTED)
        log.backup(name="afterwards") if others else None
        log.clock.advance(days=30)
        assert trim(log).deleted_commits > 0
        assert log_name(sleeper.slept_at or 0) not in objects_of(log)

    sleeper = Sleeper(log, deed, meanwhile)
    return sleeper


def judge(log: LongLog, told: list[int]) -> Reader:
    """Whoever was told of a commit finds it; every offset is there once, and what it holds is what was captured."""
    reader = reader_of(log.store)  # type: ignore[arg-type]
    assert same_state(reader, log.open(None))
    assert set(told) <= set(reader.points)
    for of in (ORDERS, PAYMENTS):
        history = reader.histories[of.topic, of.topic_id, of.partition, of.lineage]
        following = 0
        for piece in history.pieces:
            assert piece.start == following and piece.pack is not None and reader.run(piece)
            following = piece.stop
        assert following == history.next > 0
    return reader


def sleeps_and_goes_on(log: LongLog, every: int, deed: str, *, others: bool, epochs: bool) -> None:
    sleeper = slept_through(log, every, deed, others=others, epochs=epochs)
    writer = log.open(WRITER_KEY, store=sleeper.store)
    before = covered(writer)
    pieces = next_pieces(writer)
    outcome = backup(writer, pieces, name="slept")
    assert sleeper.slept_at is not None and writer.state.head > sleeper.slept_at + 1
    fits = not (others or epochs)
    assert len(outcome.accepted_runs) == (2 if fits else 0) and len(outcome.dropped_runs) == (0 if fits else 2)
    assert (outcome.number is None) == epochs, "without its runs nothing covers its point but what others have brought"
    judge(log, [] if outcome.number is None else [outcome.number])
    assert outcome.number is None or outcome.number > sleeper.slept_at + 1
    again = backup(writer, next_pieces(writer), name="again")
    assert again.number is not None
    reader = judge(log, [again.number])
    rounds = 2 + 2 * others - (not fits)
    found = {of: reader.histories[of.topic, of.topic_id, of.partition, of.lineage].next for of in (ORDERS, PAYMENTS)}
    assert found == {of: stop + 6 * rounds for of, stop in before.items()}
    assert log_name(sleeper.slept_at) in objects_of(log), "what it left there in vain"
    log.clock.advance(days=30)
    assert trim(log).deleted_commits == 1 and log_name(sleeper.slept_at) not in objects_of(log)
    judge(log, [again.number])


def covered(repository: Repository) -> dict[object, int]:
    known = repository.state.generations
    return {of: known[of].next_offset for of in (ORDERS, PAYMENTS)}


@cache
def _begun() -> LongLog:
    log = LongLog()
    log.create()
    log.backup(name="first")
    return log


def ways() -> Iterator[tuple[str, bool, bool]]:
    return (
        (deed, others, epochs)
        for others, epochs in cycle(((True, False), (False, False), (False, True)))
        for deed in DEEDS
    )


@pytest.mark.fault("G10")
def test_g10_a_writer_sleeps_before_its_commit_while_the_log_is_trimmed(fault: Figures) -> None:
    """It is told that it did not commit, and captures again what others have not, or commits it behind them."""
    slept = fault.count(quick=9, full=90)
    dice = random.Random(10)
    with milestones(EVERY):
        for _, (deed, others, epochs) in zip(range(slept), ways(), strict=False):
            log = _begun().copy()
            admin = log.open()
            append_small(admin, ADMIN_KEY, dice.randrange(EVERY - 4), changes=tags(2))
            sleeps_and_goes_on(log, EVERY, deed, others=others, epochs=epochs)
    fault.figures(suspended=slept)


@pytest.mark.fault("G10")
@pytest.mark.timeout(1800)
def test_g10_the_same_over_thousands_of_commits(fault: Figures) -> None:
    slept = fault.count(quick=1, full=20)
    for _, (deed, others, epochs) in zip(range(slept), ways(), strict=False):
        sleeps_and_goes_on(long_log(200), MILESTONE, deed, others=others, epochs=epochs)
    fault.figures(suspended=slept)


@pytest.mark.fault("G10")
@pytest.mark.parametrize("slot", [EVERY - 1, EVERY - 3, 4], ids=["below-a-milestone", "within", "early"])
def test_g10_what_a_sleeper_leaves_misleads_nobody(slot: int, tmp_path: Path, fault: Figures) -> None:
    """It follows on what some hosts know, and lies where others remember another commit."""
    with milestones(EVERY):
        log = _begun().copy()
        admin = log.open()
        append_small(admin, ADMIN_KEY, slot - 1 - admin.state.head, changes=tags(2))
        stands_before = log.open(None)
        dead = FaultyStore(log.store)
        sleeper = log.open(WRITER_KEY, store=dead)
        forgotten: dict[str, bytes] = {}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dead, "put_new", lambda name, data: forgotten.update({name: bytes(data)}))
            patch.setattr(dead, "get", lambda name, *place: forgotten.get(name) or log.store.get(name, *place))
            patch.setattr(dead, "head", lambda name: log.store.head(name))
            assert sleeper.commit(draft(cuts=[], name="slept")).number == slot
        log.backup(name="by others")
        stands_there = log.open(None)
        remembers = [log.open(None, cache_dir=tmp_path / str(number)) for number in range(2)]
        assert stands_there.state.head == slot and remembers[0].state.head_digest == stands_there.state.head_digest
        for one in remembers:
            one.close()
        admin.refresh()
        append_small(admin, ADMIN_KEY, EVERY, changes=tags(2))
        admin.refresh()
        admin.save_state(started=STARTED)
        log.clock.advance(days=30)
        trim(log)
        log.open(None, cache_dir=tmp_path / "0").close()
        log.store.put_new(log_name(slot), forgotten[log_name(slot)])
        whole = log.open(None).state
        assert stands_before.refresh() == stands_there.refresh() == whole
        for number in range(2):
            assert log.open(None, cache_dir=tmp_path / str(number)).state == whole
        judge(log, [])
    fault.figures(left_behind=1)

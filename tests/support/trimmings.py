"""Trimmings of small repositories, and what is looked at afterwards."""

from __future__ import annotations

from tests.support.long_logs import LongLog
from tests.support.repositories import contents

from kafkeep.model import TopicPartition
from kafkeep.repository.names import log_number
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.trimming.plan import TrimPlan, TrimResult
from kafkeep.trimming.run import prepare, trim

UNDO_SECONDS = 14 * 24 * 3600.0

Contents = dict[int, dict[TopicPartition, bytes]]


def planned(log: LongLog, repository: Repository, **options: object) -> TrimPlan:
    return prepare(repository, undo_seconds=UNDO_SECONDS, now=log.clock, **options)  # type: ignore[arg-type]


def trimmed(log: LongLog, repository: Repository | None = None, **options: object) -> TrimResult:
    """One trimming by the admin, on a host that remembers nothing unless an open repository is given."""
    opened = log.open() if repository is None else repository
    return trim(opened, planned(log, opened, **options), now=log.clock)


def small_log(head: int = 20, *, store: Store | None = None) -> LongLog:
    """A backup, small commits up to `head`, no saved state."""
    log = LongLog() if store is None else LongLog(store=store)
    log.create()
    log.backup(name="first")
    log.grow_to(head)
    return log


def two_states(log: LongLog) -> LongLog:
    """States saved by commits 21 and 41, both settled; commit 50 is the head, and backups are between."""
    assert trimmed(log).saved == 21
    log.backup(name="second")
    log.clock.advance(days=2)
    log.grow_to(40)
    assert trimmed(log).saved == 41
    log.backup(name="third")
    log.grow_to(50)
    log.clock.advance(days=15)
    return log


def numbers(store: Store) -> list[int]:
    """Commits that are there."""
    found = (log_number(info.name) for info in store.list("log/"))
    return sorted(number for number in found if number is not None)


def held(log: LongLog, store: Store | None = None) -> Contents:
    """What every point holds, read by a host without a cache and without a key."""
    with log.open(None, store=store) as repository:
        return {point.number: contents(repository, point) for point in repository.points()}


def copied(store: Store) -> MemoryStore:
    """Another store in memory with the same objects."""
    assert isinstance(store, MemoryStore)
    other = MemoryStore()
    other.objects = dict(store.objects)
    return other

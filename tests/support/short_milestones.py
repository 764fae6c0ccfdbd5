"""Logs whose milestones are near one another, so that tests trim many of them, and the steps of a trimming."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.support.long_logs import ADMIN_KEY, LongLog, append_small
from tests.support.second_reader import roots

from kafkeep.repository.names import MILESTONE
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.trimming import run as trimming
from kafkeep.trimming.plan import TrimResult

WEEK_SECONDS = 7 * 86400.0
_READERS = (
    "kafkeep.copying.run",
    "kafkeep.mending.filling",
    "kafkeep.mending.rebuilding",
    "kafkeep.repository.remembering",
    "kafkeep.verify.log",
    "kafkeep.verify.run",
)


@contextmanager
def milestones(every: int) -> Iterator[None]:
    """Every so many commits one is a milestone: for all of kafkeep, and for the second reader."""
    for name in _READERS:
        importlib.import_module(name)
    assert roots.MILESTONE == MILESTONE
    with pytest.MonkeyPatch.context() as patch:
        for name, module in sys.modules.items():
            if name.startswith(("kafkeep.", "tests.support.")) and getattr(module, "MILESTONE", None) == MILESTONE:
                patch.setattr(module, "MILESTONE", every)
        yield


def objects_of(log: LongLog) -> dict[str, bytes]:
    assert isinstance(log.store, MemoryStore)
    return log.store.objects


def without_hints(log: LongLog) -> LongLog:
    for name in [name for name in objects_of(log) if name.startswith("hint/")]:
        del objects_of(log)[name]
    return log


def grow(log: LongLog, admin: Repository, number: int) -> None:
    """Small commits up to this number."""
    state = admin.refresh()
    append_small(admin, ADMIN_KEY, number - state.head)
    admin.refresh()


def trim(log: LongLog, *, store: Store | None = None, wanted: bool | None = False) -> TrimResult:
    """By an admin without a cache, with an undo window of a week."""
    admin = log.open(store=store)
    plan = trimming.prepare(admin, undo_seconds=WEEK_SECONDS, wanted=wanted, now=log.clock)
    return trimming.trim(admin, plan, now=log.clock)

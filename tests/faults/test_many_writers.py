"""S6: sixteen writers on one repository, all at once, while the store answers some creations with a conflict."""

from __future__ import annotations

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from tests.support.faults import Figures
from tests.support.repositories import (
    Journal,
    Piece,
    batch,
    cut,
    draft,
    generation,
    open_repository,
    opened,
    write_pack,
)

from kafkeep.errors import StoreUnavailable
from kafkeep.model import Generation
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import FaultyStore
from kafkeep.verify.run import verify

WRITERS = 16
SHARED = generation("shared")


class Conflicts:
    """What a service says to creations that meet: a conflict, after which the object may be there or not."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._lock = threading.Lock()
        self.said = 0

    def __call__(self, index: int, call: str, name: str) -> None:
        with self._lock:
            if call == "put_new" and name.startswith("log/") and self._dice.random() < 0.2:
                self.said += 1
                raise StoreUnavailable(f"409 ConditionalRequestConflict for {name}")


def write(repository: Repository, of: Generation, seed: int) -> tuple[int, int]:
    """A run of two batches behind what this writer has seen: runs that counted, runs that came too late."""
    known = repository.state.generations.get(of)
    start = 0 if known is None else known.next_offset
    run = Piece(of, start, start + 6, tuple(batch(offset, seed=seed) for offset in (start, start + 3)))
    outcome = repository.commit(
        draft(
            packs=[write_pack(repository, [run])],
            open_=opened(of) if known is None else (),
            cuts=[cut(of, start + 6)],
        )
    )
    return len(outcome.accepted_runs), len(outcome.dropped_runs)


def work(repository: Repository, number: int, commits: int, start: threading.Barrier) -> Counter[str]:
    """Every third time at the partition that all of them write."""
    counts: Counter[str] = Counter()
    own = generation("own", number)
    start.wait()
    for turn in range(commits):
        accepted, dropped = write(repository, SHARED if turn % 3 == 2 else own, 100 * number + turn)
        counts["accepted"] += accepted
        counts["dropped"] += dropped
    return counts


@pytest.mark.fault("S6")
def test_s6_sixteen_writers_under_conflicts(fault: Figures) -> None:
    """All come to an end with every commit of theirs that fits; the log has no hole, no offset is covered twice."""
    commits = fault.count(quick=6, full=120)
    store = MemoryStore()
    Journal(store).create()
    before, after = Conflicts(random.Random(1)), Conflicts(random.Random(2))
    writers = [
        open_repository(FaultyStore(store, before=before, after=after), seed=number) for number in range(WRITERS)
    ]
    start = threading.Barrier(WRITERS)
    with ThreadPoolExecutor(WRITERS) as pool:
        jobs = [pool.submit(work, writer, number, commits, start) for number, writer in enumerate(writers)]
        counts = sum((job.result() for job in jobs), Counter[str]())
    assert counts["accepted"] + counts["dropped"] == WRITERS * commits
    state = open_repository(store).state
    logs = sorted(name for name in store.objects if name.startswith("log/"))
    assert [int(name[-12:]) for name in logs] == list(range(state.head + 1)), "dense"
    assert len(state.alarms) == 0
    assert sum(len(known.runs) for known in state.generations.values()) == counts["accepted"]
    for known in state.generations.values():
        runs = list(known.runs)
        assert all(one.coverage.stop == other.coverage.start for one, other in pairwise(runs))
        assert runs[0].coverage.start == 0 and runs[-1].coverage.stop == known.next_offset
    for number in range(WRITERS):
        assert len(list(state.generations[generation("own", number)].runs)) == commits - commits // 3
    report = verify(store, level="data", workers=1)
    assert (report.findings, report.alarms) == ((), ())
    assert before.said > 0 and after.said > 0
    fault.figures(writers=WRITERS, commits=state.head, conflicts=before.said + after.said)

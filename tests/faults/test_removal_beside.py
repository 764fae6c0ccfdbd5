"""G3: packs are retired, swept and deleted all the time beside writers and readers. Nobody ever misses an object."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.faults import Figures
from tests.support.operations import without_pauses
from tests.support.oracle import check_log
from tests.support.repositories import batch, contents, cut, draft, generation, opened, piece, write_pack
from tests.support.sweep import now, open_repository
from tests.support.sweep_places import quick_folder

from kafkeep.errors import CorruptionError, ObjectNotFound, PlanRefused
from kafkeep.model import Generation, RecoveryPoint
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.local import LocalStore
from kafkeep.retention.rules import KeepRules
from kafkeep.retention.run import prepare, prune
from kafkeep.verify.run import verify

WRITERS = 8
READERS = 4
UNDO_SECONDS = 0.02
RECORDS = 3
SLEEPS_SECONDS = (0.0, 0.0, 0.0, 0.03, 0.1)
"""Between a pack and its commit: none, one or several prunings pass meanwhile."""
HELD = 4
"""So many of the newest batches are left in a writer's log."""


def write(path: Path, number: int, points: int, counts: Counter[str]) -> None:
    """A writer with a topic of its own, whose log loses its beginning as it grows. What was refused is written again."""
    repository = open_repository(LocalStore(path))
    of = generation(f"topic-{number}")
    dice = random.Random(number)
    reached = made = 0
    while made < points:
        pack = write_pack(repository, [piece(of, reached, 1, seed=number, records=RECORDS)])
        start = max(0, reached - HELD * RECORDS)
        given = draft(packs=[pack], open_=() if reached else opened(of), cuts=[cut(of, reached + RECORDS, start)])
        assert given.point is not None
        time.sleep(dice.choice(SLEEPS_SECONDS))
        outcome = repository.commit(replace(given, point=replace(given.point, selection=(of.topic,))))
        if outcome.dropped_runs:
            counts["packs written again"] += 1
            repository.refresh()
            continue
        reached += RECORDS
        made += outcome.point is not None
    counts["points"] += made


def held_by(point: RecoveryPoint) -> tuple[Generation, bytes]:
    """What a point must hold, from the words of `write`."""
    (only,) = point.cuts
    seed = int(only.generation.topic.removeprefix("topic-"))
    offsets = range(only.start, only.stop, RECORDS)
    return only.generation, b"".join(batch(offset, RECORDS, seed=seed) for offset in offsets)


def read(path: Path, seed: int, over: threading.Event, counts: Counter[str]) -> None:
    """Reads any point whole; one that lacks something must have been let go meanwhile."""
    repository = open_repository(LocalStore(path))
    dice = random.Random(seed)
    while not over.is_set():
        repository.refresh()
        points = repository.points()
        if not points:
            continue
        point = dice.choice(points)
        try:
            of, expected = held_by(point)
            assert contents(repository, point)[of.topic_partition] == expected
            counts["points read"] += 1
        except (ObjectNotFound, CorruptionError):
            repository.refresh()
            assert point.number not in {other.number for other in repository.points()}, f"{point.number} is not whole"
            counts["points let go while they were read"] += 1


def remove(path: Path, over: threading.Event, counts: Counter[str]) -> None:
    repository = open_repository(LocalStore(path))
    while not over.is_set():
        once(repository, counts)


def once(repository: Repository, counts: Counter[str]) -> None:
    plan = prepare(repository, KeepRules(last=2, min_points=1), undo_seconds=UNDO_SECONDS, confirmed=True, now=now)
    try:
        result = prune(repository, plan, now=now)
    except PlanRefused:
        counts["plans refused"] += 1  # a backup was faster
        return
    assert result.failures == ()
    counts["prunings"] += 1
    counts["packs deleted"] += result.deleted
    counts["orphans deleted"] += result.orphans


@pytest.mark.fault("G3")
@pytest.mark.timeout(1200)
def test_g3_removal_beside_eight_writers_and_four_readers(tmp_path: Path, fault: Figures) -> None:
    each = fault.count(quick=12, full=500)
    counts: Counter[str] = Counter()
    over = threading.Event()
    with quick_folder(tmp_path) as folder, without_pauses():
        path = folder / "repository"
        Repository.init(LocalStore(path), now=now, rng=random.SystemRandom(), chunk_bytes=1000).close()
        with ThreadPoolExecutor(WRITERS + READERS + 1) as pool:
            beside: list[Callable[[], None]] = [lambda: remove(path, over, counts)]
            beside += [lambda seed=seed: read(path, seed, over, counts) for seed in range(READERS)]  # type: ignore[misc]
            running = [pool.submit(ended_together, over, one) for one in beside]
            writing = [pool.submit(write, path, number, each, counts) for number in range(WRITERS)]
            try:
                for done in writing:
                    done.result()
            finally:
                over.set()
            for done in running:
                done.result()
        repository = open_repository(LocalStore(path))
        for _ in range(4):
            once(repository, counts)
        assert verify(repository, level="data").findings == ()
        assert len(repository.state.alarms) == 0
        check_log(repository.store)
        listed = {info.name for info in repository.store.list("pack/")}
        assert listed == {entry.name for entry in repository.state.packs}
    print(dict(counts))
    assert counts["points"] == WRITERS * each
    assert counts["packs deleted"] > WRITERS and counts["points read"] > 0
    fault.figures(points=counts["points"], points_read=counts["points read"], packs_deleted=counts["packs deleted"])


def ended_together(over: threading.Event, work: Callable[[], None]) -> None:
    """Whoever fails lets the others end."""
    try:
        work()
    finally:
        over.set()

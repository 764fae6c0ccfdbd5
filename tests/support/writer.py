"""A backup of a made-up source, round by round: it resumes from what the repository holds, as capture does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.support.repositories import CLUSTER, Piece, batch, cut, draft, gap, generation, noise, opened, write_pack

from kafkeep.model import Generation, TopicPartition
from kafkeep.repository.repository import Repository
from kafkeep.repository.state import State

ORDERS, PAYMENTS, EVENTS = generation("orders"), generation("payments", 1), generation("events")


@dataclass(frozen=True)
class Round:
    """What the source holds when the round is run: per partition, where its log starts and ends."""

    name: str
    logs: dict[Generation, tuple[int, int]]


ROUNDS = (
    Round("first", {ORDERS: (0, 12), PAYMENTS: (0, 6)}),
    Round("second", {ORDERS: (0, 24), PAYMENTS: (9, 18), EVENTS: (3, 9)}),
    Round("third", {ORDERS: (0, 24), PAYMENTS: (9, 30), EVENTS: (3, 9)}),
)


def source_batch(of: Generation, offset: int) -> bytes:
    """The one batch that lies at this offset of the source, three offsets long."""
    if of is EVENTS:
        return noise(offset, 90, record_count=3, last_offset_delta=2)
    return batch(offset, seed=of.partition, size=120)


def run_round(repository: Repository, work: Round, committed: Callable[[str, int], None]) -> None:
    """One backup: what is not covered yet into two packs, each committed on its own, then the point.

    `committed` is told (round, commit number) as soon as a commit is durable: from then on it must not get lost.
    """
    state = repository.refresh()
    for group in ((ORDERS, EVENTS), (PAYMENTS,)):
        parts = [_plan(state, of, *work.logs[of]) for of in group if of in work.logs]
        pieces = [part for part, _ in parts if part is not None]
        gaps = [found for _, found in parts if found is not None]
        if not pieces and not gaps:
            continue
        packs = [write_pack(repository, pieces)] if pieces else []
        new = [of for of in group if of in work.logs and of not in state.generations]
        fresh = [one for of in new for one in opened(of, start=work.logs[of][0])]
        outcome = repository.commit(draft(packs=packs, gaps=gaps, open_=fresh))
        if outcome.number is not None:
            committed(work.name, outcome.number)
    reference = repository.put_document("metadata", {"cluster_id": CLUSTER, "round": work.name})
    cuts = [cut(of, stop, start) for of, (start, stop) in sorted(work.logs.items())]
    outcome = repository.commit(draft(cuts=cuts, name=work.name, documents=[("metadata", reference)]))
    if outcome.number is not None:
        committed(work.name, outcome.number)
    repository.put_audit("backup", {"round": work.name})


def _plan(state: State, of: Generation, start: int, stop: int) -> tuple[Piece | None, object]:
    known = state.generations.get(of)
    following = start if known is None else known.next_offset
    lost = gap(of, following, start) if following < start else None
    begin = max(following, start)
    if begin >= stop:
        return None, lost
    return Piece(of, begin, stop, tuple(source_batch(of, offset) for offset in range(begin, stop, 3))), lost


def run_all(repository: Repository, committed: Callable[[str, int], None] = lambda name, number: None) -> None:
    """All rounds that have no recovery point yet."""
    for work in ROUNDS:
        if all(point.name != work.name for point in repository.points()):
            run_round(repository, work, committed)


def summary(repository: Repository) -> dict[str, dict[TopicPartition, tuple[bytes, tuple[tuple[int, int], ...]]]]:
    """What every point holds: the bytes of each partition and the gaps in it."""
    found: dict[str, dict[TopicPartition, tuple[bytes, tuple[tuple[int, int], ...]]]] = {}
    for point in repository.points():
        found[str(point.name)] = {
            part.generation.topic_partition: (
                b"".join(bytes(chunk) for run in part.runs for chunk in repository.read_run(run)),
                tuple((one.offsets.start, one.offsets.stop) for one in part.gaps),
            )
            for part in repository.view(point).partitions
        }
    return found


def expected() -> dict[str, dict[TopicPartition, tuple[bytes, tuple[tuple[int, int], ...]]]]:
    """What the points of an uninterrupted backup hold, from the source itself."""
    found: dict[str, dict[TopicPartition, tuple[bytes, tuple[tuple[int, int], ...]]]] = {}
    for work in ROUNDS:
        found[work.name] = {}
        for of, (start, stop) in work.logs.items():
            data = b"".join(source_batch(of, offset) for offset in range(start, stop, 3))
            found[work.name][of.topic_partition] = (data, ())
    return found

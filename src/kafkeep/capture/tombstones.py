"""Whether an increment of a compacted topic can have missed a deletion: pure.

A tombstone is what deletes a key, and the log cleaner removes the tombstone itself once it is older than the topic's
`delete.retention.ms`, counted from the first cleaning that met it (KIP-534; before Kafka 3.1 from the age of its
segment). That cleaning has removed the values it deletes. So if a value was read at a moment t1, its tombstone is there
until t1 + delete.retention.ms at least, and whoever has read up to the cut before that has seen it. Whoever is later may
hold the value and never meet the tombstone: a restore would bring the deleted key back.

t1 of an increment is when the backup began that asked for the cut up to which the generation is known; t1 of a whole read
is when that backup began. The cleaner never works beyond the last stable offset, so a cut there is as good as one at
the log's end (core/log/LogCleanerManager.scala, cleanableOffsets).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from kafkeep.model import Failure, Generation, PartitionCut, TopicPartition
from kafkeep.records import dataclass
from kafkeep.repository.nouns import parse_time
from kafkeep.repository.state import State

UNSEEN: Final = "tombstones-unseen"
"""Why a generation is closed and its successor opened."""
TOMBSTONES: Final = "TOMBSTONES"
"""Reason of the failure of a partition that was read too slowly to have met all tombstones."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Up to where, and since when, a generation is known to lack no deletion."""

    since: datetime
    """No deletion behind `stop` was written, or cleaned for the first time, before this moment."""
    stop: int
    sound: bool = True
    """False when a recovery point already says that deletions may have been missed."""

    def holds(self, now: datetime, delete_retention_ms: int) -> bool:
        """True while no tombstone written since can have been cleaned away. A moment in the future is no evidence
        either: one of the clocks is wrong by as much."""
        return self.sound and abs(now - self.since) < timedelta(milliseconds=delete_retention_ms)

    def is_ageing(self, now: datetime, delete_retention_ms: int) -> bool:
        """True from half of that time on: better renewed, lest the next backup comes too late."""
        return not self.holds(now, delete_retention_ms // 2)


def evidence_of(state: State, generations: Collection[Generation]) -> dict[Generation, Evidence]:
    """The newest evidence for each of the generations: of the newest recovery point that holds all the cluster had, or
    of the commit that opened the generation, while no point says so.
    """
    missing = {generation: state.generations[generation] for generation in generations}
    found: dict[Generation, Evidence] = {}
    oldest = min((known.opened_at for known in missing.values()), default=0)
    unsound: set[Generation] = set()
    for point in reversed(state.points):
        if point.number < oldest:
            break
        doubted = {failure.subject for failure in point.failures if failure.reason == TOMBSTONES}
        if doubted:
            unsound |= {cut.generation for cut in point.cuts if str(cut.generation.topic_partition) in doubted}
        for cut in point.cuts if missing else ():
            if cut.generation in missing and reaches_its_end(cut):
                found[cut.generation] = Evidence(parse_time(point.started), cut.stop)
                del missing[cut.generation]
    for generation, known in missing.items():
        found[generation] = Evidence(parse_time(known.opened_time), known.start)
    return {generation: replace(each, sound=generation not in unsound) for generation, each in found.items()}


def reaches_its_end(cut: PartitionCut) -> bool:
    """True when the partition was read as far as its deletions could be cleaned when the cut was asked for."""
    return cut.stop >= cut.last_stable_offset


def unproven(
    cuts: Iterable[PartitionCut],
    *,
    since: Callable[[Generation], datetime],
    read_at: Mapping[TopicPartition, datetime],
    delete_retention_ms: Mapping[str, int],
) -> tuple[Failure, ...]:
    """A failure for every partition of a compacted topic that was not read to its cut in time.

    `read_at` says when each partition was read to its cut; those with nothing to read are not in it.
    """
    failures: list[Failure] = []
    for cut in cuts:
        generation = cut.generation
        limit = delete_retention_ms.get(generation.topic)
        done = None if limit is None else read_at.get(generation.topic_partition)
        if limit is None or done is None:
            continue
        evidence = Evidence(since(generation), cut.stop)
        if not evidence.holds(done, limit):
            took = int((done - evidence.since).total_seconds())
            failures.append(
                Failure(
                    str(generation.topic_partition),
                    TOMBSTONES,
                    f"it was read {took} s after what it adds to, and deletions are kept for {limit / 1000:g} s "
                    "(delete.retention.ms): deleted keys may be in it; the next backup reads the partition anew",
                )
            )
    return tuple(failures)

"""Holding the target's log ends against what was produced: nothing lost, nothing twice."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from kafkeep.kafka.cluster import EARLIEST, LATEST, Cluster, OffsetAnswer
from kafkeep.kafka.codes import code_name
from kafkeep.model import Failure, OffsetRange, TopicPartition
from kafkeep.offset_map import OffsetMap
from kafkeep.records import dataclass
from kafkeep.restore.produce import DONE, PartitionProgress
from kafkeep.restore.result import RestoredPartition


@dataclass(frozen=True, slots=True)
class Outcome:
    partitions: tuple[RestoredPartition, ...]
    failures: tuple[Failure, ...]

    def incomplete_topics(self) -> frozenset[str]:
        """Target topics with a partition that was not restored whole."""
        return frozenset(part.target.topic for part in self.partitions if not part.complete)

    def maps(self) -> dict[TopicPartition, OffsetMap]:
        """Offset maps of the target partitions that are whole: only through these may positions be translated."""
        return {part.target: part.offset_map for part in self.partitions if part.complete}


def check_ends(cluster: Cluster, progress: Sequence[PartitionProgress], *, appended: Collection[str]) -> Outcome:
    """A partition is complete when all its batches were acknowledged and the log holds exactly as many records.

    Args:
        appended: Target topics that hold records of others, too: their log ends prove nothing.
    """
    targets = [state.part.target for state in progress]
    topology = cluster.topology({target.topic for target in targets})
    start = cluster.offsets(targets, EARLIEST, topology=topology)
    end = cluster.offsets(targets, LATEST, topology=topology)
    partitions: list[RestoredPartition] = []
    failures: list[Failure] = []
    for state in sorted(progress, key=lambda state: state.part.target):
        part = state.part
        problem = _problem(state, start[part.target], end[part.target], exact=part.target.topic not in appended)
        if problem is not None:
            failures.append(problem)
        partitions.append(
            RestoredPartition(
                source=part.source,
                target=part.target,
                source_range=OffsetRange(part.start, part.stop if state.status == DONE else state.source_next),
                offset_map=OffsetMap(state.rows, end[part.target].offset if state.ended_at is None else state.ended_at),
                complete=problem is None,
            )
        )
    return Outcome(tuple(partitions), tuple(failures))


def _problem(state: PartitionProgress, start: OffsetAnswer, end: OffsetAnswer, *, exact: bool) -> Failure | None:
    subject = str(state.part.target)
    if state.status != DONE:
        return Failure(subject, state.reason, state.message)
    if start.error or end.error:
        name = code_name(start.error if start.error else end.error)
        return Failure(subject, name, f"the log end of {subject} could not be read after the load: {name}")
    if state.ended_at is not None:
        # Its guard may have ended since: what is older than its retention may be gone, and others may write.
        if end.offset >= state.ended_at:
            return None
        message = f"{subject} ends at {end.offset}, an earlier process of the job left it whole at {state.ended_at}"
        return Failure(subject, "COUNT", message)
    if exact and end.offset - start.offset != state.records:
        held = end.offset - start.offset
        return Failure(subject, "COUNT", f"{subject} holds {held} records, {state.records} were restored")
    return None

"""What a restore did, held against its plan."""

from __future__ import annotations

from kafkeep.model import Failure, Generation, OffsetRange, TopicPartition
from kafkeep.offset_map import OffsetMap
from kafkeep.records import dataclass
from kafkeep.restore.plan import PositionNotSet


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredPartition:
    source: Generation
    target: TopicPartition
    source_range: OffsetRange
    offset_map: OffsetMap
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RepartitionedTopic:
    """A topic whose records were spread by key. The maps of its partitions count records where else source offsets are."""

    source: str
    target: str
    source_partitions: int
    partitions: tuple[RestoredPartition, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredGroup:
    group_id: str
    positions: tuple[tuple[TopicPartition, int, int], ...]
    """(target partition, committed source offset, target offset). On repartitioned topics, where positions of several
    source partitions become one, the second is the number of restored records in front of the position."""
    moved: int = 0
    """Positions on no restored record of a partition that is restored by time: they are at the next one."""
    read_again: int = 0
    """Records of repartitioned topics that the group had consumed and will be given again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreResult:
    point: int
    job: str
    """Object name of the report in the repository's audit."""
    topics_created: tuple[str, ...]
    partitions: tuple[RestoredPartition, ...]
    groups: tuple[RestoredGroup, ...]
    records: int
    size_bytes: int
    """Bytes of the batches produced."""
    warnings: tuple[str, ...]
    failures: tuple[Failure, ...]
    lost: int
    """Offsets that lie in declared gaps, or behind one where a partition ends in front of it."""
    interrupted: bool
    seconds: float
    """From the first to the last produced batch and the work around it."""
    records_before: int = 0
    """Of the records, those that earlier processes of the job had brought in."""
    bytes_before: int = 0
    """Of the bytes, those of earlier processes."""
    not_set: tuple[PositionNotSet, ...] = ()
    """Positions that belong to nothing that was restored."""
    repartitioned: tuple[RepartitionedTopic, ...] = ()
    """Topics that are not in `partitions`, because no partition of theirs comes from one of the source."""
    loss_report: str = ""
    """Object name of the report on declared loss in the repository's audit; empty without loss."""

"""What a comparison found."""

from __future__ import annotations

from dataclasses import dataclass

from kafkeep.model import Failure, Generation, TopicPartition

BY_MAP, BY_OFFSET, BY_ORDER = "offset-map", "same-offset", "order"
"""How a record of the point and a record of the cluster were paired: through the offset map of the restore, at the same
offset (the cluster is the source itself), or by order alone (offsets are then not compared)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One record, or one end of a partition, that is not as the point has it."""

    source: Generation
    target: TopicPartition
    what: str
    """`missing`, `extra`, `offset`, `timestamp`, `key`, `value`, `headers`, `partition`."""
    source_offset: int | None
    target_offset: int | None
    expected: str
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedPartition:
    source: Generation
    target: TopicPartition
    pairing: str
    records: int
    """Records that were held against each other and found equal."""
    bytes_compared: int
    differences: int
    beyond: int = 0
    """Offsets of the cluster behind what the point or the restore covers: written later, not compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareReport:
    point: int
    target_cluster: str
    partitions: tuple[ComparedPartition, ...]
    differences: tuple[Difference, ...]
    """The first ones of each partition."""
    failures: tuple[Failure, ...]
    """Parts that could not be compared."""
    seconds: float

    @property
    def records(self) -> int:
        return sum(part.records for part in self.partitions)

    @property
    def different(self) -> int:
        return sum(part.differences for part in self.partitions)

    @property
    def identical(self) -> bool:
        return not self.different and not self.failures

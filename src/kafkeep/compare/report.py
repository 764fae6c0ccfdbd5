"""What a comparison found."""

from __future__ import annotations

from kafkeep.compare.options import SampleChoice
from kafkeep.model import Failure, Generation, TopicPartition
from kafkeep.records import dataclass

BY_MAP, BY_OFFSET, BY_ORDER, BY_KEY = "offset-map", "same-offset", "order", "key"
"""How a record of the point and a record of the cluster were paired: through the offset map of the restore, at the same
offset (the cluster is the source itself), or by order alone (offsets are then not compared); or, where a restore
spread the records by key, by spreading them once more."""
ALL_PARTITIONS = -1
"""Stands for the source partition of records that come from all of them."""

IDENTICAL, SAMPLE_IDENTICAL, DIFFERENT, NOTHING_COMPARED = (
    "identical",
    "sample-identical",
    "different",
    "nothing-compared",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One record, or one end of a partition, that is not as the point has it."""

    source: Generation
    target: TopicPartition
    what: str
    """`missing`, `extra`, `offset`, `timestamp`, `key`, `value`, `headers`, `log-end`."""
    source_offset: int | None
    target_offset: int | None
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class Share:
    """How much of the archive was chosen: chunks, and their bytes as the broker sent them."""

    chunks: int
    size_bytes: int
    bytes_in_all: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Excused:
    """What the source's own doings since the recovery point explain. Only where the cluster is the source itself."""

    removed: int = 0
    """Offsets of the point that lie in front of the source's log start: retention or DeleteRecords took them."""
    compacted: int = 0
    """Records of the point that compaction has taken from the source."""
    not_proven: int = 0
    """Those of `compacted` for which no later record with the same key was found, within the limits of the search."""
    decided: int = 0
    """Records of the source in transactions that the point leaves out as undecided, committed since."""
    in_gaps: int = 0
    """Records of the source in gaps that the point declares."""
    undecided: int = 0
    """Offsets of the point behind a transaction that is still open: the source serves none of them yet."""

    def __add__(self, other: Excused) -> Excused:
        return Excused(
            removed=self.removed + other.removed,
            compacted=self.compacted + other.compacted,
            not_proven=self.not_proven + other.not_proven,
            decided=self.decided + other.decided,
            in_gaps=self.in_gaps + other.in_gaps,
            undecided=self.undecided + other.undecided,
        )


NOTHING_EXCUSED = Excused()


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedPartition:
    source: Generation
    """Its partition is `ALL_PARTITIONS` where records were spread by key."""
    target: TopicPartition
    pairing: str
    records: int
    """Records that were held against each other and found equal."""
    bytes_compared: int
    differences: int
    beyond: int = 0
    """Offsets of the cluster behind what the point or the restore covers: written later, not compared."""
    excused: Excused = NOTHING_EXCUSED
    share: Share | None = None
    """Only of a sample."""
    notes: tuple[str, ...] = ()
    """What explains differences, for people."""

    @property
    def nothing_left(self) -> bool:
        """True when no record could be held against another because of what the source has done since."""
        since = self.excused
        return not self.records and not self.differences and bool(since.removed or since.compacted or since.undecided)


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
    sample: SampleChoice | None = None
    """None when everything was compared."""

    @property
    def records(self) -> int:
        return sum(part.records for part in self.partitions)

    @property
    def different(self) -> int:
        return sum(part.differences for part in self.partitions)

    @property
    def excused(self) -> Excused:
        return sum((part.excused for part in self.partitions), NOTHING_EXCUSED)

    @property
    def share(self) -> Share | None:
        """The share of the whole archive; None when everything was compared."""
        if self.sample is None:
            return None
        shares = [part.share for part in self.partitions if part.share is not None]
        return Share(
            sum(share.chunks for share in shares),
            sum(share.size_bytes for share in shares),
            sum(share.bytes_in_all for share in shares),
        )

    @property
    def verdict(self) -> str:
        """`identical` (everything that can be compared is equal), `sample-identical`, `different` (also when a part could
        not be compared), or `nothing-compared` (the source has removed all that the point holds)."""
        if self.different or self.failures:
            return DIFFERENT
        if not self.records and any(part.nothing_left for part in self.partitions):
            return NOTHING_COMPARED
        return IDENTICAL if self.sample is None else SAMPLE_IDENTICAL

    @property
    def identical(self) -> bool:
        """No difference and no failure; in a sample as well as in the whole."""
        return self.verdict in (IDENTICAL, SAMPLE_IDENTICAL)

"""The frozen nouns every room speaks of. No I/O, no clock, no randomness.

Offsets are Kafka's 64-bit offsets; ranges are half-open `[start, stop)`; timestamps are milliseconds since the epoch as
Kafka writes them (they may be -1 or any other signed 64-bit number); sizes are bytes. Topic ids are Kafka's text form
(22 characters of URL-safe base64), `NO_TOPIC_ID` for brokers that have none.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from kafkeep.records import dataclass

NO_TOPIC_ID: Final = "AAAAAAAAAAAAAAAAAAAAAA"

CODEC_MASK: Final = 0x07
LOG_APPEND_TIME_BIT: Final = 0x08
TRANSACTIONAL_BIT: Final = 0x10
CONTROL_BIT: Final = 0x20
DELETE_HORIZON_BIT: Final = 0x40
CODEC_NAMES: Final = {0: "none", 1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}


def topic_id_text(raw: bytes) -> str:
    """Kafka's text form of a 16-byte topic id."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@lru_cache(maxsize=4096)
def topic_id_bytes(text: str) -> bytes:
    """The 16 bytes behind Kafka's text form of a topic id."""
    return base64.urlsafe_b64decode(text + "==")


class TopicPartition(NamedTuple):
    """A tuple, as `Generation` is: every round looks up tens of thousands, and Python hashes tuples by itself."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class Generation(NamedTuple):
    """One history of one partition: a recreated topic or a truncated log opens a new one (`lineage` counts from 0)."""

    topic: str
    topic_id: str
    partition: int
    lineage: int = 0

    @property
    def topic_partition(self) -> TopicPartition:
        # two thirds of what `TopicPartition(…)` takes, and a backup asks several times for each partition
        return tuple.__new__(TopicPartition, (self.topic, self.partition))

    @property
    def successor(self) -> Generation:
        """The next one of a partition of the same topic."""
        return self._replace(lineage=self.lineage + 1)

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}" + (f"~{self.lineage}" if self.lineage else "")


@dataclass(frozen=True, slots=True, order=True)
class OffsetRange:
    """Offsets `[start, stop)`."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.stop:
            raise ValueError(f"not a range of offsets: [{self.start}, {self.stop})")

    def __len__(self) -> int:
        return self.stop - self.start

    def __contains__(self, offset: object) -> bool:
        return isinstance(offset, int) and self.start <= offset < self.stop

    def __bool__(self) -> bool:
        return self.stop > self.start

    def intersection(self, other: OffsetRange) -> OffsetRange | None:
        """The common offsets, or None when there are none."""
        start, stop = max(self.start, other.start), min(self.stop, other.stop)
        return OffsetRange(start, stop) if start < stop else None

    def __str__(self) -> str:
        return f"[{self.start}, {self.stop})"


class BatchInfo(NamedTuple):
    """The 61-byte header of a record batch (magic 2), field by field as on the wire.

    For magic 0 and 1 `kafka.wire.batch` fills what the old header holds and leaves the rest at Kafka's "none" values.
    Layout: clients/common/record/DefaultRecordBatch.java (KIP-98).
    """

    base_offset: int
    batch_length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def size(self) -> int:
        """Bytes of the whole batch, header included."""
        return self.batch_length + 12

    @property
    def last_offset(self) -> int:
        return self.base_offset + self.last_offset_delta

    @property
    def next_offset(self) -> int:
        return self.base_offset + self.last_offset_delta + 1

    @property
    def codec(self) -> int:
        return self.attributes & CODEC_MASK

    @property
    def is_control(self) -> bool:
        return bool(self.attributes & CONTROL_BIT)

    @property
    def is_transactional(self) -> bool:
        return bool(self.attributes & TRANSACTIONAL_BIT)

    @property
    def is_log_append_time(self) -> bool:
        return bool(self.attributes & LOG_APPEND_TIME_BIT)

    @property
    def has_holes(self) -> bool:
        """True when the batch holds fewer records than offsets: a broker refuses it from a client."""
        return self.record_count != self.last_offset_delta + 1


class AbortedTransaction(NamedTuple):
    """An entry of Fetch's AbortedTransactions: data of `producer_id` from `first_offset` to its marker is void."""

    producer_id: int
    first_offset: int


class HeldBack(NamedTuple):
    """Data of a transaction that a recovery point leaves out as a whole, in every partition it touches, because not all
    of it is certain to lie before the point's cuts: that of `producer_id` with offsets in `[start, stop)`.
    """

    producer_id: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class ChunkRef:
    """One chunk inside a pack: whole batches, the unit of compression, encryption and of ranged reads."""

    position: int
    stored_length: int
    raw_length: int
    codec: int
    offsets: OffsetRange
    """From the first batch's base offset to one past the last batch's last offset."""
    max_timestamp: int
    batches: int
    records: int
    blake3: str
    """BLAKE3-32 of the stored bytes, hexadecimal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What is known of a run without reading it: the commit holds this for every run."""

    generation: Generation
    coverage: OffsetRange
    """What the broker asserted: asked at start, served up to stop without error; offsets inside may jump."""
    leader_epochs: tuple[tuple[int, int], ...]
    """(epoch, first offset) in rising offset order."""
    batches: int
    records: int
    """Data records, control records not counted."""
    control_batches: int
    raw_bytes: int
    stored_bytes: int
    min_base_timestamp: int
    """Smallest base timestamp of a data batch; a lower one may hide inside a batch. -1 without data batches."""
    max_timestamp: int
    log_append_time: bool
    """True when at least one data batch carries append times."""
    create_time: bool
    largest_batch: int
    codecs: tuple[int, ...]
    aborted: tuple[AbortedTransaction, ...]
    """Aborted transactions that overlap the run, as the broker's transaction index told."""
    open_transactions: tuple[AbortedTransaction, ...]
    """Transactions undecided at the end of the run (only with a cut at the high watermark)."""
    holes: bool
    """True when at least one data batch must be rebuilt before a client may produce it."""
    old_magic: bool
    """True when at least one batch is of magic 0 or 1."""
    blake3: str = ""
    """BLAKE3-32 over the digests of the run's chunks in order, hexadecimal; empty until the run is stored."""


@dataclass(frozen=True, slots=True)
class RunRef:
    """A run and where it lies: run number `index` of the pack named `pack`."""

    facts: RunFacts
    pack: str
    index: int
    key: str | None = None
    """Id of the topic key it is sealed under; None in a repository that is not encrypted."""

    @property
    def generation(self) -> Generation:
        return self.facts.generation

    @property
    def coverage(self) -> OffsetRange:
        return self.facts.coverage


@dataclass(frozen=True, slots=True)
class PackRef:
    """A durable pack: its object name, size, root digest and the facts of its runs in order."""

    name: str
    size: int
    blake3: str
    epoch: int
    runs: tuple[RunFacts, ...]
    keys: tuple[str, ...] = ()
    """The topic key of each run; none in a repository that is not encrypted."""

    def run_refs(self) -> tuple[RunRef, ...]:
        keys = self.keys if self.keys else (None,) * len(self.runs)
        return tuple(
            RunRef(facts, self.name, index, key) for index, (facts, key) in enumerate(zip(self.runs, keys, strict=True))
        )


@dataclass(frozen=True, slots=True)
class Gap:
    """A range known to be lost to the backup, with the reason (`GAP_REASONS`) and what showed it."""

    generation: Generation
    offsets: OffsetRange
    reason: str
    evidence: str
    time: str
    """RFC 3339, UTC."""


GAP_REASONS: Final = ("retention", "delete-records", "truncation", "unreadable", "log-start")


@dataclass(frozen=True, slots=True)
class GenerationOpened:
    generation: Generation
    start: int
    """First offset the generation covers."""
    why: str
    """`first-seen`, `recreated`, `truncated`, `tombstones-unseen`."""


@dataclass(frozen=True, slots=True)
class GenerationClosed:
    generation: Generation
    why: str
    """`deleted`, `recreated`, `truncated`, `tombstones-unseen`."""


@dataclass(frozen=True, slots=True)
class PartitionCut:
    """Where a recovery point ends in one partition, and what the broker said at that moment."""

    generation: Generation
    stop: int
    """One past the last offset of the point."""
    start: int
    """First offset that was still readable at the cut (log start), or where the generation's coverage begins."""
    high_watermark: int
    last_stable_offset: int
    leader_epoch: int
    held_back: tuple[HeldBack, ...] = ()
    """Transactions that the point leaves out; only where it is consistent by transaction."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A part that could not be captured or restored although it was asked for."""

    subject: str
    """For example `orders/3` or `group billing`."""
    reason: str
    """The slug of the error, or Kafka's error name."""
    message: str


@dataclass(frozen=True, slots=True)
class GroupOffset:
    """A committed position. `leader_epoch` is -1 when the commit carried none."""

    topic_partition: TopicPartition
    offset: int
    leader_epoch: int
    metadata: str


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group and its positions as the broker lists them."""

    group_id: str
    type: str
    """`classic`, `consumer`, `share`, `streams`; `unknown` where the broker does not say."""
    state: str
    protocol_type: str
    offsets: tuple[GroupOffset, ...]


@dataclass(frozen=True, slots=True)
class TopicMetadata:
    """A topic as a recovery point keeps it."""

    name: str
    topic_id: str
    internal: bool
    partitions: tuple[tuple[int, ...], ...]
    """Replica node ids of each partition, in partition order."""
    configs: tuple[tuple[str, str | None], ...]
    """Overrides set on the topic itself, sorted by name; None for values the broker does not show."""

    @property
    def replication_factor(self) -> int:
        return max((len(replicas) for replicas in self.partitions), default=0)


@dataclass(frozen=True, slots=True)
class ClusterMetadata:
    """The documents of a recovery point besides records."""

    cluster_id: str
    topics: tuple[TopicMetadata, ...]
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryPoint:
    """A restorable cut. Its content is the fold over the commits up to `number`, held to `cuts`."""

    number: int
    """Sequence number of its commit."""
    name: str | None
    tags: tuple[tuple[str, str], ...]
    started: str
    finished: str
    """RFC 3339, UTC."""
    cluster_id: str
    cuts: Sequence[PartitionCut]
    """In the order of topic, topic id, partition; a repository reads those of old points when they are asked for."""
    selection: tuple[str, ...]
    """The patterns that chose the topics, for people."""
    documents: tuple[tuple[str, str], ...]
    """(`metadata`, digest of the document)."""
    consistency: str
    """`partition` (each partition cut on its own) or `transaction`."""
    complete: bool
    failures: tuple[Failure, ...]
    signer: str | None = None
    """16 hexadecimal digits: the id of the key that its commit was signed with, None where it was not."""

    @property
    def imported(self) -> bool:
        """True when it was made of a document and not by looking at a cluster."""
        return any(key == IMPORTED for key, _ in self.tags)


IMPORTED: Final = "imported"
"""The tag of such points; its value is the document's name."""

"""Records of repartitioned topics on their way: spread into temporary files once, and produced from there."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from kafkeep.errors import PlanRefused
from kafkeep.events import EventSink, Progress, Stage, WorkPlanned
from kafkeep.kafka.wire.batch import HEADER_SIZE, rewrite
from kafkeep.kafka.wire.repack import cut_out
from kafkeep.model import Generation, TopicPartition
from kafkeep.records import dataclass
from kafkeep.repartition.marks import Marks
from kafkeep.repartition.shuffle import SourceBatch, shuffle
from kafkeep.repartition.spool import Spool, free_bytes
from kafkeep.repository.repository import Repository
from kafkeep.restore.batches import SEQUENCES, ReadyBatch, stored_batches
from kafkeep.restore.options import DEFAULT_REPACK, RestoreOptions
from kafkeep.restore.plan import (
    BY_KEY,
    GroupRestore,
    PartitionRestore,
    PositionRestore,
    ProducerIdentity,
    RestorePlan,
    SpreadPositions,
    TopicRestore,
)
from kafkeep.restore.repack import repack_limit
from kafkeep.restore.window import EVERYTHING


@dataclass(frozen=True, slots=True)
class SpreadTopic:
    """A repartitioned topic whose records lie in a spool."""

    topic: TopicRestore
    topic_id: str
    spool: Spool
    marks: Marks
    counts: tuple[int, ...]
    """Records of each target partition."""
    sources: tuple[int, ...]
    """The source partitions that were spread."""

    def parts(self) -> list[PartitionRestore]:
        """What is produced: for each target partition its records, counted from 0 where else source offsets are."""
        return [
            PartitionRestore(
                source=Generation(self.topic.source, self.topic_id, BY_KEY),
                target=TopicPartition(self.topic.target, number),
                start=0,
                stop=count,
                runs=(),
                held_back=(),
                window=EVERYTHING,
                most_records=count,
                raw_bytes=self.spool.size_bytes(number),
                gaps=(),
            )
            for number, count in enumerate(self.counts)
        ]

    def ready_batches(
        self, part: PartitionRestore, *, first: int, sequence: int, identity: ProducerIdentity
    ) -> Iterator[ReadyBatch]:
        """As `batches.ready_batches`, with the numbers of records where else source offsets are."""
        for info, batch in self.spool.batches(part.target.partition, first):
            header = rewrite(
                batch,
                info,
                producer_id=identity.producer_id,
                producer_epoch=identity.epoch,
                base_sequence=sequence,
            )
            piece = (info.base_offset, info.record_count)
            parts = (header, batch[HEADER_SIZE:])
            yield ReadyBatch(parts, info.size, info.record_count, (piece,), info.next_offset, sequence)
            sequence = (sequence + info.record_count) % SEQUENCES

    def positions(self, spread: SpreadPositions) -> tuple[list[PositionRestore], int]:
        """Where a group begins in each target partition, and how many consumed records it is given again."""
        bounds = self.marks.bounds(_committed(spread, self.sources), self.counts)
        source = TopicPartition(spread.source, BY_KEY)
        positions = [
            PositionRestore(
                source=source, target=TopicPartition(spread.target, number), committed=at, metadata=spread.metadata
            )
            for number, at in enumerate(bounds.lower)
        ]
        return positions, bounds.read_again


def _committed(spread: SpreadPositions, sources: Sequence[int]) -> dict[int, int]:
    """By source partition; 0, nothing consumed, where the group has no position."""
    known = dict(spread.committed)
    return {partition: known.get(partition, 0) for partition in sources}


@contextmanager
def spread_topics(
    repository: Repository, plan: RestorePlan, options: RestoreOptions, *, sink: EventSink, stop: threading.Event
) -> Iterator[Mapping[str, SpreadTopic]]:
    """Spreads the plan's repartitioned topics, which takes one reading of each; by target topic. The space is given back
    behind the `with`, however that ends. Nothing is given when stopped.

    Raises `StoreFull` and `StoreError` about the temporary folder, and what reading the archive raises.
    """
    with ExitStack() as stack:
        found: dict[str, SpreadTopic] = {}
        parts = [part for part in plan.partitions if part.target.partition == BY_KEY]
        if plan.repartitioned:
            sink(Stage("spread", f"{len(plan.repartitioned)} topic(s) by key"))
            records, size = sum(part.most_records for part in parts), sum(part.raw_bytes for part in parts)
            sink(WorkPlanned("spread", len(parts), records, size))
        for topic in plan.repartitioned:
            own = [part for part in parts if part.target.topic == topic.target]
            if options.spool_dir is None:
                raise PlanRefused("no folder is named for the records that are repartitioned")
            spool = stack.enter_context(Spool(options.spool_dir, topic.partitions))
            found[topic.target] = _spread(repository, plan, topic, own, spool, options, sink, stop)
        yield {} if stop.is_set() else found


def _spread(
    repository: Repository,
    plan: RestorePlan,
    topic: TopicRestore,
    parts: Sequence[PartitionRestore],
    spool: Spool,
    options: RestoreOptions,
    sink: EventSink,
    stop: threading.Event,
) -> SpreadTopic:
    sources = tuple(part.source.partition for part in parts)
    wanted: dict[int, set[int]] = {}
    for group in plan.groups:
        for spread in group.spread:
            if spread.target == topic.target:
                for partition, offset in _committed(spread, sources).items():
                    wanted.setdefault(partition, set()).add(offset)
    marks = Marks(wanted, topic.partitions)

    def went_by(records: int, size: int) -> bool:
        sink(Progress("spread", records, size))
        return not stop.is_set()

    asked = DEFAULT_REPACK if options.repack_bytes == 0 else options.repack_bytes
    counts = shuffle(
        {part.source.partition: _source_batches(repository, part) for part in parts},
        topic.partitions,
        spool.put,
        most_bytes=repack_limit(asked, topic.configs, options.repack_rule),
        marks=marks,
        went_by=went_by,
    )
    topic_id = parts[0].source.topic_id if parts else ""
    return SpreadTopic(topic, topic_id, spool, marks, counts, sources)


def _source_batches(repository: Repository, part: PartitionRestore) -> Iterator[SourceBatch]:
    for stored in stored_batches(repository, part, part.start):
        records = cut_out(stored.batch, stored.info) if stored.records is None else stored.records
        if records.bodies:
            yield SourceBatch(records, stored.info.codec)


def space_warnings(plan: RestorePlan, options: RestoreOptions) -> list[str]:
    """Told when the temporary folder seems too small. Raises `StoreError` when it cannot be used."""
    if not plan.repartitioned or options.spool_dir is None:
        return []
    free = free_bytes(options.spool_dir)
    if free >= plan.spool_bytes:
        return []
    return [
        (
            f"repartitioning needs about {plan.spool_bytes} bytes in {options.spool_dir}, which has {free} left: "
            "--spool-dir names another folder"
        )
    ]


def with_positions(plan: RestorePlan, topics: Mapping[str, SpreadTopic]) -> RestorePlan:
    """The plan with the positions that came out of spreading."""
    return replace(plan, groups=tuple(_with_positions(group, topics) for group in plan.groups))


def _with_positions(group: GroupRestore, topics: Mapping[str, SpreadTopic]) -> GroupRestore:
    positions, read_again = list(group.positions), group.read_again
    for spread in group.spread:
        if spread.target in topics:
            found, again = topics[spread.target].positions(spread)
            positions += found
            read_again += again
    return replace(group, positions=tuple(positions), read_again=read_again)

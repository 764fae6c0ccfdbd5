"""Comparing a topic that a restore repartitioned: the archive's records are spread once more and held against it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

from kafkeep.compare.align import NOWHERE, Found, Piece, Side, Tally, align
from kafkeep.compare.options import CompareOptions
from kafkeep.compare.report import ALL_PARTITIONS, BY_KEY, ComparedPartition, Difference
from kafkeep.compare.target import Connections, TargetReader
from kafkeep.errors import CorruptBatch, KafkaError
from kafkeep.events import EventSink, PartitionDone, Progress, Stage
from kafkeep.kafka.cluster import EARLIEST, LATEST, Cluster, OffsetAnswer
from kafkeep.kafka.codes import request_error
from kafkeep.kafka.topology import Topology
from kafkeep.kafka.wire.repack import Slices, cut_out
from kafkeep.model import Failure, Generation, OffsetRange, TopicPartition
from kafkeep.offset_map import OffsetMap
from kafkeep.playback import play
from kafkeep.records import dataclass
from kafkeep.repartition.marks import Marks
from kafkeep.repartition.shuffle import SourceBatch, shuffle
from kafkeep.repartition.spool import Spool
from kafkeep.repository.repository import Repository
from kafkeep.repository.views import PartitionView
from kafkeep.restore_reports import SpreadRestore
from kafkeep.work.messages import Emitted, Finished
from kafkeep.work.threads import run_on_threads

REASON = "repartitioned"
_BATCH_BYTES = 256 * 1024
"""As a restore makes them unless told otherwise: batches with the same borders need not be opened."""


@dataclass(frozen=True, slots=True)
class ComparedTopic:
    """What came out of one topic."""

    partitions: tuple[ComparedPartition, ...]
    differences: tuple[Difference, ...]
    failures: tuple[Failure, ...]


def why_not(
    repository: Repository,
    restored: SpreadRestore,
    views: Sequence[PartitionView],
    found_partitions: int,
    options: CompareOptions,
) -> Failure | None:
    """What keeps a repartitioned topic from being compared with the point; None when nothing does."""
    history = repository.state.generations
    held: dict[Generation, OffsetRange] = {}
    for view in views:
        cut = view.cut
        start = min(max(cut.start, history[view.generation].start), cut.stop)
        held[view.generation] = OffsetRange(start, cut.stop)
    why = ""
    if not restored.complete:
        why = "that restore did not bring all of it"
    elif restored.by_time or restored.sources != held:
        why = "that restore took other records than all of the point's"
    elif found_partitions != restored.partitions:
        why = f"it has {found_partitions} partitions, {restored.partitions} were restored"
    elif options.sample is not None:
        why = "no sample can be taken of it: compare all of it"
    elif options.spool_dir is None:
        why = "no folder is named for its records meanwhile"
    if not why:
        return None
    return Failure(restored.target, REASON, f"{restored.target} was repartitioned by {restored.job}: {why}")


def compare_spread(
    cluster: Cluster,
    repository: Repository,
    restored: SpreadRestore,
    views: Sequence[PartitionView],
    topology: Topology,
    options: CompareOptions,
    folder: str,
    sink: EventSink,
) -> ComparedTopic:
    """Spreads the topic's records as the restore did, into a spool in `folder`, and compares partition by partition.

    Raises `StoreFull` and `StoreError` about the folder, `CorruptionError` about the archive, `KafkaError`.
    """
    sink(Stage("spread", f"{restored.source} by key into {restored.partitions} partition(s)"))
    with (
        Spool(folder, restored.partitions) as spool,
        Connections(cluster, fetch_bytes=options.fetch_bytes, most_idle=options.threads) as connections,
    ):
        sources = {view.generation.partition: _source_batches(repository, view) for view in views}
        shuffle(sources, restored.partitions, spool.put, most_bytes=_BATCH_BYTES, marks=Marks({}, restored.partitions))
        comparison = _TopicComparison(cluster, restored, views, spool, topology, connections, options, sink)
        return comparison.run()


def _source_batches(repository: Repository, view: PartitionView) -> Iterator[SourceBatch]:
    cut = view.cut
    batches = play(repository, view.runs, start=cut.start, stop=cut.stop, held_back=cut.held_back)
    for info, batch, start, stop in batches:
        records = _inside(cut_out(batch, info), start, stop)
        if records.bodies:
            yield SourceBatch(records, info.codec)


def _inside(records: Slices, start: int, stop: int) -> Slices:
    places = [number for number, offset in enumerate(records.offsets) if start <= offset < stop]
    return records.part(places[0], places[-1] + 1) if places else records.part(0, 0)


class _TopicComparison:
    """The partitions of one topic, on several threads."""

    def __init__(
        self,
        cluster: Cluster,
        restored: SpreadRestore,
        views: Sequence[PartitionView],
        spool: Spool,
        topology: Topology,
        connections: Connections,
        options: CompareOptions,
        sink: EventSink,
    ) -> None:
        self._cluster = cluster
        self._restored = restored
        self._source = views[0].generation._replace(partition=ALL_PARTITIONS, lineage=0)
        self._spool = spool
        self._topology = topology
        self._connections = connections
        self._options = options
        self._sink = sink
        targets = [TopicPartition(restored.target, number) for number in range(restored.partitions)]
        self._starts = cluster.offsets(targets, EARLIEST, topology=topology)
        self._ends = cluster.offsets(targets, LATEST, read_committed=True, topology=topology)

    def run(self) -> ComparedTopic:
        compared: dict[TopicPartition, ComparedPartition] = {}
        differences: dict[TopicPartition, list[Difference]] = {target: [] for target in self._starts}
        failures: list[Failure] = []
        for message in run_on_threads(sorted(self._starts), self._work, threads=self._options.threads):
            if isinstance(message, Emitted):
                differences[message.item.target].append(message.item)
            elif isinstance(message, Finished):
                result = message.result
                if isinstance(result, Failure):
                    failures.append(result)
                    continue
                compared[message.task] = result
                self._sink(PartitionDone("compare", message.task, result.records, result.bytes_compared))
        return ComparedTopic(
            tuple(compared[target] for target in sorted(compared)),
            tuple(found for target in sorted(differences) for found in differences[target]),
            tuple(failures),
        )

    def _work(
        self, target: TopicPartition, emit: Callable[[Difference], None], cancelled: threading.Event
    ) -> ComparedPartition | Failure:
        try:
            code = self._starts[target].error or self._ends[target].error
            if code:
                raise request_error(code, f"list offsets of {target}")
            return self._compare(target, self._starts[target], self._ends[target], emit, cancelled)
        except (KafkaError, CorruptBatch) as error:
            return Failure(str(target), error.slug, str(error))

    def _compare(
        self,
        target: TopicPartition,
        start: OffsetAnswer,
        end: OffsetAnswer,
        emit: Callable[[Difference], None],
        cancelled: threading.Event,
    ) -> ComparedPartition:
        offsets = self._restored.offsets[target.partition]
        low = max(start.offset, offsets.rows[0].target if offsets.rows else offsets.end)
        served = OffsetRange(low, max(low, min(end.offset, offsets.end)))
        tally, counted = Tally(), 0
        for found in self._differences(target, offsets, served, tally, cancelled):
            counted += 1
            if counted <= self._options.most_differences:
                emit(self._difference(target, found))
        return ComparedPartition(
            source=self._source,
            target=target,
            pairing=BY_KEY,
            records=tally.records,
            bytes_compared=tally.size_bytes,
            differences=counted,
            beyond=max(0, end.offset - served.stop),
        )

    def _differences(
        self,
        target: TopicPartition,
        offsets: OffsetMap,
        served: OffsetRange,
        tally: Tally,
        cancelled: threading.Event,
    ) -> Iterator[Found]:
        reader = TargetReader(self._cluster, target, connections=self._connections, topology=self._topology)
        pieces = reader.pieces(served, self._spool.size_bytes(target.partition))

        def expected(number: int) -> int:
            place = offsets.target_of(number)
            return NOWHERE if place is None else place

        mine = Side(self._archived(target, cancelled))
        theirs = Side(piece for piece in pieces if not cancelled.is_set())
        yield from align(mine, theirs, expected, tally)

    def _archived(self, target: TopicPartition, cancelled: threading.Event) -> Iterator[Piece]:
        stop = self._spool.records(target.partition)
        for info, batch in self._spool.batches(target.partition, 0):
            if cancelled.is_set():
                return
            self._sink(Progress("compare", info.record_count, info.size))
            yield Piece(info, batch, 0, stop)

    def _difference(self, target: TopicPartition, found: Found) -> Difference:
        """Records go by their numbers in the spool, which say nothing to a reader: no source offset is told."""
        return Difference(
            source=self._source,
            target=target,
            what=found.what,
            source_offset=None,
            target_offset=found.target_offset,
            expected=found.expected,
            found=found.found,
        )


def split_off(
    views: Sequence[PartitionView],
    targets: Mapping[Generation, TopicPartition],
    spread: Mapping[tuple[str, str, str], SpreadRestore],
    topology: Topology,
) -> tuple[list[PartitionView], list[tuple[SpreadRestore, list[PartitionView]]]]:
    """The views of partitions that are compared one with one, and those of each topic that a restore repartitioned."""
    plain: list[PartitionView] = []
    found: dict[str, tuple[SpreadRestore, list[PartitionView]]] = {}
    for view in views:
        target = targets[view.generation].topic
        key = (view.generation.topic, target, topology.topics[target].topic_id)
        if key in spread:
            found.setdefault(target, (spread[key], []))[1].append(view)
        else:
            plain.append(view)
    return plain, list(found.values())

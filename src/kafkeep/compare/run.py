"""The recipe of a comparison."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from kafkeep.compare.align import NOWHERE, ExpectedOffset, Found, Side, Tally, align
from kafkeep.compare.options import CompareOptions
from kafkeep.compare.report import BY_MAP, BY_OFFSET, BY_ORDER, ComparedPartition, CompareReport, Difference
from kafkeep.compare.target import Connections, TargetReader
from kafkeep.errors import CorruptBatch, KafkaError, NothingToDo
from kafkeep.events import EventSink, PartitionDone, Progress, Stage, WorkPlanned, ignore
from kafkeep.kafka.cluster import EARLIEST, LATEST, Cluster
from kafkeep.kafka.codes import request_error
from kafkeep.kafka.topology import Topology
from kafkeep.model import BatchInfo, Failure, Generation, RecoveryPoint, TopicPartition
from kafkeep.offset_map import MappedPartitions, OffsetMap
from kafkeep.playback import play
from kafkeep.renaming import renamed
from kafkeep.repository.repository import Repository
from kafkeep.repository.state import PartitionView
from kafkeep.restore_reports import mapped_by_restores, mapped_in_file
from kafkeep.work.threads import Emitted, Finished, run_on_threads

_PROGRESS_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparePlan:
    """One partition of the point and the partition of the cluster that must hold the same."""

    view: PartitionView
    target: TopicPartition
    pairing: str
    offsets: OffsetMap | None
    start: int
    """First source offset to compare."""
    target_start: int
    target_stop: int
    beyond: int
    """Offsets behind `target_stop`: what came later is not compared."""


def compare(
    cluster: Cluster,
    repository: Repository,
    point: RecoveryPoint,
    options: CompareOptions,
    *,
    sink: EventSink = ignore,
) -> CompareReport:
    """Walks both sides of every chosen partition and counts equal records and differences.

    Records are paired through the offset map of the restore (from a file or the repository's audit), at equal offsets
    when the cluster is the point's own source, and otherwise by order. Offset, timestamp, key, value and headers in
    their order must be equal, null against empty included. Raises `NothingToDo` when no partition of the point is chosen.
    """
    began = time.monotonic()
    sink(Stage("survey", "looking at the cluster"))
    cluster_id = cluster.cluster_id()
    mapped = mapped_in_file(options.map_file) if options.map_file else mapped_by_restores(repository, point, cluster_id)
    views = [view for view in repository.view(point).partitions if options.selection.chooses(view.generation.topic)]
    if not views:
        raise NothingToDo(f"recovery point {point.number} holds no topic that matches {', '.join(options.topics)}")
    targets = {
        view.generation: TopicPartition(renamed(view.generation.topic, options.renames), view.generation.partition)
        for view in views
    }
    topology = cluster.topology(sorted({target.topic for target in targets.values()}))
    plans, failures = _plan(cluster, views, targets, topology, mapped, same_cluster=cluster_id == point.cluster_id)
    sink(WorkPlanned("compare", len(plans), sum(run.facts.records for plan in plans for run in plan.view.runs), None))
    compared, differences = _compare_all(cluster, repository, plans, topology, options, sink)
    return CompareReport(
        point=point.number,
        target_cluster=cluster_id,
        partitions=tuple(sorted((part for part in compared if isinstance(part, ComparedPartition)), key=_target)),
        differences=tuple(sorted(differences, key=_place)),
        failures=(*failures, *(part for part in compared if isinstance(part, Failure))),
        seconds=time.monotonic() - began,
    )


def _compare_all(
    cluster: Cluster,
    repository: Repository,
    plans: list[ComparePlan],
    topology: Topology,
    options: CompareOptions,
    sink: EventSink,
) -> tuple[list[ComparedPartition | Failure], list[Difference]]:
    """What became of every partition, and the first differences of each."""
    compared: list[ComparedPartition | Failure] = []
    differences: list[Difference] = []
    with Connections(cluster, fetch_bytes=options.fetch_bytes) as connections:

        def work(
            plan: ComparePlan, emit: Callable[[Difference], None], cancelled: threading.Event
        ) -> ComparedPartition | Failure:
            reader = TargetReader(cluster, plan.target, connections=connections, topology=topology)
            try:
                return _compare_partition(repository, plan, reader, options, emit, cancelled, sink)
            except (KafkaError, CorruptBatch) as error:
                return Failure(str(plan.target), error.slug, str(error))

        for message in run_on_threads(plans, work, threads=options.threads):
            if isinstance(message, Finished):
                compared.append(message.result)
            elif isinstance(message, Emitted):
                differences.append(message.item)
    return compared, differences


def _plan(
    cluster: Cluster,
    views: list[PartitionView],
    targets: Mapping[Generation, TopicPartition],
    topology: Topology,
    mapped: MappedPartitions,
    *,
    same_cluster: bool,
) -> tuple[list[ComparePlan], list[Failure]]:
    readable = {
        TopicPartition(topic.name, part.partition)
        for topic in topology.topics.values()
        if not topic.error
        for part in topic.partitions
    }
    wanted = sorted(set(targets.values()) & readable)
    start, end = (cluster.offsets(wanted, at, read_committed=True, topology=topology) for at in (EARLIEST, LATEST))
    plans: list[ComparePlan] = []
    failures: list[Failure] = []
    for view in views:
        target = targets[view.generation]
        topic = topology.topics[target.topic]
        if target not in readable:
            what = str(request_error(topic.error or 3, f"read {target}"))
            failures.append(Failure(str(target), "missing", what))
            continue
        code = start[target].error or end[target].error
        if code:
            failures.append(Failure(str(target), "unreadable", str(request_error(code, f"list offsets of {target}"))))
            continue
        same = same_cluster and topic.topic_id == view.generation.topic_id
        offsets = None if same else _map_of(mapped, view.generation, target, topic.topic_id)
        plans.append(_plan_partition(view, target, offsets, (start[target].offset, end[target].offset), same=same))
    return plans, failures


def _map_of(mapped: MappedPartitions, source: Generation, target: TopicPartition, topic_id: str) -> OffsetMap | None:
    """The map of a whole restore of just this source into just this topic; not one that had the same names before."""
    found = mapped.get((source.topic_partition, target))
    if found is None or not found.complete or found.source != source:
        return None
    return found.offsets if found.target_topic_id in (None, topic_id) else None


def _plan_partition(
    view: PartitionView, target: TopicPartition, offsets: OffsetMap | None, ends: tuple[int, int], *, same: bool
) -> ComparePlan:
    low, high = ends
    cut = view.cut
    if offsets is not None:
        pairing, begin, stop = BY_MAP, max(low, offsets.translate(cut.start)), min(high, offsets.end)
    elif same:
        pairing, begin, stop = BY_OFFSET, max(low, cut.start), min(high, cut.stop)
    else:
        pairing, begin, stop = BY_ORDER, low, high
    return ComparePlan(
        view=view,
        target=target,
        pairing=pairing,
        offsets=offsets,
        start=cut.start,
        target_start=begin,
        target_stop=max(begin, stop),
        beyond=max(0, high - max(begin, stop)),
    )


def _compare_partition(
    repository: Repository,
    plan: ComparePlan,
    reader: TargetReader,
    options: CompareOptions,
    emit: Callable[[Difference], None],
    cancelled: threading.Event,
    sink: EventSink,
) -> ComparedPartition:
    cut = plan.view.cut
    tally = Tally()
    source = Side(_played(repository, plan, sink), plan.start, cut.stop)
    target = Side(reader.batches(plan.target_start, plan.target_stop), plan.target_start, plan.target_stop)
    counted = 0
    for found in align(source, target, _expected(plan), tally):
        counted += 1
        if counted <= options.most_differences:
            emit(_difference(plan, found))
        if cancelled.is_set():
            break
    sink(PartitionDone("compare", plan.target, tally.records, tally.size_bytes))
    return ComparedPartition(
        source=plan.view.generation,
        target=plan.target,
        pairing=plan.pairing,
        records=tally.records,
        bytes_compared=tally.size_bytes,
        differences=counted,
        beyond=plan.beyond,
    )


def _played(repository: Repository, plan: ComparePlan, sink: EventSink) -> Iterator[tuple[BatchInfo, memoryview]]:
    """The point's side; tells progress about once a mebibyte."""
    records = size = 0
    cut = plan.view.cut
    for played in play(repository, plan.view.runs, start=plan.start, stop=cut.stop, held_back=cut.held_back):
        yield played.info, played.batch
        records += max(played.info.record_count, 0)
        size += played.info.size
        if size >= _PROGRESS_BYTES:
            sink(Progress("compare", records, size))
            records = size = 0
    sink(Progress("compare", records, size))


def _expected(plan: ComparePlan) -> ExpectedOffset:
    offsets = plan.offsets
    if offsets is not None:
        return lambda source: NOWHERE if (target := offsets.target_of(source)) is None else target
    return (lambda source: source) if plan.pairing == BY_OFFSET else (lambda source: None)


def _difference(plan: ComparePlan, found: Found) -> Difference:
    return Difference(
        source=plan.view.generation,
        target=plan.target,
        what=found.what,
        source_offset=found.source_offset,
        target_offset=found.target_offset,
        expected=found.expected,
        found=found.found,
    )


def _target(part: ComparedPartition) -> TopicPartition:
    return part.target


def _place(difference: Difference) -> tuple[TopicPartition, int, int]:
    source = -1 if difference.source_offset is None else difference.source_offset
    return difference.target, source, -1 if difference.target_offset is None else difference.target_offset

"""The recipe of a comparison."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace

from kafkeep.compare.align import Found
from kafkeep.compare.options import CompareOptions
from kafkeep.compare.partition import ComparedTask, TaskComparison
from kafkeep.compare.plan import (
    ComparePlan,
    CompareTask,
    LogEnds,
    cut_into_tasks,
    in_leader_order,
    map_of,
    other_count,
    plan_partition,
)
from kafkeep.compare.report import BY_OFFSET, ComparedPartition, CompareReport, Difference
from kafkeep.compare.spread import ComparedTopic, compare_spread, split_off, why_not
from kafkeep.compare.target import Connections, TargetReader
from kafkeep.errors import CorruptBatch, KafkaError, NothingToDo
from kafkeep.events import EventSink, PartitionDone, Stage, Warned, WorkPlanned, ignore
from kafkeep.kafka.cluster import EARLIEST, LATEST, Cluster
from kafkeep.kafka.codes import request_error
from kafkeep.kafka.topology import Topology
from kafkeep.model import Failure, Generation, RecoveryPoint, TopicPartition
from kafkeep.offset_map import MappedPartitions
from kafkeep.point_documents import metadata_of
from kafkeep.records import dataclass
from kafkeep.renaming import renamed
from kafkeep.repository.openable import require_keys
from kafkeep.repository.repository import Repository
from kafkeep.repository.views import PartitionView
from kafkeep.restore_reports import RestoresTold, SpreadRestore, mapped_in_file, told_by_restores
from kafkeep.work.messages import Emitted, Finished
from kafkeep.work.threads import run_on_threads

_CLEANUP_POLICY = "cleanup.policy"


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
    their order must be equal, null against empty included. What the source itself has rightly lost or got since the
    point is excused and counted apart (`Excused`). Raises `NothingToDo` when no partition of the point is chosen,
    `KeyRefused` when records that are needed cannot be opened here.
    """
    began = time.monotonic()
    sink(Stage("survey", "looking at the cluster"))
    cluster_id = cluster.cluster_id()
    told = _told(repository, point, cluster_id, options, sink)
    paired = _paired(cluster, repository, point, cluster_id, told, options)
    every = [*(plan.view for plan in paired.plans), *(view for _, found in paired.spread for view in found)]
    sink(WorkPlanned("compare", len(every), sum(run.facts.records for view in every for run in view.runs), None))
    outcomes = _compare_all(cluster, repository, paired.plans, paired.topology, options, sink)
    topics = [_compare_spread(cluster, repository, *found, paired.topology, options, sink) for found in paired.spread]
    report = _report(point, cluster_id, outcomes, topics, paired.failures, options)
    return replace(report, seconds=time.monotonic() - began)


def _told(
    repository: Repository, point: RecoveryPoint, cluster_id: str, options: CompareOptions, sink: EventSink
) -> RestoresTold:
    """Where restores say that the records lie; a map from a file stands for all maps of theirs."""
    told = told_by_restores(
        repository, point, cluster_id, restored_by=options.restored_by, needed=options.map_file is None
    )
    for warning in told.warnings:
        sink(Warned(warning))
    return told if options.map_file is None else replace(told, mapped=mapped_in_file(options.map_file))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Paired:
    """Which partitions of the cluster are held against which of the point."""

    topology: Topology
    plans: list[ComparePlan]
    spread: list[tuple[SpreadRestore, list[PartitionView]]]
    failures: list[Failure]


def _paired(
    cluster: Cluster,
    repository: Repository,
    point: RecoveryPoint,
    cluster_id: str,
    told: RestoresTold,
    options: CompareOptions,
) -> _Paired:
    views = [view for view in repository.view(point).partitions if options.selection.chooses(view.generation.topic)]
    if not views:
        raise NothingToDo(f"recovery point {point.number} holds no topic that matches {', '.join(options.topics)}")
    require_keys(repository, (run for view in views for run in view.runs))
    targets = {
        view.generation: TopicPartition(renamed(view.generation.topic, options.renames), view.generation.partition)
        for view in views
    }
    topology = cluster.topology(sorted({target.topic for target in targets.values()}))
    views, spread = split_off(views, targets, told.spread, topology)
    counts = {
        renamed(topic.name, options.renames): len(topic.partitions) for topic in metadata_of(repository, point).topics
    }
    same_cluster = cluster_id == point.cluster_id
    plans, failures = _plan(cluster, views, targets, topology, told.mapped, counts, same_cluster=same_cluster)
    return _Paired(topology=topology, plans=plans, spread=spread, failures=failures)


def _report(
    point: RecoveryPoint,
    cluster_id: str,
    outcomes: Sequence[_Outcome],
    topics: Sequence[ComparedTopic],
    failures: Sequence[Failure],
    options: CompareOptions,
) -> CompareReport:
    return CompareReport(
        point=point.number,
        target_cluster=cluster_id,
        partitions=(
            *(_compared(outcome) for outcome in outcomes if outcome.failure is None),
            *(part for topic in topics for part in topic.partitions),
        ),
        differences=(
            *(found for outcome in outcomes for found in outcome.first(options.most_differences)),
            *(found for topic in topics for found in topic.differences),
        ),
        failures=(
            *failures,
            *(outcome.failure for outcome in outcomes if outcome.failure is not None),
            *(failure for topic in topics for failure in topic.failures),
        ),
        seconds=0.0,
        sample=options.sample,
    )


def _compare_spread(
    cluster: Cluster,
    repository: Repository,
    restored: SpreadRestore,
    views: Sequence[PartitionView],
    topology: Topology,
    options: CompareOptions,
    sink: EventSink,
) -> ComparedTopic:
    """A topic that a restore repartitioned; by name among the failures where it cannot be compared."""
    found_partitions = len(topology.topics[restored.target].partitions)
    problem = why_not(repository, restored, views, found_partitions, options)
    if problem is not None or options.spool_dir is None:
        return ComparedTopic((), (), () if problem is None else (problem,))
    return compare_spread(cluster, repository, restored, views, topology, options, options.spool_dir, sink)


@dataclass(slots=True)
class _Outcome:
    """What became of one partition, task by task."""

    plan: ComparePlan
    tasks_left: int
    results: list[ComparedTask] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    failure: Failure | None = None

    def take(self, result: ComparedTask | Failure) -> None:
        self.tasks_left -= 1
        if isinstance(result, Failure):
            self.failure = self.failure or result
            return
        self.results.append(result)

    def complete(self) -> None:
        """A log that ends too early is told by what is missing; where no record shows it, it is told by itself."""
        plan = self.plan
        if not self.failure and not self.differences and plan.found_end < plan.target_end:
            end = Found("log-end", None, plan.target_end, f"offsets up to {plan.target_end}", f"up to {plan.found_end}")
            self.found.append(end)
            self.results.append(ComparedTask(differences=1))

    @property
    def records(self) -> int:
        return sum(result.records for result in self.results)

    @property
    def size_bytes(self) -> int:
        return sum(result.size_bytes for result in self.results)

    @property
    def differences(self) -> int:
        return sum(result.differences for result in self.results)

    def first(self, most: int) -> list[Difference]:
        """The first differences in the order of their offsets."""
        ordered = sorted(self.found, key=_place)
        return [_difference(self.plan, found) for found in ordered[:most]]


def _compare_all(
    cluster: Cluster,
    repository: Repository,
    plans: Sequence[ComparePlan],
    topology: Topology,
    options: CompareOptions,
    sink: EventSink,
) -> list[_Outcome]:
    """What became of every partition, in the order of the cluster's names."""
    tasks: list[CompareTask] = []
    outcomes: dict[TopicPartition, _Outcome] = {}
    for plan in plans:
        split = options.sample is None and options.threads > 1
        cut = cut_into_tasks(plan, piece_bytes=options.piece_bytes) if split else [CompareTask(plan, plan.source)]
        outcomes[plan.target] = _Outcome(plan, len(cut))
        tasks += cut
    with Connections(cluster, fetch_bytes=options.fetch_bytes, most_idle=options.threads) as connections:

        def work(
            task: CompareTask, emit: Callable[[tuple[TopicPartition, Found]], None], cancelled: threading.Event
        ) -> ComparedTask | Failure:
            plan = task.plan
            reader = TargetReader(
                cluster,
                plan.target,
                connections=connections,
                topology=topology,
                follows_log_start=plan.pairing == BY_OFFSET,
            )
            comparison = TaskComparison(cluster, repository, task, reader, options, cancelled=cancelled, sink=sink)
            try:
                return comparison.run(lambda found: emit((plan.target, found)))
            except (KafkaError, CorruptBatch) as error:
                return Failure(str(plan.target), error.slug, str(error))

        for message in run_on_threads(tasks, work, threads=options.threads):
            if isinstance(message, Emitted):
                target, found = message.item
                outcomes[target].found.append(found)
            elif isinstance(message, Finished):
                outcome = outcomes[message.task.plan.target]
                outcome.take(message.result)
                if not outcome.tasks_left:
                    outcome.complete()
                    sink(PartitionDone("compare", outcome.plan.target, outcome.records, outcome.size_bytes))
    return [outcomes[target] for target in sorted(outcomes)]


def _plan(
    cluster: Cluster,
    views: list[PartitionView],
    targets: Mapping[Generation, TopicPartition],
    topology: Topology,
    mapped: MappedPartitions,
    counts: Mapping[str, int],
    *,
    same_cluster: bool,
) -> tuple[list[ComparePlan], list[Failure]]:
    readable = _leaders(topology)
    wanted = sorted(set(targets.values()) & set(readable))
    start, stable = (cluster.offsets(wanted, at, read_committed=True, topology=topology) for at in (EARLIEST, LATEST))
    same = {
        view.generation
        for view in views
        if same_cluster and topology.topics[targets[view.generation].topic].topic_id == view.generation.topic_id
    }
    policies = _Policies(cluster, sorted({targets[generation].topic for generation in same}))
    sources = [targets[view.generation] for view in views if view.generation in same]
    high = cluster.offsets([target for target in sources if target in readable], LATEST, topology=topology)
    plans: list[ComparePlan] = []
    failures: list[Failure] = []
    for view in views:
        target = targets[view.generation]
        topic = topology.topics[target.topic]
        if target not in readable:
            what = str(request_error(topic.error or 3, f"read {target}"))
            failures.append(Failure(str(target), "missing", what))
            continue
        code = start[target].error or stable[target].error or (high[target].error if target in high else 0)
        if code:
            failures.append(Failure(str(target), "unreadable", str(request_error(code, f"list offsets of {target}"))))
            continue
        ends = LogEnds(start[target].offset, stable[target].offset, high.get(target, stable[target]).offset)
        is_same = view.generation in same
        offsets = None if is_same else map_of(mapped, view.generation, target, topic.topic_id)
        if offsets is None and not is_same and len(topic.partitions) != counts.get(topic.name, len(topic.partitions)):
            failures.append(other_count(view.generation, target, len(topic.partitions), counts[topic.name]))
            continue
        compacts = is_same and policies.compacts(target.topic)
        plan = plan_partition(view, target, ends, offsets=offsets, same=is_same, compacts=compacts)
        plans.append(replace(plan, notes=(*plan.notes, *policies.notes(target.topic))) if is_same else plan)
    return in_leader_order(plans, readable), failures


def _leaders(topology: Topology) -> dict[TopicPartition, int]:
    """The leader of every partition that can be asked about."""
    return {
        TopicPartition(topic.name, part.partition): part.leader
        for topic in topology.topics.values()
        if not topic.error
        for part in topic.partitions
    }


class _Policies:
    """Whether topics of the source are compacted: only then may records of the point be gone."""

    def __init__(self, cluster: Cluster, topics: list[str]) -> None:
        self._compacts: set[str] = set()
        self._unknown: dict[str, str] = {}
        for name, found in cluster.admin.topic_configs(topics).items() if topics else ():
            if isinstance(found, KafkaError):
                self._unknown[name] = str(found)
            elif any(entry.name == _CLEANUP_POLICY and "compact" in (entry.value or "") for entry in found):
                self._compacts.add(name)

    def compacts(self, topic: str) -> bool:
        return topic in self._compacts

    def notes(self, topic: str) -> tuple[str, ...]:
        if topic not in self._unknown:
            return ()
        return (f"taken as not compacted, because its {_CLEANUP_POLICY} cannot be read: {self._unknown[topic]}",)


def _compared(outcome: _Outcome) -> ComparedPartition:
    plan = outcome.plan
    shares = [result.share for result in outcome.results if result.share is not None]
    notes = (*plan.notes, *(note for result in outcome.results for note in result.notes))
    return ComparedPartition(
        source=plan.view.generation,
        target=plan.target,
        pairing=plan.pairing,
        records=outcome.records,
        bytes_compared=outcome.size_bytes,
        differences=outcome.differences,
        beyond=plan.beyond,
        excused=sum((result.excused for result in outcome.results), plan.excused),
        share=shares[0] if shares else None,
        notes=tuple(dict.fromkeys(notes)),
    )


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


def _place(found: Found) -> tuple[int, int]:
    source = -1 if found.source_offset is None else found.source_offset
    return source, -1 if found.target_offset is None else found.target_offset

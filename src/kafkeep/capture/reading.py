"""Bringing planned partitions up to their cut: rounds of tasks, commits as packs become durable, and second attempts
where a leader moved, a log was truncated or another writer was faster.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from kafkeep.capture.borders import find_ranges, next_epoch
from kafkeep.capture.elsewhere import CaptureItem, CaptureSetup, TravellingCapture
from kafkeep.capture.inspect import survey_partitions
from kafkeep.capture.joining import CONTINUES, Joining
from kafkeep.capture.limited import capture
from kafkeep.capture.options import BackupOptions
from kafkeep.capture.pacing import Fetcher, Pace
from kafkeep.capture.partitions import (
    COMPLETE,
    DIVERGED,
    FAILED,
    INTERRUPTED,
    MOVED,
    OVERTAKEN,
    STALLED,
    CaptureLimits,
    PartitionOutcome,
)
from kafkeep.capture.pending import Pending, Tally
from kafkeep.capture.plan import (
    CapturePlan,
    CaptureTask,
    PartitionPlan,
    last_stored_epoch,
    open_at_end,
    plan_partition,
    plan_truncated,
)
from kafkeep.capture.publish import PackPublisher
from kafkeep.capture.ranges import Ranges, tasks_of
from kafkeep.capture.survey import PartitionSurvey
from kafkeep.capture.whole import Ledger
from kafkeep.elsewhere import HERE, Workforce, reach_of
from kafkeep.errors import KafkaUnreachable, WorkerError
from kafkeep.events import Event, EventSink, GapFound, GenerationChanged, PartitionDone, Retried
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.codes import ErrorCode
from kafkeep.kafka.tiering import is_on_leader
from kafkeep.kafka.topology import Topology
from kafkeep.model import (
    Failure,
    Generation,
    GenerationClosed,
    PackRef,
    TopicPartition,
)
from kafkeep.repository.drafts import CommitOutcome, Draft, PointDraft
from kafkeep.repository.remote_packs import terms_for
from kafkeep.repository.repository import Repository
from kafkeep.repository.state import State
from kafkeep.times import rfc3339
from kafkeep.work.executor import Job
from kafkeep.work.messages import Emitted, Finished, Lost

_LONGEST_PAUSE_SECONDS = 5.0
_MOST_PIECES = 5000
"""Runs, openings and gaps that wait for one commit: a commit has a limit (docs/format.md), a cluster has none."""


class Reading:
    """The coordinator of one backup: the only one that commits."""

    def __init__(
        self,
        cluster: Cluster,
        repository: Repository,
        options: BackupOptions,
        *,
        deletes_by_retention: dict[str, bool],
        compacted: Collection[str] = (),
        started: datetime,
        ledger: Ledger | None = None,
        workers: Workforce = HERE,
        now: Callable[[], datetime],
        sink: EventSink,
        stop: threading.Event,
    ) -> None:
        self._cluster = cluster
        self._repository = repository
        self._options = options
        self._by_retention = deletes_by_retention
        self._compacted = compacted
        self._now = now
        self._sink = sink
        self._stop = stop
        self._cluster_id = ""
        self._started = rfc3339(started)
        self._ledger = ledger
        self._workers = workers
        self._pace = Pace(options.max_bytes_per_second)
        self._settled: dict[TopicPartition, PartitionPlan] = {}
        self._joining: dict[TopicPartition, Joining] = {}
        """The partitions that are read in ranges at the moment."""
        self._superfluous: set[TopicPartition] = set()
        """Partitions with runs that another writer's commit left no room for: what that writer lacks is read again."""
        self.deleted: set[str] = set()
        """Topics that went away while they were read."""
        self.read_at: dict[TopicPartition, datetime] = {}
        """When each partition was read to its cut; those with nothing to read are not in it."""
        self.pending = Pending()
        self.tally = Tally()

    def bring_up_to_cut(self, plan: CapturePlan, topology: Topology) -> tuple[list[PartitionPlan], list[Failure]]:
        """Reads until every partition is at its cut or has failed for good. Returns the partitions with the plan they
        ended under (a later one where history changed meanwhile), and what failed.
        """
        self._cluster_id = topology.cluster_id
        for part in plan.partitions:
            self._declare(part)
            self._flush_when_large()
        self.pending.closed += plan.closed
        self._settled = {part.generation.topic_partition: part for part in plan.partitions}
        if self._ledger is not None:
            for part in plan.partitions:
                self._ledger.begin(part.generation, part.start, part.open_transactions)
        failures = self._read(plan.partitions, topology)
        return list(self._settled.values()), failures

    def catch_up(self, parts: Sequence[PartitionPlan]) -> None:
        """After a commit lost to another writer: reads what nobody has committed yet, up to the same cuts."""
        state = self._repository.refresh()
        missing = _rest(state, parts)
        self._read(missing, self._cluster.topology(sorted({part.generation.topic for part in missing})))

    def covered(self) -> Callable[[PartitionPlan], int]:
        """For each partition, one past its last offset that is committed, or durable and about to be committed."""
        generations = self._repository.state.generations
        waiting: dict[Generation, int] = {}
        for pack in self.pending.packs:
            for facts in pack.runs:
                waiting[facts.generation] = max(facts.coverage.stop, waiting.get(facts.generation, 0))

        def of(part: PartitionPlan) -> int:
            known = generations.get(part.generation)
            return max(waiting.get(part.generation, 0), part.start if known is None else known.next_offset)

        return of

    def _read(self, parts: Sequence[PartitionPlan], topology: Topology) -> list[Failure]:
        failures: list[Failure] = []
        todo = [part for part in parts if part.to_read]
        waiting: list[PartitionOutcome] = []
        idle_passes = 0
        while todo or waiting:
            # What failed is read as a whole the next time: dividing may have been what failed.
            ranges = self._divide(todo, topology) if not idle_passes else ()
            outcomes = self._pass(todo, ranges, topology) if todo else []
            if any(outcome.status != COMPLETE for outcome in outcomes):
                self.flush()
            superfluous, self._superfluous = self._superfluous, set()
            failures += [_failure(outcome) for outcome in outcomes if outcome.status == FAILED]
            again = waiting + [outcome for outcome in outcomes if _is_unfinished(outcome, superfluous)]
            if self._stop.is_set():
                break
            continued = [outcome.plan for outcome in outcomes if _continues(outcome, superfluous)]
            if not again:
                todo, idle_passes = _rest(self._repository.state, continued), 0
                continue
            idle_passes = 0 if any(outcome.reached > outcome.plan.start for outcome in outcomes) else idle_passes + 1
            if idle_passes > self._options.attempts:
                failures += [_failure(outcome) for outcome in again]
                break
            self._pause(idle_passes, again[0])
            topology, todo, waiting = self._plan_again(again)
            todo += _rest(self._repository.state, continued)
        return failures

    def commit_point(self, point: PointDraft) -> CommitOutcome:
        """The last commit of a backup: what is pending and the recovery point, in one document."""
        self._flush_when_large()
        return self._commit("recovery-point", point)

    def flush(self) -> None:
        """Commits what is pending."""
        if self.pending:
            self._commit("add", None)

    def _flush_when_large(self) -> None:
        if self.pending.pieces >= _MOST_PIECES:
            self.flush()

    def _commit(self, kind: str, point: PointDraft | None) -> CommitOutcome:
        pending, self.pending = self.pending, Pending()
        outcome = self._repository.commit(
            Draft(
                kind=kind,
                packs=tuple(pending.packs),
                gaps=tuple(pending.gaps),
                opened=tuple(pending.opened),
                closed=tuple(pending.closed),
                cluster_id=self._cluster_id,
                point=point,
                started=self._started,
            )
        )
        self._superfluous |= {run.generation.topic_partition for run in outcome.dropped_runs}
        if outcome.number is not None:
            accepted = [run.facts for run in outcome.accepted_runs]
            self.tally.runs += accepted
            self.tally.packs += len({run.pack for run in outcome.accepted_runs})
            self.tally.gaps += pending.gaps
            self.tally.opened += pending.opened
            self.tally.closed += pending.closed
        return outcome

    def _declare(self, part: PartitionPlan) -> None:
        self.pending.take(part)
        if part.gap is not None:
            self._sink(GapFound(part.gap))
        if part.opened is not None and part.opened.why != "first-seen":
            self._sink(GenerationChanged(part.opened))

    def _divide(self, todo: Sequence[PartitionPlan], topology: Topology) -> tuple[Ranges, ...]:
        workers = self._workers.executor.workers
        return find_ranges(self._cluster, topology, todo, self._options, workers=workers, compacted=self._compacted)

    def _pass(
        self, todo: Sequence[PartitionPlan], ranges: Sequence[Ranges], topology: Topology
    ) -> list[PartitionOutcome]:
        """One round of tasks over the current leaders; commits at intervals while they run."""
        outcomes: list[PartitionOutcome] = []
        last_commit = time.monotonic()
        self._joining = {
            each.whole.generation.topic_partition: Joining(each, partial(next_epoch, self._cluster, topology))
            for each in ranges
        }
        try:
            for message in self._workers.executor.run(self._job(todo, ranges, topology)):
                if isinstance(message, Emitted):
                    self._take(message.item)
                elif isinstance(message, Finished):
                    outcomes += self._ended(message.result)
                elif isinstance(message, Lost):
                    outcomes += self._ended(self._of_lost(message))
                due = time.monotonic() - last_commit >= self._options.commit_interval_seconds
                if self.pending.packs and (due or self.pending.pieces >= _MOST_PIECES):
                    self.flush()
                    last_commit = time.monotonic()
        except BaseException:
            self.flush()
            raise
        return outcomes + self._joined()

    def _ended(self, outcomes: Iterable[PartitionOutcome]) -> list[PartitionOutcome]:
        """Those of partitions; the ends of ranges are for who joins them."""
        whole: list[PartitionOutcome] = []
        for outcome in outcomes:
            joining = self._joining.get(outcome.plan.generation.topic_partition)
            if joining is None:
                whole.append(outcome)
            else:
                self.pending.packs += joining.end(outcome)
        return whole

    def _joined(self) -> list[PartitionOutcome]:
        """How far the divided partitions were read."""
        ended, self._joining = self._joining, {}
        outcomes = {partition: joining.outcome() for partition, joining in ended.items()}
        for partition, outcome in outcomes.items():
            if outcome.status == COMPLETE:
                self._hear(PartitionDone("backup", partition, ended[partition].records, ended[partition].size_bytes))
        return list(outcomes.values())

    def _job(
        self, todo: Sequence[PartitionPlan], ranges: Sequence[Ranges], topology: Topology
    ) -> Job[CaptureTask, CaptureItem, tuple[PartitionOutcome, ...]]:
        leaders = len({part.leader for part in todo})
        share = -(-self._workers.executor.workers // max(leaders, 1))
        tasks = tasks_of(todo, ranges, connections_per_broker=max(self._options.connections_per_broker, share))
        return Job(
            tasks=tasks,
            here=partial(
                capture,
                open_fetcher=partial(self._open_fetcher, topology, self._options.answer_bytes(len(tasks))),
                open_publisher=lambda emit: PackPublisher(self._repository, emit, self._sink),
                limits=self._limits,
                is_on_leader=partial(is_on_leader, self._cluster),
                sink=self._hear,
                stop=self._stop,
                ledger=self._ledger,
            ),
            setup=partial(self._setup, len(tasks)),
            travelling=partial(self._travelling, topology),
            stop=self._stop,
            threads=len(tasks),
        )

    def _setup(self, tasks: int) -> CaptureSetup:
        rate = self._options.max_bytes_per_second
        return CaptureSetup(
            reach=reach_of(self._workers, self._cluster, self._repository, opens_records=False),
            limits=self._limits,
            fetch_bytes=self._options.answer_bytes(-(-tasks // self._workers.executor.workers)),
            most_bytes_per_second=None if rate is None else max(1, rate // self._workers.executor.workers),
        )

    def _travelling(self, topology: Topology, task: CaptureTask) -> TravellingCapture:
        mine = {part.generation.topic_partition for part in task.partitions}
        return TravellingCapture(
            task,
            topology.brokers.get(task.broker),
            terms_for(self._repository, [part.generation for part in task.partitions]),
            None if self._ledger is None else {at: end for at, end in self._ledger.floor.items() if at in mine},
        )

    def _take(self, item: CaptureItem) -> None:
        """What tasks on workers elsewhere tell comes in one stream with their packs."""
        if isinstance(item, PackRef):
            joining = self._joining.get(item.runs[0].generation.topic_partition)
            self.pending.packs += (item,) if joining is None else joining.take(item)
        elif isinstance(item, Event):
            self._hear(item)
        elif self._ledger is not None:
            item.note(self._ledger)

    def _of_lost(self, lost: Lost[CaptureTask]) -> list[PartitionOutcome]:
        """Where the partitions of a worker that is gone stand: what is durable and was told counts, and no more."""
        covered = self.covered()
        return [
            PartitionOutcome(part, covered(part), MOVED, WorkerError.slug, lost.reason) for part in lost.task.partitions
        ]

    def _hear(self, event: Event) -> None:
        """Called in the threads of the tasks."""
        if isinstance(event, PartitionDone):
            if event.topic_partition in self._joining:
                return  # one of its ranges is through, and perhaps for nothing
            self.read_at[event.topic_partition] = self._now()
        self._sink(event)

    def _open_fetcher(self, topology: Topology, response_bytes: int, node_id: int) -> Fetcher:
        broker = topology.brokers.get(node_id)
        if broker is None:
            raise KafkaUnreachable(f"broker {node_id} is not in the cluster's metadata")
        fetcher = self._cluster.fetcher(
            broker,
            read_committed=not self._undecided,
            response_bytes=response_bytes,
        )
        return self._pace.hold(fetcher, self._stop)

    @property
    def _limits(self) -> CaptureLimits:
        return CaptureLimits(
            pack_bytes=self._options.pack_bytes,
            portion_bytes=self._repository.about.pack_bytes,
            undecided=self._undecided,
        )

    @property
    def _undecided(self) -> bool:
        return self._options.cut == "high-watermark"

    def _plan_again(
        self, outcomes: Sequence[PartitionOutcome]
    ) -> tuple[Topology, list[PartitionPlan], list[PartitionOutcome]]:
        """Asks where the partitions are now and plans them anew, against the frozen cut while history is the same.

        Returns what can be read and what must wait for a leader. Topics that no longer exist close their generations.
        """
        state = self._repository.refresh()
        names = sorted({outcome.plan.generation.topic for outcome in outcomes})
        topology = self._cluster.topology(names)
        present = [topology.topics[name] for name in names if topology.topics[name].error == ErrorCode.NONE]
        surveyed, _ = survey_partitions(self._cluster, topology, present)
        answers = {part.topic_partition: part for part in surveyed}
        plans: list[PartitionPlan] = []
        waiting: list[PartitionOutcome] = []
        for outcome in outcomes:
            partition = outcome.plan.generation.topic_partition
            if topology.topics[partition.topic].error == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
                self._close_deleted(partition.topic)
            elif (answer := answers.get(partition)) is None:
                waiting.append(outcome)
            else:
                plans.append(self._plan_partition_again(outcome, answer))
        for part in plans:
            self._settled[part.generation.topic_partition] = part
            new = part.generation not in state.generations
            self._declare(part if new else replace(part, opened=None, closed=None))
        return topology, [part for part in plans if part.to_read], waiting

    def _close_deleted(self, topic: str) -> None:
        self.deleted.add(topic)
        for partition in [partition for partition in self._settled if partition.topic == topic]:
            closed = GenerationClosed(self._settled.pop(partition).generation, "deleted")
            self.pending.closed.append(closed)
            self._sink(GenerationChanged(closed))

    def _plan_partition_again(self, outcome: PartitionOutcome, answer: PartitionSurvey) -> PartitionPlan:
        state = self._repository.state
        before = outcome.plan
        again = plan_partition(
            state,
            answer,
            cut=self._options.cut,
            by_retention=self._by_retention.get(before.generation.topic, True),
            time=rfc3339(self._now()),
        )
        if again.generation != before.generation:
            return again
        inside = again.gap is None and outcome.status == OVERTAKEN and answer.leader_epoch == before.leader_epoch
        if outcome.status == DIVERGED or inside:
            return plan_truncated(again, answer, cut=self._options.cut)
        # A leader that stays below the frozen cut has lost what lay between (an unclean election).
        stop = min(before.stop, again.stop) if outcome.reason == STALLED else before.stop
        return replace(again, stop=max(stop, again.start))

    def _pause(self, attempt: int, outcome: PartitionOutcome) -> None:
        delay = min(0.1 * 2**attempt, _LONGEST_PAUSE_SECONDS)
        self._sink(Retried(str(outcome.plan.generation.topic_partition), outcome.reason, attempt + 1, delay))
        self._stop.wait(delay)


def _is_unfinished(outcome: PartitionOutcome, superfluous: Collection[TopicPartition]) -> bool:
    if outcome.status in (COMPLETE, CONTINUES):
        return outcome.plan.generation.topic_partition in superfluous
    return outcome.status not in (FAILED, INTERRUPTED)


def _continues(outcome: PartitionOutcome, superfluous: Collection[TopicPartition]) -> bool:
    return outcome.status == CONTINUES and outcome.plan.generation.topic_partition not in superfluous


def _rest(state: State, parts: Iterable[PartitionPlan]) -> list[PartitionPlan]:
    """The parts that are not committed up to their cuts, from where the commits end."""
    return [
        replace(
            part,
            start=known.next_offset,
            last_fetched_epoch=last_stored_epoch(known),
            opened=None,
            closed=None,
            gap=None,
            open_transactions=open_at_end(known),
        )
        for part in parts
        if (known := state.generations.get(part.generation)) is not None and known.next_offset < part.stop
    ]


def _failure(outcome: PartitionOutcome) -> Failure:
    subject = str(outcome.plan.generation.topic_partition)
    return Failure(subject, outcome.reason or outcome.status, outcome.message or f"{subject} was not read to its cut")

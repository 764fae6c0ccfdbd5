"""Producing planned partitions to the end: passes of tasks over the current leaders, and between two passes a look at the
target wherever it is not clear how much of a partition is there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from kafkeep.elsewhere import HERE, Workforce, reach_of
from kafkeep.errors import KafkaUnreachable, WorkerError
from kafkeep.events import Event, EventSink, Progress, Retried
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.produce import BrokerProducer
from kafkeep.kafka.topology import NO_NODE, Topology
from kafkeep.repository.repository import Repository
from kafkeep.restore.batches import ReadyBatch
from kafkeep.restore.elsewhere import Producing, RestoreSetup, TravellingProduce
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.plan import ProducerIdentity, TopicRestore
from kafkeep.restore.produce import (
    DONE,
    FAILED,
    UNCLEAR,
    WORKING,
    PartitionProgress,
    ProduceTask,
    produce_partitions,
)
from kafkeep.restore.reading_back import ReadingBack
from kafkeep.restore.repack import repack_limit
from kafkeep.restore.spreading import SpreadTopic
from kafkeep.work.executor import Job
from kafkeep.work.messages import Emitted, Finished, Lost

_LONGEST_PAUSE_SECONDS = 5.0
_CAREFUL_REQUEST_BYTES: Final = 1024 * 1024
"""What clients of every kind send by default: there are services that end a connection over more."""
_MOST_READINGS = 10
"""A partition whose end must be read back more often than this in one process is given up."""


class Loading:
    """The coordinator of one restore's records."""

    def __init__(
        self,
        cluster: Cluster,
        repository: Repository,
        options: RestoreOptions,
        identity: ProducerIdentity,
        *,
        topics: Sequence[TopicRestore],
        spread: Mapping[str, SpreadTopic],
        workers: Workforce = HERE,
        sink: EventSink,
        stop: threading.Event,
    ) -> None:
        """`identity` and `topics`: the producer and the topics of the job, the same in every process that continues it;
        `spread`: those of them that are repartitioned."""
        self._cluster = cluster
        self._repository = repository
        self._options = options
        self._request_bytes = options.request_bytes
        self._identity = identity
        self._workers = workers
        self._producing = Producing(
            identity=identity,
            repack_bytes={
                topic.target: repack_limit(options.repack_bytes, topic.configs, options.repack_rule) for topic in topics
            },
            repack_rule=options.repack_rule,
        )
        self._source = self._producing.source(repository)
        self._spread = spread
        self._sink = sink
        self._stop = stop
        self._reading_back = ReadingBack(cluster, self._batches, identity, stop=stop)
        self.records_before = 0
        """What was found to be there from earlier processes of the job."""
        self.bytes_before = 0

    def load(self, parts: Sequence[PartitionProgress]) -> list[PartitionProgress]:
        """Every partition at its end, failed, or (when stopped) somewhere between."""
        ended = [state for state in parts if state.status in (DONE, FAILED)]
        todo = [state for state in parts if state.status not in (DONE, FAILED)]
        for state in ended:
            self._was_there(state)
        idle_passes = passes = 0
        while todo:
            before = {state.part.target: state.source_next for state in todo}
            # A broker that has lost its tail and its memory of us would take what follows as if nothing were missing.
            ready, waiting = self._reading_back.check(todo) if passes else (todo, [])
            results = waiting + self._pass(self._clear(ready))
            passes += 1
            ended += [state for state in results if state.status in (DONE, FAILED)]
            todo = [state for state in results if state.status not in (DONE, FAILED)]
            if self._stop.is_set():
                return ended + todo
            moved = len(todo) < len(results) or any(state.source_next > before[state.part.target] for state in todo)
            idle_passes = 0 if moved else idle_passes + 1
            if idle_passes:
                self._request_bytes = min(self._request_bytes, _CAREFUL_REQUEST_BYTES)
            if idle_passes > self._options.attempts:
                return ended + [replace(state, status=FAILED) for state in todo]
            if todo:
                self._pause(idle_passes, todo[0])
        return ended

    def _clear(self, todo: Sequence[PartitionProgress]) -> list[PartitionProgress]:
        """The same partitions; read back where it is not clear how much of them is on the target."""
        unclear = [state for state in todo if state.status == UNCLEAR]
        given_up = [replace(state, status=FAILED) for state in unclear if state.readings >= _MOST_READINGS]
        read = [state for state in unclear if state.readings < _MOST_READINGS]
        of_others = {state.part.target for state in read if not state.rows}
        found = self._reading_back.find(read)
        for state in found:
            if state.status == WORKING and state.part.target in of_others:
                self._was_there(state)
        return [*(state for state in todo if state.status != UNCLEAR), *found, *given_up]

    def _was_there(self, state: PartitionProgress) -> None:
        if state.records:
            self.records_before += state.records
            self.bytes_before += state.size_bytes
            self._sink(Progress("restore", state.records, state.size_bytes))

    def _batches(self, progress: PartitionProgress) -> Iterator[ReadyBatch]:
        spread = self._spread.get(progress.part.target.topic)
        if spread is not None:
            return spread.ready_batches(
                progress.part, first=progress.source_next, sequence=progress.sequence, identity=self._identity
            )
        return self._source(progress)

    def _pass(self, todo: Sequence[PartitionProgress]) -> list[PartitionProgress]:
        working = [state for state in todo if state.status == WORKING]
        results = [state for state in todo if state.status != WORKING]
        if not working:
            return results
        topology = self._cluster.topology(sorted({state.part.target.topic for state in working}))
        placed, waiting = _place(working, topology)
        # The spool of what is repartitioned lies in files of this process.
        spread = [state for state in placed if state.part.target.topic in self._spread]
        stored = [state for state in placed if state.part.target.topic not in self._spread]
        results += waiting
        for workers, states in (
            [(self._workers, stored), (HERE, spread)] if self._workers.elsewhere else [(HERE, placed)]
        ):
            for message in workers.executor.run(self._job(workers, states, topology)):
                if isinstance(message, Finished):
                    results += message.result
                elif isinstance(message, Lost):
                    results += [_of_lost(state, message.reason) for state in message.task.partitions]
                elif isinstance(message, Emitted):
                    self._sink(message.item)
        return results

    def _job(
        self, workers: Workforce, states: Sequence[PartitionProgress], topology: Topology
    ) -> Job[ProduceTask, Event, tuple[PartitionProgress, ...]]:
        leaders = len({state.leader for state in states})
        share = -(-workers.executor.workers // max(leaders, 1))
        tasks = cut_into_tasks(states, connections_per_broker=max(self._options.connections_per_broker, share))
        return Job(
            tasks=sorted(tasks, key=lambda task: -sum(state.part.raw_bytes for state in task.partitions)),
            here=partial(self._produce, topology),
            setup=self._setup,
            travelling=partial(self._travelling, topology),
            stop=self._stop,
            threads=len(tasks),
        )

    def _produce(
        self, topology: Topology, task: ProduceTask, emit: Callable[[Event], None], cancelled: threading.Event
    ) -> tuple[PartitionProgress, ...]:
        return produce_partitions(
            task,
            lambda partition: None,
            cancelled,
            batches=self._batches,
            open_producer=partial(self._open_producer, topology),
            request_bytes=self._request_bytes,
            sink=self._sink,
            stop=self._stop,
        )

    def _setup(self) -> RestoreSetup:
        return RestoreSetup(reach_of(self._workers, self._cluster, self._repository, opens_records=True))

    def _travelling(self, topology: Topology, task: ProduceTask) -> TravellingProduce:
        broker = topology.brokers[task.broker]
        return TravellingProduce(task, broker, self._producing, self._request_bytes)

    def _open_producer(self, topology: Topology, node_id: int) -> BrokerProducer:
        return self._cluster.producer(topology.brokers[node_id])

    def _pause(self, attempt: int, state: PartitionProgress) -> None:
        delay = min(0.1 * 2**attempt, _LONGEST_PAUSE_SECONDS)
        self._sink(Retried(str(state.part.target), state.reason, attempt + 1, delay))
        self._stop.wait(delay)


def _of_lost(state: PartitionProgress, reason: str) -> PartitionProgress:
    """What a worker had got in before it was gone is found on the target; the broker recognises what comes twice."""
    return replace(state, status=UNCLEAR, reason=WorkerError.slug, message=f"{state.part.target}: {reason}")


def _place(
    todo: Sequence[PartitionProgress], topology: Topology
) -> tuple[list[PartitionProgress], list[PartitionProgress]]:
    """Those with a leader that can be reached, with it; and those that must wait for one."""
    placed: list[PartitionProgress] = []
    waiting: list[PartitionProgress] = []
    for state in todo:
        topic = topology.topics.get(state.part.target.topic)
        number = state.part.target.partition
        leader = topic.partitions[number].leader if topic is not None and number < len(topic.partitions) else NO_NODE
        if leader in topology.brokers:
            placed.append(replace(state, leader=leader))
        else:
            message = f"{state.part.target} has no leader that can be reached"
            waiting.append(replace(state, reason=KafkaUnreachable.slug, message=message))
    return placed, waiting


def cut_into_tasks(todo: Sequence[PartitionProgress], *, connections_per_broker: int) -> tuple[ProduceTask, ...]:
    """Partitions by leader, then spread over connections so that each has about the same bytes to send."""
    by_leader: dict[int, list[PartitionProgress]] = {}
    for state in todo:
        by_leader.setdefault(state.leader, []).append(state)
    tasks: list[ProduceTask] = []
    for leader, states in sorted(by_leader.items()):
        shares: list[list[PartitionProgress]] = [[] for _ in range(min(connections_per_broker, len(states)))]
        loads = [0] * len(shares)
        for state in sorted(states, key=lambda state: (-state.part.raw_bytes, state.part.target)):
            lightest = loads.index(min(loads))
            shares[lightest].append(state)
            loads[lightest] += state.part.raw_bytes + 1
        tasks += [ProduceTask(leader, tuple(share)) for share in shares]
    return tuple(tasks)

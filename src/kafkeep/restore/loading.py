"""Producing planned partitions to the end: passes of tasks over the current leaders."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from kafkeep.errors import KafkaUnreachable
from kafkeep.events import EventSink, Retried
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.produce import BrokerProducer
from kafkeep.kafka.topology import NO_NODE, Topology
from kafkeep.repository.repository import Repository
from kafkeep.restore.batches import ProducerIdentity
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.plan import PartitionRestore
from kafkeep.restore.produce import FAILED, WORKING, PartitionProgress, ProduceTask, produce_partitions
from kafkeep.work.threads import Finished, run_on_threads

_LONGEST_PAUSE_SECONDS = 5.0
_FIRST_SEQUENCE = 0


class Loading:
    """The coordinator of one restore's records."""

    def __init__(
        self,
        cluster: Cluster,
        repository: Repository,
        options: RestoreOptions,
        *,
        sink: EventSink,
        stop: threading.Event,
    ) -> None:
        """Gets a producer id: a login that may not produce is refused here, before any topic is made."""
        self._cluster = cluster
        self._repository = repository
        self._options = options
        self._sink = sink
        self._stop = stop
        self._identity = ProducerIdentity(*cluster.admin.init_producer_id())

    def load(self, parts: Sequence[PartitionRestore], topic_ids: Mapping[str, str]) -> list[PartitionProgress]:
        """Every partition at its end, failed, or (when stopped) somewhere between."""
        todo = [
            PartitionProgress(
                part=part,
                target_id=topic_ids[part.target.topic],
                leader=NO_NODE,
                source_next=part.start,
                sequence=_FIRST_SEQUENCE,
            )
            for part in parts
            if part.target.topic in topic_ids
        ]
        ended: list[PartitionProgress] = []
        idle_passes = 0
        while todo:
            results = self._pass(todo)
            ended += [state for state in results if state.status != WORKING]
            before = {state.part.target: state.source_next for state in todo}
            todo = [state for state in results if state.status == WORKING]
            if self._stop.is_set():
                return ended + todo
            moved = len(todo) < len(results) or any(state.source_next > before[state.part.target] for state in todo)
            idle_passes = 0 if moved else idle_passes + 1
            if idle_passes > self._options.attempts:
                return ended + [replace(state, status=FAILED) for state in todo]
            if todo:
                self._pause(idle_passes, todo[0])
        return ended

    def _pass(self, todo: Sequence[PartitionProgress]) -> list[PartitionProgress]:
        topology = self._cluster.topology(sorted({state.part.target.topic for state in todo}))
        placed, waiting = _place(todo, topology)
        tasks = cut_into_tasks(placed, connections_per_broker=self._options.connections_per_broker)
        worker = partial(
            produce_partitions,
            repository=self._repository,
            identity=self._identity,
            open_producer=partial(self._open_producer, topology),
            request_bytes=self._options.request_bytes,
            sink=self._sink,
            stop=self._stop,
        )
        results = waiting
        for message in run_on_threads(tasks, worker, threads=len(tasks)):
            if isinstance(message, Finished):
                results += message.result
        return results

    def _open_producer(self, topology: Topology, node_id: int) -> BrokerProducer:
        return self._cluster.producer(topology.brokers[node_id])

    def _pause(self, attempt: int, state: PartitionProgress) -> None:
        delay = min(0.1 * 2**attempt, _LONGEST_PAUSE_SECONDS)
        self._sink(Retried(str(state.part.target), state.reason, attempt + 1, delay))
        self._stop.wait(delay)


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

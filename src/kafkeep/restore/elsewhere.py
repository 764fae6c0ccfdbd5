"""The tasks of a restore on workers in other processes: what travels there, and how it is done there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from kafkeep.elsewhere import Reach, Workforce, reach_of
from kafkeep.errors import WorkerError
from kafkeep.events import Event, EventSink
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.config import ClusterConfig
from kafkeep.kafka.produce import BrokerProducer
from kafkeep.kafka.topology import Broker
from kafkeep.records import dataclass
from kafkeep.repository.repository import Repository
from kafkeep.restore.batches import ReadyBatch, ready_batches
from kafkeep.restore.plan import PartitionRestore, ProducerIdentity
from kafkeep.restore.preflight import THREADS, CheckAll, check_partition
from kafkeep.restore.produce import BatchSource, PartitionProgress, ProduceTask, produce_partitions
from kafkeep.work.executor import Job, Signals
from kafkeep.work.messages import Emitted, Lost

_TRIES: Final = 3
"""How often partitions are checked whose worker is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Producing:
    """What makes the batches of a job the same wherever they are made."""

    identity: ProducerIdentity
    repack_bytes: Mapping[str, int]
    """By target topic."""
    repack_rule: int

    def source(self, repository: Repository) -> BatchSource:
        """What is left of partitions that are restored from the archive as they are."""

        def batches(progress: PartitionProgress) -> Iterator[ReadyBatch]:
            return ready_batches(
                repository,
                progress.part,
                source_start=progress.source_next,
                sequence=progress.sequence,
                identity=self.identity,
                repack_bytes=self.repack_bytes[progress.part.target.topic],
                repack_rule=self.repack_rule,
            )

        return batches


@dataclass(frozen=True, slots=True)
class TravellingProduce:
    """Partitions to produce, with all that changes from one task to the next."""

    task: ProduceTask
    broker: Broker
    producing: Producing
    request_bytes: int


@dataclass(frozen=True, slots=True)
class TravellingCheck:
    """A partition whose stored bytes are checked."""

    part: PartitionRestore


@dataclass(frozen=True, slots=True)
class RestoreSetup:
    """What stays the same for all tasks of a restore."""

    reach: Reach

    @contextmanager
    def open(self) -> Iterator[RestoreStation]:
        with self.reach.repository() as repository:
            yield RestoreStation(self.reach.cluster, repository)


class RestoreStation:
    """Where a worker runs the tasks of a restore."""

    def __init__(self, cluster: ClusterConfig, repository: Repository) -> None:
        self._cluster = cluster
        self._repository = repository

    def work(
        self, task: TravellingProduce | TravellingCheck, emit: Callable[[Event], None], signals: Signals
    ) -> tuple[PartitionProgress, ...]:
        """Runs a task to its end; its events are emitted."""
        if isinstance(task, TravellingCheck):
            check_partition(self._repository, task.part, signals.cancelled, emit)
            return ()
        return self._produce(task, emit, signals.cancelled, signals.stop)

    def _produce(
        self,
        task: TravellingProduce,
        emit: Callable[[Event], None],
        cancelled: threading.Event,
        stop: threading.Event,
    ) -> tuple[PartitionProgress, ...]:
        broker = task.broker
        return produce_partitions(
            task.task,
            lambda partition: None,
            cancelled,
            batches=task.producing.source(self._repository),
            open_producer=lambda node: BrokerProducer(self._cluster, broker.host, broker.port, sink=emit),
            request_bytes=task.request_bytes,
            sink=emit,
            stop=stop,
        )


def checker(workers: Workforce, cluster: Cluster, repository: Repository, *, sink: EventSink) -> CheckAll | None:
    """Checks partitions on workers elsewhere; None where there are none. It raises what `check_partition` raises, and
    `WorkerError` when workers end again and again."""
    if not workers.elsewhere:
        return None

    def check_all(parts: Sequence[PartitionRestore]) -> None:
        for _ in range(_TRIES):
            lost: list[PartitionRestore] = []
            for message in workers.executor.run(_checks(workers, cluster, repository, parts, sink)):
                if isinstance(message, Emitted):
                    sink(message.item)
                elif isinstance(message, Lost):
                    lost.append(message.task)
            parts = lost
        if parts:
            raise WorkerError(f"workers end while they check {parts[0].source}")

    return check_all


def _checks(
    workers: Workforce, cluster: Cluster, repository: Repository, parts: Sequence[PartitionRestore], sink: EventSink
) -> Job[PartitionRestore, Event, None]:
    return Job(
        tasks=parts,
        here=lambda part, emit, cancelled: check_partition(repository, part, cancelled, sink),
        setup=lambda: RestoreSetup(reach_of(workers, cluster, repository, opens_records=True)),
        travelling=TravellingCheck,
        stop=threading.Event(),
        threads=THREADS,
    )

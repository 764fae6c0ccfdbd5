"""The tasks of a backup on workers in other processes: what travels there, and what comes back besides packs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from kafkeep.capture.limited import capture
from kafkeep.capture.pacing import Pace
from kafkeep.capture.partitions import CaptureLimits, PartitionOutcome
from kafkeep.capture.plan import CaptureTask
from kafkeep.capture.publish import PackPublisher
from kafkeep.capture.whole import Decided, Ledger
from kafkeep.elsewhere import Reach
from kafkeep.errors import KafkaUnreachable
from kafkeep.events import Event, EventSink
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.fetch import BrokerFetcher
from kafkeep.kafka.tiering import is_on_leader
from kafkeep.kafka.topology import Broker
from kafkeep.model import AbortedTransaction, Generation, PackRef, TopicPartition
from kafkeep.records import dataclass
from kafkeep.repository.pack import PackWriter
from kafkeep.repository.remote_packs import PackMaker, PackTerms
from kafkeep.work.executor import Signals


@dataclass(frozen=True, slots=True)
class Begun:
    """`Ledger.begin`, said from elsewhere."""

    generation: Generation
    start: int
    undecided: tuple[AbortedTransaction, ...]

    def note(self, ledger: Ledger) -> None:
        ledger.begin(self.generation, self.start, self.undecided)


@dataclass(frozen=True, slots=True)
class DecidedThere:
    """`Ledger.decide`, said from elsewhere."""

    partition: TopicPartition
    decided: Decided

    def note(self, ledger: Ledger) -> None:
        ledger.decide(self.partition, self.decided)


@dataclass(frozen=True, slots=True)
class Reached:
    """`Ledger.reach`, said from elsewhere."""

    partition: TopicPartition
    stop: int
    undecided: tuple[AbortedTransaction, ...]

    def note(self, ledger: Ledger) -> None:
        ledger.reach(self.partition, self.stop, self.undecided)


LedgerNote = Begun | DecidedThere | Reached
CaptureItem = PackRef | Event | LedgerNote
"""What a capturing task emits."""


class TellingLedger(Ledger):
    """Keeps nothing: each note goes to the coordinator's ledger, less the many that it would not keep either."""

    def __init__(self, floor: Mapping[TopicPartition, int], tell: Callable[[LedgerNote], None]) -> None:
        super().__init__(dict(floor))
        self._tell = tell

    def begin(self, generation: Generation, start: int, undecided: tuple[AbortedTransaction, ...]) -> None:
        self._tell(Begun(generation, start, undecided))

    def decide(self, partition: TopicPartition, decided: Decided) -> None:
        if decided.marker_offset >= self.floor.get(partition, 0):
            self._tell(DecidedThere(partition, decided))

    def reach(self, partition: TopicPartition, stop: int, undecided: tuple[AbortedTransaction, ...]) -> None:
        self._tell(Reached(partition, stop, undecided))


@dataclass(frozen=True, slots=True)
class TravellingCapture:
    """A task with all that changes from one task to the next."""

    task: CaptureTask
    broker: Broker | None
    """None where the coordinator's metadata does not know it."""
    terms: PackTerms
    floor: Mapping[TopicPartition, int] | None
    """Of the ledger, where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureSetup:
    """What stays the same for all tasks of a backup."""

    reach: Reach
    limits: CaptureLimits
    fetch_bytes: int
    most_bytes_per_second: int | None
    """One worker's part of what may be read from brokers."""

    @contextmanager
    def open(self) -> Iterator[CaptureStation]:
        with self.reach.packs() as packs, Cluster(self.reach.cluster) as cluster:
            yield CaptureStation(self, packs, cluster)


@dataclass(frozen=True, slots=True)
class _Packs:
    """Packs under the terms of one task."""

    maker: PackMaker
    terms: PackTerms

    def pack_writer(self) -> PackWriter:
        return self.maker.writer(self.terms)


class CaptureStation:
    """Where a worker runs the tasks of a backup."""

    def __init__(self, setup: CaptureSetup, packs: PackMaker, cluster: Cluster) -> None:
        self._setup = setup
        self._packs = packs
        self._cluster = cluster
        self._pace = Pace(setup.most_bytes_per_second)

    def work(
        self, task: TravellingCapture, emit: Callable[[CaptureItem], None], signals: Signals
    ) -> tuple[PartitionOutcome, ...]:
        """Runs a task to its end; its events and notes are emitted like its packs."""
        packs = _Packs(self._packs, task.terms)
        return capture(
            task.task,
            emit,
            signals.cancelled,
            open_fetcher=lambda node: self._pace.hold(self._fetcher(node, task.broker, emit), signals.stop),
            open_publisher=lambda durable: PackPublisher(packs, durable, emit),
            limits=self._setup.limits,
            is_on_leader=partial(is_on_leader, self._cluster),
            sink=emit,
            stop=signals.stop,
            ledger=None if task.floor is None else TellingLedger(task.floor, emit),
        )

    def _fetcher(self, node: int, broker: Broker | None, sink: EventSink) -> BrokerFetcher:
        if broker is None:
            raise KafkaUnreachable(f"broker {node} is not in the cluster's metadata")
        return BrokerFetcher(
            self._setup.reach.cluster,
            broker.host,
            broker.port,
            read_committed=not self._setup.limits.undecided,
            response_bytes=self._setup.fetch_bytes,
            sink=sink,
        )

"""Reading one partition of the cluster as a read_committed consumer sees it, batch by batch."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from kafkeep.errors import KafkaError, KafkaUnreachable
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.codes import ErrorCode, request_error, retriable
from kafkeep.kafka.fetch import BrokerFetcher, FetchedPartition, FetchPosition
from kafkeep.kafka.tiering import is_on_leader
from kafkeep.kafka.topology import NO_NODE, Broker, Topology
from kafkeep.kafka.wire.batch import walk
from kafkeep.kafka.wire.transactions import CommittedFilter
from kafkeep.model import BatchInfo, TopicPartition

_MOST_TRIES = 20
_LONGEST_PAUSE_SECONDS = 2.0
_EMPTY_ANSWERS_THAT_PROVE = 2


@dataclass(slots=True)
class _Place:
    broker: Broker
    fetcher: BrokerFetcher
    topic_id: str
    leader_epoch: int


class Connections:
    """Connections to brokers that one reader after the other uses: a cluster may have thousands of partitions."""

    def __init__(self, cluster: Cluster, *, fetch_bytes: int) -> None:
        self._cluster = cluster
        self._fetch_bytes = fetch_bytes
        self._lock = threading.Lock()
        self._idle: list[tuple[Broker, BrokerFetcher]] = []

    def take(self, broker: Broker) -> BrokerFetcher:
        """One for the caller alone, until it is given back or closed. Raises as `Cluster.fetcher`."""
        with self._lock:
            for index, (known, fetcher) in enumerate(self._idle):
                if known == broker:
                    del self._idle[index]
                    return fetcher
        return self._cluster.fetcher(broker, read_committed=True, response_bytes=self._fetch_bytes)

    def give_back(self, broker: Broker, fetcher: BrokerFetcher) -> None:
        """A connection on which nothing has failed and nothing is under way."""
        with self._lock:
            self._idle.append((broker, fetcher))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, fetcher in self._idle:
            fetcher.close()


class TargetReader:
    """Reads `[start, stop)` of a partition; follows its leader when it moves. `topology` tells where it is at first."""

    def __init__(
        self, cluster: Cluster, partition: TopicPartition, *, connections: Connections, topology: Topology
    ) -> None:
        self._cluster = cluster
        self._partition = partition
        self._connections = connections
        self._topology: Topology | None = topology
        self._place: _Place | None = None

    def batches(self, start: int, stop: int) -> Iterator[tuple[BatchInfo, memoryview]]:
        """Committed data batches in offset order, the one that holds `start` and the one that holds `stop - 1` whole.
        A batch is valid until the next one is asked for.

        Raises `KafkaError` when the partition cannot be read, `CorruptBatch` when what arrives is damaged.
        """
        position = start
        empty = 0
        try:
            while position < stop:
                answer = self._fetch(position)
                infos, _ = walk(answer.records)
                keep = CommittedFilter(answer.aborted)
                at = 0
                for info in infos:
                    batch = answer.records[at : at + info.size]
                    at += info.size
                    if keep.counts(info, batch) and info.last_offset >= position and info.base_offset < stop:
                        yield info, batch
                if infos:
                    position, empty = infos[-1].next_offset, 0
                    continue
                empty += 1
                proven = empty >= _EMPTY_ANSWERS_THAT_PROVE and answer.last_stable_offset >= stop
                if proven and not len(answer.records) and is_on_leader(self._cluster, self._partition, position):
                    return
                if empty >= _MOST_TRIES:
                    raise KafkaUnreachable(
                        f"{self._partition} serves nothing from offset {position} on, {stop} expected"
                    )
        finally:
            if self._place is not None:
                self._connections.give_back(self._place.broker, self._place.fetcher)
                self._place = None

    def _leave(self) -> None:
        """The connection is broken, or the partition is led elsewhere: look again before the next try."""
        place, self._place = self._place, None
        self._topology = None
        if place is not None:
            place.fetcher.close()

    def _fetch(self, position: int) -> FetchedPartition:
        for attempt in range(_MOST_TRIES):
            try:
                place = self._open()
                answers = place.fetcher.fetch(
                    [FetchPosition(self._partition, place.topic_id, position, place.leader_epoch)]
                )
            except KafkaError as error:
                self._leave()
                if not isinstance(error, KafkaUnreachable) or attempt == _MOST_TRIES - 1:
                    raise
                time.sleep(min(0.1 * 2**attempt, _LONGEST_PAUSE_SECONDS))
                continue
            answer = next((found for found in answers if found.topic_partition == self._partition), None)
            if answer is None:
                continue
            if answer.error == ErrorCode.NONE:
                return answer
            if not retriable(answer.error) or answer.error == ErrorCode.OFFSET_OUT_OF_RANGE:
                raise request_error(answer.error, f"fetch {self._partition} at offset {position}")
            self._leave()
            time.sleep(min(0.1 * 2**attempt, _LONGEST_PAUSE_SECONDS))
        raise KafkaUnreachable(f"{self._partition} could not be read at offset {position} in {_MOST_TRIES} tries")

    def _open(self) -> _Place:
        if self._place is None:
            topology = self._cluster.topology([self._partition.topic]) if self._topology is None else self._topology
            topic = topology.topics[self._partition.topic]
            if topic.error:
                raise request_error(topic.error, f"find the leader of {self._partition}")
            part = topic.partitions[self._partition.partition]
            broker = topology.brokers.get(part.leader)
            if part.leader == NO_NODE or broker is None:
                raise KafkaUnreachable(f"{self._partition} has no leader that can be reached")
            self._place = _Place(broker, self._connections.take(broker), topic.topic_id, part.leader_epoch)
        return self._place

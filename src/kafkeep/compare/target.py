"""Reading one partition of the cluster as a read_committed consumer sees it, batch by batch."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from kafkeep.compare.align import Piece
from kafkeep.errors import KafkaError, KafkaUnreachable
from kafkeep.kafka.cluster import EARLIEST, Cluster
from kafkeep.kafka.codes import ErrorCode, request_error, retriable
from kafkeep.kafka.fetch import BrokerFetcher, FetchedPartition, FetchPosition
from kafkeep.kafka.tiering import is_on_leader
from kafkeep.kafka.topology import NO_NODE, Broker, Topology
from kafkeep.kafka.wire.batch import walk
from kafkeep.kafka.wire.transactions import CommittedFilter
from kafkeep.model import OffsetRange, TopicPartition
from kafkeep.records import dataclass

_MOST_TRIES = 20
_LONGEST_PAUSE_SECONDS = 2.0
_EMPTY_ANSWERS_THAT_PROVE = 2
_LEAST_ASKED_BYTES = 64 * 1024
"""What is asked for beyond what was expected, at first: it doubles."""


@dataclass(slots=True)
class _Place:
    broker: Broker
    fetcher: BrokerFetcher
    topic_id: str
    leader_epoch: int


class Connections:
    """Connections to brokers that one reader after the other uses: a cluster may have thousands of partitions."""

    def __init__(self, cluster: Cluster, *, fetch_bytes: int, most_idle: int) -> None:
        self._cluster = cluster
        self.fetch_bytes = fetch_bytes
        self._most_idle = most_idle
        self._lock = threading.Lock()
        self._idle: list[tuple[Broker, BrokerFetcher]] = []

    def take(self, broker: Broker) -> BrokerFetcher:
        """One for the caller alone, until it is given back or closed. Raises as `Cluster.fetcher`."""
        with self._lock:
            for index, (known, fetcher) in enumerate(self._idle):
                if known == broker:
                    del self._idle[index]
                    return fetcher
        return self._cluster.fetcher(broker, read_committed=True, response_bytes=self.fetch_bytes)

    def give_back(self, broker: Broker, fetcher: BrokerFetcher) -> None:
        """A connection on which nothing has failed and nothing is under way. The one that is idle longest goes."""
        with self._lock:
            self._idle.append((broker, fetcher))
            spare = self._idle.pop(0)[1] if len(self._idle) > self._most_idle else None
        if spare is not None:
            spare.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, fetcher in self._idle:
            fetcher.close()


class TargetReader:
    """Reads ranges of one partition; follows its leader when it moves. `topology` tells where it is at first."""

    def __init__(
        self,
        cluster: Cluster,
        partition: TopicPartition,
        *,
        connections: Connections,
        topology: Topology,
        follows_log_start: bool = False,
    ) -> None:
        """`follows_log_start`: what is removed in front of a moving log start is skipped and counted, not an error."""
        self._cluster = cluster
        self._partition = partition
        self._connections = connections
        self._topology: Topology | None = topology
        self._follows_log_start = follows_log_start
        self._place: _Place | None = None
        self._asked: int | None = None
        """The position of the request that is under way."""
        self._more_bytes = _LEAST_ASKED_BYTES
        self.log_start = 0
        """The highest log start that was told while reading."""
        self.skipped = 0
        """Offsets that were removed before they could be read."""

    def pieces(self, offsets: OffsetRange, size_bytes: int) -> Iterator[Piece]:
        """Committed data batches with offsets in the range, in order; each is valid until the next one is asked for.

        `size_bytes` is about what the range holds: not much more is asked of the broker. Raises `KafkaError` when the
        partition cannot be read, `CorruptBatch` when what arrives is damaged.
        """
        start, stop = offsets.start, offsets.stop
        position, left, empty = start, size_bytes, 0
        self._more_bytes = _LEAST_ASKED_BYTES
        try:
            while position < stop:
                answer = self._fetch(position, left)
                if answer is None:
                    self.skipped += min(self.log_start, stop) - position
                    position = self.log_start
                    continue
                infos, used = walk(answer.records)
                left -= used
                if not infos:
                    empty += 1
                    if self._is_empty(answer, position, stop, empty):
                        return
                    continue
                reached, position, empty = position, infos[-1].next_offset, 0
                if position < stop:
                    self._ask(position, left)
                low = max(start, answer.log_start_offset)
                keep, at = CommittedFilter(answer.aborted), 0
                for info in infos:
                    batch = answer.records[at : at + info.size]
                    at += info.size
                    if keep.counts(info, batch) and info.last_offset >= reached and info.base_offset < stop:
                        yield Piece(info, batch, low, stop)
        finally:
            self._give_back()

    def _is_empty(self, answer: FetchedPartition, position: int, stop: int, answers: int) -> bool:
        """True when it is certain that the log serves nothing between `position` and `stop`."""
        proven = answers >= _EMPTY_ANSWERS_THAT_PROVE and answer.last_stable_offset >= stop
        if proven and not len(answer.records) and is_on_leader(self._cluster, self._partition, position):
            return True
        if answers >= _MOST_TRIES:
            raise KafkaUnreachable(f"{self._partition} serves nothing from offset {position} on, {stop} expected")
        return False

    def _give_back(self) -> None:
        if self._place is None:
            return
        if self._asked is None:
            self._connections.give_back(self._place.broker, self._place.fetcher)
            self._place = None
        else:
            self._leave()

    def _leave(self) -> None:
        """The connection is broken, or the partition is led elsewhere: look again before the next try."""
        place, self._place = self._place, None
        self._asked = None
        self._topology = None
        if place is not None:
            place.fetcher.close()

    def _ask(self, position: int, left: int) -> None:
        """Sends the next request before the last answer's batches are looked at. A failure shows when it is fetched."""
        try:
            self._send(self._open(), position, left)
        except KafkaError:
            self._leave()

    def _send(self, place: _Place, position: int, left: int) -> None:
        wanted = left + _LEAST_ASKED_BYTES // 16
        if left <= 0:
            wanted, self._more_bytes = self._more_bytes, 2 * self._more_bytes
        place.fetcher.send(
            [FetchPosition(self._partition, place.topic_id, position, place.leader_epoch)],
            response_bytes=min(wanted, self._connections.fetch_bytes),
        )
        self._asked = position

    def _fetch(self, position: int, left: int) -> FetchedPartition | None:
        """The answer for a position; None when the log start has moved behind it."""
        for attempt in range(_MOST_TRIES):
            try:
                place = self._open()
                if self._asked is None:
                    self._send(place, position, left)
                answers = place.fetcher.receive()
                self._asked = None
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
                self.log_start = max(self.log_start, answer.log_start_offset)
                return answer
            if answer.error == ErrorCode.OFFSET_OUT_OF_RANGE and self._is_removed(position):
                return None
            if not retriable(answer.error) or answer.error == ErrorCode.OFFSET_OUT_OF_RANGE:
                raise request_error(answer.error, f"fetch {self._partition} at offset {position}")
            self._leave()
            time.sleep(min(0.1 * 2**attempt, _LONGEST_PAUSE_SECONDS))
        raise KafkaUnreachable(f"{self._partition} could not be read at offset {position} in {_MOST_TRIES} tries")

    def _is_removed(self, position: int) -> bool:
        """True when the log begins behind `position`."""
        if not self._follows_log_start:
            return False
        answer = self._cluster.offsets([self._partition], EARLIEST)[self._partition]
        if answer.error or answer.offset <= position:
            return False
        self.log_start = max(self.log_start, answer.offset)
        return True

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

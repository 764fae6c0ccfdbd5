"""A cluster as the operations hold it: who is where, which offsets there are, and the way to the hot path."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kafkeep.errors import KafkaUnsupported
from kafkeep.events import EventSink, ignore
from kafkeep.kafka.admin import Admin
from kafkeep.kafka.config import ClusterConfig
from kafkeep.kafka.control import ControlClient
from kafkeep.kafka.fetch import BrokerFetcher
from kafkeep.kafka.links import Body, Fields
from kafkeep.kafka.long_answers import LIST_OFFSETS
from kafkeep.kafka.produce import BrokerProducer
from kafkeep.kafka.routing import LeaderAnswers, by_leader
from kafkeep.kafka.topology import NO_NODE, Broker, TopicTopology, Topology
from kafkeep.kafka.wire.list_offsets import ListedOffset, ListedOffsets
from kafkeep.model import TopicPartition
from kafkeep.records import dataclass

if TYPE_CHECKING:
    from kafkeep.kafka.settings_admin import SettingsAdmin

EARLIEST: Final = -2
LATEST: Final = -1
_ENDS: Final = ((LATEST, True), (LATEST, False), (EARLIEST, False))
"""What is asked about the two ends of a log, in this order, and whether committed records alone count."""
_SINCE_VERSION: Final = {-3: 7, -4: 8, -5: 9, -6: 11}
"""ListOffsets versions that first understood the special timestamps (KIP-734, KIP-405, KIP-1005, KIP-1023)."""


@dataclass(frozen=True, slots=True)
class OffsetAnswer:
    """What a leader says of one partition. `error` is Kafka's code, and the rest means nothing unless it is 0.

    Asked for a timestamp, `offset` is the first record at or after it and `timestamp` that record's own; both are -1
    when there is none. Asked for `EARLIEST` or `LATEST`, `timestamp` is -1. `leader_epoch` is -1 where it is not told.
    """

    offset: int
    leader_epoch: int
    timestamp: int
    error: int


class LogEnds(NamedTuple):
    """Where a partition's log starts and ends. `error` is Kafka's code, and the rest means nothing unless it is 0."""

    log_start: int
    last_stable_offset: int
    high_watermark: int
    error: int


class Cluster:
    """One cluster. Connects when first used, safe for many threads, a context manager that closes what it opened.

    Fetchers and producers are the caller's: each belongs to one thread, and the caller closes it.
    """

    def __init__(self, config: ClusterConfig, *, sink: EventSink = ignore, retry_seconds: float | None = None) -> None:
        """`retry_seconds` bounds how long one call keeps trying after the first contact (None: the request timeout)."""
        self.config = config
        self._sink = sink
        self._retry_seconds = retry_seconds
        self._client = ControlClient(config, sink=sink, retry_seconds=retry_seconds)
        self.admin = Admin(self._client)

    @cached_property
    def settings(self) -> SettingsAdmin:
        """Settings and permissions. Its messages are loaded when they are first needed: most verbs never do."""
        from kafkeep.kafka.settings_admin import SettingsAdmin

        return SettingsAdmin(self._client)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def cluster_id(self) -> str:
        """The cluster's own id; empty where it has none. Raises as `topology`."""
        return self.topology([]).cluster_id

    def topology(self, topics: Collection[str] | None = None) -> Topology:
        """A fresh answer about the named topics, or about all; absent ones carry error 3, and none is ever created.

        Asked about all topics, brokers leave out those that the login may not describe; asked by name these carry
        error 29. One request, whatever the number of topics.

        Raises:
            KafkaUnreachable, KafkaLoginError, KafkaProtocolError, KafkaUnsupported: no usable broker; the message lists
                every address that was tried with its reason.
        """
        return self._client.topology(topics, retry=self._client.retry("metadata"))

    def await_topics(self, topics: Collection[str], *, seconds: float) -> Topology:
        """As `topology`, asked again until every named topic is known and all its partitions have leaders, or `seconds`
        have passed: brokers learn of a new topic shortly after its creation was confirmed."""
        retry = self._client.retry("metadata of new topics", seconds=seconds)
        while True:
            found = self._client.topology(topics, retry=retry)
            late = [topic.name for topic in found.topics.values() if not _ready(topic)]
            if not late or not retry.again(f"{late[0]} is not ready"):
                return found

    def offsets(
        self,
        partitions: Iterable[TopicPartition],
        at: int,
        *,
        read_committed: bool = False,
        topology: Topology | None = None,
        retry_seconds: float | None = None,
    ) -> dict[TopicPartition, OffsetAnswer]:
        """The offset of each partition at `EARLIEST` (log start), `LATEST` or a timestamp in milliseconds.

        `LATEST` is the high watermark, or with `read_committed` the last stable offset. One request per leader and
        round; moved leaders, fenced epochs and lost connections are asked again with fresh metadata until
        `retry_seconds` (the cluster's own when None) have passed, then the last code stands in the answer. `topology`
        saves the first look-up.

        Raises:
            KafkaUnreachable: no broker at all answers.
            KafkaUnsupported: a broker does not know the special timestamp `at`.
            KafkaLoginError, KafkaProtocolError: as `topology`.
        """

        def ask(node: int, mine: Sequence[TopicPartition], known: Topology) -> LeaderAnswers[OffsetAnswer]:
            body = self._list_offsets(_with_epochs(mine, known), at, read_committed)
            told = _by_topic(self._client.send(LIST_OFFSETS, body, to=node))
            return {
                partition: (found.error, OffsetAnswer(found.offset, found.leader_epoch, found.timestamp, found.error))
                for partition in mine
                if (found := told.get(partition.topic, {}).get(partition.partition)) is not None
            }

        found = by_leader(self._client, partitions, ask, what="list offsets", topology=topology, seconds=retry_seconds)
        return {
            topic_partition: OffsetAnswer(-1, -1, -1, int(code)) if answer is None else answer
            for topic_partition, (code, answer) in found.items()
        }

    def log_ends(
        self, partitions: Iterable[TopicPartition], *, topology: Topology | None = None
    ) -> dict[TopicPartition, LogEnds]:
        """Where each partition's log starts and ends: three requests per leader and round, answered and raising as
        `offsets` says. The last stable offset is asked for first and the log start last, so what lies between was there.
        """

        def ask(node: int, mine: Sequence[TopicPartition], known: Topology) -> LeaderAnswers[LogEnds]:
            topics = _with_epochs(mine, known)
            wanted = [self._list_offsets(topics, at, committed) for at, committed in _ENDS]
            stable, high, start = map(_by_topic, self._client.send_each(LIST_OFFSETS, wanted, to=node))
            answers: LeaderAnswers[LogEnds] = {}
            for partition in mine:
                topic, number = partition.topic, partition.partition
                ends = _ends(*(told.get(topic, {}).get(number) for told in (start, stable, high)))
                if ends is not None:
                    answers[partition] = ends.error, ends
            return answers

        found = by_leader(self._client, partitions, ask, what="list offsets", topology=topology)
        return {
            topic_partition: LogEnds(-1, -1, -1, int(code)) if answer is None else answer
            for topic_partition, (code, answer) in found.items()
        }

    def _list_offsets(self, topics: Mapping[str, Sequence[tuple[int, int]]], at: int, read_committed: bool) -> Body:
        """A question to one leader; `topics` are partitions with the leader epochs known of them."""

        def body(version: int) -> Fields:
            if version < _SINCE_VERSION.get(at, 0):
                raise KafkaUnsupported(f"a broker of {self.config.name} is too old to look up offsets at {at}")
            timeout_ms = self._client.broker_timeout_ms
            return {"read_committed": read_committed, "topics": topics, "at": at, "timeout_ms": timeout_ms}

        return body

    def broker_api(self, api_key: int) -> tuple[int, int]:
        """Lowest and highest version of a request that a broker of this cluster offers; KafkaUnsupported if none."""
        return self._client.api_range(api_key)

    def fetcher(self, broker: Broker, **options: Any) -> BrokerFetcher:
        """A new fetcher on its own connection to `broker`; options as `BrokerFetcher` takes them."""
        return BrokerFetcher(self.config, broker.host, broker.port, sink=self._sink, **options)

    def producer(self, broker: Broker, **options: Any) -> BrokerProducer:
        """A new producer on its own connection to `broker`; options as `BrokerProducer` takes them."""
        return BrokerProducer(self.config, broker.host, broker.port, sink=self._sink, **options)

    def another(self) -> Cluster:
        """The same cluster over connections of its own: one thread's requests then never wait for another's."""
        return Cluster(self.config, sink=self._sink, retry_seconds=self._retry_seconds)

    def close(self) -> None:
        """Closes the control connections; fetchers and producers are closed by who asked for them."""
        self._client.close()


def _ready(topic: TopicTopology) -> bool:
    return not topic.error and bool(topic.partitions) and all(p.leader != NO_NODE for p in topic.partitions)


def _by_topic(answer: ListedOffsets) -> dict[str, dict[int, ListedOffset]]:
    return {topic: {told.partition: told for told in partitions} for topic, partitions in answer.topics.items()}


def _ends(start: ListedOffset | None, stable: ListedOffset | None, high: ListedOffset | None) -> LogEnds | None:
    """None where an answer leaves the partition out."""
    if start is None or stable is None or high is None:
        return None
    return LogEnds(start.offset, stable.offset, high.offset, start.error or stable.error or high.error)


def _with_epochs(partitions: Sequence[TopicPartition], topology: Topology) -> dict[str, list[tuple[int, int]]]:
    """The epoch fences an answer from a leader that has been replaced, or that has not heard of its election yet."""
    topics: dict[str, list[tuple[int, int]]] = {}
    for topic_partition in partitions:
        known = topology.partition(topic_partition)
        epoch = -1 if known is None else known.leader_epoch
        topics.setdefault(topic_partition.topic, []).append((topic_partition.partition, epoch))
    return topics

"""A cluster as the operations hold it: who is where, which offsets there are, and the way to the hot path."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from kafkeep.errors import KafkaUnsupported
from kafkeep.events import EventSink, ignore
from kafkeep.kafka.admin import Admin
from kafkeep.kafka.apis import LIST_OFFSETS
from kafkeep.kafka.config import ClusterConfig
from kafkeep.kafka.control import ControlClient
from kafkeep.kafka.fetch import BrokerFetcher
from kafkeep.kafka.links import Fields
from kafkeep.kafka.produce import BrokerProducer
from kafkeep.kafka.routing import LeaderAnswers, by_leader
from kafkeep.kafka.topology import NO_NODE, Broker, TopicTopology, Topology
from kafkeep.kafka.wire import list_offsets
from kafkeep.kafka.wire.primitives import Reader
from kafkeep.model import TopicPartition
from kafkeep.records import dataclass

if TYPE_CHECKING:
    from kafkeep.kafka.settings_admin import SettingsAdmin

EARLIEST: Final = -2
LATEST: Final = -1

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
            answer = self._client.send(_LISTING, lambda version: body(version, mine, known), to=node)
            return {
                TopicPartition(topic, partition): (error, OffsetAnswer(offset, leader_epoch, timestamp, error))
                for topic, partition, error, timestamp, offset, leader_epoch in answer.partitions
            }

        def body(version: int, mine: Sequence[TopicPartition], known: Topology) -> Fields:
            if version < _SINCE_VERSION.get(at, 0):
                raise KafkaUnsupported(f"a broker of {self.config.name} is too old to look up offsets at {at}")
            return {
                "read_committed": read_committed,
                "topics": _with_epochs(mine, known),
                "at": at,
                "timeout_ms": self._client.broker_timeout_ms,
            }

        found = by_leader(self._client, partitions, ask, what="list offsets", topology=topology, seconds=retry_seconds)
        return {
            topic_partition: OffsetAnswer(-1, -1, -1, int(code)) if answer is None else answer
            for topic_partition, (code, answer) in found.items()
        }

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


class _Listing:
    """ListOffsets as `ControlClient.send` takes a request."""

    name = LIST_OFFSETS.name
    key = LIST_OFFSETS.key
    lowest = list_offsets.LOWEST
    highest = list_offsets.HIGHEST

    def encode(self, version: int, fields: Fields) -> bytes:
        """`fields` are the parameters of `encode_list_offsets`."""
        parameters: dict[str, Any] = dict(fields)
        return list_offsets.encode_list_offsets(version, **parameters)

    def decode(self, version: int, body: memoryview) -> list_offsets.ListedOffsets:
        return list_offsets.decode_list_offsets(version, Reader(body, f"answer to {self.name} version {version}"))


_LISTING: Final = _Listing()


def _with_epochs(partitions: Sequence[TopicPartition], topology: Topology) -> dict[str, list[tuple[int, int]]]:
    """The epoch fences an answer from a leader that has been replaced, or that has not heard of its election yet."""
    topics: dict[str, list[tuple[int, int]]] = {}
    for topic_partition in partitions:
        known = topology.partition(topic_partition)
        epoch = -1 if known is None else known.leader_epoch
        topics.setdefault(topic_partition.topic, []).append((topic_partition.partition, epoch))
    return topics

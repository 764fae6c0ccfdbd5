"""Clusters in memory that stand in for `kafkeep.kafka.cluster.Cluster`: what an operation asks of it, answered as
brokers do, with faults on script.

A test fills `SimulatedLog`s, lets `backup`, `restore` or `compare` run against the cluster, and judges by the logs'
own truth. `fetch_faults` and `produce_faults` are consumed one per request; when they are used up, nothing fails.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.support.simulated_log import SimulatedLog

from kafkeep.errors import KafkaError, KafkaRequestError, KafkaUnreachable
from kafkeep.inventory import (
    Acl,
    ConfigValue,
    DelegationToken,
    Feature,
    GroupMembers,
    LogDir,
    Quorum,
    Quota,
    Reassignment,
    ResourceConfigs,
    ScramUser,
)
from kafkeep.kafka.admin import GroupListing, NewTopic
from kafkeep.kafka.cluster import EARLIEST, LATEST, LogEnds, OffsetAnswer
from kafkeep.kafka.config_changes import ConfigChange
from kafkeep.kafka.fetch import FetchedPartition, FetchPosition
from kafkeep.kafka.produce import MOST_OUTSTANDING, ProduceBatch, ProducedBatch
from kafkeep.kafka.tiering import EARLIEST_LOCAL
from kafkeep.kafka.topology import Broker, PartitionTopology, TopicTopology, Topology
from kafkeep.kafka.transaction_values import ListedTransaction, TransactionDescription
from kafkeep.kafka.wire.describe_configs import ConfigEntry
from kafkeep.model import AbortedTransaction, GroupOffset, TopicPartition, topic_id_text

T = TypeVar("T")

FETCH_FAULTS = (
    "ok",
    "throttled",
    "too late",
    "tail",
    "lost before",
    "lost after",
    "moved",
    "fenced",
    "broken",
    "damaged",
    "refused once",
)
"""`too late`: nothing out of the remote tier in time.
`tail`: the answer is cut anywhere. `broken`: bytes flipped on the way. `damaged`: only the last batch is."""

PRODUCE_FAULTS = (
    "ok",
    "lost before",
    "lost after",
    "late",
    "moved",
    "moved, named",
    "few replicas before",
    "few replicas after",
    "timed out after",
    "unknown id",
)
"""`late`: the connection is lost, and what was sent is carried out some requests later."""


@dataclass
class SimulatedTopic:
    name: str
    topic_id: str
    logs: list[SimulatedLog]
    leaders: list[int]
    configs: dict[str, str] = field(default_factory=dict)
    internal: bool = False


class SimulatedCluster:
    """`nodes` brokers; every partition has all of them as replicas."""

    def __init__(self, cluster_id: str, *, nodes: int = 3, unsupported: Collection[tuple[str, str]] = ()) -> None:
        self.id = cluster_id
        self.nodes = nodes
        self.unsupported = frozenset(unsupported)
        self.topics: dict[str, SimulatedTopic] = {}
        self.groups: dict[str, list[GroupOffset]] = {}
        self.group_types: dict[str, str] = {}
        self.active: set[str] = set()
        self.fetch_faults: deque[str] = deque()
        self.produce_faults: deque[str] = deque()
        self.late: deque[tuple[int, Sequence[ProduceBatch]]] = deque()
        """(requests to wait, batches) that a lost connection had delivered."""
        self.requests = 0
        self.admin = SimulatedAdmin(self)
        self.settings = SimulatedSettings(self)
        self._ids = 0

    def add_topic(
        self, name: str, partitions: int = 1, *, configs: Mapping[str, str] | None = None, start: int = 0
    ) -> SimulatedTopic:
        self._ids += 1
        raw = self.id.encode()[:8].ljust(8, b".") + struct.pack(">q", self._ids)
        topic = SimulatedTopic(
            name,
            topic_id_text(raw),
            [SimulatedLog(start=start) for _ in range(partitions)],
            [index % self.nodes for index in range(partitions)],
            dict(configs or {}),
            internal=name.startswith("__"),
        )
        self.topics[name] = topic
        return topic

    def log(self, partition: TopicPartition) -> SimulatedLog:
        return self.topics[partition.topic].logs[partition.partition]

    def move(self, partition: TopicPartition) -> None:
        """Another node leads, under the next leader epoch."""
        topic = self.topics[partition.topic]
        topic.leaders[partition.partition] = (topic.leaders[partition.partition] + 1) % self.nodes
        topic.logs[partition.partition].new_leader()

    # --- what operations ask of a Cluster

    def cluster_id(self) -> str:
        return self.id

    def topology(self, topics: Collection[str] | None = None) -> Topology:
        names = self.topics if topics is None else topics
        brokers = {node: Broker(node, "simulated", 9092 + node, None) for node in range(self.nodes)}
        return Topology(self.id, 0, brokers, {name: self._topic(name) for name in names})

    def _topic(self, name: str) -> TopicTopology:
        topic = self.topics.get(name)
        if topic is None:
            return TopicTopology(name, "A" * 22, False, (), 3)
        replicas = tuple(range(self.nodes))
        partitions = tuple(
            PartitionTopology(index, leader, log.leader_epoch, replicas, replicas, 0)
            for index, (log, leader) in enumerate(zip(topic.logs, topic.leaders, strict=True))
        )
        return TopicTopology(name, topic.topic_id, topic.internal, partitions, 0)

    def offsets(
        self, partitions: Iterable[TopicPartition], at: int, *, read_committed: bool = False, **_: Any
    ) -> dict[TopicPartition, OffsetAnswer]:
        found: dict[TopicPartition, OffsetAnswer] = {}
        for partition in partitions:
            if partition.topic not in self.topics:
                found[partition] = OffsetAnswer(-1, -1, -1, 3)
                continue
            log = self.log(partition)
            latest = log.last_stable if read_committed else log.end
            offset = {EARLIEST: log.start, EARLIEST_LOCAL: max(log.start, log.local_start)}.get(at, latest)
            found[partition] = OffsetAnswer(offset, log.leader_epoch, -1, 0)
        return found

    def log_ends(
        self, partitions: Iterable[TopicPartition], *, topology: Topology | None = None
    ) -> dict[TopicPartition, LogEnds]:
        asked = list(partitions)
        stable = self.offsets(asked, LATEST, read_committed=True)
        high, start = self.offsets(asked, LATEST), self.offsets(asked, EARLIEST)
        return {
            each: LogEnds(start[each].offset, stable[each].offset, high[each].offset, start[each].error)
            for each in asked
        }

    def fetcher(self, broker: Broker, **options: Any) -> SimulatedFetcher:
        return SimulatedFetcher(self, broker.node_id, **options)

    def producer(self, broker: Broker, **_: Any) -> SimulatedProducer:
        return SimulatedProducer(self, broker.node_id)

    # --- produce on the broker's side

    def carry_out(self, node: int, batches: Sequence[ProduceBatch], fault: str = "ok") -> tuple[ProducedBatch, ...]:
        """What a broker does with a request and what it answers; the fault befalls the first partition."""
        answers = []
        for index, batch in enumerate(batches):
            answers.append(self._carry_out_one(node, batch, fault if index == 0 else "ok"))
        return tuple(answers)

    def _carry_out_one(self, node: int, batch: ProduceBatch, fault: str) -> ProducedBatch:
        partition = batch.topic_partition
        topic = self.topics.get(partition.topic)
        if topic is None or topic.topic_id != batch.topic_id or fault == "unknown id":
            return produced(partition, 100)
        if fault in ("moved", "moved, named"):
            self.move(partition)
        if topic.leaders[partition.partition] != node:
            leader = topic.leaders[partition.partition], topic.logs[partition.partition].leader_epoch
            return produced(partition, 6, leader=leader if fault == "moved, named" else None)
        if fault == "few replicas before":
            return produced(partition, 19)
        code, base = topic.logs[partition.partition].produce(b"".join(batch.parts))
        if not code and fault == "few replicas after":
            return produced(partition, 20)
        if not code and fault == "timed out after":
            return produced(partition, 7)
        return produced(partition, code, base)

    def deliver_late(self) -> None:
        """Requests of lost connections that arrive now."""
        waiting, self.late = self.late, deque()
        for left, batches in waiting:
            if left > 0:
                self.late.append((left - 1, batches))
            else:
                for batch in batches:
                    if batch.topic_partition.topic in self.topics:
                        self.log(batch.topic_partition).produce(b"".join(batch.parts))


def produced(
    partition: TopicPartition, error: int, base: int = -1, *, leader: tuple[int, int] | None = None
) -> ProducedBatch:
    return ProducedBatch(
        topic_partition=partition,
        error=error,
        base_offset=base,
        log_append_time=-1,
        log_start_offset=0,
        message=None,
        current_leader=leader,
    )


class SimulatedFetcher:
    """A connection for reading: one request under way at a time, views valid until the second answer after."""

    def __init__(
        self, cluster: SimulatedCluster, node: int, *, read_committed: bool = True, response_bytes: int = 1 << 20
    ) -> None:
        self._cluster = cluster
        self._node = node
        self._read_committed = read_committed
        self._response_bytes = response_bytes
        self._asked: deque[tuple[list[FetchPosition], int]] = deque()
        self._handed_out: deque[list[bytearray]] = deque([[]])
        self.closed = False

    def send(self, positions: Sequence[FetchPosition], *, response_bytes: int | None = None) -> None:
        assert not self.closed and positions and len(self._asked) < 2
        assert len({p.topic_partition for p in positions}) == len(positions)
        self._asked.append((list(positions), self._response_bytes if response_bytes is None else response_bytes))

    def align(self, place: int) -> None:
        """Answers lie where they lie."""

    def receive(self) -> tuple[FetchedPartition, ...]:
        positions, limit = self._asked.popleft()
        self._handed_out.append([])
        while len(self._handed_out) > 2:
            for old in self._handed_out.popleft():
                old[:] = b"\xee" * len(old)  # whoever keeps a view too long reads rubbish
        faults = self._cluster.fetch_faults
        fault = faults.popleft() if faults else "ok"
        self._cluster.requests += 1
        if fault in ("lost before", "lost after"):
            self.closed = True
            raise KafkaUnreachable("the connection was lost, on script")
        if fault == "refused once":
            self.closed = True
            raise KafkaRequestError("fetch refused, on script", code=-1, name="UNKNOWN_SERVER_ERROR", retryable=False)
        if fault == "throttled":
            return ()
        if fault in ("moved", "fenced"):
            self._cluster.move(positions[0].topic_partition)
        answers, left = [], limit
        for position in positions:
            answer = self._answer(position, left, nothing_yet=left == limit, fault=fault)
            left -= len(answer.records)
            answers.append(answer)
        return tuple(answers)

    def fetch(self, positions: Sequence[FetchPosition]) -> tuple[FetchedPartition, ...]:
        self.send(positions)
        return self.receive()

    def close(self) -> None:
        self.closed = True

    def _answer(self, position: FetchPosition, left: int, *, nothing_yet: bool, fault: str) -> FetchedPartition:
        partition = position.topic_partition
        topic = self._cluster.topics.get(partition.topic)
        if topic is None or topic.topic_id != position.topic_id:
            return self._fetched(partition, error=100)
        log = topic.logs[partition.partition]
        if topic.leaders[partition.partition] != self._node:
            return self._fetched(partition, error=6)
        if position.leader_epoch != log.leader_epoch:
            return self._fetched(partition, error=74 if position.leader_epoch < log.leader_epoch else 75)
        if position.last_fetched_epoch >= 0:
            ends = log.epoch_end(position.last_fetched_epoch)
            if ends is not None and (ends[0] < position.last_fetched_epoch or ends[1] < position.offset):
                return self._fetched(partition, log=log, diverging=ends)
        if not log.start <= position.offset <= log.end:
            return self._fetched(partition, error=1)
        upto = log.last_stable if self._read_committed else log.end
        data = log.read(position.offset, most=left, upto=upto, whole_first=nothing_yet)
        if fault == "too late" and position.offset < log.local_start:
            data = b""
        if data and nothing_yet and fault in ("tail", "broken", "damaged"):
            data = _spoiled(data, fault)
        aborted = log.aborted_from(position.offset, log.end) if self._read_committed else []
        return self._fetched(partition, log=log, records=data, aborted=[(line[0], line[1]) for line in aborted])

    def _fetched(
        self,
        partition: TopicPartition,
        *,
        error: int = 0,
        log: SimulatedLog | None = None,
        diverging: tuple[int, int] | None = None,
        records: bytes = b"",
        aborted: Iterable[tuple[int, int]] = (),
    ) -> FetchedPartition:
        buffer = bytearray(records)
        self._handed_out[-1].append(buffer)
        return FetchedPartition(
            topic_partition=partition,
            error=error,
            high_watermark=-1 if log is None else log.end,
            last_stable_offset=-1 if log is None or not self._read_committed else log.last_stable,
            log_start_offset=-1 if log is None else log.start,
            aborted=tuple(AbortedTransaction(producer, first) for producer, first in aborted),
            diverging=diverging,
            current_leader=None,
            records=memoryview(buffer),
        )


def _spoiled(data: bytes, fault: str) -> bytes:
    if fault == "tail":
        return data[: len(data) - len(data) // 3]
    at = 40 if fault == "broken" else len(data) - 1
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


class SimulatedProducer:
    """A connection for writing. A broker carries out one connection's requests in order, each when it is received."""

    def __init__(self, cluster: SimulatedCluster, node: int) -> None:
        self._cluster = cluster
        self._node = node
        self._sent: deque[tuple[ProduceBatch, ...]] = deque()
        self.closed = False

    @property
    def outstanding(self) -> int:
        return len(self._sent)

    def send(self, batches: Sequence[ProduceBatch]) -> None:
        assert not self.closed and batches and len(self._sent) < MOST_OUTSTANDING
        assert len({batch.topic_partition for batch in batches}) == len(batches)
        copies = tuple(
            ProduceBatch(b.topic_partition, b.topic_id, (b"".join(bytes(part) for part in b.parts),)) for b in batches
        )
        self._sent.append(copies)

    def receive(self) -> tuple[ProducedBatch, ...]:
        assert self._sent
        self._cluster.deliver_late()
        faults = self._cluster.produce_faults
        fault = faults.popleft() if faults else "ok"
        self._cluster.requests += 1
        if fault in ("lost before", "lost after", "late"):
            self._lose(fault)
        return self._cluster.carry_out(self._node, self._sent.popleft(), fault)

    def _lose(self, fault: str) -> None:
        self.closed = True
        sent = list(self._sent)
        if fault == "lost after":
            for batches in sent[: 1 + len(sent) // 2]:
                self._cluster.carry_out(self._node, batches)
        elif fault == "late":
            self._cluster.late.extend((3 + index, batches) for index, batches in enumerate(sent))
        raise KafkaUnreachable("the connection was lost, on script")

    def close(self) -> None:
        self.closed = True


class SimulatedSettings:
    """Settings and permissions as brokers tell them; those that `refused` names are told as its errors."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self.refused: dict[str, KafkaError] = {}
        """By the name of the call."""
        self.bindings: tuple[Acl, ...] = ()
        self.looks = 0
        """How often anybody asked for log directories, whose sizes change from look to look."""
        self.altered: list[tuple[str, dict[str, str], tuple[str, ...]]] = []
        """Topics whose configs were set and deleted."""

    def acls(self) -> tuple[Acl, ...]:
        return self._told("acls", self.bindings)

    def quotas(self) -> tuple[Quota, ...]:
        return self._told("quotas", ())

    def scram_users(self) -> tuple[ScramUser, ...]:
        return self._told("scram_users", (ScramUser("alice", "SCRAM-SHA-512", 4096),))

    def features(self) -> tuple[Feature, ...]:
        return self._told("features", (Feature("metadata.version", 25),))

    def config_resources(self, kind: str) -> tuple[str, ...]:
        return self._told("config_resources", ())

    def configs(self, resources: Collection[tuple[str, str]]) -> dict[tuple[str, str], ResourceConfigs | KafkaError]:
        value = ConfigValue("log.retention.hours", "168", "static")
        return {
            (kind, name): self.refused.get(
                f"configs of {kind} {name}".rstrip(), ResourceConfigs(kind, name, (value,) if kind == "broker" else ())
            )
            for kind, name in resources
        }

    def log_dirs(self, nodes: Collection[int]) -> dict[int, tuple[LogDir, ...] | KafkaError]:
        self.looks += 1
        return {node: self.refused.get("log_dirs", (LogDir("/data", "", -1, self.looks, 1, 1),)) for node in nodes}

    def quorum(self) -> Quorum:
        return self._told("quorum", Quorum(0, ((0, "A" * 22),), ()))

    def reassignments(self) -> tuple[Reassignment, ...]:
        return self._told("reassignments", ())

    def tokens(self) -> tuple[DelegationToken, ...]:
        return self._told("tokens", ())

    def group_members(self, listings: Collection[GroupListing]) -> dict[str, GroupMembers | KafkaError]:
        return {listing.group_id: GroupMembers(listing.group_id, listing.type, "Stable", ()) for listing in listings}

    def alter_configs(self, changes: Sequence[ConfigChange]) -> list[KafkaError | None]:
        """Of topics: nothing else is changed by a restore."""
        for change in changes:
            self.altered.append((change.name, dict(change.set), change.delete))
            configs = self._cluster.topics[change.name].configs
            configs.update(change.set)
            for name in change.delete:
                configs.pop(name, None)
        return [None] * len(changes)

    def _told(self, call: str, answer: T) -> T:
        if call in self.refused:
            raise self.refused[call]
        return answer


class SimulatedAdmin:
    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self._producer_id = 4000
        self.refused_configs: dict[str, KafkaError] = {}
        """What stands in place of a topic's settings."""
        self.transactions: dict[str, tuple[int, TransactionDescription]] = {}
        """By transactional id, its coordinator and what that says."""
        self.before_transactions: Callable[[str], None] = lambda request: None
        """Called with `list` or `describe` before such a request is answered."""

    def groups(self) -> tuple[GroupListing, ...]:
        kinds = self._cluster.group_types
        return tuple(
            GroupListing(name, kinds.get(name, "classic"), "Empty", "consumer") for name in sorted(self._cluster.groups)
        )

    def group_offsets(self, groups: Collection[str]) -> dict[str, tuple[GroupOffset, ...]]:
        return {name: tuple(self._cluster.groups[name]) for name in groups}

    def group_state(self, groups: Collection[str]) -> dict[str, GroupListing]:
        active = self._cluster.active
        return {
            name: GroupListing(name, "classic", "Stable" if name in active else "Empty", "consumer") for name in groups
        }

    def commit_group_offsets(self, group: str, offsets: Sequence[GroupOffset]) -> dict[TopicPartition, int]:
        kept = {known.topic_partition: known for known in self._cluster.groups.get(group, [])}
        kept |= {offset.topic_partition: offset for offset in offsets}
        self._cluster.groups[group] = list(kept.values())
        return {offset.topic_partition: 0 for offset in offsets}

    def topic_configs(self, topics: Collection[str]) -> dict[str, tuple[ConfigEntry, ...] | KafkaError]:
        return {name: self.refused_configs.get(name, self._configs(name)) for name in topics}

    def _configs(self, topic: str) -> tuple[ConfigEntry, ...]:
        """Overrides and those of the broker's defaults that operations look at."""
        own = self._cluster.topics[topic].configs
        defaults = {"cleanup.policy": "delete", "delete.retention.ms": "86400000"}
        return tuple(
            ConfigEntry(key, value, 1 if key in own else 5, False, False)
            for key, value in sorted((defaults | own).items())
        )

    def create_topics(self, topics: Sequence[NewTopic], *, validate_only: bool = False) -> dict[str, Any]:
        return {topic.name: self._create(topic, validate_only) for topic in topics}

    def _create(self, topic: NewTopic, validate_only: bool) -> str | KafkaRequestError:
        if topic.name in self._cluster.topics:
            return KafkaRequestError(f"topic {topic.name} exists", code=36, name="TOPIC_ALREADY_EXISTS")
        if self._cluster.unsupported & set(topic.configs):
            return KafkaRequestError(f"bad settings of {topic.name}", code=40, name="INVALID_CONFIG")
        if validate_only:
            return "A" * 22
        return self._cluster.add_topic(topic.name, topic.partitions, configs=dict(topic.configs)).topic_id

    def init_producer_id(self) -> tuple[int, int]:
        self._producer_id += 1
        return self._producer_id, 0

    def list_transactions(self) -> tuple[ListedTransaction, ...]:
        self.before_transactions("list")
        return tuple(
            ListedTransaction(name, node, told.producer_id) for name, (node, told) in self.transactions.items()
        )

    def describe_transactions(self, node: int, names: Sequence[str]) -> dict[str, TransactionDescription | None]:
        self.before_transactions("describe")
        found = {name: self.transactions.get(name, (node, None)) for name in names}
        return {name: told for name, (at, told) in found.items() if at == node}

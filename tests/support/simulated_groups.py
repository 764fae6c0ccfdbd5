"""A cluster in memory that has groups and log ends and no records: what `kafkeep.groups` asks of a cluster, answered as
brokers do (GroupCoordinatorService, OffsetMetadataManager), with faults on script.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kafkeep.errors import KafkaError, KafkaRequestError, KafkaUnsupported
from kafkeep.kafka.cluster import EARLIEST, OffsetAnswer
from kafkeep.kafka.codes import ErrorCode, request_error
from kafkeep.kafka.groups import GroupListing
from kafkeep.kafka.topology import Broker, PartitionTopology, TopicTopology, Topology
from kafkeep.model import GroupOffset, TopicPartition

LONGEST_METADATA = 4096
"""offset.metadata.max.bytes."""


@dataclass
class SimulatedGroup:
    type: str
    state: str = "Empty"
    positions: dict[TopicPartition, GroupOffset] = field(default_factory=dict)

    def copy(self) -> SimulatedGroup:
        return SimulatedGroup(self.type, self.state, dict(self.positions))


@dataclass
class SimulatedLogEnds:
    topic_id: str
    ends: list[tuple[int, int]]
    """(log start, high watermark) of each partition."""
    leader_epoch: int = 3


def position(topic: str, partition: int, offset: int, epoch: int = -1, metadata: str = "") -> GroupOffset:
    return GroupOffset(TopicPartition(topic, partition), offset, epoch, metadata)


def no_fault(call: str, group: str, when: str) -> None:
    """Everything goes well."""


class SimulatedGroups:
    """Both the cluster and its `admin`; `another` gives itself, so that all threads see one state.

    `fault(call, group, when)` is asked before and after each change of a group and raises what shall go wrong, or changes
    something.
    """

    def __init__(self, cluster_id: str = "target", *, share_groups: bool = True) -> None:
        self.id = cluster_id
        self.share_groups = share_groups
        self.topics: dict[str, SimulatedLogEnds] = {}
        self.groups: dict[str, SimulatedGroup] = {}
        self.denied: set[str] = set()
        self.fault: Callable[[str, str, str], None] = no_fault
        self.changes: list[tuple[str, str]] = []
        self.lock = threading.RLock()
        self.admin: Any = self

    def add_topic(self, name: str, *ends: tuple[int, int], topic_id: str | None = None, epoch: int = 3) -> None:
        self.topics[name] = SimulatedLogEnds(f"id-of-{name}" if topic_id is None else topic_id, list(ends), epoch)

    def add_group(self, name: str, *positions: GroupOffset, type: str = "classic", state: str = "Empty") -> None:  # noqa: A002
        self.groups[name] = SimulatedGroup(type, state, {p.topic_partition: p for p in positions})

    def copy_of_groups(self) -> dict[str, SimulatedGroup]:
        return {name: group.copy() for name, group in self.groups.items()}

    # --- the cluster

    def another(self) -> SimulatedGroups:
        return self

    def __enter__(self) -> SimulatedGroups:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def cluster_id(self) -> str:
        return self.id

    def topology(self, topics: Collection[str]) -> Topology:
        return Topology(
            self.id, 1, {1: Broker(1, "simulated", 9092, None)}, {name: self._topic(name) for name in topics}
        )

    def _topic(self, name: str) -> TopicTopology:
        known = self.topics.get(name)
        if known is None:
            return TopicTopology(name, "A" * 22, False, (), int(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION))
        partitions = tuple(
            PartitionTopology(number, 1, known.leader_epoch, (1,), (1,), 0) for number in range(len(known.ends))
        )
        return TopicTopology(name, known.topic_id, False, partitions, 0)

    def offsets(self, partitions: Iterable[TopicPartition], at: int, **_: Any) -> dict[TopicPartition, OffsetAnswer]:
        return {
            tp: OffsetAnswer(self.topics[tp.topic].ends[tp.partition][0 if at == EARLIEST else 1], 3, -1, 0)
            for tp in partitions
        }

    # --- groups read

    def group_state(self, groups: Collection[str]) -> dict[str, GroupListing | KafkaError]:
        return {name: self._state(name) for name in groups}

    def _state(self, name: str) -> GroupListing | KafkaError:
        if name in self.denied:
            return request_error(ErrorCode.GROUP_AUTHORIZATION_FAILED, f"describe group {name}")
        group = self.groups.get(name)
        return (
            GroupListing(name, "unknown", "Dead", "")
            if group is None
            else GroupListing(name, group.type, group.state, "consumer")
        )

    def group_offsets(self, groups: Collection[str]) -> dict[str, tuple[GroupOffset, ...] | KafkaError]:
        with self.lock:
            return {name: self._positions(name, share=False) for name in groups}

    def share_group_offsets(self, groups: Collection[str]) -> dict[str, tuple[GroupOffset, ...] | KafkaError]:
        if not self.share_groups:
            return dict.fromkeys(groups, KafkaUnsupported("DescribeShareGroupOffsets is not offered"))
        with self.lock:
            return {name: self._positions(name, share=True) for name in groups}

    def _positions(self, name: str, *, share: bool) -> tuple[GroupOffset, ...]:
        group = self.groups.get(name)
        if group is None or (group.type == "share") != share:
            return ()
        return tuple(sorted(group.positions.values(), key=lambda p: p.topic_partition))

    # --- groups changed

    def commit_group_offsets(self, name: str, offsets: Sequence[GroupOffset]) -> dict[TopicPartition, int]:
        with self._changing("commit", name):
            group = self.groups.get(name)
            if group is not None and group.type == "share":
                raise _refused(ErrorCode.GROUP_ID_NOT_FOUND, name)
            if group is not None and group.state != "Empty":
                return dict.fromkeys((p.topic_partition for p in offsets), int(ErrorCode.UNKNOWN_MEMBER_ID))
            group = self.groups.setdefault(name, SimulatedGroup("classic"))
            codes = {p.topic_partition: self._commit(group, p) for p in offsets}
            if not group.positions and not any(code == 0 for code in codes.values()):
                del self.groups[name]
            return codes

    def _commit(self, group: SimulatedGroup, wanted: GroupOffset) -> int:
        if not self._there(wanted.topic_partition):
            return int(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        if len(wanted.metadata.encode()) > LONGEST_METADATA:
            return int(ErrorCode.OFFSET_METADATA_TOO_LARGE)
        group.positions[wanted.topic_partition] = wanted
        return 0

    def delete_group_offsets(self, name: str, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        with self._changing("delete-offsets", name):
            group = self._empty(name, share=False)
            codes: dict[TopicPartition, int] = {}
            for tp in partitions:
                codes[tp] = 0 if self._there(tp) else int(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
                group.positions.pop(tp, None)
            return codes

    def delete_groups(self, names: Collection[str]) -> dict[str, KafkaError | None]:
        found: dict[str, KafkaError | None] = {}
        for name in names:
            with self._changing("delete", name):
                busy = name in self.groups and self.groups[name].state != "Empty"
                found[name] = _refused(ErrorCode.NON_EMPTY_GROUP, name) if busy else None
                if not busy:
                    self.groups.pop(name, None)
        return found

    def set_share_group_offsets(self, name: str, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        with self._changing("set-share", name):
            if name not in self.groups:
                self.groups[name] = SimulatedGroup("share")
            group = self._empty(name, share=True)
            codes: dict[TopicPartition, int] = {}
            for tp, offset in offsets.items():
                codes[tp] = 0 if self._there(tp) else int(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
                if not codes[tp]:
                    group.positions[tp] = GroupOffset(tp, offset, self.topics[tp.topic].leader_epoch, "")
            return codes

    def delete_share_group_offsets(self, name: str, topics: Collection[str]) -> dict[str, int]:
        with self._changing("delete-share", name):
            group = self._empty(name, share=True)
            group.positions = {tp: p for tp, p in group.positions.items() if tp.topic not in topics}
            return dict.fromkeys(topics, 0)

    @contextmanager
    def _changing(self, call: str, name: str) -> Iterator[None]:
        with self.lock:
            self.fault(call, name, "before")
            self.changes.append((call, name))
            yield
            self.fault(call, name, "after")

    def _there(self, tp: TopicPartition) -> bool:
        return tp.topic in self.topics and 0 <= tp.partition < len(self.topics[tp.topic].ends)

    def _empty(self, name: str, *, share: bool) -> SimulatedGroup:
        group = self.groups.get(name)
        if group is None or (group.type == "share") != share:
            raise _refused(ErrorCode.GROUP_ID_NOT_FOUND, name)
        if group.state != "Empty":
            raise _refused(ErrorCode.NON_EMPTY_GROUP, name)
        return group


def _refused(code: ErrorCode, name: str) -> KafkaRequestError:
    error = request_error(code, f"group {name}")
    if not isinstance(error, KafkaRequestError):
        raise TypeError(f"{code} is an error of its own")
    return error

"""Consumer groups: listing, state, positions, and setting positions from outside.

Rules: KIP-211, KIP-699, KIP-709, KIP-848 and the broker's GroupCoordinatorService and OffsetMetadataManager. The
functions here are `Admin`'s methods; see there for what callers may rely on.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final, TypeVar

from kafkeep.errors import KafkaError, KafkaUnreachable, KafkaUnsupported
from kafkeep.kafka.apis import (
    DELETE_GROUPS,
    DESCRIBE_CONSUMER_GROUPS,
    DESCRIBE_GROUPS,
    LIST_GROUPS,
    OFFSET_COMMIT,
    OFFSET_DELETE,
    OFFSET_FETCH,
)
from kafkeep.kafka.at_once import at_once
from kafkeep.kafka.codes import ErrorCode, code_name, request_error
from kafkeep.kafka.control import ControlClient
from kafkeep.kafka.links import Fields
from kafkeep.kafka.routing import COORDINATOR_MOVED, GroupAnswers, by_coordinator
from kafkeep.model import GroupOffset, TopicPartition
from kafkeep.records import dataclass

T = TypeVar("T")

UNKNOWN_TYPE: Final = "unknown"
DEAD: Final = "Dead"
"""Kafka's word for a group that does not exist."""
EMPTY: Final = "Empty"
"""Kafka's word for a group without members."""

GROUPS_PER_REQUEST: Final = 100
OFFSETS_PER_COMMIT: Final = 2000
STABLE_WAIT_SECONDS: Final = 5.0
"""How long to wait for transactional commits to be decided before taking positions as they are."""

# ConsumerGroupDescribe says 69 of a group that is not of its type, and 35 where KIP-848 is switched off.
_NOT_THIS_TYPE = frozenset({ErrorCode.GROUP_ID_NOT_FOUND, ErrorCode.UNSUPPORTED_VERSION, ErrorCode.INVALID_GROUP_ID})


@dataclass(frozen=True, slots=True)
class GroupListing:
    """A group as the brokers list it.

    `type` is classic, consumer, share or streams, and `unknown` where the broker does not say (before Kafka 3.8);
    `state` is Kafka's word, empty where it does not say (before 2.6).
    """

    group_id: str
    type: str
    state: str
    protocol_type: str

    @property
    def has_members(self) -> bool:
        """True when positions cannot be set from outside because somebody is in the group."""
        return self.state not in (EMPTY, DEAD)


def list_groups(client: ControlClient) -> tuple[GroupListing, ...]:
    """Every group of every broker, sorted by id."""
    retry = client.retry("list groups")
    while True:
        try:
            found, code = _list_round(client)
        except KafkaUnreachable as error:
            # A broker that went away takes its groups to another one: half a list would hide them.
            if not retry.again(error.message):
                raise
            continue
        if not code:
            return tuple(found[group] for group in sorted(found))
        if not retry.again(code_name(code)):
            raise request_error(code, "list groups")


def _list_round(client: ControlClient) -> tuple[dict[str, GroupListing], int]:
    brokers = client.topology([]).brokers
    found: dict[str, GroupListing] = {}
    for node, answer in zip(brokers, at_once(lambda node: client.send(LIST_GROUPS, {}, to=node), brokers), strict=True):
        if answer.error_code in COORDINATOR_MOVED:
            return {}, int(answer.error_code)
        if answer.error_code:
            raise request_error(answer.error_code, f"list groups of broker {node}")
        found |= {item.group_id: _listing(item) for item in answer.groups}
    return found, 0


def _listing(item: Any) -> GroupListing:
    # The protocol writes types capitalised in some releases.
    kind = item.group_type.lower() if item.group_type else UNKNOWN_TYPE
    return GroupListing(item.group_id, kind, item.group_state, item.protocol_type)


def group_states(client: ControlClient, groups: Collection[str]) -> dict[str, GroupListing | KafkaError]:
    """Type and state of each group; `DEAD` for one that does not exist."""

    def ask(node: int, mine: Sequence[str]) -> GroupAnswers[GroupListing]:
        answers: GroupAnswers[GroupListing] = {}
        for chunk in chunks(mine, GROUPS_PER_REQUEST):
            answers |= _describe_classic(client, node, chunk)
        # What is no classic group looks dead to DescribeGroups, so the other types are asked for before that is
        # believed.
        for chunk in chunks(_dead(answers), GROUPS_PER_REQUEST):
            answers |= _describe_consumer(client, node, chunk)
        if dead := _dead(answers):
            answers |= _describe_listed(client, node, dead)
        return answers

    return by_coordinator(client, groups, ask, what="describe group")


def _dead(answers: GroupAnswers[GroupListing]) -> list[str]:
    return [group for group, (_, listing) in answers.items() if listing is not None and listing.state == DEAD]


def _describe_classic(client: ControlClient, node: int, groups: Sequence[str]) -> GroupAnswers[GroupListing]:
    answer = client.send(DESCRIBE_GROUPS, {"groups": list(groups)}, to=node)
    answers: GroupAnswers[GroupListing] = {}
    for item in answer.groups:
        if item.error_code == ErrorCode.GROUP_ID_NOT_FOUND or (not item.error_code and item.group_state == DEAD):
            answers[item.group_id] = (0, GroupListing(item.group_id, UNKNOWN_TYPE, DEAD, ""))
        else:
            listing = GroupListing(item.group_id, "classic", item.group_state, item.protocol_type)
            answers[item.group_id] = (item.error_code, listing)
    return answers


def _describe_consumer(client: ControlClient, node: int, groups: Sequence[str]) -> GroupAnswers[GroupListing]:
    try:
        answer = client.send(DESCRIBE_CONSUMER_GROUPS, {"group_ids": list(groups)}, to=node)
    except KafkaUnsupported:
        return {}
    return {
        item.group_id: (item.error_code, GroupListing(item.group_id, "consumer", item.group_state, "consumer"))
        for item in answer.groups
        if item.error_code not in _NOT_THIS_TYPE
    }


def _describe_listed(client: ControlClient, node: int, groups: Sequence[str]) -> GroupAnswers[GroupListing]:
    """Share and streams groups by their coordinator's list: one request for all types, present and to come."""
    answer = client.send(LIST_GROUPS, {}, to=node)
    if answer.error_code:
        return dict.fromkeys(groups, (int(answer.error_code), None))
    listed = {item.group_id: _listing(item) for item in answer.groups}
    return {group: (0, listed[group]) for group in groups if group in listed}


def group_offsets(
    client: ControlClient, groups: Collection[str], *, stable_wait_seconds: float
) -> dict[str, tuple[GroupOffset, ...] | KafkaError]:
    """Committed positions of each group, sorted by partition."""
    unstable_until = time.monotonic() + stable_wait_seconds

    def ask(node: int, mine: Sequence[str]) -> GroupAnswers[tuple[GroupOffset, ...]]:
        # Many groups in one request from version 8 on (KIP-709).
        size = GROUPS_PER_REQUEST if client.version(OFFSET_FETCH, to=node) >= 8 else 1
        answers: GroupAnswers[tuple[GroupOffset, ...]] = {}
        for chunk in chunks(mine, size):
            body: Fields = {
                "group_id": chunk[0],
                "topics": None,
                "groups": [{"group_id": group, "topics": None} for group in chunk],
                "require_stable": time.monotonic() < unstable_until,
            }
            answer = client.send(OFFSET_FETCH, body, to=node)
            found = [(item.group_id, item) for item in answer.groups] if size > 1 else [(chunk[0], answer)]
            answers |= {group: _positions(item) for group, item in found}
        return answers

    return by_coordinator(client, groups, ask, what="offsets of group")


def _positions(item: Any) -> tuple[int, tuple[GroupOffset, ...] | None]:
    if item.error_code:
        return item.error_code, None
    found = []
    for topic in item.topics:
        for p in topic.partitions:
            if p.error_code:
                return p.error_code, None
            if p.committed_offset >= 0:
                metadata = "" if p.metadata is None else p.metadata
                where = TopicPartition(topic.name, p.partition_index)
                found.append(GroupOffset(where, p.committed_offset, p.committed_leader_epoch, metadata))
    return 0, tuple(sorted(found, key=lambda offset: offset.topic_partition))


def commit_group_offsets(
    client: ControlClient, group: str, offsets: Sequence[GroupOffset]
) -> dict[TopicPartition, int]:
    """Sets positions of a group without members; Kafka's code per partition."""
    codes: dict[TopicPartition, int] = {}
    for chunk in chunks(offsets, OFFSETS_PER_COMMIT):
        codes |= _commit(client, group, chunk)
    return codes


def _commit(client: ControlClient, group: str, offsets: Sequence[GroupOffset]) -> dict[TopicPartition, int]:
    body: Fields = {
        "group_id": group,
        # Generation -1 without a member is the commit of somebody outside the group.
        "generation_id_or_member_epoch": -1,
        "member_id": "",
        "retention_time_ms": -1,
        "topics": _commit_topics(offsets),
    }

    def ask(node: int, groups: Sequence[str]) -> GroupAnswers[dict[TopicPartition, int]]:
        answer = client.send(OFFSET_COMMIT, body, to=node)
        codes = {
            TopicPartition(topic.name, p.partition_index): int(p.error_code)
            for topic in answer.topics
            for p in topic.partitions
        }
        moved = next((code for code in codes.values() if code in COORDINATOR_MOVED), 0)
        return {group: (moved, codes)}

    answer = by_coordinator(client, [group], ask, what="commit offsets of group", right="READ on the group")[group]
    if isinstance(answer, KafkaError):
        raise answer
    return {o.topic_partition: answer.get(o.topic_partition, int(ErrorCode.UNKNOWN_SERVER_ERROR)) for o in offsets}


def delete_group_offsets(
    client: ControlClient, group: str, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, int]:
    """Takes positions away from a group without members; Kafka's code per partition."""
    topics: dict[str, list[Fields]] = {}
    for tp in partitions:
        topics.setdefault(tp.topic, []).append({"partition_index": tp.partition})
    body: Fields = {"group_id": group, "topics": [{"name": name, "partitions": p} for name, p in topics.items()]}

    def ask(node: int, groups: Sequence[str]) -> GroupAnswers[dict[TopicPartition, int]]:
        answer = client.send(OFFSET_DELETE, body, to=node)
        codes = {
            TopicPartition(topic.name, p.partition_index): int(p.error_code)
            for topic in answer.topics
            for p in topic.partitions
        }
        return {group: (answer.error_code, codes)}

    answer = by_coordinator(client, [group], ask, what="delete offsets of group", right="DELETE on the group")[group]
    if isinstance(answer, KafkaError):
        raise answer
    return {tp: answer.get(tp, int(ErrorCode.UNKNOWN_SERVER_ERROR)) for tp in partitions}


def delete_groups(client: ControlClient, groups: Collection[str]) -> dict[str, KafkaError | None]:
    """Deletes groups without members, of any type, with all their positions."""

    def ask(node: int, mine: Sequence[str]) -> GroupAnswers[bool]:
        answers: GroupAnswers[bool] = {}
        for chunk in chunks(mine, GROUPS_PER_REQUEST):
            answer = client.send(DELETE_GROUPS, {"groups_names": list(chunk)}, to=node)
            # Not found: it was never there, or the answer to our first try was lost.
            answers |= {
                item.group_id: (0 if item.error_code == ErrorCode.GROUP_ID_NOT_FOUND else item.error_code, True)
                for item in answer.results
            }
        return answers

    found = by_coordinator(client, groups, ask, what="delete group", right="DELETE on the group")
    return {group: answer if isinstance(answer, KafkaError) else None for group, answer in found.items()}


def _commit_topics(offsets: Sequence[GroupOffset]) -> list[Fields]:
    topics: dict[str, list[Fields]] = {}
    for offset in offsets:
        topics.setdefault(offset.topic_partition.topic, []).append(
            {
                "partition_index": offset.topic_partition.partition,
                "committed_offset": offset.offset,
                "committed_leader_epoch": offset.leader_epoch,
                "committed_metadata": offset.metadata,
            }
        )
    return [{"name": topic, "partitions": partitions} for topic, partitions in topics.items()]


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items in order, at most `size` at a time."""
    for first in range(0, len(items), size):
        yield items[first : first + size]

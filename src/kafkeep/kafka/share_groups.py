"""Start offsets of share groups (KIP-932, brokers from Kafka 4.1 on). The functions here are `Admin`'s methods.

A share group has no committed position: per partition there is the offset from which on records are still to be handed
out or acknowledged. It can be set while the group is empty; which records are in flight cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from kafkeep.errors import KafkaError, KafkaUnsupported
from kafkeep.kafka.apis import ALTER_SHARE_OFFSETS, DELETE_SHARE_OFFSETS, DESCRIBE_SHARE_OFFSETS, Api
from kafkeep.kafka.codes import ErrorCode
from kafkeep.kafka.control import ControlClient
from kafkeep.kafka.groups import GROUPS_PER_REQUEST, OFFSETS_PER_COMMIT, chunks
from kafkeep.kafka.links import Fields
from kafkeep.kafka.routing import COORDINATOR_MOVED, GroupAnswers, by_coordinator
from kafkeep.model import GroupOffset, TopicPartition

K = TypeVar("K")


def share_group_offsets(
    client: ControlClient, groups: Collection[str]
) -> dict[str, tuple[GroupOffset, ...] | KafkaError]:
    """Start offsets of each share group, sorted by partition."""

    def ask(node: int, mine: Sequence[str]) -> GroupAnswers[tuple[GroupOffset, ...]]:
        answers: GroupAnswers[tuple[GroupOffset, ...]] = {}
        for chunk in chunks(mine, GROUPS_PER_REQUEST):
            body = {"groups": [{"group_id": group, "topics": None} for group in chunk]}
            answer = client.send(DESCRIBE_SHARE_OFFSETS, body, to=node)
            answers |= {item.group_id: _positions(item) for item in answer.groups}
        return answers

    try:
        return by_coordinator(client, groups, ask, what="start offsets of share group")
    except KafkaUnsupported as error:
        return dict.fromkeys(groups, error)


def _positions(item: Any) -> tuple[int, tuple[GroupOffset, ...] | None]:
    if item.error_code == ErrorCode.GROUP_ID_NOT_FOUND:
        return 0, ()
    if item.error_code:
        return item.error_code, None
    found: list[GroupOffset] = []
    for topic in item.topics:
        for p in topic.partitions:
            if p.error_code:
                return p.error_code, None
            if p.start_offset >= 0:
                where = TopicPartition(topic.topic_name, p.partition_index)
                found.append(GroupOffset(where, p.start_offset, p.leader_epoch, ""))
    return 0, tuple(sorted(found, key=lambda offset: offset.topic_partition))


def set_share_group_offsets(
    client: ControlClient, group: str, offsets: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int]:
    """Sets start offsets of a share group without members; Kafka's code per partition."""
    codes: dict[TopicPartition, int] = {}
    for chunk in chunks(list(offsets), OFFSETS_PER_COMMIT):
        topics: dict[str, list[Fields]] = {}
        for tp in chunk:
            entry = {"partition_index": tp.partition, "start_offset": offsets[tp]}
            topics.setdefault(tp.topic, []).append(entry)
        body = {"group_id": group, "topics": [{"topic_name": name, "partitions": p} for name, p in topics.items()]}
        told = _ask_one(client, ALTER_SHARE_OFFSETS, group, body, _partition_codes, "set start offsets of share group")
        codes |= {tp: told.get(tp, int(ErrorCode.UNKNOWN_SERVER_ERROR)) for tp in chunk}
    return codes


def delete_share_group_offsets(client: ControlClient, group: str, topics: Collection[str]) -> dict[str, int]:
    """Takes whole topics out of a share group without members; Kafka's code per topic."""
    body = {"group_id": group, "topics": [{"topic_name": name} for name in topics]}
    told = _ask_one(client, DELETE_SHARE_OFFSETS, group, body, _topic_codes, "delete start offsets of share group")
    return {name: told.get(name, int(ErrorCode.UNKNOWN_SERVER_ERROR)) for name in topics}


def _partition_codes(answer: Any) -> dict[TopicPartition, int]:
    return {
        TopicPartition(topic.topic_name, p.partition_index): int(p.error_code)
        for topic in answer.responses
        for p in topic.partitions
    }


def _topic_codes(answer: Any) -> dict[str, int]:
    return {topic.topic_name: int(topic.error_code) for topic in answer.responses}


def _ask_one(
    client: ControlClient, api: Api, group: str, body: Fields, read: Callable[[Any], dict[K, int]], what: str
) -> dict[K, int]:
    def ask(node: int, groups: Sequence[str]) -> GroupAnswers[dict[K, int]]:
        answer = client.send(api, body, to=node)
        codes = read(answer)
        moved = next((code for code in codes.values() if code in COORDINATOR_MOVED), 0)
        return {group: (answer.error_code or moved, codes)}

    told = by_coordinator(client, [group], ask, what=what, right="READ or DELETE on the group")[group]
    if isinstance(told, KafkaError):
        raise told
    return told

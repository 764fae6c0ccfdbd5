"""Administration of topics, configs, groups and producer ids. `Admin` is reached as `Cluster.admin`.

What concerns one item of many (a topic, a group, a partition) is answered in that item's place, as a code or as a
`KafkaError` value, KafkaAccessDenied for a missing right: it neither stops the others nor passes for absence. Errors
that concern the whole call are raised: KafkaUnreachable, KafkaLoginError, KafkaProtocolError, KafkaUnsupported.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from kafkeep.errors import KafkaError
from kafkeep.kafka import groups as group_calls
from kafkeep.kafka import share_groups as share_calls
from kafkeep.kafka import transactions as transaction_calls
from kafkeep.kafka.apis import CREATE_TOPICS, DELETE_RECORDS, DELETE_TOPICS, INIT_PRODUCER_ID
from kafkeep.kafka.codes import ErrorCode, code_name, request_error, retriable
from kafkeep.kafka.control import ControlClient, topic_id
from kafkeep.kafka.groups import GroupListing
from kafkeep.kafka.links import Fields
from kafkeep.kafka.long_answers import DESCRIBE_CONFIGS
from kafkeep.kafka.retry import Retry
from kafkeep.kafka.routing import COORDINATOR_MOVED, LeaderAnswers, by_leader, refused
from kafkeep.kafka.topology import Topology
from kafkeep.kafka.transaction_values import ListedTransaction, TransactionDescription
from kafkeep.kafka.wire.describe_configs import ConfigEntry, DescribedResource
from kafkeep.model import NO_TOPIC_ID, GroupOffset, TopicPartition
from kafkeep.records import dataclass

TOPIC_RESOURCE: Final = 2

TOPIC_OVERRIDE: Final = 1
"""`ConfigEntry.source` of a value set on the topic itself; 2 and 3 are dynamic broker values, 4 the broker's file, 5
the built-in default (DescribeConfigsResponse.ConfigSource)."""

TOPICS_PER_REQUEST: Final = 200
RECORDS_PER_REQUEST: Final = 5000
"""A KRaft controller writes at most 10 000 metadata records per call (QuorumController.MAX_RECORDS_PER_USER_OP)."""


@dataclass(frozen=True, slots=True)
class NewTopic:
    """A topic to create. With `assignments` (replica node ids of each partition, in partition order, the first one
    leads) the partition count and replication factor are taken from them."""

    name: str
    partitions: int
    replication_factor: int
    configs: tuple[tuple[str, str], ...] = ()
    assignments: tuple[tuple[int, ...], ...] | None = None


class Admin:
    """Administrative requests to one cluster; safe for many threads. The connections belong to the `Cluster`."""

    def __init__(self, client: ControlClient) -> None:
        self._client = client

    # --- topics

    def topic_configs(self, topics: Collection[str]) -> dict[str, tuple[ConfigEntry, ...] | KafkaError]:
        """All effective configs of each topic with their sources, sorted by name; topics with the same configs mostly share
        them. An absent topic is error 3.
        """
        found: dict[str, tuple[ConfigEntry, ...] | KafkaError] = {}
        names = list(dict.fromkeys(topics))
        retry = self._client.retry("topic configs")
        for first in range(0, len(names), TOPICS_PER_REQUEST):
            chunk = names[first : first + TOPICS_PER_REQUEST]
            resources = [
                {"resource_type": TOPIC_RESOURCE, "resource_name": name, "configuration_keys": None} for name in chunk
            ]
            answer = self._client.send(DESCRIBE_CONFIGS, {"resources": resources}, to="any", retry=retry)
            results = {item.resource_name: item for item in answer.results}
            found |= {name: _configs(name, results.get(name)) for name in chunk}
        return found

    def create_topics(self, topics: Sequence[NewTopic], *, validate_only: bool = False) -> dict[str, str | KafkaError]:
        """Creates topics; per name the new topic's id (`NO_TOPIC_ID` from brokers before 2.8, or when only validated).

        When an answer is lost and the repeated request finds the topic there, it counts as created by this call if it
        was absent before. Brokers may learn of a new topic a moment later: `Cluster.await_topics`.
        """
        pending = {topic.name: topic for topic in topics}
        if len(pending) != len(topics):
            raise ValueError("a topic is named twice")
        # Also without a lost answer: only a look beforehand can tell our own topic from one that was always there.
        existed = set() if validate_only else self._existing(pending)
        retry = self._client.retry("create topics")
        results: dict[str, str | KafkaError] = {}
        while pending:
            timed_out = self._create_round(pending, results, existed, retry, validate_only=validate_only)
            retry.unanswered += timed_out
            if pending and not retry.again(str(results[next(iter(pending))])):
                break
        return results

    def _create_round(
        self,
        pending: dict[str, NewTopic],
        results: dict[str, str | KafkaError],
        existed: Collection[str],
        retry: Retry,
        *,
        validate_only: bool,
    ) -> int:
        """Asks for every pending topic, takes the settled ones out of `pending`; returns how many timed out."""
        timed_out = 0
        for chunk in _creation_chunks(pending.values()):
            body = {
                "topics": [_creation(topic) for topic in chunk],
                "timeout_ms": self._client.broker_timeout_ms,
                "validate_only": validate_only,
            }
            answer = self._client.send(CREATE_TOPICS, body, to="controller", retry=retry)
            self._note_controller(answer.topics)
            told = {item.name: item for item in answer.topics}
            for topic in chunk:
                item = told.get(topic.name)
                code = ErrorCode.UNKNOWN_SERVER_ERROR if item is None else item.error_code
                timed_out += code == ErrorCode.REQUEST_TIMED_OUT
                if item is not None and not code:
                    # A KRaft controller makes an id up when it only validates.
                    results[topic.name] = NO_TOPIC_ID if validate_only else topic_id(item.topic_id)
                elif code == ErrorCode.TOPIC_ALREADY_EXISTS and retry.unanswered and topic.name not in existed:
                    results[topic.name] = self._client.topology([topic.name], retry=retry).topics[topic.name].topic_id
                else:
                    message = None if item is None else item.error_message
                    results[topic.name] = refused(
                        code, f"create topic {topic.name}", right="CREATE on the topic or the cluster", message=message
                    )
                if not _later(code):
                    del pending[topic.name]
        return timed_out

    def _existing(self, names: Collection[str]) -> set[str]:
        found = self._client.topology(names, retry=self._client.retry("metadata"))
        return {topic.name for topic in found.topics.values() if topic.error != ErrorCode.UNKNOWN_TOPIC_OR_PARTITION}

    def delete_topics(self, names: Collection[str]) -> dict[str, KafkaError | None]:
        """Deletes topics; None per name that is gone. Brokers may still list it for a moment."""
        pending = list(dict.fromkeys(names))
        results: dict[str, KafkaError | None] = {}
        retry = self._client.retry("delete topics")
        while pending:
            timed_out = 0
            asked, pending = pending, []
            for first in range(0, len(asked), TOPICS_PER_REQUEST):
                chunk = asked[first : first + TOPICS_PER_REQUEST]
                for name, code, message in self._delete(chunk, retry):
                    timed_out += code == ErrorCode.REQUEST_TIMED_OUT
                    gone = code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION and retry.unanswered > 0
                    error = refused(code, f"delete topic {name}", right="DELETE on the topic", message=message)
                    results[name] = None if not code or gone else error
                    if _later(code):
                        pending.append(name)
            retry.unanswered += timed_out
            if pending and not retry.again(str(results[pending[0]])):
                break
        return results

    def _delete(self, names: Sequence[str], retry: Retry) -> Iterator[tuple[str, int, str | None]]:
        body = {
            "topics": [{"name": name, "topic_id": None} for name in names],
            "topic_names": list(names),
            "timeout_ms": self._client.broker_timeout_ms,
        }
        answer = self._client.send(DELETE_TOPICS, body, to="controller", retry=retry)
        self._note_controller(answer.responses)
        told = {item.name: item for item in answer.responses}
        for name in names:
            item = told.get(name)
            if item is None:
                yield name, ErrorCode.UNKNOWN_SERVER_ERROR, None
            else:
                yield name, item.error_code, item.error_message

    def _note_controller(self, items: Sequence[Any]) -> None:
        if any(item.error_code == ErrorCode.NOT_CONTROLLER for item in items):
            self._client.forget_controller()

    def delete_records(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, tuple[int, int]]:
        """Moves log starts up to the given offsets (-1: the high watermark); (new log start, Kafka's code) per
        partition.

        The log start is -1 when the code is not 0. Refused for compact-only topics (44) and internal ones (17).
        """

        def ask(node: int, mine: Sequence[TopicPartition], topology: Topology) -> LeaderAnswers[int]:
            topics: dict[str, list[Fields]] = {}
            for tp in mine:
                topics.setdefault(tp.topic, []).append({"partition_index": tp.partition, "offset": offsets[tp]})
            body = {
                "topics": [{"name": name, "partitions": partitions} for name, partitions in topics.items()],
                "timeout_ms": self._client.broker_timeout_ms,
            }
            answer = self._client.send(DELETE_RECORDS, body, to=node)
            return {
                TopicPartition(topic.name, p.partition_index): (p.error_code, p.low_watermark)
                for topic in answer.topics
                for p in topic.partitions
            }

        found = by_leader(self._client, offsets, ask, what="delete records")
        return {tp: (-1 if code or low is None else low, int(code)) for tp, (code, low) in found.items()}

    # --- groups

    def groups(self) -> tuple[GroupListing, ...]:
        """Every group of every broker, all types a broker lists, sorted by id.

        Without DESCRIBE on the cluster a broker lists only the groups this login may describe, and says nothing of it.

        Raises:
            KafkaUnreachable: a live broker cannot be asked; half a list is never returned.
        """
        return group_calls.list_groups(self._client)

    def group_state(self, groups: Collection[str]) -> dict[str, GroupListing | KafkaError]:
        """Type and state of each group, whatever its type; the state of one that does not exist is `Dead`."""
        return group_calls.group_states(self._client, groups)

    def group_offsets(
        self, groups: Collection[str], *, stable_wait_seconds: float = group_calls.STABLE_WAIT_SECONDS
    ) -> dict[str, tuple[GroupOffset, ...] | KafkaError]:
        """Committed positions of each group with leader epoch and metadata string, sorted by partition.

        While a transactional commit is undecided the broker is asked again for up to `stable_wait_seconds`, then the
        positions are taken as they are. Absent groups and share groups have none. Positions on topics that this login
        may not describe are left out by the broker.
        """
        return group_calls.group_offsets(self._client, groups, stable_wait_seconds=stable_wait_seconds)

    def commit_group_offsets(self, group: str, offsets: Sequence[GroupOffset]) -> dict[TopicPartition, int]:
        """Sets positions of a group that is absent (it is created) or has no members; Kafka's code per partition.

        25 UNKNOWN_MEMBER_ID says that the group has members. The broker does not check offsets or leader epochs: Java
        consumers stay silent for good on an epoch that the topic has not reached, so give -1 unless epochs are the
        same.

        Raises:
            KafkaAccessDenied, KafkaRequestError: the group's coordinator cannot be told or refuses the whole request.
        """
        return group_calls.commit_group_offsets(self._client, group, offsets)

    def delete_group_offsets(self, group: str, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Takes positions away from a group without members (KIP-496; Kafka 2.4 or later); Kafka's code per partition.

        86 GROUP_SUBSCRIBED_TO_TOPIC says that members of the group read the topic. A position that is not there is no
        error. The group itself stays, without positions if these were all.

        Raises:
            KafkaAccessDenied, KafkaRequestError: as `commit_group_offsets`; 68 NON_EMPTY_GROUP, 69 GROUP_ID_NOT_FOUND.
        """
        return group_calls.delete_group_offsets(self._client, group, partitions)

    def delete_groups(self, groups: Collection[str]) -> dict[str, KafkaError | None]:
        """Deletes groups of any type with all their positions; None for each that is gone, or never was there.

        A group with members is refused with 68 NON_EMPTY_GROUP in its place.
        """
        return group_calls.delete_groups(self._client, groups)

    def share_group_offsets(self, groups: Collection[str]) -> dict[str, tuple[GroupOffset, ...] | KafkaError]:
        """Start offsets of share groups (KIP-932), sorted by partition; none for a group that is absent or no share
        group. KafkaUnsupported stands in the place of each where brokers lack the request (before Kafka 4.1)."""
        return share_calls.share_group_offsets(self._client, groups)

    def set_share_group_offsets(self, group: str, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Sets start offsets of a share group that is absent (it is created) or has no members; Kafka's code per
        partition. What was in flight is to be handed out again.

        Raises:
            KafkaUnsupported: brokers before Kafka 4.1.
            KafkaAccessDenied, KafkaRequestError: 68 NON_EMPTY_GROUP with members, 69 GROUP_ID_NOT_FOUND when a group
                of another type has that id.
        """
        return share_calls.set_share_group_offsets(self._client, group, offsets)

    def delete_share_group_offsets(self, group: str, topics: Collection[str]) -> dict[str, int]:
        """Takes topics, all partitions of each, out of a share group without members; Kafka's code per topic. Raises as
        `set_share_group_offsets`."""
        return share_calls.delete_share_group_offsets(self._client, group, topics)

    # --- producers

    def list_transactions(self) -> tuple[ListedTransaction, ...]:
        """Every transactional id that this login may describe, with the broker whose list it is on: asked of all brokers,
        none of them a second time. Raises as `kafka.transactions.list_transactions`."""
        return transaction_calls.list_transactions(self._client, self._client.topology([]).brokers)

    def describe_transactions(
        self, node: int, transactional_ids: Sequence[str]
    ) -> dict[str, TransactionDescription | None]:
        """What this broker holds of the ids it coordinates, as `kafka.transactions.describe_transactions`."""
        return transaction_calls.describe_transactions(self._client, node, transactional_ids)

    def init_producer_id(self) -> tuple[int, int]:
        """A fresh (producer id, epoch) for idempotent, non-transactional producing.

        Raises:
            KafkaAccessDenied: without IDEMPOTENT_WRITE on the cluster or WRITE on some topic.
            KafkaRequestError: a broker refuses otherwise, or its id block is not there in time.
        """
        body = {"transactional_id": None, "transaction_timeout_ms": 2**31 - 1}
        retry = self._client.retry("init producer id")
        while True:
            answer = self._client.send(INIT_PRODUCER_ID, body, to="any", retry=retry)
            if not answer.error_code:
                return answer.producer_id, answer.producer_epoch
            moved = answer.error_code in COORDINATOR_MOVED or _later(answer.error_code)
            if not moved or not retry.again(code_name(answer.error_code)):
                right = "IDEMPOTENT_WRITE on the cluster and WRITE on any topic"
                raise refused(answer.error_code, "init producer id", right=right)


def _later(code: int) -> bool:
    # For an administrative request an unknown topic is an answer, not a reason to ask again.
    return retriable(code) and code != ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def _configs(topic: str, result: DescribedResource | None) -> tuple[ConfigEntry, ...] | KafkaError:
    if result is None:
        return request_error(ErrorCode.UNKNOWN_SERVER_ERROR, f"configs of topic {topic}")
    if result.error_code:
        what, right = f"configs of topic {topic}", "DESCRIBE_CONFIGS on the topic"
        return refused(result.error_code, what, right=right, message=result.error_message)
    return result.configs


def _creation(topic: NewTopic) -> Fields:
    assignments = topic.assignments
    return {
        "name": topic.name,
        "num_partitions": topic.partitions if assignments is None else -1,
        "replication_factor": topic.replication_factor if assignments is None else -1,
        "assignments": [
            {"partition_index": index, "broker_ids": list(nodes)} for index, nodes in enumerate(assignments or ())
        ],
        "configs": [{"name": name, "value": value} for name, value in topic.configs],
    }


def _creation_chunks(topics: Collection[NewTopic]) -> Iterator[list[NewTopic]]:
    """Requests that stay below the controller's limit; a topic that alone is above it is refused by the controller."""
    chunk: list[NewTopic] = []
    records = 0
    for topic in list(topics):
        size = 1 + topic.partitions + len(topic.configs)
        if chunk and records + size > RECORDS_PER_REQUEST:
            yield chunk
            chunk, records = [], 0
        chunk.append(topic)
        records += size
    if chunk:
        yield chunk

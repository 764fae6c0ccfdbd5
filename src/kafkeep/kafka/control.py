"""The control path: any request that is not Fetch or Produce, to any node, the controller or a group's coordinator.

kafka-python serves here as codec only. Its message classes are compiled from Kafka's own JSON definitions and cover
every version; its connection manager is left alone, because it logs whole frames at DEBUG (a SASL/PLAIN password in
clear), does not escape SCRAM names, refuses the next send while a connection is throttled, and runs an event loop in a
thread of its own. Requests travel over `kafkeep.kafka.connection.Connection`, so there is one socket, TLS and login
implementation for the hot and the control path, and one place where a secret could leak.

This module is the only one that imports kafka-python. Callers name an `Api`, give the request's fields as plain values
under kafka-python's snake_case names (arrays of structs as lists of mappings), and read the answer's fields by
attribute; versions are settled per connection, the highest both sides speak within the `Api`'s range.
"""

from __future__ import annotations

import logging
import struct
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

import structlog
from kafka.protocol.admin import (
    CreateTopicsRequest,
    CreateTopicsResponse,
    DeleteGroupsRequest,
    DeleteGroupsResponse,
    DeleteRecordsRequest,
    DeleteRecordsResponse,
    DeleteTopicsRequest,
    DeleteTopicsResponse,
    DescribeConfigsRequest,
    DescribeConfigsResponse,
    DescribeGroupsRequest,
    DescribeGroupsResponse,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
    ListGroupsRequest,
    ListGroupsResponse,
)
from kafka.protocol.admin.transactions import (
    DescribeTransactionsRequest,
    DescribeTransactionsResponse,
    ListTransactionsRequest,
    ListTransactionsResponse,
)
from kafka.protocol.api_message import ApiMessage
from kafka.protocol.consumer import (
    ListOffsetsRequest,
    ListOffsetsResponse,
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetDeleteRequest,
    OffsetDeleteResponse,
    OffsetFetchRequest,
    OffsetFetchResponse,
)
from kafka.protocol.metadata import (
    FindCoordinatorRequest,
    FindCoordinatorResponse,
    MetadataRequest,
    MetadataResponse,
)
from kafka.protocol.producer import InitProducerIdRequest, InitProducerIdResponse

from kafkeep.errors import KafkaAccessDenied, KafkaError, KafkaProtocolError, KafkaUnreachable, KafkaUnsupported
from kafkeep.events import EventSink, ignore
from kafkeep.kafka.codes import ErrorCode, code_name, request_error, retriable
from kafkeep.kafka.config import ClusterConfig
from kafkeep.kafka.connection import Connection
from kafkeep.kafka.links import Body, Fields, Link, Message, settled_version
from kafkeep.kafka.retry import Retry
from kafkeep.kafka.topology import NO_NODE, Broker, PartitionTopology, TopicTopology, Topology
from kafkeep.model import NO_TOPIC_ID, topic_id_text

log = structlog.get_logger(__name__)
T = TypeVar("T")

COORDINATOR_KEYS_PER_REQUEST: Final = 500

_codec = threading.Lock()
"""kafka-python compiles a message's code on first use and swaps class attributes while it does so."""


class ConsumerGroupDescribeRequest(ApiMessage, load_json="kafkeep.kafka.messages"):  # type: ignore[call-arg, misc]
    """KIP-848; absent from kafka-python 3.0."""


class ConsumerGroupDescribeResponse(ApiMessage, load_json="kafkeep.kafka.messages"):  # type: ignore[call-arg, misc]
    """KIP-848; absent from kafka-python 3.0."""


class DescribeShareGroupOffsetsRequest(ApiMessage, load_json="kafkeep.kafka.messages"):  # type: ignore[call-arg, misc]
    """KIP-932; absent from kafka-python 3.0."""


class DescribeShareGroupOffsetsResponse(ApiMessage, load_json="kafkeep.kafka.messages"):  # type: ignore[call-arg, misc]
    """KIP-932; absent from kafka-python 3.0."""


class AlterShareGroupOffsetsRequest(ApiMessage, load_json="kafkeep.kafka.messages"):  # type: ignore[call-arg, misc]
    """KIP-932; absent from kafka-python 3.0."""


class AlterShareGroupOffsetsResponse(ApiMessage, load_json="kafkeep.kafka.messages"):  # type: ignore[call-arg, misc]
    """KIP-932; absent from kafka-python 3.0."""


class DeleteShareGroupOffsetsRequest(ApiMessage, load_json="kafkeep.kafka.messages"):  # type: ignore[call-arg, misc]
    """KIP-932; absent from kafka-python 3.0."""


class DeleteShareGroupOffsetsResponse(ApiMessage, load_json="kafkeep.kafka.messages"):  # type: ignore[call-arg, misc]
    """KIP-932; absent from kafka-python 3.0."""


def cap_library_loggers() -> None:
    """Keeps the `kafka` loggers at INFO or above whatever level the user chose.

    kafka-python writes requests and frames at DEBUG. The codec alone does not, but a plug-in or an embedding program
    may use the rest of the library in the same process with the same secrets.
    """
    for name in ["kafka", *(name for name in logging.root.manager.loggerDict if name.startswith("kafka."))]:
        logger = logging.getLogger(name)
        if logger.level < logging.INFO and (logger.level != logging.NOTSET or name == "kafka"):
            logger.setLevel(logging.INFO)


class Api:
    """One kind of request and its answer, with the range of versions that kafkeep's callers can handle."""

    def __init__(self, request: Any, response: Any, *, lowest: int | None = None, highest: int | None = None) -> None:
        first, last = request.valid_versions
        self.name: str = request.name.removesuffix("Request")
        self.key: int = request.API_KEY
        self.lowest = first if lowest is None else lowest
        self.highest = last if highest is None else highest
        self._request = request
        self._response = response
        self._never_null: dict[tuple[int, int], list[tuple[str, Any]]] = {}

    def encode(self, version: int, fields: Fields) -> bytes:
        """The request's body, without header. Raises KeyError for a field that the message does not have."""
        with _codec:
            return bytes(_message(self._request, self._request.fields, version, fields).encode(version=version))

    def decode(self, version: int, body: memoryview) -> Any:
        """The answer, fields readable by attribute. Raises KafkaProtocolError when the bytes are not such an answer."""
        try:
            with _codec:
                answer = self._response.decode(body, version=version)
        except (struct.error, IndexError, ValueError, TypeError, OverflowError, MemoryError) as error:
            raise KafkaProtocolError(f"the answer to {self.name} version {version} cannot be read: {error}") from error
        self._refuse_nulls(answer, self._response.fields, version)
        return answer

    def _refuse_nulls(self, item: Any, fields: Mapping[str, Any], version: int) -> None:
        # The codec reads a null where the definition forbids one; callers iterate and compare without asking.
        key = (id(fields), version)
        checked = self._never_null.get(key)
        if checked is None:
            checked = self._never_null[key] = [
                (name, field) for name, field in fields.items() if field.for_version_q(version) and _may_be_long(field)
            ]
        for name, field in checked:
            value = getattr(item, name)
            if value is None:
                if not field.nullable_for_version_q(version):
                    raise KafkaProtocolError(f"the answer to {self.name} version {version} lacks {name}")
            elif field.is_struct_array():
                for inner in value:
                    self._refuse_nulls(inner, field.fields, version)


def _may_be_long(field: Any) -> bool:
    return bool(field.is_array() or field.type_str == "string")


def _message(kind: Any, known: Mapping[str, Any], version: int, fields: Fields) -> Any:
    # Callers give what any version needs; each version takes what it has.
    taken = {name: value for name, value in fields.items() if known[name].for_version_q(version)}
    return kind(version=version, **{name: _value(known[name], version, value) for name, value in taken.items()})


def _value(field: Any, version: int, value: Any) -> Any:
    if value is None or not field.is_struct_array():
        return value
    return [_message(field.data_class, field.fields, version, item) for item in value]


# Metadata from version 4 on never creates the topics it is asked for (KIP-204).
METADATA: Final = Api(MetadataRequest, MetadataResponse, lowest=4)
FIND_COORDINATOR: Final = Api(FindCoordinatorRequest, FindCoordinatorResponse)
LIST_OFFSETS: Final = Api(ListOffsetsRequest, ListOffsetsResponse, lowest=2)
CREATE_TOPICS: Final = Api(CreateTopicsRequest, CreateTopicsResponse)
DELETE_TOPICS: Final = Api(DeleteTopicsRequest, DeleteTopicsResponse)
DESCRIBE_CONFIGS: Final = Api(DescribeConfigsRequest, DescribeConfigsResponse)
ALTER_CONFIGS: Final = Api(IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse)
DELETE_RECORDS: Final = Api(DeleteRecordsRequest, DeleteRecordsResponse)
# Version 6 of the codec is KIP-939's, which no released broker offers and which changes the meaning of the call.
INIT_PRODUCER_ID: Final = Api(InitProducerIdRequest, InitProducerIdResponse, highest=5)
LIST_GROUPS: Final = Api(ListGroupsRequest, ListGroupsResponse)
DESCRIBE_GROUPS: Final = Api(DescribeGroupsRequest, DescribeGroupsResponse)
DESCRIBE_CONSUMER_GROUPS: Final = Api(ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse)
# Version 10 of both names topics by id only: a position on a deleted topic could not be told from one on its successor.
OFFSET_FETCH: Final = Api(OffsetFetchRequest, OffsetFetchResponse, lowest=2, highest=9)
OFFSET_COMMIT: Final = Api(OffsetCommitRequest, OffsetCommitResponse, highest=9)
OFFSET_DELETE: Final = Api(OffsetDeleteRequest, OffsetDeleteResponse)
DELETE_GROUPS: Final = Api(DeleteGroupsRequest, DeleteGroupsResponse)
DESCRIBE_SHARE_OFFSETS: Final = Api(DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsResponse)
ALTER_SHARE_OFFSETS: Final = Api(AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsResponse)
DELETE_SHARE_OFFSETS: Final = Api(DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsResponse)
LIST_TRANSACTIONS: Final = Api(ListTransactionsRequest, ListTransactionsResponse)
DESCRIBE_TRANSACTIONS: Final = Api(DescribeTransactionsRequest, DescribeTransactionsResponse)


@dataclass(frozen=True, slots=True)
class Coordinator:
    """Sends a request to the broker that coordinates this group."""

    group: str


Target = int | Literal["any", "controller"] | Coordinator


class ControlClient:
    """Sends requests to a cluster's brokers and knows who is who. Connects when first used; safe for many threads.

    One connection per broker address, one request at a time on each. The bootstrap list serves for the first contact
    and again when no known broker answers. The first contact fails at once if every address fails; after that, lost
    connections are retried by whoever brings a `Retry`.
    """

    def __init__(self, config: ClusterConfig, *, sink: EventSink = ignore, retry_seconds: float | None = None) -> None:
        """`retry_seconds` is the budget of one call's `Retry`; the request timeout when None."""
        cap_library_loggers()
        self.config = config
        self.sink = sink
        self._retry_seconds = config.request_timeout_seconds if retry_seconds is None else retry_seconds
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._links: dict[tuple[str, int], Link] = {}
        self._brokers: dict[int, Broker] = {}
        self._controller = NO_NODE
        self._coordinators: dict[str, int] = {}

    @property
    def broker_timeout_ms(self) -> int:
        """How long a broker may work on a request that names a limit: less than we wait for its answer."""
        return max(1, int(self.config.request_timeout_seconds * 1000 * 2 / 3))

    def retry(self, what: str, *, seconds: float | None = None) -> Retry:
        """A fresh `Retry` for one call; its waits end early when this client is closed."""
        budget = self._retry_seconds if seconds is None else seconds
        return Retry(what, seconds=budget, sink=self.sink, wait=self._wait)

    def send(self, api: Message, body: Body, *, to: Target, retry: Retry | None = None) -> Any:
        """The answer of the node named by `to`, its error codes unread.

        With a `retry`, a lost connection or an unknown node is tried again after asking for the cluster's brokers anew;
        `retry.unanswered` then tells whether the broker may have acted on a request whose answer was lost.

        Raises:
            KafkaUnreachable: no broker, or not the one that must be asked, can be reached.
            KafkaLoginError: a broker refused the login.
            KafkaProtocolError, KafkaUnsupported: the peer is no broker, or lacks the request.
            KafkaError: for a `Coordinator`, what its look-up was refused with.
        """
        return self._attempt(to, lambda link: link.exchange(api, body, retry), retry)

    def version(self, api: Api, *, to: Target = "any", retry: Retry | None = None) -> int:
        """The version that `send` would use with that node now. Raises as `send` does."""
        return self._attempt(to, lambda link: link.ask(lambda connection: settled_version(connection, api)), retry)

    def api_range(self, api_key: int) -> tuple[int, int]:
        """Lowest and highest version of a request that some broker offers.

        Raises:
            KafkaUnsupported: the broker asked does not offer it at all.
            KafkaUnreachable, KafkaLoginError, KafkaProtocolError: as `send`.
        """

        def offered(connection: Connection) -> tuple[int, int] | None:
            return connection.api_versions.get(api_key)

        found = self._attempt("any", lambda link: link.ask(offered), self.retry("api versions"))
        if found is None:
            raise KafkaUnsupported(f"the brokers of {self.config.name} do not offer request {api_key}")
        return found

    def topology(self, topics: Collection[str] | None, *, retry: Retry | None = None) -> Topology:
        """A fresh Metadata answer for the named topics (None: all this login may see), which also refreshes the routes.

        A broker leaves topics that the login may not describe out of an answer about all topics; asked by name they
        come back with error 29. Never creates a topic.
        """
        wanted = None if topics is None else [{"name": name} for name in topics]
        body = {"topics": wanted, "allow_auto_topic_creation": False}
        while True:
            answer = self.send(METADATA, body, to="any", retry=retry)
            if answer.error_code:
                raise request_error(answer.error_code, f"metadata of cluster {self.config.name}")
            if answer.brokers:
                break
            # A broker that is starting knows nobody yet; taken at its word it would hide every group and topic.
            error = KafkaUnreachable(f"a broker of {self.config.name} knows of no brokers yet")
            if retry is None or not retry.again(error.message):
                raise error
        found = _topology(answer)
        with self._lock:
            self._brokers = dict(found.brokers)
            self._controller = found.controller
        return found

    def coordinators(self, groups: Collection[str]) -> dict[str, int | KafkaError]:
        """The node that coordinates each group, or why it cannot be told (for example KafkaAccessDenied).

        The first look-up on a cluster that never had groups makes the broker create `__consumer_offsets`, which takes
        some seconds of COORDINATOR_NOT_AVAILABLE.
        """
        with self._lock:
            found: dict[str, int | KafkaError] = {g: self._coordinators[g] for g in groups if g in self._coordinators}
        pending = [group for group in dict.fromkeys(groups) if group not in found]
        retry = self.retry("find coordinator")
        while pending:
            codes = self._look_up(pending, found, retry)
            pending = list(codes)
            if pending and not retry.again(code_name(codes[pending[0]])):
                found |= {group: _no_coordinator(group, code) for group, code in codes.items()}
                break
        with self._lock:
            self._coordinators |= {group: node for group, node in found.items() if isinstance(node, int)}
        return found

    def forget_coordinator(self, group: str) -> None:
        """To be called when a node answered that it is not (or not yet) the group's coordinator."""
        with self._lock:
            self._coordinators.pop(group, None)

    def forget_controller(self) -> None:
        """To be called when a node answered NOT_CONTROLLER."""
        with self._lock:
            self._controller = NO_NODE

    def rediscover(self) -> None:
        """Asks for the brokers and the controller anew; silent when nobody answers, for callers that retry anyway."""
        try:
            self.topology([])
        except KafkaUnreachable as error:
            log.debug("no broker answered", cluster=self.config.name, reason=error.message)

    def close(self) -> None:
        """Closes every connection; calls under way in other threads fail."""
        self._closed.set()
        with self._lock:
            links = list(self._links.values())
        for link in links:
            link.close()

    def _look_up(self, groups: list[str], found: dict[str, int | KafkaError], retry: Retry) -> dict[str, int]:
        """One round of FindCoordinator: fills `found`; returns the groups to ask about again, with the code."""
        again: dict[str, int] = dict.fromkeys(groups, ErrorCode.COORDINATOR_NOT_AVAILABLE)
        # Many keys in one request from version 4 on (KIP-699).
        size = COORDINATOR_KEYS_PER_REQUEST if self.version(FIND_COORDINATOR, retry=retry) >= 4 else 1
        for first in range(0, len(groups), size):
            keys = groups[first : first + size]
            answer = self.send(FIND_COORDINATOR, {"key": keys[0], "coordinator_keys": keys}, to="any", retry=retry)
            items = [(item.key, item) for item in answer.coordinators] if size > 1 else [(keys[0], answer)]
            for group, item in items:
                if retriable(item.error_code):
                    again[group] = item.error_code
                elif again.pop(group, None) is not None:
                    found[group] = _no_coordinator(group, item.error_code) if item.error_code else item.node_id
        return again

    def _attempt(self, to: Target, action: Callable[[Link], T], retry: Retry | None) -> T:
        while True:
            try:
                return action(self._link(to))
            except KafkaUnreachable as error:
                if retry is None or not error.retryable or not self._brokers or not retry.again(error.message):
                    raise
                self.rediscover()

    def _link(self, to: Target) -> Link:
        if self._closed.is_set():
            raise KafkaError(f"the connections to cluster {self.config.name} are closed")
        if to == "any":
            return self._any_link()
        node = self._node(to)
        if node not in self._brokers:
            self.topology([])
        broker = self._brokers.get(node)
        if broker is None:
            raise KafkaUnreachable(f"broker {node} is not among the live brokers of {self.config.name}")
        return self._link_to(broker.host, broker.port)

    def _node(self, to: Target) -> int:
        if isinstance(to, int):
            return to
        if isinstance(to, Coordinator):
            node = self.coordinators([to.group])[to.group]
            if isinstance(node, KafkaError):
                raise node
            return node
        if self._controller == NO_NODE:
            self.topology([])
        if self._controller == NO_NODE:
            raise KafkaUnreachable(f"cluster {self.config.name} has no controller now")
        return self._controller

    def _link_to(self, host: str, port: int) -> Link:
        with self._lock:
            return self._links.setdefault((host, port), Link(self.config, host, port, self._wait))

    def _any_link(self) -> Link:
        with self._lock:
            links = list(self._links.values())
            addresses = [*((b.host, b.port) for b in self._brokers.values()), *self.config.addresses]
        connected = next((link for link in links if link.connected), None)
        if connected is not None:
            return connected
        candidates = [self._link_to(host, port) for host, port in dict.fromkeys(addresses)]
        # A broker that hangs must not take every attempt's time.
        return self._first_to_open(sorted(candidates, key=lambda link: link.hung_at))

    def _first_to_open(self, candidates: Sequence[Link]) -> Link:
        failures: list[KafkaError] = []
        for link in candidates:
            try:
                link.ask(lambda connection: None)
            except (KafkaUnreachable, KafkaProtocolError) as error:
                failures.append(error)
            else:
                return link
        if len(failures) == 1:
            raise failures[0]
        tried = "; ".join(error.message for error in failures)
        hint = failures[0].hint
        if all(isinstance(error, KafkaProtocolError) for error in failures):
            raise KafkaProtocolError(f"no broker of {self.config.name} speaks Kafka: {tried}", hint=hint)
        retryable = any(error.retryable for error in failures)
        raise KafkaUnreachable(f"no broker of {self.config.name} answered: {tried}", hint=hint, retryable=retryable)

    def _wait(self, seconds: float) -> None:
        if seconds > 0:
            self._closed.wait(seconds)


def _no_coordinator(group: str, code: int) -> KafkaError:
    what = f"coordinator of group {group}"
    if code == ErrorCode.GROUP_AUTHORIZATION_FAILED:
        return KafkaAccessDenied(f"{what}: {code_name(code)} ({code}); this login lacks DESCRIBE on the group")
    return request_error(code, what)


def _topology(answer: Any) -> Topology:
    brokers = {b.node_id: Broker(b.node_id, b.host, b.port, b.rack) for b in answer.brokers}
    topics = [_topic(topic) for topic in answer.topics if topic.name is not None]
    cluster_id = answer.cluster_id if answer.cluster_id is not None else ""
    return Topology(cluster_id, answer.controller_id, brokers, {topic.name: topic for topic in topics})


def _topic(topic: Any) -> TopicTopology:
    partitions = tuple(
        PartitionTopology(
            p.partition_index,
            p.leader_id,
            p.leader_epoch,
            tuple(p.replica_nodes),
            tuple(p.isr_nodes),
            p.error_code,
        )
        for p in sorted(topic.partitions, key=lambda p: p.partition_index)
    )
    return TopicTopology(topic.name, topic_id(topic.topic_id), bool(topic.is_internal), partitions, topic.error_code)


def topic_id(value: Any) -> str:
    """A topic id as kafka-python reads it (a UUID; None for the zero id) in Kafka's text form."""
    return NO_TOPIC_ID if value is None else topic_id_text(value.bytes)

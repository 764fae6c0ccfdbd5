"""The control path: any request that is not Fetch or Produce, to any node, the controller or a group's coordinator.

Requests travel over `kafkeep.kafka.connection.Connection`, so there is one socket, TLS and login implementation for the
hot and the control path, and one place where a secret could leak. What they say is `kafkeep.kafka.apis`; versions are
settled per connection, the highest both sides speak within the `Api`'s range.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, Literal, TypeVar

from kafkeep.errors import KafkaAccessDenied, KafkaError, KafkaProtocolError, KafkaUnreachable, KafkaUnsupported
from kafkeep.events import EventSink, ignore
from kafkeep.kafka.apis import FIND_COORDINATOR, Api, cap_library_loggers
from kafkeep.kafka.codes import ErrorCode, code_name, request_error, retriable
from kafkeep.kafka.config import ClusterConfig
from kafkeep.kafka.connection import Connection
from kafkeep.kafka.links import Body, Link, Message, settled_version
from kafkeep.kafka.long_answers import METADATA
from kafkeep.kafka.retry import Retry
from kafkeep.kafka.topology import NO_NODE, Broker, Topology
from kafkeep.kafka.wire.metadata import Metadata
from kafkeep.logger import get_logger
from kafkeep.model import NO_TOPIC_ID, topic_id_text
from kafkeep.records import dataclass

log = get_logger(__name__)
T = TypeVar("T")

COORDINATOR_KEYS_PER_REQUEST: Final = 500


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
        return self._attempt(to, lambda link: link.exchange(api, (body,), retry), retry)[0]

    def send_each(self, api: Message, bodies: Sequence[Body], *, to: Target) -> list[Any]:
        """The answers of one node to several requests of one kind, which it hears in this order. Raises as `send` does."""
        return self._attempt(to, lambda link: link.exchange(api, bodies, None), None)

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
        while True:
            answer: Metadata = self.send(METADATA, {"topics": topics}, to="any", retry=retry)
            if answer.error_code:
                raise request_error(answer.error_code, f"metadata of cluster {self.config.name}")
            if answer.topology.brokers:
                break
            # A broker that is starting knows nobody yet; taken at its word it would hide every group and topic.
            error = KafkaUnreachable(f"a broker of {self.config.name} knows of no brokers yet")
            if retry is None or not retry.again(error.message):
                raise error
        found = answer.topology
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


def topic_id(value: Any) -> str:
    """A topic id as kafka-python reads it (a UUID; None for the zero id) in Kafka's text form."""
    return NO_TOPIC_ID if value is None else topic_id_text(value.bytes)

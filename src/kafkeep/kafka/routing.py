"""Spreads one question over the leaders of partitions or the coordinators of groups, and asks again what moved
meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeVar

from kafkeep.errors import KafkaAccessDenied, KafkaError, KafkaUnreachable
from kafkeep.kafka.at_once import at_once
from kafkeep.kafka.codes import ACCESS_DENIED, ErrorCode, code_name, request_error, retriable
from kafkeep.kafka.control import ControlClient
from kafkeep.kafka.topology import NO_NODE, Topology
from kafkeep.logger import get_logger
from kafkeep.model import TopicPartition

log = get_logger(__name__)

A = TypeVar("A")
LeaderAnswers = dict[TopicPartition, tuple[int, A | None]]
GroupAnswers = dict[str, tuple[int, A | None]]

COORDINATOR_MOVED = frozenset(
    {ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, ErrorCode.COORDINATOR_NOT_AVAILABLE, ErrorCode.NOT_COORDINATOR}
)


def refused(code: int, what: str, *, right: str, message: str | None = None) -> KafkaError:
    """The error for an answer's code, with the broker's own words, or with the Kafka right that the login lacks."""
    if code in ACCESS_DENIED:
        return KafkaAccessDenied(f"{what}: {code_name(code)} ({code}); this login lacks {right}")
    return request_error(code, f"{what} ({message.rstrip('.')})" if message else what)


def by_leader(
    client: ControlClient,
    partitions: Iterable[TopicPartition],
    ask: Callable[[int, Sequence[TopicPartition], Topology], LeaderAnswers[A]],
    *,
    what: str,
    topology: Topology | None = None,
    seconds: float | None = None,
) -> LeaderAnswers[A]:
    """Error code and answer of every partition, asked of its leader, one call of `ask` per leader and round.

    Retriable codes, lost leaders and lost connections are asked again with fresh metadata until `seconds` have passed
    (the client's own budget when None); then the last code stands, NETWORK_EXCEPTION for a leader out of reach.
    `topology` saves the first look-up and may be stale. Absent topics and partitions settle at once with
    UNKNOWN_TOPIC_OR_PARTITION.

    Raises:
        KafkaUnreachable: no broker, or not one leader, answered within the budget.
        KafkaLoginError, KafkaProtocolError, KafkaUnsupported: as `ControlClient.send`.
    """
    pending = list(dict.fromkeys(partitions))
    answers: LeaderAnswers[A] = {}
    retry = client.retry(what, seconds=seconds)
    stale = topology is not None
    while pending:
        known = client.topology({tp.topic for tp in pending}, retry=retry) if topology is None else topology
        lost: list[KafkaUnreachable] = []
        told = _ask_leaders(pending, known, ask, lost)
        answers |= told
        asked = len(pending)
        pending = [tp for tp, (code, _) in told.items() if code and _again(code, tp, known, stale)]
        if not pending:
            break
        reason = lost[0].message if lost else code_name(answers[pending[0]][0])
        # A stale topology costs no delay: the first fresh one is asked for at once.
        if not stale and not retry.again(reason, moving=len(pending) < asked):
            if lost and all(code == ErrorCode.NETWORK_EXCEPTION for code, _ in answers.values()):
                raise lost[0]
            break
        topology, stale = None, False
    return answers


def _again(code: int, topic_partition: TopicPartition, topology: Topology, stale: bool) -> bool:
    if code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION and not stale:
        # Metadata has it and the leader not yet (or no more): the leader is behind. Neither has it: it is absent.
        return topology.partition(topic_partition) is not None
    return retriable(code)


def _ask_leaders(
    pending: Sequence[TopicPartition],
    topology: Topology,
    ask: Callable[[int, Sequence[TopicPartition], Topology], LeaderAnswers[A]],
    lost: list[KafkaUnreachable],
) -> LeaderAnswers[A]:
    """One round, an answer for each of `pending`; notes in `lost` why leaders were out of reach."""
    answers: LeaderAnswers[A] = {}
    leaders: dict[int, list[TopicPartition]] = {}
    unanswered: tuple[int, A | None] = (ErrorCode.NETWORK_EXCEPTION, None)
    for topic_partition in pending:
        code, leader = _leader(topic_partition, topology)
        # What is unanswered also stands for a partition that an answer leaves out.
        answers[topic_partition] = (code, None) if code else unanswered
        if not code:
            leaders.setdefault(leader, []).append(topic_partition)

    def told_by(leader: int) -> LeaderAnswers[A] | KafkaUnreachable:
        try:
            return ask(leader, leaders[leader], topology)
        except KafkaUnreachable as error:
            log.warning("leader out of reach", node=leader, partitions=len(leaders[leader]), reason=error.message)
            return error

    for told in at_once(told_by, leaders):
        if isinstance(told, KafkaUnreachable):
            lost.append(told)
        else:
            # As a whole: of ten thousand partitions each would be hashed once more, three times in a round of a backup.
            answers |= told
    if len(answers) > len(pending):
        asked = frozenset(pending)
        return {tp: answer for tp, answer in answers.items() if tp in asked}
    return answers


def _leader(topic_partition: TopicPartition, topology: Topology) -> tuple[int, int]:
    """(0, leader), or the code that says why there is none."""
    topic = topology.topics.get(topic_partition.topic)
    if topic is None:
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, NO_NODE
    if topic.error:
        return topic.error, NO_NODE
    partition = topology.partition(topic_partition)
    if partition is None:
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, NO_NODE
    if partition.leader == NO_NODE:
        return ErrorCode.LEADER_NOT_AVAILABLE, NO_NODE
    return 0, partition.leader


def by_coordinator(
    client: ControlClient,
    groups: Collection[str],
    ask: Callable[[int, Sequence[str]], GroupAnswers[A]],
    *,
    what: str,
    right: str = "DESCRIBE on the group",
    seconds: float | None = None,
) -> dict[str, A | KafkaError]:
    """The answer for every group from its coordinator, or the error that stands in its place.

    `ask` gives per group a code and an answer. Coordinators that moved, are loading or are out of reach are looked up
    and asked again until `seconds` have passed (the client's own budget when None).

    Raises:
        KafkaUnreachable: no broker at all answers within the budget.
        KafkaLoginError, KafkaProtocolError, KafkaUnsupported: as `ControlClient.send`.
    """
    settled: dict[str, A | KafkaError] = {}
    pending = list(dict.fromkeys(groups))
    retry = client.retry(what, seconds=seconds)
    while pending:
        for group in pending:
            # What stands when the answer leaves the group out.
            settled[group] = request_error(ErrorCode.COORDINATOR_NOT_AVAILABLE, f"{what} {group}")
        moved = _ask_coordinators(client, pending, ask, settled, (what, right))
        for group in moved:
            client.forget_coordinator(group)
        pending = moved
        if pending and not retry.again(str(settled[pending[0]])):
            break
        if pending:
            client.rediscover()
    return settled


def _ask_coordinators(
    client: ControlClient,
    pending: Sequence[str],
    ask: Callable[[int, Sequence[str]], GroupAnswers[A]],
    settled: dict[str, A | KafkaError],
    names: tuple[str, str],
) -> list[str]:
    """One round: fills `settled` and returns the groups to ask for again."""
    what, right = names
    nodes: dict[int, list[str]] = {}
    again: list[str] = []
    for group, node in client.coordinators(pending).items():
        if isinstance(node, int):
            nodes.setdefault(node, []).append(group)
        else:
            settled[group] = node

    def told_by(node: int) -> GroupAnswers[A] | KafkaUnreachable:
        try:
            return ask(node, nodes[node])
        except KafkaUnreachable as error:
            return error

    for mine, answers in zip(nodes.values(), at_once(told_by, nodes), strict=True):
        if isinstance(answers, KafkaUnreachable):
            settled |= dict.fromkeys(mine, answers)
            again += mine
            continue
        for group in mine:
            code, answer = answers.get(group, (int(ErrorCode.COORDINATOR_NOT_AVAILABLE), None))
            if code == 0 and answer is not None:
                settled[group] = answer
            else:
                settled[group] = refused(code, f"{what} {group}", right=right)
            if code in COORDINATOR_MOVED or code == ErrorCode.UNSTABLE_OFFSET_COMMIT:
                again.append(group)
    return again

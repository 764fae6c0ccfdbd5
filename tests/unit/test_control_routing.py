"""Asking the leaders of many partitions again, until all of them answer."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from typing import Any, cast

from kafkeep.errors import KafkaUnreachable
from kafkeep.events import ignore
from kafkeep.kafka.codes import ErrorCode
from kafkeep.kafka.control import ControlClient
from kafkeep.kafka.retry import Retry
from kafkeep.kafka.routing import LeaderAnswers, by_leader
from kafkeep.kafka.topology import PartitionTopology, TopicTopology, Topology
from kafkeep.model import NO_TOPIC_ID, TopicPartition


class Client:
    """What `by_leader` asks of a control client, for one topic that one broker leads; time does not pass."""

    def __init__(self, partitions: int) -> None:
        found = tuple(PartitionTopology(number, 1, 0, (1,), (1,), 0) for number in range(partitions))
        self._topology = Topology("id", 1, {}, {"t": TopicTopology("t", NO_TOPIC_ID, False, found, 0)})
        self.waits: list[float] = []

    def retry(self, what: str, *, seconds: float | None) -> Retry:
        return Retry(what, seconds=1000, sink=ignore, wait=self.waits.append)

    def topology(self, topics: Collection[str], *, retry: Retry) -> Topology:
        return self._topology


class OneRound(Client):
    """A second look at the cluster finds nothing in it."""

    def topology(self, topics: Collection[str], *, retry: Retry) -> Topology:
        return Topology("id", 1, {}, {})


def answers_in(rounds: Iterator[int]) -> Any:
    """A broker that knows of so many more of the partitions it is asked for in each round."""

    def ask(node: int, mine: Sequence[TopicPartition], known: Topology) -> LeaderAnswers[str]:
        count = next(rounds)
        ready = dict.fromkeys(mine[:count], (0, "here"))
        return {**{tp: (int(ErrorCode.NOT_LEADER_OR_FOLLOWER), None) for tp in mine}, **ready}

    return ask


def asked(client: Client, rounds: Sequence[int]) -> LeaderAnswers[str]:
    partitions = [TopicPartition("t", number) for number in range(sum(rounds))]
    return by_leader(cast("ControlClient", client), partitions, answers_in(iter(rounds)), what="list offsets")


def test_leaders_are_asked_at_the_same_time() -> None:
    topics = {
        name: TopicTopology(name, NO_TOPIC_ID, False, (PartitionTopology(0, node, 0, (node,), (node,), 0),), 0)
        for node, name in enumerate("abc")
    }
    together = threading.Barrier(3, timeout=60)

    def ask(node: int, mine: Sequence[TopicPartition], known: Topology) -> LeaderAnswers[int]:
        together.wait()
        if node == 1:
            raise KafkaUnreachable("gone")
        return dict.fromkeys(mine, (0, node))

    partitions = [TopicPartition(name, 0) for name in topics]
    client = cast("ControlClient", OneRound(0))
    found = by_leader(client, partitions, ask, what="list offsets", topology=Topology("id", 1, {}, topics), seconds=0)
    absent = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, None
    assert found == {partitions[0]: (0, 0), partitions[1]: absent, partitions[2]: (0, 2)}


def test_while_more_answer_each_time_the_rest_is_asked_for_soon() -> None:
    client = Client(21)
    found = asked(client, [3] * 7)
    assert found == {TopicPartition("t", number): (0, "here") for number in range(21)}
    assert client.waits == [0.025, 0.05, 0.1, 0.2, 0.2, 0.2]


def test_where_nothing_moves_delays_grow() -> None:
    client = Client(4)
    found = asked(client, [0, 0, 0, 0, 0, 1, 3])
    assert found == {TopicPartition("t", number): (0, "here") for number in range(4)}
    assert client.waits == [0.025, 0.05, 0.1, 0.2, 0.4, 0.2]

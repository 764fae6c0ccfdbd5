"""The task that sends batches of several partitions to one broker, against brokers that hold Kafka's rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.support.batches import patched
from tests.support.operations import Heard, records_of
from tests.support.simulated_cluster import SimulatedCluster, SimulatedProducer, produced

from kafkeep.errors import KafkaProtocolError, KafkaUnreachable
from kafkeep.events import PartitionDone, Progress, Retried
from kafkeep.kafka.produce import ProduceBatch
from kafkeep.kafka.wire.records import Record, encode
from kafkeep.model import Generation, TopicPartition
from kafkeep.offset_map import MapRow
from kafkeep.restore.batches import ReadyBatch
from kafkeep.restore.loading import cut_into_tasks
from kafkeep.restore.plan import PartitionRestore
from kafkeep.restore.produce import (
    DONE,
    FAILED,
    MOST_IN_FLIGHT,
    MOST_OPEN,
    UNCLEAR,
    WORKING,
    PartitionProducer,
    PartitionProgress,
    ProduceTask,
)
from kafkeep.restore.window import Window

pytestmark = pytest.mark.usefixtures("quick")


class Target:
    """One broker with a topic, and partitions of some batches of two records each to bring there."""

    def __init__(self, partitions: int = 1, batches: int = 6) -> None:
        self.cluster = SimulatedCluster("target", nodes=1)
        self.topic = self.cluster.add_topic("orders", partitions)
        self.batches = batches
        self.opened = 0
        self.most_open = 0
        self.heard = Heard()
        self.requests: list[list[ProduceBatch]] = []
        self.stop_after: int | None = None
        self.spoil: tuple[int, int] | None = None
        """(partition, batch) that a broker will refuse."""

    def progress(self) -> tuple[PartitionProgress, ...]:
        return tuple(
            PartitionProgress(
                part=PartitionRestore(
                    source=Generation("orders", "S" * 22, number),
                    target=TopicPartition("orders", number),
                    start=0,
                    stop=2 * self.batches,
                    runs=(),
                    held_back=(),
                    window=Window(),
                    most_records=0,
                    raw_bytes=100,
                    gaps=(),
                ),
                target_id=self.topic.topic_id,
                leader=0,
                opened=0,
                source_next=0,
                sequence=0,
            )
            for number in range(len(self.topic.logs))
        )

    def stored(self, progress: PartitionProgress) -> Iterator[ReadyBatch]:
        partition, sequence = progress.part.target.partition, progress.sequence
        self.opened += 1
        self.most_open = max(self.most_open, self.opened)
        for number in range(progress.source_next // 2, self.batches):
            records = [Record(0, number, None, b"%d.%d.%d" % (partition, number, n), ()) for n in (0, 1)]
            body = encode(records, producer_id=9, producer_epoch=0, base_sequence=sequence)
            if self.spoil == (partition, number):
                body = patched(body, last_offset_delta=5)
            yield ReadyBatch((body[:61], body[61:]), len(body), 2, ((2 * number, 2),), 2 * number + 2, sequence)
            sequence = (sequence + 2) % 2**31
        self.opened -= 1

    def run(
        self, progress: Sequence[PartitionProgress] | None = None, *, request_bytes: int = 1 << 20
    ) -> dict[int, PartitionProgress]:
        producer = SimulatedProducer(self.cluster, 0)
        send = producer.send

        def noted(batches: Sequence[ProduceBatch]) -> None:
            self.requests.append(list(batches))
            send(batches)

        producer.send = noted  # type: ignore[method-assign]
        ended = PartitionProducer(
            ProduceTask(0, tuple(self.progress() if progress is None else progress)),
            producer=producer,  # type: ignore[arg-type]
            batches=self.stored,
            request_bytes=request_bytes,
            sink=self.heard,
            stopped=lambda: self.stop_after is not None and self.cluster.requests >= self.stop_after,
        ).run()
        return {state.part.target.partition: state for state in ended}

    def values(self, partition: int = 0) -> list[bytes]:
        return [item.value or b"" for item in records_of(self.topic.logs[partition])]

    def expected(self, partition: int = 0) -> list[bytes]:
        return [b"%d.%d.%d" % (partition, number, n) for number in range(self.batches) for n in (0, 1)]


def test_everything_arrives_in_order_and_is_told_once() -> None:
    target = Target(3)
    ended = target.run()
    for partition, state in ended.items():
        assert target.values(partition) == target.expected(partition)
        assert (state.status, state.source_next, state.sequence) == (DONE, 12, 12)
        assert state.rows == (MapRow(0, 0, 12),)
        assert (state.records, state.size_bytes) == (12, sum(len(e.data) for e in target.topic.logs[partition].entries))
    assert sum(event.records for event in target.heard.of(Progress)) == 36
    done = target.heard.of(PartitionDone)
    assert sorted((event.topic_partition.partition, event.records) for event in done) == [(0, 12), (1, 12), (2, 12)]
    assert sum(event.size_bytes for event in done) == sum(state.size_bytes for state in ended.values())


def test_requests_are_filled_up_to_their_size() -> None:
    target = Target(6)
    size = next(target.stored(target.progress()[0])).size
    target.run(request_bytes=3 * size + 1)
    assert max(len(request) for request in target.requests) == 3
    small = Target(6)
    small.run(request_bytes=1)
    assert {len(request) for request in small.requests} == {1}
    assert small.values(5) == small.expected(5)


def test_no_more_partitions_are_open_than_memory_allows() -> None:
    target = Target(100, batches=3)
    ended = target.run()
    assert len(ended) == 100 and all(state.status == DONE for state in ended.values())
    assert 1 < target.most_open <= MOST_OPEN
    assert all(target.values(number) == target.expected(number) for number in range(100))


def test_a_refused_batch_fails_its_partition_by_name_and_others_go_on() -> None:
    target = Target(2)
    target.spoil = (0, 3)
    ended = target.run()
    assert ended[1].status == DONE
    assert (ended[0].status, ended[0].reason, ended[0].source_next) == (FAILED, "INVALID_RECORD", 6)
    assert "orders/0 (source offset 6)" in ended[0].message
    assert target.values(0) == target.expected(0)[:6]


@pytest.mark.parametrize("code", [45, 46, 59])
def test_a_sequence_that_a_broker_does_not_expect_hands_the_partition_back_unclear(code: int) -> None:
    target = Target(2, batches=12)
    carry_out = target.cluster._carry_out_one

    def refusing(node: int, batch: ProduceBatch, fault: str) -> Any:
        if batch.topic_partition.partition == 0 and len(target.topic.logs[0].entries) == 3:
            return produced(batch.topic_partition, code)
        return carry_out(node, batch, fault)

    target.cluster._carry_out_one = refusing  # type: ignore[method-assign]
    ended = target.run()
    assert (ended[0].status, ended[0].source_next) == (UNCLEAR, 6)
    assert ended[0].reason in ended[0].message
    assert ended[1].status == DONE


def test_a_log_that_lost_what_it_had_acknowledged_and_takes_more_is_failed_by_name() -> None:
    target = Target(batches=12)
    carry_out = target.cluster.carry_out

    def forgetful(*args: Any, **options: Any) -> Any:
        log = target.topic.logs[0]
        if len(log.entries) == 4:
            log.truncate(4)
            log.producers.clear()
        return carry_out(*args, **options)

    target.cluster.carry_out = forgetful  # type: ignore[method-assign]
    (state,) = target.run().values()
    assert (state.status, state.reason) == (FAILED, "ACKNOWLEDGED_LOST")
    assert state.rows == (MapRow(0, 0, 8),)


def test_one_batch_is_under_way_until_one_is_in_over_this_connection() -> None:
    target = Target(batches=12)
    target.cluster.produce_faults.extend(["ok", "ok", "ok", "lost before"])
    (state,) = target.run().values()
    sent: list[int] = []
    answered = len(target.topic.logs[0].entries)
    carry_out = target.cluster.carry_out

    def counted(*args: Any, **options: Any) -> Any:
        sent.append(len(target.requests))
        return carry_out(*args, **options)

    target.cluster.carry_out = counted  # type: ignore[method-assign]
    target.requests.clear()
    (state,) = target.run([state]).values()
    assert answered == 3 and state.status == DONE
    assert sent[0] == 1 and sent[1] > 2
    assert target.values() == target.expected()


def test_a_broker_that_counts_otherwise_gets_no_second_copy() -> None:
    target = Target(batches=12)
    carry_out = target.cluster.carry_out
    calls = 0

    def forgetful(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            target.topic.logs[0].producers[9].batches.append((500, 500, 0))
        return carry_out(*args, **options)

    target.cluster.carry_out = forgetful  # type: ignore[method-assign]
    (state,) = target.run().values()
    assert (state.status, state.reason) == (UNCLEAR, "OUT_OF_ORDER_SEQUENCE_NUMBER")
    assert target.values() == target.expected()[: state.source_next]


@pytest.mark.parametrize("fault", ["few replicas before", "few replicas after", "timed out after", "unknown id"])
def test_a_passing_error_is_tried_again_from_the_first_batch_that_is_not_in(fault: str) -> None:
    target = Target(2)
    target.cluster.produce_faults.extend(["ok", "ok", fault])
    ended = target.run()
    assert all(state.status == DONE for state in ended.values())
    assert [target.values(number) for number in (0, 1)] == [target.expected(0), target.expected(1)]
    assert target.heard.of(Retried)


def test_a_partition_that_another_broker_leads_goes_back_at_once() -> None:
    target = Target(2)
    target.cluster.produce_faults.extend(["ok", "moved, named"])
    target.cluster.nodes = 2
    ended = target.run()
    (moved,) = [state for state in ended.values() if state.status == WORKING]
    (other,) = [state for state in ended.values() if state.status == DONE]
    assert moved.reason == "NOT_LEADER_OR_FOLLOWER" and moved.source_next == 2
    assert target.values(other.part.target.partition) == target.expected(other.part.target.partition)


def test_an_error_that_stays_hands_the_partition_back() -> None:
    target = Target()
    target.cluster.produce_faults.extend(["few replicas before"] * 100)
    (state,) = target.run().values()
    assert (state.status, state.reason, state.source_next) == (WORKING, "NOT_ENOUGH_REPLICAS", 0)
    assert len(target.cluster.produce_faults) > 60


@pytest.mark.parametrize("fault", ["lost before", "lost after", "late"])
@pytest.mark.parametrize("at", range(6))
def test_a_lost_connection_loses_and_doubles_nothing(fault: str, at: int) -> None:
    target = Target(3)
    target.cluster.produce_faults.extend(["ok"] * at + [fault])
    first = target.run(request_bytes=200)
    assert {state.status for state in first.values()} <= {WORKING, DONE}
    again = [state for state in first.values() if state.status == WORKING]
    second = target.run(again)
    for _ in range(12):
        target.cluster.deliver_late()
    assert all(state.status == DONE for state in second.values())
    for number in range(3):
        assert target.values(number) == target.expected(number)
        state = second.get(number, first[number])
        assert state.rows == (MapRow(0, 0, 12),)


def test_a_stop_hands_everything_back_with_what_is_known_to_be_in() -> None:
    target = Target(40, batches=8)
    target.stop_after = 3
    ended = target.run()
    assert len(ended) == 40
    assert {state.reason for state in ended.values() if state.status == WORKING} == {"interrupted"}
    for number, state in ended.items():
        assert target.values(number)[: state.records] == target.expected(number)[: state.records]
        assert state.source_next == state.records
    target.stop_after = None
    rest = [state for state in ended.values() if state.status == WORKING]
    finished = target.run(rest)
    assert all(state.status == DONE for state in finished.values())
    assert all(target.values(number) == target.expected(number) for number in range(40))


def test_never_more_than_a_broker_remembers_is_under_way() -> None:
    target = Target(1, batches=40)
    most = 0
    carry_out = target.cluster.carry_out

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal most
        sent = sum(len(request) for request in target.requests)
        most = max(most, sent - len(target.topic.logs[0].entries))
        return carry_out(*args, **options)

    target.cluster.carry_out = counted  # type: ignore[method-assign]
    target.run()
    assert most == MOST_IN_FLIGHT


@pytest.mark.parametrize("error", [KafkaUnreachable("gone"), KafkaProtocolError("rubbish")])
def test_a_connection_that_breaks_while_sending_hands_back(error: Exception) -> None:
    target = Target()
    producer = SimulatedProducer(target.cluster, 0)

    def broken(batches: Sequence[ProduceBatch]) -> None:
        raise error

    producer.send = broken  # type: ignore[method-assign]
    (state,) = PartitionProducer(
        ProduceTask(0, target.progress()),
        producer=producer,  # type: ignore[arg-type]
        batches=target.stored,
        request_bytes=1,
        sink=target.heard,
        stopped=lambda: False,
    ).run()
    assert (state.status, state.message, state.source_next) == (WORKING, str(error), 0)


def test_tasks_spread_the_bytes_over_the_connections_of_each_leader() -> None:
    states = [
        replace(state, leader=number % 2, part=replace(state.part, raw_bytes=size))
        for number, (state, size) in enumerate(zip(Target(6).progress(), (900, 100, 300, 100, 300, 100), strict=True))
    ]
    tasks = cut_into_tasks(states, connections_per_broker=2)
    loads = [(task.broker, sum(state.part.raw_bytes for state in task.partitions)) for task in tasks]
    assert sorted(loads) == [(0, 600), (0, 900), (1, 100), (1, 200)]
    assert sorted(state.part.target for task in tasks for state in task.partitions) == [s.part.target for s in states]

"""The control client against scripted brokers: what a healthy cluster does too rarely to wait for."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from kafka.protocol.admin import (
    CreateTopicsRequest,
    DeleteTopicsRequest,
    ListGroupsRequest,
)
from kafka.protocol.consumer import ListOffsetsRequest, OffsetCommitRequest, OffsetFetchRequest
from kafka.protocol.metadata import FindCoordinatorRequest, MetadataRequest
from kafka.protocol.producer import InitProducerIdRequest
from tests.support.control_broker import ControlBroker, HangUp, coordinator_here, free_port, metadata, scripted

from kafkeep.errors import (
    KafkaAccessDenied,
    KafkaError,
    KafkaProtocolError,
    KafkaRequestError,
    KafkaUnreachable,
    KafkaUnsupported,
)
from kafkeep.events import Event, Retried
from kafkeep.kafka.admin import NewTopic
from kafkeep.kafka.cluster import EARLIEST, LATEST, Cluster, LogEnds, OffsetAnswer
from kafkeep.kafka.codes import ErrorCode
from kafkeep.kafka.control import ControlClient
from kafkeep.kafka.long_answers import LIST_OFFSETS
from kafkeep.kafka.wire.primitives import Reader
from kafkeep.model import GroupOffset, TopicPartition

ORDERS = TopicPartition("orders", 0)


def test_the_bootstrap_list_is_tried_in_order() -> None:
    dead = free_port()
    with scripted() as broker, Cluster(broker.config(f"127.0.0.1:{dead}")) as cluster:
        assert cluster.cluster_id() == "c"


def test_an_unreachable_cluster_fails_at_once_and_names_every_address() -> None:
    first, second = free_port(), free_port()
    config = ControlBroker({}, node_id=1)
    config.port = first
    started = time.monotonic()
    with (
        Cluster(config.config(f"127.0.0.1:{second}")) as cluster,
        pytest.raises(KafkaUnreachable) as caught,
    ):
        cluster.topology()
    assert f"127.0.0.1:{first}" in str(caught.value)
    assert f"127.0.0.1:{second}" in str(caught.value)
    assert time.monotonic() - started < 15


def test_a_peer_that_is_no_broker_is_told_apart_from_one_that_is_silent() -> None:
    server = socket.create_server(("127.0.0.1", 0))

    def babble() -> None:
        sock, _ = server.accept()
        with sock:
            sock.recv(100)
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    thread = threading.Thread(target=babble)
    thread.start()
    broker = ControlBroker({})
    broker.port = server.getsockname()[1]
    with server, Cluster(broker.config()) as cluster, pytest.raises(KafkaProtocolError):
        cluster.topology()
    thread.join()


def test_a_connection_the_broker_closed_meanwhile_is_replaced() -> None:
    events: list[Event] = []
    with scripted() as broker, Cluster(broker.config(), sink=events.append) as cluster:
        cluster.topology()
        broker.hang_up()
        assert cluster.topology().cluster_id == "c"
        assert broker.connections == 2
        assert [type(event) for event in events] == [Retried]


def test_a_broker_that_stays_away_ends_the_call_within_its_budget() -> None:
    with scripted() as broker:
        cluster = Cluster(broker.config(), retry_seconds=0.5)
        cluster.topology()
    started = time.monotonic()
    with cluster, pytest.raises(KafkaUnreachable):
        cluster.topology()
    assert 0.4 < time.monotonic() - started < 15


def test_a_broker_that_hangs_costs_its_timeout_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, scripted() as broker:
        hung = {"node_id": 0, "host": "127.0.0.1", "port": silent.getsockname()[1], "rack": None}
        plain = broker.scripts[MetadataRequest]
        broker.scripts[MetadataRequest] = lambda v, r: plain(v, r) | {"brokers": [hung, *broker.brokers()]}
        with Cluster(broker.config(request_timeout_seconds=4.0)) as cluster:
            cluster.topology()
            broker.hang_up()
            started = time.monotonic()
            cluster.topology()
            assert time.monotonic() - started >= 4.0
            broker.hang_up()
            started = time.monotonic()
            cluster.topology()
            assert time.monotonic() - started < 3.5


def test_an_unreadable_answer_costs_the_connection_and_nothing_else() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        good = broker.scripts[MetadataRequest]
        broker.scripts[MetadataRequest] = lambda version, request: b"\0" + b"\xff" * 9
        with pytest.raises(KafkaProtocolError, match="Metadata"):
            cluster.topology()
        broker.scripts[MetadataRequest] = good
        assert cluster.topology().cluster_id == "c"


def test_a_request_the_broker_lacks_is_unsupported() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        with pytest.raises(KafkaUnsupported):
            cluster.admin.init_producer_id()
        with pytest.raises(KafkaUnsupported):
            cluster.broker_api(77)
        assert cluster.broker_api(3)[1] >= 12


def test_throttling_delays_the_next_request_on_that_connection() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        plain = broker.scripts[MetadataRequest]
        broker.scripts[MetadataRequest] = lambda version, request: plain(version, request) | {"throttle_time_ms": 3000}
        started = time.monotonic()
        cluster.topology()
        assert time.monotonic() - started < 2.5
        cluster.topology()
        assert time.monotonic() - started >= 3.0


def test_a_closed_client_refuses_and_wakes_who_waits() -> None:
    with scripted() as broker:
        cluster = Cluster(broker.config(), retry_seconds=300)
        cluster.topology()
    errors: list[KafkaError] = []

    def ask() -> None:
        try:
            cluster.topology()
        except KafkaError as error:
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.3)
    cluster.close()
    thread.join(60)
    assert not thread.is_alive()
    assert "are closed" in str(errors[0])


def test_many_threads_share_one_client() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        problems: list[BaseException] = []

        def work() -> None:
            try:
                for _ in range(30):
                    assert cluster.topology(["orders"]).topics["orders"].partitions[0].leader == 1
            except BaseException as error:
                problems.append(error)
                raise

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []
        assert len(broker.asked(MetadataRequest)) == 8 * 30
        assert broker.connections == 1


def test_the_controller_is_looked_up_again_when_it_moved() -> None:
    with scripted() as old, scripted() as new:
        new.node_id = 2
        both = [*old.brokers(), *new.brokers()]
        controller = {"id": 1}
        for broker in (old, new):
            answer = metadata(broker, "orders")
            broker.scripts[MetadataRequest] = lambda v, r, a=answer: (
                a(v, r) | {"brokers": both, "controller_id": controller["id"]}
            )

        def moved(version: int, request: Any) -> dict[str, Any]:
            controller["id"] = 2
            return {"topics": [{"name": "fresh", "error_code": 41, "error_message": None, "configs": None}]}

        def created(version: int, request: Any) -> dict[str, Any]:
            return {"topics": [{"name": "fresh", "error_code": 0, "error_message": None, "configs": None}]}

        old.scripts[CreateTopicsRequest] = moved
        new.scripts[CreateTopicsRequest] = created
        with Cluster(old.config()) as cluster:
            assert isinstance(cluster.admin.create_topics([NewTopic("fresh", 1, 1)])["fresh"], str)
        assert len(old.asked(CreateTopicsRequest)) == len(new.asked(CreateTopicsRequest)) == 1


def lost_creation(broker: ControlBroker, name: str) -> None:
    """Creates the topic and loses the answer; from then on the topic is there."""

    def answer(version: int, request: Any) -> dict[str, Any]:
        if len(broker.asked(CreateTopicsRequest)) == 1:
            broker.scripts[MetadataRequest] = metadata(broker, "orders", name)
            raise HangUp
        return {"topics": [{"name": name, "error_code": 36, "error_message": "there", "configs": None}]}

    broker.scripts[CreateTopicsRequest] = answer


def test_a_topic_whose_creation_was_confirmed_by_nobody_counts_as_created() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        lost_creation(broker, "fresh")
        assert isinstance(cluster.admin.create_topics([NewTopic("fresh", 1, 1)])["fresh"], str)


def test_a_topic_that_was_always_there_never_counts_as_created() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        lost_creation(broker, "orders")
        refused = cluster.admin.create_topics([NewTopic("orders", 1, 1)])["orders"]
        assert isinstance(refused, KafkaRequestError)
        assert refused.code == 36


def test_a_topic_somebody_else_creates_meanwhile_is_theirs() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        broker.scripts[CreateTopicsRequest] = lambda version, request: {
            "topics": [{"name": "fresh", "error_code": 36, "error_message": "there", "configs": None}]
        }
        assert isinstance(cluster.admin.create_topics([NewTopic("fresh", 1, 1)])["fresh"], KafkaRequestError)


def test_a_deletion_whose_answer_was_lost_is_done_when_the_topic_is_gone() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:

        def answer(version: int, request: Any) -> dict[str, Any]:
            if len(broker.asked(DeleteTopicsRequest)) == 1:
                raise HangUp
            return {"responses": [{"name": "orders", "error_code": 3, "error_message": None}]}

        broker.scripts[DeleteTopicsRequest] = answer
        assert cluster.admin.delete_topics(["orders"]) == {"orders": None}


def test_an_item_the_broker_says_nothing_about_is_an_error() -> None:
    with scripted() as broker, Cluster(broker.config(), retry_seconds=0.2) as cluster:
        broker.scripts[CreateTopicsRequest] = lambda version, request: {"topics": []}
        broker.scripts[DeleteTopicsRequest] = lambda version, request: {"responses": []}
        broker.scripts[FindCoordinatorRequest] = coordinator_here
        broker.scripts[OffsetFetchRequest] = lambda version, request: {"groups": []}
        assert isinstance(cluster.admin.create_topics([NewTopic("fresh", 1, 1)])["fresh"], KafkaError)
        assert isinstance(cluster.admin.delete_topics(["orders"])["orders"], KafkaError)
        assert isinstance(cluster.admin.group_offsets(["g"])["g"], KafkaError)


def test_throttled_creations_are_asked_again_without_the_done_ones() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:

        def answer(version: int, request: Any) -> dict[str, Any]:
            first = len(broker.asked(CreateTopicsRequest)) == 1
            codes = {"a": 0, "b": 89 if first else 0}
            return {
                "topics": [
                    {"name": topic.name, "error_code": codes[topic.name], "error_message": None, "configs": None}
                    for topic in request.topics
                ]
            }

        broker.scripts[CreateTopicsRequest] = answer
        result = cluster.admin.create_topics([NewTopic("a", 1, 1), NewTopic("b", 1, 1)])
        assert all(isinstance(value, str) for value in result.values())
        asked = [[topic.name for topic in call.request.topics] for call in broker.asked(CreateTopicsRequest)]
        assert asked == [["a", "b"], ["b"]]


def test_topics_are_created_in_requests_the_controller_accepts() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        broker.scripts[CreateTopicsRequest] = lambda version, request: {
            "topics": [
                {"name": t.name, "error_code": 0, "error_message": None, "configs": None} for t in request.topics
            ]
        }
        topics = [NewTopic(f"t{index}", 2000, 1) for index in range(5)]
        assert len(cluster.admin.create_topics(topics)) == 5
        assert [len(call.request.topics) for call in broker.asked(CreateTopicsRequest)] == [2, 2, 1]


def list_offsets(code: int, offset: int = 7) -> dict[str, Any]:
    partition = {"partition_index": 0, "error_code": code, "offset": offset, "timestamp": -1, "leader_epoch": 4}
    return {"topics": [{"name": "orders", "partitions": [partition]}]}


@pytest.mark.parametrize("code", [3, 5, 6, 7, 9, 74, 75, 78])
def test_offsets_are_asked_again_with_fresh_metadata(code: int) -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        broker.scripts[ListOffsetsRequest] = lambda version, request: list_offsets(
            code if len(broker.asked(ListOffsetsRequest)) == 1 else 0
        )
        assert cluster.offsets([ORDERS], LATEST) == {ORDERS: OffsetAnswer(7, 4, -1, 0)}
        assert len(broker.asked(MetadataRequest)) >= 2


def test_a_code_that_stays_is_answered_when_the_time_is_up() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        broker.scripts[ListOffsetsRequest] = lambda version, request: list_offsets(6, -1)
        found = cluster.offsets([ORDERS], LATEST, retry_seconds=0.3)
        assert found[ORDERS].error == 6
        assert len(broker.asked(ListOffsetsRequest)) > 1


@pytest.mark.parametrize("code", [29, 35, 1])
def test_a_refusal_is_answered_at_once(code: int) -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        broker.scripts[ListOffsetsRequest] = lambda version, request: list_offsets(code, -1)
        assert cluster.offsets([ORDERS], LATEST)[ORDERS].error == code
        assert len(broker.asked(ListOffsetsRequest)) == 1


def ends(*codes: int) -> Callable[[int, Any], dict[str, Any]]:
    """Answers to the questions after a partition's last stable offset, high watermark and log start; `codes` are what the
    first questions are refused with.
    """
    asked: list[object] = []

    def answer(version: int, request: Any) -> dict[str, Any]:
        asked.append(request)
        code = codes[len(asked) - 1] if len(asked) <= len(codes) else 0
        at = request.topics[0].partitions[0].timestamp
        return list_offsets(code, {EARLIEST: 3}.get(at, 7 if request.isolation_level else 9))

    return answer


def test_ends_are_asked_for_in_the_order_that_keeps_them_together() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        broker.scripts[ListOffsetsRequest] = ends()
        assert cluster.log_ends([ORDERS]) == {ORDERS: LogEnds(3, 7, 9, 0)}
        asked = [
            (call.request.topics[0].partitions[0].timestamp, call.request.isolation_level)
            for call in broker.asked(ListOffsetsRequest)
        ]
        assert asked == [(LATEST, 1), (LATEST, 0), (EARLIEST, 0)]


def end_questions() -> list[dict[str, Any]]:
    topics = {"orders": [(0, 4)]}
    return [
        {"topics": topics, "at": at, "read_committed": committed, "timeout_ms": 1000}
        for at, committed in ((LATEST, True), (LATEST, False), (EARLIEST, False))
    ]


def test_a_broker_has_the_next_question_while_its_last_answer_is_read() -> None:
    answered = 0

    def read(version: int, answer: Reader) -> object:
        nonlocal answered
        answered += 1
        deadline = time.monotonic() + 60
        while len(broker.asked(ListOffsetsRequest)) < min(answered + 1, 3):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return LIST_OFFSETS.read(version, answer)

    with scripted() as broker, contextlib.closing(ControlClient(broker.config())) as client:
        broker.scripts[ListOffsetsRequest] = ends()
        told = client.send_each(LIST_OFFSETS._replace(read=read), end_questions(), to="any")
    assert [answer.topics["orders"][0].offset for answer in told] == [7, 9, 3]


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_of_several_questions_one_without_an_answer_ends_them_all(lost: int) -> None:
    plain = ends()

    def answer(version: int, request: Any) -> dict[str, Any]:
        if len(broker.asked(ListOffsetsRequest)) == lost:
            raise HangUp
        return plain(version, request)

    with scripted() as broker, contextlib.closing(ControlClient(broker.config())) as client:
        broker.scripts[ListOffsetsRequest] = answer
        with pytest.raises(KafkaUnreachable):
            client.send_each(LIST_OFFSETS, end_questions(), to="any")
        assert len(broker.asked(ListOffsetsRequest)) == lost
        assert len(client.send_each(LIST_OFFSETS, end_questions(), to="any")) == 3
        assert broker.connections == 2


@pytest.mark.parametrize("codes", [(6,), (0, 6), (0, 0, 6)])
def test_ends_of_which_one_is_refused_are_asked_for_again(codes: tuple[int, ...]) -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        broker.scripts[ListOffsetsRequest] = ends(*codes)
        assert cluster.log_ends([ORDERS]) == {ORDERS: LogEnds(3, 7, 9, 0)}
        assert len(broker.asked(ListOffsetsRequest)) == 6


@pytest.mark.parametrize("codes", [(29,), (0, 29), (0, 0, 29)])
def test_ends_that_are_refused_for_good_carry_the_code(codes: tuple[int, ...]) -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        broker.scripts[ListOffsetsRequest] = ends(*codes)
        assert cluster.log_ends([ORDERS])[ORDERS].error == 29


def test_ends_that_an_answer_leaves_out_are_no_ends() -> None:
    with scripted() as broker, Cluster(broker.config(), retry_seconds=0.2) as cluster:
        broker.scripts[ListOffsetsRequest] = lambda version, request: (
            list_offsets(0) if request.isolation_level else {"topics": []}
        )
        assert cluster.log_ends([ORDERS])[ORDERS].error == ErrorCode.NETWORK_EXCEPTION


def test_the_leader_epoch_known_fences_the_answer() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        broker.scripts[MetadataRequest] = metadata(broker, "orders", epoch=11)
        broker.scripts[ListOffsetsRequest] = lambda version, request: list_offsets(0)
        cluster.offsets([ORDERS], LATEST, read_committed=True)
        (call,) = broker.asked(ListOffsetsRequest)
        assert call.request.isolation_level == 1
        assert call.request.topics[0].partitions[0].current_leader_epoch == 11


def test_a_stale_topology_costs_one_more_look_and_no_delay() -> None:
    events: list[Event] = []
    with scripted() as broker, Cluster(broker.config(), sink=events.append) as cluster:
        broker.scripts[ListOffsetsRequest] = lambda version, request: list_offsets(0)
        broker.scripts[MetadataRequest] = metadata(broker, "orders", leader=9)
        stale = cluster.topology(["orders"])
        broker.scripts[MetadataRequest] = metadata(broker, "orders")
        assert cluster.offsets([ORDERS], LATEST, topology=stale)[ORDERS].offset == 7
        assert events == []


def test_a_partition_without_a_leader_keeps_its_code() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        broker.scripts[MetadataRequest] = metadata(broker, "orders", leader=-1)
        assert cluster.offsets([ORDERS], LATEST, retry_seconds=0.2)[ORDERS].error == 5


def test_a_leader_out_of_reach_is_a_code_and_the_others_answer() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        near, far = metadata(broker, "orders"), metadata(broker, "far", leader=9)

        def answer(version: int, request: Any) -> dict[str, Any]:
            known = near(version, request)["topics"] + far(version, request)["topics"]
            return near(version, request) | {"topics": [topic for topic in known if topic["error_code"] == 0]}

        broker.scripts[MetadataRequest] = answer
        broker.scripts[ListOffsetsRequest] = lambda version, request: list_offsets(0)
        away = TopicPartition("far", 0)
        found = cluster.offsets([ORDERS, away], LATEST, retry_seconds=0.2)
        assert (found[ORDERS], found[away].error) == (OffsetAnswer(7, 4, -1, 0), 13)


def test_no_leader_in_reach_says_why() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        broker.scripts[MetadataRequest] = metadata(broker, "orders", leader=9)
        with pytest.raises(KafkaUnreachable, match="broker 9"):
            cluster.offsets([ORDERS], LATEST, retry_seconds=0.2)


def test_a_broker_that_knows_no_brokers_yet_is_not_taken_at_its_word() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        plain = broker.scripts[MetadataRequest]
        broker.scripts[MetadataRequest] = lambda version, request: (
            plain(version, request) | ({"brokers": []} if len(broker.asked(MetadataRequest)) == 1 else {})
        )
        broker.scripts[ListGroupsRequest] = lambda v, r: {"groups": [{"group_id": "g", "protocol_type": "consumer"}]}
        assert len(cluster.admin.groups()) == 1


def test_a_timestamp_only_newer_brokers_know_is_unsupported() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        broker.scripts[ListOffsetsRequest] = lambda version, request: list_offsets(0)
        broker.versions[2] = (0, 6)
        with pytest.raises(KafkaUnsupported):
            cluster.offsets([ORDERS], -3)


def test_a_producer_id_is_waited_for() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        codes = [14, 15, 16, 0]
        broker.scripts[InitProducerIdRequest] = lambda version, request: {
            "error_code": codes.pop(0),
            "producer_id": 42,
            "producer_epoch": 1,
        }
        assert cluster.admin.init_producer_id() == (42, 1)
        broker.scripts[InitProducerIdRequest] = lambda version, request: {"error_code": 31}
        with pytest.raises(KafkaAccessDenied):
            cluster.admin.init_producer_id()


def test_nothing_that_is_sent_or_answered_reaches_a_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), scripted() as broker, Cluster(broker.config()) as cluster:
        logging.getLogger("kafka").setLevel(logging.DEBUG)
        broker.scripts[FindCoordinatorRequest] = coordinator_here
        broker.scripts[OffsetCommitRequest] = lambda version, request: {"topics": []}
        with Cluster(broker.config()) as other:
            other.admin.commit_group_offsets("g", [GroupOffset(ORDERS, 3, -1, "canary-metadata")])
        cluster.topology(["canary-topic"])
        assert not logging.getLogger("kafka").isEnabledFor(logging.DEBUG)
    assert "canary" not in caplog.text

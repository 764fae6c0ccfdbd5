"""Groups against a scripted broker: versions, moved coordinators, undecided and forbidden positions."""

from __future__ import annotations

from typing import Any

import pytest
from kafka.protocol.admin import DeleteGroupsRequest, DescribeGroupsRequest, ListGroupsRequest
from kafka.protocol.consumer import OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest
from kafka.protocol.metadata import FindCoordinatorRequest, MetadataRequest
from tests.support.control_broker import coordinator_here, free_port, metadata, scripted

from kafkeep.errors import KafkaAccessDenied, KafkaRequestError, KafkaUnreachable, KafkaUnsupported
from kafkeep.kafka.admin import GroupListing
from kafkeep.kafka.apis import ALTER_SHARE_OFFSETS, DELETE_SHARE_OFFSETS, DESCRIBE_SHARE_OFFSETS, LIST_GROUPS
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.control import ControlClient, Coordinator
from kafkeep.model import GroupOffset, TopicPartition

ORDERS = TopicPartition("orders", 0)


@pytest.mark.parametrize(("version", "requests"), [(3, 3), (4, 1), (6, 1)])
def test_coordinators_are_looked_up_together_where_the_broker_can(version: int, requests: int) -> None:
    with scripted() as broker:
        broker.scripts[FindCoordinatorRequest] = coordinator_here
        broker.versions[10] = (0, version)
        client = ControlClient(broker.config())
        assert client.coordinators(["a", "b", "c"]) == {"a": 1, "b": 1, "c": 1}
        assert len(broker.asked(FindCoordinatorRequest)) == requests
        client.coordinators(["a", "b", "c"])
        assert len(broker.asked(FindCoordinatorRequest)) == requests
        client.close()


def test_a_coordinator_that_is_not_ready_is_asked_for_again() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:

        def answer(version: int, request: Any) -> dict[str, Any]:
            found = coordinator_here(version, request)
            if len(broker.asked(FindCoordinatorRequest)) == 1:
                found["coordinators"][0] |= {"error_code": 15}
            return found

        broker.scripts[FindCoordinatorRequest] = answer
        broker.scripts[OffsetFetchRequest] = lambda version, request: {
            "groups": [{"group_id": group.group_id, "topics": []} for group in request.groups]
        }
        assert cluster.admin.group_offsets(["a", "b"]) == {"a": (), "b": ()}
        assert [call.request.coordinator_keys for call in broker.asked(FindCoordinatorRequest)] == [["a", "b"], ["a"]]


def test_a_forbidden_group_stands_in_its_place() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:

        def answer(version: int, request: Any) -> dict[str, Any]:
            found = coordinator_here(version, request)
            for item in found["coordinators"]:
                item["error_code"] = 30 if item["key"] == "secret" else 0
            return found

        broker.scripts[FindCoordinatorRequest] = answer
        broker.scripts[OffsetFetchRequest] = lambda version, request: {
            "groups": [
                {"group_id": group.group_id, "topics": [], "error_code": 30 if group.group_id == "late" else 0}
                for group in request.groups
            ]
        }
        found = cluster.admin.group_offsets(["secret", "late", "open"])
        assert isinstance(found["secret"], KafkaAccessDenied)
        assert isinstance(found["late"], KafkaAccessDenied)
        assert found["open"] == ()
        with pytest.raises(KafkaAccessDenied, match="secret"):
            ControlClient(broker.config()).send(LIST_GROUPS, {}, to=Coordinator("secret"))


def positions(request: Any, version: int, code: int = 0) -> dict[str, Any]:
    partitions = [
        {"partition_index": 1, "committed_offset": 5, "committed_leader_epoch": 3, "metadata": "m", "error_code": code},
        {"partition_index": 0, "committed_offset": -1, "committed_leader_epoch": -1, "metadata": "", "error_code": 0},
    ]
    topics = [{"name": "orders", "partitions": partitions}]
    if version < 8:
        return {"topics": topics, "error_code": 0}
    return {"groups": [{"group_id": group.group_id, "topics": topics} for group in request.groups]}


@pytest.mark.parametrize("version", [2, 5, 6, 7, 8, 9])
def test_positions_are_read_at_every_version(version: int) -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        broker.versions[9] = (0, version)
        broker.scripts[FindCoordinatorRequest] = coordinator_here
        broker.scripts[OffsetFetchRequest] = lambda v, request: positions(request, v)
        expected = (GroupOffset(TopicPartition("orders", 1), 5, 3 if version >= 5 else -1, "m"),)
        assert cluster.admin.group_offsets(["a", "b"]) == {"a": expected, "b": expected}
        assert len(broker.asked(OffsetFetchRequest)) == (1 if version >= 8 else 2)


def test_undecided_positions_are_waited_for_and_then_taken_as_they_are() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        broker.scripts[FindCoordinatorRequest] = coordinator_here
        broker.scripts[OffsetFetchRequest] = lambda version, request: positions(
            request, version, 88 if request.require_stable else 0
        )
        found = cluster.admin.group_offsets(["g"], stable_wait_seconds=0.4)
        assert isinstance(found["g"], tuple)
        assert found["g"][0].offset == 5
        stable = [call.request.require_stable for call in broker.asked(OffsetFetchRequest)]
        assert stable == [True] * (len(stable) - 1) + [False]
        assert len(stable) > 2


def test_a_position_that_cannot_be_read_spoils_its_group_and_no_other() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        broker.scripts[FindCoordinatorRequest] = coordinator_here

        def answer(version: int, request: Any) -> dict[str, Any]:
            found = positions(request, version, 29)
            found["groups"][1]["topics"] = []
            return found

        broker.scripts[OffsetFetchRequest] = answer
        found = cluster.admin.group_offsets(["a", "b"])
        assert isinstance(found["a"], KafkaAccessDenied)
        assert found["b"] == ()


def test_a_commit_follows_its_coordinator() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        broker.scripts[FindCoordinatorRequest] = coordinator_here

        def answer(version: int, request: Any) -> dict[str, Any]:
            code = 16 if len(broker.asked(OffsetCommitRequest)) == 1 else 0
            return {"topics": [{"name": "orders", "partitions": [{"partition_index": 0, "error_code": code}]}]}

        broker.scripts[OffsetCommitRequest] = answer
        assert cluster.admin.commit_group_offsets("g", [GroupOffset(ORDERS, 3, -1, "meta")]) == {ORDERS: 0}
        assert len(broker.asked(FindCoordinatorRequest)) == 2
        call = broker.asked(OffsetCommitRequest)[1]
        assert (call.version, call.request.generation_id_or_member_epoch, call.request.member_id) == (9, -1, "")
        assert call.request.topics[0].partitions[0].committed_metadata == "meta"


def test_no_broker_is_missing_from_a_list_of_groups() -> None:
    with scripted() as broker, Cluster(broker.config(), retry_seconds=0.3) as cluster:
        gone = {"node_id": 2, "host": "127.0.0.1", "port": free_port(), "rack": None}
        plain = metadata(broker)
        broker.scripts[MetadataRequest] = lambda v, r: plain(v, r) | {"brokers": [*broker.brokers(), gone]}
        broker.scripts[ListGroupsRequest] = lambda v, r: {"groups": [{"group_id": "g", "protocol_type": "consumer"}]}
        with pytest.raises(KafkaUnreachable):
            cluster.admin.groups()
        broker.scripts[MetadataRequest] = plain
        assert cluster.admin.groups() == (GroupListing("g", "unknown", "", "consumer"),)


def test_a_group_is_dead_only_when_no_type_knows_it() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        broker.scripts[FindCoordinatorRequest] = coordinator_here
        broker.scripts[DescribeGroupsRequest] = lambda version, request: {
            "groups": [
                {
                    "group_id": group,
                    "error_code": {"secret": 30}.get(group, 0),
                    "group_state": "Stable" if group == "old" else "Dead",
                    "protocol_type": "consumer",
                    "members": [],
                }
                for group in request.groups
            ]
        }
        broker.scripts[ListGroupsRequest] = lambda version, request: {
            "groups": [{"group_id": "shared", "protocol_type": "share", "group_state": "Empty", "group_type": "Share"}]
        }
        found = cluster.admin.group_state(["old", "shared", "absent", "secret"])
        assert found["old"] == GroupListing("old", "classic", "Stable", "consumer")
        assert found["shared"] == GroupListing("shared", "share", "Empty", "share")
        assert found["absent"] == GroupListing("absent", "unknown", "Dead", "")
        assert isinstance(found["secret"], KafkaAccessDenied)


def test_absent_groups_are_listed_once_however_many_there_are() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        broker.scripts[FindCoordinatorRequest] = coordinator_here
        broker.scripts[DescribeGroupsRequest] = lambda version, request: {
            "groups": [{"group_id": group, "group_state": "Dead", "members": []} for group in request.groups]
        }
        broker.scripts[ListGroupsRequest] = lambda version, request: {"groups": []}
        found = cluster.admin.group_state([f"g{number}" for number in range(250)])
        assert len(found) == 250 and all(isinstance(g, GroupListing) and g.state == "Dead" for g in found.values())
        assert len(broker.asked(DescribeGroupsRequest)) == 3
        assert len(broker.asked(ListGroupsRequest)) == 1


def test_positions_are_deleted_by_the_coordinator() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        broker.scripts[FindCoordinatorRequest] = coordinator_here
        other = TopicPartition("orders", 1)

        def answer(version: int, request: Any) -> dict[str, Any]:
            if request.group_id == "absent":
                return {"error_code": 69, "topics": []}
            if len(broker.asked(OffsetDeleteRequest)) == 1:
                return {"error_code": 16, "topics": []}
            partitions = [{"partition_index": 0, "error_code": 0}, {"partition_index": 1, "error_code": 86}]
            return {"error_code": 0, "topics": [{"name": "orders", "partitions": partitions}]}

        broker.scripts[OffsetDeleteRequest] = answer
        assert cluster.admin.delete_group_offsets("g", [ORDERS, other]) == {ORDERS: 0, other: 86}
        assert len(broker.asked(FindCoordinatorRequest)) == 2
        with pytest.raises(KafkaRequestError, match="GROUP_ID_NOT_FOUND"):
            cluster.admin.delete_group_offsets("absent", [ORDERS])


def test_groups_are_deleted_and_one_that_is_gone_is_no_error() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        broker.scripts[FindCoordinatorRequest] = coordinator_here
        codes = {"gone": 69, "busy": 68, "secret": 30}
        broker.scripts[DeleteGroupsRequest] = lambda version, request: {
            "results": [{"group_id": g, "error_code": codes.get(g, 0)} for g in request.groups_names]
        }
        found = cluster.admin.delete_groups(["there", "gone", "busy", "secret"])
        assert (found["there"], found["gone"]) == (None, None)
        assert isinstance(found["busy"], KafkaRequestError) and found["busy"].code == 68
        assert isinstance(found["secret"], KafkaAccessDenied)


def share_partition(number: int, offset: int, code: int = 0) -> dict[str, Any]:
    return {"partition_index": number, "start_offset": offset, "leader_epoch": 4, "error_code": code}


def test_start_offsets_of_share_groups_are_read() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        broker.scripts[FindCoordinatorRequest] = coordinator_here
        topics = {
            "g": [share_partition(1, 5), share_partition(0, -1)],
            "bad": [share_partition(0, 0, 29)],
        }
        broker.scripts[DESCRIBE_SHARE_OFFSETS.request] = lambda version, request: {
            "groups": [
                {
                    "group_id": group.group_id,
                    "error_code": 69 if group.group_id == "absent" else 0,
                    "topics": [{"topic_name": "orders", "partitions": topics.get(group.group_id, [])}],
                }
                for group in request.groups
            ]
        }
        found = cluster.admin.share_group_offsets(["g", "absent", "bad"])
        assert found["g"] == (GroupOffset(TopicPartition("orders", 1), 5, 4, ""),)
        assert found["absent"] == ()
        assert isinstance(found["bad"], KafkaAccessDenied)


def test_start_offsets_of_share_groups_are_set_and_deleted() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        broker.scripts[FindCoordinatorRequest] = coordinator_here

        def answer(version: int, request: Any) -> dict[str, Any]:
            if request.group_id == "busy":
                return {"error_code": 68, "responses": []}
            code = 16 if len(broker.asked(ALTER_SHARE_OFFSETS.request)) == 1 else 0
            partitions = [{"partition_index": 0, "error_code": code}]
            return {"error_code": 0, "responses": [{"topic_name": "orders", "partitions": partitions}]}

        broker.scripts[ALTER_SHARE_OFFSETS.request] = answer
        broker.scripts[DELETE_SHARE_OFFSETS.request] = lambda version, request: {
            "error_code": 0, "responses": [{"topic_name": "orders", "error_code": 3}]
        }  # fmt: skip
        assert cluster.admin.set_share_group_offsets("g", {ORDERS: 5}) == {ORDERS: 0}
        asked = broker.asked(ALTER_SHARE_OFFSETS.request)
        assert len(asked) == 2
        assert asked[1].request.topics[0].partitions[0].start_offset == 5
        with pytest.raises(KafkaRequestError, match="NON_EMPTY_GROUP"):
            cluster.admin.set_share_group_offsets("busy", {ORDERS: 5})
        assert cluster.admin.delete_share_group_offsets("g", ["orders", "other"]) == {"orders": 3, "other": -1}


def test_brokers_without_share_groups_say_so_in_the_place_of_each() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster:
        broker.scripts[FindCoordinatorRequest] = coordinator_here
        found = cluster.admin.share_group_offsets(["a", "b"])
        assert [type(answer) for answer in found.values()] == [KafkaUnsupported, KafkaUnsupported]
        with pytest.raises(KafkaUnsupported, match="AlterShareGroupOffsets"):
            cluster.admin.set_share_group_offsets("a", {ORDERS: 5})


def test_another_cluster_has_connections_of_its_own() -> None:
    with scripted() as broker, Cluster(broker.config()) as cluster, cluster.another() as other:
        cluster.cluster_id()
        other.cluster_id()
        assert broker.connections == 2

"""Whole restores into simulated clusters: what is refused, what is left behind when something fails, what is noted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tests.support.operations import (
    ORDERS,
    Heard,
    as_cluster,
    back_up,
    contents,
    new_repository,
    now,
    put_back,
    records_of,
    stored,
)
from tests.support.simulated_cluster import SimulatedCluster, SimulatedProducer, produced
from tests.support.simulated_log import record

from kafkeep.errors import (
    CorruptionError,
    GroupActive,
    KafkaRequestError,
    KafkaUnreachable,
    PlanRefused,
    PointNotFound,
    TargetNotEmpty,
    TopicExists,
)
from kafkeep.events import PartitionDone, Progress, Stage, Warned
from kafkeep.kafka.produce import ProduceBatch
from kafkeep.model import GroupOffset, OffsetRange, RecoveryPoint, TopicPartition
from kafkeep.renaming import Rename
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.run import prepare, restore
from kafkeep.restore_reports import told_by_restores

BILLS = TopicPartition("bills", 0)


pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def source() -> SimulatedCluster:
    cluster = SimulatedCluster("source")
    cluster.add_topic("orders", 2, configs={"retention.ms": "1000", "cleanup.policy": "compact"})
    cluster.add_topic("bills")
    for partition in (ORDERS, TopicPartition("orders", 1), BILLS):
        for number in range(5):
            cluster.log(partition).append([record(b"%d" % number, key=b"k") for _ in range(3)])
    cluster.groups["readers"] = [GroupOffset(ORDERS, 4, 1, "m"), GroupOffset(BILLS, 15, 1, "")]
    return cluster


@pytest.fixture
def repository(source: SimulatedCluster) -> Repository:
    found = new_repository()
    assert back_up(source, found).point is not None
    return found


@pytest.fixture
def point(repository: Repository) -> RecoveryPoint:
    return repository.point("latest")


@pytest.fixture
def target() -> SimulatedCluster:
    return SimulatedCluster("target", nodes=2)


def same(target: SimulatedCluster, repository: Repository, point: RecoveryPoint) -> bool:
    return all(
        contents(records_of(target.log(generation.topic_partition))) == contents(records)
        for generation, records in stored(repository, point).items()
    )


def test_topics_records_settings_and_positions_come_back(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint
) -> None:
    result = put_back(target, repository, point)
    assert result.failures == () and not result.interrupted
    assert same(target, repository, point)
    assert target.topics["orders"].configs == {"retention.ms": "1000", "cleanup.policy": "compact"}
    assert target.topics["bills"].configs == {}
    assert {offset.topic_partition: offset.offset for offset in target.groups["readers"]} == {ORDERS: 4, BILLS: 15}
    assert sorted(result.topics_created) == ["bills", "orders"]
    assert (result.records, result.lost) == (45, 0)
    assert result.size_bytes == sum(len(e.data) for t in target.topics.values() for log in t.logs for e in log.entries)
    assert [part.source_range for part in result.partitions] == [OffsetRange(0, 15)] * 3


@pytest.mark.parametrize("connections", [1, 2])
def test_partitions_are_reported_in_their_order_whichever_ends_first(
    target: SimulatedCluster, connections: int
) -> None:
    source = SimulatedCluster("source")
    source.add_topic("orders", 6)
    for number in range(6):
        for _ in range(1 if number else 40):
            source.log(TopicPartition("orders", number)).append([record(b"x" * 1000)])
    repository = new_repository()
    point = back_up(source, repository).point
    result = put_back(
        target, repository, point, connections_per_broker=connections, request_bytes=3000, repack_bytes=2000
    )
    assert [part.target.partition for part in result.partitions] == list(range(6))


def test_topics_are_guarded_while_they_are_loaded(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint
) -> None:
    seen: list[dict[str, str]] = []
    carry_out = target.carry_out

    def watched(*args: Any, **options: Any) -> Any:
        seen.append(dict(target.topics["orders"].configs))
        return carry_out(*args, **options)

    target.carry_out = watched  # type: ignore[method-assign]
    put_back(target, repository, point)
    assert seen and all(configs["retention.ms"] == "-1" and configs["cleanup.policy"] == "delete" for configs in seen)


def test_the_report_keeps_the_plan_before_and_the_maps_after(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint
) -> None:
    result = put_back(target, repository, point, renames=(Rename.parse("orders=o2"),))
    (started,) = [value for _, value in repository.audits("restore-started")]
    (finished,) = [value for _, value in repository.audits("restore-finished")]
    assert isinstance(started, dict) and isinstance(finished, dict)
    (orders,) = [topic for topic in started["topics"] if topic["source"] == "orders"]
    assert (orders["target"], orders["action"]) == ("o2", "create")
    assert ["retention.ms", "1000"] in orders["guard"]["put_back"] and "retention.bytes" in orders["guard"]["remove"]
    assert finished["started"] == result.job
    assert finished["failures"] == [] and finished["interrupted"] is False
    mapped = told_by_restores(repository, point, "target").mapped
    assert {pair: part.offsets for pair, part in mapped.items()} == {
        (part.source.topic_partition, part.target): part.offset_map for part in result.partitions
    }


def test_events(target: SimulatedCluster, repository: Repository, point: RecoveryPoint) -> None:
    heard = Heard()
    options = RestoreOptions(replication_factor=None)
    plan = prepare(as_cluster(target), repository, point, options, now=now)
    restore(as_cluster(target), repository, plan, options, now=now, sink=heard)
    assert [event.name for event in heard.of(Stage)] == ["check", "topics", "records", "settings", "positions"]
    assert [event.message for event in heard.of(Warned)] == list(plan.warnings)
    assert sum(event.records for event in heard.of(Progress) if event.operation == "restore") == 45
    assert len([event for event in heard.of(PartitionDone) if event.operation == "restore"]) == 3


def test_a_plan_changes_nothing_anywhere(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint
) -> None:
    store = repository.store
    assert isinstance(store, MemoryStore)
    before = dict(store.objects)
    plan = prepare(as_cluster(target), repository, point, RestoreOptions(), now=now)
    assert plan.most_records == 45
    assert store.objects == before
    assert (target.topics, target.groups, target.settings.altered) == ({}, {}, [])


@pytest.mark.parametrize(
    ("arrange", "options", "error"),
    [
        (lambda target: target.add_topic("orders", 2).logs[1].append([record(b"x")]), {}, TargetNotEmpty),
        (lambda target: target.active.add("readers"), {}, GroupActive),
        (lambda target: target.add_topic("orders", 3), {}, PlanRefused),
        (lambda target: None, {"renames": (Rename.parse("s/.*/one/"),)}, PlanRefused),
        (lambda target: None, {"topics": ("nosuch",)}, PlanRefused),
        (lambda target: None, {"groups": ("nosuch",)}, PlanRefused),
        (lambda target: None, {"replication_factor": 3}, PlanRefused),
        (
            lambda target: (target.active.add("readers"), target.add_topic("orders", 2).logs[1].append([record(b"x")])),
            {},
            PlanRefused,
        ),
    ],
)
def test_a_refused_plan_is_not_applied(
    target: SimulatedCluster,
    repository: Repository,
    point: RecoveryPoint,
    arrange: Callable[[SimulatedCluster], object],
    options: dict[str, Any],
    error: type[Exception],
) -> None:
    arrange(target)
    topics = set(target.topics)
    with pytest.raises(error) as raised:
        put_back(target, repository, point, **options)
    assert type(raised.value) is error
    assert set(target.topics) == topics and target.requests == 0
    assert list(repository.audits()) == []


def test_into_topics_that_are_there_and_empty(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint
) -> None:
    target.add_topic("orders", 2, configs={"retention.ms": "77"})
    result = put_back(target, repository, point)
    assert result.failures == () and result.topics_created == ("bills",)
    assert same(target, repository, point)
    assert target.topics["orders"].configs == {"retention.ms": "77"}


def test_behind_what_is_there(target: SimulatedCluster, repository: Repository, point: RecoveryPoint) -> None:
    log = target.add_topic("orders", 2).logs[0]
    log.append([record(b"before"), record(b"before")])
    result = put_back(target, repository, point, existing="append")
    assert result.failures == ()
    assert contents(records_of(log))[2:] == contents(stored(repository, point)[point.cuts[1].generation])
    assert {offset.topic_partition: offset.offset for offset in target.groups["readers"]}[ORDERS] == 6


def test_damage_is_found_before_anything_is_changed(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint
) -> None:
    store = repository.store
    assert isinstance(store, MemoryStore)
    (name,) = [name for name in store.objects if name.startswith("pack/")][:1]
    data = bytearray(store.objects[name])
    data[len(data) // 4] ^= 1
    store.objects[name] = bytes(data)
    with pytest.raises(CorruptionError):
        put_back(target, repository, point)
    assert target.topics == {} and target.requests == 0


@pytest.mark.parametrize("preflight", ["data", "exist"])
@pytest.mark.parametrize("damage", ["missing", "short"])
def test_a_pack_that_is_not_as_committed_is_found_at_any_level(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint, preflight: str, damage: str
) -> None:
    store = repository.store
    assert isinstance(store, MemoryStore)
    (name,) = [name for name in store.objects if name.startswith("pack/")][:1]
    if damage == "missing":
        del store.objects[name]
    else:
        store.objects[name] = store.objects[name][:-1]
    with pytest.raises(CorruptionError, match="pack"):
        put_back(target, repository, point, preflight=preflight)
    assert target.topics == {}


def test_a_topic_somebody_made_meanwhile_is_left_alone(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint
) -> None:
    options = RestoreOptions()
    plan = prepare(as_cluster(target), repository, point, options, now=now)
    target.add_topic("orders", 2)
    with pytest.raises(TopicExists, match="orders"):
        restore(as_cluster(target), repository, plan, options, now=now)
    assert target.requests == 0


def test_a_topic_that_cannot_be_made_is_a_failure_and_others_are_restored(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint
) -> None:
    create = target.admin._create

    def refusing(topic: Any, validate_only: bool) -> Any:
        if topic.name == "orders":
            return KafkaRequestError("policy says no", code=44, name="POLICY_VIOLATION")
        return create(topic, validate_only)

    target.admin._create = refusing  # type: ignore[method-assign]
    result = put_back(target, repository, point)
    assert ("orders", "policy says no") in [(failure.subject, failure.message) for failure in result.failures]
    assert result.topics_created == ("bills",) and result.records == 15
    assert {offset.topic_partition for offset in target.groups["readers"]} == {BILLS}
    assert any(failure.subject == "group readers" for failure in result.failures)


def test_an_incomplete_topic_keeps_its_guard_and_its_positions_are_not_set(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint
) -> None:
    carry_out = target._carry_out_one

    def refusing(node: int, batch: ProduceBatch, fault: str) -> Any:
        if batch.topic_partition == ORDERS:
            return produced(batch.topic_partition, 29)
        return carry_out(node, batch, fault)

    target._carry_out_one = refusing  # type: ignore[method-assign]
    result = put_back(target, repository, point)
    found = {(failure.subject, failure.reason) for failure in result.failures}
    assert found == {
        ("orders/0", "TOPIC_AUTHORIZATION_FAILED"),
        ("settings of orders", "TOPIC_INCOMPLETE"),
        ("group readers", "PARTITION_INCOMPLETE"),
    }
    assert target.topics["orders"].configs["retention.ms"] == "-1"
    assert target.topics["bills"].configs == {}
    assert {offset.topic_partition for offset in target.groups["readers"]} == {BILLS}
    assert [(str(part.target), part.complete) for part in result.partitions] == [
        ("bills/0", True),
        ("orders/0", False),
        ("orders/1", True),
    ]


def test_a_foreign_writer_is_noticed_by_the_count(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint
) -> None:
    carry_out = target.carry_out

    def disturbed(*args: Any, **options: Any) -> Any:
        if not any(entry.records for entry in target.log(BILLS).entries):
            target.log(BILLS).append([record(b"foreign")])
        return carry_out(*args, **options)

    target.carry_out = disturbed  # type: ignore[method-assign]
    result = put_back(target, repository, point)
    assert ("bills/0", "COUNT") in {(failure.subject, failure.reason) for failure in result.failures}
    assert [part.complete for part in result.partitions] == [False, True, True]


def test_a_stop_leaves_the_guard_on_and_says_how_far_it_came(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint
) -> None:
    stop = threading.Event()
    options = RestoreOptions(request_bytes=1, connections_per_broker=1, repack_bytes=0)
    plan = prepare(as_cluster(target), repository, point, options, now=now)
    make = target.producer

    def producer(*args: Any, **more: Any) -> SimulatedProducer:
        made = make(*args, **more)
        receive = made.receive

        def counted() -> Any:
            if target.requests >= 2:
                stop.set()
            return receive()

        made.receive = counted  # type: ignore[method-assign]
        return made

    target.producer = producer  # type: ignore[method-assign]
    result = restore(as_cluster(target), repository, plan, options, now=now, stop=stop)
    assert result.interrupted and 0 < result.records < 45
    assert target.topics["orders"].configs["retention.ms"] == "-1"
    assert target.groups == {}
    assert [value["interrupted"] for _, value in repository.audits("restore-finished")] == [True]  # type: ignore[index]
    for part in result.partitions:
        assert len(part.source_range) == part.offset_map.records


def test_a_cluster_without_leaders_is_given_up_by_name(
    target: SimulatedCluster, repository: Repository, point: RecoveryPoint
) -> None:
    target.produce_faults.extend(["lost before"] * 1000)
    result = put_back(target, repository, point, attempts=2)
    assert {failure.subject for failure in result.failures if failure.reason == "kafka-unreachable"} == {
        "bills/0",
        "orders/0",
        "orders/1",
    }
    assert result.records == 0


def test_settings_the_target_refuses_are_left_out(source: SimulatedCluster) -> None:
    source.topics["bills"].configs["message.downconversion.enable"] = "true"
    repository = new_repository()
    point = back_up(source, repository).point
    target = SimulatedCluster("target", unsupported={("message.downconversion.enable", "true")})
    result = put_back(target, repository, point)
    assert result.failures == () and target.topics["bills"].configs == {}
    assert any("message.downconversion.enable" in warning for warning in result.warnings)


def test_an_old_point_of_a_recreated_topic_can_still_be_restored(
    source: SimulatedCluster, repository: Repository, point: RecoveryPoint, target: SimulatedCluster
) -> None:
    del source.topics["orders"]
    source.add_topic("orders", 1).logs[0].append([record(b"new", key=b"k")])
    newer = back_up(source, repository).point
    assert put_back(target, repository, point).failures == ()
    assert same(target, repository, point)
    other = SimulatedCluster("other", nodes=1)
    assert put_back(other, repository, newer).failures == ()
    assert [item.value for item in records_of(other.log(ORDERS))] == [b"new"]


def test_whole_history_brings_back_what_the_log_start_has_passed(
    source: SimulatedCluster, repository: Repository, target: SimulatedCluster
) -> None:
    source.log(BILLS).delete_records(8)
    point = back_up(source, repository).point
    put_back(target, repository, point, topics=("bills",), groups=())
    assert len(records_of(target.log(BILLS))) == 7
    whole = SimulatedCluster("whole", nodes=1)
    put_back(whole, repository, point, topics=("bills",), groups=(), whole_history=True)
    assert len(records_of(whole.log(BILLS))) == 15


def test_points_are_found_by_what_people_call_them(repository: Repository) -> None:
    with pytest.raises(PointNotFound):
        repository.point("7")


def test_a_broker_that_ends_connections_over_large_requests_gets_smaller_ones(target: SimulatedCluster) -> None:
    source = SimulatedCluster("source")
    source.add_topic("orders", 6)
    for number in range(6):
        source.log(TopicPartition("orders", number)).append([record(b"x" * 400_000)])
    repository = new_repository()
    point = back_up(source, repository).point
    make = target.producer
    refused: list[int] = []

    def producer(*args: Any, **more: Any) -> SimulatedProducer:
        made = make(*args, **more)
        send = made.send

        def checked(batches: Sequence[ProduceBatch]) -> None:
            size = sum(batch.size for batch in batches)
            if size > 1_100_000:
                refused.append(size)
                raise KafkaUnreachable("the connection was closed")
            send(batches)

        made.send = checked  # type: ignore[method-assign]
        return made

    target.producer = producer  # type: ignore[method-assign]
    result = put_back(target, repository, point, connections_per_broker=1)
    assert result.failures == () and result.records == 6
    assert 0 < len(refused) <= 2

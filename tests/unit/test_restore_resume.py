"""A restore that ended before its end is continued: from every call it can die at, to what it would have become."""

from __future__ import annotations

from typing import Any, cast

import pytest
from tests.support.mortal import DEATHS, Killed, Life, Processes
from tests.support.operations import (
    ORDERS,
    back_up,
    contents,
    new_repository,
    records_of,
    stored,
)
from tests.support.simulated_cluster import SimulatedCluster, produced
from tests.support.simulated_log import record

from kafkeep import native
from kafkeep.errors import GuardRefused, PlanRefused, TargetNotEmpty, UnknownFormat, UsageError
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.produce import ProduceBatch
from kafkeep.kafka.wire.records import encode
from kafkeep.model import GroupOffset, TopicPartition
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.restore.options import SMALL_ONES, UP_TO_FULL, RestoreOptions
from kafkeep.restore.plan import CREATE, RESUME, RestorePlan
from kafkeep.restore.reading_back import FOREIGN
from kafkeep.restore.record import JobRecord
from kafkeep.restore.result import RestoreResult
from kafkeep.restore.run import prepare, restore
from kafkeep.restore.unfinished import NEWEST, find_job
from kafkeep.restore_reports import told_by_restores

BILLS = TopicPartition("bills", 0)
OTHER = TopicPartition("orders", 1)
SMALL: dict[str, Any] = {"request_bytes": 300, "repack_bytes": 200, "connections_per_broker": 1}
"""Over one connection the n-th batch is the same one each time."""


pytestmark = pytest.mark.usefixtures("quick")


def make_source() -> SimulatedCluster:
    cluster = SimulatedCluster("source")
    cluster.add_topic("orders", 2, configs={"retention.ms": "1000", "cleanup.policy": "compact"})
    cluster.add_topic("bills", configs={"max.message.bytes": "4711"})
    for place, partition in enumerate((ORDERS, OTHER, BILLS)):
        for number in range(6 + place):
            values = [
                record(b"%d.%d.%d" % (place, number, n), key=b"k", timestamp=number) for n in range(1 + number % 3)
            ]
            cluster.log(partition).append(values)
    cluster.groups["readers"] = [GroupOffset(ORDERS, 4, 1, "m"), GroupOffset(BILLS, 15, 1, "")]
    cluster.groups["others"] = [GroupOffset(OTHER, 3, 1, "")]
    return cluster


@pytest.fixture(scope="module")
def objects() -> dict[str, bytes]:
    repository = new_repository()
    assert back_up(make_source(), repository).point is not None
    assert isinstance(repository.store, MemoryStore)
    return dict(repository.store.objects)


def new_target(nodes: int = 1) -> SimulatedCluster:
    """One topic is there and empty, another must be made. With one node all happens in the same order every time."""
    target = SimulatedCluster("target", nodes=nodes)
    target.add_topic("bills", configs={"retention.ms": "77"})
    return target


@pytest.fixture
def processes(objects: dict[str, bytes]) -> Processes:
    return Processes(objects, new_target())


def planned(
    cluster: Any, repository: Repository, *, resume: str | None = None, clock: Any, **options: Any
) -> tuple[RestorePlan, RestoreOptions]:
    point = repository.point("latest")
    job = None if resume is None else find_job(repository, resume, point.number, "target")
    chosen = RestoreOptions(**(SMALL | options)) if job is None else job.beginning.options
    return prepare(cast(Cluster, cluster), repository, point, chosen, now=clock, job=job), chosen


def run(processes: Processes, life: Life | None = None, *, resume: str | None = None, **options: Any) -> RestoreResult:
    """One process, which may die."""
    cluster, repository = processes.next(Life() if life is None else life)
    plan, chosen = planned(cluster, repository, resume=resume, clock=processes.clock, **options)
    return restore(cast(Cluster, cluster), repository, plan, chosen, now=processes.clock)


def dies(processes: Processes, at: int, death: str = "before", *, resume: str | None = None, **options: Any) -> bool:
    """True when the process died at its call number `at`, False when it came to its end before."""
    try:
        run(processes, Life(at, death), resume=resume, **options)
    except Killed:
        return True
    return False


def goes_on(processes: Processes, life: Life | None = None) -> RestoreResult:
    """Continues, or begins again where no job was put down."""
    _, repository = processes.next(Life())
    try:
        find_job(repository, NEWEST, repository.point("latest").number, "target")
    except UsageError:
        return run(processes, life)
    return run(processes, life, resume=NEWEST)


def outcome(result: RestoreResult) -> tuple[Any, ...]:
    """What does not depend on how often a restore was interrupted."""
    return (
        result.topics_created,
        result.partitions,
        result.groups,
        result.records,
        result.size_bytes,
        result.failures,
        result.lost,
        result.interrupted,
    )


def left_behind(processes: Processes) -> tuple[Any, ...]:
    target = processes.target
    for _ in range(20):
        target.deliver_late()
    _, repository = processes.next(Life())
    point = repository.point("latest")
    maps = told_by_restores(repository, point, "target").mapped
    return (
        {name: topic.configs for name, topic in target.topics.items()},
        {name: [contents(records_of(log)) for log in topic.logs] for name, topic in target.topics.items()},
        {name: sorted(offsets, key=str) for name, offsets in target.groups.items()},
        {pair: (part.offsets, part.source_range, part.complete) for pair, part in maps.items()},
    )


@pytest.fixture(scope="module")
def uninterrupted(objects: dict[str, bytes]) -> tuple[int, tuple[Any, ...], tuple[Any, ...]]:
    processes = Processes(objects, new_target())
    life = Life()
    result = run(processes, life)
    _, repository = processes.next(Life())
    for generation, records in stored(repository, repository.point("latest")).items():
        assert contents(records_of(processes.target.log(generation.topic_partition))) == contents(records)
    assert result.failures == () and life.calls > 12
    return life.calls, outcome(result), left_behind(processes)


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("death", DEATHS)
def test_from_every_call_at_which_it_can_die(
    objects: dict[str, bytes], uninterrupted: tuple[int, tuple[Any, ...], tuple[Any, ...]], death: str, nodes: int
) -> None:
    calls, result, left = uninterrupted
    for at in range(1, calls + 1):
        processes = Processes(objects, new_target(nodes))
        assert dies(processes, at, death) or nodes > 1, at
        if left_behind(processes)[3]:
            assert left_behind(processes) == left  # the report was in: nothing is left to continue
            assert at == calls or nodes > 1
            continue
        assert outcome(goes_on(processes)) == result, at
        assert left_behind(processes) == left, at


@pytest.mark.parametrize("death", DEATHS)
@pytest.mark.parametrize("first", [1, 4])
def test_dying_again_and_again(
    objects: dict[str, bytes], uninterrupted: tuple[int, tuple[Any, ...], tuple[Any, ...]], death: str, first: int
) -> None:
    """Each process gets a little further than the one before."""
    _, result, left = uninterrupted
    processes = Processes(objects, new_target())
    found: RestoreResult | None = None
    deaths = 0
    while found is None and not left_behind(processes)[3]:
        try:
            found = goes_on(processes, Life(first + deaths, death))
        except Killed:
            deaths += 1
    assert deaths > 2
    assert found is None or outcome(found) == result
    assert left_behind(processes) == left


def loading(processes: Processes, records: int) -> str:
    """A restore that died with some records of each partition in; the job's name."""
    at = 1
    while True:
        trial = Processes(processes.objects, new_target())
        assert dies(trial, at), "it must die while it loads"
        if all(trial.target.topics.get(p.topic) and trial.target.log(p).end >= records for p in (ORDERS, OTHER, BILLS)):
            break
        at += 1
    dies(processes, at)
    return job_of(processes).name


def job_of(processes: Processes) -> JobRecord:
    _, repository = processes.next(Life())
    return find_job(repository, NEWEST, repository.point("latest").number, "target")


def test_a_plan_to_continue_says_what_is_there(processes: Processes) -> None:
    job = loading(processes, 3)
    cluster, repository = processes.next(Life())
    plan, _ = planned(cluster, repository, resume=NEWEST, clock=processes.clock)
    assert plan.job == job and plan.refusals == ()
    assert {topic.target: topic.action for topic in plan.topics} == {"orders": RESUME, "bills": RESUME}
    assert dict(plan.present) == {p: processes.target.log(p).end for p in (ORDERS, OTHER, BILLS)}
    result = run(processes, resume=job)
    assert result.failures == () and 0 < result.records_before < result.records
    assert result.records_before == sum(records for _, records in plan.present)
    assert 0 < result.bytes_before < result.size_bytes


def test_topics_that_were_not_made_are_still_to_be_created(processes: Processes) -> None:
    assert dies(processes, 3)
    cluster, repository = processes.next(Life())
    plan, _ = planned(cluster, repository, resume=NEWEST, clock=processes.clock)
    assert {topic.target: topic.action for topic in plan.topics} == {"orders": CREATE, "bills": RESUME}
    assert plan.present == ()


def test_the_broker_that_forgot_the_producer_gets_each_record_once(
    processes: Processes, uninterrupted: tuple[int, tuple[Any, ...], tuple[Any, ...]]
) -> None:
    loading(processes, 3)
    for partition in (ORDERS, OTHER, BILLS):
        processes.target.log(partition).producers.clear()
    result = run(processes, resume=NEWEST)
    assert outcome(result) == uninterrupted[1]
    assert left_behind(processes) == uninterrupted[2]


def test_another_producer_behind_our_records_is_refused_by_name_and_gets_nothing(processes: Processes) -> None:
    loading(processes, 3)
    log = processes.target.log(ORDERS)
    log.append([record(b"foreign")])
    held = contents(records_of(log))
    result = run(processes, resume=NEWEST)
    failures = {failure.subject: failure for failure in result.failures}
    assert failures["orders/0"].reason == FOREIGN and "orders/0" in failures["orders/0"].message
    assert contents(records_of(log)) == held
    assert {str(part.target): part.complete for part in result.partitions} == {
        "bills/0": True,
        "orders/0": False,
        "orders/1": True,
    }
    assert processes.target.topics["orders"].configs["retention.ms"] == "-1"
    assert processes.target.topics["bills"].configs == {"retention.ms": "77"}


@pytest.mark.parametrize("change", ["producer", "sequence", "content", "time", "longer", "shorter"])
def test_a_last_batch_that_is_not_ours_in_any_respect_is_refused(processes: Processes, change: str) -> None:
    loading(processes, 3)
    log = processes.target.log(ORDERS)
    last = log.entries[-1]
    info = last.info
    records = [item._replace(offset=number) for number, item in enumerate(records_of(log)[-info.record_count :])]
    producer = {
        "producer_id": info.producer_id,
        "producer_epoch": info.producer_epoch,
        "base_sequence": info.base_sequence,
    }
    if change == "producer":
        producer["producer_id"] += 1
    elif change == "sequence":
        producer["base_sequence"] += 1
    elif change == "content":
        records[-1] = records[-1]._replace(value=b"x" * len(records[-1].value or b""))
    elif change == "time":
        records[-1] = records[-1]._replace(timestamp=records[-1].timestamp + 1)
    elif change == "longer":
        records.append(records[-1])
    log.truncate(last.base)
    log.producers.clear()
    if change == "shorter":
        producer["base_sequence"] += 1
        records = records[1:] if len(records) > 1 else [records[0], records[0]]
    assert log.produce(encode(records, **producer))[0] == 0
    held = contents(records_of(log))
    result = run(processes, resume=NEWEST)
    assert [failure.reason for failure in result.failures if failure.subject == "orders/0"] == [FOREIGN]
    assert contents(records_of(log)) == held


def test_a_log_that_became_shorter_is_filled_again_from_there(
    processes: Processes, uninterrupted: tuple[int, tuple[Any, ...], tuple[Any, ...]]
) -> None:
    loading(processes, 3)
    log = processes.target.log(ORDERS)
    log.truncate(log.entries[-1].base)
    log.producers.clear()
    result = run(processes, resume=NEWEST)
    assert outcome(result) == uninterrupted[1]
    assert left_behind(processes) == uninterrupted[2]


def test_a_log_that_lost_even_what_it_held_before_is_refused(objects: dict[str, bytes]) -> None:
    target = new_target()
    target.topics["bills"].logs[0].append([record(b"before"), record(b"before")])
    processes = Processes(objects, target)
    at = 1
    while BILLS.topic not in processes.target.topics or processes.target.log(BILLS).end < 4:
        target = new_target()
        target.topics["bills"].logs[0].append([record(b"before"), record(b"before")])
        processes = Processes(objects, target)
        assert dies(processes, at, existing="append")
        at += 1
    target.log(BILLS).truncate(0)
    target.log(BILLS).producers.clear()
    result = run(processes, resume=NEWEST)
    (failure,) = [failure for failure in result.failures if failure.subject == "bills/0"]
    assert failure.reason == FOREIGN and "before offset 2" in failure.message
    assert target.log(BILLS).entries == []


def test_behind_what_was_there(objects: dict[str, bytes]) -> None:
    for at in range(8, 14):
        target = new_target()
        target.log(BILLS).append([record(b"before"), record(b"before")])
        processes = Processes(objects, target)
        assert dies(processes, at, "after", existing="append")
        result = run(processes, resume=NEWEST)
        assert result.failures == ()
        values = [item.value for item in records_of(target.log(BILLS))]
        assert values[:2] == [b"before", b"before"]
        (whole,) = [part for part in result.partitions if part.target == BILLS]
        assert whole.offset_map.rows[0].target == 2 and len(values) == 2 + whole.offset_map.records


# --- what cannot be continued


def refused(processes: Processes, match: str) -> None:
    before = {name: [log.end for log in topic.logs] for name, topic in processes.target.topics.items()}
    with pytest.raises(PlanRefused, match=match) as raised:
        run(processes, resume=NEWEST)
    assert "--resume" in raised.value.hint
    assert {name: [log.end for log in topic.logs] for name, topic in processes.target.topics.items()} == before


def test_a_topic_of_the_same_name_is_not_the_same_topic(processes: Processes) -> None:
    loading(processes, 3)
    del processes.target.topics["orders"]
    processes.target.add_topic("orders", 2)
    refused(processes, "only named alike")


def test_a_topic_that_is_gone_is_not_made_again(processes: Processes) -> None:
    loading(processes, 3)
    del processes.target.topics["orders"]
    refused(processes, "orders is gone")


def test_a_topic_that_was_to_be_made_and_holds_records_already_is_refused(processes: Processes) -> None:
    assert dies(processes, 3)
    processes.target.add_topic("orders", 2).logs[0].append([record(b"foreign")])
    refused(processes, "orders is not empty")


def test_a_topic_that_got_more_partitions_is_refused(processes: Processes) -> None:
    loading(processes, 3)
    topic = processes.target.topics["orders"]
    topic.logs.append(type(topic.logs[0])())
    topic.leaders.append(0)
    refused(processes, "3 partitions")


def test_a_finished_job_is_not_continued(processes: Processes) -> None:
    job = run(processes).job
    _, repository = processes.next(Life())
    number = repository.point("latest").number
    with pytest.raises(UsageError, match="was left unfinished"):
        find_job(repository, NEWEST, number, "target")
    with pytest.raises(UsageError, match="finished"):
        find_job(repository, job, number, "target")


def test_a_job_is_named_by_its_own_record_only(processes: Processes) -> None:
    job = loading(processes, 3)
    _, repository = processes.next(Life())
    number = repository.point("latest").number
    opened = next(name for name, _ in repository.audits("restore-opened"))
    assert find_job(repository, job, number, "target").name == job
    for name in (opened, "audit/nosuch", "latest"):
        with pytest.raises(UsageError, match="no restore that can be continued"):
            find_job(repository, name, number, "target")
    with pytest.raises(GuardRefused, match="cluster"):
        find_job(repository, job, number, "other")
    with pytest.raises(UsageError, match="not point"):
        find_job(repository, job, number + 1, "target")
    with pytest.raises(UsageError, match="was left unfinished") as raised:
        find_job(repository, NEWEST, number + 1, "target")
    assert f"point {number}" in raised.value.hint


def test_a_job_of_another_version_is_not_guessed_at(processes: Processes) -> None:
    loading(processes, 3)
    _, repository = processes.next(Life())
    (started,) = [value for _, value in repository.audits("restore-started")]
    assert isinstance(started, dict)
    options = dict(started["options"])
    del options["repack_bytes"]
    name = repository.put_audit("restore-started", started | {"options": options})
    with pytest.raises(UnknownFormat, match="another version"):
        find_job(repository, name, repository.point("latest").number, "target")


def test_a_record_from_before_there_were_rules_keeps_the_one_it_was_begun_with(processes: Processes) -> None:
    loading(processes, 3)
    _, repository = processes.next(Life())
    (started,) = [value for _, value in repository.audits("restore-started")]
    assert isinstance(started, dict)
    options = dict(started["options"])
    assert options.pop("repack_rule") == SMALL_ONES
    name = repository.put_audit("restore-started", started | {"options": options})
    found = find_job(repository, name, repository.point("latest").number, "target")
    assert found.beginning.options == RestoreOptions(**SMALL)
    assert found.beginning.options.repack_rule == SMALL_ONES


@pytest.mark.parametrize("begun_with", [True, False])
def test_a_job_goes_on_where_the_helper_is_and_where_it_is_not(objects: dict[str, bytes], begun_with: bool) -> None:
    def one(processes: Processes, life: Life, *, helper: bool, second: bool = False) -> RestoreResult | None:
        with pytest.MonkeyPatch.context() as patch:
            for name in () if helper else ("append_records", "append_batches", "uninitialised"):
                patch.setattr(native, name, None)
            try:
                return run(processes, life, repack_rule=UP_TO_FULL, resume=NEWEST if second else None)
            except Killed:
                return None

    whole = Processes(objects, new_target())
    life = Life()
    expected = one(whole, life, helper=begun_with)
    assert expected is not None and not expected.failures
    batches = sum(len(whole.target.log(partition).entries) for partition in (ORDERS, OTHER, BILLS))
    assert batches < 6 + 7 + 8, "some went together"
    continued = 0
    for at in range(8, life.calls, 2):
        processes = Processes(objects, new_target())
        assert one(processes, Life(at), helper=begun_with) is None
        try:
            result = one(processes, Life(), helper=not begun_with, second=True)
        except UsageError:
            continue  # nothing was put down yet, or all of it
        assert result is not None and outcome(result) == outcome(expected), at
        assert left_behind(processes) == left_behind(whole), at
        continued += 1
    assert continued > 3


def test_failures_and_stops_can_be_continued(
    processes: Processes, uninterrupted: tuple[int, tuple[Any, ...], tuple[Any, ...]]
) -> None:
    carry_out = processes.target._carry_out_one

    def refusing(node: int, batch: ProduceBatch, fault: str) -> Any:
        if batch.topic_partition == ORDERS and processes.target.log(ORDERS).end >= 3:
            return produced(batch.topic_partition, 29)
        return carry_out(node, batch, fault)

    processes.target._carry_out_one = refusing  # type: ignore[method-assign]
    first = run(processes)
    assert first.failures
    # Its guard has ended: what this topic's own settings take away meanwhile is not missed, and later writers are let be.
    processes.target.log(BILLS).append([record(b"later")])
    processes.target.log(BILLS).delete_records(5)
    processes.target.groups["readers"] = [GroupOffset(BILLS, 11, -1, "moved on")]
    processes.target._carry_out_one = carry_out  # type: ignore[method-assign]
    result = run(processes, resume=NEWEST)
    assert outcome(result) == uninterrupted[1]
    assert {p.topic_partition: p.offset for p in processes.target.groups["readers"]} == {ORDERS: 4, BILLS: 11}
    assert processes.target.topics["orders"].configs == {"retention.ms": "1000", "cleanup.policy": "compact"}


def test_settings_to_come_back_to_are_those_of_the_record(
    processes: Processes, uninterrupted: tuple[int, tuple[Any, ...], tuple[Any, ...]]
) -> None:
    """The target refuses a setting by now that it took when the job began: planned anew, it would be left out."""
    loading(processes, 3)
    processes.target.unsupported = frozenset({("retention.ms", "1000"), ("cleanup.policy", "compact")})
    assert run(processes, resume=NEWEST).failures == ()
    assert left_behind(processes) == uninterrupted[2]


def test_a_partition_that_was_whole_and_became_shorter_is_named(processes: Processes) -> None:
    carry_out = processes.target._carry_out_one

    def refusing(node: int, batch: ProduceBatch, fault: str) -> Any:
        if batch.topic_partition == ORDERS:
            return produced(batch.topic_partition, 29)
        return carry_out(node, batch, fault)

    processes.target._carry_out_one = refusing  # type: ignore[method-assign]
    assert run(processes).failures
    processes.target._carry_out_one = carry_out  # type: ignore[method-assign]
    log = processes.target.log(BILLS)
    log.truncate(log.entries[-1].base)
    result = run(processes, resume=NEWEST)
    assert ("bills/0", "COUNT") in {(failure.subject, failure.reason) for failure in result.failures}
    assert {str(part.target): part.complete for part in result.partitions} == {
        "bills/0": False,
        "orders/0": True,
        "orders/1": True,
    }


# --- beginning anew beside an unfinished job


def test_a_restore_of_its_own_is_refused_with_the_name_of_the_job(processes: Processes) -> None:
    job = loading(processes, 3)
    with pytest.raises(TargetNotEmpty) as raised:
        run(processes)
    assert job in raised.value.hint and "--resume" in raised.value.hint


def test_records_of_an_unfinished_job_make_the_topic_not_empty(processes: Processes) -> None:
    job = loading(processes, 3)
    with pytest.raises(TargetNotEmpty, match="not empty") as raised:
        run(processes, topics=("orders",), groups=())
    assert f"--resume={job}" in raised.value.hint and job in raised.value.message


def test_an_empty_topic_with_the_guard_of_an_unfinished_job_is_not_taken_for_a_plain_one(processes: Processes) -> None:
    at = 1
    while "orders" not in processes.target.topics:
        dies(processes, at)
        at += 1
        if "orders" not in processes.target.topics:
            processes.objects = dict(processes.objects)
    assert processes.target.log(ORDERS).end == 0
    with pytest.raises(PlanRefused, match="guard") as raised:
        run(processes, topics=("orders",), groups=())
    assert "--resume=audit/" in raised.value.hint
    del processes.target.topics["orders"]
    assert run(processes, topics=("orders",), groups=()).failures == ()


# --- in one process


@pytest.mark.parametrize("code", [45, 46, 59])
def test_a_broker_that_lost_its_tail_gets_it_again(
    processes: Processes, uninterrupted: tuple[int, tuple[Any, ...], tuple[Any, ...]], code: int
) -> None:
    carry_out = processes.target._carry_out_one
    lost: list[int] = []

    def losing(node: int, batch: ProduceBatch, fault: str) -> Any:
        log = processes.target.log(ORDERS)
        if batch.topic_partition == ORDERS and len(log.entries) >= 3 and not lost:
            lost.append(log.end)
            log.truncate(log.entries[1].base)
            log.producers.clear()
            return produced(batch.topic_partition, code)
        return carry_out(node, batch, fault)

    processes.target._carry_out_one = losing  # type: ignore[method-assign]
    result = run(processes)
    assert lost and outcome(result) == uninterrupted[1]
    assert left_behind(processes) == uninterrupted[2]


def test_a_broker_that_lost_tail_and_memory_while_it_was_away_gets_it_again(
    processes: Processes, uninterrupted: tuple[int, tuple[Any, ...], tuple[Any, ...]]
) -> None:
    processes.target.produce_faults.extend(["ok"] * 3 + ["lost before"])
    ask = processes.target.offsets
    lost: list[int] = []

    def offsets(*args: Any, **more: Any) -> Any:
        if not processes.target.produce_faults and not lost:
            for partition in (ORDERS, OTHER, BILLS):
                log = processes.target.log(partition)
                if log.entries:
                    lost.append(log.end)
                    log.truncate(log.entries[-1].base)
                    log.producers.clear()
        return ask(*args, **more)

    processes.target.offsets = offsets  # type: ignore[method-assign]
    result = run(processes)
    assert lost and outcome(result) == uninterrupted[1]
    assert left_behind(processes) == uninterrupted[2]


def test_a_broker_that_refuses_every_sequence_is_given_up_by_name(processes: Processes) -> None:
    carry_out = processes.target._carry_out_one

    def refusing(node: int, batch: ProduceBatch, fault: str) -> Any:
        if batch.topic_partition == ORDERS and processes.target.log(ORDERS).end >= 3:
            return produced(batch.topic_partition, 45)
        return carry_out(node, batch, fault)

    processes.target._carry_out_one = refusing  # type: ignore[method-assign]
    result = run(processes)
    assert {failure.reason for failure in result.failures if failure.subject == "orders/0"} == {
        "OUT_OF_ORDER_SEQUENCE_NUMBER"
    }
    assert [part.complete for part in result.partitions] == [True, False, True]


def test_two_processes_of_one_job_at_once_write_each_record_once(
    processes: Processes, uninterrupted: tuple[int, tuple[Any, ...], tuple[Any, ...]]
) -> None:
    """The second one starts while the first is at work: everything it sends is a repetition, or the other way round."""
    carry_out = processes.target._carry_out_one
    second: list[RestoreResult] = []

    def interrupted(node: int, batch: ProduceBatch, fault: str) -> Any:
        if not second and processes.target.log(ORDERS).end >= 5:
            second.append(cast(RestoreResult, None))
            second[0] = run(processes, resume=NEWEST)
        return carry_out(node, batch, fault)

    processes.target._carry_out_one = interrupted  # type: ignore[method-assign]
    first = run(processes)
    assert second and second[0].failures == ()
    assert outcome(first) == outcome(second[0]) == uninterrupted[1]
    assert left_behind(processes) == uninterrupted[2]

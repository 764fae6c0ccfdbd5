"""Carrying changes out against a cluster that does what real ones rarely do: moves, refusals, losses in between."""

from __future__ import annotations

import random
import threading

import pytest
from tests.support.repositories import Clock
from tests.support.simulated_groups import SimulatedGroups, no_fault, position

from kafkeep.errors import GroupActive, KafkaUnreachable, PlanRefused
from kafkeep.groups.job import STARTED
from kafkeep.groups.options import GroupOptions
from kafkeep.groups.plan import GroupsPlan
from kafkeep.groups.result import GroupsResult
from kafkeep.groups.run import carry_out_plan, prepare_file, prepare_rollback
from kafkeep.model import TopicPartition
from kafkeep.position_files import FilePosition
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore

T0, T1 = TopicPartition("t", 0), TopicPartition("t", 1)


@pytest.fixture
def repository() -> Repository:
    return Repository.init(MemoryStore(), now=Clock(), rng=random.Random(1))


@pytest.fixture
def cluster() -> SimulatedGroups:
    made = SimulatedGroups()
    made.add_topic("t", (0, 100), (0, 100))
    return made


def planned(cluster: SimulatedGroups, *positions: FilePosition, backwards: bool = True) -> GroupsPlan:
    return prepare_file(cluster, "x.json", positions, GroupOptions(backwards=backwards))  # type: ignore[arg-type]


def carried(
    cluster: SimulatedGroups, repository: Repository, plan: GroupsPlan, *, stop: threading.Event | None = None
) -> GroupsResult:
    return carry_out_plan(
        cluster,  # type: ignore[arg-type]
        repository,
        plan,
        connections=1,
        now=Clock(),
        stop=stop,
    )


def rolled_back(cluster: SimulatedGroups, repository: Repository, *, force: bool = False) -> GroupsPlan:
    return prepare_rollback(
        cluster,  # type: ignore[arg-type]
        repository,
        "latest",
        groups=lambda name: True,
        force=force,
    )


def offsets(cluster: SimulatedGroups, name: str) -> dict[int, int]:
    return {tp.partition: p.offset for tp, p in cluster.groups[name].positions.items()}


def test_everything_is_written_down_before_the_first_change(cluster: SimulatedGroups, repository: Repository) -> None:
    cluster.add_group("a", position("t", 0, 5))
    seen: list[int] = []
    cluster.fault = lambda call, group, when: seen.append(sum(1 for _ in repository.audits(STARTED)))
    result = carried(cluster, repository, planned(cluster, FilePosition("a", T0, 9), FilePosition("b", T1, 4)))
    assert seen == [1, 1, 1, 1]
    assert (result.groups, result.positions, result.failures) == (2, 2, ())
    assert offsets(cluster, "a") == {0: 9} and offsets(cluster, "b") == {1: 4}


def test_when_the_record_cannot_be_written_nothing_is_changed(cluster: SimulatedGroups) -> None:
    class Full(MemoryStore):
        def put_new(self, name: str, data: bytes | memoryview) -> None:
            if name.startswith("audit/"):
                raise OSError("full")
            super().put_new(name, data)

    repository = Repository.init(Full(), now=Clock(), rng=random.Random(1))
    with pytest.raises(OSError, match="full"):
        carried(cluster, repository, planned(cluster, FilePosition("a", T0, 9)))
    assert cluster.changes == [] and cluster.groups == {}


def test_a_group_that_moved_since_the_plan_is_left_alone(cluster: SimulatedGroups, repository: Repository) -> None:
    cluster.add_group("a", position("t", 0, 5))
    plan = planned(cluster, FilePosition("a", T0, 9), FilePosition("b", T1, 4))
    cluster.add_group("a", position("t", 0, 6))
    result = carried(cluster, repository, plan)
    assert [(f.subject, f.reason) for f in result.failures] == [("group a", "moved-meanwhile")]
    assert offsets(cluster, "a") == {0: 6} and result.done == {"b"}


def test_a_group_that_became_active_is_refused_by_the_broker(cluster: SimulatedGroups, repository: Repository) -> None:
    plan = planned(cluster, FilePosition("a", T0, 9), FilePosition("b", T1, 4))
    cluster.add_group("a", state="Stable")
    result = carried(cluster, repository, plan)
    assert [(f.subject, f.reason) for f in result.failures] == [("group a", "UNKNOWN_MEMBER_ID")]
    assert result.done == {"b"}


def test_one_refused_partition_fails_its_group_and_says_which(cluster: SimulatedGroups, repository: Repository) -> None:
    long = FilePosition("a", T1, 4, "m" * 5000)
    result = carried(cluster, repository, planned(cluster, FilePosition("a", T0, 9), long))
    assert [(f.subject, f.reason) for f in result.failures] == [("group a", "OFFSET_METADATA_TOO_LARGE")]
    assert "t/1 refused" in result.failures[0].message
    assert offsets(cluster, "a") == {0: 9}


def test_what_reads_back_otherwise_is_told(cluster: SimulatedGroups, repository: Repository) -> None:
    plan = planned(cluster, FilePosition("a", T0, 9), FilePosition("b", T1, 4))

    def somebody_else(call: str, group: str, when: str) -> None:
        if group == "b":
            cluster.groups["a"].positions[T0] = position("t", 0, 77)

    cluster.fault = somebody_else
    result = carried(cluster, repository, plan)
    assert [(d.group_id, d.target, d.wanted, d.found) for d in result.differences] == [("a", T0, 9, 77)]
    assert (result.done, result.failures) == ({"b"}, ())


def test_a_lost_cluster_ends_the_work_and_the_record_stays(cluster: SimulatedGroups, repository: Repository) -> None:
    plan = planned(cluster, *(FilePosition(f"g{number:03}", T0, 9) for number in range(250)))

    def lost(call: str, group: str, when: str) -> None:
        if group == "g120":
            raise KafkaUnreachable("gone")

    cluster.fault = lost
    result = carried(cluster, repository, plan)
    assert len(result.done) == 100
    assert len(result.failures) == 150
    assert "not tried" in result.failures[-1].message
    cluster.fault = no_fault
    back = carried(cluster, repository, rolled_back(cluster, repository))
    assert cluster.groups == {} and back.failures == ()
    assert back.groups == 120


def test_a_stop_begins_no_further_group(cluster: SimulatedGroups, repository: Repository) -> None:
    stop = threading.Event()
    plan = planned(cluster, FilePosition("a", T0, 9), FilePosition("b", T1, 4), FilePosition("c", T1, 4))
    cluster.fault = lambda call, group, when: stop.set() if group == "b" else None
    result = carried(cluster, repository, plan, stop=stop)
    assert result.interrupted
    assert (result.done, set(cluster.groups)) == ({"a", "b"}, {"a", "b"})
    assert carried(cluster, repository, rolled_back(cluster, repository)).done == {"a", "b"}
    assert cluster.groups == {}


def test_nothing_to_do_leaves_no_record(cluster: SimulatedGroups, repository: Repository) -> None:
    cluster.add_group("a", position("t", 0, 5))
    result = carried(cluster, repository, planned(cluster, FilePosition("a", T0, 5)))
    assert (result.job, result.unchanged, result.groups) == ("", 1, 0)
    assert list(repository.audits()) == []


def test_when_all_is_refused_the_error_says_why(cluster: SimulatedGroups, repository: Repository) -> None:
    cluster.add_group("a", position("t", 0, 50), state="Stable")
    cluster.add_group("b", position("t", 0, 50))
    with pytest.raises(GroupActive, match="group a has members"):
        carried(cluster, repository, planned(cluster, FilePosition("a", T0, 5)))
    both = [FilePosition("a", T0, 5), FilePosition("b", T0, 5)]
    with pytest.raises(PlanRefused, match="backwards") as caught:
        carried(cluster, repository, planned(cluster, *both, backwards=False))
    assert "--backwards" in caught.value.hint
    assert list(repository.audits()) == [] and cluster.changes == []


def test_share_groups_are_set_and_taken_back_topic_by_topic(cluster: SimulatedGroups, repository: Repository) -> None:
    cluster.add_topic("u", (0, 100))
    cluster.add_group("s", position("t", 0, 5, 3), position("u", 0, 6, 3), type="share")
    before = {tp: p.offset for tp, p in cluster.groups["s"].positions.items()}
    wanted = [
        FilePosition("s", T1, 9, share=True),
        FilePosition("s", T0, 8, share=True),
        FilePosition("n", T0, 1, share=True),
    ]
    result = carried(cluster, repository, planned(cluster, *wanted))
    assert (result.failures, result.differences, result.groups) == ((), (), 2)
    assert cluster.groups["n"].type == "share"
    carried(cluster, repository, rolled_back(cluster, repository))
    assert {tp: p.offset for tp, p in cluster.groups["s"].positions.items()} == before
    assert "n" not in cluster.groups


def test_brokers_without_share_groups_are_told(cluster: SimulatedGroups, repository: Repository) -> None:
    cluster.share_groups = False
    plan = planned(cluster, FilePosition("s", T0, 1, share=True), FilePosition("a", T0, 1))
    assert [(r.kind, r.subject) for r in plan.refusals] == [("kafka-unsupported", "group s")]
    assert carried(cluster, repository, plan).done == {"a"}


def test_a_group_that_moved_since_is_taken_back_only_by_force(cluster: SimulatedGroups, repository: Repository) -> None:
    cluster.add_group("a", position("t", 0, 5, 2, "old"))
    cluster.add_group("b", position("t", 0, 6))
    carried(cluster, repository, planned(cluster, FilePosition("a", T0, 9), FilePosition("b", T0, 9)))
    cluster.groups["a"].positions[T0] = position("t", 0, 30)
    plan = rolled_back(cluster, repository)
    assert [(r.kind, r.subject) for r in plan.refusals] == [("moved-since", "group a")]
    assert "is at 30, the job left it at 9" in plan.refusals[0].message
    assert carried(cluster, repository, plan).done == {"b"}
    carried(cluster, repository, rolled_back(cluster, repository, force=True))
    assert cluster.groups["a"].positions[T0] == position("t", 0, 5, 2, "old")


def test_an_active_group_is_not_taken_back_even_by_force(cluster: SimulatedGroups, repository: Repository) -> None:
    carried(cluster, repository, planned(cluster, FilePosition("a", T0, 9)))
    cluster.groups["a"].state = "Stable"
    assert [r.kind for r in rolled_back(cluster, repository, force=True).refusals] == ["group-active"]


def test_a_group_that_has_more_by_now_is_not_deleted(cluster: SimulatedGroups, repository: Repository) -> None:
    carried(cluster, repository, planned(cluster, FilePosition("a", T0, 9)))
    cluster.groups["a"].positions[T1] = position("t", 1, 3)
    plan = rolled_back(cluster, repository)
    assert "stays" in plan.warnings[0]
    carried(cluster, repository, plan)
    assert offsets(cluster, "a") == {1: 3}


def test_an_epoch_that_the_topic_no_longer_has_is_not_put_back(
    cluster: SimulatedGroups, repository: Repository
) -> None:
    """A topic made anew begins at epoch 0, and Java consumers fall silent on a position with a later one."""
    cluster.add_group("a", position("t", 0, 5, 2))
    carried(cluster, repository, planned(cluster, FilePosition("a", T0, 9)))
    cluster.topics["t"].leader_epoch = 1
    carried(cluster, repository, rolled_back(cluster, repository))
    assert cluster.groups["a"].positions[T0] == position("t", 0, 5, -1)
    assert not rolled_back(cluster, repository).changes

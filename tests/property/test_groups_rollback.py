"""Whatever is set, and however it is disturbed, taking it back gives every group exactly what it had."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from tests.support.repositories import Clock
from tests.support.simulated_groups import SimulatedGroup, SimulatedGroups, no_fault

from kafkeep.errors import GuardRefused, KafkaRequestError, KafkaUnreachable, NothingToDo
from kafkeep.groups.options import GroupOptions
from kafkeep.groups.plan import GroupsPlan
from kafkeep.groups.result import GroupsResult
from kafkeep.groups.run import carry_out_plan, prepare_file, prepare_rollback
from kafkeep.kafka.codes import ErrorCode
from kafkeep.model import GroupOffset, TopicPartition
from kafkeep.position_files import FilePosition
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore

PARTITIONS = [TopicPartition(topic, number) for topic in ("t", "u") for number in range(3)]
NAMES = ["a", "b", "c", "s"]
END = 40
FAULTS = ["", "", "refused", "lost before", "lost after", "killed before", "killed after"]


class Killed(BaseException):
    """The process ended."""


@st.composite
def groups(draw: st.DrawFn) -> dict[str, SimulatedGroup]:
    found: dict[str, SimulatedGroup] = {}
    for name in NAMES:
        if draw(st.booleans()):
            kind = "share" if name == "s" else draw(st.sampled_from(["classic", "consumer", "streams"]))
            places = draw(st.dictionaries(st.sampled_from(PARTITIONS), st.integers(0, END), max_size=4))
            epoch = 3 if kind == "share" else draw(st.integers(-1, 3))
            text = "" if kind == "share" else draw(st.sampled_from(["", "m", "é"]))
            positions = {tp: GroupOffset(tp, offset, epoch, text) for tp, offset in places.items()}
            found[name] = SimulatedGroup(kind, "Empty", positions)
    return found


@st.composite
def files(draw: st.DrawFn) -> list[FilePosition]:
    pairs = draw(st.sets(st.tuples(st.sampled_from(NAMES), st.sampled_from(PARTITIONS)), min_size=1, max_size=8))
    return [
        FilePosition(
            name,
            tp,
            draw(st.integers(0, END)),
            None if name == "s" else draw(st.sampled_from([None, "", "m", "new"])),
            share=name == "s",
        )
        for name, tp in sorted(pairs)
    ]


def cluster_of(found: dict[str, SimulatedGroup]) -> SimulatedGroups:
    cluster = SimulatedGroups()
    for topic in ("t", "u"):
        cluster.add_topic(topic, *[(0, END)] * 3)
    cluster.groups = {name: group.copy() for name, group in found.items()}
    return cluster


def apply(cluster: SimulatedGroups, repository: Repository, positions: list[FilePosition]) -> GroupsResult:
    plan = prepare_file(cluster, "x.json", positions, GroupOptions(backwards=True))  # type: ignore[arg-type]
    return carry(cluster, repository, plan)


def carry(cluster: SimulatedGroups, repository: Repository, plan: GroupsPlan) -> GroupsResult:
    return carry_out_plan(cluster, repository, plan, connections=1, now=Clock())  # type: ignore[arg-type]


def take_back(cluster: SimulatedGroups, repository: Repository, *, force: bool = False) -> GroupsPlan:
    return prepare_rollback(cluster, repository, "latest", groups=lambda name: True, force=force)  # type: ignore[arg-type]


def fault_on(cluster: SimulatedGroups, at: int, fault: str) -> None:
    """The fault befalls change number `at`, before or after the broker made it."""
    calls = dict.fromkeys(("before", "after"), 0)

    def happen(call: str, group: str, when: str) -> None:
        calls[when] += 1
        if calls[when] != at:
            return
        if fault == "refused" and when == "before":
            raise KafkaRequestError("no", code=int(ErrorCode.UNKNOWN_SERVER_ERROR), name="UNKNOWN_SERVER_ERROR")
        if fault == f"lost {when}":
            raise KafkaUnreachable("gone")
        if fault == f"killed {when}":
            raise Killed

    cluster.fault = happen


def same(found: dict[str, SimulatedGroup], wanted: dict[str, SimulatedGroup]) -> bool:
    """Equal, leader epochs of share groups aside: nobody can set those."""

    def plain(group: SimulatedGroup) -> object:
        places = {tp: p.offset if group.type == "share" else p for tp, p in group.positions.items()}
        return group.type, group.state, places

    return {name: plain(g) for name, g in found.items()} == {name: plain(g) for name, g in wanted.items()}


@given(groups(), files(), st.sampled_from(FAULTS), st.integers(1, 6))
def test_rolling_back_gives_exactly_what_was(
    before: dict[str, SimulatedGroup], positions: list[FilePosition], fault: str, at: int
) -> None:
    cluster = cluster_of(before)
    repository = Repository.init(MemoryStore(), now=Clock(), rng=random.Random(1))
    fault_on(cluster, at, fault)
    try:
        result = apply(cluster, repository, positions)
    except (Killed, GuardRefused):
        result = None
    cluster.fault = no_fault
    if result is not None and not result.failures:
        for wanted in positions:
            assert cluster.groups[wanted.group_id].positions[wanted.target].offset == wanted.offset
        assert apply(cluster, repository, positions).job == "", "the second time there is nothing to do"
    try:
        back = take_back(cluster, repository)
    except NothingToDo:
        assert same(cluster.groups, before)
        return
    assert back.refusals == ()
    if back.changes:
        done = carry(cluster, repository, back)
        assert (done.failures, done.differences) == ((), ())
    assert same(cluster.groups, before)
    assert not take_back(cluster, repository).changes


@given(groups(), files())
def test_a_rollback_can_itself_be_taken_back(before: dict[str, SimulatedGroup], positions: list[FilePosition]) -> None:
    cluster = cluster_of(before)
    repository = Repository.init(MemoryStore(), now=Clock(), rng=random.Random(1))
    if not apply(cluster, repository, positions).job:
        return
    after = cluster.copy_of_groups()
    undone = carry(cluster, repository, take_back(cluster, repository))
    again = prepare_rollback(cluster, repository, undone.job, groups=lambda name: True, force=False)  # type: ignore[arg-type]
    carry(cluster, repository, again)
    # A group that was deleted and made again is a classic one until members of another type join.
    made_again = {name for name in after if name not in before}
    for name in made_again:
        cluster.groups[name].type = after[name].type
    assert same(cluster.groups, after)


@given(groups(), files(), st.sampled_from(NAMES), st.sampled_from(PARTITIONS), st.integers(0, END))
def test_what_somebody_else_moved_is_never_touched_without_force(
    before: dict[str, SimulatedGroup], positions: list[FilePosition], name: str, moved: TopicPartition, to: int
) -> None:
    cluster = cluster_of(before)
    repository = Repository.init(MemoryStore(), now=Clock(), rng=random.Random(1))
    if not apply(cluster, repository, positions).job or name not in cluster.groups:
        return
    theirs_now = GroupOffset(moved, to, 3, "") if name == "s" else GroupOffset(moved, to, -1, "by somebody")
    cluster.groups[name].positions[moved] = theirs_now
    theirs = cluster.groups[name].copy()
    plan = take_back(cluster, repository)
    if plan.changes:
        carry(cluster, repository, plan)
    refused = any(refusal.subject == f"group {name}" for refusal in plan.refusals)
    # A share group moved to the very offset that the job set cannot be told from one that nobody moved.
    as_set = name == "s" and any((p.group_id, p.target, p.offset) == (name, moved, to) for p in positions)
    assert as_set or cluster.groups[name].positions[moved] == theirs.positions[moved]
    if refused:
        assert cluster.groups[name].positions == theirs.positions
    others = {other: group for other, group in cluster.groups.items() if other != name}
    assert same(others, {other: group for other, group in before.items() if other != name})

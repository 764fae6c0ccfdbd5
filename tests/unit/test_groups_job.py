"""The record of a change: durable and whole before anything is changed, found again by name or as the latest."""

from __future__ import annotations

import random
from typing import Any

import pytest
from tests.support.repositories import Clock

from kafkeep.errors import CorruptObject, GuardRefused, NothingToDo, UsageError
from kafkeep.groups.changes import GroupChange, PositionChange
from kafkeep.groups.job import STARTED, begin_job, find_job, finish_job
from kafkeep.groups.plan import GroupsPlan
from kafkeep.groups.result import GroupsResult, PositionDifference
from kafkeep.model import Failure, GroupOffset, TopicPartition
from kafkeep.repository.keyring import Access
from kafkeep.repository.repository import Repository
from kafkeep.repository.signing import SigningKey
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.trust import ADMIN


def change(name: str, *partitions: int, kind: str = "offsets", existed: bool = True) -> GroupChange:
    return GroupChange(
        group_id=name,
        kind=kind,
        existed=existed,
        delete=False,
        positions=tuple(
            PositionChange(
                (tp := TopicPartition("orders", number)),
                GroupOffset(tp, 5, 7, "früher") if existed else None,
                GroupOffset(tp, number, -1, ""),
            )
            for number in partitions
        ),
    )


def plan(verb: str = "apply", cluster: str = "target") -> GroupsPlan:
    return GroupsPlan(
        operation=verb, origin="recovery point 1", point=1, target_cluster=cluster, groups=(), warnings=(), refusals=()
    )


@pytest.fixture
def repository() -> Repository:
    return Repository.init(MemoryStore(), now=Clock(), rng=random.Random(1))


CHANGES = (change("a", 0, 1, 2), change("b", 3, existed=False), change("s", 0, kind="share"))


@pytest.mark.parametrize("part_bytes", [1, 150, 300, 10_000])
def test_a_job_is_found_as_it_was_however_it_was_cut(repository: Repository, part_bytes: int) -> None:
    name = begin_job(repository, plan(), CHANGES, now=Clock(), part_bytes=part_bytes)
    parts = sum(1 for _ in repository.audits(STARTED))
    assert (parts == 1) == (part_bytes == 10_000)
    for spec in (name, "latest"):
        found = find_job(repository, spec, "target")
        assert found.changes == CHANGES
        assert (found.name, found.operation, found.warnings) == (name, "apply", ())


def test_the_latest_is_the_newest_apply_on_this_cluster(repository: Repository) -> None:
    clock = Clock()
    begin_job(repository, plan(), CHANGES[:1], now=clock)
    wanted = begin_job(repository, plan(), CHANGES[1:2], now=clock, part_bytes=1)
    rollback = begin_job(repository, plan("rollback"), CHANGES[2:], now=clock)
    elsewhere = begin_job(repository, plan(cluster="other"), CHANGES, now=clock)
    found = find_job(repository, "latest", "target")
    assert (found.name, found.changes) == (wanted, CHANGES[1:2])
    assert find_job(repository, rollback, "target").changes == CHANGES[2:]
    with pytest.raises(GuardRefused, match="this is cluster target"):
        find_job(repository, elsewhere, "target")


def test_there_is_no_such_job(repository: Repository) -> None:
    with pytest.raises(NothingToDo, match="no record"):
        find_job(repository, "latest", "target")
    begin_job(repository, plan(), CHANGES, now=Clock())
    report = repository.put_audit("restore-finished", {"job": None})
    for name in ("audit/never", report, "../repository"):
        with pytest.raises(UsageError, match="no change of groups is recorded"):
            find_job(repository, name, "target")


def test_other_reports_and_parts_are_no_jobs(repository: Repository) -> None:
    wanted = begin_job(repository, plan(), CHANGES, now=Clock(), part_bytes=1)
    repository.put_audit("restore-finished", {"anything": 1})
    assert find_job(repository, "latest", "target").name == wanted
    part = [name for name, _ in repository.audits(STARTED)][-1]
    with pytest.raises(UsageError, match="no change of groups"):
        find_job(repository, part, "target")


def test_jobs_that_were_written_down_at_the_same_time_are_told_apart(repository: Repository) -> None:
    """Parts of one lie between the parts of another when two run at once."""
    clock = Clock()
    one = begin_job(repository, plan(), CHANGES, now=clock, part_bytes=1)
    other = begin_job(repository, plan(), (change("z", 7, 8),), now=clock, part_bytes=1)
    objects = [value for _, value in repository.audits(STARTED)]
    mixed = Repository.init(MemoryStore(), now=Clock(), rng=random.Random(3))
    names: dict[str, str] = {}
    for value in sorted(objects, key=lambda value: (value["part"], value["job"] == other)):  # type: ignore[index]
        assert isinstance(value, dict)
        first = value["job"] if value["job"] is not None else (other if "z" in str(value["groups"]) else one)
        name = mixed.put_audit(STARTED, value | {"job": names.get(first)})
        names.setdefault(first, name)
    assert find_job(mixed, names[one], "target").changes == CHANGES
    assert find_job(mixed, names[other], "target").changes == (change("z", 7, 8),)


def test_a_named_job_is_found_beside_a_damaged_report(repository: Repository) -> None:
    wanted = begin_job(repository, plan(), CHANGES, now=Clock())
    store = repository.store
    assert isinstance(store, MemoryStore)
    damaged = repository.put_audit("restore-finished", {"anything": 1})
    store.objects[damaged] = b"rubbish"
    assert find_job(repository, wanted, "target").changes == CHANGES
    latest = find_job(repository, "latest", "target")
    assert (latest.name, latest.changes) == (wanted, CHANGES)
    assert any(damaged in warning and "cannot be read" in warning for warning in latest.warnings)
    with pytest.raises(CorruptObject, match=damaged):
        find_job(repository, damaged, "target")
    store.delete(wanted)
    with pytest.raises(CorruptObject, match=damaged):
        find_job(repository, "latest", "target")


def test_the_newest_job_of_a_known_shape_is_the_latest(repository: Repository) -> None:
    wanted = begin_job(repository, plan(), CHANGES, now=Clock())
    ((_, value),) = repository.audits(STARTED)
    assert isinstance(value, dict)
    odd = repository.put_audit(STARTED, value | {"groups": [{"group_id": "g"}]})
    found = find_job(repository, "latest", "target")
    assert found.name == wanted and any(odd in warning for warning in found.warnings)


def test_where_commits_are_signed_the_latest_is_one_that_somebody_trusted_signed() -> None:
    key = SigningKey(bytes([1]) * 32)
    store = MemoryStore()
    clock = Clock()
    admins = (key.trusted(ADMIN),)
    access = Access(signing_key=key)
    trusted = Repository.init(store, now=clock, rng=random.Random(1), admins=admins, access=access)
    nobody = Repository.open(store, now=clock, rng=random.Random(2))
    wanted = begin_job(trusted, plan(), CHANGES[:1], now=clock)
    clock.advance(seconds=1)
    false = begin_job(nobody, plan(), CHANGES[1:2], now=clock)
    found = find_job(nobody, "latest", "target")
    assert found.name == wanted and any(false in warning for warning in found.warnings)
    named = find_job(nobody, false, "target")
    assert named.changes == CHANGES[1:2] and any("nobody trusted" in warning for warning in named.warnings)
    store.delete(wanted)
    with pytest.raises(NothingToDo, match=false):
        find_job(nobody, "latest", "target")


def test_a_part_that_nobody_signed_is_none_of_a_job_that_somebody_trusted_began() -> None:
    key = SigningKey(bytes([1]) * 32)
    store = MemoryStore()
    admins = (key.trusted(ADMIN),)
    access = Access(signing_key=key)
    trusted = Repository.init(store, now=Clock(), rng=random.Random(1), admins=admins, access=access)
    nobody = Repository.open(store, now=Clock(), rng=random.Random(2))
    wanted = begin_job(trusted, plan(), CHANGES, now=Clock(), part_bytes=1)
    *_, (last, value) = trusted.audits(STARTED)
    store.delete(last)
    false = nobody.put_audit(STARTED, value)
    found = find_job(nobody, "latest", "target")
    assert {each.group_id for each in found.changes} < {each.group_id for each in CHANGES}
    assert found.name == wanted and any(false in warning for warning in found.warnings)


def test_a_job_that_was_killed_while_it_was_written_down_says_so(repository: Repository) -> None:
    whole = begin_job(repository, plan(), CHANGES, now=Clock(), part_bytes=1)
    last = [name for name, _ in repository.audits(STARTED)][-1]
    repository.store.delete(last)
    found = find_job(repository, whole, "target")
    assert "1 part(s)" in found.warnings[0]
    assert {c.group_id for c in found.changes} < {c.group_id for c in CHANGES}


@pytest.mark.parametrize(
    "damage",
    [
        lambda value: value.pop("job"),
        lambda value: value.pop("parts"),
        lambda value: value.update(groups=[{"group_id": "g"}]),
        lambda value: value["groups"][0].update(kind="odd"),
        lambda value: value["groups"][0].update(positions=[["orders"]]),
        lambda value: value["groups"][0].update(positions=[["orders", 0, [1], None]]),
        lambda value: value.update(groups=7),
    ],
)
def test_a_record_of_another_shape_is_refused(repository: Repository, damage: Any) -> None:
    begin_job(repository, plan(), CHANGES, now=Clock())
    ((_, value),) = repository.audits(STARTED)
    damage(value)
    other = Repository.init(MemoryStore(), now=Clock(), rng=random.Random(2))
    other.put_audit(STARTED, value)
    with pytest.raises(CorruptObject, match="no record of a change of groups"):
        find_job(other, "latest", "target")


def test_the_report_tells_what_came_of_it(repository: Repository) -> None:
    result = GroupsResult(
        operation="apply",
        job="audit/x",
        target_cluster="target",
        groups=1,
        positions=2,
        done=frozenset({"a"}),
        unchanged=3,
        refused=1,
        failures=(Failure("group b", "UNKNOWN_MEMBER_ID", "why"),),
        differences=(PositionDifference("c", TopicPartition("t", 1), 5, None),),
        interrupted=False,
        seconds=1.0,
    )
    name = finish_job(repository, "audit/x", result, now=Clock())
    ((found, value),) = repository.audits("groups-finished")
    assert found == name
    assert isinstance(value, dict)
    assert value["job"] == "audit/x"
    assert value["failures"] == [["group b", "UNKNOWN_MEMBER_ID", "why"]]
    assert value["differences"] == [["c", "t", 1, 5, None]]


def test_the_inverse_of_the_inverse_is_the_change() -> None:
    for one in CHANGES:
        assert one.inverse().inverse() == one
    made = CHANGES[1].inverse()
    assert made.delete and made.existed and made.positions[0].after is None

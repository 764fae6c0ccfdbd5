"""The validity rules: a commit that breaks one counts for nothing, and all readers agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.support.repositories import (
    Journal,
    backup,
    closed,
    cut,
    draft,
    gap,
    generation,
    open_repository,
    opened,
    piece,
    write_pack,
)

from kafkeep.errors import CorruptChain
from kafkeep.model import PackRef
from kafkeep.repository.envelope import Kind, digest, unwrap, wrap
from kafkeep.repository.format import RESERVED_KINDS
from kafkeep.repository.names import log_name
from kafkeep.repository.repository import Repository
from kafkeep.repository.state import EMPTY, State, validate
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.verify import verify

ORDERS, PAYMENTS, NEW = generation("orders"), generation("payments"), generation("new")
Forge = Callable[[dict[str, Any]], None]


def base() -> tuple[MemoryStore, Repository]:
    """A repository with two commits, and a third, honest one that tests forge: it brings a run, a gap, an opening."""
    store = MemoryStore()
    repository = Journal(store).create()
    backup(repository, [piece(ORDERS, 0, 2), piece(PAYMENTS, 0, 2)])
    pack = write_pack(repository, [piece(ORDERS, 10, 2), piece(NEW, 0, 1)])
    repository.commit(
        draft(packs=[pack], gaps=[gap(ORDERS, 6, 10)], open_=opened(NEW), close=closed(PAYMENTS), cuts=[cut(NEW, 3)])
    )
    return store, repository


def forged(change: Forge) -> MemoryStore:
    store, _ = base()
    value = unwrap(store.objects[log_name(2)], Kind.COMMIT, "commit 2")
    assert isinstance(value, dict)
    change(value)
    store.objects[log_name(2)] = wrap(Kind.COMMIT, value)
    return store


def body(**changes: object) -> Forge:
    return lambda value: value["body"].update(changes)


def in_pack(**changes: object) -> Forge:
    return lambda value: value["body"]["packs"][0].update(changes)


def in_run(index: int, **changes: object) -> Forge:
    return lambda value: value["body"]["packs"][0]["runs"][index].update(changes)


def in_point(**changes: object) -> Forge:
    return lambda value: value["body"]["point"].update(changes)


def in_gap(**changes: object) -> Forge:
    return lambda value: value["body"]["gaps"][0].update(changes)


def cuts_of(*rows: list[int], topic: str = "new") -> list[object]:
    return [{"partitions": list(rows), "topic": topic, "topic_id": "A" * 22}]


def repeat_pack(value: dict[str, Any]) -> None:
    value["body"]["packs"] *= 2


def repeat_run(value: dict[str, Any]) -> None:
    value["body"]["packs"][0]["runs"][1]["index"] = 0


def old_pack(value: dict[str, Any]) -> None:
    store, _ = base()
    first = unwrap(store.objects[log_name(1)], Kind.COMMIT, "commit 1")
    value["body"]["packs"] = first["body"]["packs"]  # type: ignore[index, call-overload]


BROKEN: dict[str, tuple[Forge, str]] = {
    "no bridge": (body(gaps=[]), "does not start at its next offset 6"),
    "gap too short": (in_gap(to=9), "next offset 9"),
    "gap too long": (in_gap(to=11), "next offset 11"),
    "gap starts late": (in_gap(**{"from": 7}), "next offset 6"),
    "empty gap": (in_gap(to=6), "next offset 6"),
    "overlapping run": (in_run(0, **{"from": 9}), "next offset 10"),
    "run far ahead": (in_run(0, **{"from": 90, "to": 99}), "next offset 10"),
    "empty run": (in_run(0, to=10), "next offset 10"),
    "run of an unknown generation": (in_run(0, generation=["other", "A" * 22, 0, 0]), "is not open"),
    "run of a generation not opened": (body(opened=[]), "is not open"),
    "generation opened twice": (
        body(opened=[{"generation": ["orders", "A" * 22, 0, 0], "start": 0, "why": "first-seen"}]),
        "opened a second time",
    ),
    "two generations of one partition": (
        body(
            opened=[
                {"generation": ["new", "A" * 22, 0, 0], "start": 0, "why": "first-seen"},
                {"generation": ["orders", "B" * 22, 0, 0], "start": 0, "why": "recreated"},
            ]
        ),
        "two generations of orders/0",
    ),
    "two new generations of one partition": (
        body(
            opened=[
                {"generation": ["new", "A" * 22, 0, 0], "start": 0, "why": "first-seen"},
                {"generation": ["new", "A" * 22, 0, 1], "start": 0, "why": "first-seen"},
            ]
        ),
        "two generations of new/0",
    ),
    "closed without being open": (
        body(closed=[{"generation": ["nowhere", "A" * 22, 0, 0], "why": "deleted"}]),
        "closed without being open",
    ),
    "closed twice": (
        body(closed=[{"generation": ["payments", "A" * 22, 0, 0], "why": "deleted"}] * 2),
        "closed without being open",
    ),
    "cut beyond the coverage": (in_point(cuts=cuts_of([0, 0, 0, 4, 4, 4, 1])), "not within its coverage"),
    "cut that ends before it starts": (in_point(cuts=cuts_of([0, 0, 2, 1, 4, 4, 1])), "not within its coverage"),
    "cut of nothing known": (in_point(cuts=cuts_of([5, 0, 0, 0, 0, 0, 1])), "unknown generation"),
    "two cuts of one partition": (in_point(cuts=cuts_of([0, 0, 0, 3, 3, 3, 1], [0, 0, 0, 2, 2, 2, 1])), "two cuts"),
    "another cluster": (body(cluster_id="another"), "cluster another"),
    "no cluster": (body(cluster_id=""), "no cluster id"),
    "pack named twice": (repeat_pack, ""),
    "run named twice": (repeat_run, "named twice"),
    "pack of an earlier commit": (old_pack, ""),
    "pack without runs": (in_pack(runs=[]), ""),
    "pack with another digest": (in_pack(blake3="0" * 64), "malformed"),
    "pack with another epoch": (in_pack(epoch=1), "malformed"),
    "pack with a foreign name": (in_pack(name="../../etc/passwd"), "malformed"),
    "kind of a later version": (lambda value: value.update(kind="retire"), "unknown kind"),
    "invented kind": (lambda value: value.update(kind="x" * 1000), "unknown kind"),
    "a second beginning": (lambda value: value.update(kind="init"), "does not belong"),
    "body without a field": (lambda value: value["body"].pop("gaps"), "malformed"),
    "body of another type": (lambda value: value.update(body=[]), "malformed"),
    "negative offset": (in_run(1, **{"from": -1}), "malformed"),
    "offset over 63 bits": (in_run(1, to=2**63), "malformed"),
    "offset as text": (in_run(1, to="3"), "malformed"),
    "offset true": (in_run(1, to=True), "malformed"),
    "range backwards": (in_run(1, **{"from": 3, "to": 0}), "malformed"),
    "topic with a path": (in_run(1, generation=["../new", "A" * 22, 0, 0]), "malformed"),
    "topic of dots": (in_run(1, generation=["..", "A" * 22, 0, 0]), "malformed"),
    "topic with a line break": (in_run(1, generation=["new\n", "A" * 22, 0, 0]), "malformed"),
    "generation too short": (in_run(1, generation=["new", "A" * 22, 0]), "malformed"),
    "topic id too long": (in_run(1, generation=["new", "A" * 23, 0, 0]), "malformed"),
    "time that is none": (lambda value: value.update(finished="yesterday"), "malformed"),
    "time with a wrong month": (lambda value: value.update(finished="2026-13-01T00:00:00Z"), "malformed"),
    "writer too short": (lambda value: value.update(writer="ab"), "malformed"),
    "point without a point": (body(point=None), "malformed"),
    "document outside": (in_point(documents=[["metadata", "../../x"]]), "malformed"),
    "gap with a shouting reason": (in_gap(reason="LOST!"), "malformed"),
    "cuts of another shape": (in_point(cuts=cuts_of([0, 0, 0])), "malformed"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_commit_that_breaks_a_rule_counts_for_nothing_and_does_not_block_the_log(name: str) -> None:
    change, reason = BROKEN[name]
    store = forged(change)
    store.objects.pop(log_name(3), None)
    repository = open_repository(store)
    (alarm,) = repository.state.alarms
    assert alarm.number == 2
    assert alarm.digest == digest(store.objects[log_name(2)])
    assert reason in alarm.reason
    assert repository.state.generations[ORDERS].next_offset == 6
    assert NEW not in repository.state.generations
    assert [point.number for point in repository.points()] == [1]
    assert backup(repository, [piece(ORDERS, 6, 1)]).number == 3
    report = verify(repository, level="data")
    assert [found.number for found in report.alarms] == [2]
    assert report.findings == ()
    assert open_repository(store).state == repository.state


def test_the_honest_commit_behind_the_forgeries_is_valid() -> None:
    store = forged(lambda value: None)
    assert len(open_repository(store).state.alarms) == 0
    assert open_repository(store).state.head == 2


@pytest.mark.parametrize("kind", RESERVED_KINDS)
def test_reserved_kinds_are_alarms(kind: str) -> None:
    store = forged(lambda value: value.update(kind=kind))
    assert "unknown kind" in open_repository(store).state.alarms[0].reason


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: value.update(prev="0" * 64), "does not follow commit 1"),
        (lambda value: value.update(seq=3), "holds commit 3 where 2 belongs"),
        (lambda value: value.update(seq="2"), "cannot be read"),
        (lambda value: value.update(seq=True), "cannot be read"),
        (lambda value: value.pop("prev"), "cannot be read"),
        (lambda value: value.update(kind=7), "cannot be read"),
    ],
)
def test_a_commit_out_of_its_place_stops_the_reader(change: Forge, message: str) -> None:
    store = forged(change)
    with pytest.raises(CorruptChain, match=message) as raised:
        open_repository(store)
    assert raised.value.exit_code == 20


def test_swapped_commits_and_commits_of_other_repositories_stop_the_reader() -> None:
    store, _ = base()
    store.objects[log_name(1)], store.objects[log_name(2)] = store.objects[log_name(2)], store.objects[log_name(1)]
    with pytest.raises(CorruptChain):
        open_repository(store)
    store, _ = base()
    other = MemoryStore()
    backup(Journal(other, seed=9).create(), [piece(ORDERS, 0, 2)])
    store.objects[log_name(1)] = other.objects[log_name(1)]
    with pytest.raises(CorruptChain, match="does not follow"):
        open_repository(store)


def test_a_first_commit_that_begins_nothing_stops_the_reader() -> None:
    for change in (lambda value: value.update(kind="add"), lambda value: value.update(body={})):
        store, _ = base()
        value = unwrap(store.objects[log_name(0)], Kind.COMMIT, "commit 0")
        change(value)  # type: ignore[no-untyped-call]
        store.objects[log_name(0)] = wrap(Kind.COMMIT, value)
        with pytest.raises(CorruptChain):
            open_repository(store)


def test_packs_of_an_epoch_long_past_are_refused() -> None:
    _, repository = base()
    later = replace(repository.state, epoch=2)
    commit = repository.commit(draft(packs=[write_pack(repository, [piece(ORDERS, 16, 1)])])).commit
    assert commit is not None
    assert "of epoch 0, the repository is at epoch 2" in str(validate(later, commit))
    assert "of epoch 0" not in str(validate(replace(later, epoch=1), commit))


def test_validity_does_not_depend_on_the_order_in_which_a_commit_lists_things() -> None:
    def reverse(value: dict[str, Any]) -> None:
        for part in ("packs", "gaps", "opened", "closed"):
            value["body"][part].reverse()

    assert len(open_repository(forged(reverse)).state.alarms) == 0


def test_the_empty_state_takes_only_the_first_commit() -> None:
    assert State() == EMPTY
    assert EMPTY.head == -1
    assert PackRef("", 0, "", 0, ()).run_refs() == ()

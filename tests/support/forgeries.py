"""Commits with one thing wrong: readable, with their digests right, breaking one rule each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.support.repositories import (
    Journal,
    backup,
    closed,
    cut,
    draft,
    gap,
    generation,
    opened,
    piece,
    write_pack,
)

from kafkeep.model import HeldBack
from kafkeep.repository.envelope import Kind, unwrap, wrap
from kafkeep.repository.names import log_name
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore

ORDERS, PAYMENTS, NEW = generation("orders"), generation("payments"), generation("new")
HOLDING = replace(cut(NEW, 3), held_back=(HeldBack(7, 1, 2), HeldBack(8, 0, 3)))
Forge = Callable[[dict[str, Any]], None]


def base() -> tuple[MemoryStore, Repository]:
    """A repository with two commits, and a third, honest one that tests forge: it brings a run, a gap, an opening."""
    store = MemoryStore()
    repository = Journal(store).create()
    backup(repository, [piece(ORDERS, 0, 2), piece(PAYMENTS, 0, 2)])
    pack = write_pack(repository, [piece(ORDERS, 10, 2), piece(NEW, 0, 1)])
    repository.commit(
        draft(packs=[pack], gaps=[gap(ORDERS, 6, 10)], open_=opened(NEW), close=closed(PAYMENTS), cuts=[HOLDING])
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


def holding(*rows: object) -> Forge:
    """The honest cut with something else held back."""
    return lambda value: value["body"]["point"]["cuts"][0].update(held_back=list(rows))


def repeat_pack(value: dict[str, Any]) -> None:
    (pack,) = value["body"]["packs"]
    value["body"]["packs"] = [pack | {"runs": [run]} for run in pack["runs"]]


def repeat_run(value: dict[str, Any]) -> None:
    value["body"]["packs"][0]["runs"][1]["index"] = 0


def old_pack(value: dict[str, Any]) -> None:
    store, _ = base()
    first: Any = unwrap(store.objects[log_name(1)], Kind.COMMIT, "commit 1")
    (old,) = first["body"]["packs"]
    value["body"]["packs"] = [old | {"runs": value["body"]["packs"][0]["runs"]}]


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
    "pack named twice": (repeat_pack, "named twice"),
    "run named twice": (repeat_run, "named twice"),
    "pack of an earlier commit": (old_pack, "named a second time"),
    "pack without runs": (in_pack(runs=[]), "none of its runs is"),
    "pack with another digest": (in_pack(blake3="0" * 64), "malformed"),
    "pack with another epoch": (in_pack(epoch=1), "malformed"),
    "pack with a foreign name": (in_pack(name="../../etc/passwd"), "malformed"),
    "kind of a later version": (lambda value: value.update(kind="rewrite"), "unknown kind"),
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
    "nothing held back, and said": (holding(), "malformed"),
    "held back in no partition": (holding([1, 7, 0, 1]), "malformed"),
    "held back beyond the cut": (holding([0, 7, 0, 4]), "malformed"),
    "held back from nowhere": (holding([0, 7, 1, 1]), "malformed"),
    "held back backwards": (holding([0, 7, 2, 1]), "malformed"),
    "held back twice": (holding([0, 7, 0, 1], [0, 7, 0, 1]), "malformed"),
    "held back out of order": (holding([0, 8, 0, 1], [0, 7, 0, 1]), "malformed"),
    "held back of nobody": (holding([0, -1, 0, 1]), "malformed"),
    "held back in too short a row": (holding([0, 7, 0]), "malformed"),
    "held back as no list": (lambda value: value["body"]["point"]["cuts"][0].update(held_back=None), "malformed"),
}

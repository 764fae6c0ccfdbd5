"""Schemas put into a registry under their own ids, and the mode that this needs: on a registry that holds state and fails
where it is told to. What real ones do is in tests/integration/test_registry_live.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from kafkeep.errors import ServiceNotFound, ServiceRequestError, ServiceUnreachable
from kafkeep.metadata.apply_schemas import SchemaHands
from kafkeep.metadata.steps_services import KEEP, RegisterSchema
from kafkeep.schemas import IMPORT, READWRITE, Place, SchemaVersion


class Registry:
    """Takes ids in mode IMPORT as Confluent documents it, unless `grants` is false."""

    def __init__(self, *, grants: bool = True) -> None:
        self.name = "the registry"
        self.grants = grants
        self.modes = [READWRITE]
        self.held: dict[Place, SchemaVersion] = {}
        self.fails: dict[str, Callable[[], BaseException]] = {}

    def _fail(self, what: str) -> None:
        if what in self.fails:
            raise self.fails[what]()

    def mode(self) -> str | None:
        return self.modes[-1]

    def set_mode(self, subject: str, mode: str, *, force: bool = False) -> None:
        self._fail(mode)
        self.modes.append(mode)

    def register(self, version: SchemaVersion, *, keep: bool) -> int:
        self._fail(version.subject)
        if not (keep and self.grants and self.mode() == IMPORT):
            numbers = [number for subject, number in self.held if subject == version.subject]
            version = replace(version, id=len(self.held) + 1, version=max(numbers, default=0) + 1)
        self.held[version.place] = version
        return version.id

    def version(self, place: Place, *, deleted: bool) -> SchemaVersion:
        if place not in self.held:
            raise ServiceNotFound("not there")
        return self.held[place]

    def newest_with_id(self, subject: str, schema_id: int) -> SchemaVersion | None:
        found = [one for one in self.held.values() if (one.subject, one.id) == (subject, schema_id)]
        return max(found, key=lambda one: one.version, default=None)

    def delete(self, place: Place, *, permanent: bool = False) -> None:
        assert permanent
        del self.held[place]


def steps(*places: tuple[str, int, int]) -> list[RegisterSchema]:
    return [
        RegisterSchema(
            area="schemas",
            action="add",
            subject=subject,
            schema=SchemaVersion(subject=subject, version=number, id=schema_id, type="AVRO", schema='"int"'),
            ids=KEEP,
            beside=False,
            there=frozenset(),
        )
        for subject, number, schema_id in places
    ]


def do(registry: Registry, *places: tuple[str, int, int]) -> list[Any]:
    return SchemaHands(registry, ()).do(steps(*places))  # type: ignore[arg-type]


PLACES = (("a", 1, 10), ("a", 5, 700), ("b", 2, 10))


def test_ids_and_numbers_with_holes_are_kept_and_the_mode_is_put_back() -> None:
    registry = Registry()
    assert do(registry, *PLACES) == [None, None, None]
    assert {(*place, one.id) for place, one in registry.held.items()} == set(PLACES)
    assert registry.modes == [READWRITE, IMPORT, READWRITE]


def test_one_that_is_refused_does_not_stop_the_others() -> None:
    registry = Registry()
    refusal = ServiceRequestError("no", status=422)
    registry.fails["a"] = lambda: refusal
    assert do(registry, *PLACES) == [refusal, refusal, None]
    assert registry.modes == [READWRITE, IMPORT, READWRITE]


def test_a_registry_out_of_reach_is_not_asked_again() -> None:
    registry = Registry()
    lost = ServiceUnreachable("gone")
    registry.fails["a"] = lambda: lost
    assert do(registry, *PLACES) == [lost, lost, lost]
    assert registry.held == {}


def test_an_interrupt_leaves_the_mode_as_it_was() -> None:
    registry = Registry()
    registry.fails["b"] = KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        do(registry, *PLACES)
    assert registry.modes == [READWRITE, IMPORT, READWRITE]


def test_a_mode_that_cannot_be_put_back_is_told_with_what_to_do() -> None:
    registry = Registry()
    registry.fails[READWRITE] = lambda: ServiceRequestError("not allowed", status=422)
    answers = do(registry, *PLACES)
    assert {answer.message for answer in answers} == {"the registry is left in mode IMPORT: not allowed"}
    assert "back to READWRITE" in answers[0].hint


def test_without_the_mode_nothing_is_registered() -> None:
    registry = Registry()
    registry.fails[IMPORT] = lambda: ServiceNotFound("no such thing as a mode")
    answers = do(registry, *PLACES)
    assert [type(answer) for answer in answers] == [ServiceNotFound] * 3
    assert registry.held == {}


def test_the_first_other_id_ends_it_and_is_taken_away() -> None:
    registry = Registry(grants=False)
    answers = do(registry, ("a", 1, 1), *PLACES[1:])
    assert [answer is None for answer in answers] == [True, False, False]
    assert set(registry.held) == {("a", 1)}
    assert "a version 5 with id 700 became version 2 with id 2, which was taken away again" in answers[1].message
    assert "--schema-ids map" in answers[1].hint
    assert registry.modes[-1] == READWRITE


def test_what_the_registry_had_before_is_not_taken_away() -> None:
    registry = Registry(grants=False)
    (step,) = steps(("a", 1, 9))
    answers = SchemaHands(registry, ()).do([replace(step, there=frozenset({1}))])  # type: ignore[arg-type]
    assert answers[0] is not None and "taken away" not in answers[0].message
    assert set(registry.held) == {("a", 1)}


def test_a_version_is_found_beside_a_later_one_with_its_id() -> None:
    registry = Registry()
    assert do(registry, ("a", 3, 10)) == [None]
    assert do(registry, ("a", 1, 10)) == [None]
    assert set(registry.held) == {("a", 1), ("a", 3)}


def test_a_registry_in_mode_import_stays_so() -> None:
    registry = Registry()
    registry.modes = [IMPORT]
    assert do(registry, *PLACES) == [None, None, None]
    assert registry.modes == [IMPORT]

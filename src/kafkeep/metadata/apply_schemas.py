"""Carrying out the steps of a plan that concern a schema registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kafkeep.errors import KafkeepError, ServiceError, ServiceNotFound, ServiceRequestError, ServiceUnreachable
from kafkeep.metadata.plan import SchemaId, Step
from kafkeep.metadata.planning_schemas import referring
from kafkeep.metadata.steps_services import (
    KEEP,
    DeleteSchema,
    RegisterSchema,
    SetSubjectMode,
    SetSubjectRules,
)
from kafkeep.schemas import IMPORT, READWRITE, Place, SchemaVersion, same_text

if TYPE_CHECKING:
    from kafkeep.registry.client import SchemaRegistry

SCHEMA_STEPS = (RegisterSchema, SetSubjectRules, DeleteSchema, SetSubjectMode)
_HINT = (
    "Take --schema-ids map, which lets the registry give new ids and reports them; or a registry that has mode IMPORT."
)


class SchemaHands:
    """Does steps of one kind after the other and remembers where schemas went."""

    def __init__(self, registry: SchemaRegistry, known: Sequence[SchemaId]) -> None:
        self._registry = registry
        self.ids = {(row.subject, row.version): row for row in known}
        self._landed: dict[Place, int] = {
            place: row.new_version for place, row in self.ids.items() if row.new_version is not None
        }
        self._ends: KafkeepError | None = None
        """Why nothing more of this kind is tried."""

    def do(self, steps: Sequence[Step]) -> list[KafkeepError | None]:
        """The answer to each of these steps, which are all of one kind."""
        self._ends = None
        first = steps[0]
        if isinstance(first, RegisterSchema) and first.ids == KEEP:
            return self._keep([step for step in steps if isinstance(step, RegisterSchema)])
        return [self._answer(self._one, step) for step in steps]

    def _answer(self, call: Callable[[Step], None], step: Step) -> KafkeepError | None:
        try:
            if self._ends is not None:
                return self._ends
            call(step)
        except ServiceUnreachable as error:
            self._ends = error
            return error
        except ServiceError as error:
            return error
        return None

    def _one(self, step: Step) -> None:
        match step:
            case RegisterSchema():
                self._map(step)
            case SetSubjectRules():
                self._registry.set_compatibility(step.rules)
            case DeleteSchema():
                self._registry.delete(step.schema.place)
            case SetSubjectMode():
                self._registry.set_mode(step.subject_name, step.mode, force=True)
            case _:
                raise TypeError(f"no way to do a {type(step).__name__}")

    def _map(self, step: RegisterSchema) -> None:
        wanted = referring(step.schema, self._landed)
        new_id = self._registry.register(wanted, keep=False)
        found = self._registry.newest_with_id(wanted.subject, new_id)
        if found is None or not same_text(found, wanted):
            raise ServiceRequestError(
                f"{self._registry.name}: {step.schema} was taken as id {new_id} but is not there", status=0
            )
        self._landed[step.schema.place] = found.version
        self.ids[step.schema.place] = SchemaId(
            subject=wanted.subject,
            version=wanted.version,
            old_id=wanted.id,
            new_version=found.version,
            new_id=new_id,
        )

    # --- ids kept ---------------------------------------------------------------------------------------------------

    def _keep(self, steps: Sequence[RegisterSchema]) -> list[KafkeepError | None]:
        answers: list[KafkeepError | None] = []
        try:
            with self._importing(force=any(step.beside for step in steps)):
                answers += [self._answer(self._import, step) for step in steps]
        except ServiceError as error:
            # Of the mode, before the first schema or after the last one.
            answers = [error if answer is None else answer for answer in answers] or [error for _ in steps]
        return answers

    @contextmanager
    def _importing(self, *, force: bool) -> Iterator[None]:
        """The registry in mode IMPORT, and back in its own mode however it ends."""
        before = self._registry.mode()
        if before == IMPORT:
            yield
            return
        self._registry.set_mode("", IMPORT, force=force)
        try:
            yield
        finally:
            self._back(READWRITE if before is None else before)

    def _back(self, mode: str) -> None:
        try:
            self._registry.set_mode("", mode, force=True)
        except ServiceError as error:
            raise ServiceRequestError(
                f"{self._registry.name} is left in mode IMPORT: {error.message}",
                status=0,
                hint=f"Set the registry's mode back to {mode}: producers cannot register schemas until then.",
            ) from error

    def _import(self, step: Step) -> None:
        """One schema under its own id and number, looked at afterwards: some registries take the request and give others."""
        if not isinstance(step, RegisterSchema):
            raise TypeError(f"no way to import a {type(step).__name__}")
        wanted = step.schema
        given = self._registry.register(wanted, keep=True)
        if given == wanted.id and self._id_at(wanted.place) == wanted.id:
            return
        found = self._registry.newest_with_id(wanted.subject, given)
        ours = found is not None and found.version not in step.there
        if found is not None and ours:
            self._registry.delete(found.place, permanent=True)
        after = ", which was taken away again" if ours else ""
        self._ends = ServiceRequestError(
            f"{self._registry.name} does not keep ids: {wanted} with id {wanted.id} became "
            f"{_where(found)} with id {given}{after}",
            status=0,
            hint=_HINT,
        )
        raise self._ends

    def _id_at(self, place: Place) -> int | None:
        try:
            return self._registry.version(place, deleted=False).id
        except ServiceNotFound:
            return None


def _where(found: SchemaVersion | None) -> str:
    return "a version that cannot be found" if found is None else f"version {found.version}"

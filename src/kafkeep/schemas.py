"""The nouns of a schema registry, and what follows from them alone. Pure."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable
from typing import Final

from kafkeep.records import dataclass

AVRO, JSON, PROTOBUF = "AVRO", "JSON", "PROTOBUF"
READWRITE, READONLY, IMPORT = "READWRITE", "READONLY", "IMPORT"
SCHEMAS: Final = "schemas"
"""What the whole of it is called where something could not be read."""

Place = tuple[str, int]
"""Subject and version."""


@dataclass(frozen=True, slots=True)
class SchemaReference:
    name: str
    """What the referring schema calls it."""
    subject: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaVersion:
    """One version of a subject. Records carry `id`; several versions have one id when they hold the same schema."""

    subject: str
    version: int
    id: int
    type: str
    """`AVRO`, `JSON`, `PROTOBUF`, or another word of the registry's."""
    schema: str
    """As the registry gives it."""
    references: tuple[SchemaReference, ...] = ()
    deleted: bool = False
    """Soft-deleted: no longer offered, still found by its id."""
    contract: str = ""
    """Metadata and rules of a data contract, as one JSON object in text; empty without."""

    @property
    def place(self) -> Place:
        return self.subject, self.version

    def __str__(self) -> str:
        return f"{self.subject} version {self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectRules:
    """What a subject has of its own; None where the registry's own rule holds."""

    subject: str
    """Empty for the registry's own."""
    compatibility: str | None = None
    mode: str | None = None
    more: str = ""
    """Further settings beside the compatibility, as one JSON object in text; empty without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schemas:
    """What a registry holds: sorted by subject and version, rules by subject."""

    versions: tuple[SchemaVersion, ...] = ()
    rules: tuple[SubjectRules, ...] = ()
    unreadable: tuple[str, ...] = ()
    """What of it could not be read: `schema orders-value version 3` and the like."""

    def rules_of(self, subject: str) -> SubjectRules:
        return next((rule for rule in self.rules if rule.subject == subject), SubjectRules(subject=subject))


def same_schema(one: SchemaVersion, other: SchemaVersion) -> bool:
    """True when both hold the same schema; JSON is compared as a value, since registries write it anew."""
    facts = one.type, one.references, _value(one.contract)
    return facts == (other.type, other.references, _value(other.contract)) and same_text(one, other)


def same_text(one: SchemaVersion, other: SchemaVersion) -> bool:
    """As `same_schema`, whatever the two refer to."""
    if one.type != other.type:
        return False
    if one.schema == other.schema:
        return True
    return one.type in (AVRO, JSON) and _value(one.schema) == _value(other.schema) != one.schema


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def in_order(versions: Iterable[SchemaVersion]) -> tuple[SchemaVersion, ...]:
    """Each after everything it refers to, and otherwise by id, subject and version: the order in which a registry that
    gives out ids by itself gave them out. A circle, which no registry takes, stands at the end.
    """
    known = {one.place: one for one in versions}
    waiting = {
        place: {(ref.subject, ref.version) for ref in one.references if (ref.subject, ref.version) in known} - {place}
        for place, one in known.items()
    }
    needed_by: dict[Place, list[Place]] = {}
    for place, needs in waiting.items():
        for need in needs:
            needed_by.setdefault(need, []).append(place)
    ready = [(known[place].id, place) for place, needs in waiting.items() if not needs]
    heapq.heapify(ready)
    found: list[SchemaVersion] = []
    while ready:
        _, place = heapq.heappop(ready)
        found.append(known.pop(place))
        for waiter in needed_by.get(place, ()):
            waiting[waiter].discard(place)
            if not waiting[waiter]:
                heapq.heappush(ready, (known[waiter].id, waiter))
    return (*found, *sorted(known.values(), key=lambda one: (one.id, one.place)))

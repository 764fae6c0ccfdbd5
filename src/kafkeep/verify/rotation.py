"""Verifying a large repository a part at a time: where the last one ended, and what is next. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from kafkeep.errors import CorruptObject
from kafkeep.records import dataclass
from kafkeep.repository.catalogue import PackEntry
from kafkeep.repository.nouns import Malformed, boolean, decode_with, fields, integer, text

PART: Final = "verify-part"
"""Kind of the report that says how far a verification in parts has come."""
VERIFIED: Final = "verified"
"""Kind of the report that says up to which commit (`head`) all was looked at and nothing found."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """All packs up to one were looked at, in the order of the commits that name them."""

    level: str
    head: int
    """The newest commit when the first of them was."""
    commit: int
    pack: str
    clean: bool = True
    """Nothing was found since then."""


def place(entry: PackEntry) -> tuple[int, str]:
    """Where a pack stands in the order in which packs are looked at."""
    return entry.number, entry.name


def in_turn(packs: Iterable[PackEntry], after: Cursor | None) -> list[PackEntry]:
    """The packs behind the cursor; all of them without one. Packs that came meanwhile are among them, those without runs are
    not: nobody needs them."""
    ordered = sorted((entry for entry in packs if entry.runs), key=place)
    return ordered if after is None else [entry for entry in ordered if place(entry) > (after.commit, after.pack)]


def cursor_to_json(cursor: Cursor) -> dict[str, object]:
    return {
        "clean": cursor.clean,
        "commit": cursor.commit,
        "head": cursor.head,
        "level": cursor.level,
        "pack": cursor.pack,
    }


def cursor_from_json(value: object) -> Cursor:
    """Raises `CorruptObject`."""

    def decode(found: object) -> Cursor:
        part = fields(found, "report")
        return Cursor(
            text(part["level"], "level"),
            integer(part["head"], "head"),
            integer(part["commit"], "commit"),
            text(part["pack"], "pack"),
            boolean(part["clean"], "clean"),
        )

    try:
        return decode_with(decode, value, "the report of a verification")
    except Malformed as error:
        raise CorruptObject(str(error)) from error

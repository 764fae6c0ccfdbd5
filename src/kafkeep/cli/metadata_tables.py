"""Differences and steps as tables: a part of the metadata each, a line for each thing, `+`, `-` and `~` in front. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import field
from typing import Final

from kafkeep.cli.render import Grid
from kafkeep.records import dataclass

ADDED, REMOVED, CHANGED, PLAIN = "+", "-", "~", ""
_STYLES: Final = {ADDED: "green", REMOVED: "red", CHANGED: "yellow", PLAIN: ""}
_INDENT: Final = "  "
ELLIPSIS: Final = "…"
LONGEST_BRIEF: Final = 60
"""A value of a brief table that is longer is shortened."""
_KEPT: Final = 8
"""So much of what two values have in common is shown in front of where they part."""


@dataclass(frozen=True, slots=True)
class Line:
    """A thing (`inner` false) or something of the one above it."""

    mark: str
    text: str
    values: tuple[str, ...] = ()
    inner: bool = False


@dataclass(slots=True)
class Section:
    """Lines of one part, under heads for their values."""

    title: str
    heads: tuple[str, ...]
    brief: bool
    """Whether long values are shortened."""
    lines: list[Line] = field(default_factory=list)
    shortened: bool = False
    """True when one was."""

    def of(self, subject: str) -> None:
        """What follows belongs to this thing; said once."""
        above = next((line for line in reversed(self.lines) if not line.inner), None)
        if above is None or above.mark or above.values or above.text != subject:
            self.lines.append(Line(PLAIN, subject))

    def change(self, key: str, before: str | None, after: str | None, *, inner: bool = True) -> None:
        """A key and its value on both sides, None where it is not set; only the second where heads are for one."""
        told = parted(before, after) if self.brief else (before, after)
        self.shortened = self.shortened or told != (before, after)
        values = tuple(value_text(value) for value in told[-len(self.heads) :])
        self.lines.append(Line(mark_of(before, after), key, values, inner=inner))

    def grid(self) -> Grid:
        """Columns of values only where there are some."""
        width = len(self.heads) if any(line.values for line in self.lines) else 0
        return Grid(
            ("", self.title, *self.heads[:width]),
            tuple(
                (line.mark, (_INDENT if line.inner else "") + line.text, *_filled(line.values, width))
                for line in self.lines
            ),
            styles=tuple(_STYLES[line.mark] for line in self.lines),
        )


def _filled(values: Sequence[str], width: int) -> Iterable[str]:
    return (*values, *[""] * (width - len(values)))


def mark_of(before: object, after: object) -> str:
    """What became of a thing; None is where it is not."""
    if before is None:
        return ADDED
    return REMOVED if after is None else CHANGED


def value_text(value: str | None) -> str:
    """A value that is there is never taken for one that is not."""
    if value is None:
        return "not set"
    return value if value else '""'


def parted(before: str | None, after: str | None) -> tuple[str | None, str | None]:
    """Two long values from shortly before where they part, cut where they are still long; what was cut away is told."""
    if before is not None and after is not None and max(len(before), len(after)) > LONGEST_BRIEF:
        common = next(
            (place for place, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]),
            min(len(before), len(after)),
        )
        skipped = max(0, common - _KEPT)
        return _cut(before, skipped), _cut(after, skipped)
    return (None if before is None else _cut(before, 0)), (None if after is None else _cut(after, 0))


def _cut(value: str, skipped: int) -> str:
    rest = value[skipped:]
    front = ELLIPSIS if skipped else ""
    if len(rest) <= LONGEST_BRIEF:
        return front + rest
    return f"{front}{rest[: LONGEST_BRIEF - 20]}{ELLIPSIS} ({len(value)} characters)"

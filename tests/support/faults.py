"""What tests of faults proved, and the page docs/faults.md that is made of it.

A test that proves a row of the table carries `@pytest.mark.fault("S3")`, or several ids. What it counted it says in the
mark (`fault("S18", passes=10)`, for each of its cases), or through the fixture `fault`, which also tells how much to do:

    @pytest.mark.fault("I1")
    def test_i1_...(fault: Figures) -> None:
        for _ in range(fault.count(quick=300, full=100_000)): ...
        fault.figures(mutations=tried, found=tried)

A test that says nothing counts as one case. `make faults` runs them with the full counts and writes the page.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from tests.support.faults_rows import BY_ID, FAULTS, GROUPS, NOT_YET, Fault

TESTS: Final = Path(__file__).parents[1]


class Figures:
    """One test's hand on the rows that it proves: the fixture `fault`."""

    def __init__(self, *, full: bool) -> None:
        self.full = full
        self.counted: Counter[str] = Counter()

    def count(self, *, quick: int, full: int) -> int:
        """How often to do it: `quick` in `make test`, `full` in `make faults`."""
        return full if self.full else quick

    def figures(self, **counted: int) -> None:
        """Adds to what the table tells, under these names (`_` for a space). AssertionError for nothing at all."""
        assert counted and all(number > 0 for number in counted.values()), f"nothing was counted: {counted}"
        self.counted.update(counted)


@dataclass
class Proved:
    """What the tests of one row did."""

    figures: Counter[str] = field(default_factory=Counter)
    places: set[str] = field(default_factory=set)
    failed: bool = False


def add(rows: dict[str, Proved], fault: str, place: str, figures: Mapping[str, int]) -> None:
    row = rows.setdefault(fault, Proved())
    row.places.add(place)
    row.figures.update(figures)


def packed(rows: Mapping[str, Proved]) -> dict[str, dict[str, Any]]:
    """Rows in plain values, as one process hands them to another."""
    return {
        one: {"figures": dict(row.figures), "places": sorted(row.places), "failed": row.failed}
        for one, row in rows.items()
    }


def add_packed(rows: dict[str, Proved], more: Mapping[str, Mapping[str, Any]]) -> None:
    for one, found in more.items():
        for place in found["places"]:
            add(rows, one, place, {})
        row = rows.setdefault(one, Proved())
        row.figures.update(found["figures"])
        row.failed |= found["failed"]


# --- the tests as they are written


def place_of(file: Path, test: str) -> str:
    """How the page names a test."""
    return f"{file.relative_to(TESTS).as_posix()}::{test}"


@cache
def marked() -> dict[str, frozenset[str]]:
    """The places of all tests that carry a mark, by the row's id, read from their source."""
    found: dict[str, set[str]] = {}
    for file in sorted(TESTS.glob("*/test_*.py")):
        text = file.read_text(encoding="utf-8")
        if "mark.fault(" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                for fault in _ids(node):
                    found.setdefault(fault, set()).add(place_of(file, node.name))
    return {fault: frozenset(places) for fault, places in found.items()}


def _ids(node: ast.FunctionDef) -> Iterator[str]:
    for mark in node.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault":
            yield from (ast.literal_eval(given) for given in mark.args)


# --- the page

HEAD: Final = """\
# Faults

What is done to kafkeep by its tests, and what came of it. `make faults` runs the tests that are named here, with the counts
of this page, and writes the lines of those rows whose tests all pass from what they counted.
`make faults ROWS="C1 I1"` runs a part, and the lines of other rows stay. `make test` runs the same tests with fewer
repetitions. A count is not a proof of absence: n passes without a failure bound the rate of failures below 3/n, at
95 %. Where every case can be gone through (every byte, every call, every 64th), every case is.

## What is promised

* After `committed #N` is reported, every record that N covers can be restored, whatever process, host or network of ours
  fails, as long as the store keeps what it acknowledged.
* Nothing is lost silently: each offset from the first that was covered to the cut lies in a run or in a gap that says why.
* Nothing is changed silently: verify finds a changed byte of any object and any object that is gone, in another's place or
  rolled back, and a restore finds it before it produces a record that is affected.
* Whatever was written when a process died is a repository. It needs no repair and no unlocking.
* Neither a lock nor a clock that is right is needed for any of this.
* The role that writes backups need not delete, overwrite, list or read records.
* What is kept no longer is removed in two steps with time to change one's mind, never the last point.
* Memory does not grow with the repository.

## What is done

`tests/` is left out in front of the tests' names.
"""

COLUMNS: Final = """\
| Row | What is done | What must come of it | Where | How often | Result |
|---|---|---|---|---|---|
"""

FOOT: Final = """\

## Not yet

Rows of the same list that no test here proves, and why.

| Row | What is done | What must come of it | Why not |
|---|---|---|---|
"""


PROVED_CELLS: Final = 6
WAITING: Final = "It has tests, which did not run for this page: `make faults`."


def page(rows: Mapping[str, Proved], before: str) -> str:
    """docs/faults.md. Rows of which only a part ran, or something failed, are left as they were on the page `before`."""
    kept = {fault: line for fault, line in lines_of(before).items() if len(cells_of(line)) == PROVED_CELLS}
    lines = {fault.id: line for fault in FAULTS if (line := _proved(fault, rows, kept.get(fault.id)))}
    text = [HEAD]
    for letter, title in GROUPS.items():
        group = [line for fault, line in lines.items() if fault[0] == letter]
        if group:
            text += [f"\n### {title}\n\n", COLUMNS, *group]
    text.append(FOOT)
    for fault in FAULTS:
        if fault.id not in lines:
            text.append(_line(fault, WAITING if fault.id in marked() else NOT_YET.get(fault.id, "")))
    return "".join(text)


def lines_of(text: str) -> dict[str, str]:
    """The lines of a page by their row."""
    return {found[1]: found[0] + "\n" for found in re.finditer(r"^\| ([A-Z][0-9]+) \|.*\|$", text, re.MULTILINE)}


def cells_of(line: str) -> list[str]:
    return line.strip().removeprefix("| ").removesuffix(" |").split(" | ")


def _proved(fault: Fault, rows: Mapping[str, Proved], before: str | None) -> str | None:
    places = marked().get(fault.id)
    if places is None:
        return None
    row = rows.get(fault.id)
    if row is None or not whole(row, places):
        return before
    often = ", ".join(f"{_number(count)} {name.replace('_', ' ')}" for name, count in row.figures.items())
    return _line(fault, "<br>".join(f"`{place}`" for place in sorted(row.places)), often, _result(fault))


def whole(row: Proved, places: frozenset[str]) -> bool:
    """Whether all that carries the row's mark ran and passed."""
    return row.places == places and not row.failed


def _result(fault: Fault) -> str:
    return f"holds. {fault.note}" if fault.note else "holds"


def _line(fault: Fault, *cells: str) -> str:
    return "| " + " | ".join((fault.id, fault.done, fault.expected, *cells)) + " |\n"


def _number(count: int) -> str:
    return f"{count:,}".replace(",", "\N{NO-BREAK SPACE}")


def unfinished(rows: Mapping[str, Proved]) -> list[str]:
    """Rows of which some tests ran, but not all, or one failed."""
    return [fault for fault, places in marked().items() if fault in rows and not whole(rows[fault], places)]


def unknown(ids: tuple[str, ...]) -> list[str]:
    return [one for one in ids if one not in BY_ID]

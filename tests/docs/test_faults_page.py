"""docs/faults.md has a line for every row of the table, and names tests that carry the row's mark."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from tests.support.faults import FOOT, HEAD, PROVED_CELLS, WAITING, Proved, cells_of, lines_of, marked, page, unfinished
from tests.support.faults_rows import BY_ID, FAULTS, NOT_YET

PAGE = (Path(__file__).parents[2] / "docs" / "faults.md").read_text(encoding="utf-8")


def test_every_row_is_on_the_page_once() -> None:
    ids = re.findall(r"^\| ([A-Z][0-9]+) \|", PAGE, re.MULTILINE)
    assert Counter(ids) == Counter(list(BY_ID))
    assert len(BY_ID) == len(FAULTS) == 94


def test_a_row_has_a_test_or_a_reason_why_not() -> None:
    assert set(marked()) | set(NOT_YET) == set(BY_ID)
    assert set(marked()) & set(NOT_YET) == set(), "a row that got its test leaves NOT_YET"


def test_lines_say_what_the_rows_say() -> None:
    for fault in FAULTS:
        told = cells_of(lines_of(PAGE)[fault.id])
        assert told[:3] == [fault.id, fault.done, fault.expected]
        assert all("|" not in text for text in (fault.done, fault.expected, fault.note))


def test_no_row_waits_for_its_run() -> None:
    assert [one for one in marked() if WAITING in lines_of(PAGE)[one]] == [], "run make faults"


def test_lines_name_tests_that_prove_the_row() -> None:
    proved = {one: cells for one, line in lines_of(PAGE).items() if len(cells := cells_of(line)) == PROVED_CELLS}
    assert len(proved) > 30
    for one, (*_, where, often, result) in proved.items():
        named = set(re.findall(r"`([^`]+)`", where))
        assert named and named <= marked()[one], f"{one}: run make faults"
        assert re.search(r"[1-9]", often), one
        assert result.startswith("holds"), one


def test_the_rest_of_the_page_is_as_it_is_made() -> None:
    assert PAGE.startswith(HEAD)
    assert FOOT in PAGE
    assert page({}, PAGE) == PAGE


def test_rows_of_which_a_part_ran_stay_as_they_are() -> None:
    one = "S6"
    anew = page({one: Proved(Counter(cases=7), set(marked()[one]))}, PAGE)
    assert "| 7 cases |" in lines_of(anew)[one]
    assert {fault: line for fault, line in lines_of(anew).items() if fault != one} == {
        fault: line for fault, line in lines_of(PAGE).items() if fault != one
    }
    part = {one: Proved(Counter(cases=7), {"elsewhere"})}
    assert page(part, PAGE) == PAGE
    assert unfinished(part) == [one]

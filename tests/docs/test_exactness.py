"""docs/exactness.md has a row for every case of tests/proof and for nothing else; `make exactness` writes the figures."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.proof import CASES, SLUGS

ROOT = Path(__file__).parents[2]
PROOFS = sorted((ROOT / "tests" / "proof").glob("test_*.py"))


def rows() -> dict[str, list[str]]:
    """The cells of each row by its case."""
    page = (ROOT / "docs" / "exactness.md").read_text()
    found = re.findall(r"^\| <!-- case: ([a-z-]+) -->(.*) \|$", page, re.MULTILINE)
    return {slug: cells.split(" | ") for slug, cells in found}


def named_in_tests() -> set[str]:
    """Cases that tests name, in their marks or in a table that marks are made of."""
    text = "\n".join(path.read_text() for path in PROOFS)
    return {slug for slug in SLUGS if f'"{slug}"' in text}


def test_every_case_is_proved_by_a_test() -> None:
    assert named_in_tests() == set(SLUGS)
    assert len(set(SLUGS)) == len(CASES)


def test_marks_name_nothing_else() -> None:
    for path in PROOFS:
        for named in re.findall(r"mark\.exact\(([^)]*)\)", path.read_text()):
            assert set(re.findall(r'"([^"]+)"', named)) <= set(SLUGS), f"{path.name}: {named}"


def test_the_page_has_a_row_for_every_case_in_order() -> None:
    assert list(rows()) == list(SLUGS)


def test_rows_say_what_the_cases_say() -> None:
    for case in CASES:
        title, otherwise, versions, judges, *counts = rows()[case.slug]
        assert (title, otherwise) == (case.title, case.otherwise)
        assert versions and judges
        assert [int(cell.replace("\N{NO-BREAK SPACE}", "")) for cell in counts[1:6]] == [0] * 5
        assert int(counts[0].replace("\N{NO-BREAK SPACE}", "")) > 0


def test_rows_name_tests_that_are_there() -> None:
    for slug, cells in rows().items():
        named = re.findall(r"`([a-z_]+\.py)::(test_[a-z0-9_]+)`", cells[-1])
        assert named, slug
        for file, test in named:
            assert f"def {test}(" in (ROOT / "tests" / "proof" / file).read_text(), f"{slug}: {file}::{test}"

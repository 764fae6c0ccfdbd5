"""The fixture `proof`, and the table of what was proved."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.proof import SLUGS, Proof, Row, unknown, write

ROWS = pytest.StashKey[dict[str, Row]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-exactness", metavar="FILE", help="write what was proved as a table into FILE")


@pytest.fixture(scope="session")
def rows(request: pytest.FixtureRequest) -> dict[str, Row]:
    return request.config.stash.setdefault(ROWS, {})


@pytest.fixture
def proof(request: pytest.FixtureRequest, rows: dict[str, Row]) -> Proof:
    slugs = [slug for mark in request.node.iter_markers("exact") for slug in mark.args]
    assert slugs and not unknown(slugs), f"the mark exact must name cases of tests/support/proof.py: {slugs}"
    place = f"{request.node.path.name}::{request.node.originalname}"
    return Proof(rows, slugs, place)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    target = session.config.getoption("--write-exactness", default=None)
    if target is None:
        return
    rows = session.config.stash.get(ROWS, {})
    missing = [slug for slug in SLUGS if slug not in rows]
    if exitstatus or missing:
        print(f"\n{target} is left as it is: status {int(exitstatus)}, not run: {', '.join(missing) or 'none'}")
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
        return
    write(rows, Path(target))

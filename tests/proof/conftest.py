"""The fixture `proof`, and the table of what was proved, added up over the processes that pytest-xdist starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
from tests.support.proof import SLUGS, Proof, Row, add_packed, packed, unknown, write

ROWS = pytest.StashKey[dict[str, Row]]()
HANDED_OVER: Final = "exactness"


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
    return Proof(rows, slugs, place, full=request.config.getoption("--write-exactness") is not None)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker of pytest-xdist has ended: takes over what it proved. One that was killed has nothing to hand over."""
    output: dict[str, Any] = getattr(node, "workeroutput", None) or {}
    add_packed(node.config.stash.setdefault(ROWS, {}), output.get(HANDED_OVER, {}))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    rows = session.config.stash.get(ROWS, {})
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[HANDED_OVER] = packed(rows)
        return
    target = session.config.getoption("--write-exactness", default=None)
    if target is None:
        return
    missing = [slug for slug in SLUGS if slug not in rows]
    if exitstatus or missing:
        print(f"\n{target} is left as it is: status {int(exitstatus)}, not run: {', '.join(missing) or 'none'}")
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
        return
    write(rows, Path(target))

"""The fixture `fault`, and the page of faults, added up over the processes that pytest-xdist starts."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import pytest
from tests.support.faults import Figures, Proved, add, add_packed, packed, page, place_of, unfinished, unknown

ROWS = pytest.StashKey[dict[str, Proved]]()
COUNTED = pytest.StashKey[Figures]()
HANDED_OVER: Final = "faults"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fault-counts", choices=("quick", "full"), default="quick", help="how often tests of faults repeat themselves"
    )
    parser.addoption(
        "--fault-rows", metavar="ROWS", default="", help="of tests of faults only those of these rows: 'C1 C10'"
    )
    parser.addoption("--write-faults", metavar="FILE", help="write what tests of faults proved into FILE")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out tests of other rows; those of no row stay."""
    wanted = wanted_rows(config.getoption("--fault-rows"))
    if wanted is None:
        return
    others = [item for item in items if isinstance(item, pytest.Function) and not wanted.intersection(_rows_of(item))]
    left = [item for item in others if next(item.iter_markers("fault"), None) is not None]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in set(left)]


def wanted_rows(given: str) -> frozenset[str] | None:
    """None for all of them. Raises `pytest.UsageError` for a row that is none."""
    rows = tuple(given.replace(",", " ").split())
    if unknown(rows):
        raise pytest.UsageError(f"--fault-rows: {', '.join(unknown(rows))}: no such row")
    return frozenset(rows) if rows else None


@pytest.fixture
def fault(request: pytest.FixtureRequest) -> Figures:
    """How often to do it, and where to say what was counted."""
    node = request.node
    node.stash[COUNTED] = Figures(full=request.config.getoption("--fault-counts") == "full")
    return node.stash[COUNTED]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if isinstance(item, pytest.Function):
        if report.when == "call" and report.passed:
            _note(item)
        elif not report.passed:
            for one in _rows_of(item):
                item.config.stash[ROWS].setdefault(one, Proved()).failed = True
    return report


def _rows_of(item: pytest.Function) -> list[str]:
    return [one for mark in item.iter_markers("fault") for one in mark.args]


def _note(item: pytest.Function) -> None:
    figures = item.stash.get(COUNTED, None)
    for mark in item.iter_markers("fault"):
        assert mark.args and not unknown(mark.args), f"the mark fault must name rows of the table: {mark.args}"
        counted = dict(mark.kwargs) or (dict(figures.counted) if figures else {}) or {"cases": 1}
        for one in mark.args:
            add(item.config.stash[ROWS], one, place_of(item.path, item.originalname), counted)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker of pytest-xdist has ended: takes over what it proved."""
    output: dict[str, Any] = getattr(node, "workeroutput", None) or {}
    add_packed(node.config.stash[ROWS], output.get(HANDED_OVER, {}))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    rows = session.config.stash[ROWS]
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[HANDED_OVER] = packed(rows)
        return
    target = session.config.getoption("--write-faults", default=None)
    if target is None:
        return
    if part := unfinished(rows):
        print(f"\nleft as they are in {target}, some of their tests did not run or did not pass: {', '.join(part)}")
    path = Path(target)
    path.write_text(page(rows, path.read_text(encoding="utf-8") if path.exists() else ""), encoding="utf-8")

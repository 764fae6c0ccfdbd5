"""Tables that go into a file look as rich draws them, with rich or without."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from kafkeep.cli.render import Grid, HumanOutput, plain_rows
from kafkeep.cli.text import Redactor

CELLS = st.text(st.sampled_from("ab c.,[]/:#\\-\"'\x1b\té1表"), max_size=8)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    """Of any few columns, headed and filled with anything."""
    columns = draw(st.integers(1, 4))
    row = st.lists(CELLS, min_size=columns, max_size=columns).map(tuple)
    heads = tuple(draw(st.sampled_from(["", ">"])) + head for head in draw(row))
    return Grid(heads, tuple(draw(st.lists(row, max_size=4))), title=draw(st.sampled_from(["", "title"])))


def shown(grid: Grid, *, rich: bool) -> str:
    out = io.StringIO()
    output = HumanOutput(out, io.StringIO(), verbosity=0, redact=Redactor(), clock=lambda: 0.0, rich=rich)
    output.show(grid)
    return out.getvalue()


@given(grids())
def test_tables_are_the_same_either_way(grid: Grid) -> None:
    assert shown(grid, rich=False) == shown(grid, rich=True)


def test_the_usual_table_needs_no_rich() -> None:
    grid = Grid((">point", "name", ">topics"), (("1", "nightly", "12"), ("12", "", "3")))
    assert plain_rows(grid, str) == ["point  name     topics", "    1  nightly      12", "   12                3"]
    assert shown(grid, rich=True) == "\n".join(plain_rows(grid, str) or ()) + "\n"


def test_what_is_not_plain_is_left_to_rich() -> None:
    for grid in (Grid(("a",), (("表",),)), Grid(("a",), (("x" * 10_001,),)), Grid(("a",), ((" x",),)), Grid((), ())):
        assert plain_rows(grid, str) is None

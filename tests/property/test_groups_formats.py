"""What is written as a file is read back as it was."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from kafkeep.errors import UsageError
from kafkeep.groups.formats import read_positions, write_csv, write_json
from kafkeep.model import TopicPartition
from kafkeep.position_files import FilePosition

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
TOPICS = st.text("abc.-_019", min_size=1, max_size=6)
POSITIONS = st.builds(
    FilePosition,
    NAMES,
    st.builds(TopicPartition, TOPICS, st.integers(0, 2**31 - 1)),
    st.integers(0, 2**63 - 1),
    st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10),
)
LISTS = st.lists(POSITIONS, min_size=1, max_size=8, unique_by=lambda p: (p.group_id, p.target))


@given(LISTS)
def test_json_holds_everything(positions: list[FilePosition]) -> None:
    written = write_json(iter(positions))
    assert read_positions(written.text, "x.json") == tuple(positions)
    assert written.warnings == ()


@given(LISTS)
def test_csv_holds_all_but_strings_and_line_breaks(positions: list[FilePosition]) -> None:
    written = write_csv(iter(positions))
    fit = [p for p in positions if not {"\r", "\n"} & set(p.group_id)]
    assert written.positions == len(fit)
    assert bool(written.warnings) == (len(fit) < len(positions) or any(p.metadata for p in fit))
    assert all("\r" not in line for line in io.StringIO(written.text, newline="\n"))
    if fit:
        expected = tuple(FilePosition(p.group_id, p.target, p.offset) for p in fit)
        assert read_positions(written.text, "x.csv") == expected


@given(st.text(max_size=60) | st.text('[]{}",\n0123456789ag:', max_size=60), st.sampled_from(["x", "x.csv", "x.json"]))
def test_any_text_is_read_or_refused_with_a_message(text: str, name: str) -> None:
    try:
        found = read_positions(text, name, group="g")
    except UsageError as error:
        assert name in error.message
    else:
        assert found and all(p.offset >= 0 for p in found)

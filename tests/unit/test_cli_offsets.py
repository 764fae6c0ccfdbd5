"""`restore --offsets FILE`, and how it goes with the options beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkeep.cli.offsets_file import MAX_OFFSET, Offsets, merged_offsets, read_offsets
from kafkeep.cli.restore import restore, restore_options
from kafkeep.cli.selectors import MAX_PARTITION
from kafkeep.errors import UsageError
from kafkeep.model import TopicPartition

A0, A1, B0 = TopicPartition("a", 0), TopicPartition("a", 1), TopicPartition("b", 0)
OFFSET = st.none() | st.integers(0, MAX_OFFSET)
NAMES = st.text("ab,\"' ._-", min_size=1, max_size=6)
LINES = st.dictionaries(
    st.builds(TopicPartition, NAMES, st.integers(0, MAX_PARTITION)), st.tuples(OFFSET, OFFSET), min_size=1, max_size=6
)


def test_kafkas_own_form() -> None:
    assert read_offsets("a,0,25\n\nb,0,7\n", "x.csv") == Offsets({}, {A0: 25, B0: 7})


def test_both_ends() -> None:
    text = 'a,0,3,25\r\n"a",1,,8\nb,0,9,\n'
    assert read_offsets(text, "offsets") == Offsets({A0: 3, B0: 9}, {A0: 25, A1: 8})


def test_json() -> None:
    text = json.dumps(
        [
            {"topic": "a", "partition": 0, "from": 3, "until": 25},
            {"topic": "a", "partition": 1, "until": 0, "from": None},
            {"topic": "b", "partition": 0},
        ]
    )
    assert read_offsets(text, "offsets") == read_offsets(text, "x.json") == Offsets({A0: 3}, {A0: 25, A1: 0})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no partition"),
        ("a,0\n", "x.csv line 1 has 2 columns"),
        ("a,0,1\ngroup,a,0,1,2\n", "x.csv line 2 has 5 columns"),
        ("topic,partition,until\n", "x.csv line 1: 'partition' is not a number"),
        ("group,a,0,25\n", "x.csv line 1: 'a' is not a number"),
        ("a,0,-1\n", "x.csv line 1: '-1' is not a number"),
        ("a,0, 1\n", "line 1: ' 1' is not a number"),
        ("a,0,\n", "x.csv line 1 names no offset"),
        ("a,0,٣\n", "is not a number"),
        (f"a,0,{2**63}\n", "line 1: a partition or an offset is out of range"),
        (f"a,{2**31},1\n", "line 1: a partition or an offset is out of range"),
        (",0,1\n", "line 1 has an empty topic"),
        ("a,0,1\nb,0,1\na,0,1\n", "x.csv line 3 names a/0 a second time"),
        ("a,0,8,7\n", "x.csv line 1: 8 to 7 ends before it begins"),
        ('a,0,"1\n', "x.csv line 1 is not CSV"),
    ],
)
def test_what_is_no_csv_of_offsets(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        read_offsets(text, "x.csv")
    assert "topic,partition,until" in raised.value.hint


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "x.json is not JSON"),
        ("{}", "x.json is not a list"),
        ("[]", "x.json names no partition"),
        ("[1]", "x.json entry 1 is no object"),
        ('[{"topic": "a"}]', "entry 1 is no object with topic and partition"),
        ('[{"topic": "a", "partition": 0}, {"topic": "a", "partition": 1, "offset": 3}]', "entry 2 .* 'offset'"),
        ('[{"topic": "a", "partition": true}]', "are numbers"),
        ('[{"topic": "a", "partition": 0, "from": "1"}]', "are numbers"),
        ('[{"topic": "a", "partition": 0, "from": 1.0}]', "are numbers"),
        ('[{"topic": 5, "partition": 0}]', "topic is a text"),
        ('[{"topic": "a", "partition": -1}]', "out of range"),
        ('[{"topic": "a", "partition": 0, "until": -1}]', "out of range"),
        ('[{"topic": "a", "partition": 0, "from": 2, "until": 1}]', "ends before it begins"),
        ('[{"topic": "a", "partition": 0}, {"topic": "a", "partition": 0}]', "entry 2 names a/0 a second time"),
    ],
)
def test_what_is_no_json_of_offsets(value: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_offsets(value, "x.json")


@given(LINES)
def test_what_is_written_is_read(lines: dict[TopicPartition, tuple[int | None, int | None]]) -> None:
    ordered = {tp: (b, e) if b is None or e is None or b <= e else (e, b) for tp, (b, e) in lines.items()}
    wanted = Offsets(
        {tp: b for tp, (b, _) in ordered.items() if b is not None},
        {tp: e for tp, (_, e) in ordered.items() if e is not None},
    )
    quoted = "".join(
        '"{}",{},{},{}\n'.format(
            tp.topic.replace('"', '""'), tp.partition, "" if begin is None else begin, "" if end is None else end
        )
        for tp, (begin, end) in ordered.items()
    )
    assert read_offsets(quoted, "x.csv") == wanted
    listed = [
        {"topic": tp.topic, "partition": tp.partition, "from": begin, "until": end}
        for tp, (begin, end) in ordered.items()
    ]
    assert read_offsets(json.dumps(listed), "x.json") == wanted


def test_options_beside_a_file() -> None:
    file = Offsets({A0: 3}, {A0: 25})
    assert merged_offsets(file, "f", [(A1, 4)], [(B0, 9)]) == Offsets({A0: 3, A1: 4}, {A0: 25, B0: 9})
    assert merged_offsets(file, "f", [(A0, 3)], []) == file
    with pytest.raises(UsageError, match="--from-offset says 4 for a/0, --offsets f says 3"):
        merged_offsets(file, "f", [(A0, 4)], [])
    with pytest.raises(UsageError, match="--until-offset says 4 for a/0, --offsets f says 25"):
        merged_offsets(file, "f", [], [(A0, 4)])
    with pytest.raises(UsageError, match="--until-offset says 5 for b/0, --until-offset says 4"):
        merged_offsets(file, "f", [], [(B0, 4), (B0, 5)])
    with pytest.raises(UsageError, match="a/1 would begin at 5 and end at 4"):
        merged_offsets(file, "f", [(A1, 5)], [(A1, 4)])


# --- the options together

AT = datetime(2026, 11, 20, 10, tzinfo=UTC)
GIVEN: dict[str, Any] = dict(
    # click keeps the first help option that is asked for: it must be the one that all commands have.
    restore.make_context("restore", ["1", "--repo", "r", "--cluster", "c"], help_option_names=["-h", "--help"]).params
)
"""What the command hands on when nothing is said."""


def test_a_file_becomes_the_operations_offsets(tmp_path: Path) -> None:
    path = tmp_path / "offsets.csv"
    path.write_bytes(b"\xef\xbb\xbfa,0,3,25\na,1,,8\n")
    options = restore_options(GIVEN | {"offsets_file": path, "until_offsets": ((B0, 1),), "allow_loss": "skip"})
    assert (options.from_offsets, options.until_offsets) == (((A0, 3),), ((A0, 25), (A1, 8), (B0, 1)))
    assert options.allow_loss == "skip"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "cannot be read"),
        (lambda path: path.write_bytes(b"a,0,1\n\xff"), "is not UTF-8 at byte 6"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    path = tmp_path / "offsets.csv"
    make(path)
    with pytest.raises(UsageError, match=message):
        restore_options(GIVEN | {"offsets_file": path})


def test_times() -> None:
    options = restore_options(GIVEN | {"since": AT, "until": AT, "until_rule": "filter"})
    assert options.since_timestamp == options.until_timestamp == 1_795_168_800_000
    assert options.until_rule == "filter"
    with pytest.raises(UsageError, match=r"--since .* is later than --until"):
        restore_options(GIVEN | {"since": AT, "until": AT.replace(hour=9)})
    with pytest.raises(UsageError, match="--until-rule filter says how times are meant"):
        restore_options(GIVEN | {"until_rule": "filter"})

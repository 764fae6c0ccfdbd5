"""Positions as files: exactly the lines that Kafka's tool writes, and a message for every file that is not such."""

from __future__ import annotations

import json

import pytest

from kafkeep.errors import UsageError
from kafkeep.groups.formats import Written, positions_of_plan, read_positions, write_csv, write_json
from kafkeep.groups.plan import GroupsPlan, PlannedGroup, PlannedPosition
from kafkeep.model import TopicPartition
from kafkeep.position_files import FilePosition

ORDERS = TopicPartition("orders", 3)
POSITIONS = [
    FilePosition("a", ORDERS, 0),
    FilePosition('with "quotes", commas', TopicPartition("t.x", 0), 2**63 - 1, "m"),
    FilePosition("share", ORDERS, 5, None, share=True),
]


def test_csv_is_what_kafkas_tool_reads() -> None:
    written = write_csv(iter(POSITIONS))
    assert written.text == f'a,orders,3,0\n"with ""quotes"", commas",t.x,0,{2**63 - 1}\n'
    assert written.positions == 2
    assert ["metadata" in warning for warning in written.warnings] == [True, False]
    assert "share groups" in written.warnings[1]


@pytest.mark.parametrize("name", ["a\nb", "a\rb"])
def test_a_group_that_kafkas_tool_cannot_read_is_left_out(name: str) -> None:
    written = write_csv(iter([FilePosition(name, ORDERS, 1), FilePosition("b", ORDERS, 2)]))
    assert written.text == "b,orders,3,2\n"
    assert "line breaks" in written.warnings[0]


def test_json_is_a_list_of_objects_one_a_line() -> None:
    written = write_json(iter(POSITIONS))
    assert json.loads(written.text) == [
        {"group": "a", "topic": "orders", "partition": 3, "offset": 0},
        {"group": 'with "quotes", commas', "topic": "t.x", "partition": 0, "offset": 2**63 - 1, "metadata": "m"},
        {"group": "share", "topic": "orders", "partition": 3, "offset": 5, "type": "share"},
    ]
    assert len(written.text.splitlines()) == 5
    assert write_json(iter(())) == Written("[\n]\n", 0, ())


def test_kafkas_own_lines_are_read() -> None:
    """With a group in front, or without where the export was about one group; the tool ends with an empty line."""
    assert read_positions("g,orders,3,7\n\n", "x.csv") == (FilePosition("g", ORDERS, 7),)
    assert read_positions("orders,3,7\n\n", "x.csv", group="g") == (FilePosition("g", ORDERS, 7),)
    quoted = read_positions('" lead",orders,3,7\r\n"with,comma","orders",3,8\r\n', "x.csv")
    assert [position.group_id for position in quoted] == [" lead", "with,comma"]


def test_the_form_is_told_by_the_name_or_by_the_text() -> None:
    one = (FilePosition("g", ORDERS, 7),)
    text = '[{"group":"g","topic":"orders","partition":3,"offset":7,"type":"consumer"}]'
    assert read_positions(text, "x.json") == read_positions(text, "positions") == one
    assert read_positions("g,orders,3,7", "positions") == one
    assert read_positions("[g,orders,3,7", "x.csv") == (FilePosition("[g", ORDERS, 7),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no position"),
        ("\n\n", "holds no position"),
        ("g,orders,3", "line 1: 'orders' is not a number"),
        ("g,orders,3,7\norders,3,8", "line 2"),
        ("g,orders,3,7,8", "5 columns"),
        ("group,topic,partition,offset", "'partition' is not a number"),
        ("g,orders,3,-1", "'-1' is not a number"),
        ("g,orders,3, 7", "' 7' is not a number"),
        ("g,orders,3,7.0", "'7.0'"),
        ("g,orders,3,\u0667", "is not a number"),
        ("g,orders,3,9999999999999999999", "out of range"),
        ("g,orders,2147483648,7", "out of range"),
        (",orders,3,7", "empty name"),
        ("g,,3,7", "empty name"),
        ('g,"orders,3,7', "not CSV"),
        ("g,orders,3,7\ng,orders,3,8", "sets orders/3 of group g twice"),
    ],
)
def test_csv_that_is_no_list_of_positions(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=r"x\.csv") as caught:
        read_positions(text, "x.csv", group="g" if text == "g,orders,3" else None)
    assert words in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"group":"g"}', "not a list"),
        ("[]", "holds no position"),
        ("[1]", "entry 1"),
        ('[{"group":"g","topic":"t","partition":0}]', "entry 1"),
        ('[{"group":"g","topic":"t","partition":0,"offset":1,"extra":1}]', "unknown key 'extra'"),
        ('[{"group":"g","topic":"t","partition":"0","offset":1}]', "entry 1"),
        ('[{"group":"g","topic":"t","partition":true,"offset":1}]', "entry 1"),
        ('[{"group":"g","topic":"t","partition":0,"offset":1.5}]', "entry 1"),
        ('[{"group":null,"topic":"t","partition":0,"offset":1}]', "entry 1"),
        ('[{"group":"g","topic":"t","partition":-1,"offset":1}]', "out of range"),
        ('[{"group":"g","topic":"t","partition":0,"offset":-1}]', "out of range"),
        ('[{"group":"g","topic":"t","partition":0,"offset":1,"type":"odd"}]', "no type of group"),
        ('[{"group":"\\ud800","topic":"t","partition":0,"offset":1}]', "no Unicode"),
        ('[{"group":"g","topic":"t","partition":0,"offset":1,"metadata":"%s"}]' % ("m" * 2**15), "too long"),
        (
            (
                '[{"group":"g","topic":"t","partition":0,"offset":1,"type":"share"},'
                '{"group":"g","topic":"t","partition":1,"offset":1}]'
            ),
            "share group only in places",
        ),
    ],
)
def test_json_that_is_no_list_of_positions(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=r"x\.json") as caught:
        read_positions(text, "x.json")
    assert words in caught.value.message


def planned(action: str, offset: int | None) -> PlannedPosition:
    return PlannedPosition(
        target=ORDERS,
        source=None,
        committed=None,
        place="given",
        note="",
        offset=offset,
        metadata="m",
        current=None,
        action=action,
    )


def test_a_plan_is_written_as_it_leaves_the_groups() -> None:
    group = PlannedGroup(
        group_id="g",
        source="g",
        kind="offsets",
        type="classic",
        state="Empty",
        positions=(planned("set", 1), planned("unchanged", 2), planned("refused", 3), planned("delete", None)),
    )
    plan = GroupsPlan(
        operation="apply", origin="", point=1, target_cluster="c", groups=(group,), warnings=(), refusals=()
    )
    assert [position.offset for position in positions_of_plan(plan)] == [1, 2]

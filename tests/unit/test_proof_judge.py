"""The judge of tests/proof finds every way in which records can be wrong."""

from __future__ import annotations

import json

import pytest
from tests.support.proof import CASES, JAVA, Proof, Row, Verdict, add_packed, judge, packed, table

EXPECTED = {0: [b"a", b"b", b"c", b"d"], 1: [b"x", b"x", b"y"]}


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (EXPECTED, Verdict(7)),
        ({0: [b"a", b"c", b"d"], 1: EXPECTED[1]}, Verdict(7, lost=1)),
        ({0: EXPECTED[0]}, Verdict(7, lost=3)),
        ({0: [b"a", b"b", b"b", b"c", b"d"], 1: EXPECTED[1]}, Verdict(7, duplicated=1)),
        ({0: EXPECTED[0], 1: [b"x", b"y"]}, Verdict(7, lost=1)),
        ({0: EXPECTED[0], 1: [b"x", b"x", b"x", b"y"]}, Verdict(7, duplicated=1)),
        ({0: [b"a", b"c", b"b", b"d"], 1: EXPECTED[1]}, Verdict(7, reordered=1)),
        ({0: [b"d", b"a", b"b", b"c"], 1: EXPECTED[1]}, Verdict(7, reordered=3)),
        ({0: [b"a", b"B", b"c", b"d"], 1: EXPECTED[1]}, Verdict(7, altered=1)),
        ({0: [b"a", b"b", b"c", b"d", b"new"], 1: EXPECTED[1]}, Verdict(7, altered=1)),
        ({0: [b"a", b"b", b"undone", b"c", b"d"], 1: EXPECTED[1]}, Verdict(7, aborted_visible=1)),
        ({0: EXPECTED[0], 1: EXPECTED[1], 2: [b"z"]}, Verdict(7, altered=1)),
        ({0: EXPECTED[1], 1: EXPECTED[0]}, Verdict(7, lost=1, altered=7)),
    ],
)
def test_each_way_of_being_wrong(found: dict[int, list[bytes]], verdict: Verdict) -> None:
    assert judge(EXPECTED, found, aborted={b"undone"}) == verdict
    assert verdict.exact == (found == EXPECTED)


def test_a_proof_of_nothing_is_none() -> None:
    proof = Proof({}, ["aborted"], "test_x.py::test_y")
    with pytest.raises(AssertionError, match="nothing was judged"):
        proof.same({0: []}, {0: []})
    with pytest.raises(AssertionError, match=r"partition 0, record 1: b'b' was expected, b'c' found"):
        proof.same(EXPECTED, {0: [b"a", b"c", b"d"], 1: EXPECTED[1]})


def test_the_table_adds_up_and_needs_every_case() -> None:
    rows: dict[str, Row] = {}
    for case in CASES:
        proof = Proof(rows, [case.slug], "test_x.py::test_y")
        proof.on("4.3.1")
        proof.same(EXPECTED, EXPECTED)
        proof.same({0: [b"a"] * 1200}, {0: [b"a"] * 1200})
        proof.same(EXPECTED, EXPECTED, by=JAVA, count=False)
        proof.figures(kills=5)
    lines = table(rows).splitlines()[-len(CASES) :]
    assert all(
        "| 1\N{NO-BREAK SPACE}207 | 0 | 0 | 0 | 0 | 0 | 5 kills | `test_x.py::test_y` |" in line for line in lines
    )
    assert all("| confluent-kafka, Java console consumer |" in line for line in lines)
    rows.popitem()
    with pytest.raises(KeyError):
        table(rows)


def test_what_several_processes_proved_adds_up() -> None:
    apart: list[dict[str, Row]] = [{}, {}]
    together: dict[str, Row] = {}
    for number, version in enumerate(("3.9.2", "4.3.1")):
        for rows in (apart[number], together):
            proof = Proof(rows, ["aborted"], f"test_x.py::test_{number}")
            proof.on(version)
            proof.same({0: [b"a"] * (number + 1)}, {0: [b"a"] * (number + 1)}, by=JAVA)
            proof.figures(kills=number + 2, commits=1)
    other = Proof(apart[1], ["window"], "test_x.py::test_z")
    other.same(EXPECTED, EXPECTED)
    added: dict[str, Row] = {}
    for rows in apart:
        add_packed(added, json.loads(json.dumps(packed(rows))))
    assert added["aborted"] == together["aborted"]
    assert added["aborted"].verdict == Verdict(3) and added["aborted"].figures == {"kills": 5, "commits": 2}
    assert added["window"] == apart[1]["window"]

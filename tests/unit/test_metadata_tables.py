"""What people see of differences and plans: nothing wider than their terminal, nothing hidden that is not said."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from tests.support.images import rich_image

from kafkeep.cli.jsonable import line, to_json
from kafkeep.cli.metadata_tables import LONGEST_BRIEF, mark_of, parted, value_text
from kafkeep.cli.metadata_text import SHOWN, diff_parts, export_parts, plan_parts, result_parts
from kafkeep.cli.render import Grid, HumanOutput, Part
from kafkeep.cli.text import Redactor
from kafkeep.inventory import Inventory
from kafkeep.metadata.apply import MetadataResult, StepResult
from kafkeep.metadata.differences import Difference, ImageDifferences, compare_images
from kafkeep.metadata.image import ClusterImage
from kafkeep.metadata.options import ApplyOptions
from kafkeep.metadata.plan import LeftOut, MetadataPlan
from kafkeep.metadata.planning import Abilities, plan_metadata
from kafkeep.model import Failure, TopicMetadata, TopicPartition

LONG = ",".join(f"{number}:{replica}" for number in range(60) for replica in (1, 2, 3))
NAME = "team-payments.orders.customer-events-with-a-long-name.v1"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def ordinary_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for variable in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(variable, raising=False)


def shown(parts: tuple[Part, ...], out: io.StringIO, *, colour: bool = True) -> str:
    output = HumanOutput(out, io.StringIO(), verbosity=0, redact=Redactor(), clock=lambda: 0.0, colour=colour)
    output.show(*parts)
    return out.getvalue()


def changed() -> tuple[ClusterImage, ClusterImage]:
    """Two images that differ in every way that has a look of its own."""
    left = rich_image(topics=(*rich_image().topics, TopicMetadata(NAME, "i" * 22, False, ((1, 2),), (("a", LONG),))))
    configs = tuple(sorted({"cleanup.policy": "", "x": "1"}.items()))
    orders = replace(left.topics[1], configs=configs, partitions=((1, 2),) * 3, topic_id="z" * 22)
    right = rich_image(
        origin="cluster production-eu",
        topics=(left.topics[0], orders, replace(left.topics[2], configs=(("a", f"{LONG},60:1"),))),
        groups=left.groups[:1],
        ends={TopicPartition("orders", 0): 19},
    )
    return left, replace(right, inventory=replace(right.inventory, acls=right.inventory.acls[:1]))


def rows(parts: tuple[Part, ...]) -> dict[str, tuple[tuple[str, ...], ...]]:
    return {part.heads[1]: part.rows for part in parts if isinstance(part, Grid)}


def test_differences_are_told_part_by_part_with_lag_in_columns() -> None:
    parts = diff_parts(compare_images(*changed()))
    tables = rows(parts)
    assert tables["topics"] == (("", "orders", "", ""), ("~", "  partitions", "2", "3"))
    assert tables["topic-configs"][:3] == (
        ("", "orders", "", ""),
        ("~", "  cleanup.policy", "compact,delete", '""'),
        ("-", "  leader.replication.throttled.replicas", "0:1", "not set"),
    )
    assert ("+", "  x", "not set", "1") in tables["topic-configs"]
    assert tables["acls"] == (
        ("", "TOPIC PREFIXED orders"),
        ("-", "  User:bob DENY WRITE from 10.0.0.1"),
    ), "what is there or not needs no columns"
    assert tables["positions"] == (
        ("", "billing", "", "", "", ""),
        ("~", "  orders/0", "5", "4", "5", "14"),
        ("-", "shared", "", "", "", ""),
    )
    told = [part for part in parts if isinstance(part, str)]
    assert told[0].startswith("left: recovery point 7; right: cluster production-eu; + only right")
    assert "made anew, or of another cluster (another topic id): orders" in told
    assert told[-1].startswith("9 differences (1 only right, 4 only left, 4 another value): ")


@pytest.mark.parametrize("width", [80, 160])
def test_nothing_is_wider_than_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    left, right = changed()
    plan = plan_metadata(left, right, ApplyOptions(existing="align", prune_extra=True), Abilities())
    result = MetadataResult(plan=plan, steps=tuple(StepResult(step, None) for step in plan.steps))
    grids = [
        part
        for parts in (
            diff_parts(compare_images(left, right), brief=True),
            plan_parts(plan, brief=True),
            result_parts(result),
        )
        for part in parts
        if isinstance(part, Grid)
    ]
    lines = shown(tuple(grids), Terminal(), colour=False).splitlines()
    plain = [text.replace("\x1b[1m", "").replace("\x1b[0m", "") for text in lines]
    assert max(map(cell_len, plain)) <= width
    if width == 160:
        assert any(NAME in text for text in plain), "a name is not broken where there is room for it"


def test_long_values_are_shortened_on_a_terminal_only_and_never_in_json() -> None:
    found = compare_images(*changed())
    brief, whole = diff_parts(found, brief=True), diff_parts(found)
    assert rows(brief)["topic-configs"][-1] == ("~", "  a", "…9:2,59:3", "…9:2,59:3,60:1")
    assert rows(whole)["topic-configs"][-1] == ("~", "  a", LONG, f"{LONG},60:1")
    said = "long values are shortened; --json has them whole"
    assert said in brief and said not in whole
    told = json.loads(line(to_json(found)))["differences"]
    assert [one["left"] for one in told if one["key"] == "a"] == [LONG]
    lags = [(one["left"], one["left_lag"], one["right_lag"]) for one in told if one["key"] == "orders/0"]
    assert lags == [("5", 4, 14)]


def test_colours_are_for_terminals_and_for_those_who_want_them() -> None:
    parts = diff_parts(compare_images(*changed()))
    coloured = shown(parts, Terminal())
    for sequence in ("\x1b[31m-", "\x1b[32m+", "\x1b[33m~"):
        assert sequence in coloured
    for plain in (shown(parts, Terminal(), colour=False), shown(parts, io.StringIO())):
        assert not [sequence for sequence in ("\x1b[31m", "\x1b[32m", "\x1b[33m") if sequence in plain]
    piped = shown(parts, io.StringIO())
    assert "\x1b" not in piped and any(LONG in text for text in piped.splitlines())


def test_a_plan_of_things_to_make_has_one_column_of_values() -> None:
    left, _ = changed()
    empty = replace(left, origin="cluster new", topics=(), inventory=Inventory())
    plan = plan_metadata(left, empty, ApplyOptions(), Abilities())
    tables = rows(plan_parts(plan))
    assert tables["topics"] == (
        ("+", "orders", "2 partitions x 2 replicas, placed as before"),
        ("+", "  cleanup.policy", "compact,delete"),
        ("+", "  min.insync.replicas", "1"),
        ("+", NAME, "1 partition x 2 replicas, placed as before"),
        ("+", "  a", LONG),
    )
    assert all(len(row) == 2 for row in tables["acls"])


def test_what_is_not_shown_is_counted() -> None:
    many = SHOWN + 7
    differences = tuple(
        Difference("acls", f"TOPIC LITERAL {number:04d}", "x", "present", None) for number in range(many)
    )
    found = ImageDifferences(left="a", right="b", differences=differences, information=(), not_compared=(), hidden=())
    assert "and 7 more differences; --json has all" in diff_parts(found)
    left = tuple(LeftOut("acls", str(number), "so", missing=number == many - 1) for number in range(many))
    plan = MetadataPlan(
        origin="a",
        target="b",
        source_cluster="",
        target_cluster="",
        steps=(),
        left_out=left,
        unchanged=(),
        refusals=left,
    )
    parts = plan_parts(plan)
    assert parts.count("and 7 more; --json has all") == 2 and "1 of these will be missing on the target" in parts
    (table, _) = [part for part in parts if isinstance(part, Grid)]
    assert table.rows[0][1] == str(many - 1), "what will be missing comes first"
    steps = plan_metadata(*changed(), ApplyOptions(existing="align"), Abilities()).steps[:1] * many
    failed = tuple(StepResult(step, Failure("x", "kafka", "no")) for step in steps)
    result = MetadataResult(plan=replace(plan, steps=steps, left_out=(), refusals=()), steps=failed)
    assert "and 7 more; --json has all" in result_parts(result)
    assert "and 7 more steps; --json has all" in plan_parts(replace(plan, steps=steps))


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=200))
def test_two_values_that_differ_look_different_when_they_are_shortened(common: str, left: str, right: str) -> None:
    before, after = common + left, common + right
    one, other = parted(before, after)
    assert (one == other) == (before == after)
    for value, told in ((before, one), (after, other)):
        assert told is not None and len(told) <= LONGEST_BRIEF + 1 + len(" (400 characters)")
        assert told == value or "…" in told
    assert parted(None, before)[0] is None and parted(before, None)[1] is None


def test_what_needs_no_making_up_for_is_told_and_not_counted() -> None:
    left, _ = changed()
    again = tuple(
        replace(topic, topic_id="z" * 22)
        for topic in (*left.topics, *(replace(left.topics[2], name=f"t{n}") for n in range(4)))
    )
    found = compare_images(
        replace(left, topics=tuple(replace(topic, topic_id="y" * 22) for topic in again)), replace(left, topics=again)
    )
    told = "made anew, or of another cluster (another topic id): __consumer_offsets, orders, t0, t1, t2 and 2 more"
    assert diff_parts(found)[-2] == told and str(diff_parts(found)[-1]).startswith("nothing differs")


def test_an_export_tells_where_its_files_are_and_how_to_verify_them() -> None:
    fixed, folder = [Path("out/acls.txt"), Path("out/quotas.txt")], Path("out")
    few = [*fixed, *(Path(f"out/offsets-{number}.txt") for number in range(3))]
    many = [*fixed, *(Path(f"out/offsets-{number}.txt") for number in range(2000))]
    assert export_parts(few, folder)[:6] == (*map(str, few), "5 files in out")
    told = export_parts(many, folder)
    assert told[:4] == (*map(str, fixed), "out/offsets-GROUP.txt: 2 000 groups", "2 002 files in out")
    assert "kafkeep metadata diff" in str(told[-1])


def test_an_empty_value_is_not_an_absent_one() -> None:
    assert value_text("") == '""' and value_text(None) == "not set"
    assert [mark_of(*pair) for pair in ((None, ""), ("", None), ("", "x"))] == ["+", "-", "~"]


def test_no_name_moves_the_cursor_or_forges_a_line() -> None:
    left, right = changed()
    evil = replace(left.topics[2], name="evil\x1b[2J\nFORGED")
    text = shown(diff_parts(compare_images(replace(left, topics=(*left.topics[:2], evil)), right)), Terminal())
    assert "\x1b[2J" not in text and "\\x1b[2J\\x0aFORGED" in text
    assert not [row for row in text.splitlines() if row.startswith("FORGED")]

"""What `kafkeep groups` tells: exit statuses, tables, JSON, and the calls it refuses before anything is opened."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click
import pytest

from kafkeep.cli.common import Stop
from kafkeep.cli.group_text import (
    SHOWN,
    outcome_of,
    plan_parts,
    plan_status,
    position_lines,
    result_parts,
    result_status,
    summary_of,
)
from kafkeep.cli.groups import CONNECTIONS, FORMATS, apply, group_options, plan, rollback
from kafkeep.cli.jsonable import line, to_json
from kafkeep.cli.main import main
from kafkeep.cli.render import Part
from kafkeep.groups.options import IN_GAP, GroupOptions
from kafkeep.groups.plan import ACTIONS, GroupsPlan, PlannedGroup, PlannedPosition, Refusal
from kafkeep.groups.result import GroupsResult, PositionDifference
from kafkeep.model import Failure, GroupOffset, TopicPartition

T0, T1 = TopicPartition("orders", 0), TopicPartition("orders", 1)


def position(action: str, target: TopicPartition = T0, refusal: str = "") -> PlannedPosition:
    return PlannedPosition(
        target=target,
        source=T0,
        committed=120,
        place="exact",
        note="",
        offset=None if action == "delete" else 20,
        metadata="m",
        current=GroupOffset(target, 7, -1, ""),
        action=action,
        refusal=refusal,
    )


def group(name: str, *positions: PlannedPosition) -> PlannedGroup:
    return PlannedGroup(group_id=name, source=name, kind="offsets", type="consumer", state="Empty", positions=positions)


REFUSAL = Refusal("backwards", "group b", "group b would move backwards", "Allow it with --backwards.")
PLAN = GroupsPlan(
    operation="apply",
    origin="recovery point 7",
    point=7,
    target_cluster="target",
    groups=(
        group("a", position("set"), position("unchanged", T1)),
        group("b", position("refused", T0, "backwards")),
    ),
    warnings=("mind the gap",),
    refusals=(REFUSAL,),
)
RESULT = GroupsResult(
    operation="apply",
    job="audit/2026-11-21/x",
    target_cluster="target",
    groups=1,
    positions=1,
    done=frozenset({"a"}),
    unchanged=1,
    refused=1,
    failures=(),
    differences=(),
    interrupted=False,
    seconds=1.5,
)


def shown(parts: tuple[Part, ...]) -> str:
    lines: list[str] = []
    for part in parts:
        lines += [part] if isinstance(part, str) else [" | ".join(row) for row in (part.heads, *part.rows)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("groups", "refusals", "status"),
    [
        (PLAN.groups, (REFUSAL,), 3),
        (PLAN.groups[:1], (), 0),
        (PLAN.groups[1:], (REFUSAL,), 24),
        ((group("a", position("unchanged")),), (), 4),
        ((group("a", position("unchanged")),), (REFUSAL,), 24),
    ],
)
def test_a_plan_ends_as_carrying_it_out_would(
    groups: tuple[PlannedGroup, ...], refusals: tuple[Refusal, ...], status: int
) -> None:
    assert plan_status(replace(PLAN, groups=groups, refusals=refusals)) == status


@pytest.mark.parametrize(
    ("change", "number", "status"),
    [
        ({}, None, 0),
        ({"refusals": (REFUSAL,)}, None, 3),
        ({"failures": (Failure("group a", "x", "y"),)}, None, 3),
        ({"differences": (PositionDifference("a", T0, 20, 7),), "refusals": (REFUSAL,)}, None, 22),
        ({"job": ""}, None, 4),
        ({"interrupted": True}, 15, 143),
        ({"interrupted": True}, None, 3),
    ],
)
def test_the_status_of_a_result(change: dict[str, object], number: int | None, status: int) -> None:
    stop = Stop()
    stop.number = number
    plan = replace(PLAN, refusals=change.pop("refusals", ()))  # type: ignore[arg-type]
    assert result_status(plan, replace(RESULT, **change), stop) == status  # type: ignore[arg-type]


def test_a_plan_for_people() -> None:
    text = shown(plan_parts(PLAN))
    assert "recovery point 7 onto cluster target: 2 groups" in text
    assert text.index("b | Empty | orders/0 | 120 | exact | 7 | 20 | refused: backwards") < text.index("a | Empty")
    assert "warning: mind the gap" in text
    assert "refused: group b would move backwards (backwards). Allow it with --backwards." in text
    assert "1 to set, 1 right already, 1 refused" in text


def test_long_plans_are_cut_for_people_and_say_so() -> None:
    many = replace(PLAN, groups=tuple(group(f"g{number}", position("set")) for number in range(SHOWN + 5)))
    text = shown(plan_parts(many))
    assert "and 5 more; --json gives all of them" in text
    assert len(list(position_lines(many))) == SHOWN + 5


def test_a_result_for_people() -> None:
    failed = replace(RESULT, failures=(Failure("group c", "UNKNOWN_MEMBER_ID", "group c: refused"),), interrupted=True)
    text = shown(result_parts(PLAN, failed))
    assert "group c | UNKNOWN_MEMBER_ID" in text
    assert "ended early: 1 position of 1 group changed and read back" in text
    assert "kafkeep groups rollback audit/2026-11-21/x" in text
    wrong = replace(RESULT, done=frozenset(), differences=(PositionDifference("a", T0, 20, None),))
    assert "a | orders/0 | 20 | " in shown(result_parts(PLAN, wrong))
    assert "nothing to do: 1 position of 2 groups" in shown(result_parts(PLAN, replace(RESULT, job="")))


@pytest.mark.parametrize(
    ("result", "actions"),
    [
        (None, ["set", "unchanged", "refused"]),
        (RESULT, ["set", "unchanged", "refused"]),
        (replace(RESULT, done=frozenset()), ["failed", "unchanged", "refused"]),
        (
            replace(RESULT, done=frozenset(), differences=(PositionDifference("a", T0, 20, 7),)),
            ["differs", "unchanged", "refused"],
        ),
    ],
)
def test_every_position_says_what_came_of_it(result: GroupsResult | None, actions: list[str]) -> None:
    assert [found.action for found in position_lines(PLAN, result)] == actions


def test_json_has_every_field() -> None:
    told = json.loads(line(to_json(next(position_lines(PLAN)))))
    assert told["group"] == "a" and told["committed"] == 120 and told["current"] == 7 and told["offset"] == 20
    summary = json.loads(line(to_json(summary_of(PLAN))))
    assert (summary["groups"], summary["changing_groups"], summary["refused"]) == (2, 1, 1)
    assert summary["refusals"][0]["kind"] == "backwards"
    outcome = json.loads(line(to_json(outcome_of(PLAN, RESULT))))
    assert outcome["job"] == RESULT.job and "verb" not in outcome


def option(command: click.Command, name: str) -> click.Option:
    (found,) = [p for p in command.params if isinstance(p, click.Option) and name in p.opts]
    return found


def test_options_are_the_operations_own() -> None:
    for command in (plan, apply):
        choice = option(command, "--in-gap").type
        assert isinstance(choice, click.Choice) and tuple(choice.choices) == IN_GAP
        assert option(command, "--in-gap").default == GroupOptions().in_gap
    assert set(FORMATS) == {"table", "json", "csv"}
    assert option(apply, "--connections").default == option(rollback, "--connections").default == CONNECTIONS
    assert set(ACTIONS) == {"set", "delete", "unchanged", "refused"}
    given = {
        "groups": (), "topics": (), "exclude": (), "renames": ("a=b",), "group_renames": ("s/^/x-/",),
        "map_file": Path("m.json"), "restored_by": "audit/a", "backwards": True, "in_gap": "next",
    }  # fmt: skip
    options = group_options(given)
    assert (options.groups, options.topics, options.map_file) == (("*",), ("*",), "m.json")
    assert options.restored_by == "audit/a"
    assert (options.renames[0].apply("a"), options.group_renames[0].apply("g")) == ("b", "x-g")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (["groups", "apply"], "POINT, or --from-file"),
        (["groups", "apply", "1", "--from-file", "there.csv"], "POINT, or --from-file"),
        (["groups", "apply", "--from-file", "there.csv", "--rename", "a=b"], "do not go with it"),
        (["groups", "apply", "--from-file", "there.csv", "--restored-by", "none"], "do not go with it"),
        (["groups", "plan", "1", "--restored-by", "newest"], "no name of a restore"),
        (["compare", "1", "--restored-by", "newest"], "no name of a restore"),
        (["groups", "apply", "--from-file", "missing.csv"], "missing.csv"),
        (["groups", "plan", "1", "--output", "new"], "--output takes json or csv"),
        (["groups", "plan", "1", "--format", "csv", "--output", "there.csv"], "exists"),
        (["groups", "plan", "1", "--format", "csv", "--output", "no/where"], "no folder"),
        (["groups", "plan", "1", "--rename-group", "nonsense"], "nonsense"),
        (["--json", "groups", "plan", "1", "--format", "csv"], "needs --output"),
    ],
)
def test_calls_that_make_no_sense(
    call: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.csv").write_text("g,t,0,1\n")
    assert main([*call, "--repo", "./r", "--cluster", "127.0.0.1:1"]) == 2
    assert words in capsys.readouterr().err

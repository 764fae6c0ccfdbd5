"""`prune`, `pin`, `unpin`, `tag` and `verify --record` as commands, on a repository in a folder."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.repositories import backup, generation, piece
from tests.support.sweep_command import Kafkeep

from kafkeep.cli.prune import keep_rules
from kafkeep.errors import UsageError
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.local import LocalStore
from kafkeep.retention.rules import POLICIES

ORDERS = generation("orders")


@pytest.fixture
def kafkeep(tmp_path: Path) -> Kafkeep:
    """Five points in the folder `repo`, one a day, the newest of today."""
    day = datetime.now(UTC) - timedelta(days=5)
    moments = iter(day + timedelta(minutes=index * 12) for index in range(1, 600))
    with Repository.init(LocalStore(tmp_path / "repo"), now=lambda: next(moments), rng=random.Random(1)) as repository:
        for index in range(5):
            backup(repository, [piece(ORDERS, index * 6, 2)])
            for _ in range(100):
                next(moments)
    return Kafkeep(tmp_path, inside=True)


def test_a_plan_tells_a_reason_for_each_point_and_changes_nothing(kafkeep: Kafkeep) -> None:
    ended = kafkeep("prune", "--repo", "./repo", "--keep-last", "2", "--min-points", "1")
    assert ended.status == 0, ended.err
    verdicts = ended.last["verdicts"]
    assert [(verdict["point"], verdict["keep"]) for verdict in verdicts] == [
        (1, False), (2, False), (3, False), (4, True), (5, True)
    ]  # fmt: skip
    assert verdicts[4]["reasons"] == ["the newest", "one of the last 2"]
    text = kafkeep.plain("prune", "--repo", "./repo", "--keep-last", "2", "--min-points", "1").out
    assert "no rule speaks for it" in text and "3 points" in text and "to be retired" in text
    assert kafkeep("points", "--repo", "./repo").last["points"] == 5


@pytest.mark.fault("G6")
def test_points_go_come_back_and_are_pinned(kafkeep: Kafkeep) -> None:
    repo, rules = ("--repo", "./repo"), ("--keep-last", "1", "--min-points", "1")
    assert kafkeep("pin", "2", *repo, "--reason", "audit 2026", "--until-tag", "audit=done").status == 0
    assert kafkeep("tag", "3", "kind=release", *repo).status == 0
    assert kafkeep("prune", *repo, *rules, "--keep-tag", "kind", "--execute").status == 0
    listed = kafkeep.plain("points", *repo).out
    assert "pinned: audit 2026, until audit=done" in listed and "kind=release" in listed
    assert kafkeep("points", *repo).last["points"] == 3
    assert "pinned: audit 2026" in kafkeep.plain("show", "2", *repo).out
    again = kafkeep("prune", *repo, *rules, "--keep-tag", "kind", "--execute")
    assert again.status == 4, "nothing is left to do"
    assert "--undo=" in kafkeep.plain("prune", *repo, *rules, "--keep-tag", "kind").out
    assert kafkeep("prune", *repo, "--undo").last["points"] == [1, 4]
    assert kafkeep("prune", *repo, "--undo").status == 24
    assert kafkeep("unpin", "2", *repo).status == 0
    assert kafkeep("unpin", "2", *repo).status == 24
    assert kafkeep("tag", "3", *repo, "--remove", "kind").status == 0
    assert kafkeep("prune", *repo, *rules, "--keep-tag", "kind", "--execute").status == 0
    assert kafkeep("points", *repo).last["points"] == 1
    assert kafkeep("verify", *repo, "--level", "data").status == 0


def test_a_checked_point_stays(kafkeep: Kafkeep) -> None:
    repo = ("--repo", "./repo")
    assert kafkeep("verify", *repo, "--level", "exist", "--record").status == 2
    assert kafkeep("verify", *repo, "--record").status == 0
    plan = kafkeep("prune", *repo, "--keep-last", "1", "--min-points", "1").last
    assert plan["verdicts"][-1]["reasons"][-1] == "the newest that was verified"


@pytest.mark.fault("G5")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no rule says what to keep"),
        (("--keep-last", "0"), "no rule says what to keep"),
        (("--keep-last", "1", "--execute", "--i-mean-it", "yes"), "not the id of this repository"),
        (("--undo=soon",), "not the number of a commit"),
        (("--keep-tag", "=release"), "neither key nor key=value"),
    ],
)
def test_what_cannot_be_meant_is_refused(kafkeep: Kafkeep, arguments: tuple[str, ...], message: str) -> None:
    ended = kafkeep("prune", "--repo", "./repo", *arguments)
    assert ended.status == 2
    assert message in ended.err
    assert kafkeep("points", "--repo", "./repo").last["points"] == 5


def test_rules_come_from_policies_and_single_options() -> None:
    nothing = dict.fromkeys(
        f"keep_{name}" for name in ("last", "hourly", "daily", "weekly", "monthly", "yearly", "within")
    ) | {"distrusted": "apart"}
    given = nothing | {"policy": "production", "keep_daily": 7, "tags": ("kind",), "min_points": 5}
    rules = keep_rules(given)
    assert (rules.daily, rules.weekly, rules.monthly) == (7, 13, 12)
    assert (rules.tags, rules.min_points) == (("kind",), 5)
    assert keep_rules(nothing | {"policy": "staging", "tags": (), "min_points": 3}) == POLICIES["staging"]
    with pytest.raises(UsageError):
        keep_rules(nothing | {"policy": None, "tags": (), "min_points": 3})

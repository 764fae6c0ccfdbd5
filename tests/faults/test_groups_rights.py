"""Rights on Kafka that `groups apply` and `groups rollback` need (the table of docs/groups.md), and what happens when one
is missing: nothing is changed unsaid."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AclOperation
from tests.faults.test_rights import GROUP, TOPIC, Right, Stage
from tests.faults.test_rights import stage as stage  # the fixture

from kafkeep.kafka.cluster import Cluster
from kafkeep.model import GroupOffset, TopicPartition

pytestmark = pytest.mark.integration

APPLY: tuple[Right, ...] = ((TOPIC, AclOperation.READ), (GROUP, AclOperation.READ))
ROLLBACK: tuple[Right, ...] = (*APPLY, (GROUP, AclOperation.DELETE))
PAGE = Path(__file__).parents[2] / "docs" / "groups.md"


def calls(stage: Stage, repository: Path, *words: str) -> dict[str, Any]:
    given = ["--repo", str(repository), "--cluster", "lab"]
    return stage.kafkeep("groups", *words, *given).expect(0, 3, 4, 14, 24)


def position(stage: Stage, group: str) -> list[int]:
    with Cluster(stage.kafka.cluster_config()) as cluster:
        found = cluster.admin.group_offsets([group])[group]
    assert isinstance(found, tuple)
    return [p.offset for p in found]


@pytest.fixture
def repository(stage: Stage, tmp_path: Path) -> Path:
    return stage.new_repository(tmp_path / "repository")


@pytest.fixture
def file(stage: Stage, tmp_path: Path) -> Path:
    """Moves the stage's group, which is put back first, and makes another."""
    with Cluster(stage.kafka.cluster_config()) as cluster:
        cluster.admin.commit_group_offsets(stage.group, [GroupOffset(TopicPartition(stage.topic, 0), 7, -1, "")])
        cluster.admin.delete_groups([f"{stage.group}-new"])
    path = tmp_path / "plan.json"
    groups = (stage.group, f"{stage.group}-new")
    path.write_text(json.dumps([{"group": g, "topic": stage.topic, "partition": 0, "offset": 20} for g in groups]))
    return path


def test_the_rights_of_the_table_are_enough(stage: Stage, repository: Path, file: Path) -> None:
    stage.allow(*APPLY)
    assert calls(stage, repository, "apply", "--from-file", str(file))["exit_code"] == 0
    assert position(stage, stage.group) == position(stage, f"{stage.group}-new") == [20]
    told = calls(stage, repository, "rollback", "latest")
    assert (told["exit_code"], [f["subject"] for f in told["failures"]]) == (3, [f"group {stage.group}-new"])
    assert "GROUP_AUTHORIZATION_FAILED" in told["failures"][0]["message"]
    assert position(stage, stage.group) == [7]
    stage.allow(*ROLLBACK)
    assert calls(stage, repository, "rollback", "latest")["exit_code"] == 0
    assert position(stage, f"{stage.group}-new") == []


@pytest.mark.parametrize("missing", APPLY, ids=lambda right: right[0].name)
@pytest.mark.parametrize("described", [True, False])
def test_without_one_of_them_nothing_is_changed(
    stage: Stage, repository: Path, file: Path, missing: Right, described: bool
) -> None:
    more = [(missing[0], AclOperation.DESCRIBE)] if described else []
    stage.allow(*[right for right in APPLY if right != missing], *more)
    told = calls(stage, repository, "apply", "--from-file", str(file))
    assert told["exit_code"] == (3 if described else 24)
    assert "AUTHORIZATION_FAILED" in json.dumps(told)
    assert position(stage, stage.group) == [7] and position(stage, f"{stage.group}-new") == []


def test_the_page_names_these_rights() -> None:
    found = re.search(r"## Rights on Kafka\n(.*?)\n## ", PAGE.read_text(), re.DOTALL)
    assert found is not None
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in found[1].splitlines() if line.startswith("| ")][
        2:
    ]
    kinds = {"topics": TOPIC, "groups": GROUP}
    told = {verb: [(kinds[r], o) for v, r, o in rows if v == verb] for verb in ("`apply`", "`rollback`")}
    assert told["`apply`"] == [(kind, operation.name) for kind, operation in APPLY]
    assert told["`rollback`"] == [(kind, operation.name) for kind, operation in ROLLBACK[len(APPLY) :]]

"""`restore --with` on the command line: what may be said, what people are told, and one status for two halves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.restore_plans import NOTHING_PLANNED, RESTORED
from tests.support.sweep_command import Kafkeep

from kafkeep.cli.common import Stop
from kafkeep.cli.recovering import check_offset_map, settings_wanted
from kafkeep.cli.recovery_text import combined, plan_parts, plan_status, result_parts, result_status, told
from kafkeep.cli.render import Grid, Part
from kafkeep.errors import CorruptObject, UnknownFormat, UsageError
from kafkeep.inventory import ScramUser
from kafkeep.metadata.apply import MetadataResult, StepResult
from kafkeep.metadata.options import APPLY_AREAS
from kafkeep.metadata.plan import LeftOut, MetadataPlan, SetUser
from kafkeep.model import Failure
from kafkeep.recovery.options import SETTINGS_AREAS, SettingsOptions
from kafkeep.recovery.plan import RecoveryPlan, settings_from_beside, settings_to_beside
from kafkeep.recovery.result import RecoveryResult
from kafkeep.restore.plan import Refusal
from kafkeep.restore.record import JobBeginning, JobRecord

STEP = SetUser(area="users", action="set", subject="alice (SCRAM-SHA-512)", user=ScramUser("alice", "SCRAM-SHA-512", 1))
SETTINGS = MetadataPlan(
    origin="recovery point 1",
    target="cluster spare",
    source_cluster="source",
    target_cluster="target",
    steps=(STEP,),
    left_out=(),
    unchanged=(),
    refusals=(),
)
APPLIED = MetadataResult(plan=SETTINGS, steps=(StepResult(STEP, None),))
MISSING = LeftOut("users", "bob (SCRAM-SHA-512)", "its password is needed", missing=True)
FAILURE = Failure("users: alice", "kafka-request", "refused by the broker")


def text_of(parts: tuple[Part, ...]) -> str:
    return "\n".join(
        part if isinstance(part, str) else str(part.rows) for part in parts if isinstance(part, str | Grid)
    )


def given(**more: Any) -> dict[str, Any]:
    return {"areas": (), "existing_settings": "keep", "users_file": None, **more}


def test_all_means_every_part_but_those_that_records_bring() -> None:
    wanted = settings_wanted(given(areas=("quotas", "all")), resumed=False)
    assert wanted is not None and wanted.areas == set(APPLY_AREAS) - {"topics", "topic-configs"}
    assert settings_wanted(given(areas=("acls",)), resumed=False) == SettingsOptions(areas=frozenset({"acls"}))
    assert settings_wanted(given(), resumed=False) is None


def test_options_about_settings_need_settings() -> None:
    with pytest.raises(UsageError, match="--users-file"):
        settings_wanted(given(users_file=Path("x")), resumed=False)
    with pytest.raises(UsageError, match="--existing-settings"):
        settings_wanted(given(existing_settings="align"), resumed=False)
    assert settings_wanted(given(users_file=Path("x")), resumed=True) is None


def test_the_command_line_takes_them(tmp_path: Path) -> None:
    kafkeep = Kafkeep(tmp_path / "home", inside=True)
    users = tmp_path / "users"
    users.touch(mode=0o600)
    users.write_text("alice\tsecret\n")
    whole = ("restore", "1", "--repo", "./r", "--cluster", "127.0.0.1:1")
    kafkeep(*whole, "--with", "all", "--existing-settings", "fail", "--users-file", str(users)).refused(
        10, "no-repository"
    )
    kafkeep(*whole, "--resume", "--users-file", str(users)).refused(10, "no-repository")
    assert "--with" in kafkeep(*whole, "--resume", "--with", "all").refused(2, "usage")
    kafkeep(*whole, "--with", "topics").refused(2, "usage")
    users.chmod(0o644)
    assert "--users-file" in kafkeep(*whole, "--with", "users", "--users-file", str(users)).refused(2, "settings")


@pytest.mark.parametrize(
    ("statuses", "one"),
    [
        ([0, 4], 0),
        ([4], 4),
        ([4, 4], 4),
        ([21, 0], 21),
        ([21, 3], 3),
        ([3, 0], 3),
        ([21, 24], 24),
        ([24, 3], 24),
        ([143], 143),
        ([130, 3], 130),
        ([0], 0),
        ([], 0),
    ],
)
def test_one_status_for_both_halves(statuses: list[int], one: int) -> None:
    assert combined(statuses) == one


def test_a_dry_run_ends_as_either_half_would() -> None:
    both = RecoveryPlan(records=NOTHING_PLANNED, settings=SETTINGS)
    assert plan_status(both) == 0
    assert plan_status(replace(both, settings=replace(SETTINGS, steps=()))) == 0
    assert plan_status(replace(both, records=None, settings=replace(SETTINGS, steps=()))) == 4
    assert plan_status(replace(both, settings=replace(SETTINGS, left_out=(MISSING,)))) == 3
    assert plan_status(replace(both, settings=replace(SETTINGS, refusals=(MISSING,)))) == 24
    assert (
        plan_status(replace(both, records=replace(NOTHING_PLANNED, refusals=(Refusal("plan-refused", "x", "y"),))))
        == 24
    )


def test_the_result_ends_as_the_worse_half() -> None:
    stop = Stop()
    both = RecoveryResult(records=RESTORED, settings=APPLIED, settings_due=False)
    assert result_status(both, stop) == 0
    failed = replace(APPLIED, steps=(StepResult(STEP, FAILURE),))
    assert result_status(replace(both, settings=failed), stop) == 3
    assert result_status(replace(both, records=replace(RESTORED, lost=1)), stop) == 21
    assert result_status(replace(both, records=replace(RESTORED, lost=1), settings=failed), stop) == 3
    assert result_status(replace(both, records=None, settings=replace(APPLIED, steps=())), stop) == 4
    stop.number = 15
    ended = replace(both, records=replace(RESTORED, interrupted=True), settings=None, settings_due=True)
    assert result_status(ended, stop) == 143


def test_people_are_told_of_both_halves() -> None:
    both = RecoveryPlan(records=NOTHING_PLANNED, settings=SETTINGS, warnings=("of both",))
    shown = text_of(plan_parts(both))
    assert shown.index("restore recovery point 1") < shown.index("alice (SCRAM-SHA-512)") < shown.index("of both")
    assert "restored before" in text_of(plan_parts(replace(both, records=None)))
    alone = text_of(plan_parts(replace(both, settings=None, warnings=())))
    assert "settings" not in alone
    result = RecoveryResult(records=RESTORED, settings=APPLIED, settings_due=False, warnings=("of both",))
    shown = text_of(result_parts(result))
    assert shown.index("audit/day/name") < shown.index("alice") < shown.index("of both")
    assert "--resume" in text_of(result_parts(replace(result, settings=None, settings_due=True)))


def test_json_gives_a_restore_alone_as_it_always_was_and_both_halves_by_name() -> None:
    assert told(RecoveryPlan(records=NOTHING_PLANNED, settings=None)) is NOTHING_PLANNED
    assert told(RecoveryResult(records=RESTORED, settings=None, settings_due=False)) is RESTORED
    for both in (
        RecoveryPlan(records=NOTHING_PLANNED, settings=SETTINGS),
        RecoveryResult(records=RESTORED, settings=APPLIED, settings_due=False),
        RecoveryResult(records=RESTORED, settings=None, settings_due=True),
    ):
        assert told(both) is both


def test_what_a_job_was_begun_with_comes_back_from_its_record() -> None:
    settings = SettingsOptions(areas=frozenset(SETTINGS_AREAS), existing="align")
    assert settings_from_beside(settings_to_beside(settings)) == settings
    assert settings_from_beside({}) is None
    with pytest.raises(CorruptObject):
        settings_from_beside({"settings": {"areas": "acls", "existing": "keep"}})
    for strange in ({"areas": ["secrets"], "existing": "keep"}, {"areas": ["acls"], "existing": "burn"}):
        with pytest.raises(UnknownFormat):
            settings_from_beside({"settings": strange})


def test_a_map_of_records_that_came_before_is_not_promised() -> None:
    beginning: JobBeginning = object()  # type: ignore[assignment]
    job = JobRecord(name="audit/day/name", beginning=beginning, opened={}, loaded={}, positions={}, finished=True)
    with pytest.raises(UsageError, match="offset-map"):
        check_offset_map(job, Path("map.json"))
    check_offset_map(replace(job, finished=False), Path("map.json"))
    check_offset_map(job, None)

"""A whole recovery on simulated clusters: one plan, one order, refused as a whole, continued from either half."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.support.operations import ORDERS, Heard, as_cluster, back_up, new_repository, now, without_pauses
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import record
from tests.support.simulated_settings import ACL, QUOTA, USER, SettledCluster, settle

from kafkeep.errors import KafkaAccessDenied, KafkaUnreachable, PlanRefused, TargetNotEmpty, UsageError
from kafkeep.events import Event, Stage, Warned
from kafkeep.kafka.codes import request_error
from kafkeep.metadata.options import SERVICE_AREAS
from kafkeep.model import GroupOffset, RecoveryPoint
from kafkeep.recovery.options import SETTINGS_AREAS, SettingsOptions
from kafkeep.recovery.plan import RecoveryPlan, settings_from_beside
from kafkeep.recovery.result import RecoveryResult
from kafkeep.recovery.run import prepare, recover
from kafkeep.renaming import Rename
from kafkeep.repository.repository import Repository
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.unfinished import NEWEST, find_job
from kafkeep.secret import Secret

ALL = SettingsOptions(areas=frozenset(SETTINGS_AREAS))
PASSWORDS = {USER: Secret("correct horse")}


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    with without_pauses():
        yield


@dataclass
class Disaster:
    """A point with settings, and a cluster that is empty."""

    source: SettledCluster = field(default_factory=lambda: SettledCluster("source"))
    target: SettledCluster = field(default_factory=lambda: SettledCluster("target"))
    repository: Repository = field(default_factory=new_repository)
    passwords: dict[str, Secret] = field(default_factory=lambda: dict(PASSWORDS))

    def __post_init__(self) -> None:
        self.source.add_topic("orders")
        self.source.log(ORDERS).append([record(b"a"), record(b"b")])
        self.source.groups["billing"] = [GroupOffset(ORDERS, 1, -1, "")]
        settle(self.source)
        self.point = self.backed_up(settings=True)

    def backed_up(self, **options: Any) -> RecoveryPoint:
        point = back_up(self.source, self.repository, **options).point
        assert point is not None
        return point

    def plan(self, settings: SettingsOptions | None = ALL, *, job: Any = None, **options: Any) -> RecoveryPlan:
        return prepare(
            as_cluster(self.target),
            self.repository,
            self.point,
            RestoreOptions(**options),
            settings,
            passwords=self.passwords,
            now=now,
            job=job,
        )

    def recover(
        self,
        settings: SettingsOptions | None = ALL,
        *,
        plan: RecoveryPlan | None = None,
        sink: Any = None,
        stop: threading.Event | None = None,
        **options: Any,
    ) -> RecoveryResult:
        return recover(
            as_cluster(self.target),
            self.repository,
            self.plan(settings, **options) if plan is None else plan,
            RestoreOptions(**options),
            settings,
            passwords=self.passwords,
            now=now,
            rng=random.Random(1),
            sink=Heard() if sink is None else sink,
            stop=stop,
        )

    def continued(self, spec: str = NEWEST) -> RecoveryResult:
        """As `restore --resume` does it."""
        job = find_job(self.repository, spec, self.point.number, self.target.id)
        settings = settings_from_beside(job.beside)
        return self.recover(settings, plan=self.plan(settings, job=job))


def same_settings(one: SimulatedCluster, other: SimulatedCluster) -> bool:
    assert isinstance(one, SettledCluster) and isinstance(other, SettledCluster)
    mine, theirs = one.settings, other.settings
    return all(
        getattr(mine, part) == getattr(theirs, part) for part in ("values", "bindings", "limits", "users", "levels")
    )


def test_one_plan_brings_both_halves_and_permissions_come_last() -> None:
    disaster = Disaster()
    plan = disaster.plan()
    assert plan.records is not None and plan.settings is not None
    assert [topic.target for topic in plan.records.topics] == ["orders"]
    assert {step.area for step in plan.settings.steps} == set(SETTINGS_AREAS) - set(SERVICE_AREAS)
    assert disaster.target.topics == {} and disaster.target.settings.changed == []

    heard = Heard()
    result = disaster.recover(plan=plan, sink=heard)
    assert result.records is not None and result.records.records == 2
    assert result.settings is not None and result.settings.complete and not result.settings_due
    assert same_settings(disaster.source, disaster.target)
    assert [position.offset for position in disaster.target.groups["billing"]] == [1]
    stages = [stage.name for stage in heard.of(Stage)]
    assert stages.index("positions") < stages.index("broker-configs") < stages.index("quotas")
    changed = disaster.target.settings.changed
    assert changed[0] == "features" and changed[-3:] == ["quotas", "users", "acls"], (
        "whoever applies may be kept out by the last of them"
    )


def test_only_the_chosen_parts_come_back() -> None:
    disaster = Disaster()
    result = disaster.recover(SettingsOptions(areas=frozenset({"quotas", "cluster-configs"})))
    assert result.settings is not None
    assert disaster.target.settings.changed == ["cluster-configs", "quotas"]


def test_without_settings_it_is_a_restore() -> None:
    disaster = Disaster()
    result = disaster.recover(None)
    assert result.settings is None and not result.settings_due
    assert result.records is not None and result.records.records == 2
    assert disaster.target.settings.changed == []


@pytest.mark.parametrize("half", ["records", "settings", "both"])
def test_a_refusal_of_either_half_refuses_the_whole(half: str) -> None:
    disaster = Disaster()
    if half != "settings":
        disaster.target.add_topic("orders")
        disaster.target.log(ORDERS).append([record(b"there")])
    if half != "records":
        disaster.target.settings.unreadable["acls"] = KafkaAccessDenied("acls: not allowed")
    topics = set(disaster.target.topics)
    with pytest.raises(TargetNotEmpty if half == "records" else PlanRefused) as refused:
        disaster.recover()
    assert ("orders is not empty" in str(refused.value)) == (half != "settings")
    assert ("acls" in str(refused.value)) == (half != "records")
    assert disaster.target.settings.changed == [] and set(disaster.target.topics) == topics
    assert disaster.target.groups == {}
    assert [info.name for info in disaster.repository.store.list("audit/")] == []


def test_what_is_there_with_another_value_refuses_the_whole_when_it_should() -> None:
    disaster = Disaster()
    disaster.target.settings.limits[QUOTA] = {"producer_byte_rate": 5.0}
    with pytest.raises(PlanRefused, match="producer_byte_rate"):
        disaster.recover(SettingsOptions(areas=ALL.areas, existing="fail"))
    assert disaster.target.topics == {}
    disaster.recover(SettingsOptions(areas=ALL.areas, existing="align"))
    assert disaster.target.settings.limits[QUOTA] == {"producer_byte_rate": 1048576.0}


def test_a_point_without_settings_is_refused_with_the_way_to_one() -> None:
    disaster = Disaster()
    disaster.source.log(ORDERS).append([record(b"c")])
    disaster.point = disaster.backed_up(settings=False)
    with pytest.raises(PlanRefused, match="no settings and permissions") as refused:
        disaster.plan()
    assert "kafkeep backup" in refused.value.hint
    assert disaster.plan(None).records is not None


def test_a_step_that_is_refused_stops_no_other() -> None:
    disaster = Disaster()
    disaster.target.settings.refused["quotas"] = request_error(42, "alter quotas")
    result = disaster.recover()
    assert result.settings is not None and not result.settings.complete
    assert [failure.subject for failure in result.settings.failures] == [f"quotas: {QUOTA}"]
    assert disaster.target.settings.bindings == {ACL}


def test_ended_early_the_settings_are_left_to_whoever_continues() -> None:
    disaster = Disaster()
    stop = threading.Event()
    stop.set()
    result = disaster.recover(stop=stop)
    assert result.records is not None and result.records.interrupted
    assert result.settings is None and result.settings_due
    assert disaster.target.settings.changed == []

    result = disaster.continued()
    assert result.records is not None and result.records.records == 2 and not result.records.failures
    assert result.settings is not None and result.settings.complete
    assert same_settings(disaster.source, disaster.target)


def test_settings_that_were_not_reached_are_continued_alone_and_then_there_is_nothing_to_do() -> None:
    disaster = Disaster()
    disaster.target.settings.unreachable["users"] = KafkaUnreachable("no broker answers")
    heard: list[Event] = []
    with pytest.raises(KafkaUnreachable):
        disaster.recover(sink=heard.append)
    assert any(isinstance(event, Warned) and "--resume" in event.message for event in heard)
    assert not same_settings(disaster.source, disaster.target)
    ends = [len(log.entries) for log in disaster.target.topics["orders"].logs]

    disaster.target.settings.unreachable.clear()
    result = disaster.continued()
    assert result.records is None
    assert result.settings is not None and {one.step.area for one in result.settings.steps} == {"users", "acls"}
    assert same_settings(disaster.source, disaster.target)
    again = disaster.continued()
    assert again.records is None and again.settings is not None and again.settings.steps == ()
    assert [len(log.entries) for log in disaster.target.topics["orders"].logs] == ends


def test_a_finished_restore_without_settings_is_not_continued() -> None:
    disaster = Disaster()
    result = disaster.recover(None)
    assert result.records is not None
    for spec in (NEWEST, result.records.job):
        with pytest.raises(UsageError):
            find_job(disaster.repository, spec, disaster.point.number, disaster.target.id)


def test_a_user_without_a_password_is_missing_by_name() -> None:
    disaster = Disaster(passwords={})
    result = disaster.recover()
    assert result.settings is not None and not result.settings.complete
    assert f"{USER} (SCRAM-SHA-512)" in [left.subject for left in result.settings.plan.left_out]


def test_other_names_for_topics_are_a_warning_beside_acls() -> None:
    disaster = Disaster()
    renames = (Rename.parse("s/^/old-/"),)
    assert any("ACLs" in warning for warning in disaster.plan(renames=renames).warnings)
    quotas = SettingsOptions(areas=frozenset({"quotas"}))
    assert disaster.plan(quotas, renames=renames).warnings == disaster.plan().warnings == ()

"""`restore --resume` on the command line: what may stand beside it, and what people are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from tests.support.operations import back_up, new_repository, now, without_pauses
from tests.support.restore_plans import NOTHING_PLANNED, RESTORED
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import record
from tests.support.sweep_command import Kafkeep

from kafkeep.cli import resuming
from kafkeep.cli.render import Part
from kafkeep.cli.restore import restore
from kafkeep.cli.restore_text import plan_parts, result_parts
from kafkeep.cli.resuming import job_options
from kafkeep.errors import CorruptObject, PlanRefused
from kafkeep.model import RecoveryPoint, TopicPartition
from kafkeep.point_documents import metadata_of, needed_metadata_of
from kafkeep.repository.repository import Repository
from kafkeep.restore import unfinished
from kafkeep.restore.job import RestoreJob
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.plan import ProducerIdentity
from kafkeep.restore.run import prepare


def text_of(parts: tuple[Part, ...]) -> str:
    return "\n".join(part for part in parts if isinstance(part, str))


@pytest.fixture
def kafkeep(tmp_path: Path) -> Kafkeep:
    return Kafkeep(tmp_path / "home", inside=True)


WHOLE = ("restore", "1", "--repo", "./r", "--cluster", "127.0.0.1:1")


def test_without_a_value_it_means_the_newest() -> None:
    assert resuming.NEWEST == unfinished.NEWEST
    (option,) = [param for param in restore.params if param.name == "resume"]
    assert isinstance(option, click.Option) and option.flag_value == resuming.NEWEST
    assert {param.name for param in restore.params} >= resuming._BESIDE


@pytest.mark.parametrize(
    "given",
    [
        ("--topics", "*"),
        ("--repack-bytes", "65536"),
        ("--existing", "fail"),
        ("--groups", "none"),
        ("--retention", "restore"),
        ("--until", "2026-11-20T10:00:00Z"),
        ("--whole-history",),
    ],
)
def test_what_decides_the_stream_may_not_stand_beside_it(kafkeep: Kafkeep, given: tuple[str, ...]) -> None:
    told = kafkeep(*WHOLE, "--resume", *given).refused(2, "usage")
    assert given[0] in told and "--preflight" in told


def test_the_rest_may(kafkeep: Kafkeep) -> None:
    beside = ("--dry-run", "--connections", "2", "--preflight", "exist", "--offset-map", "map.json")
    kafkeep(*WHOLE, "--resume", *beside).refused(10, "no-repository")
    kafkeep(*WHOLE, "--resume=audit/day/name", *beside).refused(10, "no-repository")


def test_what_opens_the_repository_may(kafkeep: Kafkeep) -> None:
    """Keys are in no record, and without them an encrypted repository opens for nobody."""
    (kafkeep.folder / "pass").write_text("a passphrase")
    (kafkeep.folder / "pass").chmod(0o600)
    kafkeep(*WHOLE, "--resume", "--passphrase-file", "pass").refused(10, "no-repository")
    told = kafkeep(*WHOLE, "--resume", "--as-of", "2026-01-01T00:00:00Z").refused(2, "usage")
    assert "keeps no versions" in told, "a folder, and not the option, is what is wrong"


def test_a_point_behind_it_is_not_taken_for_a_job(kafkeep: Kafkeep) -> None:
    told = kafkeep("restore", "--repo", "./r", "--cluster", "127.0.0.1:1", "--resume=7", "1").refused(2, "usage")
    assert "'7'" in told and "POINT --resume" in told


@pytest.fixture
def repository() -> Repository:
    source = SimulatedCluster("source")
    source.add_topic("orders").logs[0].append([record(b"x")])
    found = new_repository()
    with without_pauses():
        assert back_up(source, found).point is not None
    return found


@pytest.fixture
def point(repository: Repository) -> RecoveryPoint:
    return repository.point("latest")


def test_the_options_are_the_jobs_own_but_for_those_that_decide_nothing(
    repository: Repository, point: RecoveryPoint
) -> None:
    chosen = RestoreOptions(topics=("orders",), repack_bytes=17, connections_per_broker=5, preflight="data")
    target: Any = SimulatedCluster("target")
    plan = prepare(target, repository, point, chosen, now=now)
    RestoreJob.begin(repository, plan, chosen, ProducerIdentity(7, 0), now=now)
    job = unfinished.find_job(repository, unfinished.NEWEST, point.number, "target")
    assert job.beginning.options == chosen
    found = job_options(job, {"connections": 2, "preflight": "exist"})
    assert found == replace(chosen, connections_per_broker=2, preflight="exist")


def test_people_are_told_what_is_continued_and_how_to_continue() -> None:
    assert "continues" not in text_of(plan_parts(NOTHING_PLANNED))
    there = ((TopicPartition("orders", 0), 12), (TopicPartition("orders", 1), 8))
    told = text_of(plan_parts(replace(NOTHING_PLANNED, job="audit/day/name", present=there)))
    assert "continues audit/day/name: 20 records are there already" in told
    told = text_of(result_parts(RESTORED))
    assert "3 MB/s" in told and "--resume" not in told and "from before" not in told
    told = text_of(result_parts(replace(RESTORED, records_before=20, bytes_before=2_000_000, interrupted=True)))
    assert "1 MB/s" in told and "20 of the records were there from before" in told
    assert "--resume=audit/day/name continues this restore" in told


def test_a_point_without_topics_and_groups_is_refused_and_no_defect(
    repository: Repository, point: RecoveryPoint
) -> None:
    bare = replace(point, documents=())
    assert metadata_of(repository, bare).topics == ()
    target: Any = SimulatedCluster("target")
    for read in (needed_metadata_of, lambda *_: prepare(target, repository, bare, RestoreOptions(), now=now)):
        with pytest.raises(PlanRefused, match="#1"):
            read(repository, bare)
    missing = replace(point, documents=(("metadata", "0" * 64),))
    with pytest.raises(CorruptObject):
        needed_metadata_of(repository, missing)

"""Points of metadata alone, their documents, and what the command line takes and tells of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.images import rich_image
from tests.support.operations import as_cluster, new_repository, now
from tests.support.repositories import CLUSTER, draft, generation, opened
from tests.support.simulated_cluster import SimulatedCluster

from kafkeep.cli.metadata import LAYOUTS, apply_options
from kafkeep.cli.metadata_text import diff_parts, plan_parts, plan_status, result_parts, result_status
from kafkeep.cli.render import Grid
from kafkeep.cli.users import read_passwords
from kafkeep.errors import PlanRefused, PointNotFound, SettingsError, UsageError
from kafkeep.inventory import Acl, Inventory, Standing
from kafkeep.metadata import layouts
from kafkeep.metadata.apply import MetadataResult, StepResult
from kafkeep.metadata.differences import compare_images
from kafkeep.metadata.options import APPLY_AREAS
from kafkeep.metadata.plan import AddAcl, Change, LeftOut, MetadataPlan, SetTopicConfigs
from kafkeep.metadata.run import image_of_point
from kafkeep.model import ClusterMetadata, Failure, PartitionCut
from kafkeep.point_documents import Beside, inventory_of, put_point_documents, standing_of, wrap_point_documents
from kafkeep.repository.envelope import BODY_LIMITS, Kind
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.run import prepare
from kafkeep.schemas import Schemas, SchemaVersion

ACL = Acl("TOPIC", "orders", "LITERAL", "User:alice", "*", "READ", "ALLOW")
ORDERS = generation()


def test_a_point_of_metadata_alone_is_not_the_latest_for_verbs_that_need_records() -> None:
    repository = new_repository()
    cut = PartitionCut(ORDERS, 0, 0, 0, 0, 0)
    with_records = repository.commit(draft(open_=opened(ORDERS), cuts=[cut])).point
    documents = put_point_documents(repository, ClusterMetadata(CLUSTER, (), ()), (Inventory(acls=(ACL,)), Standing()))
    alone = repository.commit(draft(cuts=[], name="alone", documents=documents)).point
    assert with_records is not None and alone is not None
    assert repository.point("latest") == with_records
    assert repository.point("@2100-01-01T00:00:00Z") == with_records
    assert repository.point("latest", with_records=False) == alone
    assert repository.point("alone") == repository.point(str(alone.number)) == alone
    assert image_of_point(repository, alone).inventory.acls == (ACL,)
    assert inventory_of(repository, with_records) is None and standing_of(repository, with_records) == Standing()
    with pytest.raises(PlanRefused, match="holds no settings and permissions"):
        image_of_point(repository, with_records)


def test_a_repository_with_metadata_alone_has_no_latest_point_of_records() -> None:
    repository = new_repository()
    documents = put_point_documents(repository, ClusterMetadata(CLUSTER, (), ()), (Inventory(), Standing()))
    repository.commit(draft(cuts=[], documents=documents))
    with pytest.raises(PointNotFound):
        repository.point("latest")


def test_records_are_not_restored_from_a_point_of_metadata_alone() -> None:
    repository = new_repository()
    documents = put_point_documents(repository, ClusterMetadata(CLUSTER, (), ()), (Inventory(), Standing()))
    point = repository.commit(draft(cuts=[], name="alone", documents=documents)).point
    assert point is not None
    target = SimulatedCluster("target")
    with pytest.raises(PlanRefused, match="holds no records") as refused:
        prepare(as_cluster(target), repository, point, RestoreOptions(), now=now)
    assert "kafkeep metadata apply" in refused.value.hint
    assert target.topics == {}


def test_the_command_offers_the_layouts_that_exports_have() -> None:
    """It names them itself, because the layouts load what most calls of the command line never need."""
    assert LAYOUTS == layouts.LAYOUTS


def written(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    file = tmp_path / "users.tsv"
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)
    return file


def test_passwords_are_read_from_a_private_file_and_are_not_shown(tmp_path: Path) -> None:
    found = read_passwords(written(tmp_path, "alice\tcorrect horse\n\nbob\ta\tb\n"))
    assert {name: secret.reveal() for name, secret in found.items()} == {"alice": "correct horse", "bob": "a\tb"}
    assert "horse" not in repr(found)
    assert read_passwords(None) == {}
    with pytest.raises(SettingsError, match="read or written by others"):
        read_passwords(written(tmp_path, "alice\tx\n", 0o644))
    with pytest.raises(UsageError, match="line 2 is not a name, a tab and a password") as caught:
        read_passwords(written(tmp_path, "alice\tsecret\nbob secret\n"))
    assert "secret" not in str(caught.value).replace("a password", "")


def test_all_parts_are_meant_unless_some_are_named() -> None:
    given = {
        "only": (),
        "topics": (),
        "exclude": (),
        "existing": "keep",
        "prune_extra": False,
        "replication_factor": None,
        "schema_ids": "keep",
        "resume_connectors": False,
    }
    assert apply_options(given).only == frozenset(APPLY_AREAS)
    assert apply_options(given | {"only": ("acls",)}).only == {"acls"}


def plan(
    *, steps: tuple[AddAcl | SetTopicConfigs, ...] = (), missing: bool = False, refused: bool = False
) -> MetadataPlan:
    left = (LeftOut("users", "alice", "its password is needed", missing=True),) if missing else ()
    against = (LeftOut("acls", "acls", "cannot be read", missing=True),) if refused else ()
    return MetadataPlan(
        origin="recovery point 1",
        target="cluster new",
        source_cluster="a",
        target_cluster="b",
        steps=steps,
        left_out=left,
        unchanged=(("topics", 3),),
        refusals=against,
    )


ADD = AddAcl(area="acls", action="add", subject=str(ACL), acl=ACL)
SET = SetTopicConfigs(
    area="topic-configs",
    action="set",
    subject="orders",
    changes=(Change("retention.ms", "1", "2"), Change("x", None, "3"), Change("y", "4", None)),
)


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (plan(steps=(ADD,)), 0),
        (plan(), 4),
        (plan(missing=True), 3),
        (plan(steps=(ADD,), missing=True), 3),
        (plan(steps=(ADD,), refused=True), 24),
    ],
)
def test_a_dry_run_ends_as_the_apply_would(found: MetadataPlan, status: int) -> None:
    assert plan_status(found) == status
    if status != 24:
        done = MetadataResult(plan=found, steps=tuple(StepResult(step, None) for step in found.steps))
        assert result_status(done) == status


def test_a_step_that_was_refused_is_told_and_ends_with_3() -> None:
    failed = MetadataResult(plan=plan(steps=(ADD,)), steps=(StepResult(ADD, Failure("acls", "kafka", "no right")),))
    assert result_status(failed) == 3
    (grid,) = [part for part in result_parts(failed) if isinstance(part, Grid)]
    assert grid.heads[0] == "failed" and grid.rows == (("acls", "add", str(ACL), "no right"),)
    assert result_parts(failed)[-1] == "0 steps done, 1 failed"


def test_changes_are_told_as_before_and_after() -> None:
    parts = plan_parts(plan(steps=(SET,), missing=True, refused=True))
    grids = [part for part in parts if isinstance(part, Grid)]
    assert [grid.heads for grid in grids] == [
        ("", "topic-configs", "before", "after"),
        ("left out", "what", "why"),
        ("refused", "what", "why"),
    ]
    assert grids[0].rows == (
        ("", "orders", "", ""),
        ("~", "  retention.ms", "1", "2"),
        ("+", "  x", "not set", "3"),
        ("-", "  y", "4", "not set"),
    )
    assert "1 of these will be missing on the target" in parts
    assert parts[-1] == "1 step; already so: 3 of topics"


def test_a_comparison_is_told_with_its_verdict() -> None:
    image = rich_image()
    assert str(diff_parts(compare_images(image, image))[-1]).startswith("nothing differs")
    other = rich_image(topics=image.topics[:1])
    assert "difference" in str(diff_parts(compare_images(image, other))[-1])


def test_schemas_beyond_one_document_are_left_out_by_name_and_topics_never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BODY_LIMITS, Kind.SCHEMAS, 200)
    version = SchemaVersion(subject="orders", version=1, id=1, type="AVRO", schema="x" * 300)
    repository = new_repository()
    beside = Beside(schemas=Schemas(versions=(version,)))
    documents = wrap_point_documents(repository, ClusterMetadata(CLUSTER, (), ()), None, beside)
    assert [name for name, _ in documents.names] == ["metadata"]
    assert [(failure.subject, failure.reason) for failure in documents.failures] == [("schemas", "too-large")]
    with pytest.raises(ValueError, match="over the limit"):
        put_point_documents(repository, ClusterMetadata(CLUSTER, (), ()), None, beside)
    monkeypatch.setitem(BODY_LIMITS, Kind.METADATA, 10)
    with pytest.raises(ValueError, match="over the limit"):
        wrap_point_documents(repository, ClusterMetadata(CLUSTER, (), ()), None)

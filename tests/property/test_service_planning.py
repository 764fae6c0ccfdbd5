"""Schemas and connectors of a point onto any server: order, refusals, and that a second time there is nothing to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkeep.connectors import STOPPED, Connector, ConnectorOffset, Connectors, ConnectorSetting, setting
from kafkeep.errors import CorruptObject
from kafkeep.inventory import Inventory, Standing
from kafkeep.metadata.differences import compare_images
from kafkeep.metadata.documents import read_document, to_json
from kafkeep.metadata.image import ClusterImage
from kafkeep.metadata.options import CONNECTORS, SCHEMAS, SERVICE_AREAS, ApplyOptions
from kafkeep.metadata.plan import MetadataPlan
from kafkeep.metadata.planning import Abilities, plan_metadata
from kafkeep.metadata.steps_services import (
    MAP,
    CreateConnector,
    DeleteSchema,
    RegisterSchema,
    SetConnectorConfig,
    SetConnectorOffsets,
    SetConnectorState,
    SetSubjectMode,
    SetSubjectRules,
)
from kafkeep.repository.envelope import Kind, unwrap, wrap
from kafkeep.repository.service_documents import (
    connectors_from_json,
    connectors_to_json,
    schemas_from_json,
    schemas_to_json,
)
from kafkeep.schemas import SchemaReference, Schemas, SchemaVersion, SubjectRules, in_order

SUBJECTS = ("a", "b", "c")


@st.composite
def registries(draw: st.DrawFn) -> Schemas:
    """Any registry: one schema for each id, references to what was there before."""
    versions: list[SchemaVersion] = []
    for subject in draw(st.permutations(SUBJECTS)):
        for number in sorted(draw(st.sets(st.integers(1, 4), max_size=3))):
            schema_id = draw(st.integers(1, 12))
            known = next((one for one in versions if one.id == schema_id), None)
            refs = (
                draw(st.lists(st.sampled_from([one.place for one in versions]), max_size=2, unique=True))
                if versions
                else []
            )
            versions.append(
                SchemaVersion(
                    subject=subject,
                    version=number,
                    id=schema_id,
                    type="AVRO",
                    schema=f'"{schema_id}"',
                    references=tuple(SchemaReference("r", *ref) for ref in refs) if known is None else known.references,
                    deleted=draw(st.booleans()),
                )
            )
    rules = tuple(
        SubjectRules(subject=name, compatibility=draw(st.sampled_from(("FULL", "NONE"))), mode="READWRITE")
        for name in sorted(draw(st.sets(st.sampled_from(("", *SUBJECTS)))))
    )
    return Schemas(versions=tuple(sorted(versions, key=lambda one: one.place)), rules=rules)


configs = st.dictionaries(st.sampled_from(("topics", "a.password", "x")), st.sampled_from(("1", "2")), max_size=3)
offsets = st.dictionaries(st.sampled_from(('{"f":1}', '{"f":2}')), st.sampled_from(("1", "2")), max_size=2)
connector_sets = st.dictionaries(
    st.sampled_from(("in", "out")),
    st.builds(
        lambda config, held, kind, state: Connector(
            name="",
            type=kind,
            state=state,
            config=tuple(setting(*pair) for pair in sorted(config.items())),
            offsets=tuple(ConnectorOffset(*pair) for pair in sorted(held.items())),
        ),
        configs,
        offsets,
        st.sampled_from(("source", "sink")),
        st.sampled_from(("RUNNING", "PAUSED", STOPPED)),
    ),
).map(
    lambda made: Connectors(
        version="4.3.1", connectors=tuple(replace(one, name=name) for name, one in sorted(made.items()))
    )
)


def image(schemas: Schemas | None = None, connectors: Connectors | None = None, **more: Any) -> ClusterImage:
    return ClusterImage(
        origin="here",
        time="2026-11-20T10:00:00Z",
        cluster_id="c",
        topics=(),
        groups=(),
        inventory=Inventory(),
        standing=Standing(),
        schemas=schemas,
        connectors=connectors,
        **more,
    )


def plan(source: ClusterImage, target: ClusterImage, **more: Any) -> MetadataPlan:
    options = ApplyOptions(only=frozenset(SERVICE_AREAS), **more)
    return plan_metadata(source, target, options, Abilities())


def carried_out(target: ClusterImage, made: MetadataPlan) -> ClusterImage:
    """What servers that do as they are told hold afterwards; every step is checked to be possible where it stands."""
    assert target.schemas is not None and target.connectors is not None
    versions = {one.place: one for one in target.schemas.versions}
    rules = {one.subject: one for one in target.schemas.rules}
    running = {one.name: one for one in target.connectors.connectors}
    for step in made.steps:
        match step:
            case RegisterSchema():
                assert all((ref.subject, ref.version) in versions for ref in step.schema.references)
                versions[step.schema.place] = replace(step.schema, deleted=False)
            case DeleteSchema():
                versions[step.schema.place] = replace(versions[step.schema.place], deleted=True)
            case SetSubjectRules():
                held = rules.get(step.rules.subject, step.rules)
                rules[step.rules.subject] = replace(held, compatibility=step.rules.compatibility)
            case SetSubjectMode():
                held = rules.get(step.subject_name, SubjectRules(subject=step.subject_name))
                rules[step.subject_name] = replace(held, mode=step.mode)
            case CreateConnector():
                assert step.connector.name not in running and not step.connector.holes
                running[step.connector.name] = replace(step.connector, state=STOPPED)
            case SetConnectorConfig():
                held_config = {one.name: one for one in running[step.connector.name].config}
                held_config |= {one.name: one for one in step.connector.config}
                config = tuple(held_config[name] for name in sorted(held_config))
                running[step.connector.name] = replace(running[step.connector.name], config=config)
            case SetConnectorOffsets():
                assert running[step.connector.name].state == STOPPED
                rows = {one.partition: one for one in running[step.connector.name].offsets}
                rows |= {one.partition: one for one in step.connector.offsets}
                running[step.connector.name] = replace(
                    running[step.connector.name], offsets=tuple(rows[key] for key in sorted(rows))
                )
            case SetConnectorState():
                running[step.connector.name] = replace(running[step.connector.name], state=step.connector.state)
            case _:
                raise AssertionError(step)
    return replace(
        target,
        schemas=Schemas(
            versions=tuple(versions[key] for key in sorted(versions)),
            rules=tuple(rules[key] for key in sorted(rules)),
        ),
        connectors=Connectors(version="4.3.1", connectors=tuple(running[key] for key in sorted(running))),
    )


@given(registries())
def test_each_schema_comes_after_what_it_refers_to(schemas: Schemas) -> None:
    ordered = in_order(schemas.versions)
    assert sorted(ordered, key=lambda one: one.place) == list(schemas.versions)
    place = {one.place: index for index, one in enumerate(ordered)}
    for one in ordered:
        assert all(place[ref.subject, ref.version] < place[one.place] for ref in one.references)


def test_a_circle_of_references_ends() -> None:
    one = SchemaVersion(
        subject="a", version=1, id=2, type="AVRO", schema="", references=(SchemaReference("r", "b", 1),)
    )
    other = replace(one, subject="b", id=1, references=(SchemaReference("r", "a", 1),))
    assert in_order((one, other)) == (other, one)


@given(registries(), connector_sets)
def test_an_empty_server_is_filled_and_then_there_is_nothing_to_do(schemas: Schemas, connectors: Connectors) -> None:
    source = image(schemas, connectors)
    empty = image(Schemas(), Connectors(version="4.3.1"))
    made = plan(source, empty, resume_connectors=True)
    assert made.refusals == ()
    filled = carried_out(empty, made)
    assert filled.schemas == schemas
    assert plan(source, filled, resume_connectors=True).steps == ()
    found = compare_images(source, filled, SERVICE_AREAS)
    assert (found.differences, found.not_compared) == ((), ())


@given(registries(), registries(), connector_sets, connector_sets, st.sampled_from(("keep", "align")))
def test_any_server_is_changed_once_or_refused(
    schemas: Schemas, others: Schemas, connectors: Connectors, running: Connectors, existing: str
) -> None:
    source, target = image(schemas, connectors), image(others, running)
    made = plan(source, target, existing=existing)
    taken = {one.place for one in others.versions} | {one.id for one in others.versions}
    if not any(one.place in taken or one.id in taken for one in schemas.versions):
        assert made.refusals == ()
    if not made.refusals:
        done = carried_out(target, made)
        assert done.schemas is not None
        assert {(one.place, one.id) for one in schemas.versions} <= {
            (one.place, one.id) for one in done.schemas.versions
        }
        assert plan(source, done, existing=existing).steps == ()


@given(registries(), registries())
def test_new_ids_are_told_for_every_schema(schemas: Schemas, others: Schemas) -> None:
    made = plan(image(schemas), image(others), schema_ids=MAP)
    assert made.refusals == ()
    assert sorted((row.subject, row.version, row.old_id) for row in made.schema_ids) == sorted(
        (one.subject, one.version, one.id) for one in schemas.versions
    )
    known = {(one.subject, one.version, one.id) for one in others.versions if not one.deleted}
    for row in made.schema_ids:
        assert row.new_id is None or (row.subject, row.new_version, row.new_id) in known


@given(registries(), connector_sets)
def test_a_document_holds_all_but_secrets(schemas: Schemas, connectors: Connectors) -> None:
    made = image(schemas, connectors)
    found = read_document(to_json(made), "x.json")
    assert found.schemas == schemas
    assert found.connectors is not None
    bare = tuple(
        replace(one, config=tuple(ConnectorSetting(each.name, each.value) for each in one.config))
        for one in connectors.connectors
    )
    assert found.connectors.connectors == bare


@given(registries(), connector_sets, st.data())
def test_documents_hold_what_was_put_and_nothing_else_is_taken(
    schemas: Schemas, connectors: Connectors, data: st.DataObject
) -> None:
    stored = schemas_to_json(schemas), connectors_to_json(connectors)
    assert schemas_from_json(unwrap(wrap(Kind.SCHEMAS, stored[0]), Kind.SCHEMAS, "x")) == schemas
    assert connectors_from_json(unwrap(wrap(Kind.CONNECTORS, stored[1]), Kind.CONNECTORS, "x")) == connectors
    for value, read in zip(stored, (schemas_from_json, connectors_from_json), strict=True):
        broken = dict(value)
        field = data.draw(st.sampled_from(sorted(broken)))
        if data.draw(st.booleans()):
            del broken[field]
        else:
            broken[field] = data.draw(st.sampled_from([None, 1, [None], [{}], {}]))
        with pytest.raises(CorruptObject):
            read(broken)


def test_what_could_not_be_read_is_neither_made_nor_taken_for_absent() -> None:
    one = SchemaVersion(subject="a", version=1, id=1, type="AVRO", schema='"int"')
    held = image(Schemas(versions=(one,)), Connectors(version="4.3.1"))
    unread = image(unreadable=(SCHEMAS, CONNECTORS))
    assert [left.missing for left in plan(unread, held).left_out] == [True, True]
    assert {refusal.subject for refusal in plan(held, unread).refusals} == {SCHEMAS, CONNECTORS}
    assert [left.missing for left in plan(held, image()).left_out] == [True, True]
    assert compare_images(held, unread, SERVICE_AREAS).differences == ()
    assert len(compare_images(held, unread, SERVICE_AREAS).not_compared) == 2
    lacking = replace(one, references=(SchemaReference("r", "gone", 1),))
    made = plan(image(Schemas(versions=(lacking,))), image(Schemas()))
    assert (made.steps, [left.missing for left in made.left_out]) == ((), [True])


def test_a_connect_that_would_start_what_it_makes_is_not_asked() -> None:
    wanted = Connectors(
        version="4.3.1", connectors=(Connector(name="in", type="source", state="RUNNING", config=(setting("x", "1"),)),)
    )
    made = plan(image(None, wanted), image(None, Connectors(version="3.6.2")))
    assert made.steps == ()
    assert "without starting it" in made.left_out[0].reason and made.left_out[0].missing

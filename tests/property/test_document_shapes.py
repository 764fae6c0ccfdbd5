"""Dataclasses to documents and back: nothing is lost, and nothing of another shape is taken."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafkeep.errors import CorruptObject
from kafkeep.inventory import (
    Acl,
    BrokerNode,
    ConfigValue,
    DelegationToken,
    Feature,
    GroupMember,
    GroupMembers,
    InheritedConfigs,
    Inventory,
    LogDir,
    MetadataCut,
    Quorum,
    Quota,
    QuotaEntity,
    Reassignment,
    ResourceConfigs,
    ScramCredential,
    ScramUser,
    Standing,
)
from kafkeep.model import Generation, TopicPartition
from kafkeep.repository.envelope import DOCUMENT_KINDS, unwrap, wrap
from kafkeep.repository.inventory_documents import (
    inventory_from_json,
    inventory_to_json,
    standing_from_json,
    standing_to_json,
)
from kafkeep.repository.shapes import Misshapen, from_shape, to_shape
from kafkeep.secret import Secret

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
number = st.integers(-(2**63), 2**63 - 1)
limit = st.floats(allow_nan=False)
secret = st.builds(Secret, text)
credential = st.builds(ScramCredential, secret, secret, secret)
config = st.builds(ConfigValue, text, st.none() | text, text, st.booleans(), st.booleans())


def several(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(inner, max_size=3).map(tuple)


inventories = st.builds(
    Inventory,
    configs=several(st.builds(ResourceConfigs, text, text, several(config))),
    acls=several(st.builds(Acl, text, text, text, text, text, text, text)),
    has_authorizer=st.booleans(),
    quotas=several(
        st.builds(
            Quota,
            st.builds(QuotaEntity, several(st.tuples(text, st.none() | text))),
            several(st.tuples(text, limit)),
        )
    ),
    scram_users=several(st.builds(ScramUser, text, text, number, st.none() | credential)),
    features=several(st.builds(Feature, text, number)),
    unreadable=several(text),
)
nodes = several(st.tuples(number, text))
standings = st.builds(
    Standing,
    brokers=several(
        st.builds(
            BrokerNode,
            number,
            text,
            number,
            st.none() | text,
            several(st.builds(LogDir, text, text, number, number, number, number)),
        )
    ),
    quorum=st.none() | st.builds(Quorum, number, nodes, nodes),
    reassignments=several(st.builds(Reassignment, text, number, several(number), several(number), several(number))),
    tokens=several(st.builds(DelegationToken, text, text, text, several(text), number, number, number)),
    groups=several(st.builds(GroupMembers, text, text, text, several(st.builds(GroupMember, text, text, text, text)))),
    inherited=several(st.builds(InheritedConfigs, several(text), several(config))),
    metadata_cut=st.none() | st.builds(MetadataCut, number, number),
)


@settings(max_examples=150)
@given(inventories)
def test_an_inventory_survives_its_document(inventory: Inventory) -> None:
    stored = wrap(DOCUMENT_KINDS["inventory"], inventory_to_json(inventory))
    found = inventory_from_json(unwrap(stored, DOCUMENT_KINDS["inventory"], "doc"))
    assert found == inventory
    assert [user.credential for user in found.scram_users] == [user.credential for user in inventory.scram_users]


@settings(max_examples=150)
@given(standings)
def test_a_standing_survives_its_document(standing: Standing) -> None:
    stored = wrap(DOCUMENT_KINDS["standing"], standing_to_json(standing))
    assert standing_from_json(unwrap(stored, DOCUMENT_KINDS["standing"], "doc")) == standing


SAMPLE = Inventory(
    configs=(ResourceConfigs("broker", "1", (ConfigValue("a", None, "static", True, False),)),),
    acls=(Acl("TOPIC", "t", "LITERAL", "User:a", "*", "READ", "ALLOW"),),
    quotas=(Quota(QuotaEntity((("user", None),)), (("producer_byte_rate", 1.5),)),),
    scram_users=(
        ScramUser("u", "SCRAM-SHA-256", 4096, ScramCredential(Secret("a"), Secret("b"), Secret("c"))),
        ScramUser("v", "SCRAM-SHA-256", 4096),
    ),
    features=(Feature("metadata.version", 25),),
    unreadable=("acls",),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        return found + [place for name in value for place in places(value[name], (*path, name))]
    if isinstance(value, list):
        return found + [place for index, item in enumerate(value) for place in places(item, (*path, index))]
    return found


@pytest.mark.parametrize("place", places(inventory_to_json(SAMPLE)), ids=lambda place: ".".join(map(str, place)))
def test_a_value_of_another_type_is_refused_wherever_it_is(place: tuple[Any, ...]) -> None:
    broken = copy.deepcopy(inventory_to_json(SAMPLE))
    holder = broken
    for step in place[:-1]:
        holder = holder[step]
    for wrong in ({"no": "field"}, 1 if not isinstance(holder[place[-1]], int) else "text"):
        holder[place[-1]] = wrong
        with pytest.raises(CorruptObject, match="not of the known shape"):
            inventory_from_json(json.loads(json.dumps(broken)))


def test_a_missing_field_is_refused_and_one_of_a_later_version_left_alone() -> None:
    value = inventory_to_json(SAMPLE)
    with pytest.raises(CorruptObject, match="does not have the fields"):
        inventory_from_json({name: part for name, part in value.items() if name != "acls"})
    later = {**value, "later": {"a": [1]}, "acls": [{**acl, "since": 7} for acl in value["acls"]]}
    assert inventory_from_json(later) == SAMPLE
    with pytest.raises(Misshapen, match="just the fields"):
        from_shape(Inventory, later, "a document that nobody adds to")


def test_what_is_optional_is_not_there_while_it_is_absent() -> None:
    with_credential, without = inventory_to_json(SAMPLE)["scram_users"]
    assert with_credential["credential"] == {"salt": "a", "stored_key": "b", "server_key": "c"}
    assert without == {"name": "v", "mechanism": "SCRAM-SHA-256", "iterations": 4096}
    assert "metadata_cut" not in standing_to_json(Standing())
    with pytest.raises(CorruptObject, match="does not have the fields"):
        inventory_from_json(inventory_to_json(SAMPLE) | {"scram_users": [without | {"credential": {"salt": "a"}}]})


def test_a_secret_goes_into_no_document_that_is_not_made_for_it() -> None:
    with pytest.raises(TypeError, match="Secret has no shape"):
        to_shape(SAMPLE)


def test_every_noun_is_made_by_the_strategies() -> None:
    """A noun that is added and not tested here would be found by this."""
    import kafkeep.inventory as nouns

    tested = {
        cls
        for cls in vars(nouns).values()
        if isinstance(cls, type) and is_dataclass(cls) and cls.__module__ == nouns.__name__
    }
    assert len(tested) == 19, sorted(cls.__name__ for cls in tested)
    assert all(fields(cls) for cls in tested)


@dataclass(frozen=True, slots=True)
class Holding:
    generation: Generation
    partitions: tuple[TopicPartition, ...]


def test_partitions_and_generations_are_objects() -> None:
    holding = Holding(Generation("orders", "A" * 22, 3, 1), (TopicPartition("orders", 3), TopicPartition("bills", 0)))
    shape = {
        "generation": {"topic": "orders", "topic_id": "A" * 22, "partition": 3, "lineage": 1},
        "partitions": [{"topic": "orders", "partition": 3}, {"topic": "bills", "partition": 0}],
    }
    assert to_shape(holding) == shape
    assert from_shape(Holding, shape, "holding") == holding
    with pytest.raises(Misshapen, match="holding: generation does not have just the fields"):
        from_shape(Holding, {**shape, "generation": ["orders", "A" * 22, 3, 1]}, "holding")
    with pytest.raises(Misshapen, match=r"holding: partitions\[0\]: partition is not a whole number"):
        from_shape(Holding, {**shape, "partitions": [{"topic": "orders", "partition": "3"}]}, "holding")

"""A cluster image survives JSON and YAML, and a document that a person broke is refused at the place."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from tests.support.examples import examples
from tests.support.images import AWKWARD, images, rich_image

from kafkeep.errors import UsageError
from kafkeep.metadata.documents import read_document, to_json, to_yaml
from kafkeep.metadata.form import from_form, to_form
from kafkeep.metadata.image import ClusterImage
from kafkeep.model import TopicMetadata


@examples(80)
@given(images)
def test_an_image_survives_json(image: ClusterImage) -> None:
    assert read_document(to_json(image), "all.json") == image


@examples(80)
@given(images)
def test_an_image_survives_yaml(image: ClusterImage) -> None:
    assert read_document(to_yaml(image), "all.yaml") == image


@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_texts_survive_as_key_and_as_value(text: str) -> None:
    topic = TopicMetadata("orders", "id", False, ((1,),), ((text, text),))
    image = rich_image(topics=(topic,), origin=text)
    assert read_document(to_yaml(image), "all.yml") == image
    assert read_document(to_json(image), "all.json") == image


def test_yaml_reads_the_same_without_the_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(yaml, "CSafeDumper", raising=False)
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    for text in AWKWARD:
        image = rich_image(origin=text, topics=(TopicMetadata("orders", text, False, ((1,),), ((text, text),)),))
        assert read_document(to_yaml(image), "all.yaml") == image


def test_the_form_has_names_and_leaves_out_what_goes_without_saying() -> None:
    form: Any = to_form(rich_image())
    assert form["format"] == "kafkeep-metadata-1"
    assert form["topics"][1]["configs"]["min.insync.replicas"] == "1"
    position = {"topic": "orders", "partition": 0, "offset": 5, "leader_epoch": 3, "metadata": ""}
    assert form["groups"][0]["offsets"][0] == position
    entries = form["inventory"]["configs"][0]["entries"]
    assert entries["log.cleaner.threads"] == {"value": "2", "source": "broker"}
    assert entries["log.dirs"] == {"value": "/data", "source": "static", "read_only": True}
    assert form["inventory"]["quotas"][0]["entity"] == {"client-id": None, "user": "alice"}
    assert form["ends"] == {"orders": {"0": 9}}
    assert "unreadable" not in form["inventory"]


def test_what_a_person_adds_anywhere_is_put_in_order() -> None:
    form: Any = to_form(rich_image())
    for part in (form["topics"], form["groups"], form["inventory"]["acls"], form["inventory"]["quotas"]):
        part.reverse()
    configs = form["topics"][0]["configs"]
    form["topics"][0]["configs"] = dict(reversed(configs.items()))
    assert read_document(json.dumps(form), "all.json") == rich_image()


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        return found + [place for name in value for place in places(value[name], (*path, name))]
    if isinstance(value, list):
        return found + [place for index, item in enumerate(value) for place in places(item, (*path, index))]
    return found


WRONG = (True, 0.5, ["x"], {"no": {"such": "field"}})


@pytest.mark.parametrize("path", places(to_form(rich_image())), ids=lambda path: ".".join(map(str, path)))
def test_a_value_of_another_kind_is_refused_where_it_is(path: tuple[Any, ...]) -> None:
    form: Any = to_form(rich_image())
    holder = form
    for step in path[:-1]:
        holder = holder[step]
    held = holder[path[-1]]
    for wrong in WRONG:
        if type(wrong) is type(held) and not isinstance(held, dict):
            continue
        holder[path[-1]] = wrong
        with pytest.raises(UsageError, match=r"^all\.json: ") as told:
            from_form(form, "all.json")
        assert str(path[-1]) in str(told.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda form: form["topics"][1].update(confgs={}),
            r"topics\[1\]: unknown key 'confgs', did you mean configs\?",
        ),
        (lambda form: form["topics"][1].update(zzz={}), r"unknown key 'zzz', known are name, topic_id"),
        (lambda form: form["topics"][1].pop("name"), r"topics\[1\]: the key name is missing"),
        (
            lambda form: form["topics"][1]["configs"].update({"retention.ms": 5}),
            r"topics\[1\]\.configs\.'retention\.ms': expected text, got a number; put it into quotes",
        ),
        (
            lambda form: form["inventory"]["acls"][0].update(permission="ALOW"),
            r"inventory\.acls\[0\]\.permission: expected one of ALLOW, DENY, got 'ALOW'",
        ),
        (lambda form: form["topics"].append(form["topics"][0]), "topics: entry 2 is there a second time"),
        (
            lambda form: form["groups"][0]["offsets"][0].update(offset=-1),
            r"offsets\[0\]\.offset: expected a whole number",
        ),
        (lambda form: form["ends"]["orders"].update(x=1), r"ends\.orders: expected the number of a partition"),
        (lambda form: form.update(format="other"), "format: expected one of kafkeep-metadata-1"),
    ],
)
def test_the_message_names_the_place_and_what_was_expected(change: Any, message: str) -> None:
    form: Any = copy.deepcopy(to_form(rich_image()))
    change(form)
    with pytest.raises(UsageError, match=message):
        read_document(json.dumps(form), "all.json")


def test_texts_that_are_no_documents_are_refused() -> None:
    with pytest.raises(UsageError, match=r"all\.json is not JSON: "):
        read_document("{", "all.json")
    with pytest.raises(UsageError, match=r"all\.yaml is not YAML: "):
        read_document("a: [", "all.yaml")
    with pytest.raises(UsageError, match=r"all\.yaml is not YAML: "):
        read_document("time: 2024-99-99", "all.yaml")
    with pytest.raises(UsageError, match="'a' is in one object twice"):
        read_document('{"a": 1, "a": 2}', "all.json")
    with pytest.raises(UsageError, match=r"line 2: the key 'a' is in one object twice"):
        read_document("a: 1\na: 2\n", "all.yaml")
    with pytest.raises(UsageError, match="the document: expected an object, got a list"):
        read_document("[]", "all.json")
    with pytest.raises(UsageError, match="nested too deeply"):
        read_document("[" * 100_000, "all.json")


@pytest.mark.parametrize("value", ["7", "no", "2024-01-01", "0777"])
def test_texts_that_yaml_takes_for_something_else_are_to_be_quoted(value: str) -> None:
    text = to_yaml(rich_image(cluster_id="PLACE"))
    with pytest.raises(UsageError, match=r"all\.yaml: cluster_id: expected text, got .*; put it into quotes"):
        read_document(text.replace("PLACE", value), "all.yaml")
    assert read_document(text.replace("PLACE", f'"{value}"'), "all.yaml").cluster_id == value


@pytest.mark.fault("E9")
def test_yaml_refuses_objects_of_programs() -> None:
    with pytest.raises(UsageError, match="not YAML"):
        read_document("a: !!python/object/apply:os.system ['true']", "all.yaml")


def test_an_image_that_names_a_config_twice_is_not_written() -> None:
    image = rich_image()
    doubled = replace(image.topics[1], configs=(("a", "1"), ("a", "2")))
    with pytest.raises(ValueError, match="named twice"):
        to_json(replace(image, topics=(doubled,)))

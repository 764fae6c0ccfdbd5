"""kafka-python's two ways through a message, by a function that it compiles and field by field, say and read the same."""

from __future__ import annotations

import copy
import uuid
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafkeep.errors import KafkaProtocolError
from kafkeep.kafka import apis, settings_apis
from kafkeep.kafka.apis import Api

APIS = {
    f"{module.__name__}.{name}": api
    for module in (apis, settings_apis)
    for name, api in sorted(vars(module).items())
    if isinstance(api, Api)
}
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    **{f"int{bits}": st.integers(-(1 << (bits - 1)), (1 << (bits - 1)) - 1) for bits in (8, 16, 32, 64)},
    "uint16": st.integers(0, 65535),
    "bool": st.booleans(),
    "float64": st.floats(allow_nan=False),
    "string": TEXT,
    "bytes": st.binary(max_size=12),
    "uuid": st.uuids(),
}


def value_of(field: Any, version: int) -> st.SearchStrategy[Any]:
    kind: str = field.type_str
    if field.is_array():
        inner = fields_of(field.fields, version) if field.is_struct_array() else VALUES[kind.removeprefix("[]")]
        found: st.SearchStrategy[Any] = st.lists(inner, max_size=2)
    elif field.is_struct():
        found = fields_of(field.fields, version)
    else:
        found = VALUES[kind]
    return st.none() | found if field.nullable_for_version_q(version) and kind != "uuid" else found


def fields_of(known: dict[str, Any], version: int) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            name: value_of(field, version)
            for name, field in known.items()
            if field.for_version_q(version) and not field.tagged_field_q(version) and field.type_str != "bitfield"
        }
    )


def made(kind: Any, known: dict[str, Any], version: int, values: dict[str, Any]) -> Any:
    """The message, or the struct of one, with these values."""

    def value(field: Any, held: Any) -> Any:
        if held is None or not field.fields:
            return held
        if field.is_struct_array():
            return [made(field.data_class, field.fields, version, each) for each in held]
        return made(field.data_class, field.fields, version, held)

    return kind(version=version, **{name: value(known[name], held) for name, held in values.items()})


def drawn(data: st.DataObject, kind: Any, version: int) -> Any:
    return made(kind, kind.fields, version, data.draw(fields_of(kind.fields, version)))


def unused(api: Api) -> Api:
    """The same, as if it had not been used. Not another one: kafka-python keeps one class for each message."""
    assert api.request is not api.response
    found = copy.copy(api)
    found._uses = Counter()
    return found


def told(item: Any) -> Any:
    """All that is in an answer, by the names that callers know."""
    if isinstance(item, list):
        return [told(each) for each in item]
    if isinstance(item, (memoryview, bytearray)):
        return bytes(item)
    if hasattr(item, "_struct"):
        return {name: told(getattr(item, name, None)) for name in item._struct.fields}
    return item


@pytest.mark.parametrize("name", APIS)
@settings(max_examples=20)
@given(data=st.data())
def test_both_ways_say_and_read_the_same(name: str, data: st.DataObject) -> None:
    api = APIS[name]
    version = data.draw(st.integers(api.lowest, api.highest))
    for kind in (api.request, api.response):
        message = drawn(data, kind, version)
        compiled = bytes(message.encode(version=version))
        by_field = apis._field_by_field(kind, version)
        assert bytes(by_field.encode(message)) == compiled
        if kind.__name__ == "ApiVersionsResponse":
            continue  # read in its own way, which depends on what it says
        read = told(by_field.decode(apis._Exact(compiled)))
        assert read == told(kind.decode(memoryview(compiled), version=version))


@pytest.mark.parametrize("name", [name for name, api in APIS.items() if f"{api.name}Response" not in apis._CHANGED])
@settings(max_examples=10)
@given(data=st.data())
def test_answers_that_end_early_are_refused(name: str, data: st.DataObject) -> None:
    api = APIS[name]
    version = data.draw(st.integers(api.lowest, api.highest))
    whole = bytes(drawn(data, api.response, version).encode(version=version))
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(KafkaProtocolError, match=api.name):
        unused(api).decode(version, memoryview(whole[:cut]))


def test_code_is_made_for_what_is_long_or_often_said(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str | None] = []
    is_worth_code = Api._is_worth_code

    def noted(self: Api, kind: type, version: int, *, parts: int = 0, size: int = 0) -> bool:
        worth = is_worth_code(self, kind, version, parts=parts, size=size)
        compiled.append(kind.__name__ if worth else None)
        return worth

    monkeypatch.setattr(Api, "_is_worth_code", noted)
    api = unused(apis.DELETE_GROUPS)
    few = [api.encode(2, {"groups_names": ["a"]}) for _ in range(12)]
    assert len(set(few)) == 1 and 3 < compiled.count(None) < 12 and compiled[-1] == "DeleteGroupsRequest"
    compiled.clear()
    api = unused(api)
    api.encode(2, {"groups_names": [str(number) for number in range(500)]})
    for count in (0, 200):
        result = api.response.DeletableGroupResult
        results = [result(version=2, group_id=str(uuid.UUID(int=number)), error_code=0) for number in range(count)]
        answer = bytes(api.response(version=2, results=results).encode(version=2))
        assert len(api.decode(2, memoryview(answer)).results) == count
    assert compiled == ["DeleteGroupsRequest", None, "DeleteGroupsResponse"]

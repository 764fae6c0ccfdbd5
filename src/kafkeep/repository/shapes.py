"""Frozen dataclasses to canonical JSON values and back, by the types of their fields: pure.

A dataclass becomes an object with every field, and so do partitions and generations; any other tuple becomes a list, a
frozen set a sorted list, a number with a fraction its shortest text; None, text, whole numbers and truth stay what they
are. A field marked as optional in its dataclass is not there while it is None. Reading is strict: a missing field or a
value of another type is refused, and so is an unknown field unless the document is one that later versions may add to.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, TypeVar

from kafkeep.model import Generation, TopicPartition
from kafkeep.secret import Secret

T = TypeVar("T")


_AS_THEY_ARE: Final = frozenset((str, int, bool, types.NoneType))
"""By far most values: documents of settings hold thousands."""
_NAMED: Final = (TopicPartition, Generation)
"""Tuples by their names; of any other tuple a document knows the places alone."""


class Misshapen(ValueError):
    """A value that is not of the shape asked for; the message says where."""


def to_shape(value: object, *, secrets: bool = False) -> Any:
    """The JSON value of a dataclass, or of what its fields may hold. Raises TypeError for anything else, and for a
    `Secret` unless `secrets` says that the document is a place for them.
    """
    if type(value) in _AS_THEY_ARE:
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        held = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        absent = {name for name in _optional(type(value)) if held[name] is None}
        return {name: to_shape(inner, secrets=secrets) for name, inner in held.items() if name not in absent}
    if isinstance(value, _NAMED):
        return value._asdict()
    if isinstance(value, tuple):
        return [to_shape(item, secrets=secrets) for item in value]
    if isinstance(value, frozenset):
        return sorted(to_shape(item, secrets=secrets) for item in value)
    if isinstance(value, Secret) and secrets:
        return value.reveal()
    if isinstance(value, float):
        return repr(value)
    if value is None or isinstance(value, (str, int)):
        return value
    raise TypeError(f"{type(value).__name__} has no shape in a document")


def from_shape(kind: type[T], value: object, what: str, *, open_ended: bool = False) -> T:
    """The dataclass `kind` out of a JSON value; `what` names the document. Fields that are not known are left alone where it
    is `open_ended`. Raises `Misshapen`.
    """
    return typing.cast("T", _read(kind, value, what, open_ended))


@cache
def _fields(kind: type) -> Mapping[str, Any]:
    hints = typing.get_type_hints(kind)
    return hints if kind in _NAMED else {field.name: hints[field.name] for field in dataclasses.fields(kind)}


@cache
def _optional(kind: type) -> frozenset[str]:
    if kind in _NAMED:
        return frozenset()
    return frozenset(field.name for field in dataclasses.fields(kind) if field.metadata.get("optional"))


def _read(kind: Any, value: object, what: str, open_ended: bool) -> object:
    if kind in _NAMED or dataclasses.is_dataclass(kind):
        return _read_dataclass(typing.cast("type", kind), value, what, open_ended)
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        (inner,) = [option for option in typing.get_args(kind) if option is not types.NoneType]
        return None if value is None else _read(inner, value, what, open_ended)
    if origin is frozenset:
        return frozenset(_read_tuple((*typing.get_args(kind), Ellipsis), value, what, open_ended))
    if origin is tuple:
        return _read_tuple(typing.get_args(kind), value, what, open_ended)
    if kind is float:
        return _read_float(value, what)
    if kind is Secret:
        return Secret(_read_text(value, what))
    if type(value) is not kind or (isinstance(value, int) and not -(2**63) <= value < 2**64):
        raise Misshapen(f"{what} is not {_NAMES.get(kind, str(kind))}")
    return value


_NAMES = {str: "text", int: "a whole number of 64 bits", bool: "true or false"}


def _read_dataclass(kind: type, value: object, what: str, open_ended: bool) -> object:
    wanted = _fields(kind)
    needed = set(wanted) - _optional(kind)
    if not isinstance(value, dict) or not needed <= set(value) or not (open_ended or set(value) <= set(wanted)):
        raise Misshapen(f"{what} does not have{'' if open_ended else ' just'} the fields {', '.join(sorted(wanted))}")
    there = {name: hint for name, hint in wanted.items() if name in value}
    return kind(**{name: _read(hint, value[name], f"{what}: {name}", open_ended) for name, hint in there.items()})


def _read_tuple(inner: tuple[Any, ...], value: object, what: str, open_ended: bool) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise Misshapen(f"{what} is not a list")
    if len(inner) == 2 and inner[1] is Ellipsis:
        return tuple(_read(inner[0], item, f"{what}[{index}]", open_ended) for index, item in enumerate(value))
    if len(value) != len(inner):
        raise Misshapen(f"{what} is not a list of {len(inner)}")
    return tuple(
        _read(hint, item, f"{what}[{index}]", open_ended)
        for index, (hint, item) in enumerate(zip(inner, value, strict=True))
    )


def _read_text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise Misshapen(f"{what} is not text")
    return value


def _read_float(value: object, what: str) -> float:
    try:
        if isinstance(value, str):
            return float(value)
    except ValueError as error:
        raise Misshapen(f"{what} is not a number in text") from error
    raise Misshapen(f"{what} is not a number in text")

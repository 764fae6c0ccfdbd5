"""Frozen values as JSON: exact, total over what operations hand out, and never a secret. Pure."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from pathlib import PurePath
from typing import Any, Final

from kafkeep.cli.text import STARS
from kafkeep.errors import KafkeepError
from kafkeep.secret import Secret
from kafkeep.times import rfc3339

Clean = Callable[[str], str]
Way = Callable[[Any, Clean], Any]
"""How a value of one class is shown."""
_SHOWN: Final = object()


def to_json(value: object, clean: Clean = str) -> Any:
    """Dicts, lists, strings, exact integers, floats, booleans and null; `clean` goes over every string.

    Dataclasses and named tuples become objects by field name (a field's metadata may hold under `json` what its value is
    made into first, or None for a field that is left out), bytes base64, enums their value (their name where the
    value is a number), times RFC 3339 in UTC, sets sorted lists, keys of mappings text. TypeError for anything else.
    """
    return _ways[type(value)](value, clean)


class _Ways(dict[type, Way]):
    """By class, found when a value of it is first shown: a summary may hold tens of thousands of one."""

    def __missing__(self, kind: type) -> Way:
        way = self[kind] = _way_of(kind)
        return way


_ways: Final = _Ways()
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, allow_nan=False, check_circular=False)
_AS_THEY_ARE: Final = frozenset((int, bool, type(None)))


def _way_of(kind: type) -> Way:
    if kind in _AS_THEY_ARE:
        return lambda value, clean: value
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _way_of_fields(kind)
    for kinds, way in _WAYS:
        if issubclass(kind, kinds):
            return way
    if dataclasses.is_dataclass(kind):
        return _way_of_fields(kind)
    raise TypeError(f"no JSON form for {kind.__name__}")


def _way_of_fields(kind: Any) -> Way:
    """A dataclass or a named tuple as an object."""
    made: dict[str, Callable[[Any], object]] = {}
    if dataclasses.is_dataclass(kind):
        metadata = {field.name: field.metadata.get("json", _SHOWN) for field in dataclasses.fields(kind)}
        names = [name for name, how in metadata.items() if how is not None]
        made = {name: how for name, how in metadata.items() if how is not None and how is not _SHOWN}
    else:
        names = list(kind._fields)

    def way(value: Any, clean: Clean) -> dict[str, Any]:
        parts: dict[str, Any] = {}
        for name in names:
            part = getattr(value, name)
            if made and name in made:
                part = made[name](part)
            parts[name] = part if type(part) in _AS_THEY_ARE else _ways[type(part)](part, clean)
        return parts

    return way


def _time(value: datetime) -> str:
    if value.tzinfo is None:
        raise ValueError("a time without a zone")
    return rfc3339(value)


def _sorted(value: Iterable[object], clean: Clean) -> list[Any]:
    return sorted((to_json(part, clean) for part in value), key=lambda part: json.dumps(part, sort_keys=True))


_WAYS: Final[Sequence[tuple[type | tuple[type, ...], Way]]] = (
    (Enum, lambda value, clean: to_json(value.name if isinstance(value.value, int) else value.value, clean)),
    (int, lambda value, clean: int(value)),
    (str, lambda value, clean: clean(value)),
    (float, lambda value, clean: value if math.isfinite(value) else None),
    (Secret, lambda value, clean: STARS),
    (KafkeepError, lambda value, clean: error_fields(value, clean)),
    ((bytes, bytearray, memoryview), lambda value, clean: base64.b64encode(value).decode()),
    (datetime, lambda value, clean: _time(value)),
    (timedelta, lambda value, clean: value.total_seconds()),
    (PurePath, lambda value, clean: clean(str(value))),
    (Mapping, lambda value, clean: {clean(str(key)): to_json(part, clean) for key, part in value.items()}),
    ((set, frozenset), _sorted),
    ((list, tuple), lambda value, clean: [to_json(part, clean) for part in value]),
)
"""The first that fits: a secret and an error stay what they are whatever else their class is."""


def error_fields(error: KafkeepError, clean: Clean = str) -> dict[str, Any]:
    """What an `error` line says of an error."""
    return {
        "slug": error.slug,
        "message": clean(error.message),
        "hint": clean(error.hint),
        "exit_code": error.exit_code,
        "retryable": error.retryable,
    }


def line(fields: Mapping[str, Any]) -> str:
    """One JSON line, ASCII only, so that nothing in it can move a terminal's cursor."""
    return _ENCODER.encode(fields)

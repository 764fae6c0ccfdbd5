"""Frozen values as JSON: exact, total over what operations hand out, and never a secret. Pure."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from enum import Enum
from pathlib import PurePath
from typing import Any, Final, cast

from kafkeep.cli.text import STARS
from kafkeep.errors import KafkeepError
from kafkeep.secret import Secret
from kafkeep.times import rfc3339

Clean = Callable[[str], str]
_SHOWN: Final = object()


def to_json(value: object, clean: Clean = str) -> Any:
    """Dicts, lists, strings, exact integers, floats, booleans and null; `clean` goes over every string.

    Dataclasses and named tuples become objects by field name (a field's metadata may hold under `json` what its value is
    made into first, or None for a field that is left out), bytes base64, enums their value (their name where the
    value is a number), times RFC 3339 in UTC, sets sorted lists, keys of mappings text. TypeError for anything else.
    """
    kind = type(value)
    if kind is str:
        return clean(cast(str, value))
    if kind is int or kind is bool or value is None:
        return value
    if (known := _known.get(kind)) is not None:
        return known(value, clean)
    if isinstance(value, Enum):
        return to_json(value.name if isinstance(value.value, int) else value.value, clean)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return _composite(value, clean)


_known: dict[type, Callable[[Any, Clean], dict[str, Any]]] = {}
"""How each dataclass and named tuple is shown that was asked for before: a summary may hold tens of thousands of one."""
_AS_THEY_ARE: Final = frozenset((int, bool, type(None)))


def _way_of(kind: Any) -> Callable[[Any, Clean], dict[str, Any]]:
    """How a dataclass or a named tuple becomes an object."""
    shown: list[tuple[str, Callable[[Any], object] | None]]
    if dataclasses.is_dataclass(kind):
        metadata = {field.name: field.metadata for field in dataclasses.fields(kind)}
        shown = [(name, more.get("json")) for name, more in metadata.items() if more.get("json", _SHOWN) is not None]
    else:
        shown = [(name, None) for name in kind._fields]

    def way(value: Any, clean: Clean) -> dict[str, Any]:
        parts: dict[str, Any] = {}
        for name, made in shown:
            part = getattr(value, name)
            if made is not None:
                part = made(part)
            parts[name] = part if type(part) in _AS_THEY_ARE else to_json(part, clean)
        return parts

    return way


def _composite(value: object, clean: Clean) -> Any:
    if isinstance(value, Secret):
        return STARS
    if isinstance(value, KafkeepError):
        return error_fields(value, clean)
    kind = type(value)
    if dataclasses.is_dataclass(kind) or (issubclass(kind, tuple) and hasattr(kind, "_fields")):
        way = _known[kind] = _way_of(kind)
        return way(value, clean)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        return rfc3339(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, PurePath):
        return clean(str(value))
    return _collection(value, clean)


def _collection(value: object, clean: Clean) -> Any:
    if isinstance(value, Mapping):
        return {clean(str(key)): to_json(part, clean) for key, part in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((to_json(part, clean) for part in value), key=lambda part: json.dumps(part, sort_keys=True))
    if isinstance(value, (list, tuple)):
        return [to_json(part, clean) for part in value]
    raise TypeError(f"no JSON form for {type(value).__name__}")


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
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=True, allow_nan=False)

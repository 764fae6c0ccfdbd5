"""Kafka messages through kafka-python's codec: a second opinion on the bytes kafkeep reads and writes."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any


def message(kind: Any, version: int, **fields: Any) -> Any:
    """A request or answer of kafka-python's class `kind`; nested structures are given as dictionaries."""
    return kind(version=version, **_typed(kind.fields, version, fields))


def body(kind: Any, version: int, **fields: Any) -> bytes:
    """The encoded message without header."""
    return bytes(message(kind, version, **fields).encode())


def framed(answer: Any, correlation_id: int) -> bytes:
    """Size, header and body of an answer."""
    answer.with_header(correlation_id)
    return bytes(answer.encode(header=True, framed=True))


def request(kind: Any, version: int, data: bytes, *, header: bool = False) -> Any:
    """A request's body, or with `header` its frame without the size, decoded."""
    return kind.decode(data, version=version, header=header)


def frame(content: bytes) -> bytes:
    """Any bytes behind their size."""
    return struct.pack(">i", len(content)) + content


def _typed(fields: Mapping[str, Any], version: int, values: Mapping[str, Any]) -> dict[str, Any]:
    out = {}
    for name, value in values.items():
        field = fields[name]
        if isinstance(value, Mapping):
            value = field.data_class(version=version, **_typed(field.fields, version, value))
        elif value is not None and field.is_struct_array():
            value = [field.data_class(version=version, **_typed(field.fields, version, item)) for item in value]
        out[name] = value
    return out

"""Very many instances of one dataclass at once. Pure."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Mapping
from itertools import repeat
from typing import Any, TypeVar

T = TypeVar("T")


def from_columns(kind: type[T], count: int, columns: Mapping[str, Iterable[Any]]) -> list[T]:
    """`count` instances of a dataclass with slots, made from the values of each field, in a fraction of what its `__init__`
    takes for each. `__post_init__` is not run: the values are such that it would let them pass. Raises TypeError unless there
    is a column for every field.
    """
    if columns.keys() != {field.name for field in dataclasses.fields(kind)}:  # type: ignore[arg-type]
        raise TypeError(f"{kind.__name__} has other fields than {', '.join(columns)}")
    found = list(map(object.__new__, repeat(kind, count)))
    for name, values in columns.items():
        deque(map(getattr(kind, name).__set__, found, values), maxlen=0)
    return found

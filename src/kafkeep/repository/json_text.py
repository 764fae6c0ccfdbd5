"""What the values of documents may hold, looked at for many of them at once. Pure.

A commit of ten thousand runs holds some hundred thousand values. Looking at each of them by itself costs several times what
writing or parsing the text does; values that stand side by side in objects alike are looked at together here.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any, Final

_LOWEST: Final = -(2**63)
_BEYOND: Final = 2**64
_LEAVES: Final = frozenset({str, bool, type(None)})
_DIGITS: Final = bytes.maketrans(b"123456789:[", b"000000000,,")
_LONG: Final = b"," + 19 * b"0"
_LONG_NEGATIVE: Final = b",-" + 19 * b"0"


def check_value(value: object) -> None:
    """Raises ValueError for what no document can hold: floats have no exact text, integers beyond 64 bits are not exact in
    every reader, keys must be text.
    """
    waiting: list[Iterable[object]] = [(value,)]
    while waiting:
        group = waiting.pop()
        kinds = set(map(type, group))
        if kinds <= _LEAVES:
            continue
        if len(kinds) > 1:
            waiting.extend([item for item in group if type(item) is kind] for kind in kinds - _LEAVES)
            continue
        (kind,) = kinds
        items: Any = group
        if kind is int:
            _check_range(items)
        elif issubclass(kind, (list, tuple)):
            waiting.append(list(chain.from_iterable(items)))
        elif issubclass(kind, dict):
            waiting.extend(_values(items))
        elif not issubclass(kind, str):
            raise ValueError(f"documents hold no {kind.__name__}")


def _check_range(numbers: Iterable[int]) -> None:
    for number in (min(numbers), max(numbers)):
        if not _LOWEST <= number < _BEYOND:
            raise ValueError(f"integer of a document out of range: {number.bit_length()} bits")


def _values(objects: list[dict[Any, object]]) -> Iterable[Iterable[object]]:
    """The values of these objects, those under one key together where all have the same keys."""
    shapes = set(map(tuple, objects))
    if not set(map(type, chain.from_iterable(shapes))) <= {str}:
        raise ValueError("keys of a document must be text")
    every = [each.values() for each in objects]
    return zip(*every, strict=True) if len(shapes) == 1 else [list(chain.from_iterable(every))]


def may_hold_long_number(body: bytes) -> bool:
    """Whether there may be a number of 19 digits or more, which 64 bits may not hold, in the canonical text of an object."""
    found = body.translate(_DIGITS)
    return _LONG in found or _LONG_NEGATIVE in found

"""Whether two ropes hold the same, page by page: nothing of them is made into objects. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from kafkeep.repository.envelope import canonical, parse_json
from kafkeep.repository.fold.pages import Codec, Piece, Segment
from kafkeep.repository.fold.rope import Rope

T = TypeVar("T")


def same(a: Rope[T], b: Rope[T], codec: Codec[T]) -> bool:
    """Whether they hold equal items in the same order. Every page of both is read and held against its digest; where both
    lie on the very same page that is all, else rows are compared. Raises `StoreError` when a page is lost.
    """
    if len(a) != len(b):
        return False
    left, right = _pieces(a, codec), _pieces(b, codec)
    one, other = next(left, None), next(right, None)
    while one is not None and other is not None:
        if one.place is not None and one.place == other.place and len(one) == len(other):
            one.check()
            other.check()
            one, other = next(left, None), next(right, None)
            continue
        count = min(len(one), len(other))
        if one.taken(count) != other.taken(count):
            return False
        one = one if one else next(left, None)
        other = other if other else next(right, None)
    return one is None and other is None


def _pieces(rope: Rope[T], codec: Codec[T]) -> Iterator[Piece]:
    for block, first, count in rope.parts():
        if isinstance(block, Segment):
            yield from block.pieces(first, first + count)
        else:
            rows = _as_rows(list(block.items(first, first + count)), codec)
            yield Piece(None, lambda rows=rows: rows, lambda: None, 0, count)  # type: ignore[misc]


def _as_rows(items: Sequence[T], codec: Codec[T]) -> Sequence[Any]:
    """As they would come back from a page."""
    return codec.rows(parse_json(canonical(codec.encode(items)), "items in memory"))

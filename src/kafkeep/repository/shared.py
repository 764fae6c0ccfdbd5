"""An append-only sequence whose storage is shared between its versions. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Generic, TypeVar, overload

T = TypeVar("T")


class Shared(Sequence[T], Generic[T]):
    """Each holder sees a fixed length; `extended` adds behind it in place where nobody did so before, else in a copy.

    So a fold over ten thousand commits costs what is added, and an old state still reads as it was.
    """

    __slots__ = ("_count", "_items")

    def __init__(self, items: list[T] | None = None) -> None:
        self._items: list[T] = [] if items is None else items
        self._count = len(self._items)

    def extended(self, more: Iterable[T]) -> Shared[T]:
        """A longer version; this one does not change."""
        # the empty one is everybody's
        items = self._items if len(self._items) == self._count > 0 else self._items[: self._count]
        items.extend(more)
        return Shared(items)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        return islice(self._items, self._count)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self._items[i] for i in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(index)
        return self._items[index if index >= 0 else self._count + index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shared) and list(self) == list(other)

    def __hash__(self) -> int:
        raise TypeError("a Shared is not hashable")

    def __repr__(self) -> str:
        return f"Shared({list(self)!r})"

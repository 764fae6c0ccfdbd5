"""Sequences whose items may lie elsewhere: in memory, or on pages that are read when they are asked for. Pure."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from operator import eq
from typing import Final, Generic, Protocol, TypeVar, overload

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
U = TypeVar("U")


class Lazy(Sequence[T], Generic[T]):
    """Reads like a tuple, equals any tuple of the same items and hashes like it."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, (tuple, Lazy)):
            return NotImplemented
        return len(self) == len(other) and all(map(eq, self, other))

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self)!r})"

    def __reduce__(self) -> tuple[type[tuple[T, ...]], tuple[tuple[T, ...]]]:
        """What leaves the process takes its items along: pages stay behind."""
        return tuple, (tuple(self),)


class Mapped(Lazy[U], Generic[T, U]):
    """Another sequence, each item of it made into something else when it is asked for."""

    __slots__ = ("_each", "_items")

    def __init__(self, items: Sequence[T], each: Callable[[T], U]) -> None:
        self._items = items
        self._each = each

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[U]:
        return map(self._each, self._items)

    @overload
    def __getitem__(self, index: int) -> U: ...
    @overload
    def __getitem__(self, index: slice) -> Mapped[T, U]: ...
    def __getitem__(self, index: int | slice) -> U | Mapped[T, U]:
        if isinstance(index, slice):
            return Mapped(self._items[index], self._each)
        return self._each(self._items[index])


class Deferred(Lazy[T]):
    """A sequence that is looked for when something of it is asked for."""

    __slots__ = ("_found", "_look")

    def __init__(self, look: Callable[[], Sequence[T]]) -> None:
        self._look = look
        self._found: Sequence[T] | None = None

    def _items(self) -> Sequence[T]:
        if self._found is None:
            self._found = self._look()
        return self._found

    def __len__(self) -> int:
        return len(self._items())

    def __iter__(self) -> Iterator[T]:
        return iter(self._items())

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        return self._items()[index]


class Block(Protocol[T_co]):
    """Items in a row that never change, wherever they lie."""

    def item(self, place: int) -> T_co: ...

    def items(self, first: int, stop: int) -> Iterator[T_co]: ...


class Held(Generic[T]):
    """A block in memory."""

    __slots__ = ("_items",)

    def __init__(self, items: Sequence[T]) -> None:
        self._items = items

    def item(self, place: int) -> T:
        return self._items[place]

    def items(self, first: int, stop: int) -> Iterator[T]:
        return islice(self._items, first, stop)


Part = tuple[Block[T], int, int]
"""A block, the first of its items that count, and how many do."""
_NONE: Final = array("Q")


class Rope(Lazy[T]):
    """Parts of blocks one after the other, and a tail in memory. Never changes.

    `extended` adds behind the tail in place where nobody did so before, else in a copy: a fold over ten thousand commits
    costs what is added. The other changes share the blocks.
    """

    __slots__ = ("_blocks", "_count", "_ends", "_firsts", "_last", "_tail")

    def __init__(self, parts: Iterable[Part[T]] = (), *, last: T | None = None) -> None:
        """`last`: the last item if it is at hand; then nothing is read to tell it."""
        joined = _joined(parts)
        tail: list[T] = []
        if joined and isinstance(joined[-1][0], Held):
            block, first, count = joined.pop()
            tail.extend(block.items(first, first + count))
        self._blocks = tuple(block for block, _, _ in joined)
        self._firsts = array("Q", [first for _, first, _ in joined]) if joined else _NONE
        self._ends = array("Q") if joined else _NONE
        total = 0
        for _, _, count in joined:
            total += count
            self._ends.append(total)
        self._tail = tail
        self._count = total + len(tail)
        self._last = last if not tail else None

    @classmethod
    def of(cls, items: Iterable[T]) -> Rope[T]:
        """All of it in memory; a rope stays as it is."""
        return items if isinstance(items, Rope) else cls([(Held(found), 0, len(found)) for found in [tuple(items)]])

    def _base(self) -> int:
        return self._ends[-1] if self._ends else 0

    def extended(self, more: Iterable[T]) -> Rope[T]:
        """A longer version; this one does not change."""
        base = self._ends[-1] if self._ends else 0
        held, tail = self._count - base, self._tail
        if not held or len(tail) != held:  # the empty one is everybody's
            tail = tail[:held]
        tail.extend(more)
        following: Rope[T] = object.__new__(Rope)
        following._blocks, following._firsts, following._ends = self._blocks, self._firsts, self._ends
        following._tail = tail
        following._count = base + len(tail)
        following._last = None if tail else self._last
        return following

    def parts(self) -> Iterator[Part[T]]:
        """All of them in order, the tail as a block in memory."""
        end = 0
        for block, first, stop in zip(self._blocks, self._firsts, self._ends, strict=True):
            yield block, first, stop - end
            end = stop
        held = self._count - end
        if held:
            yield Held(self._tail), 0, held

    @property
    def loose(self) -> int:
        """How many items are in memory."""
        return sum(count for block, _, count in self.parts() if isinstance(block, Held))

    @property
    def known_last(self) -> T | None:
        """The last item if nothing has to be read to tell it."""
        return self._last if self._count == self._base() else self._tail[self._count - self._base() - 1]

    def picked(self, places: Iterable[int]) -> Rope[T]:
        """The items at these places, in rising order."""
        return Rope(part for first, stop in _stretches(places) for part in self._between(first, stop))

    def without(self, places: Collection[int]) -> Rope[T]:
        """All items but those at these places."""
        edges = [0, *(edge for stretch in _stretches(places) for edge in stretch), self._count]
        return Rope(
            part for first, stop in zip(edges[::2], edges[1::2], strict=True) for part in self._between(first, stop)
        )

    def replaced(self, items: Mapping[int, T]) -> Rope[T]:
        """With these items at these places."""
        parts: list[Part[T]] = []
        at = 0
        for first, stop in _stretches(items):
            parts.extend(self._between(at, first))
            parts.append((Held(tuple(items[place] for place in range(first, stop))), 0, stop - first))
            at = stop
        return Rope([*parts, *self._between(at, self._count)])

    def joined(self, other: Rope[T]) -> Rope[T]:
        """This one and then the other."""
        return Rope([*self.parts(), *other.parts()])

    def _between(self, start: int, stop: int) -> Iterator[Part[T]]:
        at = 0
        for block, first, count in self.parts():
            low, high = max(start, at), min(stop, at + count)
            if low < high:
                yield block, first + low - at, high - low
            at += count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        for block, first, count in self.parts():
            yield from block.items(first, first + count)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Rope[T]: ...
    def __getitem__(self, index: int | slice) -> T | Rope[T]:
        if isinstance(index, slice):
            start, stop, step = index.indices(self._count)
            if step != 1:
                return Rope.of([self[place] for place in range(start, stop, step)])
            return Rope(self._between(start, stop))
        place = index if index >= 0 else self._count + index
        if not 0 <= place < self._count:
            raise IndexError(index)
        base = self._base()
        if place >= base:
            return self._tail[place - base]
        if self._last is not None and place == self._count - 1:
            return self._last
        which = bisect_right(self._ends, place)
        start = self._ends[which - 1] if which else 0
        return self._blocks[which].item(self._firsts[which] + place - start)


def _joined(parts: Iterable[Part[T]]) -> list[Part[T]]:
    """The same with neighbours in one block, or in memory, as one."""
    found: list[Part[T]] = []
    gathered: list[T] | None = None
    """The items of the last part, where it was put together here."""
    for block, first, count in parts:
        if not count:
            continue
        before = found[-1] if found else None
        if before is not None and before[0] is block and before[1] + before[2] == first:
            found[-1] = (block, before[1], before[2] + count)
        elif before is not None and isinstance(block, Held) and isinstance(before[0], Held):
            if gathered is None:
                gathered = list(before[0].items(before[1], before[1] + before[2]))
            gathered.extend(block.items(first, first + count))
            found[-1] = (Held(gathered), 0, len(gathered))
        else:
            found.append((block, first, count))
            gathered = None
    return found


def _stretches(places: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Places that follow one another, as ranges."""
    first = stop = -1
    for place in sorted(set(places)):
        if place != stop:
            if stop > first:
                yield first, stop
            first = place
        stop = place + 1
    if stop > first:
        yield first, stop

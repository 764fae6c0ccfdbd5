"""Items on pages: how they are cut into pages, and what a store of pages must offer. Pure."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeVar

from kafkeep.records import dataclass
from kafkeep.repository.fold.rope import Block, Part, Rope

T = TypeVar("T")

DIGEST_BYTES: Final = 32
_AHEAD: Final = 32
"""Pages that are announced in one go."""


@dataclass(frozen=True, slots=True)
class Codec(Generic[T]):
    """How items of one kind become the value of a page and come back."""

    name: str
    encode: Callable[[Sequence[T]], object]
    decode: Callable[[object], Sequence[T]]
    """Raises ValueError, KeyError, TypeError for a value that no `encode` made."""
    rows: Callable[[object], Sequence[Any]]
    """The value of a page as rows that are equal where items are, and say nothing else. Raises as `decode`."""
    weigh: Callable[[T], int]
    """What an item counts for where pages and memory are bounded; 1 for a usual run."""


class Pages(Protocol):
    """Where pages lie. Many threads may ask at once."""

    def put(self, values: Iterable[object]) -> list[bytes] | None:
        """Keeps a page for each value and tells their digests in order; None when that is not possible."""

    def items(self, page: bytes, codec: Codec[T]) -> Sequence[T]:
        """What lies on a page. Raises `StoreError` when it is lost."""

    def rows(self, page: bytes, codec: Codec[Any]) -> Sequence[Any]:
        """The same as `Codec.rows`. Raises as `items`."""

    def check(self, page: bytes) -> None:
        """Look whether it is there and whole. Raises as `items`."""

    def ahead(self, pages: Sequence[bytes]) -> None:
        """These are about to be asked for, in this order."""


class Piece:
    """Rows of one page, from `first` to `stop`."""

    __slots__ = ("_first", "_rows", "_stop", "check", "place")

    def __init__(
        self,
        place: tuple[bytes, int] | None,
        rows: Callable[[], Sequence[Any]],
        check: Callable[[], None],
        first: int,
        stop: int,
    ) -> None:
        self.place = place
        """The digest of the page and the first row of it: the same rows where it is the same. None for rows in memory, and
        once some are taken.
        """
        self.check = check
        """Reads the page and looks at its digest. Raises `StoreError`."""
        self._rows = rows
        self._first = first
        self._stop = stop

    def __len__(self) -> int:
        return self._stop - self._first

    def taken(self, count: int) -> Sequence[Any]:
        """The next rows, which are not in it from here on."""
        first, self._first, self.place = self._first, self._first + count, None
        return self._rows()[first : first + count]


class Segment(Generic[T]):
    """A block on pages. In memory are the pages' digests and where each begins."""

    __slots__ = ("codec", "digests", "source", "starts")

    def __init__(self, source: Pages, codec: Codec[T], digests: bytes, starts: array[int]) -> None:
        """`starts` has one more entry than there are pages: the number of items."""
        self.source = source
        self.codec = codec
        self.digests = digests
        self.starts = starts

    def __len__(self) -> int:
        return self.starts[-1]

    def _digest(self, index: int) -> bytes:
        return self.digests[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES]

    def pages(self) -> Iterator[bytes]:
        """Digests of the pages in order."""
        return map(self._digest, range(len(self.digests) // DIGEST_BYTES))

    def _page(self, index: int) -> Sequence[T]:
        return self.source.items(self._digest(index), self.codec)

    def item(self, place: int) -> T:
        index = bisect_right(self.starts, place) - 1
        return self._page(index)[place - self.starts[index]]

    def items(self, first: int, stop: int) -> Iterator[T]:
        for index, low, high in self._stretches(first, stop):
            yield from self._page(index)[low:high]

    def pieces(self, first: int, stop: int) -> Iterator[Piece]:
        """The same in rows."""
        for index, low, high in self._stretches(first, stop):
            page = self._digest(index)
            rows, check = partial(self.source.rows, page, self.codec), partial(self.source.check, page)
            yield Piece((page, low), rows, check, low, high)

    def _stretches(self, first: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Page by page: its index, and which of its items lie between. Pages are announced before they are needed."""
        index = announced = bisect_right(self.starts, first) - 1
        while first < stop:
            if index == announced:
                announced = min(index + _AHEAD, bisect_right(self.starts, stop - 1))
                self.source.ahead([self._digest(each) for each in range(index, announced)])
            start, end = self.starts[index], min(self.starts[index + 1], stop)
            yield index, first - start, end - start
            first, index = end, index + 1


def write(pages: Pages, codec: Codec[T], items: Iterable[T], page_weight: int) -> Segment[T] | None:
    """A segment of these items; None when the pages cannot be kept, or an item is too large for one."""
    starts = array("Q", [0])

    def values() -> Iterator[object]:
        page: list[T] = []
        weight = 0
        for item in items:
            more = codec.weigh(item)
            if page and weight + more > page_weight:
                starts.append(starts[-1] + len(page))
                yield codec.encode(page)
                page, weight = [], 0
            page.append(item)
            weight += more
        if page:
            starts.append(starts[-1] + len(page))
            yield codec.encode(page)

    digests = pages.put(values())
    return None if digests is None else Segment(pages, codec, b"".join(digests), starts)


def moved(
    pages: Pages, codec: Codec[T], ropes: Sequence[Rope[T]], chosen: Callable[[Block[T]], bool], page_weight: int
) -> list[Rope[T]] | None:
    """The same ropes, their parts in the chosen blocks lying in one segment more, in the order of the ropes."""

    def items() -> Iterator[T]:
        for rope in ropes:
            for block, first, count in rope.parts():
                if chosen(block):
                    yield from block.items(first, first + count)

    segment = write(pages, codec, items(), page_weight)
    if segment is None:
        return None
    found, at = [], 0
    for rope in ropes:
        parts: list[Part[T]] = []
        for block, first, count in rope.parts():
            if chosen(block):
                parts.append((segment, at, count))
                at += count
            else:
                parts.append((block, first, count))
        found.append(Rope(parts, last=rope.known_last))
    return found

"""Items on pages: how they are cut into pages, and what a store of pages must offer. Pure."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Generic, Protocol, TypeVar

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
    weigh: Callable[[T], int]
    """What an item counts for where pages and memory are bounded; 1 for a usual run."""


class Pages(Protocol):
    """Where pages lie. Many threads may ask at once."""

    def put(self, values: Iterable[object]) -> list[bytes] | None:
        """Keeps a page for each value and tells their digests in order; None when that is not possible."""

    def items(self, page: bytes, codec: Codec[T]) -> Sequence[T]:
        """What lies on a page. Raises `StoreError` when it is lost."""

    def ahead(self, pages: Sequence[bytes]) -> None:
        """These are about to be asked for, in this order."""


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
        index = announced = bisect_right(self.starts, first) - 1
        while first < stop:
            if index == announced:
                announced = min(index + _AHEAD, bisect_right(self.starts, stop - 1))
                self.source.ahead([self._digest(each) for each in range(index, announced)])
            start, end = self.starts[index], min(self.starts[index + 1], stop)
            yield from self._page(index)[first - start : end - start]
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

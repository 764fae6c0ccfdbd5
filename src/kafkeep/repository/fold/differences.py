"""In what two states differ, for people. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

from kafkeep.model import RecoveryPoint
from kafkeep.repository.catalogue import PackEntry
from kafkeep.repository.fold.codecs import CUTS, HISTORIES, PACK_RUNS
from kafkeep.repository.fold.comparing import same
from kafkeep.repository.fold.pages import Codec
from kafkeep.repository.fold.rope import Rope
from kafkeep.repository.keeping import Retirement

if TYPE_CHECKING:
    from kafkeep.repository.state import GenerationState, State

_SHORT: Final = 120
_SAME: Final = object()


def difference(a: State, b: State, *, pages: bool) -> str | None:
    """The first thing in which they differ, None where they say the same: head, its digest and saved states are not
    looked at.

    `pages`: runs and cuts too, each of them, page by page; else how many there are and where a history reaches.
    """
    return next(_differences(a, b, pages=pages), None)


def _differences(a: State, b: State, *, pages: bool) -> Iterator[str]:
    for name in ("epoch", "cluster_id", "repository", "trusted", "pins", "floors", "swept", "latest", "keys"):
        if getattr(a, name) != getattr(b, name):
            yield name.replace("_", " ")
    yield from _in_order("alarm", a.alarms, b.alarms)
    yield from _by_key("history", a.generations, b.generations, _history(pages))
    yield from _in_order("pack", a.packs, b.packs, _pack(pages))
    yield from _in_order("recovery point", a.points, b.points, _point(pages))
    yield from _by_key("retirement", a.retirements, b.retirements, _retirement(pages))


def _in_order(
    what: str, a: Iterable[Any], b: Iterable[Any], told: Callable[[Any], object] = lambda item: item
) -> Iterator[str]:
    for place, (one, other) in enumerate(zip_longest(a, b, fillvalue=_SAME)):
        if one is _SAME or other is _SAME:
            yield f"{what} number {place + 1} in order is in one of them only"
        elif told(one) != told(other):
            yield f"{what} number {place + 1} in order"


def _by_key(what: str, a: Mapping[Any, Any], b: Mapping[Any, Any], told: Callable[[Any], object]) -> Iterator[str]:
    yield from (f"{what} {str(key)[:_SHORT]} is in one of them only" for key in a.keys() ^ b.keys())
    yield from (f"{what} {str(key)[:_SHORT]}" for key, one in a.items() if key in b and told(one) != told(b[key]))


class _Whole:
    """Equal where the items are, which are compared page by page."""

    __slots__ = ("codec", "items")

    def __init__(self, items: Sequence[Any], codec: Codec[Any]) -> None:
        self.items = items
        self.codec = codec

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Whole) and same(Rope.of(self.items), Rope.of(other.items), self.codec)

    def __hash__(self) -> int:
        raise TypeError("only for comparing")


def _held(items: Sequence[Any], codec: Codec[Any], pages: bool) -> object:
    return _Whole(items, codec) if pages else len(items)


def _history(pages: bool) -> Callable[[GenerationState], object]:
    return lambda known: (
        (known.generation, known.start, known.next_offset, known.opened_at, known.opened_time, known.opened_why),
        (known.closed_at, known.closed_why),
        (list(known.gaps), list(known.gap_numbers)),
        _held(known.history, HISTORIES, pages),
    )


def _pack(pages: bool) -> Callable[[PackEntry], object]:
    return lambda entry: (
        (entry.name, entry.size, entry.blake3, entry.epoch, entry.number),
        _held(entry.runs, PACK_RUNS, pages),
        _held(entry.moved, PACK_RUNS, pages),
    )


def _point(pages: bool) -> Callable[[RecoveryPoint], object]:
    return lambda point: (
        (point.number, point.name, point.tags, point.started, point.finished, point.cluster_id, point.selection),
        (point.documents, point.consistency, point.complete, point.failures, point.signer),
        _held(point.cuts, CUTS, pages),
    )


def _retirement(pages: bool) -> Callable[[Retirement], object]:
    point = _point(pages)
    return lambda known: (
        (known.number, known.time, known.reason, known.packs),
        list(map(point, known.points)),
    )

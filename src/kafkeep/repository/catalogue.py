"""The packs of a state. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from kafkeep.model import RunRef
from kafkeep.records import dataclass
from kafkeep.repository.shared import Shared


@dataclass(frozen=True, slots=True)
class PackEntry:
    """A live pack: how large it is and what its bytes must hash to."""

    name: str
    size: int
    blake3: str
    """Root digest."""
    epoch: int
    number: int
    """The commit that named it."""
    runs: Sequence[RunRef]
    """Those that lie on pages of the local cache are read when they are asked for; so with `moved`."""
    moved: Sequence[RunRef] = ()
    """Runs that lay here when a compaction gave them another location, as they lay here."""


class PackCatalogue:
    """The live packs in commit order, found by name; versions share storage like `Shared`."""

    __slots__ = ("_entries", "_places")

    def __init__(self, entries: Shared[PackEntry] | None = None, places: dict[str, int] | None = None) -> None:
        self._entries: Shared[PackEntry] = Shared() if entries is None else entries
        self._places: dict[str, int] = {} if places is None else places

    def extended(self, more: Iterable[PackEntry]) -> PackCatalogue:
        """A version with more packs; this one does not change."""
        count = len(self._entries)
        added = list(more)
        places = self._places
        if len(places) != count:
            places = {entry.name: place for place, entry in enumerate(self._entries)}
        places.update((entry.name, count + i) for i, entry in enumerate(added))
        return PackCatalogue(self._entries.extended(added), places)

    def replaced(self, entries: Iterable[PackEntry]) -> PackCatalogue:
        """A version with the same packs, these of them as they are here."""
        items = list(self._entries)
        for entry in entries:
            items[self._places[entry.name]] = entry
        return PackCatalogue(Shared(items), self._places)

    def get(self, name: str) -> PackEntry | None:
        place = self._places.get(name)
        if place is None or place >= len(self._entries) or self._entries[place].name != name:
            return None
        return self._entries[place]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[PackEntry]:
        return iter(self._entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PackCatalogue) and self._entries == other._entries

    def __hash__(self) -> int:
        raise TypeError("a PackCatalogue is not hashable")

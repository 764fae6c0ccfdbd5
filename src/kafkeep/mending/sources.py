"""Where the stored bytes of a run can still be had: here, in a copy, chunk by chunk from both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from blake3 import blake3

from kafkeep.errors import CorruptionError, ObjectNotFound, StoreError, UnknownFormat
from kafkeep.model import ChunkRef, OffsetRange, RunRef
from kafkeep.records import dataclass
from kafkeep.repository import layout
from kafkeep.repository.catalogue import PackEntry
from kafkeep.repository.envelope import MAGIC
from kafkeep.repository.layout import Footer, RunIndex
from kafkeep.repository.moving import stored_chunks
from kafkeep.repository.reader import chunk_coverage, read_footer
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.base import Store

if TYPE_CHECKING:
    from kafkeep.repository.sealing import DocumentSeal

SEARCHED_BYTES: Final = 8 * 1024 * 1024
"""So far in front of its end a pack is searched for its footer."""


@dataclass(frozen=True, slots=True)
class Place:
    """A run in a store: `index` is as the footer of `pack` has it there."""

    store: Store
    pack: str
    index: RunIndex


@dataclass(frozen=True, slots=True)
class Salvage:
    """What can be had of a run."""

    doubt: tuple[OffsetRange, ...]
    """What cannot be read where the run lies."""
    index: RunIndex | None
    """None when nothing tells of the run's chunks."""
    places: tuple[Place | None, ...]
    """For each chunk where it is whole, None for nowhere."""

    @property
    def whole(self) -> bool:
        return self.index is not None and all(place is not None for place in self.places)

    def chunks(self) -> Iterator[bytes | memoryview]:
        """The stored bytes of each chunk, checked. Raises `CorruptObject`, `StoreError`."""
        for at, place in enumerate(self.places):
            if place is not None:
                index = place.index
                yield from stored_chunks(place.store, place.pack, _only(index, at))


def _only(run: RunIndex, at: int) -> RunIndex:
    return replace(run, chunks=(run.chunks[at],))


class Sources:
    """A damaged repository and perhaps its copy."""

    def __init__(
        self, store: Store, repository_id: str, copy: Repository | None, seal: DocumentSeal | None = None
    ) -> None:
        self._store = store
        self._id = repository_id
        self._copy = copy
        self._seal = seal
        self._footers: dict[tuple[int, str], Footer | None] = {}

    def salvage(self, entry: PackEntry, run: RunRef) -> Salvage:
        """Looks at every chunk of the run. Raises `StoreError` when a store does not answer."""
        own, other = self._own_place(entry, run), self._other_place(run)
        known = own if own is not None else other
        if known is None:
            return Salvage((run.coverage,), None, ())
        doubt: list[OffsetRange] = []
        places: list[Place | None] = []
        for at in range(len(known.index.chunks)):
            if own is not None and _is_good(own, at):
                places.append(own)
                continue
            start, stop = chunk_coverage(known.index, at)
            doubt.append(OffsetRange(start, max(start, stop)))
            places.append(other if other is not None and _is_good(other, at) else None)
        return Salvage(tuple(doubt), known.index, tuple(places))

    def _own_place(self, entry: PackEntry, run: RunRef) -> Place | None:
        """Where the run lies here; the footer of the same pack in the copy will do, for it is the same."""
        footer = self._footer(self._store, entry)
        if footer is None and self._copy is not None:
            footer = self._footer(self._copy.store, entry)
        if footer is None:
            footer = self._loose_footer(entry)
        return _place(self._store, entry, footer, run)

    def _loose_footer(self, entry: PackEntry) -> Footer | None:
        """The footer of a pack whose header or trailer is damaged. It vouches for itself, and each of its runs is held
        against what the commit says, down to the digest over its chunks' digests."""
        key = (0, entry.name)
        if key not in self._footers:
            try:
                self._footers[key] = _last_footer(self._store, entry, self._seal)
            except StoreError as error:
                if answers(error) and not isinstance(error, ObjectNotFound):
                    raise
                self._footers[key] = None
        return self._footers[key]

    def _other_place(self, run: RunRef) -> Place | None:
        """Where the run lies in the copy, which may have moved it or not have moved it yet."""
        if self._copy is None:
            return None
        state = self._copy.state
        known = state.generations.get(run.generation)
        for found in () if known is None else known.runs:
            entry = state.packs.get(found.pack) if found.facts == run.facts else None
            if entry is not None:
                return _place(self._copy.store, entry, self._footer(self._copy.store, entry), found)
        return None

    def _footer(self, store: Store, entry: PackEntry) -> Footer | None:
        key = (id(store), entry.name)
        if key not in self._footers:
            try:
                self._footers[key] = read_footer(store, entry, self._id, self._seal)
            except (CorruptionError, UnknownFormat):
                self._footers[key] = None
            except StoreError as error:
                if answers(error):
                    raise
                self._footers[key] = None
        return self._footers[key]


def _last_footer(store: Store, entry: PackEntry, seal: DocumentSeal | None) -> Footer | None:
    """What can be read as the footer in front of where the trailer belongs."""
    end = entry.size - layout.TRAILER_SIZE
    start = max(layout.HEADER_SIZE, end - SEARCHED_BYTES)
    data = store.get(entry.name, start, end - start) if end > start else b""
    at = data.rfind(MAGIC)
    while at >= 0 and len(data) == end - start:
        try:
            return layout.decode_footer(data[at:], start + at, f"pack {entry.name}: the footer", seal)
        except (CorruptionError, UnknownFormat):
            at = data.rfind(MAGIC, 0, at)
    return None


def _place(store: Store, entry: PackEntry, footer: Footer | None, run: RunRef) -> Place | None:
    runs = () if footer is None else footer.runs
    if run.index >= len(runs) or runs[run.index].facts != run.facts:
        return None
    return Place(store, entry.name, runs[run.index])


def _is_good(place: Place, at: int) -> bool:
    """Whether a chunk is whole there; read twice before it is called damaged."""
    return any(_matches(place, place.index.chunks[at]) for _ in range(2))


def _matches(place: Place, chunk: ChunkRef) -> bool:
    try:
        stored = place.store.get(place.pack, chunk.position, chunk.stored_length)
    except ObjectNotFound:
        return False
    except StoreError as error:
        if answers(error):
            raise
        return False
    return len(stored) == chunk.stored_length and blake3(stored).hexdigest() == chunk.blake3


def answers(error: StoreError) -> bool:
    """Whether the error says that the store could not be asked, and nothing about the object; an unreadable sector does
    say something."""
    return error.retryable or type(error) is not StoreError

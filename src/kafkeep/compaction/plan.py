"""Which packs are gathered, as values, and what became of it: pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from kafkeep.errors import UsageError
from kafkeep.model import Failure, RunFacts
from kafkeep.records import dataclass
from kafkeep.repository.catalogue import PackEntry
from kafkeep.repository.compacting import most_bytes
from kafkeep.repository.format import RepositoryDocument
from kafkeep.repository.state import State

TARGET_BYTES: Final = 128 * 1024 * 1024
SMALL_SHARE: Final = 4
"""A pack is small below the target divided by this: so gathered packs are not small, and are left alone."""
MOST_RUNS: Final = 32_768
"""In one pack: footer and commit have room for them, and memory for their index."""
PACK_REQUESTS: Final = 2
"""What a reader asks of a pack before it asks for chunks: the header, and the end with the footer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactOptions:
    target_bytes: int | None = None
    """What gathered packs aim at; None for `TARGET_BYTES`, or what a pack of the repository may have if that is less."""
    smaller_than: int | None = None
    """Packs of fewer bytes are gathered; None for a quarter of the target, which is also the most."""


@dataclass(frozen=True, slots=True)
class Gathering:
    """Packs, oldest first, whose runs go into one."""

    packs: tuple[str, ...]
    runs: int
    bytes: int
    """Of the runs' chunks, as stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactPlan:
    repository: str
    head: int
    """The commit up to which the log was read."""
    target_bytes: int
    smaller_than: int
    live_packs: int
    """Of the repository, those with runs."""
    small_packs: int
    """Of these, the small ones that are not retired."""
    gatherings: tuple[Gathering, ...]

    @property
    def packs(self) -> int:
        """Packs that will be emptied."""
        return sum(len(gathering.packs) for gathering in self.gatherings)

    @property
    def runs(self) -> int:
        return sum(gathering.runs for gathering in self.gatherings)

    @property
    def bytes(self) -> int:
        return sum(gathering.bytes for gathering in self.gatherings)

    @property
    def requests_saved(self) -> int:
        """So many fewer requests whenever all of these runs are read: by a restore, a comparison, a verification."""
        return PACK_REQUESTS * (self.packs - len(self.gatherings))

    @property
    def nothing_to_do(self) -> bool:
        return not self.gatherings


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactResult:
    plan: CompactPlan
    commits: tuple[int, ...]
    """One for each pack that was made."""
    packs: int
    """Packs that were left without runs."""
    runs: int
    bytes: int
    """Of the packs that were made."""
    stopped: bool
    """Ended early, because it was asked to; the next compaction goes on."""
    failures: tuple[Failure, ...]
    """Gatherings that were left as they were because something of them is damaged."""


def plan_compaction(state: State, document: RepositoryDocument, options: CompactOptions) -> CompactPlan:
    """Small packs that lie next to one another in the log are gathered, so that each of them is read once and emptied by one
    commit, and data that grows old together lies together. Raises `UsageError` for options that contradict one another.

    After a compaction has carried its plan out, another one finds nothing to do: what is left over is alone, or too large for
    what is smaller. For the same reason frequent compactions do not write the same bytes over and over.
    """
    target, small = _sizes(document, options)
    retired = state.retired_packs()
    live = [entry for entry in state.packs if entry.runs]
    sized = [(entry, _live_bytes(entry, document.chunk_bytes)) for entry in live if entry.name not in retired]
    candidates = [(entry, size) for entry, size in sized if size < small]
    gatherings = [
        Gathering(
            tuple(entry.name for entry in entries),
            sum(len(entry.runs) for entry in entries),
            sum(run.facts.stored_bytes for entry in entries for run in entry.runs),
        )
        for batch in _batches(candidates, target)
        if len(entries := _worthwhile(batch)) > 1
    ]
    return CompactPlan(
        repository=document.id,
        head=state.head,
        target_bytes=target,
        smaller_than=small,
        live_packs=len(live),
        small_packs=len(candidates),
        gatherings=tuple(gatherings),
    )


def _sizes(document: RepositoryDocument, options: CompactOptions) -> tuple[int, int]:
    """Target and threshold in bytes."""
    target = min(TARGET_BYTES, document.pack_bytes) if options.target_bytes is None else options.target_bytes
    if not 1 <= target <= document.pack_bytes:
        raise UsageError(
            f"a pack of {target} bytes is none that this repository holds",
            hint=f"Give a target of at most {document.pack_bytes} bytes.",
        )
    small = target // SMALL_SHARE if options.smaller_than is None else options.smaller_than
    if small > target // SMALL_SHARE:
        raise UsageError(
            f"packs of up to {small} bytes are too large to be gathered in packs of {target}",
            hint=f"Packs are small below {target // SMALL_SHARE} bytes, a quarter of the target, at most.",
        )
    return target, small


def _live_bytes(entry: PackEntry, chunk_bytes: int) -> int:
    """What the runs of a pack add to another one, at most."""
    return sum(most_bytes(run.facts, _most_chunks(run.facts, chunk_bytes)) for run in entry.runs)


def _most_chunks(facts: RunFacts, chunk_bytes: int) -> int:
    """Any two neighbouring chunks are together larger than a chunk aims to be, and each holds a batch."""
    return min(1 + 2 * facts.raw_bytes // chunk_bytes, facts.batches)


_Sized = tuple[PackEntry, int]


def _batches(candidates: Iterable[_Sized], target: int) -> Iterator[list[_Sized]]:
    """In their order, as many together as one pack takes."""
    batch: list[_Sized] = []
    size = runs = 0
    for entry, bytes_ in candidates:
        if batch and (size + bytes_ > target or runs + len(entry.runs) > MOST_RUNS):
            yield batch
            batch, size, runs = [], 0, 0
        batch.append((entry, bytes_))
        size, runs = size + bytes_, runs + len(entry.runs)
    if batch:
        yield batch


def _worthwhile(batch: Sequence[_Sized]) -> list[PackEntry]:
    """The packs of a batch without those that are more than twice as large as all smaller ones together: a pack is written
    again only where it grows by half or more, so that no byte is written often."""
    left = sorted(batch, key=lambda item: item[1])
    size = sum(size for _, size in left)
    while left and left[-1][1] > 2 * (size - left[-1][1]):
        size -= left.pop()[1]
    kept = {entry.name for entry, _ in left}
    return [entry for entry, _ in batch if entry.name in kept]

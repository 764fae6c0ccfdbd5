"""Looking, before packs are given up, whether what a compaction took out of them is whole where it lies now.

A commit that says "these runs lie elsewhere" is as easy to write as any other. Whoever may write, and no more, could point
good runs to garbage and let retention delete the originals. So pruning believes no commit here but reads the bytes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Set
from itertools import islice
from typing import Final

from kafkeep.errors import CorruptionError, CorruptObject
from kafkeep.events import EventSink, Progress, Stage, WorkPlanned, ignore
from kafkeep.model import RunRef
from kafkeep.repository.moving import stored_chunks
from kafkeep.repository.reader import PackReader
from kafkeep.repository.repository import Repository
from kafkeep.repository.state import State

AT_ONCE: Final = 50_000
"""Runs that are sorted in memory."""
_HINT: Final = (
    "Nothing was given up: the packs that these runs were moved out of still hold them. `kafkeep verify` tells all that is"
    " damaged, and the log which commit of kind compact moved them, by whom."
)


def check_moved(repository: Repository, packs: Set[str], *, sink: EventSink = ignore) -> None:
    """Reads every run that lay in one of `packs` and lies elsewhere by now, footer and chunks, and holds them against what
    the log says of them. Raises `CorruptObject`, naming what is wrong, `StoreError`.
    """
    state = repository.state
    count = size = 0
    for run in _moved(state, packs):
        count, size = count + 1, size + run.facts.stored_bytes
    if not count:
        return
    sink(WorkPlanned("check", 0, None, size))
    sink(Stage("check", f"{count} run(s) that were moved out of packs about to be deleted"))
    reader = PackReader(repository.store, repository.id, seal=repository.seal, footers=1)
    wrong: list[str] = []
    for run in _by_place(_moved(state, packs)):
        try:
            _check(repository, reader, state, run)
        except CorruptionError as error:
            wrong.append(f"{run.generation} {run.coverage}: {error.message}")
        sink(Progress("check", run.facts.records, run.facts.stored_bytes))
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise CorruptObject(f"what was moved is not whole where it lies: {wrong[0]}{more}", hint=_HINT)


def _by_place(runs: Iterable[RunRef]) -> Iterator[RunRef]:
    """Many at a time in the order in which they lie, so that a footer serves all runs of its pack among these."""
    waiting = iter(runs)
    while some := sorted(islice(waiting, AT_ONCE), key=lambda run: (run.pack, run.index)):
        yield from some


def _moved(state: State, packs: Set[str]) -> Iterable[RunRef]:
    """Where the runs lie that lay in `packs`: not those that lie in one of them, which are given up, or nowhere any more."""
    for name in sorted(packs):
        entry = state.packs.get(name)
        for run in () if entry is None else entry.moved:
            known = state.generations[run.generation].runs
            place = bisect_left(known, run.coverage.start, key=lambda each: each.coverage.start)
            if place < len(known) and known[place].coverage == run.coverage and known[place].pack not in packs:
                yield known[place]


def _check(repository: Repository, reader: PackReader, state: State, run: RunRef) -> None:
    entry = state.packs.get(run.pack)
    if entry is None:
        raise CorruptObject(f"pack {run.pack} is named by no commit")
    for _ in stored_chunks(repository.store, run.pack, reader.run_index(entry, run)):
        pass

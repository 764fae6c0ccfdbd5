"""Looking, before packs are given up, whether what a compaction took out of them is whole where it lies now.

A commit that says "these runs lie elsewhere" is as easy to write as any other. Whoever may write, and no more, could point
good runs to garbage and let retention delete the originals. So pruning believes no commit here but reads the bytes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Set
from typing import Final

from kafkeep.errors import CorruptionError, CorruptObject
from kafkeep.events import EventSink, Progress, Stage, WorkPlanned, ignore
from kafkeep.model import RunRef
from kafkeep.repository.moving import stored_chunks
from kafkeep.repository.reader import PackReader
from kafkeep.repository.repository import Repository
from kafkeep.repository.state import State

_HINT: Final = (
    "Nothing was given up: the packs that these runs were moved out of still hold them. `kafkeep verify` tells all that is"
    " damaged, and the log which commit of kind compact moved them, by whom."
)


def check_moved(repository: Repository, packs: Set[str], *, sink: EventSink = ignore) -> None:
    """Reads every run that lay in one of `packs` and lies elsewhere by now, footer and chunks, and holds them against what
    the log says of them. Raises `CorruptObject`, naming what is wrong, `StoreError`.
    """
    state = repository.state
    runs = sorted(_moved(state, packs), key=lambda run: (run.pack, run.index))
    if not runs:
        return
    sink(WorkPlanned("check", 0, None, sum(run.facts.stored_bytes for run in runs)))
    sink(Stage("check", f"{len(runs)} run(s) that were moved out of packs about to be deleted"))
    reader = PackReader(repository.store, repository.id, seal=repository.seal, footers=1)
    wrong = []
    for run in runs:
        try:
            _check(repository, reader, state, run)
        except CorruptionError as error:
            wrong.append(f"{run.generation} {run.coverage}: {error.message}")
        sink(Progress("check", run.facts.records, run.facts.stored_bytes))
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise CorruptObject(f"what was moved is not whole where it lies: {wrong[0]}{more}", hint=_HINT)


def _moved(state: State, packs: Set[str]) -> Iterable[RunRef]:
    """Where the runs lie that lay in `packs`: not those that lie in one of them, which are given up, or nowhere any more."""
    for name in packs:
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

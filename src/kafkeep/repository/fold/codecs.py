"""Runs and cuts as the values of pages, column by column, and back. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, count
from operator import add, attrgetter
from typing import Any, Final

from kafkeep.model import AbortedTransaction, Generation, HeldBack, OffsetRange, PartitionCut, RunFacts, RunRef
from kafkeep.repository.columns import from_columns
from kafkeep.repository.fold.pages import Codec
from kafkeep.repository.nouns import Malformed

Numbered = tuple[int, RunRef]
"""A run, and before it the number of the commit that brought it."""

_COLUMNS: Final = 20
_LISTED_COLUMNS: Final = (3, 13, 14, 15)
"""Those that tell places in the table of lists."""
_LIST_WEIGHT: Final = 8
"""So many entries of a run's lists count for as much as another run."""


def generation_row(generation: Generation) -> tuple[str, str, int, int]:
    """A generation as pages have it."""
    return generation.topic, generation.topic_id, generation.partition, generation.lineage


def run_weight(run: RunRef) -> int:
    """What a run counts for in memory and on pages: lists of transactions can be long."""
    facts = run.facts
    return 1 + (len(facts.aborted) + len(facts.open_transactions) + len(facts.leader_epochs)) // _LIST_WEIGHT


_FACTS: Final = attrgetter(
    "generation",
    "coverage",
    "leader_epochs",
    "batches",
    "records",
    "control_batches",
    "raw_bytes",
    "stored_bytes",
    "min_base_timestamp",
    "max_timestamp",
    "log_append_time",
    "create_time",
    "holes",
    "old_magic",
    "largest_batch",
    "codecs",
    "aborted",
    "open_transactions",
    "blake3",
)
_PLACE: Final = attrgetter("facts", "pack", "index", "key")


def _places(values: Iterable[Any]) -> dict[Any, int]:
    """Values that repeat, each once in the order of their first occurrence, with their places."""
    return dict(zip(dict.fromkeys(values), count()))


def _run_columns(runs: Iterable[RunRef]) -> dict[str, object]:
    """What many runs share is told once: names, and lists, in which offsets are told from where the run begins."""
    facts, packs, indexes, keys = zip(*map(_PLACE, runs), strict=True)
    of, coverage, epochs, *counts, appended, created, holes, old, largest, codecs, aborted, undecided, digests = zip(
        *map(_FACTS, facts), strict=True
    )
    starts = [offsets.start for offsets in coverage]
    generations, pack_places, key_places = _places(of), _places(packs), _places(keys)
    since = [
        tuple([(epoch, first - start) for epoch, first in each]) for each, start in zip(epochs, starts, strict=True)
    ]
    lists = _places(chain.from_iterable(zip(since, codecs, aborted, undecided, strict=True)))
    return {
        "columns": [
            [generations[each] for each in of],
            starts,
            [offsets.stop - offsets.start for offsets in coverage],
            [lists[each] for each in since],
            *counts,
            [a + 2 * b + 4 * c + 8 * d for a, b, c, d in zip(appended, created, holes, old, strict=True)],
            largest,
            [lists[each] for each in codecs],
            [lists[each] for each in aborted],
            [lists[each] for each in undecided],
            digests,
            [pack_places[each] for each in packs],
            indexes,
            [key_places[each] for each in keys],
        ],
        "generations": [generation_row(each) for each in generations],
        "keys": list(key_places),
        "lists": list(lists),
        "packs": list(pack_places),
    }


def _runs(page: dict[str, Any]) -> list[RunRef]:
    columns = page["columns"]
    if len(columns) != _COLUMNS or len(set(map(len, columns))) != 1:
        raise Malformed("a page whose columns are not of one length")
    size = len(columns[0])
    of, starts, lengths, epochs, batches, records, control, raw, stored, oldest, newest, flags, largest, *more = columns
    codecs, aborted, undecided, digests, packs, indexes, keys = more
    if min(starts, default=0) < 0 or min(lengths, default=0) < 0:
        raise Malformed("a page with a range that is none")
    generations = [Generation(*row) for row in page["generations"]]
    lists = page["lists"]
    codec_lists = [tuple(each) for each in lists]
    transactions = _by_place(lists, aborted, undecided)
    columns_of_facts: dict[str, Iterable[object]] = {
        "generation": map(generations.__getitem__, of),
        "coverage": from_columns(OffsetRange, size, {"start": starts, "stop": map(add, starts, lengths)}),
        "leader_epochs": [
            tuple([(epoch, start + first) for epoch, first in lists[place]])
            for place, start in zip(epochs, starts, strict=True)
        ],
        "batches": batches,
        "records": records,
        "control_batches": control,
        "raw_bytes": raw,
        "stored_bytes": stored,
        "min_base_timestamp": oldest,
        "max_timestamp": newest,
        "log_append_time": [bool(each & 1) for each in flags],
        "create_time": [bool(each & 2) for each in flags],
        "largest_batch": largest,
        "codecs": map(codec_lists.__getitem__, codecs),
        "aborted": map(transactions.__getitem__, aborted),
        "open_transactions": map(transactions.__getitem__, undecided),
        "holes": [bool(each & 4) for each in flags],
        "old_magic": [bool(each & 8) for each in flags],
        "blake3": digests,
    }
    places: dict[str, Iterable[object]] = {
        "facts": from_columns(RunFacts, size, columns_of_facts),
        "pack": map(page["packs"].__getitem__, packs),
        "index": indexes,
        "key": map(page["keys"].__getitem__, keys),
    }
    return from_columns(RunRef, size, places)


def _by_place(lists: list[Any], *columns: list[int]) -> dict[int, tuple[AbortedTransaction, ...]]:
    """Those of the lists that hold transactions."""
    return {
        place: tuple([AbortedTransaction(producer, first) for producer, first in lists[place]])
        for place in set[int]().union(*columns)
    }


def _encode_history(items: Sequence[Numbered]) -> object:
    return {**_run_columns(run for _, run in items), "numbers": [number for number, _ in items]}


def _decode_history(value: object) -> list[Numbered]:
    page = _page(value)
    return list(zip(page["numbers"], _runs(page), strict=True))


_CUT: Final = attrgetter(
    "generation", "stop", "start", "high_watermark", "last_stable_offset", "leader_epoch", "held_back"
)


def _encode_cuts(cuts: Sequence[PartitionCut]) -> object:
    of, *columns = zip(*map(_CUT, cuts), strict=True)
    topics = [(each.topic, each.topic_id) for each in of]
    places = _places(topics)
    partitions, lineages = [each.partition for each in of], [each.lineage for each in of]
    return {
        "columns": [[places[topic] for topic in topics], partitions, lineages, *columns],
        "topics": list(places),
    }


def _decode_cuts(value: object) -> list[PartitionCut]:
    page = _page(value)
    topics = page["topics"]
    return [
        PartitionCut(
            Generation(topics[topic][0], topics[topic][1], partition, lineage),
            stop,
            start,
            high,
            stable,
            epoch,
            tuple([HeldBack(*entry) for entry in held]),
        )
        for topic, partition, lineage, stop, start, high, stable, epoch, held in zip(*page["columns"], strict=True)
    ]


def _page(value: object) -> dict[str, Any]:
    if type(value) is not dict:
        raise Malformed("a page that is not an object")
    return value


def _run_rows(value: object) -> list[tuple[Any, ...]]:
    page = _page(value)
    columns, lists, resolved = page["columns"], page["lists"], list(page["columns"])
    if len(columns) != _COLUMNS:
        raise Malformed("a page with other columns")
    for place in _LISTED_COLUMNS:
        resolved[place] = [lists[each] for each in columns[place]]
    for place, table in ((0, page["generations"]), (_COLUMNS - 3, page["packs"]), (_COLUMNS - 1, page["keys"])):
        resolved[place] = [table[each] for each in columns[place]]
    return list(zip(*resolved, strict=True))


def _history_rows(value: object) -> list[tuple[Any, ...]]:
    return list(zip(_page(value)["numbers"], _run_rows(value), strict=True))


def _cut_rows(value: object) -> list[tuple[Any, ...]]:
    page = _page(value)
    of, *columns = page["columns"]
    return list(zip([page["topics"][each] for each in of], *columns, strict=True))


HISTORIES: Final[Codec[Numbered]] = Codec(
    "histories", _encode_history, _decode_history, _history_rows, lambda item: run_weight(item[1])
)
PACK_RUNS: Final[Codec[RunRef]] = Codec("packs", _run_columns, lambda value: _runs(_page(value)), _run_rows, run_weight)
CUTS: Final[Codec[PartitionCut]] = Codec(
    "cuts", _encode_cuts, _decode_cuts, _cut_rows, lambda cut: 1 + len(cut.held_back)
)
CODECS: Final[dict[str, Codec[Any]]] = {codec.name: codec for codec in (HISTORIES, PACK_RUNS, CUTS)}
"""By name."""

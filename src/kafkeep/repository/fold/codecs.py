"""Runs and cuts as the values of pages, column by column, and back. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from kafkeep.model import AbortedTransaction, Generation, HeldBack, OffsetRange, PartitionCut, RunFacts, RunRef
from kafkeep.repository.fold.pages import Codec
from kafkeep.repository.nouns import Malformed

Numbered = tuple[int, RunRef]
"""A run, and before it the number of the commit that brought it."""

_LIST_WEIGHT: Final = 8
"""So many entries of a run's lists count for as much as another run."""


class _Table:
    """Values that repeat, each once, by their places."""

    def __init__(self) -> None:
        self.places: dict[Any, int] = {}

    def place(self, value: Any) -> int:
        return self.places.setdefault(value, len(self.places))

    def values(self) -> list[Any]:
        return list(self.places)


def generation_row(generation: Generation) -> tuple[str, str, int, int]:
    """A generation as pages have it."""
    return generation.topic, generation.topic_id, generation.partition, generation.lineage


def run_weight(run: RunRef) -> int:
    """What a run counts for in memory and on pages: lists of transactions can be long."""
    facts = run.facts
    return 1 + (len(facts.aborted) + len(facts.open_transactions) + len(facts.leader_epochs)) // _LIST_WEIGHT


def _run_columns(runs: Iterable[RunRef]) -> dict[str, object]:
    """What many runs share is told once: names, and lists, in which offsets are told from where the run begins."""
    generations, packs, keys, lists = _Table(), _Table(), _Table(), _Table()
    rows = []
    for run in runs:
        facts = run.facts
        start = facts.coverage.start
        rows.append(
            (
                generations.place(generation_row(facts.generation)),
                start,
                facts.coverage.stop - start,
                lists.place(tuple([(epoch, first - start) for epoch, first in facts.leader_epochs])),
                facts.batches,
                facts.records,
                facts.control_batches,
                facts.raw_bytes,
                facts.stored_bytes,
                facts.min_base_timestamp,
                facts.max_timestamp,
                facts.log_append_time + 2 * facts.create_time + 4 * facts.holes + 8 * facts.old_magic,
                facts.largest_batch,
                lists.place(facts.codecs),
                lists.place(facts.aborted),
                lists.place(facts.open_transactions),
                facts.blake3,
                packs.place(run.pack),
                run.index,
                keys.place(run.key),
            )
        )
    return {
        "columns": list(zip(*rows, strict=True)),
        "generations": generations.values(),
        "keys": keys.values(),
        "lists": lists.values(),
        "packs": packs.values(),
    }


def _runs(page: dict[str, Any]) -> list[RunRef]:
    generations = [Generation(*row) for row in page["generations"]]
    lists, packs, keys = page["lists"], page["packs"], page["keys"]
    codec_lists = [tuple(each) for each in lists]
    transactions = _by_place(lists, page["columns"][14], page["columns"][15])
    return [
        RunRef(
            RunFacts(
                generation=generations[of],
                coverage=OffsetRange(start, start + length),
                leader_epochs=tuple([(epoch, start + first) for epoch, first in lists[epochs]]),
                batches=batches,
                records=records,
                control_batches=control_batches,
                raw_bytes=raw_bytes,
                stored_bytes=stored_bytes,
                min_base_timestamp=oldest,
                max_timestamp=newest,
                log_append_time=bool(flags & 1),
                create_time=bool(flags & 2),
                largest_batch=largest,
                codecs=codec_lists[codecs],
                aborted=transactions[aborted],
                open_transactions=transactions[undecided],
                holes=bool(flags & 4),
                old_magic=bool(flags & 8),
                blake3=blake3,
            ),
            packs[pack],
            index,
            keys[key],
        )
        for (
            of,
            start,
            length,
            epochs,
            batches,
            records,
            control_batches,
            raw_bytes,
            stored_bytes,
            oldest,
            newest,
            flags,
            largest,
            codecs,
            aborted,
            undecided,
            blake3,
            pack,
            index,
            key,
        ) in zip(*page["columns"], strict=True)
    ]


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


def _encode_cuts(cuts: Sequence[PartitionCut]) -> object:
    generations = _Table()
    rows = [
        (
            generations.place((cut.generation.topic, cut.generation.topic_id)),
            cut.generation.partition,
            cut.generation.lineage,
            cut.stop,
            cut.start,
            cut.high_watermark,
            cut.last_stable_offset,
            cut.leader_epoch,
            cut.held_back,
        )
        for cut in cuts
    ]
    return {"columns": list(zip(*rows, strict=True)), "topics": generations.values()}


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


HISTORIES: Final[Codec[Numbered]] = Codec(
    "histories", _encode_history, _decode_history, lambda item: run_weight(item[1])
)
PACK_RUNS: Final[Codec[RunRef]] = Codec("packs", _run_columns, lambda value: _runs(_page(value)), run_weight)
CUTS: Final[Codec[PartitionCut]] = Codec("cuts", _encode_cuts, _decode_cuts, lambda cut: 1 + len(cut.held_back))
CODECS: Final[dict[str, Codec[Any]]] = {codec.name: codec for codec in (HISTORIES, PACK_RUNS, CUTS)}
"""By name."""

"""Many runs or cuts out of a commit at once: a field of all of them is checked together. Pure.

What is found is what `nouns` finds for each by itself; None stands for rows of which one may be wrong, or is of a kind that
is seldom: `nouns` reads them, and says what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, repeat
from operator import itemgetter, le
from typing import Any, Final

from kafkeep.model import OffsetRange, PartitionCut, RunFacts, RunRef
from kafkeep.repository import nouns
from kafkeep.repository.columns import from_columns
from kafkeep.repository.nouns import INT32, INT64, Malformed, decode_generation

_CUT_FIELDS: Final = frozenset(("partitions", "topic", "topic_id"))
_HEX: Final = re.compile(r"[0-9a-f]*\Z")
_TIMES: Final = ("min_base_timestamp", "max_timestamp")
_COUNTS: Final = ("batches", "records", "control_batches", "raw_bytes", "stored_bytes", "largest_batch", "from", "to")
_FLAGS: Final = ("log_append_time", "create_time", "holes", "old_magic")
_LISTS: Final = ("leader_epochs", "codecs", "aborted", "open_transactions")
_FIELDS: Final = ("generation", "index", "blake3", *_LISTS, *_COUNTS, *_TIMES, *_FLAGS)
_PICK: Final = itemgetter(*_FIELDS)


class _Unusual(Exception):
    """Rows that have to be looked at one by one."""


def run_refs(rows: object, pack: str) -> tuple[RunRef, ...] | None:
    """The runs of a pack out of the list in its commit."""
    if type(rows) is not list or set(map(type, rows)) != {dict}:
        return None
    try:
        column = dict(zip(_FIELDS, zip(*map(_PICK, rows), strict=True), strict=True))
        facts = _facts(column)
        indexes = _integers(column["index"], 0, 2**32 - 1)
        parts = {"facts": facts, "pack": repeat(pack), "index": indexes, "key": _keys(rows)}
        return tuple(from_columns(RunRef, len(rows), parts))
    except (_Unusual, Malformed, KeyError):
        return None


def _facts(column: Mapping[str, Sequence[Any]]) -> list[RunFacts]:
    for name in _COUNTS:
        _integers(column[name], 0, INT64)
    for name in _TIMES:
        _integers(column[name], -(2**63), INT64)
    for name in _FLAGS:
        _all_of(bool, column[name])
    for name in _LISTS:
        _all_of(list, column[name])
    if any(column["aborted"]) or any(column["open_transactions"]):
        raise _Unusual
    count = len(column["from"])
    if not all(map(le, column["from"], column["to"])):
        raise _Unusual
    same = {name: column[name] for name in (*_COUNTS[:-2], *_TIMES, *_FLAGS)}
    made: dict[str, Iterable[object]] = {
        "generation": map(decode_generation, column["generation"]),
        "coverage": from_columns(OffsetRange, count, {"start": column["from"], "stop": column["to"]}),
        "leader_epochs": _leader_epochs(column["leader_epochs"]),
        "codecs": _codecs(column["codecs"]),
        "aborted": repeat(()),
        "open_transactions": repeat(()),
        "blake3": _digests(column["blake3"]),
    }
    return from_columns(RunFacts, count, same | made)


def _all_of(kind: type, values: Iterable[object]) -> None:
    if not set(map(type, values)) <= {kind}:
        raise _Unusual


def _integers(values: Sequence[Any], low: int, high: int) -> Sequence[int]:
    _all_of(int, values)
    if values and not (low <= min(values) and max(values) <= high):
        raise _Unusual
    return values


def _digests(values: Sequence[Any]) -> Sequence[str]:
    _all_of(str, values)
    if set(map(len, values)) != {64} or not _HEX.match("".join(values)):
        raise _Unusual
    return values


def _keys(rows: Sequence[dict[str, Any]]) -> Iterable[str | None]:
    have = sum("key" in row for row in rows)
    if not have:
        return repeat(None)
    keys = [row.get("key") for row in rows]
    for key in set(keys):
        if type(key) is not str or len(key) != 32 or not _HEX.match(key):
            raise _Unusual
    return keys


def _codecs(rows: Sequence[list[Any]]) -> list[tuple[int, ...]]:
    _integers(list(chain.from_iterable(rows)), 0, 7)
    found = list(map(tuple, rows))
    each = {codecs: codecs for codecs in found}
    return list(map(each.__getitem__, found))


def _leader_epochs(rows: Sequence[list[Any]]) -> Iterable[tuple[tuple[int, int], ...]]:
    pairs = list(chain.from_iterable(rows))
    _all_of(list, pairs)
    if not set(map(len, pairs)) <= {2}:
        raise _Unusual
    flat = list(chain.from_iterable(pairs))
    _integers(flat[::2], -(2**31), INT32)
    _integers(flat[1::2], 0, INT64)
    return [tuple(map(tuple, row)) for row in rows]


def decode_cuts(value: object) -> tuple[PartitionCut, ...]:
    """The cuts of a point out of the list in its commit: the same as `nouns.decode_cuts`. Raises `Malformed`, KeyError."""
    found: list[PartitionCut] = []
    for group in value if type(value) is list else (None,):
        plain = _cuts(group)
        if plain is None:
            return nouns.decode_cuts(value)
        found += plain
    return tuple(found)


def _cuts(group: object) -> list[PartitionCut] | None:
    """Those of one topic, where the point holds nothing back in it."""
    if type(group) is not dict or not group.keys() >= _CUT_FIELDS or "held_back" in group:
        return None
    rows = group["partitions"]
    if type(rows) is not list or set(map(type, rows)) != {list} or set(map(len, rows)) != {7}:
        return None
    partitions, lineages, starts, stops, high, stable, epochs = zip(*rows, strict=True)
    try:
        for values in (starts, stops):
            _integers(values, 0, INT64)
        for values in (high, stable):
            _integers(values, -1, INT64)
        _integers(epochs, -1, INT32)
        of = [
            decode_generation([group["topic"], group["topic_id"], *both])
            for both in zip(partitions, lineages, strict=True)
        ]
    except (_Unusual, Malformed):
        return None
    columns: dict[str, Iterable[object]] = {"generation": of, "stop": stops, "start": starts, "high_watermark": high}
    more: dict[str, Iterable[object]] = {"last_stable_offset": stable, "leader_epoch": epochs, "held_back": repeat(())}
    return from_columns(PartitionCut, len(rows), columns | more)

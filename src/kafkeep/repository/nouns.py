"""The model's nouns as JSON values and back, strictly checked. Pure.

Every decoder raises `Malformed` for a value of the wrong shape, type or range. Fields it does not know are left alone:
a later version may add optional ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final, TypeVar

from kafkeep.model import (
    AbortedTransaction,
    Failure,
    Gap,
    Generation,
    GenerationClosed,
    GenerationOpened,
    HeldBack,
    OffsetRange,
    PartitionCut,
    RunFacts,
)

INT64: Final = 2**63 - 1
INT32: Final = 2**31 - 1
LONGEST_TEXT: Final = 65536

_TOPIC: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}\Z")
_TOPIC_ID: Final = re.compile(r"[A-Za-z0-9_-]{22}\Z")
_HEX: Final = re.compile(r"[0-9a-f]*\Z")
_SLUG: Final = re.compile(r"[a-z][a-z0-9-]{0,63}\Z")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z\Z", re.ASCII)

_GENERATIONS: Final = 32_768
"""Generations that are kept at hand: those of the commits read last."""

T = TypeVar("T")


class Malformed(ValueError):
    """A value that has not the shape docs/format.md gives it."""


def fields(value: object, what: str) -> dict[str, Any]:
    """The value as a JSON object."""
    if type(value) is not dict:
        raise Malformed(f"{what} is not an object")
    return value


def decode_with(decoder: Callable[[object], T], value: object, what: str) -> T:
    """Decode, with missing keys and ranges that are none reported as `Malformed` too."""
    try:
        return decoder(value)
    except KeyError as error:
        raise Malformed(f"{what} lacks the field {str(error)[:40]}") from error
    except Malformed:
        raise
    except ValueError as error:
        raise Malformed(f"{what}: {error}") from error


def integer(value: object, what: str, low: int = 0, high: int = INT64) -> int:
    if type(value) is not int or not low <= value <= high:
        raise Malformed(f"{what} is not an integer from {low} to {high}")
    return value


def boolean(value: object, what: str) -> bool:
    if type(value) is not bool:
        raise Malformed(f"{what} is neither true nor false")
    return value


def text(value: object, what: str, longest: int = LONGEST_TEXT) -> str:
    if type(value) is not str or len(value) > longest:
        raise Malformed(f"{what} is not a text of at most {longest} characters")
    return value


def slug(value: object, what: str) -> str:
    if type(value) is not str or not _SLUG.match(value):
        raise Malformed(f"{what} is not a short lower-case word")
    return value


def hexadecimal(value: object, what: str, digits: int) -> str:
    if type(value) is not str or len(value) != digits or not _HEX.match(value):
        raise Malformed(f"{what} is not {digits} hexadecimal digits")
    return value


def items(value: object, what: str, each: Callable[[object], T]) -> tuple[T, ...]:
    if type(value) is not list:
        raise Malformed(f"{what} is not a list")
    return tuple([each(item) for item in value])


def pair(value: object, what: str) -> tuple[Any, Any]:
    if type(value) is not list or len(value) != 2:
        raise Malformed(f"{what} is not a pair")
    return value[0], value[1]


def texts(value: object, what: str) -> tuple[str, ...]:
    return items(value, what, lambda item: text(item, what))


def text_pairs(value: object, what: str) -> tuple[tuple[str, str], ...]:
    def each(item: object) -> tuple[str, str]:
        first, second = pair(item, what)
        return text(first, what), text(second, what)

    return items(value, what, each)


def utc_text(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds. Raises ValueError for a moment without a time zone."""
    if moment.tzinfo is None:
        raise ValueError("a moment without a time zone")
    moment = moment.astimezone(UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def parse_time(value: str) -> datetime:
    """RFC 3339 as kafkeep writes it: UTC, `Z`, up to nanoseconds (cut to microseconds)."""
    found = _TIME.match(value)
    if found is None:
        raise Malformed(f"not a time in UTC: {value[:40]!r}")
    try:
        return datetime.fromisoformat(value[:19]).replace(
            tzinfo=UTC, microsecond=int((found[1] or ".0")[1:7].ljust(6, "0"))
        )
    except ValueError as error:
        raise Malformed(f"not a time in UTC: {value[:40]!r}") from error


def time_text(value: object, what: str) -> str:
    found = text(value, what, 40)
    parse_time(found)
    return found


def encode_generation(generation: Generation) -> list[object]:
    return [generation.topic, generation.topic_id, generation.partition, generation.lineage]


def decode_generation(value: object) -> Generation:
    if type(value) is not list or len(value) != 4:
        raise Malformed("generation is not [topic, topic id, partition, lineage]")
    topic, topic_id, partition, lineage = value
    if type(topic) is not str or type(topic_id) is not str or type(partition) is not int or type(lineage) is not int:
        return _generation.__wrapped__(topic, topic_id, partition, lineage)
    return _generation(topic, topic_id, partition, lineage)


@lru_cache(_GENERATIONS)
def _generation(topic: object, topic_id: object, partition: object, lineage: object) -> Generation:
    """One object each as long as they are at hand: very many runs and cuts have the same."""
    if type(topic) is not str or not _TOPIC.match(topic) or topic in (".", ".."):
        raise Malformed("generation without a legal topic name")
    if type(topic_id) is not str or not _TOPIC_ID.match(topic_id):
        raise Malformed("generation without a topic id")
    return Generation(topic, topic_id, integer(partition, "partition", 0, INT32), integer(lineage, "lineage", 0, INT32))


def _range(value: dict[str, Any]) -> OffsetRange:
    return OffsetRange(integer(value["from"], "from"), integer(value["to"], "to"))


def encode_facts(facts: RunFacts) -> dict[str, object]:
    return {
        "aborted": facts.aborted,
        "batches": facts.batches,
        "blake3": facts.blake3,
        "codecs": facts.codecs,
        "control_batches": facts.control_batches,
        "create_time": facts.create_time,
        "from": facts.coverage.start,
        "generation": encode_generation(facts.generation),
        "holes": facts.holes,
        "largest_batch": facts.largest_batch,
        "leader_epochs": facts.leader_epochs,
        "log_append_time": facts.log_append_time,
        "max_timestamp": facts.max_timestamp,
        "min_base_timestamp": facts.min_base_timestamp,
        "old_magic": facts.old_magic,
        "open_transactions": facts.open_transactions,
        "raw_bytes": facts.raw_bytes,
        "records": facts.records,
        "stored_bytes": facts.stored_bytes,
        "to": facts.coverage.stop,
    }


def decode_facts(value: object) -> RunFacts:
    run = fields(value, "run")
    return RunFacts(
        generation=decode_generation(run["generation"]),
        coverage=_range(run),
        leader_epochs=items(run["leader_epochs"], "leader epochs", _leader_epoch),
        batches=integer(run["batches"], "batches"),
        records=integer(run["records"], "records"),
        control_batches=integer(run["control_batches"], "control batches"),
        raw_bytes=integer(run["raw_bytes"], "raw bytes"),
        stored_bytes=integer(run["stored_bytes"], "stored bytes"),
        min_base_timestamp=integer(run["min_base_timestamp"], "min base timestamp", -(2**63)),
        max_timestamp=integer(run["max_timestamp"], "max timestamp", -(2**63)),
        log_append_time=boolean(run["log_append_time"], "log append time"),
        create_time=boolean(run["create_time"], "create time"),
        largest_batch=integer(run["largest_batch"], "largest batch"),
        codecs=items(run["codecs"], "codecs", lambda item: integer(item, "codec", 0, 7)),
        aborted=items(run["aborted"], "aborted", _transaction),
        open_transactions=items(run["open_transactions"], "open transactions", _transaction),
        holes=boolean(run["holes"], "holes"),
        old_magic=boolean(run["old_magic"], "old magic"),
        blake3=hexadecimal(run["blake3"], "run digest", 64),
    )


def _leader_epoch(value: object) -> tuple[int, int]:
    epoch, first = pair(value, "leader epoch")
    return integer(epoch, "leader epoch", -(2**31), INT32), integer(first, "first offset of an epoch")


def _transaction(value: object) -> AbortedTransaction:
    producer, first = pair(value, "transaction")
    return AbortedTransaction(integer(producer, "producer id", -1), integer(first, "first offset", -1))


def encode_gap(gap: Gap) -> dict[str, object]:
    return {
        "evidence": gap.evidence,
        "from": gap.offsets.start,
        "generation": encode_generation(gap.generation),
        "reason": gap.reason,
        "time": gap.time,
        "to": gap.offsets.stop,
    }


def decode_gap(value: object) -> Gap:
    gap = fields(value, "gap")
    return Gap(
        decode_generation(gap["generation"]),
        _range(gap),
        slug(gap["reason"], "reason of a gap"),
        text(gap["evidence"], "evidence of a gap"),
        time_text(gap["time"], "time of a gap"),
    )


def encode_opened(opened: GenerationOpened) -> dict[str, object]:
    return {"generation": encode_generation(opened.generation), "start": opened.start, "why": opened.why}


def decode_opened(value: object) -> GenerationOpened:
    opened = fields(value, "opened generation")
    return GenerationOpened(
        decode_generation(opened["generation"]),
        integer(opened["start"], "start of a generation"),
        slug(opened["why"], "why a generation was opened"),
    )


def encode_closed(closed: GenerationClosed) -> dict[str, object]:
    return {"generation": encode_generation(closed.generation), "why": closed.why}


def decode_closed(value: object) -> GenerationClosed:
    closed = fields(value, "closed generation")
    return GenerationClosed(decode_generation(closed["generation"]), slug(closed["why"], "why a generation was closed"))


def encode_cuts(cuts: Sequence[PartitionCut]) -> list[object]:
    """Grouped by topic, one row of integers per partition: a point of 10 000 partitions stays small. What cuts hold back
    is a key of its own, which a group without any does not have.
    """
    groups: dict[tuple[str, str], list[PartitionCut]] = {}
    for cut in cuts:
        groups.setdefault((cut.generation.topic, cut.generation.topic_id), []).append(cut)
    return [_encode_cut_group(*identity, group) for identity, group in sorted(groups.items())]


def _encode_cut_group(topic: str, topic_id: str, cuts: Sequence[PartitionCut]) -> dict[str, object]:
    rows = [
        [
            cut.generation.partition,
            cut.generation.lineage,
            cut.start,
            cut.stop,
            cut.high_watermark,
            cut.last_stable_offset,
            cut.leader_epoch,
        ]
        for cut in cuts
    ]
    group: dict[str, object] = {"partitions": sorted(rows), "topic": topic, "topic_id": topic_id}
    held = [[cut.generation.partition, *entry] for cut in cuts for entry in cut.held_back]
    return group | {"held_back": sorted(held)} if held else group


def decode_cuts(value: object) -> tuple[PartitionCut, ...]:
    """In the order of topic, topic id, partition."""
    found: list[PartitionCut] = []
    for group in items(value, "cuts", lambda item: fields(item, "cut")):
        topic, topic_id = group["topic"], group["topic_id"]
        held = _held_back(group["held_back"]) if "held_back" in group else {}
        for row in items(group["partitions"], "cut partitions", lambda item: item):
            if type(row) is not list or len(row) != 7:
                raise Malformed("cut is not a row of 7 integers")
            cut = PartitionCut(
                decode_generation([topic, topic_id, row[0], row[1]]),
                integer(row[3], "stop of a cut"),
                integer(row[2], "start of a cut"),
                integer(row[4], "high watermark", -1),
                integer(row[5], "last stable offset", -1),
                integer(row[6], "leader epoch", -1, INT32),
                tuple(held.pop(row[0], ())),
            )
            if any(entry.stop > cut.stop for entry in cut.held_back):
                raise Malformed("a cut holds back what lies beyond it")
            found.append(cut)
        if held:
            raise Malformed("data is held back in a partition without a cut")
    return tuple(found)


def _held_back(value: object) -> dict[int, list[HeldBack]]:
    """By partition. Rows rise strictly, and each is a range that is not empty."""
    rows = items(value, "held back", _held_back_row)
    if not rows or any(a >= b for a, b in pairwise(rows)):
        raise Malformed("what is held back is not in rising order, or empty")
    found: dict[int, list[HeldBack]] = {}
    for partition, producer, start, stop in rows:
        found.setdefault(partition, []).append(HeldBack(producer, start, stop))
    return found


def _held_back_row(value: object) -> tuple[int, int, int, int]:
    if type(value) is not list or len(value) != 4:
        raise Malformed("held back is not a row of 4 integers")
    start = integer(value[2], "start of what is held back")
    return (
        integer(value[0], "partition", 0, INT32),
        integer(value[1], "producer id"),
        start,
        integer(value[3], "stop of what is held back", start + 1),
    )


def encode_failure(failure: Failure) -> dict[str, object]:
    return {"message": failure.message, "reason": failure.reason, "subject": failure.subject}


def decode_failure(value: object) -> Failure:
    failure = fields(value, "failure")
    return Failure(
        text(failure["subject"], "subject"), text(failure["reason"], "reason"), text(failure["message"], "message")
    )

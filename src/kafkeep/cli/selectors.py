"""How `restore` and `compare` are told which topics, partitions, ends and names: option texts to values. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kafkeep.errors import UsageError
from kafkeep.model import TopicPartition

MAX_PARTITION = 2**31 - 1
_NUMBERS = re.compile(r"(\d{1,10})(?:-(\d{1,10}))?", re.ASCII)


def parse_partitions(text: str) -> tuple[str, frozenset[int]]:
    """`orders:0,2,5-7` as the topic and its partitions."""
    topic, colon, numbers = text.partition(":")
    if not (topic and colon and numbers):
        raise UsageError(f"{text!r} does not name partitions", hint="Write it like orders:0,2,5-7.")
    found: set[int] = set()
    for part in numbers.split(","):
        match = _NUMBERS.fullmatch(part.strip())
        first = int(match[1]) if match is not None else 1
        last = int(match[2]) if match is not None and match[2] is not None else first
        if match is None or last < first or last > MAX_PARTITION or last - first > 100_000:
            raise UsageError(
                f"{part.strip()!r} in {text!r} is no partition number", hint="Write it like orders:0,2,5-7."
            )
        found.update(range(first, last + 1))
    return topic, frozenset(found)


def parse_repartition(text: str) -> tuple[str, int]:
    """`orders=12` as the topic of the source and its partitions on the target."""
    topic, equals, number = text.rpartition("=")
    match = _NUMBERS.fullmatch(number.strip())
    if not (topic and equals) or match is None or match[2] is not None or not 1 <= int(match[1]) <= MAX_PARTITION:
        raise UsageError(f"{text!r} does not name a topic and its partitions", hint="Write it like orders=12.")
    return topic, int(match[1])


def merge_partitions(given: Iterable[tuple[str, frozenset[int]]]) -> tuple[tuple[str, frozenset[int]], ...]:
    """One entry for each topic, in the order of first mention."""
    merged: dict[str, frozenset[int]] = {}
    for topic, partitions in given:
        merged[topic] = merged.get(topic, frozenset()) | partitions
    return tuple(merged.items())


def parse_until_offset(text: str) -> tuple[TopicPartition, int]:
    """`orders/3=4711` as the source partition and its end."""
    match = re.fullmatch(r"([^/]+)/(\d{1,10})=(\d{1,19})", text, re.ASCII)
    if match is None or int(match[2]) > MAX_PARTITION or int(match[3]) >= 2**63:
        raise UsageError(f"{text!r} does not name an offset", hint="Write it like orders/3=4711.")
    return TopicPartition(match[1], int(match[2])), int(match[3])


def group_patterns(given: tuple[str, ...]) -> tuple[str, ...]:
    """Globs over group ids; `none` alone chooses no group. Group ids may hold commas, so they are not split."""
    if "none" not in given:
        return given if given else ("*",)
    if len(given) > 1:
        raise UsageError("--groups none stands alone", hint="Give globs, or none.")
    return ()

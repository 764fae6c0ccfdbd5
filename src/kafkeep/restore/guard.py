"""The settings a topic has while it is loaded, and those it has afterwards: pure.

Brokers delete old log segments by record timestamp, recompress, refuse old or future timestamps and stamp append times:
a topic that is being loaded must do none of it (`docs/architecture.md`, restore).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kafkeep.passing import PASSING_TOPIC_SETTINGS
from kafkeep.records import dataclass

_NO_LIMIT: Final = str(2**63 - 1)
MAX_MESSAGE_BYTES: Final = "max.message.bytes"
_DEFAULT_MAX_MESSAGE_BYTES: Final = 1_048_588
"""Kafka's own default of max.message.bytes."""

TIMESTAMP_LIMITS: Final = ("message.timestamp.before.max.ms", "message.timestamp.after.max.ms")
"""KIP-937, from 3.6 on; before that there is one limit for both sides."""
OLD_TIMESTAMP_LIMIT: Final = "message.timestamp.difference.max.ms"

_ALWAYS: Final = {
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "cleanup.policy": "delete",
    "compression.type": "producer",
    "message.timestamp.type": "CreateTime",
}

PROBED: Final = (*((name, _NO_LIMIT) for name in TIMESTAMP_LIMITS), (OLD_TIMESTAMP_LIMIT, _NO_LIMIT))
"""Guard settings that not every broker version knows: the survey asks the target about them."""


@dataclass(frozen=True, slots=True)
class Guard:
    """Overrides while loading, and the alteration that ends it."""

    configs: tuple[tuple[str, str], ...]
    """All overrides the topic has while it is loaded."""
    put_back: tuple[tuple[str, str], ...]
    """Overrides to set when the load is done."""
    remove: tuple[str, ...]
    """Overrides to delete when the load is done: the topic goes back to the cluster's defaults."""


def final_configs(
    configs: Sequence[tuple[str, str | None]],
    unsupported: frozenset[tuple[str, str]],
    *,
    replication_factor: int,
    retention: str,
) -> tuple[tuple[str, str], ...]:
    """The overrides a created topic has in the end: the source's, less what the target refuses and what was passing."""
    kept = {
        name: value
        for name, value in configs
        if value is not None and name not in PASSING_TOPIC_SETTINGS and (name, value) not in unsupported
    }
    minimum = kept.get("min.insync.replicas")
    if minimum is not None and int(minimum) > replication_factor:
        kept["min.insync.replicas"] = str(replication_factor)
    if retention == "hold":
        kept |= {"retention.ms": "-1", "retention.bytes": "-1"}
    return tuple(sorted(kept.items()))


def guard_for(configs: Sequence[tuple[str, str]], largest_batch: int, unsupported: frozenset[tuple[str, str]]) -> Guard:
    """Guard for a topic whose overrides are `configs` in the end and whose largest batch has `largest_batch` bytes.

    Batches that must be rebuilt may grow, so the limit leaves room for twice the largest.
    """
    final = dict(configs)
    allowed = int(final.get(MAX_MESSAGE_BYTES, _DEFAULT_MAX_MESSAGE_BYTES))
    guard = dict(_ALWAYS)
    # Set in any case: the target's brokers may have a lower default.
    guard[MAX_MESSAGE_BYTES] = str(max(allowed, 2 * largest_batch))
    limits = [(name, _NO_LIMIT) for name in TIMESTAMP_LIMITS if (name, _NO_LIMIT) not in unsupported]
    if not limits and (OLD_TIMESTAMP_LIMIT, _NO_LIMIT) not in unsupported:
        limits = [(OLD_TIMESTAMP_LIMIT, _NO_LIMIT)]
    guard |= dict(limits)
    if final.get("remote.storage.enable") == "true":
        guard["remote.storage.enable"] = "false"
    put_back = {name: final[name] for name in guard if name in final and final[name] != guard[name]}
    remove = sorted(name for name in guard if name not in final)
    return Guard(tuple(sorted((final | guard).items())), tuple(sorted(put_back.items())), tuple(remove))

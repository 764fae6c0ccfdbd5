"""Which recovery point a person means. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from kafkeep.errors import PointNotFound
from kafkeep.model import RecoveryPoint
from kafkeep.repository import nouns


def find_point(newest_first: Iterable[RecoveryPoint], spec: str, *, with_records: bool) -> RecoveryPoint | None:
    """A point by number, by name (the newest of that name), `latest`, or `@<RFC 3339 UTC>` (finished at or before); of points
    by time only captures, and those `with_records` when that is asked for. Raises `PointNotFound` for a time that is none.
    """
    for candidate in newest_first:
        if _answers(candidate, spec) and (not _by_time(spec) or _is_capture(candidate, with_records=with_records)):
            return candidate
    return None


def _by_time(spec: str) -> bool:
    return spec == "latest" or spec.startswith("@")


def _is_capture(point: RecoveryPoint, *, with_records: bool) -> bool:
    """False for a point that was made of a document: it does not say how the cluster was at that time."""
    return bool(point.cuts) if with_records else not point.imported


def _answers(point: RecoveryPoint, spec: str) -> bool:
    if spec == "latest":
        return True
    if spec.startswith("@"):
        try:
            return nouns.parse_time(point.finished) <= nouns.parse_time(spec[1:])
        except nouns.Malformed as error:
            raise PointNotFound(
                f"{spec[:40]!r} is not a time", hint="Write it as @2026-11-20T10:00:00Z, in UTC."
            ) from error
    if spec.isascii() and spec.isdigit():
        return point.number == int(spec[:18])
    return point.name == spec

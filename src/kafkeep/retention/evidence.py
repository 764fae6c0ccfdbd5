"""What says that points were verified, and how far it can be believed.

A verification that was asked to leaves a report under `audit/`. Pruning never lets the newest point go that one speaks
for. So whatever hides such a report must not make pruning delete more: one that cannot be read is taken as if it might be
that report, and beside the listing, which may leave out anything, a hint names the newest one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from kafkeep.errors import CorruptionError, KeyRefused, StoreError, UnknownFormat
from kafkeep.logger import get_logger
from kafkeep.model import RecoveryPoint
from kafkeep.records import dataclass
from kafkeep.repository.format import SINGLE
from kafkeep.repository.names import HINT_VERIFIED, audit_moment, check_object_name
from kafkeep.repository.nouns import parse_time
from kafkeep.repository.repository import Repository

log = get_logger(__name__)

VERIFIED: Final = "verified"
"""Kind of the report that a verification leaves which was asked to."""
_HINT_BYTES: Final = 300
_SKEW: Final = timedelta(minutes=5)
"""Clocks of who backs up and of who verifies may differ by so much."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A report that could not be read, and when it was written by its name."""

    name: str
    moment: datetime | None
    reason: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What reports say of verifications."""

    head: int | None = None
    """The newest commit that a verification of every object has seen without a finding."""
    unread: tuple[Unread, ...] = ()

    def perhaps_verified(self, points: Sequence[RecoveryPoint]) -> frozenset[int]:
        """Points that an unreadable report may speak for: with records, newer than the evidence, and there when the report
        was written. Any of them: a verification takes hours, and nobody knows which head it began with. The next one that
        leaves a report settles it for all that it has seen."""
        latest = max((unread.moment for unread in self.unread if unread.moment is not None), default=None)
        if latest is None:
            return frozenset()
        seen = -1 if self.head is None else self.head
        return frozenset(
            point.number
            for point in points
            if point.cuts and point.number > seen and parse_time(point.finished) - _SKEW <= latest
        )


def find_evidence(repository: Repository) -> Evidence:
    """Reads every report that is listed or hinted at. Raises `StoreError` where the store gives no answer."""
    heads: list[int] = []
    unread = []
    for name in sorted({*_listed(repository), *_hinted(repository)}):
        try:
            report = repository.audit(name)
        except (CorruptionError, UnknownFormat, KeyRefused, StoreError) as error:
            if error.retryable:
                raise
            unread.append(Unread(name, audit_moment(name), error.message))
            continue
        head = _head(repository, report)
        heads += [] if head is None else [head]
    return Evidence(max(heads, default=None), tuple(unread))


def _head(repository: Repository, report: dict[str, object]) -> int | None:
    value = report["value"]
    head = value.get("head") if isinstance(value, dict) else None
    if report["kind"] != VERIFIED or type(head) is not int or not repository.trusts(report):
        return None
    return head


def _listed(repository: Repository) -> Iterator[str]:
    return (info.name for info in repository.store.list("audit/"))


def _hinted(repository: Repository) -> Iterable[str]:
    """Advice: what it names is read and judged like any other."""
    try:
        name = check_object_name(repository.store.get(HINT_VERIFIED, 0, _HINT_BYTES).decode("ascii").strip())
    except (StoreError, ValueError) as error:
        log.debug("no hint of a verification", reason=str(error))
        return ()
    return (name,) if name.startswith("audit/") else ()


def leave_hint(repository: Repository, name: str) -> None:
    """For the next pruning; a failure costs nothing but the hint."""
    if repository.about.writers == SINGLE:
        return  # a reader is not to keep the one writer away
    try:
        repository.store.put_hint(HINT_VERIFIED, f"{name}\n".encode())
    except StoreError as error:
        log.info("no hint of a verification left", reason=error.message)

"""Reports in a repository's audit, as far as they can be read.

Whoever may create objects can leave something under `audit/` that is no report. It must not end an operation that does not
need it: what cannot be read is named and passed over. An operation that needs the very report raises what was wrong with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import field
from typing import Any, Final

from kafkeep.errors import CorruptionError, KafkeepError, KeyRefused, StoreError, UnknownFormat
from kafkeep.records import dataclass
from kafkeep.repository.repository import Repository

UNREADABLE: Final = (CorruptionError, UnknownFormat, KeyRefused, StoreError)
"""What reading a report raises that is damaged, of another version, or closed to this login."""
_TOLD: Final = 3


@dataclass(frozen=True, slots=True)
class Report:
    """A report that could be read."""

    name: str
    kind: str
    value: dict[str, Any]
    """As it was written: whether it has the shape of its kind is for the reader to see."""
    trusted: bool
    """Whether it counts as evidence (`Repository.trusts`)."""
    signer: str | None = None
    """Id of the key that it names as its signer's; who it was, only `trusted` tells."""

    @property
    def time(self) -> str:
        """What it says itself; empty where it says nothing."""
        return str(self.value.get("time", ""))


@dataclass(slots=True)
class PassedOver:
    """Reports that do not count, by object name, and why."""

    unread: dict[str, KafkeepError] = field(default_factory=dict)
    untrusted: list[str] = field(default_factory=list)
    """In a repository whose commits are signed: signed by nobody who is trusted."""

    def warnings(self, *, how: str = "") -> Iterator[str]:
        """One sentence for each way; `how` says how those can be made to count that nobody trusted has signed."""
        if self.unread:
            reasons = [f"{name} ({error.message})" for name, error in sorted(self.unread.items())[:_TOLD]]
            yield f"passed over {len(self.unread)} report(s) that cannot be read: {_named(reasons, len(self.unread))}"
        if self.untrusted:
            names = sorted(self.untrusted)
            yield (
                f"passed over {len(names)} report(s) that nobody trusted has signed: {_named(names[:_TOLD], len(names))}"
                f"{'; ' if how else ''}{how}"
            )


def _named(first: Iterable[str], count: int) -> str:
    return ", ".join(first) + (f", and {count - _TOLD} more" if count > _TOLD else "")


def _signer(report: Mapping[str, Any]) -> str | None:
    signature = report.get("signature")
    key = signature.get("key") if isinstance(signature, dict) else None
    return key if isinstance(key, str) else None


def readable_reports(repository: Repository, kinds: Collection[str], passed_over: PassedOver) -> list[Report]:
    """All that the store lists of these kinds, oldest first; what cannot be read goes into `passed_over`.

    Raises `StoreError` where the store gives no answer.
    """
    found = []
    for info in repository.store.list("audit/"):
        try:
            report = repository.audit(info.name)
        except UNREADABLE as error:
            if error.retryable:
                raise
            passed_over.unread[info.name] = error
            continue
        kind, value = str(report["kind"]), report["value"]
        if kind in kinds and isinstance(value, dict):
            found.append(Report(info.name, kind, value, repository.trusts(report), _signer(report)))
    return found

"""Locks on objects of an S3 service: how long a new one is locked, and what the service's own answers say. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from kafkeep.records import dataclass
from kafkeep.repository.stores.options import ObjectLock

UNLOCKED: Final = ("hint/", "key/")
"""Hints change, and a key that is to be destroyed must be destructible: neither is ever locked by kafkeep."""

_HOUR: Final = timedelta(hours=1)
_MODE: Final = re.compile(r"<Mode>\s*([A-Za-z]+)\s*</Mode>")
_UNTIL: Final = re.compile(r"<RetainUntilDate>\s*([0-9T:.+-]+Z?)\s*</RetainUntilDate>")
_STATUS: Final = re.compile(r"<Status>\s*(Enabled|Suspended)\s*</Status>")
_TIME: Final = re.compile(r"<(Days|Years)>\s*([0-9]{1,6})\s*</(?:Days|Years)>")


@dataclass(frozen=True, slots=True)
class BucketLock:
    """What a bucket says of itself."""

    enabled: bool
    """Whether its objects can be locked at all."""
    default: str | None = None
    """The retention that every new object gets without being asked for it, such as `COMPLIANCE 30 days`."""


@dataclass(frozen=True, slots=True)
class Retention:
    """Until when a version of an object stays whatever is asked for."""

    mode: str
    """`GOVERNANCE` or `COMPLIANCE`."""
    until: datetime


def locked_until(lock: ObjectLock) -> datetime:
    """For what is created next. Up to the next full hour, so that many creations ask for the same."""
    end = lock.now() + timedelta(days=lock.days)
    return end.replace(minute=0, second=0, microsecond=0) + _HOUR


def lock_headers(lock: ObjectLock, until: datetime) -> dict[str, str]:
    """Of a creation."""
    return {
        "x-amz-object-lock-mode": lock.mode.upper(),
        "x-amz-object-lock-retain-until-date": until.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def read_bucket_lock(answer: bytes) -> BucketLock:
    """Of GET ?object-lock."""
    text = answer.decode("utf-8", "replace")
    mode, time = _MODE.search(text), _TIME.search(text)
    default = None if mode is None or time is None else f"{mode[1].upper()} {time[2]} {time[1].lower()}"
    return BucketLock(">Enabled<" in text, default)


def read_versioning(answer: bytes) -> str:
    """Of GET ?versioning: `enabled`, `suspended`, and `never` for a bucket that it was never switched on for."""
    found = _STATUS.search(answer.decode("utf-8", "replace"))
    return "never" if found is None else found[1].lower()


def read_retention(answer: bytes) -> Retention | None:
    """Of GET ?retention; None when it names no lock that could be understood."""
    text = answer.decode("utf-8", "replace")
    mode, until = _MODE.search(text), _UNTIL.search(text)
    if mode is None or until is None:
        return None
    moment = datetime.fromisoformat(until[1])
    return Retention(mode[1].upper(), moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))


def retention_text(lock: Retention) -> bytes:
    """Of PUT ?retention."""
    until = lock.until.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return (
        '<Retention xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Mode>{lock.mode.upper()}</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>"
    ).encode()

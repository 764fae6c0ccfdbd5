"""Errors of obstore as the store's own. Their texts are read for a status and a code and never passed on: they hold
addresses, and some services put signatures into those."""

from __future__ import annotations

import re
from typing import Final

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotModifiedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from kafkeep.errors import (
    ObjectExists,
    ObjectLocked,
    ObjectNotFound,
    StoreAccessDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
)

NONE_YET: Final = frozenset({"NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError", "InvalidRequest"})
"""Codes by which services say that an object has no retention, or a bucket no lock."""
FOREIGN: Final = (BaseError, OSError, ValueError)
"""What calls of obstore raise."""

_STATUS: Final = re.compile(r"status code: ([0-9]{3})|Bulk delete request failed .*\(code: ([0-9]{3})\)")
"""The second is Azure's of one object: its client deletes in batches, whose answer as a whole is well."""
_CODE: Final = re.compile(r"<Code>([A-Za-z0-9._-]{1,80})</Code>|\"reason\": ?\"([A-Za-z0-9._-]{1,80})\"")
_NO_BUCKET: Final = frozenset({"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"})
_CONFLICT: Final = frozenset({"ConditionalRequestConflict", "OperationAborted"})
_FULL: Final = frozenset({"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull", "InsufficientCapacity"})
_AGAIN: Final = frozenset(
    {"RequestTimeout", "BadDigest", "XAmzContentSHA256Mismatch", "InvalidDigest", "IncompleteBody", "Md5Mismatch"}
)
_LOGIN: Final = frozenset({"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidAccessKeyId"})
_LOCKED: Final = frozenset(
    {"ObjectLocked", "BlobImmutableDueToPolicy", "retentionPolicyNotMet", "objectUnderActiveHold"}
)
_LOCKED_WORDS: Final = ("object protected by object lock", "WORM protected", "BlobImmutableDueToPolicy")
"""Amazon says "AccessDenied" and tells the reason in words alone."""
_REGION: Final = frozenset({"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"})
_SLOW: Final = frozenset({429, 503})
_BUSY: Final = frozenset({408, 429, 500, 502, 503, 504})
ELSEWHERE: Final = "The bucket lies elsewhere: correct region and endpoint."
_NO_RANGE: Final = ("non-partial response", "NotPartial")
_BEHIND: Final = ("StartTooLarge", "Wanted range starting at")


class SlowDown(StoreUnavailable):
    """The store has too much to do: ask it for less at once."""


class OutsideObject(StoreError):
    """The range begins where the object has no bytes."""


class ObjectChanged(StoreUnavailable):
    """Another object has the name since the read began."""


def translate(error: Exception, what: str, name: str | None = None, *, creating: bool = False) -> StoreError:
    """The store's error for one of obstore while it did `what`, as in "cannot read log/0 in s3://bucket".

    Only the answer of the service that a key is absent becomes `ObjectNotFound`, and only a refused condition
    `ObjectExists`; whatever else is unclear may be tried again.
    """
    text = str(error)
    status = _status(text)
    code = _code(text)
    said = " ".join(word for word in (str(status) if status else "", code) if word)
    told = f"{what}: {said}" if said else what
    if code in _NO_BUCKET:
        return StoreError(
            f"{what}: there is no such bucket", hint="Create the bucket, or correct the URL: kafkeep makes none."
        )
    if code in NONE_YET:
        # said with the status of an absent object, about one that is there and has no lock
        return StoreError(told)
    if isinstance(error, FileNotFoundError):
        if creating or name is None:
            return StoreError(told)
        return ObjectNotFound(f"{what}: it is not there")
    if code in _LOCKED and not creating:
        return ObjectLocked(f"{told}: it is locked")
    if isinstance(error, (AlreadyExistsError, NotModifiedError, PreconditionError)):
        return _condition(code, status, told, what, creating=creating)
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)) or code in _LOGIN:
        return _denied(code, told, text)
    if status is None:
        return _unanswered(text, what)
    return _answered(status, code, told)


def _status(text: str) -> int | None:
    found = _STATUS.search(text)
    return None if found is None else int(found[1] or found[2])


def _code(text: str) -> str:
    found = _CODE.search(text)
    return "" if found is None else found[1] or found[2]


def _condition(code: str, status: int | None, told: str, what: str, *, creating: bool) -> StoreError:
    if not creating:
        return ObjectChanged(f"{what}: it was replaced meanwhile")
    if code in _CONFLICT or (status == 409 and not code):
        # another creation is under way and may yet fail: nothing is known to exist
        return StoreUnavailable(told)
    return ObjectExists(f"{what}: it already exists")


def _denied(code: str, told: str, text: str = "") -> StoreError:
    if code in _LOCKED or any(words in text for words in _LOCKED_WORDS):
        return ObjectLocked(f"{told}: it is locked")
    if code == "RequestTimeTooSkewed":
        return StoreAccessDenied(told, hint="Set this host's clock: the store refuses requests that are dated wrongly.")
    if code in _LOGIN or code == "SignatureDoesNotMatch":
        return StoreAccessDenied(told, hint="Check the access key, its secret and whether the token is still valid.")
    return StoreAccessDenied(told, hint="Give this login the right; docs/stores.md has a policy for each role.")


def _unanswered(text: str, what: str) -> StoreError:
    if "InvalidCertificate(" in text:
        return StoreError(
            f"{what}: the store's certificate is not trusted", hint="Name the file of its authority with ca_file."
        )
    if any(word in text for word in _NO_RANGE):
        return OutsideObject(f"{what}: the store gave all of the object instead of the range")
    if any(word in text for word in _BEHIND):
        return OutsideObject(f"{what}: the object has no bytes there")
    if "kind: Timeout" in text or "TimedOut" in text:
        return StoreUnavailable(f"{what}: no answer in time")
    if "redirect" in text:
        return StoreError(f"{what}: it lies elsewhere", hint=ELSEWHERE)
    if "kind: Connect," in text:
        return StoreUnavailable(f"{what}: no connection", hint="Check the endpoint and the network to the store.")
    return StoreUnavailable(f"{what}: the connection was lost")


def _answered(status: int, code: str, told: str) -> StoreError:
    if status == 416:
        return OutsideObject(told)
    if status == 507 or code in _FULL:
        return StoreFull(told)
    if status in _SLOW:
        return SlowDown(told)
    if status in _BUSY or code in _AGAIN:
        return StoreUnavailable(told)
    if code in _REGION or 300 <= status < 400:
        return StoreError(told, hint=ELSEWHERE)
    if status in (401, 403):
        return _denied(code, told)
    return StoreError(told)

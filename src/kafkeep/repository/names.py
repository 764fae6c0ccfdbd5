"""Names of stored objects: built and parsed here and nowhere else. Pure.

kafkeep.json                            repository document
log/<12 digits>                         commits 0, 1, 2, ... dense
pack/<hh>/<epoch>-<ulid>-<h16>          hh and h16: first 2 and 16 hex digits of the pack's root digest
doc/<hh>/<64 hex>                       documents named by their digest
audit/<yyyy-mm-dd>/<ulid>               reports
key/<32 hex>/<16 hex>                   a key, wrapped for one recipient
key/slot/<16 hex>                       an identity that a passphrase opens
hint/<name>                             advisory; the only objects that change
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

REPOSITORY: Final = "kafkeep.json"
HINT_HEAD: Final = "hint/head"
HINT_PROBE: Final = "hint/probe-"
"""What the names begin with that a look at the store gives, each to one object of its own."""
HINT_VERIFIED: Final = "hint/verified"
"""Name of the newest report that all was found whole: who believes no listing reads that report."""
LAST_NUMBER: Final = 10**12 - 1
LONGEST_NAME: Final = 255
MILESTONE: Final = 4096
"""Commits whose numbers are multiples of it are never deleted: between them the end of a trimmed log is found."""

_PART: Final = r"[a-z0-9][a-z0-9._-]*"
_OBJECT: Final = re.compile(rf"(?:kafkeep\.json|(?:key|log|pack|doc|audit|hint)(?:/{_PART}){{1,3}})\Z")
_PREFIX: Final = re.compile(rf"(?:|(?:key|log|pack|doc|audit|hint)/(?:{_PART}/){{0,2}})\Z")
_LOG: Final = re.compile(r"log/([0-9]{12})\Z")
_PACK: Final = re.compile(r"pack/([0-9a-f]{2})/(0|[1-9][0-9]{0,9})-([0-7][0-9a-hjkmnp-tv-z]{25})-([0-9a-f]{16})\Z")
_KEY: Final = re.compile(r"key/([0-9a-f]{32}|slot)/([0-9a-f]{16})\Z")
_AUDIT: Final = re.compile(r"audit/[0-9]{4}-[0-9]{2}-[0-9]{2}/([0-7][0-9a-hjkmnp-tv-z]{9})[0-9a-hjkmnp-tv-z]{16}\Z")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CROCKFORD: Final = "0123456789abcdefghjkmnpqrstvwxyz"


class PackName(NamedTuple):
    epoch: int
    ulid: str
    h16: str


def check_object_name(name: str) -> str:
    """The name itself, or ValueError: relative, lower case, known first part, no `..`, no hidden or temporary names."""
    if len(name) > LONGEST_NAME or not _OBJECT.match(name):
        raise ValueError(f"not a name of a stored object: {name[:LONGEST_NAME]!r}")
    return name


def check_hint_name(name: str) -> str:
    """The name itself, or ValueError when it is not one that may be replaced."""
    if not check_object_name(name).startswith("hint/"):
        raise ValueError(f"only objects under hint/ may be replaced, not {name!r}")
    return name


def check_prefix(prefix: str) -> str:
    """The prefix itself, or ValueError: empty, or a known first part with whole parts after it, ending in `/`."""
    if len(prefix) > LONGEST_NAME or not _PREFIX.match(prefix):
        raise ValueError(f"not a prefix of stored objects: {prefix[:LONGEST_NAME]!r}")
    return prefix


def log_name(number: int) -> str:
    """Name of commit `number`."""
    if not 0 <= number <= LAST_NUMBER:
        raise ValueError(f"not a commit number: {number}")
    return f"log/{number:012d}"


def log_number(name: str) -> int | None:
    """The commit number in a name, None when it is not a commit's."""
    found = _LOG.match(name)
    return None if found is None else int(found[1])


def next_milestone(number: int) -> int:
    """The lowest number above `number` (-1 or more) whose commit is never deleted."""
    return (number // MILESTONE + 1) * MILESTONE


def pack_name(epoch: int, unique: str, root: str) -> str:
    """Name of a pack written in garbage-collection epoch `epoch`, with `root` its digest in hexadecimal."""
    return f"pack/{root[:2]}/{epoch}-{unique}-{root[:16]}"


def parse_pack_name(name: str) -> PackName | None:
    """The parts of a pack's name, None when it is not one."""
    found = _PACK.match(name)
    if found is None or found[1] != found[4][:2] or int(found[2]) > 0xFFFFFFFF:
        return None
    return PackName(int(found[2]), found[3], found[4])


def document_name(digest: str) -> str:
    """Name of the document with this digest (64 hexadecimal digits)."""
    return f"doc/{digest[:2]}/{digest}"


def parse_key_name(name: str) -> tuple[str, str] | None:
    """The id of a key, or `slot`, and that of the recipient it is for; None when it is not the name of a key."""
    found = _KEY.match(name)
    return None if found is None else (found[1], found[2])


def key_of(name: str) -> str | None:
    """The id of the key that an object holds for a recipient, None when it holds none."""
    parsed = parse_key_name(name)
    return None if parsed is None or parsed[0] == "slot" else parsed[0]


def audit_moment(name: str) -> datetime | None:
    """When a report was written by its name, to the millisecond; None for a name that no report is given."""
    found = _AUDIT.match(name)
    if found is None:
        return None
    number = 0
    for letter in found[1]:
        number = number << 5 | _CROCKFORD.index(letter)
    try:
        return _EPOCH + timedelta(milliseconds=number)
    except OverflowError:
        return None


def audit_name(moment: datetime, unique: str) -> str:
    """Name of a report written at `moment`."""
    return f"audit/{moment.astimezone(UTC):%Y-%m-%d}/{unique}"


def ulid(moment: datetime, random: bytes) -> str:
    """26 characters that sort by time: 48 bits of milliseconds, then 80 random bits (https://github.com/ulid/spec)."""
    if len(random) != 10:
        raise ValueError("a ulid takes 10 random bytes")
    milliseconds = (moment - _EPOCH) // timedelta(milliseconds=1)
    number = (milliseconds & (2**48 - 1)) << 80 | int.from_bytes(random)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))

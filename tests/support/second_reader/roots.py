"""Saved states and trimmed logs, as the second reader knows them, written from docs/format.md alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .documents import (
    HEAD,
    HEX64,
    OUTER,
    UINT,
    Broken,
    Corrupt,
    Unknown,
    check,
    digest,
    document,
    log_name,
    pattern,
    shaped,
    text,
)
from .signed import key_id, signed_text, verifies
from .tables import fill, stored

if TYPE_CHECKING:
    from .reader import Get, Reader

MILESTONE = 4096
BODY = {"document": HEX64}
SIGNATURE = {"key": pattern("[0-9a-f]{16}"), "value": pattern("[0-9a-f]{128}")}


# --- the end of the log -----------------------------------------------------------------------------------------------


def find_head(there: Callable[[int], bool]) -> int:
    """The number of the last commit, given that commit 0 is there: from milestone to milestone, then behind the last."""
    low, step = 0, 1
    while there((low + step) * MILESTONE):
        low, step = low + step, 2 * step
    milestone = MILESTONE * last(lambda index: there(index * MILESTONE), low, low + step)
    return last(there, milestone, milestone + MILESTONE)


def last(there: Callable[[int], bool], low: int, absent: int) -> int:
    """By bisection the last number that is there: `low` is, `absent` is not, and below it there is no hole."""
    while absent - low > 1:
        middle = (low + absent) // 2
        low, absent = (middle, absent) if there(middle) else (low, middle)
    return low


# --- where to begin ---------------------------------------------------------------------------------------------------


def claims(get: Get, head: int, keys: Any) -> Iterator[int]:
    """Where to begin, as commits from the head downwards say: the numbers of roots, 0 for none. Each once."""
    seen: set[int] = set()
    for number in range(head, -1, -1):
        for claim in _claimed(get(log_name(number)), number, keys) if number else (0,):
            if claim not in seen:
                seen.add(claim)
                yield claim


def _claimed(data: bytes | None, number: int, keys: Any) -> tuple[int, ...]:
    """A `state` commit names itself first; of what has no signature or cannot be read nothing is taken."""
    try:
        value = document(data or b"", 2, keys)
        shaped(value, OUTER | {"signature": SIGNATURE})
    except (Broken, Corrupt, Unknown):
        return ()
    named = value.get("root", 0)
    own = (number,) if value["kind"] == "state" else ()
    return (*own, named) if type(named) is int and 0 <= named < number else own


def begin(reader: Reader, number: int, acceptable: set[str]) -> str:
    """Fills a reader with the state saved by this commit, and tells the commit's digest. Broken, Corrupt and Unknown tell why
    it does not count.
    """
    data = reader.get(log_name(number))
    value = document(data or b"", 2, reader.keys)
    shaped(value, OUTER | HEAD | {"body": BODY, "signature": SIGNATURE})
    check((value["seq"], value["kind"]) == (number, "state"), f"commit {number} saves no state")
    signed, given = signed_text("commit", reader.repository["id"], value), value["signature"]
    signers = [public for public in acceptable if key_id(public) == given["key"]]
    check(any(verifies(public, given["value"], signed) for public in signers), f"root {number} is signed by no admin")
    reference = value["body"]["document"]
    root = stored(reader.get, reference, reader.keys)
    shaped(
        root, {"head": UINT, "head_digest": HEX64, "tables": {}, "tool": text(200), "version": UINT}, "root document"
    )
    for name, listed in root["tables"].items():
        shaped(listed, [HEX64], name)
    if root["version"] != 1:
        raise Unknown("version of a root document")
    check((root["head"], root["head_digest"]) == (number - 1, value["prev"]), f"root {number} is of another commit")
    fill(reader, root)
    assert data is not None
    reader.head, reader.root = number, number
    return digest(data).hex()

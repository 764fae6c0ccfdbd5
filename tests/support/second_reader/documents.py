"""The second reader's knowledge of documents and of the shapes that they have, written from docs/format.md alone."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from datetime import datetime
from typing import Any

import zstandard
from blake3 import blake3

MIB = 1024 * 1024
LIMITS = {1: 64 * 1024, 2: 16 * MIB, 32: 16 * MIB}
OTHER_LIMIT = 64 * MIB
ENVELOPE = struct.Struct("<4sBBBI")


class Corrupt(Exception):
    """What was read is not what was written."""


class Unknown(Exception):
    """Intact, and of a format this reader does not know."""


class Broken(Exception):
    """A commit breaks a rule: it counts for nothing."""


def digest(data: bytes) -> bytes:
    return blake3(data).digest()


def log_name(number: int) -> str:
    return f"log/{number:012d}"


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), bit by bit: only short headers are checked with it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


# --- documents --------------------------------------------------------------------------------------------------------


def unzstd(data: bytes, most: int, least: int = 1) -> bytes:
    try:
        size = zstandard.frame_content_size(data)
        if not least <= size <= most:
            raise Corrupt(f"a frame of {size} bytes")
        opened = zstandard.ZstdDecompressor(max_window_size=128 * MIB).decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Corrupt(str(error)) from error
    if len(opened) != size:
        raise Corrupt("a frame of another size than it declares")
    return opened


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("duplicate key")
    return dict(pairs)


def no_number(text: str) -> Any:
    raise ValueError(f"not an integer: {text[:20]}")


def document(data: bytes, kind: int, keys: Any = None) -> Any:
    """The value of a document of this kind, sealed where there are keys."""
    if len(data) < ENVELOPE.size + 32 or data[:3] != b"KKD":
        raise Corrupt("no document")
    magic, found, codec, seal, length = ENVELOPE.unpack_from(data)
    if length != len(data) - ENVELOPE.size - 32 or digest(data[:-32]) != data[-32:]:
        raise Corrupt("length or digest")
    if magic != b"KKD1" or codec > 1 or seal > 1:
        raise Unknown(f"{magic!r} codec {codec} seal {seal}")
    if found != kind or (seal == 1) != (keys is not None):
        raise Corrupt(f"kind {found} with seal {seal}, not {kind}")
    most = LIMITS.get(kind, OTHER_LIMIT)
    body = data[ENVELOPE.size : -32]
    if keys is not None:
        body = keys.open(data[: ENVELOPE.size], body)
    if codec == 1:
        body = unzstd(body, most)
    if len(body) > most:
        raise Corrupt("too large")
    try:
        text = body.decode()
        if re.search(r"(?<!\\)(?:\\\\)*\\u[dD][89a-fA-F]", text):
            raise ValueError("surrogate")
        return json.loads(text, object_pairs_hook=unique, parse_float=no_number, parse_constant=no_number)
    except (ValueError, RecursionError) as error:
        raise Corrupt(str(error)[:100]) from error


# --- shapes -----------------------------------------------------------------------------------------------------------


def check(holds: bool, what: str) -> None:
    if not holds:
        raise Broken(what)


def integer(low: int = 0, high: int = 2**63 - 1) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def text(longest: int = 65536) -> Callable[[Any], bool]:
    return lambda value: type(value) is str and len(value) <= longest


def pattern(expression: str) -> Callable[[Any], bool]:
    return lambda value: type(value) is str and re.fullmatch(expression, value) is not None


def optional(shape: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or shape(value)


def boolean(value: Any) -> bool:
    return type(value) is bool


def time(value: Any) -> bool:
    if not pattern(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z")(value):
        return False
    try:
        datetime.fromisoformat(value[:19])
    except ValueError:
        return False
    return True


def shaped(value: Any, shape: Any, what: str = "commit") -> None:
    """A dict of shapes is an object with these fields, a list a list of such items, a tuple a row of just these."""
    if isinstance(shape, dict):
        check(type(value) is dict, f"{what} is no object")
        for name, inner in shape.items():
            check(name in value, f"{what} lacks {name}")
            shaped(value[name], inner, name)
        check("from" not in shape or value["from"] <= value["to"], f"{what} runs backwards")
    elif isinstance(shape, (list, tuple)):
        check(type(value) is list and (isinstance(shape, list) or len(value) == len(shape)), f"{what} is no list")
        for item, inner in zip(value, shape * len(value) if isinstance(shape, list) else shape, strict=True):
            shaped(item, inner, what)
    else:
        check(shape(value), what)


UINT, INT, I31, U32, HEX64 = (
    integer(),
    integer(-(2**63)),
    integer(0, 2**31 - 1),
    integer(0, 2**32 - 1),
    pattern("[0-9a-f]{64}"),
)
FROM_MINUS_1, WORD = integer(-1), pattern("[a-z][a-z0-9-]{0,63}")
TOPIC, TOPIC_ID = pattern(r"(?!\.\.?\Z)[a-zA-Z0-9._-]{1,249}"), pattern("[A-Za-z0-9_-]{22}")
GENERATION = (TOPIC, TOPIC_ID, I31, I31)
FACTS = {
    "generation": GENERATION,
    "from": UINT,
    "to": UINT,
    **dict.fromkeys(("batches", "control_batches", "records", "raw_bytes", "stored_bytes", "largest_batch"), UINT),
    **dict.fromkeys(("create_time", "log_append_time", "holes", "old_magic"), boolean),
    **dict.fromkeys(("min_base_timestamp", "max_timestamp"), INT),
    **{name: [(FROM_MINUS_1, FROM_MINUS_1)] for name in ("aborted", "open_transactions")},
    "leader_epochs": [(integer(-(2**31), 2**31 - 1), UINT)],
    "codecs": [integer(0, 7)],
    "blake3": HEX64,
}
OUTER = {"seq": UINT, "prev": HEX64, "kind": text()}
HEAD = {
    "writer": pattern("[0-9a-f]{32}"),
    "epoch": U32,
    "started": time,
    "finished": time,
    "store_time": optional(time),
    "tool": text(200),
}
PACK = {"name": text(255), "size": integer(1), "blake3": HEX64, "epoch": U32, "runs": [FACTS | {"index": U32}]}
BODY = {
    "cluster_id": text(1000),
    "packs": [PACK],
    "gaps": [{"generation": GENERATION, "from": UINT, "to": UINT, "reason": WORD, "evidence": text(), "time": time}],
    "opened": [{"generation": GENERATION, "start": UINT, "why": WORD}],
    "closed": [{"generation": GENERATION, "why": WORD}],
}
CUT = (I31, I31, UINT, UINT, FROM_MINUS_1, FROM_MINUS_1, integer(-1, 2**31 - 1))
POINT = {
    "name": optional(text(1000)),
    "tags": [(text(), text())],
    "cuts": [{"topic": TOPIC, "topic_id": TOPIC_ID, "partitions": [CUT]}],
    "selection": [text()],
    "documents": [(WORD, HEX64)],
    "consistency": WORD,
    "complete": boolean,
    "failures": [{"subject": text(), "reason": text(), "message": text()}],
}
DECISIONS: dict[str, dict[str, Any]] = {
    "epoch": {"epoch": integer(1, 2**32 - 1)},
    "retire": {"points": [UINT], "packs": [text(255)], "reason": text()},
    "unretire": {"retirements": [UINT]},
    "sweep": {"retirements": [UINT]},
    "pin": {"point": UINT, "reason": text(), "until": optional(time), "until_tag": optional(text())},
    "unpin": {"point": UINT},
    "tag": {"point": UINT, "set": [(text(), text())], "unset": [text()]},
    "compact": {"packs": [PACK | {"runs": [(U32, text(255), U32)]}]},
    "lose": {"runs": [(text(255), U32)], "reason": text()},
}
LONG = text(64 * MIB)
SCHEMA = {
    **dict.fromkeys(("subject", "type", "schema", "contract"), LONG),
    "version": INT,
    "id": INT,
    "deleted": boolean,
    "references": [{"name": LONG, "subject": LONG, "version": INT}],
}
RULES = {"subject": LONG, "compatibility": optional(LONG), "mode": optional(LONG), "more": LONG}
CONNECTOR = {
    **dict.fromkeys(("name", "type", "state"), LONG),
    "config": [{"name": LONG, "value": optional(LONG), "secret": boolean}],
    "tasks": [{"task": INT, "state": LONG}],
    "offsets": [{"partition": LONG, "offset": LONG}],
}
BESIDE = {
    "schemas": (21, {"versions": [SCHEMA], "rules": [RULES], "unreadable": [LONG]}),
    "connectors": (22, {"version": LONG, "connectors": [CONNECTOR], "unreadable": [LONG]}),
}

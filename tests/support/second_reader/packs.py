"""The second reader's knowledge of packs, written from docs/format.md alone."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

from .documents import Corrupt, Unknown, crc32c, digest, document, unzstd


def footer(data: bytes, entry: dict[str, Any], repository_id: str, keys: Any = None) -> list[dict[str, Any]]:
    """The runs of a pack, its layout checked from the first byte to the last."""
    position, length, root, end = struct.unpack("<QI32s4s", data[-48:])
    if end != b"KKPE" or position + length + 48 != len(data):
        raise Corrupt("trailer")
    header, foot = data[:36], data[position : position + length]
    if digest(header + foot) != root or root.hex() != entry["blake3"]:
        raise Corrupt("root")
    head = struct.pack(
        "<4sHH16sII", b"KKP1", 1, int(keys is not None), bytes.fromhex(repository_id), entry["epoch"], 36
    )
    if header != head + struct.pack("<I", crc32c(head)):
        raise Corrupt("header")
    runs: list[dict[str, Any]] = document(foot, 3, keys)["runs"]
    place = 36
    for index, run in enumerate(runs):
        value = {"from": run["from"], "generation": run["generation"], "run": index}
        body = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        body = body if keys is None else keys.document(5, body)
        start = struct.pack("<4sI", b"KKR1", len(body)) + body
        start += struct.pack("<I", crc32c(start))
        if run["position"] != place or data[place : place + len(start)] != start:
            raise Corrupt(f"header of run {index}")
        place += len(start)
        for row in run["chunks"]:
            if row[0] != place:
                raise Corrupt(f"place of a chunk of run {index}")
            place += row[1]
        if digest(b"".join(bytes.fromhex(row[9]) for row in run["chunks"])).hex() != run["blake3"]:
            raise Corrupt(f"digest of run {index}")
    if place != position:
        raise Corrupt("place of the footer")
    return runs


def chunk(data: bytes, row: list[Any], opened: Callable[[bytes], bytes] = bytes) -> bytes:
    position, stored, raw, codec = row[:4]
    found = data[position : position + stored]
    if digest(found).hex() != row[9]:
        raise Corrupt(f"chunk at {position}")
    if codec > 1:
        raise Unknown(f"codec {codec}")
    found = opened(found)
    if codec == 0 and len(found) != raw:
        raise Corrupt(f"lengths of the chunk at {position}")
    return unzstd(found, raw, raw) if codec == 1 else found

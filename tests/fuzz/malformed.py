"""The corpus of malformed inputs: one file per target, each line an input and what must become of it."""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent.parent / "golden" / "malformed"
OPEN: Final = "open"
"""The outcome of a finding that nobody has looked at: the test fails until it says what is right."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """An input that was a finding once, or reaches a place that is hard to reach."""

    target: str
    why: str
    outcome: str
    """`parsed`, or the class of the KafkeepError that refuses it."""
    data: bytes


def corpus(folder: Path = FOLDER) -> list[Malformed]:
    """All of them, by target."""
    return [
        Malformed(path.stem, entry["why"], entry["outcome"], zlib.decompress(b64decode(entry["data"])))
        for path in sorted(folder.glob("*.jsonl"))
        for entry in map(json.loads, path.read_text().splitlines())
    ]


def add(target: str, data: bytes, why: str, folder: Path = FOLDER, *, outcome: str = OPEN) -> Path:
    """Puts an input behind those that are there, unless it is one of them. The file it lies in."""
    path = folder / f"{target}.jsonl"
    if all(known.target != target or known.data != data for known in corpus(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        packed = b64encode(zlib.compress(data, 9)).decode()
        with path.open("a") as file:
            file.write(json.dumps({"why": why, "outcome": outcome, "data": packed}) + "\n")
    return path

"""A second reader of repositories, written from docs/format.md alone, so that data outlives the tool.

It shares no code with kafkeep and needs nothing but Python, blake3, zstandard and, for encrypted repositories and those whose
commits are signed, cryptography. From the folder that this one lies in:

    python -m second_reader FOLDER                 lists the recovery points
    python -m second_reader FOLDER NUMBER OUTPUT   writes the batches of each partition of one to OUTPUT/topic-partition

What opens an encrypted one it takes from KAFKEEP_SECRET.
"""

from __future__ import annotations

import os
from pathlib import Path

from .documents import Broken, Corrupt, Unknown, digest, document
from .packs import footer
from .reader import Get, Reader

__all__ = ["Broken", "Corrupt", "Get", "Reader", "Unknown", "digest", "document", "footer", "from_folder", "main"]


def from_folder(folder: Path) -> Get:
    def get(name: str) -> bytes | None:
        try:
            return (folder / name).read_bytes()
        except FileNotFoundError:
            return None

    return get


def main(folder: str, point: str | None = None, output: str | None = None) -> None:
    reader = Reader.open(from_folder(Path(folder)), os.environ.get("KAFKEEP_SECRET", ""))
    if point is None or output is None:
        for seq, found in reader.points.items():
            print(seq, found["name"], "complete" if found["complete"] else "incomplete")
        return
    for of, start, stop, pieces in reader.content(int(point)):
        data = b"".join(reader.run(piece) for piece in pieces if piece.pack is not None)
        (Path(output) / f"{of[0]}-{of[2]}").write_bytes(data)
        print(f"{of[0]}-{of[2]} [{start}, {stop}) {len(data)} bytes")

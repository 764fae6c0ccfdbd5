"""The log, read to its end, and what its points hold, written from docs/format.md alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any

from . import documents
from .changes import Change, Generation, History, Piece
from .decisions import Decision
from .documents import (
    BESIDE,
    DECISIONS,
    OUTER,
    Broken,
    Corrupt,
    Unknown,
    check,
    digest,
    document,
    log_name,
    pattern,
    shaped,
)
from .packs import chunk, footer

Get = Callable[[str], bytes | None]
"""Bytes of an object by name, None when it is absent."""


@dataclass
class Reader:
    """A repository, read to the end of its log."""

    get: Get
    repository: dict[str, Any] = field(default_factory=dict)
    head: int = -1
    root: int | None = None
    """The commit that saved the newest state."""
    cluster_id: str | None = None
    packs: dict[str, dict[str, Any]] = field(default_factory=dict)
    histories: dict[Generation, History] = field(default_factory=dict)
    points: dict[int, dict[str, Any]] = field(default_factory=dict)
    alarms: dict[int, str] = field(default_factory=dict)
    epoch: int = 0
    retired: dict[int, tuple[dict[int, dict[str, Any]], set[str]]] = field(default_factory=dict)
    """Points and packs of each retirement that is neither taken back nor swept."""
    swept: set[str] = field(default_factory=set)
    pins: dict[int, dict[str, Any]] = field(default_factory=dict)
    floors: dict[Generation, int] = field(default_factory=dict)
    keys: Any = None
    """Of an encrypted repository: second_reader_sealed.Keys."""
    signed: Any = None
    """Of a signed repository: second_reader_signed.Signed."""

    @classmethod
    def open(cls, get: Get, secret: str = "", admins: Collection[str] = ()) -> Reader:
        """Reads the log to its end. `admins`: public keys of the only ones whose saved states count, if not all of the
        repository's own.
        """
        reader = cls._new(get, secret)
        if reader.signed is None:
            reader._read_on("0" * 64)
            return reader
        roots = beside("roots")
        acceptable = {*admins} or {one["public"] for one in reader.repository["admins"]}
        head = roots.find_head(lambda number: get(log_name(number)) is not None)
        why: Exception = Corrupt("no commit 0")
        for claim in roots.claims(get, head, reader.keys):
            reader = cls._new(get, secret)
            try:
                reader._read_on(roots.begin(reader, claim, acceptable) if claim else "0" * 64)
                if reader.head >= head:
                    return reader
                raise Corrupt(f"commit {reader.head + 1} is missing")
            except (Broken, Corrupt, Unknown) as error:
                why = error
        raise why

    @classmethod
    def _new(cls, get: Get, secret: str) -> Reader:
        """One that has read the repository document."""
        reader = cls(get)
        data = get("kafkeep.json")
        if data is None:
            raise Corrupt("no repository")
        reader.repository = document(data, 1)
        needed = reader.repository["features_required"]["read"]
        if reader.repository["format"] != 1 or not set(needed) <= {"encryption", "signatures"}:
            raise Unknown("format or feature")
        if "encryption" in needed:
            reader.keys = beside("sealed").Keys(get, reader.repository, secret, documents)
        if "signatures" in needed:
            try:
                reader.signed = beside("signed").Signed(reader.repository, documents)
            except Broken as broken:
                raise Corrupt(str(broken)) from broken
        if reader.repository.get("writers", "many") not in ("many", "single"):
            raise Unknown("writers")
        return reader

    def _read_on(self, prev: str) -> None:
        """From behind the commit with this digest to the first number that is absent."""
        while (data := self.get(log_name(self.head + 1))) is not None:
            self._commit(data, prev)
            prev = digest(data).hex()
        if self.head < 0:
            raise Corrupt("no commit 0")

    def _commit(self, data: bytes, prev: str) -> None:
        seq = self.head + 1
        value = document(data, 2, self.keys if seq else None)
        try:
            shaped(value, OUTER)
            check((value["seq"], value["prev"]) == (seq, prev), f"commit {seq} is not in its place")
        except Broken as broken:
            raise Corrupt(str(broken)) from broken
        kind = value["kind"]
        try:
            decisions = DECISIONS | {kind: shape for one in self.others() for kind, shape in one.shapes.items()}
            known = ("init", "add", "recovery-point", *decisions)
            check(kind in known and (kind == "init") == (seq == 0), "kind")
            change = Decision(self, seq, decisions) if kind in decisions else Change(self, seq)
            if seq:
                check("root" in value if self.root is not None else "root" not in value, "root where none is, or none")
                check(self.root is None or (type(value["root"]) is int and value["root"] == self.root), "another root")
            change.commit(value, kind)
            if "signature" in value:
                shaped(value, {"signature": {"key": pattern("[0-9a-f]{16}"), "value": pattern("[0-9a-f]{128}")}})
                check(all(-(2**63) <= number < 2**64 for number in numbers(value)), "an integer out of range")
            if self.signed is not None and seq:
                self.signed.check(value)
        except Broken as broken:
            if seq == 0:
                raise Corrupt(str(broken)) from broken
            self.alarms[seq] = str(broken)
        else:
            change.apply()
            self.root = seq if kind == "state" else self.root
        self.head = seq

    def others(self) -> list[Any]:
        """Those who know of kinds of commits that only some repositories have."""
        return [one for one in (self.keys, self.signed) if one is not None]

    def content(self, point: int) -> Iterator[tuple[Generation, int, int, list[Piece]]]:
        """Per partition of a point: generation, start, stop, and the runs and gaps between."""
        for group in self.points[point]["cuts"]:
            for partition, lineage, start, stop, *_ in group["partitions"]:
                of = (group["topic"], group["topic_id"], partition, lineage)
                pieces = [
                    piece
                    for piece in self.histories[of].pieces
                    if piece.start < stop and piece.stop > start and start < stop
                ]
                yield of, start, stop, pieces

    def held_back(self, point: int, of: Generation) -> list[list[int]]:
        """Producer id, start and stop of what does not belong to a partition of a point."""
        groups = [group for group in self.points[point]["cuts"] if group["topic"] == of[0]]
        return [row for group in groups for partition, *row in group.get("held_back", ()) if partition == of[2]]

    def beside(self, point: int) -> dict[str, Any]:
        """The documents of a point that tell of the servers beside its cluster, by kind."""
        found: dict[str, Any] = {}
        for kind, reference in self.points[point]["documents"]:
            if kind in BESIDE:
                number, shape = BESIDE[kind]
                data = self.get(f"doc/{reference[:2]}/{reference}")
                if data is None or digest(data).hex() != reference:
                    raise Corrupt(f"document {reference}")
                found[kind] = document(data, number, self.keys)
                try:
                    shaped(found[kind], shape, kind)
                except Broken as broken:
                    raise Corrupt(str(broken)) from broken
        return found

    def run(self, piece: Piece) -> bytes:
        """All batches of a run, every byte of the pack that they rest on checked."""
        assert piece.pack is not None
        entry = self.packs[piece.pack]
        data = self.get(piece.pack)
        if data is None or len(data) != entry["size"]:
            raise Corrupt(f"{piece.pack} is missing or of another size")
        runs = footer(data, entry, self.repository["id"], self.keys)
        found = runs[piece.index]
        named = next(run for run in entry["runs"] if run["index"] == piece.index)
        told = found | ({"key": found["seal"]["topic_key"]} if self.keys else {}) | {"index": piece.index}
        if any(told.get(name) != value for name, value in named.items()):
            raise Corrupt(f"run {piece.index} of {piece.pack} is not as committed")
        opened = partial(self.keys.open_chunk, found) if self.keys else lambda number, stored: stored
        return b"".join(chunk(data, row, partial(opened, number)) for number, row in enumerate(found["chunks"]))


def beside(name: str) -> Any:
    """A module beside this one, which only some repositories need."""
    return import_module(f".{name}", __package__)


def numbers(value: Any) -> Iterator[int]:
    """All integers in a JSON value."""
    if type(value) is int:
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from numbers(one)

"""A second reader of repositories, written from docs/format.md alone, so that data outlives the tool.

It shares no code with kafkeep and needs nothing but Python, blake3, zstandard and second_reader_documents.py and
second_reader_packs.py beside it:

    python second_reader.py FOLDER                 lists the recovery points
    python second_reader.py FOLDER NUMBER OUTPUT   writes the batches of each partition of one to OUTPUT/topic-partition

An encrypted one takes second_reader_sealed.py beside it, cryptography, and in KAFKEEP_SECRET what opens it; one whose commits
are signed second_reader_signed.py and cryptography.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from tests.support.second_reader_documents import (
        BESIDE,
        BODY,
        DECISIONS,
        HEAD,
        I31,
        OUTER,
        POINT,
        UINT,
        Broken,
        Corrupt,
        Unknown,
        check,
        digest,
        document,
        pattern,
        shaped,
    )
    from tests.support.second_reader_packs import chunk, footer
else:
    from second_reader_documents import (
        BESIDE,
        BODY,
        DECISIONS,
        HEAD,
        I31,
        OUTER,
        POINT,
        UINT,
        Broken,
        Corrupt,
        Unknown,
        check,
        digest,
        document,
        pattern,
        shaped,
    )
    from second_reader_packs import chunk, footer

Get = Callable[[str], bytes | None]
"""Bytes of an object by name, None when it is absent."""
Generation = tuple[str, str, int, int]
DOCUMENTS = sys.modules[document.__module__]


# --- the fold ---------------------------------------------------------------------------------------------------------


@dataclass
class Piece:
    """A run, or with `pack` None a gap, of a generation."""

    start: int
    stop: int
    pack: str | None = None
    index: int = 0


@dataclass
class History:
    """A generation so far."""

    start: int
    next: int
    closed: bool = False
    pieces: list[Piece] = field(default_factory=list)


@dataclass
class Reader:
    """A repository, read to the end of its log."""

    get: Get
    repository: dict[str, Any] = field(default_factory=dict)
    head: int = -1
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
    def open(cls, get: Get, secret: str = "") -> Reader:
        reader = cls(get)
        data = get("kafkeep.json")
        if data is None:
            raise Corrupt("no repository")
        reader.repository = document(data, 1)
        needed = reader.repository["features_required"]["read"]
        if reader.repository["format"] != 1 or not set(needed) <= {"encryption", "signatures"}:
            raise Unknown("format or feature")
        if "encryption" in needed:
            reader.keys = beside("sealed").Keys(get, reader.repository, secret, DOCUMENTS)
        if "signatures" in needed:
            try:
                reader.signed = beside("signed").Signed(reader.repository, DOCUMENTS)
            except Broken as broken:
                raise Corrupt(str(broken)) from broken
        if reader.repository.get("writers", "many") not in ("many", "single"):
            raise Unknown("writers")
        prev = "0" * 64
        while (data := get(f"log/{reader.head + 1:012d}")) is not None:
            reader._commit(data, prev)
            prev = digest(data).hex()
        if reader.head < 0:
            raise Corrupt("no commit 0")
        return reader

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


class Change:
    """What one commit does, gathered while its rules are checked."""

    def __init__(self, reader: Reader, seq: int) -> None:
        self.reader = reader
        self.seq = seq
        self.opened: dict[Generation, int] = {}
        self.next: dict[Generation, int] = {}
        self.closed: list[Generation] = []
        self.pieces: list[tuple[Generation, Piece]] = []
        self.packs: dict[str, dict[str, Any]] = {}
        self.point: dict[str, Any] | None = None
        self.cluster_id: str | None = None
        self.keys: Any = []

    def commit(self, outer: dict[str, Any], kind: str) -> None:
        shaped(outer, HEAD)
        body = outer.get("body")
        if kind == "init":
            shaped(body, {"repository": lambda value: value == self.reader.repository}, "body")
            return
        shaped(body, BODY if kind == "add" else BODY | {"point": POINT}, "body")
        assert isinstance(body, dict)
        self.cluster_id = body["cluster_id"]
        check(self.cluster_id != "" and self.reader.cluster_id in (None, self.cluster_id), "cluster")
        pieces = [(self._of(gap), Piece(gap["from"], gap["to"])) for gap in body["gaps"]]
        for pack in body["packs"]:
            pieces += self._pack(pack)
        self.keys, runs = body.get("keys", []), [run for pack in body["packs"] for run in pack["runs"]]
        if self.reader.keys is None:
            check(self.keys == [] and not any("key" in run for run in runs), "keys without encryption")
        else:
            self.reader.keys.check_commit(self.keys, runs)
        for one in body["opened"]:
            check(self._of(one) not in self.reader.histories and self._of(one) not in self.opened, "opened twice")
            self.opened[self._of(one)] = self.next[self._of(one)] = one["start"]
        self._cover(pieces)
        for one in body["closed"]:
            check(self._is_open(self._of(one)), "closed without being open")
            self.closed.append(self._of(one))
        for of in self.opened:
            known = {**self.reader.histories, **self.opened}
            both = [one for one in known if (one[0], one[2]) == (of[0], of[2]) and self._is_open(one)]
            check(not self._is_open(of) or len(both) < 2, "two open generations")
        if kind == "recovery-point":
            self.point = body["point"]
            self._cuts(body["point"])

    @staticmethod
    def _of(value: dict[str, Any]) -> Generation:
        topic, topic_id, partition, lineage = value["generation"]
        return topic, topic_id, partition, lineage

    def _is_open(self, of: Generation) -> bool:
        known = self.reader.histories.get(of)
        return of not in self.closed and (of in self.opened or (known is not None and not known.closed))

    def _pack(self, pack: dict[str, Any]) -> list[tuple[Generation, Piece]]:
        name, root, epoch = pack["name"], pack["blake3"], pack["epoch"]
        fits = pattern(rf"pack/{root[:2]}/{epoch}-[0-7][0-9a-hjkmnp-tv-z]{{25}}-{root[:16]}")
        check(fits(name) and 0 <= self.reader.epoch - epoch <= 1, "name, digest and epoch of a pack")
        check(name not in {*self.reader.packs, *self.reader.swept, *self.packs}, "pack named twice")
        check(bool(pack["runs"]) and rising([run["index"] for run in pack["runs"]]), "indexes of runs")
        self.packs[name] = pack
        return [(self._of(run), Piece(run["from"], run["to"], name, run["index"])) for run in pack["runs"]]

    def _cover(self, pieces: list[tuple[Generation, Piece]]) -> None:
        for of, piece in sorted(pieces, key=lambda item: (item[0], item[1].start, item[1].stop)):
            check(self._is_open(of), "not open")
            if of not in self.next:
                self.next[of] = self.reader.histories[of].next
            check(piece.start == self.next[of] and piece.stop > piece.start, "not at the next offset")
            self.next[of] = piece.stop
            self.pieces.append((of, piece))

    def _cuts(self, point: dict[str, Any]) -> None:
        seen: set[tuple[str, int]] = set()
        for group in point["cuts"]:
            if "held_back" in group:
                rows = group["held_back"]
                shaped(rows, [(I31, UINT, UINT, UINT)], "held back")
                stops = {row[0]: row[3] for row in group["partitions"]}
                within = all(start < stop <= stops.get(partition, -1) for partition, _, start, stop in rows)
                check(rows != [] and within and rows == sorted(map(list, {*map(tuple, rows)})), "what is held back")
            for partition, lineage, start, stop, *_ in group["partitions"]:
                of = (group["topic"], group["topic_id"], partition, lineage)
                check((of[0], of[2]) not in seen, "two cuts of one partition")
                seen.add((of[0], of[2]))
                known = self.reader.histories.get(of)
                check(known is not None or of in self.opened, "cut of nothing")
                first = known.start if known is not None else self.opened[of]
                last = self.next.get(of, known.next if known is not None else -1)
                check(first <= start <= stop <= last, "cut outside the coverage")
                check(start >= self.reader.floors.get(of, 0), "cut in what was retired")

    def apply(self) -> None:
        reader = self.reader
        if self.cluster_id is not None:
            reader.cluster_id = self.cluster_id
        reader.packs |= self.packs
        for of, start in self.opened.items():
            reader.histories[of] = History(start, start)
        for of, piece in self.pieces:
            reader.histories[of].pieces.append(piece)
            reader.histories[of].next = piece.stop
        for of in self.closed:
            reader.histories[of].closed = True
        if self.point is not None:
            reader.points[self.seq] = self.point
        if reader.keys is not None:
            reader.keys.bring(self.keys)


class Decision:
    """A commit that brings no data but says what is kept."""

    def __init__(self, reader: Reader, seq: int, shapes: dict[str, dict[str, Any]]) -> None:
        self.reader, self.seq, self.shapes = reader, seq, shapes
        self.kind = ""
        self.body: dict[str, Any] = {}
        self.change = Change(reader, seq)
        self.moves: list[tuple[str, int, str | None, int]] = []

    def commit(self, outer: dict[str, Any], kind: str) -> None:
        shaped(outer, HEAD)
        self.kind, self.body = kind, outer.get("body") or {}
        shaped(outer.get("body"), self.shapes[kind], "body")
        reader, body = self.reader, self.body
        if kind == "epoch":
            check(body["epoch"] == reader.epoch + 1, "epoch")
        elif kind == "retire":
            self._check_retire(body["points"], body["packs"], outer["finished"])
        elif kind in ("unretire", "sweep"):
            check(rising(body["retirements"]), "order")
            check(body["retirements"] != [] and set(body["retirements"]) <= set(reader.retired), "no such retirement")
        elif kind not in DECISIONS:
            self.other.check_decision(kind, body)
            gone = [
                (n, r)
                for n, p in reader.packs.items()
                for r in p["runs"]
                if r["generation"][:2] in body.get("topics", ())
            ]
            self.moves = [(name, run["index"], None, 0) for name, run in gone]
        elif kind == "lose":
            self._move([(name, index, None, 0) for name, index in body["runs"]])
        elif kind == "compact":
            self._move([(name, there, to["name"], at) for to in body["packs"] for at, name, there in to["runs"]])
            for to in body["packs"]:
                runs = [self._run(name, there) | {"index": at} for at, name, there in to["runs"]]
                self.change._pack(to | {"runs": runs})
        else:
            check(body["point"] in (reader.pins if kind == "unpin" else reader.points), "no such point")
            check(kind != "pin" or None in (body["until"], body["until_tag"]), "a pin with two ends")

    @property
    def other(self) -> Any:
        """Who knows of this kind of decision."""
        return next(one for one in self.reader.others() if self.kind in one.shapes)

    def _check_retire(self, points: list[int], packs: list[str], finished: str) -> None:
        reader = self.reader
        check(rising(points) and len(set(packs)) == len(packs) and bool(points or packs), "order, or nothing")
        check(set(points) <= set(reader.points), "no such point")
        check(not any(self._pinned(point, finished) for point in points), "a pinned point")
        retired = {name for _, names in reader.retired.values() for name in names}
        check(set(packs) <= set(reader.packs) - retired, "no such pack")
        for number in set(reader.points) - set(points):
            for _, start, stop, pieces in reader.content(number):
                overlap = [
                    piece for piece in pieces if piece.pack in packs and max(piece.start, start) < min(piece.stop, stop)
                ]
                check(not overlap, "a pack that is needed")

    def _move(self, moves: list[tuple[str, int, str | None, int]]) -> None:
        """Pack and number of runs, and where they lie from here on: in another pack, or nowhere."""
        self.moves = moves
        runs = [move[:2] for move in moves]
        retired = {name for _, names in self.reader.retired.values() for name in names}
        known = {(name, run["index"]) for name, pack in self.reader.packs.items() for run in pack["runs"]}
        check(runs != [] and len(set(runs)) == len(runs) and set(runs) <= known, "no such run, or one twice")
        check(not retired & {name for name, _ in runs}, "a run of a retired pack")

    def _run(self, name: str, index: int) -> dict[str, Any]:
        found: dict[str, Any] = next(run for run in self.reader.packs[name]["runs"] if run["index"] == index)
        return found

    def _pinned(self, point: int, finished: str) -> bool:
        pin = self.reader.pins.get(point)
        if pin is None or (pin["until"] is not None and moment(finished) >= moment(pin["until"])):
            return False
        key, equals, value = (pin["until_tag"] or "").partition("=")
        return pin["until_tag"] is None or not any(
            number > point and one["complete"] and any(k == key and (not equals or v == value) for k, v in one["tags"])
            for number, one in self.reader.points.items()
        )

    def apply(self) -> None:
        reader, body = self.reader, self.body
        if self.kind == "epoch":
            reader.epoch = body["epoch"]
        elif self.kind == "retire":
            points = {number: reader.points.pop(number) for number in body["points"]}
            reader.pins = {point: pin for point, pin in reader.pins.items() if point not in points}
            reader.retired[self.seq] = (points, set(body["packs"]))
            for run in (run for name in body["packs"] for run in reader.packs[name]["runs"]):
                of = Change._of(run)
                reader.floors[of] = max(reader.floors.get(of, 0), run["to"])
        elif self.kind in ("unretire", "sweep"):
            for points, packs in [reader.retired.pop(number) for number in body["retirements"]]:
                if self.kind == "sweep":
                    self._sweep(packs)
                else:
                    reader.points = dict(sorted({**reader.points, **points}.items()))
        elif self.kind == "pin":
            reader.pins[body["point"]] = body
        elif self.kind == "unpin":
            del reader.pins[body["point"]]
        elif self.kind in ("lose", "compact") or self.kind not in DECISIONS:
            if self.kind not in DECISIONS:
                self.other.decide(self.kind, body)
            reader.packs |= self.change.packs
            for name, index, to, at in self.moves:
                pieces = reader.histories[Change._of(self._run(name, index))].pieces
                pack = reader.packs[name]
                reader.packs[name] = pack | {"runs": [run for run in pack["runs"] if run["index"] != index]}
                for piece in pieces:
                    if (piece.pack, piece.index) == (name, index):
                        piece.pack, piece.index = to, at
        else:
            point = reader.points[body["point"]]
            gone = {*body["unset"], *(key for key, _ in body["set"])}
            reader.points[body["point"]] = point | {
                "tags": [t for t in point["tags"] if t[0] not in gone] + body["set"]
            }

    def _sweep(self, packs: set[str]) -> None:
        reader = self.reader
        lowest: dict[Generation, int] = {}
        for number in reader.points:
            for of, start, _, _ in reader.content(number):
                lowest[of] = min(start, lowest.get(of, start))
        for of in {Change._of(run) for name in packs for run in reader.packs[name]["runs"]}:
            history = reader.histories[of]
            kept: list[Piece] = []
            for piece in history.pieces:
                left = Piece(piece.start, piece.stop) if piece.pack in packs else piece
                if not kept and left.pack is None and left.stop <= lowest.get(of, history.next):
                    history.start = left.stop
                else:
                    kept.append(left)
            history.pieces = kept
        reader.packs = {name: pack for name, pack in reader.packs.items() if name not in packs}
        reader.swept |= packs


def beside(name: str) -> Any:
    """A module beside this one, which only some repositories need."""
    name = f"second_reader_{name}"
    return import_module(f"{__package__}.{name}" if __package__ else name)


def numbers(value: Any) -> Iterator[int]:
    """All integers in a JSON value."""
    if type(value) is int:
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from numbers(one)


def rising(numbers: list[int]) -> bool:
    return numbers == sorted(set(numbers))


def moment(value: str) -> tuple[str, str]:
    """Sorts like the time, to the microsecond."""
    return value[:19], value[20:-1].ljust(6, "0")[:6]


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


if __name__ == "__main__":
    main(*sys.argv[1:4])

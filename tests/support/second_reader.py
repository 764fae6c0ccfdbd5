"""A second reader of repositories, written from docs/format.md alone, so that data outlives the tool.

It shares no code with kafkeep and needs nothing but Python, blake3 and zstandard:

    python second_reader.py FOLDER                 lists the recovery points
    python second_reader.py FOLDER NUMBER OUTPUT   writes the batches of each partition of one to OUTPUT/topic-partition
"""

from __future__ import annotations

import json
import re
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import zstandard
from blake3 import blake3

MIB = 1024 * 1024
LIMITS = {1: 64 * 1024, 2: 16 * MIB, 32: 4 * MIB}
OTHER_LIMIT = 64 * MIB
ENVELOPE = struct.Struct("<4sBBBI")

Get = Callable[[str], bytes | None]
"""Bytes of an object by name, None when it is absent."""


class Corrupt(Exception):
    """What was read is not what was written."""


class Unknown(Exception):
    """Intact, and of a format this reader does not know."""


class Broken(Exception):
    """A commit breaks a rule: it counts for nothing."""


def digest(data: bytes) -> bytes:
    return blake3(data).digest()


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


def document(data: bytes, kind: int) -> Any:
    """The value of a document of this kind."""
    if len(data) < ENVELOPE.size + 32 or data[:3] != b"KKD":
        raise Corrupt("no document")
    magic, found, codec, seal, length = ENVELOPE.unpack_from(data)
    if length != len(data) - ENVELOPE.size - 32 or digest(data[:-32]) != data[-32:]:
        raise Corrupt("length or digest")
    if magic != b"KKD1" or codec > 1 or seal != 0:
        raise Unknown(f"{magic!r} codec {codec} seal {seal}")
    if found != kind:
        raise Corrupt(f"kind {found}, not {kind}")
    most = LIMITS.get(kind, OTHER_LIMIT)
    body = data[ENVELOPE.size : -32]
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
Generation = tuple[str, str, int, int]


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

    @classmethod
    def open(cls, get: Get) -> Reader:
        reader = cls(get)
        data = get("kafkeep.json")
        if data is None:
            raise Corrupt("no repository")
        reader.repository = document(data, 1)
        if reader.repository["format"] != 1 or reader.repository["features_required"]["read"]:
            raise Unknown("format or feature")
        prev = "0" * 64
        while (data := get(f"log/{reader.head + 1:012d}")) is not None:
            reader._commit(data, prev)
            prev = digest(data).hex()
        if reader.head < 0:
            raise Corrupt("no commit 0")
        return reader

    def _commit(self, data: bytes, prev: str) -> None:
        seq = self.head + 1
        value = document(data, 2)
        try:
            shaped(value, OUTER)
            check((value["seq"], value["prev"]) == (seq, prev), f"commit {seq} is not in its place")
        except Broken as broken:
            raise Corrupt(str(broken)) from broken
        kind = value["kind"]
        try:
            known = ("init", "add", "recovery-point", *DECISIONS)
            check(kind in known and (kind == "init") == (seq == 0), "kind")
            change = Decision(self, seq) if kind in DECISIONS else Change(self, seq)
            change.commit(value, kind)
        except Broken as broken:
            if seq == 0:
                raise Corrupt(str(broken)) from broken
            self.alarms[seq] = str(broken)
        else:
            change.apply()
        self.head = seq

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
                found[kind] = document(data, number)
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
        runs = footer(data, entry, self.repository["id"])
        found = runs[piece.index]
        named = next(run for run in entry["runs"] if run["index"] == piece.index)
        if any(found.get(name) != value for name, value in named.items() if name != "index"):
            raise Corrupt(f"run {piece.index} of {piece.pack} is not as committed")
        return b"".join(chunk(data, row) for row in found["chunks"])


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
        indexes = [run["index"] for run in pack["runs"]]
        check(bool(indexes) and indexes == sorted(set(indexes)), "indexes of runs")
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


class Decision:
    """A commit that brings no data but says what is kept."""

    def __init__(self, reader: Reader, seq: int) -> None:
        self.reader = reader
        self.seq = seq
        self.kind = ""
        self.body: dict[str, Any] = {}

    def commit(self, outer: dict[str, Any], kind: str) -> None:
        shaped(outer, HEAD)
        self.kind, self.body = kind, outer.get("body") or {}
        shaped(outer.get("body"), DECISIONS[kind], "body")
        reader, body = self.reader, self.body
        if kind == "epoch":
            check(body["epoch"] == reader.epoch + 1, "epoch")
        elif kind == "retire":
            self._check_retire(body["points"], body["packs"], outer["finished"])
        elif kind in ("unretire", "sweep"):
            check(rising(body["retirements"]), "order")
            check(body["retirements"] != [] and set(body["retirements"]) <= set(reader.retired), "no such retirement")
        else:
            check(body["point"] in (reader.pins if kind == "unpin" else reader.points), "no such point")
            check(kind != "pin" or None in (body["until"], body["until_tag"]), "a pin with two ends")

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


def rising(numbers: list[int]) -> bool:
    return numbers == sorted(set(numbers))


def moment(value: str) -> tuple[str, str]:
    """Sorts like the time, to the microsecond."""
    return value[:19], value[20:-1].ljust(6, "0")[:6]


# --- packs ------------------------------------------------------------------------------------------------------------


def footer(data: bytes, entry: dict[str, Any], repository_id: str) -> list[dict[str, Any]]:
    """The runs of a pack, its layout checked from the first byte to the last."""
    position, length, root, end = struct.unpack("<QI32s4s", data[-48:])
    if end != b"KKPE" or position + length + 48 != len(data):
        raise Corrupt("trailer")
    header, foot = data[:36], data[position : position + length]
    if digest(header + foot) != root or root.hex() != entry["blake3"]:
        raise Corrupt("root")
    head = struct.pack("<4sHH16sII", b"KKP1", 1, 0, bytes.fromhex(repository_id), entry["epoch"], 36)
    if header != head + struct.pack("<I", crc32c(head)):
        raise Corrupt("header")
    runs: list[dict[str, Any]] = document(foot, 3)["runs"]
    place = 36
    for index, run in enumerate(runs):
        value = {"from": run["from"], "generation": run["generation"], "run": index}
        body = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
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


def chunk(data: bytes, row: list[Any]) -> bytes:
    position, stored, raw, codec = row[:4]
    found = data[position : position + stored]
    if digest(found).hex() != row[9]:
        raise Corrupt(f"chunk at {position}")
    if codec > 1:
        raise Unknown(f"codec {codec}")
    if codec == 0 and stored != raw:
        raise Corrupt(f"lengths of the chunk at {position}")
    return unzstd(found, raw, raw) if codec == 1 else found


def from_folder(folder: Path) -> Get:
    def get(name: str) -> bytes | None:
        try:
            return (folder / name).read_bytes()
        except FileNotFoundError:
            return None

    return get


def main(folder: str, point: str | None = None, output: str | None = None) -> None:
    reader = Reader.open(from_folder(Path(folder)))
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

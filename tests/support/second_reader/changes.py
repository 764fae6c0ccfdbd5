"""Commits that bring data or points: how the second reader checks and applies them, written from docs/format.md alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .documents import BODY, HEAD, I31, POINT, UINT, check, pattern, shaped

if TYPE_CHECKING:
    from .reader import Reader

Generation = tuple[str, str, int, int]


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


def rising(numbers: list[int]) -> bool:
    return numbers == sorted(set(numbers))

"""Commits that say what is kept: how the second reader checks and applies them, written from docs/format.md alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .changes import Change, Generation, Piece, rising
from .documents import DECISIONS, HEAD, check, shaped

if TYPE_CHECKING:
    from .reader import Reader


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


def moment(value: str) -> tuple[str, str]:
    """Sorts like the time, to the microsecond."""
    return value[:19], value[20:-1].ljust(6, "0")[:6]

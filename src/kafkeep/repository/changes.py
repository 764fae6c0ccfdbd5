"""Commits that bring no data but decide what is kept: their values, as JSON and back. Pure; docs/format.md is the norm."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any, Final

from kafkeep.model import RecoveryPoint
from kafkeep.records import dataclass
from kafkeep.repository import nouns, topic_keys, trust
from kafkeep.repository.names import parse_pack_name
from kafkeep.repository.nouns import Malformed, fields, hexadecimal, integer, items, text, text_pairs
from kafkeep.repository.topic_keys import KeyChange, encode_key_change
from kafkeep.repository.trust import Distrust, Trust, TrustChange, encode_trust_change

U32: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class RaiseEpoch:
    """Packs that no commit names age by one: two epochs on they may be deleted."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Retire:
    """Points that count no longer, and packs that none of the others needs. Nothing is deleted by it."""

    points: tuple[int, ...]
    packs: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Unretire:
    """Takes `Retire` commits back, by their numbers."""

    retirements: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sweep:
    """The packs of these `Retire` commits are about to be deleted."""

    retirements: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pin:
    """Keeps a point whatever the rules of retention say."""

    point: int
    reason: str
    until: str | None = None
    """RFC 3339, UTC: it ends by itself then."""
    until_tag: str | None = None
    """`KEY` or `KEY=VALUE`: it ends by itself when a later complete point has this tag."""

    def holds(self, time: str, points: Iterable[RecoveryPoint]) -> bool:
        """Whether it keeps its point at `time` (RFC 3339), beside these points."""
        if self.until is not None and nouns.parse_time(time) >= nouns.parse_time(self.until):
            return False
        wanted = self.until_tag
        return wanted is None or not any(
            point.number > self.point and point.complete and has_tag(point.tags, wanted) for point in points
        )


@dataclass(frozen=True, slots=True)
class Unpin:
    point: int


@dataclass(frozen=True, slots=True)
class Retag:
    """Sets and removes tags of a point."""

    point: int
    set: tuple[tuple[str, str], ...]
    unset: tuple[str, ...]

    def applied(self, tags: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        """The tags afterwards: what stays as it was, in its order, then what is set."""
        gone = {*self.unset, *(key for key, _ in self.set)}
        return (*(tag for tag in tags if tag[0] not in gone), *self.set)


@dataclass(frozen=True, slots=True)
class Lose:
    """Runs that nothing can mend: gaps come in their places, so that a restore names the loss instead of meeting it."""

    runs: tuple[tuple[str, int], ...]
    """(pack, number of the run in it)."""
    reason: str


@dataclass(frozen=True, slots=True)
class MovedRun:
    """Run `index` of a new pack is the run that lies as number `there` in `pack`."""

    index: int
    pack: str
    there: int


@dataclass(frozen=True, slots=True)
class CompactedPack:
    """A pack of runs that other packs hold; it may hold more than are named."""

    name: str
    size: int
    blake3: str
    """Root digest."""
    epoch: int
    runs: tuple[MovedRun, ...]


@dataclass(frozen=True, slots=True)
class Compact:
    """Runs lie in other packs from here on. They stay what they are: only the location changes."""

    packs: tuple[CompactedPack, ...]


@dataclass(frozen=True, slots=True)
class SaveState:
    """What the commits before it say together lies in documents: whoever comes new begins here."""

    document: str
    """64 hexadecimal digits: digest of the root document (`fold.root`)."""


Change = (
    RaiseEpoch | Retire | Unretire | Sweep | Pin | Unpin | Retag | Lose | Compact | SaveState | KeyChange | TrustChange
)

KIND_OF: Final[Mapping[type, str]] = {
    RaiseEpoch: "epoch",
    Retire: "retire",
    Unretire: "unretire",
    Sweep: "sweep",
    Pin: "pin",
    Unpin: "unpin",
    Retag: "tag",
    Lose: "lose",
    Compact: "compact",
    SaveState: "state",
    **topic_keys.KIND_OF,
    **trust.KIND_OF,
}


def has_tag(tags: Iterable[tuple[str, str]], wanted: str) -> bool:
    """`wanted` is `KEY`, or `KEY=VALUE`."""
    key, equals, value = wanted.partition("=")
    return any(name == key and (not equals or found == value) for name, found in tags)


def encode_change(change: Change) -> dict[str, object]:
    """The body of its commit."""
    match change:
        case RaiseEpoch(epoch):
            return {"epoch": epoch}
        case Retire(points, packs, reason):
            return {"packs": packs, "points": points, "reason": reason}
        case Unretire(retirements) | Sweep(retirements):
            return {"retirements": retirements}
        case Pin(point, reason, until, until_tag):
            return {"point": point, "reason": reason, "until": until, "until_tag": until_tag}
        case Unpin(point):
            return {"point": point}
        case Retag(point, tags, unset):
            return {"point": point, "set": tags, "unset": unset}
        case Lose(runs, reason):
            return {"reason": reason, "runs": runs}
        case Compact(packs):
            return {"packs": [_encode_compacted(pack) for pack in packs]}
        case SaveState(document):
            return {"document": document}
        case Trust() | Distrust():
            return encode_trust_change(change)
        case _:
            return encode_key_change(change)


def _encode_compacted(pack: CompactedPack) -> dict[str, object]:
    return {
        "blake3": pack.blake3,
        "epoch": pack.epoch,
        "name": pack.name,
        "runs": [[run.index, run.pack, run.there] for run in pack.runs],
        "size": pack.size,
    }


def decode_change(kind: str, value: object) -> Change:
    """Raises `Malformed`, KeyError for a field that is not there."""
    return _DECODERS[kind](fields(value, "body"))


def _retire(body: dict[str, Any]) -> Retire:
    return Retire(
        points=_rising(body["points"], "points"),
        packs=items(body["packs"], "packs", lambda item: text(item, "pack name", 255)),
        reason=text(body["reason"], "reason"),
    )


def _rising(value: object, what: str) -> tuple[int, ...]:
    found = items(value, what, lambda item: integer(item, what))
    if any(a >= b for a, b in pairwise(found)):
        raise Malformed(f"{what} do not rise")
    return found


def _pin(body: dict[str, Any]) -> Pin:
    until, until_tag = body["until"], body["until_tag"]
    return Pin(
        point=integer(body["point"], "point"),
        reason=text(body["reason"], "reason"),
        until=None if until is None else nouns.time_text(until, "until"),
        until_tag=None if until_tag is None else text(until_tag, "until tag"),
    )


def _retag(body: dict[str, Any]) -> Retag:
    return Retag(
        point=integer(body["point"], "point"),
        set=text_pairs(body["set"], "tags"),
        unset=nouns.texts(body["unset"], "tags"),
    )


def _place(value: object) -> tuple[str, int]:
    if type(value) is not list or len(value) != 2:
        raise Malformed("place of a run is not a row of 2")
    return text(value[0], "pack name", 255), integer(value[1], "run index", 0, U32)


def check_pack_name(name: str, root: str, epoch: int) -> None:
    """Raises `Malformed` unless the name is one of a pack with this root digest and epoch."""
    parsed = parse_pack_name(name)
    if parsed is None or parsed.h16 != root[:16] or parsed.epoch != epoch:
        raise Malformed(f"pack name {name[:80]!r} does not fit its digest and epoch")


def _compacted(value: object) -> CompactedPack:
    pack = fields(value, "pack")
    name = text(pack["name"], "pack name", 255)
    root = hexadecimal(pack["blake3"], "pack digest", 64)
    epoch = integer(pack["epoch"], "pack epoch", 0, U32)
    check_pack_name(name, root, epoch)
    runs = items(pack["runs"], "runs", _moved_run)
    return CompactedPack(name, integer(pack["size"], "pack size", 1), root, epoch, runs)


def _moved_run(value: object) -> MovedRun:
    if type(value) is not list or len(value) != 3:
        raise Malformed("moved run is not a row of 3")
    return MovedRun(
        integer(value[0], "run index", 0, U32), text(value[1], "pack name", 255), integer(value[2], "run index", 0, U32)
    )


_DECODERS: Final[Mapping[str, Callable[[dict[str, Any]], Change]]] = {
    "epoch": lambda body: RaiseEpoch(integer(body["epoch"], "epoch", 1, U32)),
    "retire": _retire,
    "unretire": lambda body: Unretire(_rising(body["retirements"], "retirements")),
    "sweep": lambda body: Sweep(_rising(body["retirements"], "retirements")),
    "pin": _pin,
    "unpin": lambda body: Unpin(integer(body["point"], "point")),
    "tag": _retag,
    "lose": lambda body: Lose(items(body["runs"], "runs", _place), text(body["reason"], "reason")),
    "compact": lambda body: Compact(items(body["packs"], "packs", _compacted)),
    "state": lambda body: SaveState(hexadecimal(body["document"], "document", 64)),
    **topic_keys.DECODERS,
    **trust.DECODERS,
}
CHANGE_KINDS: Final = tuple(_DECODERS)

"""A folded state as documents, and back: what `state` commits name, and what the local cache keeps. Pure; docs/format.md is
the norm.

A root is one small document that names others by their digests: tables, each cut into documents of a bounded size, and
the pages that the state's segments lie on. Whoever reads one holds it against the repository first (`Root`).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeVar

from kafkeep.model import Generation, RecoveryPoint, TopicPartition
from kafkeep.records import dataclass
from kafkeep.repository import nouns
from kafkeep.repository.catalogue import PackCatalogue, PackEntry
from kafkeep.repository.changes import Pin, decode_change, encode_change
from kafkeep.repository.envelope import canonical, digest
from kafkeep.repository.fold.codecs import CODECS, HISTORIES, Numbered, generation_row
from kafkeep.repository.fold.pages import DIGEST_BYTES, Pages, Segment
from kafkeep.repository.fold.rope import Part, Rope
from kafkeep.repository.fold.settling import Layers, segments_of
from kafkeep.repository.format import RepositoryDocument, repository_value
from kafkeep.repository.keeping import Retirement
from kafkeep.repository.nouns import Malformed, fields
from kafkeep.repository.shared import Shared
from kafkeep.repository.state import Alarm, GenerationState, RootRef, State
from kafkeep.repository.topic_keys import (
    KeyRing,
    decode_recipient,
    decode_topic_key,
    encode_recipient,
    encode_topic_key,
)
from kafkeep.repository.trust import decode_trusted, encode_trusted

T = TypeVar("T")

VERSION: Final = 1
"""Of the documents of `state` commits."""
LOCAL_VERSION: Final = 2
"""Of those of the local cache: one that another version of the program made is thrown away."""
_ROWS: Final = 500
"""Of a table in one document; a row with long lists counts for several."""
_LISTED: Final = 8
"""So many entries of a row's lists count for as much as another row."""
_PAGES: Final = 4000
"""Of a segment in one row."""
_NAMES: Final = 5000

Tables = Mapping[str, Sequence[Any]]
"""By the name of the table, its documents in order."""


@dataclass(frozen=True, slots=True)
class Root:
    """Where a folded state lies, and what it is the fold of."""

    head: int
    head_digest: str
    version: int
    """Of the documents behind it: another one cannot be read, and is not needed to compare the head with the store."""
    tool: str
    tables: Mapping[str, tuple[str, ...]]
    """Digests of their documents, in hexadecimal."""
    elsewhere: tuple[str, ...] = ()
    """Only in the local cache: digests of documents of the table `segments` whose pages the repository has."""

    def value(self) -> dict[str, object]:
        """What is stored of it."""
        elsewhere = {"elsewhere": list(self.elsewhere)} if self.elsewhere else {}
        return elsewhere | {
            "head": self.head,
            "head_digest": self.head_digest,
            "tables": {name: list(digests) for name, digests in self.tables.items()},
            "tool": self.tool,
            "version": self.version,
        }

    @classmethod
    def of(cls, value: object) -> Root:
        """Raises `Malformed`, KeyError."""
        found = fields(value, "root")
        tables = fields(found["tables"], "tables")
        return cls(
            nouns.integer(found["head"], "head"),
            nouns.hexadecimal(found["head_digest"], "head digest", 64),
            nouns.integer(found["version"], "version"),
            nouns.text(found["tool"], "tool", 200),
            {name: nouns.items(digests, name, _page_digest) for name, digests in tables.items()},
            nouns.items(found.get("elsewhere", []), "elsewhere", _page_digest),
        )


def _page_digest(value: object) -> str:
    return nouns.hexadecimal(value, "digest of a page", 2 * DIGEST_BYTES)


def tables_of(state: State) -> Iterator[tuple[str, object]]:
    """The documents of a settled state, each with the name of its table; those of one table come in order."""
    segments = {segment: number for number, segment in enumerate(segments_of(state))}

    def place(rope: Sequence[Any]) -> list[int]:
        return [part for block, first, count in Rope.of(rope).parts() for part in (segments[block], first, count)]  # type: ignore[index]

    def point_row(point: RecoveryPoint) -> dict[str, Any]:
        return _point_row(point) | {"cuts": place(point.cuts)}

    yield "head", _head(state)
    for segment, number in segments.items():
        yield from _segment_rows(segment, number)
    histories = state.generations.values()
    yield from _cut("generations", (_generation_row(known, place(known.history)) for known in histories), _row_weight)
    lasts = (known.history[-1] for known in histories if known.history)
    yield from (("lasts", HISTORIES.encode(some)) for _, some in _cut("lasts", lasts, HISTORIES.weigh))
    yield from _cut(
        "packs", (_pack_row(entry, place(entry.runs), place(entry.moved)) for entry in state.packs), _row_weight
    )
    yield from _cut("points", map(point_row, state.points), _row_weight)
    for number, each in state.retirements.items():
        yield "retirements", {"number": number, "reason": each.reason, "time": each.time}
        yield from _cut(
            "retired", ((number, point_row(point)) for point in each.points), lambda row: _row_weight(row[1])
        )
        yield from _cut("retired_packs", ([number, name] for name in sorted(each.packs)), most=_NAMES)
    yield from _cut("swept", sorted(state.swept), most=_NAMES)
    yield from _cut("floors", ([*generation_row(of), floor] for of, floor in state.floors.items()))
    yield from _cut("alarms", ([alarm.number, alarm.digest, alarm.reason] for alarm in state.alarms))
    yield from _cut("topic_keys", map(encode_topic_key, state.keys.topic_keys.values()))


def _cut(
    name: str, rows: Iterable[T], weigh: Callable[[T], int] = lambda row: 1, *, most: int = _ROWS
) -> Iterator[tuple[str, list[T]]]:
    """The rows as documents of a table, each of a weight of `most`, or of one row."""
    some: list[T] = []
    weight = 0
    for row in rows:
        more = weigh(row)
        if some and weight + more > most:
            yield name, some
            some, weight = [], 0
        some.append(row)
        weight += more
    if some:
        yield name, some


def _row_weight(row: Sequence[Any] | Mapping[str, Any]) -> int:
    values = row.values() if isinstance(row, Mapping) else row
    return 1 + sum(len(value) for value in values if isinstance(value, (list, tuple))) // _LISTED


def _segment_rows(segment: Segment[Any], number: int) -> Iterator[tuple[str, object]]:
    digests = segment.digests.hex()
    size = 2 * DIGEST_BYTES
    pages = [digests[at : at + size] for at in range(0, len(digests), size)]
    for at in range(0, len(pages), _PAGES):
        lengths = [b - a for a, b in zip(segment.starts[at:], segment.starts[at + 1 : at + 1 + _PAGES], strict=False)]
        yield (
            "segments",
            {"codec": segment.codec.name, "lengths": lengths, "pages": pages[at : at + _PAGES], "segment": number},
        )


def _head(state: State) -> dict[str, object]:
    keys, root = state.keys, state.root
    return {
        "about": None if state.repository is None else about_digest(state.repository),
        "cluster_id": state.cluster_id,
        "current": [[*topic, key] for topic, key in keys.current.items()],
        "epoch": state.epoch,
        "pins": [encode_change(pin) for pin in state.pins.values()],
        "recipients": [encode_recipient(entry) for entry in keys.recipients],
        "root": None if root is None else [root.number, root.document],
        "rotated_at": keys.rotated_at,
        "shredded": sorted(keys.shredded),
        "since": [[public, number] for public, number in keys.since.items()],
        "trusted": [encode_trusted(key) for key in state.trusted],
    }


def about_digest(document: RepositoryDocument) -> str:
    """Two repository documents with the same one are the same."""
    return digest(canonical(repository_value(document)))


def _generation_row(known: GenerationState, parts: list[int]) -> list[object]:
    gaps = [[number, nouns.encode_gap(gap)] for number, gap in zip(known.gap_numbers, known.gaps, strict=True)]
    return [
        *generation_row(known.generation),
        known.start,
        known.next_offset,
        known.opened_at,
        known.opened_time,
        known.opened_why,
        known.closed_at,
        known.closed_why,
        gaps,
        parts,
    ]


def _pack_row(entry: PackEntry, runs: list[int], moved: list[int]) -> list[object]:
    return [entry.name, entry.size, entry.blake3, entry.epoch, entry.number, runs, moved]


def _point_row(point: RecoveryPoint) -> dict[str, object]:
    return {
        "cluster_id": point.cluster_id,
        "complete": point.complete,
        "consistency": point.consistency,
        "documents": point.documents,
        "failures": [nouns.encode_failure(failure) for failure in point.failures],
        "finished": point.finished,
        "name": point.name,
        "number": point.number,
        "selection": point.selection,
        "signer": point.signer,
        "started": point.started,
        "tags": point.tags,
    }


def state_of(root: Root, tables: Tables, about: RepositoryDocument, layers: Layers, pages: Pages) -> State:
    """The state that was stored. Raises ValueError, KeyError, IndexError, TypeError for tables that no `tables_of` made,
    and for those of another repository than `about`.
    """
    return _Reader(tables, pages).state(root, about, layers)


class _Reader:
    """Tables back to values."""

    def __init__(self, tables: Tables, pages: Pages) -> None:
        self._tables = tables
        self._segments = self._read_segments(pages)

    def _documents(self, name: str) -> Sequence[Any]:
        return self._tables.get(name, ())

    def _rows(self, name: str) -> Iterator[Any]:
        return (row for document in self._documents(name) for row in document)

    def _each(self, name: str, each: Callable[[Any], T]) -> list[T]:
        return [each(row) for row in self._rows(name)]

    def _read_segments(self, pages: Pages) -> list[Segment[Any]]:
        digests: dict[int, list[bytes]] = {}
        starts: dict[int, array[int]] = {}
        codecs: dict[int, str] = {}
        for row in self._documents("segments"):
            number = row["segment"]
            codecs[number] = row["codec"]
            digests.setdefault(number, []).extend(bytes.fromhex(_page_digest(page)) for page in row["pages"])
            begun = starts.setdefault(number, array("Q", [0]))
            for length in row["lengths"]:
                begun.append(begun[-1] + length)
        if any(len(starts[number]) != len(found) + 1 for number, found in digests.items()):
            raise Malformed("a segment with other lengths than pages")
        return [
            Segment(pages, CODECS[codecs[number]], b"".join(digests[number]), starts[number])
            for number in range(len(codecs))
        ]

    def _rope(self, row: Sequence[int], codec: str, last: T | None = None) -> Rope[T]:
        parts: list[Part[T]] = []
        for number, first, count in zip(row[::3], row[1::3], row[2::3], strict=True):
            segment = self._segments[number]
            if segment.codec.name != codec or not 0 <= first < first + count <= len(segment):
                raise Malformed("a part of a segment that is not there")
            parts.append((segment, first, count))
        return Rope(parts, last=last)

    def state(self, root: Root, about: RepositoryDocument, layers: Layers) -> State:
        (head,) = self._documents("head")
        if head["about"] != about_digest(about):
            raise Malformed("the state of another repository")
        generations = self._generations()
        latest = {TopicPartition(of.topic, of.partition): of for of in generations}
        return State(
            head=root.head,
            head_digest=root.head_digest,
            epoch=head["epoch"],
            cluster_id=head["cluster_id"],
            repository=about,
            generations=MappingProxyType(generations),
            latest=MappingProxyType(latest),
            points=Shared(self._each("points", self._point)),
            packs=PackCatalogue().extended(self._each("packs", self._pack)),
            alarms=Shared(self._each("alarms", lambda row: Alarm(*row))),
            retirements=MappingProxyType(self._retirements()),
            swept=frozenset(self._rows("swept")),
            pins=MappingProxyType({pin.point: pin for pin in map(_pin, head["pins"])}),
            floors=MappingProxyType({Generation(*row[:4]): row[4] for row in self._rows("floors")}),
            keys=self._keys(head),
            trusted=tuple(map(decode_trusted, head["trusted"])),
            root=None if head["root"] is None else _root_ref(head["root"]),
            layers=layers,
        )

    def _generations(self) -> dict[Generation, GenerationState]:
        lasts = (item for document in self._documents("lasts") for item in HISTORIES.decode(document))
        found = {}
        for row in self._rows("generations"):
            of = Generation(*row[:4])
            last: Numbered | None = next(lasts, None) if row[12] else None
            gaps = [(number, nouns.decode_gap(gap)) for number, gap in row[11]]
            found[of] = GenerationState(
                generation=of,
                start=row[4],
                next_offset=row[5],
                opened_at=row[6],
                opened_time=row[7],
                opened_why=row[8],
                closed_at=row[9],
                closed_why=row[10],
                history=self._rope(row[12], HISTORIES.name, last),
                gaps=Shared([gap for _, gap in gaps]),
                gap_numbers=Shared([number for number, _ in gaps]),
            )
        return found

    def _pack(self, row: Any) -> PackEntry:
        name, size, blake3, epoch, number, runs, moved = row
        return PackEntry(name, size, blake3, epoch, number, self._rope(runs, "packs"), self._rope(moved, "packs"))

    def _point(self, row: Any) -> RecoveryPoint:
        return RecoveryPoint(
            number=row["number"],
            name=row["name"],
            tags=nouns.text_pairs(row["tags"], "tags"),
            started=row["started"],
            finished=row["finished"],
            cluster_id=row["cluster_id"],
            cuts=self._rope(row["cuts"], "cuts"),
            selection=tuple(row["selection"]),
            documents=nouns.text_pairs(row["documents"], "documents"),
            consistency=row["consistency"],
            complete=row["complete"],
            failures=tuple(map(nouns.decode_failure, row["failures"])),
            signer=row["signer"],
        )

    def _retirements(self) -> dict[int, Retirement]:
        points: dict[int, list[RecoveryPoint]] = {}
        packs: dict[int, set[str]] = {}
        for number, row in self._rows("retired"):
            points.setdefault(number, []).append(self._point(row))
        for number, name in self._rows("retired_packs"):
            packs.setdefault(number, set()).add(name)
        return {
            row["number"]: Retirement(
                row["number"],
                row["time"],
                row["reason"],
                tuple(points.get(row["number"], ())),
                frozenset(packs.get(row["number"], ())),
            )
            for row in self._documents("retirements")
        }

    def _keys(self, head: Mapping[str, Any]) -> KeyRing:
        topic_keys = self._each("topic_keys", decode_topic_key)
        return KeyRing(
            topic_keys=MappingProxyType({key.id: key for key in topic_keys}),
            current=MappingProxyType({(topic, topic_id): key for topic, topic_id, key in head["current"]}),
            shredded=frozenset(head["shredded"]),
            recipients=tuple(map(decode_recipient, head["recipients"])),
            rotated_at=head["rotated_at"],
            since=MappingProxyType(dict(head["since"])),
        )


def _root_ref(row: Any) -> RootRef:
    number, document = row
    return RootRef(nouns.integer(number, "root"), _page_digest(document))


def _pin(row: Any) -> Pin:
    pin = decode_change("pin", row)
    if not isinstance(pin, Pin):
        raise Malformed("a pin that is none")
    return pin

"""The tables and pages of a saved state, as the second reader knows them, written from docs/format.md alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

from .changes import History, Piece
from .documents import Corrupt, digest, document
from .signed import canonical

if TYPE_CHECKING:
    from .reader import Get, Reader

RUN_COLUMNS = (
    *("generation", "from", "length", "leader_epochs", "batches", "records", "control_batches", "raw_bytes"),
    *("stored_bytes", "min_base_timestamp", "max_timestamp", "flags", "largest_batch", "codecs", "aborted"),
    *("open_transactions", "blake3", "pack", "index", "key"),
)
FLAGS = ("log_append_time", "create_time", "holes", "old_magic")
CUT_COLUMNS = 9
ABOUT = (
    *("admins", "compression", "created", "digest", "encryption", "features_required", "format", "id", "limits"),
    *("recipients", "writers"),
)
"""The fields of the repository document."""
POINT_FIELDS = ("name", "tags", "selection", "documents", "consistency", "complete", "failures")


def stored(get: Get, reference: str, keys: Any) -> Any:
    """What a document of a saved state holds."""
    data = get(f"doc/{reference[:2]}/{reference}")
    if data is None or digest(data).hex() != reference:
        raise Corrupt(f"document {reference}")
    return document(data, 32, keys)


def fill(reader: Reader, root: dict[str, Any]) -> Tables:
    """Puts what a root document names into a reader that has read nothing yet."""
    try:
        tables = Tables(reader, root["tables"])
        tables.fill()
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise Corrupt(f"tables of a saved state: {error!r}") from error
    return tables


class Tables:
    """What the documents of a root say."""

    def __init__(self, reader: Reader, names: dict[str, list[str]]) -> None:
        self.reader = reader
        self.documents = {
            name: [stored(reader.get, each, reader.keys) for each in listed] for name, listed in names.items()
        }
        self.segments: dict[int, tuple[str, list[Any]]] = {}
        self._pages: dict[str, list[Any]] = {}
        for row in self.documents.get("segments", ()):
            pages = self.segments.setdefault(row["segment"], (row["codec"], []))[1]
            pages += zip(row["pages"], row["lengths"], strict=True)

    def rows(self, name: str) -> Iterator[Any]:
        for one in self.documents.get(name, ()):
            yield from one

    def parts(self, row: list[int], codec: str) -> list[Any]:
        """The items that a list of parts names: segment, first, count, and so on."""
        found: list[Any] = []
        for segment, first, count in zip(row[::3], row[1::3], row[2::3], strict=True):
            kind, pages = self.segments[segment]
            if kind != codec or count < 1:
                raise Corrupt("a part of another kind")
            at, stop = 0, first + count
            for reference, length in pages:
                if at < stop and at + length > first:
                    items = self._page(reference, codec)
                    if len(items) != length:
                        raise Corrupt("a page of another length")
                    found += items[max(first - at, 0) : stop - at]
                at += length
            if stop > at:
                raise Corrupt("a part behind the end of its segment")
        return found

    def _page(self, reference: str, codec: str) -> list[Any]:
        if reference not in self._pages:
            read = cuts_of if codec == "cuts" else runs_of
            self._pages[reference] = read(stored(self.reader.get, reference, self.reader.keys))
        return self._pages[reference]

    # --- the state

    def fill(self) -> None:
        reader = self.reader
        (head,) = self.documents["head"]
        about = {name: value for name, value in reader.repository.items() if name in ABOUT}
        if head["about"] != digest(canonical(about)).hex():
            raise Corrupt("the state of another repository")
        reader.cluster_id, reader.epoch = head["cluster_id"], head["epoch"]
        reader.pins = {pin["point"]: pin for pin in head["pins"]}
        self._packs()
        self._histories()
        reader.points = {row["number"]: self._point(row) for row in self.rows("points")}
        reader.alarms = {number: reason for number, _, reason in self.rows("alarms")}
        retired: dict[int, tuple[dict[int, dict[str, Any]], set[str]]]
        retired = {row["number"]: ({}, set()) for row in self.documents.get("retirements", ())}
        for number, row in self.rows("retired"):
            retired[number][0][row["number"]] = self._point(row)
        for number, name in self.rows("retired_packs"):
            retired[number][1].add(name)
        reader.retired, reader.swept = retired, set(self.rows("swept"))
        reader.floors = {tuple(row[:4]): row[4] for row in self.rows("floors")}
        reader.signed.trusted = [{name: one[name] for name in ("public", "role", "name")} for one in head["trusted"]]
        if reader.keys is not None:
            keys = reader.keys
            keys.recipients = {one["public"]: one["name"] for one in head["recipients"]}
            keys.topic_keys = {key: (topic, topic_id) for key, topic, topic_id, _ in self.rows("topic_keys")}
            keys.current = {(topic, topic_id): key for topic, topic_id, key in head["current"]}
            keys.shredded = set(head["shredded"])

    def _packs(self) -> None:
        for name, size, blake3, epoch, _, runs, _ in self.rows("packs"):
            found = [run for _, _, run in self.parts(runs, "packs")]
            self.reader.packs[name] = {"name": name, "size": size, "blake3": blake3, "epoch": epoch, "runs": found}

    def _histories(self) -> None:
        for row in self.rows("generations"):
            start, following, closed_at, gaps, parts = row[4], row[5], row[9], row[11], row[12]
            pieces = [Piece(gap["from"], gap["to"]) for _, gap in gaps]
            pieces += [
                Piece(run["from"], run["to"], pack, run["index"]) for _, pack, run in self.parts(parts, "histories")
            ]
            pieces.sort(key=lambda piece: piece.start)
            of = (row[0], row[1], row[2], row[3])
            self.reader.histories[of] = History(start, following, closed_at is not None, pieces)

    def _point(self, row: dict[str, Any]) -> dict[str, Any]:
        cuts = []
        for (topic, topic_id), group in groupby(self.parts(row["cuts"], "cuts"), key=lambda cut: cut[0]):
            listed = list(group)
            entry: dict[str, Any] = {"topic": topic, "topic_id": topic_id, "partitions": [cut for _, cut, _ in listed]}
            held = sorted([cut[0], *one] for _, cut, rows in listed for one in rows)
            cuts.append(entry | ({"held_back": held} if held else {}))
        return {name: row[name] for name in POINT_FIELDS} | {"cuts": cuts}


# --- pages ------------------------------------------------------------------------------------------------------------


def runs_of(page: dict[str, Any]) -> list[tuple[int | None, str, dict[str, Any]]]:
    """The runs of a page of `histories` or `packs`: number of the commit, pack, and what commits say of them."""
    columns: list[list[Any]] = page["columns"] or [[]] * len(RUN_COLUMNS)
    numbers = page.get("numbers", [None] * len(columns[0]))
    lists: Callable[[int], list[Any]] = page["lists"].__getitem__
    found = []
    for number, *values in zip(numbers, *columns, strict=True):
        row = dict(zip(RUN_COLUMNS, values, strict=True))
        start, flags = row["from"], row.pop("flags")
        run = row | {name: bool(flags & 1 << bit) for bit, name in enumerate(FLAGS)}
        run |= {"generation": page["generations"][row["generation"]], "to": start + run.pop("length")}
        run |= {name: lists(row[name]) for name in ("codecs", "aborted", "open_transactions")}
        run["leader_epochs"] = [[epoch, start + first] for epoch, first in lists(row["leader_epochs"])]
        key, pack = page["keys"][run.pop("key")], page["packs"][run.pop("pack")]
        found.append((number, pack, run | ({} if key is None else {"key": key})))
    return found


def cuts_of(page: dict[str, Any]) -> list[tuple[tuple[str, str], list[int], list[list[int]]]]:
    """The cuts of a page: topic and topic id, the row that a commit has, and what is held back."""
    return [
        (tuple(page["topics"][topic]), [partition, lineage, start, stop, *rest], held)
        for topic, partition, lineage, stop, start, *rest, held in zip(
            *(page["columns"] or [[]] * CUT_COLUMNS), strict=True
        )
    ]

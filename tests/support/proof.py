"""The cases of tests/proof, what each of them proved, and the table that docs/exactness.md makes of it.

A test carries the mark `exact("case")`, or several cases. It hands what an independent consumer read at the source and
read again after a restore to `proof.same(...)`, which counts what differs and fails unless nothing does. With
`--write-exactness FILE` the counts of a whole run become the table.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any, Final

CONFLUENT: Final = "confluent-kafka"
JAVA: Final = "Java console consumer"

Parts = Mapping[Any, Sequence[Any]]
"""By partition (or topic and partition): what a consumer was given, in order."""


@dataclass(frozen=True, slots=True)
class Case:
    """A row of the table. `otherwise`: what goes wrong where records are decoded and written again, or where offsets are
    kept instead of computed.
    """

    slug: str
    title: str
    otherwise: str


CASES: Final = (
    Case("aborted", "Aborted transactions", "Read uncommitted and written plainly, aborted records become visible."),
    Case(
        "interleaved",
        "Transactions of several producers between one another, across recovery points and packs",
        "Filtering by the nearest marker drops committed records or keeps aborted ones.",
    ),
    Case(
        "open-transaction",
        "A transaction begun before a backup and decided after it",
        "Undecided records are taken as committed, or the position goes past them and they are never read.",
    ),
    Case(
        "transaction-versions",
        "Transactions of transaction.version 1 and 2 side by side",
        "With version 2 every transaction has an epoch of its own; matching markers by producer and epoch fails.",
    ),
    Case(
        "left-markers",
        "Markers that compaction left without their records",
        "Counting offsets instead of records reports losses, or a marker ends another transaction.",
    ),
    Case(
        "headers-and-nulls",
        "Headers repeated, null, empty, not UTF-8 and of 100 KB; null against empty keys and values",
        "Headers go through a map or a text, null and empty become one another.",
    ),
    Case(
        "timestamps",
        "Timestamps 0, −1, in the year 9999, out of order, and more than 24.8 days apart in one batch",
        "0 and −1 are taken for none and stamped anew; deltas overflow 32 bits; retention deletes what was restored.",
    ),
    Case("append-times", "Append times as consumers saw them", "The target stamps the time of the restore."),
    Case(
        "window",
        "A window of time over timestamps out of order",
        "The offset looked up for a time drops earlier records behind it or keeps later ones in front of it.",
    ),
    Case(
        "codecs",
        "Every codec, idempotent producers' batches",
        "Batches are compressed anew, sequence numbers of other producers are refused or dropped as repeats.",
    ),
    Case("large", "Records above 1 MB and a batch above 20 MiB", "The target refuses them, or keeps a raised limit."),
    Case("deleted-start", "A log that starts inside a batch", "Records in front of the log's start come back."),
    Case(
        "groups-in-holes",
        "Group positions inside holes of compaction, markers and aborted data, before the start and at the end",
        "Offsets are copied, or shifted by a constant: groups read records again or miss some.",
    ),
    Case(
        "many-groups",
        "10 000 groups set and taken back",
        "Groups are set one after the other, and half of them on error.",
    ),
    Case("two-hops", "A restore of a restore", "What the first hop changed is changed again."),
    Case(
        "killed-while-following",
        "kill −9 again and again while following under load",
        "Offsets that were kept before the data was durable lose records, after it they repeat them.",
    ),
    Case(
        "broker-lost-in-restore",
        "A broker killed or stopped during a restore",
        "Batches sent again are written twice, batches not sent again are missing.",
    ),
    Case(
        "recreated",
        "A topic deleted and created again with fewer, equal and more records, fewer and more partitions",
        "The position of the old topic is used for the new one: its beginning is skipped, histories are mixed.",
    ),
    Case("deleted-topic", "A topic deleted after a recovery point", "The deletion is followed into the backup."),
    Case(
        "unclean-election",
        "An unclean election: the log cut back below the position, grown again past it",
        "Reading goes on at the old position: records of two histories are mixed and the new ones in between missed.",
    ),
    Case(
        "retention-overtakes",
        "Retention overtaking a backup",
        "The consumer resets to the earliest offset and nobody is told what is missing.",
    ),
    Case(
        "delete-records",
        "Records deleted by command while a backup runs",
        "The consumer resets to the earliest offset and nobody is told what is missing.",
    ),
    Case(
        "old-formats",
        "Message sets of magic 0 and 1, left on disk by old releases",
        "They are refused or down-converted; magic 0 gets timestamps that it never had.",
    ),
    Case(
        "repartitioned",
        "A topic that comes back with more or fewer partitions",
        "Keys land where no producer puts them, or in another order; aborted records are spread along with the others.",
    ),
)
SLUGS: Final = tuple(case.slug for case in CASES)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How what was found differs from what was expected, in records."""

    records: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    altered: int = 0
    aborted_visible: int = 0

    @property
    def exact(self) -> bool:
        return not (self.lost or self.duplicated or self.reordered or self.altered or self.aborted_visible)

    def __add__(self, other: Verdict) -> Verdict:
        return Verdict(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def judge(expected: Parts, found: Parts, *, aborted: Collection[Any] = ()) -> Verdict:
    """Holds partitions against each other. `aborted`: values that nobody may see."""
    parts = [*expected, *(key for key in found if key not in expected)]
    total = Verdict()
    for part in parts:
        total += _judge_partition(expected.get(part, ()), found.get(part, ()), frozenset(aborted))
    return total


def _judge_partition(expected: Sequence[Any], found: Sequence[Any], aborted: frozenset[Any]) -> Verdict:
    visible = sum(getattr(record, "value", record) in aborted for record in found) if aborted else 0
    if list(expected) == list(found):
        return Verdict(len(expected), aborted_visible=visible)
    wanted, given = Counter(expected), Counter(found)
    missing, extra = (wanted - given).total(), given - wanted
    twice = sum(count for record, count in extra.items() if record in wanted)
    foreign = extra.total() - twice
    altered = max(foreign - visible, 0)
    return Verdict(
        len(expected),
        lost=max(missing - altered, 0),
        duplicated=twice,
        reordered=_out_of_order(expected, found),
        altered=altered,
        aborted_visible=visible,
    )


def _out_of_order(expected: Sequence[Any], found: Sequence[Any]) -> int:
    """How many records come after one that they preceded."""
    places: dict[Any, list[int]] = defaultdict(list)
    for place in range(len(expected) - 1, -1, -1):
        places[expected[place]].append(place)
    highest, count = -1, 0
    for record in found:
        if places.get(record):
            place = places[record].pop()
            count += place < highest
            highest = max(highest, place)
    return count


@dataclass
class Row:
    """What the tests of one case proved together."""

    versions: set[str] = field(default_factory=set)
    judges: set[str] = field(default_factory=set)
    verdict: Verdict = field(default_factory=Verdict)
    figures: Counter[str] = field(default_factory=Counter)
    places: set[str] = field(default_factory=set)


def packed(rows: Mapping[str, Row]) -> dict[str, dict[str, Any]]:
    """Rows in plain values, as one process hands them to another."""
    return {
        slug: {
            "versions": sorted(row.versions),
            "judges": sorted(row.judges),
            "verdict": list(astuple(row.verdict)),
            "figures": dict(row.figures),
            "places": sorted(row.places),
        }
        for slug, row in rows.items()
    }


def add_packed(rows: dict[str, Row], more: Mapping[str, Mapping[str, Any]]) -> None:
    """Adds what another process proved."""
    for slug, found in more.items():
        row = rows.setdefault(slug, Row())
        row.versions.update(found["versions"])
        row.judges.update(found["judges"])
        row.verdict += Verdict(*found["verdict"])
        row.figures.update(found["figures"])
        row.places.update(found["places"])


class Proof:
    """One test's hand on the rows of its cases."""

    def __init__(self, rows: dict[str, Row], slugs: Sequence[str], place: str, *, full: bool = False) -> None:
        self._rows = rows
        self.slugs = slugs
        self._full = full
        for slug in slugs:
            rows.setdefault(slug, Row()).places.add(place)

    def count(self, *, quick: int, full: int) -> int:
        """How often to do it: `full` where the page is written."""
        return full if self._full else quick

    def on(self, *versions: str) -> None:
        """Which Kafka versions took part."""
        for slug in self.slugs:
            self._rows[slug].versions.update(versions)

    def same(
        self,
        expected: Parts,
        found: Parts,
        *,
        case: str | None = None,
        by: str = CONFLUENT,
        aborted: Collection[Any] = (),
        count: bool = True,
    ) -> Verdict:
        """AssertionError unless `found` is exactly what was `expected`, and that is something at all.

        `count` False: the same records again by another judge, which the table does not add up.
        """
        verdict = judge(expected, found, aborted=aborted)
        row = self._rows[self._slug(case)]
        row.judges.add(by)
        row.verdict += verdict if count else Verdict()
        assert verdict.records > 0, "nothing was judged"
        assert verdict.exact, f"{verdict}: {_first_difference(expected, found)}"
        assert {part: list(records) for part, records in expected.items() if records} == {
            part: list(records) for part, records in found.items() if records
        }
        return verdict

    def figures(self, *, case: str | None = None, **counted: int) -> None:
        """Further counts, told under their name."""
        self._rows[self._slug(case)].figures.update(counted)

    def _slug(self, case: str | None) -> str:
        if case is None:
            (case,) = self.slugs
        assert case in self.slugs
        return case


def _first_difference(expected: Parts, found: Parts) -> str:
    for part in [*expected, *found]:
        want, have = expected.get(part, ()), found.get(part, ())
        for place in range(max(len(want), len(have))):
            pair = [repr(side[place])[:300] if place < len(side) else "nothing" for side in (want, have)]
            if pair[0] != pair[1]:
                return f"partition {part}, record {place}: {pair[0]} was expected, {pair[1]} found"
    return "no difference in what is there"


# --- the table

HEAD: Final = """\
# Exactness

What an independent consumer found when kafkeep's backups were restored on real brokers, in the cases where restores of
records tend to go wrong. The judge reads the source before and the target after: key, value, headers, timestamp, order.
`make exactness` writes this page from one run of the tests named in the last column, if all of them pass.

| Case | What goes wrong where records are decoded and written again | \
Kafka | Judge | Records judged | Lost | Twice | Out of order | Altered | \
Aborted visible | Further | Test |
|---|---|---|---|--:|--:|--:|--:|--:|--:|---|---|
"""


def table(rows: Mapping[str, Row]) -> str:
    """docs/exactness.md; KeyError when a case was not run."""
    return HEAD + "".join(_line(case, rows[case.slug]) for case in CASES)


def _line(case: Case, row: Row) -> str:
    v = row.verdict
    counts = (v.records, v.lost, v.duplicated, v.reordered, v.altered, v.aborted_visible)
    further = ", ".join(f"{_number(count)} {name.replace('_', ' ')}" for name, count in row.figures.items())
    cells = [
        f"<!-- case: {case.slug} -->{case.title}",
        case.otherwise,
        ", ".join(sorted(row.versions)),
        ", ".join(sorted(row.judges, key=str.lower)),
    ]
    cells += [_number(count) for count in counts]
    cells += [further, ", ".join(f"`{place}`" for place in sorted(row.places))]
    return "| " + " | ".join(cells) + " |\n"


def _number(count: int) -> str:
    return f"{count:,}".replace(",", "\N{NO-BREAK SPACE}")


def write(rows: Mapping[str, Row], path: Path) -> None:
    path.write_text(table(rows), encoding="utf-8")


def unknown(slugs: Iterable[str]) -> list[str]:
    return [slug for slug in slugs if slug not in SLUGS]

"""`kafkeep points`, `kafkeep show` and `kafkeep diff`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import click

from kafkeep.cli.as_of import as_of_option
from kafkeep.cli.common import Run, opened_repository, pass_run, repo_option
from kafkeep.cli.pointdiff import PointDiff, diff_points
from kafkeep.cli.render import Grid, Part
from kafkeep.cli.text import count_text, plural, size_text
from kafkeep.model import (
    ClusterMetadata,
    Failure,
    Gap,
    Generation,
    Group,
    OffsetRange,
    PartitionCut,
    RecoveryPoint,
    TopicMetadata,
)
from kafkeep.records import dataclass

if TYPE_CHECKING:
    from kafkeep.repository.changes import Pin
    from kafkeep.repository.repository import Repository
    from kafkeep.repository.state import State
    from kafkeep.repository.views import PointView

SHOWN_DIFFERENCES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class PointLine:
    """A recovery point in a listing."""

    number: int
    name: str | None
    started: str
    finished: str
    cluster_id: str
    topics: int
    partitions: int
    offsets: int
    """Offsets between the starts and the ends of its partitions; holes count too."""
    lost: int
    """Offsets in the declared gaps of their histories, also those that the log start had left behind by then."""
    shredded: int
    """Those of them whose records were shredded."""
    complete: bool
    failures: int
    consistency: str
    selection: tuple[str, ...]
    tags: tuple[tuple[str, str], ...]
    pin: Pin | None

    @classmethod
    def of(cls, point: RecoveryPoint, *, lost: int = 0, shredded: int = 0, pin: Pin | None = None) -> PointLine:
        return cls(
            number=point.number,
            name=point.name,
            started=point.started,
            finished=point.finished,
            cluster_id=point.cluster_id,
            topics=len({cut.generation.topic for cut in point.cuts}),
            partitions=len(point.cuts),
            offsets=sum(max(cut.stop - cut.start, 0) for cut in point.cuts),
            lost=lost,
            shredded=shredded,
            complete=point.complete,
            failures=len(point.failures),
            consistency=point.consistency,
            selection=point.selection,
            tags=point.tags,
            pin=pin,
        )


@dataclass(frozen=True, slots=True)
class PointList:
    points: int
    repository: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionShare:
    """What the repository holds of one partition of a point."""

    cut: PartitionCut
    runs: int
    records: int
    raw_bytes: int
    stored_bytes: int
    """Records and bytes are those of whole runs; the last run may reach beyond the cut."""
    gaps: tuple[Gap, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PointDescription:
    """All that is known of a recovery point without reading a record."""

    point: PointLine
    partitions: tuple[PartitionShare, ...]
    topics: tuple[TopicMetadata, ...]
    groups: tuple[Group, ...]
    failures: tuple[Failure, ...]

    @property
    def gaps(self) -> tuple[Gap, ...]:
        return tuple(gap for share in self.partitions for gap in share.gaps)


@click.command()
@repo_option
@as_of_option()
@pass_run
def points(run: Run, repo: str) -> int:
    """List the recovery points of a repository, oldest first.

    Exit status: 0.
    """
    from kafkeep.cli.stores import ONE_WRITER
    from kafkeep.repository.format import SINGLE

    with opened_repository(run, repo) as repository:
        state = repository.state
        lines = tuple(
            PointLine.of(point, lost=_offsets_in(gaps), shredded=_shredded_in(gaps), pin=state.pins.get(point.number))
            for point in repository.points()
            for gaps in [lost_gaps(state, point)]
        )
        found = PointList(len(lines), repository.id)
        single = repository.about.writers == SINGLE
    for point in lines:
        run.output.item("point", point)
    run.output.show(points_grid(lines) if lines else "no recovery point yet", *([ONE_WRITER] if single else []))
    run.output.summary("points", found, 0)
    return 0


@click.command()
@click.argument("point")
@repo_option
@as_of_option()
@click.option("--partitions", "by_partition", is_flag=True, help="One line for each partition instead of each topic.")
@pass_run
def show(run: Run, point: str, repo: str, by_partition: bool) -> int:
    """Describe a recovery point.

    POINT is a number, a name, `latest`, or `@2026-11-20T10:00:00Z`: the newest that was finished by then.

    Exit status: 0, also when the point has gaps.
    """
    from kafkeep.point_documents import metadata_of

    with opened_repository(run, repo) as repository:
        found = repository.point(point, with_records=False)
        view = repository.view(found)
        metadata, pin = metadata_of(repository, found), repository.state.pins.get(found.number)
        described = describe(found, view, metadata, gaps_of(repository, view), pin=pin)
    run.output.show(*description_parts(described, by_partition=by_partition))
    run.output.summary("show", described, 0)
    return 0


@click.command()
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@repo_option
@as_of_option()
@pass_run
def diff(run: Run, before: str, after: str, repo: str) -> int:
    """List what changed from recovery point A to recovery point B.

    Topics, ends of partitions, topic settings and positions of groups; no record is read.

    Exit status: 0, different or not; --json says `same`.
    """
    from kafkeep.point_documents import metadata_of

    with opened_repository(run, repo) as repository:
        old, new = repository.point(before), repository.point(after)
        found = diff_points(old, metadata_of(repository, old), new, metadata_of(repository, new))
    run.output.show(*diff_parts(found))
    run.output.summary("diff", DiffSummary(found.same, found), 0)
    return 0


@dataclass(frozen=True, slots=True)
class DiffSummary:
    same: bool
    differences: PointDiff


def lost_gaps(state: State, point: RecoveryPoint) -> list[Gap]:
    """All the gaps that `show` lists for the point."""
    lost: list[Gap] = []
    for cut in point.cuts:
        known = state.generations[cut.generation]
        if known.gaps:
            lost += known.gaps_at(point.number, OffsetRange(known.start, cut.stop))
    return lost


def lost_offsets(state: State, point: RecoveryPoint) -> int:
    """How many offsets lie in them."""
    return _offsets_in(lost_gaps(state, point))


def _shredded_in(gaps: Iterable[Gap]) -> int:
    from kafkeep.repository.topic_keys import SHREDDED

    return _offsets_in(gap for gap in gaps if gap.reason == SHREDDED)


def _offsets_in(gaps: Iterable[Gap]) -> int:
    return sum(len(gap.offsets) for gap in gaps)


def gaps_of(repository: Repository, view: PointView) -> dict[Generation, tuple[Gap, ...]]:
    """All gaps of each history up to the point, also those that the log start had left behind by then."""
    found: dict[Generation, tuple[Gap, ...]] = {}
    for part in view.partitions:
        known = repository.state.generations[part.generation]
        found[part.generation] = known.gaps_at(view.point.number, OffsetRange(known.start, part.cut.stop))
    return found


def describe(
    point: RecoveryPoint,
    view: PointView,
    metadata: ClusterMetadata,
    gaps: Mapping[Generation, tuple[Gap, ...]],
    *,
    pin: Pin | None = None,
) -> PointDescription:
    """The point, what the repository holds for it, and its metadata."""
    return PointDescription(
        point=PointLine.of(
            point,
            lost=sum(map(_offsets_in, gaps.values())),
            shredded=sum(map(_shredded_in, gaps.values())),
            pin=pin,
        ),
        partitions=tuple(
            PartitionShare(
                cut=part.cut,
                runs=len(part.runs),
                records=sum(run.facts.records for run in part.runs),
                raw_bytes=sum(run.facts.raw_bytes for run in part.runs),
                stored_bytes=sum(run.facts.stored_bytes for run in part.runs),
                gaps=gaps.get(part.generation, ()),
            )
            for part in view.partitions
        ),
        topics=metadata.topics,
        groups=metadata.groups,
        failures=point.failures,
    )


def points_grid(lines: Iterable[PointLine]) -> Grid:
    heads = (">point", "name", "finished", ">topics", ">partitions", ">offsets", ">lost", "complete", "tags and pins")
    rows = tuple(
        (
            str(line.number),
            line.name if line.name is not None else "",
            line.finished,
            str(line.topics),
            str(line.partitions),
            count_text(line.offsets),
            _lost_text(line),
            "yes" if line.complete else f"no, {plural(line.failures, 'part')} failed",
            _tags(line.tags) + _pin(line.pin, before=", " if line.tags else ""),
        )
        for line in lines
    )
    return Grid(heads, rows)


def _lost_text(line: PointLine) -> str:
    if not line.lost:
        return ""
    if not line.shredded:
        return count_text(line.lost)
    return f"{count_text(line.lost)}, {count_text(line.shredded)} of them shredded"


def _pin(pin: Pin | None, *, before: str = "") -> str:
    if pin is None:
        return ""
    end = f", until {pin.until}" if pin.until is not None else f", until {pin.until_tag}" if pin.until_tag else ""
    return f"{before}pinned: {pin.reason}{end}"


def _tags(tags: tuple[tuple[str, str], ...]) -> str:
    return ", ".join(f"{key}={value}" for key, value in tags)


def description_parts(described: PointDescription, *, by_partition: bool) -> tuple[Part, ...]:
    """The description for people."""
    line = described.point
    name = f" '{line.name}'" if line.name is not None else ""
    parts: list[Part] = [
        f"recovery point {line.number}{name} of cluster {line.cluster_id}",
        f"  finished {line.finished}, begun {line.started}; cut by {line.consistency}",
        f"  chosen: {', '.join(line.selection)}",
    ]
    parts += [f"  tags: {_tags(line.tags)}"] if line.tags else []
    parts += [f"  {_pin(line.pin)}"] if line.pin is not None else []
    parts += ["", _partition_grid(described) if by_partition else _topic_grid(described)]
    if described.groups:
        rows = tuple((group.group_id, group.type, group.state, str(len(group.offsets))) for group in described.groups)
        parts += ["", Grid(("group", "type", "state", ">positions"), rows)]
    if described.gaps:
        gaps = tuple((str(gap.generation), str(gap.offsets), gap.reason, gap.evidence) for gap in described.gaps)
        parts += ["", Grid(("gap in", "offsets", "reason", "evidence"), gaps)]
    if described.failures:
        failed = tuple((failure.subject, failure.reason, failure.message) for failure in described.failures)
        parts += ["", Grid(("not captured", "reason", "message"), failed)]
    return tuple(parts)


def _partition_grid(described: PointDescription) -> Grid:
    rows = tuple(
        (
            str(share.cut.generation),
            str(share.cut.start),
            str(share.cut.stop),
            count_text(share.records),
            size_text(share.raw_bytes),
            size_text(share.stored_bytes),
            str(share.runs),
            str(len(share.gaps)) if share.gaps else "",
        )
        for share in described.partitions
    )
    return Grid(("partition", ">from", ">to", ">records", ">size", ">stored", ">runs", ">gaps"), rows)


def _topic_grid(described: PointDescription) -> Grid:
    shares: dict[str, list[PartitionShare]] = {}
    for share in described.partitions:
        shares.setdefault(share.cut.generation.topic, []).append(share)
    rows = tuple(
        (
            topic,
            str(len(of_topic)),
            count_text(sum(share.records for share in of_topic)),
            size_text(sum(share.raw_bytes for share in of_topic)),
            size_text(sum(share.stored_bytes for share in of_topic)),
            str(gaps) if (gaps := sum(len(share.gaps) for share in of_topic)) else "",
        )
        for topic, of_topic in sorted(shares.items())
    )
    return Grid(("topic", ">partitions", ">records", ">size", ">stored", ">gaps"), rows)


def diff_parts(found: PointDiff) -> tuple[Part, ...]:
    """The differences for people."""
    if found.same:
        return (f"points {found.before} and {found.after} hold the same",)
    rows = [
        *(("topic", name, "added", "") for name in found.topics_added),
        *(("topic", name, "removed", "") for name in found.topics_removed),
        *(("topic", name, "recreated", "") for name in found.topics_recreated),
        *(
            ("partition", str(part.topic_partition), part.change, _from_to(part.before, part.after))
            for part in found.partitions
        ),
        *(
            ("setting", f"{entry.topic} {entry.name}", "changed", _from_to(entry.before, entry.after))
            for entry in found.configs
        ),
        *(("group", name, "added", "") for name in found.groups_added),
        *(("group", name, "removed", "") for name in found.groups_removed),
        *(
            ("position", f"{entry.group_id} {entry.topic_partition}", "moved", _from_to(entry.before, entry.after))
            for entry in found.positions
        ),
    ]
    more = len(rows) - SHOWN_DIFFERENCES
    tail: tuple[Part, ...] = (f"and {more} more; --json gives all of them",) if more > 0 else ()
    return (Grid(("what", "which", "change", "detail"), tuple(rows[:SHOWN_DIFFERENCES])), *tail)


def _from_to(before: object, after: object) -> str:
    return f"{'none' if before is None else before} -> {'none' if after is None else after}"

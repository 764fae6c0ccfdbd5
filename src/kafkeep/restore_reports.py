"""Where restores put what: the offset maps in the repository's audit, and in the files of `restore --offset-map`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from kafkeep.errors import CorruptObject, GuardRefused, KafkeepError, UsageError
from kafkeep.model import NO_TOPIC_ID, Generation, OffsetRange, RecoveryPoint
from kafkeep.offset_map import MappedPartition, MappedPartitions, OffsetMap
from kafkeep.records import dataclass
from kafkeep.reports import UNREADABLE, PassedOver, Report, readable_reports
from kafkeep.repository.documents import Json, offset_map_from_json, offset_map_to_json
from kafkeep.repository.nouns import decode_generation, fields, integer, text
from kafkeep.repository.repository import Repository

T = TypeVar("T")

_STARTED = "restore-started"
_OPENED = "restore-opened"
_FINISHED = "restore-finished"
_OFFSET_MAP = "offset-map"
_KINDS: Final = (_STARTED, _OPENED, _FINISHED)
_MOST_ROWS: Final = 8
"""Of an offset map in a report: it takes about as much room there as the digest of a document of its own."""
NO_REPORTS: Final = "none"
"""In the place of the name of a restore: go by no report."""
_NO_OTHER: Final = (
    "No other report tells where the records of this point lie on this cluster. Name a map with --map, the restore to go"
    " by with --restored-by=audit/…, or say --restored-by=none to go by no report."
)


def keep_offset_map(repository: Repository, offsets: OffsetMap) -> Json:
    """What a report holds of an offset map: the map itself where it is short, as nearly all are, else the digest of the
    document that it is stored in. So the objects of a restore do not grow with its partitions. Raises `StoreError`.
    """
    value = offset_map_to_json(offsets)
    return value if len(offsets.rows) <= _MOST_ROWS else repository.put_document(_OFFSET_MAP, value)


def kept_offset_map(repository: Repository, kept: Json) -> OffsetMap:
    """The map that a report holds or names. Raises `CorruptObject`, `StoreError`."""
    return offset_map_from_json(repository.document(_OFFSET_MAP, kept) if isinstance(kept, str) else kept)


def mapped_in_file(path: str) -> MappedPartitions:
    """What a file written by `restore --offset-map` says. Raises `UsageError` when it is not such a file."""
    try:
        value = json.loads(Path(path).read_text())
        found = [_of_file(part) for part in value["partitions"]]
    except OSError as error:
        raise UsageError(f"the offset map {path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError, CorruptObject) as error:
        raise UsageError(f"{path} is not an offset map: {error!r}") from error
    return {(part.source.topic_partition, part.target): part for part in found}


def _of_file(value: object) -> MappedPartition:
    part = fields(value, "partition")
    start, stop = part.get("start"), part.get("stop")
    source = decode_generation([part["topic"], part["topic_id"], part["partition"], part["lineage"]])
    target = decode_generation([part["target_topic"], NO_TOPIC_ID, part["target_partition"], 0])
    return MappedPartition(
        source=source,
        target=target.topic_partition,
        offsets=offset_map_from_json(part),
        source_range=None if start is None or stop is None else _range(start, stop),
        complete=bool(part.get("complete", True)),
    )


def _range(start: object, stop: object) -> OffsetRange:
    return OffsetRange(integer(start, "start"), integer(stop, "stop"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadRestore:
    """A restore that spread a topic's records by key."""

    job: str
    """Object name of its record."""
    source: str
    target: str
    partitions: int
    """Of the target topic."""
    complete: bool = False
    """True once all of it was in the target."""
    by_time: bool = False
    """True when times chose among the records."""
    sources: Mapping[Generation, OffsetRange] = field(default_factory=dict)
    """The source offsets that were spread."""
    offsets: Mapping[int, OffsetMap] = field(default_factory=dict)
    """By target partition: from the number of a record there to its offset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoresTold:
    """What restores of a point into a cluster have reported, as far as it is believed."""

    mapped: MappedPartitions = field(default_factory=dict)
    """Where the records of partitions lie, by the newest report of each pair."""
    spread: Mapping[tuple[str, str, str], SpreadRestore] = field(default_factory=dict)
    """Restores that repartitioned topics, unfinished ones too: by topic of the source, topic of the target and its id,
    the newest of each."""
    warnings: tuple[str, ...] = ()
    """What was passed over, and what is believed only because a person named it."""


def told_by_restores(
    repository: Repository,
    point: RecoveryPoint,
    target_cluster: str,
    *,
    restored_by: str | None = None,
    needed: bool = True,
) -> RestoresTold:
    """Reads the reports of restores of this point into this cluster.

    Where commits are signed, those count that somebody trusted has signed (`Repository.trusts`). `restored_by` names the
    one restore to go by, whoever signed its reports, by the object name of its record, `audit/…`; or it is `none`, and no
    report counts. What cannot be read is passed over; an error is what is wrong with the reports of the restore that is
    named, or, where they are `needed`, with the only ones that there are.

    Raises `CorruptObject`, `UsageError` for a name of no restore of this point, `GuardRefused` for one into another
    cluster, `StoreError`.
    """
    if restored_by == NO_REPORTS:
        return RestoresTold()
    passed_over = PassedOver()
    reports = readable_reports(repository, _KINDS, passed_over)
    if restored_by is None:
        believed = _trusted(reports, point, target_cluster, passed_over)
    else:
        believed = _of_job(reports, restored_by, point, target_cluster, passed_over)
    believed.sort(key=lambda report: report.time)
    mapped, failed = _mapped(repository, believed, point, target_cluster)
    spread, failed_too = _spread_by(repository, believed, point, target_cluster)
    failed = {**failed, **failed_too}
    if failed and (restored_by is not None or (needed and not mapped and not spread)):
        name = max(failed)
        raise CorruptObject(f"{name} is no report of a restore: {failed[name].message}", hint=_NO_OTHER)
    passed_over.unread |= failed
    named = () if restored_by is None else _only_named(believed, restored_by)
    return RestoresTold(mapped=mapped, spread=spread, warnings=(*passed_over.warnings(how=_how(reports)), *named))


def _is_of(report: Report, point: RecoveryPoint, target_cluster: str) -> bool:
    return (report.value.get("point"), report.value.get("target_cluster")) == (point.number, target_cluster)


def _trusted(
    reports: Iterable[Report], point: RecoveryPoint, target_cluster: str, passed_over: PassedOver
) -> list[Report]:
    """Those that count without being named; the others of this point into this cluster are told."""
    believed = []
    for report in reports:
        if report.trusted:
            believed.append(report)
        elif _is_of(report, point, target_cluster):
            passed_over.untrusted.append(report.name)
    return believed


def _of_job(
    reports: Sequence[Report], name: str, point: RecoveryPoint, target_cluster: str, passed_over: PassedOver
) -> list[Report]:
    """All reports of the restore that a person has named."""
    if name in passed_over.unread:
        raise passed_over.unread[name]
    started = next((report for report in reports if report.name == name and report.kind == _STARTED), None)
    if started is None:
        hint = "A restore goes by the name of its record, audit/…, which `kafkeep restore` tells."
        raise UsageError(f"no restore is recorded as {name[:100]!r}", hint=hint)
    if started.value.get("target_cluster") != target_cluster:
        told = str(started.value.get("target_cluster"))[:100]
        raise GuardRefused(f"{name} restored into cluster {told}, this is cluster {target_cluster}")
    if started.value.get("point") != point.number:
        raise UsageError(f"{name} restored point {str(started.value.get('point'))[:20]}, not point {point.number}")
    return [started, *(report for report in reports if report.value.get("started") == name)]


def _only_named(believed: Sequence[Report], name: str) -> Iterator[str]:
    """What is said of reports that count because a person has named their restore."""
    strange = [report.name for report in believed if not report.trusted]
    if strange:
        yield (
            f"where the records of {name} lie is believed from {len(strange)} report(s) that nobody trusted has signed:"
            f" {', '.join(strange[:3])}"
        )
    if not any(report.kind == _FINISHED for report in believed):
        yield f"{name} has not reported where its records lie"


def _how(reports: Iterable[Report]) -> str:
    """How the newest of the restores is named that nobody trusted has signed."""
    jobs = [report.value.get("started") for report in reports if report.kind == _FINISHED and not report.trusted]
    return f"to go by one, name it, such as --restored-by={jobs[-1]}" if jobs else ""


def _mapped(
    repository: Repository, believed: Iterable[Report], point: RecoveryPoint, target_cluster: str
) -> tuple[MappedPartitions, dict[str, KafkeepError]]:
    """The newest map of each pair, and the reports without a shape."""
    found: MappedPartitions = {}
    failed: dict[str, KafkeepError] = {}
    for report in believed:
        if report.kind == _FINISHED and _is_of(report, point, target_cluster):
            parts = _tried(report, failed, lambda report: _of_report(repository, report.value))
            found |= {(part.source.topic_partition, part.target): part for part in parts or ()}
    return found, failed


def _tried(report: Report, failed: dict[str, KafkeepError], read: Callable[[Report], T]) -> T | None:
    """What can be read out of a report; None, and a place in `failed`, where it has not the shape of its kind."""
    try:
        return read(report)
    except UNREADABLE as error:
        if error.retryable:
            raise
        failed[report.name] = error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        failed[report.name] = CorruptObject(f"it is not of the known shape: {error!r}")
    return None


def _of_report(repository: Repository, report: Mapping[str, Any]) -> list[MappedPartition]:
    ids = dict(report.get("target_topic_ids", {}))
    return [_of_reported(repository, part, ids) for part in report["partitions"]]


def _of_reported(repository: Repository, part: Any, topic_ids: dict[str, str]) -> MappedPartition:
    target, target_number = part["target"]
    start, stop = part["source_range"]
    return MappedPartition(
        source=decode_generation(part["source"]),
        target=decode_generation([target, NO_TOPIC_ID, target_number, 0]).topic_partition,
        offsets=kept_offset_map(repository, part["offset_map"]),
        source_range=_range(start, stop),
        complete=bool(part["complete"]),
        target_topic_id=topic_ids.get(target),
    )


def _spread_by(
    repository: Repository, believed: Sequence[Report], point: RecoveryPoint, target_cluster: str
) -> tuple[dict[tuple[str, str, str], SpreadRestore], dict[str, KafkeepError]]:
    """The newest of each, and the reports without a shape."""
    failed: dict[str, KafkeepError] = {}
    jobs: dict[tuple[str, str], SpreadRestore] = {}
    for report in believed:
        if report.kind == _STARTED and _is_of(report, point, target_cluster):
            begun = _tried(report, failed, lambda report: list(_begun(report)))
            jobs |= {(report.name, job.target): job for job in begun or ()}
    ids: dict[tuple[str, str], str] = {}
    names = {name for name, _ in jobs}

    def ended(report: Report) -> dict[tuple[str, str], SpreadRestore]:
        return dict(_ended(repository, report, jobs))

    for report in believed:
        if str(report.value.get("started")) not in names:
            continue
        if report.kind == _OPENED:
            ids |= _tried(report, failed, lambda report: dict(_opened_ids(report))) or {}
        elif report.kind == _FINISHED:
            jobs |= _tried(report, failed, ended) or {}
    found = {(job.source, job.target, ids[key]): job for key, job in jobs.items() if key in ids}
    return found, failed


def _begun(report: Report) -> Iterator[SpreadRestore]:
    for topic in report.value.get("topics", ()):
        if topic.get("repartitioned_from") is not None:
            partitions = integer(topic["partitions"], "partitions")
            source, target = text(topic["source"], "source"), text(topic["target"], "target")
            yield SpreadRestore(job=report.name, source=source, target=target, partitions=partitions)


def _opened_ids(report: Report) -> Iterator[tuple[tuple[str, str], str]]:
    started = text(report.value["started"], "started")
    for topic in report.value["topics"]:
        yield (started, text(topic["target"], "target")), text(topic["topic_id"], "topic id")


def _ended(
    repository: Repository, report: Report, jobs: Mapping[tuple[str, str], SpreadRestore]
) -> Iterator[tuple[tuple[str, str], SpreadRestore]]:
    for topic in report.value.get("repartitioned", ()):
        key = (report.value["started"], topic["target"])
        # What one process of the job has completed stays so.
        if key in jobs and not jobs[key].complete:
            yield key, _spread(repository, jobs[key], topic)


def _spread(repository: Repository, restored: SpreadRestore, topic: Any) -> SpreadRestore:
    parts = topic["partitions"]
    return replace(
        restored,
        complete=len(parts) == restored.partitions and all(part["complete"] is True for part in parts),
        by_time=bool(topic["by_time"]),
        sources={
            decode_generation([restored.source, topic_id, partition, lineage]): _range(start, stop)
            for partition, topic_id, lineage, start, stop in topic["sources"]
        },
        offsets={
            integer(part["target"][1], "partition"): kept_offset_map(repository, part["offset_map"]) for part in parts
        },
    )


__all__ = [
    "NO_REPORTS",
    "MappedPartition",
    "MappedPartitions",
    "RestoresTold",
    "SpreadRestore",
    "keep_offset_map",
    "kept_offset_map",
    "mapped_in_file",
    "told_by_restores",
]

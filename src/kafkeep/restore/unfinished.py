"""Jobs of restores as the audit has them, and which of them were never finished.

Nothing in a repository is ever changed, so each process of a job adds reports of its own: the first one `restore-started`,
any of them `restore-opened`, `restore-loaded` and `restore-finished`, all of which name the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, fields
from typing import Any, Final

from kafkeep.errors import CorruptObject, GuardRefused, UnknownFormat, UsageError
from kafkeep.model import Generation, OffsetRange, TopicPartition
from kafkeep.records import dataclass
from kafkeep.reports import PassedOver, readable_reports
from kafkeep.repository.repository import Repository
from kafkeep.repository.shapes import from_shape
from kafkeep.restore.options import SMALL_ONES, RestoreOptions
from kafkeep.restore.record import JobBeginning, JobRecord, LoadedPartition, OpenedTopic
from kafkeep.restore_reports import kept_offset_map

STARTED: Final = "restore-started"
OPENED: Final = "restore-opened"
LOADED: Final = "restore-loaded"
FINISHED: Final = "restore-finished"
NEWEST: Final = "newest"
_LATER: Final = (OPENED, LOADED, FINISHED)
_BEFORE: Final[Mapping[str, Any]] = {"repack_rule": SMALL_ONES}
"""What held for jobs whose records do not tell it."""


@dataclass(slots=True)
class _Parts:
    """The reports of one job, oldest first."""

    name: str
    started: Mapping[str, Any]
    later: dict[str, list[Mapping[str, Any]]] = field(default_factory=lambda: {kind: [] for kind in _LATER})
    unsigned: list[str] = field(default_factory=list)
    """Names of those that do not count as evidence (`Repository.trusts`)."""

    @property
    def is_finished(self) -> bool:
        """True once a process came to the end with nothing left to do."""
        return any(not report.get("interrupted") and not report.get("failures") for report in self.later[FINISHED])

    @property
    def beside(self) -> Mapping[str, Any]:
        """What the caller of the restore had kept with it; empty as a rule."""
        value = self.started.get("beside")
        return value if isinstance(value, dict) else {}

    def restores(self, point: int, target_cluster: str) -> bool:
        told = (self.started.get("point"), self.started.get("target_cluster"))
        return told == (point, target_cluster) and "options" in self.started


def find_job(repository: Repository, spec: str, point: int, target_cluster: str) -> JobRecord:
    """An unfinished job by the name of its first report, or `newest`: the newest of this point into this cluster.

    A finished one is found as well when something was to be done beside it: that is its caller's to look at. `newest`
    takes one only where none is unfinished, and where commits are signed none that nobody trusted has signed: such a one
    is continued by its name, which a person gives.

    Reports that cannot be read are passed over and told in the job's record.

    Raises `UsageError` when there is none, `GuardRefused` for a job into another cluster, `UnknownFormat` for one of
    another version of kafkeep, `CorruptObject` for a named one that is damaged, or where none is found and a report that
    cannot be read may be the one that is meant; `StoreError`.
    """
    audit = _read_all(repository)
    jobs = audit.jobs
    if spec == NEWEST:
        return _newest(repository, audit, point, target_cluster)
    if spec in audit.passed_over.unread:
        raise audit.passed_over.unread[spec]
    job = jobs.get(spec)
    if job is None or "options" not in job.started:
        raise UsageError(
            f"no restore that can be continued is recorded as {spec[:100]!r} in {repository.store.url}",
            hint="A job goes by the name of its record, audit/…; --resume alone takes the newest that was left unfinished.",
        )
    if job.started.get("target_cluster") != target_cluster:
        raise GuardRefused(
            f"{spec} restores into cluster {job.started.get('target_cluster')}, this is cluster {target_cluster}",
            hint="Name the cluster that was being restored with --cluster.",
        )
    if job.started.get("point") != point:
        raise UsageError(f"{spec} restores point {job.started.get('point')}, not point {point}")
    if job.is_finished and not job.beside:
        raise UsageError(f"{spec} is finished: there is nothing to continue")
    return _record(repository, job, audit.passed_over)


def _newest(repository: Repository, audit: _Audit, point: int, target_cluster: str) -> JobRecord:
    ours = sorted((job for job in audit.jobs.values() if job.restores(point, target_cluster)), key=_age)
    unfinished = [job for job in ours if not job.is_finished] or [job for job in ours if job.beside]
    found = list(unfinished)
    while found:
        job = found.pop()
        if job.name in job.unsigned:
            raise _unsigned(unfinished)
        try:
            return _record(repository, job, audit.passed_over)
        except CorruptObject as error:
            audit.passed_over.unread[job.name] = error
    if audit.passed_over.unread:  # one of these may be the job that is meant
        raise audit.passed_over.unread[max(audit.passed_over.unread)]
    raise _none_unfinished(audit.jobs.values(), point, target_cluster)


def _age(job: _Parts) -> tuple[str, str]:
    return str(job.started.get("time")), job.name


def _unsigned(jobs: Iterable[_Parts]) -> UsageError:
    found = sorted(jobs, key=_age)
    names = ", ".join(f"{job.name} (begun {job.started.get('time')})" for job in found[-5:])
    return UsageError(
        f"the newest restore that was left unfinished is one that nobody trusted has signed; there are: {names}",
        hint="Whoever may create objects can put such a report there. Continue the restore that you began by its name: "
        f"--resume={found[-1].name}",
    )


def _none_unfinished(jobs: Iterable[_Parts], point: int, target_cluster: str) -> UsageError:
    others = sorted(
        {
            str(job.started.get("point"))
            for job in jobs
            if job.started.get("target_cluster") == target_cluster and "options" in job.started and not job.is_finished
        }
    )
    hint = "Leave out --resume to begin a restore."
    if others:
        hint = f"Left unfinished are restores of point {', '.join(others)}. {hint}"
    return UsageError(f"no restore of point {point} into this cluster was left unfinished", hint=hint)


def job_by_name(repository: Repository, name: str) -> JobRecord:
    """The job whose first report has this name. Raises as `find_job`."""
    audit = _read_all(repository)
    if name in audit.passed_over.unread:
        raise audit.passed_over.unread[name]
    job = audit.jobs.get(name)
    if job is None:
        raise CorruptObject(f"{name} is missing")
    return _record(repository, job, audit.passed_over)


def unfinished_jobs(repository: Repository, point: int, target_cluster: str) -> tuple[list[JobRecord], tuple[str, ...]]:
    """Those of this point into this cluster, oldest first, as far as this version of kafkeep can continue them; and what is
    said of reports that cannot be read.

    Raises `StoreError`.
    """
    audit = _read_all(repository)
    found = []
    for job in sorted((job for job in audit.jobs.values() if job.restores(point, target_cluster)), key=_age):
        if not job.is_finished and _has_our_options(job.started["options"]):
            try:
                found.append(_record(repository, job, audit.passed_over))
            except CorruptObject as error:
                audit.passed_over.unread[job.name] = error
    return found, tuple(audit.passed_over.warnings())


@dataclass(frozen=True, slots=True)
class _Audit:
    jobs: Mapping[str, _Parts]
    """By name of their first report."""
    passed_over: PassedOver


def _read_all(repository: Repository) -> _Audit:
    passed_over = PassedOver()
    reports = readable_reports(repository, (STARTED, *_LATER), passed_over)
    jobs = {
        report.name: _Parts(report.name, report.value, unsigned=[] if report.trusted else [report.name])
        for report in reports
        if report.kind == STARTED
    }
    for report in sorted((report for report in reports if report.kind != STARTED), key=lambda report: report.time):
        job = jobs.get(str(report.value.get("started")))
        if job is not None:
            job.later[report.kind].append(report.value)
            job.unsigned += [] if report.trusted else [report.name]
    return _Audit(jobs, passed_over)


def _record(repository: Repository, job: _Parts, passed_over: PassedOver) -> JobRecord:
    if not _has_our_options(job.started["options"]):
        raise UnknownFormat(
            f"{job.name} was begun by another version of kafkeep",
            hint="Continue it with the version that began it, or delete what it made and begin anew.",
        )
    try:
        names = [part.name for part in fields(JobBeginning)]
        started = {name: job.started[name] for name in names}
        options = {**_BEFORE, **job.started["options"]}
        beginning = from_shape(JobBeginning, started | {"options": options}, STARTED)
        opened = [from_shape(OpenedTopic, topic, OPENED) for report in job.later[OPENED] for topic in report["topics"]]
        loaded = [
            _loaded(repository, part)
            for report in job.later[LOADED]
            for part in report["partitions"]
            if part["complete"] is True
        ]
        return JobRecord(
            name=job.name,
            beginning=beginning,
            opened={topic.target: topic for topic in opened},
            loaded={part.target: part for part in loaded},
            positions=dict(_positions(job.later[FINISHED])),
            beside=job.beside,
            finished=job.is_finished,
            unsigned=tuple(job.unsigned),
            passed_over=tuple(passed_over.warnings()),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptObject(f"{job.name} is no record of a restore: {error}") from error


def _has_our_options(value: Any) -> bool:
    return isinstance(value, dict) and {**_BEFORE, **value}.keys() == {part.name for part in fields(RestoreOptions)}


def _loaded(repository: Repository, part: Any) -> LoadedPartition:
    topic, topic_id, number, lineage = part["source"]
    start, stop = part["source_range"]
    return LoadedPartition(
        source=Generation(topic, topic_id, number, lineage),
        target=TopicPartition(*part["target"]),
        source_range=OffsetRange(start, stop),
        offset_map=kept_offset_map(repository, part["offset_map"]),
        size_bytes=from_shape(int, part["size_bytes"], "size_bytes"),
    )


def _positions(
    reports: Iterable[Mapping[str, Any]],
) -> Iterable[tuple[tuple[str, TopicPartition], tuple[int, int]]]:
    for report in reports:
        for group in report["groups"]:
            for topic, partition, source, target in group["positions"]:
                yield (str(group["group_id"]), TopicPartition(topic, partition)), (source, target)

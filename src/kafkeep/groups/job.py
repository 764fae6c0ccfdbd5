"""The record of a change in the repository's audit: what everything was, before anything is changed; the report at the
end.

Nothing in a repository is ever changed, so these are objects of their own: one or more `groups-started` with the positions
before and after, all durable before the first request that changes something, and one `groups-finished`. A job goes by
the name of its first object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from kafkeep.errors import CorruptObject, GuardRefused, NothingToDo, UsageError
from kafkeep.groups.changes import GroupChange, PositionChange
from kafkeep.groups.plan import GroupsPlan
from kafkeep.groups.result import GroupsResult
from kafkeep.groups.survey import OFFSETS, SHARE
from kafkeep.model import GroupOffset, TopicPartition
from kafkeep.records import dataclass
from kafkeep.reports import UNREADABLE, PassedOver, Report
from kafkeep.repository.repository import Repository
from kafkeep.times import rfc3339

STARTED: Final = "groups-started"
FINISHED: Final = "groups-finished"
APPLY: Final = "apply"
LATEST: Final = "latest"
_KEYS: Final = {"verb": str, "target_cluster": str, "part": int, "parts": int, "groups": list}
_BY_NAME: Final = "such a job is taken back by its name"
PART_BYTES: Final = 16 * 1024 * 1024
"""About this much goes into one object: a quarter of what the repository takes."""
POSITION_BYTES: Final = 120
"""A position in such an object without its texts, generously."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A change as the audit has it."""

    name: str
    operation: str
    target_cluster: str
    changes: tuple[GroupChange, ...]
    warnings: tuple[str, ...]


def begin_job(
    repository: Repository,
    plan: GroupsPlan,
    changes: Sequence[GroupChange],
    *,
    now: Callable[[], datetime],
    part_bytes: int = PART_BYTES,
) -> str:
    """Puts down all that is about to be changed; durable when the call returns. The job's name."""
    parts = list(_parts(changes, part_bytes))
    job: str | None = None
    for number, part in enumerate(parts, start=1):
        name = repository.put_audit(
            STARTED,
            {
                "time": rfc3339(now()),
                "verb": plan.operation,
                "origin": plan.origin,
                "point": plan.point,
                "target_cluster": plan.target_cluster,
                "job": job,
                "part": number,
                "parts": len(parts),
                "groups": part,
            },
        )
        job = name if job is None else job
    if job is None:
        raise ValueError("a job without changes")
    return job


def _parts(changes: Sequence[GroupChange], part_bytes: int) -> Iterator[list[Any]]:
    """The changes as JSON, cut so that each part stays below the size; a large group is cut too."""
    part: list[Any] = []
    size = 0
    for change in changes:
        positions: list[Any] = []
        for position in change.positions:
            if size >= part_bytes:
                yield [*part, _group_to_json(change, positions)] if positions else part
                part, positions, size = [], [], 0
            positions.append(
                [
                    position.target.topic,
                    position.target.partition,
                    _place_to_json(position.before),
                    _place_to_json(position.after),
                ]
            )
            size += (
                POSITION_BYTES
                + len(position.target.topic)
                + sum(4 * len(place.metadata) for place in (position.before, position.after) if place is not None)
            )
        part.append(_group_to_json(change, positions))
        size += POSITION_BYTES + 4 * len(change.group_id)
    if part:
        yield part


def _group_to_json(change: GroupChange, positions: list[Any]) -> Any:
    return {
        "group_id": change.group_id,
        "kind": change.kind,
        "existed": change.existed,
        "delete": change.delete,
        "positions": positions,
    }


def _place_to_json(place: GroupOffset | None) -> Any:
    return None if place is None else [place.offset, place.leader_epoch, place.metadata]


def finish_job(repository: Repository, job: str, result: GroupsResult, *, now: Callable[[], datetime]) -> str:
    """Keeps what came of it; the report's object name."""
    return repository.put_audit(
        FINISHED,
        {
            "time": rfc3339(now()),
            "job": job,
            "verb": result.operation,
            "target_cluster": result.target_cluster,
            "groups": result.groups,
            "positions": result.positions,
            "failures": [[failure.subject, failure.reason, failure.message] for failure in result.failures],
            "differences": [
                [d.group_id, d.target.topic, d.target.partition, d.wanted, d.found] for d in result.differences
            ],
            "interrupted": result.interrupted,
        },
    )


def find_job(repository: Repository, spec: str, target_cluster: str) -> Job:
    """A job by the name of its record, or `latest`: the newest `apply` on this cluster.

    Records that cannot be read are passed over and told in the job's warnings, and where commits are signed `latest` passes
    over those that nobody trusted has signed: such a job is taken by its name, which a person gives.

    Raises `NothingToDo` when there is none, `UsageError` for an unknown name, `GuardRefused` for a job on another
    cluster, `CorruptObject` for a named record that is damaged or not of the known shape, `StoreError`.
    """
    passed_over = PassedOver()
    names = sorted(info.name for info in repository.store.list("audit/"))
    if spec == LATEST:
        found = _latest(repository, names, target_cluster, passed_over)
    else:
        found = _read(repository, names, spec, _named(repository, names, spec), passed_over)
    if found.target_cluster != target_cluster:
        raise GuardRefused(
            f"job {found.name} changed groups of cluster {found.target_cluster}, this is cluster {target_cluster}",
            hint="Name the cluster whose groups were changed with --cluster.",
        )
    return replace(found, warnings=(*found.warnings, *passed_over.warnings(how=_BY_NAME)))


def _read(repository: Repository, names: Sequence[str], name: str, first: Report, passed_over: PassedOver) -> Job:
    parts = _all_parts(repository, names, name, first, passed_over)
    found = _job(name, [part.value for part in parts])
    return replace(found, warnings=(*found.warnings, *_believed(name, parts)))


def _believed(name: str, parts: Sequence[Report]) -> Iterator[str]:
    strange = sum(not part.trusted for part in parts)
    if strange:
        yield f"what the positions were is believed from {name}, of which nobody trusted has signed {strange} part(s)"


def _latest(repository: Repository, names: Sequence[str], target_cluster: str, passed_over: PassedOver) -> Job:
    # Newest first: a repository may hold years of reports.
    for name in reversed(names):
        part = _part(repository, name, passed_over)
        if part is None:
            continue
        told = (part.value["job"], part.value["verb"], part.value["target_cluster"])
        if told != (None, APPLY, target_cluster):
            continue
        if not part.trusted:
            passed_over.untrusted.append(name)
            continue
        try:
            return _read(repository, names, name, part, passed_over)
        except CorruptObject as error:
            passed_over.unread[name] = error
    if passed_over.unread:  # one of these may be the job that is meant
        raise passed_over.unread[max(passed_over.unread)]
    strange = "".join(f"; {warning}" for warning in passed_over.warnings(how=_BY_NAME))
    raise NothingToDo(
        f"{repository.store.url} has no record of groups that were set on this cluster{strange}",
        hint="`kafkeep groups apply` leaves one behind whenever it changes something.",
    )


def _named(repository: Repository, names: Sequence[str], spec: str) -> Report:
    part = _started(repository, spec) if spec in names else None
    if part is None or part.value["job"] is not None:
        raise UsageError(
            f"no change of groups is recorded as {spec[:100]!r} in {repository.store.url}",
            hint="`kafkeep groups apply` names its record, audit/…; `latest` is the newest of this cluster.",
        )
    return part


def _all_parts(
    repository: Repository, names: Sequence[str], name: str, first: Report, passed_over: PassedOver
) -> list[Report]:
    """The parts of a job as far as they are there; those after the first were written right behind it.

    One that nobody trusted has signed is no part of a job that somebody trusted has begun.
    """
    parts = {1: first}
    near = names.index(name)
    for other in (*names[near + 1 :], *reversed(names[:near])):
        if len(parts) >= first.value["parts"]:
            break
        part = _part(repository, other, passed_over)
        if part is None or part.value["job"] != name:
            continue
        if first.trusted and not part.trusted:
            passed_over.untrusted.append(other)
        else:
            parts.setdefault(part.value["part"], part)
    return [part for _, part in sorted(parts.items())]


def _part(repository: Repository, name: str, passed_over: PassedOver) -> Report | None:
    """As `_started`; what cannot be read is none, and is told."""
    try:
        return _started(repository, name)
    except UNREADABLE as error:
        if error.retryable:
            raise
        passed_over.unread[name] = error
        return None


def _started(repository: Repository, name: str) -> Report | None:
    """The part of a job's record that an object is; None for other reports."""
    report = repository.audit(name)
    if report["kind"] != STARTED:
        return None
    value = report["value"]
    if not isinstance(value, dict) or "job" not in value or any(type(value.get(k)) is not t for k, t in _KEYS.items()):
        raise CorruptObject(f"{name} is no record of a change of groups")
    return Report(name, STARTED, value, repository.trusts(report))


def _job(name: str, parts: Sequence[Any]) -> Job:
    try:
        first = parts[0]
        groups: dict[str, GroupChange] = {}
        for part in parts:
            for value in part["groups"]:
                change = _group_from_json(value)
                before = groups.get(change.group_id)
                groups[change.group_id] = change if before is None else _joined(before, change)
        missing = int(first["parts"]) - len(parts)
        return Job(
            name=name,
            operation=str(first["verb"]),
            target_cluster=str(first["target_cluster"]),
            changes=tuple(groups.values()),
            warnings=(_unfinished(name, missing),) if missing else (),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CorruptObject(f"{name} is no record of a change of groups: {error!r}") from error


def _unfinished(name: str, missing: int) -> str:
    return (
        f"{missing} part(s) of the record {name} are not there: the job ended before it changed anything, or the "
        "audit is damaged"
    )


def _joined(one: GroupChange, other: GroupChange) -> GroupChange:
    return GroupChange(
        group_id=one.group_id,
        kind=one.kind,
        existed=one.existed,
        delete=one.delete,
        positions=(*one.positions, *other.positions),
    )


def _group_from_json(value: Any) -> GroupChange:
    kind = value["kind"]
    if kind not in (OFFSETS, SHARE):
        raise ValueError(f"unknown kind of group {kind!r}")
    return GroupChange(
        group_id=str(value["group_id"]),
        kind=kind,
        existed=bool(value["existed"]),
        delete=bool(value["delete"]),
        positions=tuple(_position_from_json(*position) for position in value["positions"]),
    )


def _position_from_json(topic: str, partition: int, before: Any, after: Any) -> PositionChange:
    target = TopicPartition(str(topic), int(partition))
    return PositionChange(target, _place_from_json(target, before), _place_from_json(target, after))


def _place_from_json(target: TopicPartition, value: Any) -> GroupOffset | None:
    if value is None:
        return None
    offset, epoch, metadata = value
    return GroupOffset(target, int(offset), int(epoch), str(metadata))

"""From the record of an earlier change to what takes it back: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kafkeep.groups.changes import GroupChange, PositionChange, same_place
from kafkeep.groups.landing import GIVEN
from kafkeep.groups.plan import (
    DELETE,
    NO_LEADER_EPOCH,
    REFUSED,
    SET,
    UNCHANGED,
    GroupsPlan,
    PlannedGroup,
    PlannedPosition,
    Refusal,
    active_refusal,
    examples,
)
from kafkeep.groups.survey import GroupsSurvey, TargetGroup, TargetPartition
from kafkeep.model import GroupOffset, TopicPartition


def plan_rollback(
    job: str, done: Sequence[GroupChange], survey: GroupsSurvey, *, force: bool, warnings: Sequence[str] = ()
) -> GroupsPlan:
    """Exactly the previous positions of every group of a job, where nobody has moved the group since.

    `force` takes them back in groups that were moved since too. A group that the job made is deleted when it holds
    nothing but what the job gave it.
    """
    groups: list[PlannedGroup] = []
    refusals: list[Refusal] = []
    told: list[str] = list(warnings)
    for change in sorted(done, key=lambda change: change.group_id):
        there = survey.groups[change.group_id]
        planned, refusal = _group(change, there, survey, force=force)
        groups.append(planned)
        refusals += [refusal] if refusal is not None else []
        told += _stays(change, planned, there)
    return GroupsPlan(
        operation="rollback",
        origin=f"job {job}",
        point=None,
        target_cluster=survey.cluster_id,
        groups=tuple(groups),
        warnings=tuple(told),
        refusals=tuple(refusals),
    )


def _group(
    change: GroupChange, there: TargetGroup, survey: GroupsSurvey, *, force: bool
) -> tuple[PlannedGroup, Refusal | None]:
    back = change.inverse()
    moved = [p for p in back.positions if not _ours(change.kind, p, there)]
    refusal = _refusal(there, moved, force=force)
    reason = "" if refusal is None else refusal.kind
    positions = tuple(_position(change.kind, p, there, survey.partitions.get(p.target), reason) for p in back.positions)
    alone = there.positions.keys() <= {p.target for p in back.positions}
    planned = PlannedGroup(
        group_id=change.group_id,
        source=change.group_id,
        kind=change.kind,
        type=there.type,
        state=there.state,
        delete=back.delete and refusal is None and there.exists and alone,
        positions=positions,
    )
    return planned, refusal


def _ours(kind: str, back: PositionChange, there: TargetGroup) -> bool:
    """True when the position is what the job made of it, or what it was before."""
    now = there.positions.get(back.target)
    return same_place(kind, now, back.before) or same_place(kind, now, back.after)


def _refusal(there: TargetGroup, moved: Sequence[PositionChange], *, force: bool) -> Refusal | None:
    subject = f"group {there.group_id}"
    if there.problem is not None:
        return Refusal(there.problem.kind, subject, f"{subject}: {there.problem.message}")
    active = active_refusal(there)
    if active is not None or not moved or force:
        return active
    where = examples(
        moved, lambda p: f"{p.target} is at {_at(there.positions.get(p.target))}, the job left it at {_at(p.before)}"
    )
    return Refusal("moved-since", subject, f"{subject} was moved since: {where}", "Take it back all the same: --force.")


def _at(position: GroupOffset | None) -> str:
    return "none" if position is None else str(position.offset)


def _position(
    kind: str, back: PositionChange, there: TargetGroup, partition: TargetPartition | None, reason: str
) -> PlannedPosition:
    now = there.positions.get(back.target)
    goal = None if back.after is None else replace(back.after, leader_epoch=_epoch(back.after.leader_epoch, partition))
    if reason:
        action = REFUSED
    elif now == goal or (same_place(kind, now, goal) and not same_place(kind, now, back.before)):
        action = UNCHANGED
    else:
        action = DELETE if goal is None else SET
    return PlannedPosition(
        target=back.target,
        source=None,
        committed=None,
        place=GIVEN,
        note="had no position before" if goal is None else "",
        offset=None if goal is None else goal.offset,
        metadata="" if goal is None else goal.metadata,
        leader_epoch=NO_LEADER_EPOCH if goal is None else goal.leader_epoch,
        current=now,
        action=action,
        refusal=reason,
    )


def _epoch(before: int, partition: TargetPartition | None) -> int:
    """The epoch of the previous commit, unless the partition has never been there: Java consumers fall silent on it."""
    known = -1 if partition is None or partition.problem is not None else partition.leader_epoch
    return before if before <= known else NO_LEADER_EPOCH


def _stays(change: GroupChange, planned: PlannedGroup, there: TargetGroup) -> list[str]:
    if change.existed or planned.delete or not there.exists or planned.counted(REFUSED):
        return []
    more: list[TopicPartition] = sorted(there.positions.keys() - {p.target for p in planned.positions})
    return [
        f"group {planned.group_id} was made by the job and stays: it has positions that the job did not set, in "
        + examples(more, str)
    ]
